"""Sees one key more than the window holds."""

from llm_kernels.ops.attention import attend

OP = "flash_attention"
FAILS = "accurate"


def run(query, key, value, causal, window, scale):
    return attend(query, key, value, causal, window + 1 if window else 0, scale)
