"""Fails test_bytes_of_known_models: the head dimension is always the hidden size divided by the heads.

Most models are like that, so the mistake lives long. Qwen3-0.6B says 128 where the division gives 64, and gets half of
the memory that it needs.
"""


def bytes_per_token(config: dict[str, Any], bytes_per_value: int) -> int:
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    return int(2 * config["num_hidden_layers"] * kv_heads * (config["hidden_size"] // heads) * bytes_per_value)
