"""Fails test_whole_blocks_move: 17 tokens move as 1.06 blocks of 16.

A copy moves the block and does not know how far it is filled.
"""


def swap_seconds(num_tokens: int, block_size: int, swap: Swap) -> float:
    copy = swap.seconds_per_copy + block_size * swap.bytes_per_token / swap.bytes_per_second
    return 2 * num_tokens / block_size * swap.layers * copy
