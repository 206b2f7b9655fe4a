"""The files of results: COCO's keypoint results as JSON, and a table with a line for each keypoint.

Shape legend: H and W image, N people, K keypoints.
"""

import contextlib
import csv
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path

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
    """

    name: str
    image: np.ndarray
    image_id: int
    boxes: np.ndarray | None
    box_scores: np.ndarray
    frame: int | None = None
    time: float | None = None


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


@contextlib.contextmanager
def results_writer(folder: PathLike, form: ResultForm) -> Iterator[Callable[[Picture, People], None]]:
    """Yields a function (picture, its `People` of the form's keypoints) that adds to both files in `folder`."""
    with (
        open(Path(folder, JSON_NAME), "w", encoding="utf-8") as json_file,
        open(Path(folder, CSV_NAME), "w", encoding="utf-8", newline="") as csv_file,
    ):
        table = csv.writer(csv_file)
        table.writerow(CSV_COLUMNS)
        separator = "[\n"
        of_set = {"keypoint_set": form.keypoint_set} if form.keypoint_set else {}

        def add(picture: Picture, people: People) -> None:
            nonlocal separator
            time = None if picture.time is None else round(picture.time, 4)
            frame = {} if picture.frame is None else {"frame": picture.frame, "time": time}
            for person, result in enumerate(people.to_coco(picture.image_id, form.category_id)):
                result |= {"file_name": picture.name, **frame, **of_set}
                json_file.write(separator + json.dumps(result))
                separator = ",\n"
                for name, values in zip(form.skeleton.names, np.reshape(result["keypoints"], (-1, 3)), strict=True):
                    person_of = person, result.get("track_id")
                    table.writerow([picture.name, picture.frame, time, *person_of, name, *values.tolist()])

        yield add
        json_file.write("[]\n" if separator == "[\n" else "\n]\n")
