"""Target networks: a copy that follows a network, from time to time or a little at every step."""

from __future__ import annotations

import copy
from typing import Any, Mapping

import numpy as np
import torch

from ..learning.models import Network


class Target:
    """A copy of a network that others' targets are computed with (Mnih et al. 2015)."""

    def __init__(self, network: Network, every: int, rate: float) -> None:
        """``every``: gradient steps between copies; ``rate``: share of the way that it follows at every one of these (1: a copy)."""
        self.source, self.every, self.rate = network, every, rate
        self.network = copy.copy(network)
        self.network._view(network.flat.clone(), torch.zeros_like(network.gradient))
        self.steps = 0

    def follow(self) -> None:
        """After a gradient step: θ⁻ ← θ⁻ + rate (θ − θ⁻), each ``every`` steps."""
        self.steps += 1
        if self.steps % self.every == 0:
            self.network.flat.lerp_(self.source.flat, self.rate) if self.rate < 1 else self.network.fill(
                self.source.flat
            )

    def begin(self) -> None:
        """As the network is now."""
        self.network.fill(self.source.flat)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """(arrays, numbers) that a resumed run needs."""
        return {"network": self.network.flat.cpu().numpy()}, {"steps": self.steps}

    def restore(self, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> None:
        """Continue from :meth:`state`."""
        self.network.fill(torch.from_numpy(np.array(arrays["network"])))
        self.steps = numbers["steps"]
