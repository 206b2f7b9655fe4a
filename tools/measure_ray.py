"""Predicts a set on a Ray cluster of this machine, takes a machine away in the middle, and compares with one process.

    pip install '.[ray]'
    python tools/measure_ray.py --images=photos --model=w32.keras --detector=yolox_nano.onnx --pictures=5000

The machines are processes of this one with a processor each, started by `ray.cluster_utils.Cluster`; what runs on them
is `hrnet-tf predict-dataset --address=...`. The images are repeated up to --pictures. Printed are the pictures a second
between the first part and the last, of one process, of one actor and of two, and of two of which one's machine goes
away, and how far their keypoints are from those of one process.
"""

import pathlib
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
from absl import app, flags
from ray.cluster_utils import Cluster

flags.DEFINE_string("images", None, "Folder of JPEG images.")
flags.DEFINE_string("model", None, "Network.")
flags.DEFINE_string("detector", None, "What finds people; without it every picture is one person's.")
flags.DEFINE_integer("pictures", 5000, "How many are predicted.", 1)
flags.DEFINE_integer("part_pictures", 100, "In a part.", 1)
flags.DEFINE_bool("rates", True, "Measure one and two actors that stay, too.")
flags.DEFINE_string("folder", "work/ray", "Where lists and results are written: an empty one.")
FLAGS = flags.FLAGS
_OBJECT_STORE = 100 << 20  # bytes, of each machine
_LIMIT = 1800  # seconds


def started(out_dir, address=None):
    """The process that predicts the list into a folder."""
    command = [sys.executable, "-m", "hrnet_tf.cli", "predict-dataset", f"{FLAGS.folder}/list.txt"]
    command += [f"--model={FLAGS.model}", f"--out_dir={out_dir}", f"--part_pictures={FLAGS.part_pictures}"]
    command += [f"--detector={FLAGS.detector}" if FLAGS.detector else "--whole_image"]
    return subprocess.Popen(command + ([f"--address={address}"] if address else []))


def finish(process):
    if process.wait(_LIMIT):
        raise SystemExit(f"predict-dataset ended with {process.returncode}")


def on_cluster(out_dir, machines, remove):
    """Predicts on so many machines, one of which goes once a third of the parts are there."""
    options = {"object_store_memory": _OBJECT_STORE, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **options})
    try:
        nodes = [cluster.add_node(num_cpus=1, object_store_memory=_OBJECT_STORE) for _ in range(machines)]
        process = started(out_dir, cluster.address)
        if remove:
            third = FLAGS.pictures // FLAGS.part_pictures // 3
            while len(list(out_dir.glob("*.parquet"))) < third and process.poll() is None:
                time.sleep(0.1)
            cluster.remove_node(nodes[0], allow_graceful=False)
        finish(process)
    finally:
        cluster.shutdown()


def rate(out_dir):
    """Pictures a second between the first part and the last."""
    times = sorted(path.stat().st_mtime for path in out_dir.glob("*.parquet"))
    return (len(times) - 1) * FLAGS.part_pictures / (times[-1] - times[0])


def parts(out_dir):
    """{name: rows} of all parts."""
    return {path.name: pq.read_table(path) for path in sorted(out_dir.glob("*.parquet"))}


def people(rows):
    """Who is in which picture."""
    return [rows[column].to_pylist() for column in ("image", "index", "person", "error")]


def distance(rows, others):
    """The largest difference between keypoints of the same people."""
    columns = [rows["keypoints"].combine_chunks().flatten() for rows in (rows, others)]
    return float(np.abs(np.subtract(*columns)).max(initial=0)) if len(columns[0]) == len(columns[1]) else np.inf


def main(_):
    folder = pathlib.Path(FLAGS.folder)
    folder.mkdir(parents=True)
    images = sorted(path.resolve() for path in pathlib.Path(FLAGS.images).rglob("*.jpg"))
    names = [str(images[i % len(images)]) for i in range(FLAGS.pictures)]
    (folder / "list.txt").write_text("\n".join(names))
    alone = folder / "alone"
    finish(started(alone))
    print(f"one process: {rate(alone):.1f} pictures/s", flush=True)
    wanted = parts(alone)
    cases = {"two actors, one machine removed": (2, True)}
    if FLAGS.rates:
        cases = {"one actor": (1, False), "two actors": (2, False)} | cases
    for name, (machines, remove) in cases.items():
        out_dir = folder / name.replace(" ", "_")
        out_dir.mkdir()  # looked into before the command is that far
        on_cluster(out_dir, machines, remove)
        found = parts(out_dir)
        seen = [(part, index) for part, rows in found.items() for index in dict.fromkeys(rows["index"].to_pylist())]
        same = sum(people(rows) == people(wanted[part]) for part, rows in found.items())
        print(
            f"{name}: {len(seen)} of {FLAGS.pictures} pictures, the same people in "
            f"{'all' if same == len(wanted) else same} {len(wanted)} parts, keypoints at most "
            f"{max(map(distance, found.values(), wanted.values())):.2g} pixels away; {rate(out_dir):.1f} pictures/s",
            flush=True,
        )


if __name__ == "__main__":
    flags.mark_flags_as_required(["images", "model"])
    app.run(main)
