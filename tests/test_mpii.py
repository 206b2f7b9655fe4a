import json
import os
import pathlib

import numpy as np
import pytest
import scipy.io

from hrnet_tf import InputError, geometry
from hrnet_tf.data import mpii
from hrnet_tf.data.records import check_images_exist, read_image
from hrnet_tf.skeletons import COCO, MPII, flip_order

SAMPLE = os.environ.get("HRNET_TF_MPII_SAMPLE")
RELEASE = "mpii_human_pose_v1_u12_1.mat"


def joints_at(x, y):
    """[16,2] joints around a point."""
    return np.stack([x + 3.0 * np.arange(16), y - 2.0 * np.arange(16)], -1)


def person(image="a.jpg", center=(100.0, 120.0), scale=1.5):
    joints = joints_at(*center)
    joints[5] = -1
    return {
        "image": image,
        "center": list(center),
        "scale": scale,
        "joints": joints.tolist(),
        "joints_vis": [int(k != 5) for k in range(16)],
    }


@pytest.fixture
def root(tmp_path):
    (tmp_path / "annot").mkdir()
    (tmp_path / "images").mkdir()
    return tmp_path


def load(root, people, split="valid"):
    (root / "annot" / f"{split}.json").write_text(json.dumps(people))
    return mpii.load_split(str(root), split)


# What MATLAB has in structs. A struct array is a record array; an unset field is an empty array.

UNSET = np.zeros((0, 0))


def struct_array(*structs):
    """A 1xN struct array of dicts with the same keys."""
    array = np.empty((1, len(structs)), [(name, object) for name in structs[0]])
    for i, struct in enumerate(structs):
        array[0, i] = tuple(struct.values())
    return array


def points(joints, ids=range(16), is_visible=None):
    """The struct of `annopoints`; is_visible is left out where None."""
    rows = [{"x": joints[k, 0], "y": joints[k, 1], "id": np.uint8(k)} for k in ids]
    if is_visible is not None:
        rows = [row | {"is_visible": is_visible[i % len(is_visible)]} for i, row in enumerate(rows)]
    return {"point": struct_array(*rows)}


def rectangle(annopoints=UNSET, center=(50, 60), scale=2.0):
    position = {"x": np.int16(center[0]), "y": np.int16(center[1])} if center else UNSET
    head = {"x1": 1, "y1": 2, "x2": 3, "y2": 4}
    return head | {"annopoints": annopoints, "scale": scale, "objpos": position}


def write_release(root, images, in_training, folder="annot"):
    """images: (name, annorect) pairs."""
    annolist = struct_array(
        *({"image": {"name": name}, "annorect": annorect, "frame_sec": UNSET} for name, annorect in images)
    )
    release = {
        "annolist": annolist,
        "img_train": np.array([in_training], np.uint8),
        "version": "12",
        "single_person": UNSET,
    }
    path = root / folder / RELEASE
    path.parent.mkdir(exist_ok=True)
    scipy.io.savemat(path, {"RELEASE": release}, do_compression=True)
    return path


def write_small_release(root, folder="annot"):
    """A release with every oddity of the original; returns the joints of those with joints, in order."""
    joints = [joints_at(40 * i, 30 + 10 * i) for i in range(5)]
    odd_visible = ("1", "0", "", UNSET, 1, 0, np.uint8(1))
    images = [
        # several people, one of them without joints and one without a position
        (
            "a.jpg",
            struct_array(
                rectangle(points(joints[0], is_visible=odd_visible), center=(10, 20)),
                rectangle(),
                rectangle(points(joints[4]), center=None, scale=UNSET),
                rectangle(points(joints[1], is_visible=(0,)), center=(30, 40), scale=3.5),
            ),
        ),
        ("test1.jpg", struct_array({"scale": 2.5, "objpos": {"x": 7, "y": 8}})),  # no field annopoints
        ("none.jpg", UNSET),  # nobody
        ("b.jpg", struct_array(rectangle(points(joints[2], ids=(9, 0, 3))))),  # one person with three joints
        ("heads.jpg", struct_array({"x1": 1, "y1": 2, "x2": 3, "y2": 4})),  # nothing but the head's box
        ("c.jpg", struct_array(rectangle(points(joints[3], ids=(12,), is_visible=("1",))))),  # a single point
        ("test2.jpg", struct_array(rectangle(scale=1.0), rectangle(center=(5, 6), scale=1.25))),
    ]
    write_release(root, images, [1, 0, 1, 1, 1, 1, 0], folder)
    return joints[:4]


