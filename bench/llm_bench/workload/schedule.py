"""The complete load of one run, drawn from a seed before the clock starts.

Arrival times, classes with lengths, and texts each have a random stream of their own, so a change to one leaves the
others unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llm_bench.errors import ScenarioError
from llm_bench.workload.arrivals import ClosedLoop
from llm_bench.workload.compose import RequestDraft, attach_samples, compose
from llm_bench.workload.lengths import Integers, Lengths, RecordedLengths
from llm_bench.workload.prompts import Truncate, truncate_by_characters
from llm_bench.workload.recorded import TraceArrivals
from llm_bench.workload.scenario import Scenario
from llm_traces import TraceRow


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRequest:
    index: int
    scheduled_at: float | None
    """Seconds from the start of the run. None in a closed loop and after the first turn of a conversation, where the
    end of an earlier answer decides."""
    class_name: str
    prompt: str
    """The new part: the whole prompt except earlier turns of the conversation."""
    prompt_tokens: int
    """Tokens of the whole prompt, earlier turns included."""
    max_tokens: int
    earlier: tuple[str, ...] = ()
    """Earlier turns of the conversation: question, answer, question, answer."""
    follows: int | None = None
    """Index of the turn before."""
    think_seconds: float = 0.0
    """Pause between the end of the earlier answer and this request."""
    tenant: str | None = None
    model: str | None = None
    """Requested model, instead of the run's."""
    session: str | None = None
    """Id that the turns of a conversation share; it goes out in the `x-session-id` header."""


def draw_schedule(
    scenario: Scenario, corpus: str, *, seed: int, salt: str, truncate: Truncate = truncate_by_characters
) -> list[PlannedRequest]:
    """Draw the requests of one open-loop run, by arrival time.

    The same scenario, seed and salt give the same schedule. A conversation's turns follow each other directly.
    """
    arrivals_rng, mix_rng, text_rng = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3))
    rows = _arrivals(scenario, arrivals_rng)
    if not rows:
        raise ScenarioError(
            f"no request arrives in {scenario.duration:g} s at {scenario.rate or 0:g} requests/s with seed {seed}: "
            "raise the rate or the duration"
        )
    names = mix_rng.permutation(_balanced(_weights(scenario), len(rows))).tolist()
    names = [row.class_name or name for row, name in zip(rows, names, strict=True)]
    drafts = _draft(scenario, rows, names, mix_rng, truncate=truncate)
    return _compose(scenario, drafts, corpus, rng=text_rng, salt=salt, truncate=truncate)


def draw_mix(
    scenario: Scenario, count: int, corpus: str, *, seed: int, salt: str, truncate: Truncate = truncate_by_characters
) -> list[PlannedRequest]:
    """Draw `count` requests of the mix for a closed loop: they have thinking times instead of arrival times."""
    mix_rng, text_rng, think_rng = (
        np.random.default_rng(child) for child in np.random.SeedSequence([seed, 1]).spawn(3)
    )
    loop = scenario.arrivals
    thinking = loop.draw_thinking(count, think_rng) if isinstance(loop, ClosedLoop) else np.zeros(count)
    drafts = _draft(
        scenario, [TraceRow(0.0, 1, 1)] * count, _balanced(_weights(scenario), count), mix_rng, truncate=truncate
    )
    for draft in drafts:
        if draft.follows is None:
            draft.scheduled_at, draft.think_seconds = None, float(thinking[draft.conversation])
    return _compose(scenario, drafts, corpus, rng=text_rng, salt=salt, truncate=truncate)


def _compose(
    scenario: Scenario,
    drafts: Sequence[RequestDraft],
    corpus: str,
    *,
    rng: np.random.Generator,
    salt: str,
    truncate: Truncate,
) -> list[PlannedRequest]:
    tenants = _balanced(scenario.tenants, len(drafts)) if scenario.tenants else []
    texts = compose(scenario, drafts, corpus, rng=rng, salt=salt, truncate=truncate)
    return [
        PlannedRequest(
            index=index,
            scheduled_at=draft.scheduled_at,
            class_name=draft.class_name,
            prompt=text.prompt,
            prompt_tokens=text.tokens,
            max_tokens=draft.max_tokens,
            earlier=text.earlier,
            follows=draft.follows,
            think_seconds=draft.think_seconds,
            tenant=tenants[draft.conversation] if tenants else None,
            model=scenario.classes[draft.class_name].model,
            session=f"{salt}-{draft.conversation}" if scenario.classes[draft.class_name].turns else None,
        )
        for index, (draft, text) in enumerate(zip(drafts, texts, strict=True))
    ]


