"""Which of the state dicts in a file to take: trainings write them under many names, and several beside one another."""

import re
from typing import Any

from hrnet_tf.errors import listed
from hrnet_tf.weights.pickles import DamagedError, Inert, Tensor

# Where training programs keep the weights; what comes first is taken first. Of anything else, the first in the file.
_KEYS = (
    *("state_dict", "best_state_dict", "model_state_dict", "model_state", "model", "net", "network", "module"),
    *("params", "weights", "student", "teacher"),
)
_AVERAGED = re.compile(r"(?:^|[._])(?:ema|swa)(?:[._]|$)|averaged")
# These hold tensors, but none of a network.
_NOT_WEIGHTS = re.compile(
    r"\w*(?:optim|scheduler)\w*|\w*scaler|message_hub|meta|callbacks|loops|hyper_parameters", re.I
)
_MAX_DEPTH = 3


def choose(root: Any, wanted: str | None) -> tuple[dict[str, Tensor], list[str]]:
    """The state dict that the object of a file is or contains.

    Args:
        root: what `read_pickle` gave.
        wanted: the name of the one to take, such as "ema" or "model.state_dict", or a prefix of names in the one
            taken by itself, such as "teacher"; None takes that whole.

    Returns:
        {name: tensor, unchecked}, and what to say about the choice.

    Raises:
        DamagedError: there is none, not this one, or it holds something else too.
    """
    found = _state_dicts(root)
    if not found:
        raise DamagedError(_what_else(root))
    first = next(iter(found))
    name = first if wanted is None else wanted
    state_dict = found.get(name) or _below(found[first], name)
    if not state_dict:
        prefixes = {entry.split(".")[0]: None for entry in found[first]}
        there = listed([*filter(None, found), *prefixes])
        raise DamagedError(f"it has no state dict or prefix {name!r}, but {there}")
    if not all(entry.isprintable() for entry in state_dict):
        raise DamagedError("the names of its weights are not text")
    others = [entry for entry, value in state_dict.items() if not isinstance(value, Tensor)]
    if others:
        raise DamagedError(f"among its weights are {len(others)} entries without a tensor: {listed(others)}")
    rest = [other for other in found if other != name and other]
    said = [f"weights of the file's {name!r} taken"] if name else []
    if rest:
        said = [
            f"weights of the file's {name!r} taken, not of {listed(map(repr, rest))} (convert's --state_dict chooses)"
        ]
    return state_dict, said


def _state_dicts(root: Any) -> dict[str, dict[str, Any]]:
    """{where in the file: dict with tensors}, what is to be taken first in front; "" is the file's object itself."""
    found: dict[str, dict[str, Any]] = {}
    seen: set[int] = set()

    def look(item: Any, path: tuple[str, ...]) -> None:
        if not isinstance(item, dict) or id(item) in seen:
            return
        seen.add(id(item))
        if any(isinstance(value, Tensor) for value in item.values()):
            found[".".join(path)] = item
        if len(path) < _MAX_DEPTH:
            for key, value in item.items():
                if isinstance(value, dict) and not _NOT_WEIGHTS.fullmatch(key) and key.isprintable():
                    look(value, (*path, key))

    look(root, ())

    def rank(name: str) -> tuple[bool, bool, int]:
        ranks = [_KEYS.index(part) for part in name.split(".") if part in _KEYS]
        return _AVERAGED.search(name) is not None, not (ranks or name == ""), min(ranks, default=len(_KEYS))

    return {name: found[name] for name in sorted(found, key=rank)}


def _below(state_dict, prefix):
    return {name: value for name, value in state_dict.items() if name.startswith(f"{prefix}.")}


def _what_else(root: Any) -> str:
    """What a file without weights holds."""
    if (module := _whole_module(root)) is not None:
        return (
            f"it holds no weights but a whole pickled module ({module}), whose code would have to be run: load it "
            "where that code is and save the weights, torch.save(module.state_dict(), FILE)"
        )
    what = f"a dict of {len(root)} entries ({listed(root)})" if isinstance(root, dict) and root else "something else"
    return f"it holds no weights (a state dict, by itself or under a name such as 'state_dict'), but {what}"


def _whole_module(root):
    """The class of an object that is a file's root, or one of its entries under a name of weights."""
    items = [root, *(root.get(key) for key in (*_KEYS, "ema"))] if isinstance(root, dict) else [root]
    makers = [item.maker for item in items if isinstance(item, Inert) and item.maker is not None]
    classes = [f"{maker.module}.{maker.name}"[:100] for maker in makers]
    return next(filter(str.isprintable, classes), None)