def test_flip_pairs_and_limbs_fit_the_names():
    order = flip_order(MPII.flip_pairs, 16)
    for k, name in enumerate(MPII.names):
        mirrored = name.replace("left", "LEFT").replace("right", "left").replace("LEFT", "right")
        assert MPII.names[order[k]] == mirrored
    assert {frozenset(order[k] for k in limb) for limb in MPII.limbs} == set(map(frozenset, MPII.limbs))
    assert {k for limb in MPII.limbs for k in limb} == set(range(16)) and len(MPII.limbs) == 15  # a tree
    assert MPII.oks_sigmas[0] == COCO.oks_sigmas[COCO.names.index("right_ankle")] and len(MPII.oks_sigmas) == 16
    assert {MPII.names[k].split("_")[-1] for k in range(16) if k not in MPII.upper_body} == {
        *("ankle", "knee", "hip", "pelvis")
    }


def test_boxes_give_the_reference_s_crops(root):
    people = [person(center=(100.0, 120.0), scale=1.5), person("b.jpg", (-1.0, 300.0), 2.0), person()]
    records = load(root, people)
    center, size = records.crops((256, 256))
    # y + 15 scale, then everything - 1; 200 * 1.25 * scale. Unknown centres are neither moved nor padded.
    np.testing.assert_allclose(center, [[99, 120 + 22.5 - 1], [-2, 299], [99, 141.5]], atol=1e-4)
    np.testing.assert_allclose(size, [[375, 375], [400, 400], [375, 375]], atol=1e-3)
    assert records.image_index.tolist() == [0, 1, 0] and records.image_ids.tolist() == [0, 1]
    assert records.image_paths == [str(root / "images" / name) for name in ("a.jpg", "b.jpg")]
    assert (records.box_scores == 1).all() and records.skeleton is MPII


def test_joints_count_from_zero_and_absent_ones_are_invisible(root):
    records = load(root, [person()])
    expected = joints_at(99, 119)
    expected[5] = -2
    np.testing.assert_allclose(records.keypoints[0], expected)
    assert records.visible[0].tolist() == [float(k != 5) for k in range(16)]


def test_people_without_a_visible_joint_stay(root):
    records = load(root, [person() | {"joints_vis": [0] * 16}, person("b.jpg")])
    assert len(records) == 2
    assert records.visible.sum(-1).tolist() == [0, 15]


def test_the_test_split_has_no_joints(root):
    bare = {key: value for key, value in person().items() if key in ("image", "center", "scale")}
    records = load(root, [bare, person("b.jpg")], "test")
    assert len(records) == 2 and not records.visible.any()
    with pytest.raises(InputError, match="person 0 is malformed: it has no 'joints'"):
        load(root, [bare], "valid")


def test_the_release_gives_everyone_in_training_images_with_joints(root):
    joints = write_small_release(root)
    records = mpii.load_split(str(root), "trainval")
    names = [pathlib.Path(records.path(i)).name for i in range(len(records))]
    assert names == ["a.jpg", "a.jpg", "b.jpg", "c.jpg"]
    some = [set(range(16)), set(range(16)), {0, 3, 9}, {12}]
    for i, (ids, expected) in enumerate(zip(some, joints, strict=True)):
        assert set(np.flatnonzero(records.visible[i])) == ids  # occluded ones included
        np.testing.assert_allclose(records.keypoints[i, sorted(ids)], expected[sorted(ids)] - 1)
    center, size = records.crops((256, 256))
    np.testing.assert_allclose(center[:3], [[9, 20 + 30 - 1], [29, 40 + 52.5 - 1], [49, 60 + 30 - 1]], atol=1e-4)
    np.testing.assert_allclose(size[:, 0], [500, 875, 500, 500], atol=1e-3)


def test_the_release_s_other_images_are_the_test_split(root):
    write_small_release(root)
    records = mpii.load_split(str(root), "test")
    assert [pathlib.Path(records.path(i)).name for i in range(3)] == ["test1.jpg", "test2.jpg", "test2.jpg"]
    assert len(records) == 3 and not records.visible.any()
    np.testing.assert_allclose(records.crops((256, 256))[1][:, 0], [625, 250, 312.5], atol=1e-3)


