"""The choice among the engines with room. One file per policy: purpose, formula, inputs, trade-off.

prefix         affinity to the engine that has the prompt's prefix in its cache, bounded by load; the default
least_loaded   the engine that holds the fewest requests
p2c            the better of two engines drawn at random
session        one engine per session, by consistent hashing with bounded loads
kv_aware       the engine with the most free KV cache and the shortest queue, by its own metrics
round_robin    engines in turn; the baseline

A policy sees only engines that are up and below their limit of requests in flight. So every policy is work conserving:
while an engine has room, no request waits.
"""

from __future__ import annotations

from llm_router.policies.kv_aware import KvAware
from llm_router.policies.least_loaded import LeastLoaded
from llm_router.policies.p2c import PowerOfTwo
from llm_router.policies.policy import Policy, Routed
from llm_router.policies.prefix import PrefixAffinity
from llm_router.policies.round_robin import RoundRobin
from llm_router.policies.session import SessionAffinity
from llm_router.settings import PolicyName

__all__ = ["POLICIES", "Policy", "Routed", "make_policy"]

POLICIES: dict[PolicyName, type[Policy]] = {
    "prefix": PrefixAffinity,
    "least_loaded": LeastLoaded,
    "p2c": PowerOfTwo,
    "session": SessionAffinity,
    "kv_aware": KvAware,
    "round_robin": RoundRobin,
}


def make_policy(name: PolicyName) -> Policy:
    """Return a new policy. Each model has its own."""
    return POLICIES[name]()
