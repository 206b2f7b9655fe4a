"""Flags that several commands have, in groups. Whoever calls one of these functions is taken to define its flags."""

from absl import flags

from hrnet_tf import benchmarks
from hrnet_tf.codecs import CODECS, REFINEMENTS
from hrnet_tf.data.augment import Augmentation, ImageAugmentation
from hrnet_tf.data.pixels import DEFAULT_MAX_PIXELS, HIGHEST_MAX_PIXELS
from hrnet_tf.evaluation.similarity import REFERENCE_SUPPRESSION, SUPPRESSIONS
from hrnet_tf.models.variants import CHANNEL_ORDERS, MODEL_NAMES, PRECISIONS, TRAINING_PRECISIONS, check_input_size

flags.disclaim_key_flags()

_DATASET = "What the annotations are: coco for COCO and data of one's own in its format, or another set."
# People in a batch at most: more is a slip, and no memory holds their crops.
MAX_BATCH = 1 << 16


def define_training_flags() -> None:
    """Flags of how a network is trained, and on what."""
    define_data_flags()
    define_prediction_flags()
    flags.DEFINE_enum("model", None, MODEL_NAMES, "Network; higher_* find everybody in whole images, without boxes.")
    define_input_size_flag()
    flags.DEFINE_enum(
        "channel_order",
        "rgb",
        CHANNEL_ORDERS,
        "What the network is given; bgr as published pose_resnets, cpn as pytorch-cpn.",
    )
    flags.DEFINE_string(
        "pretrained",
        None,
        "PyTorch weights to start from, of ImageNet or of another pose network: a file, or a name of `hrnet-tf "
        "models`, such as hrnet_w32_imagenet.",
    )
    define_allow_unverified_flag()
    flags.DEFINE_float("heatmap_sigma", 2.0, "Standard deviation of the targets in heatmap pixels.", lower_bound=0.1)
    flags.DEFINE_string("train_split", "train2017", "Split to train on.")
    flags.DEFINE_string("val_annotations", None, "As --annotations, which are trained on, but to evaluate on.")
    flags.DEFINE_string("val_images", None, "As --images, but of --val_annotations.")
    flags.DEFINE_string("work_dir", None, "Folder of this run; created.")
    flags.DEFINE_bool("resume", False, "Continue the run in --work_dir, if there is one.")
    flags.DEFINE_float("save_minutes", 10, "The state is saved at every evaluation, and at least this often.", 0)
    flags.DEFINE_integer("epochs", 210, "Passes over the training people.", lower_bound=1)
    _define_loss_flags()
    _define_optimization_flags()
    flags.DEFINE_enum(
        "precision",
        "float32",
        ["auto", *TRAINING_PRECISIONS],
        "Keras dtype policy; auto: mixed_bfloat16 on GPUs that have it (compute capability 8.0), else float32.",
    )
    flags.DEFINE_integer(
        "accumulate", 1, "Parts that a batch is gone through in, for less memory; BatchNorm sees one at a time.", 1
    )
    flags.DEFINE_bool(
        "sync_batch_norm", False, "Normalise by the batches of all GPUs together; slower, and without XLA."
    )
    flags.DEFINE_integer("eval_every", 10, "Epochs between evaluations.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Of weights, order and augmentation.", lower_bound=0)
    flags.DEFINE_bool("deterministic", False, "The same bits each time on GPUs too, and slower.")
    flags.DEFINE_bool(
        "reduced_decoding",
        False,
        "Read JPEG files at a half, quarter or eighth of their sides where crops are no finer.",
    )
    flags.DEFINE_float("scale_factor", Augmentation.scale, "Augmentation: deviation of the scale.", 0, 0.9)
    flags.DEFINE_float(
        "rotation_factor",
        Augmentation.rotation,
        "Augmentation: deviation of the angle, degrees; of whole images the largest angle.",
        0,
        180,
    )
    flags.DEFINE_float("flip_probability", Augmentation.flip_probability, "Augmentation: of mirroring.", 0, 1)
    flags.DEFINE_float(
        "half_body_probability", Augmentation.half_body_probability, "Augmentation: of showing half a body.", 0, 1
    )
    flags.DEFINE_list(
        "scale_range", ["0.75", "1.5"], "Augmentation of whole images: side of the crop, in the image's shorter sides."
    )
    flags.DEFINE_float(
        "shift_factor",
        ImageAugmentation.shift,
        "Augmentation of whole images: largest shift, in sides of the crop.",
        0,
        1,
    )
    flags.register_validator("scale_range", _is_range, "must be two numbers from 0.01 to 100, such as 0.75,1.5")


