from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm_gateway.cli import main

POISSON = ["simulate", "--synthetic", "poisson", "--duration", "30", "--seed", "3"]


def test_a_table_with_a_row_for_each_policy_and_class(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "rows.json"
    main([*POISSON, "--load", "1.1", "--policy", "fcfs,composite", "--tenants", "a=1,b=3", "--json", str(out)])
    lines = capsys.readouterr().out.splitlines()
    assert "requests in" in lines[0]
    assert lines[1].split()[:4] == ["policy", "class", "requests", "rejected"]
    names = [tuple(line.split()[:2]) for line in lines[2:]]
    classes = ["interactive", "standard", "batch", "all"]
    assert names == [(policy, name) for policy in ("fcfs", "composite") for name in classes]
    assert len({len(line) for line in lines[1:]}) == 1
    document = json.loads(out.read_text())
    assert [(row["policy"], row["name"]) for row in document["rows"]] == names
    assert document["engine_model"]["max_running"] == 64
    assert 0 < document["rows"][0]["jain"] <= 1


def test_a_trace_with_the_gateway_s_own_configuration(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    trace, config = tmp_path / "trace.jsonl", tmp_path / "gateway.yaml"
    trace.write_text('{"timestamp": 0, "input_length": 10, "output_length": 5}\n' * 3)
    config.write_text(
        "engines: [http://a, http://b]\ndefault_class: only\n"
        "classes: [{name: only, priority: 0, ttft_target: 1, tpot_target: 1}]\n"
    )
    main(["simulate", "--trace", str(trace), "--config", str(config), "--mix", "only=1", "--policy", "edf"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:4] for line in lines[2:]] == [["edf", "only", "3", "0"], ["edf", "all", "3", "0"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*POISSON, "--policy", "fcfs,lifo"], "unknown: lifo; the policies are fcfs, priority, aging"),
        ([*POISSON, "--mix", "interactive"], "must be written as"),
        ([*POISSON, "--mix", "batch=0"], "must be positive"),
        ([*POISSON, "--mix", "bulk=1"], "no such class: bulk; the classes are batch, interactive, standard"),
        ([*POISSON, "--rate", "0"], "must be a positive number"),
        ([*POISSON, "--rate", "1", "--load", "2"], "not allowed with"),
        ([*POISSON, "--engines", "0"], "must be 1 or more"),
        (["simulate"], "one of the arguments --trace --synthetic is required"),
        (["simulate", "--trace", "/nowhere"], "cannot be read"),
        ([*POISSON, "--config", "/nowhere"], "nowhere"),
    ],
)
def test_wrong_usage_is_explained(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert message in capsys.readouterr().err + str(ended.value)
