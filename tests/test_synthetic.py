import json
import pathlib

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO as CocoFile

import hrnet_tf.synthetic.clothes as synthetic_clothes
import hrnet_tf.synthetic.composition as synthetic_composition
import hrnet_tf.synthetic.cones as synthetic_cones
import hrnet_tf.synthetic.dataset as synthetic_dataset
import hrnet_tf.synthetic.people as synthetic_people
import hrnet_tf.synthetic.scenes as synthetic_scenes
from hrnet_tf.errors import InputError
from hrnet_tf.skeletons import COCO
from hrnet_tf.synthetic import render_dataset, render_scene
from hrnet_tf.synthetic.people import Part

NUM_SCENES = 60
NUM_IMAGES = 5
NOSE, LEFT_SHOULDER, RIGHT_SHOULDER = (COCO.names.index(name) for name in ("nose", "left_shoulder", "right_shoulder"))


@pytest.fixture(scope="module")
def scenes():
    return [render_scene((11, i)) for i in range(NUM_SCENES)]


@pytest.fixture(scope="module")
def people(scenes):
    """[N, 17, 3]: the keypoints of all people in all scenes."""
    return np.array([a["keypoints"] for _, annotations in scenes for a in annotations]).reshape(-1, 17, 3)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    render_dataset(folder, "val", NUM_IMAGES, seed=3, processes=1)
    return folder


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def standing_pose(yaw):
    rest = {side: np.zeros(4) for side in synthetic_people.SIDES}
    return synthetic_people.Pose(yaw, 0, 0, 0, 0, 0, (0, 0, 0), rest, rest, seated=False)


def standing_figure(yaw, middle=(100.0, 140.0)):
    """A figure at attention, where it stands, and how it is drawn in an image of 260 x 200 pixels."""
    rng = np.random.default_rng(0)
    body, outfit = synthetic_people.sample_body(rng), synthetic_clothes.sample_outfit(rng)
    figure = synthetic_people.pose_figure(body, standing_pose(yaw), camera_pitch=0)
    placement = synthetic_clothes.Placement(200.0, np.array([*middle, 0.0]))
    parts = synthetic_clothes.dress(figure, body, outfit, placement, seated=False)
    return figure, placement, synthetic_cones.draw_cones(parts, outfit.palette, np.array([0, 0, 1.0]), (260, 200))


def test_a_scene_is_a_function_of_its_seed(scenes):
    image, annotations = render_scene((11, 4))
    np.testing.assert_array_equal(image, scenes[4][0])
    assert annotations == scenes[4][1]
    assert not np.array_equal(*(render_scene(seed, size=(200, 160))[0] for seed in (1, 2)))


def test_a_scene_has_the_size_asked_for():
    image, _ = render_scene(5, size=(210, 330))
    assert image.shape == (210, 330, 3)
    assert image.dtype == np.uint8


def test_annotations_describe_the_image(scenes):
    for image, annotations in scenes:
        height, width = image.shape[:2]
        for annotation in annotations:
            x, y, w, h = annotation["bbox"]
            assert w > 0 and h > 0 and x >= 0 and y >= 0 and x + w <= width and y + h <= height
            assert 0.1 * w * h < annotation["area"] <= w * h
            keypoints = np.array(annotation["keypoints"]).reshape(17, 3)
            labelled = keypoints[:, 2] > 0
            assert annotation["num_keypoints"] == labelled.sum() >= 5
            assert not keypoints[~labelled].any()
            assert set(keypoints[:, 2]) <= {0, 1, 2}
            assert (keypoints[labelled, :2] >= -0.5).all()
            assert (keypoints[labelled, :2] <= (width - 0.5, height - 0.5)).all()


def test_seen_keypoints_are_on_the_person(scenes):
    for _, annotations in scenes:
        for annotation in annotations:
            x, y, w, h = annotation["bbox"]
            keypoints = np.array(annotation["keypoints"]).reshape(17, 3)
            seen = keypoints[keypoints[:, 2] == 2, :2]
            assert ((seen >= (x - 1, y - 1)) & (seen <= (x + w, y + h))).all()


