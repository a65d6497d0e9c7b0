"""A real Prometheus that serves given samples, and the comparison of its results with ours."""

from __future__ import annotations

import json
import math
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llm_monitor.promql import EvaluationError, Expression, Vector, instant, query_range
from llm_monitor.promql.vectors import show
from llm_monitor.series import Series, Source, labels_of

INSTALLED = bool(shutil.which("prometheus") and shutil.which("promtool"))
Samples = dict[str, dict[int, float]]


@contextmanager
def prometheus(series: Sequence[Series], folder: Path) -> Iterator[str]:
    """Serve the samples of some series; the address is yielded."""
    page, data = folder / "samples.txt", folder / "data"
    lines = []
    for each in series:
        labels = show(each.labels).replace('", ', '",')
        lines += [f"{labels} {_number(v)} {t:.3f}" for t, v in zip(each.times, each.values, strict=True)]
    page.write_text("\n".join([*lines, "# EOF"]) + "\n")
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(page), str(data)]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "prometheus.yml").write_text("global: {evaluation_interval: 1m}\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={data}",
            f"--web.listen-address={address}",
            "--storage.tsdb.retention.time=100y",
            "--enable-feature=promql-negative-offset,promql-at-modifier",
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        _ready(f"http://{address}/-/ready")
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait()


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps at which both evaluate, and the comparison there."""

    start: float
    end: float
    step: float

    def difference(self, expression: Expression, source: Source, address: str) -> str | None:
        """Return how our result differs from Prometheus's, over the range and at its start; None if it does not."""
        try:
            ours: Samples | None = _samples(query_range(expression, source, self.start, self.end, step=self.step))
            ours_now: Samples | None = _samples(instant(expression, source, self.start))
        except EvaluationError:
            ours = ours_now = None
        theirs = self.ask(address, "query_range", expression.text, start=self.start, end=self.end, step=self.step)
        if (found := _difference(ours, theirs)) or ours is None:
            return found
        return _difference(ours_now, self.ask(address, "query", expression.text, time=self.start))

    def ask(self, address: str, path: str, query: str, **parameters: float) -> Samples | None:
        """Return Prometheus's answer by series and step's number; None if it refuses to evaluate."""
        url = f"{address}/api/v1/{path}?{urllib.parse.urlencode({'query': query, **parameters})}"
        try:
            with urllib.request.urlopen(url, timeout=30) as response:
                data = json.load(response)["data"]
        except urllib.error.HTTPError as error:
            if error.code in (400, 422):
                return None
            raise
        if data["resultType"] == "scalar":
            return {"{}": {0: float(data["result"][1])}}
        return {
            show(labels_of(each["metric"])): {
                round((float(t) - self.start) / self.step): float(v) for t, v in each.get("values", [each.get("value")])
            }
            for each in data["result"]
        }


def _samples(vector: Vector) -> Samples:
    return {
        show(labels): {int(step): float(values[step]) for step in np.flatnonzero(present)}
        for labels, values, present in zip(vector.labels, vector.values, vector.present, strict=True)
    }


def _difference(ours: Samples | None, theirs: Samples | None) -> str | None:
    if ours is None or theirs is None:
        return None if ours is theirs else f"refused by one: ours {ours}, theirs {theirs}"
    if ours.keys() != theirs.keys():
        return f"series: ours {sorted(ours)}, theirs {sorted(theirs)}"
    for labels, own in ours.items():
        other = theirs[labels]
        if own.keys() != other.keys():
            return f"steps of {labels}: {sorted(own)} {sorted(other)}"
        for step, value in own.items():
            if not math.isclose(value, other[step], rel_tol=1e-7, abs_tol=1e-9) and not (
                math.isnan(value) and math.isnan(other[step])
            ):
                return f"{labels} at step {step}: ours {value}, theirs {other[step]}"
    return None


def _ready(address: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "Prometheus did not become ready"
            time.sleep(0.1)


def _number(value: float) -> str:
    return "+Inf" if value == math.inf else repr(float(value))
