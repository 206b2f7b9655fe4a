"""Codecs: encode, decode, crop and flip test belong together. Golden numbers, and properties from end to end."""

import dataclasses

import cv2
import keras
import numpy as np
import pytest
import seeded
import tensorflow as tf

from hrnet_tf import export, geometry, heatmaps
from hrnet_tf.data import coco, pipeline
from hrnet_tf.data.augment import Augmentation
from hrnet_tf.data.crops import TrainingCrops
from hrnet_tf.data.records import read_image
from hrnet_tf.data.sequence import CropSequence
from hrnet_tf.data.targets import keypoint_weights_by_name
from hrnet_tf.errors import InputError
from hrnet_tf.model_card import ModelCard
from hrnet_tf.prediction.keypoints import make_predict_function, to_image
from hrnet_tf.skeletons import COCO, Skeleton, flip_order

SIZE = (128, 96)
SUBPIXEL = ("dark", "udp")
RGB = Skeleton(("red", "green", "blue"), (), (), (0.1,) * 3, (0, 1, 2))


@pytest.mark.parametrize("codec", SUBPIXEL)
def test_targets_equal_the_published_ones(codec):
    golden = seeded.load("dark_udp")
    keypoints = golden["keypoints_xy_input_px"].astype(np.float32)
    maps, weight = heatmaps.encode(keypoints, golden["visible"], (256, 192), 2.0, codec)
    np.testing.assert_array_equal(weight, golden[f"{codec}_target_weight"])
    expected = seeded.nhwc(golden[f"{codec}_heatmaps_nchw"])
    np.testing.assert_allclose(maps[: len(expected)], expected, atol=1e-5)


@pytest.mark.parametrize("codec", SUBPIXEL)
def test_decoding_equals_the_published_one(codec):
    golden = seeded.load("dark_udp")
    maps = seeded.nhwc(golden[f"{codec}_decode_input"])
    decoded = heatmaps.decode(maps, codec).numpy()
    # MMPose, whose numbers these are, gives UDP's in units of 1/192 and 1/256 of the crop.
    unit = [192 / 47, 256 / 63] if codec == "udp" else [4, 4]
    np.testing.assert_allclose(decoded[..., :2] * unit, golden[f"{codec}_decoded_xy_input_px"], atol=1e-2)
    np.testing.assert_array_equal(decoded[..., 2], golden[f"{codec}_decoded_score"])
    compiled = tf.function(lambda maps: heatmaps.decode(maps, codec), jit_compile=True)(tf.constant(maps))
    np.testing.assert_allclose(compiled, decoded, atol=1e-4)


@pytest.mark.parametrize("codec", SUBPIXEL)
def test_decoding_is_as_good_where_matrix_products_keep_ten_bits(codec, monkeypatch):
    """TF32, the default of GPUs, simulated: the factors of float32 matrix products are rounded."""
    maps = seeded.nhwc(seeded.load("dark_udp")[f"{codec}_decode_input"])
    expected = heatmaps.decode(maps, codec).numpy()
    products = []

    def rounded(values):
        values = tf.convert_to_tensor(values)
        kept = tf.bitwise.bitwise_and(tf.bitcast(values + values / 2**11, tf.int32), ~((1 << 13) - 1))
        return tf.bitcast(kept, tf.float32) if values.dtype == tf.float32 else values

    def product(one, other):
        products.append(tf.matmul(rounded(one), rounded(other)))
        return products[-1]

    monkeypatch.setattr(tf.Tensor, "__matmul__", product)
    monkeypatch.setattr(tf.Tensor, "__rmatmul__", lambda other, one: product(one, other))
    found = heatmaps.decode(maps, codec).numpy()
    assert products  # the simulation is one
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize(("sigma", "kernel"), [(2.0, 11), (3.0, 17)])
def test_blur_is_opencvs_and_keeps_the_maximum(sigma, kernel):
    rng = np.random.default_rng(0)
    maps = rng.uniform(0, 1, (2, 24, 18, 3)).astype(np.float32)
    x, y = np.int32(rng.integers(0, 18, (2, 3))), np.int32(rng.integers(0, 24, (2, 3)))
    x[0], y[0] = (0, 17, 9), (23, 0, 12)  # at the border too
    patches = np.exp(heatmaps._log_blurred(tf.constant(maps), x, y, sigma, "dark"))
    for b, k in np.ndindex(2, 3):
        plain = maps[b, :, :, k].astype(np.float64)
        blurred = cv2.GaussianBlur(plain, (kernel, kernel), 0, borderType=cv2.BORDER_CONSTANT)
        expected = np.pad(blurred * plain.max() / blurred.max(), 2, "edge")[y[b, k] :, x[b, k] :][:5, :5]
        np.testing.assert_allclose(patches[b, k], expected, rtol=1e-6)


