"""Triton kernels and their launchers. Imported on first use only, since triton exists for Linux alone.

A launcher takes tensors that the op has checked and returns fresh ones; kernels compute in float32 after the load (the
interpreter's bf16 arithmetic is silently wrong, and half-precision statistics are poor anyway).
"""
