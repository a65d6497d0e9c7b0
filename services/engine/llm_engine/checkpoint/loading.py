"""Loading: from a config and a folder to this rank's part of the model, on its device."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from llm_engine.checkpoint.families import parse_config
from llm_engine.checkpoint.folder import read_json
from llm_engine.checkpoint.source import Checkpoint, RandomWeights
from llm_engine.checkpoint.weights import load_weights
from llm_engine.execution.decoder import DecoderModel
from llm_engine.operators import backend
from llm_engine.parallel.collectives import Collectives
from llm_engine.parallel.sharding import Shard
from llm_engine.settings import EngineConfig
from llm_engine.startup import sizing


def load_decoder(
    config: EngineConfig,
    folder: Path,
    device: torch.device,
    shard: Shard | None = None,
    *,
    collectives: Collectives | None = None,
) -> DecoderModel:
    """Load this rank's part of the model; without a shard, the whole model. ModelError if the folder does not fit."""
    shard = shard or Shard()
    model = parse_config(read_json(folder / "config.json"))
    dtype = sizing.dtype(config, model, device)
    name = backend.choose(config, model, dtype, device)
    source = (RandomWeights if config.load_format == "dummy" else partial(Checkpoint, folder))(dtype, device)
    weights = load_weights(source, model, shard, name)
    part, max_model_len = shard.config(model), sizing.max_model_len(config, model)
    operators = backend.make(name, part, max_model_len, block_size=config.block_size, dtype=dtype, device=device)
    return DecoderModel(
        part,
        weights,
        operators,
        config.block_size,
        kv_dtype=sizing.kv_dtype(config, dtype),
        collectives=collectives,
    )
