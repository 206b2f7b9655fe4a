"""`hrnet-tf predict` from a checkout; `python tools/predict.py --help` tells more."""

import sys

from hrnet_tf.cli.main import main

if __name__ == "__main__":
    main(["predict", *sys.argv[1:]])
