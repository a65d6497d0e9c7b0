"""A check of production readiness, and its finding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from llm_deploy.drills.expectation import Written, read
from llm_deploy.errors import DeployError
from llm_deploy.running.container import ROLES, Container
from llm_deploy.running.deployment import Deployment
from llm_deploy.running.monitor import Monitor

Severity = Literal["required", "recommended"]
State = Literal["green", "red", "skipped"]
SHOWN = 5
"""Faults that a finding names."""
GATEWAY_PORT, ADMIN_PORT, MONITOR_PORT = 8080, 8081, 9600


@dataclass(frozen=True)
class Finding:
    state: State
    evidence: str
    """The values that were observed."""


class Subject:
    """The deployment under examination, read once."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment

    @cached_property
    def containers(self) -> list[Container]:
        """Return the containers of services that this project builds."""
        return [each for each in self.deployment.containers() if each.role in ROLES]

    @cached_property
    def monitor(self) -> Monitor:
        return Monitor(self.deployment.url("monitor", MONITOR_PORT), self.deployment.keys.monitor)

    @cached_property
    def gateway(self) -> str:
        return self.deployment.url("gateway", GATEWAY_PORT)

    @cached_property
    def runbooks(self) -> dict[str, Written]:
        return read()

    @property
    def roles(self) -> set[str]:
        return {each.role for each in self.containers}


@dataclass(frozen=True, kw_only=True)
class Check:
    name: str
    asserts: str
    how: str
    page: str
    """Page under docs/ or README that says what to do if it is red."""
    run: Callable[[Subject], Finding]
    severity: Severity = "required"
    disturbs: bool = False
    """It stops, kills or loads services, so it runs only if asked for."""
    kinds: tuple[str, ...] = ("compose", "kubernetes")
    covers: tuple[str, ...] = ()
    """Requirements and criteria of project 7.7 in courses/syllabus.yaml, word for word."""


@dataclass(frozen=True)
class Result:
    check: Check
    finding: Finding

    @property
    def blocks(self) -> bool:
        return self.check.severity == "required" and self.finding.state == "red"


def carry_out(check: Check, subject: Subject, *, disturb: bool) -> Result:
    """Run one check. A check that cannot look is red, with the reason as its evidence."""
    kind = subject.deployment.kind
    if kind not in check.kinds:
        return Result(check, Finding("skipped", f"applies to {', '.join(check.kinds)} only"))
    if check.disturbs and not disturb:
        return Result(check, Finding("skipped", "disturbs the deployment; --disturb runs it"))
    try:
        return Result(check, check.run(subject))
    except DeployError as error:
        return Result(check, Finding("red", str(error)))
    except (OSError, ValueError, LookupError) as error:
        # What it read was not as it should be; the other checks go on.
        return Result(check, Finding("red", f"{type(error).__name__}: {error}"))


def judged(faults: list[str], observed: str) -> Finding:
    """Return a red finding that names the faults, or a green one with what was observed."""
    if not faults:
        return Finding("green", observed)
    # Replicas have the same fault, and a stack that is down has all of them.
    different = list(dict.fromkeys(faults))
    more = f"; and {len(different) - SHOWN} more" if len(different) > SHOWN else ""
    return Finding("red", "; ".join(different[:SHOWN]) + more)
