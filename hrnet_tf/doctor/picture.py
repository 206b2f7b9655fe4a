"""A picture of the people that findings name, with their boxes and keypoints as the file has them."""

import itertools
import os

import cv2
import numpy as np

from hrnet_tf import geometry, visualize
from hrnet_tf.data.records import read_image
from hrnet_tf.doctor.findings import Report
from hrnet_tf.errors import InputError
from hrnet_tf.files import PathLike

MAX_PEOPLE = 12
_COLUMNS, _CELL = 4, (280, 280)
_BOX_COLOR = (255, 60, 60)
# Surroundings shown on each side of box and keypoints, as a share of their extent.
_SURROUNDINGS = 0.15


def draw_worst(report: Report, image_dir: PathLike) -> np.ndarray | None:
    """Draws up to 12 people of the worst findings, taking turns: box red, left orange, right blue.

    Args:
        report: a `Report`.
        image_dir: folder of the images; people whose image cannot be read are left out.

    Returns:
        [H,W,3] uint8, or None where there is nobody to draw.
    """
    pictures: list[np.ndarray] = []
    titles: list[str] = []
    for finding, row in _turns(report.findings):
        if len(pictures) == MAX_PEOPLE:
            break
        try:
            pictures.append(_draw(report.table, row, image_dir))
        except InputError:
            continue
        titles.append(f"{finding.code}, annotation {report.table.people_example(row)['annotation']}")
    return visualize.contact_sheet(pictures, _COLUMNS, _CELL, titles) if pictures else None


def _turns(findings):
    """(finding, person) one of each finding in turn, nobody twice; notes only where nothing is worse."""
    serious = [finding for finding in findings if finding.severity != "info"] or findings
    drawn = set()
    for group in itertools.zip_longest(*([(finding, row) for row in finding.rows] for finding in serious)):
        for turn in group:
            if turn is not None and turn[1] not in drawn:
                drawn.add(turn[1])
                yield turn


def _draw(table, row, image_dir):
    """One person, cut out of the image with some surroundings; what is beyond the image is black."""
    name = table.images[table.image_index[row]].get("file_name") if table.image_index[row] >= 0 else None
    path = os.path.join(image_dir, name) if isinstance(name, str) else ""
    if not os.path.isfile(path):  # also of names that no file can have
        raise InputError("the person's image is not known or absent")
    image = read_image(path)
    low, high = _window(table, row, image.shape[:2])
    scale = min(np.array(_CELL[::-1]) / (high - low))
    matrix = np.array([[scale, 0, -scale * low[0]], [0, scale, -scale * low[1]]])
    width, height = np.maximum(1, np.round(scale * (high - low))).astype(int)
    canvas = geometry.warp(image, matrix, (height, width))
    box = table.boxes[row]
    if np.isfinite(box).all():
        corners = geometry.transform_points(np.array([box[:2], box[:2] + box[2:]]), matrix)
        corners = corners.clip(-visualize.MAX_COORDINATE, visualize.MAX_COORDINATE).astype(int).tolist()
        cv2.rectangle(canvas, corners[0], corners[1], _BOX_COLOR, 1)
    if table.skeleton is None:
        return canvas
    points = table.keypoints[row].copy()
    points[:, :2] = geometry.transform_points(points[:, :2], matrix)
    return visualize.draw_keypoints(canvas, points[None], table.skeleton, score_threshold=0)


def _window(table, row, size):
    """Corners (x, y) of what is shown: box and labelled keypoints, but not further out than half the image."""
    shape = np.array(size[::-1], np.float64)
    box, points = table.boxes[row], table.keypoints[row, table.labelled[row], :2]
    corners = np.concatenate([np.array([box[:2], box[:2] + box[2:]]), points])
    corners = corners[np.isfinite(corners).all(axis=1)].clip(-0.5 * shape, 1.5 * shape)
    if not len(corners):
        return np.zeros(2), shape
    low, high = corners.min(axis=0), corners.max(axis=0)
    margin = max(8, _SURROUNDINGS * (high - low).max())
    return low - margin, high + margin
