"""One preset per shipped model: its architecture and how it is trained.

Every preset ties its embeddings (a third to three quarters of such small models is the vocabulary) and has heads of 32
dimensions, the smallest that common attention kernels take. Shapes differ on purpose: grouped, multi-query and wide
heads, biases, QK norm, a sliding window, fused projections.
"""

from dataclasses import dataclass, field
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from llm_train.bpe import CONTEXT, SEPARATOR_ID, VOCABULARY


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A model and its recipe. `folder` is relative to `models/`; `steps` and `tokens_per_step` are the full recipe."""

    name: str
    folder: str
    purpose: str
    family: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    steps: int
    learning_rate: float
    weight_decay: float = 0.1
    tokens_per_step: int = 32_768
    head_dim: int = 32
    extra: dict[str, Any] = field(default_factory=dict)

    def config(self) -> PreTrainedConfig:
        """Return the Hugging Face configuration of this model."""
        narrow = self.heads * self.head_dim == self.hidden
        head_dim = {} if narrow and self.family in ("qwen2", "phi3") else {"head_dim": self.head_dim}
        return AutoConfig.for_model(
            self.family,
            vocab_size=VOCABULARY,
            hidden_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            intermediate_size=self.intermediate,
            max_position_embeddings=CONTEXT,
            rms_norm_eps=1e-6,
            tie_word_embeddings=True,
            bos_token_id=SEPARATOR_ID,
            eos_token_id=SEPARATOR_ID,
            pad_token_id=SEPARATOR_ID,
            **head_dim,
            **self.extra,
        )


def _zoo(family: str, feature: str, *, heads: int, kv_heads: int, intermediate: int, **extra: Any) -> Preset:
    return Preset(
        name=family,
        folder=f"zoo/{family}",
        purpose=f"The {family} architecture: {feature}.",
        family=family,
        hidden=64,
        layers=3,
        heads=heads,
        kv_heads=kv_heads,
        intermediate=intermediate,
        steps=2000,
        learning_rate=4e-3,
        extra={"initializer_range": 0.08} | extra,  # 0.02 is for wide models; these learn faster from more
    )


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            name="main",
            folder="main",
            purpose="The model that demos, benchmarks and quality measurements run on.",
            family="llama",
            hidden=256,
            layers=8,
            heads=8,
            kv_heads=4,
            intermediate=640,
            steps=2800,
            learning_rate=2e-3,
            weight_decay=1.2,  # many epochs over little text: 0.1 overfits from the ninth on
        ),
        Preset(
            name="draft",
            folder="draft",
            purpose="Proposes tokens for `main` to verify in speculative decoding; same tokenizer.",
            family="llama",
            hidden=96,
            layers=3,
            heads=4,
            kv_heads=2,
            intermediate=224,
            steps=3000,
            learning_rate=3e-3,
            weight_decay=0.3,
        ),
        _zoo(
            "llama", "grouped-query attention, heads wider than the hidden size", heads=4, kv_heads=2, intermediate=96
        ),
        _zoo("mistral", "a sliding window of 128 tokens", heads=4, kv_heads=2, intermediate=96, sliding_window=128),
        _zoo("qwen2", "biases on the query, key and value projections", heads=2, kv_heads=1, intermediate=128),
        _zoo("qwen3", "RMS norm on queries and keys", heads=4, kv_heads=2, intermediate=96),
        _zoo(
            "gemma",
            "scaled embeddings, norms of 1 + weight, tanh GELU, multi-query attention",
            heads=4,
            kv_heads=1,
            intermediate=96,
        ),
        _zoo(
            "phi3",
            "fused query-key-value and gate-up projections",
            heads=2,
            kv_heads=1,
            intermediate=128,
            original_max_position_embeddings=CONTEXT,
        ),
    )
}
