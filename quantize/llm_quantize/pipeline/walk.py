"""Block by block: load, scale, measure, round, write, and run the rounded block to get the next one's inputs.

Each block is calibrated on what the quantised blocks before it make of the text, so it can answer for their errors.
Memory holds one block, its Hessians and the hidden states of the calibration text.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llm_quantize.algorithms.sensitivity import Sensitivity, choose_kept
from llm_quantize.calibration import Sequences, read_sequences
from llm_quantize.calibration.checks import check_hidden
from llm_quantize.checkpoint import Checkpoint, Weights, read_json
from llm_quantize.errors import QuantizeError
from llm_quantize.formats import FORMATS
from llm_quantize.memory import explain_memory
from llm_quantize.pipeline.block import BATCH_TOKENS
from llm_quantize.pipeline.methods import check_shapes
from llm_quantize.pipeline.mixed import measure
from llm_quantize.pipeline.output import OutputFolder
from llm_quantize.pipeline.record import BlockRecord, Record
from llm_quantize.pipeline.rotated import Rotated
from llm_quantize.pipeline.skeleton import Skeleton
from llm_quantize.pipeline.step import Step
from llm_quantize.settings import Recipe
from llm_quantize.version import __version__


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is, after a block."""

    block: int
    """Number of blocks that are done."""
    blocks: int
    seconds: float
    relative_error: float
    """Mean over the block's layers."""

    @property
    def seconds_left(self) -> float:
        return self.seconds / self.block * (self.blocks - self.block)


def quantize(
    model: Path,
    out: Path,
    recipe: Recipe,
    *,
    device: str = "cpu",
    progress: Callable[[Progress], None] | None = None,
    resume: bool = False,
) -> Record:
    """Quantise the model in the folder `model` by the recipe, and write it to the folder `out`.

    QuantizeError, and nothing under the name `out`, if it fails. `resume` goes on with what an earlier run left.
    """
    started = time.perf_counter()
    forget_peak()
    walk = Walk(model, recipe, find_device(device))
    output = OutputFolder(out, walk.identity(), shards=len(walk.skeleton) + 1, resume=resume)
    with explain_memory("the embedding", memory_advice(recipe)):
        walk.begin(output)
    for index, name in enumerate(walk.skeleton.block_names()):
        with explain_memory(name, memory_advice(recipe)):
            error = walk.block(index, output)
        if progress is not None:
            progress(Progress(index + 1, len(walk.skeleton), time.perf_counter() - started, error))
    record = walk.record(time.perf_counter() - started, output.weight_bytes())
    output.finish(model, walk.config(), record)
    return record


