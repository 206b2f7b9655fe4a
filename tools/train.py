"""`hrnet-tf train` from a checkout; `python tools/train.py --help` tells more."""

import sys

from hrnet_tf.cli.main import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
