"""In what the annotation files of other sets differ from COCO's person keypoints."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Format:
    """The form of annotation files, and where they are; the default is COCO's, with any keypoints.

    In patterns of paths `{split}` is the split's name without COCO's year 2017 at its end.

    Attributes:
        keypoint_set: name of the keypoints (`skeletons.named`); None: those that the file's categories list.
        parts: {part: (field, number of keypoints)} of a set whose keypoints are in several fields, in the set's order,
            that of `keypoints` first; empty where all are in `keypoints`.
        area_of_box: the area of a person as a share of the box; None: as written.
        annotations: patterns of annotation files in the data directory, tried before those of COCO and of tools.
        images: patterns of folders in which the images may be, likewise.
    """

    keypoint_set: str | None = None
    parts: Mapping[str, tuple[str, int]] = dataclasses.field(default_factory=dict)
    area_of_box: float | None = None
    annotations: tuple[str, ...] = ()
    images: tuple[str, ...] = ()

    def fields(self, num_keypoints: int) -> list[tuple[str, slice]]:
        """(field, which of all keypoints are in it) of the fields that keypoints are in, of `num_keypoints` in all."""
        if not self.parts:
            return [("keypoints", slice(0, num_keypoints))]
        return [(self.parts[part][0], points) for part, points in self.slices().items()]

    def slices(self) -> dict[str, slice]:
        """{part: which of all keypoints are in it}, empty where there are no parts."""
        found, start = {}, 0
        for part, (_, count) in self.parts.items():
            found[part] = slice(start, start + count)
            start += count
        return found


COCO_FORMAT = Format()
