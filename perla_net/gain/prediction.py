"""From the variances of many states to what hearing can bring: averages, intervals, whom to hear, and the gain in samples.

A critic that averages the neighbours out takes their actions' variance off what the policy learns from, so a gain is a ratio of variances:
how many times fewer samples tell an agent's own actions apart. *Ceilings*, everybody heard and the critic exact:

    R        = (V_own + V_oth + V_env) / (V_own + V_env)      forms that keep the sampled return (control, trajectory)
    R_action = (V_own + V_oth + V_env) / V_own                the action form, which keeps nothing but the critic

*Predicted*, for a topology that covers the share c of what others do (Σ over the heard of T_ij / Σ over all), and a critic that is fitted to
n samples (of a round, times the window of rounds) and has to know p numbers. Of V_oth, the part (1 − c) is never removed. A fit by least
squares errs by noise · p / n, where noise = V_env + (1 − c) V_oth is what the critic's targets hold that it cannot explain, and with n < p
samples it misses the share 1 − n/p of what it should learn even without noise. A critic that errs more than it removes is left out:

    R_pred = (V_own + V_oth + V_env) / (V_own + V_env + (1 − c) V_oth + min(c V_oth, error))
    error  = max(0, 1 − n/p) c V_oth + noise · p / n

This formula is ours and rough (linear critic, contexts only as linear features, states as they are visited now): a prediction to be tested.
It is one of control-like forms, in which the critic's error meets fresh noise in each sample. In the action form the same error is in all samples
of a round, so that no ratio of variances of one sample tells what it costs: for that form there is the ceiling alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np
from scipy.special import bdtrc, stdtrit

from ..world.spec import ActionSpec, AgentSpec
from .variance import Components

RESAMPLES = 1000
"""Bootstrap samples of states behind an interval."""
LEVEL = 0.95
REACH = 0.9
"""Share of others' influence that those who must be heard make up, and that a topology should cover (C4)."""
LITTLE = 0.5
"""V_env over V_oth up to which chance is little (C2)."""
ENOUGH = 3
"""Samples for each number that the critic must know (C3)."""
ROUNDING = 1e-9
"""Influence below this share of an agent's variance is rounding."""


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval, arrays of one shape. Where a divisor is zero: inf."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Resampled:
    """Means over states: first of the sample itself, then of bootstrap samples. own, others, chance [B + 1, N]; total [B + 1, N, N]."""

    own: np.ndarray
    others: np.ndarray
    chance: np.ndarray
    total: np.ndarray


@dataclass(frozen=True)
class Influence:
    """Variances over all states: own, others, chance [N]; total [N, N] (i, j): of j's action on i, share: the same over V_oth(i); reliably
    [N, N]: that it is not zero; ceiling, action_ceiling [N]; team: the ceiling R of sums over agents. ``states`` [N]: in how many states
    each agent was there."""

    own: Estimate
    others: Estimate
    chance: Estimate
    total: Estimate
    share: Estimate
    reliably: np.ndarray
    ceiling: Estimate
    action_ceiling: Estimate
    team: Estimate
    states: np.ndarray
    resampled: Resampled

    @property
    def among(self) -> np.ndarray:
        """T_ij / Σ_k T_ik over those that are reliably not zero, [N, N]; rows of zeros where nobody is."""
        counted = np.where(self.reliably, self.total.value, 0.0)
        whole = counted.sum(1, keepdims=True)
        return np.divide(counted, whole, out=np.zeros_like(counted), where=whole > 0)

    def needed(self, agent: int, reach: float = REACH) -> list[int]:
        """The fewest others whose shares together reach ``reach``, the most influential first; ties by index."""
        shares = self.among[agent]
        order = np.argsort(-shares, kind="stable")
        upto = np.cumsum(shares[order])
        count = int((upto < reach - ROUNDING).sum()) + 1 if upto[-1] > 0 else 0
        return [int(other) for other in order[:count]]

    def covered(self, agent: int, heard: Sequence[int]) -> np.ndarray:
        """Share of others' influence that the ``heard`` make up, [B + 1]: Σ over them of T_ij over Σ over all, also over those that are not
        reliably above zero, whose errors have mean zero. 1 where nobody has any."""
        total = self.resampled.total[:, agent]
        whole = total.sum(1) - total[:, agent]
        return np.clip(_ratio(np.maximum(total[:, list(heard)].sum(1), 0.0), np.maximum(whole, 0.0)), 0, 1)

    def known(self, agent: int) -> float:
        """Share of V_oth that is laid to somebody, 1 at most: small where too few states were looked at."""
        laid = float(self.total.value[agent][self.reliably[agent]].sum())
        return float(min(1.0, _ratio(np.array(laid), np.maximum(self.others.value[agent], 0.0))))


