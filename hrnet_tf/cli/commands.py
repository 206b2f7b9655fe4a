"""The commands: of each its help and its flags. What it does is the function `main` of the module of its name.

Imports nothing heavy: help, and a flag that is wrong, take no TensorFlow.
"""

from collections.abc import Callable

from absl import flags

from hrnet_tf.cli import flag_groups
from hrnet_tf.export.formats import DEFAULT_FORMATS, FILE_NAMES, LAYOUTS
from hrnet_tf.models.variants import CHANNEL_ORDERS, MODEL_NAMES, PRECISIONS

_NETWORK_FILE = (
    "Model: a .keras, .onnx or .tflite file or a SavedModel folder; or what is downloaded once: a name of `hrnet-tf "
    "models`, hf://user/repository or https://host/file.keras#sha256=..."
)
_COCO_FOLDER = "COCO-format folder: annotations/person_keypoints_<split>.json and images, or as tools export them."


def train() -> None:
    """Trains a pose network on a COCO-format dataset, evaluates it and exports it.

        hrnet-tf train --flagfile=w32.flags --data_dir=data/coco --work_dir=work/w32

    The work directory receives: run.json and flags.txt (what was run), metrics.jsonl and tensorboard/
    (how it went), checkpoints/ (the last state, for --resume), best.keras (the weights with the best AP)
    and, at the end, export/ (that model as .keras, SavedModel and ONNX). `hrnet-tf configs` lists the
    flag files that come with the package.

    Exit codes: 130 and 143 for a run that was asked to stop and goes on with --resume, 75 where another of --workers
    was lost.
    """
    flag_groups.define_training_flags()
    flags.DEFINE_list("workers", [], "host:port of each process, to train on several machines; by default TF_CONFIG's.")
    flags.DEFINE_integer("worker", None, "Which of --workers this process is, from 0; that one writes.", 0)
    flags.mark_flags_as_required(["model", "work_dir"])


def browse() -> None:
    """Draws what training sees: augmented crops, and beside them the heatmaps that the network is to answer.

        hrnet-tf browse --flagfile=w32.flags --data_dir=data/coco --out=browse.png

    The flags are those of `train`, and its flag files serve; those of network and schedule count for
    nothing. A picture shows the --batch_size people of one step.
    """
    flag_groups.define_training_flags()
    flags.DEFINE_string("out", None, "PNG or JPEG file to write.")
    flags.DEFINE_integer("step", 0, "Which step of training.", 0)
    flags.mark_flag_as_required("out")


def evaluate() -> None:
    """Evaluates a trained model on a split of COCO, of data of one's own in COCO's format, or of another benchmark.

        hrnet-tf evaluate --model=work/w32/best.keras --data_dir=data/coco --val_split=val2017
        hrnet-tf evaluate --model=w32.keras --data_dir=data/coco --val_split=test-dev2017 \\
            --detections=detections.json --results=results.json

    Without --detections the people are cropped by their annotated boxes, which gives a higher AP than
    a detector's boxes: published tables use the latter. Networks of whole images find everybody
    without boxes. A test split has no annotations: what is written to --results goes to the
    benchmark's server.
    """
    flag_groups.define_data_flags()
    flag_groups.define_prediction_flags()
    flag_groups.define_precision_flag()
    flag_groups.define_keypoint_names_flag()
    flag_groups.define_scales_flag()
    flags.DEFINE_string("model", None, _NETWORK_FILE)
    flag_groups.define_allow_unverified_flag()
    flag_groups.define_trust_model_flag()
    flags.DEFINE_string("metrics", None, "JSON file to write the figures to.")
    flags.DEFINE_string("results", None, "File to write the predictions to: COCO's results (JSON), MPII's pred.mat.")
    flags.DEFINE_string("sheet", None, "PNG or JPEG file to draw predictions in, over the first images.")
    flags.mark_flag_as_required("model")


