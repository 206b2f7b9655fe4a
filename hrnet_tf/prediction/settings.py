"""How a network is predicted with: what callers and model cards say of it.

Shape legend: H and W crop, K keypoints.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from hrnet_tf.errors import InputError
from hrnet_tf.model_card import ModelCard
from hrnet_tf.models.variants import BOTTOM_UP
from hrnet_tf.prediction.network import Network
from hrnet_tf.skeletons import COCO, Skeleton, match


@dataclasses.dataclass(frozen=True)
class Settings:
    """What both kinds of predictors are told.

    Attributes:
        input_size: (H, W), as of `PosePredictor`.
        skeleton: of the results.
        order: [K] where each keypoint of the results is in the network's.
        network_skeleton: of the network.
        flip_pairs: of the network's keypoints, for the flip test; None without it.
        codec, refine, batch_size, jit_compile: as of `PosePredictor`.
        scales: of whole images, relative to their own size, that are looked at.
        least_score: of a person in a whole image, the mean of its keypoints; whoever scores less is left out.
        float32: a context that calls of the network are made in.
    """

    input_size: tuple[int, int]
    skeleton: Skeleton
    order: np.ndarray
    network_skeleton: Skeleton
    flip_pairs: Sequence[tuple[int, int]] | None
    codec: str
    refine: str | None
    batch_size: int = 32
    jit_compile: bool | None = None
    scales: Sequence[float] = (1.0,)
    least_score: float = 0.0
    float32: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext


def settings_of(
    network: Network,
    card: ModelCard | None,
    skeleton: Skeleton | None,
    flip_test: bool,
    codec: str | None,
    refine: str | None,
) -> Settings:
    """Settings of a network, as given or else as its card says; arguments and errors as of `PosePredictor`."""
    known = _skeleton(skeleton, card, network.num_keypoints)
    if flip_test:
        known.check_mirroring("pass flip_test=False")
    codec = codec or (card.codec if card else "msra")
    is_of_whole_images = network.kind == BOTTOM_UP
    return Settings(
        input_size=card.input_size if card and is_of_whole_images else network.input_size,
        skeleton=skeleton or known,
        order=np.argsort(match(known, skeleton or known)),
        network_skeleton=known,
        flip_pairs=known.flip_pairs if flip_test else None,
        codec=codec,
        refine=refine or (card.refine if card and card.codec == codec else None),
    )


def _skeleton(skeleton, card, num_keypoints):
    """The network's keypoints: the card's, else those given, else COCO's; InputError unless `num_keypoints`."""
    found = card.skeleton if card is not None else skeleton
    if found is None and num_keypoints == COCO.num_keypoints:
        found = COCO
    if found is None:
        raise InputError(
            f"the model has no model card to say what its {num_keypoints} keypoints are: pass `skeleton`, such as "
            "`hrnet_tf.skeletons.MPII` or that of an annotation file's category (`skeleton_from_category`)"
        )
    for one in (found, skeleton or found):
        if one.num_keypoints != num_keypoints:
            raise InputError(f"the model predicts {num_keypoints} keypoints, but the skeleton has {one.num_keypoints}")
    return found
