"""GPTQ (Frantar et al., 2022, arXiv:2210.17323): round column by column; later columns make up for each error.

A layer with weights W and inputs X should keep its outputs:

    min over W' of  ||W X - W' X||^2  =  sum over rows of  (w - w') H (w - w')^T / 2,      H = 2 X X^T / n

When column q of a row is rounded, the columns F that are still free take the change that costs least (equation 2):

    d_F = - (w_q - w'_q) / [H_F^-1]_qq * [H_F^-1]_q,F

The inverses for all steps are the rows of one matrix, the upper Cholesky factor U of H^-1 = U^T U (section 3.3):
d_F = - (w_q - w'_q) / U_qq * U_q,F. All rows of W share U, so a column of the whole matrix is rounded at once, and
updates of far columns are gathered over a block of columns and applied as one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from llm_quantize.algorithms.grid import Grid, Parameters, QuantizedWeight, encode, fit, pack
from llm_quantize.algorithms.rtn import rtn

BLOCK = 128
"""Columns whose updates are gathered."""
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
        self._sum.addmm_(rows.T, rows)
        self.count += len(rows)

    def matrix(self) -> Tensor:
        """Return H: [in, in] float32."""
        return self._sum * (2 / max(self.count, 1))


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
    order = hessian.diagonal().argsort(descending=True, stable=True) if act_order else None
    if order is not None:
        hessian = hessian[order][:, order]
    factor, used_damping = _factor(hessian, damping)
    if factor is None:
        return Solution(rtn(weight, grid, clip_search=clip_search), used_damping, is_rounded=True)
    importance = hessian.diagonal() if order is None else hessian.diagonal()[order.argsort()]
    rounder = _Rounder(weight, grid, order, clip_search=clip_search, importance=importance)
    codes = _round_columns(weight if order is None else weight[:, order], factor, rounder)
    if order is not None:
        codes = codes[:, order.argsort()]
    return Solution(pack(codes, rounder.parameters(), grid), used_damping)


def _factor(hessian: Tensor, damping: float) -> tuple[Tensor | None, float]:
    """Return the upper Cholesky factor of the damped Hessian's inverse, and the damping; None if there is none."""
    mean = hessian.diagonal().mean()
    while damping <= MOST_DAMPING:
        damped = hessian.clone()
        damped.diagonal().add_(damping * mean)
        lower, failed = torch.linalg.cholesky_ex(damped)
        if not failed:
            upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
            if not failed and bool(upper.isfinite().all()):
                return upper, damping
        damping += DAMPING_STEP
    return None, damping


class _Rounder:
    """Rounds one column with the parameters of its group.

    Without act-order a group's parameters are fitted when its first column is reached: the updates have changed its
    weights by then. With act-order all are fitted before, since groups are no longer consecutive columns.
    """

    def __init__(
        self, weight: Tensor, grid: Grid, order: Tensor | None, *, clip_search: bool, importance: Tensor
    ) -> None:  # fmt: skip
        self._grid = grid
        self._one = Grid(grid.bits, symmetric=grid.symmetric, scale_dtype=grid.scale_dtype)
        self._width = grid.width(weight.shape[1])
        self._order = None if order is None else order.tolist()
        self._clip_search = clip_search
        self._importance = importance
        static = order is not None or grid.group_size <= 0
        self._fitted: list[Parameters] = []
        if static:
            whole = fit(weight, grid, clip_search=clip_search, importance=importance)
            self._fitted = [whole.of_group(index) for index in range(whole.scales.shape[1])]
        self.block = BLOCK if static else self._width * max(1, BLOCK // self._width)
        """Columns to a block: whole groups, whose weights are then up to date when they are fitted."""

    def __call__(self, weight: Tensor, column: int) -> tuple[Tensor, Tensor]:
        """Return the codes of a column [out, 1] and what they stand for; `weight` holds all columns as they are now."""
        group = (column if self._order is None else self._order[column]) // self._width
        if group == len(self._fitted):
            inputs = slice(column, column + self._width)
            importance = self._importance[inputs]
            self._fitted.append(fit(weight[:, inputs], self._one, clip_search=self._clip_search, importance=importance))
        parameters = self._fitted[group]
        codes = encode(weight[:, column : column + 1], parameters, self._one)
        return codes, (codes - parameters.zeros) * parameters.scales

    def parameters(self) -> Parameters:
        """Return the parameters of all groups, in the order of the inputs."""
        return Parameters(
            torch.cat([each.scales for each in self._fitted], dim=1),
            torch.cat([each.zeros for each in self._fitted], dim=1),
        )


def _round_columns(weight: Tensor, factor: Tensor, rounder: _Rounder) -> Tensor:
    """Round all columns of `weight`, which is changed on the way, and return their codes [out, in]."""
    codes = torch.empty_like(weight)
    columns = weight.shape[1]
    for start in range(0, columns, rounder.block):
        end = min(start + rounder.block, columns)
        errors = torch.empty_like(weight[:, start:end])
        for column in range(start, end):
            codes[:, column : column + 1], rounded = rounder(weight, column)
            error = (weight[:, column : column + 1] - rounded) / factor[column, column]
            weight[:, column:end].addmm_(error, factor[column : column + 1, column:end], alpha=-1)
            errors[:, column - start : column - start + 1] = error
        weight[:, end:].addmm_(errors, factor[start:end, end:], alpha=-1)
    return codes
