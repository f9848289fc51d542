"""What methods must come to in the small games by what they can represent: solved exactly, without any of the methods' code.

A game of the second step, or of the only one, is a payoff table P [A, B] for both. What plays uniformly sees all of it alike; then

``means``      an agent by itself values its actions by the means over the other's, and answers uniform play;
``additive``   the sum of utilities nearest to P: row mean + column mean − mean;
``monotonic``  QMIX's mixer is a sum of convex functions (elu) of sums q_0 + q_1 with weights that are not negative: what it makes of utilities in a given
               order rises with both (monotonic), and the more with the one the greater the other (supermodular). Such tables are
               c + Σ_{s,t} g_st 1{i ≥ s, j ≥ t} with g ≥ 0: the best one is least squares with signs, solved for each order of the actions. The
               tables of several orders are valleys of the loss, of which the best is what the representation says;
``optimistic`` the same with weight 1 where the fit is too small, α elsewhere (OW-QMIX); it depends on the fit and is iterated until it stays;
``central``    the same with weight 1 at the greedy joint action and where P is greater than there, α elsewhere (CW-QMIX): fits that are greatest
               where their weights say that they are;
``any``        a value of joint actions: P itself, and a greatest entry of it;
``flow``       the natural gradient of the exact payoff from (nearly) uniform play, d log π_i = advantage: where it ends, nobody gains by
               changing alone.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache
from typing import Callable

import numpy as np

from perla_net.world.networked.games import CLIMBING, QTRAN, SECOND_GAMES

ALPHA = 0.1
"""Of the weighted fits; the methods' default."""
GAMMA = 0.99
"""Of two_step; the others are stages, each by itself."""
PENALTY = -100
NEAR = 1e-7
STAGES = {
    "qtran": np.array(QTRAN[1], float),
    "qtran, second": np.array(QTRAN[2], float),
    "two_step": SECOND_GAMES[1],
    "climbing": np.array(CLIMBING, float),
    "penalty": np.array(((PENALTY, 0, 10), (0, 2, 0), (10, 0, PENALTY)), float),
}
"""Payoffs of the only stage; of two_step those of 2B, beside which stands 2A, 7 whatever is done."""
FIRST = float(SECOND_GAMES[0, 0, 0])


@dataclass
class Fit:
    """What one comes to: the tables that are learned (two, of agents by themselves), joint actions that may be greedy, what the method says that
    the game is worth."""

    tables: tuple[np.ndarray, ...]
    greedy: set[tuple[int, int]]
    worth: float
    error: float = 0.0


def greatest(table: np.ndarray) -> set[tuple[int, int]]:
    """Where a table is greatest."""
    return {(int(i), int(j)) for i, j in np.argwhere(table >= table.max() - NEAR * max(1.0, np.abs(table).max()))}


def means(payoff: np.ndarray) -> list[Fit]:
    """Of independent learners."""
    one, other = payoff.mean(1), payoff.mean(0)
    greedy = {
        (int(i), int(j))
        for i in np.flatnonzero(one >= one.max() - NEAR)
        for j in np.flatnonzero(other >= other.max() - NEAR)
    }
    return [Fit((one, other), greedy, float(one.max()))]


def joint_means(payoff: np.ndarray) -> list[Fit]:
    """Of those who value joint actions, and act by their means."""
    (fit,) = means(payoff)
    return [Fit((payoff,), fit.greedy, fit.worth)]


def field(payoff: np.ndarray) -> list[Fit]:
    """The same; what follows is worth its mean under the policy that explores, uniformly."""
    (fit,) = means(payoff)
    return [Fit((payoff,), fit.greedy, float(payoff.mean()))]


def additive(payoff: np.ndarray) -> list[Fit]:
    """Of a sum of utilities."""
    table = payoff.mean(1, keepdims=True) + payoff.mean(0) - payoff.mean()
    return [Fit((table,), greatest(table), float(table.max()))]


def orders(shape: tuple[int, ...]) -> list[tuple[np.ndarray, ...]]:
    """Every order of each one's actions, as indices of the table in that order."""
    return [np.ix_(*pair) for pair in itertools.product(*(itertools.permutations(range(size)) for size in shape))]


def corners(shape: tuple[int, ...]) -> np.ndarray:
    """1, and 1{i ≥ s, j ≥ t} for all (s, t) but (0, 0), [A · B, A · B]."""
    i, j = np.indices(shape)
    return np.stack([((i >= s) & (j >= t)).ravel() for s, t in np.ndindex(*shape)], 1).astype(float)


