import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from hrnet_tf import InputError, geometry, heatmaps
from hrnet_tf.data import coco, pipeline
from hrnet_tf.data.augment import Augmentation
from hrnet_tf.data.crops import TrainingCrops
from hrnet_tf.data.records import read_image
from hrnet_tf.data.sequence import CropSequence
from hrnet_tf.data.targets import Targets, keypoint_weights_by_name
from hrnet_tf.skeletons import COCO, flip_order

SIZE = (64, 48)
PLAIN = Augmentation(0, 0, 0, 0)
FLIP_ORDER = flip_order(COCO.flip_pairs, COCO.num_keypoints)


def batches(records, first=0, last=6, augmentation=None, seed=0, batch_size=3, **options):
    augmentation = augmentation or Augmentation()
    dataset = pipeline.training_dataset(records, SIZE, batch_size, 2.0, augmentation, seed, first, last, **options)
    return [[tensor.numpy() for tensor in batch] for batch in dataset]


def cutter(records, augmentation=None, seed=0, batch_size=3, size=SIZE, steps=(0, 1000)):
    sequence = CropSequence(records, size, batch_size, augmentation or Augmentation(), seed)
    return TrainingCrops(sequence, *steps)


def alone(crops, sample):
    """A sample cut from its image as if there were no others."""
    return crops.cut(read_image(crops.records.path(crops.sequence.subject(sample))), [sample])[0]


@pytest.fixture
def records(dataset):
    return coco.load_split(str(dataset), "tiny")


def same(a, b):
    return all(np.array_equal(x, y) for left, right in zip(a, b, strict=True) for x, y in zip(left, right, strict=True))


def test_shapes_and_types(records):
    dataset = pipeline.training_dataset(records, SIZE, 3, 2.0, Augmentation(), 0, 0, 2)
    specs = [(tuple(spec.shape), spec.dtype) for spec in dataset.element_spec]
    assert specs == [((3, 64, 48, 3), tf.uint8), ((3, 16, 12, 17), tf.float32), ((3, 17), tf.float32)]


def test_same_seed_same_batches_and_any_step_can_be_the_first(records):
    whole = batches(records)
    assert same(whole, batches(records))
    assert same(whole[4:], batches(records, first=4))
    assert not same(whole, batches(records, seed=1))


def test_everybody_is_seen_in_every_epoch_and_orders_differ(records):
    assert pipeline.steps_per_epoch(8, 3) == 3
    crops = cutter(records, batch_size=3)
    epochs = [[crops.sequence.subject(sample) for sample in range(9 * epoch, 9 * epoch + 9)] for epoch in range(2)]
    for epoch in epochs:
        assert sorted(epoch[:8]) == list(range(8))
        assert epoch[8] == epoch[0]  # the last batch is filled up
    assert epochs[0] != epochs[1]
    crops = cutter(records.take([0, 1]), batch_size=5)
    assert [len(part) for part in crops(0)] == [5, 5, 5]


def test_keypoints_follow_the_image_through_every_augmentation(records):
    """A white dot painted on a keypoint is found at that keypoint's place in the augmented crop."""
    crops = cutter(records, Augmentation(scale=0.2), size=(256, 192))
    checked = 0
    for sample in range(40):
        person = crops.sequence.subject(sample)
        for k in (0, 9, 10):
            image = np.zeros((120, 160, 3), np.uint8)
            x, y = records.keypoints[person, k].round().astype(int)
            image[y, x] = 255
            ((crop, keypoints, _),) = crops.cut(image, [sample])
            where = np.argwhere(crop[..., 0] > crop.max() / 2)
            # After a flip, keypoint k is the mirrored person's other side.
            expected = keypoints[[k, FLIP_ORDER[k]]]
            if crop.max() < 128:
                continue
            distance = np.linalg.norm(expected - where.mean(0)[::-1], axis=1).min()
            pixel = 256 / records.crops((256, 192))[1][person, 1] / 0.8
            assert distance < 1.2 * pixel
            checked += 1
    assert checked > 60


@pytest.mark.parametrize("codec", ["msra", "udp"])
def test_mirrored_crops_are_those_of_the_mirrored_picture(records, codec):
    """Crops with a flip, and those without one of pictures, boxes and keypoints that are mirrored beforehand."""
    width, visible = 160, (np.random.default_rng(0).uniform(size=(8, 17)) < 0.8).astype(np.float32)
    records = dataclasses.replace(records, visible=visible)
    boxes, keypoints = records.boxes.copy(), records.keypoints[:, FLIP_ORDER].copy()
    boxes[:, 0] = width - 1 - boxes[:, 0] - boxes[:, 2]
    keypoints[..., 0] = width - 1 - keypoints[..., 0]
    mirrored_records = dataclasses.replace(records, boxes=boxes, keypoints=keypoints, visible=visible[:, FLIP_ORDER])
    flips, plain = (
        TrainingCrops(CropSequence(people, SIZE, 3, Augmentation(flip_probability=flip), 0, codec), 0, 9)
        for people, flip in ((records, 1.0), (mirrored_records, 0.0))
    )
    for sample in range(27):
        image = read_image(records.path(flips.sequence.subject(sample)))
        ((crop, keypoints, visible),) = flips.cut(image, [sample])
        ((expected, expected_keypoints, expected_visible),) = plain.cut(np.ascontiguousarray(image[:, ::-1]), [sample])
        np.testing.assert_allclose(keypoints, expected_keypoints, atol=1e-3)
        np.testing.assert_array_equal(visible, expected_visible)
        assert np.abs(crop.astype(int) - expected).max() <= 2


