"""Videos of rendered people: who they are, how they move and what of them is seen."""

import json

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO as CocoFile

from hrnet_tf.errors import InputError
from hrnet_tf.skeletons import COCO
from hrnet_tf.synthetic import render_video
from hrnet_tf.synthetic.walking import sample_manner, sample_way, walking_pose

FRAMES, PEOPLE, FPS, SIZE = 36, 5, 12.0, (144, 256)
STATURE = 0.64 * SIZE[0]  # pixels of the nearest


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    folder = tmp_path_factory.mktemp("video")
    path = render_video(folder, "walk", FRAMES, PEOPLE, seed=4, fps=FPS, size=SIZE)
    return folder, json.loads(path.read_text())


@pytest.fixture(scope="module")
def people(video):
    """{track: keypoints [F,17,3] and the shares that are seen [F]}."""
    found = {}
    for annotation in video[1]["annotations"]:
        found.setdefault(annotation["track_id"], []).append(annotation)
    return {
        track: (np.array([a["keypoints"] for a in one], float).reshape(-1, 17, 3), np.array([a["seen"] for a in one]))
        for track, one in found.items()
    }


def test_a_video_loads_as_coco(video):
    folder, content = video
    coco = CocoFile(str(folder / "annotations" / "person_keypoints_walk.json"))
    assert coco.getImgIds() == list(range(FRAMES))
    assert [image["time"] for image in content["images"]] == [i / FPS for i in range(FRAMES)]
    assert tuple(coco.loadCats([1])[0]["keypoints"]) == COCO.names
    for image in content["images"]:
        frame = cv2.imread(str(folder / "images" / "walk" / image["file_name"]))
        assert frame.shape[:2] == (image["height"], image["width"]) == SIZE


def test_everybody_is_in_every_frame_once(video):
    numbers = {}
    for annotation in video[1]["annotations"]:
        numbers.setdefault(annotation["image_id"], []).append(annotation["track_id"])
    assert numbers == {i: list(range(1, PEOPLE + 1)) for i in range(FRAMES)}


def test_nobody_leaps(people):
    """Nothing of a person is faster than 5 statures a second: a foot that swings is at 3.5 or so."""
    for keypoints, _ in people.values():
        labelled = (keypoints[1:, :, 2] > 0) & (keypoints[:-1, :, 2] > 0)
        moved = np.linalg.norm(np.diff(keypoints[..., :2], axis=0), axis=-1)
        assert 1 < moved[labelled].max() < 5 * STATURE / FPS


def test_people_walk_and_cross(people):
    hips = np.array([keypoints[:, 11:13, 0].mean(axis=1) for keypoints, _ in people.values()])
    assert (np.abs(hips[:, -1] - hips[:, 0]).max() > STATURE) and (np.ptp(hips, axis=1) > 0.3 * STATURE).all()
    order = np.sign(hips[:, None] - hips[None])
    assert (order[..., 0] != order[..., -1]).any()


def test_hidden_keypoints_are_flagged(people):
    shares = np.concatenate([seen for _, seen in people.values()])
    flags = np.concatenate([keypoints[..., 2] for keypoints, _ in people.values()])
    assert shares.min() < 0.3 and np.median(shares) > 0.8
    hidden = (flags == 1).sum(axis=1) / (flags > 0).sum(axis=1)
    assert hidden[shares < 0.3].mean() > 0.7 > 0.45 > hidden[shares > 0.95].mean()
    # Of the body everything is labelled that is in the frame.
    assert (flags[:, 5:] > 0).mean() > 0.97


def test_boxes_are_of_the_whole_person(video):
    for annotation in video[1]["annotations"]:
        keypoints = np.array(annotation["keypoints"]).reshape(17, 3)
        x, y, w, h = annotation["bbox"]
        inside = (keypoints[:, :2] >= (x - 1, y - 1)) & (keypoints[:, :2] <= (x + w, y + h))
        assert inside[keypoints[:, 2] > 0].all()
        assert x >= 0 and y >= 0 and x + w <= SIZE[1] and y + h <= SIZE[0]


def test_the_camera_stands_still(video):
    """Nobody comes near the upper border: there frames differ by the camera's noise and JPEG's losses alone."""
    frames = [
        cv2.imread(str(path)).astype(int)[: SIZE[0] // 12] for path in sorted((video[0] / "images" / "walk").iterdir())
    ]
    assert 0 < np.abs(frames[0] - frames[-1]).mean() < 4


def test_a_video_is_a_function_of_its_seed_and_is_reused(tmp_path):
    def files(folder):
        return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    settings = {"num_frames": 2, "num_people": 2, "size": (64, 96)}
    for folder, name, seed in (("a", "x", 1), ("b", "x", 1), ("c", "x", 2), ("d", "y", 1)):
        path = render_video(tmp_path / folder, name, seed=seed, **settings)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    frames = [next((tmp_path / folder / "images").rglob("*1.jpg")).read_bytes() for folder in "acd"]
    assert len(set(frames)) == 3
    before = path.stat().st_mtime_ns
    assert render_video(tmp_path / "d", "y", seed=1, **settings) == path
    assert path.stat().st_mtime_ns == before
    assert not list(tmp_path.rglob("*unfinished*"))


def test_people_walk_alike_at_any_frame_rate():
    ways = [sample_way(np.random.default_rng(3), np.arange(0, 8, step), 5.0, 1.5) for step in (0.04, 0.12)]
    for name in ("across", "distance", "yaw", "cycle", "swing"):
        slow, fast = (getattr(way, name) for way in reversed(ways))
        np.testing.assert_allclose(slow[:66], fast[::3][:66], rtol=0, atol=1e-9)
    assert np.ptp(ways[0].across) > 1 and np.abs(ways[0].across).max() < 1.5
    assert np.abs(ways[0].distance - 5).max() < 0.35
    assert np.abs(np.diff(ways[0].yaw)).max() <= 220 * 0.04 + 1e-6


def test_people_walk_where_they_look_and_step_with_either_leg():
    times = np.arange(0, 4, 0.02)
    way, manner = sample_way(np.random.default_rng(1), times, 5.0, 3.0), sample_manner(np.random.default_rng(2))
    moved = np.diff(way.across)
    fast = np.abs(moved) > 0.01
    assert (np.sign(moved[fast]) == np.sign(np.sin(np.deg2rad(way.yaw[1:][fast])))).all()
    poses = [walking_pose(manner, way, i, time) for i, time in enumerate(times)]
    hips = {side: np.array([pose.legs[side][0] for pose in poses]) for side in ("left", "right")}
    arms = {side: np.array([pose.arms[side][0] for pose in poses]) for side in ("left", "right")}
    assert np.corrcoef(hips["left"], hips["right"])[0, 1] < -0.7
    assert np.corrcoef(hips["left"], arms["right"])[0, 1] > 0.7
    assert min(pose.legs[side][3] for pose in poses for side in ("left", "right")) >= 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_frames": 0}, "num_frames must be an integer above 0"),
        ({"num_people": 21}, "num_people must be an integer from 1 to 20"),
        ({"num_people": 2.5}, "num_people"),
        ({"fps": 0}, "fps must be above 0"),
        ({"name": "../x"}, "without folders"),
    ],
)
def test_unusable_settings_are_refused(tmp_path, change, message):
    settings = {"name": "x", "num_frames": 1, "num_people": 1, "seed": 0, **change}
    with pytest.raises(InputError, match=message):
        render_video(tmp_path, **settings)
    assert not list(tmp_path.iterdir())
