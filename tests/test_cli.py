"""`hrnet-tf`: what every command has in common."""

import os
import pathlib
import subprocess
import sys

import pytest

from hrnet_tf import InputError
from hrnet_tf.cli import flagfiles
from hrnet_tf.cli.commands import COMMANDS
from hrnet_tf.stderr import without_notes

ROOT = pathlib.Path(__file__).parents[1]
SCRIPT = pathlib.Path(sys.executable).with_name("hrnet-tf")
TOOLS = {
    "train": "train",
    "evaluate": "evaluate",
    "predict": "predict",
    "export": "export",
    "convert": "convert_weights",
    "check": "check_dataset",
    "shards": "make_shards",
    "demo": "demo",
}


def hrnet_tf(*arguments, folder=None, **environment):
    command = [str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True)


@pytest.mark.parametrize("arguments", [("--help",), *((name, "--help") for name in COMMANDS)])
def test_help_takes_no_tensorflow(arguments, tmp_path):
    """The import of what help must not need ends the process."""
    for module in ("tensorflow", "keras", "onnx", "onnxruntime", "tf2onnx", "scipy"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('imported')")
    result = hrnet_tf(*arguments, PYTHONPATH=str(tmp_path))
    assert (result.returncode, result.stderr) == (0, "")
    if arguments == ("--help",):
        assert all(f"\n    {name} " in result.stdout for name in COMMANDS)
    else:
        assert f"hrnet-tf {arguments[0]}" in result.stdout


def test_package_imports_tensorflow_when_it_is_needed(tmp_path):
    script = """
import sys, hrnet_tf
assert {"build_model", "PosePredictor", "heatmaps"} <= set(dir(hrnet_tf))
for name in ("tensorflow", "keras", "numpy"):
    assert name not in sys.modules, name
hrnet_tf.PosePredictor
assert "tensorflow" in sys.modules
for name in ("onnx", "onnxruntime", "tf2onnx"):
    assert name not in sys.modules, name
for name in hrnet_tf.__all__:
    getattr(hrnet_tf, name)
for package in (hrnet_tf.export, hrnet_tf.evaluation):
    for name in package.__all__:
        assert callable(getattr(package, name)), name
try:
    hrnet_tf.build_modle
except AttributeError as error:
    assert "has no attribute 'build_modle'" in str(error)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("trian",), "no command 'trian'; did you mean train?"),
        (("frobnicate",), "no command 'frobnicate'; there are train, browse"),
        (("train", "--modle=hrnet_w32"), "Unknown command line flag 'modle'. Did you mean: model"),
        (("train", "--flagfile=w49"), "did you mean w48.flags?"),
        (("train", "--flagfile="), "--flagfile must be a file"),
        (("predict",), "--model, --out_dir must be given"),
        (("evaluate", "--model=a", "--data_dir=b", "d"), "unexpected argument 'd'"),
        (("train", "--noresume=true"), "--noresume=true does not take an argument"),
        (("convert", "--model=hrnet_w33"), "should be one of <hrnet_w32|"),
        (("configs", "--help", "--nonsense"), None),
    ],
)
def test_wrong_words_are_one_line_that_names_the_nearest(arguments, message):
    result = hrnet_tf(*arguments)
    assert result.returncode == (0 if message is None else 1)
    if message is not None:
        assert message in result.stderr
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
        assert not result.stdout


def test_flag_files_are_found_by_name_from_any_folder(tmp_path):
    listed = hrnet_tf("configs", folder=tmp_path).stdout.splitlines()
    names = [path.name for path in sorted((ROOT / "hrnet_tf" / "configs").glob("*.flags"))]
    assert [line.split()[0] for line in listed] == names
    assert all(len(line.split(maxsplit=1)[1]) > 20 for line in listed)
    result = hrnet_tf("train", "--flagfile=w48.flags", "--work_dir=w", folder=tmp_path)
    assert result.stderr == "error: data directory data/coco does not exist\n"  # of base_coco.flags, which w48 names


def test_flags_of_files_stand_where_the_file_was_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.flags").write_text("# first\n--seed=1\n\n--flagfile=sub/b.flags\n// last\n--seed=3\n")
    (tmp_path / "sub" / "b.flags").write_text("--seed=2\n--flagfile=c.flags")
    (tmp_path / "sub" / "c.flags").write_text("  --model=x  \n")
    assert flagfiles.expand(["--x", "--flagfile", "a.flags", "--y"]) == [
        *("--x", "--seed=1", "--seed=2", "--model=x", "--seed=3", "--y")
    ]
    assert flagfiles.expand(["-flagfile=configs/w48.flags"]) == flagfiles.expand(["--flagfile=w48"])
    (tmp_path / "w48.flags").write_text("--seed=5")
    assert flagfiles.expand(["--flagfile=w48.flags"]) == ["--seed=5"]  # what is here comes first


@pytest.mark.parametrize("content", [b"--flagfile=a.flags", b"--flagfile=absent", b"\xff\xfe-\0"])
def test_flag_files_that_cannot_be_used_are_refused(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.flags").write_bytes(content)
    with pytest.raises(InputError, match="--flagfile") as refusal:
        flagfiles.expand(["--flagfile=a.flags"])
    assert "\n" not in str(refusal.value)


def test_every_flag_file_can_be_parsed():
    script = "import sys; from absl import flags; from hrnet_tf.cli import commands, flagfiles\ncommands.train()\n"
    script += "for path in flagfiles.own_files():\n    if not path.name.startswith('base_'):\n"
    script += "        flags.FLAGS(['train', *flagfiles.expand([f'--flagfile={path}'])])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_tools_of_a_checkout_are_the_commands():
    assert {*TOOLS, "predict-dataset", "app", "browse", "configs", "models", "download", "check-run"} == COMMANDS.keys()
    for name, tool in TOOLS.items():
        command = [sys.executable, f"tools/{tool}.py", "--help"]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert result.stdout == hrnet_tf(name, "--help").stdout


@pytest.mark.parametrize("hidden", [False, True])
def test_notes_are_left_out_and_everything_else_comes_through(hidden, capfd, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1" if hidden else "0")
    lines = [
        b"E0000 00:00:1795 1 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error: UNKNOWN ERROR (303)\n",
        b"E0000 00:00:1795 1 cuda_platform.cc:52] failed call to cuInit: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH\n",
        b"I0000 port.cc:153] oneDNN custom operations are on. You may see ...\n",
        b"F0000 something.cc:1] Check failed: memory\n",
        b"E0000 00:00:1795 1 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA_ERROR_NO_DEVICE: no device\n",
        b"a last line without an end",
    ]
    with pytest.raises(ZeroDivisionError), without_notes():
        for line in lines:
            os.write(2, line)
        raise ZeroDivisionError
    assert capfd.readouterr().err.encode() == lines[1] + lines[3] + (b"" if hidden else lines[4]) + lines[5]
