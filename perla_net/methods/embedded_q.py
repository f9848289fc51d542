"""Q-learners that average out their neighbours' policies: ``perla_iql``, ``perla_vdn`` (see ``rest.py`` for the equations)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from . import value_based
from .protocol import Facts, Seat
from .rest import OF_EMBEDDING, Embedding, PolicyOptions
from .utility import Drawn
from .value_based import IQL, STATISTICS, VDN


@dataclass
class Options(PolicyOptions, value_based.Options):
    """Those of Q-learning, and whose policies count on remembered steps."""


class PerlaIQL(Embedding, IQL):
    """Q_i(o, a_i, a_N) = q_i(o, a_i) + R_i(o, a_i, a_N) − R̂_i(o, a_i) → r + γ (1 − terminated) q_i⁻(o', argmax q_i(o', ·)).

    q_i = Q̂_i, the mean over the neighbours' policies, is the policy's network. Without neighbours there is nothing else.
    """

    facts = Facts(
        "Q-learning whose values of joint actions are averaged over the neighbours' policies.",
        "value-based",
        "off",
        ("discrete",),
        "its neighbours: their policies, where these stood, and their actions",
        "nothing more",
        "its own reward, or --reward.mixing",
        "Jafferjee et al., arXiv 2209.01054 (PERLA), its extension to values",
        "verified: the loss against a slow one; games:climbing at (1, 1) with 7 a step, 10 of 10 seeds, as exploration ends, where iql has 5; without neighbours, or with none heard, it is iql, bit for bit",
    )
    Options = Options
    statistics = (*STATISTICS, "peers_value")
    uses = (*IQL.uses, *OF_EMBEDDING)
    name = "perla_iql"

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self._begin_rest(len(self.identity), self.distribution.outputs, seat.options(Options).policies)

    def _done(self, values: torch.Tensor, rows: Drawn) -> torch.Tensor:
        """q(o, a) + R(o, a, a_N) − R̂(o, a)."""
        own = super()._done(values, rows)
        if self.rest is None:
            return own
        flat = {name: row.flatten(0, own.dim() - 1) for name, row in rows.items()}
        shares = self._shares(values, rows)
        shares = None if shares is None else shares.flatten(0, -2)
        x = self.with_identity(flat["observation"])
        return own + self._beyond(self.rest, x, flat, flat["action"].long(), shares).view_as(own)

    def _shares(self, values: torch.Tensor, rows: Drawn) -> torch.Tensor | None:
        """π_i(·|o), where neighbours' actions count only as far as they change what the own one is worth."""
        return None

    def _backward(self, values: torch.Tensor, rows: Drawn, error: torch.Tensor) -> None:
        super()._backward(values, rows, error)
        if self.rest:
            self.rest.backward(error.flatten())

    def _gradients(self) -> list[torch.Tensor]:
        return [*super()._gradients(), *([self.rest.network.gradient] if self.rest else [])]

    def _step(self, share: float) -> torch.Tensor:
        if self.rest:
            self.rest.optimiser.step(self.settings.optimiser.critic_learning_rate * share)
        return super()._step(share)


class PerlaVDN(PerlaIQL, VDN):
    """Σ_i Q_i(o_i, a_i, a_N) is the team's value; of each R_i counts what depends on a_i as well as on a_N; the rest as for VDN."""

    facts = Facts(
        "Q-learners whose values, averaged over the neighbours' policies, add up to the team's value.",
        "value-based",
        "off",
        ("discrete",),
        "its neighbours: their policies, where these stood, and their actions; all agents with this method: two utilities a drawn step, and rewards",
        "two utilities a drawn step, and rewards",
        "the mean reward of all agents with this method",
        "Sunehag et al. 2017, arXiv 1706.05296; PERLA's extension to values",
        "verified: the loss against a slow one; games:climbing at (1, 1) with 7 a step, 10 of 10 seeds, as exploration ends, where vdn has 5; without neighbours, or with none heard, it is vdn, bit for bit",
    )
    name = "perla_vdn"

    def _shares(self, values: torch.Tensor, rows: Drawn) -> torch.Tensor | None:
        return self.policy.decide(self.utility.allowed(values, rows), -1).softmax(-1)
