"""Drawing of keypoints, heatmaps and contact sheets, and image files."""

import dataclasses

import cv2
import numpy as np
import pytest

from hrnet_tf import skeletons, visualize
from hrnet_tf.errors import InputError

# Head and pelvis in the middle, hands left and right, each side with an elbow.
TOY = skeletons.Skeleton(
    names=("head", "l_elbow", "l_hand", "r_elbow", "r_hand"),
    flip_pairs=((1, 3), (2, 4)),
    limbs=((0, 1), (1, 2), (0, 3), (3, 4)),
    oks_sigmas=(0.1,) * 5,
    upper_body=(0, 1, 2, 3, 4),
)
POSE = np.array([[150, 20], [220, 100], [220, 220], [80, 100], [80, 220]], float)


def scored(points, scores=1.0):
    return np.concatenate([points, np.broadcast_to(scores, len(points))[:, None]], axis=1)[None]


def black(height=240, width=300):
    return np.zeros((height, width, 3), np.uint8)


def column_width(image, row, columns):
    """Pixels of a row that are not black, between two columns."""
    return np.count_nonzero(image[row, slice(*columns)].any(axis=-1))


def test_sides_have_their_colours_and_the_input_is_not_changed():
    image = black()
    drawn = visualize.draw_keypoints(image, scored(POSE), TOY)
    assert not image.any()
    assert tuple(drawn[160, 220]) == visualize.LEFT_COLOR
    assert tuple(drawn[160, 80]) == visualize.RIGHT_COLOR
    assert tuple(drawn[60, 185]) == visualize.CENTER_COLOR  # head to elbow: the sides of its ends differ
    assert tuple(drawn[20, 150]) == visualize.CENTER_COLOR
    assert tuple(drawn[100, 220]) == visualize.LEFT_COLOR


def test_keypoints_at_or_below_the_threshold_are_left_out_with_their_limbs():
    drawn = visualize.draw_keypoints(black(), scored(POSE, [1, 1, 0.2, 1, 1]), TOY)
    assert not drawn[115:, 200:].any()
    assert drawn[115:, :100].any()
    assert visualize.draw_keypoints(black(), scored(POSE, 0.3), TOY, score_threshold=0.5).max() == 0


def test_keypoints_without_scores_are_all_drawn():
    with_scores = visualize.draw_keypoints(black(), scored(POSE), TOY)
    np.testing.assert_array_equal(visualize.draw_keypoints(black(), POSE[None], TOY), with_scores)


def test_lines_widen_with_the_person():
    large = visualize.draw_keypoints(black(1200, 1500), scored(POSE * 5), TOY)
    small = visualize.draw_keypoints(black(), scored(POSE), TOY)
    assert column_width(large, 800, (1000, 1200)) >= 2 * column_width(small, 160, (200, 240)) > 0


# Somebody of 500 pixels, from the front, in COCO's order.
STANDING = np.array(
    [
        *([150, 60], [160, 50], [140, 50], [175, 57], [125, 57], [200, 120], [100, 120], [220, 210], [80, 210]),
        *([230, 300], [70, 300], [180, 310], [120, 310], [185, 420], [115, 420], [185, 540], [115, 540]),
    ],
    float,
)


def test_points_that_crowd_together_can_be_told_apart():
    """A face of 68 points in 60 pixels, and the body around it as wide as without the face."""
    face = STANDING[0] + np.stack(np.meshgrid(np.arange(9), np.arange(8)), -1).reshape(-1, 2)[:68] * 7 - 28
    whole = skeletons.named("coco_wholebody")
    points = np.concatenate([STANDING, np.zeros((6, 2)), face, np.zeros((42, 2))])
    scores = np.concatenate([np.ones(17), np.zeros(6), np.ones(68), np.zeros(42)])
    drawn = visualize.draw_keypoints(black(600), scored(points, scores), dataclasses.replace(whole, limbs=()))
    inside = drawn[34:82, 124:172].any(axis=-1)
    assert 0.1 < inside.mean() < 0.6
    with_limbs = visualize.draw_keypoints(black(600), scored(points, scores), whole)
    alone = visualize.draw_keypoints(black(600), scored(STANDING), skeletons.COCO)
    np.testing.assert_array_equal(with_limbs[150:], alone[150:])


@pytest.mark.parametrize("size", [1, 0.2])
def test_bodies_are_not_crowded(monkeypatch, size):
    people = scored(STANDING * size)
    drawn = visualize.draw_keypoints(black(600), people, skeletons.COCO)
    monkeypatch.setattr(visualize, "CROWD", 10**6)
    np.testing.assert_array_equal(visualize.draw_keypoints(black(600), people, skeletons.COCO), drawn)


def test_keypoints_far_outside_and_not_finite_ones_do_no_harm():
    points = POSE.copy()
    points[0] = np.nan
    points[2] = [1e12, 220]
    drawn = visualize.draw_keypoints(black(), scored(points), TOY)
    assert tuple(drawn[160, 80]) == visualize.RIGHT_COLOR
    assert not drawn[:70, :].any()


def test_nobody_leaves_the_image_as_it_is():
    image = np.full((20, 30, 3), 90, np.uint8)
    np.testing.assert_array_equal(visualize.draw_keypoints(image, np.zeros((0, 5, 3)), TOY), image)


