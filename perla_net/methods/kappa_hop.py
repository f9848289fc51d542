"""Scalable actor-critic: critics that see κ edges far, and policies that follow the critics of those within κ edges (``kappa_hop``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generator

import numpy as np
import torch

from ..settings.config import Count, Section, option
from .actor_critic import ActorCritic
from .lesson import Lesson
from .protocol import KINDS, Facts, Say, Seat
from .team import Team


@dataclass
class Options(Section):
    """How far critics see."""

    kappa: Count = option(1, "κ: edges along which observations and advantages travel (0: ippo).")


class KappaHop(ActorCritic):
    """g_i = Σ_t ∇ log π_i(a_i | o_i) · mean over j within κ edges of Â_j,  Â_j the advantage by j's critic V_j(o of those within κ edges of j).

    Qu et al. 2020, arXiv 1912.02906, equation 8, where a truncated Q̂_j stands for Â_j: a λ-return is a sample of Q_j, and V_j takes away what no action
    of i in this step changes. By PPO. Observations are forwarded along κ edges (``--links.hops``, set by itself), then advantages in κ exchanges;
    who is not heard is left out of the mean.
    """

    facts = Facts(
        "PPO whose critic sees κ edges far, and whose advantage is the mean of those of the agents within κ edges.",
        "networked",
        "on",
        KINDS,
        "those within κ edges: observations and advantages",
        "its advantages, and those that it forwards",
        "its own reward, or --reward.mixing",
        "Qu et al. 2020, arXiv 1912.02906",
        "verified: at κ = 0 it is ippo, bit for bit; the mean against one by hand along a line",
    )
    Options = Options
    purposes = ("advantages",)
    averages = False

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self.kappa = seat.options(Options).kappa

    @classmethod
    def talks(cls, team: Team, index: int) -> bool:
        """See :class:`~.protocol.Method`."""
        return kappa_of(team, index) > 0 and any(index in edge for edge in team.edges)

    @classmethod
    def talks_to_neighbours(cls, team: Team, index: int) -> bool:
        """See :class:`~.protocol.Method`."""
        return cls.talks(team, index)

    def judge(self, lesson: Lesson, advantage: torch.Tensor) -> Generator[Say, Any, torch.Tensor]:
        """See :class:`~.actor_critic.ActorCritic`."""
        if not self.talks(self.team, self.index):
            return advantage
        return (yield from self.of_neighbourhood(advantage, lesson.alive))

    def of_neighbourhood(
        self, advantage: torch.Tensor, alive: torch.Tensor
    ) -> Generator[Say, dict[int, np.ndarray], torch.Tensor]:
        """Mean of the advantages [T·B] of those within κ edges, oneself among them; who is not there has none.

        In each of κ exchanges everybody tells its neighbours what it heard for the first time in the last one: number of agents, who they are, their
        advantages.
        """
        own = torch.where(alive, advantage, 0.0).cpu().numpy().astype(np.float32)
        known, fresh = {self.index: own}, [self.index]
        for _ in range(self.kappa):
            words = [np.array([len(fresh), *fresh], np.float32), *(known[agent] for agent in fresh)]
            heard = yield Say("advantages", np.concatenate(words))
            fresh = []
            for numbers in heard.values():
                count = int(numbers[0])
                if not count or len(numbers) != 1 + count + count * len(own):
                    continue
                agents = numbers[1 : 1 + count].astype(int).tolist()
                for agent, values in zip(agents, numbers[1 + count :].reshape(count, len(own))):
                    if agent not in known:
                        known[agent] = values.copy()  # what was heard is kept no longer than an exchange
                        fresh.append(agent)
        total = np.zeros(len(own), np.float64)
        for agent in sorted(known):
            total += known[agent]
        return self.tensor((total / len(known)).astype(np.float32))

    def alike(self) -> None:
        """See :class:`~.protocol.Method`: each by itself."""
        return None


def kappa_of(team: Team, index: int) -> int:
    """κ of an agent."""
    return team.settings[index].sections["kappa_hop"]["kappa"]
