"""`hrnet-tf browse`: its picture shows the very batch that training takes."""

import subprocess
import sys

import cv2
import numpy as np
from conftest import write_annotations, write_dataset
from tool_runs import ROOT

from hrnet_tf.data import coco, pipeline
from hrnet_tf.data.augment import Augmentation, ImageAugmentation


def browse(*arguments):
    command = [sys.executable, "-m", "hrnet_tf.cli", "browse", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_picture_has_the_crops_of_a_step_with_their_targets(dataset, tmp_path):
    flags = ["--flagfile=w18_small.flags", f"--data_dir={dataset}", "--train_split=tiny", "--input_size=96x64"]
    result = browse(*flags, "--batch_size=3", "--step=1", f"--out={tmp_path / 'sheet.png'}")
    assert result.returncode == 0, result.stderr
    assert "3 crops of step 1" in result.stdout
    sheet = cv2.imread(str(tmp_path / "sheet.png"))[..., ::-1].astype(int)
    records, augmentation = coco.load_split(str(dataset), "tiny"), Augmentation(0.35, 45, 0.5, 0.3)
    batches = pipeline.keypoint_dataset(records, (96, 64), 3, augmentation, 0, 1, 2)
    crops, keypoints, visible = (part.numpy() for part in next(iter(batches)))
    found = 0
    for slot in range(3):
        cell = sheet[8 : 8 + 96, 8 + slot * (128 + 8) :][:, :128]
        # Between what is drawn, the left half is the crop.
        assert np.median(np.abs(cell[:, :64] - crops[slot])) <= 1
        for (x, y), seen in zip(keypoints[slot], visible[slot], strict=True):
            if seen and 4 < x < 60 and 4 < y < 92:
                red, green, blue = cell[round(y), 64 + round(x)]
                assert red > green + 40 and red > blue + 40  # near the peak of a target
                found += 1
    assert found > 20


def test_of_whole_images_the_picture_shows_everybody_and_what_is_masked(tmp_path):
    content = write_dataset(tmp_path)
    for person in content["annotations"][::2]:
        person.update(iscrowd=1, segmentation=[[0, 0, 160, 0, 160, 60, 0, 60]])  # the upper half of the image
    write_annotations(tmp_path, "tiny", content)
    flags = ["--flagfile=higher_w18_small.flags", f"--data_dir={tmp_path}", "--train_split=tiny", "--input_size=96x96"]
    plain = ["--scale_range=1,1", "--rotation_factor=0", "--shift_factor=0", "--flip_probability=0"]
    result = browse(*flags, *plain, "--batch_size=3", f"--out={tmp_path / 'sheet.png'}")
    assert result.returncode == 0, result.stderr
    assert "3 crops of step 0" in result.stdout
    sheet = cv2.imread(str(tmp_path / "sheet.png"))[..., ::-1].astype(int)
    images, augmentation = coco.load_images(str(tmp_path), "tiny"), ImageAugmentation((1, 1), 0, 0, 0)
    crops = next(iter(pipeline.image_dataset(images, (96, 96), 3, augmentation, 0, 0, 1)))[0].numpy()
    for slot in range(3):
        cell = sheet[8 : 8 + 96, 8 + slot * (192 + 8) :][:, :192]
        assert np.median(np.abs(cell[:, :96] - crops[slot])) <= 1
        assert np.abs(cell[:46, 96:] - 0.4 * crops[slot][:46]).max() <= 1


def test_bad_input_is_one_line_and_no_picture(dataset, tmp_path):
    out = tmp_path / "sheet.png"
    flags = [f"--data_dir={dataset}", "--train_split=none", f"--out={out}"]
    result = browse(*flags)
    assert result.returncode == 1 and not out.exists()
    assert result.stderr.startswith("error: ") and "person_keypoints_none.json does not exist" in result.stderr
