"""Weight files of PyTorch, read without PyTorch."""

from hrnet_tf.weights.load import LoadReport, initialize_from, load_pytorch_weights, read_checkpoint

__all__ = ["LoadReport", "initialize_from", "load_pytorch_weights", "read_checkpoint"]
