"""What the commands do otherwise for networks of crops and for networks of whole images: a task of each kind."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import tensorflow as tf

from hrnet_tf.cli.tasks.bottom_up import BottomUp
from hrnet_tf.cli.tasks.top_down import TopDown
from hrnet_tf.data.records import PersonRecords
from hrnet_tf.model_card import ModelCard
from hrnet_tf.models.variants import BOTTOM_UP
from hrnet_tf.prediction.runners import Runner
from hrnet_tf.training.objectives import Objective
from hrnet_tf.workers import Share

if TYPE_CHECKING:
    from hrnet_tf.cli.shared import BadImages


class Task(Protocol):
    """What the tasks have in common.

    Attributes:
        unit: what a sample is of, in words, several of them.
    """

    unit: str

    def check_flags(self) -> None:
        """Raises InputError for flags of training that this kind of network does not go with."""

    def load_training(self) -> Any:
        """What is trained on: `PersonRecords` or `ImageRecords`, with the pairs of --flip_pairs."""

    def load_validation(self, measured: bool = True) -> tuple[PersonRecords, PersonRecords]:
        """What is evaluated on: those annotated, and those to predict; of whole images both are the same.

        What was left out of them is printed.

        Args:
            measured: predictions of them are going to be measured, so that what this needs must be there.
        """

    def in_words(self, people: PersonRecords) -> str:
        """How many are evaluated on, and in which boxes: AP on one kind says little about the other."""

    def decoding_in_words(self, card: ModelCard) -> str:
        """How people are read from the network's outputs."""

    def setting(self, card: ModelCard) -> dict[str, Any]:
        """What figures depend on beside the network and the flip test, for JSON."""

    def published(self, card: ModelCard) -> dict[str, float]:
        """{name: number} published for the network on this split in this setting, {} where nothing is."""

    def batches(
        self,
        records: Any,
        card: ModelCard,
        bad_images: "BadImages",
        share: Share,
        first_step: int,
        last_step: int,
    ) -> tf.data.Dataset:
        """Batches of images and labels, of `load_training`'s, or of each batch a share."""

    def objective(self, card: ModelCard) -> Objective:
        """What is minimised, of the outputs and the labels of a batch."""

    def pictures(self, batch: Any, card: ModelCard) -> tuple[list[np.ndarray], list[str]]:
        """Of a batch each image beside what the network is to answer, [H,2W,3] uint8, and a title."""

    def make_evaluate(
        self,
        strategy: tf.distribute.Strategy,
        model: Callable | Runner,
        card: ModelCard,
        people: PersonRecords,
        bad_images: "BadImages",
    ) -> Callable[..., tuple[dict[str, float], np.ndarray, PersonRecords]]:
        """Builds the function that evaluates a model as the flags say.

        Args:
            strategy: the one that the model was built under.
            model: images -> its outputs.
            card: its `ModelCard`.
            people: of `load_validation`, those to predict.
            bad_images: a `BadImages`.

        Returns:
            (results_file=None) -> {name: number}, keypoints [N,K,3] in image pixels, in the annotations' order, and
            the `PersonRecords` of these N people.

        Raises:
            InputError: the keypoints of `people` are not the card's by name, or the flip test lacks pairs.
        """

    def examples(self, people: PersonRecords, card: ModelCard, bad_images: "BadImages", count: int = 16) -> np.ndarray:
        """[N,H,W,3] uint8 of the first `count` of those to predict, if their images can be read: to try exports on."""


def task_of(kind: str) -> Task:
    """The task of networks of a kind of `models.variants`."""
    return BottomUp() if kind == BOTTOM_UP else TopDown()
