"""PyTorch state dicts into Keras models, by name and strictly.

A layer is named after its PyTorch module with "." written as "_", which makes the conversion mechanical:
`stage3.2.branches.1.0.conv1.weight` is the kernel of the layer `stage3_2_branches_1_0_conv1`.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping

import keras
import numpy as np
from keras import layers
from numpy.typing import ArrayLike

from hrnet_tf.errors import listed
from hrnet_tf.models.preprocess import channel_order_of

# PyTorch parameter -> (Keras variable, axes of the PyTorch array in Keras order)
# OIHW -> HWIO; a transposed convolution is IOHW -> HWOI.
_CONV = {"weight": ("kernel", (2, 3, 1, 0)), "bias": ("bias", (0,))}
_BATCH_NORM = {
    "weight": ("gamma", (0,)),
    "bias": ("beta", (0,)),
    "running_mean": ("moving_mean", (0,)),
    "running_var": ("moving_variance", (0,)),
}
# Where a layer's name has a "_" that is none of a "." in PyTorch's.
_NO_DOT = re.compile(r"\.(?=layer|net\.|convs|modules)|(?<=final)\.(?=predict)|(?<=multi)\.(?=final)")
# A counter of PyTorch's BatchNorm that nothing reads at a fixed momentum.
_IGNORED = "num_batches_tracked"
# The convolution that sees the image: an Hourglass's, and any other's.
_FIRST = ("stem.0.conv.weight", "conv1.weight")
# What gives a CPN's heatmaps, and the peaks that those of pytorch-cpn have.
_CPN_HEATMAPS = re.compile(r"(?:global_net\.predict\.\d\.5|refine_net\.final_predict\.2)\.(?:weight|bias)")
_CPN_PEAK = 255


def load_state_dict(model: keras.Model, state_dict: Mapping[str, ArrayLike]) -> None:
    """Sets every weight of `model` from arrays under PyTorch's names.

    The input channels of the first convolution are reversed for a model of channel order "bgr", so that
    on RGB images it gives what the PyTorch network gives on BGR. For a model of channel order "cpn", what gives
    heatmaps is divided by the 255 that their peaks are in pytorch-cpn.

    Args:
        model: a model of `build_model`.
        state_dict: {name: array in PyTorch layout}, as in `pose_hrnet_w32_256x192.pth`.

    Raises:
        ValueError: any weight missing, unexpected, of another shape, or not of finite floating-point
            numbers; all of them are listed, and the model is left as it was.
    """
    match = match_state_dict(model, state_dict)
    if match.problems():
        raise ValueError(f"The weights do not fit the model {model.name!r}. {match.problems()}")
    match.assign()


@dataclasses.dataclass
class Match:
    """The entries of a state dict sorted by what becomes of them, each under its PyTorch name."""

    values: dict[str, tuple[keras.Variable, np.ndarray]]  # name -> (variable, array of its shape)
    missing: list[str]
    unexpected: list[str]
    misshapen: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]  # name -> its shape and what was wanted
    unusable: list[str]  # not of finite floating-point numbers

    def problems(self, length: int | None = None) -> str:
        """What keeps the state dict from being loaded, in one line, or "".

        Args:
            length: of all lists of names together, in characters; None is as many as there are.
        """
        misshapen = [f"{name} {found}, wanted {wanted}" for name, (found, wanted) in self.misshapen.items()]
        kinds = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "of another shape": misshapen,
            "not of finite floating-point numbers": self.unusable,
        }
        met = {kind: names for kind, names in kinds.items() if names}
        room = 10**9 if length is None else length // max(1, len(met))
        return "; ".join(f"{len(names)} {kind}: {listed(names, room)}" for kind, names in met.items())

    @property
    def in_model(self) -> list[str]:
        """The names that the model has."""
        return [*self.values, *self.missing, *self.misshapen, *self.unusable]

    def leave_out(self, is_left_out: Callable[[str], bool]) -> tuple[list[str], list[str]]:
        """Drops the names of which `is_left_out(name)`; returns those the file has, and those the model has."""
        in_file = [*self.values, *self.unexpected, *self.misshapen, *self.unusable]
        in_model = self.in_model
        left_out = {name for name in (*in_file, *in_model) if is_left_out(name)}
        self.values = {name: value for name, value in self.values.items() if name not in left_out}
        self.misshapen = {name: shapes for name, shapes in self.misshapen.items() if name not in left_out}
        for names in (self.missing, self.unexpected, self.unusable):
            names[:] = [name for name in names if name not in left_out]
        return [name for name in in_file if name in left_out], [name for name in in_model if name in left_out]

    def assign(self) -> None:
        for variable, array in self.values.values():
            variable.assign(array)


def match_state_dict(model: keras.Model, state_dict: Mapping[str, ArrayLike]) -> Match:
    """Finds the variable of each array, changing nothing; arguments as in `load_state_dict`."""
    targets, order = _targets(model), channel_order_of(model)
    match = Match({}, [], [], {}, [])
    missing = dict.fromkeys(targets)
    for name, array in state_dict.items():
        module, _, parameter = name.rpartition(".")
        if parameter == _IGNORED:
            continue
        key = (module.replace(".", "_"), parameter)
        if key not in missing:
            match.unexpected.append(name)
            continue
        del missing[key]
        variable, axes = targets[key]
        array = np.asarray(array)
        if array.ndim != len(axes) or array.transpose(axes).shape != tuple(variable.shape):
            wanted = tuple(np.array(variable.shape)[np.argsort(axes)].tolist())
            match.misshapen[name] = array.shape, wanted
        elif not _is_usable(array):
            match.unusable.append(name)
        else:
            if order == "bgr" and name in _FIRST:
                array = array[:, ::-1]
            elif order == "cpn" and _CPN_HEATMAPS.fullmatch(name):
                array = array / _CPN_PEAK
            match.values[name] = (variable, array.transpose(axes))
    match.missing = [f"{_pytorch_name(layer)}.{parameter}" for layer, parameter in missing]
    return match


def _is_usable(array):
    limit = np.finfo("float32").max
    return array.dtype.kind == "f" and bool(np.all(np.abs(array) <= limit))  # NaN compares false


def _pytorch_name(layer_name):
    """stage4_2_fuse_layers_0_1_0 -> stage4.2.fuse_layers.0.1.0"""
    return _NO_DOT.sub("_", layer_name.replace("_", "."))


def _targets(model):
    """{(layer name, PyTorch parameter name): (variable, axes)} of every weight of `model`."""
    targets = {}
    for layer in model.layers:
        parameters = {}
        if isinstance(layer, (layers.Conv2D, layers.Conv2DTranspose)):
            parameters = _CONV
        elif isinstance(layer, layers.BatchNormalization):
            parameters = _BATCH_NORM
        for parameter, (attribute, axes) in parameters.items():
            variable = getattr(layer, attribute)
            if variable is not None:
                targets[layer.name, parameter] = (variable, axes)
    return targets
