"""Whole images with all their people, as networks that need no boxes are trained on.

Shape legend: M images of the annotations, n of them to be shown, P people of an image, K keypoints.
"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from hrnet_tf.data.omissions import Omission
from hrnet_tf.data.pixels import check_pixels
from hrnet_tf.data.records import PersonRecords
from hrnet_tf.data.regions import Region, region_of_box, region_of_segments, union
from hrnet_tf.skeletons import Skeleton

if TYPE_CHECKING:
    from hrnet_tf.data.annotations import AnnotationTable

# People of an image who are trained on: P.
MAX_PEOPLE = 30
# Pixels of the crop to one of the network's maps: of those with tags, and of the larger ones without.
STRIDES = (4, 2)


@dataclasses.dataclass(frozen=True)
class ImageRecords:
    """n images with everybody in them.

    Attributes:
        people: everybody who is trained on, by image, and all M images.
        image_index: [n] int32 into the M images, ascending.
        sizes: [n,2] int64 (width, height), as the annotations say.
        regions: n regions of those who are not trained on, None where there is nobody.
        omissions: what was left out, read in another way or assumed in reading, a sentence each.
    """

    people: PersonRecords
    image_index: np.ndarray
    sizes: np.ndarray
    regions: tuple[Region | None, ...]
    omissions: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.image_index)

    @property
    def skeleton(self) -> Skeleton:
        return self.people.skeleton

    @property
    def image_paths(self) -> list[str]:
        """M paths, or places in `shards`."""
        return self.people.image_paths

    def path(self, image: int) -> str:
        """Path of image number `image` of the n."""
        return self.image_paths[self.image_index[image]]

    def padded(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Everybody in some images, as so many as an image may have.

        Args:
            images: [m] numbers of the n.

        Returns:
            keypoints [m,P,K,2] float32 in image pixels and visible [m,P,K] float32; zeros beyond an image's people.
        """
        people, wanted = self.people, self.image_index[images]
        first = np.searchsorted(people.image_index, wanted, "left")
        count = np.searchsorted(people.image_index, wanted, "right") - first
        is_there = np.arange(MAX_PEOPLE) < count[:, None]
        rows = (first[:, None] + np.arange(MAX_PEOPLE))[is_there]
        keypoints = np.zeros((*is_there.shape, *people.keypoints.shape[1:]), np.float32)
        visible = np.zeros(keypoints.shape[:-1], np.float32)
        keypoints[is_there], visible[is_there] = people.keypoints[rows], people.visible[rows]
        return keypoints, visible


def image_records(table: "AnnotationTable", people: PersonRecords, rows: np.ndarray) -> ImageRecords:
    """The images of a table that have anybody annotated, with those who count, and the regions of the others.

    Of more than `MAX_PEOPLE` those with the largest boxes count.

    Args:
        table: the annotations.
        people: N people of the table who count, by image.
        rows: [N] which of the table's they are.

    Raises:
        InputError: an image with regions has too many pixels.
    """
    position = np.cumsum(table.listed) - 1  # of an image among those that are listed
    kept = _largest(people)
    masked = np.flatnonzero((table.image_index >= 0) & ~np.isin(np.arange(len(table)), rows[kept]))
    masked = masked[np.argsort(table.image_index[masked], kind="stable")]
    omissions = list(people.omissions)
    if not kept.all():
        what = f"people of images with more than {MAX_PEOPLE}, who are masked: the largest are trained on"
        omissions.append(str(Omission("left out", what, int((~kept).sum()), len(people))))
    regions = _regions(table, masked, position, omissions)
    people = people.take(kept)
    used = np.union1d(people.image_index, list(regions)).astype(np.int32)
    num_images = len(people.image_paths)
    if len(used) < num_images:
        omissions.append(str(Omission("left out", "images without people", num_images - len(used), num_images)))
    return ImageRecords(
        people=people,
        image_index=used,
        sizes=table.sizes[table.listed][used].astype(np.int64),
        regions=tuple(regions.get(image) for image in used.tolist()),
        omissions=tuple(omissions),
    )


def _largest(people):
    """[N] bool: who is among the `MAX_PEOPLE` largest of their image."""
    by_size = np.lexsort((-people.boxes[:, 2:].prod(axis=1), people.image_index))
    image = people.image_index[by_size]
    kept = np.empty(len(people), bool)
    kept[by_size] = np.arange(len(people)) - np.searchsorted(image, image, "left") < MAX_PEOPLE
    return kept


def _regions(table, masked, position, omissions):
    """{image among those listed: region} of the people `masked`, and what is to be said of them."""
    found: dict[int, list[Region]] = {}
    of_boxes, without = [], []
    for row in masked.tolist():
        image = table.image_index[row]
        width, height = (int(side) for side in table.sizes[image])
        check_pixels((width, height), f"image {table.image_ids[image]} as {table.path} lists it")
        region = region_of_segments(table.people[row].get("segmentation"), (height, width))
        if region is None and np.isfinite(table.boxes[row]).all():
            of_boxes.append(row)
            region = region_of_box(table.boxes[row], (height, width))
        if region is None:
            without.append(row)
        found.setdefault(int(position[image]), []).extend([region] if region else [])
    for action, what, of in (
        ("read", "people who are not trained on and have no segments, as their boxes: masked in training", of_boxes),
        ("left out", "people who are not trained on and have neither segments nor a box: not masked", without),
    ):
        if of:
            example = f"annotation {table.people[of[0]].get('id')}"
            omissions.append(str(Omission(action, what, len(of), len(masked), example)))
    return {image: union(regions) for image, regions in found.items()}