def test_the_front_shows_the_left_side_at_the_right(people):
    shoulders = people[(people[:, (LEFT_SHOULDER, RIGHT_SHOULDER), 2] > 0).all(axis=1)]
    breadth = shoulders[:, LEFT_SHOULDER, 0] - shoulders[:, RIGHT_SHOULDER, 0]
    has_nose = shoulders[:, NOSE, 2] > 0
    clear = np.abs(breadth) > 25
    assert (breadth[clear & has_nose] > 0).mean() > 0.97
    assert (breadth[clear & ~has_nose] < 0).mean() > 0.9
    assert (clear & has_nose).sum() > 20
    assert (clear & ~has_nose).sum() > 10


@pytest.mark.parametrize(("yaw", "sign"), [(0, 1), (40, 1), (140, -1), (180, -1), (-140, -1), (-40, 1)])
def test_left_and_right_follow_the_facing(yaw, sign):
    figure, placement, layer = standing_figure(yaw)
    for joint in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"):
        left, right = (placement.project(figure.points[f"{side}_{joint}"])[0] for side in ("left", "right"))
        assert sign * (left[0] - right[0]) > 0
    # The pixels agree: the left forearm is drawn on the side where the left wrist is.
    left_x, right_x = (
        np.flatnonzero((layer.parts == part).any(axis=0)).mean() for part in (Part.LEFT_FOREARM, Part.RIGHT_FOREARM)
    )
    assert sign * (left_x - right_x) > 0


def test_toes_and_nose_point_forwards():
    figure = standing_figure(0)[0]
    for tip, base in (("nose", "skull"), ("left_toe", "left_heel"), ("right_toe", "right_heel")):
        assert figure.points[tip][2] > figure.points[base][2] + 0.03


def test_positive_flexion_bends_limbs_as_people_can():
    pose = standing_pose(0)
    pose.arms["left"][:] = (0, 0, 0, 90)
    pose.legs["left"][:] = (0, 0, 0, 90)
    body = synthetic_people.sample_body(np.random.default_rng(0))
    points = synthetic_people.pose_figure(body, pose, camera_pitch=0).points
    assert points["left_wrist"][2] > points["left_elbow"][2] + 0.1
    assert points["left_ankle"][2] < points["left_knee"][2] - 0.1


def test_solids_hide_what_is_behind_them():
    near = synthetic_cones.Cone(np.array([20.0, 20, 30]), np.array([20.0, 20, 30]), (8, 8), 0, 1)
    far = synthetic_cones.Cone(np.array([5.0, 20, 0]), np.array([35.0, 20, 0]), (4, 4), 1, 2)
    for cones in ((near, far), (far, near)):
        layer = synthetic_cones.draw_cones(cones, np.ones((2, 3), np.float32), np.array([0, 0, 1.0]), (40, 40))
        left, top = layer.top_left
        assert layer.parts[20 - top, 20 - left] == 1
        assert layer.parts[20 - top, 34 - left] == 2
        assert layer.depth[20 - top, 20 - left] == pytest.approx(38, abs=0.2)
        assert np.count_nonzero(layer.parts == 1) == pytest.approx(np.pi * 64, rel=0.05)


def standing_person(yaw, middle=(100.0, 140.0)):
    figure, placement, layer = standing_figure(yaw, middle)
    keypoints = np.array([placement.project(figure.points[name])[0] for name in COCO.names])
    return synthetic_composition.Person(layer, (100.0, 250.0), 200.0, 200.0, keypoints, np.ones(17, bool))


