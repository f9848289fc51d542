"""How far an agent trusts its critic's own judgement of its actions: the form ``shrunk``.

Two estimates of an advantage: A_c, sampled and unbiased (``control``), and A_a, the critic's own (``action``), which has neither the others' noise nor
the environment's, but the critic's error. In the policy gradient they differ by d. Over H rounds the error of A_a adds up, its noise does
not: the best mixture A_a + κ (A_c − A_a) has κ = B² / (B² + V/H), with B² the squared mean of d and V its variance in one round. Both are
estimated as James and Stein (1961) do, with the positive part: κ = max(0, 1 − V̂ / |d̂|²), d̂ the mean of d over the last rounds, V̂ the variance of that mean.
"""

from __future__ import annotations

from typing import Any, Mapping

import numpy as np
import torch

PAST = 0.9
"""Weight of the past per round: the mean goes over about ten rounds (H = 19 in the formula above)."""


class Trust:
    """Running mean of d, and the variance of that mean."""

    def __init__(self) -> None:
        self.mean: torch.Tensor | None = None
        self.weight = self.variance = 0.0

    def follow(self, d: torch.Tensor, variance: float) -> float:
        """After a round: its d [size] and the sum of the variances of d's entries; returns 1 − κ."""
        if self.mean is None:
            self.mean = torch.zeros_like(d)
        self.mean = PAST * self.mean + (1 - PAST) * d
        self.weight = PAST * self.weight + (1 - PAST)
        self.variance = PAST**2 * self.variance + (1 - PAST) ** 2 * variance
        size = float(self.mean.square().sum())
        return min(1.0, self.variance / size) if size > 0 else 1.0

    # State

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """(arrays, numbers) that a resumed run needs."""
        arrays = {} if self.mean is None else {"mean": self.mean.cpu().numpy()}
        return arrays, {"weight": self.weight, "variance": self.variance}

    def restore(self, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> None:
        """Continue from :meth:`state`."""
        self.mean = torch.from_numpy(np.array(arrays["mean"])) if "mean" in arrays else None
        self.weight, self.variance = numbers["weight"], numbers["variance"]
