"""Rotate the residual stream so that no channel has outliers (QuaRot, Ashkboos et al., 2024, arXiv:2404.00456).

An RMS norm without weights commutes with a rotation Q: norm(x Q) = norm(x) Q. So if the embedding and all layers that
write the residual stream write x Q, and all that read it undo Q, the model computes what it did, and every weight is
multiplied by Q on one side. In a Hadamard matrix each output is a sum of all inputs with signs, so a few large values
spread over all. The norms' own weights move into the layers behind them first:

    reader   W  ->  W diag(gamma) Q        writer   W  ->  Q^T W        embedding   E  ->  E Q

The values of attention get a rotation as well, one for each head, between v_proj and o_proj.
"""

from __future__ import annotations

import torch
from torch import Tensor


def hadamard(size: int, seed: int = 0) -> Tensor:
    """Return an orthogonal matrix [size, size] float32 whose entries are alike in size.

    It is Sylvester's Hadamard matrix with random signs, H diag(+-1). Where `size` = 2^k m with an odd m > 1, its
    Kronecker product with a random orthogonal matrix of size m.
    """
    generator = torch.Generator().manual_seed(seed)
    odd = size
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while odd % 2 == 0:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)]) / 2**0.5
        odd //= 2
    if odd > 1:
        random, _ = torch.linalg.qr(torch.randn(odd, odd, dtype=torch.float64, generator=generator))
        matrix = torch.kron(matrix, random.contiguous())
    signs = torch.randint(0, 2, (size,), generator=generator).double() * 2 - 1
    return (signs[:, None] * matrix).float()


def rotate_reader(weight: Tensor, rotation: Tensor, norm: Tensor | None = None) -> Tensor:
    """Return W diag(gamma) Q of a weight [out, in] that reads the stream, behind a norm with weights `norm` [in]."""
    weight = weight.float()
    return (weight if norm is None else weight * norm.float()) @ rotation.to(weight.device)


def rotate_writer(weight: Tensor, rotation: Tensor) -> Tensor:
    """Return Q^T W of a weight [out, in] or a bias [out] that writes the stream."""
    return rotation.to(weight.device).T @ weight.float()


def rotate_heads(weight: Tensor, rotation: Tensor, *, writes: bool) -> Tensor:
    """Rotate each head of v_proj [heads * size, in] (`writes`, its bias as well) or of o_proj [out, heads * size]."""
    size = len(rotation)
    rotation = rotation.to(weight.device)
    if writes:
        return (rotation.T @ weight.float().reshape(-1, size, weight[0].numel())).reshape(weight.shape)
    return (weight.float().reshape(len(weight), -1, size) @ rotation).reshape(weight.shape)
