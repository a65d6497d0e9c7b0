"""Tensor and pipeline parallelism: what each rank holds, what ranks send each other, and their processes."""
