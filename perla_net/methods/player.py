"""Who acts: a policy, or several equal ones side by side, in B copies."""

from __future__ import annotations

from typing import Sequence

import numpy as np
import torch

from ..learning.distributions import Distribution
from ..learning.models import Pass, Policy


class Player:
    """A policy, or several equal ones side by side, acting in B copies: an :class:`~perla_net.world.world.Actor`."""

    follows = False

    def __init__(
        self, policy: Policy, distribution: Distribution, identity: torch.Tensor, copies: int, horizon: int
    ) -> None:
        """``identity``: a fixed input [n] that tells a shared network whom it acts for (n may be 0); policies side by side have none."""
        self.policy, self.distribution, self.identity = policy, distribution, identity
        self.copies, self.horizon = copies, horizon
        self.remembers = policy.width > 0
        self.memory = policy.begin(copies)
        self.device = policy.flat.device
        self.several = policy.flat.dim() > 1
        self._pass = Pass(policy, copies, learns=False)
        self.noise: torch.Tensor | None = None

    def begin(self, *rngs: np.random.Generator) -> None:
        """Before ``horizon`` steps: draw the noise of all of them from a stream per policy, or act greedily without."""
        drawn = [self.distribution.noise(rng, self.horizon, self.copies) for rng in rngs]
        self.noise = (torch.stack(drawn, 1) if self.several else drawn[0]).to(self.device) if drawn else None

    def act(
        self,
        t: int,
        observations: list[np.ndarray],
        masks: list[np.ndarray | None],
        begins: list[np.ndarray],
        actions: list[np.ndarray],
    ) -> None:
        """See :class:`~perla_net.world.world.Actor`."""
        x = self.with_identity(self._tensor(observations))
        if self.remembers:
            with torch.no_grad():
                outputs, self.memory = self.policy.step(x, self.memory, self._tensor(begins))
            outputs = outputs.mT
        else:
            outputs = self._pass.forward(x)
        chosen = self.choose(t, outputs, masks)
        if self.policy.recalls:
            self.memory = self.policy.recall(self.memory, self.distribution.own(chosen))
        found = chosen.cpu().numpy()
        for action, values in zip(actions, found if self.several else (found,)):
            self.distribution.write(values, action)

    def choose(self, t: int, outputs: torch.Tensor, masks: Sequence[np.ndarray | None]) -> torch.Tensor:
        """Actions of step t from outputs [outputs, M]."""
        if masks[0] is not None:
            outputs = self.distribution.masked(outputs, self._tensor(masks).mT)  # type: ignore[arg-type]
        if self.noise is None:  # of Q-values the best one, however much it explores
            return self.distribution.greedy(self.policy.best(outputs, -2))
        return self.distribution.sample(self.policy.decide(outputs, -2), self.noise[t])

    def _tensor(self, arrays: Sequence[np.ndarray]) -> torch.Tensor:
        if self.several:
            return torch.from_numpy(np.stack(arrays)).to(self.device)
        return torch.from_numpy(arrays[0]).to(self.device)

    def with_identity(self, observation: torch.Tensor) -> torch.Tensor:
        """Observations [..., size] with the agent's identity appended, where a shared network needs it."""
        if not len(self.identity):
            return observation
        return torch.cat([observation, self.identity.expand(*observation.shape[:-1], -1)], dim=-1)


class Follower:
    """Acts as a controller on the hosts decides: an :class:`~perla_net.world.world.Actor` that has nothing to do."""

    remembers, follows = False, True

    def begin(self, *rngs: np.random.Generator) -> None:
        """See :class:`Player`."""

    def act(self, *_: object) -> None:
        """Never called: the world hands the controller's actions back."""
        raise NotImplementedError
