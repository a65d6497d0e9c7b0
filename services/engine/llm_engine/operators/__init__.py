"""The hot operations, each in plain torch and as a call of `llm_kernels`."""
