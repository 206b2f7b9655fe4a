"""Networks by name or address: downloaded and converted once, and taken wherever a network is."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys

import cv2
import file_server
import keras
import numpy as np
import pretrained_host
import pytest
import seeded
import tool_runs
from file_server import Served
from pretrained_host import DIALECTS, SMALL, Host, state_of

import hrnet_tf
from hrnet_tf import InputError, PosePredictor, build_model, pretrained, skeletons
from hrnet_tf.model_card import read_card
from hrnet_tf.prediction.network import load_network


@pytest.fixture(scope="module")
def server():
    with file_server.running() as running:
        yield running


@pytest.fixture(scope="module")
def host(server, tmp_path_factory):
    host = Host(server, tmp_path_factory.mktemp("host"))
    host.add("mine", SMALL, "64x64", "coco", DIALECTS["mmpose 1.x"](state_of(SMALL, 17)), codec="udp")
    host.add("classifier", SMALL, "224x224", "imagenet", seeded.state_dict("imagenet_hrnet_w18_small_v1", 0))
    return host


@pytest.fixture(scope="module")
def filled(host, tmp_path_factory):
    """A cache that has "mine", which nobody may change."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("HRNET_TF_HOME", str(folder))
        patched.setenv("HRNET_TF_PRETRAINED", str(host.folder / "list.tsv"))
        pretrained.model_file("mine")
    return folder


@pytest.fixture
def cache(host, tmp_path, monkeypatch):
    """An empty cache, and the list of `host`."""
    return pretrained_host.use(host, tmp_path / "cache", monkeypatch)


def test_a_name_is_downloaded_once_and_taken_wherever_a_network_is(host, cache, filled):
    shutil.copytree(filled, cache)
    predictor = PosePredictor("mine")
    assert predictor.codec == "udp" and predictor.skeleton == skeletons.COCO and predictor.input_size == (64, 64)
    image = seeded.images(0, 1, 128, 128)[0]
    model = hrnet_tf.load_pretrained("mine")
    again = PosePredictor(model, card=pretrained.card("mine"))
    np.testing.assert_allclose(predictor(image), again(image), atol=1e-3)
    network, path = load_network("mine")
    assert path == pretrained.model_file("mine") and path.parent == cache and network.num_keypoints == 17
    assert not host.server.asked


