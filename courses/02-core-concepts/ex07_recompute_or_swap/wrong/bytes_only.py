"""Fails test_small_blocks_are_slow_to_move: the time is bytes over bandwidth.

That is the datasheet's link. A copy of 8 KiB takes as long as one of 64 KiB, because it has to be started; that is why
small blocks favour recomputing.
"""


def swap_seconds(num_tokens: int, block_size: int, swap: Swap) -> float:
    blocks = -(-num_tokens // block_size)
    return 2 * blocks * swap.layers * (block_size * swap.bytes_per_token / swap.bytes_per_second)
