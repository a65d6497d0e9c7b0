"""Modules that decide about tokens and blocks are plain Python and import quickly, without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

PURE = (
    *("settings", "errors", "sampling.params", "request.check", "request.detokenizer", "observers.invariants"),
    *("scheduler.sequence", "scheduler.scheduler", "scheduler.policies"),
    *("kv_cache.block_pool", "kv_cache.prefix_cache", "kv_cache.radix_cache", "kv_cache.manager"),
)


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_is_imported_without_torch(module: str) -> None:
    program = f"import sys, llm_engine.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
