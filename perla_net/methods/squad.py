"""Agents of one rank whose networks and settings are equal, side by side (``--batch-agents``)."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Iterator, Mapping, Sequence

from ..learning.models import MLP, Adam, Policy
from ..network.exchange import Inbox
from ..world.world import Rollout
from .lesson import Lesson
from .order import STATISTICS, learn
from .player import Player
from .protocol import Now, run_alone
from .trainer import Trainer


class SideBySide:
    """The networks, optimisers and trainer of agents whose networks and settings are equal, as one; each agent's are its row."""

    def __init__(self, agents: Sequence[Any]) -> None:
        """``agents``: alike :class:`~.actor_critic.ActorCritic`."""
        self.agents = list(agents)
        learners = [agent.learner for agent in agents]
        first = learners[0]
        self.policy = policy = Policy.together([learner.policy for learner in learners])
        critic = MLP.together([learner.critic for learner in learners])
        self.optimisers = (
            Adam.together([learner.optimisers[0] for learner in learners], policy),
            Adam.together([learner.optimisers[1] for learner in learners], critic),
        )
        self.trainer = Trainer(
            policy, critic, self.optimisers, first.distribution, first.trainer.own_heads, first.settings
        )

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Inside, the optimisers of all take steps; before and after these are those of everybody's own."""
        learners = [agent.learner for agent in self.agents]
        for whole, optimiser in zip(self.optimisers, learners[0].optimisers):
            whole.steps = optimiser.steps
        yield
        for learner in learners:
            for whole, optimiser in zip(self.optimisers, learner.optimisers):
                optimiser.steps = whole.steps


class Squad(SideBySide):
    """Agents of one rank whose networks and settings are equal: they act and learn side by side, one product for all.

    Each agent stays itself: its parameters, moments and random streams are its own, as rows of the squad's tensors. The
    numbers differ from those of agents that learn one by one in the last bits, since products are summed in another order.
    """

    def __init__(self, agents: Sequence[Any]) -> None:
        """``agents``: alike :class:`~.actor_critic.ActorCritic`."""
        super().__init__(agents)
        one = agents[0]
        self._player = Player(self.policy, self.trainer.distribution, one.identity, one.copies, one.horizon)

    def player(self) -> Player:
        """Who acts for these agents in the next rollout."""
        for agent in self.agents:
            agent.mark()
        self._player.begin(*[agent.noise_rng for agent in self.agents])
        return self._player

    def learn(self, rollouts: Sequence[Rollout], inboxes: Mapping[int, Inbox], now: Now) -> list[dict[str, float]]:
        """Everybody's statistics, after everybody has learned."""
        lessons = [
            Lesson(agent.learner, agent.experience(rollout, inboxes[agent.index], now.round), keep_all=True)
            for agent, rollout in zip(self.agents, rollouts)
        ]
        with self.counted():
            measured = run_alone(learn(lessons, self.trainer, now.progress))
        return [dict(zip(STATISTICS, row.tolist())) for row in measured]