def _define_loss_flags() -> None:
    """Flags of what is minimised."""
    flags.DEFINE_enum("loss", "heatmaps", ["heatmaps", "dsnt"], "Loss: of heatmaps, or of the points that they expect.")
    flags.DEFINE_integer(
        "ohkm_keypoints",
        None,
        "Loss: so many worst keypoints of a person, as OHKM's 8, 0: all; by default 8 in the last output of a CPN.",
        0,
    )
    flags.DEFINE_list("output_weights", None, "Loss: factors of a network's outputs, the last predicts; by default 1.")
    flags.DEFINE_bool("keypoint_weights", False, "Loss: 1.2 for elbows and knees, 1.5 for wrists and ankles, squared.")
    flags.DEFINE_bool("supervise_absent", False, "Loss: teach empty heatmaps for keypoints that are not annotated.")
    flags.register_validator("output_weights", _are_weights, "must be numbers, like 1,1,1,1,2")
    flags.DEFINE_float("tag_weight", 1e-3, "Loss of whole images: of tags, beside heatmaps.", 0)


def _define_optimization_flags() -> None:
    """Flags of how weights follow from gradients."""
    flags.DEFINE_float("learning_rate", 1e-3, "Of Adam: the highest.", lower_bound=0)
    flags.DEFINE_enum(
        "schedule", "step", ["step", "cosine"], "The learning rate falls at --learning_rate_drops, or to 0 at the end."
    )
    flags.DEFINE_list("learning_rate_drops", ["170", "200"], "Epochs (from 0) before which the rate is divided by 10.")
    flags.DEFINE_integer("warmup_steps", 0, "Steps over which the learning rate rises to its value.", lower_bound=0)
    flags.DEFINE_float("weight_decay", 0, "Of AdamW, times the learning rate; biases and BatchNorm have none.", 0)
    flags.DEFINE_float("clip_norm", 0, "Gradients of a larger norm, all together, are scaled down to it; 0: none.", 0)
    flags.DEFINE_integer(
        "max_bad_steps", 20, "The run ends after so many steps in a row whose loss or gradients are not finite.", 1
    )
    flags.DEFINE_float(
        "ema_decay",
        0,
        "What stays in a step of the moving average of the weights, such as 0.999, which is evaluated and saved in the "
        "weights' place; 0: no average.",
        0,
        0.999999,
    )
    flags.DEFINE_list(
        "freeze",
        [],
        "Parts that keep the weights of --pretrained: stem,layer1,transition1,stage2,... by layers' names.",
    )
    flags.register_validator(
        "learning_rate_drops",
        lambda drops: all(d.isdecimal() and len(d) < 10 for d in drops),
        "must be epochs, like 170,200",
    )
    flags.register_multi_flags_validator(
        ["freeze", "pretrained"],
        lambda given: given["pretrained"] or not given["freeze"],
        "--freeze keeps parts as --pretrained has them: give that too",
    )


def _is_range(texts):
    """Whether --scale_range can be used."""
    numbers = _numbers(texts)
    return len(numbers) == 2 and 0.01 <= numbers[0] <= numbers[1] <= 100


def _are_weights(texts):
    """Whether --output_weights can be used."""
    return texts is None or (bool(_numbers(texts)) and all(0 <= number <= 1e6 for number in _numbers(texts)))


def _numbers(texts):
    """The numbers that texts are, [] where one is none."""
    try:
        return [float(text) for text in texts]
    except ValueError:
        return []


def define_scales_flag() -> None:
    """Flag of the sizes in which whole images are looked at."""
    flags.DEFINE_list(
        "scales",
        ["1"],
        "Networks of whole images: sizes to look at the image in, such as 0.5,1,2 or 0.6, of --input_size's.",
    )
    flags.register_validator(
        "scales",
        lambda texts: _are_scales(_numbers(texts)),
        "must be a number from 0.1 to 4, or several with 1 among them, of which the tags come, such as 0.5,1,2",
    )


def _are_scales(numbers: list[float]) -> bool:
    """Whether tags come of one of the sizes: of 1, or of the only one."""
    return bool(numbers) and (len(numbers) == 1 or 1 in numbers) and all(0.1 <= number <= 4 for number in numbers)


def define_data_flags() -> None:
    """Flags of where the validation people are."""
    flags.DEFINE_enum("dataset", "coco", benchmarks.NAMES, _DATASET)
    flags.DEFINE_string(
        "data_dir",
        None,
        "Folder with annotations/person_keypoints_<split>.json and images, or as --dataset's authors ship it.",
    )
    flags.DEFINE_string("val_split", "val2017", "Split to evaluate on.")
    flags.DEFINE_string(
        "detections", None, "Detector boxes to evaluate on: a COCO results file. Annotated boxes by default."
    )
    flags.DEFINE_float("box_threshold", 0.0, "Least score of a detector's box.", 0)
    flags.DEFINE_bool("skip_bad_images", False, "Go on past images that cannot be read, and count them.")
    define_files_flags()


def define_format_flag() -> None:
    """Flag of what annotations near to COCO's format are."""
    flags.DEFINE_enum("dataset", "coco", [name for name in benchmarks.NAMES if name != "mpii"], _DATASET)


