"""A one-node Kubernetes 1.20 on this machine, as plain processes: for tests of the manifests, not for users."""
