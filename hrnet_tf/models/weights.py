"""PyTorch state dicts into Keras models, by name and strictly.

A layer is named after its PyTorch module with "." written as "_", which makes the conversion mechanical:
`stage3.2.branches.1.0.conv1.weight` is the kernel of the layer `stage3_2_branches_1_0_conv1`.
"""

import numpy as np
from keras import layers

# PyTorch parameter -> (Keras variable, axes of the PyTorch array in Keras order)
_CONV = {"weight": ("kernel", (2, 3, 1, 0)), "bias": ("bias", (0,))}  # OIHW -> HWIO
_BATCH_NORM = {
    "weight": ("gamma", (0,)),
    "bias": ("beta", (0,)),
    "running_mean": ("moving_mean", (0,)),
    "running_var": ("moving_variance", (0,)),
}
# A counter of PyTorch's BatchNorm that nothing reads at a fixed momentum.
_IGNORED = "num_batches_tracked"


def load_state_dict(model, state_dict):
    """Sets every weight of `model` from arrays under PyTorch's names.

    Args:
        model: a model of `build_model`.
        state_dict: {name: array in PyTorch layout}, as in `pose_hrnet_w32_256x192.pth`.

    Raises:
        ValueError: any weight missing, unexpected or of another shape; all of them are listed, and
            the model is left as it was.
    """
    targets = _targets(model)
    values, missing, unexpected, misshapen = [], dict(targets), [], []
    for name, array in state_dict.items():
        module, _, parameter = name.rpartition(".")
        if parameter == _IGNORED:
            continue
        key = (module.replace(".", "_"), parameter)
        if key not in targets:
            unexpected.append(name)
            continue
        missing.pop(key, None)
        variable, axes = targets[key]
        array = np.asarray(array)
        if array.ndim != len(axes) or array.transpose(axes).shape != tuple(variable.shape):
            wanted = tuple(np.array(variable.shape)[np.argsort(axes)].tolist())
            misshapen.append(f"{name} {array.shape}, wanted {wanted}")
        else:
            values.append((variable, array.transpose(axes)))
    problems = [
        f"{len(names)} {kind}: {', '.join(names)}"
        for kind, names in (
            ("missing", [".".join(key) for key in missing]),
            ("unexpected", unexpected),
            ("of another shape", misshapen),
        )
        if names
    ]
    if problems:
        raise ValueError(f"The weights do not fit the model {model.name!r}. {'; '.join(problems)}")
    for variable, array in values:
        variable.assign(array)


def _targets(model):
    """{(layer name, PyTorch parameter name): (variable, axes)} of every weight of `model`."""
    targets = {}
    for layer in model.layers:
        parameters = {}
        if isinstance(layer, layers.Conv2D):
            parameters = _CONV
        elif isinstance(layer, layers.BatchNormalization):
            parameters = _BATCH_NORM
        for parameter, (attribute, axes) in parameters.items():
            variable = getattr(layer, attribute)
            if variable is not None:
                targets[layer.name, parameter] = (variable, axes)
    return targets
