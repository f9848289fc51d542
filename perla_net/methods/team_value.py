"""The team's value, and what it learns from: one class a method, evaluated alike wherever it is.

Every agent tells of each drawn step some of its utilities Q_i(o, ·), through which the loss goes back to it, and some numbers that are
constant. What is here makes the loss of these, the state and the joint action; it knows nothing of who computes it.
In all of them y = r + γ (value of what follows, 0 where nobody goes on), and losses are ½ (…)², means over steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Sequence

import torch

from ..learning.mixers import Dueling, JointValue, Monotonic, one_hot
from ..learning.models import MLP, Network
from .targets import Target


@dataclass
class Batch:
    """M drawn steps of N agents.

    state, following [M, S]; action [M, N]; alive [M, N]: 1, or 0 for who did not act; goes_on [M, N]: 1 for who lives on after the step;
    reward [M]: the team's mean; weight [M]: of each step, adds up to 1; present [P, N, M]: utilities, the loss's variables; known
    [K, N, M]: what else was told.
    """

    state: torch.Tensor
    following: torch.Tensor
    action: torch.Tensor
    alive: torch.Tensor
    goes_on: torch.Tensor
    reward: torch.Tensor
    weight: torch.Tensor
    present: torch.Tensor
    known: torch.Tensor

    def utility(self, row: int) -> torch.Tensor:
        """A told utility, [M, N]; 0 for who did not act."""
        return self.present[row].mT * self.alive

    def after(self, row: int) -> torch.Tensor:
        """A told number of what follows, [M, N]; 0 for whom nothing does."""
        return self.known[row].mT * self.goes_on


@dataclass(frozen=True)
class Sizes:
    """What the networks are made for: numbers in the state, and of each agent's actions."""

    state: int
    actions: tuple[int, ...]


