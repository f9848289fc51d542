"""Steps of two players who know that the other moves, in games whose values are exact: LOLA in its published forms, HOLA, and how consistent such steps are.

x are one's own numbers, y the other's, V and W what they are worth to each; all are float64, [..., n], and take derivatives of any order.
``create_graph`` everywhere: a step is a function of x and y, and what depends on it is differentiated through it.
"""

from __future__ import annotations

from typing import Callable

import torch

from .pair_games import Both, PairGame

Steps = Callable[[torch.Tensor, torch.Tensor], Both]
"""Both players' numbers → both players' steps."""


def slope(value: torch.Tensor, of: torch.Tensor) -> torch.Tensor:
    """∇ of a sum of values, through everything that depends on ``of``; it can be differentiated again."""
    return torch.autograd.grad(value.sum(), of, create_graph=True, materialize_grads=True)[0]


def naive(game: PairGame, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """∇_x V(x, y): as if the other stood still."""
    return slope(game.values(x, y)[0], x)


def lola(game: PairGame, x: torch.Tensor, y: torch.Tensor, lookahead: float, form: str, inner: int = 1) -> torch.Tensor:
    """The gradient of an x whose opponent is about to make the step η ∇_y W(x, y).

    shaping     ∇_x V + η (∇_y V)ᵀ ∇_x ∇_y W                         Foerster et al. 2018's code: ∇_y V is held fixed
    surrogate   ∇_x [V + η (∇_y V)ᵀ ∇_y W]                           the whole first-order surrogate (Letcher et al. 2019)
    step        ∇_x V(x, y + η ∇_y W(x, y))                          no expansion (Willi et al. 2022's exact LOLA; HOLA of order 1)

    The last may follow several steps, ``inner``.
    """
    if form == "step":
        moved = y
        for _ in range(inner):
            moved = moved + lookahead * slope(game.values(x, moved)[1], moved)
        return slope(game.values(x, moved)[0], x)
    value, worth = game.values(x, y)
    step = lookahead * slope(worth, y)
    through = slope(value, y)
    if form == "shaping":
        through = through.detach()
    return slope(value, x) + slope(through * step, x)


def hola(game: PairGame, x: torch.Tensor, y: torch.Tensor, rate: float, order: int) -> Both:
    """Both players' steps when each knows the other's of one order less: h⁰_x = α ∇_x V(x, y),  hⁿ_x = α ∇_x V(x, y + hⁿ⁻¹_y), the dependence of
    hⁿ⁻¹_y on x differentiated too (Willi et al. 2022, definition of HOLA)."""
    steps = torch.zeros_like(x), torch.zeros_like(y)
    for _ in range(order + 1):
        value, worth = game.values(x, y + steps[1])[0], game.values(x + steps[0], y)[1]
        steps = rate * slope(value, x), rate * slope(worth, y)
    return steps


def inconsistency(game: PairGame, steps: Steps, x: torch.Tensor, y: torch.Tensor, rate: float) -> torch.Tensor:
    """How far steps f are from what would be right if the other made them, [...]: ‖f_x − α ∇_x V(x, y + f_y(x, y))‖² + the same of y.

    ∇_x goes through f_y's dependence on x (without it this is look-ahead, not COLA). x, y must require gradients.
    """
    own, others = steps(x, y)
    best = rate * slope(game.values(x, y + others)[0], x), rate * slope(game.values(x + own, y)[1], y)
    return (own - best[0]).square().sum(-1) + (others - best[1]).square().sum(-1)
