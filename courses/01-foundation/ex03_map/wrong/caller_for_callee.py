"""Fails test_where_memory_is_managed: the manager's method stands for the pool's.

`grow` decides for a sequence, `allocate` takes one block. A fault in the order of eviction is in the second; a
search in the first finds nothing.
"""

MEMORY: dict[str, Answer] = {
    "more room": (
        "kv_cache/manager.py::KVCacheManager.grow",
        "vllm/v1/core/kv_cache_manager.py::KVCacheManager.allocate_slots",
    ),
    "free block": (
        "kv_cache/manager.py::KVCacheManager.grow",
        "vllm/v1/core/kv_cache_manager.py::KVCacheManager.allocate_slots",
    ),
    "known prefix": (
        "kv_cache/prefix_cache.py::HashPrefixCache.match",
        "vllm/v1/core/kv_cache_manager.py::KVCacheManager.get_computed_blocks",
    ),
    "give back": (
        "kv_cache/manager.py::KVCacheManager.release",
        "vllm/v1/core/kv_cache_manager.py::KVCacheManager.free",
    ),
}
