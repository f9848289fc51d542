"""Learning with opponent-learning awareness: the gradient behind the step that the opponent is about to make (``lola``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Mapping, Optional, Sequence

import numpy as np
import torch

from ..learning.distributions import distribution_of
from ..network.exchange import Inbox, Letter
from ..settings.config import NonNegative, Positive, Rate, Section, option
from ..world.world import Rollout
from .coalition import averaged
from .dice import Course, Part, halves_of, present_in, sampled_game
from .exact_player import HEARS, STATISTICS, ExactPlayer
from .look_ahead import lola, naive
from .pair_games import check_heard
from .protocol import KINDS, Facts, Learning, Now
from .team import Team


@dataclass
class Options(Section):
    """Looking ahead of the opponents' next step."""

    gradient: Literal["exact", "dice"] = option(
        "exact",
        "Of exact values, in games of two that can be differentiated; or from samples, of any network in any environment (DiCE).",
    )
    update: Literal["shaping", "surrogate", "step"] = option(
        "shaping",
        "Only the term by which the opponent's step is shaped (Foerster's code); the derivative of the whole first-order surrogate (Letcher, "
        "COLA); or of the value at the step itself.",
    )
    rate: Optional[Rate] = option(None, "Step size of the agent (default: 1 exactly, 0.2 from samples).")
    lookahead: Optional[NonNegative] = option(
        None,
        "Step size η that the opponent is taken to have (default: 1 exactly, 0.1 from samples; 0: the naive gradient).",
    )
    inner: Positive = option(2, "Steps that it is taken to make, from samples and with update step (else: one).")
    deviation: NonNegative = option(
        1.0, "Standard deviation of an exact player's first numbers (log odds, or its action)."
    )


