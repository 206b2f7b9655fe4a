"""`python -m hrnet_tf.cli`: what `hrnet-tf` does, without its script."""

from hrnet_tf.cli.main import main

if __name__ == "__main__":
    main()
