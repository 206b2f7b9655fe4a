"""PyTorch's weights in all their dialects: every name accounted for, everything or nothing."""

import functools

import numpy as np
import pytest
import seeded
import weight_files
from weight_files import CLASSIFIER_ONLY, Call

from hrnet_tf import InputError, build_model, load_pytorch_weights, load_state_dict
from hrnet_tf.weights import initialize_from, load, read_checkpoint

SMALL = "hrnet_w18_small_v1"
# Network -> state dicts of the reference that are for it. W32 comes last, for the next test to take it over.
STATE_DICTS = {
    "hrnet_w48": ["pose_hrnet_w48_coco", "imagenet_hrnet_w48"],
    "hrnet_w18_small_v1": ["imagenet_hrnet_w18_small_v1"],
    "hrnet_w18_small_v2": ["imagenet_hrnet_w18_small_v2"],
    "pose_resnet50": ["pose_resnet_50_coco"],
    "pose_resnet101": ["pose_resnet_101_coco"],
    "pose_resnet152": ["pose_resnet_152_coco"],
    "hrnet_w32": ["pose_hrnet_w32_coco", "pose_hrnet_w32_mpii", "imagenet_hrnet_w32"],
}
SCALAR = Call("numpy.core.multiarray", "scalar", (Call("numpy", "dtype", ("f8", False, True)), "\0" * 8))
HISTORY = Call("mmengine.logging.history_buffer", "HistoryBuffer", (), (b"\x81", {"_max_length": 10}, b"b"))


def official(name):
    return name


def parallel(name):
    return f"module.{name}"


def mmpose(head):
    def rename(name):
        return (head if name.startswith(("final_layer.", "deconv_layers.")) else "backbone.") + name

    return rename


RENAMES = {"official": official, "parallel": parallel, "mmpose0": mmpose("keypoint_head."), "mmpose1": mmpose("head.")}


def renamed(state, rename):
    return {rename(name): array for name, array in state.items()}


def training(state):
    """What the reference writes after an epoch."""
    moments = {name: {"exp_avg": array, "step": 3} for name, array in list(state.items())[:3]}
    return {
        "epoch": 3,
        "model": "pose_hrnet",
        "state_dict": renamed(state, parallel),
        "best_state_dict": state,
        "perf": SCALAR,
        "optimizer": {"state": moments, "param_groups": [{"lr": 1e-3, "params": [0, 1, 2]}]},
    }


FILES = {
    "official": lambda state: state,
    "parallel": lambda state: renamed(state, parallel),
    "training": training,
    "best only": lambda state: {"epoch": 3, "best_state_dict": state, "perf": SCALAR},
    "python 2": lambda state: Call("collections", "OrderedDict", ([list(item) for item in state.items()],)),
    "mmpose 0": lambda state: {"meta": {"hook_msgs": {}}, "state_dict": renamed(state, RENAMES["mmpose0"])},
    "mmpose 1": lambda state: {"message_hub": {"lr": HISTORY}, "state_dict": renamed(state, RENAMES["mmpose1"])},
}


@pytest.fixture(scope="module")
def state():
    return weight_files.small_pose()


@pytest.fixture(scope="module")
def fresh(state):
    """A model, its weights before anything was loaded, and those it has after `state`."""
    model = build_model(SMALL, (64, 64))
    before = model.get_weights()
    load_state_dict(model, state)
    return model, before, model.get_weights()


@pytest.fixture
def model(fresh):
    fresh[0].set_weights(fresh[1])
    return fresh[0]


def equal(weights, others):
    return all(np.array_equal(a, b) for a, b in zip(weights, others, strict=True))


def is_counter(name):
    return name.endswith("num_batches_tracked")


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "zip"])
@pytest.mark.parametrize("kind", list(FILES))
def test_every_dialect_in_both_containers(tmp_path, fresh, model, state, kind, legacy):
    weight_files.save(tmp_path / "weights.pth.tar", FILES[kind](state), legacy)
    report = load_pytorch_weights(model, tmp_path / "weights.pth.tar")
    assert equal(model.get_weights(), fresh[2])
    assert sorted(report.taken) == sorted(name for name in state if not is_counter(name))
    assert not report.not_taken and not report.kept_fresh
    assert report.dialect == ("MMPose" if kind.startswith("mmpose") else "official")