@pytest.mark.parametrize(("yaw", "near", "far"), [(90, "right", "left"), (-90, "left", "right")])
def test_the_far_side_of_a_profile_is_labelled_as_hidden(yaw, near, far):
    background = np.full((260, 200, 3), 128, np.uint8)
    _, (annotation,) = synthetic_scenes._settle(background, [standing_person(yaw)])
    flags = dict(zip(COCO.names, annotation["keypoints"][2::3], strict=True))
    for joint in ("shoulder", "hip", "ear"):
        assert flags[f"{far}_{joint}"] == 1
    for joint in ("shoulder", "elbow", "wrist", "knee", "ankle", "ear"):
        assert flags[f"{near}_{joint}"] == 2


def obstacle(y, radius):
    """A ball before a standing person's middle."""
    center = np.array([100.0, y, 0.0])
    ball = synthetic_cones.Cone(center, center + np.array([1.0, 0, 0]), (radius, radius), 0, Part.OBJECT)
    layer = synthetic_cones.draw_cones([ball], np.ones((1, 3), np.float32), np.array([0, 0, 1.0]), (260, 200))
    return synthetic_composition.Item(layer, (100.0, 250.0), 201.0)


def test_what_is_behind_an_obstacle_is_not_seen():
    background, person = np.full((260, 200, 3), 128, np.uint8), standing_person(0)
    _, (annotation,) = synthetic_scenes._settle(background, [obstacle(250.0, 60), person])
    flags = dict(zip(COCO.names, annotation["keypoints"][2::3], strict=True))
    assert {flags["left_ankle"], flags["right_ankle"]} == {0}
    assert flags["left_hip"] == flags["left_elbow"] == flags["nose"] == 2


def test_who_is_hidden_or_outside_is_left_out():
    background, person = np.full((260, 200, 3), 128, np.uint8), standing_person(0)
    assert len(synthetic_scenes._settle(background, [person, person])[1]) == 1
    # A head that looks over something large: seven keypoints, but too little of the body.
    assert not synthetic_scenes._settle(background, [person, obstacle(200.0, 110)])[1]
    assert synthetic_scenes._settle(background, [person, obstacle(240.0, 110)])[1]
    # Below the image, all but the head; beside it, all but an arm; and a layer in which nothing is left.
    for middle in ((100.0, 330.0), (-16.0, 140.0), (-28.0, 140.0)):
        assert not synthetic_scenes._settle(background, [standing_person(0, middle)])[1]
    for middle in ((100.0, 310.0), (-8.0, 140.0)):
        assert synthetic_scenes._settle(background, [standing_person(0, middle)])[1]


def test_scenes_vary(scenes, people):
    counts = np.array([len(annotations) for _, annotations in scenes])
    assert set(counts) >= {1, 2, 3}
    assert 0.15 < (counts > 1).mean() < 0.6
    heights = np.array([a["bbox"][3] for _, annotations in scenes for a in annotations])
    assert np.percentile(heights, 10) > 90
    assert np.percentile(heights, 90) > 1.4 * np.percentile(heights, 10)
    assert 0.2 < (people[:, NOSE, 2] == 0).mean() < 0.5
    hidden = (people[..., 2] == 1).mean()
    assert 0.05 < hidden < 0.4
    assert (people[:, 11:, 2] == 0).any(axis=1).mean() > 0.05
    assert (people[..., 2] == 2).mean() > 0.5


def test_a_dataset_loads_as_coco(dataset):
    coco = CocoFile(str(dataset / "annotations" / "person_keypoints_val.json"))
    assert len(coco.getImgIds()) == NUM_IMAGES
    category = coco.loadCats([1])[0]
    assert tuple(category["keypoints"]) == COCO.names
    assert category["skeleton"] == [[a + 1, b + 1] for a, b in COCO.limbs]
    assert coco.dataset["info"]["description"] == "synthetic"
    for entry in coco.dataset["images"]:
        image = cv2.imread(str(dataset / "images" / "val" / entry["file_name"]))
        assert image.shape[:2] == (entry["height"], entry["width"])
    assert len({annotation["id"] for annotation in coco.dataset["annotations"]}) == len(coco.getAnnIds())


