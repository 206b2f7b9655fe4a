"""`People`: what is predicted of one image.

Shape legend: H and W image, N people, K keypoints.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from hrnet_tf.evaluation import rescore
from hrnet_tf.files import PathLike
from hrnet_tf.inputs import load_image
from hrnet_tf.skeletons import Skeleton
from hrnet_tf.visualize import draw_boxes, draw_keypoints

# Of numbers that are written: more than any network knows.
_DECIMALS = 4


@dataclasses.dataclass(frozen=True)
class Person:
    """One of `People`.

    Attributes:
        keypoints: [K,3] x, y in pixels of the image, and score.
        box: [4] x, y, width, height in pixels of the image.
        score: of the person.
        track_id: number of the same person in other frames of a video, or None.
    """

    keypoints: np.ndarray
    box: np.ndarray
    score: float
    track_id: int | None


@dataclasses.dataclass(frozen=True)
class People:
    """The N people of an image; iterated, they are `Person` by `Person`.

    Attributes:
        keypoints: [N,K,3] float32, x, y in pixels of the image, and score.
        boxes: [N,4] float32 (x, y, width, height) that they were predicted in.
        scores: [N], as an evaluation ranks people: score of the box times the mean of the scores of the keypoints
            that are over 0.2.
        skeleton: of the K keypoints.
        track_ids: [N] integers that stay with a person from one frame of a video to the next, or None.
    """

    keypoints: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    skeleton: Skeleton
    track_ids: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.keypoints)

    def __iter__(self) -> Iterator[Person]:
        ids = [None] * len(self) if self.track_ids is None else self.track_ids.tolist()
        return map(Person, self.keypoints, self.boxes, self.scores.tolist(), ids)

    def draw(self, image: np.ndarray | PathLike, score_threshold: float = 0.2, with_boxes: bool = True) -> np.ndarray:
        """Draws the people and their boxes over the image that they are of.

        Args:
            image: it, as `PosePredictor` takes it.
            score_threshold: keypoints scored at or below it are left out.
            with_boxes: whether to draw the boxes.

        Returns:
            a new image, [H,W,3] uint8 RGB.

        Raises:
            InputError: the image cannot be used.
        """
        image = load_image(image)
        if with_boxes:
            image = draw_boxes(image, self.boxes)
        return draw_keypoints(image, self.keypoints, self.skeleton, score_threshold)

    def to_coco(self, image_id: int, category_id: int = 1) -> list[dict[str, Any]]:
        """The people as COCO's keypoint results, for JSON and pycocotools; with `track_id` where there are tracks."""
        flat = _rounded(self.keypoints.reshape(len(self), 3 * self.skeleton.num_keypoints))
        of_image = {"image_id": image_id, "category_id": category_id}
        results = [
            {**of_image, "keypoints": points, "score": score}
            for points, score in zip(flat, _rounded(self.scores), strict=True)
        ]
        if self.track_ids is not None:
            results = [{**one, "track_id": i} for one, i in zip(results, self.track_ids.tolist(), strict=True)]
        return results

    def to_dict(self) -> dict[str, Any]:
        """{"people": [{"box", "score", "keypoints": {name: [x, y, score]}}, ...]} of plain numbers, for JSON."""
        people = []
        for person in self:
            points = dict(zip(self.skeleton.names, _rounded(person.keypoints), strict=True))
            track = {} if person.track_id is None else {"track_id": person.track_id}
            score = round(person.score, _DECIMALS)
            people.append({"box": _rounded(person.box), "score": score, **track, "keypoints": points})
        return {"people": people}


def scored_people(keypoints: np.ndarray, boxes: np.ndarray, box_scores: np.ndarray, skeleton: Skeleton) -> People:
    """The `People` of keypoints [N,K,3] that were predicted in boxes [N,4] of these scores [N]."""
    return People(keypoints, boxes, rescore(box_scores, keypoints[..., 2]), skeleton)


def _rounded(numbers):
    return np.round(np.asarray(numbers, np.float64), _DECIMALS).tolist()