@pytest.mark.parametrize("rename", list(RENAMES))
def test_safetensors(tmp_path, fresh, model, state, rename):
    from safetensors.numpy import save_file

    save_file(renamed(state, RENAMES[rename]), tmp_path / "weights", metadata={"format": "pt"})
    load_pytorch_weights(model, str(tmp_path / "weights"))
    assert equal(model.get_weights(), fresh[2])


@pytest.mark.parametrize("dtype", ["f2", "f8"])
def test_other_precisions(tmp_path, fresh, model, state, dtype):
    weight_files.save(tmp_path / "weights.pth", {name: array.astype(dtype) for name, array in state.items()})
    load_pytorch_weights(model, tmp_path / "weights.pth")
    for got, wanted in zip(model.get_weights(), fresh[2], strict=True):
        np.testing.assert_array_equal(got, wanted.astype(dtype).astype("f4"))


@functools.lru_cache(maxsize=1)
def network(name):
    return build_model(name)


def read_constants(monkeypatch, shapes, value):
    """Makes every file be one of arrays of these shapes, all of one value, which take no memory."""
    arrays = {name: np.broadcast_to(np.float32(value), shape) for name, shape in shapes.items()}
    monkeypatch.setattr(load, "read_arrays", lambda path, state_dict: (arrays, "zip container", []))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* trained on BGR")
@pytest.mark.parametrize("name", list(STATE_DICTS))
def test_every_name_of_the_references_networks(monkeypatch, name):
    model = network(name)
    for value, state_name in enumerate(STATE_DICTS[name]):
        shapes = seeded.state_shapes(state_name)
        if state_name.startswith("imagenet"):
            check_initialisation(monkeypatch, model, shapes)
            continue
        head = ["final_layer.weight", "final_layer.bias"] if "mpii" in state_name else []
        for rename in [official] if head else RENAMES.values():
            read_constants(monkeypatch, renamed(shapes, rename), value)
            report = load_pytorch_weights(model, "any.pth", partial="mpii" in state_name)
            assert report.not_taken == report.kept_fresh == head
            assert report.taken == [entry for entry in shapes if not is_counter(entry) and entry not in head]
        assert all(np.all(array == value) for array in model.get_weights()[: -2 if head else None])


def check_initialisation(monkeypatch, model, shapes):
    """A classifier gives all of stem and stages, and nothing else."""
    read_constants(monkeypatch, shapes, 7)
    final_layer = model.get_layer("final_layer").get_weights()
    report = initialize_from(model, "any.pth")
    last = max(int(entry.split(".")[1]) for entry in shapes if entry.startswith("stage4."))
    not_taken = (*CLASSIFIER_ONLY, *(f"stage4.{last}.fuse_layers.{i}." for i in (1, 2, 3)))
    entries = [entry for entry in shapes if not is_counter(entry)]
    assert report.not_taken == [entry for entry in entries if entry.startswith(not_taken)]
    assert report.taken == [entry for entry in entries if not entry.startswith(not_taken)]
    assert report.kept_fresh == ["final_layer.weight", "final_layer.bias"]
    assert all(np.all(array == 7) for array in model.get_weights()[:-2])
    assert equal(model.get_layer("final_layer").get_weights(), final_layer)
    assert "171 not taken (stage4 65, incre_modules 80, downsamp_modules 18, final_layer 6, clas" in str(report)
    with pytest.raises(InputError, match=r"ImageNet weights can only initialise training"):
        load_pytorch_weights(model, "any.pth")


