"""What LOLA, HOLA and COLA have in common where values are exact: an agent is a few numbers, hears those of whom it plays with, and steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Mapping, Sequence

import numpy as np
import torch

from ..ground.errors import InputError
from ..learning.distributions import distribution_of
from ..learning.models import Policy
from ..network.exchange import Inbox, Letter
from ..world.world import Rollout
from .acting import Acting
from .coalition import averaged
from .keeping import Part
from .look_ahead import naive
from .pair_games import PairGame, check_games, numbers_of, pair_game, play_by, played_with
from .protocol import Facts, Learning, Now, Seat
from .team import Team

ACTIONS = ("discrete", "continuous")
HEARS = "whom it plays with: their parameters"
STATISTICS = ("value", "policy_gradient", "opponents")
"""Mean payoff of a step by the exact values, or by the returns, discounted; norm of the step over its rate; of how many it knew how they
move."""


class ExactPlayer(Acting):
    """Steps x_i ← x_i + Σ_j s_ij over those that it plays with, s_ij what a subclass makes of the game on that edge and of both players' numbers;
    a group steps by the mean of what its members make of theirs.

    Of whom nothing arrives in a round it uses the numbers that it holds, and goes along the naive gradient: that one may not move as it thinks. Nobody
    counts before it was heard.
    """

    facts: ClassVar[Facts]
    name: ClassVar[str]
    statistics = STATISTICS
    shares = True

    def __init__(self, seat: Seat) -> None:
        seat = replace(
            seat, device="cpu"
        )  # a few numbers in double precision, or one gradient a round: nothing for a GPU
        start, noise, *self.more = seat.streams(3)
        policy = seat.new_policy(start)
        super().__init__(seat, policy, noise)
        self.options: Any = seat.options(type(self).Options)  # type: ignore[arg-type]
        if self.exact(seat.team, seat.index):
            self._begin_exact(start)

    def _begin_exact(self, start: np.random.SeedSequence) -> None:
        team, index = self.team, self.index
        self.games: dict[int, PairGame] = {other: pair_game(team, index, other) for other in played_with(team, index)}
        number = next(iter(self.games.values())).numbers
        self._bound = self.spec.action.high[0] if self.spec.action.low else 0.0
        self._peers: dict[int, Policy] = {other: team.policy_of(other) for other in self.games}
        self.held = np.zeros((len(self.games), number))
        """The newest numbers of each opponent, in order."""
        self.known = np.zeros(len(self.games), bool)
        """Whether it was ever heard."""
        drawn = np.random.default_rng(start).standard_normal(number)
        play_by(self.policy, self.options.deviation * torch.from_numpy(drawn), self._bound)

    # What is known before anything is built

    @classmethod
    def exact(cls, team: Team, index: int) -> bool:
        """Whether the agent is a few numbers, with exact values."""
        return True

    @classmethod
    def policy_for(cls, team: Team, index: int) -> Policy:
        """See :class:`~.protocol.Method`: of an exact player a network without hidden layers, which holds its numbers."""
        if not cls.exact(team, index):
            return super().policy_for(team, index)
        spec = team.specs[index]
        distribution = distribution_of(spec.action)
        size = spec.observation_size + len(team.identity_of(index))
        return Policy(size, (), distribution.outputs, distribution.free, "tanh", "none")

    @classmethod
    def check(cls, team: Team, index: int) -> None:
        """See :class:`~.protocol.Method`."""
        super().check(team, index)
        settings = team.settings[index]
        if settings.reward.mixing != "own":
            raise InputError(
                f"--reward.mixing {settings.reward.mixing}: {cls.name} looks ahead of own payoffs; leave it at own"
            )
        if cls.exact(team, index):
            check_games(team, index, f"--algorithm {cls.name}")
        for other in team.group_of(index):
            if other in cls.opponents(team, index):
                raise InputError(
                    f"agents.groups: {cls.name} looks ahead of how the parameters of others move, so that {team.specs[index].name} and "
                    f"{team.specs[other].name}, who are player and opponent, cannot have the same"
                )

    @classmethod
    def opponents(cls, team: Team, index: int) -> list[int]:
        """Those whose steps are looked ahead of."""
        return played_with(team, index)

    @classmethod
    def wants(cls, team: Team, index: int) -> Mapping[int, Sequence[str]]:
        """See :class:`~.protocol.Method`: the parameters of those that it plays with."""
        return {other: ["policy"] for other in played_with(team, index)}

    # A round

    def learn(self, rollout: Rollout, inbox: Inbox, now: Now) -> Learning:
        """Hear, and step; the rollout only shows how it fares."""
        return (yield from self._learn_exactly(inbox))

    def _learn_exactly(self, inbox: Inbox) -> Learning:
        x = numbers_of(self.team, self.index, self.policy).requires_grad_()
        total, value, opponents = torch.zeros_like(x), 0.0, 0
        for place, (other, game) in enumerate(self.games.items()):
            told = inbox.get(other, Letter()).sections.get("policy")
            if told is not None:
                self._peers[other].fill(torch.from_numpy(told.copy()))
                self.held[place] = numbers_of(self.team, other, self._peers[other]).numpy()
                self.known[place] = True
            if not self.known[place]:
                continue
            y = torch.from_numpy(self.held[place].copy()).requires_grad_()
            moves = told is not None and self.team.methods[other].learns
            value += game.share * float(game.values(x, y)[0].detach())
            opponents += moves
            total += (self.step(other, x, y) if moves else self.rate * naive(game, x, y)).detach()
        yield from averaged([total], self.seat.group)
        play_by(self.policy, (x + total).detach(), self._bound)
        return {
            "value": value if self.known.any() else float("nan"),
            "policy_gradient": float(total.norm()) / self.rate,
            "opponents": float(opponents),
        }

    def numbers(self) -> np.ndarray:
        """What it plays by, [n] float64."""
        return numbers_of(self.team, self.index, self.policy).numpy()

    @property
    def rate(self) -> float:
        """Step size along the naive gradient."""
        return self.options.rate

    def step(self, other: int, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """What the agent adds to its numbers x for the sake of the game with ``other``, whose numbers are y; both require gradients."""
        raise NotImplementedError

    # State

    def parts(self) -> Mapping[str, Part]:
        """See :class:`~.acting.Acting`."""
        return {"held": self.held, "known": self.known} if self.exact(self.team, self.index) else {}

    def start_from(self, arrays: Mapping[str, np.ndarray], data: Mapping[str, Any]) -> None:
        """The policy; an exact player is certain of its continuous action, whoever it begins with."""
        super().start_from(arrays, data)
        if self.exact(self.team, self.index):
            play_by(self.policy, numbers_of(self.team, self.index, self.policy), self._bound)
