"""`hrnet-tf shards` from a checkout; `python tools/make_shards.py --help` tells more."""

import sys

from hrnet_tf.cli.main import main

if __name__ == "__main__":
    main(["shards", *sys.argv[1:]])