def test_sigma_follows_from_the_heatmaps_height():
    maps = np.random.default_rng(0).uniform(0, 1, (1, 96, 72, 4)) ** 8
    default, two, three = (heatmaps.decode(maps, "dark", sigma) for sigma in (None, 2.0, 3.0))
    np.testing.assert_array_equal(default, three)
    assert np.abs(two - three).max() > 1e-3


@pytest.mark.parametrize("refine", SUBPIXEL)
def test_decoding_of_odd_maps_is_finite_and_scores_the_raw_maximum(refine):
    rng = np.random.default_rng(0)
    spike = np.zeros((16, 12))
    spike[8, 6] = 1e4
    corner = np.zeros((16, 12))
    corner[0, 11] = 1e-30
    odd = [np.zeros((16, 12)), np.full((16, 12), -1.0), np.ones((16, 12)), spike, corner, rng.normal(0, 1, (16, 12))]
    maps = np.stack(odd, -1)[None].astype(np.float32)
    decoded = heatmaps.decode(maps, refine, 2.0).numpy()
    assert np.isfinite(decoded).all()
    np.testing.assert_array_equal(decoded[..., 2], maps.max((1, 2)))
    np.testing.assert_array_equal(decoded[0, :2, :2], 0)
    np.testing.assert_allclose(decoded[0, 3, :2], [6, 8], atol=1e-6)
    assert not heatmaps.decode(maps[:0], refine).shape[0]


@pytest.mark.parametrize("refine", [refine for refine in heatmaps.REFINEMENTS if refine != "integral"])
def test_maps_that_are_nowhere_positive_decode_to_0(refine):
    values = [0, -1, -np.inf, np.nan]  # a network that has diverged gives no point beyond its crop
    maps = np.full((1, 16, 12, 4), values, np.float32)
    np.testing.assert_array_equal(heatmaps.decode(maps, refine, 2.0)[0], [[0, 0, value] for value in values])


def crops_of_people(rng, count):
    center = rng.uniform(100, 300, (count, 2))
    width = rng.uniform(60, 300, count)
    return center, np.stack([width, width * SIZE[0] / SIZE[1]], -1), rng.uniform(-90, 90, count)


