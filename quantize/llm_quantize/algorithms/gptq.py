"""GPTQ (Frantar et al., 2022, arXiv:2210.17323): round column by column; later columns make up for each error.

A layer with weights W and inputs X should keep its outputs:

    min over W' of  ||W X - W' X||^2  =  sum over rows of  (w - w') H (w - w')^T / 2,      H = 2 X X^T / n

When column q of a row is rounded, the columns F that are still free take the change that costs least (equation 2):

    d_F = - (w_q - w'_q) / [H_F^-1]_qq * [H_F^-1]_q,F

The paper inverts H and reads all steps off the Cholesky factor of the inverse. The factor of H itself has them as well
(Chen et al., 2025, arXiv:2507.18553): with H = R R^T and R upper triangular, a row costs

    ||(w - w') R||^2  =  sum over columns m of  (sum over k <= m of  (w_k - w'_k) R_km)^2

so after the columns before m, the best value for column m is w_m + sum over k < m of (w_k - w'_k) R_km / R_mm, and w'_m
is that value rounded. No matrix is inverted, and a column is changed once, when its turn comes. All rows of W share R,
so a column of the whole matrix is rounded at once; what a block of columns owes to the columns before it is one matrix
product. Weights are held transposed, so that a column is consecutive in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from llm_quantize.algorithms.grid import Grid, Parameters, QuantizedWeight, decode, encode, fit, pack
from llm_quantize.algorithms.rtn import rtn

BLOCK = 128
"""Columns that take what they owe to the columns before them at once."""
STRIPS, NARROWEST_STRIP = 8, 192
"""A Hessian is computed in strips of rows, from the diagonal on; the rest follows by symmetry."""
CLIP_NORM = 3.0
"""Exponent of the clip search's error. Later columns make up for small errors, so that large ones count for more than
their square; GPTQ's code has 2.4. Of 2, 2.4, 2.5, 3, 3.5, 4 and 5, those from 3 on left the least error of outputs."""
DAMPING_STEP, MOST_DAMPING = 0.01, 1.0
"""A Hessian that is not positive definite gets more damping, in steps, up to the most; then rounding has to do."""


