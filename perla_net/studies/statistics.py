"""Statistics of few runs: interquartile mean, probability of improvement, performance profiles, stratified bootstrap.

After Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice" (2021, arXiv 2108.13264), whose
library rliable is no longer maintained, and Gorsane et al. (2022, arXiv 2209.10485), who carry it over to teams of agents.

Scores are arrays [runs, tasks]: one figure per run, higher is better, on one scale in all tasks (``docs/studies.md``). Every
statistic takes arrays [..., runs, tasks] as well and returns [...], so that all resamples go through it at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Iterator, Sequence

import numpy as np

from ..ground.errors import InputError

ELEMENTS = 2**22
"""Resampled scores that are held at once."""


@dataclass(frozen=True)
class Interval:
    """A statistic and its interval: numbers, or arrays of one shape for a statistic of several numbers."""

    value: Any
    low: Any
    high: Any


@dataclass(frozen=True)
class PairedDifference:
    """Mean difference of runs with equal seeds, with two intervals: Student's t over seeds, and stratified bootstrap."""

    value: float
    student: Interval
    bootstrap: Interval


def mean(scores: np.ndarray) -> Any:
    """Mean over tasks of the mean over runs; [..., runs, tasks] → [...]."""
    return _plain(_checked(scores).mean((-2, -1)))


def median(scores: np.ndarray) -> Any:
    """Median over tasks of the mean over runs; [..., runs, tasks] → [...]."""
    return _plain(np.median(_checked(scores).mean(-2), -1))


def interquartile_mean(scores: np.ndarray) -> Any:
    """Mean of the middle half of all runs and tasks pooled (Agarwal et al., section 4.3); [..., runs, tasks] → [...].

    The 25 % trimmed mean: of n sorted scores ⌊n/4⌋ are cut off at both ends, as ``scipy.stats.trim_mean`` does it.
    """
    scores = _checked(scores)
    pooled = np.sort(scores.reshape(*scores.shape[:-2], -1), -1)
    cut = pooled.shape[-1] // 4
    return _plain(pooled[..., cut : pooled.shape[-1] - cut].mean(-1))


def optimality_gap(scores: np.ndarray, target: float = 1.0) -> Any:
    """By how much the runs miss a target: target − mean(min(score, target)) (Agarwal et al., section 4.3); lower is better."""
    return _plain(target - np.minimum(_checked(scores), target).mean((-2, -1)))


def probability_of_improvement(x: np.ndarray, y: np.ndarray) -> Any:
    """P(X > Y): how probably a run of x beats one of y on a task, averaged over tasks (Agarwal et al., section 4.3).

    x: [..., runs of x, tasks], y: [..., runs of y, tasks] → [...]. Per task U / (n_x n_y), U the Mann-Whitney statistic:
    the pairs (x_r, y_s) with x_r > y_s, and half of those with x_r = y_s. 1/2 where neither is better.
    """
    x, y = _checked(x), _checked(y)
    if x.shape[-1] != y.shape[-1]:
        raise InputError(
            f"probability of improvement: {x.shape[-1]} tasks against {y.shape[-1]}; both need the same ones"
        )
    x, y = x[..., :, None, :], y[..., None, :, :]  # every run with every run: [..., n_x, n_y, tasks]
    better, equal = ((those.sum((-3, -2))) for those in (x > y, x == y))
    return _plain(((better + equal / 2) / (x.shape[-3] * y.shape[-2])).mean(-1))


def performance_profile(scores: np.ndarray, taus: Sequence[float]) -> np.ndarray:
    """Share of all runs and tasks whose score is above each τ (Agarwal et al., section 4.2); [..., runs, tasks] → [..., taus]."""
    scores = _checked(scores)
    return (scores[..., None, :, :] > np.asarray(taus, float)[:, None, None]).mean((-2, -1))


def resample(rng: np.random.Generator, *shapes: tuple[int, int], repetitions: int = 1) -> tuple[np.ndarray, ...]:
    """Indices of a stratified bootstrap: for each shape (runs, tasks) an array [repetitions, runs, tasks] of numbers of runs.

    Runs are drawn with replacement within each task, independently of other tasks and of the other arrays (Agarwal et al.,
    section 4.1).
    """
    return tuple(rng.integers(0, runs, (repetitions, runs, tasks)) for runs, tasks in shapes)