def test_as_many_people_as_asked_for():
    counts = [len(render_scene((4, i), people=(3, 4))[1]) for i in range(3)]
    assert max(counts) in (3, 4) and sum(counts) >= 6  # some may hide others
    assert len(render_scene((4, 0), people=(1, 1))[1]) <= 1


def test_images_show_what_is_annotated(dataset):
    """The files hold the scenes in RGB order, but for JPEG's losses."""
    seed = (3, synthetic_dataset.zlib.crc32(b"val"), 2)
    scene, _ = render_scene(seed)
    stored = cv2.imread(str(dataset / "images" / "val" / "000000000002.jpg"))[..., ::-1]
    assert np.abs(stored.astype(int) - scene).mean() < 8


def test_every_person_has_one_box_near_it(dataset):
    annotations = json.loads((dataset / "annotations" / "person_keypoints_val.json").read_text())["annotations"]
    detections = json.loads((dataset / "person_detections_val.json").read_text())
    assert len(detections) == len(annotations) > 0
    differences = []
    for annotation, detection in zip(annotations, detections, strict=True):
        assert detection["image_id"] == annotation["image_id"]
        assert detection["category_id"] == 1
        assert 0.8 <= detection["score"] <= 1
        w, h = annotation["bbox"][2:]
        differences.append(np.subtract(detection["bbox"], annotation["bbox"]) / (w, h, w, h))
    differences = np.abs(differences)
    assert 0.005 < differences.mean() < 0.12


def test_files_do_not_depend_on_the_number_of_processes(dataset, tmp_path):
    render_dataset(tmp_path, "val", NUM_IMAGES, seed=3, processes=2)
    assert contents(tmp_path) == contents(dataset)


def test_another_split_or_seed_shows_other_people(dataset, tmp_path):
    render_dataset(tmp_path, "train", 1, seed=3, processes=1)
    render_dataset(tmp_path, "val", 1, seed=4, processes=1)
    images = [tmp_path / "images" / split / "000000000001.jpg" for split in ("train", "val")]
    images.append(dataset / "images" / "val" / "000000000001.jpg")
    assert len({path.read_bytes() for path in images}) == 3


def test_a_finished_split_is_reused_and_a_different_one_replaced(tmp_path, monkeypatch):
    path = render_dataset(tmp_path, "val", 2, seed=3, processes=1)
    before = path.stat().st_mtime_ns
    assert render_dataset(tmp_path, "val", 2, seed=3) == path
    assert path.stat().st_mtime_ns == before
    render_dataset(tmp_path, "val", 1, seed=3, processes=1)
    assert [p.name for p in (tmp_path / "images" / "val").iterdir()] == ["000000000001.jpg"]
    monkeypatch.setattr(synthetic_dataset, "RENDERER_VERSION", -1)
    render_dataset(tmp_path, "val", 1, seed=3, processes=1)
    assert json.loads(path.read_text())["info"]["renderer_version"] == -1


def test_an_interrupted_render_is_not_taken_for_a_finished_one(tmp_path, monkeypatch):
    render_dataset(tmp_path, "val", 1, seed=9, processes=1)
    scenes = iter(range(1))

    def interrupted(seed, people):
        next(scenes)
        return render_scene(seed, people=people)

    with monkeypatch.context() as patch:
        patch.setattr(synthetic_dataset, "render_scene", interrupted)
        with pytest.raises(StopIteration):
            render_dataset(tmp_path, "val", 2, seed=3, processes=1)
    assert not (tmp_path / "annotations" / "person_keypoints_val.json").exists()
    assert not list(tmp_path.rglob("*unfinished*"))
    path = render_dataset(tmp_path, "val", 2, seed=3, processes=1)
    assert len(json.loads(path.read_text())["images"]) == 2


@pytest.mark.parametrize(("split", "num_images"), [("val", 0), ("val", 2.5), ("", 1), ("..", 1), ("../val", 1)])
def test_unusable_settings_are_refused(tmp_path, split, num_images):
    with pytest.raises(InputError, match=r"Received"):
        render_dataset(pathlib.Path(tmp_path), split, num_images, seed=0)
