"""Images are decoded once an epoch for all their people, and nobody can tell from the batches."""

import collections
import threading
from concurrent import futures

import cv2
import numpy as np
import pytest
from conftest import write_dataset

from hrnet_tf import geometry
from hrnet_tf.data import coco, crops, order, sequence
from hrnet_tf.data.augment import Augmentation
from hrnet_tf.data.records import read_image
from hrnet_tf.workers import WHOLE, Share

SIZE = (64, 48)
NUM_IMAGES, BATCH = 12, 7
STEPS = order.steps_per_epoch(3 * NUM_IMAGES, BATCH)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_dataset(root, num_images=NUM_IMAGES, people_per_image=3)
    return coco.load_split(str(root), "tiny")


@pytest.fixture
def reads(monkeypatch):
    """How often each image is read."""
    counts, lock = collections.Counter(), threading.Lock()

    def counted(path):
        with lock:
            counts[path] += 1
        return read_image(path)

    monkeypatch.setattr(crops, "read_image", counted)
    return counts


def cutter(records, first_step=0, last_step=3 * STEPS):
    drawn = sequence.CropSequence(records, SIZE, BATCH, Augmentation(), 0)
    return crops.TrainingCrops(drawn, first_step, last_step)


def same(batch, other):
    return all(np.array_equal(part, other_part) for part, other_part in zip(batch, other, strict=True))


def test_each_image_is_read_once_an_epoch(records, reads):
    cut = cutter(records)
    for epoch in range(3):
        for step in range(epoch * STEPS, (epoch + 1) * STEPS):
            cut(step)
        fill = STEPS * BATCH - len(records)  # of the last batch, second turns of which nothing is kept
        assert len(reads) == NUM_IMAGES
        assert NUM_IMAGES * (epoch + 1) <= reads.total() <= (NUM_IMAGES + fill) * (epoch + 1)
        assert not cut._kept


def test_samples_are_those_of_an_image_read_for_one_person(records):
    cut = cutter(records)
    for step in (0, 1, STEPS - 1, STEPS):
        images, keypoints, visible = cut(step)
        for slot in range(BATCH):
            sample = step * BATCH + slot
            picture = read_image(records.path(cut.sequence.subject(sample)))
            ((image, points, seen),) = cut.cut(picture, [sample])
            np.testing.assert_array_equal(images[slot], image)
            np.testing.assert_array_equal(keypoints[slot], points)
            np.testing.assert_array_equal(visible[slot], seen)


# Turns of an epoch of 42 that are drawn at once: a few of them, with borders within batches, or all.
@pytest.mark.parametrize("block", [4, 16, 4096])
def test_batches_depend_neither_on_threads_nor_on_the_first_step(records, reads, monkeypatch, block):
    monkeypatch.setattr(sequence, "_BLOCK", block)
    whole = [cutter(records)(step) for step in range(2 * STEPS)]
    reads.clear()
    cut = cutter(records)
    with futures.ThreadPoolExecutor(8) as threads:
        assert all(map(same, threads.map(cut, range(2 * STEPS)), whole))
    assert max(reads.values()) <= 2 + 2 * (STEPS * BATCH - len(records))  # not twice for two threads
    late = cutter(records, first_step=STEPS - 2, last_step=2 * STEPS)
    assert all(same(late(step), whole[step]) for step in range(STEPS - 2, 2 * STEPS))
    assert not late._kept  # what is before its first step is not waited for
    assert same(cut(1), whole[1])  # an iteration that is begun anew


def test_every_sample_is_drawn_anew(records, monkeypatch):
    monkeypatch.setattr(sequence, "_BLOCK", 16)
    turned = sequence.CropSequence(records, SIZE, BATCH, Augmentation(0, 45, 0, 0), seed=0)
    samples = range(3 * STEPS * BATCH)
    frames = [turned.frame(sample) for sample in samples] + [turned.substitute(sample, 0) for sample in samples]
    angles = np.array([np.degrees(np.arctan2(frame.matrices[0, 1], frame.matrices[0, 0])) for frame in frames])
    angles = angles[(angles != 0) & (np.abs(angles) < 89.9)]
    assert abs(len(angles) / len(frames) - 0.6 * 0.954) < 0.08  # turned, and by less than two deviations
    assert len(np.unique(angles.round(4))) == len(angles)


def test_samples_are_drawn_many_at_a_time(records, monkeypatch):
    """Few generators and few computations of matrices, however many samples there are."""
    monkeypatch.setattr(sequence, "_BLOCK", 16)
    calls = collections.Counter()

    def counted(function):
        def call(*arguments, **options):
            calls[function.__name__] += 1
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(np.random, "default_rng", counted(np.random.default_rng))
    monkeypatch.setattr(geometry, "affine_matrix", counted(geometry.affine_matrix))
    monkeypatch.setattr(geometry, "transform_points", counted(geometry.transform_points))
    cut = cutter(records)
    for step in range(2 * STEPS):
        cut(step)
    assert calls == {"default_rng": 2 * (3 + 1), "affine_matrix": 2 * 3, "transform_points": 2 * 3}  # and an order