def predict() -> None:
    """Predicts people in images, folders, videos, streams or before a camera.

        hrnet-tf predict photo.jpg --model=best.keras --out_dir=out
        hrnet-tf predict photo.jpg --model=best.keras --boxes="120,80,60,200;300,75,70,210" --out_dir=out
        hrnet-tf predict photos more/*.jpg --model=best.keras --detections=detections.json --out_dir=out
        hrnet-tf predict clip.mp4 --model=hrnet_w32_coco_256x192_udp --out_dir=out
        hrnet-tf predict rtsp://host/path --model=best.keras --out_dir=out

    A path is an image, a folder (with --recursive also the folders in it), a video, a text file ending in
    .txt with a path a line, a pattern such as "photos/*.jpg", the address of a stream (rtsp, http and others)
    or the number of a camera, such as 0. Several videos, or a video beside images, get a folder each in
    --out_dir. Cameras and streams without an end go on until Ctrl-C or SIGTERM; what came until then is whole.
    A run that was interrupted goes on where it stopped when the same command is given again.

    --model is a .keras, .onnx or .tflite file or a SavedModel folder, or the name of a published network, which is
    downloaded once (`hrnet-tf models` lists them). --out_dir receives annotated copies
    and the people in two forms:

        predictions.json  COCO's keypoint results with `file_name`; `frame` and `time` for videos
        predictions.csv   file, frame, time, person, track_id, keypoint, x, y, score: a line for each

    People are looked for where a detector finds them: that of --detector, by default yolox_s, which is
    downloaded once. Instead, --detections (a COCO results file) or --boxes (the same in every picture)
    give boxes, and --whole_image takes every picture for one person, as it does by default with networks
    of faces, hands or animals. Boxes and keypoints are in pixels of the picture as it is looked at, turned
    as its EXIF orientation says.

    The `image_id` of an image, in detections and in results, is the one that --annotations gives its
    file name; without them the number that its name consists of, such as 785 of 000000000785.jpg;
    that of a video's frame is its number, from 0. Where not every file has a number of its own, the
    results count the files from 1, and detections must give each box's `file_name`.

    --keypoints gives another set than the network's for results and copies, as far as the network has
    its keypoints: coco, mpii, halpe26, openpose18, openpose (its default, 25 keypoints), and others of
    docs/keypoint_sets.md. What the network does not have is 0, 0 with score 0.
    """
    flags.DEFINE_string("model", None, _NETWORK_FILE)
    flag_groups.define_allow_unverified_flag()
    flag_groups.define_trust_model_flag()
    flag_groups.define_max_pixels_flag()
    flags.DEFINE_multi_string(
        "input",
        None,
        "Image, folder, video, list (.txt), pattern, address or number of a camera; what is no flag is one too.",
    )
    flags.DEFINE_bool("recursive", False, "Look for images in the folders of folders too.")
    flags.DEFINE_string("out_dir", None, "Folder for annotated copies and results, created; not that of the input.")
    flags.DEFINE_string("detections", None, "COCO results file with the boxes to look in.")
    flag_groups.define_detector_flag()
    flags.DEFINE_float(
        "box_threshold", None, "Least score of a box; by default 0.3 of a detector's and 0 of --detections.", 0, 1
    )
    flags.DEFINE_string("boxes", None, "Boxes to look in: x,y,width,height;x,y,width,height;... in pixels.")
    flags.DEFINE_bool("whole_image", False, "Take every picture for one person, who fills it.")
    flags.DEFINE_string("annotations", None, "COCO-format file with the images' ids and the model's keypoints.")
    flag_groups.define_format_flag()
    flags.DEFINE_float("score_threshold", 0.2, "Keypoints scored at or below it are not drawn.")
    flags.DEFINE_enum(
        "smooth",
        "live",
        ["live", "whole", "off"],
        "Videos: keypoints of everybody smoothed as they come, or without lag once all are there, for which the video "
        "is read twice, or as they are.",
    )
    flags.DEFINE_integer(
        "detect_every", 1, "Videos: frames from one look of the detector to the next; between, poses say where.", 1
    )
    flags.DEFINE_bool("profile", False, "Print at the end how long each part took.")
    flags.DEFINE_bool("save_crops", False, "Write what is in everybody's box as an image file too.")
    flags.DEFINE_string("keypoints", None, "Keypoint set to write, such as openpose; by default the network's.")
    flags.DEFINE_bool("flip_test", True, "Average the heatmaps of the crop and of its mirror image.")
    flags.DEFINE_integer("batch_size", 32, "People in a batch.", 1, flag_groups.MAX_BATCH)
    flag_groups.define_device_flags()
    flag_groups.define_codec_flags()
    flag_groups.define_precision_flag()
    flag_groups.define_flip_pairs_flag()
    flag_groups.define_keypoint_names_flag()
    flags.mark_flags_as_required(["model", "out_dir"])


