"""A critic that is fitted on what it judges: the bias of ``--critic.order first``, that ``folds`` has none, and that of a fitted coefficient.

A game of one step of two agents with two actions each, n copies: 4ⁿ outcomes (a, J)₁, …, (a, J)_n, each with its probability. Everything is summed
over all of them, in float64: no number here is drawn.

*Folds.* Form ``control``, critic linear, fitted by ridge regression to these n samples: A_k = r(a_k, J_k) − V_W − [W(a_k, J_k) − W̄(a_k)]. The advantage
of one action over the other should be the true one, E[A_k | a_k = 1] − E[A_k | a_k = 0] = Q̄(1) − Q̄(0). With W fixed it is, since then
E[W(a, J) − W̄(a) | a] = 0. With W fitted on k itself (``first``) W depends on J_k, and it is not: a bias that falls with what W gets wrong
about the samples that it was fitted on. In ``folds`` what judges k has seen the other half of the copies only; these are independent of (a_k, J_k),
so that for every value that W may have the mean is the true one (cross-fitting: Chernozhukov et al. 2018, arXiv 1608.00060).

*Coefficient.* With c fitted on the same samples, A = (r − V_W) − c D, D = W − W̄, E[D | a] = 0. Let X_k = ψ(a_k) D_k, a component of the gradient, so that
E X_k = 0 and the bias of the mean over k is b = −E[c X̄], X̄ = Σ_k X_k / n. Since 0 ≤ c ≤ 1, whatever the critic,

    |b| = |Cov(c, X̄)| ≤ sd(c) sd(X̄) ≤ ½ sd(X) / √n                                   (a variable in [0, 1] has a deviation of ½ at most)

and, samples being exchangeable, c₋ₖ (fitted without k) being independent of X_k, and E X_k = 0,

    b = −E[c X_k] = −E[(c − c₋ₖ) X_k],   so   |b| ≤ sd(X) · √E(c − c₋ₖ)²                  of the order of 1/n: what one sample moves c by

Where c* = Cov(g, D)/Var D lies inside of (0, 1), g = r − V_W − b* (W̄(a) − V_W) with b* = Cov(r, W̄(a))/Var W̄(a), the first order is known:
c = c* + (1/n) Σ_k D_k (g_k − ḡ − c* D_k)/Var D + O(1/n), so

    n b → −E[D (g − ḡ − c* D) X] / Var D

(the delta method). n b(n) = limit + β/n + O(1/n²): from n and 2n, 2 · 2n b(2n) − n b(n) is the limit but for O(1/n²), and is compared with it. On the edge, c* = 1 as for an
exact critic, the clipping takes about half of it away. A coefficient that is one, or that other copies fitted, has no bias at all.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from functools import cache
from typing import Iterator, NamedTuple, Sequence

import numpy as np
import torch

from ..methods import returns
from ..methods.hearing import Neighbour
from ..methods.learner import Learner
from ..methods.lesson import Experience
from ..settings.config import AgentSettings, Critic, Model, Returns
from .checks import Check
from .games import Game, repeated
from .measure import Play, advantages_of, learner_of, logits, policy_gradients, rollout_of

GAME = "two by two"
PAYOFF = np.array([[2.0, -1.0], [0.5, 1.0]])
"""r(a, J) of either agent."""
OWN, OTHER = np.array([0.35, 0.65]), np.array([0.6, 0.4])
SHARES = np.outer(OWN, OTHER).ravel()
"""Probabilities of the four (a, J)."""
TRUTH = float(np.diff(PAYOFF @ OTHER)[0])
"""Q̄(1) − Q̄(0)."""
WRONG = np.array([[3.0, 0.0], [-0.5, 1.5]])
"""W(a, J) of a wrong critic: c* lies inside of (0, 1)."""
ORDERS = (
    *((copies, "first", "one") for copies in (2, 4, 8)),
    *((copies, "folds", "one") for copies in (3, 4)),
    (4, "folds", "fitted"),
)
"""n, order and coefficient; of an odd number of copies the halves differ."""
SIZES = (2, 4, 8, 16, 32)
"""n of the coefficient."""
ROUNDING = 1e-10
NEAR = 0.1
"""What may be missing to the limit of n b, as a share of it, at the greatest n: patience, not an interval."""


class Order(NamedTuple):
    """With n copies: E[A_k | a_k = 1] − E[A_k | a_k = 0] less the true one, of the copy with the largest such bias."""

    copies: int
    order: str
    coefficient: str
    bias: float
    checks: list[Check]


class Coefficient(NamedTuple):
    """With n samples: mean of c, its deviation, bias b, bounds on |b|, n b."""

    critic: str
    samples: int
    mean: float
    deviation: float
    bias: float
    root_bound: float
    bound: float
    limit: float
    inside: bool
    """Whether c* lies inside of (0, 1), where that limit holds."""
    checks: list[Check]


@dataclass
class Folds:
    """What was found."""

    orders: list[Order] = field(default_factory=list)
    coefficients: list[Coefficient] = field(default_factory=list)

    @property
    def checks(self) -> list[Check]:
        """All of them."""
        return [check for row in (*self.orders, *self.coefficients) for check in row.checks]


def tiny() -> Game:
    """The game."""
    return repeated(GAME, np.stack([PAYOFF, PAYOFF]), [OWN, OTHER])


def learner_in(order: str, coefficient: str) -> Learner:
    """The program's learner with a linear critic that ridge regression fits, in float64."""
    settings = AgentSettings(
        algorithm="perla_ia2c",
        form="control",
        model=Model(policy_hidden=(), critic_hidden=()),
        returns=Returns(normalise_advantages=False, normalise_values=False),
        critic=Critic(order=order, fit="ridge", coefficient=coefficient, window=1, penalty=0.1),  # type: ignore[arg-type]
    )
    learner = learner_of(tiny(), 0, settings, np.random.default_rng(0))
    for network in (learner.policy, learner.critic):
        network.to(torch.float64)
    return learner