class TeamValue:
    """Networks of the team's value and their loss."""

    figures: ClassVar[tuple[str, ...]] = ()
    """Further figures that :meth:`loss` gives."""

    def __init__(self, sizes: Sizes, options: Any, gamma: float, generator: torch.Generator, device: str) -> None:
        """``options``: the method's own; ``generator``: of initial weights."""
        self.sizes, self.options, self.gamma = sizes, options, gamma
        self.networks = self.build()
        for network in self.networks.values():
            if isinstance(network, MLP):
                network.start(generator, orthogonal=False, last_gain=1.0)
            else:
                network.start(generator)
            network.to(device)
        self.targets = {
            name: Target(self.networks[name], options.target_every, options.target_rate) for name in self.followed
        }

    followed: ClassVar[tuple[str, ...]] = ("mixer",)
    """Networks that have a target."""

    def build(self) -> dict[str, Any]:
        """The networks by name, with zero weights."""
        raise NotImplementedError

    def loss(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Sequence[torch.Tensor]]:
        """(what is made small [], Q_tot − y [M], Q_tot [M], :attr:`figures` [] each)."""
        raise NotImplementedError

    def following(self, name: str) -> Any:
        """A network's target."""
        return self.targets[name].network

    def aim(self, batch: Batch, after: torch.Tensor) -> torch.Tensor:
        """y [M], from the value of what follows."""
        return batch.reward + self.gamma * after * batch.goes_on.amax(1)

    def joint(self, action: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """Joint actions [M, N], one-hot [M, Σ A_i]."""
        return one_hot(action.long(), there, self.sizes.actions)


def _squares(weight: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
    """½ Σ w e²."""
    return 0.5 * (weight * error.square()).sum()


class Mixed(TeamValue):
    """QMIX: ½ (Q_tot − y)², y by Q_tot⁻(s', argmax_i Q_i). Told: Q_i(u_i); Q_i⁻(o', argmax)."""

    def build(self) -> dict[str, Network]:
        """The mixer."""
        options = self.options
        return {"mixer": Monotonic(self.sizes.state, len(self.sizes.actions), options.width, options.hyper)}

    def loss(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Sequence[torch.Tensor]]:
        """See :class:`TeamValue`."""
        with torch.no_grad():
            aim = self.aim(batch, self.following("mixer")(batch.following, batch.after(0)))
        total = self.networks["mixer"](batch.state, batch.utility(0))
        error = total - aim
        return _squares(batch.weight, error), error, total, ()


class Duelled(TeamValue):
    """QPLEX: the same with its mixer. Told: Q_i(u_i); max Q_i; of what follows Q_i⁻(o', argmax Q_i), max Q_i⁻, and argmax Q_i."""

    def build(self) -> dict[str, Network]:
        """The mixer."""
        options = self.options
        return {"mixer": Dueling(self.sizes.state, self.sizes.actions, options.hyper, options.kernels, options.depth)}

    def loss(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Sequence[torch.Tensor]]:
        """See :class:`TeamValue`."""
        with torch.no_grad():
            then = self.joint(batch.known[3].mT, batch.goes_on)
            after = self.following("mixer")(batch.following, then, batch.after(1), batch.after(2))
            aim = self.aim(batch, after)
        joint = self.joint(batch.action, batch.alive)
        total = self.networks["mixer"](batch.state, joint, batch.utility(0), batch.known[0].mT * batch.alive)
        error = total - aim
        return _squares(batch.weight, error), error, total, ()


class Transformed(TeamValue):
    """QTRAN-base: a free joint value Q(s, u), to which Σ Q_i is bound where it matters; sg: no gradient.

    ½ (Q(s, u) − y)²,  y by Q⁻(s', argmax_i Q_i);  with V(s), ū the greedy joint action and present networks,
    λ_opt ½ (Σ Q_i(ū_i) − sg Q(s, ū) + V)² + λ_nopt ½ min(Σ Q_i(u_i) − sg Q(s, u) + V, 0)².
    Told: Q_i(u_i) and Q_i(ū_i); ū_i; of what follows argmax Q_i.
    """

    figures = ("opt_loss", "nopt_loss")
    followed = ("joint",)

    def build(self) -> dict[str, Network]:
        """Q(s, u) and V(s)."""
        hidden = self.options.hidden
        joint = JointValue(self.sizes.state, self.sizes.actions, hidden)
        return {"joint": joint, "value": MLP((self.sizes.state, hidden, hidden, 1), "relu")}

    def loss(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Sequence[torch.Tensor]]:
        """See :class:`TeamValue`."""
        network, options, state = self.networks["joint"], self.options, batch.state
        taken = self.joint(batch.action, batch.alive)
        with torch.no_grad():
            then = self.joint(batch.known[1].mT, batch.goes_on)
            aim = self.aim(batch, self.following("joint").value(batch.following, then))
            best = network.value(state, self.joint(batch.known[0].mT, batch.alive))
        total = network.value(state, taken)
        offset = self.networks["value"](state).squeeze(-1)
        error = total - aim
        opt = _squares(batch.weight, batch.utility(1).sum(1) - best + offset)
        nopt = self.not_greedy(batch, taken, total.detach(), offset)
        whole = _squares(batch.weight, error) + options.opt_weight * opt + options.nopt_weight * nopt
        return whole, error, total, (opt.detach(), nopt.detach())

    def not_greedy(self, batch: Batch, taken: torch.Tensor, value: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
        """The part of the loss for joint actions that are not greedy. taken [M, Σ A_i]; value: sg Q(s, u), offset: V(s), [M] each."""
        return _squares(batch.weight, (batch.utility(0).sum(1) - value + offset).clamp(max=0))


class TransformedAlternative(Transformed):
    """QTRAN-alt: in the second part, ½ mean_i (min_b [Q_i(b) + Σ_j≠i Q_j(u_j) − sg Q(s, (b, u_−i)) + V])², b over what i may do.

    Told beside QTRAN-base's: behind ū_i and argmax, whether each action is allowed; behind Q_i(u_i) and Q_i(ū_i), all Q_i(b).
    """

    def not_greedy(self, batch: Batch, taken: torch.Tensor, value: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
        """See :class:`Transformed`; the values of other own actions come from the same network."""
        with torch.no_grad():
            counterfactual = self.networks["joint"].of_every_own(batch.state, taken)
        chosen = batch.utility(0)
        others = chosen.sum(1, keepdim=True) - chosen
        gap = batch.present[2:].permute(2, 1, 0) + (others + offset.unsqueeze(1)).unsqueeze(2) - counterfactual
        allowed = batch.known[2:].permute(2, 1, 0) > 0
        least = gap.masked_fill(~allowed, torch.inf).amin(2)  # [M, N]
        mean = (batch.alive * torch.where(batch.alive > 0, least, 0.0).square()).sum(1)
        return 0.5 * (batch.weight * mean / batch.alive.sum(1).clamp(min=1)).sum()


class Weighted(TeamValue):
    """Weighted QMIX: the mixer is fitted to y by the weighted squares Σ ω ½ (Q_tot − y)², y by an unrestricted Q̂*⁻(s', argmax_i Q_i).

    Q̂*(s, û) = f(s, û) + v(s) reads utilities Q̂_i(u_i) of its own, and learns from ½ (Q̂* − y)², all steps alike.
    OW: ω = 1 where Q_tot < y, else α. CW: ω = 1 where u is greedy or y > Q̂*⁻(s, greedy), else α.
    Told: Q_i(u_i), Q̂_i(u_i); Q̂_i⁻(o', argmax Q_i); for CW Q̂_i⁻(o, argmax Q_i) and whether u_i is that.
    """

    figures = ("central_loss", "full_weight")
    followed = ("central", "central_value")

    def build(self) -> dict[str, Network]:
        """The mixer, and the unrestricted critic in two parts."""
        state, agents, options = self.sizes.state, len(self.sizes.actions), self.options
        width = options.central
        return {
            "mixer": Monotonic(state, agents, options.width, options.hyper),
            "central": MLP((state + agents, width, width, width, 1), "relu"),
            "central_value": MLP((state, width, 1), "relu"),
        }

    def central(self, networks: Any, state: torch.Tensor, utilities: torch.Tensor) -> torch.Tensor:
        """Q̂*(s, û) [M]."""
        return (networks("central")(torch.cat([state, utilities], 1)) + networks("central_value")(state)).squeeze(1)

    def loss(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Sequence[torch.Tensor]]:
        """See :class:`TeamValue`."""
        with torch.no_grad():
            aim = self.aim(batch, self.central(self.following, batch.following, batch.after(0)))
        total = self.networks["mixer"](batch.state, batch.utility(0))
        error = total - aim
        with torch.no_grad():
            full = self.counts_fully(batch, error, aim)
            weight = torch.where(full, batch.weight, self.options.alpha * batch.weight)
        critic = self.central(self.networks.__getitem__, batch.state, batch.utility(1))
        central = _squares(batch.weight, critic - aim)
        share = (batch.weight * full).sum()
        return _squares(weight, error) + central, error, total, (central.detach(), share)

    def counts_fully(self, batch: Batch, error: torch.Tensor, aim: torch.Tensor) -> torch.Tensor:
        """Where ω = 1, [M] bool."""
        raise NotImplementedError


class OptimisticallyWeighted(Weighted):
    """OW-QMIX."""

    def counts_fully(self, batch: Batch, error: torch.Tensor, aim: torch.Tensor) -> torch.Tensor:
        """Where the mixer's value is too small."""
        return error < 0


class CentrallyWeighted(Weighted):
    """CW-QMIX."""

    def counts_fully(self, batch: Batch, error: torch.Tensor, aim: torch.Tensor) -> torch.Tensor:
        """Where the greedy joint action was taken, or what was taken is better."""
        best = self.central(self.following, batch.state, batch.known[1].mT * batch.alive)
        greedy = ((batch.known[2].mT > 0) | (batch.alive == 0)).all(1)
        return greedy | (aim > best)
