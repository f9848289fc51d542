"""Steps that hold whatever order the other looks ahead in: of a given order (``hola``), or of all, by networks that learn them (``cola``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Mapping

import numpy as np
import torch
from annotated_types import Ge, Le

from ..ground.errors import InputError
from ..learning.build import generator_of
from ..learning.models import MLP, Adam
from ..network.exchange import Inbox
from ..settings.config import Count, NonNegative, Positive, Rate, Section, Sizes, option
from .exact_player import ACTIONS, HEARS, STATISTICS, ExactPlayer
from .keeping import Part
from .look_ahead import hola, inconsistency
from .pair_games import Both, PairGame, pair_game, played_with
from .protocol import Facts, Learning, Seat
from .team import Team

WILLI = "Willi et al. 2022, arXiv 2203.04098"
OF_PAIRS = 4
"""Begins the seeds of what both players of an edge have alike; 0: of agents, 3 and 5: of graphs and links."""
CONSISTENCY = ("consistency", "consistency_beyond", "consistency_here")
"""What :func:`~.look_ahead.inconsistency` says, mean over opponents: of numbers within ±``range``, of numbers within twice that, of which a network has
seen a part only, and of those that both players have."""
PROBES = 64
"""Pairs of players that the first two are means over."""


@dataclass
class HOLAOptions(Section):
    """Steps of a given order of looking ahead, in games with exact values."""

    order: Annotated[int, Ge(0), Le(8)] = option(
        1, "How often the other is taken to look ahead (0: not at all, the naive gradient; 1: LOLA's step)."
    )
    rate: Rate = option(0.1, "Step size α, of both players.")
    deviation: NonNegative = option(1.0, "Standard deviation of an agent's first numbers (log odds, or its action).")
    range: Rate = option(2.0, "Players' numbers within ± this are what the consistency of steps is measured on.")


@dataclass
class COLAOptions(Section):
    """Networks that learn steps which are right when both players make them, in games with exact values."""

    rate: Rate = option(0.1, "Step size α that the networks learn to make, of both players.")
    deviation: NonNegative = option(1.0, "Standard deviation of an agent's first numbers (log odds, or its action).")
    range: Rate = option(2.0, "Players' numbers within ± this, uniformly, are what the networks learn on.")
    hidden: Sizes = option(
        (16, 16), "Sizes of the networks' hidden layers (none: linear, which is exact for tandem and hamiltonian)."
    )
    begin: Count = option(2000, "Gradient steps of the networks before the first step of the players.")
    updates: Count = option(10, "Gradient steps of the networks in every round after that.")
    batch: Positive = option(64, "Pairs of players in one of these.")
    learning_rate: Rate = option(3e-3, "Adam step size of the networks; within the first ones it falls to a tenth.")


class HOLA(ExactPlayer):
    """x_i ← x_i + hⁿ_i; see :func:`~.look_ahead.hola`."""

    facts = Facts(
        "Steps of a player whose opponents look ahead, too, to a given order, in games with exact values.",
        "learning-aware",
        "on",
        ACTIONS,
        HEARS,
        "nothing more",
        "the exact value of its own payoffs",
        WILLI,
        "verified: order 0 is the naive gradient, order 1 LOLA's step; games:tandem and games:hamiltonian against closed forms of every order",
    )
    Options = HOLAOptions
    statistics = (*STATISTICS, *CONSISTENCY)
    name = "hola"

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self._probe_rng = np.random.default_rng(self.more[0])

    def steps(self, other: int, x: torch.Tensor, y: torch.Tensor) -> Both:
        """Both players' steps from their numbers [..., n]."""
        return hola(self.games[other], x, y, self.rate, self.options.order)

    def step(self, other: int, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """See :class:`~.exact_player.ExactPlayer`."""
        return self.steps(other, x, y)[0]

    def _learn_exactly(self, inbox: Inbox) -> Learning:
        found = yield from super()._learn_exactly(inbox)
        return found | self.measure()

    def measure(self) -> dict[str, float]:
        """:data:`CONSISTENCY`, of the numbers that it has, and of its opponents' that it holds."""
        x = torch.from_numpy(self.numbers()).requires_grad_()
        measured = []
        for place, other in enumerate(self.games):
            if self.known[place]:
                y = torch.from_numpy(self.held[place].copy()).requires_grad_()
                here = float(self._inconsistency(other, x, y))
                measured.append([self._within(other, 1), self._within(other, 2), here])
        means = np.mean(measured, 0) if measured else np.full(len(CONSISTENCY), np.nan)
        return dict(zip(CONSISTENCY, means.tolist()))

    def _within(self, other: int, times: int) -> float:
        drawn = drawn_pairs(self._probe_rng, self.games[other], PROBES, times * self.options.range)
        return float(self._inconsistency(other, *drawn).mean())

    def _inconsistency(self, other: int, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        found = inconsistency(self.games[other], lambda one, two: self.steps(other, one, two), x, y, self.rate)
        return found.detach()

    def parts(self) -> Mapping[str, Part]:
        """See :class:`~.acting.Acting`."""
        return {**super().parts(), "probes": self._probe_rng}


class COLA(HOLA):
    """x_i ← x_i + f_i(x_i, x_j), (f_i, f_j) two networks fitted to min E ‖f_i − α ∇_i V_i(x_i, x_j + f_j)‖² + ‖f_j − α ∇_j V_j(x_i + f_i, x_j)‖².

    Both players of an edge fit the same two networks, from the same start to the same pairs of players, drawn from the same stream: nothing of the networks
    travels, and both replicas are equal to the bit, whatever is lost between them.
    """

    facts = Facts(
        "Steps by networks that are fitted to be right when both players make them, in games with exact values.",
        "learning-aware",
        "on",
        ACTIONS,
        HEARS,
        "nothing more",
        "the exact value of its own payoffs",
        WILLI,
        "verified: games:tandem and games:hamiltonian settle where closed forms say, with their linear steps; replicas are equal to the bit",
    )
    Options = COLAOptions
    name = "cola"

    @classmethod
    def check(cls, team: Team, index: int) -> None:
        """See :class:`~.protocol.Method`: both players of an edge must fit the same networks."""
        super().check(team, index)
        mine = team.settings[index]
        for other in played_with(team, index):
            theirs = team.settings[other]
            if theirs.algorithm == cls.name and (mine.sections, mine.returns.gamma) != (
                theirs.sections,
                theirs.returns.gamma,
            ):
                raise InputError(
                    f"--cola.…, --returns.gamma: must be the same for {team.specs[index].name} and {team.specs[other].name}, which fit the same "
                    "networks"
                )

    def _begin_exact(self, start: np.random.SeedSequence) -> None:
        super()._begin_exact(start)
        self.fits = {other: Fit(self, other) for other in self.games}

    def steps(self, other: int, x: torch.Tensor, y: torch.Tensor) -> Both:
        """See :class:`HOLA`."""
        return self.fits[other](x, y)

    def _learn_exactly(self, inbox: Inbox) -> Learning:
        for fit in self.fits.values():
            fit.update()
        return (yield from super()._learn_exactly(inbox))

    def parts(self) -> Mapping[str, Part]:
        """See :class:`~.acting.Acting`."""
        found = dict(super().parts())
        for other, fit in self.fits.items():
            found |= {f"{name}.{other}": part for name, part in fit.parts().items()}
        return found


class Fit:
    """An agent's replica of the two networks of one edge. In here the player of the lower index comes first, on both sides."""

    def __init__(self, method: COLA, other: int) -> None:
        self.options, self.rate = method.options, method.rate
        self.swapped = other < method.index
        both = sorted((method.index, other))
        self.game = pair_game(method.team, *both)
        seed = np.random.SeedSequence(method.seat.seed, spawn_key=(OF_PAIRS, *both))
        *starts, draws = seed.spawn(3)
        self.rng = np.random.default_rng(draws)
        number = self.game.numbers
        self.networks, self.optimisers = [], []
        for one in starts:
            network = MLP((2 * number, *self.options.hidden, number), "tanh", torch.float64)
            network.start(generator_of(one), True, 0.1)
            self.networks.append(network)
            self.optimisers.append(Adam(network, 1e-8, 0.0))

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> Both:
        """The two networks' steps, as the agent and its opponent make them."""
        return self._steps(y, x)[::-1] if self.swapped else self._steps(x, y)

    def _steps(self, first: torch.Tensor, second: torch.Tensor) -> Both:
        pair = torch.cat([first, second], -1)
        one, other = (network(pair) for network in self.networks)
        return one, other

    def update(self) -> None:
        """The gradient steps of this round."""
        made, options = self.optimisers[0].steps, self.options
        for number in range(options.updates if made else max(options.begin, options.updates)):
            done = min((made + number) / max(options.begin, 1), 1.0)
            self._fit_once(options.learning_rate * (1 - 0.9 * done))

    def _fit_once(self, rate: float) -> None:
        drawn = drawn_pairs(self.rng, self.game, self.options.batch, self.options.range)
        loss = inconsistency(self.game, self._steps, *drawn, self.rate).mean()
        for network in self.networks:
            network.gradient.zero_()
        loss.backward()
        for optimiser in self.optimisers:
            optimiser.step(rate)

    def parts(self) -> dict[str, Part]:
        """What changes."""
        (one, two), (of_one, of_two) = self.networks, self.optimisers
        return {"first": one, "second": two, "first.adam": of_one, "second.adam": of_two, "draws": self.rng}


def drawn_pairs(rng: np.random.Generator, game: PairGame, number: int, reach: float) -> Both:
    """``number`` pairs of players whose numbers are uniform within ±reach, [number, n] both."""
    drawn = torch.from_numpy(rng.uniform(-reach, reach, (2, number, game.numbers)))
    first, second = (part.clone().requires_grad_() for part in drawn)
    return first, second
