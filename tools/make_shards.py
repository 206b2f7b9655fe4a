"""Writes the images of a split into a few large TFRecord files, for disks and object stores slow to open files.

    python tools/make_shards.py --data_dir=data/coco --split=train2017 --out_dir=data/coco_shards
    python tools/train.py --flagfile=configs/w32.flags --data_dir=data/coco_shards ...

--out_dir receives the annotations and, in place of the images, images/<split>/ with the shards and their index. An
object store is to be mounted as a folder. Images are stored as they are; training on shards gives the same batches.
check_dataset.py looks at image files: run it before.
"""

import os
import shutil

import cli  # first: it quiets TensorFlow
from absl import flags

from hrnet_tf.data import coco, shards
from hrnet_tf.files import read_json, replacing

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "COCO-format folder: annotations/person_keypoints_<split>.json and images.")
flags.DEFINE_string("split", "train2017", "Split whose images to write.")
flags.DEFINE_string("out_dir", None, "Folder to write to, for --data_dir of the other tools.")
flags.DEFINE_integer("shard_megabytes", 256, "A shard is ended once it has so many.", 1)
flags.mark_flags_as_required(["data_dir", "out_dir"])


def main():
    coco.load_split(FLAGS.data_dir, FLAGS.split)  # refuses what training would refuse
    annotations = coco.annotation_path(FLAGS.data_dir, FLAGS.split)
    names = [image["file_name"] for image in read_json(annotations)["images"]]
    image_dir, out_dir = coco.find_image_dir(FLAGS.data_dir, FLAGS.split), os.path.join(FLAGS.out_dir, "images")
    os.makedirs(out_dir, exist_ok=True)
    count = shards.write_shards(image_dir, names, os.path.join(out_dir, FLAGS.split), FLAGS.shard_megabytes << 20)
    copy = coco.annotation_path(FLAGS.out_dir, FLAGS.split)
    os.makedirs(os.path.dirname(copy), exist_ok=True)
    with replacing(copy) as path:
        shutil.copyfile(annotations, path)
    print(f"{len(names)} images in {count} shard(s): {os.path.join(out_dir, FLAGS.split)}")


if __name__ == "__main__":
    cli.run(main)
