"""The scenario: everything to send, from a checked file. An unknown key is an error.

    name: mixed-priority
    duration: 30
    arrivals: {kind: poisson, rate: 6}
    classes:
      interactive:
        weight: 0.5
        prompt_tokens: {kind: uniform, low: 32, high: 128}
        output_tokens: {kind: uniform, low: 16, high: 48}
        slo: {ttft: 0.5, tpot: 0.1}

All times are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from llm_bench.client.credentials import WHAT_A_NAME_IS, is_variable_name
from llm_bench.errors import ScenarioError
from llm_bench.workload.arrivals import ClosedLoop, SyntheticArrivals
from llm_bench.workload.dataset import PromptFile
from llm_bench.workload.lengths import DrawnLengths, Lengths, RecordedLengths
from llm_bench.workload.recorded import TraceArrivals

Api = Literal["completions", "chat"]
Trim = Literal["auto"] | NonNegativeFloat
Arrivals = Annotated[SyntheticArrivals | TraceArrivals | ClosedLoop, Field(discriminator="kind")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Slo(_Part):
    """Bounds, in seconds, within which a request counts as served well; None sets no bound."""

    ttft: PositiveFloat | None = None
    """Scheduled arrival to first token."""
    tpot: PositiveFloat | None = None
    """Mean time per output token after the first."""
    e2e: PositiveFloat | None = None
    """Scheduled arrival to last byte."""


class SharedPrefix(_Part):
    """A beginning that many requests have in common, such as a system prompt or a document that many ask about."""

    tokens: PositiveInt
    """Length of the prefix, in addition to `prompt_tokens`."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the class's requests (or conversations) that begin with it; all others are unique."""
    variants: PositiveInt = 1
    """Number of different prefixes, used in turn."""


class Turns(_Part):
    """Conversations: each turn's prompt is the whole conversation so far and a new part."""

    count: Annotated[DrawnLengths, Field(discriminator="kind")]
    """Turns of a conversation, the first included."""
    think: NonNegativeFloat = 0.0
    """Seconds from the end of an answer to the next turn. A turn whose answer failed ends its conversation."""


class RequestClass(_Part):
    """One kind of request. Its name goes out in the `x-priority` header."""

    weight: PositiveFloat
    """Share of the requests (of conversations, where they have turns), relative to the other classes' weights."""
    prompt_tokens: Lengths
    """Lengths of the new part of each request."""
    output_tokens: Lengths
    slo: Slo = Slo()
    shared_prefix: SharedPrefix | None = None
    turns: Turns | None = None
    model: str | None = None
    """Requested model, such as a LoRA adapter, instead of the run's."""

    def longest_request(self) -> int:
        prefix = self.shared_prefix.tokens if self.shared_prefix else 0
        turns = self.turns.count.longest() if self.turns else 1
        return prefix + turns * (self.prompt_tokens.longest() + self.output_tokens.longest())


