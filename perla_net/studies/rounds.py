"""How soon a run is good: the first round whose training episodes earn a given share of the optimum.

The optimum is what the reference controller ``optimal`` got in the evaluation at the end of the run (``evaluation.json``), on its
held-out episodes. The figure is by default ``payoff``, which the tasks of ``games:`` tell per agent and step and without noise: there
what the controller got is the exact optimum, whatever the horizon and the number of agents. ``return`` is the team's, summed over agents
and steps: with noise in the payoffs both sides have it, too.
"""

from __future__ import annotations

from pathlib import Path

from ..ground.errors import InputError
from ..records.run_folder import Curve, Run, open_run


def rounds_to(curve: Curve, threshold: float) -> int | None:
    """The first round of a run's curve whose value is at or above the threshold, None if there is none. What comes later may
    be below it again; rounds in which no episode ended count as not there."""
    for number, value in zip(curve.rounds, curve.values):
        if value >= threshold:  # not where it is NaN
            return int(number)
    return None


def threshold_of(run: Run, share: float, metric: str, controller: str = "optimal", floor: str = "") -> float:
    """The figure that is ``share`` of the way to what the controller got: from 0, or from what the controller ``floor`` got.

    Where the optimum is not above 0, as in ``games:targets``, a share of it says nothing, and ``floor`` is needed; say
    ``floor="uniform"``. Raises InputError where a controller was not evaluated, or the way to the optimum does not lead up.
    """
    low, high = _evaluated(run, floor, metric) if floor else 0.0, _evaluated(run, controller, metric)
    if not high > low:
        raise InputError(
            f"{run.folder}: {metric} of '{controller}' is {high:g}, not above {low:g}, "
            + (f"that of '{floor}'" if floor else "so that a share of it says nothing; name a controller as floor")
        )
    return low + share * (high - low)


def rounds_to_share(
    folder: Path, share: float = 0.9, metric: str = "payoff", controller: str = "optimal", floor: str = ""
) -> int | None:
    """:func:`rounds_to` for the run in a folder, with :func:`threshold_of` as the threshold. Raises InputError."""
    run = open_run(folder, metric)
    return rounds_to(run.training, threshold_of(run, share, metric, controller, floor))


def _evaluated(run: Run, controller: str, metric: str) -> float:
    """The mean of a figure that a controller got. Raises InputError."""
    if controller not in run.finals:
        there = ", ".join(run.finals) or "no evaluation at its end"
        raise InputError(f"{run.folder}: has no evaluation of '{controller}'; it has {there}")
    figures = run.finals[controller]
    if metric not in figures:
        raise InputError(f"{run.folder}: '{controller}' has no figure '{metric}'; it has {', '.join(figures)}")
    return figures[metric]["mean"]
