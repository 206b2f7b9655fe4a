"""What a command reads and what it writes, by its flags: an output over an input is refused before anything is done."""

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from absl import flags

from hrnet_tf.errors import InputError
from hrnet_tf.export.formats import FILE_NAMES, INT8_FILE_NAMES

if TYPE_CHECKING:
    from hrnet_tf.files import PathLike

_OUTPUTS = ("json", "picture", "metrics", "results", "sheet", "out")
_INPUTS = (
    *("annotations", "val_annotations", "detections", "images", "val_images"),
    *("weights", "pretrained", "detector"),
)
_SPLITS = ("split", "train_split", "val_split", "calibration_split")
# What is read of a model that is a folder: a SavedModel, or the work directory of a run.
_MODEL_PARTS = ("saved_model.pb", "variables", "model_card.json", "checkpoints", "best.keras")
# What commands write to --out_dir by names of their own, besides copies of their input.
WRITTEN = (
    *("predictions.json", "predictions.csv", *INT8_FILE_NAMES.values()),
    *(name for names in FILE_NAMES.values() for name in names),
)


def check(values: flags.FlagValues) -> None:
    """Refuses flags by which a command would write over a file that it reads.

    Raises:
        InputError: an output is the file of an input flag, of a split, or in a folder of images or a model.
    """
    outputs = {f"--{name}": values[name].value for name in _OUTPUTS if name in values}
    if "out_dir" in values and values["out_dir"].value:
        folder = values["out_dir"].value
        outputs |= {f"{name} of --out_dir": os.path.join(folder, name) for name in (*WRITTEN, *_copies(values))}
    if not any(path and os.path.isfile(path) for path in outputs.values()):
        return
    from hrnet_tf.files import refuse_overwriting

    inputs = {f"--{name}": values[name].value for name in _INPUTS if name in values}
    inputs |= {f"input {path}": path for path in (values["input"].value if "input" in values else [])}
    if "model" in values and values["model"].value:
        inputs |= _of_model(values["model"].value)
    refuse_overwriting(outputs, inputs | dict(_of_splits(values)))


def _copies(values: flags.FlagValues) -> list[str]:
    """What `shards` writes beside the shards."""
    return [f"annotations/person_keypoints_{values['split'].value}.json"] if "shard_megabytes" in values else []


def _of_model(model: str) -> dict[str, "PathLike"]:
    """{what it is: path} of what is read of --model."""
    if not os.path.isdir(model):
        return {"--model": model}
    folders = [model, *(entry.path for entry in os.scandir(model) if entry.is_dir())]  # of versions
    parts = [os.path.join(folder, name) for folder in folders for name in _MODEL_PARTS]
    return {f"--model {path}": path for path in parts}


def _of_splits(values: flags.FlagValues) -> Iterator[tuple[str, "PathLike"]]:
    """(What it is, path) of the annotations and image folders of --data_dir's splits."""
    folder = values["data_dir"].value if "data_dir" in values else None
    if not folder:
        return
    if values["dataset"].value == "mpii":
        for name in ("annot", "images"):
            yield f"--data_dir's {name}", os.path.join(folder, name)
        return
    from hrnet_tf.benchmarks import coco_like  # slower to import than most flags are to refuse
    from hrnet_tf.data.layouts import find_split

    form = coco_like(values["dataset"].value).form
    for name in _SPLITS:
        if name not in values:
            continue
        with contextlib.suppress(InputError):  # the command says that there is none, if it needs it
            files = find_split(folder, values[name].value, form=form)
            yield f"the annotations of --{name}", files.annotations
            for images in files.folders:
                if os.path.isdir(images) and not os.path.samefile(images, folder):
                    yield f"the images of --{name}", images
