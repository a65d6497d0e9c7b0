from __future__ import annotations

import math

import pytest
import torch

from llm_engine.checkpoint.families import RopeConfig
from llm_engine.operators.layers import RotaryEmbedding, gated_activation, inverse_frequencies, rms_norm
from llm_engine.operators.linear import make_linear

CPU = torch.device("cpu")


def test_rms_norm_has_unit_root_mean_square_times_the_weight() -> None:
    x, weight = torch.randn(3, 8) * 5, torch.rand(8)
    expected = x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * weight
    torch.testing.assert_close(rms_norm(x, weight, 1e-6), expected)


def test_rms_norm_multiplies_a_wider_weight_before_rounding() -> None:
    x, weight = torch.randn(3, 8, dtype=torch.bfloat16), 1 + torch.rand(8) * 1e-3
    result = rms_norm(x, weight, 1e-6)
    assert result.dtype is torch.bfloat16
    assert torch.equal(result, rms_norm(x.float(), weight, 1e-6).bfloat16())


@pytest.mark.parametrize(
    ("activation", "function"),
    [
        ("silu", lambda x: x * x.sigmoid()),
        ("gelu", lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))),
        ("gelu_tanh", lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
    ],
)
def test_the_gate_is_activated_and_multiplied(activation: str, function) -> None:  # type: ignore[no-untyped-def]
    gate, up = torch.randn(3, 4), torch.randn(3, 4)
    torch.testing.assert_close(gated_activation(torch.cat((gate, up), -1), activation), function(gate) * up)


def test_rotation_is_a_rotation_of_each_pair_of_dimensions() -> None:
    rope = RotaryEmbedding(RopeConfig(theta=100.0, dim=4), 10, torch.float32, CPU)
    heads = torch.randn(1, 2, 6)
    rotated = heads.clone()
    rope.rotate_(rotated, *rope.at(torch.tensor([7])))
    for pair, frequency in enumerate((1.0, 0.1)):
        turn = complex(math.cos(7 * frequency), math.sin(7 * frequency))
        for head in range(2):
            expected = complex(heads[0, head, pair], heads[0, head, pair + 2]) * turn
            actual = complex(rotated[0, head, pair], rotated[0, head, pair + 2])
            assert abs(actual - expected) < 1e-5
    assert torch.equal(rotated[..., 4:], heads[..., 4:])  # beyond `dim` nothing turns


def test_scaled_frequencies() -> None:
    plain = RopeConfig(theta=10_000.0, dim=8)
    linear = RopeConfig(theta=10_000.0, dim=8, kind="linear", factor=4.0)
    llama3 = RopeConfig(10_000.0, 8, "llama3", 4.0, 1.0, 4.0, original_max_position=64)
    base = inverse_frequencies(plain)
    torch.testing.assert_close(inverse_frequencies(linear), base / 4)
    scaled = inverse_frequencies(llama3)
    assert scaled[0] == base[0]  # 10 turns within the original context: as it was
    torch.testing.assert_close(scaled[-1], base[-1] / 4)  # less than one turn: stretched


@pytest.mark.parametrize("kernels", [False, True])
@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("biased", [False, True])
def test_a_linear_is_a_linear(biased: bool, rows: int, kernels: bool) -> None:
    weight, bias, x = torch.randn(48, 32), torch.randn(48) if biased else None, torch.randn(rows, 32)
    expected = x @ weight.T + (0 if bias is None else bias)
    torch.testing.assert_close(make_linear(weight, bias, kernels)(x), expected)
