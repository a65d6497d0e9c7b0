"""False alarms of the anomaly rules on a synthetic quiet week, and how soon they notice a real change.

    python services/monitor/benchmarks/anomaly.py                      # writes results/anomaly.json, a few minutes

A week of latency of some engines, one value a minute, as `instance:tpot_seconds:mean5m` records it: a daily rhythm
whose height differs from day to day, a quieter weekend, noise that is correlated over minutes and has a heavy tail, and
a harmless burst a day. Four days of warm-up come before. The baselines, the conditions and their `for` are those of the
built-in rules. They are compared with a limit that many monitors have: mean + 3 standard deviations of the last day.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from llm_monitor.alerts import AlertSettings, load
from llm_monitor.alerts.rules import Rule
from llm_monitor.promql import parse, query_range
from llm_monitor.series import Labels, Matcher, Series, labels_of

RESULTS = Path(__file__).parent / "results" / "anomaly.json"
MINUTE, DAY = 60.0, 1440
WARM_UP, WEEK = 4 * DAY, 7 * DAY
CHUNK = 2 * DAY
Floats = npt.NDArray[np.float64]
NAIVE = "{m} > avg_over_time({m}[1d]) + 3 * stddev_over_time({m}[1d])"
METRICS = {
    "TpotAnomaly": ("instance:tpot_seconds:mean5m", "instance:tpot_seconds:usual", 0.03),
    "TtftAnomaly": ("instance:ttft_seconds:mean5m", "instance:ttft_seconds:usual", 0.3),
}
REQUESTS = ("vllm:request_time_per_output_token_seconds_count", "vllm:time_to_first_token_seconds_count")
REQUESTS_A_MINUTE = 60


class Samples:
    """Series of one sample a minute; all engines have enough requests."""

    def __init__(self, engines: int, minutes: int) -> None:
        self.series: list[Series] = []
        for name in REQUESTS:
            self.add(name, np.tile(REQUESTS_A_MINUTE * np.arange(minutes, dtype=float), (engines, 1)))

    def add(self, name: str, values: Floats) -> None:
        times = MINUTE * np.arange(values.shape[1], dtype=float)
        for number, row in enumerate(values):
            labels = labels_of({"__name__": name, "instance": f"engine-{number}", "job": "engine", "model_name": "m"})
            self.series.append(Series(labels, times, row))

    def select(self, matchers: Sequence[Matcher], start: float, end: float) -> list[Series]:
        found = []
        for each in self.series:
            labels = dict(each.labels)
            if all(matcher.matches(labels.get(matcher.name, "")) for matcher in matchers):
                low, high = np.searchsorted(each.times, [start, end], side="right")
                if high > low:
                    found.append(Series(each.labels, each.times[low:high], each.values[low:high]))
        return found


def quiet(random: np.random.Generator, engines: int, base: float, minutes: int) -> Floats:
    """Return latency of shape (engines, minutes) in which nothing is wrong."""
    minute = np.arange(minutes)
    day, hour = minute // DAY, (minute % DAY) / 60
    height = random.uniform(0.3, 0.6, (engines, minutes // DAY + 1))[:, day] * np.where(day % 7 >= 5, 0.5, 1.0)
    rhythm = 1 + height * np.exp(-(((hour - 14.5 - random.normal(0, 0.5, (engines, 1))) / 4) ** 2))
    noise = np.empty((engines, minutes))
    noise[:, 0] = 0
    shocks = 0.03 * random.standard_t(4, (engines, minutes))
    for step in range(1, minutes):
        noise[:, step] = 0.8 * noise[:, step - 1] + shocks[:, step]
    values = base * rhythm * np.exp(noise)
    for engine in range(engines):
        for start in random.integers(0, minutes - 10, minutes // DAY):
            values[engine, start : start + int(random.integers(1, 4))] *= random.uniform(1.5, 2.5)
    return values


def evaluate(samples: Samples, text: str, start: int, minutes: int) -> dict[Labels, npt.NDArray[np.bool_]]:
    """Return by series in which minutes the condition holds."""
    holds: dict[Labels, npt.NDArray[np.bool_]] = {}
    for begin in range(start, start + minutes, CHUNK):
        end = min(begin + CHUNK, start + minutes) - 1
        vector = query_range(parse(text), samples, begin * MINUTE, end * MINUTE, step=MINUTE)
        for labels, row in zip(vector.labels, vector.present, strict=True):
            whole = holds.setdefault(labels, np.zeros(minutes, bool))
            whole[begin - start : begin - start + len(row)] = row
    return holds


def alarms(holds: npt.NDArray[np.bool_], hold: int, keep: int) -> list[int]:
    """Return the minutes at which an alert begins to fire, by the states of the alert engine."""
    begins, since, kept, firing = [], None, 0, False
    for minute, now in enumerate(holds):
        if now:
            since = minute if since is None else since
            kept = 0
            if not firing and minute - since >= hold:
                firing = True
                begins.append(minute)
        else:
            kept += 1
            since = None
            firing = firing and kept <= keep
    return begins


def record(samples: Samples, name: str, start: int, minutes: int) -> None:
    """Add what the built-in recording rule makes of the samples."""
    rule = next(rule for rule in load(AlertSettings()) if rule.name == name)
    parts = []
    for begin in range(start, start + minutes, CHUNK):
        end = min(begin + CHUNK, start + minutes) - 1
        vector = query_range(rule.expr, samples, begin * MINUTE, end * MINUTE, step=MINUTE)
        order = sorted(range(len(vector.labels)), key=lambda row: _number(vector.labels[row]))
        parts.append(vector.values[order])
    values = np.concatenate(parts, axis=1)
    samples.add(name, np.concatenate([np.full((len(values), start), np.nan), values], axis=1))


def _number(labels: Labels) -> int:
    return int(dict(labels)["instance"].rpartition("-")[2])


def measure(alert: str, seed: int, engines: int) -> dict[str, object]:
    """Return the false alarms of one quiet week, and the minutes until changes at its end are noticed."""
    metric, usual, base = METRICS[alert]
    rule = next(rule for rule in load(AlertSettings()).alerts if rule.name == alert)
    hold, keep = int(rule.hold / MINUTE), int(rule.keep_firing_for / MINUTE)
    values = quiet(np.random.default_rng(seed), engines, base, WARM_UP + WEEK + DAY)
    samples = Samples(*values.shape)
    samples.add(metric, values)
    for name in (usual, f"{usual}_high"):
        record(samples, name, WARM_UP, WEEK + DAY)
    found: dict[str, object] = {"alert": alert, "seed": seed, "engines": engines}
    for kind, text in (("rule", rule.expr.text), ("mean_3_sigma", NAIVE.format(m=metric))):
        holds = evaluate(samples, text, WARM_UP, WEEK)
        found[f"{kind}_false_alarms"] = sum(len(alarms(each, hold, keep)) for each in holds.values())
    found["noticed_after_minutes"] = {
        name: _noticed(rule, values, change)
        for name, change in {"x2 at once": 2.0, "x3 at once": 3.0, "+50% an hour": 0.0}.items()
    }
    return found


def _noticed(rule: Rule, values: Floats, change: float) -> dict[str, object]:
    """Return how many engines' change was noticed within a day, and the median of the minutes until then."""
    metric, usual, _ = METRICS[rule.name]
    changed = values.copy()
    begin = WARM_UP + WEEK
    minutes = np.arange(DAY)
    changed[:, begin:] *= change or 1 + 0.5 * minutes / 60
    samples = Samples(*values.shape)
    samples.add(metric, changed)
    for name in (usual, f"{usual}_high"):
        record(samples, name, begin, DAY)
    hold = int(rule.hold / MINUTE)
    found = [alarms(each, hold, 0) for each in evaluate(samples, rule.expr.text, begin, DAY).values()]
    first = [each[0] for each in found if each]
    return {"noticed": len(first), "of": len(values), "median_minutes": float(np.median(first)) if first else None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--engines", type=int, default=10)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    runs = [measure(alert, seed, arguments.engines) for alert in METRICS for seed in range(arguments.seeds)]
    weeks = arguments.seeds * arguments.engines
    totals = {
        alert: {
            kind: sum(int(str(run[kind])) for run in runs if run["alert"] == alert) / weeks
            for kind in ("rule_false_alarms", "mean_3_sigma_false_alarms")
        }
        for alert in METRICS
    }
    arguments.output.parent.mkdir(exist_ok=True)
    content = {"engine_weeks": weeks, "false_alarms_per_engine_week": totals, "runs": runs}
    arguments.output.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps({"engine_weeks": weeks, "false_alarms_per_engine_week": totals}))


if __name__ == "__main__":
    main()
