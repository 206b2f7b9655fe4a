"""Networks whose sums TensorFlow may compute in several threads at once.

On CPUs, TensorFlow (2.18.1, 2.20.0 and 2.21.0 were tried) makes one operation of a convolution, its bias and the
addition after it. The oneDNN kernel of that keeps memory of the call that it is in as a member, which other calls of
the same graph share: called from several threads it crashes or gives the numbers of somebody else's image. A
subtraction is left alone, so here convolutions with the signs of kernel and bias exchanged are subtracted. That is
the same sum to the last bit, as rounding does not depend on the sign.
"""

import collections
from typing import Any

import keras

from hrnet_tf.models.clones import float32_layer

_CONVOLUTIONS = keras.layers.Conv2D, keras.layers.SeparableConv2D
# Layers that a graph for inference does not contain.
_PASSED_THROUGH = (
    keras.layers.Dropout,
    keras.layers.SpatialDropout2D,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.Identity,
)
_LINEAR = keras.activations.linear
_FUSED_CONVOLUTIONS = ("Conv2D", "Conv3D")
_FUSED_SUMS = ("Add", "AddV2", "AddN")


def subtract_convolutions(model: keras.Model) -> keras.Model:
    """A copy of `model` in float32 that subtracts where `model` adds the output of a convolution with a bias.

    Args:
        model: Functional model of stock layers, of any dtype policy.

    Returns:
        An uncompiled Functional `keras.Model` of stock layers, in which a layer `Add` is one layer `Subtract` for each
        such convolution, named after it with a number, and an `Add` of the others where there are several of these.
    """
    terms_of = _sums_of_convolutions(model)
    negated = {conv.name for terms in terms_of.values() for conv in terms if conv is not None}

    def call(layer, *inputs, **arguments):
        if layer.name not in terms_of:
            return layer(*inputs, **arguments)
        terms = list(zip(inputs[0], terms_of[layer.name], strict=True))
        added = [tensor for tensor, conv in terms if conv is None]
        total = added[0] if len(added) == 1 else layer(added)
        for i, tensor in enumerate(tensor for tensor, conv in terms if conv is not None):
            subtract = keras.layers.Subtract(name=f"{layer.name}_{i}", dtype=layer.dtype_policy)
            total = subtract([total, tensor])
        return total

    copy = keras.models.clone_model(model, clone_function=float32_layer, call_function=call)
    for layer in model.layers:
        if weights := layer.get_weights():
            if layer.name in negated:
                weights[-2:] = [-weight for weight in weights[-2:]]  # the last kernel and the bias
            copy.get_layer(layer.name).set_weights(weights)
    return copy


def _sums_of_convolutions(model):
    """{name of an `Add`: for each of its inputs the convolution to subtract, or None to add the input}."""
    source_of = {id(layer.output): layer for layer in model.layers}
    uses = collections.Counter(id(tensor) for layer in model.layers for tensor in keras.tree.flatten(layer.input))
    uses.update(id(tensor) for tensor in model.outputs)

    def convolution(tensor):
        """The one with a bias that `tensor` comes from and nothing else does, or None."""
        while uses[id(tensor)] == 1:
            layer = source_of[id(tensor)]
            if isinstance(layer, _CONVOLUTIONS):
                return layer if layer.use_bias and layer.activation is _LINEAR else None
            is_identity = isinstance(layer, keras.layers.Activation) and layer.activation is _LINEAR
            if not is_identity and not isinstance(layer, _PASSED_THROUGH):
                return None
            tensor = layer.input
        return None  # TensorFlow leaves a convolution alone that something else needs

    terms_of = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.Add):
            terms = [convolution(tensor) for tensor in layer.input]
            if all(terms):
                terms[0] = None  # something must be there to subtract from
            if any(terms):
                terms_of[layer.name] = terms
    return terms_of


def may_fuse_sums(graph: Any) -> bool:
    """Whether TensorFlow may make one operation of a convolution, its bias and an addition in a `tf.Graph`.

    Looks at the functions that the graph calls too. Where a convolution is all that a function does, what is done with
    it after that is not looked for: it may be an addition.
    """
    content = graph.as_graph_def()
    functions = [(function.node_def, function.ret.values()) for function in content.library.function]
    return any(_may_fuse_sums(nodes, returned) for nodes, returned in [(content.node, ()), *functions])


def _may_fuse_sums(nodes, returned):
    by_name = {node.name: node for node in nodes}

    def source(name):
        """The node of an input "name", "name:number" or "name:output:number"; None for an argument of a function."""
        node = by_name.get(name.partition(":")[0])
        while node is not None and node.op == "Identity":
            node = by_name.get(node.input[0].partition(":")[0])
        return node

    def is_biased(name):
        node = source(name)
        if node is None or node.op != "BiasAdd":
            return False
        convolution = source(node.input[0])
        return convolution is not None and convolution.op in _FUSED_CONVOLUTIONS

    sums = [node for node in nodes if node.op in _FUSED_SUMS]
    return any(is_biased(name) for node in sums for name in node.input) or any(map(is_biased, returned))
