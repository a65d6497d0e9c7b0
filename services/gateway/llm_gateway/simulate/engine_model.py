"""An engine in virtual time: continuous batching over a finite KV cache.

    decode    A step takes ITL = base + slope * batch seconds and gives each sequence of the batch one token.
    prefill   Prompts are processed one after the other, at `prefill` seconds per token. Decoding pauses meanwhile.
    KV        A sequence holds its prompt and its generated tokens. It is admitted when its prompt fits. When the cache
              is full, the sequence admitted last is preempted and recomputed from its prompt and its tokens so far.

The batch does not change between two events, so time jumps from event to event. The number of steps is a real number,
and a sequence is done when it reaches a value that is known at the sequence's start. An event costs O(log batch);
tokens cost nothing.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass
from itertools import count

from llm_gateway.simulate.load import TraceRequest


@dataclass(frozen=True, slots=True)
class EngineModel:
    """The parameters of an engine. The defaults resemble a 7B model on one accelerator."""

    itl_base: float = 0.012
    """Seconds."""
    itl_slope: float = 0.00025
    """Seconds per sequence in the batch."""
    prefill: float = 0.00008
    """Seconds per prompt token."""
    kv_tokens: int = 200_000
    max_running: int = 64
    """Sequences."""

    def itl(self, batch: int) -> float:
        return self.itl_base + self.itl_slope * batch

    def capacity(self, prompt_tokens: float, output_tokens: float, batch: int) -> float:
        """Return the requests per second with `batch` sequences always running, if the KV cache permits.

        A request costs its own prefill, and its share of the decode steps after its first token.
        """
        decode = (output_tokens - 1) * self.itl(batch) / batch
        return 1.0 / (self.prefill * prompt_tokens + decode)


@dataclass(slots=True, eq=False)
class Sequence:
    """One request at an engine. Times are simulated seconds, nan for an event that did not happen."""

    request: TraceRequest
    granted: float = math.nan
    """Time at which it got a slot."""
    first_token: float = math.nan
    finished: float = math.nan
    preemptions: int = 0
    generated: int = 0
    """Tokens generated up to its last prefill."""
    joined_at: float = 0.0
    """Number of the engine's decode steps when it joined the batch."""
    ending: int = -1
    """Number of the valid entry for its end in the engine's heap."""

    @property
    def kv_tokens(self) -> int:
        """KV tokens at its last prefill."""
        return self.request.prompt_tokens + self.generated


class SimulatedEngine:
    """An engine in virtual time. Call `submit` for each arrival, and `run` when time has reached `next_event`."""

    def __init__(self, model: EngineModel) -> None:
        self._model = model
        self._now = 0.0
        self._steps = 0.0
        self._waiting: deque[Sequence] = deque()
        self._prefilling: Sequence | None = None
        self._batch: dict[Sequence, None] = {}
        """The decoding sequences, in order of admission."""
        self._endings: list[tuple[float, int, Sequence]] = []
        """(steps at its end, number of the entry, sequence). An entry is stale once its sequence is preempted."""
        self._serial = count()
        self._kv_offset = 0.0
        """The batch holds this many KV tokens plus steps times batch size."""
        self._target = math.inf
        """Steps at the next event of the batch."""
        self.next_event = math.inf
        """Seconds; infinite when idle."""

    def submit(self, sequence: Sequence, now: float) -> None:
        self._advance(now)
        self._waiting.append(sequence)
        self._plan()

    def run(self) -> list[Sequence]:
        """Advance to `next_event` and return the sequences that finish then."""
        now = self.next_event
        if self._prefilling is not None:
            self._now = now
            done = self._prefilled(self._prefilling)
        else:
            self._now, self._steps = now, self._target
            done = self._ended()
            if not done:
                self._preempt()
        for sequence in done:
            sequence.finished = now
        self._plan()
        return done

    def kv_used(self) -> float:
        prefilling = self._prefilling.kv_tokens if self._prefilling is not None else 0
        return self._kv_offset + len(self._batch) * self._steps + prefilling

    def _advance(self, now: float) -> None:
        if self._prefilling is None and self._batch:
            self._steps = min(self._target, self._steps + (now - self._now) / self._model.itl(len(self._batch)))
        self._now = now

    def _plan(self) -> None:
        """Admit a waiting sequence and compute the next event, unless a prefill is running."""
        if self._prefilling is not None:
            return
        if self._waiting and self._fits(self._waiting[0]):
            self._prefilling = self._waiting.popleft()
            self.next_event = self._now + self._model.prefill * self._prefilling.kv_tokens
        elif self._batch:
            self._target = max(self._steps, min(self._next_ending(), self._full_at()))
            self.next_event = self._now + (self._target - self._steps) * self._model.itl(len(self._batch))
        else:
            self.next_event = math.inf

    def _fits(self, sequence: Sequence) -> bool:
        """Return whether the sequence fits. An idle engine takes any, even one larger than the cache."""
        if not self._batch:
            return True
        room = self._model.kv_tokens - self.kv_used()
        return len(self._batch) < self._model.max_running and sequence.kv_tokens + 1 <= room

    def _prefilled(self, sequence: Sequence) -> list[Sequence]:
        """Finish a prefill, which yields one token, and start to decode. Return the sequence if it is done already."""
        self._prefilling = None
        sequence.generated += 1
        if math.isnan(sequence.first_token):
            sequence.first_token = self._now
        remaining = sequence.request.output_tokens - sequence.generated
        if remaining <= 0:
            return [sequence]
        sequence.joined_at = self._steps
        self._batch[sequence] = None
        self._kv_offset += sequence.kv_tokens - self._steps
        sequence.ending = next(self._serial)
        heapq.heappush(self._endings, (self._steps + remaining, sequence.ending, sequence))
        return []

    def _ended(self) -> list[Sequence]:
        done = []
        while self._batch and self._next_ending() <= self._steps:
            sequence = heapq.heappop(self._endings)[2]
            self._leave(sequence)
            done.append(sequence)
        return done

    def _preempt(self) -> None:
        sequence = next(reversed(self._batch))
        self._leave(sequence)
        sequence.generated += int(self._steps - sequence.joined_at)
        sequence.preemptions += 1
        self._waiting.appendleft(sequence)

    def _leave(self, sequence: Sequence) -> None:
        del self._batch[sequence]
        sequence.ending = -1
        self._kv_offset -= sequence.kv_tokens - sequence.joined_at
        if not self._batch:
            self._kv_offset = 0.0  # no rounding error outlives a busy period

    def _next_ending(self) -> float:
        while self._endings[0][1] != self._endings[0][2].ending:
            heapq.heappop(self._endings)
        return self._endings[0][0]

    def _full_at(self) -> float:
        """Return the number of steps at which the cache is full; inf for one sequence, as no other can be preempted."""
        if len(self._batch) < 2:
            return math.inf
        return (self._model.kv_tokens - self._kv_offset) / len(self._batch)
