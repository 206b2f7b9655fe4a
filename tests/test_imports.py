"""Imports point one way, and modules under models/ need keras alone."""

import ast
import pathlib
import subprocess
import sys

import pytest

import hrnet_tf

ROOT = pathlib.Path(hrnet_tf.__file__).parent
# What a package or module of hrnet_tf may import of hrnet_tf, besides itself.
BASE = {"ahead", "errors", "skeletons", "geometry", "codecs", "progress", "stderr", "timing"}
MAY_IMPORT = {
    "__init__": {"errors", "lazy", "version"},
    "lazy": set(),
    "ahead": set(),
    "errors": set(),
    "version": set(),
    "codecs": set(),
    "progress": {"errors"},
    "stderr": set(),
    "timing": set(),
    "sides": set(),
    "skeletons": {"errors", "sides"},
    "geometry": set(),
    "first_bytes": set(),
    "files": {"errors", "first_bytes"},
    "workers": {"errors"},
    "mat_files": {"errors", "files"},
    "model_files": {"errors", "files"},
    "devices": {"errors"},
    "onnx_sessions": set(),
    "inputs": BASE | {"files", "data"},
    "detection": BASE | {"files", "lazy", "inputs", "model_files", "onnx_sessions", "pretrained"},
    "models": set(),
    "integral": set(),
    "losses": {"integral"},
    "visualize": BASE | {"files"},
    "heatmaps": {"codecs", "integral", "models", "skeletons"},
    "model_card": BASE | {"files", "models", "version"},
    "weights": {"errors", "files", "first_bytes", "models"},
    "pretrained": BASE | {"files", "first_bytes", "lazy", "model_card", "model_files", "models", "weights"},
    "evaluation": BASE | {"files", "mat_files", "lazy", "data"},
    "data": BASE | {"files", "mat_files", "first_bytes", "heatmaps", "workers"},
    "doctor": BASE | {"files", "data", "visualize"},
    "grouping": {"errors", "lazy", "skeletons"},
    "tracking": {"errors", "files", "evaluation"},
    "synthetic": BASE | {"files", "data"},
    "benchmarks": BASE | {"lazy", "data", "evaluation"},
    "prediction": BASE
    | {
        "files",
        "grouping",
        "first_bytes",
        "tracking",
        "workers",
        "devices",
        "onnx_sessions",
        "inputs",
        "detection",
        "heatmaps",
        "models",
        "model_card",
        "model_files",
        "data",
        "evaluation",
        "visualize",
        "pretrained",
    },
    "app": BASE | {"files", "inputs", "detection", "pretrained", "prediction", "tracking", "visualize"},
    "export": BASE | {"files", "lazy", "devices", "heatmaps", "models", "model_card", "data", "prediction"},
    "scaling": BASE
    | {"files", "devices", "inputs", "detection", "model_card", "data", "evaluation", "prediction", "version"},
    "cli": None,  # everything
    "training": BASE | {"files", "workers", "devices", "heatmaps", "integral", "losses", "models", "data"},
}


def imported(path):
    """Dotted names of everything that a file imports; not what it needs for annotations alone."""
    tree = ast.parse(path.read_text())
    of_types = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    skipped = {id(child) for node in of_types for child in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def unit(path):
    """The package or module directly under hrnet_tf that a file belongs to."""
    return path.relative_to(ROOT).with_suffix("").parts[0]


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    inside = {name.split(".")[1] for name in imported(path) if name.startswith("hrnet_tf.")}
    if MAY_IMPORT[unit(path)] is None:
        return
    modules = {p.stem for p in ROOT.iterdir()}
    assert inside & modules <= MAY_IMPORT[unit(path)] | {unit(path)}


@pytest.mark.parametrize("path", sorted((ROOT / "models").glob("*.py")), ids=lambda path: path.name)
def test_models_import_keras_only(path):
    outside = {name.split(".")[0] for name in imported(path)} - {"hrnet_tf"}
    assert outside <= {"keras", "numpy", "dataclasses", "collections", "typing"}


def test_tracking_needs_no_tensorflow():
    program = "import sys, hrnet_tf.tracking; sys.exit(int('tensorflow' in sys.modules or 'cv2' in sys.modules))"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