def test_the_release_equals_the_json_files(root):
    people = [person(), person("b.jpg", (70.0, 80.0), 0.75), person("a.jpg", (33.0, 44.0), 4.0)]
    expected = load(root, [people[0], people[2], people[1]], "trainval")
    (root / "annot" / "trainval.json").unlink()
    rectangles = [
        rectangle(points(np.array(p["joints"]), np.flatnonzero(p["joints_vis"])), p["center"], p["scale"])
        for p in people
    ]
    write_release(
        root, [("a.jpg", struct_array(rectangles[0], rectangles[2])), ("b.jpg", struct_array(rectangles[1]))], [1, 1]
    )
    records = mpii.load_split(str(root), "trainval")
    for name in ("image_ids", "image_index", "boxes", "box_scores", "keypoints", "visible"):
        np.testing.assert_array_equal(getattr(records, name), getattr(expected, name), err_msg=name)
    assert records.image_paths == expected.image_paths


@pytest.mark.parametrize("folder", ["", "mpii_human_pose_v1_u12_2"])
def test_the_release_may_lie_where_it_is_unpacked(root, folder):
    write_small_release(root, folder)
    assert len(mpii.load_split(str(root), "trainval")) == 4


def test_a_release_of_one_image(root):
    write_release(root, [("a.jpg", struct_array(rectangle(points(joints_at(5, 5)))))], [1])
    assert len(mpii.load_split(str(root), "trainval")) == 1
    with pytest.raises(InputError, match="nobody is annotated in split 'test'"):
        mpii.load_split(str(root), "test")


def test_the_json_files_come_first(root):
    write_small_release(root)
    assert len(load(root, [person()], "trainval")) == 1


def test_the_release_cannot_tell_train_from_valid(root):
    write_small_release(root)
    with pytest.raises(InputError, match=r"train.json does not exist, and .*only has the splits trainval and test"):
        mpii.load_split(str(root), "train")


def test_absent_files_are_named(root):
    with pytest.raises(InputError, match=r"data directory .*nowhere does not exist"):
        mpii.load_split(str(root / "nowhere"), "valid")
    with pytest.raises(InputError, match=r"annot/valid.json does not exist, nor does mpii_human_pose"):
        mpii.load_split(str(root), "valid")
    with pytest.raises(InputError, match=r"1 of 1 images listed in the annotations are absent: .*a.jpg"):
        check_images_exist(load(root, [person()]))
    (root / "images").rmdir()
    with pytest.raises(InputError, match=r"image folder .*images does not exist"):
        load(root, [person()])


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda p: p.pop("center"), "it has no 'center'"),
        (lambda p: p.pop("image"), "it has no 'image'"),
        (lambda p: p.pop("joints_vis"), "it has no 'joints_vis'"),
        (lambda p: p.update(image=7), "'image' must be a file name. Received: 7"),
        (lambda p: p.update(center=[1]), "3 finite numbers"),
        (lambda p: p.update(center=5), "iterable"),
        (lambda p: p.update(center=["1", "2"]), "3 finite numbers"),
        (lambda p: p.update(center=[float("nan"), 2]), "3 finite numbers"),
        (lambda p: p.update(scale=0), "'scale' must be positive. Received: 0"),
        (lambda p: p.update(scale=None), "3 finite numbers"),
        (lambda p: p.update(scale=10**400), "3 finite numbers"),
        (lambda p: p["joints"].pop(), "'joints' must hold 16 points"),
        (lambda p: p["joints"][3].append(1), "'joints' must hold 16 points"),
        (lambda p: p.update(joints=[[1, 2, 3, 4]] * 8), "'joints' must hold 16 points"),
        (lambda p: p.update(joints=["ab"] * 16), "32 finite numbers"),
        (lambda p: p.update(joints=3), "iterable"),
        (lambda p: p.update(joints_vis=[1] * 15), "16 finite numbers"),
    ],
)
def test_malformed_people_are_named(root, edit, match):
    people = [person(), person()]
    edit(people[1])
    with pytest.raises(InputError, match=r"valid\.json: person 1 is malformed: .*" + match) as error:
        load(root, people)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [{}, [3], [[1, 2]], [], "text"])
def test_other_json_is_refused(root, content):
    with pytest.raises(InputError, match=r"valid\.json"):
        load(root, content)