class LOLA(ExactPlayer):
    """θ_i ← θ_i + α ∇_i V_i(θ_i, θ_j + η ∇_j V_j), in the form of :func:`~.look_ahead.lola`, or from samples by :mod:`~.dice`."""

    facts = Facts(
        "Gradients behind the step that each neighbour is about to make, of exact values or from samples.",
        "learning-aware",
        "on",
        KINDS,
        f"{HEARS}; from samples all neighbours' parameters and their part of the rollout",
        "nothing more",
        "its own reward",
        "Foerster et al. 2018, arXiv 1709.04326; DiCE: Foerster et al. 2018, arXiv 1802.05098",
        "verified: exactly, games:ipd near -1 a step in 29 of 30 pairs where the naive gradient ends near -2; sampled derivatives against exact ones",
    )
    Options = Options
    statistics = (*STATISTICS, "look_ahead")
    """look_ahead: norm of the opponents' steps, the mean over them."""
    remembers = True
    uses = ("model.memory", "returns.trace")
    name = "lola"

    # What is known before anything is built

    @classmethod
    def exact(cls, team: Team, index: int) -> bool:
        """See :class:`~.exact_player.ExactPlayer`."""
        return team.settings[index].sections[cls.name]["gradient"] == "exact"

    @classmethod
    def check(cls, team: Team, index: int) -> None:
        """See :class:`~.protocol.Method`."""
        super().check(team, index)
        if cls.exact(team, index):
            return
        for other in opponents_of(team, index):
            check_heard(team, index, other, "--lola.gradient dice")

    @classmethod
    def opponents(cls, team: Team, index: int) -> list[int]:
        """See :class:`~.exact_player.ExactPlayer`: from samples all that it may hear and that learn."""
        return super().opponents(team, index) if cls.exact(team, index) else opponents_of(team, index)

    @classmethod
    def wants(cls, team: Team, index: int) -> Mapping[int, Sequence[str]]:
        """See :class:`~.protocol.Method`: parameters; from samples also what the others saw, did and got."""
        if cls.exact(team, index):
            return super().wants(team, index)
        return {other: sections_of(team, other) for other in opponents_of(team, index)}

    # A round

    @property
    def rate(self) -> float:
        """See :class:`~.exact_player.ExactPlayer`."""
        default = 1.0 if self.options.gradient == "exact" else 0.2
        return default if self.options.rate is None else self.options.rate

    @property
    def lookahead(self) -> float:
        """η."""
        default = 1.0 if self.options.gradient == "exact" else 0.1
        return default if self.options.lookahead is None else self.options.lookahead

    def learn(self, rollout: Rollout, inbox: Inbox, now: Now) -> Learning:
        """One step, exactly or from the rollout."""
        if self.exact(self.team, self.index):
            self._ahead: list[float] = []
            found = yield from self._learn_exactly(inbox)
            return found | {"look_ahead": float(np.mean(self._ahead)) if self._ahead else float("nan")}
        return (yield from self._learn_from_samples(rollout, inbox))

    def step(self, other: int, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """See :class:`~.exact_player.ExactPlayer`."""
        game = self.games[other]
        (ahead,) = torch.autograd.grad(game.values(x, y)[1], y)
        self._ahead.append(self.lookahead * float(ahead.norm()))
        return self.rate * lola(game, x, y, self.lookahead, self.options.update)

    def _learn_from_samples(self, rollout: Rollout, inbox: Inbox) -> Learning:
        returns = self.settings.returns
        course = Course(rollout, returns.gamma, returns.trace)
        there, reward = torch.from_numpy(present_in(rollout)), self.reward(rollout, inbox)
        x, action = self.with_identity(self.observation), self.distribution.read(rollout.action)
        memory = self.memory_at_start if self.policy.width else None
        own = Part(self.policy, self.distribution, x, action, reward, there, self.mask, memory)
        letters = {other: inbox.get(other, Letter()) for other in opponents_of(self.team, self.index)}
        heard = [self._part_of(other, letter, reward.shape) for other, letter in letters.items()]
        others = [part for part in heard if part is not None]
        total, ahead = torch.zeros_like(self.policy.flat), []
        halves = halves_of(self.copies)
        for half in halves:
            x = self.policy.flat.clone().requires_grad_()
            alone = naive(sampled_game(own, None, course, *half), x, x).detach()
            total += alone / len(halves)
            for part in others:
                y = part.policy.flat.clone().requires_grad_()
                game = sampled_game(own, part, course, *half)
                total += (
                    lola(game, x, y, self.lookahead, self.options.update, self.options.inner) - alone
                ).detach() / len(halves)
                ahead.append(self.lookahead * float(torch.autograd.grad(game.values(x, y)[1], y)[0].norm()))
        yield from averaged([total], self.seat.group)
        self.policy.flat.add_(total, alpha=self.rate)
        counts = course.weight * there[: reward.numel()].view(reward.shape)
        return {
            "value": float((counts * reward).sum() / counts.sum().clamp(min=1e-12)),
            "policy_gradient": float(total.norm()),
            "opponents": float(len(others)),
            "look_ahead": float(np.mean(ahead)) if ahead else float("nan"),
        }

    def _part_of(self, other: int, letter: Letter, shape: torch.Size) -> Part | None:
        """An opponent's part of the rollout; None where something of it did not arrive, or not of all copies."""
        told = letter.sections
        if any(name not in told for name in sections_of(self.team, other)) or letter.copies not in (0, self.copies):
            return None
        policy = self.team.policy_of(other)
        policy.fill(torch.from_numpy(told["policy"].copy()))
        seen = torch.from_numpy(told["observations"].copy())
        identity = self.team.identity_of(other)
        distribution = distribution_of(self.team.specs[other].action)
        return Part(
            policy,
            distribution,
            torch.cat([seen, identity.expand(len(seen), -1)], 1) if len(identity) else seen,
            distribution.read(told["actions"].view(np.float32)),
            torch.from_numpy(told["rewards"].copy()).view(shape),
            torch.from_numpy(told["presence"].astype(bool)),
            torch.from_numpy(told["masks"].copy()) if "masks" in told else None,
            torch.from_numpy(told["memory"].copy()) if "memory" in told else None,
        )


def opponents_of(team: Team, index: int) -> list[int]:
    """Those whose steps are looked ahead of, from samples: all that it may hear and that learn."""
    return [other for other in team.heard_by(index) if team.methods[other].learns]


def sections_of(team: Team, other: int) -> list[str]:
    """What must be known of an opponent, from samples."""
    found = ["policy", "observations", "actions", "presence", "rewards"]
    found += ["memory"] if team.policy_shape(other)[1] else []
    return found + (["masks"] if team.specs[other].masked else [])
