"""Keypoints of one published set as those of another."""

import csv
import json

import keras
import numpy as np
import pytest
from tool_runs import complaint, run

from hrnet_tf import InputError, PosePredictor, visualize
from hrnet_tf.data.records import read_image
from hrnet_tf.skeletons import NAMES, Skeleton, convert, named

PARTS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
TWELVE = {f"{side}_{part}" for side in ("left", "right") for part in PARTS}


def people(name, count=2):
    """[count,K,3] of a set, no two alike and all scored above 0."""
    num_keypoints = named(name).num_keypoints
    values = np.arange(1, count * num_keypoints * 3 + 1, dtype=np.float32).reshape(count, num_keypoints, 3)
    values[..., 2] /= values.max()
    return values


def converted(source, target):
    """{name in the target: [N,3]} of what is there, and {name in the source: [N,3]} of what it was made of."""
    given = people(source)
    result = convert(given, named(source), named(target))
    assert result.dtype == np.float32 and result.shape == (2, named(target).num_keypoints, 3)
    found = {name: result[:, k] for k, name in enumerate(named(target).names)}
    absent = [name for name, points in found.items() if not points.any()]
    return {name: found[name] for name in found if name not in absent}, dict(
        zip(named(source).names, given.swapaxes(0, 1), strict=True)
    )


def middle(a, b):
    return np.concatenate([(a[:, :2] + b[:, :2]) / 2, np.minimum(a[:, 2:], b[:, 2:])], axis=1)


@pytest.mark.parametrize(
    ("source", "target", "names"),
    [
        ("coco", "mpii", TWELVE),
        ("mpii", "coco", TWELVE),
        ("coco_wholebody", "coco", set(named("coco").names)),
        ("halpe", "coco", set(named("coco").names)),
        ("halpe26", "coco", set(named("coco").names)),
        ("halpe", "coco_wholebody", set(named("coco_wholebody").names)),
        ("coco_wholebody", "300w", set(named("300w").names)),
        ("openpose25", "coco", set(named("coco").names)),
        ("openpose25", "openpose18", set(named("openpose18").names)),
        ("rhd", "hand21", set(named("hand21").names)),
        ("posetrack18", "coco", set(named("coco").names) - {"left_eye", "right_eye"}),
    ],
)
def test_the_same_keypoints_are_moved_as_they_are(source, target, names):
    found, given = converted(source, target)
    assert found.keys() == names
    for name, points in found.items():
        np.testing.assert_array_equal(points, given[name])


def test_one_point_may_have_several_names():
    found, given = converted("mpii", "crowdpose")
    np.testing.assert_array_equal(found["head"], given["head_top"])
    found, given = converted("aic", "mpii")
    np.testing.assert_array_equal(found["left_wrist"], given["Left Wrist"])
    np.testing.assert_array_equal(found["head_top"], given["Head top"])
    found, given = converted("mpii", "posetrack18")
    np.testing.assert_array_equal(found["head_bottom"], given["upper_neck"])
    # The head of JHMDB is the face's, not the top of it.
    assert "head_top" not in converted("jhmdb", "mpii")[0]


@pytest.mark.parametrize("source", ["coco", "halpe26", "coco_wholebody"])
@pytest.mark.parametrize("target", ["openpose18", "openpose25"])
def test_openpose_has_a_neck_and_a_hip_between_two(source, target):
    found, given = converted(source, target)
    np.testing.assert_array_equal(found["neck"], middle(given["left_shoulder"], given["right_shoulder"]))
    if target == "openpose25":
        np.testing.assert_array_equal(found["mid_hip"], middle(given["left_hip"], given["right_hip"]))
    feet = [name for name in found if name.endswith(("toe", "heel"))]
    assert len(feet) == (6 if target == "openpose25" and source != "coco" else 0)
    assert len(found) == named(target).num_keypoints - (6 if target == "openpose25" and source == "coco" else 0)


def test_the_orders_of_openpose():
    """As its documentation numbers them: 4 and 7 are the wrists, 8 is a hip or the middle of both."""
    assert [named("openpose18").names[i] for i in (0, 1, 4, 7, 8, 14, 17)] == [
        *("nose", "neck", "right_wrist", "left_wrist", "right_hip", "right_eye", "left_ear")
    ]
    assert [named("openpose25").names[i] for i in (0, 1, 4, 7, 8, 11, 19, 24)] == [
        *("nose", "neck", "right_wrist", "left_wrist", "mid_hip", "right_ankle", "left_big_toe", "right_heel")
    ]
    assert named("openpose") == named("openpose25")


