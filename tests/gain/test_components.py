"""The estimators against sums over all joint actions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from perla_net.gain.prediction import influence, predicted
from perla_net.gain.variance import Components, components

SIZES = (2, 3, 2)


def exact(table, policies, chance):
    """Components of payoffs ``table`` [*sizes, N] under independent ``policies``, with ``chance`` [*sizes, N]: variance of what comes after."""
    number = table.shape[-1]
    probability = np.ones(())
    for policy in policies:
        probability = np.multiply.outer(probability, policy)

    def variance_of_means(kept):
        """Var of E[f | actions of ``kept``], [N]."""
        axes = tuple(axis for axis in range(number) if axis not in kept)
        weight = probability.sum(axes)
        mean = (table * probability[..., None]).sum(axes) / weight[..., None]
        flat, weights = mean.reshape(-1, number), weight.ravel()
        centre = (flat * weights[:, None]).sum(0)
        return ((flat - centre) ** 2 * weights[:, None]).sum(0)

    everyone = tuple(range(number))
    whole = variance_of_means(everyone)
    own = np.array([variance_of_means((agent,))[agent] for agent in everyone])
    total = np.stack([whole - variance_of_means(tuple(set(everyone) - {agent})) for agent in everyone], 1)
    later = (chance * probability[..., None]).reshape(-1, number).sum(0)
    return Components(own, whole - own, later, total)


def sampled(table, policies, spread, draws, futures, rng):
    """Returns [M, N + 2, n, N] as branching lays them out: the same chance for all joint actions of a draw."""
    number = table.shape[-1]
    first, second = (np.stack([rng.choice(len(policy), draws, p=policy) for policy in policies], 1) for _ in range(2))
    joint = np.repeat(first[:, None], number + 2, 1)
    joint[:, 1] = second
    for agent in range(number):
        joint[:, 2 + agent, agent] = second[:, agent]
    at = tuple(np.moveaxis(joint, 2, 0))
    shared = rng.standard_normal((draws, 1, futures, number))
    return table[at][:, :, None] + spread[at][:, :, None] * shared


@pytest.fixture
def game():
    """A table for three agents that are paid differently, policies, and chance that depends on the joint action."""
    rng = np.random.default_rng(3)
    table, spread = rng.normal(size=(*SIZES, 3)), 2 * rng.random((*SIZES, 3))
    return table, [rng.dirichlet(np.ones(size)) for size in SIZES], spread


@pytest.mark.parametrize("futures", [2, 5])
def test_every_component_has_the_right_mean(game, futures):
    """Also with two futures, of which each is seen through noise as large as the payoffs; own, others and chance make up the variance."""
    table, policies, spread = game
    rng = np.random.default_rng(futures)
    wanted = exact(table, policies, spread**2)
    found = np.stack([components(sampled(table, policies, spread, 4, futures, rng)).flat() for _ in range(20_000)])
    error = found.std(0) / np.sqrt(len(found))
    assert (np.abs(found.mean(0) - wanted.flat()) < 4.5 * error + 1e-12).all()
    assert (error < 0.03 * np.abs(wanted.flat()).max()).all()


def test_without_chance_nothing_is_taken_off(game):
    """Then V_env is exactly zero, and the number of futures changes nothing."""
    table, policies, spread = game
    rows = [
        components(sampled(table, policies, 0 * spread, 50, futures, np.random.default_rng(1))) for futures in (2, 7)
    ]
    assert (rows[0].chance == 0).all()
    np.testing.assert_allclose(rows[0].flat(), rows[1].flat(), atol=1e-12)


def test_who_does_not_matter_gets_exactly_nothing(game):
    """An agent's action that changes nothing leaves every return as it is, chance included."""
    table, policies, spread = game
    table, spread = (np.repeat(part[:, :1], SIZES[1], 1) for part in (table, spread))
    found = components(sampled(table, policies, spread, 10, 3, np.random.default_rng(2)))
    assert (found.total[:, 1] == 0).all() and found.own[1] == 0


def test_returns_of_another_shape_are_refused():
    """One draw or one future cannot tell."""
    for shape in ((1, 4, 2, 2), (2, 4, 1, 2), (2, 3, 2, 2)):
        with pytest.raises(ValueError, match="draws"):
            components(np.zeros(shape))


def test_rows_of_numbers_and_back():
    """Messages hold a flat row for any number of agents."""
    for number in range(1, 12):
        row = np.arange(number * (number + 3), dtype=float)
        assert np.array_equal(Components.of_flat(row).flat(), row)


def made(totals, own=1.0, chance=0.0):
    """Components of states in which agent 0 alone is influenced: ``totals`` [S, N − 1]."""
    found = []
    for row in totals:
        number = len(row) + 1
        total = np.zeros((number, number))
        total[0, 1:] = row
        zero = np.zeros(number)
        found.append(Components(zero + own, total.sum(1), zero + chance, total))
    return found


def test_whom_an_agent_must_hear():
    """The fewest whose shares reach 90 %; ties by index; nobody whose influence is not above chance."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, (40, 1))
    totals = np.concatenate([np.full((40, 1), 3.0), np.full((40, 2), 5.0), noise, np.zeros((40, 1))], 1)
    found = influence(made(totals), np.ones((40, 6), bool), 0)
    assert found.needed(0) == [2, 3, 1] and found.needed(0, 0.7) == [2, 3] and found.needed(3) == []
    assert not found.reliably[0, 4] and not found.reliably[0, 5] and not found.reliably[1].any()
    assert found.covered(0, [1, 2, 3])[0] == pytest.approx(1, abs=0.05) and found.covered(1, [])[0] == 1
    few = influence(
        made(np.where(np.arange(40)[:, None] < 12, [[50.0, 0.1, 0.0]], [[0.01, 0.1, 0.0]])), np.ones((40, 4), bool), 0
    )
    assert few.reliably[0].tolist() == [False, True, True, False]


def test_states_count_for_who_is_there():
    """The others' averages do not hold them."""
    alive = np.ones((10, 3), bool)
    alive[5:, 0] = False
    rows = made([[1.0, 2.0]] * 5 + [[100.0, 100.0]] * 5)
    found = influence(rows, alive, 0)
    assert found.total.value[0].tolist() == [0, 1, 2] and found.states.tolist() == [5, 10, 10]


def test_what_is_predicted():
    """The ceiling with endless samples; nothing where nobody is heard; never worse than a critic that is left out; chance limits it."""
    endless = 10**12
    assert predicted(1.0, 9.0, 0.0, 1.0, 15, endless) == pytest.approx(10)
    assert predicted(1.0, 9.0, 2.0, 1.0, 15, endless) == pytest.approx(12 / 3)
    assert predicted(1.0, 9.0, 2.0, 0.0, 15, 100) == 1
    assert predicted(1.0, 9.0, 2.0, 1.0, 15, 1) == 1 == predicted(1.0, 9.0, 2.0, 0.5, 10**6, 1)
    assert predicted(1.0, 8.0, 0.0, 1.0, 20, 10) == pytest.approx(9 / 5)  # half of what a critic must know is not known
    assert predicted(0.0, 0.0, 0.0, 1.0, 15, 10) == 1 and predicted(0.0, 1.0, 0.0, 1.0, 1, endless) > 1e6
    gains = [
        float(predicted(1.0, 9.0, 2.0, covered, 15, samples))
        for covered, samples in itertools.product((0.2, 0.9), (30, 300))
    ]
    assert gains == sorted(gains)
