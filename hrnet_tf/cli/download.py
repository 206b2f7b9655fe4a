"""`hrnet-tf download`: published networks, before there is no network any more."""

from absl import flags

from hrnet_tf import pretrained
from hrnet_tf.errors import InputError

FLAGS = flags.FLAGS


def main(*names: str) -> None:
    if not names:
        raise InputError("names of networks must be given: hrnet-tf download NAME ...; `hrnet-tf models` lists them")
    for name in dict.fromkeys(names):
        entry = pretrained.find(name) if name in pretrained.names() else None
        if entry and entry.is_detector:
            path, _ = pretrained.detector_file(name, FLAGS.allow_unverified)
        elif entry and entry.is_classifier:
            path = pretrained.weights_file(name, FLAGS.allow_unverified)
        else:
            path = pretrained.model_file(name, FLAGS.allow_unverified)
            if not path.exists():
                raise InputError(
                    f"{name} is neither the name of a network nor an address; `hrnet-tf models` lists names"
                )
        print(f"{name}: {path}", flush=True)
