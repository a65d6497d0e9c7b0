"""Seconds from an incident to its alert, with the built-in rules as they are, on live targets scraped at 4 Hz.

    python services/monitor/benchmarks/incidents.py                    # writes results/incidents.json, ten minutes
    python services/monitor/benchmarks/incidents.py --quiet 3600       # writes results/quiet.json

Rules are evaluated once a second, as in the service. Each incident runs alone: some calm, the incident until its alert
fires, its end until the alert resolves.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import asdict
from pathlib import Path

from llm_monitor.testing.incidents import DRIFTS, INCIDENTS
from llm_monitor.testing.watch import observe, quiet

RESULTS = Path(__file__).parent / "results" / "incidents.json"
LIMIT = 5.0
"""Seconds after its `for` within which an alert shall fire."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--quiet", type=float, metavar="SECONDS", help="cause no incident, and count the alerts")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.quiet:
        _quiet(arguments.quiet)
        return
    rows = []
    for name, (alert, incident) in INCIDENTS.items():
        for _ in range(arguments.runs):
            outcome = asyncio.run(observe(alert, incident(), haste=1.0, interval=1.0, calm=20.0, timeout=180.0))
            late = outcome.fired_after - outcome.hold
            rows.append({"incident": name, **asdict(outcome), "after_for": round(late, 2), "in_time": late <= LIMIT})
            print(json.dumps(rows[-1]), flush=True)
    arguments.output.parent.mkdir(exist_ok=True)
    arguments.output.write_text(json.dumps({"limit_after_for": LIMIT, "incidents": rows}, indent=1) + "\n")


def _quiet(seconds: float) -> None:
    """Watch all targets at once while nothing happens to them, and write results/quiet.json."""
    incidents = [incident() for _, incident in (*INCIDENTS.values(), *DRIFTS.values())]
    result = {"seconds": seconds, "alerts": asyncio.run(quiet(incidents, seconds))}
    RESULTS.with_name("quiet.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
