"""Memory that runs out: the message says where and what to lower, and the work goes on afterwards."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from llm_quantize import evaluate, make_recipe, quantize
from llm_quantize.errors import QuantizeError
from llm_quantize.evaluation.model import Loaded
from llm_quantize.memory import explain_memory
from llm_quantize.pipeline.mixed import measure
from llm_quantize.pipeline.step import Step

LLAMA = Path("models/zoo/llama")
CALIBRATION = {"samples": 8, "length": 64, "text": Path("models/eval/heldout.txt")}
FAILURES = {
    "Python": MemoryError(),
    "GPU": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "CPU": RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"),
    "file": OSError(12, "Cannot allocate memory"),
}
LIMITED = """
import resource
from pathlib import Path
import sys
from llm_quantize.cli import main
from llm_quantize.pipeline.skeleton import Skeleton

start = Skeleton.start

def with_little_memory(*arguments):
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 32 * 2**20,) * 2)
    return start(*arguments)

Skeleton.start = with_little_memory
sys.exit(main(sys.argv[1:]))
"""
"""The command with 32 MiB for what it needs when it embeds the text."""


def fails_at(call: int, function: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    """Return the function, which raises the error in its call of that number."""
    calls = 0

    def failing(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise error
        return function(*args, **kwargs)

    return failing


@pytest.mark.parametrize("error", FAILURES.values(), ids=FAILURES)
def test_the_message_names_the_block_and_what_to_lower(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(method="gptq", group_size=32, calibration=CALIBRATION)
    with monkeypatch.context() as patch:
        patch.setattr(Step, "quantize", fails_at(2, Step.quantize, error))
        with pytest.raises(QuantizeError, match=r"^out of memory at model\.layers\.1; .* go on with --resume") as said:
            quantize(LLAMA, tmp_path / "out", recipe)
    assert "lower calibration.samples (now 8) or calibration.length (now 64)" in str(said.value)
    assert not (tmp_path / "out").exists()
    assert len(quantize(LLAMA, tmp_path / "out", recipe, resume=True).layers) == 21


def test_fewer_samples_begin_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The advice of the message can be followed as it stands."""
    recipe = make_recipe(method="gptq", group_size=32, calibration=CALIBRATION)
    with monkeypatch.context() as patch:
        patch.setattr(Step, "quantize", fails_at(2, Step.quantize, MemoryError()))
        with pytest.raises(QuantizeError, match="out of memory"):
            quantize(LLAMA, tmp_path / "out", recipe)
    fewer = make_recipe(method="gptq", group_size=32, calibration=CALIBRATION | {"samples": 4})
    record = quantize(LLAMA, tmp_path / "out", fewer)
    assert record.calibration is not None
    assert record.calibration["samples"] == 4


def test_a_method_without_text_has_nothing_to_lower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Step, "quantize", fails_at(1, Step.quantize, MemoryError()))
    with pytest.raises(QuantizeError, match=r"at model\.layers\.0; a block has to fit, and rtn holds nothing else"):
        quantize(LLAMA, tmp_path / "out", make_recipe(method="rtn", group_size=32))


def test_the_pass_that_looks_for_sensitive_layers_names_its_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm_quantize.pipeline.walk.measure", fails_at(3, measure, MemoryError()))
    with pytest.raises(QuantizeError, match=r"out of memory at model\.layers\.2;"):
        quantize(LLAMA, tmp_path / "out", make_recipe(method="rtn", group_size=32, keep=0.1, calibration=CALIBRATION))


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes"), explain_memory("here", "lower it"):
        raise RuntimeError("shapes do not match")


def test_an_evaluation_says_it_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Loaded, "logits", fails_at(1, Loaded.logits, MemoryError()))
    with pytest.raises(QuantizeError, match=r"the evaluation of models/zoo/llama; .* or leave out the benchmark kl"):
        evaluate(LLAMA, reference=LLAMA, benchmarks=("perplexity", "kl"), items=8)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's memory")
def test_a_process_that_may_not_have_more_memory_ends_with_the_message(tmp_path: Path) -> None:
    asked = ("quantize", str(LLAMA), "--method", "gptq", "--group-size", "32", "--out", str(tmp_path / "out"))
    size = ("--samples", "1024", "--length", "512")
    done = subprocess.run((sys.executable, "-c", LIMITED, *asked, *size), capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("llm-quantize: out of memory at the embedding; free some")
    assert "calibration.samples (now 1024)" in done.stderr
    assert not (tmp_path / "out").exists()