def least_squares(payoff: np.ndarray, weight: np.ndarray) -> tuple[float, np.ndarray]:
    """(Σ w (f − P)², f) of the best f in the given order: every set of corners that may count is tried, in one batch for each size."""
    basis, target, w = corners(payoff.shape), payoff.ravel(), weight.ravel()
    matrix, right = basis.T @ (w[:, None] * basis), basis.T @ (w * target)
    best = (np.inf, payoff)
    for size in range(basis.shape[1]):
        chosen = np.array([(0, *rest) for rest in itertools.combinations(range(1, basis.shape[1]), size)])
        found = np.linalg.solve(matrix[chosen[:, :, None], chosen[:, None]], right[chosen][..., None])[..., 0]
        fits = np.einsum("mpk,mk->mp", basis[:, chosen].transpose(1, 0, 2), found)
        errors = np.where((found[:, 1:] > -NEAR).all(1), (w * (fits - target) ** 2).sum(1), np.inf)
        if errors.min() < best[0] - NEAR:
            best = (float(errors.min()), fits[errors.argmin()].reshape(payoff.shape))
    return best


def in_every_order(payoff: np.ndarray, reweigh: Callable[[np.ndarray], np.ndarray]) -> list[Fit]:
    """The fit of each order, the best first; ``reweigh``: weights by what the last fit was, until they stay."""
    found = []
    for order in orders(payoff.shape):
        fit = np.full_like(payoff, np.inf)
        while True:
            weight = reweigh(fit)
            error, ordered = least_squares(payoff[order], weight[order])
            last, fit = fit, np.empty_like(payoff)
            fit[order] = ordered
            if np.array_equal(reweigh(fit), weight) or np.allclose(fit, last, atol=NEAR):
                break
        found.append(Fit((fit,), greatest(fit), float(fit.max()), error))
    return sorted(found, key=lambda one: one.error)


def monotonic(payoff: np.ndarray) -> list[Fit]:
    """QMIX."""
    return in_every_order(payoff, np.ones_like)


def optimistic(payoff: np.ndarray) -> list[Fit]:
    """OW-QMIX."""
    return in_every_order(payoff, lambda fit: np.where(fit < payoff - NEAR, 1.0, ALPHA))


def central(payoff: np.ndarray) -> list[Fit]:
    """CW-QMIX: of the fits that are greatest at what their weights take for greedy, those at the greatest payoff first."""
    found = []
    for greedy in np.ndindex(*payoff.shape):
        weight = np.where(payoff > payoff[greedy], 1.0, ALPHA)
        weight[greedy] = 1.0
        fits = [fit for fit in in_every_order(payoff, lambda _, weight=weight: weight) if greedy in fit.greedy]
        found += [
            Fit(fit.tables, {greedy}, payoff[greedy], fit.error - 1e9 * (payoff[greedy] == payoff.max()))
            for fit in fits
        ]
    return sorted(found, key=lambda one: one.error)


def any_table(payoff: np.ndarray) -> list[Fit]:
    """A value of joint actions."""
    return [Fit((payoff,), greatest(payoff), float(payoff.max()))]


def remembered(payoff: np.ndarray) -> list[Fit]:
    """Values of joint actions, and answers to what is remembered, most of it (nearly) uniform play."""
    (fit,) = means(payoff)
    return [Fit((payoff,), fit.greedy, float(max(payoff[pair] for pair in fit.greedy)))]


def flow(payoff: np.ndarray) -> list[Fit]:
    """Where policy gradients end, from 40 starts close to uniform play; no table is learned."""
    logits = np.random.default_rng(0).normal(0, 0.03, (2, 40, max(payoff.shape)))
    one, other = logits[0][:, : payoff.shape[0]], logits[1][:, : payoff.shape[1]]
    step = 0.5 / np.abs(payoff).max()
    for _ in range(4_000):
        p, q = (np.exp(x - x.max(1, keepdims=True)) for x in (one, other))
        p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
        ahead, other_ahead = q @ payoff.T, p @ payoff
        one = one + step * (ahead - (p * ahead).sum(1, keepdims=True))
        other = other + step * (other_ahead - (q * other_ahead).sum(1, keepdims=True))
    greedy = {(int(i), int(j)) for i, j in zip(p.argmax(1), q.argmax(1))}
    return [Fit((), greedy, float((p @ payoff * q).sum(1).mean()))]


@dataclass
class Answer:
    """What must come out of a game: names of joint actions (``2A``: that game is chosen), what they pay, and the fits whose tables are learned, the
    best ones first."""

    done: set[str]
    paid: set[float]
    fits: list[Fit]


@cache
def answer(kind: str, game: str) -> Answer:
    """What a kind of learner must come to in a game; each is solved once."""
    payoff = STAGES[game]
    fits = KINDS[kind](payoff)
    best = [fit for fit in fits if fit.error <= fits[0].error + NEAR * abs(fits[0].error) + NEAR]
    greedy = set().union(*(fit.greedy for fit in best))
    if game == "two_step" and GAMMA * best[0].worth < GAMMA * FIRST:
        return Answer({"2A"}, {FIRST}, fits)
    before = "2B " if game == "two_step" else ""
    return Answer({f"{before}{pair}" for pair in greedy}, {float(payoff[pair]) for pair in greedy}, fits)


KINDS: dict[str, Callable[[np.ndarray], list[Fit]]] = {
    "means": means,
    "joint means": joint_means,
    "field": field,
    "additive": additive,
    "monotonic": monotonic,
    "optimistic": optimistic,
    "central": central,
    "any": any_table,
    "remembered": remembered,
    "flow": flow,
}
