"""The game of two that one rollout is a sample of: both players' values as functions of their parameters, whose derivatives of every order are right (DiCE).

With l_t = log π_x(a_t|o_t) − log π_played(a_t|o_t), the sum over both players, 0 where both are the parameters that played,

    J = Σ_t γ^t exp(c_t) δ_t,    c_t = l_t + λ c_{t−1},    δ_t = r_t + γ b(o_{t+1}) − b(o_t),

within the episode, the mean over episodes. exp(c) is DiCE's magic box, 1 there, with all derivatives (Foerster et al. 2018, arXiv 1802.05098); elsewhere it is importance
sampling, so that a step of the opponent can be followed without playing again. With λ = 1 and any b, J is the value but for b(o_0), derivatives across the players
included: E[exp(c_t) γ b(o_{t+1})] cancels against the next step's −b(o_{t+1}). With λ < 1 the first derivative is that of GAE(λ), and those of higher order forget what
lies far back, too (Loaded DiCE: Farquhar et al. 2019, arXiv 1909.10549): less variance, and as much bias as b is wrong, or would change.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ..learning.distributions import Distribution
from ..learning.models import Policy
from ..world.world import Rollout
from .acting import recalled
from .pair_games import Both, PairGame

WIDEST = 512
"""Numbers in an observation beyond which the baseline is a constant."""
PENALTY = 1.0
"""Weight of the squared baseline weights; what one step weighs."""
LEAST = 1e-9
"""The same of the constant, so that there is a solution where nobody was there."""


class Course:
    """When a rollout's episodes run: what everybody in it has alike."""

    def __init__(self, rollout: Rollout, gamma: float, trace: float) -> None:
        """``trace``: λ."""
        self.gamma, self.trace = gamma, trace
        self.begins = torch.from_numpy(rollout.begins.copy())
        self.final_at = torch.from_numpy(rollout.final_at.copy())
        steps, copies = rollout.reward.shape
        at = torch.arange(steps).unsqueeze(1).expand(steps, copies)
        since = (
            torch.where(self.begins[:-1], at, 0).cummax(0).values
        )  # the step with which its episode, or the rollout, began
        self.weight = gamma ** (at - since).double()
        first = self.begins[:-1].clone()
        first[0] = True
        self.episodes = first.sum(0)
        """Of each copy, [B]."""

    def following(self, of_states: torch.Tensor) -> torch.Tensor:
        """Of numbers of the R states, [R, n], those that come after each step, [T, B, n]: of an episode that was cut off, of what it ended with;
        0 where nothing follows."""
        steps, copies = self.weight.shape
        running, finals = of_states[: (steps + 1) * copies], of_states[(steps + 1) * copies :]
        found = running.view(steps + 1, copies, -1)[1:].masked_fill(self.begins[1:].unsqueeze(-1), 0.0)
        if len(self.final_at):
            found[tuple(self.final_at.unbind(1))] = finals
        return found

    def value(self, log_ratio: torch.Tensor, left: torch.Tensor, copies: torch.Tensor) -> torch.Tensor:
        """J of these copies, a mean over their episodes; log_ratio, left [T, those copies]."""
        summed = decayed_sum(log_ratio.double(), self.trace * (~self.begins[:-1, copies]).double())
        return (self.weight[:, copies] * summed.exp() * left).sum() / self.episodes[copies].sum()