def test_targets_are_those_of_the_crops_keypoints(records):
    crops = cutter(records, seed=5)
    images, maps, weights = batches(records, last=1, seed=5)[0]
    samples = [alone(crops, sample) for sample in range(3)]
    np.testing.assert_array_equal(images, [image for image, _, _ in samples])
    expected = heatmaps.encode(np.array([k for _, k, _ in samples]), np.array([v for *_, v in samples]), SIZE, 2.0)
    np.testing.assert_allclose(maps, expected[0], atol=1e-6)
    np.testing.assert_array_equal(weights, expected[1])


def test_evaluation_sees_everybody_once(records):
    dataset = pipeline.evaluation_dataset(records, SIZE, 3)
    people = np.concatenate([index.numpy() for _, index in dataset])
    assert people.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, -1]
    images = np.concatenate([batch.numpy() for batch, _ in dataset])
    assert not images[8].any()
    matrices = pipeline.crop_matrices(records, SIZE)
    np.testing.assert_array_equal(images[5], geometry.warp(read_image(records.path(5)), matrices[5], SIZE))


def truncate(records, person):
    path = records.path(person)
    with open(path, "rb") as file:
        data = file.read()
    with open(path, "wb") as file:
        file.write(data[: len(data) // 2])
    return path


def test_a_truncated_image_ends_the_iteration_and_is_named(records):
    path = truncate(records, 2)
    for dataset in (
        pipeline.training_dataset(records, SIZE, 3, 2.0, PLAIN, 0, 0, 3),
        pipeline.evaluation_dataset(records, SIZE, 3),
    ):
        with pytest.raises(tf.errors.OpError) as caught:
            list(dataset)
        error = pipeline.input_error(caught.value)
        assert isinstance(error, InputError) and str(error).startswith(f"cannot decode image {path}")
        assert "\n" not in str(error)


def test_other_errors_are_not_taken_for_bad_input():
    assert pipeline.input_error(tf.errors.InternalError(None, None, "something else")) is None


def test_bad_images_are_reported_and_others_take_their_place(records):
    path = truncate(records, 2)  # people 2 and 3
    seen = []
    for image, _, weight in batches(records, last=3, augmentation=PLAIN, on_bad_image=lambda e: seen.append(str(e))):
        assert image.any(axis=(1, 2, 3)).all() and weight.all()
    assert seen and all(path in text for text in seen)
    assert same(*(batches(records, last=3, on_bad_image=lambda e: None) for _ in range(2)))
    found = []
    for _, index in pipeline.evaluation_dataset(records, SIZE, 3, on_bad_image=lambda e: None):
        found.extend(index.numpy().tolist())
    assert found == [0, 1, -1, -1, 4, 5, 6, 7, -1]
    for person in (0, 4, 6):
        truncate(records, person)
    with pytest.raises(tf.errors.OpError, match=r"none of the images can be read"):
        batches(records, on_bad_image=lambda e: None)


def test_no_tuning_that_the_end_of_an_iteration_would_wait_for(records):
    # tf.data's tuner sleeps longer and longer, and an iterator cannot be deleted before it wakes up.
    training = pipeline.training_dataset(records, SIZE, 2, 2.0, PLAIN, 0, 0, 4)
    for dataset in (training, pipeline.evaluation_dataset(records, SIZE, 2)):
        assert dataset.options().autotune.enabled is False


def test_training_needs_little_more_than_the_crops_on_its_devices(records):
    """Of keypoints, `Targets` makes on the device what `training_dataset` would send."""
    options = {"codec": "udp", "seed": 3, "first_step": 1, "last_step": 3}
    crops = pipeline.keypoint_dataset(records, SIZE, 3, Augmentation(), **options)
    targets = Targets(SIZE, 17, 2.0, "udp", keypoint_weights_by_name(COCO.names), supervise_absent=True)
    on_device = tf.function(targets, jit_compile=True)
    expected = batches(
        records, 1, 3, seed=3, codec="udp", keypoint_weights=keypoint_weights_by_name(COCO.names), supervise_absent=True
    )
    for (images, *labels), whole in zip(crops, expected, strict=True):
        assert sum(label.dtype.size * np.prod(label.shape) for label in labels) < images.shape[0] * 17 * 16
        np.testing.assert_array_equal(images, whole[0])
        for found, wanted in zip(on_device(*labels), whole[1:], strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-6)
