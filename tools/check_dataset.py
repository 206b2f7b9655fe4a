"""`hrnet-tf check` from a checkout; `python tools/check_dataset.py --help` tells more."""

import sys

from hrnet_tf.cli.main import main

if __name__ == "__main__":
    main(["check", *sys.argv[1:]])
