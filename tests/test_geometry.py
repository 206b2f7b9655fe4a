import cv2
import numpy as np
import pytest
import seeded

from hrnet_tf import geometry


def test_boxes_equal_the_reference():
    golden = seeded.load("boxes")
    for i, aspect_ratio in enumerate(golden["aspect_ratio"]):
        center, size = geometry.box_to_center_size(golden["boxes_xywh"], aspect_ratio)
        np.testing.assert_allclose(center, golden["center"][i], atol=1e-5)
        np.testing.assert_allclose(size / 200, golden["scale"][i], atol=1e-5)


def test_affine_matrices_equal_the_reference_over_the_image():
    golden = seeded.load("affine")
    corners = np.array([[0, 0], [640, 0], [0, 480], [640, 480]], np.float64)
    for i in range(len(golden["center"])):
        output_size = tuple(golden["output_size_wh"][i][::-1])
        size = golden["scale"][i : i + 1] * 200
        arguments = (golden["center"][i : i + 1], size, golden["rotation_deg"][i : i + 1], output_size)
        forward = geometry.affine_matrix(*arguments)[0]
        inverse = geometry.affine_matrix(*arguments, inverse=True)[0]
        # In image pixels: the reference's three float32 points limit its own accuracy in enlarged crops.
        pixel = output_size[1] / size[0, 0]
        error = geometry.transform_points(corners, forward) - geometry.transform_points(corners, golden["forward"][i])
        assert np.abs(error).max() / max(1, pixel) < 1e-3
        crop_corners = corners * np.array(output_size[::-1]) / (640, 480)
        error = geometry.transform_points(crop_corners, inverse) - geometry.transform_points(
            crop_corners, golden["inverse"][i]
        )
        assert np.abs(error).max() < 1e-3


def test_inverse_undoes_and_the_middle_stays():
    rng = np.random.default_rng(0)
    center, size = rng.uniform(0, 600, (50, 2)), rng.uniform(20, 400, (50, 2))
    angle, points = rng.uniform(-180, 180, 50), rng.uniform(0, 600, (50, 7, 2))
    forward = geometry.affine_matrix(center, size, angle, (256, 192))
    inverse = geometry.affine_matrix(center, size, angle, (256, 192), inverse=True)
    back = geometry.transform_points(geometry.transform_points(points, forward), inverse)
    np.testing.assert_allclose(back, points, atol=2e-3)
    middle = geometry.transform_points(center[:, None], forward)[:, 0]
    np.testing.assert_allclose(middle, np.broadcast_to((96, 128), middle.shape), atol=1e-3)


def test_udp_matrices_equal_the_published_ones_over_the_image():
    golden = seeded.load("dark_udp")
    corners = np.array([[0, 0], [640, 0], [0, 480], [640, 480]], np.float64)
    output_size = tuple(golden["udp_output_wh"][::-1])
    # UDP's code counts angles the other way.
    arguments = (golden["udp_center"], golden["udp_box_size_px"], -golden["udp_rotation_deg"], output_size)
    forward = geometry.affine_matrix(*arguments, align_corners=True)
    expected = geometry.transform_points(corners, golden["udp_warp_matrix"])
    np.testing.assert_allclose(geometry.transform_points(corners, forward), expected, atol=1e-3)
    inverse = geometry.affine_matrix(*arguments, inverse=True, align_corners=True)
    np.testing.assert_allclose(
        geometry.transform_points(expected, inverse), np.broadcast_to(corners, expected.shape), atol=2e-3
    )


def test_warp_equals_the_reference():
    golden = seeded.load("warp")
    matrices = geometry.affine_matrix(golden["center"], golden["scale"] * 200, golden["rotation_deg"], (128, 96))
    for matrix, expected in zip(matrices, golden["crops"], strict=True):
        error = np.abs(geometry.warp(golden["image"], matrix, (128, 96)).astype(int) - expected)
        assert error.mean() < 0.5
        assert (error <= 2).mean() > 0.99


@pytest.mark.parametrize("align_corners", [False, True])
def test_mirroring_in_the_matrix_equals_mirroring_the_image(align_corners):
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 256, (90, 120, 3)).astype(np.uint8), (9, 9), 3)
    flip = np.arange(8) % 2 == 0
    center, size = rng.uniform(30, 60, (8, 2)), rng.uniform(60, 80, (8, 2))
    options = {"rotation_deg": rng.uniform(-90, 90, 8), "output_size": (64, 48), "align_corners": align_corners}
    matrices = geometry.affine_matrix(center, size, mirrored=flip, **options)
    mirrored_center = np.where(flip[:, None], [119, 0] + center * [-1, 1], center)
    of_mirrored = geometry.affine_matrix(mirrored_center, size, **options)
    points = rng.uniform(0, 90, (8, 5, 2))
    mirrored_points = np.where(flip[:, None, None], [119, 0] + points * [-1, 1], points)
    found = geometry.transform_points(points, matrices)
    np.testing.assert_allclose(found, geometry.transform_points(mirrored_points, of_mirrored), atol=1e-4)
    inverse = geometry.affine_matrix(center, size, mirrored=flip, inverse=True, **options)
    np.testing.assert_allclose(geometry.transform_points(found, inverse), points, atol=1e-4)
    for i in range(8):
        picture = np.ascontiguousarray(image[:, ::-1]) if flip[i] else image
        expected = geometry.warp(picture, of_mirrored[i], (64, 48)).astype(int)
        assert np.abs(geometry.warp(image, matrices[i], (64, 48)) - expected).max() <= 2
    everybody = geometry.affine_matrix(center[flip], size[flip], 0, (64, 48), mirrored=True)
    assert (everybody[:, 0, 0] < 0).all()


def test_warp_is_black_outside():
    crop = geometry.warp(np.full((10, 10, 3), 255, np.uint8), np.array([[1, 0, 20], [0, 1, 0]]), (10, 40))
    assert not crop[:, :19].any() and (crop[:, 20:30] == 255).all() and not crop[:, 31:].any()
