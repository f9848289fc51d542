"""Ridge regression in closed form (Hoerl and Kennard 1970): how a critic that is linear in what it reads is fitted.

(w, b) = argmin Σ_t (y_t − b − w·x_t)² + ρ |w|², the constant b unpunished: with means x̄, ȳ and centred X, y,
w = (XᵀX + ρ I)⁻¹ Xᵀy (primal), or the same as Xᵀ (XXᵀ + ρ I)⁻¹ y (dual), whichever matrix is smaller; b = ȳ − w·x̄. In float64.
"""

from __future__ import annotations

import torch


def ridge(x: torch.Tensor, y: torch.Tensor, penalty: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(w [size], b []) from x [n, size] and y [n], float64; n = 0: zeros."""
    if not len(x):
        return x.new_zeros(x.shape[1], dtype=torch.float64), x.new_zeros((), dtype=torch.float64)
    x, y = x.double(), y.double()
    center, level = x.mean(0), y.mean()
    x, y = x - center, y - level
    if x.shape[1] <= len(x):
        w = _solved(x.T @ x, x.T @ y, penalty)
    else:
        w = x.T @ _solved(x @ x.T, y, penalty)
    return w, level - w @ center


def gram(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Σ_t z_t z_tᵀ of z = (x, y, 1), [size + 2, size + 2] float64: all that the regression needs of its rows, to be summed over agents."""
    z = torch.cat([x.double(), y.double().unsqueeze(1), x.new_ones(len(x), 1, dtype=torch.float64)], 1)
    return z.T @ z


def ridge_from(sums: torch.Tensor, penalty: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(w, b) as of :func:`ridge`, from :func:`gram`, or a multiple of it with the penalty multiplied alike."""
    count = sums[-1, -1]
    if count <= 0:
        return sums.new_zeros(len(sums) - 2), sums.new_zeros(())
    means = sums[-1, :-1] / count
    centred = sums[:-1, :-1] - count * torch.outer(means, means)
    w = _solved(centred[:-1, :-1], centred[:-1, -1], penalty)
    return w, means[-1] - w @ means[:-1]


def _solved(matrix: torch.Tensor, right: torch.Tensor, penalty: float) -> torch.Tensor:
    matrix = matrix.clone()
    matrix.diagonal().add_(penalty)
    return torch.cholesky_solve(right.unsqueeze(-1), torch.linalg.cholesky(matrix)).squeeze(-1)
