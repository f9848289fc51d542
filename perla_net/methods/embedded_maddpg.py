"""Deterministic policies whose critics average out their neighbours' policies: ``perla_maddpg`` (see ``rest.py`` for the equations)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..ground.errors import InputError
from . import maddpg
from .maddpg import MADDPG, STATISTICS, Drawn
from .protocol import Facts, Seat
from .rest import OF_EMBEDDING, Embedding, PolicyOptions
from .team import Team


@dataclass
class Options(PolicyOptions, maddpg.Options):
    """Those of MADDPG, and whose policies count on remembered steps."""


class PerlaMADDPG(Embedding, MADDPG):
    """Q_i(o_i, a_i, a_N) = q_i(o_i, a_i) + R_i(o_i, a_i, a_N) − R̂_i(o_i, a_i) → r_i + γ (1 − terminated) q_i⁻(o_i', μ_i⁻(o_i')).

    q_i = Q̂_i is the mean over the neighbours' policies; μ_i climbs q_i(o_i, μ_i(o_i)). Where nobody is heard it is ``maddpg`` with
    ``--critic.input own``. Nothing is said but what neighbours tell of their policies.
    """

    facts = Facts(
        "Deterministic policies, each with a critic of its own observation that averages out its neighbours' policies.",
        "deterministic policy gradient",
        "off",
        ("discrete", "multi_discrete", "continuous"),
        "its neighbours: their policies, where these stood, and their actions",
        "nothing more",
        "its own reward, or --reward.mixing",
        "Lowe et al. 2017, arXiv 1706.02275; Jafferjee et al., arXiv 2209.01054 (PERLA)",
        "verified: the loss against a slow one; without neighbours, or with none heard, it is maddpg with --critic.input own, bit for bit",
    )
    Options = Options
    statistics = (*STATISTICS, "peers_value")
    uses = (*MADDPG.uses, *OF_EMBEDDING)
    name = "perla_maddpg"

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        own = len(self.identity) + self.distribution.own_width
        self._begin_rest(own, 1, seat.options(Options).policies)

    @classmethod
    def _central(cls, team: Team, index: int) -> bool:
        return False

    @classmethod
    def check_critic_input(cls, team: Team, index: int) -> None:
        """See :class:`MADDPG`."""
        asked = team.settings[index].critic.input
        if asked not in ("preset", "own"):
            raise InputError(
                f"--critic.input {asked}: the critic of {cls.name} reads the own observation, and its neighbours' actions; leave it at preset"
            )

    def _beyond_own(self, rows: Drawn) -> torch.Tensor | float:
        if self.rest is None:
            return 0.0
        x = torch.cat([self._own(rows["observation"]), self.distribution.own(rows["action"])], 1)
        return self._beyond(self.rest, x, rows, torch.zeros(len(x), dtype=torch.int64, device=x.device))

    def _backward_beyond(self, slope: torch.Tensor) -> None:
        if self.rest:
            self.rest.backward(slope)

    def _critic_gradients(self) -> list[torch.Tensor]:
        return [*super()._critic_gradients(), *([self.rest.network.gradient] if self.rest else [])]

    def _critic_step(self, rate: float) -> torch.Tensor:
        if self.rest:
            self.rest.optimiser.step(rate)
        return super()._critic_step(rate)
