"""The way of pictures: through the network in groups, and drawn; each part goes on while the others do.

Pictures stream through, so that neither a folder nor a video has to fit in memory.
"""

import collections
import contextlib
import dataclasses
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple

import numpy as np

from hrnet_tf import progress
from hrnet_tf.ahead import ahead, in_background
from hrnet_tf.inputs import checked_boxes
from hrnet_tf.prediction.people import People, scored_people
from hrnet_tf.prediction.predictor import PosePredictor
from hrnet_tf.prediction.results import Picture, ResultForm, rows

# Pictures are predicted together until they have this many pixels: 150 MB, of which there may be four at a time, with
# those that wait, are read and are drawn.
MAX_PIXELS = 50_000_000
# Pictures with more are read one at a time, and two at a time drawn, so that a folder of them needs no more memory.
LARGE = 25_000_000
_DRAWN_LARGE = 2

# Pictures that go through the network together, with their people.
Group = list[tuple[Picture, People]]


class Drawn(NamedTuple):
    """A picture that is done.

    Attributes:
        name: of its file, or number of its frame.
        results: of its people, as `results_writer` takes them.
    """

    name: str
    results: list[dict[str, Any]]


class Done(NamedTuple):
    """What was predicted.

    Attributes:
        pictures: how many.
        people: how many in all of them.
        empty: names of the images, or numbers of the frames, in which there is nobody.
    """

    pictures: int
    people: int
    empty: list[str]

    def and_these(self, group: list[Drawn]) -> "Done":
        """The same and a group; its names are added to those that are here."""
        count = sum(len(one.results) for one in group)
        self.empty.extend(one.name for one in group if not one.results)
        return Done(self.pictures + len(group), self.people + count, self.empty)


def people_of(predictor: PosePredictor, picture: Picture, keypoints: np.ndarray) -> People:
    """The `People` of keypoints [N,K,3] that were predicted in the boxes of a picture."""
    boxes = checked_boxes(picture.boxes, picture.image)
    return scored_people(keypoints, boxes, picture.box_scores, predictor.skeleton)


def with_scores(picture: Picture, people: People) -> Picture:
    """The picture, in which these people were found without boxes, with their scores."""
    return dataclasses.replace(picture, box_scores=people.scores)


def together(
    predictor: PosePredictor,
    pictures: Generator[Picture, None, None],
    follow: Callable[[People, Picture], People] | None = None,
) -> Generator[Group, None, None]:
    """Predicts pictures in groups that fill the network's batches.

    While the network computes a group, the next one is read, found boxes for and cut. Pictures of a network of whole
    images get the scores of those who are found.

    Args:
        predictor: a `PosePredictor`.
        pictures: iterated in another thread, and closed at the end.
        follow: (people, picture) -> people, called in order.
    """
    started: collections.deque[list[Picture]] = collections.deque()

    def batches(groups):
        for group in groups:
            started.append(group)
            yield [(picture.image, picture.boxes, picture.box_scores) for picture in group]

    with (
        contextlib.closing(pictures),
        contextlib.closing(in_background(_groups(pictures, predictor.batch_size))) as groups,
    ):
        for people in predictor.people_batches(batches(groups)):
            group = started.popleft()
            if not predictor.needs_boxes:
                group = [with_scores(*pair) for pair in zip(group, people, strict=True)]
            if follow:
                people = [follow(*pair) for pair in zip(people, group, strict=True)]
            yield list(zip(group, people, strict=True))


def drawn(
    groups: Generator[Group, None, None],
    form: ResultForm,
    draw: Callable[[Picture, People], None],
    threads: int,
    total: int | None,
    unit: str,
) -> Iterator[list[Drawn]]:
    """Draws pictures while the next ones are predicted, and shows how far that is.

    Args:
        groups: as `together` gives them; they are closed at the end.
        form: of results and of drawn people.
        draw: called with a picture and its people in `threads` other threads, in order where that is one.
        threads: how many.
        total: how many pictures there are, None where that is unknown.
        unit: what they are called.

    Returns:
        iterator over the groups, once all of a group are drawn.
    """

    large = threading.Semaphore(_DRAWN_LARGE)

    def flat():
        for group in groups:
            for i, (picture, people) in enumerate(group, start=1):
                if is_large(picture.image):
                    large.acquire()
                yield picture, people, i == len(group)

    def draw_one(item):
        picture, people, is_last = item
        people = form.of(people)
        try:
            draw(picture, people)
        finally:
            if is_large(picture.image):
                large.release()
        name = picture.name if picture.frame is None else str(picture.frame)
        return Drawn(name, rows(picture, people, form)), is_last

    group, num_people = [], 0
    with (
        progress.bar("predicting", total, unit) as shown,
        contextlib.closing(groups),
        contextlib.closing(ahead(draw_one, flat(), threads)) as found,
    ):
        for one, is_last in found:
            group.append(one)
            num_people += len(one.results)
            shown.set_postfix(people=num_people, refresh=False)
            shown.update()
            if is_last:
                yield group
                group = []


def is_large(image: np.ndarray) -> bool:
    """Whether a picture [H,W,3] has more than `LARGE` pixels."""
    return image.size // 3 > LARGE


def _groups(pictures, num_people):
    """Lists of pictures that have `num_people` people or `MAX_PIXELS` together, or more by the last one."""
    group, people, pixels = [], 0, 0
    for picture in pictures:
        group.append(picture)
        people += max(1, len(picture.box_scores))
        pixels += picture.image.size // 3
        if people >= num_people or pixels >= MAX_PIXELS:
            yield group
            group, people, pixels = [], 0, 0
    if group:
        yield group
