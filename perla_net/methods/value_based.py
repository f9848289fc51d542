"""Q-learners: independent ones (``iql``), and those whose utilities add up to the team's value (``vdn``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generator, Mapping

import numpy as np
import torch
from annotated_types import Ge, Gt, Le

from ..ground.errors import InputError
from ..learning.build import policy_for
from ..learning.models import OPTIMISERS, Pass, Policy
from ..network.exchange import Inbox
from ..settings.config import Count, Positive, Section, option
from ..world.world import Rollout
from .acting import Acting
from .exploration import Exploration
from .keeping import Part
from .memory import Replay, Rows, steps_of
from .protocol import Facts, Learning, Now, Say, Seat
from .targets import Target
from .team import Team

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
    shares = remembers = True
    uses = ("optimiser.", "model.memory")
    name: ClassVar[str] = "iql"

    def __init__(self, seat: Seat) -> None:
        start, noise, batch = seat.streams(3)
        self.options = options = seat.options(Options)
        policy = seat.new_policy(start)
        policy.frozen["exploration"].fill_(options.exploration.at(0.0))
        super().__init__(seat, policy, noise)
        optimiser = self.settings.optimiser
        self.optimiser = OPTIMISERS[optimiser.method](policy, optimiser.epsilon, optimiser.max_gradient_norm)
        self.target = Target(policy, options.target_every, options.target_rate)
        self.memory = Replay(options.memory, policy.width > 0, options.longest)
        self.batch_rng = self._batches(batch)
        self._sharers = seat.group
        """Those whose gradients are averaged."""
        self._walk: Pass | None = None

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
        own = team.settings[index].sections[cls.name]
        if own["memory"] < own["begin"]:
            raise InputError(
                f"--{cls.name}.memory {own['memory']}: holds fewer steps than learning begins with, --{cls.name}.begin {own['begin']}"
            )

    # Learning

    def learn(self, rollout: Rollout, inbox: Inbox, now: Now) -> Learning:
        """Remember the rollout, then take some gradient steps on what is drawn from the memory."""
        reward = yield from self._learned_from(rollout, inbox)
        action = self.distribution.read(rollout.action).numpy()[:, 0].astype(np.int32)
        rows = steps_of(rollout, action) | {"reward": reward.numpy()}
        # A group, or a team that adds up its utilities, draws the same steps on every rank, so that all of them stay.
        kept = None if self.seat.group or self._coalition else rollout.alive[:-1]
        self.memory.add(rows, rollout.begins, kept)
        explored = float(self.policy.frozen["exploration"])
        self.policy.frozen["exploration"].fill_(self.options.exploration.at(now.round / now.rounds))
        measured = []
        if len(self.memory) >= max(self.options.begin, 1):
            linear = self.settings.optimiser.schedule == "linear"
            rate = self.settings.optimiser.learning_rate * (1.0 - now.progress if linear else 1.0)
            for _ in range(self.options.updates):
                measured.append((yield from self._update(rate)))
        means = np.mean(measured, 0).tolist() if measured else [np.nan] * 3
        return dict(zip(STATISTICS, [*means, explored, float(len(self.memory))]))

    _coalition: tuple[int, ...] = ()
    """Those whose utilities are added up, itself among them."""

    def _learned_from(self, rollout: Rollout, inbox: Inbox) -> Shared:
        """The reward [T, B]."""
        return self.reward(rollout, inbox)
        yield

    def _summed(self, chosen: torch.Tensor, following: torch.Tensor) -> Shared:
        """Values of what was done, and of what follows, both [M], as the target has them."""
        return chosen, following
        yield

    def _update(self, rate: float) -> Shared:
        """One gradient step; (loss, Q, gradient's norm)."""
        if self.memory.episodes:
            rows = self._tensors(self.memory.draw_episodes(self.batch_rng, self.options.episodes))
            values, next_values, next_targets = self._along(rows)
        else:
            rows = self._tensors(self.memory.draw_steps(self.batch_rng, self.options.batch))
            values, next_values, next_targets = self._in_steps(rows)
        there = rows["alive"].to(torch.float32)
        chosen = values.detach().gather(-1, rows["action"].long().unsqueeze(-1)).squeeze(-1) * there
        best = (next_values if self.options.double else next_targets).argmax(-1, keepdim=True)
        goes_on = there * (~rows["terminated"]).to(torch.float32)
        following = next_targets.gather(-1, best).squeeze(-1) * goes_on
        total, after = yield from self._summed(chosen, following)
        # δ = Q − (r + γ Q⁻(o', argmax Q(o', ·)));  ∂ ½ δ² / ∂ Q_i(o, a_i) = δ, also where Q is a sum of Q_i
        error = total - (rows["reward"] + self.settings.returns.gamma * after)
        counted = rows["there"].to(torch.float32) if "there" in rows else torch.ones_like(there)
        weight = (counted if self._coalition else counted * there) / (
            counted if self._coalition else counted * there
        ).sum().clamp(min=1)
        slope = torch.zeros_like(values).scatter_(
            -1, rows["action"].long().unsqueeze(-1), (weight * error * there).unsqueeze(-1)
        )
        self._backward(values, slope)
        if self._sharers:
            mean = yield Say("gradients", self.policy.gradient.cpu().numpy(), self._sharers, mean=True)
            self.policy.gradient.copy_(torch.from_numpy(mean.astype(np.float32)))
        norm = self.optimiser.step(rate)
        self.target.follow()
        loss = 0.5 * (weight * error.square()).sum()
        return float(loss), float((weight * total).sum()), float(norm)

    def _tensors(self, rows: Rows) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(array).to(self.device) for name, array in rows.items()}

    def _masked(self, values: torch.Tensor, rows: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
        return self.distribution.masked(values, rows.get(name), -1)

    def _in_steps(self, rows: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Q(o, ·) for :meth:`_backward`, Q(o', ·) and Q⁻(o', ·) over allowed actions: [M, actions] each."""
        following = self.with_identity(rows["following"])
        with torch.no_grad():
            present, target = self.policy(following), self.target.network(following)
        if self._walk is None:
            self._walk = Pass(self.policy, len(following))
        values = self._walk.forward(self.with_identity(rows["observation"])).mT
        return values, *(self._masked(one, rows, "following_mask") for one in (present, target))

    def _along(self, rows: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same for whole episodes, [L, N, actions]: the step that follows is the next one of the sequence, or what the episode ended
        with, which stands behind it."""
        whole = self._with_last(rows, "observation", "following")
        x = self.with_identity(whole)
        nothing, never = self.policy.begin(x.shape[1]), torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
        values, _ = self.policy.sequence(x, nothing, never)
        with torch.no_grad():
            target, _ = self.target.network.sequence(x, nothing, never)
        return values[:-1], *(self._masked(one[1:], rows, "following_mask") for one in (values.detach(), target))

    def _with_last(self, rows: Mapping[str, torch.Tensor], name: str, following: str) -> torch.Tensor:
        """[L + 1, N, …]: every episode's entries, and behind its last what followed it."""
        whole = torch.cat([rows[name], torch.zeros_like(rows[name][:1])])
        length = rows["there"].sum(0)
        column = torch.arange(len(length), device=length.device)
        whole[length, column] = rows[following][length - 1, column]
        return whole

    def _backward(self, values: torch.Tensor, slope: torch.Tensor) -> None:
        """From ∂L/∂Q to the network's gradient."""
        if self.memory.episodes:
            self.policy.gradient.zero_()
            values.backward(slope)
        else:
            assert self._walk is not None
            self._walk.backward(slope.mT.contiguous())

    # State

    def parts(self) -> Mapping[str, Part]:
        """See :class:`~.acting.Acting`."""
        return {
            "policy.optimiser": self.optimiser,
            "target": self.target,
            "replay": self.memory,
            "batch": self.batch_rng,
        }

    def start_from(self, arrays: Mapping[str, np.ndarray], data: Mapping[str, Any]) -> None:
        """The Q-network, the target with it; it explores anew."""
        explores = float(self.policy.frozen["exploration"])
        super().start_from(arrays, data)
        self.policy.frozen["exploration"].fill_(explores)
        self.target.begin()


class VDN(IQL):
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

    def __init__(self, seat: Seat) -> None:
        self._coalition = coalition(seat.team)
        super().__init__(seat)
        if any(seat.team.group_of(agent) for agent in self._coalition):  # who is in no group stays in step
            self._sharers = seat.group or (seat.index,)

    def _batches(self, own: np.random.SeedSequence) -> np.random.Generator:
        """The first agent's stream: the same steps are drawn everywhere."""
        first = np.random.SeedSequence(self.seat.seed, spawn_key=(0, self._coalition[0]))
        return np.random.default_rng(first.spawn(3)[2])

    @classmethod
    def check(cls, team: Team, index: int) -> None:
        """See :class:`~.protocol.Method`: utilities can be added up only in step."""
        super().check(team, index)
        settings, first = team.settings[index], team.settings[coalition(team)[0]]
        if settings.reward.mixing != "own":
            raise InputError(
                f"--reward.mixing {settings.reward.mixing}: vdn learns from the mean reward of all agents with it; leave it at own"
            )
        for what, mine, theirs in (
            ("--vdn.…", settings.sections[cls.name], first.sections[cls.name]),
            ("--returns.gamma", settings.returns.gamma, first.returns.gamma),
            ("--model.memory", settings.model.memory, first.model.memory),
        ):
            if mine != theirs:
                raise InputError(
                    f"{what}: must be the same for all agents with vdn, whose utilities are added up step by step, but those of "
                    f"{team.specs[index].name} and {team.specs[coalition(team)[0]].name} differ"
                )

    @classmethod
    def talks(cls, team: Team, index: int) -> bool:
        """See :class:`~.protocol.Method`."""
        return True

    def _learned_from(self, rollout: Rollout, inbox: Inbox) -> Shared:
        own = np.ascontiguousarray(rollout.reward)
        mean = yield Say("rewards", own.ravel(), self._coalition, mean=True)
        return torch.from_numpy(mean.astype(np.float32)).view(own.shape)

    def _summed(self, chosen: torch.Tensor, following: torch.Tensor) -> Shared:
        mine = torch.stack([chosen, following]).cpu().numpy()
        told = yield Say("utilities", mine.ravel(), self._coalition)
        total = sum(told[agent].reshape(mine.shape) for agent in self._coalition)
        return torch.from_numpy(total).to(self.device).unbind(0)


def coalition(team: Team) -> tuple[int, ...]:
    """All agents whose utilities are added up, in order."""
    return tuple(agent for agent, settings in enumerate(team.settings) if settings.algorithm == VDN.name)
