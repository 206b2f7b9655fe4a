"""Images in TFRecord files instead of a file each: the same images, and the same refusals."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tool_runs

from hrnet_tf import InputError
from hrnet_tf.data import coco
from hrnet_tf.data.augment import Augmentation
from hrnet_tf.data.pipeline import training_dataset
from hrnet_tf.data.records import check_images_exist, read_image
from hrnet_tf.data.shards import write_shards


@pytest.fixture
def sharded(dataset):
    """The four images of `dataset` in two shards, instead of image files."""
    images = dataset / "images" / "tiny"
    names = sorted(path.name for path in images.iterdir())
    size = sum((images / name).stat().st_size for name in names[:2])
    assert write_shards(images, names, dataset / "shards", size) == 2
    images.rename(dataset / "files")
    (dataset / "shards").rename(images)
    return dataset


def test_other_programs_can_read_the_records(sharded):
    shards = sorted(str(path) for path in (sharded / "images" / "tiny").glob("*.tfrecord"))
    features = {"file_name": tf.io.FixedLenFeature([], tf.string), "image": tf.io.FixedLenFeature([], tf.string)}
    found = {}
    for record in tf.data.TFRecordDataset(shards):  # which checks the checksums
        example = tf.io.parse_single_example(record, features)
        found[example["file_name"].numpy().decode()] = example["image"].numpy()
    assert found == {path.name: path.read_bytes() for path in (sharded / "files").iterdir()}
    assert len(found) == 4


def test_training_batches_are_those_of_the_files(sharded):
    from_shards = coco.load_split(str(sharded), "tiny")
    from_files = coco.load_annotations(coco.annotation_path(str(sharded), "tiny"), str(sharded / "files"))
    check_images_exist(from_shards)
    batches = [
        list(training_dataset(records, (64, 64), 4, 2.0, Augmentation(), 0, 0, 4).as_numpy_iterator())
        for records in (from_shards, from_files)
    ]
    assert len(batches[0]) == 4
    for ours, expected in zip(*batches, strict=True):
        for part, expected_part in zip(ours, expected, strict=True):
            np.testing.assert_array_equal(part, expected_part)


def test_truncated_absent_and_unlisted_are_told_apart(sharded):
    folder = sharded / "images" / "tiny"
    records = coco.load_split(str(sharded), "tiny")
    shard = folder / "shard-00001.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-100])
    read_image(records.image_paths[2])
    with pytest.raises(InputError, match=r"shard-00001.tfrecord@.* the shard is truncated"):
        read_image(records.image_paths[3])
    shard.unlink()
    with pytest.raises(InputError, match="2 of 4 images listed in the annotations are absent"):
        check_images_exist(records)
    index = json.loads((folder / "index.json").read_text())
    del index["000000000001.jpg"]
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"3 of 4 images .*000000000001.jpg"):
        check_images_exist(coco.load_split(str(sharded), "tiny"))
    (folder / "index.json").write_text(json.dumps(index | {"000000000001.jpg": [0, 10**30, 10**30]}))
    with pytest.raises(InputError, match="the shard is truncated"):
        read_image(coco.load_split(str(sharded), "tiny").image_paths[0])
    for place in (["first", 12], [0, 12], [0, float("inf"), 12]):
        (folder / "index.json").write_text(json.dumps(index | {"000000000001.jpg": place}))
        with pytest.raises(InputError, match=r"index.json is damaged at image '000000000001.jpg'"):
            coco.load_split(str(sharded), "tiny")


def test_the_tool_writes_a_folder_to_train_from(dataset):
    out = dataset / "out"
    made = tool_runs.run("make_shards", data_dir=dataset, split="tiny", out_dir=out)
    assert made.returncode == 0, made.stderr
    assert "4 images in 1 shard(s)" in made.stdout
    ours, expected = (coco.load_split(str(root), "tiny") for root in (out, dataset))
    check_images_exist(ours)
    for path, expected_path in zip(ours.image_paths, expected.image_paths, strict=True):
        np.testing.assert_array_equal(read_image(path), read_image(expected_path))
    again = tool_runs.run("make_shards", data_dir=dataset, split="tiny", out_dir=out)
    assert "exists" in tool_runs.complaint(again)


def test_an_absent_image_leaves_nothing_behind(dataset):
    (dataset / "images" / "tiny" / "000000000003.jpg").unlink()
    made = tool_runs.run("make_shards", data_dir=dataset, split="tiny", out_dir=dataset / "out")
    assert "000000000003.jpg" in tool_runs.complaint(made)
    assert not list((dataset / "out" / "images").iterdir())
