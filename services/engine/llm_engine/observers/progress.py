"""Progress of single sequences: what happened to them between their first step and their last, for their spans.

The server gives a sequence a `Progress` if its request is traced. All others cost one test of a field per step.
"""

from __future__ import annotations

from llm_engine.observers.observer import ObservedEngine
from llm_engine.sampling.sampler import Sampled
from llm_engine.scheduler.scheduler import Step
from llm_engine.scheduler.sequence import Sequence


class ProgressObserver:
    """An observer that fills in `Sequence.progress`. The engine's thread calls it."""

    def watch(self, engine: ObservedEngine) -> None:
        self._speculates = engine.speculation is not None

    def queued(self, sequence: Sequence) -> None:
        return

    def launched(self, step: Step, now: float) -> None:
        """Note preemptions, readmissions, and chunks of prompts."""
        for preemption in step.preempted:
            if (progress := preemption.victim.progress) is not None:
                progress.events.append(("preempted", now))
        for sequence in step.admitted:
            if sequence.num_preemptions and sequence.progress is not None:
                sequence.progress.events.append(("resumed", now))
        for sequence in step.num_tokens:
            if sequence.first_token_time is None and sequence.progress is not None:
                sequence.progress.num_prefill_steps += 1

    def computed(self, step: Step, sampled: list[Sampled], now: float) -> None:
        """Count drafts and those that were accepted."""
        if not self._speculates:
            return
        for item in sampled:
            if (progress := item.sequence.progress) is not None and item.token_ids:
                progress.num_accepted_drafts += len(item.token_ids) - 1
                progress.num_drafts += len(item.token_ids) - 1 + item.num_rejected

    def finished(self, sequence: Sequence) -> None:
        return
