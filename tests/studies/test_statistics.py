"""Statistics of few runs: the numbers of rliable on a fixed data set, identities, and refusals."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from perla_net.ground.errors import InputError
from perla_net.studies import statistics
from perla_net.studies.statistics import (
    bootstrap_interval,
    interquartile_mean,
    mean,
    median,
    optimality_gap,
    paired_difference,
    performance_profile,
    probability_of_improvement,
    resample,
    sample_efficiency,
)

RLIABLE = json.loads((Path(__file__).parents[1] / "data" / "rliable.json").read_text())
SCORES = {name: np.array(rows) for name, rows in RLIABLE["scores"].items()}
AGGREGATES = {f.__name__: f for f in (mean, median, interquartile_mean, optimality_gap)}
EXACT = {"rtol": 0, "atol": 1e-6}


def rliable_indices(*shapes: tuple[int, int]) -> list[np.ndarray]:
    """The resamples that rliable drew: numpy's legacy generator, one array of indices after the other in each repetition."""
    rng = np.random.RandomState(RLIABLE["seed"])
    drawn = [[rng.choice(shape[0], shape) for shape in shapes] for _ in range(RLIABLE["repetitions"])]
    return [np.array(those) for those in zip(*drawn)]


def triple(found: statistics.Interval) -> list:
    return [found.value, found.low, found.high]


@pytest.mark.parametrize("method", SCORES)
@pytest.mark.parametrize("name", AGGREGATES)
def test_aggregates_and_their_intervals_are_those_of_rliable(name, method):
    scores = SCORES[method]
    found = bootstrap_interval(AGGREGATES[name], scores, indices=rliable_indices(scores.shape))
    np.testing.assert_allclose(triple(found), RLIABLE["found"][name][method], **EXACT)


def test_probability_of_improvement_and_its_interval_are_those_of_rliable():
    x, y = SCORES["x"], SCORES["y"]
    indices = rliable_indices(x.shape, y.shape)
    found = bootstrap_interval(probability_of_improvement, x, y, indices=indices)
    np.testing.assert_allclose(triple(found), RLIABLE["found"]["probability_of_improvement"], **EXACT)


def test_performance_profile_and_its_interval_are_those_of_rliable():
    x, taus = SCORES["x"], RLIABLE["taus"]
    found = bootstrap_interval(partial(performance_profile, taus=taus), x, indices=rliable_indices(x.shape))
    np.testing.assert_allclose(triple(found), RLIABLE["found"]["performance_profile"], **EXACT)


def test_sample_efficiency_is_the_interquartile_mean_of_rliable_at_every_point():
    found = sample_efficiency(np.array(RLIABLE["curves"]), repetitions=500)
    np.testing.assert_allclose(found.value, RLIABLE["found"]["sample_efficiency"], **EXACT)
    assert (found.low < found.value).all() and (found.value < found.high).all()


def test_the_stored_numbers_are_those_that_rliable_gives_here():
    """Only where somebody has installed it; the stored ones stand for it elsewhere."""
    library, metrics = pytest.importorskip("rliable.library"), pytest.importorskip("rliable.metrics")
    for method, scores in SCORES.items():
        np.random.seed(RLIABLE["seed"])
        value, interval = library.get_interval_estimates(
            {method: scores}, lambda those: np.array([metrics.aggregate_iqm(those)]), reps=RLIABLE["repetitions"]
        )
        here = [value[method][0], *interval[method][:, 0]]
        np.testing.assert_allclose(here, RLIABLE["found"]["interquartile_mean"][method], **EXACT)


def test_interquartile_mean_is_scipys_trimmed_mean_for_every_number_of_scores():
    rng = np.random.default_rng(0)
    for runs in range(1, 13):
        for tasks in (1, 3):
            scores = rng.normal(size=(runs, tasks))
            expected = scipy.stats.trim_mean(scores, 0.25, axis=None)
            assert interquartile_mean(scores) == pytest.approx(expected, rel=1e-12)


