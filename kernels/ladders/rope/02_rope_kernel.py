"""Rung 2, one kernel for the rotation: query and key are read once and written once; the cache's write stays its own.

The key is written to memory only to be read again by the write to the cache.

Predicted: 5 to 8 times rung 1.
"""

from llm_kernels.triton_kernels import rope as kernels


def launch(query, key, value, positions, cos_sin, slots, out, cache):
    out.copy_(query)
    turned = key.clone()
    kernels.rope(out, turned, positions, cos_sin)
    kernels.paged_kv_write(turned, value, cache, slots)
