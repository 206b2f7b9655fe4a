"""`hrnet-tf evaluate` from a checkout; `python tools/evaluate.py --help` tells more."""

import sys

from hrnet_tf.cli.main import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])