def advantages(learner: Learner, own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """A_k [n] of one step of n copies, after which the episode ends."""
    copies, reward = len(own), PAYOFF[own, other]
    rollout = rollout_of(Play(own, other, reward, [own, other]))
    rollout.terminated = np.ones((1, copies), bool)
    present = torch.ones(2 * copies, dtype=torch.bool)
    neighbour = Neighbour(
        logits(OTHER, np.float64).expand(2 * copies, -1).contiguous(), present, torch.from_numpy(other[:, None])
    )
    outputs = logits(OWN, np.float64).expand(2 * copies, -1).contiguous()
    x = torch.ones(2 * copies, 1, dtype=torch.float64)
    return advantages_of(
        learner, Experience(rollout, torch.from_numpy(reward[None]), None, x, outputs, None, [neighbour])
    )


def check_order(copies: int, order: str, coefficient: str) -> Order:
    """All outcomes, through the program's own order of learning. Where a law is checked nothing is taken for granted; elsewhere outcomes
    that differ only in the order of copies that are treated alike are looked at once: all copies of ``first``, those of a half of ``folds``."""
    learner = learner_in(order, coefficient)
    start = learner.critic.flat.clone()
    law = (order, coefficient) == ("folds", "one")
    half = copies // 2
    blocks = (1,) * copies if law else (half, copies - half) if order == "folds" else (copies,)
    total = np.zeros((copies, 2))
    for kinds, share in outcomes(blocks):
        own, other = np.divmod(kinds, 2)
        learner.critic.fill(start)
        total[np.arange(copies), own] += share * advantages(learner, own, other)
    ends = np.cumsum(blocks)
    means = np.stack([total[end - block : end].mean(0) for block, end in zip(blocks, ends)]) / OWN
    apart = means[:, 1] - means[:, 0]
    checks = []
    if law:
        checks = [
            Check("folds: mean", GAME, f"{copies} copies, copy {k}", float(one), TRUTH, tolerance=ROUNDING)
            for k, one in enumerate(apart)
        ]
    return Order(copies, order, coefficient, float(max(apart - TRUTH, key=abs)), checks)


def outcomes(blocks: Sequence[int]) -> Iterator[tuple[np.ndarray, float]]:
    """Which of the four (a, J) each copy has, in blocks of copies: of all orders in a block one, with the probability of all."""
    for parts in itertools.product(*(list(multisets(block)) for block in blocks)):
        kinds = [np.repeat(np.arange(4), counts) for counts, _ in parts]
        yield np.concatenate(kinds), math.prod(share for _, share in parts)


def multisets(number: int) -> Iterator[tuple[tuple[int, ...], float]]:
    """How often each of the four (a, J) occurred in so many samples, and how probable that is: order does not matter to c."""
    for bars in itertools.combinations(range(number + 3), 3):
        counts = tuple(np.diff([-1, *bars, number + 3]) - 1)
        ways = math.factorial(number)
        for count in counts:
            ways //= math.factorial(count)
        yield counts, ways * float(np.prod(SHARES ** np.array(counts)))


def check_coefficient(name: str, critic: np.ndarray) -> list[Coefficient]:
    """The coefficient that the program fits, over all samples of every size."""
    value = float(OWN @ critic @ OTHER)
    average = np.repeat(critic @ OTHER, 2)  # W̄(a), as all that follows of the four (a, J)
    reward, executed = (torch.from_numpy(table.ravel()) for table in (PAYOFF, critic))
    embedded, values = torch.from_numpy(average), torch.full((4,), value, dtype=torch.float64)
    own = np.repeat(np.arange(2), 2)
    variate = executed - embedded

    @cache
    def fitted(counts: tuple[int, ...]) -> float:
        each = torch.tensor(counts)
        parts = (reward - values, variate, embedded - values)
        return returns.fitted_coefficient(*(part.repeat_interleave(each) for part in parts))

    # ψ(a), its first component: the second is its negative.
    score = policy_gradients(OWN, own, np.ones(4), np.float64)[:, 0]
    apart = variate.numpy()
    x = score * apart
    gain, worth = (reward - values).numpy(), (embedded - values).numpy()
    gain = gain - float(SHARES @ (gain * worth)) / float(SHARES @ worth**2) * worth
    spread = float(SHARES @ apart**2)
    best = float(SHARES @ (gain * apart)) / spread
    inside = ROUNDING < best < 1 - ROUNDING
    limit = -float(SHARES @ (apart * (gain - SHARES @ gain - best * apart) * x)) / spread
    deviation = math.sqrt(float(SHARES @ x**2))
    truth = float(SHARES @ (score * np.repeat(PAYOFF @ OTHER, 2)))
    rows: list[Coefficient] = []
    for samples in SIZES:
        mean = square = moved = 0.0
        gradient = np.zeros(2)
        extreme = 0.5
        for counts, share in multisets(samples):
            c, each = fitted(counts), np.array(counts)
            both = (
                returns.form_advantage("control", reward, values, embedded, executed, variate, weight)
                for weight in (c, 1.0)
            )
            gradient += [share * float(each @ (score * one.numpy())) / samples for one in both]
            mean, square = mean + share * c, square + share * c * c
            extreme = max(extreme, c, 1 - c)
            for kind in range(4):
                if counts[kind]:
                    rest = counts[:kind] + (counts[kind] - 1,) + counts[kind + 1 :]
                    moved += share * counts[kind] / samples * (c - fitted(rest)) ** 2
        bias, root = float(gradient[0] - truth), 0.5 * deviation / math.sqrt(samples)
        bound = deviation * math.sqrt(moved)
        where = f"{name} critic, n = {samples}"
        checks = [
            Check("coefficient: bias of one", GAME, where, float(gradient[1]), truth, tolerance=ROUNDING),
            Check("coefficient: |bias|, as 1/√n", GAME, where, abs(bias), root, tolerance=ROUNDING, limit=True),
            Check("coefficient: |bias|, as 1/n", GAME, where, abs(bias), bound, tolerance=ROUNDING, limit=True),
            Check("coefficient: |c − ½|", GAME, where, extreme - 0.5, 0.5, tolerance=ROUNDING, limit=True),
        ]
        if samples == SIZES[-1] and inside:
            drawn = 2 * samples * bias - rows[-1].samples * rows[-1].bias
            checks.append(
                Check("coefficient: limit of n · bias", GAME, where, drawn, limit, tolerance=NEAR * abs(limit))
            )
        spread_of_c = math.sqrt(max(square - mean * mean, 0.0))
        rows.append(Coefficient(name, samples, mean, spread_of_c, bias, root, bound, limit, inside, checks))
    return rows


def check() -> Folds:
    """All of it."""
    found = Folds([check_order(*each) for each in ORDERS])
    for name, critic in (("wrong", WRONG), ("exact", PAYOFF)):
        found.coefficients += check_coefficient(name, critic)
    return found
