"""Whole images with all their people: what is read, how crops are drawn and masked, and their targets."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from conftest import write_annotations, write_dataset
from pycocotools import mask as coco_mask

from hrnet_tf import InputError, geometry
from hrnet_tf.data import coco, pipeline, regions, sequence
from hrnet_tf.data.augment import ImageAugmentation, sample_image_crops
from hrnet_tf.data.crops import TrainingCrops
from hrnet_tf.data.images import MAX_PEOPLE
from hrnet_tf.data.records import read_image
from hrnet_tf.data.targets import ImageTargets
from hrnet_tf.skeletons import COCO, flip_order

GOLDEN = np.load(pathlib.Path(__file__).parent / "golden/higher_targets.npz")
SIZE = (64, 64)
# A crop with the image's middle in its own, of the image's shorter side.
PLAIN = ImageAugmentation((1.0, 1.0), 0.0, 0.0, 0.0)
FLIPPED = dataclasses.replace(PLAIN, flip_probability=1.0)


def edited(root, edit, **options):
    content = write_dataset(root, **options)
    edit(content)
    write_annotations(root, "tiny", content)
    return coco.load_images(str(root), "tiny")


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    write_dataset(root)
    return coco.load_images(str(root), "tiny")


def drawn(records, augmentation=PLAIN, seed=0, size=SIZE, steps=(0, 1), batch_size=4):
    """Batches by image, as arrays."""
    samples = sequence.ImageSequence(records, size, batch_size, augmentation, seed)
    crops = TrainingCrops(samples, *steps)
    return samples, [crops(step) for step in range(*steps)]


# Targets


@pytest.mark.parametrize("size", [128, 256])
def test_targets_are_the_references(size):
    joints = GOLDEN[f"joints_{size}"]
    keypoints, visible = np.zeros((1, 30, 17, 2), np.float32), np.zeros((1, 30, 17), np.float32)
    keypoints[0, : len(joints)], visible[0, : len(joints)] = joints[..., :2], joints[..., 2] > 0
    stride = 512 // size
    targets = tf.function(ImageTargets((512, 512), 2.0), jit_compile=True)
    maps, indices = targets(keypoints * stride, visible, stride)
    np.testing.assert_allclose(maps[0], GOLDEN[f"heatmaps_{size}"].transpose(1, 2, 0), atol=1e-3)
    # There a person's keypoints are moved together, those that count first.
    for found, expected in zip(indices[0].numpy(), GOLDEN[f"indices_{size}"], strict=True):
        assert found[found[:, 1] == 1].tolist() == expected[expected[:, 1] == 1].tolist()
        assert not found[found[:, 1] == 0].any()


def test_the_larger_of_two_peoples_gaussians_counts():
    keypoints, visible = np.zeros((1, 30, 1, 2), np.float32), np.zeros((1, 30, 1), np.float32)
    keypoints[0, :2, 0], visible[0, :2] = [[16, 16], [24, 16]], 1
    both, _ = ImageTargets(SIZE, 2.0)(keypoints, visible, 4)
    alone = [ImageTargets(SIZE, 2.0)(keypoints[:, [i] + [2] * 29], visible[:, [i] + [2] * 29], 4)[0] for i in (0, 1)]
    np.testing.assert_array_equal(both, np.maximum(*alone))


# Augmentation


def test_crops_are_cut_by_the_references_matrices():
    rows = GOLDEN["augment_wh_center_scale_rotation_matrix128_matrix512"]
    for _, _, x, y, scale, rotation, *matrices in rows:
        small, large = np.array(matrices).reshape(2, 2, 3)
        found = geometry.affine_matrix([[x, y]], [[200 * scale] * 2], rotation, (512, 512))[0]
        np.testing.assert_allclose(found, large, atol=1e-3)
        np.testing.assert_allclose(found / 4, small, atol=1e-3)  # what strides of the targets rest on


def test_augmentation_is_as_strong_as_the_references():
    sizes = np.tile([[640, 480], [300, 500]], (4000, 1))
    center, size, rotation, flip = sample_image_crops(np.random.default_rng(0), sizes, ImageAugmentation())
    short = sizes.min(1)
    assert (size[:, 0] == size[:, 1]).all()
    ratio = size[:, 0] / short
    assert 0.75 <= ratio.min() < 0.752 and 1.498 < ratio.max() <= 1.5 and abs(ratio.mean() - 1.125) < 0.01
    assert -30 <= rotation.min() < -29.9 and 29.9 < rotation.max() <= 30 and abs(rotation.std() - 30 / 3**0.5) < 0.3
    shift = (center - sizes / 2) / (size / 200)  # ±40 pixels of a person 200 pixels high
    assert -40 <= shift.min() < -39.9 and 39.9 < shift.max() <= 40
    assert abs(np.corrcoef(shift[:, 0], shift[:, 1])[0, 1]) < 0.03
    assert abs(flip.mean() - 0.5) < 0.02


def test_keypoints_and_mask_follow_the_image_through_every_augmentation(tmp_path):
    """A white dot on a keypoint is found at that keypoint's place in the crop, a dark one in the region's hole."""

    def edit(content):
        for person in content["annotations"][1::2]:  # everybody's second is masked, where the first one's nose is
            nose = content["annotations"][person["id"] - 2]["keypoints"][:2]
            person["iscrowd"], person["segmentation"] = 1, [square(*nose, 6)]

    images = edited(tmp_path, edit, num_images=12)
    samples = sequence.ImageSequence(images, (256, 256), 4, ImageAugmentation(), 0)
    order, checked = flip_order(COCO.flip_pairs, 17), 0
    for sample in range(48):
        frame = samples.frame(sample)
        person = np.searchsorted(images.people.image_index, images.image_index[frame.subjects])
        for k in (0, 9):
            picture = np.zeros((120, 160, 3), np.uint8)
            x, y = images.people.keypoints[person, k].round().astype(int)
            picture[y, x] = 255
            crop, keypoints, visible, mask = samples.cut(picture, frame)
            if crop.max() < 128:
                continue
            where = np.argwhere(crop[..., 0] > crop.max() / 2).mean(0)[::-1]
            expected = keypoints[0, [k, order[k]]]
            assert np.linalg.norm(expected - where, axis=1).min() < 1.2 * 256 / 90
            assert visible[0].all() and not visible[1:].any()
            if k == 0 and (where > 3).all() and (where < 253).all():
                assert mask[tuple((where[::-1] / 2).astype(int))] == 0
                checked += 1
    assert checked > 20


def square(x, y, half):
    return [x - half, y - half, x + half, y - half, x + half, y + half, x - half, y + half]


def test_mirrored_crops_are_those_of_the_mirrored_picture(tmp_path):
    crowd = {"iscrowd": 1, "segmentation": [square(40, 60, 20)]}
    images = edited(tmp_path, lambda content: content["annotations"][0].update(crowd))
    (_, [plain]), (_, [flipped]) = drawn(images), drawn(images, FLIPPED)
    order, mirrored = flip_order(COCO.flip_pairs, 17), lambda array: array[:, :, 63:0:-1]
    np.testing.assert_allclose(mirrored(flipped[0]).astype(int), plain[0][:, :, 1:], atol=2)
    np.testing.assert_allclose(flipped[1][..., 0], np.where(flipped[2] > 0, 64 - plain[1][..., order, 0], 0), atol=1e-4)
    np.testing.assert_array_equal(flipped[2], plain[2][..., order])
    assert (flipped[3][:, :, :0:-1] != plain[3][:, :, 1:]).mean() < 0.02  # pixels that the region's border goes through
    assert 0 < (plain[3] == 0).mean() < 0.5


# Masks

HALF = [0, 0, 80, 0, 80, 120, 0, 120]  # the left half of the image


def run_lengths(compressed):
    left = np.zeros((120, 160), np.uint8, order="F")
    left[:, :80] = 1
    if not compressed:
        return {"size": [120, 160], "counts": [0, 80 * 120, 80 * 120]}
    return {"size": [120, 160], "counts": coco_mask.encode(left)["counts"].decode()}


@pytest.mark.parametrize("segments", [[HALF], [HALF[:4], HALF], run_lengths(False), run_lengths(True)])
def test_polygons_and_run_lengths_mask_the_same(tmp_path, segments):
    def edit(content):
        content["annotations"][0].update(iscrowd=1, segmentation=segments)

    images = edited(tmp_path, edit)
    assert not [line for line in images.omissions if "boxes" in line]
    samples, [(_, _, visible, mask)] = drawn(images)
    first = [samples.subject(i) for i in range(4)].index(0)
    np.testing.assert_array_equal(mask[first], np.tile(np.arange(32) >= 16, (32, 1)))
    assert mask[np.arange(4) != first].all() and mask.dtype == np.uint8
    assert (visible[first].sum(), visible.sum()) == (17, 7 * 17)


@pytest.mark.parametrize(
    "segments",
    [
        None,
        [],
        [[1, 2, 3]],
        [["a"] * 6],
        [5],
        {"size": [160, 120], "counts": [0, 19200]},
        {"size": [120, 160], "counts": [5, 10**9]},
        {"size": [120, 160], "counts": [-5, 19205]},
        {"size": [120, 160], "counts": "zzzzz"},
        {"size": [120, 160], "counts": None},
        {"size": [120, 160], "counts": [[1], 2]},
    ],
)
def test_the_box_is_masked_where_there_are_no_segments_and_that_is_said(tmp_path, segments):
    def edit(content):
        content["annotations"][0].update(keypoints=[0] * 51, bbox=[-500, -3, 580, 1000], segmentation=segments)

    images = edited(tmp_path, edit)
    said = (
        "read: 1 people who are not trained on and have no segments, as their boxes: masked in training (annotation 1)"
    )
    assert said in images.omissions
    samples, [(*_, mask)] = drawn(images)
    first = [samples.subject(i) for i in range(4)].index(0)
    np.testing.assert_array_equal(mask[first], np.tile(np.arange(32) >= 16, (32, 1)))


def test_beyond_the_image_everything_counts(tmp_path):
    def edit(content):
        content["annotations"][0].update(iscrowd=1, segmentation=[[0, 0, 160, 0, 160, 120, 0, 120]])

    samples, [(images, _, _, mask)] = drawn(edited(tmp_path, edit), ImageAugmentation((1.5, 1.5), 30.0, 0.2, 0.5))
    beyond = ~images.any(-1)[:, ::2, ::2]
    first = [samples.subject(i) for i in range(4)].index(0)
    assert 0.1 < beyond.mean() < 0.6
    assert (beyond[first] == (mask[first] == 1)).mean() > 0.97 and mask[np.arange(4) != first].all()


def test_compressed_run_lengths_are_read_as_pycocotools_reads_them():
    rng = np.random.default_rng(0)
    for share in (0.001, 0.1, 0.5):
        region = coco_mask.encode(np.asfortranarray(rng.random((60, 70)) < share, np.uint8))
        found = regions.region_of_segments({"size": [60, 70], "counts": region["counts"].decode()}, (60, 70))
        assert found["counts"] == region["counts"]


def test_far_polygons_cost_nothing():
    far = [[-1e6, -1e6, 1e6, -1e6, 1e6, 1e6, -1e6, 1e6]]
    region = regions.region_of_segments(far, (12, 16))
    assert coco_mask.decode(region).all()


# Who is shown


def test_images_without_people_are_left_out_and_those_with_crowds_alone_are_not(tmp_path):
    def edit(content):
        del content["annotations"][2:4]
        for person in content["annotations"][:2]:
            person.update(iscrowd=1, segmentation=[HALF])

    images = edited(tmp_path, edit)
    assert images.image_index.tolist() == [0, 2, 3] and len(images) == 3
    assert "left out: 1 of 4 images without people" in images.omissions
    _, [(*_, visible, _)] = drawn(images, batch_size=3)
    assert sorted(visible.any(-1).sum(-1).tolist()) == [0, 2, 2]


def test_of_200_people_the_largest_are_trained_on_and_the_others_masked(tmp_path):
    def edit(content):
        for i, person in enumerate(content["annotations"]):
            person["bbox"] = [1, 1, 20 + i % 200, 50]  # cut at the image's border from 158 on

    images = edited(tmp_path, edit, num_images=2, people_per_image=200)
    assert len(images.people) == 2 * MAX_PEOPLE
    assert any(line.startswith("left out: 340 of 400 people of images with more than 30") for line in images.omissions)
    assert images.people.boxes[:, 2].min() > 150
    _, [(_, keypoints, visible, mask)] = drawn(images, batch_size=2)
    assert visible.shape == (2, MAX_PEOPLE, 17) and visible.all()
    assert (keypoints[visible > 0] != 0).any(-1).all() and (mask == 0).any()


def test_images_smaller_than_the_network_can_take_are_enlarged(tmp_path):
    images = edited(tmp_path, lambda content: None, size=(20, 28))
    _, [(crops, keypoints, visible, mask)] = drawn(images)
    assert crops.any((1, 2, 3)).all() and mask.all()
    inside = ((keypoints >= 0) & (keypoints < 64)).all(-1)[visible > 0]
    assert inside.mean() > 0.8


def test_an_image_of_too_many_pixels_is_refused_before_its_mask_is_made(tmp_path):
    def edit(content):
        content["images"][0].update(width=900_000, height=900_000)
        content["annotations"][0].update(iscrowd=1, segmentation=[HALF])

    with pytest.raises(InputError, match="900000 x 900000 pixels"):
        edited(tmp_path, edit)


# The pipeline


def test_batches_follow_from_the_seed_and_the_step_alone(records):
    def batches(first, seed):
        dataset = pipeline.image_dataset(records, SIZE, 3, ImageAugmentation(), seed, first, 6)
        return [[array.numpy() for array in batch] for batch in dataset]

    whole = batches(0, seed=0)
    assert [array.shape for array in whole[0]] == [(3, 64, 64, 3), (3, 30, 17, 2), (3, 30, 17), (3, 32, 32)]
    for a, b in ((whole, batches(0, seed=0)), (whole[4:], batches(4, seed=0))):
        assert all(
            np.array_equal(x, y) for left, right in zip(a, b, strict=True) for x, y in zip(left, right, strict=True)
        )
    assert not np.array_equal(whole[0][0], batches(0, seed=1)[0][0])
    samples, _ = drawn(records, batch_size=3)
    epochs = [[samples.subject(sample) for sample in range(6 * epoch, 6 * epoch + 4)] for epoch in range(3)]
    assert all(sorted(epoch) == [0, 1, 2, 3] for epoch in epochs) and len({tuple(epoch) for epoch in epochs}) > 1


def test_a_bad_image_is_named_or_another_takes_its_place(tmp_path):
    write_dataset(tmp_path)
    images = coco.load_images(str(tmp_path), "tiny")
    path = pathlib.Path(images.path(1))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(tf.errors.OpError) as caught:
        list(pipeline.image_dataset(images, SIZE, 2, PLAIN, 0, 0, 2))
    assert str(path) in str(pipeline.input_error(caught.value))
    seen = []
    dataset = pipeline.image_dataset(
        images, SIZE, 2, PLAIN, 0, 0, 2, on_bad_image=lambda error: seen.append(str(error))
    )
    for crops, _, visible, _ in dataset:
        assert crops.numpy().any((1, 2, 3)).all() and visible.numpy().any((1, 2)).all()
    assert seen and str(path) in seen[0]


def test_what_travels_to_the_device_is_little_more_than_the_image(records):
    (batch,) = pipeline.image_dataset(records, (512, 512), 1, PLAIN, 0, 0, 1)
    image, *labels = (array.dtype.size * int(np.prod(array.shape)) for array in batch)
    assert sum(labels) < 0.11 * image


def test_who_counts_is_who_counts_for_people(tmp_path):
    content = write_dataset(tmp_path)
    content["annotations"][0]["area"] = 0
    (tmp_path / "annotations/person_keypoints_tiny.json").write_text(json.dumps(content))
    images, people = coco.load_images(str(tmp_path), "tiny"), coco.load_split(str(tmp_path), "tiny")
    np.testing.assert_array_equal(images.people.keypoints, people.keypoints)
    assert [region is not None for region in images.regions] == [True, False, False, False]
    assert read_image(images.path(0)).shape == (120, 160, 3)
