"""MPII's release, a MATLAB file, whole and damaged."""

import pathlib

import numpy as np
import pytest
import scipy.io
from test_mpii import joints_at, load, person

from hrnet_tf import InputError
from hrnet_tf.data import mpii

RELEASE = "mpii_human_pose_v1_u12_1.mat"
# What MATLAB has in structs. A struct array is a record array; an unset field is an empty array.
UNSET = np.zeros((0, 0))


@pytest.fixture
def root(tmp_path):
    (tmp_path / "annot").mkdir()
    (tmp_path / "images").mkdir()
    return tmp_path


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
