"""Object keypoint similarity, suppression by it, and rescoring."""

import json
import pathlib

import numpy as np
import pytest

from hrnet_tf import skeletons
from hrnet_tf.errors import InputError
from hrnet_tf.evaluation import oks, oks_nms, rescore, soft_oks_nms

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden" / "oks_nms.json").read_text())


def person(x=100.0, y=100.0):
    """[17, 3], the same pose wherever it stands."""
    steps = np.arange(17.0)
    return np.stack([x + 3 * steps, y + 10 * steps, np.ones(17)], axis=-1)


@pytest.fixture(params=GOLDEN, ids=range(len(GOLDEN)))
def detections(request):
    case = request.param
    return case, np.array(case["keypoints"]), np.array(case["score"]), np.array(case["area"])


def test_nms_keeps_what_the_reference_keeps(detections):
    case, keypoints, scores, areas = detections
    assert oks_nms(keypoints, scores, areas).tolist() == case["keep_oks_0.9"]
    assert oks_nms(keypoints, scores, areas, threshold=0.5).tolist() == case["keep_oks_0.5"]
    assert soft_oks_nms(keypoints, scores, areas).tolist() == case["keep_soft_0.9"]


def test_oks_matches_the_reference(detections):
    case, keypoints, _, areas = detections
    similarity = oks(keypoints[0], areas[0], keypoints[1:], areas[1:])
    np.testing.assert_allclose(similarity, case["oks_first_vs_rest"], rtol=1e-9, atol=1e-15)


def test_oks_of_a_shift_is_what_the_formula_gives():
    area, other_area, shift = 5000.0, 7000.0, 6.0
    expected = np.mean(np.exp(-(shift**2) / (2 * 6000 * (2 * np.array(skeletons.COCO.oks_sigmas)) ** 2)))
    others = np.stack([person(), person(x=100 + shift), person(y=100 - shift), person(x=1e5)])
    similarity = oks(person(), area, others, np.full(4, other_area))
    np.testing.assert_allclose(similarity, [1, expected, expected, 0], atol=1e-12)


def test_oks_of_area_zero_is_defined():
    others = np.stack([person(), person(x=101)])
    np.testing.assert_array_equal(oks(person(), 0.0, others, np.zeros(2)), [1, 0])


def test_nms_ranks_equal_scores_in_the_order_given():
    people = np.stack([person(), person(x=5000), person(x=9000)])
    assert oks_nms(people, [0.5, 0.7, 0.5], [5000.0] * 3).tolist() == [1, 0, 2]
    assert soft_oks_nms(people, [0.5, 0.7, 0.5], [5000.0] * 3).tolist() == [1, 0, 2]


def test_nms_compares_with_people_kept_not_with_people_dropped():
    # Neighbours are alike, the ends are not: the middle one goes, and takes nobody with it.
    sigmas = np.full(17, 0.1)
    step = np.sqrt(-2 * 5000 * 0.2**2 * np.log(0.92))  # an OKS of 0.92; two steps: 0.72
    people = np.stack([person(), person(x=100 + step), person(x=100 + 2 * step)])
    assert oks_nms(people, [0.9, 0.8, 0.7], [5000.0] * 3, sigmas=sigmas).tolist() == [0, 2]


def test_nms_keeps_people_as_alike_as_the_threshold():
    people = np.stack([person(), person()])
    assert oks_nms(people, [0.9, 0.8], [5000.0] * 2, threshold=1.0).tolist() == [0, 1]


def test_soft_nms_keeps_twenty_at_most():
    people = np.stack([person(x=1000.0 * i) for i in range(25)])
    assert soft_oks_nms(people, np.linspace(1, 0.5, 25), np.full(25, 5000.0)).tolist() == list(range(20))


def test_soft_nms_lowers_the_duplicate_and_does_not_change_its_input():
    people = np.stack([person(), person(), person(x=5000)])
    scores = np.array([0.9, 0.8, 0.5])
    assert soft_oks_nms(people, scores, np.full(3, 5000.0)).tolist() == [0, 2, 1]
    np.testing.assert_array_equal(scores, [0.9, 0.8, 0.5])


@pytest.mark.parametrize("nms", [oks_nms, soft_oks_nms])
def test_nms_of_nobody_is_empty(nms):
    assert nms(np.zeros((0, 17, 3)), [], []).tolist() == []


def test_rescore_averages_the_keypoints_above_the_threshold():
    keypoint_scores = [[0.9, 0.5, 0.2], [0.1, 0.2, 0.0], [0.3, 0.3, 0.3]]
    np.testing.assert_allclose(rescore([0.5, 1, 2], keypoint_scores), [0.35, 0, 0.6])
    np.testing.assert_allclose(rescore([1], [[0.9, 0.5]], threshold=0.6), [0.9])


def test_custom_keypoint_sets_need_sigmas_of_their_length():
    people = np.zeros((2, 5, 3))
    assert oks_nms(people, [1, 2], [9, 9], sigmas=[0.1] * 5).tolist() == [1]
    with pytest.raises(InputError, match=r"each of 5 keypoints"):
        oks_nms(people, [1, 2], [9, 9])
    with pytest.raises(InputError, match=r"positive"):
        oks_nms(people, [1, 2], [9, 9], sigmas=[0.1, 0.1, 0.1, 0.1, 0])


@pytest.mark.parametrize("nms", [oks_nms, soft_oks_nms])
def test_nms_rejects_lengths_that_differ(nms):
    with pytest.raises(InputError, match=r"same length.*Received: 2, 2 and 1"):
        nms(np.zeros((2, 17, 3)), [1, 2], [9])
