"""Whose actions a return depends on, from returns alone: unbiased estimators in one state (Sobol' indices by pick-freeze).

Given a state, independent policies, and f_i(a) = E_ω G_i(a, ω), with G_i agent i's discounted return after the joint action a and ω
everything that comes after it (chance in the environment, all later actions):

    V_own(i) = Var over a_i of E[f_i | a_i]        V_oth(i) = E over a_i of Var over a_-i of f_i        V_env(i) = E over a of Var over ω of G_i
    T_ij     = E Var(f_i | a_-j), the total effect of j (Homma and Saltelli 1996)

so that Var G_i = V_own + V_oth + V_env: what depends on both action and future counts as V_env. Two independent sets of M joint
actions A and B, and for each agent j the hybrid A_B^(j), which is A with B's action of j (Saltelli et al. 2010, doi 10.1016/j.cpc.2009.09.018):

    V_oth(i) = ½ E (f_i(B) − f_i(A_B^(i)))²        both have i's action of B, and nothing else in common
    T_ij     = ½ E (f_i(A) − f_i(A_B^(j)))²        nothing differs but j's action (Jansen 1999)
    V_own(i) = E (f_i(B) − c) (f_i(A_B^(i)) − f_i(A))        c: any constant; here the mean of the other draws' returns

f is seen through the mean of n futures only, the same for all joint actions of a draw (common random numbers). A square, or a product,
of such means is too large by Var_ω, or Cov_ω, of the two factors over n, which the same futures tell and which is taken off. So each
figure has the right mean for any n ≥ 2 and M ≥ 2, and may come out below zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Components:
    """One state's estimates: own, others, chance [N]; total [N, N], entry (i, j): T_ij (the diagonal is an agent's own action)."""

    own: np.ndarray
    others: np.ndarray
    chance: np.ndarray
    total: np.ndarray

    def flat(self) -> np.ndarray:
        """All numbers in a row, for a message."""
        return np.concatenate([self.own, self.others, self.chance, self.total.ravel()])

    @classmethod
    def of_flat(cls, row: np.ndarray) -> Components:
        """The inverse of :meth:`flat`."""
        number = int(round((np.sqrt(9 + 4 * len(row)) - 3) / 2))
        own, others, chance, total = np.split(row, [number, 2 * number, 3 * number])
        return cls(own, others, chance, total.reshape(number, number))


def components(outcome: np.ndarray) -> Components:
    """What returns [draws M, N + 2, futures n, N] tell: joint actions are A, B, then the hybrids of agents 0 … N − 1; the last axis is who is
    paid. Raises ValueError for fewer than two draws or futures, or another number of joint actions."""
    draws, joint, futures, number = outcome.shape
    if draws < 2 or futures < 2 or joint != number + 2:
        raise ValueError(f"returns {outcome.shape} are not [draws ≥ 2, agents + 2, futures ≥ 2, agents]")
    first, second, hybrids = (
        outcome[:, 0],
        outcome[:, 1],
        outcome[:, 2:],
    )  # [M, n, N], [M, n, N], [M, N (whose), n, N (who is paid)]
    everyone = np.arange(number)
    own_hybrid = np.stack([hybrids[:, agent, :, agent] for agent in everyone], -1)  # [M, n, N]
    total = np.stack([_square(first - hybrids[:, agent]) for agent in everyone], -1) / 2
    others = _square(second - own_hybrid) / 2
    # Without each draw's own returns, so that what is taken off is independent of what it is taken off from.
    level = (first + second).mean(1) / 2
    centre = (level.sum(0) - level) / (draws - 1)
    own = _product(second - centre[:, None], own_hybrid - first)
    chance = outcome.var(2, ddof=1).mean((0, 1))
    return Components(own, others, chance, total)


def _square(difference: np.ndarray) -> np.ndarray:
    """Mean over draws of (E_ω difference)², from [M, n, N]: [N]."""
    return _product(difference, difference)


def _product(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Mean over draws of (E_ω one) (E_ω other), from [M, n, N] each: [N]."""
    futures = one.shape[1]
    means = one.mean(1), other.mean(1)
    shared = ((one - means[0][:, None]) * (other - means[1][:, None])).sum(1) / (futures - 1)
    return (means[0] * means[1] - shared / futures).mean(0)
