"""The engine: requests go in, steps compute, text comes out.

It is synchronous and single-threaded; `async_engine` runs it in a thread of its own.

engine = Engine(EngineConfig("models/main"))
engine.add_request("a", prompt_ids, SamplingParams(max_tokens=20))
while engine.has_work:
    for output in engine.step():
        print(output.text, end="")
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from pathlib import Path

from llm_engine.errors import RequestError
from llm_engine.kv_cache.manager import KVCacheManager
from llm_engine.observers import invariants
from llm_engine.observers.observer import ObservedEngine, Observer, Observers
from llm_engine.observers.trace import StepTrace
from llm_engine.request.check import RequestCheck
from llm_engine.request.choice import Choice
from llm_engine.request.outputs import RequestOutput
from llm_engine.request.preparation import Prepared, Preparer
from llm_engine.sampling.params import SamplingParams
from llm_engine.sampling.sampler import Sampled
from llm_engine.scheduler.overlap import InFlight
from llm_engine.scheduler.placeholders import placeholder
from llm_engine.scheduler.policies import ORDERS, Policies
from llm_engine.scheduler.scheduler import Scheduler, Step
from llm_engine.scheduler.sequence import FinishReason, Sequence
from llm_engine.settings import EngineConfig
from llm_engine.startup import load as startup

log = logging.getLogger(__name__)


class Engine:
    """One model with its scheduler, its KV cache and its requests."""

    def __init__(
        self, config: EngineConfig, observers: Iterable[Observer] = (), policies: Policies | None = None
    ) -> None:
        """Load the model. ModelError if it cannot be served with this config."""
        policies = policies or Policies()
        parts = startup.load(config)
        self.config = config
        self.max_model_len = parts.max_model_len
        self.num_blocks = parts.num_blocks
        self.tokenizer = parts.tokenizer
        self.vocab_size = parts.vocab_size
        self.kv_cache = KVCacheManager(
            self.num_blocks,
            config.block_size,
            config.prefix_cache_kind,
            policies.evict,
            num_host_blocks=config.num_cpu_blocks,
        )
        self.scheduler = Scheduler(
            self.kv_cache,
            config.max_num_seqs,
            config.max_num_batched_tokens,
            policies.order or ORDERS[config.scheduling_policy],
            select_victim=policies.select_victim,
        )
        self._runner = parts.runner
        self._overlaps = parts.overlaps
        self._in_flight: InFlight | None = None
        self.speculation = parts.speculation
        self.folder = parts.folder
        self.check = RequestCheck(self.vocab_size, self.max_model_len, config.max_logprobs)
        self._preparer = Preparer(self.folder, self.tokenizer, self.check)
        self._requests: dict[str, list[Choice]] = {}
        self._num_arrivals = 0
        self.num_preemptions = 0
        trace = () if config.trace is None else (StepTrace(Path(config.trace)),)
        self._observers = Observers([*observers, *trace])
        self._observers.watch(self._observed(parts))

    @property
    def has_work(self) -> bool:
        return self.scheduler.has_work or self._in_flight is not None

    @property
    def failure(self) -> str | None:
        """Why the engine cannot go on although no step has failed: a process of another rank has died."""
        return self._runner.failure

    def prepare(self, prompt_ids: list[int], params: SamplingParams, only_final: bool = False) -> Prepared:
        """Check a request and prepare it for the queue. RequestError if it can never be served.

        Any thread can call this. It can take long, because it compiles grammars. `only_final`: see `add_request`.
        """
        return self._preparer.prepare(prompt_ids, params, only_final)

    def warm_up(self) -> None:
        """Do work now that would otherwise delay the first requests."""
        self._preparer.warm_up()

    def add_request(
        self,
        request_id: str,
        prompt_ids: list[int],
        params: SamplingParams,
        priority: int = 0,
        *,
        only_final: bool = False,
    ) -> None:
        """Prepare and queue a request. RequestError if it can never be served.

        Later steps return its outputs. With `only_final` there is one output per answer, when the answer ends.
        """
        self.enqueue(request_id, self.prepare(prompt_ids, params, only_final), priority)

    def enqueue(
        self,
        request_id: str,
        prepared: Prepared,
        priority: int = 0,
        arrival_time: float | None = None,
        *,
        trace_id: str | None = None,
    ) -> None:
        """Queue a prepared request. RequestError if its id is in use.

        The first of n answers is queued now. The others are queued once its prompt is computed, and share its blocks.
        """
        if request_id in self._requests:
            raise RequestError(f"a request with id {request_id} is already running", "request_id")
        now = time.monotonic() if arrival_time is None else arrival_time
        for choice in prepared.choices:
            sequence = choice.sequence
            sequence.request_id, sequence.priority, sequence.arrival_time = request_id, priority, now
            sequence.arrival, sequence.trace_id = self._num_arrivals, trace_id
            self._num_arrivals += 1
            self._observers.queued(sequence)
        self._requests[request_id] = prepared.choices
        self.scheduler.add(prepared.sequence)

    def abort_request(self, request_id: str) -> None:
        """Drop the request and free its blocks. Unknown and finished requests are ignored."""
        self._drop(self._requests.pop(request_id, []), FinishReason.ABORT)

    def close(self) -> None:
        """Stop the processes of other ranks, if there are any."""
        self._runner.close()

    def step(self) -> list[RequestOutput]:
        """Compute one step and return the outputs of the requests that got text or ended.

        With overlap, launch one step and then read the previous one: results arrive one step late, so the device never
        idles.
        """
        outputs: list[RequestOutput] = []
        before, self._in_flight = self._in_flight, None
        if before is not None and not before.can_be_overtaken:
            outputs, before = self._finish_step(before), None
        begun = self._begin_step() if self.scheduler.has_work else None
        if before is not None:
            outputs = self._finish_step(before)
        if begun is not None and not self._overlaps:
            return self._finish_step(begun)
        self._in_flight = begun
        return outputs

    def _observed(self, parts: startup.Parts) -> ObservedEngine:
        return ObservedEngine(
            config=self.config,
            num_blocks=self.num_blocks,
            max_model_len=self.max_model_len,
            tokenizer=self.tokenizer,
            kv_cache=self.kv_cache,
            scheduler=self.scheduler,
            speculation=self.speculation,
            dtype=parts.dtype,
            kv_bytes_per_block=parts.kv_bytes_per_block,
            timelines=lambda: parts.runner.timelines,
        )

    def _begin_step(self) -> InFlight | None:
        """Schedule and launch a step. None if everything that runs is about to end."""
        if self.speculation is not None:
            self.speculation.prepare(self.scheduler.running)
        step = self.scheduler.schedule()
        if not step.num_tokens and not step.preempted:
            return None
        if self.config.check_invariants:
            invariants.check_step(step, self.scheduler)
        now = time.monotonic()
        for sequence in step.num_tokens:
            if sequence.first_scheduled_time is None:
                sequence.first_scheduled_time = now
        draw = self._runner.launch(step)
        self._observers.launched(step, now)
        self.scheduler.advance(step)
        for row, sequence in enumerate(draw.sequences):
            sequence.token_ids.append(placeholder(row))
        self.num_preemptions += len(step.preempted)
        return InFlight(step, draw)

    def _finish_step(self, flight: InFlight) -> list[RequestOutput]:
        """Read the step's tokens. A sequence that ended or was aborted in the meantime gets none."""
        step, sampled = flight.step, flight.draw.read()
        now = time.monotonic()
        for item in sampled:
            if item.place < item.sequence.num_tokens:
                item.sequence.token_ids[item.place : item.place + 1] = item.token_ids
        sampled = [item for item in sampled if not item.sequence.is_over]
        self.scheduler.commit(step, {item.sequence: item.num_rejected for item in sampled})
        if self.speculation is not None:
            self.speculation.observe(sampled)
        self._observers.computed(step, sampled, now)
        outputs = self._fail_broken(step)
        outputs += [output for item in sampled if (output := self._advance_or_fail(item, now))]
        if self.config.check_invariants:
            invariants.check(self.scheduler)
        return outputs

    def _fail_broken(self, step: Step) -> list[RequestOutput]:
        """End the requests for which the step could not be computed."""
        broken = [sequence for sequence in step.num_tokens if sequence.error is not None]
        return [self._fail(sequence, sequence.error) for sequence in broken if sequence.error and not sequence.is_over]

    def _advance_or_fail(self, item: Sampled, now: float) -> RequestOutput | None:
        """Advance one sequence. An error ends its request and no other."""
        if item.sequence.is_over:
            return None
        try:
            return self._advance(item, now)
        except Exception as error:  # noqa: BLE001 - no error may reach the other requests
            return self._fail(item.sequence, error)

    def _fail(self, sequence: Sequence, error: Exception) -> RequestOutput:
        """End all answers of the sequence's request. Its last output carries the error."""
        if not isinstance(error, RequestError):
            log.error("request %s failed", sequence.request_id, exc_info=error, extra=sequence.ids)
        choices = self._requests.pop(sequence.request_id)
        self._drop(choices, FinishReason.ERROR)
        return choices[sequence.index].take_failure(error)

    def _drop(self, choices: list[Choice], reason: FinishReason) -> None:
        """Finish the answers that are still running. Their blocks are freed even if an observer fails."""
        for choice in choices:
            if not choice.sequence.is_over:
                try:
                    self._finish(choice.sequence, reason)
                except Exception:
                    name, ids = choice.sequence.request_id, choice.sequence.ids
                    log.exception("request %s: an observer failed when it finished", name, extra=ids)

    def _advance(self, item: Sampled, now: float) -> RequestOutput | None:
        """Turn the new tokens into text, end the answer if they end it, and return its output if there is any."""
        sequence = item.sequence
        choices = self._requests[sequence.request_id]
        choice = choices[sequence.index]
        if sequence.first_token_time is None:
            sequence.first_token_time = now
            self._start_followers(choices, sequence)
        sequence.last_token_time = now
        reason = choice.take(item, self.tokenizer.eos_token_ids)
        if reason is not None:
            self._finish(sequence, reason)
            if all(choice.sequence.is_over for choice in choices):
                del self._requests[sequence.request_id]
        elif choice.only_final or not choice.text:
            return None
        return choice.take_output()

    def _start_followers(self, choices: list[Choice], sequence: Sequence) -> None:
        """Queue the other answers once the leader's prompt is computed, so that they can share its blocks."""
        if sequence.leader is None:
            for choice in choices[1:]:
                choice.sequence.prompt_logprobs = sequence.prompt_logprobs
                self.scheduler.add(choice.sequence)

    def _finish(self, sequence: Sequence, reason: FinishReason) -> None:
        self.scheduler.finish(sequence, reason)
        self._observers.finished(sequence)
