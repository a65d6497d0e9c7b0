"""The operations that `llm_kernels` has kernels for: each in plain torch, and the calls of the kernels."""
