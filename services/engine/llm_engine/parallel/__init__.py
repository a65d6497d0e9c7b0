"""Tensor and pipeline parallelism: each rank's part of the model, the collectives, and the ranks' processes."""
