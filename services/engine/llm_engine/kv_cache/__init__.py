"""Paged KV memory.

block_pool       who owns which block
prefix_cache     blocks that hold equal prefixes are shared, found by chained hashes; radix_cache: by a tree
manager          gives sequences blocks, takes them back, swaps them out
memory           the tensors
"""
