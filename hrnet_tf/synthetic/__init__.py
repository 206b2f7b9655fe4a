"""Rendered people as a COCO-format dataset, for the demo, tests and first experiments.

`cones` draws, `people` poses, `clothes` dresses, `backgrounds` surrounds, `scenes` composes an image
and annotates it, `dataset` writes splits to disk.
"""

from hrnet_tf.synthetic.dataset import render_dataset
from hrnet_tf.synthetic.scenes import render_scene

__all__ = ["render_dataset", "render_scene"]