class Scenario(_Part):
    name: Annotated[str, Field(min_length=1)]
    description: str = ""
    seed: NonNegativeInt = 1
    duration: PositiveFloat
    """Length of the window in which requests arrive."""
    drain: PositiveFloat = 300.0
    """Longest wait for unfinished requests after the last arrival."""
    timeout: PositiveFloat = 300.0
    """Longest silence on a connection before its request counts as failed."""
    warm_up: Trim = 0.0
    """Seconds at the start whose requests do not count, or `auto` (see `window`)."""
    cool_down: Trim = 0.0
    """Seconds at the end of the arrivals whose requests do not count, or `auto`."""
    arrivals: Arrivals
    api: Api = "completions"
    continuous_usage: bool = True
    """Ask for the token count in every chunk (vLLM's `continuous_usage_stats`), so tokens per chunk are known."""
    prompts: PromptFile | None = None
    """Texts to send, instead of pieces of the corpus."""
    tenants: dict[str, PositiveFloat] = {}
    """Shares of the requests by tenant, relative to each other; the name goes out in the `x-tenant` header."""
    tenant_key_envs: dict[str, str] = {}
    """Environment variables that hold the API keys of tenants with a key of their own."""
    classes: Annotated[dict[str, RequestClass], Field(min_length=1)]

    @model_validator(mode="after")
    def _recorded_lengths_have_a_source(self) -> Scenario:
        for name, kind in self.classes.items():
            if isinstance(kind.prompt_tokens, RecordedLengths) and not (self.has_trace or self.prompts):
                raise ValueError(
                    f"prompt_tokens of {name} are recorded, but there is neither a trace nor a prompt file"
                )
            if isinstance(kind.output_tokens, RecordedLengths) and not (self.has_trace or self.prompts):
                raise ValueError(
                    f"output_tokens of {name} are recorded, but there is neither a trace nor a prompt file"
                )
            if kind.turns and isinstance(kind.prompt_tokens, RecordedLengths):
                raise ValueError(f"{name} has turns: a trace and a prompt file know only single requests")
        return self

    @model_validator(mode="after")
    def _keys_are_of_tenants_and_not_written_here(self) -> Scenario:
        unknown = set(self.tenant_key_envs) - set(self.tenants)
        if unknown:
            raise ValueError(f"tenant_key_envs has {', '.join(sorted(map(repr, unknown)))}, which is not in tenants")
        if not all(map(is_variable_name, self.tenant_key_envs.values())):
            raise ValueError(f"tenant_key_envs: {WHAT_A_NAME_IS}")
        return self

    @property
    def left_out(self) -> list[str]:
        """A sentence for each reason why rows of the trace or the prompt file were left out."""
        trace = self.arrivals.read() if isinstance(self.arrivals, TraceArrivals) else None
        skipped = (trace.skipped if trace else 0) + (self.prompts.read().skipped if self.prompts else 0)
        notes = [f"{skipped} bad rows of the scenario's files were skipped"] if skipped else []
        return [*notes, trace.notice] if trace and trace.notice else notes

    @property
    def has_trace(self) -> bool:
        return isinstance(self.arrivals, TraceArrivals)

    @property
    def rate(self) -> float | None:
        """Mean arrivals per second; None for a closed loop, whose rate depends on the target."""
        return None if isinstance(self.arrivals, ClosedLoop) else self.arrivals.mean_rate(self.duration)

    def longest_request(self) -> int:
        """Return the largest number of tokens, prompt plus output, that the scenario can draw."""
        return max(kind.longest_request() for kind in self.classes.values())


def load_scenario(path: Path, overrides: Mapping[str, Any] | None = None) -> Scenario:
    """Return the scenario in `path` with top-level `overrides`. Raises ScenarioError, which names file and key."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ScenarioError(f"{path}: is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ScenarioError(f"{path}: expected a mapping with name, duration, arrivals and classes")
    try:
        scenario = Scenario.model_validate({**values, **(overrides or {})})
    except ValidationError as error:
        problems = "; ".join(_describe(problem) for problem in error.errors())
        raise ScenarioError(f"{path}: {problems}") from error
    return _beside(scenario, path.parent)


def _beside(scenario: Scenario, folder: Path) -> Scenario:
    """Resolve files that a scenario names relative to it."""
    changes: dict[str, Any] = {}
    if isinstance(scenario.arrivals, TraceArrivals):
        changes["arrivals"] = scenario.arrivals.model_copy(update={"file": folder / scenario.arrivals.file})
    if scenario.prompts:
        changes["prompts"] = scenario.prompts.model_copy(update={"file": folder / scenario.prompts.file})
    return scenario.model_copy(update=changes)


def _describe(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"]) or "scenario"
    if problem["type"] == "extra_forbidden":
        return f"{where}: unknown key"
    given = "" if isinstance(problem["input"], dict) else f" (given: {problem['input']!r})"
    return f"{where}: {problem['msg']}{given}"


def skip_bad_rows(scenario: Scenario) -> Scenario:
    """Return the scenario that skips bad rows of its trace and prompt file instead of refusing them."""
    skip = {"skip_bad_rows": True}
    changes: dict[str, Any] = {}
    if isinstance(scenario.arrivals, TraceArrivals):
        changes["arrivals"] = scenario.arrivals.model_copy(update=skip)
    if scenario.prompts:
        changes["prompts"] = scenario.prompts.model_copy(update=skip)
    return scenario.model_copy(update=changes)


def scaled(scenario: Scenario, rate: float | None = None, scale: float | None = None) -> Scenario:
    """Return the scenario with its mean arrival rate set to `rate` (requests per second) or multiplied by `scale`."""
    if rate is None and scale is None:
        return scenario
    if isinstance(scenario.arrivals, ClosedLoop) or scenario.rate is None:
        raise ScenarioError(f"{scenario.name} is a closed loop: it has users, not a rate to set")
    factor = rate / scenario.rate if rate is not None else scale or 0.0
    if not factor > 0:
        raise ScenarioError(f"the arrival rate must be above 0 requests/s, not {factor * scenario.rate:g}")
    return scenario.model_copy(update={"arrivals": scenario.arrivals.scaled(factor)})
