"""Fails test_a_swap_goes_both_ways: the blocks go to the host and stay there.

Half the price, and the crossover lies at half the block size.
"""


def swap_seconds(num_tokens: int, block_size: int, swap: Swap) -> float:
    blocks = -(-num_tokens // block_size)
    copy = swap.seconds_per_copy + block_size * swap.bytes_per_token / swap.bytes_per_second
    return blocks * swap.layers * copy
