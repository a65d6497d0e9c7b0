from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from llm_quantize import load_dequantized, make_recipe, quantize
from llm_quantize.errors import EvaluationError
from llm_quantize.evaluation import compare, evaluate, read_evaluation
from llm_quantize.evaluation.evaluation import Evaluation
from llm_quantize.evaluation.model import load
from llm_quantize.evaluation.public_tasks import score_public_task


def test_coarse_weights_are_worse_and_fine_ones_show_no_difference_in_tasks(
    tiny: Path, make_rounded: Callable[[Path, int], Path]
) -> None:
    names = ["perplexity", "next-token", "kl", "brackets"]
    full = evaluate(tiny, benchmarks=["perplexity", "next-token", "brackets"], items=48)
    coarse = evaluate(make_rounded(tiny, 3), reference=tiny, benchmarks=names, items=48)
    fine = evaluate(make_rounded(tiny, 8), reference=tiny, benchmarks=names, items=48)

    assert list(coarse.scores) == names
    assert coarse.reference == "llama"
    by_name = {one.benchmark: one for one in compare(full, coarse)}
    assert by_name["perplexity"].verdict == by_name["next-token"].verdict == "worse"
    assert by_name["perplexity"].change.low > 1.1
    assert {one.benchmark: one.verdict for one in compare(full, fine)}["brackets"] == "no difference shown"
    assert {one.benchmark: one.verdict for one in compare(fine, coarse)}["kl"] == "worse"
    assert Evaluation.from_json(coarse.to_json()) == coarse


def test_a_quantised_folder_is_scored_with_what_an_engine_computes(tiny: Path, tmp_path: Path) -> None:
    quantize(tiny, tmp_path / "out", make_recipe(method="w8a8"))
    loaded = load(tmp_path / "out")
    ids = torch.tensor(loaded.tokens("def fibonacci(n):\n    return"))
    rounded = loaded.logits(ids)
    with torch.inference_mode():
        torch.testing.assert_close(rounded, load_dequantized(tmp_path / "out")(ids[None]).logits[0])
    for module in loaded.model.modules():
        module._forward_pre_hooks.clear()
    assert not torch.equal(rounded, loaded.logits(ids))  # its inputs were rounded as well


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"benchmarks": ["perplexities"]}, "no benchmark 'perplexities': there are perplexity, next-token"),
        ({"benchmarks": ["kl"]}, "name its folder as the reference"),
        ({"benchmarks": []}, "no benchmark is named"),
        ({"text": Path("/nowhere.txt")}, "the held-out text cannot be read"),
        ({"benchmarks": ["humaneval"], "problems": Path("/nowhere.jsonl")}, "HumanEval's problems cannot be read"),
        ({"benchmarks": ["brackets"], "items": 4}, "4 items are too few for an interval, which takes 8"),
    ],
)
def test_bad_requests_are_answered_in_a_sentence(tiny: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        evaluate(tiny, **options)


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"is no model: it has no config\.json"):
        evaluate(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(EvaluationError, match="cannot be loaded"):
        evaluate(tmp_path)


def test_a_file_that_is_no_evaluation_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "evaluation.json"
    for text in ("", "[]", "{}", json.dumps({"schema_version": 99})):
        file.write_text(text)
        with pytest.raises(EvaluationError, match=r"evaluation\.json: this is no evaluation"):
            read_evaluation(tmp_path)
    with pytest.raises(EvaluationError, match="llm-quantize evaluate writes such files"):
        read_evaluation(tmp_path / "missing.json")


class StandIn(ModuleType):
    """A small lm-eval: one task of twelve documents, whose data is there or not."""

    def __init__(self, rows: list[dict[str, Any]] | Exception) -> None:
        super().__init__("lm_eval")
        self._rows = rows
        self.HFLM = SimpleNamespace
        self.TaskManager = lambda include_path=None: SimpleNamespace(all_tasks=["arc_easy"])

    def simple_evaluate(self, model: Any, **options: Any) -> dict[str, Any]:
        if isinstance(self._rows, Exception):
            raise self._rows
        return {"samples": dict.fromkeys(options["tasks"], self._rows[: options["limit"]])}


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    def install(rows: Any) -> None:
        module = StandIn(rows)
        for name in ("lm_eval", "lm_eval.models.huggingface", "lm_eval.tasks"):
            monkeypatch.setitem(sys.modules, name, module)

    return install


def test_a_public_task_is_scored_by_item(tiny: Path, stand_in: Callable[[Any], None]) -> None:
    stand_in([{"doc_id": number, "doc": {"q": number}, "acc": float(number % 3 == 0)} for number in range(12)])
    scores = score_public_task(load(tiny), "lm-eval:arc_easy", items=9)
    assert scores.values == [1.0, 0.0, 0.0] * 3
    assert len(set(scores.items)) == 9
    assert scores.spec.title == "arc_easy"


def test_what_a_public_task_lacks_is_said(
    tiny: Path, stand_in: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load(tiny)
    stand_in(ConnectionError("no hub"))
    with pytest.raises(EvaluationError, match=r"its data cannot be had here \(ConnectionError: no hub\).*HF_HOME"):
        score_public_task(loaded, "lm-eval:arc_easy")
    with pytest.raises(EvaluationError, match="lm-eval has no such task"):
        score_public_task(loaded, "lm-eval:arc_hard")
    stand_in([{"doc_id": 0, "doc": {}, "bleu": 1.0}])
    with pytest.raises(EvaluationError, match="it reports none of acc"):
        score_public_task(loaded, "lm-eval:arc_easy")
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(EvaluationError, match=r"needs lm-eval, which is not in this environment.*pip install lm-eval"):
        score_public_task(loaded, "lm-eval:arc_easy")
