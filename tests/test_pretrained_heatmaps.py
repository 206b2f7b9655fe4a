"""Networks by name: from a server's file, under whichever program's names of weights, to heatmaps."""

import file_server
import numpy as np
import pretrained_host
import pytest
import seeded
from pretrained_host import DIALECTS, SMALL, Host, state_of
from test_pose_resnet import SHALLOW

import hrnet_tf
from hrnet_tf import build_model, load_pytorch_weights, pretrained, skeletons
from hrnet_tf.model_card import read_card
from hrnet_tf.pretrained import table
from hrnet_tf.weights import LoadReport


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    with file_server.running() as server:
        yield Host(server, tmp_path_factory.mktemp("host"))


@pytest.fixture
def cache(host, tmp_path, monkeypatch):
    """An empty cache, and the list of `host`."""
    return pretrained_host.use(host, tmp_path / "cache", monkeypatch)


def check_name(host, name, network, size, keypoint_set, dialect, legacy):
    """The network of a name gives what its file gives that is loaded as it is, and its card is the row's."""
    num_keypoints = skeletons.named(keypoint_set).num_keypoints
    path = host.add(name, network, size, keypoint_set, DIALECTS[dialect](state_of(network, num_keypoints)), legacy)
    height, width = map(int, size.split("x"))
    order = "bgr" if network in SHALLOW and not dialect.startswith("mmpose") else "rgb"
    direct = build_model(network, (height, width), num_keypoints, channel_order=order)
    assert isinstance(load_pytorch_weights(direct, path), LoadReport)
    model = hrnet_tf.load_pretrained(name)
    images = seeded.images(0, 2, height, width)
    np.testing.assert_array_equal(model(images), direct(images))
    assert read_card(pretrained.model_file(name)) == pretrained.card(name)
    assert pretrained.card(name).skeleton == skeletons.named(keypoint_set)


@pytest.mark.parametrize(
    ("network", "keypoint_set", "dialect", "legacy"),
    [
        (SMALL, "mpii", "official", False),
        ("pose_resnet18", "crowdpose", "mmpose 1.x", True),
        pytest.param("pose_resnet18", "coco", "training", False, marks=pytest.mark.slow),
        pytest.param("hrnetv2_w18", "hand21", "mmpose 0.x", True, marks=pytest.mark.slow),
    ],
)
def test_heatmaps_of_a_name(host, cache, network, keypoint_set, dialect, legacy):
    check_name(host, f"{network}_{keypoint_set}", network, "64x96", keypoint_set, dialect, legacy)


SETS = sorted({pretrained.find(name).keypoint_set for name in pretrained.names()} - {table.CLASSIFIER, ""})


@pytest.mark.slow
@pytest.mark.parametrize(("number", "keypoint_set"), list(enumerate(SETS)))
def test_heatmaps_of_every_keypoint_set(host, cache, number, keypoint_set):
    dialect = list(DIALECTS)[number % len(DIALECTS)]
    check_name(host, f"every_{keypoint_set}", SMALL, "64x64", keypoint_set, dialect, bool(number % 2))


LARGE = [
    ("hrnet_w32", "hrnet_w32_256x192", "pose_hrnet_w32_coco", "official"),
    ("hrnet_w48", "hrnet_w48_256x192", "pose_hrnet_w48_coco", "mmpose 1.x"),
    ("pose_resnet50", "resnet50_256x192", "pose_resnet_50_coco", "mmpose 0.x"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("network", "golden", "state", "dialect"), LARGE, ids=[row[0] for row in LARGE])
def test_heatmaps_of_a_name_equal_the_golden_ones(host, cache, network, golden, state, dialect):
    golden = seeded.load(golden)
    weights = seeded.state_dict(state, int(golden["seed"]))
    if network == "pose_resnet50":  # of MMPose, whose transposed convolutions are the head's
        head = ("deconv_layers.", "final_layer.")
        content = {("keypoint_head." if n.startswith(head) else "backbone.") + n: a for n, a in weights.items()}
    else:
        content = DIALECTS[dialect](weights)
    host.add(f"golden_{network}", network, "256x192", "coco", content, legacy=True)
    expected = seeded.nhwc(golden["heatmaps_nchw"])
    images = seeded.images(int(golden["image_seed"]), len(expected), 256, 192)
    heatmaps = np.asarray(hrnet_tf.load_pretrained(f"golden_{network}")(images))
    assert np.linalg.norm(heatmaps - expected) / np.linalg.norm(expected) < 1e-5
