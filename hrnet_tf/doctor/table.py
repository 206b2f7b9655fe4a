"""The one reading of a COCO-format file (`data.annotations`), with findings of its people and images.

Shapes: N annotations of the keypoint set ("people"), M images, K keypoints.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from hrnet_tf.data import annotations
from hrnet_tf.data.formats import COCO_FORMAT, Format
from hrnet_tf.doctor.findings import NUM_EXAMPLES, Finding, as_text, by_share, example_id, first

# How many people a finding remembers for its pictures.
_MAX_ROWS = 100


@dataclasses.dataclass(frozen=True)
class Table(annotations.AnnotationTable):
    """An `AnnotationTable` that makes findings."""

    def people_example(self, row: int) -> dict[str, int | str]:
        image = self.people[row].get("image_id")
        if self.image_index[row] >= 0:
            image = self.images[self.image_index[row]].get("file_name", image)
        return {"annotation": example_id(self.people[row].get("id")), "image": example_id(image)}

    def of_people(
        self,
        code: str,
        where: np.ndarray,
        message: str,
        advice: str,
        severity: str | None = None,
        among: np.ndarray | None = None,
    ) -> list[Finding]:
        """At most one finding, in a list: the people `where` [N] holds, among those `among` [N] (all) holds.

        Without a severity it is an error from half of the people on, else a warning.
        """
        count = int(where.sum())
        if not count:
            return []
        total = len(self) if among is None else int(among.sum())
        rows = first(where, _MAX_ROWS)
        examples = tuple(self.people_example(row) for row in rows[:NUM_EXAMPLES])
        severity = severity or by_share(count / total)
        return [Finding(code, severity, message, advice, count, total, examples, rows)]

    def of_images(
        self,
        code: str,
        indices: Sequence[int],
        message: str,
        advice: str,
        severity: str | None = None,
        total: int | None = None,
    ) -> list[Finding]:
        """At most one finding, in a list: the images with the given indices."""
        if not len(indices):
            return []
        total = len(self.images) if total is None else total
        examples = tuple({"image": image_name(self.images[i])} for i in indices[:NUM_EXAMPLES])
        rows = first(np.isin(self.image_index, indices), _MAX_ROWS)
        severity = severity or by_share(len(indices) / total)
        return [Finding(code, severity, message, advice, len(indices), total, examples, rows)]


def make_table(content: object, path: str, form: Format = COCO_FORMAT) -> Table:
    """The `Table` of a parsed file of a form; `path` is what to call it.

    Raises:
        InputError: it is no dict with lists of images and annotations.
    """
    table = annotations.make_table(content, path, form=form)
    return Table(**{field.name: getattr(table, field.name) for field in dataclasses.fields(table)})


def image_name(image: dict[str, Any]) -> str:
    """What to call an image in examples."""
    return as_text(image.get("file_name") or image.get("id"))