@pytest.mark.slow
def test_file_of_the_reference_gives_its_heatmaps(tmp_path):
    golden = seeded.load("hrnet_w32_256x192")
    weights = seeded.state_dict("pose_hrnet_w32_coco", int(golden["seed"]))
    weight_files.save(tmp_path / "checkpoint.pth", training(weights) | {"best_state_dict": {}}, legacy=True)
    model = network("hrnet_w32")
    load_pytorch_weights(model, tmp_path / "checkpoint.pth")
    expected = seeded.nhwc(golden["heatmaps_nchw"])
    heatmaps = np.asarray(model(seeded.images(int(golden["image_seed"]), len(expected), 256, 192)))
    assert np.linalg.norm(heatmaps - expected) / np.linalg.norm(expected) < 1e-5


def test_torchvision_resnet_initialises_all_but_the_head(monkeypatch):
    shapes = seeded.state_shapes("pose_resnet_50_coco")
    shapes = {name: shape for name, shape in shapes.items() if not name.startswith(("final", "deconv"))}
    read_constants(monkeypatch, shapes | {"fc.weight": [1000, 2048], "fc.bias": [1000]}, 0)
    model = build_model("pose_resnet50", (32, 32))
    deconv = model.get_layer("deconv_layers_0").get_weights()
    report = initialize_from(model, "resnet50-0676ba61.pth")
    assert report.taken == [name for name in shapes if not is_counter(name)]
    assert report.not_taken == ["fc.weight", "fc.bias"]
    assert len(report.kept_fresh) == 3 * 5 + 2
    assert equal(model.get_layer("deconv_layers_0").get_weights(), deconv) and np.any(deconv[0])


def test_classifier_values_are_taken(tmp_path, model, state):
    classifier = seeded.state_dict("imagenet_hrnet_w18_small_v1", 0)
    weight_files.save(tmp_path / "weights.pth", {"state_dict": classifier, "epoch": 100})
    initialize_from(model, tmp_path / "weights.pth")
    layer = model.get_layer("stage4_0_fuse_layers_0_3_0")
    np.testing.assert_array_equal(layer.kernel[0, 0].numpy().T, state["stage4.0.fuse_layers.0.3.0.weight"][..., 0, 0])


def test_initialisation_is_strict_about_the_rest(tmp_path, model, state):
    classifier = seeded.state_dict("imagenet_hrnet_w18_small_v1", 0)
    classifier.pop("stage3.0.branches.1.0.conv1.weight")
    classifier["transition2.2.0.0.weight"] = np.zeros((1, 2, 3, 3), "f4")
    classifier["attention.weight"] = np.zeros(3, "f4")
    weight_files.save(tmp_path / "weights.pth", classifier)
    before = model.get_weights()
    with pytest.raises(InputError) as error:
        initialize_from(model, tmp_path / "weights.pth")
    assert "1 missing: stage3.0.branches.1.0.conv1.weight; 1 unexpected: attention.weight; 1 of another" in str(
        error.value
    )
    assert "transition2.2.0.0.weight (1, 2, 3, 3), wanted (64, 32, 3, 3)" in str(error.value)
    assert equal(model.get_weights(), before)


def test_other_keypoints(tmp_path, fresh, state):
    weight_files.save(tmp_path / "weights.pth", state)
    model = build_model(SMALL, (64, 64), num_keypoints=3)
    before = model.get_weights()
    with pytest.raises(
        InputError,
        match=r"2 of another shape: final_layer.weight \(17, 16, 1, 1\), wanted \(3, 16, 1, 1\), final_layer.bias "
        r"\(17,\), wanted \(3,\); partial=True leaves out",
    ):
        load_pytorch_weights(model, tmp_path / "weights.pth")
    assert equal(model.get_weights(), before)
    for function in (lambda *args: load_pytorch_weights(*args, partial=True), initialize_from):
        model.set_weights(before)
        report = function(model, tmp_path / "weights.pth")
        head = ["final_layer.weight", "final_layer.bias"]
        assert sorted(report.not_taken) == sorted(report.kept_fresh) == sorted(head)
        assert equal(model.get_weights()[-2:], before[-2:])
        assert equal(model.get_weights()[:-2], fresh[2][:-2])


