"""Prediction with trained networks: `PosePredictor`, and what it takes to run it over folders and videos."""

from hrnet_tf.prediction.predictor import PosePredictor

__all__ = ["PosePredictor"]
