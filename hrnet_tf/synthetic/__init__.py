"""Rendered people as a COCO-format dataset, for the demo, tests and first experiments.

`cones` draws, `people` poses, `clothes` dresses, `backgrounds` surrounds, `composition` puts people before a
background and annotates them, `camera` looks at it, `scenes` makes images of people who stand about, `dataset` writes
splits of them to disk; `walking` moves people, `video` follows them.
"""

from hrnet_tf.synthetic.dataset import render_dataset
from hrnet_tf.synthetic.scenes import render_scene
from hrnet_tf.synthetic.video import render_video

__all__ = ["render_dataset", "render_scene", "render_video"]
