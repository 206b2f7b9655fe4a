"""What is looked at of a network's file before a library opens it: that it is a file, and no larger than any could be.

A SavedModel is a program: what TensorFlow runs of it may read and write files. Its operations are looked through, and
what is neither computing nor variables is refused unless the caller trusts the folder.
"""

import os
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hrnet_tf.errors import InputError, listed
from hrnet_tf.files import PathLike, check_readable

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import NodeDef
    from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef

GRAPH_NAME = "saved_model.pb"
# Of the graph of a SavedModel; those of the networks here have 2 MB, and weights lie beside it.
MAX_GRAPH_BYTES = 256 << 20
# Of what Keras reads as text in a `.keras` file; those of the networks here have 0.5 MB.
MAX_CONFIG_BYTES = 32 << 20
# What an entry of a zip file unpacks to, of its own size: weights hardly shrink, and Keras stores them as they are.
MAX_RATIO = 100
# Operations with a state, by TensorFlow's own account, that neither read nor write anything but variables and tables.
_HARMLESS = {
    *("VarHandleOp", "_VarHandlesOp", "ReadVariableOp", "_ReadVariablesOp", "AssignVariableOp", "AssignAddVariableOp"),
    *("AssignSubVariableOp", "VarIsInitializedOp", "VariableShape", "ResourceGather", "ResourceGatherNd"),
    *("ResourceStridedSliceAssign", "DisableCopyOnRead", "DestroyResourceOp", "Variable", "VariableV2"),
    *("StatefulPartitionedCall", "If", "While", "Case", "_If", "_While", "XlaCallModule"),
    *("HashTable", "HashTableV2", "AnonymousHashTable", "InitializeTableV2", "LookupTableFindV2"),
    *("LookupTableImportV2", "LookupTableInsertV2", "LookupTableSizeV2", "LookupTableExportV2"),
    *("RandomUniform", "RandomUniformInt", "RandomStandardNormal", "TruncatedNormal", "Multinomial", "RandomShuffle"),
    *("Assert", "CheckNumerics", "CheckNumericsV2", "Empty", "GuaranteeConst", "DeviceIndex", "IsTensorFloat32Enabled"),
}
# What TensorFlow says has no state and yet reads or writes more than its tensors.
_OUTSIDE = re.compile(r"ReadFile|MatchingFiles|TextFile|PyFunc|Debug|Dataset|Iterator|Queue|^Reader|Snapshot|XlaLaunch")
# Of the functions that save and restore variables, which are in every SavedModel and which only TensorFlow 1 runs.
_CHECKPOINTS = {"SaveV2", "RestoreV2", "MergeV2Checkpoints"}


def check_model_file(path: PathLike, trusted: bool = False) -> None:
    """Looks at a network's file or folder before it is loaded. What is absent or of another kind passes.

    Args:
        path: a `.keras`, `.onnx` or `.tflite` file or a SavedModel folder.
        trusted: whether a SavedModel may do what it will.

    Raises:
        InputError: it is a pipe or a device, too large where that is read at once, damaged, or a SavedModel with
            operations that reach outside of it.
    """
    check_readable(path, "model")
    path = Path(path)
    if path.is_dir() and (path / GRAPH_NAME).exists():
        _check_saved_model(path, trusted)
    elif path.suffix == ".keras" and path.is_file():
        _check_keras(path)


def _check_keras(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise InputError(f"model {path} cannot be loaded: it is no .keras file, or damaged or cut off") from error
    for entry in entries:
        name, size = entry.filename, entry.file_size
        if name.endswith(".json") and size > MAX_CONFIG_BYTES:
            raise InputError(
                f"model {path} cannot be loaded: {name} in it has {size} bytes, of at most {MAX_CONFIG_BYTES}"
            )
        check_ratio(entry, f"model {path}")


def check_ratio(entry: zipfile.ZipInfo, name: str) -> None:
    """Raises InputError if an entry of the zip file `name` unpacks to far more than weights do."""
    if entry.file_size > MAX_CONFIG_BYTES and entry.file_size > MAX_RATIO * entry.compress_size:
        raise InputError(
            f"{name} cannot be loaded: {entry.filename} in it unpacks from {entry.compress_size} bytes to "
            f"{entry.file_size}, which no weights do"
        )


def _check_saved_model(path: Path, trusted: bool) -> None:
    for folder, _, names in os.walk(path):
        for name in names:
            check_readable(os.path.join(folder, name), "model")
    graph = path / GRAPH_NAME
    size = graph.stat().st_size
    if size > MAX_GRAPH_BYTES:
        raise InputError(f"model {path} cannot be loaded: {GRAPH_NAME} has {size} bytes, of at most {MAX_GRAPH_BYTES}")
    if trusted:
        return
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    try:
        metas = SavedModel.FromString(graph.read_bytes()).meta_graphs
    except (DecodeError, OSError) as error:
        raise InputError(f"model {path} cannot be loaded: {GRAPH_NAME} is damaged or cut off") from error
    found = sorted({name for meta in metas for name in _reaching_outside(meta, len(metas))})
    if found:
        raise InputError(
            f"model {path} is a program that does more than compute: {listed(found)}. If you trust who wrote it: "
            "--trust_model, in Python trusted=True of hrnet_tf.prediction.network.load_network"
        )


def _reaching_outside(meta: "MetaGraphDef", num_graphs: int) -> Iterator[str]:
    """Types of operations of a graph that are neither computing nor variables."""
    library = meta.graph_def.library.function
    functions = {function.signature.name: function.node_def for function in library}
    every = [meta.graph_def.node, *functions.values()]
    types = {node.op for nodes in every for node in nodes}
    yield from (name for name in types - _CHECKPOINTS if not _only_computes(name, set(functions)))
    saving = {name for name, nodes in functions.items() if any(node.op in _CHECKPOINTS for node in nodes)}
    # Of a graph of TensorFlow 2 the functions alone are loaded, and those of the object graph and what they call run.
    is_whole_run = num_graphs != 1 or not meta.HasField("object_graph_def")
    called = set(meta.object_graph_def.concrete_functions).union(*map(_called, functions.values()))
    if is_whole_run or saving & called:
        yield from types & _CHECKPOINTS


def _only_computes(operation: str, functions: set[str]) -> bool:
    """Whether an operation, or call of one of `functions` by its name, does nothing but compute or keep variables."""
    from tensorflow.python.framework import op_def_registry

    if operation in _HARMLESS or operation in functions:
        return True
    definition = op_def_registry.get(operation)
    return definition is not None and not definition.is_stateful and not _OUTSIDE.search(operation)


def _called(nodes: "Iterable[NodeDef]") -> Iterator[str]:
    """Names of the functions that nodes refer to."""
    for node in nodes:
        for value in node.attr.values():
            yield from (function.name for function in (value.func, *value.list.func) if function.name)
