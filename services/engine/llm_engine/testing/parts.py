"""Private parts of an engine that tests and benchmarks read or replace."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from llm_engine.execution.batch import Batch
from llm_engine.execution.decoder import DecoderModel
from llm_engine.execution.graphs import Capture, Forward
from llm_engine.kv_cache.memory import KVMemory
from llm_engine.llm import LLM
from llm_engine.startup.prepare import prepare


def decoder_of(llm: LLM) -> DecoderModel:
    """Return the main model's decoder. The engine must not use CUDA graphs."""
    forward: Any = llm.engine._runner._forward
    decoder: DecoderModel = forward.func.__self__
    return decoder


def prepare_by_calling(*arguments: Any, **options: Any) -> tuple[Forward, KVMemory]:
    """Prepare a decoder as `startup.prepare` does, with graphs that call what they have captured."""
    return prepare(*arguments, **options, make_capture=_by_calling)


def prepare_to_fail(*arguments: Any, **options: Any) -> tuple[Forward, KVMemory]:
    """Prepare a decoder whose every step fails."""

    def fail(batch: Batch) -> Tensor:
        raise RuntimeError("this step is meant to fail")

    return fail, prepare(*arguments, **options)[1]


def _by_calling() -> Capture:
    return lambda run: run
