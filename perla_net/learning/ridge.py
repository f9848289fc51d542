"""Ridge regression in closed form (Hoerl and Kennard 1970): how a critic that is linear in what it reads is fitted.

(w, b) = argmin Σ_t (y_t − b − w·x_t)² + ρ |w|², the constant b unpunished: with means x̄, ȳ and centred X, y,
w = (XᵀX + ρ I)⁻¹ Xᵀy (primal), or the same as Xᵀ (XXᵀ + ρ I)⁻¹ y (dual), whichever matrix is smaller; b = ȳ − w·x̄. In float64.

Of several ρ the one is taken that generalised cross-validation prefers (Golub, Heath and Wahba 1979): the least n |y − ŷ|² / (n − 1 − Σ_k λ_k / (λ_k + ρ))²,
λ_k the eigenvalues of either matrix; one degree of freedom is that of b.
"""

from __future__ import annotations

import math
from typing import Callable, Sequence

import torch

PENALTIES = (0.1, 1.0, 10.0, 100.0, 1e3, 1e6)
"""Those that are tried where none is given; the last leaves little but the constant."""


def ridge(x: torch.Tensor, y: torch.Tensor, penalties: Sequence[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """(w [size], b []) from x [n, size] and y [n], float64; n = 0: zeros."""
    if not len(x):
        return x.new_zeros(x.shape[1], dtype=torch.float64), x.new_zeros((), dtype=torch.float64)
    x, y = x.double(), y.double()
    center, level = x.mean(0), y.mean()
    x, y = x - center, y - level
    if x.shape[1] <= len(x):
        w = _solved(x.T @ x, x.T @ y, float(y @ y), len(x), penalties)
    else:
        w = x.T @ _solved_dual(x @ x.T, y, penalties)
    return w, level - w @ center


def gram(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Σ_t z_t z_tᵀ of z = (x, y, 1), [size + 2, size + 2] float64: all that the regression needs of its rows, to be summed over agents."""
    z = torch.cat([x.double(), y.double().unsqueeze(1), x.new_ones(len(x), 1, dtype=torch.float64)], 1)
    return z.T @ z


def ridge_from(sums: torch.Tensor, penalties: Sequence[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """(w, b) as of :func:`ridge`, from :func:`gram`."""
    count = sums[-1, -1]
    if count <= 0:
        return sums.new_zeros(len(sums) - 2), sums.new_zeros(())
    means = sums[-1, :-1] / count
    centred = sums[:-1, :-1] - count * torch.outer(means, means)
    w = _solved(centred[:-1, :-1], centred[:-1, -1], float(centred[-1, -1]), float(count), penalties)
    return w, means[-1] - w @ means[:-1]


def _solved(
    matrix: torch.Tensor, right: torch.Tensor, square: float, count: float, penalties: Sequence[float]
) -> torch.Tensor:
    """w from XᵀX, Xᵀy and yᵀy of ``count`` rows."""

    def left(w: torch.Tensor, penalty: float) -> float:  # |y − Xw|² = yᵀy − 2 wᵀXᵀy + wᵀXᵀX w,  XᵀX w = Xᵀy − ρ w
        return max(square - float(w @ (right + penalty * w)), 0.0)

    return _best(matrix, right, left, count, penalties)


def _solved_dual(matrix: torch.Tensor, y: torch.Tensor, penalties: Sequence[float]) -> torch.Tensor:
    """(XXᵀ + ρ I)⁻¹ y."""

    def left(dual: torch.Tensor, penalty: float) -> float:  # y − ŷ = ρ (XXᵀ + ρ I)⁻¹ y
        return float((penalty * dual).square().sum())

    return _best(matrix, y, left, len(y), penalties)


def _best(
    matrix: torch.Tensor,
    right: torch.Tensor,
    left: Callable[[torch.Tensor, float], float],
    count: float,
    penalties: Sequence[float],
) -> torch.Tensor:
    """(M + ρ I)⁻¹ right for the penalty with the least generalised cross-validation error; of equal ones the greatest.

    By Cholesky's factors, with Σ_k λ_k / (λ_k + ρ) = size − ρ tr (M + ρ I)⁻¹: LAPACK's eigenvalues may not converge where many are equal.
    """
    chosen, least = None, math.inf
    for penalty in sorted(penalties, reverse=True):
        factor = _factor(matrix, penalty)
        found = torch.cholesky_solve(right.unsqueeze(-1), factor).squeeze(-1)
        if len(penalties) == 1:
            return found
        trace = len(matrix) - penalty * float(torch.cholesky_inverse(factor).diagonal().sum())
        free = count - 1 - trace
        error = count * left(found, penalty) / free**2 if free > 1e-6 * count else math.inf
        if chosen is None or error < least:
            chosen, least = found, error
    assert chosen is not None
    return chosen


def _factor(matrix: torch.Tensor, penalty: float) -> torch.Tensor:
    matrix = matrix.clone()
    matrix.diagonal().add_(penalty)
    return torch.linalg.cholesky(matrix)
