"""HAPPO: agents learn one after the other, each from the team's advantage times what those before it have changed.

A round's order is drawn anew. Agent i_m takes PPO's steps on M = A · Π_{l < m} π_new^{i_l}(a|o) / π_old^{i_l}(a|o), with the ratios of those
before it as they are after their last epoch; it hands M / A, one number a step, on to i_{m+1}. Agents that share a network are one in the order.
"""

from __future__ import annotations

from typing import Any, Generator

import numpy as np
import torch

from ..network.exchange import Inbox
from ..settings.config import AgentSettings
from ..world.world import Rollout
from .acting import along
from .actor_critic import ActorCritic
from .coalition import check_alike, check_choices, members, play_together, sharers
from .lesson import Lesson
from .order import STATISTICS, improve, look
from .protocol import KINDS, Facts, Learning, Now, Say, Seat
from .team import Team
from .trainer import gradient_steps

Shared = Generator[Say, Any, Any]
NOTHING = np.zeros(0, np.float32)


class HAPPO(ActorCritic):
    """MAPPO with the team's reward and one advantage, the mean of what everybody's critic says, and sequential updates.

    Critics learn where the team plays on, also in steps in which their agent is not there any more; policies only where it is.
    """

    facts = Facts(
        "PPO one after the other in a fresh random order, the product of the ratios handed on; a critic of everybody's observations.",
        "actor-critic",
        "on",
        KINDS,
        "the whole team: observations; all agents with this method: rewards and advantages; the one before it: ratios",
        "the same, to the one behind it",
        "the mean reward of all agents with this method; the whole team",
        "Kuba et al. 2022, arXiv 2109.11251; Zhong et al. 2023, arXiv 2304.09870 (HARL)",
        "verified: alone = mappo, bit for bit; every policy's advantages and gradient by hand in float64; games:two_step 8",
    )
    statistics = (*STATISTICS, "factor_spread")
    """``factor_spread``: root of the mean of (M / A − 1)², what those before one have changed."""
    purposes = ("advantages", "ratios")

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        team = seat.team
        self.together = members(team, seat.index)
        self.blocks = sorted({team.group_of(agent) or (agent,) for agent in self.together})
        """Those that learn as one, each in order."""
        self.learner.group = self.learner.trainer.group = sharers(team, seat.index, self.together)
        self.shared = bool(self.learner.group)

    # What is known before anything is built

    @classmethod
    def check(cls, team: Team, index: int) -> None:
        """See :class:`~.protocol.Method`: there is one advantage for all."""
        super().check(team, index)
        check_choices(team.settings[index])
        check_alike(team, index, cls._in_common, "who learn in turn from one advantage")

    @classmethod
    def _in_common(cls, settings: AgentSettings) -> list[tuple[str, Any]]:
        return [(f"--{name}.…", getattr(settings, name)) for name in ("returns", "ppo", "critic")]

    @classmethod
    def talks_to_neighbours(cls, team: Team, index: int) -> bool:
        """See :class:`~.protocol.Method`: only to the team."""
        return False

    # A round

    def learn(self, rollout: Rollout, inbox: Inbox, now: Now) -> Learning:
        """Agree on what was earned, and on how much better it was than expected; then learn when it is one's turn."""
        played = yield from play_together(rollout, self.together)
        experience = self.experience(rollout, inbox, now.round)
        experience.rollout, experience.reward = played.rollout, played.reward.to(self.device)
        trainer, group = self.learner.trainer, bool(self.learner.group)
        whole = bool(rollout.alive[:-1].all())
        valued = None if whole else played.there.to(self.device)
        # Critics that learn in the policy's minibatches do so also where the agent is not there any more, so that these steps must stay.
        keep_all = group or (not whole and self.learner.order == "together")
        lesson = Lesson(self.learner, experience, keep_all, valued)
        fitted = yield from look([lesson], trainer, now.progress)
        returns = lesson.returns()
        # Normalised once, before anything is multiplied: that the product is what the others have changed must stay true.
        advantage = yield from self._agreed(lesson.advantage(returns))
        advantage = lesson.normalised(advantage, played.there.to(self.device))
        if fitted is None:
            yield from lesson.follow(returns)

        factor, order = torch.ones_like(advantage), self.order_of(now.round)
        for block, following in zip(order, [*order[1:], ()]):
            if self.index in block:
                spread = float((factor - 1).square().mean().sqrt())
                batch = lesson.batch(advantage * factor, returns, fitted is None)
                found = yield from improve([lesson], [batch], trainer, now.progress, fitted)
                ratio = self.ratio(rollout, lesson)
                factor = factor * ratio if self.index == block[0] else ratio
            elif self.shared:
                yield from self._wait(gradient_steps(self.team.settings[block[0]], self.horizon, self.copies))
            if following:
                factor = yield from self._handed_on(block, following, factor)
        return dict(zip(self.statistics, [*found[0].tolist(), spread]))

    def _agreed(self, own: torch.Tensor) -> Shared:
        """The mean of what everybody's critic says, [T·B]."""
        mean = yield Say("advantages", own.cpu().numpy(), self.together, mean=True)
        return torch.from_numpy(mean).to(self.device)

    def order_of(self, round_number: int) -> list[tuple[int, ...]]:
        """Who learns after whom in a round, the same for everybody: drawn from the run's seed."""
        # As long as no other key of the first agent's streams, and with its own end.
        key = np.random.SeedSequence(self.seat.seed, spawn_key=(0, self.together[0], 1, round_number, 2))
        return [self.blocks[k] for k in np.random.default_rng(key).permutation(len(self.blocks))]

    @torch.no_grad()
    def ratio(self, rollout: Rollout, lesson: Lesson) -> torch.Tensor:
        """π_new(a|o) / π_old(a|o) of the actions taken, [T·B]; 1 where the agent was not there."""
        x, begins, start = self.with_identity(self.observation), rollout.begins, self.memory_at_start
        outputs, _ = along(self.policy, self.distribution, x, self.mask, begins, rollout.final_at, start, lesson.action)
        new, old = (
            self.distribution.score(one[: lesson.taken].mT.contiguous(), lesson.action).log_probability
            for one in (outputs, self.outputs)
        )
        return torch.where(lesson.alive, torch.exp(new - old), 1.0)

    def _wait(self, turns: int) -> Shared:
        """While others talk among themselves: nothing, to oneself."""
        for _ in range(turns):
            yield Say("ratios", NOTHING, (self.index,))

    def _handed_on(self, block: tuple[int, ...], following: tuple[int, ...], factor: torch.Tensor) -> Shared:
        """What those that come next are to multiply with; everybody else's own numbers as they were.

        Of a block the first has what came before in its number, the others theirs; those that listen must say as much, and it counts for
        nothing.
        """
        if self.index not in (*block, *following):
            yield from self._wait(1)
            return factor
        told = yield Say("ratios", factor.cpu().numpy(), tuple(sorted(block + following)))
        if self.index in block:
            return factor
        product = np.prod([told[agent] for agent in block], axis=0, dtype=np.float32)
        return torch.from_numpy(product).to(self.device)

    def alike(self) -> Any:
        """See :class:`~.protocol.Method`: it learns in turn."""
        return None