def app() -> None:
    """Shows a page to try networks in: people in photographs, in videos and before a webcam.

        hrnet-tf app
        hrnet-tf app --model=best.keras --detector=yolox_nano.onnx

    It is at http://127.0.0.1:7860 until Ctrl-C, for this machine alone unless --share. Published networks and
    detectors can be chosen in it, and are downloaded when they are used first; with a network and a detector that are
    on this machine it needs no connection. It takes the extra `app`: pip install 'hrnet_tf[app]'.
    """
    flags.DEFINE_multi_string("model", None, f"{_NETWORK_FILE} The first is chosen at the start.")
    flags.DEFINE_multi_string("detector", None, "What finds people, as of `predict`. The first is chosen at the start.")
    flags.DEFINE_integer("port", 7860, "Where the page is.", 1, 65535)
    flags.DEFINE_bool("share", False, "Ask Gradio's servers for a link by which anybody can use the page for a week.")
    flags.DEFINE_integer("max_upload", 200, "Megabytes that a photograph or video may have.", 1, 1 << 20)
    flags.DEFINE_integer("max_frames", 3000, "Frames that a video may have.", 1)
    flag_groups.define_max_pixels_flag()


def predict_dataset() -> None:
    """Predicts people in sets of pictures of any size, in one process or on the machines of a Ray cluster.

        hrnet-tf predict-dataset photos --model=hrnet_w32_coco_256x192_udp --out_dir=out
        hrnet-tf predict-dataset s3://bucket/shards --model=w48.keras --out_dir=s3://bucket/out --address=auto

    Reads a folder of images and its folders, a text file with a path or URL in each line, or shards: Parquet with a
    column of bytes or of paths, WebDataset's tar files, TFRecord as `hrnet-tf shards` writes it; a single one or a
    folder of one kind; on this machine or in a store that fsspec knows, whose package (s3fs, gcsfs, adlfs) is
    installed.

    --out_dir receives a Parquet file for each shard, of folders and lists for each --part_pictures pictures: a row for
    each person, with image, index, person, box, score and keypoints, and one for a picture with nobody in it or, with
    the reason under `error`, one that cannot be read. The same command again does the parts that are not there.

    Needs the extra `ray`. Without --address all is done in this process.
    """
    flags.DEFINE_multi_string("input", None, "Folder, list (.txt) or shard; what is no flag is it too.")
    flags.DEFINE_string("model", None, _NETWORK_FILE)
    flags.DEFINE_string("out_dir", None, "Folder for the results, path or URL; created; of one job at a time.")
    flags.DEFINE_string(
        "address",
        None,
        "Ray cluster: auto on one of its machines, ray://host:10001 from elsewhere; local: one of this machine's GPUs.",
    )
    flag_groups.define_detector_flag()
    flags.DEFINE_float("box_threshold", None, "Least score of a box; by default 0.3.", 0, 1)
    flags.DEFINE_bool("whole_image", False, "Take every picture for one person, who fills it.")
    flags.DEFINE_string("image_column", "image", "Parquet: column of the pictures' bytes or paths.")
    flags.DEFINE_integer("part_pictures", 1000, "Folders and lists: pictures in a part.", 1)
    flags.DEFINE_bool("flip_test", True, "Average the heatmaps of the crop and of its mirror image.")
    flags.DEFINE_integer("batch_size", 32, "People in a batch.", 1, flag_groups.MAX_BATCH)
    flag_groups.define_device_flags()
    flag_groups.define_precision_flag()
    flag_groups.define_allow_unverified_flag()
    flag_groups.define_trust_model_flag()
    flag_groups.define_max_pixels_flag()
    flags.mark_flags_as_required(["model", "out_dir"])


