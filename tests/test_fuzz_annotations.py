"""A thousand damaged annotation and results files: each is used sensibly or refused in one line that names it."""

import json
import random

import numpy as np
import pytest
from conftest import write_dataset
from fuzz.mutate import of_json

from hrnet_tf import InputError, doctor
from hrnet_tf.data import coco
from hrnet_tf.evaluation import evaluate_coco

NUM_FILES = 1000
NUM_GROUPS = 10


def damaged(content, seed):
    return of_json([json.dumps(content).encode()], random.Random(seed))


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
