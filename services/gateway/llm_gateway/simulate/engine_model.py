"""An engine in virtual time: continuous batching over a finite KV cache.

    decode    a step takes ITL = base + slope * batch seconds and gives each sequence of the batch one token
    prefill   one prompt after the other, `prefill` seconds a token; decoding stands still meanwhile
    KV        a sequence holds its prompt and what it generated. It is admitted when its prompt fits; when the cache is
              full, the sequence admitted last is preempted, and computed again from its prompt and its tokens so far

Between two events the batch does not change, so time jumps from event to event: the number of steps taken is counted as
a real number, and a sequence is done when the count reaches a value that is known when it starts. An event costs
O(log batch); tokens cost nothing.
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
    """Defaults: about a 7B model on one accelerator."""

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
        """Requests per second with `batch` sequences always running, KV permitting.

        A request costs its own prefill and, of the steps after its first token, its part of the batch.
        """
        decode = (output_tokens - 1) * self.itl(batch) / batch
        return 1.0 / (self.prefill * prompt_tokens + decode)


@dataclass(slots=True, eq=False)
class Sequence:
    """One request at an engine; times are seconds of the simulation, nan if it did not come to that."""

    request: TraceRequest
    granted: float = math.nan
    """Engine slot given."""
    first_token: float = math.nan
    finished: float = math.nan
    preemptions: int = 0
    generated: int = 0
    """Tokens up to its last prefill."""
    joined_at: float = 0.0
    """Decode steps of the engine when it joined the batch."""
    ending: int = -1
    """Which of the engine's entries about its end is the valid one."""

    @property
    def kv_tokens(self) -> int:
        """At its last prefill."""
        return self.request.prompt_tokens + self.generated


class SimulatedEngine:
    """`submit` what arrives; `run` whenever time has come to `next_event`."""

    def __init__(self, model: EngineModel) -> None:
        self._model = model
        self._now = 0.0
        self._steps = 0.0
        self._waiting: deque[Sequence] = deque()
        self._prefilling: Sequence | None = None
        self._batch: dict[Sequence, None] = {}
        """Decoding, by admission."""
        self._endings: list[tuple[float, int, Sequence]] = []
        """(steps when it is done, number of the entry, sequence); stale if the sequence was preempted since."""
        self._serial = count()
        self._kv_offset = 0.0
        """KV tokens of the batch are this plus the steps times the batch."""
        self._target = math.inf
        """Steps at the next event of the batch."""
        self.next_event = math.inf
        """Seconds; infinite when idle."""

    def submit(self, sequence: Sequence, now: float) -> None:
        self._advance(now)
        self._waiting.append(sequence)
        self._plan()

    def run(self) -> list[Sequence]:
        """Moves to `next_event`; returns the sequences that are done then."""
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
        """Admits what waits and finds the next event; nothing to do while a prefill goes on."""
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
        """An empty engine takes any sequence, or one larger than the cache would wait for ever."""
        if not self._batch:
            return True
        room = self._model.kv_tokens - self.kv_used()
        return len(self._batch) < self._model.max_running and sequence.kv_tokens + 1 <= room

    def _prefilled(self, sequence: Sequence) -> list[Sequence]:
        """Its first token is out, or the next one if it was preempted; then it decodes, if there is more to come."""
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
        """Steps at which the cache is full; never for one sequence, which nobody could make room for."""
        if len(self._batch) < 2:
            return math.inf
        return (self._model.kv_tokens - self._kv_offset) / len(self._batch)
