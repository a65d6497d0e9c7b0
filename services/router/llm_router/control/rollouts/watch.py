"""Watch rollouts and roll a failed application back to its former entry.

Serve stops a rolling update whose new replicas do not start and keeps the old ones serving, but leaves the new
version as the goal. Rolling back makes the former entry the goal again: its replicas are there, so none restarts.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from llm_router.control.rollouts.plan import edge_config, rolled_back, settled
from llm_router.control.serve_controller import ServeController

FAILED = "DEPLOY_FAILED"
DEPLOYING = "DEPLOYING"
RUNNING = "RUNNING"
SERVING = (RUNNING, "UPDATING")
"""States of a replica that serves. One that is UPDATING takes over a changed `user_config`."""

log = logging.getLogger(__name__)


def rollouts_under_way(entries: Mapping[str, dict[str, Any]]) -> set[str]:
    """Return the applications whose rollout has not ended."""
    return {record.application for record in edge_config(entries).rollouts if record.ended is None}


async def follow(controller: ServeController, *, now: float) -> None:
    """Roll back the rollouts that have failed and close those that are done.

    Every edge does so, under the lock of changes; doing it twice changes nothing.
    """
    entries = await controller.entries()
    under_way = rollouts_under_way(entries)
    details = await controller.details()
    status = {name: details.get(name, {}).get("status") for name in entries}
    for name in under_way:
        if status.get(name) == FAILED:
            message = failure(details[name])
            former = rolled_back(entries, name, message=message, now=now)
            if former is not None:
                log.warning("rolling back %s: %s", name, message)
                await controller.apply(former)
                return  # the next poll sees the rest
    if DEPLOYING not in status.values():  # applying a configuration would restart an application's build
        done = settled(entries, {name for name in under_way if status.get(name) == RUNNING}, now=now)
        if done is not None:
            await controller.apply(done)


def failure(application: Mapping[str, Any]) -> str:
    """Return why an application failed: the engine's own words, without Ray's tracebacks."""
    messages = [str(each["message"]) for each in application.get("deployments", {}).values() if each.get("message")]
    return essence("\n".join(messages) or str(application.get("message", "")))


def essence(text: str) -> str:
    """Return what our own exception says, else what the last exception of a traceback says, else the text."""
    if ours := _OURS.search(text):
        return text[ours.end() :].strip()
    others = list(_EXCEPTION.finditer(text))
    return text[others[-1].end() :].strip() if others else text.strip()


_OURS = re.compile(r"^[\w.]*\.(?:EngineFailed|PortTaken): ", re.MULTILINE)
_EXCEPTION = re.compile(r"^[\w.]*(?:Error|Exception)(?:\(\w+\))?: ", re.MULTILINE)
