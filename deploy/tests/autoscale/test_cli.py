"""Wrong arguments of ./lab autoscale simulate are one line each, before anything is simulated."""

from __future__ import annotations

import pytest

from llm_deploy.cli import main


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--hours", "nan"), "--hours is nan; it must be above 0 and at most 24"),
        (("--hours", "-1"), "--hours is -1; it must be above 0 and at most 24"),
        (("--hours", "1000"), "--hours is 1000; it must be above 0 and at most 24"),
        (("--only", "nothing"), "no strategy has 'nothing' in its name; there are: "),
    ],
)
def test_a_wrong_argument_is_one_line(words: tuple[str, str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["autoscale", "simulate", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"lab: {said}")
    assert error.count("\n") == 1
