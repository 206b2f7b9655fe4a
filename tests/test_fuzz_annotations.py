"""A thousand damaged annotation and results files: each is used sensibly or refused in one line that names it."""

import copy
import json
import random

import numpy as np
import pytest
from conftest import write_dataset

from hrnet_tf import InputError, doctor
from hrnet_tf.data import coco
from hrnet_tf.evaluation import evaluate_coco

NUM_FILES = 1000
NUM_GROUPS = 10
DEEP = "nested too deeply"  # replaced by brackets in the text: json.dumps would refuse them

ODD_VALUES = [
    *(None, True, False, 0, 1, -1, 2, 17, 0.5, -0.0, 3.0, 1e-320, 1e300, -1e300, 2**31, 2**63, -(2**63), 10**400),
    *(
        float("nan"),
        float("inf"),
        -float("inf"),
        1e7,
        "",
        "1",
        "nan",
        "left_eye",
        "\ud800",
        "a\nb",
        "a\0b",
        "../..",
        "é",
    ),
    *([], {}, [[]], [None], [1, 2], [1, 2, 3, 4], [[1, 2], [3, 4]], {"id": 1}, [{}], ["a", "b"], "x" * 10_000),
    *([float("nan")] * 4, [0] * 51, [1.5, "2", None, True], [10**400] * 4, [1e200] * 51, [True] * 4, DEEP),
]


def places(value):
    """Every (container, key) of a parsed JSON file."""
    found = []
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        found.append((value, key))
        if isinstance(item, dict | list):
            found += places(item)
    return found


def mutate(content, rng):
    """Damages a parsed file in place, in one to four places."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        found = places(content)
        if not found:
            return
        # Places in the numbers are many: without this, hardly anything else would be damaged.
        shallow = [(container, key) for container, key in found if isinstance(key, str)]
        container, key = rng.choice(shallow if shallow and rng.random() < 0.7 else found)
        kind = rng.randrange(6)
        if kind == 0:
            del container[key]
        elif kind == 1 and isinstance(container[key], list):
            container[key] *= 2
        elif kind == 2 and isinstance(container[key], list):
            rng.shuffle(container[key])
        elif kind == 3 and isinstance(container[key], int | float):
            container[key] = rng.choice((str(container[key]), -container[key], container[key] * 1e9, [container[key]]))
        elif kind == 4:
            container[key] = copy.deepcopy(rng.choice(found)[0])
        else:
            container[key] = copy.deepcopy(rng.choice(ODD_VALUES))


def damaged(content, seed):
    """The bytes of a file: content mutated, and for some seeds cut off, in a wrong encoding, or with bytes changed."""
    rng = random.Random(seed)
    content = copy.deepcopy(content)
    kind = rng.randrange(20)
    if kind > 3:
        mutate(content, rng)
    text = json.dumps(content).replace(f'"{DEEP}"', rng.choice(("[" * 300 + "]" * 300, "[" * 10**5 + "]" * 10**5)))
    if kind == 0:
        return text[: rng.randrange(len(text))].encode()
    if kind == 1:
        return text.encode(rng.choice(("utf-16", "utf-32", "utf-8-sig")))
    data = bytearray(text.encode())
    if kind == 2:
        for _ in range(3):
            data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def outcome(function, *arguments, named):
    """What a function returns, or None where it refuses its input properly."""
    try:
        return function(*arguments)
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        assert str(named) in str(error), str(error)[:300]
        return None


def assert_sane(records):
    people, num_keypoints = len(records), records.skeleton.num_keypoints
    assert people and len(set(records.image_ids.tolist())) == len(records.image_ids) == len(records.image_paths)
    assert records.keypoints.shape == (people, num_keypoints, 2) and records.visible.shape == (people, num_keypoints)
    assert ((records.image_index >= 0) & (records.image_index < len(records.image_ids))).all()
    for array in (records.boxes, records.keypoints, records.box_scores):
        assert array.dtype == np.float32 and (np.abs(array) <= 1e6).all()  # false for NaN
    assert (records.boxes[:, 2:] >= 0).all() and np.isin(records.visible, (0, 1)).all()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder with a valid split of three images, and its annotations."""
    root = tmp_path_factory.mktemp("fuzz")
    content = write_dataset(root, num_images=3, people_per_image=1, size=(48, 64))
    content["annotations"] = [json.loads(json.dumps(annotation)) for annotation in content["annotations"]]
    content["categories"][0]["sigmas"] = [0.05] * 17
    return root, content


def seeds(group):
    return range(group, NUM_FILES, NUM_GROUPS)


@pytest.mark.parametrize("group", range(NUM_GROUPS))
def test_annotations(small, group):
    root, content = small
    path = root / "annotations" / "person_keypoints_tiny.json"
    prediction = np.full((2, 17, 3), 20.0), np.ones(2), np.full(2, 500.0)
    loaded = refused = 0
    for seed in seeds(group):
        path.write_bytes(damaged(content, seed))
        records = outcome(coco.load_split, str(root), "tiny", named=path)
        checked = outcome(doctor.check_split, str(root), "tiny", named=path)
        if records is not None:
            assert_sane(records)
            loaded += 1
        else:
            refused += 1
            # What training refuses, the doctor calls an error, or refuses too.
            assert checked is None or checked[0].exit_code == 3, seed
        if checked is not None:
            report, _ = checked
            json.loads(json.dumps(report.as_json(), allow_nan=False))
            report.as_text().encode()
            doctor.draw_worst(report)
        metrics = outcome(evaluate_coco, str(path), [1, 2], *prediction, named="")
        if metrics is not None:
            assert all(-1 <= value <= 1 for value in metrics.values()), seed
    # Neither outcome may be the only one: then these files would test nothing.
    assert loaded > 10 and refused > 30


@pytest.mark.parametrize("group", range(NUM_GROUPS))
def test_detections(small, group):
    root, content = small
    records = coco.load_annotations(_valid(root, content), str(root / "images" / "tiny"))
    rows = [{"image_id": i, "category_id": 1, "bbox": [3.5, 4, 30, 40.25], "score": 0.5} for i in (1, 2, 3, 3)]
    path = root / "detections.json"
    loaded = 0
    for seed in seeds(group):
        path.write_bytes(damaged(rows, seed))
        detections = outcome(coco.load_detections, str(path), records, named=path)
        if detections is not None:
            assert_sane(detections)
            loaded += 1
    assert 10 < loaded < NUM_FILES / NUM_GROUPS - 10


def _valid(root, content):
    path = root / "valid.json"
    path.write_text(json.dumps(content))
    return str(path)