def expected_tokens(scenario: Scenario) -> tuple[float, float]:
    """Return the mean (prompt, output) tokens of a request of the mix, from a large draw with clipping and rounding."""
    rng = np.random.default_rng(0)
    total = sum(_weights(scenario).values())
    prompt = output = 0.0
    for kind in scenario.classes.values():
        prompt += kind.weight / total * float(_draw(kind.prompt_tokens, 20_000, rng).mean())
        output += kind.weight / total * float(_draw(kind.output_tokens, 20_000, rng).mean())
    return prompt, output


def _arrivals(scenario: Scenario, rng: np.random.Generator) -> list[TraceRow]:
    """Return a row for each arrival; only a trace's rows have real lengths."""
    arrivals = scenario.arrivals
    if isinstance(arrivals, ClosedLoop):
        raise ScenarioError(f"{scenario.name} is a closed loop: it has no arrival times")
    if not isinstance(arrivals, TraceArrivals):
        return [TraceRow(float(at), 1, 1) for at in arrivals.draw(scenario.duration, rng)]
    rows = arrivals.draw_rows(scenario.duration, rng)
    unknown = {row.class_name for row in rows if row.class_name is not None} - set(scenario.classes)
    if unknown:
        raise ScenarioError(f"{arrivals.file}: the scenario has no class {', '.join(sorted(map(repr, unknown)))}")
    return rows


def _weights(scenario: Scenario) -> dict[str, float]:
    return {name: kind.weight for name, kind in scenario.classes.items()}


def _balanced(weights: Mapping[str, float], count: int) -> list[str]:
    """Return names in exact proportion over any stretch: each time, the one that lags its share most.

    A run lasts seconds. With a random mix, chance would differ by more than the effect that the run measures.
    """
    total = sum(weights.values())
    shares = {name: weight / total for name, weight in weights.items()}
    given = dict.fromkeys(shares, 0)
    order = []
    for position in range(1, count + 1):
        name = max(shares, key=lambda name: shares[name] * position - given[name])
        given[name] += 1
        order.append(name)
    return order


def _draft(
    scenario: Scenario, rows: Sequence[TraceRow], names: Sequence[str], rng: np.random.Generator, *, truncate: Truncate
) -> list[RequestDraft]:
    """Return one draft per request: each arrival's, followed by its conversation's later turns."""
    turns = _draw_turns(scenario, names, rng)
    drafts: list[RequestDraft] = []
    for conversation, (row, name, count) in enumerate(zip(rows, names, turns, strict=True)):
        first = RequestDraft(
            conversation=conversation,
            class_name=name,
            scheduled_at=row.at,
            prompt_tokens=row.prompt_tokens,
            max_tokens=row.output_tokens,
            blocks=row.blocks,
        )
        drafts.append(first)
        turned = scenario.classes[name].turns
        think_seconds = turned.think if turned else 0.0
        for _ in range(1, count):
            follows = len(drafts) - 1
            drafts.append(
                RequestDraft(
                    conversation=conversation,
                    class_name=name,
                    scheduled_at=None,
                    follows=follows,
                    think_seconds=think_seconds,
                )
            )
    if scenario.prompts:
        attach_samples(drafts, scenario.prompts.read(), rng, truncate)
    for name, kind in scenario.classes.items():
        of_class = [draft for draft in drafts if draft.class_name == name]
        prompts = _lengths(kind.prompt_tokens, [draft.prompt_tokens for draft in of_class], rng)
        outputs = _lengths(kind.output_tokens, [draft.max_tokens for draft in of_class], rng)
        for draft, prompt, output in zip(of_class, prompts, outputs, strict=True):
            draft.prompt_tokens, draft.max_tokens = prompt, output
    return drafts


def _draw_turns(scenario: Scenario, names: Sequence[str], rng: np.random.Generator) -> list[int]:
    counts = {
        name: iter(kind.turns.count.draw(names.count(name), rng).tolist() if kind.turns else [1] * names.count(name))
        for name, kind in scenario.classes.items()
    }
    return [next(counts[name]) for name in names]


def _lengths(lengths: Lengths, recorded: Sequence[int], rng: np.random.Generator) -> list[int]:
    return [int(length) for length in _draw(lengths, len(recorded), rng, np.array(recorded, dtype=np.int64))]


def _draw(lengths: Lengths, count: int, rng: np.random.Generator, recorded: Integers | None = None) -> Integers:
    if not isinstance(lengths, RecordedLengths):
        return lengths.draw(count, rng)
    if recorded is None:
        raise ScenarioError("recorded lengths have no mean before they are read: give the classes lengths of their own")
    return lengths.take(recorded)
