"""HRNet human pose estimation for TensorFlow and Keras 3."""