def define_files_flags() -> None:
    """Flags of annotations and images that lie anywhere."""
    define_max_pixels_flag()
    flags.DEFINE_string("annotations", None, "Annotation file in COCO's format, instead of --data_dir's of the split.")
    flags.DEFINE_string("images", None, "Folder of its images; by default looked for beside it.")
    flags.register_multi_flags_validator(
        ["data_dir", "annotations"],
        lambda given: given["data_dir"] is not None or given["annotations"] is not None,
        "--data_dir must be given, or --annotations=FILE and --images=FOLDER",
    )


def define_max_pixels_flag() -> None:
    """Flag of how large an image may be."""
    flags.DEFINE_integer(
        "max_pixels", DEFAULT_MAX_PIXELS, "An image with more is not read.", 1, upper_bound=HIGHEST_MAX_PIXELS
    )


def define_trust_model_flag() -> None:
    """Flag of whether a SavedModel, which is a program, may do more than compute."""
    flags.DEFINE_bool(
        "trust_model", False, "Run a SavedModel that does more than compute, such as read or write files."
    )


def define_codec_flags() -> None:
    """Flags of how keypoints become heatmaps and heatmaps keypoints."""
    flags.DEFINE_enum(
        "codec", None, list(CODECS), "Encoding of keypoints in training; by default the model card's, else msra."
    )
    flags.DEFINE_enum("refine", None, REFINEMENTS, "Decoding of heatmaps; by default the model card's or the codec's.")


def define_prediction_flags() -> None:
    """Flags of how people are predicted and duplicates of them dropped."""
    define_codec_flags()
    define_flip_pairs_flag()
    flags.DEFINE_bool("flip_test", True, "Average the heatmaps of the crop and of its mirror image in evaluations.")
    flags.DEFINE_integer("batch_size", 32, "People in a batch, on all GPUs together.", 1, MAX_BATCH)
    define_device_flags()
    reference = REFERENCE_SUPPRESSION
    flags.DEFINE_enum("nms", reference.nms, list(SUPPRESSIONS), "COCO: how duplicates are dropped, by their OKS.")
    flags.DEFINE_float("oks_threshold", reference.oks_threshold, "COCO: likeness of duplicates; decay of soft NMS.", 0)
    flags.DEFINE_float("score_threshold", reference.score_threshold, "COCO: keypoints up to it do not score.", 0)


def define_device_flags() -> None:
    """Flags of how networks are run."""
    flags.DEFINE_enum(
        "xla", "auto", ["auto", "on", "off"], "Compile the network with XLA; auto: where there is a GPU that it knows."
    )
    flags.DEFINE_bool("tf32", True, "GPUs since Ampere multiply float32 with 10 bits of the mantissa: faster, coarser.")


def define_precision_flag() -> None:
    """Flag of what a Keras model predicts in."""
    flags.DEFINE_enum("precision", "float32", PRECISIONS, "What a .keras model computes in.")


def define_allow_unverified_flag() -> None:
    """Flag of whether a downloaded file may be one whose hash nobody knows."""
    flags.DEFINE_bool("allow_unverified", False, "Take a file to download whose SHA-256 is not known.")


def define_detector_flag() -> None:
    """Flag of what finds people."""
    flags.DEFINE_string(
        "detector",
        None,
        "What finds people: a name of `hrnet-tf models yolox`, or an .onnx file of YOLOX, RT-DETR, D-FINE or YOLOv8.",
    )


def define_flip_pairs_flag() -> None:
    """Flag of which keypoints are left and right of one another."""
    flags.DEFINE_list(
        "flip_pairs",
        None,
        "All keypoints that mirroring exchanges: left_eye:right_eye,... or, counted from 1, 2:3,...; or a keypoint set "
        "whose order they are in, such as wflw; or the word none. By default the model card's or the category's, else "
        "those told by name.",
    )


def define_keypoint_names_flag() -> None:
    """Flag of what the keypoints of annotations are called in the model."""
    flags.DEFINE_list(
        "keypoint_names",
        None,
        "Keypoints that the annotations call otherwise than the model: annotations_name:model_name,...",
    )


def define_input_size_flag() -> None:
    """Flag of the size of a network to build, which `parse_size` reads."""
    flags.DEFINE_string(
        "input_size", "256x192", "Height x width of the crops in pixels, multiples of 32, of an Hourglass 128."
    )
    flags.register_validator(
        "input_size", lambda text: parse_size(text) is not None, "must be like 256x192, multiples of 32 up to 4096"
    )
    flags.register_multi_flags_validator(
        ["model", "input_size"],
        lambda given: parse_size(given["input_size"], given["model"] or "") is not None,
        "--input_size must be like 256x256, multiples of 128, for an Hourglass",
    )


def parse_size(text: str, model: str = "") -> tuple[int, int] | None:
    """(H, W) of a text such as "256x192"; None if a network, or that of a name, cannot take it."""
    try:
        return check_input_size([int(side) for side in text.split("x")], model)
    except ValueError:
        return None
