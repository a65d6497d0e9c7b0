"""Tables of the alerts' benchmarks, for pages: alert_tables.py anomaly|incidents|promql_speed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def anomaly(data: dict[str, Any]) -> Iterator[str]:
    weeks = data["engine_weeks"]
    yield f"| {weeks} quiet engine-weeks | false alarms a week | mean + 3 sigma | x2 noticed | +50% an hour noticed |"
    yield "|---|---|---|---|---|"
    for alert, counts in data["false_alarms_per_engine_week"].items():
        runs = [run["noticed_after_minutes"] for run in data["runs"] if run["alert"] == alert]
        noticed = [_noticed([run[change] for run in runs]) for change in ("x2 at once", "+50% an hour")]
        alarms = f"{counts['rule_false_alarms']:.2f} | {counts['mean_3_sigma_false_alarms']:.2f}"
        yield f"| {alert} | {alarms} | {noticed[0]} | {noticed[1]} |"


def _noticed(runs: list[dict[str, Any]]) -> str:
    medians = sorted(run["median_minutes"] for run in runs if run["median_minutes"] is not None)
    share = f"{sum(run['noticed'] for run in runs)} of {sum(run['of'] for run in runs)}"
    return f"{share}, after {medians[len(medians) // 2]:.0f} min" if medians else share


def incidents(data: dict[str, Any]) -> Iterator[str]:
    yield "| incident | alert | its `for`, s | fired after, s | right target | others fired |"
    yield "|---|---|---|---|---|---|"
    for row in data["incidents"]:
        right, others = "yes" if row["instance_right"] else "no", ", ".join(row["others"]) or "none"
        cells = row["incident"], row["alert"], f"{row['hold']:.0f}", f"{row['fired_after']:.1f}", right, others
        yield "| " + " | ".join(cells) + " |"


def promql_speed(data: dict[str, Any]) -> Iterator[str]:
    yield f"| CPU, {data['series']} series | median, ms | max, ms |"
    yield "|---|---|---|"
    names = {"instant": f"{data['panels']} panels, one moment", "rules": "all built-in rules, one evaluation"}
    for key, name in names.items():
        yield f"| {name} | {data[key]['median_ms']:.1f} | {data[key]['max_ms']:.1f} |"


TABLES = {"anomaly": anomaly, "incidents": incidents, "promql_speed": promql_speed}


def main() -> None:
    if sys.argv[1:] not in [[name] for name in TABLES]:
        raise SystemExit(f"usage: alert_tables.py {'|'.join(TABLES)}")
    name = sys.argv[1]
    print("\n".join(TABLES[name](json.loads((RESULTS / f"{name}.json").read_text()))))


if __name__ == "__main__":
    main()
