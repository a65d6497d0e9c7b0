"""One alert's states, as in Prometheus: pending while its `for` runs, firing, resolved.

An alert that fires stays for `keep_firing_for` after its condition ended, and is resolved then. A resolved one is kept
for a while, so that those who were notified learn of it.
https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self

from llm_monitor.alerts.rules import Rule
from llm_monitor.series import Labels

State = Literal["pending", "firing", "resolved"]

RESOLVED_RETENTION: Final = 900.0
"""Seconds for which a resolved alert is kept."""


@dataclass(slots=True, kw_only=True)
class Alert:
    name: str
    labels: Labels
    """Labels of the series and of the rule, with `alertname`."""
    since: float
    """Begin of the present state's cause: when its condition began to hold."""
    value: float
    state: State = "pending"
    fired_at: float | None = None
    resolved_at: float | None = None
    annotations: dict[str, str] = field(default_factory=dict)
    notified: bool = False
    """Whether a notification says that it fires."""
    kept_since: float | None = None
    """When the condition of a firing alert ended; None while it holds."""

    @property
    def active(self) -> bool:
        return self.state != "resolved"

    def holds(self, rule: Rule, at: float, value: float) -> None:
        """Take note that the condition holds."""
        self.value, self.kept_since = value, None
        if self.state == "pending" and at - self.since >= rule.hold:
            self.state, self.fired_at = "firing", at

    def ended(self, rule: Rule, at: float) -> bool:
        """Take note that the condition does not hold; return whether the alert is to be kept."""
        if self.state == "pending":
            return False
        if self.state == "firing":
            if self.kept_since is None:
                self.kept_since = at
            if at - self.kept_since >= rule.keep_firing_for:
                self.state, self.resolved_at = "resolved", at
            return True
        return self.resolved_at is not None and at - self.resolved_at < RESOLVED_RETENTION

    def dump(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__} | {"labels": dict(self.labels)}

    @classmethod
    def load(cls, values: Mapping[str, Any]) -> Self:
        """Return the alert of `dump`. Raises TypeError or ValueError for anything else."""
        return cls(**{**values, "labels": tuple(sorted(dict(values["labels"]).items()))})
