"""`hrnet-tf models`: the published networks."""

from hrnet_tf.errors import InputError
from hrnet_tf.pretrained.local import is_there
from hrnet_tf.pretrained.table import find, names

_COLUMNS = ("name", "size", "keypoints", "published", "licence", "downloaded")


def main(pattern: str = "*", *others: str) -> None:
    if others:
        raise InputError(f"one pattern can be given, in quotation marks. Received: {' '.join((pattern, *others))}")
    found = [find(name) for name in names(pattern)]
    if not found:
        raise InputError(f"no name of a network has {pattern!r} in it; `hrnet-tf models` lists all")
    rows = [_COLUMNS]
    for entry in found:
        height, width = entry.input_size
        # Of several figures the first: "where, in which boxes: measure number, ...".
        published = entry.metrics.partition(" | ")[0].partition(", ")
        boxes, _, figures = published[2].partition(": ")
        short = f"{figures.partition(', ')[0]} ({published[0]}, {boxes})" if figures else ""
        kind = "classifier" if entry.is_classifier else "detector" if entry.is_detector else ""
        keypoints = f"none ({kind})" if kind else entry.keypoint_set
        rows.append(
            (entry.name, f"{height}x{width}", keypoints, short, entry.licence, "yes" if is_there(entry) else "no")
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