def test_partial_leaves_out_nothing_else(tmp_path, fresh, model, state):
    weight_files.save(tmp_path / "weights.pth", state)
    report = load_pytorch_weights(model, tmp_path / "weights.pth", partial=True)
    assert not report.not_taken and equal(model.get_weights(), fresh[2])
    model.set_weights(fresh[1])
    cases = [
        {"final_layer.weight": np.zeros((3, 7, 1, 1), "f4"), "final_layer.bias": np.zeros(3, "f4")},
        {"final_layer.weight": np.zeros((3, 16, 1, 1), "f4"), "final_layer.bias": np.zeros(4, "f4")},
        {"final_layer.weight": np.zeros((3, 16, 1, 1), "f4"), "final_layer.bias": np.zeros(3, "f4"), "bn1.bias": None},
    ]
    for changes in cases:
        changed = {name: array for name, array in (state | changes).items() if array is not None}
        weight_files.save(tmp_path / "weights.pth", changed)
        with pytest.raises(InputError, match=r"does not fit the model"):
            load_pytorch_weights(model, tmp_path / "weights.pth", partial=True)
        assert equal(model.get_weights(), fresh[1])


def test_all_that_does_not_fit_is_listed(tmp_path, fresh, model, state):
    changed = renamed(state, RENAMES["mmpose1"])
    del changed["backbone.stage4.0.fuse_layers.0.1.0.weight"], changed["head.final_layer.bias"]
    changed["head.extra_layers.0.weight"] = changed["backbone.bn1.weight"]
    changed["backbone.bn1.bias"] = np.full(64, np.nan, "f4")
    changed["backbone.bn2.bias"] = np.full(64, np.inf, "f4")
    changed["backbone.conv2.weight"] = np.zeros((64, 64, 3, 3), "i8")
    changed["backbone.bn1.weight"] = np.full(64, 1e300)  # too large for float32
    changed["backbone.layer1.0.bn1.weight"] = np.zeros((), "f4")
    weight_files.save(tmp_path / "weights.pth", changed)
    with pytest.raises(InputError) as error:
        load_pytorch_weights(model, tmp_path / "weights.pth")
    problems = str(error.value).split(f"does not fit the model '{SMALL}'. ")[1].split("; ")
    assert problems[0] == "2 missing: stage4.0.fuse_layers.0.1.0.weight, final_layer.bias"
    assert problems[1] == "1 unexpected: head.extra_layers.0.weight"
    assert problems[2] == "1 of another shape: layer1.0.bn1.weight (), wanted (32,)"
    kind, names = problems[3].split(": ")
    assert kind == "4 not of finite floating-point numbers"
    assert sorted(names.split(", ")) == ["bn1.bias", "bn1.weight", "bn2.bias", "conv2.weight"]
    assert equal(model.get_weights(), fresh[1])


def test_names_that_mean_the_same_weight_twice(tmp_path, fresh, model, state):
    weight_files.save(tmp_path / "weights.pth", state | {"stage2_0.branches.0.0.bn1.bias": np.zeros(16, "f4")})
    with pytest.raises(InputError, match=r"1 unexpected: stage2_0.branches.0.0.bn1.bias$"):
        load_pytorch_weights(model, tmp_path / "weights.pth")
    twice = renamed(state, RENAMES["mmpose1"]) | {"backbone.final_layer.bias": np.zeros(17, "f4")}
    weight_files.save(tmp_path / "weights.pth", twice)
    with pytest.raises(InputError, match=r"1 unexpected: backbone.final_layer.bias$"):
        load_pytorch_weights(model, tmp_path / "weights.pth")
    assert equal(model.get_weights(), fresh[1])


def test_keypoints_are_told_from_the_file(tmp_path, state):
    weight_files.save(tmp_path / "pose.pth", renamed(state, RENAMES["mmpose1"]))
    weight_files.save(tmp_path / "classifier.pth", seeded.state_dict("imagenet_hrnet_w18_small_v1", 0))
    assert read_checkpoint(tmp_path / "pose.pth").num_keypoints == 17
    assert read_checkpoint(tmp_path / "classifier.pth").num_keypoints is None
