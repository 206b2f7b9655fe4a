"""Training: the learning-rate schedule, the compiled step, checkpoints, reports and the loop over them."""