def influence(found: Sequence[Components], alive: np.ndarray, seed: int) -> Influence:
    """Averages over states, each a cluster of its own; ``alive`` [S, N]: states count for agents who are there. Intervals are percentiles of
    a bootstrap over states."""
    number = alive.shape[1]
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(len(found), np.full(len(found), 1 / len(found)), RESAMPLES).astype(float)
    weights = np.concatenate([np.ones((1, len(found))), weights])  # the first is the sample itself
    counts = weights @ alive
    own, others, chance = (
        _over(weights, np.stack([getattr(one, name) for one in found]) * alive, counts)
        for name in ("own", "others", "chance")
    )
    total = np.stack([one.total for one in found]) * alive[:, :, None]
    kept = [np.maximum(part, 0) for part in (own, others, chance)]
    whole = sum(kept)
    effects = np.stack([_over(weights, total[:, agent], counts[:, agent : agent + 1]) for agent in range(number)], 1)
    variance = np.stack([one.own + one.others + one.chance for one in found])
    return Influence(
        estimate(own),
        estimate(others),
        estimate(chance),
        estimate(effects),
        estimate(_ratio(effects, kept[1][:, :, None])),
        _reliably(total, variance, alive),
        estimate(_ratio(whole, kept[0] + kept[2])),
        estimate(_ratio(whole, kept[0])),
        estimate(_ratio(whole.sum(1), (kept[0] + kept[2]).sum(1))),
        alive.sum(0).astype(int),
        Resampled(own, others, chance, effects),
    )


def _over(weights: np.ndarray, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Weighted means over states, [resamples, …]; 0 where an agent is in none of them."""
    return np.divide(weights @ values, counts, out=np.zeros((len(weights), values.shape[1])), where=counts > 0)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Their quotient; 1 for 0 / 0, where there is nothing to remove, and inf for other divisions by 0."""
    above, below = np.broadcast_arrays(above, below)
    return np.divide(above, below, out=np.where(above > 0, np.inf, 1.0), where=below > 0)


def estimate(resampled: np.ndarray) -> Estimate:
    """The sample's own figure, and percentiles of the others."""
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(resampled[1:], [tail, 1 - tail], axis=0, method="inverted_cdf")
    return Estimate(resampled[0], low, high)


def _reliably(total: np.ndarray, whole: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """Which T_ij [S, N, N] are above zero by more than chance, never an agent's own; ``whole`` [S, N]: an agent's variance in each state.

    Two one-sided tests over states, each at half of 5 % over the number of others (Bonferroni): Student's t, and the share of states with an
    estimate above zero against one half. If T_ij is zero, each estimate is a square less what it holds of chance, so above zero less often
    than not; this one is not led astray by a few states in which everything happens.
    """
    number = total.shape[1]
    level = (1 - LEVEL) / max(1, number - 1) / 2
    found = np.zeros((number, number), bool)
    for agent in range(number):
        values, scale = total[alive[:, agent], agent], ROUNDING * np.abs(whole[alive[:, agent], agent])
        states = len(values)
        if states < 2:
            continue
        mean, error = values.mean(0), values.std(0, ddof=1) / np.sqrt(states)
        above, below = (values > scale[:, None]).sum(0), (values < -scale[:, None]).sum(0)
        rare = bdtrc(above - 1, above + below, 0.5) <= level  # P(at least so many above zero)
        found[agent] = ((mean > stdtrit(states - 1, 1 - level) * error) | (rare & (above > 0))) & (mean > scale.mean())
        found[agent, agent] = False
    return found


def inputs(action: ActionSpec) -> int:
    """What a critic must know of an action beyond a constant: A − 1 numbers of a discrete component of A actions, two of a continuous one."""
    return sum(size - 1 for size in action.sizes) + 2 * len(action.low)


def unknowns(agents: Sequence[AgentSpec], agent: int, heard: Sequence[int], context: int) -> tuple[int, bool]:
    """(p: numbers that a linear critic of ``agent`` must know, whether it has a head for each own action). With heads, A_i (1 + D + Σ over the
    heard of (A_j − 1)); where own actions are continuous, additive: 1 + D + (A_i − 1) + Σ. D, ``context``: numbers of the observation."""
    heads = agents[agent].action.joint
    if heads is None:
        return additive(agents, agent, heard, context), False
    return heads * (1 + context + sum(inputs(agents[other].action) for other in heard)), True


def additive(agents: Sequence[AgentSpec], agent: int, heard: Sequence[int], context: int) -> int:
    """p of a critic that reads the own action as an input, for additive payoffs: 1 + D + (A_i − 1) + Σ over the heard of (A_j − 1)."""
    return 1 + context + sum(inputs(agents[one].action) for one in (agent, *heard))


def predicted(own: Any, others: Any, chance: Any, covered: Any, unknown: int, samples: int) -> np.ndarray:
    """R_pred, see the head of this file, of arrays of one shape; variances are taken as 0 where they came out below."""
    own, others, chance = (np.maximum(part, 0.0) for part in (own, others, chance))
    left = (1 - covered) * others
    error = _error(others, chance, covered, unknown, samples)
    return _ratio(own + others + chance, own + chance + left + np.minimum(covered * others, error))


def _error(others: Any, chance: Any, covered: Any, unknown: int, samples: int) -> np.ndarray:
    """Mean squared error of a linear critic of ``unknown`` numbers, fitted to ``samples``."""
    missed = max(0.0, 1 - samples / unknown)
    return missed * covered * others + (chance + (1 - covered) * others) * unknown / samples
