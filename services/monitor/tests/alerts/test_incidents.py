"""Incidents on live targets, scraped at 4 Hz: each fires its alert in time, names its target, and resolves, alone.

The rules are the built-in ones with all durations divided, so that an incident takes seconds; the benchmark
`incidents` runs them as they are.
"""

from __future__ import annotations

import pytest

from llm_monitor.testing.incidents import DRIFTS, INCIDENTS
from llm_monitor.testing.watch import Outcome, observe

HASTE = 15.0
MARGIN = 5.0
"""Seconds after its `for` within which an alert must fire."""


def check(outcome: Outcome) -> None:
    assert outcome.instance_right
    assert outcome.others == ()
    assert outcome.fired_after <= outcome.hold + MARGIN


@pytest.mark.parametrize("name", INCIDENTS)
async def test_an_incident_fires_its_alert_alone(name: str) -> None:
    alert, incident = INCIDENTS[name]
    check(await observe(alert, incident(), haste=HASTE))


@pytest.mark.parametrize("name", DRIFTS)
async def test_an_engine_that_becomes_slow(name: str) -> None:
    """The past hour, against which an anomaly is judged, has to be there first."""
    alert, incident = DRIFTS[name]
    outcome = await observe(alert, incident(), haste=120.0, calm=12.0)
    assert outcome.instance_right
    assert outcome.others == ()
