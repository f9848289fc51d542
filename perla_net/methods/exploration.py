"""How methods that learn from a memory explore: a share ε of chance, Boltzmann's distribution at temperature τ, normal noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..settings.config import Fraction, NonNegative, Section, option

LEAST = 1e-6
"""Standard deviation that stands for none."""


@dataclass
class Exploration(Section):
    """What is done beside the best action, and how that changes over the run."""

    kind: Literal["epsilon", "boltzmann"] = option(
        "epsilon", "Any allowed action with probability epsilon, or actions in proportion to exp(Q / temperature)."
    )
    start: NonNegative = option(1.0, "Epsilon, or the temperature, at the start.")
    end: NonNegative = option(0.05, "The same at the end.")
    share: Fraction = option(0.5, "Share of the run over which it goes from the one to the other, linearly.")

    def at(self, done: float) -> float:
        """Its value when a share ``done`` of the run is over; temperatures are at least 1e-3."""
        value = falling(self.start, self.end, self.share, done)
        return max(value, 1e-3) if self.kind == "boltzmann" else min(value, 1.0)


@dataclass
class Noise(Section):
    """Normal noise in continuous actions, in units in which these reach ±1."""

    start: NonNegative = option(0.3, "Its standard deviation at the start.")
    end: NonNegative = option(0.05, "The same at the end.")
    share: Fraction = option(0.5, "Share of the run over which it goes from the one to the other, linearly.")

    def at(self, done: float) -> float:
        """Its value when a share ``done`` of the run is over."""
        value = falling(self.start, self.end, self.share, done)
        return max(value, LEAST)


def falling(start: float, end: float, share: float, done: float) -> float:
    """From start to end over a share of the run, linearly; done: the share that is over."""
    return end if done >= share else start + (end - start) * done / share
