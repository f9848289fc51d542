"""Fully decentralised actor-critic for private rewards: neighbours average their critics, and what they make of the team's reward (``consensus_reward``)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Generator, Mapping, Sequence

import numpy as np
import torch

from ..learning.build import generator_of
from ..learning.distributions import distribution_of
from ..learning.models import MLP, OPTIMISERS
from ..network.exchange import Inbox
from ..settings.config import Positive, Rate, Section, Sizes, option
from ..world.world import Rollout
from .actor_critic import ActorCritic
from .keeping import Part
from .lesson import Lesson
from .protocol import KINDS, Facts, Learning, Now, Say, Seat
from .returns import generalised_advantages
from .team import Team


@dataclass
class Options(Section):
    """The net of the team's reward."""

    hidden: Sizes = option((64,), "Sizes of its hidden layers.")
    epochs: Positive = option(4, "Passes over a round's rollout.")
    minibatch: Positive = option(1024, "Steps in a minibatch.")
    learning_rate: Rate = option(2e-3, "Step size.")


class ConsensusReward(ActorCritic):
    """Each agent fits R̄_i(o, a) and V_i(o), of everybody's observations o and actions a, to its own reward; neighbours average both after every round, so
    that they come to mean the team's mean reward and its value; the policy follows the advantage by these:

        δ_i = R̄_i(o, a) + γ V_i(o') − V_i(o),  λ-weighted.

    Zhang et al. 2018, arXiv 1802.08757, algorithm 2, discounted in the place of the average reward, by PPO, and averaged once a round.
    """

    facts = Facts(
        "PPO by a critic and a net of the team's mean reward, both averaged with the neighbours' after every round.",
        "networked",
        "on",
        KINDS,
        "the whole team: observations, actions; its neighbours: critics and nets of the reward",
        "its critic and its net of the reward",
        "its own reward, which it tells nobody, or --reward.mixing",
        "Zhang et al. 2018, arXiv 1802.08757",
        "verified: nets of private rewards come to the mean of all on a connected graph; with exact nets its advantages are those of the team's reward",
    )
    Options = Options
    statistics = (*ActorCritic.statistics, "reward_error")
    shares = False

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self.options = seat.options(Options)
        team = seat.team
        self.distributions = [distribution_of(spec.action) for spec in team.specs]
        size = sum(spec.observation_size for spec in team.specs) + sum(one.width for one in self.distributions)
        start, order = seat.streams(7)[-2:]
        if seat.equal_start:
            start = np.random.SeedSequence(seat.seed, spawn_key=(0, 0)).spawn(7)[-2]
        self.reward_net = MLP((size, *self.options.hidden, 1), "relu")
        self.reward_net.start(generator_of(start), True, 1.0)
        self.reward_net.to(self.device)
        optimiser = seat.settings.optimiser
        self.reward_optimiser = OPTIMISERS[optimiser.method](
            self.reward_net, optimiser.epsilon, optimiser.max_gradient_norm
        )
        self.reward_rng = np.random.default_rng(order)

    @classmethod
    def wants_of_all(cls, team: Team, index: int) -> Sequence[str]:
        """See :class:`~.protocol.Method`."""
        return ["observations", "actions", "presence"]

    # A round

    def learn(self, rollout: Rollout, inbox: Inbox, now: Now) -> Learning:
        """The critic from the own reward and the policy from the team's, as the net has it; then the net."""
        self._seen = self.read(inbox, rollout.reward.size)
        found = yield from super().learn(rollout, inbox, now)
        return found | {"reward_error": self.fit(self._seen, self.reward(rollout, inbox).reshape(-1), now)}

    def judge(self, lesson: Lesson, advantage: torch.Tensor) -> Generator[Say, Any, torch.Tensor]:
        """See :class:`~.actor_critic.ActorCritic`."""
        with torch.no_grad():
            team = self.reward_net(self._seen)[:, 0].view(lesson.steps, lesson.copies)
        settings = self.settings.returns
        targets = generalised_advantages(
            lesson.experience.rollout, team, lesson.values.value, settings.gamma, settings.trace
        )
        return targets.advantage.view(lesson.taken)
        yield  # says nothing

    def read(self, inbox: Inbox, taken: int) -> torch.Tensor:
        """What the net reads of the steps of a rollout, [T·B, size]: observations and actions of all in order, zeros of what was rejected."""
        seen, done = [], []
        for other, distribution in enumerate(self.distributions):
            told = inbox[other].team if other in inbox else {}
            if other == self.index:
                seen.append(self.observation[:taken])
            else:
                seen.append(self._observations_of(other, inbox, len(self.observation))[:taken])
            action, present = told.get("actions"), told.get("presence")
            if other == self.index:
                action, present = self._own
            if action is None or present is None:
                done.append(distribution.absent.to(self.device).expand(taken, -1))
                continue
            words = distribution.read(action.view(np.float32)).to(self.device)
            done.append(distribution.encode(words, self.tensor(present.astype(bool))[:taken]))
        return torch.cat([*seen, *done], 1)

    def tell(self, rollout: Rollout, sections: Sequence[str]) -> Any:
        """See :class:`~.acting.Acting`; keeps what the net reads of the agent itself."""
        found = super().tell(rollout, sorted({*sections, "actions", "presence"}))
        self._own = found["actions"], found["presence"]
        return {name: found[name] for name in sections}

    def fit(self, read: torch.Tensor, reward: torch.Tensor, now: Now) -> float:
        """Fit the net to the own reward, ½ (R̄ − r)²; the root of its mean square error before."""
        with torch.no_grad():
            error = float((self.reward_net(read)[:, 0] - reward).square().mean().sqrt())
        rate = self.options.learning_rate * self.learner.trainer.rate(now.progress)
        for _ in range(self.options.epochs):
            for chosen in torch.from_numpy(self.reward_rng.permutation(len(read))).split(self.options.minibatch):
                self.reward_net.gradient.zero_()
                (0.5 * (self.reward_net(read[chosen])[:, 0] - reward[chosen]).square().mean()).backward()
                self.reward_optimiser.step(rate)
        return error

    # Averaging

    def shared_vector(self, what: str) -> np.ndarray:
        """See :class:`~.protocol.Method`: the net of the reward, then the critic."""
        return np.concatenate([self.reward_net.flat.cpu().numpy(), super().shared_vector(what)])

    def take_shared(self, what: str, vector: np.ndarray) -> None:
        """See :class:`~.protocol.Method`."""
        size = len(self.reward_net.flat)
        self.reward_net.fill(self.tensor(vector[:size]))
        if not np.array_equal(
            vector[size:], super().shared_vector(what)
        ):  # one that changed nothing leaves every bit as it was
            self.learner.take_shared(what, self.tensor(vector[size:]))

    def shared_groups(self, what: str) -> tuple[int, ...]:
        """See :class:`~.protocol.Method`."""
        own = tuple(math.prod(shape) for shape in self.reward_net.shapes.values())
        return (*own, *super().shared_groups(what))

    def alike(self) -> None:
        """See :class:`~.protocol.Method`: each by itself."""
        return None

    # State

    def parts(self) -> Mapping[str, Part]:
        """See :class:`~.acting.Acting`."""
        own = {
            "reward_net": self.reward_net,
            "reward_optimiser": self.reward_optimiser,
            "reward_order": self.reward_rng,
        }
        return {**super().parts(), **own}
