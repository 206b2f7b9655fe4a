"""`hrnet-tf demo` from a checkout; `python tools/demo.py --help` tells more."""

import sys

from hrnet_tf.cli.main import main

if __name__ == "__main__":
    main(["demo", *sys.argv[1:]])