def export() -> None:
    """Writes a trained network as .keras, SavedModel, ONNX and LiteRT, and checks each on real crops.

        hrnet-tf export --model=work/w32/best.keras --out_dir=export --data_dir=data/coco
        hrnet-tf export --model=work/w32/best.keras --out_dir=export --data_dir=data/coco \\
            --formats=saved_model,onnx,litert --int8 --evaluate

    --int8 adds 8-bit files of ONNX and LiteRT, calibrated on crops of --calibration_split. --evaluate
    prints AP of every file beside the model's, on --val_split. For TensorRT there are the format onnx_float16,
    and --int8_symmetric.
    """
    flag_groups.define_data_flags()
    flag_groups.define_prediction_flags()
    flag_groups.define_keypoint_names_flag()
    flags.DEFINE_string(
        "model",
        None,
        "Model: a .keras file, the work directory of a training run for its last checkpoint, or a name of `hrnet-tf "
        "models`.",
    )
    flag_groups.define_allow_unverified_flag()
    flags.DEFINE_string("out_dir", None, "Folder for the files; created.")
    flags.DEFINE_list("formats", list(DEFAULT_FORMATS), f"What to write, of {', '.join(FILE_NAMES)}.")
    flags.DEFINE_bool("served_flip_test", False, "SavedModel: keypoints from the crop and its mirror image.")
    flags.DEFINE_enum("precision", "float32", PRECISIONS, "SavedModel: what it computes in.")
    flags.DEFINE_bool("fold", True, "SavedModel: fold batch normalisation into the convolutions.")
    flags.DEFINE_enum("onnx_layout", "nhwc", LAYOUTS, "ONNX: axes of images and heatmaps.")
    flags.DEFINE_bool("int8", False, "Write 8-bit files of ONNX and LiteRT too.")
    flags.DEFINE_bool("int8_symmetric", False, "8-bit ONNX: signed activations without zero points, for TensorRT.")
    flags.DEFINE_string(
        "calibration_split", "train2017", "Split of the people that 8-bit files are calibrated on; else --annotations'."
    )
    flags.DEFINE_integer("calibration_people", 200, "How many of them.", 1)
    flags.DEFINE_bool("evaluate", False, "Evaluate every file that gives heatmaps, and the model.")
    flags.mark_flags_as_required(["model", "out_dir"])
    flags.register_validator(
        "formats", lambda formats: set(formats) <= set(FILE_NAMES), f"must be of {','.join(FILE_NAMES)}"
    )
    flags.register_multi_flags_validator(
        ["int8", "int8_symmetric", "formats"],
        lambda given: not given["int8_symmetric"] or (given["int8"] and "onnx" in given["formats"]),
        "--int8_symmetric is of 8-bit ONNX files: add --int8, and onnx to --formats",
    )


def convert() -> None:
    """Converts PyTorch weights of a pose network to a .keras file, which loads without this package.

        hrnet-tf convert --model=hrnet_w32 --input_size=256x192 --weights=pose_hrnet_w32_256x192.pth --out=w32.keras

    Reads .pth and .safetensors files of the reference implementation, SimpleBaselines, MMPose and pytorch-cpn;
    which it is, and the number of keypoints, is told from the file. PyTorch need not be installed.
    """
    flags.DEFINE_enum("model", None, MODEL_NAMES, "Network that the weights are of.")
    flag_groups.define_input_size_flag()
    flags.DEFINE_string("weights", None, "File to convert.")
    flags.DEFINE_string("out", None, "File to write, ending in .keras.")
    flags.DEFINE_enum(
        "channel_order",
        "auto",
        ["auto", *CHANNEL_ORDERS],
        "What the network was trained on; auto: BGR for pose_resnets under their official names, cpn for "
        "pytorch-cpn's files, else RGB. The converted network takes RGB either way.",
    )
    flags.DEFINE_string(
        "state_dict",
        None,
        "Which weights to take of a file with several, by their name there, such as ema, or by what their names begin "
        "with, such as teacher. What is taken by default, and what else there is, is printed.",
    )
    flags.mark_flags_as_required(["model", "weights", "out"])
    flags.register_validator("out", lambda path: path.endswith(".keras"), "must end in .keras")


def models() -> None:
    """Lists the published networks, of which the names stand for files of their weights.

        hrnet-tf models
        hrnet-tf models wholebody
        hrnet-tf models "hrnet_w48_*_udp"

    Of each the size of its crops, its keypoints, its accuracy as published and in which boxes, the licence of its
    weights and whether it is downloaded already. HRNET_TF_PRETRAINED=list.tsv adds a list of one's own.
    """


