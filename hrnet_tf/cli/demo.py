"""`hrnet-tf demo`: the whole path on rendered people."""

import json
import pathlib
import subprocess
import sys
import time

from hrnet_tf.errors import InputError
from hrnet_tf.export.formats import DEFAULT_FORMATS, FILE_NAMES
from hrnet_tf.synthetic import render_dataset

DEMO_DIR = pathlib.Path("demo")
DATA_DIR, RUN_DIR = DEMO_DIR / "data", DEMO_DIR / "run"
# val chooses the best checkpoint; the figure printed at the end comes from test, which nothing else has used
NUM_IMAGES = {"train": 2850, "val": 120, "test": 240}
SEED = 0


def main() -> None:
    start = time.monotonic()
    for split, num_images in NUM_IMAGES.items():
        print(f"rendering {num_images} images of split {split}, unless they are there", flush=True)
        render_dataset(DATA_DIR, split, num_images, SEED)
    exports = [RUN_DIR / "export" / name for format_name in DEFAULT_FORMATS for name in FILE_NAMES[format_name]]
    if not all(path.exists() for path in exports):
        _run("train", "--flagfile=demo.flags", "--resume")
    metrics, sheet = DEMO_DIR / "metrics.json", DEMO_DIR / "predictions.png"
    _run(
        "evaluate",
        f"--model={RUN_DIR}/best.keras",
        f"--data_dir={DATA_DIR}",
        "--val_split=test",
        f"--detections={DATA_DIR}/person_detections_test.json",
        f"--metrics={metrics}",
        f"--sheet={sheet}",
    )
    print(f"AP {json.loads(metrics.read_text())['AP']:.3f} on unseen rendered people, imprecise boxes")
    print(f"wall time {(time.monotonic() - start) / 60:.1f} min")
    for path in (DATA_DIR, RUN_DIR / "best.keras", RUN_DIR / "metrics.jsonl", *exports, metrics, sheet):
        print(path)


def _run(command, *arguments):
    """Runs a command as a user would, showing it."""
    print(f"$ hrnet-tf {command} {' '.join(arguments)}", flush=True)
    process = subprocess.Popen([sys.executable, "-m", "hrnet_tf.cli", command, *arguments])
    while True:
        try:
            process.wait()
            break
        except KeyboardInterrupt:
            continue  # the command has got it too, and may want to save its state
    if process.returncode:
        raise InputError(f"hrnet-tf {command} did not complete; what it said is above. The same call goes on")
