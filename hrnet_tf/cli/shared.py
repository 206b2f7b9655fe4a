"""What the commands share: devices, people, models and evaluations as the flags say."""

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import keras
import tensorflow as tf
from absl import flags

from hrnet_tf import benchmarks, devices, pretrained, progress
from hrnet_tf.cli.flag_groups import parse_size
from hrnet_tf.cli.keypoint_names import renamed, with_flag_pairs
from hrnet_tf.data.records import PersonRecords
from hrnet_tf.errors import InputError, printable
from hrnet_tf.model_card import ModelCard, read_card
from hrnet_tf.models.variants import kind_of
from hrnet_tf.prediction.network import Network, hint, load_network, network_of
from hrnet_tf.skeletons import COCO, Skeleton, match, match_in_words
from hrnet_tf.training.run_state import is_work_dir, load_last

FLAGS = flags.FLAGS
# Whether convolutions on CPUs may keep weights in their own layout from the first call on: much faster in bfloat16,
# wrong where weights change or Keras models are called outside of a tf.function. Read at the first convolution.
_FROZEN_WEIGHTS = "TF_ONEDNN_ASSUME_FROZEN_WEIGHTS"
os.environ[_FROZEN_WEIGHTS] = "0"


def assume_frozen_weights() -> None:
    """For processes that only predict, and do so in a tf.function: to be called before the first network runs."""
    os.environ[_FROZEN_WEIGHTS] = "1"


def model_file() -> str:
    """The file or folder of --model, downloaded where that is a name or an address."""
    return str(pretrained.model_file(FLAGS.model, FLAGS.allow_unverified))


def input_size() -> tuple[int, int]:
    """(H, W) of --input_size."""
    size = parse_size(FLAGS.input_size)
    assert size is not None  # the flag's validator has seen to it
    return size


def make_strategy(
    batch_size: int, parts: int = 1, cluster: tf.distribute.cluster_resolver.ClusterResolver | None = None
) -> tf.distribute.Strategy:
    """Mirrors over all GPUs, of this machine or of all workers, or runs on the CPU where there is none.

    Args:
        batch_size: people in a batch, which is split between them.
        parts: that each one's share is to be split into.
        cluster: of `workers.find_cluster`.
    """
    if cluster is None:
        strategy: tf.distribute.Strategy = tf.distribute.MirroredStrategy()
    else:
        count = len(cluster.cluster_spec().as_dict()["worker"])
        print(f"worker {cluster.task_id} of {count}: waiting for the others", flush=True)
        strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=cluster)
    replicas = strategy.num_replicas_in_sync
    if batch_size % (replicas * parts):
        accumulated = f" times --accumulate ({parts})" if parts > 1 else ""
        everywhere = "" if cluster is None else " of all workers"
        raise InputError(
            f"--batch_size must be a multiple of the number of GPUs{everywhere} ({replicas}){accumulated}. "
            f"Received: {batch_size}"
        )
    return strategy


def use_xla() -> bool:
    """What --xla means on this machine."""
    return FLAGS.xla == "on" or (FLAGS.xla == "auto" and devices.use_xla())


def memory_advice(otherwise: str = "") -> contextlib.AbstractContextManager[None]:
    """For calls of networks: what to do where they run out of memory, and what else there is to do."""
    return devices.memory_advice(f"lower --batch_size ({FLAGS.batch_size}){otherwise}")


def dataset() -> benchmarks.Benchmark:
    """What --dataset, --data_dir, --annotations and --images name."""
    files = {val_split(): _val_files()} | ({train_split(): _train_files()} if "train_split" in FLAGS else {})
    files = {split: places for split, places in files.items() if places != (None, None)}
    if files and FLAGS.dataset == "mpii":
        raise InputError("--annotations and --images are for annotations in COCO's format. Received: --dataset=mpii")
    return benchmarks.open_benchmark(FLAGS.dataset, FLAGS.data_dir, files)


def train_split() -> str:
    """What is trained on: the name of a split, or the file of --annotations."""
    return _train_files()[0] or FLAGS.train_split


def val_split() -> str:
    """What is evaluated on: the name of a split, or the file of --annotations, in training of --val_annotations."""
    return _val_files()[0] or FLAGS.val_split


def _train_files():
    return FLAGS.annotations, FLAGS.images


def _val_files():
    """Annotations and images to evaluate on: in training by default those that are trained on."""
    if "val_annotations" not in FLAGS:
        return FLAGS.annotations, FLAGS.images
    if FLAGS.val_annotations or FLAGS.val_images:
        return FLAGS.val_annotations, FLAGS.val_images
    return (FLAGS.annotations, FLAGS.images) if FLAGS.annotations else (None, None)


def print_omissions(*sources: Iterable[str]) -> None:
    """Prints what was left out, read in another way or assumed in reading data, each sentence once."""
    for sentence in dict.fromkeys(itertools.chain(*sources)):
        print(printable(sentence), flush=True)


def named_and_measurable(
    found: tuple[PersonRecords, PersonRecords], measured: bool
) -> tuple[PersonRecords, PersonRecords]:
    """The validation people, annotated and to predict, with the names that --keypoint_names gives their keypoints.

    What was left out of them is printed.

    Args:
        found: as they were read.
        measured: predictions of them are going to be measured, so that what this needs must be there.
    """
    print_omissions(found[1].omissions)
    if measured:
        dataset().check_measurable(val_split(), found[0])
    annotated, people = (dataclasses.replace(records, skeleton=renamed(records.skeleton)) for records in found)
    return annotated, people


