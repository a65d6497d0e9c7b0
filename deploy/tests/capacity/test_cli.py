"""Wrong numbers on the command line of ./lab capacity are one line each."""

from __future__ import annotations

import pytest

from llm_deploy.cli import main

GOOD = {"--kv-memory": "8", "--tokens-per-second": "1000", "--rate": "5", "--prompt": "100", "--output": "100"}


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("--kv-memory", "nan", "--kv-memory is nan; it must be above 0 and finite"),
        ("--rate", "inf", "--rate is inf; it must be above 0 and finite"),
        ("--rate", "-5", "--rate is -5.0; it must be above 0 and finite"),
        ("--output", "0", "--output is 0; it must be above 0 and finite"),
        ("--objective", "nan", "--objective is nan; it is a share between 0 and 1, as in 0.99"),
        ("--spare", "-1", "--spare is -1; it must be 0 or more"),
        ("--kv-memory", "0.01", "one request of 200 tokens does not fit into a KV cache of 76 tokens"),
    ],
)
def test_a_wrong_number_is_one_line(flag: str, value: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [word for pair in (GOOD | {flag: value}).items() for word in pair]
    assert main(["capacity", "32x8x128", *words]) == 2
    assert capsys.readouterr().err == f"lab: {said}\n"


def test_the_table_says_how_many_engines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capacity", "32x8x128", *(word for pair in GOOD.items() for word in pair)]) == 0
    assert "engines for 99% within 0.5 s" in capsys.readouterr().out
