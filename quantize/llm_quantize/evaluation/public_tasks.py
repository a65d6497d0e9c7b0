"""Public tasks by EleutherAI's lm-eval, where it is installed: `lm-eval:hellaswag`.

lm-eval brings the prompts and reads the data, from the hub or from its cache on disk. It is not among our requirements;
`pip install lm-eval` puts it into the environment. Data sets are large and have licences of their own.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from llm_quantize.errors import EvaluationError
from llm_quantize.evaluation.model import Loaded
from llm_quantize.evaluation.scores import PUBLIC_PREFIX, ScoreList, Scores, item_name

METRICS = ("acc", "exact_match", "acc_norm", "em")
"""The first of these that a task reports for each item is its score."""


def score_public_task(
    loaded: Loaded, benchmark: str, *, items: int | None = None, folder: Path | None = None
) -> Scores:
    """Return the scores of the task that `lm-eval:TASK` names; `folder` has more tasks, as YAML files.

    Raises EvaluationError if lm-eval, the task or its data is not there.
    """
    task = benchmark.removeprefix(PUBLIC_PREFIX)
    rows = _run(loaded, task, items, folder)
    metric = next((name for name in METRICS if rows and name in rows[0]), None)
    if metric is None:
        raise EvaluationError(f"{benchmark}: it reports none of {', '.join(METRICS)} for single items")
    scores = ScoreList(benchmark)
    for row in rows:
        scores.add(item_name(task, str(row["doc_id"]), repr(row["doc"])), float(row[metric]))
    return scores.finish(note=f"{metric} of lm-eval")


def _run(loaded: Loaded, task: str, items: int | None, folder: Path | None) -> list[dict[str, Any]]:
    try:
        lm_eval = importlib.import_module("lm_eval")
        huggingface = importlib.import_module("lm_eval.models.huggingface")
        tasks = importlib.import_module("lm_eval.tasks")
    except ImportError as error:
        raise EvaluationError(
            f"{PUBLIC_PREFIX}{task} needs lm-eval, which is not in this environment ({error}); pip install lm-eval, "
            "or leave the task out"
        ) from error
    manager = tasks.TaskManager(include_path=str(folder) if folder else None)
    if task not in manager.all_tasks:
        raise EvaluationError(f"{PUBLIC_PREFIX}{task}: lm-eval has no such task; lm-eval ls tasks prints all")
    adapter = huggingface.HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer)
    try:
        found = lm_eval.simple_evaluate(
            adapter, tasks=[task], task_manager=manager, limit=items, log_samples=True, bootstrap_iters=0
        )
    except Exception as error:
        raise EvaluationError(
            f"{PUBLIC_PREFIX}{task}: its data cannot be had here ({type(error).__name__}: {error}); bring it into the "
            "cache of datasets with a connection (HF_HOME names its place), or leave the task out"
        ) from error
    samples: dict[str, list[dict[str, Any]]] = found["samples"]
    return [row for rows in samples.values() for row in rows]
