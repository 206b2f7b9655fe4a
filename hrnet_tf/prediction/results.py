"""The files of results: COCO's keypoint results as JSON, and a table with a line for each keypoint.

Shape legend: H and W image, N people, K keypoints.
"""

import contextlib
import csv
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hrnet_tf.files import PathLike
from hrnet_tf.prediction.people import People
from hrnet_tf.skeletons import Skeleton, convert, named

JSON_NAME, CSV_NAME = "predictions.json", "predictions.csv"
CSV_COLUMNS = ("file", "frame", "time", "person", "track_id", "keypoint", "x", "y", "score")


@dataclasses.dataclass(frozen=True)
class Picture:
    """An image to predict people in.

    Attributes:
        name: of its file.
        image: [H,W,3] uint8 RGB.
        image_id: integer that stands for it in the results.
        boxes: [N,4] float32, or None for the whole image.
        box_scores: [N] float32, [1] for the whole image.
        frame: number in the video, from 0, or None for an image file.
        time: seconds since the video's first frame, or None for an image file.
        is_searched: whether boxes were looked for in it; those of other frames follow from the frames before.
        factor: by how much the sides of the file's picture are longer, of which this is a reduced one.
    """

    name: str
    image: np.ndarray
    image_id: int
    boxes: np.ndarray | None
    box_scores: np.ndarray
    frame: int | None = None
    time: float | None = None
    is_searched: bool = True
    factor: int = 1


class ResultForm:
    """What results are written as.

    Attributes:
        skeleton: `Skeleton` of their keypoints.
        keypoint_set: the name of their set where it is not the network's own, else None.
        category_id: of everybody.
    """

    def __init__(self, network: Skeleton, keypoint_set: str | None = None, category_id: int = 1):
        """
        Args:
            network: the K keypoints that are predicted.
            keypoint_set: of `skeletons.NAMES`, to write these instead; None for the network's.
            category_id: of everybody.

        Raises:
            InputError: there is no such set, or the network has no keypoint of it.
        """
        self._network = network
        self.skeleton = named(keypoint_set) if keypoint_set else network
        self.keypoint_set = keypoint_set
        self.category_id = category_id
        convert(np.zeros((0, network.num_keypoints, 3), np.float32), network, self.skeleton)

    def of(self, people: People) -> People:
        """Predicted people with these keypoints."""
        if not self.keypoint_set:
            return people
        keypoints = convert(people.keypoints, self._network, self.skeleton)
        return dataclasses.replace(people, keypoints=keypoints, skeleton=self.skeleton)


def rows(picture: Picture, people: People, form: ResultForm) -> list[dict[str, Any]]:
    """The results of a picture's people, who have the form's keypoints: what there is in JSON of each.

    They are in pixels of the file: pixel i of a reduced picture is in the middle of `factor` of them.
    """
    if picture.factor > 1:
        keypoints = people.keypoints.copy()
        keypoints[..., :2] = keypoints[..., :2] * picture.factor + (picture.factor - 1) / 2
        people = dataclasses.replace(people, keypoints=keypoints)
    time = None if picture.time is None else round(picture.time, 4)
    of_picture = {"file_name": picture.name} | ({} if picture.frame is None else {"frame": picture.frame, "time": time})
    of_set = {"keypoint_set": form.keypoint_set} if form.keypoint_set else {}
    return [one | of_picture | of_set for one in people.to_coco(picture.image_id, form.category_id)]


@contextlib.contextmanager
def results_writer(folder: PathLike, form: ResultForm) -> Iterator[Callable[[list[dict[str, Any]]], None]]:
    """Yields a function that adds the `rows` of one picture to both files in `folder`."""
    with (
        open(Path(folder, JSON_NAME), "w", encoding="utf-8") as json_file,
        # Names of files may be no UTF-8.
        open(Path(folder, CSV_NAME), "w", encoding="utf-8", errors="backslashreplace", newline="") as csv_file,
    ):
        table = csv.writer(csv_file)
        table.writerow(CSV_COLUMNS)
        separator = "[\n"

        def add(results: list[dict[str, Any]]) -> None:
            nonlocal separator
            for person, result in enumerate(results):
                json_file.write(separator + json.dumps(result))
                separator = ",\n"
                of_person = result["file_name"], result.get("frame"), result.get("time"), person, result.get("track_id")
                for name, values in zip(form.skeleton.names, np.reshape(result["keypoints"], (-1, 3)), strict=True):
                    table.writerow([*of_person, name, *values.tolist()])

        yield add
        json_file.write("[]\n" if separator == "[\n" else "\n]\n")
