"""From a configuration to what an engine is made of: models loaded, memory measured out, everything checked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from llm_engine import sizing
from llm_engine.batch import BatchBuilder
from llm_engine.checkpoint.families import DecoderConfig, parse_config
from llm_engine.checkpoint.folder import read_json, resolve_model
from llm_engine.checkpoint.loading import load_decoder
from llm_engine.checkpoint.quantization import check_flag
from llm_engine.checkpoint.tokenizer import AnyTokenizer, NoTokenizer, Tokenizer
from llm_engine.config import EngineConfig
from llm_engine.draft_model import DraftModel
from llm_engine.errors import EngineError, ModelError
from llm_engine.graphs import CudaCapture, DecodeGraphs, Forward
from llm_engine.model_runner import ModelRunner
from llm_engine.operators import backend
from llm_engine.sampler import Sampler
from llm_engine.sharding import Shard
from llm_engine.speculation import Proposer, Speculation, SpeculativeConfig, propose_ngram
from llm_engine.workers import Workers


@dataclass(slots=True)
class Parts:
    folder: Path
    tokenizer: AnyTokenizer
    vocab_size: int
    max_model_len: int
    num_blocks: int
    runner: ModelRunner
    speculation: Speculation | None
    overlaps: bool
    """Steps are begun before the one before is read."""


def load(config: EngineConfig) -> Parts:
    """ModelError or EngineError if the model cannot be served as asked."""
    folder = resolve_model(config.model)
    model = parse_config(read_json(folder / "config.json"))
    check_flag(config.quantization, model.quantization)
    wanted = None if config.speculative_config is None else SpeculativeConfig.parse(config.speculative_config)
    draft = None if wanted is None or wanted.model is None else _draft(wanted.model, model)
    sizing.set_num_threads(config, model)
    device = sizing.device(config)
    dtype = sizing.dtype(config, model, device)
    max_model_len = sizing.max_model_len(config, model)
    shard = Shard.of_rank(0, config)
    shard.config(model)  # a model that cannot be cut so is refused before processes are started
    num_blocks = sizing.num_blocks(config, [model, draft[1]] if draft else [model], max_model_len, dtype, device)
    tokenizer = NoTokenizer(folder) if config.skip_tokenizer_init else Tokenizer(folder)
    operators = backend.choose(config.attention_backend, model, dtype, device)
    # Some configurations name an end-of-text token beyond the vocabulary, which no model can write.
    eos_token_ids = tuple(token for token in tokenizer.eos_token_ids if token < model.vocab_size)
    sampler = Sampler(eos_token_ids, config.seed, backend.draw_rows(operators))

    def builder(max_tokens: int) -> BatchBuilder:
        return BatchBuilder(config.max_num_seqs, max_tokens, max_model_len, config.block_size, device)

    def with_graphs(forward: Forward) -> Forward:
        if device.type != "cuda" or operators != "triton" or shard != Shard() or config.enforce_eager:
            return forward
        return DecodeGraphs(forward, CudaCapture(), config.max_num_seqs, max_model_len, config.block_size, device)

    draft_model = None
    if draft is not None:  # its first round feeds up to one token more for each sequence
        small = load_decoder(config, draft[0], device)
        memory = small.new_kv_memory(num_blocks, config.num_cpu_blocks)
        forward = with_graphs(partial(small.forward, kv_cache=memory.device))
        draft_model = DraftModel(forward, memory, builder(config.max_num_batched_tokens + config.max_num_seqs), sampler)
    workers = None if shard == Shard() else Workers(config, folder, num_blocks, device)
    main = load_decoder(config, folder, device, shard, workers.collectives if workers else None)
    memory = main.new_kv_memory(num_blocks, config.num_cpu_blocks)
    forward = with_graphs(partial(main.forward, kv_cache=memory.device))
    return Parts(
        folder=folder,
        tokenizer=tokenizer,
        vocab_size=model.vocab_size,
        max_model_len=max_model_len,
        num_blocks=num_blocks,
        runner=ModelRunner(forward, memory, builder(config.max_num_batched_tokens), sampler, draft_model, workers),
        speculation=None if wanted is None else _speculation(wanted, config, draft_model),
        overlaps=config.overlaps(on_gpu=device.type == "cuda"),
    )


def _draft(name: str, model: DecoderConfig) -> tuple[Path, DecoderConfig]:
    folder = resolve_model(name)
    draft = parse_config(read_json(folder / "config.json"))
    if draft.vocab_size != model.vocab_size:
        raise ModelError(
            f"the draft model {name} has {draft.vocab_size} tokens and the model {model.vocab_size}; they must be equal"
        )
    return folder, draft


def _speculation(wanted: SpeculativeConfig, config: EngineConfig, draft_model: DraftModel | None) -> Speculation:
    needed = config.max_num_seqs * (1 + wanted.num_speculative_tokens)
    if config.max_num_batched_tokens < needed:
        raise EngineError(
            f"max_num_batched_tokens ({config.max_num_batched_tokens}) is less than the {needed} that max_num_seqs "
            f"({config.max_num_seqs}) decodes with {wanted.num_speculative_tokens} guesses each need; raise it"
        )
    propose: Proposer = partial(propose_ngram, longest=wanted.prompt_lookup_max, shortest=wanted.prompt_lookup_min)
    if draft_model is not None:
        propose = draft_model.propose
    return Speculation(propose, wanted.num_speculative_tokens)
