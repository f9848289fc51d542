"""In which order an actor-critic's policy and critic learn (``--critic.order``).

:func:`learn` reads top to bottom. ``together``: values of every observation (embedded if there are neighbours to average out), returns and
advantages, then minibatches for policy and critic (``trainer.py``). ``first``: the critic is fitted before anything is judged by it. ``folds``:
what was done in one half of the copies is judged by a critic that was fitted on the other half.
"""

from __future__ import annotations

from typing import Any, Callable, Generator, Sequence

import numpy as np
import torch

from .critic import Values
from .lesson import Lesson
from .protocol import Say
from .trainer import MEASURED, Batch, Trainer

STATISTICS = (*MEASURED, "explained_variance", "critic_out_of_sample", "coefficient", "samples_per_parameter")
"""What :func:`learn` reports: what the trainer measures; 1 − Var(G − V)/Var(G); the same of what the critic is fitted to, by a critic that was not
fitted to it; weight of the control variate; samples that it was fitted on over its parameters."""


Judge = Callable[[Lesson, torch.Tensor], Generator[Say, Any, torch.Tensor]]
"""(lesson, advantages [T·B] by its own critic) → those that its policy follows; may say something."""


def learn(
    lessons: Sequence[Lesson], trainer: Trainer, progress: float, judge: Judge | None = None
) -> Generator[Say, np.ndarray, np.ndarray]:
    """Let agents of equal settings learn from one rollout each, one agent or several side by side; returns [agents, STATISTICS].

    A generator: under parameter sharing it says a vector at each place where agents must agree (moments of the targets, gradients, what a fit in
    closed form needs) and expects the mean over the group to be sent back; a private agent says nothing. progress: share of the run that is done.
    """
    fitted = yield from look(lessons, trainer, progress)
    batches = []
    for lesson in lessons:
        returns = lesson.returns()
        advantage = lesson.advantage(returns)
        if judge:
            advantage = yield from judge(lesson, advantage)
        advantage = lesson.normalised(advantage, lesson.alive)
        if fitted is None:
            yield from lesson.follow(returns)
        batches.append(lesson.batch(advantage, returns, fitted is None))
    return (yield from improve(lessons, batches, trainer, progress, fitted))


def look(lessons: Sequence[Lesson], trainer: Trainer, progress: float) -> Generator[Say, np.ndarray, np.ndarray | None]:
    """What critics say of the rollouts, once they have been fitted if they are to be before; returns what the fit left, [agents, 2], or None
    where critics are to learn with the policy."""
    learners = [lesson.learner for lesson in lessons]
    order = learners[0].order
    if order == "folds" and lessons[0].copies < 2:
        order = "first"
    fitted = None
    if learners[0].splits:
        yield from _fit_rest(lessons, order)
    elif order == "together":
        for lesson in lessons:
            lesson.look()
            lesson.measure()
            lesson.judge(lesson.returns())
    else:
        fitted = yield from (_in_folds if order == "folds" else _first)(lessons, trainer, progress)
    return fitted


def improve(
    lessons: Sequence[Lesson],
    batches: Sequence[Batch],
    trainer: Trainer,
    progress: float,
    fitted: np.ndarray | None,
) -> Generator[Say, np.ndarray, np.ndarray]:
    """Epochs of minibatches for policies, and for critics where :func:`look` has not ``fitted`` them; returns [agents, STATISTICS]."""
    learners = [lesson.learner for lesson in lessons]
    measured = yield from trainer.run(batches, [one.batch_rng for one in learners], progress, fitted is None)
    measured = np.atleast_2d(measured)
    if fitted is not None:
        measured[:, [MEASURED.index("value_loss"), MEASURED.index("critic_gradient")]] = fitted
    return np.concatenate([measured, np.array([one.judged for one in learners])], 1)


Fitted = Generator[Say, np.ndarray, np.ndarray]
"""Ends with the loss and the gradient norm of the last fit, [agents, 2]."""


def _first(lessons: Sequence[Lesson], trainer: Trainer, progress: float) -> Fitted:
    """Fit the critics on this round and those of the window, then look."""
    for lesson in lessons:
        lesson.look()
        lesson.measure()
        target = lesson.fitted_to()
        lesson.judge(target)
        yield from lesson.follow(target)
    fitted = yield from _iterated(lessons, trainer, progress, [None] * len(lessons))
    for lesson in lessons:
        lesson.look()
    return fitted


