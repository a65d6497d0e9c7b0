"""Kubernetes: a cluster on this machine, and checks of the manifests."""
