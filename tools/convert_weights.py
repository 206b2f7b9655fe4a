"""`hrnet-tf convert` from a checkout; `python tools/convert_weights.py --help` tells more."""

import sys

from hrnet_tf.cli.main import main

if __name__ == "__main__":
    main(["convert", *sys.argv[1:]])
