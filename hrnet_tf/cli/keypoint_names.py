"""What flags say of keypoints: --keypoint_names, their names in the model, and --flip_pairs, left and right."""

from absl import flags

from hrnet_tf.errors import InputError
from hrnet_tf.skeletons import NAMES, Skeleton, named

FLAGS = flags.FLAGS


def renamed(annotations: Skeleton) -> Skeleton:
    """The keypoints of annotations as --keypoint_names calls them, where the command has that flag."""
    names = _pairs_of("keypoint_names") if "keypoint_names" in FLAGS else ()
    if len({name for name, _ in names}) != len(names):
        raise InputError(f"--keypoint_names gives a keypoint two names. Received: {','.join(FLAGS.keypoint_names)}")
    return annotations.renamed(dict(names), "--keypoint_names")


def with_flag_pairs(skeleton: Skeleton) -> Skeleton:
    """Keypoints with the pairs that --flip_pairs says, where it is given: of names, of numbers from 1, or of a set."""
    if FLAGS.flip_pairs is None:
        return skeleton
    if len(FLAGS.flip_pairs) == 1 and FLAGS.flip_pairs[0] in NAMES:
        return _with_pairs_of(FLAGS.flip_pairs[0], skeleton)
    pairs = [] if FLAGS.flip_pairs == ["none"] else _pairs_of("flip_pairs")
    is_number = not any(end in skeleton.names for pair in pairs for end in pair)
    numbers = [[int(end) if end.isdecimal() and is_number else end for end in pair] for pair in pairs]
    return skeleton.with_flip_pairs(numbers, "--flip_pairs")


def _with_pairs_of(name, skeleton):
    published = named(name)
    if published.num_keypoints != skeleton.num_keypoints:
        raise InputError(
            f"--flip_pairs={name} are of {published.num_keypoints} keypoints, in the order of that set. Received: "
            f"{skeleton.num_keypoints} keypoints"
        )
    return skeleton.with_flip_pairs([[left + 1, right + 1] for left, right in published.flip_pairs], "--flip_pairs")


def _pairs_of(flag):
    """The pairs of names of a flag such as a:b,c:d."""
    pairs = [[end.strip() for end in entry.split(":")] for entry in FLAGS[flag].value or ()]
    for pair in pairs:
        if len(pair) != 2 or not all(pair):
            raise InputError(f"--{flag} must be like a:b,c:d. Received: {':'.join(pair)}")
    return pairs
