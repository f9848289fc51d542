"""Measured against predicted numbers, with intervals that hold for all of them at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Sequence

import numpy as np
from scipy.special import ndtri

LEVEL = 1e-6
"""Probability at most (Bonferroni) that a correct program is told to violate any law in one call."""


@dataclass
class Check:
    """One comparison. ``low`` and ``high``: where a correct program measures; filled in by :func:`settle`.

    error: standard error of what was measured (0: not random, only rounding); skew: κ₃ / (σ² n), of the mean that was
    taken; tolerance: what rounding may do; limit: True where ``measured`` must only not exceed ``predicted``.
    """

    law: str
    game: str
    what: str
    measured: float
    predicted: float
    error: float = 0.0
    skew: float = 0.0
    tolerance: float = 0.0
    limit: bool = False
    low: float = -math.inf
    high: float = math.inf

    @property
    def holds(self) -> bool:
        """False for what is not a number, too."""
        return self.low <= self.measured <= self.high


def mean_check(law: str, game: str, what: str, values: np.ndarray, predicted: float, tolerance: float) -> Check:
    """Of the mean of independent ``values`` [n] against what enumeration gives."""
    values = np.asarray(values, float)
    mean, number = float(values.mean()), len(values)
    centred = values - mean
    variance = float((centred * centred).mean())
    skew = abs(float((centred * centred * centred).mean())) / (variance * number) if variance > 0 else 0.0
    return Check(law, game, what, mean, predicted, math.sqrt(variance / number), skew, tolerance)


def settle(checks: Sequence[Check], level: float = LEVEL) -> float:
    """Fill in every interval; returns z, the number of standard errors on either side.

    Two-sided normal intervals at level/m each, m the number of checks (Bonferroni), widened for skewness by the second
    term of the Cornish-Fisher expansion of a Student ratio: z σ/√n + (2z² + 1)/6 · |κ₃|/(σ² n) (Hall 1992, section 2.6).
    """
    z = -float(ndtri(level / (2 * max(len(checks), 1))))
    for check in checks:
        half = z * check.error + (2 * z * z + 1) / 6 * check.skew + check.tolerance
        check.low, check.high = -math.inf if check.limit else check.predicted - half, check.predicted + half
    return z
