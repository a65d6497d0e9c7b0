"""The way of one request: through which functions it goes, what that looks like, and where its time went.

client ── HTTP ── gateway ── HTTP ── server ── queue of commands ── engine
                                     (the engine's event loop)     (the engine's thread)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Event = dict[str, Any]
"""A line of a trace."""
PACKAGES = {
    "gateway": "services/gateway/llm_gateway",
    "server": "services/engine/llm_engine",
    "engine": "services/engine/llm_engine",
}


@dataclass(frozen=True, slots=True)
class Hop:
    """A function that a request goes through."""

    where: str
    """`gateway`, `server` or `engine`."""
    task: str
    place: str
    """File below its package and dotted name: `app.py::Gateway.app`. What the gateway takes from the library that it
    shares with other proxies begins with `llm_proxy/`.
    """

    @property
    def path(self) -> str:
        """Return the place with the file's path from the repository's root; empty without an answer."""
        if self.place.startswith("llm_proxy/"):
            return f"libs/proxy/{self.place}"
        return self.place and f"{PACKAGES[self.where]}/{self.place}"


@dataclass(frozen=True, slots=True)
class Call:
    """A call that a run made."""

    where: str
    name: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """The moments of one request, in seconds since 1970, whichever process noted them."""

    enqueued: float
    """The gateway has read and classified it."""
    granted: float
    """It has an engine's slot."""
    queued: float
    """It is in the engine's queue."""
    scheduled: float
    """It is in a step for the first time."""
    first_token: float
    finished: float
    """The engine is done with it."""
    released: float
    """Its slot is free again."""
    num_steps: int
    """Steps that computed tokens of it."""


def hops() -> list[Hop]:
    """Return the functions that do these tasks for a streamed completion, in the order of their first calls."""
    # region exercise: the file and the name of each
    # stub: return [
    # stub:     Hop("gateway", "handle POST /v1/completions", ""),
    # stub:     Hop("gateway", "find out whose API key it is", ""),
    # stub:     Hop("gateway", "make JSON of the body", ""),
    # stub:     Hop("gateway", "find the request's class and its targets", ""),
    # stub:     Hop("gateway", "get a slot of an engine, at once or after waiting", ""),
    # stub:     Hop("gateway", "take the slot of one engine", ""),
    # stub:     Hop("gateway", "send the request to that engine", ""),
    # stub:     Hop("server", "handle the engine's own POST /v1/completions", ""),
    # stub:     Hop("server", "turn text into token ids", ""),
    # stub:     Hop("server", "make a sequence for each answer", ""),
    # stub:     Hop("server", "give the request to the engine's thread", ""),
    # stub:     Hop("engine", "give it a number of arrival and queue it", ""),
    # stub:     Hop("engine", "plan a step", ""),
    # stub:     Hop("engine", "look for its prefix in the cache and let it in", ""),
    # stub:     Hop("engine", "hand out a block of KV memory", ""),
    # stub:     Hop("engine", "start the step on the device", ""),
    # stub:     Hop("engine", "write tokens, positions and block tables into tensors", ""),
    # stub:     Hop("engine", "run the layers", ""),
    # stub:     Hop("engine", "share the blocks that the step has filled", ""),
    # stub:     Hop("engine", "draw the next token", ""),
    # stub:     Hop("engine", "turn tokens into text that can be sent", ""),
    # stub:     Hop("server", "bring a step's outputs to the streams of their requests", ""),
    # stub:     Hop("server", "make server-sent events of an output", ""),
    # stub:     Hop("gateway", "let the engine's events through, and look for token counts", ""),
    # stub:     Hop("gateway", "give the slot back", ""),
    # stub: ]
    return [
        Hop("gateway", "handle POST /v1/completions", "proxy/proxy.py::Proxy.generate"),
        Hop("gateway", "find out whose API key it is", "tenancy/tenants.py::TenantTable.authenticate"),
        Hop("gateway", "make JSON of the body", "llm_proxy/request/body.py::parse"),
        Hop("gateway", "find the request's class and its targets", "request/classify.py::classify"),
        Hop(
            "gateway", "get a slot of an engine, at once or after waiting", "scheduling/dispatch.py::Dispatcher.acquire"
        ),
        Hop("gateway", "take the slot of one engine", "engines/pool.py::EnginePool.take"),
        Hop("gateway", "send the request to that engine", "llm_proxy/upstream/client.py::Upstream.send"),
        Hop("server", "handle the engine's own POST /v1/completions", "server/app.py::Routes.complete"),
        Hop("server", "turn text into token ids", "checkpoint/tokenizer.py::Tokenizer.encode"),
        Hop("server", "make a sequence for each answer", "request/preparation.py::Preparer.prepare"),
        Hop("server", "give the request to the engine's thread", "server/async_engine.py::AsyncEngine._submit"),
        Hop("engine", "give it a number of arrival and queue it", "engine.py::Engine.enqueue"),
        Hop("engine", "plan a step", "scheduler/scheduler.py::Scheduler.schedule"),
        Hop("engine", "look for its prefix in the cache and let it in", "kv_cache/manager.py::KVCacheManager.admit"),
        Hop("engine", "hand out a block of KV memory", "kv_cache/block_pool.py::BlockPool.allocate"),
        Hop("engine", "start the step on the device", "execution/model_runner.py::ModelRunner.launch"),
        Hop(
            "engine", "write tokens, positions and block tables into tensors", "execution/batch.py::BatchBuilder.build"
        ),
        Hop("engine", "run the layers", "execution/decoder.py::DecoderModel.forward"),
        Hop("engine", "share the blocks that the step has filled", "scheduler/scheduler.py::Scheduler.commit"),
        Hop("engine", "draw the next token", "sampling/sampler.py::Sampler.sample"),
        Hop("engine", "turn tokens into text that can be sent", "request/detokenizer.py::Detokenizer.push"),
        Hop(
            "server",
            "bring a step's outputs to the streams of their requests",
            "server/async_engine.py::AsyncEngine._deliver",
        ),
        Hop("server", "make server-sent events of an output", "server/choices.py::TextChoices.events"),
        Hop(
            "gateway",
            "let the engine's events through, and look for token counts",
            "llm_proxy/stream/filter.py::StreamFilter.feed",
        ),
        Hop("gateway", "give the slot back", "llm_proxy/upstream/slot.py::EngineSlot.release"),
    ]
    # endregion


