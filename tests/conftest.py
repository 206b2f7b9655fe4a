import json
import os
import pathlib
import runpy

import cv2
import numpy as np
import pytest

from hrnet_tf.skeletons import COCO

# Nothing is asked of the network, here and in the Python processes that tests start.
OFFLINE = pathlib.Path(__file__).parent / "offline"
if str(OFFLINE) not in os.environ.get("PYTHONPATH", "").split(os.pathsep):  # workers of pytest-xdist have it
    runpy.run_path(str(OFFLINE / "sitecustomize.py"))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(OFFLINE), os.environ.get("PYTHONPATH", "")]))

# Also for the processes that tests start. Before TensorFlow looks for devices; NVIDIA's libraries read the other one.
USE_GPU = bool(os.environ.get("HRNET_TF_TEST_GPU"))
if not USE_GPU:
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ["NVIDIA_TF32_OVERRIDE"] = "0"


def pytest_collection_modifyitems(items):
    """Files with slow tests go first, so that no worker is left with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def write_dataset(root, split="tiny", num_images=4, people_per_image=2, seed=0, size=(120, 160)):
    """Writes a COCO-format dataset of noise images with people of known keypoints; returns the annotations."""
    rng = np.random.default_rng(seed)
    height, width = size
    folder = root / "images" / split
    folder.mkdir(parents=True)
    (root / "annotations").mkdir(exist_ok=True)
    images, annotations = [], []
    for i in range(num_images):
        image = cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3)).astype(np.uint8), (15, 15), 4)
        name = f"{i + 1:012}.jpg"
        cv2.imwrite(str(folder / name), image)
        images.append({"id": i + 1, "file_name": name, "height": height, "width": width})
        for _ in range(people_per_image):
            x, y = rng.uniform(5, width / 3), rng.uniform(5, height / 4)
            w, h = rng.uniform(width / 3, width / 2), rng.uniform(height / 2, 0.7 * height)
            points = np.stack([rng.uniform(x, x + w, 17), rng.uniform(y, y + h, 17)], -1)
            keypoints = np.concatenate([points, np.full((17, 1), 2)], -1)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i + 1,
                    "category_id": 1,
                    "iscrowd": 0,
                    "num_keypoints": 17,
                    "area": w * h / 2,
                    "bbox": [x, y, w, h],
                    "keypoints": keypoints.ravel().tolist(),
                }
            )
    skeleton = [[a + 1, b + 1] for a, b in COCO.limbs]
    category = {"id": 1, "name": "person", "keypoints": list(COCO.names), "skeleton": skeleton}
    content = {"images": images, "annotations": annotations, "categories": [category]}
    write_annotations(root, split, content)
    return content


def write_annotations(root, split, content):
    (root / "annotations" / f"person_keypoints_{split}.json").write_text(json.dumps(content))


def annotation_text(root):
    return (root / "annotations" / "person_keypoints_tiny.json").read_text()


def detection(image_id, category_id=1, **more):
    return {"image_id": image_id, "category_id": category_id, "bbox": [10, 10, 60, 90], "score": 0.9, **more}


@pytest.fixture
def dataset(tmp_path):
    """A folder with the split "tiny": four images of two people each."""
    root = tmp_path / "data"
    write_dataset(root)
    return root
