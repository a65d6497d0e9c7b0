"""One model and several methods: quantise, evaluate, measure, report. What the folder holds already is not done again.

OUT/MODEL/settings.json   how all of the model's results were made
OUT/MODEL/full/           evaluation.json and performance.json of the model as it is
OUT/MODEL/METHOD/         the quantised model with quantization.json, and the same two files
OUT/page.html, report.md  the report on every model in OUT
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from llm_quantize.checkpoint import read_json
from llm_quantize.errors import EvaluationError, OutputError
from llm_quantize.evaluation import evaluate
from llm_quantize.evaluation.evaluation import HELD_OUT
from llm_quantize.evaluation.model import weight_bytes
from llm_quantize.evaluation.reference import Reference
from llm_quantize.files import write_file
from llm_quantize.performance import measure
from llm_quantize.performance.measure import BATCHES, RUNS, SECONDS
from llm_quantize.pipeline import Progress, Record, quantize
from llm_quantize.report.results import EVALUATION, FULL, PERFORMANCE, RECORD, read_results
from llm_quantize.report.write import write_report
from llm_quantize.settings import Recipe

SETTINGS = "settings.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """The benchmarks and the text for every model of a study; None: the default of `evaluate`."""

    benchmarks: tuple[str, ...] | None = None
    text: Path | None = None
    items: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSettings:
    """The load under which every model of a study is measured."""

    batches: tuple[int, ...] = BATCHES
    runs: int = RUNS
    seconds: float = SECONDS
    threads: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A model, the recipes to compare by their names, and how to compare them."""

    model: Path
    out: Path
    recipes: Mapping[str, Recipe]
    evaluation: EvaluationSettings | None = None
    """None: models are not evaluated, and there is no report."""
    load: LoadSettings | None = None
    """None: models are not measured."""
    device: str = "cpu"

    @property
    def root(self) -> Path:
        return self.out / self.model.resolve().name

    def folder(self, method: str) -> Path:
        """Return the folder of the method's weights."""
        return self.model if method == FULL else self.root / method


@dataclass(frozen=True, slots=True)
class Listener:
    """Callbacks of a study."""

    done: Callable[[str, str], None] = lambda method, what: None
    """Called when a step of a method is done, with the method and the step's result."""
    progress: Callable[[str, int, int], None] = lambda what, done, total: None
    """Called with a step's name, the number of its parts that are done, and their total."""


def run_study(study: Study, listener: Listener | None = None) -> Path | None:
    """Do what is not done yet and return the report's page, or None without evaluations.

    QuantizeError if a step fails, or if OUT has results of the model that were made in another way.
    """
    listener = listener or Listener()
    _check(study)
    for method, recipe in study.recipes.items():
        if not (study.root / method / RECORD).exists():
            listener.done(method, _quantize(study, method, recipe, listener))
    with Reference.keeping(study.model, study.device, study.root) as full:
        for method in (FULL, *study.recipes):
            for file, make in _missing(study, method, full):
                listener.done(method, make(study, method, file, listener))
    return write_report(study.out, read_results(study.out)) if study.evaluation else None


def _missing(
    study: Study, method: str, full: Reference
) -> Iterator[tuple[Path, Callable[[Study, str, Path, Listener], str]]]:
    """Yield the files that a method still lacks, and the function that makes each."""
    evaluation = partial(_evaluate, full=full)
    for name, wanted, make in ((EVALUATION, study.evaluation, evaluation), (PERFORMANCE, study.load, _measure)):
        if wanted is not None and not (study.root / method / name).exists():
            yield study.root / method / name, make


def _quantize(study: Study, method: str, recipe: Recipe, listener: Listener) -> str:
    def show(progress: Progress) -> None:
        listener.progress(f"{method}, blocks", progress.block, progress.blocks)

    record = quantize(study.model, study.root / method, recipe, device=study.device, progress=show, resume=True)
    return f"quantised in {record.seconds:.1f} s to {record.weight_bytes / 1e6:,.1f} MB"


def _evaluate(study: Study, method: str, file: Path, listener: Listener, *, full: Reference) -> str:
    def show(benchmark: str, done: int, total: int) -> None:
        listener.progress(f"{method}, {benchmark}", done + 1, total)

    wanted = study.evaluation or EvaluationSettings()
    is_compared = wanted.benchmarks is None or "kl" in wanted.benchmarks
    benchmarks = wanted.benchmarks
    if method == FULL and benchmarks is not None:
        benchmarks = tuple(name for name in benchmarks if name != "kl")
    found = evaluate(
        study.folder(method),
        reference=full if is_compared else None,
        benchmarks=benchmarks,
        text=wanted.text,
        items=wanted.items,
        device=study.device,
        progress=show,
    )
    write_file(file, found.to_json())
    first = next(iter(found.scores.values()))
    return f"evaluated in {found.seconds:.1f} s: {first.spec.title.lower()} {first.figure().value:.4g}"


def _measure(study: Study, method: str, file: Path, listener: Listener) -> str:
    load = study.load or LoadSettings()
    started = time.perf_counter()
    listener.progress(f"{method}, speed", 0, len(load.batches))
    found = measure(
        study.folder(method),
        load.batches,
        runs=load.runs,
        seconds=load.seconds,
        threads=load.threads,
        device=study.device,
    )
    write_file(file, found.to_json())
    rates = (f"{one.output_tokens_per_second.median:,.0f} at batch {one.batch}" for one in found.batches)
    return f"measured in {time.perf_counter() - started:.1f} s: tokens/s {', '.join(rates)}"


def _check(study: Study) -> None:
    """Refuse a folder that is no model, and results of other settings; then write the settings down."""
    read_json(study.model / "config.json")
    for method, recipe in study.recipes.items():
        folder = study.root / method
        if (folder / RECORD).exists() and Record.read(folder).recipe != recipe.model_dump(mode="json"):
            raise OutputError(f"{folder} was made by another recipe; remove it, or give another --out")
    file = study.root / SETTINGS
    known = read_json(file) if file.exists() else {}
    wanted = json.loads(json.dumps(_settings(study)))
    for name in known.keys() & wanted.keys():
        if known[name] != wanted[name]:
            raise EvaluationError(
                f"{study.root} has results of another {name}: {known[name]}, and now {wanted[name]}; "
                "methods are compared under equal conditions, so give the same, or another --out"
            )
    write_file(file, json.dumps(known | wanted, indent=2) + "\n")


def _settings(study: Study) -> dict[str, Any]:
    found: dict[str, Any] = {"model": {"weight_bytes": weight_bytes(study.model)}, "device": study.device}
    if study.evaluation:
        text = study.evaluation.text or HELD_OUT
        digest = hashlib.sha256(text.read_bytes()).hexdigest() if text.is_file() else None
        found["evaluation"] = asdict(study.evaluation) | {"text": digest}
    return found | ({"load": asdict(study.load)} if study.load else {})
