"""Pickles of PyTorch read as data: nothing that a file names is imported, and nothing in it is called.

A pickle is a program for a stack machine, and one from a stranger may run anything when Python's own
machine executes it. This one knows containers, text, numbers and how PyTorch writes a tensor down;
whatever else a checkpoint holds (a numpy scalar, a logger's history) becomes an `Inert`.
"""

import dataclasses
import io
import mmap
import pickletools
from typing import Any


class DamagedError(Exception):
    """A file that does not hold what its format says; the text says what."""


@dataclasses.dataclass(frozen=True)
class Name:
    """A class or function of some module, by name alone."""

    module: str
    name: str


@dataclasses.dataclass(frozen=True)
class Storage:
    """A flat run of numbers that lies elsewhere in the file."""

    key: str
    type_name: str  # such as "FloatStorage"
    size: int  # in elements, as is the offset of a view
    offset: int = 0


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A view of a storage, offset and strides in elements. Nothing about it is checked yet."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Inert:
    """In place of an object of which nothing is wanted, with what it would have been made by, if that is a name."""

    maker: Name | None = None


# Of one pickle: a checkpoint of HRNet-W48 with its optimizer takes some 100,000.
MAX_OPERATIONS = 2_000_000
_MARK = object()
# Operations that push their argument, and those that push a new object.
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_NEW = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": Inert,
    "MARK": lambda: _MARK,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_REBUILD_TENSOR = {Name("torch._utils", "_rebuild_tensor"), Name("torch._utils", "_rebuild_tensor_v2")}
_RECONSTRUCTOR = Name("copyreg", "_reconstructor")  # of protocols 0 and 1
_WRAP_TENSOR = {Name("torch._utils", "_rebuild_parameter"), Name("torch.nn.parameter", "Parameter")}


def read_pickle(file: io.BytesIO | mmap.mmap) -> tuple[Any, dict[str, str]]:
    """Reads the object that the pickle at the position of `file` describes.

    Args:
        file: a BytesIO or mmap, whose reads allocate no more than there is; its position is left
            behind the pickle.

    Returns:
        The object, made of dict (entries under text alone), list, tuple, text, numbers, `Name`,
        `Storage`, `Tensor` and `Inert`; and {key: type name} of all storages that it refers to.

    Raises:
        DamagedError: it is no pickle, or one that PyTorch does not write.
    """
    machine = _Machine()
    try:
        operations = pickletools.genops(file)  # type: ignore[arg-type]  # an mmap will do
        for count, (operation, argument, _) in enumerate(operations):
            if count == MAX_OPERATIONS:
                raise DamagedError(f"its pickle has more than {MAX_OPERATIONS} operations, as no weights have")
            machine.step(operation.name, argument)
        return machine.pop(), machine.storage_types
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError, OverflowError) as error:
        raise DamagedError("its pickle is damaged") from error


class _Machine:
    """The stack and the memo of a pickle that is being read."""

    def __init__(self):
        self.stack = []
        self.memo = {}
        self.storage_types = {}

    def pop(self):
        item = self.stack.pop()
        if item is _MARK:
            raise ValueError("a mark where an object should be")
        return item

    def pop_to_mark(self):
        start = len(self.stack) - 1
        while self.stack[start] is not _MARK:  # an IndexError once there is none
            start -= 1
        items = self.stack[start + 1 :]
        del self.stack[start:]
        return items

    def step(self, name, argument):
        push = self.stack.append
        if name in _LITERALS:
            push(argument)
        elif name in _NEW:
            push(_NEW[name]())
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            push(self.memo[argument])
        elif name in ("SETITEM", "SETITEMS", "APPEND", "APPENDS", "ADDITEMS", "BUILD"):
            self._fill(name)
        elif name in _TUPLES:
            push(tuple([self.pop() for _ in range(_TUPLES[name])][::-1]))
        elif name == "TUPLE":
            push(tuple(self.pop_to_mark()))
        elif name == "LIST":
            push(self.pop_to_mark())
        elif name == "DICT":
            push(_fill_dict({}, self.pop_to_mark()))
        elif name == "POP":
            self.stack.pop()
        elif name == "POP_MARK":
            self.pop_to_mark()
        elif name not in ("PROTO", "FRAME", "STOP"):
            push(self._object(name, argument))

    def _fill(self, name):
        """Puts items into the container below them; those of anything but a list or dict are dropped."""
        if name in ("APPEND", "BUILD"):
            items = [self.pop()]
        elif name == "SETITEM":
            items = [self.pop(), self.pop()][::-1]
        else:
            items = self.pop_to_mark()
        container = self.stack[-1]
        if type(container) is dict and name.startswith("SETITEM"):
            _fill_dict(container, items)
        elif type(container) is list and name.startswith("APPEND"):
            container.extend(items)

    def _object(self, name, argument):
        """What an operation makes that in Python's own machine would import, call or look up something."""
        if name == "GLOBAL":
            return Name(*argument.split(" ", 1))
        if name == "STACK_GLOBAL":
            attribute, module = self.pop(), self.pop()
            return Name(module, attribute) if isinstance(module, str) and isinstance(attribute, str) else Inert()
        if name == "BINPERSID":
            storage = _storage(self.pop())
            self.storage_types[storage.key] = storage.type_name
            return storage
        if name in ("REDUCE", "NEWOBJ"):
            arguments, function = self.pop(), self.pop()
            return _made(function, arguments)
        if name == "NEWOBJ_EX":
            self.pop(), self.pop(), self.pop()
            return Inert()
        if name in ("OBJ", "INST", "FROZENSET"):
            self.pop_to_mark()
            return Inert()
        raise ValueError(f"unexpected operation {name}")


def _fill_dict(container, items):
    # Other keys are not of interest, and hashing a tuple of tuples of tuples can take for ever.
    container.update((k, v) for k, v in zip(items[::2], items[1::2], strict=True) if isinstance(k, str))
    return container


def _made(function, arguments):
    """What PyTorch's `function` would give for `arguments`, or an Inert."""
    if not isinstance(function, Name):
        return Inert()
    if function == Name("collections", "OrderedDict"):
        pairs = arguments[0] if arguments else []  # [[key, value], ...], written by Python 2
        items = [item for key, value in pairs for item in (key, value)]
        pairs.clear()  # or a small file could ask for any number of copies
        return _fill_dict({}, items)
    if function in _REBUILD_TENSOR and isinstance(arguments[0], Storage):
        return Tensor(*arguments[:4])
    if function in _WRAP_TENSOR and isinstance(arguments[0], Tensor):
        return arguments[0]
    if function == _RECONSTRUCTOR and isinstance(arguments[0], Name):
        return Inert(arguments[0])
    return Inert(function)


def _storage(persistent_id):
    """The storage that PyTorch refers to as ("storage", type, key, device, size[, view])."""
    kind, storage_type, key, _, size, view = (*persistent_id[:6], None)[:6]
    if kind != "storage" or not isinstance(key, str):
        raise ValueError("unexpected reference")
    offset = 0
    if view is not None:
        _, offset, size = view
    return Storage(key, storage_type.name, size, offset)
