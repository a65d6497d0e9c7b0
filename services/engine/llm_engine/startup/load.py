"""Start-up: check the config, load the models and size the KV cache."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from llm_engine.checkpoint.families import DecoderConfig, parse_config
from llm_engine.checkpoint.folder import read_json, resolve_model
from llm_engine.checkpoint.loading import load_decoder
from llm_engine.checkpoint.quantization import check_flag
from llm_engine.checkpoint.tokenizer import AnyTokenizer, NoTokenizer, Tokenizer
from llm_engine.errors import EngineError, ModelError
from llm_engine.execution.batch import BatchBuilder
from llm_engine.execution.decoder import DecoderModel
from llm_engine.execution.graphs import LONGEST_QUERY, CudaCapture, DecodeGraphs, Forward
from llm_engine.execution.model_runner import ModelRunner
from llm_engine.kv_cache.memory import KVMemory
from llm_engine.operators import backend
from llm_engine.parallel.sharding import Shard
from llm_engine.parallel.workers import Workers
from llm_engine.sampling.sampler import Sampler
from llm_engine.settings import EngineConfig
from llm_engine.speculation.draft_model import DraftModel
from llm_engine.speculation.graphs import Rounds, SpeculativeGraphs
from llm_engine.speculation.speculation import (
    Proposer,
    Speculation,
    SpeculationStats,
    SpeculativeConfig,
    propose_ngram,
)
from llm_engine.startup import sizing
from llm_engine.startup.prepare import prepare

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Parts:
    """The parts of an engine."""

    folder: Path
    tokenizer: AnyTokenizer
    vocab_size: int
    max_model_len: int
    num_blocks: int
    runner: ModelRunner
    speculation: Speculation | None
    overlaps: bool
    """Whether a step is launched before the previous one is read."""
    dtype: str
    kv_bytes_per_block: int


@dataclass(frozen=True, slots=True)
class Machine:
    """The device and the limits that all models share."""

    config: EngineConfig
    device: torch.device
    operators: str
    """Name of the attention backend."""
    max_model_len: int
    num_blocks: int
    shard: Shard
    models: list[DecoderConfig]
    """The main model, then the draft model if there is one."""
    dtype: torch.dtype

    def builder(self, max_tokens: int) -> BatchBuilder:
        config = self.config
        return BatchBuilder(config.max_num_seqs, max_tokens, self.max_model_len, config.block_size, device=self.device)

    def prepare(self, decoder: DecoderModel) -> tuple[Forward, KVMemory]:
        """See `startup.prepare`."""
        return prepare(
            self.config,
            decoder,
            self.operators,
            num_blocks=self.num_blocks,
            max_model_len=self.max_model_len,
        )


def load(config: EngineConfig) -> Parts:
    """Load the models. ModelError or EngineError if they cannot be served with this config."""
    folder = resolve_model(config.model)
    model = parse_config(read_json(folder / "config.json"))
    check_flag(config.quantization, model.quantization)
    _note_kv_scales(config, model)
    wanted = None if config.speculative_config is None else SpeculativeConfig.parse(config.speculative_config)
    draft = None if wanted is None or wanted.model is None else _draft(wanted.model, model)
    sizing.set_num_threads(config, model)
    machine = _machine(config, model, draft)
    tokenizer = NoTokenizer(folder) if config.skip_tokenizer_init else Tokenizer(folder)
    # Some configs name an end-of-text token outside the vocabulary, which the model can never write.
    eos_token_ids = tuple(token for token in tokenizer.eos_token_ids if token < model.vocab_size)
    sampler = Sampler(eos_token_ids, config.seed, backend.draw_rows(machine.operators))
    stats = SpeculationStats()
    draft_model = None if draft is None else _draft_model(machine, draft[0], sampler, stats)
    return Parts(
        folder=folder,
        tokenizer=tokenizer,
        vocab_size=model.vocab_size,
        max_model_len=machine.max_model_len,
        num_blocks=machine.num_blocks,
        runner=_runner(
            machine, folder, sampler, draft_model, num_drafts=wanted.num_speculative_tokens if wanted else 0
        ),
        speculation=None if wanted is None else _speculation(wanted, config, draft_model, stats),
        overlaps=config.overlaps(on_gpu=machine.device.type == "cuda"),
        dtype=str(machine.dtype).removeprefix("torch."),
        kv_bytes_per_block=sizing.block_bytes(config, machine.models, machine.dtype),
    )


def _note_kv_scales(config: EngineConfig, model: DecoderConfig) -> None:
    """Log what becomes of the scales of an FP8 KV cache."""
    has_scales = model.quantization is not None and model.quantization.has_kv_scales
    if has_scales and config.kv_cache_dtype == "auto":
        log.warning(
            "the checkpoint has scales of an FP8 KV cache, but the cache keeps the weights' type, which loses nothing; "
            "use --kv-cache-dtype fp8 to save memory"
        )
    if config.kv_cache_dtype == "fp8" and not has_scales:
        log.warning("the checkpoint has no scales of an FP8 KV cache, so they are 1; answers can be worse")


def _machine(config: EngineConfig, model: DecoderConfig, draft: tuple[Path, DecoderConfig] | None) -> Machine:
    device = sizing.device(config)
    dtype = sizing.dtype(config, model, device)
    max_model_len = sizing.max_model_len(config, model)
    shard = Shard.of_rank(0, config)
    shard.config(model)  # fail before any process is started if the model cannot be split
    models = [model, draft[1]] if draft else [model]
    return Machine(
        config=config,
        device=device,
        operators=backend.choose(config, model, dtype, device),
        max_model_len=max_model_len,
        num_blocks=sizing.num_blocks(config, models, max_model_len, dtype, device=device),
        shard=shard,
        models=models,
        dtype=dtype,
    )


def _runner(
    machine: Machine, folder: Path, sampler: Sampler, draft_model: DraftModel | None, *, num_drafts: int
) -> ModelRunner:
    config, device, shard = machine.config, machine.device, machine.shard
    workers = None if shard == Shard() else Workers(config, folder, machine.num_blocks, device)
    main = load_decoder(config, folder, device, shard, collectives=workers.collectives if workers else None)
    if workers is not None:
        workers.loaded()
    forward, memory = machine.prepare(main)
    if workers is not None:
        workers.ready()
    return ModelRunner(
        forward,
        memory,
        machine.builder(config.max_num_batched_tokens),
        sampler=sampler,
        draft_model=draft_model,
        speculative_graphs=_speculative_graphs(machine, draft_model, forward, num_drafts, sampler=sampler),
        workers=workers,
    )


def _speculative_graphs(
    machine: Machine, draft_model: DraftModel | None, main: Forward, num_drafts: int, *, sampler: Sampler
) -> SpeculativeGraphs | None:
    """Capture steps of guesses, if decodes are captured and a sequence's guesses are few enough to be decodes.

    None with several ranks: the others would have to know the guesses, which are on this rank's device.
    """
    draft = None if draft_model is None or machine.shard != Shard() else draft_model.forward
    if not isinstance(draft, DecodeGraphs) or not isinstance(main, DecodeGraphs) or num_drafts >= LONGEST_QUERY:
        return None
    config = machine.config
    rounds = Rounds(draft.eager, main.eager, num_drafts, machine.max_model_len, config.block_size)
    return SpeculativeGraphs(rounds, CudaCapture(), config.max_num_seqs, sampler=sampler, device=machine.device)


def _draft_model(machine: Machine, folder: Path, sampler: Sampler, stats: SpeculationStats) -> DraftModel:
    config = machine.config
    forward, memory = machine.prepare(load_decoder(config, folder, machine.device))
    # The draft model's first round can compute one more token per sequence.
    builder = machine.builder(config.max_num_batched_tokens + config.max_num_seqs)
    return DraftModel(forward, memory, builder, sampler, stats=stats)


def _draft(name: str, model: DecoderConfig) -> tuple[Path, DecoderConfig]:
    folder = resolve_model(name)
    draft = parse_config(read_json(folder / "config.json"))
    if draft.vocab_size != model.vocab_size:
        raise ModelError(
            f"the draft model {name} has {draft.vocab_size} tokens, the model {model.vocab_size}; they must be equal"
        )
    return folder, draft


def _speculation(
    wanted: SpeculativeConfig, config: EngineConfig, draft_model: DraftModel | None, stats: SpeculationStats
) -> Speculation:
    needed = config.max_num_seqs * (1 + wanted.num_speculative_tokens)
    if config.max_num_batched_tokens < needed:
        raise EngineError(
            f"max_num_batched_tokens is {config.max_num_batched_tokens}; it must be at least {needed} for max_num_seqs "
            f"({config.max_num_seqs}) decodes with {wanted.num_speculative_tokens} guesses each"
        )
    propose: Proposer = partial(propose_ngram, longest=wanted.prompt_lookup_max, shortest=wanted.prompt_lookup_min)
    if draft_model is not None:
        propose = draft_model.propose
    return Speculation(propose, wanted.num_speculative_tokens, stats)