def test_people_of_an_image_are_apart_but_not_far():
    image_index = np.repeat(np.arange(20_000), 3)
    turns_apart, in_one_batch = [], 0
    people = order.EpochOrder(image_index, seed=0).people(5)
    assert np.array_equal(np.sort(people), np.arange(60_000))
    turns = np.empty(60_000, np.int64)
    turns[people] = np.arange(60_000)
    by_image = np.sort(turns.reshape(-1, 3), axis=1)
    turns_apart = by_image[:, 2] - by_image[:, 0]
    assert turns_apart.max() <= 1.2 * order.WINDOW
    assert abs(np.mean(turns_apart) - order.WINDOW / 2) < 0.05 * order.WINDOW  # of three uniform delays
    in_one_batch = np.mean(by_image[:, 0] // 32 == by_image[:, 1] // 32)
    assert in_one_batch < 0.1
    # Images come in random order: neighbours in the file are as far apart as any.
    assert abs(np.corrcoef(by_image[:-1, 0], by_image[1:, 0])[0, 1]) < 0.05


def test_few_crops_wait(records):
    cut = cutter(records)
    most = 0
    for step in range(STEPS):
        cut(step)
        most = max(most, sum(len(kept.result()) for kept in cut._kept.values()))
    assert 0 < most <= min(len(records), order.WINDOW + 3)


@pytest.fixture(scope="module")
def large_people(tmp_path_factory):
    """People in large, smooth JPEG images, of which crops of 64x48 are a fraction."""
    root = tmp_path_factory.mktemp("large")
    write_dataset(root, num_images=4, people_per_image=2, size=(900, 1203))
    for path in (root / "images" / "tiny").iterdir():
        smooth = cv2.GaussianBlur(cv2.imread(str(path)), (0, 0), 8)
        cv2.imwrite(str(path), cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX))
    return coco.load_split(str(root), "tiny")


def reduced_batches(people, steps, first_step=0, reduced=True, share=WHOLE):
    drawn = sequence.CropSequence(people, (64, 48), 3, Augmentation(), 0)
    cut = crops.TrainingCrops(drawn, first_step, 6, share=share, reduced=reduced)
    return [cut(step) for step in steps]


def test_crops_of_reduced_images_show_the_same(large_people, monkeypatch):
    factors = []
    read = crops.read_shrunk
    monkeypatch.setattr(crops, "read_shrunk", lambda path, factor: factors.append(factor) or read(path, factor))
    whole, reduced = (reduced_batches(large_people, range(3), reduced=r) for r in (False, True))
    assert set(factors) <= {2, 4, 8} and factors
    for wanted, found in zip(whole, reduced, strict=True):
        assert same(wanted[1:], found[1:])
        assert not np.array_equal(wanted[0], found[0])
        inside = np.abs(wanted[0].astype(float) - found[0])[:, 8:-8, 8:-8]
        # What half a pixel of the crop makes: crops that are as far off are told from these.
        moved = np.abs(np.diff(wanted[0].astype(float), axis=2))[:, 8:-8, 8:-8] / 2
        assert inside.mean() < 0.5 * moved.mean()


def test_reduced_batches_are_the_same_whoever_makes_them_and_from_wherever(large_people):
    whole = reduced_batches(large_people, range(6))
    assert all(map(same, reduced_batches(large_people, range(4, 6), first_step=4), whole[4:]))
    shares = [reduced_batches(large_people, range(6), share=Share(i, 3)) for i in range(3)]
    for step, batch in enumerate(whole):
        assert same([np.concatenate(parts) for parts in zip(*(share[step] for share in shares), strict=True)], batch)


def test_images_are_shrunk_as_far_as_no_crop_is_coarser():
    matrices = geometry.affine_matrix(np.zeros((2, 2)), np.array([[480, 640], [240, 320]]), 30, (64, 48))
    assert [geometry.reduction(m) for m in (matrices[:1], matrices[1:], matrices, matrices * 10)] == [8, 4, 4, 1]
    points = np.array([[3.5, 3.5], [11.5, 3.5]])  # middles of the first pixels of an eighth
    small = geometry.transform_points(np.array([[0, 0], [1, 0]]), geometry.of_reduced(matrices[0], 8))
    np.testing.assert_allclose(small, geometry.transform_points(points, matrices[0]), rtol=1e-6)