def test_a_path_comes_before_a_name(cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert str(pretrained.model_file("mine")) == "mine" and not cache.exists()
    assert str(pretrained.model_file("some/best.keras")) == "some/best.keras"
    with pytest.raises(InputError, match=r"there is no file or folder miene, and no network .*nearest are mine, "):
        PosePredictor("miene")
    with pytest.raises(InputError, match=r"existing .keras, .* Received: miene.keras"):
        PosePredictor("miene.keras")


def test_a_classifier_is_for_training_alone(cache):
    with pytest.raises(InputError, match=r"classifier is a classifier.*--pretrained=classifier"):
        PosePredictor("classifier")
    path = pretrained.weights_file("classifier")
    assert path.parent == cache and not list(cache.glob("*.keras"))
    assert "kept fresh" in str(hrnet_tf.weights.initialize_from(build_model(SMALL, (64, 64)), path))


def test_weights_of_something_else_are_refused_and_a_whole_file_of_before_stays(host, cache, filled):
    """Each as it would be with an own list that is wrong."""
    shutil.copytree(filled, cache)
    before = {path.name: path.stat().st_mtime_ns for path in cache.iterdir() if path.suffix != ".lock"}
    state = state_of(SMALL, 17)
    host.add("wrong_k", SMALL, "64x64", "mpii", state)
    host.add("wrong_network", "pose_resnet18", "64x64", "coco", state)
    host.add("no_weights", SMALL, "64x64", "coco", {"epoch": 3})
    for name, said in (
        ("wrong_k", r"does not fit the model .* of another shape: final_layer.weight \(17"),
        ("wrong_network", "does not fit the model 'pose_resnet18'"),
        ("no_weights", "it holds no weights"),
    ):
        with pytest.raises(InputError, match=said):
            pretrained.model_file(name)
    left = {path.name: path.stat().st_mtime_ns for path in cache.iterdir() if path.suffix == ".keras"}
    assert left == {name: time for name, time in before.items() if name.endswith(".keras")}


def test_a_damaged_or_outdated_conversion_is_made_again(host, cache, filled):
    shutil.copytree(filled, cache)
    path = pretrained.model_file("mine")
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    assert pretrained.model_file("mine") == path
    assert keras.models.load_model(path).output_shape == (None, 16, 16, 17)
    text = (host.folder / "list.tsv").read_text()
    os.environ["HRNET_TF_PRETRAINED"] = str(cache / "list.tsv")  # which the fixture puts back
    (cache / "list.tsv").write_text(text.replace("64x64\tcoco\tudp", "64x96\tcoco\tdark"))
    assert read_card(pretrained.model_file("mine")) == pretrained.card("mine")
    assert pretrained.card("mine").input_size == (64, 96) and not host.server.asked


def test_addresses(host, cache, filled):
    (source,) = filled.glob("*.keras")
    content = source.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    host.server.files["/best.keras"] = Served(content)
    url = f"{host.server.url}/best.keras"
    path = pretrained.model_file(f"{url}#sha256={sha256}")
    assert path.read_bytes() == content and path.name == f"best-{sha256[:8]}.keras"
    assert PosePredictor(f"{url}#sha256={sha256[:12]}").codec == "udp"
    assert host.server.asked == [("/best.keras", None)]
    for text, said in (
        (url, "best-unverified.keras has no known SHA-256"),
        (f"{url}#sha256={'0' * 64}", "its SHA-256 is"),
        (f"{url}#md5=0123456789", "after # an address must have sha256="),
        (f"{url[:-6]}.pth#sha256={sha256}", "address of a .keras, .onnx, .tflite file; of which network"),
        ("https://best.keras", "an address must be like"),
        ("hf://user", "an address must be like hf://user/repository"),
        ("hf://user/../x.keras", "an address must be like"),
    ):
        with pytest.raises(InputError, match=said):
            pretrained.model_file(text)
    assert pretrained.model_file(url, allow_unverified=True).read_bytes() == content


def test_addresses_of_weights_to_start_from(host, cache, monkeypatch):
    content = host.server.files["/classifier.pth"].content
    sha256 = hashlib.sha256(content).hexdigest()
    url = f"{host.server.url}/classifier.pth#sha256={sha256[:8]}"
    path = pretrained.weights_file(url)
    assert path.read_bytes() == content and path.name == f"classifier-{sha256[:8]}.pth"
    monkeypatch.setenv("HF_ENDPOINT", host.server.url)
    large = {"X-Linked-Etag": f'"{sha256}"', "Location": "/classifier.pth"}
    host.server.files["/timm/net.in1k/resolve/main/model.safetensors"] = Served(status=302, headers=large)
    path = pretrained.weights_file("hf://timm/net.in1k/model.safetensors")
    assert path.read_bytes() == content and path.name == "timm--net.in1k--model.safetensors"
    for text in ("hf://timm/net.in1k", "https://host/best.keras"):
        with pytest.raises(InputError, match=r"must be the address of a .pth, "):
            pretrained.weights_file(text)


def test_a_list_of_ones_own_has_keras_files_too(host, cache, filled):
    (source,) = filled.glob("*.keras")
    host.server.files["/ours.keras"] = Served(source.read_bytes())
    host.rows.append(("ours", SMALL, "64x64", "coco", "udp", "", f"{host.server.url}/ours.keras"))
    host.add("another", SMALL, "64x64", "coco", state_of(SMALL, 17))
    with pytest.raises(InputError, match="ours has no known SHA-256"):
        hrnet_tf.load_pretrained("ours")
    model = hrnet_tf.load_pretrained("ours", allow_unverified=True)
    np.testing.assert_array_equal(model.get_weights()[0], hrnet_tf.load_pretrained(source).get_weights()[0])
    assert pretrained.model_file("ours", allow_unverified=True).read_bytes() == source.read_bytes()


def test_repositories_of_the_hub(host, cache, filled, monkeypatch):
    (source,) = filled.glob("*.keras")
    content, files = source.read_bytes(), host.server.files
    monkeypatch.setenv("HF_ENDPOINT", host.server.url)
    large = {"X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"', "Location": "/cdn/xyz"}
    files["/user/repo/resolve/main/best.keras"] = Served(status=302, headers=large)
    files["/cdn/xyz"] = Served(content)
    siblings = [{"rfilename": name} for name in ("README.md", "best.keras")]
    files["/api/models/user/repo"] = Served(json.dumps({"siblings": siblings}).encode())
    assert pretrained.model_file("hf://user/repo").read_bytes() == content
    assert pretrained.model_file("hf://user/repo/best.keras").name == "user--repo--best.keras"
    asked = len(host.server.asked)
    assert hrnet_tf.load_pretrained("hf://user/repo").output_shape == (None, 16, 16, 17)
    assert len(host.server.asked) == asked
    files["/user/repo/resolve/main/small.onnx"] = Served(content)
    with pytest.raises(InputError, match="has no known SHA-256"):
        pretrained.model_file("hf://user/repo/small.onnx")
    files["/cdn/xyz"] = Served(content[:-1] + b"?")
    files["/user/other/resolve/main/best.keras"] = files["/user/repo/resolve/main/best.keras"]
    with pytest.raises(InputError, match="its SHA-256 is"):
        pretrained.model_file("hf://user/other/best.keras")
    for description, said in (
        (b"[]", "is not the description"),
        (b"{", "is not JSON"),
        (b'{"siblings":[]}', "one .keras"),
    ):
        files["/api/models/user/other"] = Served(description)
        with pytest.raises(InputError, match=said):
            pretrained.model_file("hf://user/other")
    with pytest.raises(InputError, match="answers 404"):
        pretrained.model_file("hf://user/none")


def start(script, *arguments):
    options = {"cwd": tool_runs.ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *script, *arguments], **options)


DOWNLOAD = ("-m", "hrnet_tf.cli", "download")


@pytest.mark.slow
def test_two_processes_at_once_and_a_list_of_what_is_there(host, cache):
    both = [start(DOWNLOAD, "mine", "classifier") for _ in range(2)]
    results = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], results
    assert results[0][0] == results[1][0] and results[0][0].startswith(f"mine: {cache}/mine-")
    assert sorted(path for path, _ in host.server.asked) == ["/classifier.pth", "/mine.pth"]
    assert sum(said.count("converting ") for _, said in results) == 1
    assert sorted(path.suffix for path in cache.iterdir() if path.suffix != ".lock") == [".keras", ".pth", ".pth"]
    table, _ = start(("-m", "hrnet_tf.cli", "models"), "mi[np]*").communicate()
    rows = [line.split() for line in table.splitlines()]
    assert rows[1] == ["mine", "64x64", "coco", "yes"] and rows[0][0] == "name"


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_killed_while_it_converts(host, cache):
    script = (
        "import time\nfrom hrnet_tf import pretrained\nfrom hrnet_tf.pretrained import convert\n"
        "convert.write_card = lambda *_: (print('written', flush=True), time.sleep(100))\n"
        "pretrained.model_file('mine')"
    )
    process = start(("-c", script))
    assert process.stdout.readline() == "written\n"
    (half,) = cache.glob(".mine*/*.keras")
    assert half.stat().st_size and not list(cache.glob("*.keras"))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert pretrained.model_file("mine").is_file()
    assert not list(cache.glob(".mine*")) and len(host.server.asked) == 1


