"""Q-learners: independent ones (``iql``), and those whose utilities add up to the team's value (``vdn``).

Other ways to make the team's value of utilities are in ``factorisations.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generator, Mapping

import numpy as np
import torch
from annotated_types import Ge, Gt, Le

from ..ground.errors import InputError
from ..learning.build import policy_for
from ..learning.models import Policy
from ..network.exchange import Inbox
from ..settings.checking import flag
from ..settings.config import AgentSettings, Count, Positive, Section, option
from ..world.world import Rollout
from .acting import Acting
from .coalition import averaged, check_alike, members, sharers
from .exploration import Exploration
from .keeping import Part
from .memory import Replay, Rows, check_begin, steps_of
from .protocol import Facts, Learning, Now, Say, Seat
from .team import Team
from .utility import Drawn, Seen, Utility

STATISTICS = ("td_loss", "q_value", "q_gradient", "exploration", "remembered")
"""Means over a round's gradient steps: ½ (Q − y)², Q of the actions taken, the gradient's norm before clipping; ε or τ of the round's
rollout; steps in the memory."""


@dataclass
class Options(Section):
    """Q-learning with a memory and a target network; learning rate, gamma and clipping are ``--optimiser.…`` and ``--returns.gamma``."""

    memory: Annotated[int, Ge(1), Le(100_000_000)] = option(30_000, "Steps that the memory keeps.")
    begin: Count = option(1_000, "Steps in the memory before learning begins.")
    updates: Positive = option(64, "Gradient steps in a round.")
    batch: Positive = option(256, "Steps in a gradient step.")
    episodes: Positive = option(16, "Episodes in a gradient step, with --model.memory gru.")
    longest: Positive = option(1_000, "With --model.memory gru: steps of an episode after which it counts as another.")
    double: bool = option(True, "Let the present network choose the action that the target network values.")
    target_every: Positive = option(200, "Gradient steps after which the target network follows.")
    target_rate: Annotated[float, Gt(0), Le(1)] = option(1.0, "Share of the way that it then follows (1: a copy).")
    exploration: Exploration = option(Exploration, "Exploration.")


Shared = Generator[Say, Any, Any]


class IQL(Acting):
    """Independent Q-learning: Q_i(o, a) → r + γ (1 − terminated) Q_i⁻(o', argmax Q_i(o', ·)), over allowed actions.

    With a GRU it learns from whole episodes, and its memory begins empty in each.
    """

    facts = Facts(
        "Q-learning by itself: memory of steps, double and target networks, ε-greedy or Boltzmann.",
        "value-based",
        "off",
        ("discrete",),
        "nobody",
        "nothing more",
        "its own reward, or --reward.mixing",
        "Tan 1993; Mnih et al. 2015; van Hasselt et al. 2016, arXiv 1509.06461",
        "verified: games:two_step 7, games:climbing at (2, 2) with 5 a step, 10 of 10 seeds each, exploring uniformly",
    )
    Options = Options
    statistics = STATISTICS
    measured: ClassVar[tuple[str, ...]] = STATISTICS[:3]
    """Those that every gradient step gives."""
    shares = remembers = True
    uses = ("optimiser.", "model.memory")
    name: ClassVar[str] = "iql"
    Network: ClassVar[type[Utility]] = Utility

    def __init__(self, seat: Seat) -> None:
        start, noise, batch = seat.streams(3)
        self.options = options = seat.options(self.Options)
        policy = seat.new_policy(start)
        policy.frozen["exploration"].fill_(options.exploration.at(0.0))
        super().__init__(seat, policy, noise)
        self.utility = self._utility_of(policy)
        self.memory = Replay(options.memory, policy.width > 0, options.longest)
        self.batch_rng = self._batches(batch)
        self._sharers = seat.group
        """Those whose gradients are averaged."""

    def _utility_of(self, network: Policy) -> Utility:
        """A network with its target and optimiser, which reads what the policy reads."""
        every, rate = self.options.target_every, self.options.target_rate
        return self.Network(network, self.settings.optimiser, every, rate, self.distribution, self._reads)

    def _reads(self, rows: Drawn, name: str) -> torch.Tensor:
        """What the network reads of observations, ``observation`` or ``following``."""
        return self.with_identity(rows[name])

    def _batches(self, own: np.random.SeedSequence) -> np.random.Generator:
        """What draws from the memory."""
        return np.random.default_rng(own)

    # What is known before anything is built

    @classmethod
    def policy_for(cls, team: Team, index: int) -> Policy:
        """See :class:`~.protocol.Method`: its outputs are Q-values, and how it explores is part of it."""
        settings = team.settings[index]
        head = settings.sections[cls.name]["exploration"]["kind"]
        return policy_for(team.specs[index], settings.model, len(team.identity_of(index)), head)

    @classmethod
    def check(cls, team: Team, index: int) -> None:
        """See :class:`~.protocol.Method`: and it must be able to begin."""
        super().check(team, index)
        check_begin(team.settings[index].sections[cls.name], flag(cls.name))

    # Learning

    def learn(self, rollout: Rollout, inbox: Inbox, now: Now) -> Learning:
        """Remember the rollout, then take some gradient steps on what is drawn from the memory."""
        reward = yield from self._learned_from(rollout, inbox, now)
        action = self.distribution.read(rollout.action).numpy()[:, 0].astype(np.int32)
        rows = steps_of(rollout, action) | {"reward": reward.numpy()} | self._heard(rollout, inbox, now)
        # A group, or a team that adds up its utilities, draws the same steps on every rank, so that all of them stay.
        kept = None if self.seat.group or self._coalition else rollout.alive[:-1]
        self.memory.add(rows, rollout.begins, kept)
        explored = float(self.policy.frozen["exploration"])
        self.policy.frozen["exploration"].fill_(self.options.exploration.at(now.round / now.rounds))
        measured = []
        if len(self.memory) >= max(self.options.begin, 1):
            share = 1.0 - now.progress if self.settings.optimiser.schedule == "linear" else 1.0
            for _ in range(self.options.updates):
                measured.append((yield from self._update(share)))
        means = np.mean(measured, 0).tolist() if measured else [np.nan] * len(self.measured)
        return dict(zip(self.statistics, [*means, explored, float(len(self.memory))]))

    _coalition: tuple[int, ...] = ()
    """Those whose utilities are added up, itself among them."""

    def _learned_from(self, rollout: Rollout, inbox: Inbox, now: Now) -> Shared:
        """The reward [T, B]."""
        return self.reward(rollout, inbox)
        yield

    def _heard(self, rollout: Rollout, inbox: Inbox, now: Now) -> Rows:
        """What else is to be remembered of every step, [T, B, …]: of those that were heard."""
        return {}

    def _summed(self, chosen: torch.Tensor, following: torch.Tensor) -> Shared:
        """Values of what was done, and of what follows, both [M], as the target has them."""
        return chosen, following
        yield

    def _update(self, share: float) -> Shared:
        """One gradient step; (loss, Q, gradient's norm). share: of the learning rate, by its schedule."""
        rows = self._drawn(self.memory.choose(self.batch_rng, self._number))
        seen = self.utility.look(rows)
        there = rows["alive"].to(torch.float32)
        chosen = self._done(seen.values.detach(), rows) * there
        goes_on = there * (~rows["terminated"]).to(torch.float32)
        total, after = yield from self._summed(chosen, self._worth(seen) * goes_on)
        # δ = Q − (r + γ Q⁻(o', argmax Q(o', ·)));  ∂ ½ δ² / ∂ Q_i(o, a_i) = δ, also where Q is a sum of Q_i
        error = total - (rows["reward"] + self.settings.returns.gamma * after)
        counted = rows["there"].to(torch.float32) if "there" in rows else torch.ones_like(there)
        counted = counted if self._coalition else counted * there
        weight = counted / counted.sum().clamp(min=1)
        self._backward(seen.values, rows, weight * error * there)
        yield from averaged(self._gradients(), self._sharers)
        norm = self._step(share)
        loss = 0.5 * (weight * error.square()).sum()
        return float(loss), float((weight * total).sum()), float(norm)

    def _done(self, values: torch.Tensor, rows: Drawn) -> torch.Tensor:
        """Q of what was done, [...], from Q(o, ·)."""
        return values.gather(-1, rows["action"].long().unsqueeze(-1)).squeeze(-1)

    def _worth(self, seen: Seen) -> torch.Tensor:
        """What o' is worth, [...]: Q⁻ of what would be done there."""
        return seen.target.gather(-1, self._best(seen)).squeeze(-1)

    def _backward(self, values: torch.Tensor, rows: Drawn, error: torch.Tensor) -> None:
        """From ∂L/∂Q(o, a) of what was done, [...], to the gradients; values: Q(o, ·)."""
        slope = torch.zeros_like(values).scatter_(-1, rows["action"].long().unsqueeze(-1), error.unsqueeze(-1))
        self.utility.backward(values, slope)

    def _gradients(self) -> list[torch.Tensor]:
        """Of all networks, which are averaged over those that share them."""
        return [self.utility.network.gradient]

    def _step(self, share: float) -> torch.Tensor:
        """A step down the gradients, at this share of the learning rates; the norm of the utility's."""
        return self.utility.step(self.settings.optimiser.learning_rate * share)

    @property
    def _number(self) -> int:
        """Steps, or episodes, in a gradient step."""
        return self.options.episodes if self.memory.episodes else self.options.batch

    def _drawn(self, chosen: np.ndarray) -> Drawn:
        """What was chosen of the memory."""
        return {name: torch.from_numpy(array).to(self.device) for name, array in self.memory.take(chosen).items()}

    def _best(self, seen: Seen) -> torch.Tensor:
        """What would be done next, [..., 1]."""
        return (seen.following if self.options.double else seen.target).max(-1, keepdim=True).indices

    # State

    def parts(self) -> Mapping[str, Part]:
        """See :class:`~.acting.Acting`."""
        return {**self.utility.parts("policy"), "replay": self.memory, "batch": self.batch_rng}

    def start_from(self, arrays: Mapping[str, np.ndarray], data: Mapping[str, Any]) -> None:
        """The Q-network, the target with it; it explores anew."""
        explores = float(self.policy.frozen["exploration"])
        super().start_from(arrays, data)
        self.policy.frozen["exploration"].fill_(explores)
        self.utility.target.begin()


class Coalition(IQL):
    """Q-learners that learn the team's value together: all agents with the same method, in step and from the same steps."""

    def __init__(self, seat: Seat) -> None:
        self._coalition = members(seat.team, seat.index)
        super().__init__(seat)
        self._sharers = sharers(seat.team, seat.index, self._coalition)

    def _batches(self, own: np.random.SeedSequence) -> np.random.Generator:
        """The first agent's stream: the same steps are drawn everywhere."""
        first = np.random.SeedSequence(self.seat.seed, spawn_key=(0, self._coalition[0]))
        return np.random.default_rng(first.spawn(3)[2])

    @classmethod
    def _in_common(cls, settings: AgentSettings) -> list[tuple[str, Any]]:
        """(option, value) of what must be the same for all of them."""
        return [
            (f"{flag(cls.name)}.…", settings.sections[cls.name]),
            ("--returns.gamma", settings.returns.gamma),
            ("--model.memory", settings.model.memory),
        ]

    @classmethod
    def check(cls, team: Team, index: int) -> None:
        """See :class:`~.protocol.Method`: the team's value can be learned only in step."""
        super().check(team, index)
        mixing = team.settings[index].reward.mixing
        if mixing != "own":
            raise InputError(
                f"--reward.mixing {mixing}: {cls.name} learns from the mean reward of all agents with it; leave it at own"
            )
        check_alike(team, index, cls._in_common, "which learn the team's value together, step by step")

    @classmethod
    def talks(cls, team: Team, index: int) -> bool:
        """See :class:`~.protocol.Method`."""
        return True

    @classmethod
    def talks_to_neighbours(cls, team: Team, index: int) -> bool:
        """See :class:`~.protocol.Method`: all that it says is for the coalition."""
        return False


class VDN(Coalition):
    """Value decomposition: Σ_i Q_i(o_i, a_i) is the team's value, Q_i⁻ alike; the reward is the team's mean.

    The team is all agents with this method: each says its chosen and its following utility, every rank takes the same sum, in the
    order of agents, and each goes back into its own network. Dead agents add nothing.
    """

    facts = Facts(
        "Q-learners whose utilities add up to the team's value.",
        "value-based",
        "off",
        ("discrete",),
        "all agents with this method: two utilities a drawn step, and rewards",
        "the same",
        "the mean reward of all agents with this method",
        "Sunehag et al. 2017, arXiv 1706.05296",
        "verified: games:two_step 7 with the second game's table -1.5, 2.5, 2.5, 6.5; games:climbing 5 a step; alone = iql, bit for bit",
    )
    name = "vdn"

    def _learned_from(self, rollout: Rollout, inbox: Inbox, now: Now) -> Shared:
        own = np.ascontiguousarray(rollout.reward)
        mean = yield Say("rewards", own.ravel(), self._coalition, mean=True)
        return torch.from_numpy(mean.astype(np.float32)).view(own.shape)

    def _summed(self, chosen: torch.Tensor, following: torch.Tensor) -> Shared:
        mine = torch.stack([chosen, following]).cpu().numpy()
        told = yield Say("utilities", mine.ravel(), self._coalition)
        total = sum(told[agent].reshape(mine.shape) for agent in self._coalition)
        return torch.from_numpy(total).to(self.device).unbind(0)