def diagram(calls: Iterable[Call]) -> str:
    """Return a Mermaid sequence diagram of a run that `client` began.

    `sequenceDiagram`, a line `participant NAME` for each in the order of their appearance, then a line
    `FROM->>TO: NAME` for each function at its first call, FROM being where the arrow before ended. A function that was
    called n > 1 times has ` (n times)` behind its name.
    """
    # region exercise: count first; then one arrow for each function
    calls = list(calls)
    counts = Counter(calls)
    first_calls = list(dict.fromkeys(calls))
    participants = dict.fromkeys(["client", *(call.where for call in first_calls)])
    lines = ["sequenceDiagram", *(f"    participant {each}" for each in participants)]
    at = "client"
    for call in first_calls:
        times = f" ({counts[call]} times)" if counts[call] > 1 else ""
        lines.append(f"    {at}->>{call.where}: {call.name}{times}")
        at = call.where
    return "\n".join(lines)
    # endregion


def timeline(gateway: list[Event], engine: list[Event], trace_id: str) -> Timeline:
    """Return one request's moments, from the gateway's queue trace and the engine's trace. It has one answer.

    Both have the client's trace id where a request begins, and then ids of their own. `start.time_unix` is the moment
    from which a file counts its seconds. queue_trace.schema.json and trace.schema.json describe the lines;
    `result.index` is that of its step.
    """
    # region exercise: find the two ids; then the lines with them; then put both on one clock
    origin, name = gateway[0]["time_unix"], _named(gateway, "enqueue", trace_id)
    times = {line["event"]: origin + line["time"] for line in gateway if line.get("id") == name}
    origin, answer = engine[0]["time_unix"], _named(engine, "request", trace_id)
    times |= {line["event"]: origin + line["time"] for line in engine if line.get("id") == answer}
    steps = [line for line in engine if line["event"] == "step" and _is_in(line["sequences"], answer)]
    results = [line for line in engine if line["event"] == "result" and _is_in(line["sampled"], answer)]
    return Timeline(
        enqueued=times["enqueue"],
        granted=times["grant"],
        queued=times["request"],
        scheduled=origin + steps[0]["time"],
        first_token=origin + results[0]["time"],
        finished=times["finish"],
        released=times["release"],
        num_steps=len(steps),
    )
    # endregion


def _named(lines: list[Event], event: str, trace_id: str) -> str:
    """Return the id under which a file goes on about a request."""
    # region exercise: the line that knows both
    return next(str(line["id"]) for line in lines if line["event"] == event and line["trace_id"] == trace_id)
    # endregion


def _is_in(items: list[Event], name: str) -> bool:
    return any(item["id"] == name for item in items)
