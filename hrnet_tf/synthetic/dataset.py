"""Splits of rendered people on disk, in COCO format, made on demand and always the same for a seed."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import zlib
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from hrnet_tf import progress
from hrnet_tf.errors import InputError
from hrnet_tf.files import PathLike, replacing
from hrnet_tf.skeletons import COCO
from hrnet_tf.synthetic.scenes import render_scene

# Recorded in the annotations; raise it whenever the same seed gives other pictures.
RENDERER_VERSION = 1
# Deviations of detector boxes: of the centre in sides, of the logarithm of a side.
BOX_SHIFT = 0.05
BOX_SCALING = 0.08
JPEG_QUALITIES = (55, 96)
# Fewer images than this are rendered in less time than another process needs to start.
MIN_IMAGES_PER_PROCESS = 100
# Seconds between two looks at how many images there are.
_LOOK_INTERVAL = 1.0
# What a process runs: JSON arguments of `_render_share`. OpenCV's own threads would only compete.
_SHARE_PROGRAM = """
import json, sys
import cv2
from hrnet_tf.synthetic.dataset import _render_share
cv2.setNumThreads(1)
_render_share(*json.loads(sys.argv[1]))
"""


def render_dataset(
    out_dir: PathLike,
    split: str,
    num_images: int,
    seed: int,
    processes: int | None = None,
    people: tuple[int, int] | None = None,
) -> pathlib.Path:
    """Renders a split of a dataset, unless it is there already.

    Writes `images/<split>/%012d.jpg`, `annotations/person_keypoints_<split>.json` and
    `person_detections_<split>.json`, a COCO results list with one imprecise box per person. The
    annotations come last: where they are, the split is complete.

    Args:
        out_dir: folder of the dataset.
        split: name of the split; other names give other people.
        num_images: how many images to render.
        seed: integer; the files depend only on it, the split's name, the number of images and `people`.
        processes: how many processes to render with, or None for what suits the machine; the
            files do not depend on it.
        people: least and most people of an image; None for few, as in `render_scene`.

    Returns:
        The path of the annotations.

    Raises:
        InputError: `num_images` is not a positive integer, or `split` is not a plain name.
    """
    if not isinstance(num_images, int) or num_images < 1:
        raise InputError(f"num_images must be an integer above 0. Received: {num_images!r}")
    annotation_path = annotation_file(out_dir, split)
    out_dir = pathlib.Path(out_dir)
    info = {
        "description": "synthetic",
        "split": split,
        "num_images": num_images,
        "seed": seed,
        "renderer_version": RENDERER_VERSION,
    }
    info |= {} if people is None else {"people": list(people)}
    if recorded_info(annotation_path) == info:
        return annotation_path
    annotation_path.unlink(missing_ok=True)
    records = _render_images(out_dir / "images" / split, split, num_images, seed, processes, people)
    dataset, detections = _tables(records, info)
    write_json(out_dir / f"person_detections_{split}.json", detections)
    write_json(annotation_path, dataset)
    return annotation_path


def annotation_file(out_dir: PathLike, split: str) -> pathlib.Path:
    """Where the annotations of a split are; raises InputError where its name is not a plain one."""
    if split in ("", "..") or pathlib.PurePath(split).name != split:
        raise InputError(f"a split's name must be one without folders, such as 'train'. Received: {split!r}")
    return pathlib.Path(out_dir, "annotations", f"person_keypoints_{split}.json")


def recorded_info(annotation_path: pathlib.Path) -> Any:
    """The `info` of an annotation file, or None where there is no readable one."""
    try:
        return json.loads(annotation_path.read_text())["info"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_json(path: pathlib.Path, content: object) -> None:
    """Writes a JSON file whole, and the folder that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(content))


def _render_images(images, split, num_images, seed, processes, people):
    """Puts a complete folder of images in the place of `images`; returns their records in order."""
    images.parent.mkdir(parents=True, exist_ok=True)
    with replacing(images) as unfinished:
        unfinished.mkdir()
        records = _render_shares(unfinished, zlib.crc32(split.encode()), num_images, seed, processes, people)
    return sorted(records, key=lambda record: record[0]["id"])