def flip_pairs(skeleton: Skeleton) -> Sequence[tuple[int, int]] | None:
    """The pairs of the flip test, None without --flip_test; InputError where a keypoint lacks its partner."""
    if not FLAGS.flip_test:
        return None
    skeleton.check_mirroring("give --noflip_test")
    return skeleton.flip_pairs


def keypoints_of(path: str, found: ModelCard | None, num_keypoints: int, annotations: Skeleton | None) -> Skeleton:
    """The keypoints of the network of --model, with the pairs of --flip_pairs; prints what is assumed of them.

    They are those of its card, else COCO's where the annotations have these or there are none, else the annotations'.

    Args:
        path: of the network.
        found: its card, if any.
        num_keypoints: that it predicts.
        annotations: the keypoints of the annotations, if there are annotations.

    Raises:
        InputError: the keypoints are unknown, not as many as the annotations', or not the same by name.
    """
    if annotations is not None:
        check_keypoints(num_keypoints, annotations, path)
    if found is not None:
        model = found.skeleton
    elif num_keypoints == COCO.num_keypoints and (annotations is None or set(annotations.names) == set(COCO.names)):
        model = COCO
        print(f"{path} has no model card: its {num_keypoints} keypoints are taken for COCO's, in COCO's order")
    elif annotations is not None:
        model = annotations
        print(f"{path} has no model card: its {num_keypoints} keypoints are taken for the annotations', in their order")
    else:
        raise InputError(
            f"--model {path} has no model card to say what its {num_keypoints} keypoints are: give --annotations, a "
            "COCO-format file whose category lists them"
        )
    if annotations is not None:
        match(model, annotations)
        line = match_in_words(model, annotations)
        if line:
            print(line)
    return with_flag_pairs(model)


def make_card(name: str, input_size: tuple[int, int], skeleton: Skeleton, found: ModelCard | None = None) -> ModelCard:
    """The model card of a network: what the flags say, else the card `found` with its file, else codec msra."""
    codec = FLAGS.codec or (found.codec if found else "msra")
    refine = FLAGS.refine or (found.refine if found and found.codec == codec else None)
    if refine is None and "loss" in FLAGS and FLAGS.loss == "dsnt":
        refine = "integral"
    if found and codec != found.codec:
        print(f"--codec={codec} is not what the model was trained with: its card says {found.codec}")
    if found:
        return dataclasses.replace(found, skeleton=skeleton, codec=codec, refine=refine)
    return ModelCard(name, input_size, skeleton, codec, refine, kind=kind_of(name))


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained Keras model to export.

    Attributes:
        path: where it was read.
        network: the `Network` of it.
        card: that of its file, or of a work directory that of its best network; None where there is none.
        codec: of a work directory, that its run is trained with.
    """

    path: str
    network: Network
    card: ModelCard | None
    codec: str | None = None

    @property
    def model(self) -> keras.Model:
        return self.network.heatmaps

    def card_for(self, annotations: Skeleton) -> ModelCard:
        """Its model card as the flags say, for keypoints that are those of the annotations; prints what is assumed."""
        name, input_size = self.model.name, self.network.input_size
        skeleton = keypoints_of(self.path, self.card, self.network.num_keypoints, annotations)
        found = self.card
        if self.codec is not None:
            refine = found.refine if found else None
            found = ModelCard(name, input_size, skeleton, self.codec, refine, kind=self.network.kind)
        return make_card(name, input_size, skeleton, found)


def load_trained(path: str) -> Trained:
    """The Keras model of a `.keras` file, or of a run's work directory that of its last checkpoint."""
    if is_work_dir(path):
        model, input_size, codec = load_last(path)
        best = os.path.join(path, "best.keras")
        network = dataclasses.replace(network_of(model, f"model {path}"), input_size=input_size)
        return Trained(path, network, read_card(best) if os.path.isfile(best) else None, codec)
    if path.endswith(".keras"):
        network, _ = load_network(path)
        return Trained(path, network, read_card(path))
    raise InputError(
        f"--model must be a .keras file or the work directory of a training run. Received: {path}{hint(path)}"
    )


def check_keypoints(num_keypoints: int, skeleton: Skeleton, path: str) -> None:
    """Raises InputError unless a model predicts as many keypoints as the annotations have."""
    if num_keypoints != skeleton.num_keypoints:
        udp = num_keypoints == 3 * skeleton.num_keypoints
        why = ". Three channels a keypoint are those of MMPose's UDP heads with offsets, which are not decoded here"
        raise InputError(
            f"--model {path} predicts {num_keypoints} keypoints, but the annotations have {skeleton.num_keypoints}"
            f"{why if udp else ''}"
        )


def print_exports(paths: list[Path], differences: dict[str, float]) -> None:
    for path in paths:
        print(f"wrote {path}")
    for name, difference in differences.items():
        print(f"largest difference from the Keras model, {name}: {difference:.2g}")


class BadImages:
    """Counts the images that --skip_bad_images goes past, naming each once."""

    def __init__(self) -> None:
        self.reasons: set[str] = set()

    def __call__(self, error: InputError) -> None:
        if str(error) not in self.reasons:
            self.reasons.add(str(error))
            progress.note(f"skipped: {error}")

    def handler(self) -> Callable[[InputError], None]:
        """What to hand to a dataset: itself with --skip_bad_images, else what ends the command and names that flag."""
        return self if FLAGS.skip_bad_images else _refuse

    def report(self) -> None:
        if self.reasons:
            print(f"{len(self.reasons)} images could not be read and were skipped")


def _refuse(error: InputError) -> None:
    raise InputError(f"{error}; --skip_bad_images goes on past such images") from error
