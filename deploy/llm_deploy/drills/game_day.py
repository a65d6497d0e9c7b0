"""A drill: inject a fault under load, compare what is seen with what the runbook says, undo the fault."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from llm_deploy.drills.expectation import Expectation, Written
from llm_deploy.drills.faults import Fault, Injected
from llm_deploy.errors import DeployError
from llm_deploy.running.compose import Compose
from llm_deploy.running.http import ask
from llm_deploy.running.load import clients
from llm_deploy.running.monitor import Monitor
from llm_deploy.running.waiting import eventually

CLIENTS = 2
"""They are interactive: the class that a disturbance should reach last."""
AVAILABILITY = {"TargetDown", "NoEngine", "EngineStalled", "ErrorRatio"}
"""Alerts of latency may fire on a small machine at any time, and say nothing about these faults."""
QUIET_SECONDS = 90.0
Say = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    what: str
    expected: str
    seen: str
    agrees: bool


@dataclass
class Outcome:
    drill: str
    page: str
    rows: list[Row] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        return bool(self.rows) and all(row.agrees for row in self.rows)


def hold(written: Written, fault: Fault, deployment: Compose, say: Say) -> Outcome:
    """Run one drill. Raises DeployError if the deployment is not well before it starts."""
    monitor = Monitor(deployment.url("monitor", 9600), deployment.keys.monitor)
    gateway = deployment.url("gateway", 8080)
    expected = written.expectation
    _be_well(monitor, gateway, deployment.keys.client, expected)
    outcome = Outcome(written.drill, written.page.name)
    with clients(gateway, deployment.keys.client, CLIENTS, classes={"interactive": 1.0}) as seen:
        say(f"{written.drill} {fault.does}; docs/runbooks/{written.page.name} says what is seen")
        with fault.inject(deployment) as injected:
            look = _Look(injected, monitor, time.monotonic(), expected.within)
            outcome.rows += look.at_alert(expected.alert)
            outcome.rows += [look.at_metric(each) for each in expected.metrics]
            outcome.rows += [look.at_observation(name, value) for name, value in expected.observed.items()]
        repaired = time.monotonic()
        outcome.rows.append(_serves(gateway, deployment.keys.client, expected.resolved_within, repaired))
        outcome.rows.append(_resolved(monitor, expected.alert, expected.resolved_within, repaired))
    strange = {status for status in seen.statuses if status not in expected.clients}
    allowed = " or ".join(map(str, expected.clients))
    outcome.rows.append(Row("other clients got", allowed, seen.text(), not strange and bool(seen.statuses)))
    return outcome


@dataclass(frozen=True)
class _Look:
    """The view while the fault lasts, each with the seconds since it began."""

    injected: Injected
    monitor: Monitor
    began: float
    within: float

    def at_alert(self, alert: str | None) -> list[Row]:
        if alert is None:
            return []
        fired = self._wait(lambda: alert in self.monitor.firing())
        labels = self.monitor.firing().get(alert, {})
        seen = f"after {fired:.0f} s, at {labels.get('instance', '?')}" if fired is not None else "not seen"
        return [Row(f"alert {alert}", f"fires within {self.within:.0f} s", seen, fired is not None)]

    def at_metric(self, expression: str) -> Row:
        asked = self.injected.monitor or self.monitor
        found = self._wait(lambda: bool(asked.series(expression)))
        seen = f"after {found:.0f} s" if found is not None else "not seen"
        return Row(expression, f"within {self.within:.0f} s", seen, found is not None)

    def at_observation(self, name: str, value: int | str) -> Row:
        if name not in self.injected.observe:
            raise DeployError(f"the drill does not observe {name}; it observes {', '.join(self.injected.observe)}")
        observe = self.injected.observe[name]
        self._wait(lambda: observe() == value)
        seen = observe()
        return Row(name, str(value), str(seen), seen == value)

    def _wait(self, condition: Callable[[], bool]) -> float | None:
        """Return the seconds from the fault until the condition holds; None if it is too late.

        A bound that other waits have used up still leaves a moment for one look.
        """
        left = max(1.0, self.within - (time.monotonic() - self.began))
        return time.monotonic() - self.began if eventually(condition, left) else None


def _be_well(monitor: Monitor, gateway: str, key: str, expected: Expectation) -> None:
    """Wait until what the drill looks at is quiet: what was there before the fault proves nothing."""
    looked_at = {expected.alert} if expected.alert else AVAILABILITY
    if not eventually(lambda: not looked_at & set(monitor.firing()), QUIET_SECONDS):
        firing = ", ".join(sorted(looked_at & set(monitor.firing())))
        raise DeployError(f"{firing} fires before the drill; its page in docs/runbooks says what to do")
    for metric in expected.metrics:
        if not eventually(lambda metric=metric: not monitor.series(metric), QUIET_SECONDS):  # type: ignore[misc]
            raise DeployError(f"`{metric}` holds before the drill, so the drill could not tell its fault from that")
    if not eventually(lambda: _answers(gateway, key), QUIET_SECONDS):
        raise DeployError(f"the gateway at {gateway} answers no completion before the drill; see ./lab ready")


def _resolved(monitor: Monitor, alert: str | None, within: float, repaired: float) -> Row:
    """See that the fault's alert ends after its repair, or that a drill without an alert raised none."""
    if alert is None:
        firing = [
            f"{name} at {labels.get('instance', '?')}"
            for name, labels in monitor.firing().items()
            if name in AVAILABILITY
        ]
        return Row("alerts of availability", "none fires", ", ".join(firing) or "none", not firing)
    ended = eventually(lambda: alert not in monitor.firing(), within)
    seen = f"after {time.monotonic() - repaired:.0f} s" if ended else "still fires"
    return Row("resolved", f"within {within:.0f} s of the repair", seen, ended)


def _serves(gateway: str, key: str, within: float, repaired: float) -> Row:
    serves = eventually(lambda: _answers(gateway, key), within)
    seen = f"after {time.monotonic() - repaired:.0f} s" if serves else "no answer"
    return Row("a completion is answered", f"within {within:.0f} s of the repair", seen, serves)


def _answers(gateway: str, key: str) -> bool:
    body = {"model": "main", "prompt": "def f", "max_tokens": 1}
    return ask(f"{gateway}/v1/completions", key=key, body=body, headers={"x-priority": "interactive"}).status == 200
