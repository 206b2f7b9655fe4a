"""Losses of HigherHRNet beside the reference's, in the graph, compiled and on ill-formed batches."""

import numpy as np
import pytest
import seeded
import tensorflow as tf

from hrnet_tf.losses import MaskedHeatmapMSE, associative_embedding

GOLDEN = seeded.load("higher_loss")
SIZE = GOLDEN["pred"].shape[2:]
INDICES = GOLDEN["indices"]  # [B,P,K,2]: three people, one, and none


def tags():
    """[B,h,w,K]"""
    return seeded.nhwc(GOLDEN["tags_flat"].reshape(len(INDICES), -1, *SIZE))


def push_and_pull(tags, indices):
    with tf.GradientTape() as tape:
        tape.watch(tags)
        pull, push = associative_embedding(tags, indices)
        total = tf.reduce_sum(pull + push)
    return pull, push, tf.convert_to_tensor(tape.gradient(total, tags))


@pytest.mark.parametrize("compiled", [False, True], ids=["graph", "xla"])
def test_tags_are_pulled_and_pushed_as_by_the_reference(compiled):
    function = tf.function(push_and_pull, jit_compile=compiled)
    pull, push, gradient = function(tf.constant(tags()), tf.constant(INDICES))
    np.testing.assert_allclose(pull, GOLDEN["exp_pull"], rtol=1e-5)
    np.testing.assert_allclose(push, GOLDEN["exp_push"], rtol=1e-5)
    expected = seeded.nhwc(GOLDEN["exp_gradient"].reshape(len(INDICES), -1, *SIZE))
    assert np.linalg.norm(gradient - expected) / np.linalg.norm(expected) < 1e-5


@pytest.mark.parametrize("compiled", [False, True], ids=["graph", "xla"])
def test_masked_errors_are_the_references(compiled):
    true, pred = (tf.constant(seeded.nhwc(GOLDEN[name])) for name in ("gt", "pred"))
    loss = tf.function(MaskedHeatmapMSE(), jit_compile=compiled)
    np.testing.assert_allclose(
        loss(true, pred, tf.constant(GOLDEN["mask"])), GOLDEN["heatmap_loss_per_image"], rtol=1e-5
    )
    mask = tf.constant(GOLDEN["mask"] > 0)
    np.testing.assert_allclose(MaskedHeatmapMSE()(true, pred, mask), GOLDEN["heatmap_loss_per_image"], rtol=1e-5)


def test_padding_changes_nothing():
    """People of whom nothing counts may have any indices, and be anywhere among the others."""
    order = np.random.default_rng(0).permutation(40)
    padded = np.zeros((len(INDICES), 40, *INDICES.shape[2:]), np.int32)
    padded[:, :30] = INDICES
    padded[..., 0][padded[..., 1] == 0] = 99
    for one, other in zip(
        associative_embedding(tags(), padded[:, order]), associative_embedding(tags(), INDICES), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_images_without_people_have_finite_gradients():
    pull, push, gradient = push_and_pull(tf.constant(tags()), tf.constant(np.zeros_like(INDICES)))
    for values in (pull, push, gradient):
        assert not np.any(values)


def test_training_on_them_tells_people_apart():
    """Gradient steps on the tags alone bring those of a person together and people apart."""
    values = tf.Variable(tags())
    step = tf.function(push_and_pull, jit_compile=True)
    for _ in range(200):
        pull, push, gradient = step(values, tf.constant(INDICES))
        values.assign_sub(2.0 * gradient)
    assert pull[0] < 0.01 < GOLDEN["exp_pull"][0] and push[0] < 0.3 * GOLDEN["exp_push"][0]
