"""`hrnet-tf shards`: the images of a split in a few large files."""

import os
import shutil

from absl import flags

from hrnet_tf.data import coco, shards
from hrnet_tf.files import read_json, replacing

FLAGS = flags.FLAGS


def main() -> None:
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
