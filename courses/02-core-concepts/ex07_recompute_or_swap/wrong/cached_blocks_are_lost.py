"""Fails test_nothing_is_lost: only free blocks are at home.

A cached block has no owner and is given out when it is needed. A leak check that forgets it cries wolf after every
request.
"""


def lost_blocks(kv_cache: KVCacheManager, num_host_blocks: int) -> tuple[int, int]:
    return kv_cache.pool.num_blocks - len(kv_cache.pool.free), num_host_blocks - len(kv_cache.free_host_blocks)