def test_between_two_of_which_one_is_absent_is_nothing():
    given = people("coco", 1)
    given[0, 5] = 0
    result = convert(given, named("coco"), named("openpose25"))
    assert not result[0, 1].any() and result[0, 8].all()


@pytest.mark.parametrize("name", NAMES)
def test_a_set_converts_to_itself_unchanged(name):
    given = people(name)
    np.testing.assert_array_equal(convert(given, named(name), named(name)), given)


def test_nobody_and_integers():
    assert convert(np.zeros((0, 17, 3)), named("coco"), named("mpii")).shape == (0, 16, 3)
    assert convert(np.ones((1, 17, 3), int), named("coco"), named("openpose18"))[0, 1].tolist() == [1, 1, 1]


def test_sets_of_other_things_are_refused():
    with pytest.raises(InputError, match=r"no keypoint is in both sets: there are nose, .*wanted are wrist"):
        convert(people("coco"), named("coco"), named("hand21"))
    # Numbers of points are no names: another face has other points.
    for target in ("cofw", "aflw", "300w"):
        with pytest.raises(InputError, match="no keypoint is in both sets"):
            convert(people("wflw"), named("wflw"), named(target))
    with pytest.raises(InputError, match=r"must have shape \[N, 17, 3\]. Received: \(17, 3\)"):
        convert(people("coco")[0], named("coco"), named("mpii"))


def test_a_set_of_ones_own_is_converted_by_names():
    own = Skeleton(("tail", "nose"), (), (), (0.1, 0.1), (0, 1))
    result = convert(np.array([[[1, 2, 0.5], [3, 4, 0.6]]]), own, named("coco"))
    assert result[0, 0].tolist() == [3, 4, 0.6] and not result[0, 1:].any()


@pytest.fixture(scope="module")
def photo_and_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conversion")
    keras.utils.set_random_seed(0)
    inputs = keras.Input((64, 48, 3))
    x = keras.layers.Conv2D(17, 5, strides=4, padding="same")(keras.layers.Rescaling(1 / 255)(inputs))
    keras.Model(inputs, x).save(folder / "small.keras")
    image = np.random.default_rng(0).integers(0, 256, (90, 60, 3), dtype=np.uint8)
    visualize.write_image(folder / "photo.png", image)
    return folder / "photo.png", folder / "small.keras"


def test_predict_writes_another_set(photo_and_model, tmp_path):
    photo, model = photo_and_model
    flags = {"keypoints": "openpose", "flip_test": "false", "score_threshold": 0, "whole_image": "true"}
    result = run("predict", model=model, input=photo, out_dir=tmp_path / "o", **flags)
    assert result.returncode == 0, result.stderr
    (person,) = json.loads((tmp_path / "o" / "predictions.json").read_text())
    ours = PosePredictor(model, flip_test=False)(photo)
    assert person["keypoint_set"] == "openpose"
    expected = convert(ours, named("coco"), named("openpose25"))
    np.testing.assert_allclose(np.reshape(person["keypoints"], (25, 3)), expected[0], atol=1e-3)
    # The person's score is that of the network's keypoints: what is absent does not lower it.
    counted = ours[0, ours[0, :, 2] > 0.2, 2]
    assert person["score"] == pytest.approx(counted.mean() if len(counted) else 0, abs=1e-3)
    with open(tmp_path / "o" / "predictions.csv", newline="", encoding="utf-8") as file:
        assert [row["keypoint"] for row in csv.DictReader(file)] == list(named("openpose25").names)
    drawn = visualize.draw_keypoints(read_image(photo), expected, named("openpose25"), 0)
    np.testing.assert_array_equal(read_image(tmp_path / "o" / "photo.png"), drawn)


@pytest.mark.parametrize(
    ("keypoints", "words"),
    [
        ("openpoze", "no keypoint set is called 'openpoze'. The nearest: openpose"),
        ("wflw", "no keypoint is in both sets"),
    ],
)
def test_predict_refuses_sets_that_the_network_has_nothing_of(photo_and_model, tmp_path, keypoints, words):
    photo, model = photo_and_model
    result = run("predict", model=model, input=photo, out_dir=tmp_path / "o", keypoints=keypoints, whole_image=True)
    assert words in complaint(result)
    assert not (tmp_path / "o").exists()
