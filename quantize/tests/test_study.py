"""`run`: from a model to a report, going on where it stopped, and never over results of other settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch import Tensor

from llm_quantize import QuantizeError, Recipe, make_recipe, study
from llm_quantize.cli import main
from llm_quantize.evaluation.model import Loaded
from llm_quantize.performance import BatchFigures, Performance, Spread
from llm_quantize.study import EvaluationSettings, Listener, LoadSettings, Study, run_study

MODEL = "models/zoo/llama"
FEW = ("--eval", "--items", "8", "--benchmark", "perplexity", "--benchmark", "kl", "--text", "models/eval/heldout.txt")


def measured(folder: Path, batches: tuple[int, ...], **_: object) -> Performance:
    spread = Spread(0.01, 0.01, 0.01)
    one = BatchFigures(batch=1, ttft=spread, tpot=spread, output_tokens_per_second=spread, requests=9)
    return Performance(
        name=folder.name,
        weight_bytes=1,
        resident_bytes=1,
        device="a CPU",
        server="llm-engine",
        runs=1,
        batches=[one],
        notes=[],
    )


def test_from_a_model_to_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "measure", measured)
    passes: list[str] = []
    logits = Loaded.logits

    def noted(loaded: Loaded, ids: Tensor) -> Tensor:
        passes.append(loaded.folder.name)
        return logits(loaded, ids)

    monkeypatch.setattr(Loaded, "logits", noted)
    asked = ["run", MODEL, "--methods", "rtn,w8a8", "--group-size", "32", *FEW, "--bench", "--out", str(tmp_path)]
    assert main(asked) == 0
    first = capsys.readouterr().out.splitlines()
    assert [line.split(" in ")[0] for line in first[:-1]] == [
        "rtn: quantised",
        "w8a8: quantised",
        *(f"{method}: {done}" for method in ("full", "rtn", "w8a8") for done in ("evaluated", "measured")),
    ]
    assert first[-1] == f"Report: {tmp_path / 'page.html'}"
    page = (tmp_path / "page.html").read_text()
    assert all(name in page for name in ("rtn", "w8a8", "full", "Tokens/s"))
    losses = {
        name: json.loads((tmp_path / "llama" / name / "evaluation.json").read_text())["scores"]["perplexity"]["values"]
        for name in ("full", "rtn", "w8a8")
    }
    assert losses["full"] != losses["w8a8"] != losses["rtn"]  # inputs are rounded as well
    assert passes.count("llama") == passes.count("rtn") == passes.count("w8a8") > 0

    assert main(asked) == 0
    assert capsys.readouterr().out.splitlines() == first[-1:]


def test_a_run_goes_on_where_it_stopped(tmp_path: Path, rtn: Recipe) -> None:
    done: list[str] = []
    asked = Study(
        model=Path(MODEL),
        out=tmp_path,
        recipes={"rtn": rtn},
        evaluation=EvaluationSettings(benchmarks=("perplexity",), items=8),
    )

    def stop(method: str, what: str) -> None:
        done.append(f"{method} {what.split()[0]}")
        if done[-1] == "full evaluated":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(asked, Listener(done=stop))
    assert run_study(asked, Listener(done=stop)) == tmp_path / "page.html"
    assert done == ["rtn quantised", "full evaluated", "rtn evaluated"]


@pytest.fixture
def rtn() -> Recipe:
    return make_recipe(method="rtn", group_size=32)


def test_results_of_other_settings_are_refused(tmp_path: Path, rtn: Recipe) -> None:
    run_study(Study(model=Path(MODEL), out=tmp_path, recipes={"rtn": rtn}))
    other = Study(model=Path(MODEL), out=tmp_path, recipes={"rtn": make_recipe(method="rtn", group_size=64)})
    with pytest.raises(QuantizeError, match="made by another recipe"):
        run_study(other)

    (tmp_path / "llama" / "settings.json").write_text(json.dumps({"load": {"runs": 9}}))
    with pytest.raises(QuantizeError, match="results of another load"):
        run_study(Study(model=Path(MODEL), out=tmp_path, recipes={"rtn": rtn}, load=LoadSettings()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to do"),
        (["--methods", "rtn,magic"], "Input should be"),
        (["--methods", "rtn", "--recipe", "rtn.yaml"], "rtn is the name of two results"),
        (["--recipe", "full.yaml"], "full is the name of two results"),
        (["--methods", "rtn"], "config.json cannot be read"),  # the model is not below this folder
    ],
)
def test_mistakes_are_said_before_work_begins(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("rtn.yaml", "full.yaml"):
        (tmp_path / name).write_text("method: rtn\n")
    monkeypatch.chdir(tmp_path)
    assert main(["run", MODEL, *arguments, "--out", "out"]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
