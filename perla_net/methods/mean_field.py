"""Mean field Q-learning (``mean_field_q``): values of the own action beside the mean of the neighbours' (Yang et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Sequence

import torch

from ..ground.errors import InputError
from ..learning.build import policy_for
from ..learning.distributions import distribution_of
from ..learning.models import Policy
from ..network.exchange import Inbox
from ..settings.config import option
from ..world.world import Rollout
from . import field, value_based
from .exploration import Exploration
from .kinds import check_one_kind
from .memory import Rows
from .protocol import Facts, Now, Seat
from .team import Team
from .utility import Drawn, Seen, Utility
from .value_based import IQL


@dataclass
class Options(value_based.Options):
    """Those of Q-learning; it explores by Boltzmann's distribution, as in the source."""

    exploration: Exploration = option(
        lambda: Exploration("boltzmann", 1.0, 0.1, 0.5),
        "Exploration.",
    )


class FieldUtility(Utility):
    """Values at a mean action, which is the step's also where what followed is valued: that is then no part of the sequence itself."""

    def _along(self, rows: Drawn) -> Seen:
        x, following = self.read(rows, "observation"), self.read(rows, "following").flatten(0, 1)
        never = torch.zeros(len(following), dtype=torch.bool, device=x.device)

        def after(network: Policy, memories: torch.Tensor) -> torch.Tensor:
            outputs, _ = network.step(following, memories.flatten(0, 1), never)
            return self.allowed(outputs.view(*x.shape[:2], -1), rows, "following_mask")

        values, memories = self.network.sequence(x, *self._begin(x))
        with torch.no_grad():
            _, of_target = self.target.network.sequence(x, *self._begin(x))
            return Seen(values, after(self.network, memories), after(self.target.network, of_target))


class MeanFieldQ(IQL):
    """Q_i(o, a_i, ā) → r + γ (1 − terminated) Σ_b π_i(b|o', ā) Q_i⁻(o', b, ā),  ā the mean of the neighbours' one-hot actions.

    ā is the one of the step, as in the source's algorithm 1: what the neighbours did last before o'. π_i is what acts, over Q_i(o', ·, ā)
    (without ``double``: over Q_i⁻). What they do becomes known after a rollout, so that an agent acts by the ā of the last one in which it heard
    anybody, on average over its steps. That ā is a part of its policy (``context``), which travels and is saved with it.
    """

    facts = Facts(
        "Q-learning with the mean of the neighbours' actions as an input.",
        "value-based",
        "off",
        ("discrete",),
        "its neighbours: their actions, which must be of one kind",
        "nothing more",
        "its own reward, or --reward.mixing",
        "Yang et al. 2018, arXiv 1802.05438",
        "verified: the loss against a slow one; games:two_step 7, games:climbing at (1, 1) with 7 a step, 10 of 10 seeds, as exploration ends",
    )
    Options = Options
    Network = FieldUtility
    name = "mean_field_q"

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self.field = field.Field(seat, self.device) if self.policy.context else None
        if self.field:
            self.policy.frozen["context"].copy_(self.field.nothing)

    # What is known before anything is built

    @classmethod
    def policy_for(cls, team: Team, index: int) -> Policy:
        """See :class:`~.protocol.Method`: its outputs are Q-values; it reads ā behind the observation, where there is anybody to hear."""
        settings, heard = team.settings[index], team.heard_by(index)
        head = settings.sections[cls.name]["exploration"]["kind"]
        width = distribution_of(team.specs[heard[0]].action).width if heard else 0
        return policy_for(team.specs[index], settings.model, len(team.identity_of(index)), head, width)

    @classmethod
    def check(cls, team: Team, index: int) -> None:
        """See :class:`~.protocol.Method`: there must be a mean of what is heard, and in a group the same kind of mean for all."""
        super().check(team, index)
        check_one_kind(team.specs, index, team.heard_by(index), cls.name)
        for other in team.group_of(index):
            if team.policy_of(other).description != team.policy_of(index).description:
                raise InputError(
                    f"--algorithm {cls.name}: parameter sharing needs neighbours with the same actions, but those of {team.specs[index].name} and "
                    f"{team.specs[other].name} differ"
                )

    @classmethod
    def wants(cls, team: Team, index: int) -> Mapping[int, Sequence[str]]:
        """See :class:`~.protocol.Method`."""
        return field.wants(team, index)

    # Learning

    def _heard(self, rollout: Rollout, inbox: Inbox, now: Now) -> Rows:
        """ā of every step; and what the agent acts by from now on."""
        if not self.field:
            return {}
        mean = self.field.hear(rollout, inbox)
        known = mean.heard > 0
        if known.any():
            self.policy.frozen["context"].copy_(mean.taken[known].mean(0))
        return {"field": mean.taken.view(*rollout.reward.shape, -1).cpu().numpy()}

    def _reads(self, rows: Drawn, name: str) -> torch.Tensor:
        """The step's ā behind the observation."""
        x = super()._reads(rows, name)
        return torch.cat([x, rows["field"]], -1) if self.field else x

    def _worth(self, seen: Seen) -> torch.Tensor:
        """v(o') = Σ_b π(b|o', ā) Q⁻(o', b, ā), [...]."""
        weighed = seen.following if self.options.double else seen.target
        return (self.policy.decide(weighed, -1).softmax(-1) * seen.target).sum(-1)
