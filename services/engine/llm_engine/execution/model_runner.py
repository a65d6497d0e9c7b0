"""One step on the device: copy blocks, draft, build the batch, run the forward pass, sample."""

from __future__ import annotations

import torch
from torch import Tensor

from llm_engine.errors import EngineDead
from llm_engine.execution.batch import Batch, BatchBuilder
from llm_engine.execution.graphs import Forward
from llm_engine.kv_cache.memory import BlockCopy, KVMemory
from llm_engine.parallel.collectives import Timeline
from llm_engine.parallel.workers import Workers
from llm_engine.sampling.sampler import NOTHING, Draw, Sampler
from llm_engine.scheduler.placeholders import resolve
from llm_engine.scheduler.scheduler import Step
from llm_engine.speculation.draft_model import DraftModel
from llm_engine.speculation.graphs import SpeculativeGraphs


class ModelRunner:
    """The device's side of the engine. It owns the weights and the KV memory."""

    def __init__(
        self,
        forward: Forward,
        memory: KVMemory,
        builder: BatchBuilder,
        *,
        sampler: Sampler,
        draft_model: DraftModel | None = None,
        speculative_graphs: SpeculativeGraphs | None = None,
        workers: Workers | None = None,
    ) -> None:
        self._forward = forward
        self._builder = builder
        self._sampler = sampler
        self._draft_model = draft_model
        self._speculative_graphs = speculative_graphs
        self._workers = workers
        self._memory = memory
        self._drawn: Tensor | None = None
        """Tokens that the previous step drew, still on the device."""

    @torch.inference_mode()
    def launch(self, step: Step) -> Draw:
        """Launch the step's forward pass and return a handle to the sampled tokens."""
        self._copy(step.copies)
        if not step.num_tokens:
            if self._workers is not None and step.copies:
                self._workers.send(step.copies, None)
            return NOTHING
        if self._speculative_graphs is not None and self._speculative_graphs.takes(step.num_tokens):
            return self._speculative_graphs.launch(step.num_tokens)
        if self._draft_model is not None:
            self._draft_model.fill(step.num_tokens)
        laid_out = self._builder.build(step.num_tokens)
        if self._workers is not None:
            self._workers.send(step.copies, laid_out)
        batch = laid_out.to(self._builder.device)
        if batch.has_placeholders:  # in this case the other ranks expect the tokens as well
            assert self._drawn is not None
            batch.token_ids = resolve(batch.token_ids, self._drawn)
            if self._workers is not None:
                self._workers.share(batch.token_ids)
        logits = self._forward(batch)
        if self._workers is not None:
            self._workers.computed()
        draw = self._sampler.sample(logits, batch.wanted) if batch.wanted else NOTHING
        self._drawn = draw.tokens
        return draw

    @property
    def timelines(self) -> list[Timeline]:
        return [] if self._workers is None else self._workers.timelines

    @property
    def failure(self) -> str | None:
        """Why no step can be computed any more: another rank has died."""
        return None if self._workers is None else self._workers.failure

    def close(self) -> None:
        """Stop the other ranks."""
        self._forward = _closed  # NCCL cannot end while there are CUDA graphs with its calls
        if self._workers is not None:
            self._workers.close()

    def _copy(self, copies: list[BlockCopy]) -> None:
        self._memory.copy(copies)
        if self._draft_model is not None:
            self._draft_model.copy(copies)


def _closed(batch: Batch) -> Tensor:
    raise EngineDead("the engine is closed")
