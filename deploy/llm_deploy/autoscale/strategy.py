"""Ways to decide on the number of engines: the shipped HorizontalPodAutoscaler, and thresholds that others use."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from llm_deploy.autoscale.hpa import Behaviour, Policy, Rules, Target, propose, replicas_for, utilisation_replicas


@dataclass(frozen=True, slots=True)
class Look:
    """The fleet at one moment."""

    replicas: int
    """Engines that the autoscaler asked for, those that still start included."""
    ready: int
    running: float
    waiting: float
    """Requests in the queues of the gateway and the engines."""
    kv_used: float
    """Sum of the engines' KV usage: 2.0 is two full caches."""
    busy: tuple[float, ...]
    """1 for each ready engine with a request, else 0: what a GPU's utilisation shows."""


def average(looks: Collection[Look]) -> Look:
    """Return the latest look with the requests and the KV usage averaged: avg_over_time in PromQL."""
    count, latest = len(looks), list(looks)[-1]
    return replace(
        latest,
        running=sum(look.running for look in looks) / count,
        waiting=sum(look.waiting for look in looks) / count,
        kv_used=sum(look.kv_used for look in looks) / count,
    )


Desire = Callable[[Look], int | None]
"""Return the replicas that the metrics ask for."""


@dataclass(frozen=True, slots=True)
class Strategy:
    name: str
    desire: Desire
    behaviour: Behaviour
    average_seconds: float = 0.0
    """Seconds over which the metrics are averaged; 0: the latest sample."""


READINGS: Mapping[str, Callable[[Look], float]] = {
    "llm_engine_requests": lambda look: look.running + look.waiting,
    "llm_requests_waiting": lambda look: look.waiting,
    "llm_kv_cache_used": lambda look: look.kv_used,
}
"""External metric -> its value; the expressions are in components/autoscaling-hpa/metrics.yaml."""


def by_metrics(
    name: str, targets: Mapping[str, float], behaviour: Behaviour, *, average_seconds: float = 0.0
) -> Strategy:
    """Return an autoscaler on external metrics with an average per engine."""

    def desire(look: Look) -> int | None:
        found = [
            replicas_for(Target("average", target), READINGS[metric](look), look.replicas, look.ready)
            for metric, target in targets.items()
        ]
        return propose(look.replicas, found)

    return Strategy(name, desire, behaviour, average_seconds)


def by_utilisation(name: str, target: float, behaviour: Behaviour) -> Strategy:
    """Return an autoscaler on the utilisation of a GPU or of a CPU, which is at its maximum while anything runs."""

    def desire(look: Look) -> int | None:
        return utilisation_replicas(look.busy, 0, look.replicas - look.ready, target)

    return Strategy(name, desire, behaviour)


def constant(count: int) -> Strategy:
    """Return a fleet that does not scale."""
    hold = Rules((), select="Disabled")
    return Strategy(f"{count} engines, constant", lambda look: count, Behaviour(count, count, hold, hold))


def behaviour_of(spec: Mapping[str, object], least: int, most: int) -> Behaviour:
    """Return the `behavior` of a manifest."""
    return Behaviour(least, most, _rules(spec["scaleUp"]), _rules(spec["scaleDown"]))


def _rules(spec: object) -> Rules:
    assert isinstance(spec, Mapping)
    policies = tuple(Policy(each["type"], each["value"], each["periodSeconds"]) for each in spec["policies"])
    return Rules(policies, spec.get("stabilizationWindowSeconds", 0), spec.get("selectPolicy", "Max"))
