"""`hrnet-tf shards`: the images of a split in a few large files."""

import os
import shutil

from absl import flags

from hrnet_tf.benchmarks import coco_like
from hrnet_tf.cli import shared
from hrnet_tf.data import coco, shards
from hrnet_tf.data.annotations import read_annotations
from hrnet_tf.data.layouts import find_split
from hrnet_tf.files import replacing

FLAGS = flags.FLAGS


def main() -> None:
    form = coco_like(FLAGS.dataset).form
    places = FLAGS.data_dir, FLAGS.split, FLAGS.annotations, FLAGS.images, form
    people = coco.load_split(*places)  # refuses what training would refuse
    shared.print_omissions(people.omissions)
    files = find_split(*places)
    names = list(dict.fromkeys(coco.listed_names(read_annotations(files.annotations, form))))
    image_dir, out_dir = coco.find_image_dir(files, names), os.path.join(FLAGS.out_dir, "images")
    os.makedirs(out_dir, exist_ok=True)
    count = shards.write_shards(image_dir, names, os.path.join(out_dir, FLAGS.split), FLAGS.shard_megabytes << 20)
    copy = coco.annotation_path(FLAGS.out_dir, FLAGS.split)
    os.makedirs(os.path.dirname(copy), exist_ok=True)
    with replacing(copy) as path:
        shutil.copyfile(files.annotations, path)
    print(f"{len(names)} images in {count} shard(s): {os.path.join(out_dir, FLAGS.split)}")
