"""Marks on the time axis: reported ones survive a restart; others come from samples."""

from __future__ import annotations

from pathlib import Path

from tests.support_samples import BEGIN, Samples

from llm_monitor.web.annotations import MAX_KEPT, Annotation, Annotations, marks
from llm_monitor.web.queries import Queries


def test_reported_annotations_survive(tmp_path: Path) -> None:
    path = tmp_path / "annotations.jsonl"
    first = Annotations(path)
    first.add(Annotation(time=BEGIN, text="v2"))
    with path.open("ab") as file:
        file.write(b'{"time": 1')  # a crash in mid-write
    again = Annotations(path)
    assert [each["text"] for each in again.between(BEGIN - 1, BEGIN + 1)] == ["v2"]
    assert again.between(BEGIN + 1, BEGIN + 2) == []


def test_the_file_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "annotations.jsonl"
    kept = Annotations(path)
    for number in range(MAX_KEPT + 3):
        kept.add(Annotation(time=number, text=str(number)))
    assert len(path.read_bytes().splitlines()) == MAX_KEPT
    assert Annotations(path).between(0, 10)[0]["text"] == "3"


async def test_alerts_and_targets_that_go_and_come_are_marked() -> None:
    samples = Samples()
    for second in range(30):
        samples.put(BEGIN + second, "up", 0.0 if 10 <= second < 20 else 1.0, instance="a", job="engine")
        firing = {"alertname": "TargetDown", "alertstate": "firing", "instance": "a"}
        samples.put(BEGIN + second, "ALERTS", 1.0 if 12 <= second < 20 else float("nan"), **firing)
    queries = Queries(samples, samples, clock=lambda: BEGIN + 30)
    annotations = Annotations(None)
    annotations.add(Annotation(time=BEGIN + 5, text="v2"))
    found = await marks(annotations, queries, BEGIN, BEGIN + 29)
    shown = [(mark["time"] - BEGIN, mark["kind"], mark["text"]) for mark in found]
    assert shown == [
        (5, "deploy", "v2"),
        (10, "down", "a down"),
        (12, "alert", "TargetDown a"),
        (20, "up", "a up again"),
    ]