def test_bad_names_are_one_line(cache, tmp_path):
    for script, arguments, said in (
        (DOWNLOAD, ("best.keras",), "best.keras is neither the name of a network nor an address"),
        (("-m", "hrnet_tf.cli", "models"), ("wholebudy",), "no name of a network has 'wholebudy' in it"),
    ):
        process = start(script, *arguments)
        output, errors = process.communicate()
        assert process.returncode == 1 and not output and errors.startswith(f"error: {said}")
        assert len(errors.splitlines()) == 1


@pytest.mark.slow
def test_the_commands_take_names(host, cache, dataset, tmp_path):
    cv2.imwrite(str(tmp_path / "photo.png"), seeded.images(0, 1, 128, 128)[0])
    flags = {"input": tmp_path / "photo.png", "whole_image": True}
    result = tool_runs.run("predict", model="mine", **flags, out_dir=tmp_path / "out")
    assert result.returncode == 0 and (tmp_path / "out" / "predictions.csv").is_file(), result.stderr
    data = {"data_dir": dataset, "val_split": "tiny"}
    result = tool_runs.run("evaluate", model="mine", **data)
    assert result.returncode == 0 and "codec udp" in result.stdout, result.stderr
    result = tool_runs.run("export", model="mine", out_dir=tmp_path / "export", formats="onnx", **data)
    assert result.returncode == 0 and (tmp_path / "export" / "model.onnx").is_file(), result.stderr
    result = tool_runs.run("train", **tool_runs.training(tmp_path, pretrained="classifier", epochs=1))
    assert result.returncode == 0 and "ImageNet classifier weights" in result.stdout, result.stderr
    assert "nearest are" in tool_runs.complaint(
        tool_runs.run("predict", model="hrnet_w32_coco", input=tmp_path / "photo.png", out_dir=tmp_path / "no")
    )