def decayed_sum(terms: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """c_t = l_t + k_t c_{t−1} along the first axis, by doubling (Hillis and Steele 1986): log₂ T operations for autograd to remember, not T."""
    shift = 1
    while shift < len(terms):
        before, kept_before = (F.pad(one[:-shift], (0, 0, shift, 0)) for one in (terms, kept))
        terms, kept = terms + kept * before, kept * kept_before
        shift *= 2
    return terms


@dataclass
class Part:
    """One agent's part in a rollout.

    policy: with the parameters that played; x [R, size]: what it read; action [T·B, words]; reward [T, B]; there [R] bool: it was there; mask
    [R, outputs] and memory [B, width], or None.
    """

    policy: Policy
    distribution: Distribution
    x: torch.Tensor
    action: torch.Tensor
    reward: torch.Tensor
    there: torch.Tensor
    mask: torch.Tensor | None = None
    memory: torch.Tensor | None = None

    def log_probability(self, flat: torch.Tensor, course: Course, copies: torch.Tensor) -> torch.Tensor:
        """log π of what it did in these copies, by the parameters ``flat``: [T, those copies]; 0 where it was not there."""
        steps, every = self.reward.shape
        shape = steps, len(copies)

        def of(array: torch.Tensor) -> torch.Tensor:
            return array[: steps * every].view(steps, every, -1)[:, copies]

        policy, x = self.policy.at(flat), of(self.x)
        if policy.width:
            assert self.memory is not None
            done = recalled(policy, self.distribution, of(self.action).flatten(0, 1), len(copies))
            outputs = policy.sequence(x, self.memory[copies], course.begins[:-1, copies], *done)[0].flatten(0, 1)
        else:
            outputs = policy(x.flatten(0, 1))
        mask = None if self.mask is None else of(self.mask).flatten(0, 1)
        outputs = self.distribution.masked(outputs, mask, -1)
        found = self.distribution.score(outputs.mT, of(self.action).flatten(0, 1)).log_probability.view(shape)
        return torch.where(of(self.there)[..., 0], found, 0.0)

    def left_by_baseline(self, course: Course, fitted_on: torch.Tensor) -> torch.Tensor:
        """δ_t, [T, B] float64, with a baseline b that is linear in what the agent reads, fitted on these copies: the fixed point of
        b(o) = E[r + γ b(o')] over what they saw (LSTD, Bradtke and Barto 1996)."""
        steps, copies = self.reward.shape
        features = self.x if self.x.shape[1] <= WIDEST else self.x[:, :0]
        features = torch.cat([features, features.new_ones(len(self.x), 1)], 1).double() * self.there.unsqueeze(1)
        now = features[: steps * copies].view(steps, copies, -1)
        after = course.following(features)
        reward = self.reward.double() * self.there[: steps * copies].view(steps, copies)
        change = (now - course.gamma * after)[:, fitted_on].flatten(0, 1)
        seen = now[:, fitted_on].flatten(0, 1)
        matrix = seen.T @ change
        # The constant is not shrunk: what was rarely seen is worth what all is worth on average, not nothing.
        matrix.diagonal()[:-1] += PENALTY
        matrix[-1, -1] += LEAST
        weights = torch.linalg.solve(matrix, seen.T @ reward[:, fitted_on].flatten())
        return reward - (now - course.gamma * after) @ weights


def sampled_game(own: Part, other: Part | None, course: Course, here: torch.Tensor, there: torch.Tensor) -> PairGame:
    """The game of an agent and an opponent: flat parameters of both → (the agent's J in copies ``here``, the opponent's J in ``there``). What
    the one is multiplied with the other has then not seen, and the mean of products is the product of means. Baselines are fitted on the other copies,
    too. Without an opponent: how the agent fares by itself."""
    left = own.left_by_baseline(course, there)[:, here]
    parts = [own] if other is None else [own, other]
    played = [
        [part.log_probability(part.policy.flat, course, copies).detach() for part in parts] for copies in (here, there)
    ]
    if other is not None:
        left_to_other = other.left_by_baseline(course, here)[:, there]

    def value(which: int, flats: tuple[torch.Tensor, ...], rest: torch.Tensor) -> torch.Tensor:
        copies = (here, there)[which]
        ratios = (
            part.log_probability(flat, course, copies) - was for part, flat, was in zip(parts, flats, played[which])
        )
        return course.value(sum(ratios, torch.zeros(())), rest, copies)

    def values(x: torch.Tensor, y: torch.Tensor) -> Both:
        return value(0, (x, y), left), value(1, (x, y), left_to_other) if other is not None else torch.zeros(())

    return PairGame(len(own.policy.flat), values, 1 - course.gamma)


def halves_of(copies: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Each half of the copies with the other one, as indices; of one copy, it with itself."""
    every = torch.arange(copies)
    if copies < 2:
        return [(every, every)]
    first, second = every[: copies // 2], every[copies // 2 :]
    return [(first, second), (second, first)]


def present_in(rollout: Rollout) -> np.ndarray:
    """Whether the agent was there, of all R states."""
    return np.concatenate([rollout.alive.reshape(-1), rollout.final_alive])
