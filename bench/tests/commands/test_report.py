"""`llm-bench report`, and wrong usage in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

import llm_bench.__main__  # noqa: F401  # what the processes below run
from llm_bench.cli import main
from llm_contract.testing import Script, ScriptedEngine


async def test_report_puts_two_runs_side_by_side(
    scenario: Callable[..., Path], corpus: Path, tmp_path: Path, bench: Any, run_bench: Any
) -> None:
    path = scenario(rate=10, duration=1)
    async with ScriptedEngine(Script(ttft=0.05)) as engine:
        await run_bench(path, engine.url, corpus, tmp_path / "a", "--name", "first")
        await run_bench(path, engine.url, corpus, tmp_path / "b", "--name", "second")

    html, json = tmp_path / "report.html", tmp_path / "report.json"
    status, out, errors = await bench(
        "report", tmp_path / "a", tmp_path / "b", "--html", html, "--json", json, "--title", "Twice the same"
    )

    assert status == 0, errors
    assert "first: " in out
    assert "second: " in out
    assert "Twice the same" in html.read_text()
    assert [run["run"]["name"] for run in orjson.loads(json.read_bytes())["runs"]] == ["first", "second"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("run", "gone.yaml", "--target", "http://127.0.0.1:1", "--out", "o"), 1, "gone.yaml: cannot be read"),
        (("run", "gone.yaml", "--target", "u", "--out", "o", "--rate", "-1"), 2, "must be a number above 0, not '-1'"),
        (
            ("run", "gone.yaml", "--target", "u", "--out", "o", "--rate", "1", "--rate-scale", "2"),
            2,
            "not allowed with",
        ),
        (("capacity", "gone.yaml", "--target", "u", "--users", "0"), 2, "must be a whole number of 1 or more, not '0'"),
        (
            ("run", "gone.yaml", "--target", "u", "--out", "o", "--seed", "-1"),
            2,
            "must be a whole number of 0 or more, not '-1'",
        ),
        (("sweep", "gone.yaml", "--target", "u", "--out", "o", "--rates", "4,0"), 2, "such as 2,4,8, not '4,0'"),
        (("saturate", "gone.yaml", "--target", "u", "--out", "o", "--repeat", "2"), 2, "must be an odd number"),
        (
            ("saturate", "gone.yaml", "--target", "u", "--out", "o", "--goal", "99"),
            2,
            "at most 1, such as 0.99, not '99'",
        ),
        (("replay", "gone.csv", "--target", "http://127.0.0.1:1", "--out", "o"), 1, "gone.csv: the trace cannot"),
        (("report", "gone"), 1, "gone: cannot be read"),
        (("compare", "gone.yaml", "u", "v", "--out", "o", "--pairs", "1"), 2, "must be a whole number of 2 or more"),
        (("run", "s.yaml", "--target", "u", "--out", "o", "--api-key-env", "sk-1a2b"), 2, "and not the key itself"),
        (("compare", "gone.yaml", "u", "v", "--out", "o"), 1, "gone.yaml: cannot be read"),
    ],
)
def test_wrong_usage_is_told_in_one_line(
    arguments: tuple[str, ...], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = main(arguments)
    except SystemExit as end:  # how argparse ends
        code = end.code

    assert code == status
    assert message in capsys.readouterr().err
