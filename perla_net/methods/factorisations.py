"""Value factorisations by name: QMIX, QPLEX, QTRAN-base and -alt, CW- and OW-QMIX: their options, and what an agent tells for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Sequence

import torch

from ..settings.config import Count, Fraction, NonNegative, Positive, option
from .factorised import Factorised
from .protocol import Facts
from .team_value import CentrallyWeighted, Duelled, Mixed, OptimisticallyWeighted, Transformed, TransformedAlternative
from .utility import Drawn, Seen
from .value_based import Options

WHOLE_TEAM = "all agents with this method: utilities of a drawn step, and rewards, actions; the state"
REWARD = "the mean reward of all agents with this method; the whole team"


@dataclass
class Together(Options):
    """Those of Q-learning, and what the team's value reads; --optimiser.critic-learning-rate is that of what makes the team's value."""

    state: Literal["environment", "observations"] = option(
        "environment",
        "The state that the team's value reads: the environment's own where it tells one, else all observations; or these.",
    )


@dataclass
class Mixer(Together):
    """Those, and a monotonic mixer."""

    width: Positive = option(32, "Width of the mixer's hidden layer.")
    hyper: Positive = option(64, "Width of the hypernetworks' hidden layers.")


@dataclass
class DuelingMixer(Together):
    """Those, and a dueling mixer."""

    hyper: Positive = option(64, "Width of all hidden layers of the mixer.")
    kernels: Positive = option(10, "Terms of the advantages' weights.")
    depth: Count = option(2, "Hidden layers of the networks that these are made of (0: linear).")


@dataclass
class Joint(Together):
    """Those, and a joint value."""

    hidden: Positive = option(64, "Width of the two hidden layers of the joint value, and of the state's value.")
    opt_weight: NonNegative = option(1.0, "Weight of the loss where joint actions are greedy.")
    nopt_weight: NonNegative = option(1.0, "Weight of the loss where they are not (PyMARL: 0.1).")


@dataclass
class WeightedMixer(Mixer):
    """Those, and a monotonic mixer and an unrestricted critic."""

    alpha: Fraction = option(0.1, "Weight of the steps that do not count fully.")
    central: Positive = option(256, "Width of the three hidden layers of the unrestricted critic.")


def _facts(summary: str, sends: str, source: str, status: str) -> Facts:
    return Facts(
        summary, "value factorisation", "off", ("discrete",), WHOLE_TEAM, f"the same: {sends}", REWARD, source, status
    )


def _taken(rows: Drawn) -> torch.Tensor:
    """[..., 1]."""
    return rows["action"].long().unsqueeze(-1)


class QMIX(Factorised):
    """QMIX; see :class:`~.team_value.Mixed`."""

    facts = _facts(
        "Q-learners whose utilities go through a monotonic mixer of the state.",
        "two utilities a drawn step",
        "Rashid et al. 2018, arXiv 1803.11485",
        "verified: the loss against a slow one in double precision; small games: games:two_step 8 in 10 of 10 seeds, games:penalty 10 of 10; in games:qtran 0, as its form says",
    )
    name = "qmix"
    Options = Mixer
    Value = Mixed

    def _tells(self, rows: Drawn, sights: Sequence[Seen]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        (seen,) = sights
        return [_taken(rows)], [seen.target.gather(-1, self._best(seen)).squeeze(-1)]


class QPLEX(Factorised):
    """QPLEX; see :class:`~.team_value.Duelled`."""

    facts = _facts(
        "Q-learners under a dueling mixer: any joint value whose best joint action is everybody's best.",
        "five numbers a drawn step",
        "Wang et al. 2021, arXiv 2008.01062",
        "verified: the loss against a slow one in double precision; small games: represents every table, and is slow to: games:two_step 8 in 3 of 10 seeds within their budget (docs/studies/small_games.md)",
    )
    name = "qplex"
    Options = DuelingMixer
    Value = Duelled

    def _tells(self, rows: Drawn, sights: Sequence[Seen]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        (seen,) = sights
        best = self._best(seen)
        greatest = self.utility.allowed(seen.values.detach(), rows).amax(-1)
        following = seen.target.gather(-1, best).squeeze(-1)
        return [_taken(rows)], [greatest, following, seen.target.amax(-1), best.squeeze(-1)]


class QTRAN(Factorised):
    """QTRAN-base; see :class:`~.team_value.Transformed`."""

    facts = _facts(
        "A free joint value, to which the sum of the utilities is bound from above, and equal at the best joint action.",
        "four numbers a drawn step",
        "Son et al. 2019, arXiv 1905.05408",
        "verified: the loss against a slow one in double precision; small games: games:qtran 8 in 10 of 10 seeds, all five games 10 of 10 with --qtran-base.opt-weight 0.1",
    )
    name = "qtran_base"
    Options = Joint
    Value = Transformed

    def _tells(self, rows: Drawn, sights: Sequence[Seen]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        (seen,) = sights
        greedy = self._greedy(rows, seen)
        return [torch.cat([_taken(rows), greedy], -1)], [greedy.squeeze(-1), self._best(seen).squeeze(-1)]


class QTRANAlternative(QTRAN):
    """QTRAN-alt; see :class:`~.team_value.TransformedAlternative`."""

    facts = _facts(
        "QTRAN with its bound at the worst own action, the others' as they were.",
        "all its utilities, and which actions are allowed, a drawn step",
        "Son et al. 2019, arXiv 1905.05408",
        "verified: the loss against a slow one in double precision; small games: games:qtran 8 in 10 of 10 seeds, the others in 9 or 10",
    )
    name = "qtran_alt"
    Value = TransformedAlternative

    def _tells(self, rows: Drawn, sights: Sequence[Seen]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        ((pick,), known), values = super()._tells(rows, sights), sights[0].values
        most, own = max(self.team.specs[agent].action.sizes[0] for agent in self._coalition), values.shape[-1]
        every = torch.arange(most, device=values.device)
        allowed = self.utility.allowed(torch.ones_like(values), rows) > 0
        allowed = torch.nn.functional.pad(allowed, (0, most - own))
        every = every.clamp(max=own - 1).expand(*pick.shape[:-1], most)
        return [torch.cat([pick, every], -1)], [*known, *allowed.unbind(-1)]


class OWQMIX(Factorised):
    """OW-QMIX; see :class:`~.team_value.Weighted`."""

    facts = _facts(
        "QMIX fitted above all to what is better than it says, against an unrestricted critic with utilities of its own.",
        "three numbers a drawn step",
        "Rashid et al. 2020, arXiv 2006.10800",
        "verified: the loss against a slow one in double precision; small games: games:qtran 8 in 10 of 10 seeds, games:two_step 8 in 8",
    )
    name = "ow_qmix"
    Options = WeightedMixer
    Value = OptimisticallyWeighted
    utilities_of_its_own = 2

    def _tells(self, rows: Drawn, sights: Sequence[Seen]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        own, central = sights
        return [_taken(rows)] * 2, [central.target.gather(-1, self._best(own)).squeeze(-1)]


class CWQMIX(OWQMIX):
    """CW-QMIX; see :class:`~.team_value.Weighted`."""

    facts = _facts(
        "QMIX fitted above all to its best joint action, and to what is better, against an unrestricted critic with utilities of its own.",
        "five numbers a drawn step",
        "Rashid et al. 2020, arXiv 2006.10800",
        "verified: the loss against a slow one in double precision; small games: games:qtran 8 in 10 of 10 seeds, games:two_step 8 in 6",
    )
    name = "cw_qmix"
    Value = CentrallyWeighted

    def _tells(self, rows: Drawn, sights: Sequence[Seen]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        picks, known = super()._tells(rows, sights)
        greedy = self._greedy(rows, sights[0])
        there = self.utilities[1].before(rows).gather(-1, greedy).squeeze(-1)
        return picks, [*known, there, (greedy == _taken(rows)).squeeze(-1)]
