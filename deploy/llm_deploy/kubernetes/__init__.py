"""Kubernetes: a real one-node cluster for tests, and the manifests as they are rendered, converted and checked."""