class Hessian:
    """H = 2 X X^T / n, gathered over batches of a layer's inputs."""

    def __init__(self, inputs: int, device: torch.device | str = "cpu") -> None:
        self._sum = torch.zeros(inputs, inputs, dtype=torch.float32, device=device)
        self.count = 0
        """Number of tokens seen."""

    def add(self, x: Tensor) -> None:
        """Add inputs [..., in]."""
        rows = x.reshape(-1, x.shape[-1]).float()
        for strip in self._strips():
            self._sum[strip, strip.start :].addmm_(rows[:, strip].T, rows[:, strip.start :])
        self.count += len(rows)

    def matrix(self) -> Tensor:
        """Return H: [in, in] float32."""
        matrix = self._sum * (2 / max(self.count, 1))
        for strip in self._strips():
            matrix[strip.stop :, strip] = matrix[strip, strip.stop :].T
        return matrix

    def _strips(self) -> Iterator[slice]:
        inputs = len(self._sum)
        height = max(NARROWEST_STRIP, inputs // STRIPS)
        return (slice(start, start + height) for start in range(0, inputs, height))


@dataclass(frozen=True, slots=True)
class Solution:
    """The rounded weight, and how hard it was to find."""

    weight: QuantizedWeight
    damping: float
    """Share of the diagonal's mean that was added to the diagonal; more than asked if H was nearly singular."""
    is_rounded: bool = False
    """Whether no damping made H positive definite, so that weights were rounded to nearest instead."""


def gptq(
    weight: Tensor,
    hessian: Tensor,
    grid: Grid,
    *,
    damping: float = 0.01,
    act_order: bool = False,
    clip_search: bool = False,
) -> Solution:
    """Quantise `weight` [out, in], whose inputs have the `hessian` [in, in].

    With `act_order` the columns with the largest diag(H) are rounded first. Their groups' parameters are those of the
    original weight ("static groups"), so that the stored order of columns stays as it is.
    """
    weight, hessian = weight.float().clone(), hessian.float().clone()
    unused = hessian.diagonal() == 0
    hessian[unused, unused] = 1
    weight[:, unused] = 0
    importance = hessian.diagonal().clone()
    order = (
        importance.argsort(descending=True, stable=True)
        if act_order
        else torch.arange(len(importance), device=weight.device)
    )
    clip_norm = CLIP_NORM if clip_search else None
    factor, used_damping = _factor(hessian, order, damping)
    if factor is None:
        return Solution(rtn(weight, grid, clip_norm=clip_norm), used_damping, is_rounded=True)
    fitted = _Fitted(grid, clip_norm, importance)
    is_static = act_order or grid.group_size <= 0
    if is_static:
        fitted.add(weight, grid)
    columns = weight.T[order].contiguous()
    codes = _round_columns(columns, factor, fitted, order.tolist(), width=None if is_static else grid.group_size)
    return Solution(pack(codes[order.argsort()].T.contiguous(), fitted.parameters(), grid), used_damping)


def _factor(hessian: Tensor, order: Tensor, damping: float) -> tuple[Tensor | None, float]:
    """Return the upper factor R of the damped Hessian R R^T, its columns in `order`, and the damping; None if none is.

    A Cholesky factor is lower triangular; of the matrix with its columns reversed, it is R reversed.
    """
    mean = hessian.diagonal().mean()
    backwards = hessian.index_select(0, order.flip(0)).index_select(1, order.flip(0))
    diagonal = backwards.diagonal().clone()
    while damping <= MOST_DAMPING:
        backwards.diagonal().copy_(diagonal + damping * mean)
        lower, failed = torch.linalg.cholesky_ex(backwards)
        if not failed and bool(lower.isfinite().all()):
            return lower.flip(0, 1), damping
        damping += DAMPING_STEP
    return None, damping


class _Fitted:
    """The groups' parameters, in the order of the inputs."""

    def __init__(self, grid: Grid, clip_norm: float | None, importance: Tensor) -> None:
        self.one = Grid(grid.bits, symmetric=grid.symmetric, scale_dtype=grid.scale_dtype)
        self.width = grid.width(len(importance))
        self._clip_norm, self._importance = clip_norm, importance
        self._groups: list[Parameters] = []

    def __getitem__(self, group: int) -> Parameters:
        """Return a group's parameters, one for each row: [out, 1]."""
        return self._groups[group]

    def add(self, weight: Tensor, grid: Grid) -> None:
        """Fit the next groups to their weights [out, inputs of these groups]."""
        start = len(self._groups) * self.width
        importance = self._importance[start : start + weight.shape[1]]
        found = fit(weight, grid, clip_norm=self._clip_norm, importance=importance)
        scales, zeros = (each.T.contiguous().unsqueeze(2) for each in (found.scales, found.zeros))
        self._groups += map(Parameters, scales, zeros)

    def parameters(self) -> Parameters:
        """Return the parameters of all groups."""
        return Parameters(
            torch.cat([each.scales for each in self._groups], dim=1),
            torch.cat([each.zeros for each in self._groups], dim=1),
        )


def _round_columns(
    weight: Tensor, factor: Tensor, fitted: _Fitted, order: list[int], *, width: int | None
) -> Tensor:  # fmt: skip
    """Return the codes [in, out] uint8 of the columns `weight` [in, out], which becomes what rounding took from them.

    With a `width`, each group of that many columns gets its parameters when it is reached, fitted to its weights as the
    columns before it leave them. Without one they are there ("static groups").
    """
    owed = (factor / factor.diagonal()).T.contiguous()
    codes = torch.empty_like(weight, dtype=torch.uint8)
    block = width or BLOCK
    for start in range(0, len(weight), block):
        inside = slice(start, min(start + block, len(weight)))
        change = owed[inside, :start] @ weight[:start]
        if width is not None:
            free = torch.linalg.solve_triangular(owed[inside, inside], change, upper=False, unitriangular=True)
            fitted.add((weight[inside] + free).T, fitted.one)
        for column, target in enumerate(weight[inside] + change, start):
            target.addmv_(weight[start:column].T, owed[column, start:column])
            parameters = fitted[order[column] // fitted.width]
            code = encode(target.unsqueeze(1), parameters, fitted.one)
            codes[column] = code[:, 0]
            weight[column] -= decode(code, parameters, fitted.one)[:, 0]
    return codes
