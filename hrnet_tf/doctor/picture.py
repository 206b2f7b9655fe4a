"""A picture of the people that findings name, with their boxes and keypoints as the file has them."""

import itertools
import os

import cv2
import numpy as np

from hrnet_tf import geometry, visualize
from hrnet_tf.data.records import read_image
from hrnet_tf.data.shards import file_of
from hrnet_tf.doctor.findings import Report
from hrnet_tf.errors import InputError

MAX_PEOPLE = 12
_COLUMNS, _CELL = 4, (280, 280)
_BOX_COLOR = (255, 60, 60)
# Images that cannot be read are gone past, up to so many people.
_MAX_ATTEMPTS = 200
# Surroundings shown on each side of box and keypoints, as a share of their extent.
_SURROUNDINGS = 0.15


def draw_worst(report: Report) -> np.ndarray | None:
    """Draws up to 12 people of the worst findings, taking turns, then a sample of the others: box red, left orange,
    right blue.

    People whose image cannot be read are left out.

    Args:
        report: of `check_split`, which knows where the images are.

    Returns:
        [H,W,3] uint8, or None where there is nobody to draw.
    """
    pictures: list[np.ndarray] = []
    titles: list[str] = []
    attempts = 0
    for code, row in _turns(report):
        attempts += 1
        if len(pictures) == MAX_PEOPLE or attempts > _MAX_ATTEMPTS:
            break
        try:
            pictures.append(_draw(report, row))
        except InputError:
            continue
        titles.append(f"{code}, annotation {report.table.people_example(row)['annotation']}")
    return visualize.contact_sheet(pictures, _COLUMNS, _CELL, titles) if pictures else None


def _turns(report):
    """(title, person) one of each finding in turn, nobody twice; notes, then a sample, only where nothing is worse."""
    named = [finding for finding in report.findings if finding.rows]
    serious = [finding for finding in named if finding.severity != "info"] or named
    drawn = set()
    for group in itertools.zip_longest(*([(finding.code, row) for row in finding.rows] for finding in serious)):
        for turn in group:
            if turn is not None and turn[1] not in drawn:
                drawn.add(turn[1])
                yield turn
    if not drawn:
        rows = np.flatnonzero(report.table.used if report.table.used.any() else report.table.image_index >= 0)
        for row in rows[:: max(1, len(rows) // MAX_PEOPLE)].tolist():
            yield "sample", row


def _draw(report, row):
    """One person, cut out of the image with some surroundings; what is beyond the image is black."""
    table, index = report.table, report.table.image_index[row]
    path = report.paths[index] if index >= 0 and report.paths else ""
    if not os.path.isfile(file_of(path)):
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
