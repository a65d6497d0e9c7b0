"""Autoscaling: what HPA and KEDA decide from, and the decisions simulated over a day."""