class Walk:
    """The state between two blocks."""

    def __init__(self, model: Path, recipe: Recipe, device: torch.device) -> None:
        """Check all that can be checked before work begins. QuantizeError if something is wrong."""
        self._model, self._recipe = model, recipe
        self.skeleton = Skeleton(model, device, torch.float32 if device.type == "cpu" else torch.bfloat16)
        checkpoint: Weights = Checkpoint(model)
        rotates = recipe.method == "rotation"
        self._weights = Rotated(checkpoint, self.skeleton.config, recipe.calibration.seed) if rotates else checkpoint
        fmt = FORMATS[recipe.format]
        stored = fmt.STORED_TYPE or checkpoint.get(min(checkpoint.names)).dtype
        ignored = {name for name, _ in self.skeleton.linears() if any(part in name for part in recipe.ignore)}
        self._step = Step(recipe, fmt, stored, frozenset(ignored))
        check_shapes((each for each in self.skeleton.linears() if each[0] not in ignored), self._step.grid)
        self._sequences: Sequences | None = None
        if recipe.calibrates:
            self._sequences = read_sequences(model, recipe.calibration, _context(self.skeleton.config))
        self._hidden: Tensor | None = None
        self._arguments: list[dict[str, Any]] = [{} for _ in range(len(self.skeleton))]
        self._blocks: list[BlockRecord] = []

    def identity(self) -> dict[str, Any]:
        """Return what an interrupted run must have in common with the one that resumes it."""
        return {
            "recipe": self._recipe.model_dump(mode="json"),
            "config": read_json(self._model / "config.json"),
            "weights": {path.name: path.stat().st_size for path in sorted(self._model.glob("*.safetensors"))},
            "version": __version__,
        }

    def begin(self, output: OutputFolder) -> None:
        """Write what is around the blocks, embed the text, and choose the layers that keep 16 bits."""
        names = self.skeleton.surroundings(self._weights)
        output.write(0, {name: self._step.cast(name, self._weights.get(name)) for name in names}, None)
        if self._sequences is None:
            return
        rows = max(1, BATCH_TOKENS // self._sequences.tokens.shape[1])
        self._hidden, self._arguments = self.skeleton.start(self._weights, self._sequences.tokens, rows)
        check_hidden(self._hidden, "the embedding")
        if self._recipe.keep:
            self._step = replace(self._step, kept=self._step.kept | self._most_sensitive())

    def block(self, index: int, output: OutputFolder) -> float:
        """Quantise a block, or take it from an earlier run, and return its layers' mean relative error."""
        block = self.skeleton.load(index, self._weights, self._arguments[index])
        finished = output.shard(index + 1)
        if finished is None:
            tensors, record = self._step.quantize(block, self._hidden)
            output.write(index + 1, tensors, record)
        else:
            tensors, record = finished
            self._step.restore(block, tensors)
        self._blocks.append(record)
        if self._hidden is not None:
            self._hidden = self._step.run(block, self._hidden)
            check_hidden(self._hidden, block.name)
        self.skeleton.drop(index)
        errors = [layer.relative_error for layer in record.layers]
        return sum(errors) / max(len(errors), 1)

    def config(self) -> dict[str, Any]:
        """Return the result's config.json."""
        config = read_json(self._model / "config.json")
        config.pop("torch_dtype", None)
        config["dtype"] = str(self._step.stored).removeprefix("torch.")
        config["quantization_config"] = self._step.format.config(self._recipe, self._kept())
        if self._recipe.method == "rotation":
            config["tie_word_embeddings"] = False
        return config

    def record(self, seconds: float, weight_bytes: int) -> Record:
        """Return what was done, after the last block."""
        packages = ("torch", "transformers", "safetensors")
        return Record(
            recipe=self._recipe.model_dump(mode="json"),
            layers=[layer for block in self._blocks for layer in block.layers],
            kept=self._kept(),
            scaled={name: value for block in self._blocks for name, value in block.scaled.items()},
            seconds=round(seconds, 3),
            peak_bytes=peak_bytes(self.skeleton.device),
            weight_bytes=weight_bytes,
            calibration=self._calibration(),
            versions={"llm_quantize": __version__, **{name: version(name) for name in packages}},
        )

    def _most_sensitive(self) -> set[str]:
        """Return the layers that keep 16 bits, after a pass over the whole model with full weights."""
        assert self._hidden is not None
        hidden, found = self._hidden, list[Sensitivity]()
        for index, name in enumerate(self.skeleton.block_names()):
            with explain_memory(name, memory_advice(self._recipe)):
                block = self.skeleton.load(index, self._weights, self._arguments[index])
                hidden, groups = measure(block, hidden, self._recipe, self._step.grid)
            found += groups
            self.skeleton.drop(index)
        return set(choose_kept(found, self._recipe.keep))

    def _kept(self) -> list[str]:
        return [name for block in self._blocks for name in block.kept]

    def _calibration(self) -> dict[str, Any] | None:
        if self._sequences is None:
            return None
        samples, length = self._sequences.tokens.shape
        return {
            "source": self._sequences.source,
            "samples": samples,
            "length": length,
            "seed": self._recipe.calibration.seed,
            "warnings": self._sequences.warnings + [text for block in self._blocks for text in block.warnings],
        }


def memory_advice(recipe: Recipe) -> str:
    """Return what to do if memory runs out. A run with other calibration begins anew, so it cannot resume."""
    freed = "free some and go on with --resume"
    if not recipe.calibrates:
        return f"a block has to fit, and {recipe.method} holds nothing else, so {freed}"
    given = recipe.calibration
    return (
        f"{freed}, or begin anew with lower calibration.samples (now {given.samples}) or calibration.length "
        f"(now {given.length})"
    )


def find_device(name: str) -> torch.device:
    """Return the device. QuantizeError if there is none of this name."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise QuantizeError(f"there is no device {name} here: {str(error).splitlines()[0]}; use cpu") from None
    return device


def forget_peak() -> None:
    """Begin to count the largest memory anew, where the system can: another model may have passed before."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(device: torch.device) -> int:
    """Return the largest memory so far: of a GPU's allocations, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the process that started this one held
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _context(config: Any) -> int | None:
    return getattr(config, "max_position_embeddings", None)