def bootstrap_interval(
    statistic: Callable[..., Any],
    *scores: np.ndarray,
    repetitions: int = 50_000,
    confidence: float = 0.95,
    seed: int = 0,
    indices: Sequence[np.ndarray] | None = None,
) -> Interval:
    """A statistic with its percentile interval from a stratified bootstrap (Agarwal et al., section 4.1; Efron 1979).

    statistic: takes as many arrays [..., runs, tasks] as there are ``scores`` and returns [...] or [..., numbers].
    indices: resamples of one's own in place of those that ``seed`` draws, shaped as by :func:`resample`.
    The interval is that of resampled runs on the same tasks: what the experiment would have given with other seeds. With few
    runs it is too narrow (five of five equal seeds collapse it); it says nothing of other tasks. Raises InputError.
    """
    arrays = [_checked(array) for array in scores]
    if any(array.ndim != 2 for array in arrays):
        raise InputError(
            f"scores: must be [runs, tasks], not of shape {', '.join(str(array.shape) for array in arrays)}"
        )
    if not 0 < confidence < 1:
        raise InputError(f"confidence {confidence}: must lie between 0 and 1")
    if repetitions < 1:
        raise InputError(f"repetitions {repetitions}: must be at least 1")
    found = [np.asarray(statistic(*drawn)) for drawn in _resamples(arrays, repetitions, seed, indices)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(found), [tail, 1 - tail], axis=0)
    return Interval(statistic(*arrays), _plain(low), _plain(high))


def _resamples(
    arrays: Sequence[np.ndarray], repetitions: int, seed: int, indices: Sequence[np.ndarray] | None
) -> Iterator[list[np.ndarray]]:
    """Resampled arrays [some repetitions, runs, tasks], few enough at a time to fit into memory."""
    rng = np.random.default_rng(seed)
    shapes = [array.shape for array in arrays]
    # A statistic of two arrays compares every run with every run.
    size = int(np.prod([shape[0] for shape in shapes])) * shapes[0][1]
    step = max(1, ELEMENTS // size)
    if indices is not None:
        repetitions = len(indices[0])
    for first in range(0, repetitions, step):
        some = min(step, repetitions - first)
        drawn = (
            resample(rng, *shapes, repetitions=some)
            if indices is None
            else [those[first : first + some] for those in indices]
        )
        yield [array[rows, np.arange(array.shape[1])] for array, rows in zip(arrays, drawn)]


def paired_difference(x: np.ndarray, y: np.ndarray, repetitions: int = 50_000, seed: int = 0) -> PairedDifference:
    """Mean of x − y over runs with equal seeds, x and y [runs, tasks] with row r of both from the same seed (or [runs]).

    Equal seeds share the environment's draws and the evaluation episodes, whose variance then cancels. Student's interval: each
    seed's difference averaged over tasks is one observation, d̄ ± t₀.₉₇₅(n−1) s/√n. Bootstrap: seeds resampled within each
    task. One run has no interval: low = high = value. Raises InputError where x and y are not of one shape.
    """
    from ..records.display import interval

    x, y = (np.asarray(array, float) for array in (x, y))
    if x.shape != y.shape or not x.size:
        raise InputError(
            f"paired difference: runs and tasks {x.shape} against {y.shape}; both need the same seeds and tasks"
        )
    difference = _checked((x - y).reshape(len(x), -1))
    student = interval(difference.mean(1).tolist())
    return PairedDifference(
        mean(difference),
        Interval(student["mean"], student["low"], student["high"]),
        bootstrap_interval(mean, difference, repetitions=repetitions, seed=seed),
    )


def sample_efficiency(curves: np.ndarray, repetitions: int = 2_000, seed: int = 0) -> Interval:
    """Interquartile mean at every point of training: curves [runs, tasks, points] → arrays [points].

    The interval is pointwise; a resample takes whole curves, since the points of a run belong together.
    """
    curves = np.asarray(curves, float)
    if curves.ndim != 3:
        raise InputError(f"sample efficiency: curves are [runs, tasks, points], not of shape {curves.shape}")
    runs, tasks, points = curves.shape
    _checked(curves.reshape(runs, -1))
    rng = np.random.default_rng(seed)
    found, step = [], max(1, ELEMENTS // curves.size)
    for first in range(0, repetitions, step):
        (rows,) = resample(rng, (runs, tasks), repetitions=min(step, repetitions - first))
        drawn = curves[rows, np.arange(tasks)]  # [repetitions, runs, tasks, points]
        found.append(interquartile_mean(np.moveaxis(drawn, -1, 1)))
    low, high = np.quantile(np.concatenate(found), [0.025, 0.975], axis=0)
    return Interval(interquartile_mean(np.moveaxis(curves, -1, 0)), low, high)


def _checked(scores: Any) -> np.ndarray:
    """Scores as a float array [..., runs, tasks]. Raises InputError where there is nothing, or nothing finite, to summarise."""
    scores = np.asarray(scores, float)
    if scores.ndim < 2 or not scores.size:
        raise InputError(
            f"scores: must be an array [runs, tasks] with at least one of each, not of shape {scores.shape}"
        )
    if not np.isfinite(scores).all():
        raise InputError("scores: must be finite; leave out, and report, the runs that failed")
    return scores


def _plain(array: Any) -> Any:
    """A Python number where there is but one."""
    return float(array) if np.ndim(array) == 0 else array
