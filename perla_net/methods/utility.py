"""Utilities Q(o, ·) of one agent: a network over single steps or along whole episodes, its target, its optimiser."""

from __future__ import annotations

from typing import Callable, Mapping, NamedTuple

import torch

from ..learning.distributions import Distribution
from ..learning.models import OPTIMISERS, Pass, Policy
from ..settings.config import Optimiser
from .keeping import Part
from .targets import Target

Drawn = Mapping[str, torch.Tensor]
"""Rows of :func:`~.memory.steps_of` that were drawn from a memory: steps [M, …], or episodes [L, N, …] with ``there``."""


class Seen(NamedTuple):
    """What the networks say of drawn rows, [M, actions] or [L, N, actions]: Q(o, ·), for :meth:`Utility.backward`; Q(o', ·) and Q⁻(o', ·)
    over allowed actions."""

    values: torch.Tensor
    following: torch.Tensor
    target: torch.Tensor


class Utility:
    """A Q-network; with a GRU it reads episodes, and its memory begins empty in each."""

    def __init__(
        self,
        network: Policy,
        optimiser: Optimiser,
        every: int,
        rate: float,
        distribution: Distribution,
        read: Callable[[Drawn, str], torch.Tensor],
    ) -> None:
        """``every``, ``rate``: of the :class:`~.targets.Target`; ``read``: what the network reads of drawn rows' ``observation`` or ``following``."""
        self.network, self.distribution, self.read = network, distribution, read
        self.optimiser = OPTIMISERS[optimiser.method](network, optimiser.epsilon, optimiser.max_gradient_norm)
        self.target = Target(network, every, rate)
        self._walk: tuple[Pass, Pass, Pass] | None = None
        """Over single steps: of the network in what was and in what follows, of the target in that."""

    def look(self, rows: Drawn) -> Seen:
        """Evaluate the networks on drawn rows."""
        return self._along(rows) if "there" in rows else self._in_steps(rows)

    @torch.no_grad()
    def before(self, rows: Drawn) -> torch.Tensor:
        """Q⁻(o, ·) over allowed actions."""
        x, target = self.read(rows, "observation"), self.target.network
        return self.allowed(target.sequence(x, *self._begin(x))[0] if "there" in rows else target(x), rows, "mask")

    def allowed(self, values: torch.Tensor, rows: Drawn, name: str = "mask") -> torch.Tensor:
        """Values [..., actions] with forbidden actions blocked, where there is a mask of that name."""
        return self.distribution.masked(values, rows.get(name), -1)

    def _in_steps(self, rows: Drawn) -> Seen:
        following = self.read(rows, "following")
        if self._walk is None:
            spare = Pass(self.network, len(following), learns=False)
            there = Pass(self.target.network, len(following), spare, learns=False)
            self._walk = Pass(self.network, len(following)), spare, there
        now, present, target = self._walk
        values = now.forward(self.read(rows, "observation")).mT
        after = (self.allowed(one.forward(following).mT, rows, "following_mask") for one in (present, target))
        return Seen(values, *after)

    def _along(self, rows: Drawn) -> Seen:
        """The step that follows is the next one of the sequence, or what the episode ended with, which stands behind it."""
        x = _with_last(self.read(rows, "observation"), self.read(rows, "following"), rows["there"].sum(0))
        values, _ = self.network.sequence(x, *self._begin(x))
        with torch.no_grad():
            target, _ = self.target.network.sequence(x, *self._begin(x))
        following = (self.allowed(one[1:], rows, "following_mask") for one in (values.detach(), target))
        return Seen(values[:-1], *following)

    def _begin(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """An empty memory, and that no episode begins within a sequence."""
        return self.network.begin(x.shape[1]), torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)

    def backward(self, values: torch.Tensor, slope: torch.Tensor) -> None:
        """From ∂L/∂Q(o, ·) of the last :meth:`look` to the network's gradient."""
        if self.network.width:
            self.network.gradient.zero_()
            values.backward(slope)
        else:
            assert self._walk is not None
            self._walk[0].backward(slope.mT.contiguous())

    def step(self, rate: float) -> torch.Tensor:
        """A gradient step, and the target's; the gradient's norm before clipping."""
        norm = self.optimiser.step(rate)
        self.target.follow()
        return norm

    def parts(self, name: str) -> dict[str, Part]:
        """What changes of it beside the network, which is called ``name``."""
        return {f"{name}.optimiser": self.optimiser, "target" if name == "policy" else f"{name}.target": self.target}


def _with_last(now: torch.Tensor, following: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
    """[L + 1, N, …]: every episode's entries, and behind its last what followed it; length [N]."""
    whole = torch.cat([now, torch.zeros_like(now[:1])])
    column = torch.arange(len(length), device=length.device)
    whole[length, column] = following[length - 1, column]
    return whole
