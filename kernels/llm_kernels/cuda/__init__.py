"""CUDA kernels: sources, their build with nvcc on first use, and the calls through ctypes."""
