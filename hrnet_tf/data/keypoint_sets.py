"""The keypoint set of an annotation file: which categories it is of, and what it is made of."""

import collections
from typing import Any

import numpy as np

from hrnet_tf.data.formats import Format
from hrnet_tf.data.omissions import Omission, short, whole_number
from hrnet_tf.errors import InputError
from hrnet_tf.skeletons import Skeleton, find, keypoint_category, named, skeleton_from_category

# Published tolerances are below this (COCO's 0.025 to 0.107): with larger ones nearly every prediction counts as right.
_MAX_MEDIAN_SIGMA = 0.3


def find_set(
    objects: dict[str, list[dict[str, Any]]], path: str, omissions: list[Omission], problems: dict[str, str]
) -> tuple[dict[str, Any] | None, tuple[int, ...], Skeleton | None]:
    """The keypoint set of a file: the first that has annotations, of all categories with the same keypoint names.

    Args:
        objects: the lists "categories" and "annotations" of the file.
        path: what to call the file.
        omissions, problems: receive what is said of the set, and why it cannot be used.

    Returns:
        the set's first category, with an integer id; the ids of all its categories; its `Skeleton`. None, () and None
        where there is no set, a category without a skeleton where it cannot be used.
    """
    annotations = objects["annotations"]
    counts = collections.Counter(whole_number(annotation.get("category_id")) for annotation in annotations)
    members = _members(objects, path, counts, omissions, problems)
    if not members:
        return None, (), None
    category = dict(members[0][1], id=members[0][0])
    ids = tuple(dict.fromkeys(number for number, _ in members))
    if len(ids) > 1:
        names = short([member.get("name") for _, member in members][:4])
        omissions.append(Omission("read", "categories with the same keypoint names as one set", len(ids), 0, names))
    _say_others(objects, set(ids), category, omissions)
    skeleton = None
    try:
        names = category["keypoints"]
        if isinstance(names, list) and all(isinstance(name, str) for name in names):  # others are refused below
            category["skeleton"] = _limbs(category.get("skeleton"), names, omissions)
        skeleton = skeleton_from_category(category, path)
        if skeleton.num_keypoints and np.median(skeleton.oks_sigmas) > _MAX_MEDIAN_SIGMA:
            raise InputError(
                f"{path}: 'sigmas' are fractions of a person's size, COCO's are from 0.025 to 0.107. Received: "
                f"{short(list(skeleton.oks_sigmas))}, with which every prediction counts as right. Divide them by 10 "
                "or, where they are in percent, by 100"
            )
    except InputError as error:
        problems["set"] = str(error)
        skeleton = None
    return category, ids, skeleton


def known_set(
    objects: dict[str, list[dict[str, Any]]],
    form: Format,
    path: str,
    omissions: list[Omission],
    problems: dict[str, str],
) -> tuple[dict[str, Any] | None, tuple[int, ...], Skeleton | None]:
    """As `find_set`, of a file whose keypoint set is that of its form, whether or not its categories list the names."""
    assert form.keypoint_set is not None
    skeleton = named(form.keypoint_set)
    _, points = form.fields(skeleton.num_keypoints)[0]
    listed_names = [category.get("keypoints") for category in objects["categories"]]
    counts = [len(names) if isinstance(names, list) else 0 for names in listed_names]
    fitting = [c for c, count in zip(objects["categories"], counts, strict=True) if count in (0, points.stop)]
    members = [(whole_number(category.get("id")), category) for category in fitting]
    ids = tuple(dict.fromkeys(number for number, _ in members if number is not None))
    if not ids:
        problems["set"] = (
            f"{path} is no file of {form.keypoint_set}: a category must have an integer 'id' and list {points.stop} "
            f"keypoints, or none. Received: categories of {short(counts)} keypoints"
        )
        return None, (), None
    first = next(category for number, category in members if number is not None)
    category = first | {"id": ids[0], "keypoints": list(skeleton.names)}
    _say_others(objects, set(ids), category, omissions)
    return category, ids, skeleton


def _members(objects, path, counts, omissions, problems):
    """(id, category) of all categories of the set."""
    named: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for category in objects["categories"]:
        if category.get("keypoints"):
            number = whole_number(category.get("id"))
            if number is None:
                problems["set"] = f"{path}: a category must have an integer 'id'. Received: {short(category)}"
                return []
            named.setdefault(str(category["keypoints"]), []).append((number, category))
    for members in named.values():
        if any(counts[number] for number, _ in members):
            return members
    if named:
        return next(iter(named.values()))
    numbered = _numbered(objects, omissions)
    if not numbered:
        try:
            keypoint_category(objects["categories"], path)  # says that there is none
        except InputError as error:
            problems["category"] = str(error)
    return numbered


def _numbered(objects, omissions):
    """A category without names whose annotations hold keypoints, with the names 0 to K-1."""
    lengths = collections.Counter(
        (whole_number(annotation.get("category_id")), len(annotation["keypoints"]))
        for annotation in objects["annotations"]
        if isinstance(annotation.get("keypoints"), list) and annotation["keypoints"]
    )
    if not lengths:
        return []
    (number, length), count = lengths.most_common(1)[0]
    category = next((c for c in objects["categories"] if whole_number(c.get("id")) == number), {})
    if number is None or length % 3:
        return []
    names = [str(k) for k in range(length // 3)]
    what = f"keypoint names, 0 to {length // 3 - 1}: the category lists none, and {count} annotations hold so many"
    omissions.append(Omission("assumed", what, length // 3, 0, f"category {short(category.get('name'))}"))
    return [(number, category | {"keypoints": names})]


def _say_others(objects, ids, category, omissions):
    """Annotations of other categories than the set's."""
    others = [a for a in objects["annotations"] if whole_number(a.get("category_id")) not in ids]
    if others:
        used = f"used is category {category['id']}, {short(category.get('name'))}"
        example = f"annotation {short(others[0].get('id'))}: category {short(others[0].get('category_id'))}"
        what = f"annotations of other categories: {used}"
        omissions.append(Omission("left out", what, len(others), len(objects["annotations"]), example))


def _limbs(pairs, names, omissions):
    """The pairs of a category's `skeleton`, from 1, that are in the set; limbs are only drawn.

    There are none where the set is published and some are not in it: CrowdPose's files have COCO's.
    """
    if not pairs:
        return []
    num_keypoints = len(names)
    given = pairs if isinstance(pairs, list) else [pairs]
    read = [[whole_number(i) for i in pair] if isinstance(pair, list) and len(pair) == 2 else None for pair in given]
    numbers = [i for pair in read if pair for i in pair if i is not None]
    if numbers and min(numbers) == 0 and max(numbers) < num_keypoints:
        omissions.append(Omission("read", "limbs as counted from 0, as there is a 0 among their numbers", len(given)))
        read = [[i + 1 if i is not None else None for i in pair] if pair else None for pair in read]
    good = [pair for pair in read if pair and all(i is not None and 1 <= i <= num_keypoints for i in pair)]
    bad = [given[i] for i, pair in enumerate(read) if pair not in good]
    if not bad:
        return good
    published = find(names)
    instead = f"drawn are those of {published} instead of all" if published else "limbs are only drawn"
    what = f"limbs that are no pairs of numbers from 1 to {num_keypoints}: {instead}"
    omissions.append(Omission("left out", what, len(bad), len(given), short(bad[0])))
    return [] if published else good
