"""Agents that take over the policy of a neighbour that fares better (``adopt``)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Mapping

import numpy as np
import torch

from ..ground.errors import InputError
from ..network.exchange import Inbox
from ..settings.config import NonNegative, Positive, Section, option
from ..world.world import Rollout
from .actor_critic import ActorCritic
from .keeping import Part
from .protocol import KINDS, Facts, Learning, Now, Say, Seat
from .team import Team


@dataclass
class Options(Section):
    """Adoption; policy and critic learn by ``--ppo.…`` before it."""

    temperature: NonNegative = option(
        0.0,
        "τ of the softmax over returns, in their units (0: the best; its own, then the lowest number, where some are equal).",
    )
    exchanges: Positive = option(
        1, "Times a round that everybody tells its neighbours and chooses: how far the best policy spreads in one."
    )
    every: Positive = option(1, "Rounds between adoptions.")
    optimiser: Literal["kept", "reset", "adopted"] = option(
        "reset",
        "What becomes of Adam's moments of who adopts: kept, set to zero, or taken over with the policy (three times the bytes).",
    )


class Adopt(ActorCritic):
    """Learns as ``ippo``, then tells its neighbours its policy and σ, its estimate of the return, and goes on with the policy of one of those that it
    heard, or its own: of j with probability exp(σ_j / τ) / Σ_k exp(σ_k / τ). What is adopted is told on in the next exchange with its σ.

    σ: mean over copies of Σ_t γ^t r_t of this round's rollout, by the policy before it learned; r as in ``--reward.mixing``.
    """

    facts = Facts(
        "PPO, after which an agent takes over the policy of a neighbour that fared better.",
        "networked",
        "on",
        KINDS,
        "its neighbours: policy and estimated return, every round",
        "the same",
        "its own reward, or --reward.mixing; equal spaces and networks of neighbours",
        "Benjamin and Abate 2023, arXiv 2306.02766; 2024, arXiv 2408.11607",
        "verified: without neighbours it is ippo, bit for bit; on a connected graph the best policy reaches all in as many exchanges as its diameter",
    )
    Options = Options
    statistics = (*ActorCritic.statistics, "adopted", "estimated_return")
    averages = shares = False
    uses = ("policy_loss", "model.", "model.critic", "optimiser.", "optimiser.critic", "returns.", "ppo.", "critic.")

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self.options = seat.options(Options)
        self.choice_rng = np.random.default_rng(seat.streams(6)[-1])

    # What is known before anything is built

    @classmethod
    def check(cls, team: Team, index: int) -> None:
        """See :class:`~.protocol.Method`."""
        super().check(team, index)
        if team.group_of(index):
            raise InputError(
                f"agents.groups: agents that adopt policies have networks of their own ({team.specs[index].name})"
            )
        own = team.policy_of(index).description
        for other in team.heard_by(index):
            name = team.specs[other].name
            if team.settings[other].algorithm != "adopt":
                raise InputError(
                    f"--algorithm adopt: {team.specs[index].name} hears {name}, which has --algorithm {team.settings[other].algorithm} and tells no "
                    "estimate of its return"
                )
            if team.policy_of(other).description != own or team.specs[other].action != team.specs[index].action:
                raise InputError(
                    f"--algorithm adopt: {team.specs[index].name} could not act by the policy of {name}: their spaces or networks differ"
                )

    @classmethod
    def talks(cls, team: Team, index: int) -> bool:
        """See :class:`~.protocol.Method`."""
        return any(index in edge for edge in team.edges)

    @classmethod
    def talks_to_neighbours(cls, team: Team, index: int) -> bool:
        """See :class:`~.protocol.Method`."""
        return cls.talks(team, index)

    # A round

    def learn(self, rollout: Rollout, inbox: Inbox, now: Now) -> Learning:
        """PPO; then exchanges."""
        found = yield from super().learn(rollout, inbox, now)
        estimate, adopted = self.estimate(self.reward(rollout, inbox)), math.nan
        if self.talks(self.team, self.index) and now.round % self.options.every == 0:
            estimate_of_policy, adopted = float(np.float32(estimate)), 0.0  # as others hear it
            for _ in range(self.options.exchanges):
                heard = yield Say("policy", np.append(self._told(), np.float32(estimate_of_policy)))
                told = {other: numbers for other, numbers in heard.items() if len(numbers) == len(self._told()) + 1}
                estimates = {self.index: estimate_of_policy} | {j: float(numbers[-1]) for j, numbers in told.items()}
                chosen = choose(self.index, estimates, self.options.temperature, self.choice_rng)
                if chosen != self.index:
                    self._adopt(told[chosen][:-1])
                    estimate_of_policy = estimates[chosen]
                    adopted += 1 / self.options.exchanges
        return found | {"adopted": adopted, "estimated_return": estimate}

    def estimate(self, reward: torch.Tensor) -> float:
        """σ, from rewards [T, B]."""
        gamma = self.settings.returns.gamma ** torch.arange(len(reward), dtype=torch.float64)
        return float((gamma @ reward.double()).mean())

    def _told(self) -> np.ndarray:
        """The policy, float32, and Adam's moments where these are adopted, too."""
        optimiser = self.learner.optimisers[0]
        parts = [self.policy.flat]
        if self.options.optimiser == "adopted":
            parts += [optimiser.first, optimiser.second]
        return torch.cat(parts).cpu().numpy()

    def _adopt(self, told: np.ndarray) -> None:
        optimiser, size = self.learner.optimisers[0], len(self.policy.flat)
        self.policy.fill(self.tensor(told[:size]))
        if self.options.optimiser == "adopted":
            optimiser.first.copy_(self.tensor(told[size : 2 * size]))
            optimiser.second.copy_(self.tensor(told[2 * size :]))
        elif self.options.optimiser == "reset":
            optimiser.first.zero_()
            optimiser.second.zero_()
            optimiser.steps = 0

    def alike(self) -> None:
        """See :class:`~.protocol.Method`: each by itself."""
        return None

    # State

    def parts(self) -> Mapping[str, Part]:
        """See :class:`~.acting.Acting`."""
        return {**super().parts(), "choice": self.choice_rng}


def choose(own: int, estimates: Mapping[int, float], temperature: float, rng: np.random.Generator) -> int:
    """Whose policy to go on with: j with probability exp(σ_j / τ) / Σ_k exp(σ_k / τ); at τ = 0 the best, of equal ones the own, then the lowest number."""
    agents = sorted(estimates, key=lambda agent: (agent != own, agent))
    values = np.array([estimates[agent] for agent in agents])
    if not temperature:
        return agents[int(values.argmax())]
    shares = np.exp((values - values.max()) / temperature).cumsum()
    return agents[min(int(np.searchsorted(shares, rng.random() * shares[-1], side="right")), len(agents) - 1)]