def test_heatmap_pixels_lie_at_their_multiple_in_the_image():
    heatmaps = np.zeros((64, 48, 17))
    heatmaps[20, 10, 3] = 1
    image = black(256, 192)
    peak = visualize.draw_heatmaps(image, np.ones((64, 48, 1)))[0, 0]
    drawn = visualize.draw_heatmaps(image, heatmaps)
    assert np.argwhere((drawn == peak).all(axis=-1)).tolist() == [[80, 40]]
    assert not image.any()


def test_heatmaps_outside_zero_to_one_saturate():
    image = np.full((8, 8, 3), 100, np.uint8)
    for value, limit in ((-3, 0), (5, 1)):
        np.testing.assert_array_equal(
            visualize.draw_heatmaps(image, np.full((2, 2, 1), value)),
            visualize.draw_heatmaps(image, np.full((2, 2, 1), limit)),
        )


def test_contact_sheet_letterboxes_in_reading_order():
    colors = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    images = [np.full((10 * (i + 1), 20, 3), color, np.uint8) for i, color in enumerate(colors)]
    sheet = visualize.contact_sheet(images, columns=2, cell_size=(40, 60), margin=4)
    assert sheet.shape == (2 * 44 + 4, 2 * 64 + 4, 3)
    for color, (y, x) in zip(colors, [(24, 34), (24, 98), (68, 34)], strict=True):
        assert tuple(sheet[y, x]) == color
    # The first is 1:2 in a 2:3 cell: full width, 30 rows.
    assert np.count_nonzero((sheet[4:44, 34] == colors[0]).all(axis=-1)) == 30
    assert np.count_nonzero((sheet[24, 4:64] == colors[0]).all(axis=-1)) == 60


def test_contact_sheet_writes_captions_below_the_cells():
    image = black(40, 60)
    plain = visualize.contact_sheet([image], 1, (40, 60), margin=4)
    short = visualize.contact_sheet([image], 1, (40, 60), titles=["AP"], margin=4)
    long = visualize.contact_sheet([image], 1, (40, 60), titles=["M" * 30], margin=4)
    assert short.shape[0] == plain.shape[0] + visualize.CAPTION_HEIGHT
    np.testing.assert_array_equal(short[:44], plain[:44])
    for sheet in (short, long):
        assert sheet[44:-4, 4:-4].min() < 100
        assert (sheet[44:, :4] == visualize.SHEET_COLOR).all()
        assert (sheet[44:, -4:] == visualize.SHEET_COLOR).all()
    # The long one ends in dots: low at the right end, where letters would be tall.
    assert (long[44 : 44 + visualize.CAPTION_HEIGHT // 2, 58:64] == visualize.SHEET_COLOR).all()


def test_written_images_read_back_as_rgb(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (12, 18, 3), np.uint8)
    visualize.write_image(tmp_path / "image.png", image)
    assert [path.name for path in tmp_path.iterdir()] == ["image.png"]
    read = cv2.cvtColor(cv2.imread(str(tmp_path / "image.png")), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(read, image)


@pytest.mark.parametrize("name", ["image.nothing", "image", "missing/image.png"])
def test_paths_that_cannot_be_written_are_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"path must end in|cannot write .*No such file"):
        visualize.write_image(tmp_path / name, black())
    assert not list(tmp_path.iterdir())


def test_a_format_that_cannot_hold_the_image_is_refused(tmp_path):
    for name, width in (("long.jpg", 70_000), ("grey.pgm", 40)):
        with pytest.raises(InputError, match=rf"{width} x 8 pixels in color cannot be written as \.\w+, but as \.png"):
            visualize.write_image(tmp_path / name, black(8, width))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: visualize.draw_keypoints(black().astype(float), POSE[None], TOY), "image must be a uint8.*float64"),
        (lambda: visualize.draw_keypoints(black()[..., 0], POSE[None], TOY), r"image must be.*uint8 \(240, 300\)"),
        (lambda: visualize.draw_keypoints(black(), POSE, TOY), r"keypoints must have shape \[N, 5, 2 or 3\].*\(5, 2\)"),
        (lambda: visualize.draw_keypoints(black(), POSE[None, :4], TOY), r"keypoints must.*\(1, 4, 2\)"),
        (lambda: visualize.draw_heatmaps(black(), np.zeros((64, 48))), r"heatmaps must.*\(64, 48\)"),
        (lambda: visualize.contact_sheet([], 2, (40, 60)), "at least one image"),
        (lambda: visualize.contact_sheet([black()], 0, (40, 60)), "columns must be at least 1. Received: 0"),
        (lambda: visualize.contact_sheet([black()], 1, (40, 60), titles=["a", "b"]), "titles.*Received: 2"),
        (lambda: visualize.contact_sheet([black(), None], 1, (40, 60)), r"images\[1\] must be.*NoneType"),
        (lambda: visualize.write_image("image.png", [[1]]), "image must be a uint8.*list"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_boxes_are_drawn_where_they_are():
    image = np.full((120, 160, 3), 100, np.uint8)
    drawn = visualize.draw_boxes(image, [[20, 30, 60, 40], [-50, -50, 1e9, 1e9]])
    assert (image == 100).all()
    for x, y in ((20, 50), (80, 50), (50, 30), (50, 70)):
        assert (drawn[y, x] > 200).all()
    assert (drawn[35:65, 25:75] == 100).all()
    assert (drawn[75:] == 100).all()
    np.testing.assert_array_equal(visualize.draw_boxes(image, np.zeros((0, 4))), image)
    with pytest.raises(InputError, match=r"must have shape \[N, 4\]"):
        visualize.draw_boxes(image, [1, 2, 3, 4])
