"""`hrnet-tf browse`: what training sees, as a picture."""

from absl import flags

from hrnet_tf.cli import shared
from hrnet_tf.cli.tasks import task_of
from hrnet_tf.models.variants import kind_of
from hrnet_tf.visualize import contact_sheet, write_image
from hrnet_tf.workers import WHOLE

FLAGS = flags.FLAGS
_COLUMNS = 4


def main() -> int:
    task = task_of(kind_of(FLAGS.model or ""))
    task.check_flags()
    records = task.load_training()
    shared.print_omissions(records.omissions)
    if FLAGS.flip_probability:
        records.skeleton.check_mirroring("give --flip_probability=0")
    bad_images = shared.BadImages()
    card = shared.make_card(FLAGS.model or "", shared.input_size(), records.skeleton)
    batch = next(iter(task.batches(records, card, bad_images, WHOLE, FLAGS.step, FLAGS.step + 1)))
    pictures, titles = task.pictures(batch, card)
    height, width = shared.input_size()
    write_image(FLAGS.out, contact_sheet(pictures, min(_COLUMNS, len(pictures)), (height, 2 * width), titles))
    bad_images.report()
    print(f"wrote {FLAGS.out}: {len(pictures)} crops of step {FLAGS.step}, with what the network is to answer beside")
    return 0
