"""Readers of annotations and of what goes with them. A folder has the split "val" of three rendered pictures."""

import io
import json
from pathlib import Path
from unittest import mock

import numpy as np

from fuzz import mutate
from fuzz.copies import run_in_copy
from fuzz.reader import Reader

_ANNOTATIONS = "annotations/person_keypoints_val.json"
_NUM_JOINTS = 16
_PERSON = ("scale", "objpos", "annopoints")
_MAT_TEXT = 116  # bytes of text at the beginning of a MATLAB file


def _dataset(folder: Path) -> Path:
    """Renders the split, where that has not been done; gives its untouched annotations."""
    from hrnet_tf.synthetic import render_dataset

    kept = folder / "valid.json"
    if not kept.exists():
        kept.write_bytes(Path(render_dataset(folder, "val", 3, seed=0)).read_bytes())
    return kept


def _annotation_files(folder: Path) -> list[bytes]:
    content = json.loads(_dataset(folder).read_bytes())
    content["categories"][0]["sigmas"] = [0.05] * 17
    return [json.dumps(content).encode()]


def _read_annotations(path: Path) -> None:
    """For training, by the doctor, for an evaluation and for predictions."""
    from hrnet_tf import doctor
    from hrnet_tf.data import coco
    from hrnet_tf.errors import InputError
    from hrnet_tf.evaluation import evaluate_coco
    from hrnet_tf.prediction.boxes import read_annotations

    folder = path.parents[1]
    refused = None
    for read in (
        lambda: coco.load_split(str(folder), "val"),
        lambda: _report(doctor.check_split(str(folder), "val")),
        lambda: evaluate_coco(str(path), [1, 2], np.full((2, 17, 3), 20.0), np.ones(2), np.full(2, 500.0)),
        lambda: read_annotations(path),
    ):
        try:
            read()
        except InputError as error:
            refused = error
    if refused:
        raise refused


def _report(checked) -> None:
    from hrnet_tf import doctor

    report, _ = checked
    json.dumps(report.as_json(), allow_nan=False)
    report.as_text().encode()
    doctor.draw_worst(report)


def _detection_files(folder: Path) -> list[bytes]:
    _dataset(folder)
    return [(folder / "person_detections_val.json").read_bytes()]


def _read_detections(path: Path) -> None:
    from hrnet_tf.data import coco
    from hrnet_tf.prediction.boxes import Detections

    found = Detections(path)
    found.check_match({"000000000001.jpg": 1, "images/000000000002.jpg": 2})
    records = coco.load_annotations(str(path.parent / "valid.json"), str(path.parent / "images" / "val"))
    coco.load_detections(str(path), records)


def _mpii_files(folder: Path) -> list[bytes]:
    (folder / "images").mkdir(exist_ok=True)
    person = {
        "image": "1.jpg",
        "center": [100.0, 80.5],
        "scale": 1.5,
        "joints": [[20.0 + k, 30.5] for k in range(_NUM_JOINTS)],
        "joints_vis": [1] * _NUM_JOINTS,
    }
    return [json.dumps([person, person | {"image": "2.jpg"}]).encode()]


def _read_mpii(path: Path) -> None:
    from hrnet_tf.data import mpii

    mpii.load_split(path.parents[1], "valid")


def _mat_files(folder: Path) -> list[bytes]:
    """The release and the ground truth of PCKh, each with and without compression."""
    import scipy.io

    from hrnet_tf.evaluation import pckh

    (folder / "images").mkdir(exist_ok=True)
    point = np.array([(0, 10.0, 20.0, 1), (9, 30.0, 40.0, 0)], [(name, "O") for name in ("id", "x", "y", "is_visible")])
    person = np.array([(1.5, {"x": 100.0, "y": 80.0}, {"point": point})], [(n, "O") for n in _PERSON])
    images = [({"name": f"{i}.jpg"}, person) for i in range(3)]
    annolist = np.array(images, [("image", "O"), ("annorect", "O")])
    release = {"RELEASE": {"annolist": annolist, "img_train": np.array([1, 1, 0])}}
    truth = {
        "dataset_joints": np.array(pckh._JOINTS, object),
        "jnt_missing": np.zeros((16, 3)),
        "pos_gt_src": np.ones((16, 2, 3)),
        "headboxes_src": np.array([[[1.0] * 3] * 2, [[9.0] * 3] * 2]),
    }
    files = []
    for content in (release, truth):
        for compressed in (False, False, True):
            file = io.BytesIO()
            scipy.io.savemat(file, content, do_compression=compressed)
            files.append(b"MATLAB 5.0 MAT-file".ljust(_MAT_TEXT) + file.getvalue()[_MAT_TEXT:])  # without the time
    return files


def _read_mat(path: Path) -> None:
    """As the release and as the ground truth."""
    from hrnet_tf import mat_files
    from hrnet_tf.data import mpii
    from hrnet_tf.errors import InputError
    from hrnet_tf.evaluation import evaluate_pckh

    with mock.patch.object(mat_files.subprocess, "run", run_in_copy):
        try:
            mpii.load_split(path.parent, "trainval")
        except InputError:
            evaluate_pckh(path, np.zeros((3, _NUM_JOINTS, 2)))


def _index_files(folder: Path) -> list[bytes]:
    """Of shards of the pictures."""
    from hrnet_tf.data.shards import write_shards

    _dataset(folder)
    shards = folder / "shards"
    if not shards.exists():
        images = folder / "images" / "val"
        write_shards(images, sorted(path.name for path in images.iterdir()), shards, 1 << 20)
        (folder / "index.json").write_bytes((shards / "index.json").read_bytes())
    return [(folder / "index.json").read_bytes()]


def _read_index(path: Path) -> None:
    from hrnet_tf.data.header import read_header
    from hrnet_tf.data.records import read_image
    from hrnet_tf.data.shards import image_paths

    for place in image_paths(path.parent, [f"{i:012}.jpg" for i in (1, 2, 3)]):
        read_header(place)
        read_image(place)


READERS = {
    "annotations": Reader(
        "annotations in COCO's format", _ANNOTATIONS, _annotation_files, mutate.of_json, _read_annotations
    ),
    "detections": Reader("a detector's boxes", "detections.json", _detection_files, mutate.of_json, _read_detections),
    "mpii": Reader("MPII's annotations in JSON", "annot/valid.json", _mpii_files, mutate.of_json, _read_mpii),
    "mat": Reader(
        "MPII's release and PCKh's ground truth",
        "mpii_human_pose_v1_u12_1.mat",
        _mat_files,
        mutate.of_bytes,
        _read_mat,
    ),
    "shards": Reader("the index of shards", "shards/index.json", _index_files, mutate.of_json, _read_index),
}
