"""Outputs that are devices, links or pipes, and outputs over inputs: written through or refused."""

import os
import stat
import subprocess
import sys
import threading

import pytest
from absl import flags
from conftest import write_dataset
from tool_runs import ROOT, SECONDS, complaint, hrnet_tf_command

from hrnet_tf.cli import places
from hrnet_tf.errors import InputError
from hrnet_tf.files import replacing
from hrnet_tf.prediction import results


def make_device(path, minor):
    """A device like /dev/null, 3, or /dev/full, 7."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, minor))
        os.close(os.open(path, os.O_WRONLY))
    except OSError:
        pytest.skip("devices can be made by root alone")
    return path


class TestOutputPaths:
    """Devices are made for the test: what goes wrong with those of /dev goes wrong for the whole machine."""

    def test_a_device_is_written_to(self, tmp_path):
        null, full = make_device(tmp_path / "null", 3), make_device(tmp_path / "full", 7)
        with replacing(null) as temporary:
            temporary.write_text("content")
        no_space = pytest.raises(InputError, match=r"full: No space left on device")
        with no_space, replacing(full) as temporary:
            temporary.write_text("content")
        assert stat.S_ISCHR(null.stat().st_mode)
        assert stat.S_ISCHR(full.stat().st_mode)

    def test_a_link_stays_and_what_it_points_to_is_written(self, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        target, link = tmp_path / "elsewhere" / "target.txt", tmp_path / "link.txt"
        link.symlink_to(target)
        for text in ("first", "second"):  # there is no target at first
            with replacing(link) as temporary:
                temporary.write_text(text)
            assert (link.is_symlink(), target.read_text()) == (True, text)

    def test_a_pipe_is_written_to_where_somebody_reads(self, tmp_path):
        pipe, read = tmp_path / "pipe", []
        os.mkfifo(pipe)
        with pytest.raises(InputError, match=r"pipe: it is a pipe \(FIFO\) that nobody reads"), replacing(pipe):
            pytest.fail("nothing to write to")
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(reader, True)
        thread = threading.Thread(target=lambda: read.append(os.fdopen(reader, "rb").read()))
        with replacing(pipe) as temporary:
            thread.start()
            temporary.write_bytes(bytes(1 << 20))  # more than a pipe holds
        thread.join(SECONDS)
        assert (read, stat.S_ISFIFO(pipe.stat().st_mode)) == ([bytes(1 << 20)], True)

    def test_what_is_written_to_standard_output_comes_after_what_was_printed(self, tmp_path):
        script = """
from hrnet_tf.files import replacing
print("before")
with replacing("/dev/fd/1") as temporary:
    temporary.write_text("content\\n")
print("after")
"""
        with open(tmp_path / "out.txt", "w") as file:
            subprocess.run([sys.executable, "-c", script], cwd=ROOT, stdout=file, timeout=SECONDS, check=True)
        assert (tmp_path / "out.txt").read_text() == "before\ncontent\nafter\n"


class TestOutputsOverInputs:
    def test_a_command_refuses(self, tmp_path):
        write_dataset(tmp_path)
        annotations = tmp_path / "annotations" / "person_keypoints_tiny.json"
        before = annotations.read_bytes()
        result = hrnet_tf_command("check", f"--data_dir={tmp_path}", "--split=tiny", f"--json={annotations}")
        assert "--json would replace the annotations of --split" in complaint(result)
        assert annotations.read_bytes() == before

    def test_the_names_of_results_are_known(self):
        assert {results.JSON_NAME, results.CSV_NAME} <= set(places.WRITTEN)

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"json": "link.json"}, "--json would replace the annotations of --split"),
            ({"picture": "images/tiny/000000000001.jpg"}, "--picture is a file in the folder of the images of --split"),
            ({"model": "best.keras", "metrics": "best.keras"}, "--metrics would replace --model"),
            ({"model": "saved", "sheet": "saved/variables/a.png"}, "--sheet is a file in the folder of --model saved/"),
            ({"model": "out/model.keras", "out_dir": "out"}, "model.keras of --out_dir would replace --model"),
            ({"detections": "out/predictions.json", "out_dir": "out"}, "predictions.json of --out_dir would replace"),
            ({"weights": "best.keras", "out": "./best.keras"}, "--out would replace --weights"),
            ({"json": "report.json", "picture": "new.jpg", "out_dir": "out"}, ""),
        ],
    )
    def test_flags(self, given, said, tmp_path, monkeypatch):
        write_dataset(tmp_path)
        names = ("best.keras", "report.json", "out/model.keras", "out/predictions.json", "saved/variables/a.png")
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        (tmp_path / "link.json").symlink_to(tmp_path / "annotations" / "person_keypoints_tiny.json")
        monkeypatch.chdir(tmp_path)
        values = flags.FlagValues()
        for name, value in ({"data_dir": ".", "split": "tiny", "dataset": "coco"} | given).items():
            flags.DEFINE_string(name, value, "", flag_values=values)
        values(["test"])
        if said:
            with pytest.raises(InputError, match=said):
                places.check(values)
        else:
            places.check(values)