# The largest error in heatmap pixels: half a pixel of the grid and rounding, or next to none.
@pytest.mark.parametrize(
    ("codec", "refine", "largest"), [("msra", "none", 0.5), ("dark", "dark", 0.002), ("udp", "udp", 0.002)]
)
def test_from_image_to_heatmap_and_back(codec, refine, largest):
    rng = np.random.default_rng(0)
    align_corners = heatmaps.CODECS[codec].align_corners
    center, size, angle = crops_of_people(rng, 64)
    heatmap_size = (SIZE[0] // 4, SIZE[1] // 4)
    # A blur next to the border lacks what is beyond it: points are a kernel's radius away.
    in_heatmap = rng.uniform(6, np.array(heatmap_size[::-1]) - 7, (64, 17, 2))
    back = geometry.affine_matrix(center, size, angle, heatmap_size, inverse=True, align_corners=align_corners)
    points = geometry.transform_points(in_heatmap, back)
    to_crop = geometry.affine_matrix(center, size, angle, SIZE, align_corners=align_corners)
    maps, weight = heatmaps.encode(
        geometry.transform_points(points, to_crop), np.ones((64, 17), np.float32), SIZE, 2.0, codec
    )
    assert weight.numpy().all()
    found = heatmaps.decode(maps, refine, 2.0).numpy()
    error = np.abs(found[..., :2] - in_heatmap)
    assert error.max() < largest + 1e-3
    pixel = (size[:, 0] / heatmap_size[1])[:, None]
    in_image = np.linalg.norm(geometry.transform_points(found[..., :2], back) - points, axis=-1) / pixel
    assert in_image.max() < np.sqrt(2) * largest * 1.05 + 2e-3


def test_only_udps_grid_is_that_of_the_mirrored_crop():
    keypoints = np.random.default_rng(0).uniform(24, 70, (8, 17, 2)).astype(np.float32)
    mirrored = keypoints[:, flip_order(COCO.flip_pairs, 17)] * np.float32([-1, 1]) + np.float32([SIZE[1] - 1, 0])
    offset = {}
    for codec in SUBPIXEL:
        meaning = heatmaps.CODECS[codec]
        maps, _ = heatmaps.encode(keypoints, np.ones((8, 17)), SIZE, 2.0, codec)
        of_mirrored, _ = heatmaps.encode(mirrored, np.ones((8, 17)), SIZE, 2.0, codec)
        back = heatmaps.flip_back(of_mirrored, COCO.flip_pairs, meaning.flip_shift)
        here, there = (heatmaps.decode(m, meaning.refine, 2.0).numpy()[..., :2] for m in (maps, back))
        offset[codec] = there - here
    np.testing.assert_allclose(offset["udp"], 0, atol=1e-3)
    # One pixel of the crop remains after the shift by a heatmap pixel.
    np.testing.assert_allclose(offset["dark"][..., 0], 0.25, atol=5e-3)
    np.testing.assert_allclose(offset["dark"][..., 1], 0, atol=5e-3)


@pytest.fixture
def records(dataset):
    return coco.load_split(str(dataset), "tiny")


def test_udp_crops_reach_to_the_centres_of_their_corner_pixels(records):
    center, size = records.crops(SIZE)
    corners = np.stack([center - size / 2, center + size / 2], 1)
    found = geometry.transform_points(corners, pipeline.crop_matrices(records, SIZE, "udp"))
    np.testing.assert_allclose(found, np.broadcast_to([[0, 0], [95, 127]], found.shape), atol=1e-3)
    np.testing.assert_allclose(
        to_image(np.broadcast_to([[0, 0], [23, 31]], corners.shape), records, SIZE, "udp"), corners, atol=1e-3
    )
    images, _ = next(iter(pipeline.evaluation_dataset(records, SIZE, 2, codec="udp")))
    matrix = pipeline.crop_matrices(records, SIZE, "udp")[1]
    np.testing.assert_array_equal(images[1], geometry.warp(read_image(records.path(1)), matrix, SIZE))
    assert not np.array_equal(images[1], next(iter(pipeline.evaluation_dataset(records, SIZE, 2)))[0][1])


def first_batch(records, **options):
    dataset = pipeline.training_dataset(records, SIZE, 8, 2.0, Augmentation(), 3, 0, 1, **options)
    return [tensor.numpy() for tensor in next(iter(dataset))]


@pytest.mark.parametrize("codec", SUBPIXEL)
def test_training_crops_and_targets_are_the_codecs(records, codec):
    sequence = CropSequence(records, SIZE, 8, Augmentation(), 3, codec)
    images, keypoints, visible = TrainingCrops(sequence, 0, 1)(0)
    batch = first_batch(records, codec=codec)
    np.testing.assert_array_equal(batch[0], images)
    expected = heatmaps.encode(keypoints, visible, SIZE, 2.0, codec)
    np.testing.assert_allclose(batch[1], expected[0], atol=1e-6)
    np.testing.assert_array_equal(batch[2], expected[1])
    plain = first_batch(records)
    assert np.array_equal(plain[0], batch[0]) == (codec == "dark")
    assert np.abs(plain[1] - batch[1]).max() > 0.05


def test_keypoint_weights_multiply_and_the_absent_are_supervised(records):
    records.visible[:, 3] = 0
    records.keypoints[:, 4] = 1e4  # far beyond any crop
    weights = keypoint_weights_by_name(COCO.names)
    # The reference's table for COCO.
    expected = [1, 1, 1, 1, 1, 1, 1, 1.2, 1.2, 1.5, 1.5, 1, 1, 1.2, 1.2, 1.5, 1.5]
    np.testing.assert_array_equal(weights, np.float32(expected))
    _, plain_maps, plain = first_batch(records)
    _, _, weighted = first_batch(records, keypoint_weights=weights)
    np.testing.assert_array_equal(weighted, plain * weights)
    assert plain.any(0).sum() == 15 and (weighted > 1).any()
    _, maps, supervised = first_batch(records, keypoint_weights=weights, supervise_absent=True)
    np.testing.assert_array_equal(supervised, np.where(plain > 0, weighted, 1))
    np.testing.assert_array_equal(maps, plain_maps)
    absent = plain == 0
    assert absent[:, 3:5].sum() >= 8 and not np.moveaxis(maps, -1, 1)[absent].any()
    with pytest.raises(ValueError, match=r"`keypoint_weights` must have shape \[17\]. Received: \[3\]"):
        first_batch(records, keypoint_weights=np.ones(3))


def test_weights_of_other_keypoint_sets_follow_their_names():
    names = ("Left_Wrist", "tail", "knee.r", "head_top")
    np.testing.assert_array_equal(keypoint_weights_by_name(names), np.float32([1.5, 1, 1.2, 1]))


def test_refuses_an_unknown_codec(records):
    for call in (
        lambda: heatmaps.encode(np.zeros((1, 1, 2)), np.ones((1, 1)), SIZE, 2.0, "simcc"),
        lambda: pipeline.evaluation_dataset(records, SIZE, 2, codec="simcc"),
        lambda: make_predict_function(tf.distribute.get_strategy(), None, codec="simcc"),
    ):
        with pytest.raises(ValueError, match=r"`codec` must be one of msra, dark, udp. Received: 'simcc'"):
            call()


@pytest.fixture(scope="module")
def model():
    """The smallest model with a network's input and output: four-pixel averages of the image, in three mixtures."""
    images = keras.Input((64, 64, 3), name="images")
    x = keras.layers.AveragePooling2D(8, 4, padding="same")(keras.layers.Rescaling(1 / 255)(images))
    maps = keras.layers.Conv2D(3, 1, name="heatmaps")(x)
    model = keras.Model(images, maps)
    rng = np.random.default_rng(0)
    model.layers[-1].set_weights([rng.normal(0, 1, (1, 1, 3, 3)), np.zeros(3)])
    return model


@pytest.mark.parametrize("codec", SUBPIXEL)
def test_saved_models_decode_as_their_codec(codec, model, tmp_path):
    images = seeded.images(0, 6, 64, 64)
    images = np.stack([cv2.GaussianBlur(image, (21, 21), 4) for image in images])
    path, card = tmp_path / codec, ModelCard("small", (64, 64), RGB, codec)
    export.export_saved_model(model, path, card)
    signatures = tf.saved_model.load(str(path)).signatures
    maps = signatures["heatmaps"](images=images)["heatmaps"]
    keypoints = signatures["serving_default"](images=images)["keypoints"].numpy()
    expected = heatmaps.decode(maps, codec).numpy()
    scale = 63 / 15 if codec == "udp" else 4
    np.testing.assert_allclose(keypoints, expected * [scale, scale, 1], atol=1e-3)
    assert export.check_saved_model(path, model, images, card)["keypoints"] < 1e-3
    for other in ({"codec": "msra"}, {"refine": "none"}):
        with pytest.raises(InputError, match=r"\(keypoints\) differs from the model by"):
            export.check_saved_model(path, model, images, dataclasses.replace(card, **other))