def _in_folds(lessons: Sequence[Lesson], trainer: Trainer, progress: float) -> Fitted:
    """Judge each half of the copies by critics fitted on the other half, and on the rounds of the window; keep critics fitted on all.

    Nothing that judges a half has seen it: no sample judges itself, so that E[D | o, a] = 0 holds exactly for the control variate. (Cross-fitting:
    Chernozhukov et al. 2018, arXiv 1608.00060.)
    """
    for lesson in lessons:
        lesson.look()
        lesson.measure()
    before = [_Kept(lesson, trainer) for lesson in lessons]
    seen: list[list[Values]] = []
    for first in (True, False):
        others = [lesson.of_copies(not first) for lesson in lessons]
        for lesson, among in zip(lessons, others):
            yield from lesson.follow(lesson.fitted_to(), among)
        yield from _iterated(lessons, trainer, progress, others)
        seen.append([lesson.look() for lesson in lessons])
        for kept in before:
            kept.restore()
    for lesson in lessons:
        yield from lesson.follow(lesson.fitted_to())
    fitted = yield from _iterated(lessons, trainer, progress, [None] * len(lessons))
    for lesson, one, other in zip(lessons, *seen):
        lesson.join(one, other)
        lesson.judge(lesson.fitted_to())
    return fitted


def _fit_rest(lessons: Sequence[Lesson], order: str) -> Generator[Say, np.ndarray, None]:
    """Fit R in closed form to what V leaves: to what is paid and what follows beyond V, which has seen none of this round and learns from it with
    the policy, as the base algorithm's critic. Under ``folds`` a half's R then depends on nothing of that half."""
    for lesson in lessons:
        lesson.look()
        lesson.measure()
    lefts = [lesson.rest_left() for lesson in lessons]
    if order == "folds":
        seen: list[list[Values]] = []
        for first in (True, False):
            yield from _solve_rest(lessons, [lesson.of_copies(not first) for lesson in lessons])
            seen.append([lesson.look() for lesson in lessons])
        for lesson, left, one, other in zip(lessons, lefts, *seen):
            lesson.join(one, other)
            lesson.judge(left)
    else:
        for lesson, left in zip(lessons, lefts):
            lesson.judge(left)
        yield from _solve_rest(lessons, [None] * len(lessons))
        for lesson in lessons:
            lesson.look()
    for lesson in lessons:
        lesson.learner.window.push(lesson.rest_rows())


def _solve_rest(lessons: Sequence[Lesson], among: Sequence[torch.Tensor | None]) -> Generator[Say, np.ndarray, None]:
    """Of all rounds in the window what the V of *now* leaves: V moves from round to round, and R would have to follow it."""
    for lesson, chosen in zip(lessons, among):
        learner = lesson.learner
        assert learner.rest is not None
        rows = learner.window.with_rows(lesson.rest_rows(chosen))
        yield from learner.solve(learner.rest, rows | {"target": learner.left_by_values(rows)})


def _iterated(
    lessons: Sequence[Lesson], trainer: Trainer, progress: float, among: Sequence[torch.Tensor | None]
) -> Fitted:
    """Fit, let the fitted critics give new targets, and fit again; ``among``: the steps that are fitted on, of each lesson (None: all)."""
    learners = [lesson.learner for lesson in lessons]
    options = learners[0].settings.critic
    for number in range(options.iterations):
        rows = []
        for lesson, chosen in zip(lessons, among):
            if number:
                lesson.look()
            rows.append(lesson.learner.window.with_rows(lesson.rows(lesson.fitted_to(), chosen)))
        if options.fit == "ridge":
            left = []
            for learner, mine in zip(learners, rows):
                left.append([(yield from learner.solve(learner.critic, mine)), 0.0])
            fitted = np.array(left)
        else:
            rngs = [learner.fit_rng for learner in learners]
            fitted = yield from trainer.fit(rows, [learner.units for learner in learners], rngs, progress)
    if among[0] is None:
        for lesson in lessons:
            lesson.learner.window.push(lesson.rows(lesson.fitted_to()))
    return np.atleast_2d(fitted)


class _Kept:
    """A critic as it was, to go back to."""

    def __init__(self, lesson: Lesson, trainer: Trainer) -> None:
        learner, self.optimiser = lesson.learner, trainer.optimisers[1]
        self.lesson, self.learner, self.values = lesson, learner, lesson.values
        own = learner.optimisers[1]
        self.tensors = learner.critic.flat, own.first, own.second
        self.arrays = learner.moments, learner.units
        self.steps = self.optimiser.steps
        self.were = [tensor.clone() for tensor in self.tensors], [array.copy() for array in self.arrays]

    def restore(self) -> None:
        for tensor, was in zip(self.tensors, self.were[0]):
            tensor.copy_(was)
        self.learner.moments[:], self.learner.units[:] = self.were[1]
        self.optimiser.steps = self.steps
        self.lesson.values = self.values
