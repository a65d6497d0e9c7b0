"""The checks by what they look at. `CHECKS` is all of them, in the order of the table."""

from __future__ import annotations

from llm_deploy.ready.check import Check
from llm_deploy.ready.checks import access, cluster, containers, data, disturbing, observed

CHECKS: tuple[Check, ...] = (
    *containers.CHECKS,
    *access.CHECKS,
    *observed.CHECKS,
    *data.CHECKS,
    *cluster.CHECKS,
    *disturbing.CHECKS,
)
