"""Videos of rendered people who walk, cross and hide one another, with their identities.

A video is a folder of frames and an annotation file in COCO's format, as a split of a dataset is.
"""

import dataclasses
import pathlib
import zlib
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from hrnet_tf import progress
from hrnet_tf.errors import InputError
from hrnet_tf.files import PathLike, replacing
from hrnet_tf.synthetic.camera import View, photograph, sample_exposure
from hrnet_tf.synthetic.clothes import Outfit, sample_outfit
from hrnet_tf.synthetic.composition import annotate, compose, draw_person, seen_share
from hrnet_tf.synthetic.dataset import RENDERER_VERSION, annotation_file, person_category, recorded_info, write_json
from hrnet_tf.synthetic.people import Body, sample_body
from hrnet_tf.synthetic.scenes import blurred_background
from hrnet_tf.synthetic.walking import Manner, Way, sample_manner, sample_way, walking_pose

FRAME_SIZE = (360, 640)
# Statures: the distance of the nearest, and how much farther the next ones are, so that nobody walks into another.
NEAREST, LANE = 5.0, 0.35
# Farther people would be too small to be told apart.
MAX_PEOPLE = 20
# Pixels per stature of the nearest, as a share of the frame's height, and where their feet are.
NEAREST_SCALE, NEAREST_FEET = 0.64, 0.95
NOISE = 0.006
JPEG_QUALITY = 92


@dataclasses.dataclass(frozen=True)
class _Walker:
    """Somebody, and where they are at the time of every frame."""

    body: Body
    outfit: Outfit
    manner: Manner
    way: Way


def render_video(
    out_dir: PathLike,
    name: str,
    num_frames: int,
    num_people: int,
    seed: int,
    fps: float = 25.0,
    size: tuple[int, int] = FRAME_SIZE,
) -> pathlib.Path:
    """Renders a video of people who walk to and fro before a camera that stands still, unless it is there already.

    Writes `images/<name>/%012d.jpg` and `annotations/person_keypoints_<name>.json`, at last. A frame's number, from
    0, is its `image_id`; it has its `time` in seconds. People have a `track_id` from 1, and `seen`, the share of their
    pixels that nobody hides. A keypoint has visibility 2 where it is seen, 1 where it is hidden, and 0 outside of the
    frame and, of the face, where it looks away. Boxes and areas are those of the whole person within the frame.

    Args:
        out_dir: folder of the dataset.
        name: of the video; other names have other people.
        num_frames: how many frames.
        num_people: how many people are there, all the time.
        seed: integer. People and ways depend on it, the name and the number of people, not on the frame rate.
        fps: frames a second.
        size: (height, width) of the frames in pixels.

    Returns:
        The path of the annotations.

    Raises:
        InputError: a number is not positive, there are too many people, or `name` is not a plain name.
    """
    for what, value, most in (("num_frames", num_frames, None), ("num_people", num_people, MAX_PEOPLE)):
        if not isinstance(value, int) or value < 1 or value > (most or value):
            limits = f"from 1 to {most}" if most else "above 0"
            raise InputError(f"{what} must be an integer {limits}. Received: {value!r}")
    if not fps > 0:
        raise InputError(f"fps must be above 0. Received: {fps!r}")
    path = annotation_file(out_dir, name)
    info = {"description": "synthetic video", "video": name, "num_frames": num_frames, "num_people": num_people}
    info |= {"seed": seed, "fps": fps, "size": list(size), "renderer_version": RENDERER_VERSION}
    if recorded_info(path) == info:
        return path
    path.unlink(missing_ok=True)
    frames = pathlib.Path(out_dir, "images", name)
    frames.parent.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    people: list[dict[str, Any]] = []
    with replacing(frames) as unfinished, progress.bar("rendering", num_frames, "frames") as shown:
        unfinished.mkdir()
        for i, (image, annotations) in enumerate(_frames(name, num_frames, num_people, seed, fps, size)):
            file_name = f"{i:012d}.jpg"
            _, encoded = cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
            (unfinished / file_name).write_bytes(encoded.tobytes())
            images.append({"id": i, "file_name": file_name, "width": size[1], "height": size[0], "time": i / fps})
            people += [{"id": len(people) + n, "image_id": i, **one} for n, one in enumerate(annotations, start=1)]
            shown.update(1)
    write_json(path, {"info": info, "images": images, "annotations": people, "categories": [person_category()]})
    return path


def _frames(name, num_frames, num_people, seed, fps, size) -> Iterator[tuple[np.ndarray, list[dict[str, Any]]]]:
    """The frames, [h, w, 3] uint8, and the annotations of the people in them."""
    key = zlib.crc32(name.encode())
    rng = np.random.default_rng((seed, key))
    nearest = NEAREST_SCALE * size[0]
    scales = nearest * NEAREST / (NEAREST + LANE * np.arange(num_people))
    camera_height = rng.uniform(0.8, 1.1)
    light = np.array([rng.normal(0, 0.6), -rng.uniform(0.3, 1.2), rng.uniform(0.5, 1.2)])
    view = View(
        size=size,
        horizon=NEAREST_FEET * size[0] - camera_height * nearest,
        height=camera_height,
        pitch=rng.uniform(0, 8),
        light=light / np.linalg.norm(light),
    )
    background, exposure = blurred_background(rng, view, scales.min()), sample_exposure(rng)
    times = np.arange(num_frames) / fps
    walkers = []
    for person in rng.permutation(num_people):
        body, outfit, manner = sample_body(rng), sample_outfit(rng), sample_manner(rng)
        half_width = size[1] / 2 / scales[person]
        way = sample_way(rng, times, NEAREST * nearest / scales[person], half_width)
        walkers.append(_Walker(body, outfit, manner, way))
    for i, time in enumerate(times):
        noise = np.random.default_rng((seed, key, i)).standard_normal(size, np.float32)
        image, annotations = _frame(view, background, walkers, i, time, nearest)
        yield photograph(image, exposure, np.float32(NOISE) * noise), annotations


def _frame(view, background, walkers, i, time, nearest):
    """Frame `i` as the camera finds it, [h, w, 3] 0..1, and the annotations of the people in it."""
    drawn = []
    for track_id, one in enumerate(walkers, start=1):
        scale = nearest * NEAREST / one.way.distance[i]
        x = view.size[1] / 2 + scale * one.way.across[i]
        person = draw_person(view, one.body, one.outfit, walking_pose(one.manner, one.way, i, time), x, scale)
        if person is not None:
            drawn.append((track_id, person))
    drawn.sort(key=lambda pair: pair[1].nearness)
    image, owner = compose(background, [person for _, person in drawn])
    annotations = []
    for n, (track_id, person) in enumerate(drawn):
        annotation = annotate(person, owner, n, hidden_too=True)
        if annotation is not None:
            annotations.append({"track_id": track_id, "seen": round(seen_share(person, owner, n), 3), **annotation})
    return image, sorted(annotations, key=lambda annotation: annotation["track_id"])
