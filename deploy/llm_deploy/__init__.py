"""Deployment: images, Compose files, Kubernetes manifests, drills, and the checks before users come."""

__version__ = "0.1.0"
