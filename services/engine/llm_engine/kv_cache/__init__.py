"""Paged KV memory.

block_pool       which block is free, cached or owned
prefix_cache     finds blocks of equal prefixes by chained hashes; radix_cache finds them in a tree
manager          gives blocks to sequences, takes them back and swaps them out
memory           the tensors
"""
