"""What benchmark.py measures of networks of whole images: pictures of some people beside as many boxes."""

import numpy as np

from benchmark.networks import Case, with_statistics
from benchmark.people import random_people
from hrnet_tf import PosePredictor, build_model
from hrnet_tf.errors import InputError
from hrnet_tf.grouping import group
from hrnet_tf.model_card import ModelCard
from hrnet_tf.models.variants import BOTTOM_UP, BOTTOM_UP_NAMES, HEATMAPS, HEATMAPS_TAGS
from hrnet_tf.prediction.network import Network, for_inference, network_of
from hrnet_tf.prediction.whole_images import frame
from hrnet_tf.skeletons import COCO, flip_order

_IMAGE_SIZE, _SIDE = (480, 640), 512
# People lie on a grid of so many columns; their tags are so far from one another.
_COLUMNS, _TAG_GAP = 6, 3.0


def predict(settings, reference):
    """A picture of so many people by the HigherHRNet of the network's width, and by the network in as many boxes."""
    del reference  # has no counterpart
    name = f"higher_{settings.model}"
    if name not in BOTTOM_UP_NAMES:
        raise InputError(f"there is no {name}: --model must be one of those of {', '.join(BOTTOM_UP_NAMES)}")
    whole = for_inference(network_of(with_statistics(build_model(name, None))))
    top_down = PosePredictor(with_statistics(build_model(settings.model, settings.input_size)))
    card = ModelCard(name, (_SIDE, _SIDE), COCO, kind=BOTTOM_UP)
    size = frame(_IMAGE_SIZE, _SIDE).size
    image = np.random.default_rng(0).integers(0, 256, (*_IMAGE_SIZE, 3), np.uint8)
    cases = []
    for count in settings.people:
        maps = {HEATMAPS_TAGS: _maps(count, size, 4, True), HEATMAPS: _maps(count, size, 2, False)}
        predictor = PosePredictor(Network(_showing(whole.heatmaps, maps), card.input_size, 17, BOTTOM_UP), card=card)
        if len(predictor(image)) != count:
            raise AssertionError(f"{count} people were painted")
        heatmaps, tags = predictor._predictor.maps(image)
        boxes = random_people(count).boxes
        cases += [
            Case(f"{name}, whole image, {count} people", lambda predictor=predictor: predictor(image), 1),
            Case(f"{settings.model}, {count} boxes", lambda boxes=boxes: top_down(image, boxes), 1),
            Case(f"grouping alone, {count} people", lambda maps=(heatmaps, tags): group(*maps), 1),
        ]
    yield cases


def _showing(model, maps):
    """`model`, whose outputs show these maps: untrained, it would find people everywhere. For the flip test alone."""

    order = np.array(flip_order(COCO.flip_pairs, COCO.num_keypoints))
    orders = {HEATMAPS: order, HEATMAPS_TAGS: np.concatenate([order, order + len(order)])}
    shown = {key: np.concatenate([maps[key], maps[key][:, :, ::-1, orders[key]]]) for key in maps}

    def outputs(images, training=False):
        found = model(images, training=training)
        # What is computed counts, if only just: nothing of the network is left out.
        return {key: shown[key] + 1e-9 * found[key] for key in maps}

    return outputs


def _maps(count, size, stride, with_tags):
    """[1,h,w,K] heatmaps of people on a grid, and behind them as many maps of tags."""
    height, width = (side // stride for side in size)
    rows = -(-count // _COLUMNS)
    rng = np.random.default_rng(count)
    heatmaps, tags = np.zeros((2, height, width, COCO.num_keypoints), np.float32)
    row, column = np.mgrid[:height, :width]
    for person in range(count):
        corner = np.array([person % _COLUMNS / _COLUMNS, person // _COLUMNS / rows])
        for k in range(COCO.num_keypoints):
            x, y = (corner + rng.uniform(0.2, 0.8, 2) / [_COLUMNS, rows]) * [width, height]
            squared = (column - x) ** 2 + (row - y) ** 2
            heatmaps[..., k] = np.maximum(heatmaps[..., k], rng.uniform(0.5, 1) * np.exp(-squared / 8))
            tags[squared < 36, k] = person * _TAG_GAP
    return np.concatenate([heatmaps, tags], axis=-1)[None] if with_tags else heatmaps[None]
