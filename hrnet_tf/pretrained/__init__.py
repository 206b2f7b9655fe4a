"""Published networks by name: `networks.tsv` lists them, and what is asked for is downloaded, checked and converted
once.

hrnet_tf.load_pretrained("hrnet_w32_coco_256x192_udp")   # a keras.Model
hrnet_tf.pretrained.names("*wholebody*")                 # which there are
"""

from typing import TYPE_CHECKING

from hrnet_tf.lazy import lazy_attributes

if TYPE_CHECKING:
    from hrnet_tf.pretrained.local import card, detector_file, load_pretrained, model_file, weights_file
    from hrnet_tf.pretrained.table import Entry, find, names

__all__ = ["Entry", "card", "detector_file", "find", "load_pretrained", "model_file", "names", "weights_file"]
_HOMES = {
    "table": ("Entry", "find", "names"),
    "local": ("card", "detector_file", "load_pretrained", "model_file", "weights_file"),
}
__getattr__ = lazy_attributes(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
