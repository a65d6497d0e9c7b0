"""The control plane, on Ray Serve: engines on GPUs, rollouts, autoscaling, recovery."""
