"""Fails test_bytes_of_known_models: one KV head for each query head.

It was right until grouped-query attention. For Llama-3-8B it is four times too much: a server sized by it buys four
times the GPUs.
"""


def bytes_per_token(config: dict[str, Any], bytes_per_value: int) -> int:
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return int(2 * config["num_hidden_layers"] * heads * head_dim * bytes_per_value)