def test_intervals_are_those_of_scipys_bootstrap():
    """Another implementation with draws of its own, so equal up to the noise of 50 000 resamples."""
    scores = np.random.default_rng(1).normal(size=(8, 1))
    found = bootstrap_interval(mean, scores)
    other = scipy.stats.bootstrap(
        (scores[:, 0],), np.mean, n_resamples=50_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert [found.low, found.high] == pytest.approx([other.low, other.high], abs=0.02)
    assert found.high - found.low > 0.5


def test_probability_of_improvement_counts_ties_as_half_and_adds_up_to_one():
    x, y = SCORES["x"], SCORES["y"]
    assert probability_of_improvement(x, y) + probability_of_improvement(y, x) == pytest.approx(1, abs=1e-15)
    assert probability_of_improvement(x, x) == 0.5
    assert probability_of_improvement([[1], [2]], [[2]]) == 0.25
    assert probability_of_improvement([[3.0, 0.0]], [[2.0, 1.0]]) == 0.5
    assert probability_of_improvement(x + 100, y) == 1
    by_pairs = np.mean(
        [[(a > b) + (a == b) / 2 for a in x[:, task] for b in y[:, task]] for task in range(3)]
    )  # the definition, pair by pair
    assert probability_of_improvement(x, y) == pytest.approx(by_pairs, abs=1e-15)


def test_all_statistics_take_many_arrays_at_once():
    x, y = (np.random.default_rng(seed).normal(size=(4, runs, 3)) for seed, runs in ((0, 5), (1, 6)))
    for statistic in AGGREGATES.values():
        assert np.array_equal(statistic(x), [statistic(one) for one in x])
    assert np.array_equal(probability_of_improvement(x, y), [probability_of_improvement(*pair) for pair in zip(x, y)])
    profiles = performance_profile(x, [0, 1])
    assert np.array_equal(profiles, [performance_profile(one, [0, 1]) for one in x]) and profiles.shape == (4, 2)


def test_resamples_stay_within_their_task():
    """Task m holds the scores m, m + 0.1, …: a resample across tasks would change the whole part."""
    scores = np.arange(3) + np.arange(4)[:, None] / 10
    seen = []

    def look(drawn: np.ndarray) -> np.ndarray:
        if drawn.ndim == 3:
            seen.append(drawn)
        return drawn.mean((-2, -1))

    bootstrap_interval(look, scores, repetitions=200)
    drawn = np.concatenate(seen)
    assert drawn.shape == (200, 4, 3) and (np.floor(drawn) == np.arange(3)).all()
    # and tasks are drawn independently of one another
    parts = np.round((drawn - np.arange(3)) * 10)
    assert (parts[..., 0] != parts[..., 1]).any() and len(np.unique(parts)) == 4


def test_a_draw_is_decided_by_its_seed_and_does_not_depend_on_how_many_fit_into_memory(monkeypatch):
    one = bootstrap_interval(interquartile_mean, SCORES["x"], repetitions=3000, seed=3)
    monkeypatch.setattr(statistics, "ELEMENTS", 100 * SCORES["x"].size)
    assert bootstrap_interval(interquartile_mean, SCORES["x"], repetitions=3000, seed=3) == one
    assert bootstrap_interval(interquartile_mean, SCORES["x"], repetitions=3000, seed=4) != one
    first, second = resample(np.random.default_rng(0), (5, 3), (7, 3), repetitions=50)
    assert first.shape == (50, 5, 3) and second.shape == (50, 7, 3) and first.max() == 4 and second.max() == 6


def test_wider_confidence_is_a_wider_interval_and_equal_scores_have_none():
    narrow, wide = (bootstrap_interval(mean, SCORES["x"], repetitions=4000, confidence=c) for c in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high
    assert triple(bootstrap_interval(mean, np.full((4, 2), 3.0), repetitions=10)) == [3, 3, 3]


def test_fifty_thousand_resamples_take_about_a_second():
    """On a busy machine too: it takes a tenth of that on an idle core."""
    began = time.process_time()
    bootstrap_interval(interquartile_mean, SCORES["x"])
    assert time.process_time() - began < 2


def test_paired_differences_cancel_what_equal_seeds_share():
    rng = np.random.default_rng(0)
    luck = rng.normal(0, 10, (6, 2))  # of a seed and a task, the same for both methods
    gain = rng.normal(1, 0.1, (6, 2))
    found = paired_difference(luck + gain, luck, repetitions=2000)
    expected = scipy.stats.ttest_1samp(gain.mean(1), 0).confidence_interval(0.95)
    assert found.value == pytest.approx(gain.mean(), rel=1e-12)
    assert [found.student.low, found.student.high] == pytest.approx([expected.low, expected.high], rel=1e-9)
    only_gain = bootstrap_interval(mean, gain, repetitions=2000)
    assert triple(found.bootstrap) == pytest.approx(triple(only_gain), rel=1e-9)
    assert 0.8 < found.bootstrap.low < found.bootstrap.high < 1.2  # though luck is a hundred times as large
    back = paired_difference(luck, luck + gain, repetitions=2000)
    assert [back.value, back.student.low] == pytest.approx([-found.value, -found.student.high], rel=1e-12)
    assert paired_difference(luck[:, 0] + 1, luck[:, 0], 100).value == pytest.approx(1)


def test_curves_are_resampled_whole():
    """Runs that are parallel lines: every resample is a parallel line, so the interval is as wide at every point."""
    curves = np.arange(5.0)[:, None, None] + np.array([0.0, 10.0, 30.0])
    found = sample_efficiency(curves)
    np.testing.assert_allclose(found.value, [2, 12, 32])
    np.testing.assert_allclose(found.high - found.low, (found.high - found.low)[0])


@pytest.mark.parametrize(
    "call,words",
    [
        (lambda: mean([1.0, 2.0]), "[runs, tasks]"),
        (lambda: mean(np.zeros((0, 3))), "(0, 3)"),
        (lambda: interquartile_mean([[1.0], [np.nan]]), "finite"),
        (lambda: bootstrap_interval(mean, [[np.inf]]), "finite"),
        (lambda: bootstrap_interval(mean, [[1.0]], confidence=95), "95"),
        (lambda: bootstrap_interval(mean, [[1.0]], repetitions=0), "repetitions 0"),
        (lambda: probability_of_improvement([[1.0]], [[1.0, 2.0]]), "1 tasks against 2"),
        (lambda: paired_difference([[1.0], [2.0]], [[1.0]]), "(2, 1) against (1, 1)"),
        (lambda: paired_difference([], []), "(0,) against (0,)"),
        (lambda: bootstrap_interval(mean, np.zeros((2, 3, 4))), "(2, 3, 4)"),
        (lambda: sample_efficiency([[1.0]]), "points"),
    ],
)
def test_what_cannot_be_summarised_is_refused(call, words):
    with pytest.raises(InputError) as caught:
        call()
    assert words in str(caught.value)