@pytest.mark.parametrize(
    ("annorect", "match"),
    [
        (rectangle(points(joints_at(1, 1)), scale="2"), "3 finite numbers"),
        (rectangle({"point": struct_array({"x": 1, "y": 2, "id": 16})}), "id must be from 0 to 15. Received: 16"),
        (rectangle({"point": struct_array({"x": 1, "y": 2, "id": 2.5})}), "id must be from 0 to 15"),
        (rectangle({"point": struct_array({"x": 1, "y": UNSET, "id": 2})}), "3 finite numbers"),
        (rectangle({"point": struct_array({"x": np.inf, "y": 2, "id": 2})}), "3 finite numbers"),
    ],
)
def test_malformed_people_of_the_release_are_named(root, annorect, match):
    write_release(root, [("a.jpg", UNSET), ("b.jpg", struct_array(annorect))], [1, 1])
    with pytest.raises(InputError, match=r"image 2 of annolist is malformed: .*" + match):
        mpii.load_split(str(root), "trainval")


def test_damaged_releases_are_refused(root):
    write_small_release(root)
    path = root / "annot" / RELEASE
    whole = path.read_bytes()
    for content in (b"", b"no MATLAB file", whole[:60], whole[:140], whole[: len(whole) // 2], whole[:-10]):
        path.write_bytes(content)
        with pytest.raises(InputError) as error:
            mpii.load_split(str(root), "trainval")
        assert str(path) in str(error.value) and "\n" not in str(error.value)
    for content in ({"x": 1}, {"RELEASE": 1}, {"RELEASE": {"annolist": UNSET, "img_train": UNSET}}):
        scipy.io.savemat(path, content)
        with pytest.raises(InputError, match="is not MPII's release"):
            mpii.load_split(str(root), "trainval")
    write_release(root, [("a.jpg", UNSET), ("b.jpg", UNSET)], [1])
    with pytest.raises(InputError, match="Received: 1 and 2"):
        mpii.load_split(str(root), "trainval")


def test_predictions_are_written_from_one_without_scores(tmp_path):
    keypoints = np.random.default_rng(0).uniform(0, 500, (4, 16, 3)).astype(np.float32)
    mpii.save_predictions(tmp_path / "pred.mat", keypoints)
    written = scipy.io.loadmat(tmp_path / "pred.mat")["preds"]
    np.testing.assert_array_equal(written, keypoints[..., :2] + 1)
    mpii.save_predictions(tmp_path / "pred.mat", keypoints[:2, :, :2])
    assert scipy.io.loadmat(tmp_path / "pred.mat")["preds"].shape == (2, 16, 2)
    before = (tmp_path / "pred.mat").read_bytes()
    for bad in (keypoints[0], keypoints[:, :15], keypoints[..., :1], keypoints * np.nan):
        with pytest.raises(InputError, match="keypoints must"):
            mpii.save_predictions(tmp_path / "pred.mat", bad)
    assert (tmp_path / "pred.mat").read_bytes() == before
    with pytest.raises(InputError, match="cannot write"):
        mpii.save_predictions(tmp_path / "nowhere" / "pred.mat", keypoints)
    assert [path.name for path in tmp_path.iterdir()] == ["pred.mat"]


def test_the_ground_truth_lies_beside_the_annotations():
    assert mpii.ground_truth_path("data", "valid") == "data/annot/gt_valid.mat"
    assert mpii.annotation_path("data", "valid") == "data/annot/valid.json"


@pytest.mark.skipif(not SAMPLE, reason="HRNET_TF_MPII_SAMPLE names no folder with an MPII sample")
def test_mpii_sample():
    records = mpii.load_split(SAMPLE, "valid")
    check_images_exist(records)
    assert len(records) == 5 and len(records.image_paths) == 5
    assert records.visible.sum(-1).tolist() == [16, 16, 14, 14, 16]
    center, size = records.crops((256, 256))
    # The first: centre (966, 340), scale 4.718488. 340 + 15 * 4.718488 - 1; 250 * 4.718488.
    np.testing.assert_allclose(center[0], [965, 409.77732], atol=1e-3)
    np.testing.assert_allclose(size[0], [1179.622, 1179.622], atol=1e-3)
    np.testing.assert_allclose(records.keypoints[0, 0], [803, 710])
    for i in range(5):
        height, width = read_image(records.path(i)).shape[:2]
        shown = records.keypoints[i][records.visible[i] > 0]
        assert (shown >= 0).all() and (shown < [width, height]).all()
        in_crop = geometry.transform_points(shown, geometry.affine_matrix(center[i], size[i], 0, (256, 256)))
        assert (in_crop >= 0).all() and (in_crop < 256).all()
