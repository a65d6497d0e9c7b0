"""Rotations are orthogonal, spread outliers, and leave a product unchanged."""

from __future__ import annotations

import pytest
import torch

from llm_quantize.algorithms.rotation import hadamard, rotate_heads, rotate_reader, rotate_writer


@pytest.mark.parametrize("size", [1, 2, 64, 96, 256, 576])
def test_orthogonal(size: int) -> None:
    matrix = hadamard(size, seed=3)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(size), atol=1e-5, rtol=0)


def test_an_outlier_is_spread_over_all_channels() -> None:
    outlier = torch.zeros(256)
    outlier[7] = 16.0
    torch.testing.assert_close((outlier @ hadamard(256)).abs(), torch.ones(256))


def test_a_reader_undoes_what_a_writer_did() -> None:
    generator = torch.Generator().manual_seed(0)
    x, write, read, gamma = (torch.randn(*shape, generator=generator) for shape in ((5, 8), (32, 8), (6, 32), (32,)))
    rotation = hadamard(32)
    turned = x @ rotate_writer(write, rotation).T
    torch.testing.assert_close(turned, x @ write.T @ rotation, atol=1e-4, rtol=1e-4)
    expected = (x @ write.T * gamma) @ read.T
    torch.testing.assert_close(turned @ rotate_reader(read, rotation, gamma).T, expected, atol=1e-3, rtol=1e-3)


def test_heads_are_rotated_one_by_one() -> None:
    generator = torch.Generator().manual_seed(1)
    v, o, x = (torch.randn(*shape, generator=generator) for shape in ((16, 8), (8, 16), (3, 8)))
    rotation = hadamard(4)
    values = x @ rotate_heads(v, rotation, writes=True).T
    torch.testing.assert_close(values @ rotate_heads(o, rotation, writes=False).T, x @ v.T @ o.T, atol=1e-4, rtol=1e-4)
    bias = torch.randn(16, generator=generator)
    turned = rotate_heads(bias, rotation, writes=True)
    torch.testing.assert_close(turned, (bias.view(4, 4) @ rotation).view(16), atol=1e-5, rtol=1e-5)
