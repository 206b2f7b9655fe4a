"""Grouping beside the reference's, in any number of people, with maps that are no numbers, and without TensorFlow."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import seeded
import tensorflow as tf
from scipy.optimize import linear_sum_assignment

from hrnet_tf import InputError, skeletons
from hrnet_tf.grouping import find_candidates, graph, group, keypoint_order

GOLDEN = seeded.load("higher_grouping")
STEPS = {"plain": (False, False), "adjust": (True, False), "full": (True, True)}
# Scenes in which several assignments cost the same.
TIED = (5, 7)
ORDER = keypoint_order(skeletons.COCO)


def scene(number):
    seed, num_people, height, width, *rest = GOLDEN[f"{number}_scene"]
    return maps(*map(int, (seed, num_people, height, width)), *rest)


def maps(seed, num_people, height, width, noise=0.05, dropped=0.1, tag_gap=2.0):
    heatmaps, tags = seeded.grouping_scene(seed, num_people, height, width, noise, dropped, tag_gap)
    return np.moveaxis(heatmaps, 0, 2), np.moveaxis(tags, 0, 2)


def in_order(people, scores):
    """People in an order that does not depend on how they were found."""
    rows = np.concatenate([people.reshape(len(people), 51), scores[:, None]], axis=1)
    return rows[np.lexsort(np.round(rows, 2).T)]


@pytest.mark.parametrize("steps", list(STEPS))
@pytest.mark.parametrize("number", [number for number in range(8) if number not in TIED])
def test_people_are_the_references(number, steps):
    people, scores = group(*scene(number), *STEPS[steps])
    expected = GOLDEN[f"{number}_{steps}_people"], GOLDEN[f"{number}_{steps}_scores"]
    assert people.shape == expected[0].shape and people.dtype == scores.dtype == np.float32
    np.testing.assert_allclose(in_order(people, scores), in_order(*expected), atol=1e-4)


@pytest.mark.parametrize("number", [*TIED, 6])
def test_assignments_cost_what_the_references_do(number):
    """Keypoint after keypoint, the cheapest assignment that joins whom the reference joined is the cheapest of all."""
    heatmaps, tags = scene(number)
    for found in (GOLDEN[f"{number}_plain_people"], group(heatmaps, tags, False, False)[0]):
        where = found[..., 1].astype(int), found[..., 0].astype(int), np.arange(17)
        tag_of, there = tags[where], found[..., 2] > 0
        np.testing.assert_array_equal(heatmaps[where][there], found[..., 2][there])
        # The first people that there are before a keypoint, who are asked whether it is theirs.
        before = np.zeros(len(found), bool)
        for k in ORDER:
            asked = np.flatnonzero(before)[:30]
            mine = np.flatnonzero(there[:, k])
            before |= there[:, k]
            if not len(asked) or not len(mine):
                continue
            weights = there[asked][:, ORDER[: ORDER.index(k)]]
            means = (tag_of[asked][:, ORDER[: ORDER.index(k)]] * weights[..., None]).sum(1) / weights.sum(1)[:, None]
            distance = np.linalg.norm(tag_of[mine, k][:, None] - means, axis=2)
            cost = np.round(distance) * 100 - found[mine, k, 2][:, None]
            joined = mine[:, None] == asked
            assert np.all(distance[joined] < 1)
            fixed = np.where(joined.any(1)[:, None], np.where(joined, cost, 1e6), np.where(joined.any(0), 1e6, cost))
            least, with_joined = (c[linear_sum_assignment(c)].sum() for c in (cost, fixed))
            assert with_joined == pytest.approx(least, abs=1e-3)


@pytest.mark.parametrize("number", range(8))
def test_candidates_in_the_graph_are_the_same(number):
    heatmaps, tags = scene(number)
    expected = find_candidates(heatmaps, tags)
    assert np.count_nonzero(expected.scores) > (0 if number != 3 else -1)
    signature = [tf.TensorSpec((None, None, 17)), tf.TensorSpec((None, None, 17, 2))]
    found = tf.function(graph.find_candidates, input_signature=signature)(heatmaps, tags)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    people, scores = group(heatmaps, tags, candidates=type(expected)(*(values.numpy() for values in found)))
    for one, other in zip((people, scores), group(heatmaps, tags), strict=True):
        np.testing.assert_array_equal(one, other)


def test_missing_keypoints_are_filled_in_as_by_looking_everywhere():
    """Also where maps are no multiple of a square in size, and where many pixels are equally good."""
    heatmaps, tags = maps(3, 4, 61, 83, dropped=0.4)
    heatmaps = np.round(heatmaps, 1)
    people, _ = group(heatmaps, tags)
    without, _ = group(heatmaps, tags, fill=False)
    assert np.any(without[..., 2] == 0)
    for person, found in itertools.product(range(len(people)), range(17)):
        if without[person, found, 2] > 0:
            continue
        has = without[person, :, 2] > 0
        mean = tags[without[person, has, 1].astype(int), without[person, has, 0].astype(int), has].mean(0)
        value = heatmaps[..., found] - np.round(np.linalg.norm(tags[:, :, found] - mean, axis=-1))
        row, column = np.unravel_index(np.argmax(value), value.shape)
        if heatmaps[row, column, found] > 0:
            assert np.floor(people[person, found, :2]).tolist() == [column, row]
            assert people[person, found, 2] == heatmaps[row, column, found]
        else:
            assert not people[person, found].any()


def test_nobody():
    for heatmaps in (np.zeros((32, 40, 17)), np.full((32, 40, 17), -1.0), np.full((32, 40, 17), np.nan)):
        people, scores = group(heatmaps, np.zeros((32, 40, 17, 2)))
        assert people.shape == (0, 17, 3) and scores.shape == (0,)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_nobodys(bad):
    heatmaps, tags = scene(1)
    everywhere, _ = group(heatmaps, np.full_like(tags, bad))
    assert len(everywhere) == 0
    tags = tags.copy()
    tags[: tags.shape[0] // 2] = bad
    heatmaps = heatmaps.copy()
    heatmaps[:, : heatmaps.shape[1] // 4] = bad
    people, scores = group(heatmaps, tags)
    assert len(people) and np.isfinite(people).all() and np.isfinite(scores).all()
    there = people[people[..., 2] > 0]
    assert np.all(there[:, 1] >= tags.shape[0] // 2) and np.all(there[:, 0] >= heatmaps.shape[1] // 4)
    # The graph leaves out the same.
    for one, other in zip(graph.find_candidates(heatmaps, tags), find_candidates(heatmaps, tags), strict=True):
        np.testing.assert_array_equal(one, other)


def test_two_hundred_people():
    """No keypoint has more than its 30 best candidates, however many people there are; all are somebody's."""
    heatmaps, tags = maps(1, 200, 128, 160, dropped=0.0, tag_gap=5.0)
    people, scores = group(heatmaps, tags, fill=False)
    assert np.all(np.count_nonzero(people[..., 2], axis=0) == 30)
    assert 30 <= len(people) == len(scores) <= 30 * 17
    filled, _ = group(heatmaps, tags)
    assert np.isfinite(filled).all() and len(filled) == len(people)


