"""How many engines a load needs, from the KV cache and a measured throughput, with a queueing margin.

Requests that run at once are slots. All engines behind one queue are a system of c slots, with Poisson arrivals and
exponential service times: M/M/c. Erlang's C formula gives the probability that a request waits, and from it that it
waits longer than a target: P(W > t) = C(c, a) * exp(-(c - a) * t / S), where a = rate * S is the offered load.
L. Kleinrock, Queueing Systems, volume 1, section 3.5.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from llm_deploy.errors import UsageError

MAX_REPLICAS = 10_000


@dataclass(frozen=True)
class Shape:
    """The part of a model that decides how large its KV cache is."""

    layers: int
    kv_heads: int
    head_dim: int

    def kv_bytes(self, element_bytes: int) -> int:
        """Return the bytes of one token: a key and a value per layer and head."""
        return 2 * self.layers * self.kv_heads * self.head_dim * element_bytes

    @classmethod
    def read(cls, model: str) -> Shape:
        """Read `LAYERSxHEADSxDIM`, or the config.json of a folder. Raises UsageError."""
        try:
            if all(part.isdecimal() for part in model.split("x")):
                return cls(*(int(part) for part in model.split("x")))
            config = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
            heads = config["num_attention_heads"]
            head_dim = config.get("head_dim") or config["hidden_size"] // heads
            return cls(config["num_hidden_layers"], config.get("num_key_value_heads", heads), head_dim)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{model} is neither a model's folder nor LAYERSxKV_HEADSxHEAD_DIM, as in 32x8x128 ({error})"
            ) from None


@dataclass(frozen=True, kw_only=True)
class Load:
    rate: float
    """Requests per second in the busiest minutes."""
    prompt: int
    output: int
    """Mean tokens of a request."""
    wait: float
    """Seconds that a request may wait for a slot …"""
    objective: float
    """… in this share of requests."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    kv_memory: float
    """Bytes that are left for the KV cache: memory x utilization - weights - activations."""
    tokens_per_second: float
    """Output tokens, measured at its full batch."""
    max_sequences: int = 256


@dataclass(frozen=True)
class Plan:
    kv_bytes: int
    """Per token."""
    kv_tokens: int
    concurrency: int
    """Requests that one engine runs at once."""
    seconds: float
    """Time that a request holds its slot."""
    offered: float
    """Slots that are busy on average (erlangs)."""
    replicas: int
    late: float
    """Share of requests that wait longer than the target, with these replicas."""

    @property
    def utilisation(self) -> float:
        return self.offered / (self.replicas * self.concurrency)


def plan(shape: Shape, element_bytes: int, engine: Engine, load: Load) -> Plan:
    """Return the smallest number of replicas that keeps the objective. Raises UsageError if there is none."""
    kv_bytes = shape.kv_bytes(element_bytes)
    kv_tokens = int(engine.kv_memory / kv_bytes)
    concurrency = min(kv_tokens // (load.prompt + load.output), engine.max_sequences)
    if not concurrency:
        raise UsageError(
            f"one request of {load.prompt + load.output} tokens does not fit into a KV cache of {kv_tokens} tokens"
        )
    seconds = load.output * concurrency / engine.tokens_per_second
    offered = load.rate * seconds
    for replicas in range(max(1, math.ceil(offered / concurrency)), MAX_REPLICAS):
        late = wait_probability(replicas * concurrency, offered, load.wait / seconds)
        if late <= 1 - load.objective:
            return Plan(kv_bytes, kv_tokens, concurrency, seconds, offered, replicas, late)
    raise UsageError(f"more than {MAX_REPLICAS} engines are needed; check the rate and the throughput")


def wait_probability(slots: int, offered: float, services: float) -> float:
    """Return the probability of waiting longer than `services` mean service times; 1 if the slots are too few."""
    if offered >= slots:
        return 1.0
    # Erlang's B by its recursion, which overflows nowhere; C follows from it.
    blocked = 1.0
    for number in range(1, slots + 1):
        blocked = offered * blocked / (number + offered * blocked)
    waits = blocked / (1 - (offered / slots) * (1 - blocked))
    return waits * math.exp(-(slots - offered) * services)