def download() -> None:
    """Downloads published networks, for machines that are going to be without a network.

        hrnet-tf download hrnet_w32_coco_256x192_udp yolox_s

    They are checked, converted and kept in the folder HRNET_TF_HOME, by default that of the platform's caches; another
    machine may be given a copy of that. HRNET_TF_MIRROR=http://host/folder is tried before the hosts of the list.
    """
    flag_groups.define_allow_unverified_flag()


def check() -> None:
    """Checks a keypoint dataset before training, and explains an AP of 0 or -1.

        hrnet-tf check --data_dir=mydata --split=train --picture=worst.png --json=report.json

    Exit code: 0 nothing worse than notes, 2 warnings, 3 errors, 1 the check could not be run.
    """
    flag_groups.define_format_flag()
    flags.DEFINE_string("data_dir", None, _COCO_FOLDER)
    flags.DEFINE_string("split", "train2017", "Split to check.")
    flags.DEFINE_string("picture", None, "Where to draw up to 12 people: those that findings name, else a sample.")
    flags.DEFINE_string("json", None, "Where to write the report as JSON.")
    flags.DEFINE_bool("check_images", True, "Read the image files too, not only the annotations.")
    flags.DEFINE_bool("decode_all", False, "Decode every image: minutes on large sets. By default 1000.")
    flag_groups.define_flip_pairs_flag()
    flag_groups.define_files_flags()


def check_run() -> None:
    """Checks the states and files of a training, and says what it can go on from.

        hrnet-tf check-run work/w32
        hrnet-tf check-run work/w32 --clean

    Every file of a state is compared with its checksum, best.keras is loaded, and lines of metrics.jsonl are read.
    Exit code: 0 all is whole, 2 something is damaged but a state is good, 3 no state is, 1 the check could not be run.
    """
    flags.DEFINE_bool("clean", False, "Remove what killed processes have left; not where one is running.")


def shards() -> None:
    """Writes the images of a split into a few large TFRecord files, for disks and object stores slow to open files.

        hrnet-tf shards --data_dir=data/coco --split=train2017 --out_dir=data/coco_shards
        hrnet-tf train --flagfile=w32.flags --data_dir=data/coco_shards ...

    --out_dir receives the annotations and, in place of the images, images/<split>/ with the shards and their index.
    An object store is to be mounted as a folder. Images are stored as they are; training on shards gives the same
    batches.
    """
    flag_groups.define_format_flag()
    flags.DEFINE_string("data_dir", None, _COCO_FOLDER)
    flags.DEFINE_string("split", "train2017", "Split whose images to write.")
    flags.DEFINE_string("out_dir", None, "Folder to write to, for --data_dir of the other commands.")
    flags.DEFINE_integer("shard_megabytes", 256, "A shard is ended once it has so many.", 1)
    flag_groups.define_files_flags()
    flags.mark_flag_as_required("out_dir")


def demo() -> None:
    """The whole path on rendered people: dataset, training, evaluation on unseen people, exports, a picture.

        hrnet-tf demo

    Everything goes into the folder demo/. What is there from an earlier call is used again; an interrupted training
    goes on.
    """


def configs() -> None:
    """Lists the flag files that come with the package, with their first line.

        hrnet-tf configs
        hrnet-tf train --flagfile=w48.flags --data_dir=data/coco --work_dir=work/w48

    They are found by name from any folder. Flags after --flagfile override those in it.
    """


COMMANDS: dict[str, Callable[[], None]] = {
    "train": train,
    "browse": browse,
    "evaluate": evaluate,
    "predict": predict,
    "predict-dataset": predict_dataset,
    "app": app,
    "export": export,
    "convert": convert,
    "models": models,
    "download": download,
    "check": check,
    "check-run": check_run,
    "shards": shards,
    "demo": demo,
    "configs": configs,
}
# `app` starts it itself, once it is known that there can be a page.
WITHOUT_TENSORFLOW = ("configs", "models", "app")
# What follows these may be other than flags; of predicting it is what --input is.
WITH_ARGUMENTS = ("models", "download", "predict", "predict-dataset", "check-run")


def defined_flags() -> list[flags.Flag]:
    """The flags of the command whose function has been called."""
    return flags.FLAGS.get_flags_for_module(__name__)
