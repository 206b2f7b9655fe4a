"""Percentage of correct keypoints, worked out by hand."""

import numpy as np

from hrnet_tf.evaluation.pck import keypoint_pck

SIZE = (100.0, 200.0)  # a tolerance of 5 px in x, of 10 px in y


def people(*origins, num_keypoints=3):
    """[N,K,2] columns of keypoints below the given points."""
    steps = np.stack([np.zeros(num_keypoints), 30.0 * np.arange(num_keypoints)], -1)
    return np.array(origins, np.float64)[:, None, :] + steps


def test_tolerance_is_in_parts_of_the_crop_and_excludes_its_border():
    true = people((50, 50))
    shifted = true + np.array([[4.9, 0], [5.1, 0], [0, 9.9]])
    share = keypoint_pck([7], true, np.ones((1, 3)), [SIZE], [7], shifted)
    np.testing.assert_array_equal(share, [1, 0, 1])


def test_only_annotated_keypoints_count():
    true = people((50, 50), (50, 50))
    visible = np.array([[1, 1, 0], [1, 0, 0]])
    share = keypoint_pck([1, 2], true, visible, [SIZE] * 2, [1, 2], true + np.array([[[0, 0]], [[60, 0]]]))
    np.testing.assert_array_equal(share, [0.5, 1, np.nan])


def test_the_nearest_prediction_of_the_same_image_is_taken():
    true = people((50, 50), (300, 50), (50, 50))
    predicted = people((301, 50), (50, 50), (51, 51))
    share = keypoint_pck([1, 1, 2], true, np.ones((3, 3)), [SIZE] * 3, [1, 3, 1], predicted)
    # Image 2 has no prediction, image 3 nobody to find.
    np.testing.assert_allclose(share, [2 / 3] * 3)


def test_nearest_is_by_the_annotated_keypoints_and_tolerances_are_of_each_crop():
    true = people((50, 50), (50, 50), num_keypoints=2)
    right = true[:1] + np.array([[8, 0], [500, 0]])  # but for the second keypoint, which nobody has annotated
    near = true[:1] + np.array([[20, 0], [0, 0]])
    arguments = true, [[1, 0]] * 2, np.array([SIZE, (200.0, 400.0)]), [1, 1, 2, 2]
    share = keypoint_pck([1, 2], *arguments, np.concatenate([right, near] * 2))
    np.testing.assert_array_equal(share, [0.5, np.nan])


def test_without_predictions_all_are_missed():
    share = keypoint_pck([1], people((50, 50)), np.ones((1, 3)), [SIZE], np.zeros(0, int), np.zeros((0, 3, 3)))
    np.testing.assert_array_equal(share, [0, 0, 0])
