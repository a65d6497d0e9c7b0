"""Runs one step on the device: move blocks, guess, build the batch, forward, sample. Owns weights and KV memory."""

from __future__ import annotations

import torch

from llm_engine.batch import BatchBuilder
from llm_engine.decoder import Decoder
from llm_engine.draft_model import DraftModel
from llm_engine.kv_memory import BlockCopy, KVMemory
from llm_engine.sampler import Sampled, Sampler
from llm_engine.scheduler import Step
from llm_engine.workers import Workers


class ModelRunner:
    def __init__(
        self,
        decoder: Decoder,
        memory: KVMemory,
        builder: BatchBuilder,
        sampler: Sampler,
        draft_model: DraftModel | None = None,
        workers: Workers | None = None,
    ) -> None:
        self._decoder = decoder
        self._builder = builder
        self._sampler = sampler
        self._draft_model = draft_model
        self._workers = workers
        self._memory = memory

    @torch.inference_mode()
    def run(self, step: Step) -> list[Sampled]:
        """Compute the step's tokens; what each sequence that is thereby complete gets."""
        self._copy(step.copies)
        if not step.num_tokens:
            if self._workers is not None and step.copies:
                self._workers.tell(step.copies, None)
            return []
        if self._draft_model is not None:
            self._draft_model.fill(step.num_tokens)
        batch = self._builder.build(step.num_tokens)
        if self._workers is not None:
            self._workers.tell(step.copies, batch)
        logits = self._decoder.forward(batch, self._memory.device)
        return self._sampler.sample(logits, batch.wanted) if batch.wanted else []

    def close(self) -> None:
        """End the other ranks."""
        if self._workers is not None:
            self._workers.close()

    def _copy(self, copies: list[BlockCopy]) -> None:
        self._memory.copy(copies)
        if self._draft_model is not None:
            self._draft_model.copy(copies)
