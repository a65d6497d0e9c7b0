"""The HorizontalPodAutoscaler's decision, as its controller computes it.

Sources: https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/ (algorithm details)
and the functions of k8s.io/kubernetes/pkg/controller/podautoscaler that each part names. `tests/deploy` compares it
with a real controller.

replicas_for     one metric: the replicas that it asks for (replica_calculator.go)
propose          all metrics together: the largest, and no scale-down while one is missing (horizontal.go)
Autoscaler       stabilisation windows and rate policies (horizontal.go, normalizeDesiredReplicasWithBehaviors)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

TOLERANCE = 0.1
"""Ratios within this distance from 1 change nothing: --horizontal-pod-autoscaler-tolerance."""


@dataclass(frozen=True, slots=True)
class Target:
    """A metric's target. `average`: the total divided by the replicas; `value`: a value that scales with 1/replicas."""

    kind: Literal["average", "value"]
    value: float


@dataclass(frozen=True, slots=True)
class Policy:
    """At most `value` pods, or percent of the replicas, change within `period` seconds."""

    kind: Literal["Pods", "Percent"]
    value: int
    period: float


@dataclass(frozen=True, slots=True)
class Rules:
    """One direction of `behavior`."""

    policies: tuple[Policy, ...]
    window: float = 0.0
    """stabilizationWindowSeconds."""
    select: Literal["Max", "Min", "Disabled"] = "Max"


DEFAULT_UP = Rules((Policy("Percent", 100, 15), Policy("Pods", 4, 15)))
DEFAULT_DOWN = Rules((Policy("Percent", 100, 15),), window=300)
"""Kubernetes's behaviour where a manifest sets none."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The whole `behavior`, and the bounds on the replicas."""

    least: int
    most: int
    up: Rules = DEFAULT_UP
    down: Rules = DEFAULT_DOWN


def replicas_for(target: Target, usage: float, replicas: int, ready: int) -> int:
    """Return the replicas for one external metric: GetExternalPerPodMetricReplicas, GetExternalMetricReplicas.

    An average does not depend on the number of pods that are ready. A value does: it is divided among those.
    """
    if target.kind == "average":
        ratio = usage / (target.value * replicas)
        return replicas if abs(1 - ratio) <= TOLERANCE else math.ceil(usage / target.value)
    ratio = usage / target.value
    return replicas if abs(1 - ratio) <= TOLERANCE else math.ceil(ratio * ready)


def utilisation_replicas(usages: Sequence[float], missing: int, unready: int, target: float) -> int:
    """Return the replicas for a resource's utilisation: GetResourceReplicas.

    `usages` are those of ready pods. Unready pods count as 0 when the fleet would grow. Pods without metrics count as 0
    when it would grow and as 1 when it would shrink. A correction that turns the direction round changes nothing.
    """
    replicas = len(usages) + missing + unready
    if not usages:
        return replicas
    ratio = sum(usages) / len(usages) / target
    if not missing and not (unready and ratio > 1):
        return replicas if abs(1 - ratio) <= TOLERANCE else math.ceil(ratio * len(usages))
    filled = sum(usages) + (missing if ratio < 1 else 0)
    counted = len(usages) + missing + (unready if ratio > 1 else 0)
    corrected = filled / counted / target
    turned = (ratio < 1 < corrected) or (ratio > 1 > corrected)
    if abs(1 - corrected) <= TOLERANCE or turned:
        return replicas
    wanted = math.ceil(corrected * counted)
    wrong_way = (corrected < 1 and wanted > replicas) or (corrected > 1 and wanted < replicas)
    return replicas if wrong_way else wanted


def propose(replicas: int, proposals: Sequence[int | None]) -> int | None:
    """Return the largest proposal: computeReplicasForMetrics. None: keep the replicas, as a metric is missing.

    With a missing metric the fleet can grow, and cannot shrink.
    """
    valid = [each for each in proposals if each is not None]
    if not valid:
        return None
    most = max(valid)
    return None if len(valid) < len(proposals) and most < replicas else most


@dataclass(slots=True)
class Autoscaler:
    """The controller's memory of one autoscaler. Call `decide` at each sync."""

    behaviour: Behaviour
    _recommended: list[tuple[float, int]] = field(default_factory=list)
    _added: list[tuple[float, int]] = field(default_factory=list)
    _removed: list[tuple[float, int]] = field(default_factory=list)

    def decide(self, now: float, replicas: int, desired: int | None) -> int:
        """Return the new number of replicas. `desired` is what the metrics ask for, None if they are missing."""
        least, most = self.behaviour.least, self.behaviour.most
        if not least <= replicas <= most:
            wanted = min(max(replicas, least), most)  # out of bounds: no metric is asked
        elif desired is None:
            return replicas
        else:
            stable = self._stabilised(now, replicas, desired)
            wanted = self._limited(now, replicas, stable)
        if wanted > replicas:
            self._added.append((now, wanted - replicas))
        elif wanted < replicas:
            self._removed.append((now, replicas - wanted))
        return wanted

    def _stabilised(self, now: float, replicas: int, desired: int) -> int:
        """Return the recommendation closest to `replicas` within both windows: stabilizeRecommendationWithBehaviors."""
        up_window, down_window = self.behaviour.up.window, self.behaviour.down.window
        up = min([desired, *(count for at, count in self._recommended if at > now - up_window)])
        down = max([desired, *(count for at, count in self._recommended if at > now - down_window)])
        longest = max(up_window, down_window)
        self._recommended = [each for each in self._recommended if each[0] > now - longest]
        self._recommended.append((now, desired))
        return min(max(replicas, up), down)

    def _limited(self, now: float, replicas: int, wanted: int) -> int:
        """Apply the rate policies and the bounds: convertDesiredReplicasWithBehaviorRate."""
        if wanted > replicas:
            limit = self._limit(self.behaviour.up, now, replicas, +1)
            return min(wanted, max(limit, replicas), self.behaviour.most)
        if wanted < replicas:
            limit = self._limit(self.behaviour.down, now, replicas, -1)
            return max(wanted, min(limit, replicas), self.behaviour.least)
        return replicas

    def _limit(self, rules: Rules, now: float, replicas: int, sign: int) -> int:
        """Return how far the replicas can go: calculateScaleUpLimitWithScalingRules, calculateScaleDownLimit…."""
        if rules.select == "Disabled":
            return replicas
        limits = []
        for policy in rules.policies:
            start = replicas - _within(self._added, now, policy.period) + _within(self._removed, now, policy.period)
            if policy.kind == "Pods":
                limits.append(start + sign * policy.value)
            elif sign > 0:
                limits.append(math.ceil(start * (100 + policy.value) / 100))
            else:
                limits.append(int(start * (100 - policy.value) / 100))
        farthest = (rules.select == "Max") == (sign > 0)
        return max(limits) if farthest else min(limits)


def _within(events: list[tuple[float, int]], now: float, period: float) -> int:
    return sum(count for at, count in events if at > now - period)
