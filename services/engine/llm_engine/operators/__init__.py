"""What `llm_kernels` has kernels for: the reference of each in plain torch, and the calls of the kernels."""
