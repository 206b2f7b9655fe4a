"""A network's copy for training whose BatchNorm runs as one operation.

Keras's layer computes the statistics and the normalisation in float32 from a dozen elementary
operations. TensorFlow's fused kernel reads the activations twice instead, in whatever precision they
have. Not part of the network itself, whose layers are stock ones and run on every Keras backend.
"""

import keras
import tensorflow as tf


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """BatchNormalization over the last axis of [B,h,w,C]; what it computes is the same.

    But for one thing, in which it follows PyTorch: the moving variance gathers the unbiased
    variance of the batches.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        # The fused kernel has the statistics of one replica; a frozen layer keeps those it has.
        if not training or not self.trainable or self.synchronized:
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma.value,
            offset=self.beta.value,
            mean=tf.zeros(0),
            variance=tf.zeros(0),
            epsilon=self.epsilon,
        )
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1 - self.momentum))
        return outputs


def with_fused_batch_norm(model: keras.Model, synchronized: bool = False) -> keras.Model:
    """A copy of a Functional model, with its initial weights, for training.

    `export_keras` turns it back into stock layers.

    Args:
        model: Functional model.
        synchronized: normalise by the mean and variance of all replicas' batches together, by Keras's own
            operations, for `make_train_step(..., synchronized=True)`.
    """

    def clone(layer):
        if not isinstance(layer, keras.layers.BatchNormalization):
            return type(layer).from_config(layer.get_config())
        return FusedBatchNormalization.from_config(layer.get_config() | {"synchronized": synchronized})

    copy = keras.models.clone_model(model, clone_function=clone)
    copy.set_weights(model.get_weights())
    return copy