def test_tags_of_one_component_and_few_keypoints():
    heatmaps, tags = scene(0)
    expected, _ = group(heatmaps[..., :5], tags[..., :5, :1])
    people, _ = group(heatmaps[..., :5].tolist(), tags[..., :5, 0])
    assert len(people) == 1
    np.testing.assert_array_equal(people, expected)


@pytest.mark.parametrize(
    ("heatmaps", "tags"),
    [((8, 8), (8, 8, 1)), ((8, 8, 3), (8, 9, 3, 1)), ((8, 8, 3), (8, 8, 3, 0)), ((8, 8, 3), (8, 8, 6))],
)
def test_maps_of_other_shapes_are_refused(heatmaps, tags):
    with pytest.raises(InputError, match=r"heatmaps must be \[h,w,K\] and tags \[h,w,K,T\] of the same size. Received"):
        group(np.zeros(heatmaps), np.zeros(tags))


def test_order_is_trunk_first():
    assert [*range(7), 11, 12, *range(7, 11), *range(13, 17)] == list(ORDER)
    names = skeletons.named("crowdpose").names
    first = [names[k] for k in keypoint_order(skeletons.named("crowdpose"))[:6]]
    assert set(first) == {"left_shoulder", "right_shoulder", "left_hip", "right_hip", "head", "neck"}
    whole = skeletons.named("coco_wholebody")
    assert keypoint_order(whole)[:17] == ORDER and sorted(keypoint_order(whole)) == list(range(133))
    for name in skeletons.NAMES:
        assert sorted(keypoint_order(skeletons.named(name))) == list(range(skeletons.named(name).num_keypoints))


def test_order_without_names_is_from_the_middle():
    """A chain 0 - 1 - 2 - 3 - 4, and a keypoint on its own."""
    chain = skeletons.Skeleton(tuple("abcdef"), (), ((0, 1), (1, 2), (2, 3), (3, 4)), (0.1,) * 6, ())
    assert keypoint_order(chain) == (2, 1, 3, 0, 4, 5)


def test_needs_neither_tensorflow_nor_opencv(tmp_path):
    heatmaps, tags = scene(2)
    np.savez(tmp_path / "maps.npz", heatmaps=heatmaps, tags=tags)
    script = """
import sys
for name in ("tensorflow", "keras", "cv2"):
    sys.modules[name] = None
import numpy as np
from hrnet_tf.grouping import group
maps = np.load("maps.npz")
np.save("people.npy", group(maps["heatmaps"], maps["tags"])[0])
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "people.npy"), group(heatmaps, tags)[0])