def _render_shares(folder, split_key, num_images, seed, processes, people):
    """Renders images 1..num_images; a list of [image entry, annotations, boxes with scores].

    Rendering is thousands of short NumPy calls, which hold each other up in threads (two are
    slower than one). A fork of a process that runs TensorFlow may hang, and `multiprocessing`
    that does not fork runs the caller's script again. So separate programs render a share each.
    """
    if processes is None:
        processes = max(1, min(os.cpu_count() or 1, num_images // MIN_IMAGES_PER_PROCESS))
    shares = [list(range(first, num_images + 1, processes)) for first in range(1, min(processes, num_images) + 1)]
    results = [folder / f"share_{i}.json" for i in range(len(shares))]
    arguments = [
        [str(folder), str(path), [seed, split_key], share, people] for path, share in zip(results, shares, strict=True)
    ]
    if len(shares) == 1:
        _render_share(*arguments[0])
    else:
        with progress.bar("rendering", num_images, "images") as shown:
            commands = [[sys.executable, "-c", _SHARE_PROGRAM, json.dumps(values)] for values in arguments]
            _run_programs(commands, lambda: shown.update(len(list(folder.glob("*.jpg"))) - shown.n))
    records = []
    for path in results:
        records += json.loads(path.read_text())
        path.unlink()
    return records


def _run_programs(commands, look):
    """Runs programs side by side, with this one's import path, until all are done or one fails; `look()` meanwhile."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    programs = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) for command in commands]
    try:
        for program in programs:
            errors = None
            while errors is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    _, errors = program.communicate(timeout=_LOOK_INTERVAL)
                look()
            if program.returncode:
                raise RuntimeError(f"rendering failed:\n{errors.decode(errors='replace')}")
    finally:
        for program in programs:
            program.kill()
            program.wait()


def _render_share(folder, result_path, seed, image_ids, people):
    """Renders some of the images into `folder` and writes their records to a JSON file."""
    records = [_render_image(pathlib.Path(folder), (*seed, image_id), image_id, people) for image_id in image_ids]
    pathlib.Path(result_path).write_text(json.dumps(records))


def _render_image(folder, seed, image_id, people):
    image, annotations = render_scene(seed, people=people)
    rng = np.random.default_rng((*seed, 1))
    name = f"{image_id:012d}.jpg"
    quality = int(rng.integers(*JPEG_QUALITIES))
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))
    (folder / name).write_bytes(encoded.tobytes())
    height, width = image.shape[:2]
    boxes = [
        (detector_box(rng, annotation["bbox"], width, height), round(rng.uniform(0.8, 1.0), 4))
        for annotation in annotations
    ]
    return {"id": image_id, "file_name": name, "width": width, "height": height}, annotations, boxes


def detector_box(rng: np.random.Generator, box: Sequence[float], width: int, height: int) -> list[float]:
    """A box [x, y, w, h] as imprecise as a person detector's, within the image."""
    corner, sides = np.array(box[:2]), np.array(box[2:])
    center = corner + sides / 2 + rng.normal(0, BOX_SHIFT, 2) * sides
    sides = sides * np.exp(rng.normal(0, BOX_SCALING, 2))
    low = np.clip(center - sides / 2, 0, (width - 2, height - 2))
    high = np.clip(center + sides / 2, low + 2, (width, height))
    return [round(float(value), 2) for value in (*low, *(high - low))]


def _tables(records, info):
    """The annotation file and the detections of rendered images, numbered in order."""
    people, detections = [], []
    for image, annotations, boxes in records:
        for annotation, (box, score) in zip(annotations, boxes, strict=True):
            people.append({"id": len(people) + 1, "image_id": image["id"], **annotation})
            detection = {"image_id": image["id"], "category_id": 1, "bbox": box, "score": score}
            detections.append(detection)
    images = [image for image, _, _ in records]
    dataset = {"info": info, "licenses": [], "images": images, "annotations": people, "categories": [person_category()]}
    return dataset, detections


def person_category() -> dict[str, Any]:
    """The category of rendered people in an annotation file."""
    return {
        "id": 1,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(COCO.names),
        "skeleton": [[a + 1, b + 1] for a, b in COCO.limbs],
    }
