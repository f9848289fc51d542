"""Runs that differ only in their seed, as one group with a name; averages over them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Callable, Sequence

import numpy as np

from ..records.run_folder import Curve, Run

WITHOUT_EFFECT = {
    *("seed", "out", "resume", "hosts", "stall_timeout", "display", "checkpoint_every", "keep_checkpoints"),
    *("tensorboard", "wandb"),
}
"""Options that do not tell settings apart: the seed, and those that change no number."""
TASK = ("env", "task")
"""Settings that name the task, which is not part of a group's name."""
LONGEST_NAME = 60
POINTS = 500
"""Points of a curve that are shown at most."""


@dataclass(frozen=True)
class Group:
    """Runs of one task with equal settings; ``settings`` are those that differ between groups, by short name."""

    name: str
    task: str
    settings: dict[str, Any]
    runs: tuple[Run, ...]

    @property
    def complete(self) -> list[Run]:
        """The runs that are done: only these are averaged."""
        return [run for run in self.runs if run.done]

    @property
    def seeds(self) -> list[int]:
        """Seeds of the complete runs."""
        return [run.seed for run in self.complete]


def group(runs: Sequence[Run]) -> list[Group]:
    """Groups in the order in which they first occur, runs by seed. Runs with equal settings and seed are in different groups.

    Groups of different tasks have the same name where their settings are the same, and only there.
    """
    own = [{name: value for name, value in run.settings.items() if name not in WITHOUT_EFFECT} for run in runs]
    # What differs between tasks only, as their number of agents may, belongs to the task.
    members = {task: [one for run, one in zip(runs, own) if run.task == task] for task in {run.task for run in runs}}
    differing = {name for settings in members.values() for name in different(settings)}
    names = [name for name in different(own) if name in differing and name not in TASK]
    short = _short(names)
    places: dict[tuple[str, str, int], list[int]] = {}
    seen: dict[tuple[str, str, int], int] = {}
    for index, (run, settings) in enumerate(zip(runs, own)):
        key = json.dumps([settings.get(name) for name in names], default=str)
        twins = seen.get((run.task, key, run.seed), 0)
        seen[run.task, key, run.seed] = twins + 1
        places.setdefault((run.task, key, twins), []).append(index)
    groups: list[Group] = []
    alike: dict[str, list[tuple[str, int]]] = {}
    for (task, key, twins), members in places.items():
        settings = {short[name]: own[members[0]].get(name) for name in names}
        name = _name(settings, runs[members[0]]) + (f" ({runs[members[0]].label})" if twins else "")
        name = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
        called = alike.setdefault(name, [])  # names that are cut off, or of overrides, need not be distinct
        if (key, twins) not in called:
            called.append((key, twins))
        if called.index((key, twins)):
            name += f" #{called.index((key, twins)) + 1}"
        ordered = sorted((runs[index] for index in members), key=lambda run: run.seed)
        groups.append(Group(name, task, settings, tuple(ordered)))
    return groups


def different(settings: Sequence[dict[str, Any]]) -> list[str]:
    """Names whose values are not the same in all, in the order of their first occurrence."""
    names = list(dict.fromkeys(name for one in settings for name in one))
    return [name for name in names if len({json.dumps(one.get(name), default=str) for one in settings}) > 1]


def _short(names: Sequence[str]) -> dict[str, str]:
    """Dotted names → their last part, where that is unmistakable."""
    last = [name.rpartition(".")[2] for name in names]
    return {name: end if last.count(end) == 1 else name for name, end in zip(names, last)}


def _name(settings: dict[str, Any], run: Run) -> str:
    if not settings:
        settings = {name: run.options[name] for name in ("topology", "algorithm") if name in run.options}
    return " · ".join(filter(None, (part(name, value) for name, value in settings.items()))) or run.label


def part(name: str, value: Any) -> str:
    """A setting within a group's name; of settings by agent only whose they are."""
    if isinstance(value, dict):
        return f"{name} {', '.join(map(str, value))}" if value else ""
    return value if isinstance(value, str) else f"{name} {shown(value)}"


def number_text(value: float) -> str:
    """A number for people: four digits, large ones without an exponent."""
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.4g}"


def shown(value: Any) -> str:
    """An option's value as text."""
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)


@dataclass(frozen=True)
class Estimate:
    """An average over runs with its 95 % interval, numbers or arrays; ``low`` and ``high`` are None for a single run."""

    value: Any
    low: Any = None
    high: Any = None


Average = Callable[[np.ndarray], Estimate]


def mean(values: np.ndarray) -> Estimate:
    """Mean over runs, and its interval by Student's t: x̄ ± t₀.₉₇₅(n−1) s/√n. values [runs, …]."""
    from scipy.special import stdtrit

    middle, number = values.mean(0), len(values)
    if number < 2:
        return Estimate(middle)
    half = float(stdtrit(number - 1, 0.975)) * values.std(0, ddof=1) / np.sqrt(number)
    return Estimate(middle, middle - half, middle + half)


def interquartile(values: np.ndarray) -> Estimate:
    """Interquartile mean over runs with its bootstrap interval, ``statistics.sample_efficiency`` of one task. values [runs, …]."""
    from ..studies.statistics import sample_efficiency

    curves = values.reshape(len(values), 1, -1)
    found = sample_efficiency(curves)
    parts = [np.reshape(part, values.shape[1:]) for part in (found.value, found.low, found.high)]
    return Estimate(*parts) if len(values) > 1 else Estimate(parts[0])


AVERAGES: dict[str, tuple[Average, str]] = {
    "mean": (mean, "mean over seeds, 95 % Student-t interval"),
    "iqm": (interquartile, "interquartile mean over seeds, 95 % bootstrap interval"),
}


def average_curve(curves: Sequence[Curve], average: Average) -> tuple[Curve, Estimate] | None:
    """The average over runs at the points that all of them have, at most :data:`POINTS`; None where there are none.

    env_steps and bytes of the answer are means over the runs.
    """
    if not curves:
        return None
    rounds = curves[0].rounds
    for curve in curves:
        rounds = np.intersect1d(rounds, curve.rounds[np.isfinite(curve.values)])
    if not len(rounds):
        return None
    rounds = rounds[thinned(len(rounds))]
    at = [np.searchsorted(curve.rounds, rounds) for curve in curves]
    columns = {
        name: np.array([getattr(curve, name)[where] for curve, where in zip(curves, at)])
        for name in ("env_steps", "bytes", "values")
    }
    estimate = average(columns["values"])
    return Curve(rounds, columns["env_steps"].mean(0), columns["bytes"].mean(0), np.asarray(estimate.value)), estimate


def thinned(number: int, most: int = POINTS) -> np.ndarray:
    """Indices of at most ``most`` evenly spaced entries, first and last included."""
    return np.unique(np.linspace(0, number - 1, min(number, most)).round().astype(int))
