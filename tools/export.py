"""`hrnet-tf export` from a checkout; `python tools/export.py --help` tells more."""

import sys

from hrnet_tf.cli.main import main

if __name__ == "__main__":
    main(["export", *sys.argv[1:]])
