"""Everything public says what it takes and gives: `make lint` checks that it is true, this that it is said."""

import ast
import pathlib

import pytest

import hrnet_tf

ROOT = pathlib.Path(hrnet_tf.__file__).parent


def public_functions(body, prefix=""):
    """(name, node) of the public functions of a module and of its public classes, and of these what sets them up."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body, f"{node.name}.")
        elif isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name in SPECIAL):
            yield prefix + node.name, node


SPECIAL = ("__init__", "__call__", "__enter__", "__exit__", "__len__", "__getitem__", "__iter__")


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_public_functions_are_annotated(path):
    missing = []
    for name, function in public_functions(ast.parse(path.read_text()).body):
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        arguments += [argument for argument in (function.args.vararg, function.args.kwarg) if argument]
        missing += [f"{name}({a.arg})" for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
        if function.returns is None and name.rpartition(".")[2] != "__init__":
            missing.append(f"{name} -> ?")
    assert not missing
