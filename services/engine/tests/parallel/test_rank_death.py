"""A rank that dies ends the engine at once, with one line about the cause, and leaves no process behind."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llm_engine import LLM, EngineConfig
from llm_engine.errors import ModelError
from llm_engine.parallel import workers
from llm_engine.parallel.rank import Setup
from llm_engine.testing import rank_death

SIZES = ("--tensor-parallel-size", "2", "--num-gpu-blocks-override", "200")


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_rank_ends_all_others(models: Path, victim: int) -> None:
    outcome = rank_death.kill(str(models / "zoo" / "llama"), victim, SIZES)
    assert outcome.left == []
    assert outcome.seconds <= rank_death.MOST_SECONDS
    if victim:
        assert outcome.status == 1
        assert outcome.said.endswith("was ended by SIGKILL")


def test_an_error_in_a_rank_is_the_error_of_the_start(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(config: EngineConfig, folder: Path, num_blocks: int, port: int) -> Setup:
        return Setup(config, folder / "missing", num_blocks, port)

    monkeypatch.setattr(workers, "Setup", elsewhere)
    with pytest.raises(ModelError, match=r"rank 1 failed: .*missing"):
        LLM(str(models / "zoo" / "llama"), tensor_parallel_size=2)


def test_a_rank_that_starts_slowly_is_mentioned(
    models: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(workers, "PATIENCE_SECONDS", 0.01)
    with caplog.at_level(logging.WARNING):
        LLM(str(models / "zoo" / "llama"), tensor_parallel_size=2, num_gpu_blocks_override=200).engine.close()
    assert "rank 1 has not started yet; waiting for it" in caplog.text


def run(program: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = (sys.executable, "-c", program)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_an_error_in_a_step_of_a_rank_ends_the_program_with_its_cause(models: Path) -> None:
    program = f"""
from functools import partial
from llm_engine import LLM
from llm_engine.parallel import workers
from llm_engine.testing.parts import prepare_to_fail
if __name__ == "__main__":
    workers.Setup = partial(workers.Setup, prepare=prepare_to_fail)
    LLM({str(models / "zoo" / "llama")!r}, tensor_parallel_size=2).generate([[5, 6, 7]], use_tqdm=False)
"""
    done = run(program)
    assert done.returncode == 1
    assert "RuntimeError: this step is meant to fail" in done.stderr
    assert "Traceback" in done.stderr


def test_a_program_that_does_not_close_its_engine_ends_quietly(models: Path) -> None:
    model = str(models / "zoo" / "llama")
    done = run(f"from llm_engine import LLM\nif __name__ == '__main__': LLM({model!r}, tensor_parallel_size=2)")
    assert done.returncode == 0
    assert "rank 1" not in done.stderr
