"""What methods must come to in the small games: the solvers of ``benchmarks/game_answers.py`` against slow ones, hand-made values and the mixer itself;
and that the page shows what they say."""

from __future__ import annotations

import importlib
import itertools
import json
import math

import numpy as np
import pytest
import torch
from conftest import ROOT
from small_runs import TABLES

from perla_net.learning.mixers import Monotonic

PAGE = ROOT / "docs" / "studies" / "small_games.md"
GAMES = ("qtran", "qtran, second", "two_step", "climbing", "penalty")


@pytest.fixture
def answers(monkeypatch):
    """The solvers."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("game_answers")


@pytest.fixture
def program(answers):
    """The program that makes the table."""
    return importlib.import_module("games")


def corner(s, t, shape):
    table = np.zeros(shape)
    table[s:, t:] = 1
    return table


def slow_fit(payoff, weigh):
    """The best monotonic and supermodular table in the given order, by descent along one corner at a time; ``weigh``: weights by the table."""
    places = [place for place in np.ndindex(*payoff.shape) if place != (0, 0)]
    base, height = payoff.mean(), dict.fromkeys(places, 0.0)
    fit = np.full_like(payoff, base)
    for _ in range(4000):
        before = fit.copy()
        for place in [(0, 0), *places]:
            table, weight = corner(*place, payoff.shape), weigh(fit)
            step = (weight * table * (payoff - fit)).sum() / (weight * table).sum()
            step = step if place == (0, 0) else max(step, -height[place])
            if place != (0, 0):
                height[place] += step
            fit = fit + step * table
        if np.abs(fit - before).max() < 1e-10:
            break
    return fit


def test_signed_least_squares_are_those_of_a_slow_descent(answers):
    rng = np.random.default_rng(0)
    for shape in ((2, 2), (3, 3), (2, 3)):
        for _ in range(6):
            payoff, weight = rng.normal(size=shape), rng.uniform(0.1, 1, shape)
            error, fit = answers.least_squares(payoff, weight)
            assert np.allclose(fit, slow_fit(payoff, lambda _, weight=weight: weight), atol=1e-6)
            assert math.isclose(error, (weight * (fit - payoff) ** 2).sum(), abs_tol=1e-9)


@pytest.mark.parametrize("game", ["qtran", "climbing", "penalty"])
def test_optimistic_fits_stay_where_their_weights_say(answers, game):
    """The loss with weights that depend on the fit is convex for each order: the slow descent, which weighs anew at every step, ends there, too."""
    payoff = answers.STAGES[game]
    fits = answers.optimistic(payoff)
    assert len(fits) == 36
    for order in answers.orders(payoff.shape)[::7]:
        table = payoff[order]
        slow = slow_fit(table, lambda fit, table=table: np.where(fit < table, 1.0, answers.ALPHA))
        assert any(np.allclose(fit.tables[0][order], slow, atol=1e-3) for fit in fits)


def test_central_fits_are_greatest_at_the_optimum(answers):
    """With α = 0.1 in all of these games, as Rashid et al. 2020 prove for α small enough."""
    for payoff in answers.STAGES.values():
        best = answers.central(payoff)[0]
        assert best.greedy <= answers.greatest(payoff) and best.greedy <= answers.greatest(best.tables[0])


def test_the_mixer_makes_such_tables_and_no_others(answers):
    """QMIX's mixer, with any weights and utilities, is its own best fit; a table that is monotonic but not supermodular (an or) is not."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        mixer = Monotonic(2, 2, 8, 8)
        mixer.start(generator)
        mixer.flat.mul_(3)
        utilities = [torch.randn(3, generator=generator).sort().values * 2 for _ in range(2)]
        pairs = torch.cartesian_prod(*utilities)
        table = mixer(torch.ones(9, 2), pairs).detach().view(3, 3).double().numpy()
        assert np.allclose(answers.least_squares(table, np.ones((3, 3)))[1], table, atol=1e-4 * np.ptp(table))
    either = np.array([[0.0, 1], [1, 1]])
    assert min(fit.error for fit in answers.monotonic(either)) > 0.1


def test_answers_by_hand(answers):
    """Values that a reader can check on paper."""
    game = answers.STAGES
    assert np.allclose(answers.means(game["climbing"])[0].tables[0], [-19 / 3, -23 / 3, 11 / 3])
    assert np.allclose(answers.additive(game["two_step"])[0].tables[0], [[-1.5, 2.5], [2.5, 6.5]])
    # The order in which uniform play's means put QTRAN's actions: 0, and the mean of 8 and four times −12; a better one has 8 at (0, 0).
    fits = answers.monotonic(game["qtran"])
    assert np.allclose(fits[0].tables[0], np.where(game["qtran"] == 8, 8, -6)) and math.isclose(fits[0].error, 288)
    assert any(
        np.allclose(fit.tables[0], np.where(game["qtran"] == 0, 0, -8)) and math.isclose(fit.error, 320) for fit in fits
    )
    assert np.allclose(answers.optimistic(game["qtran"])[0].tables[0], np.where(game["qtran"] == 8, 8, -4.8 / 4.4))
    assert np.allclose(answers.central(game["qtran"])[0].tables[0], np.where(game["qtran"] == 8, 8, -6))
    assert np.allclose(answers.monotonic(game["two_step"])[0].tables[0], [[0, 1], [1, 8]])
    either = {str(pair) for pair in itertools.product((1, 2), repeat=2)}
    for kind, name, done, paid in (
        ("means", "qtran", either, {0.0}),
        ("means", "two_step", {"2A"}, {7.0}),
        ("field", "two_step", {"2A"}, {7.0}),
        ("additive", "two_step", {"2A"}, {7.0}),
        ("additive", "climbing", {"(2, 2)"}, {5.0}),
        ("means", "penalty", {"(1, 1)"}, {2.0}),
        ("monotonic", "two_step", {"2B (1, 1)"}, {8.0}),
        ("monotonic", "qtran, second", {"(1, 1)", "(2, 2)"}, {6.0}),
        ("any", "penalty", {"(0, 2)", "(2, 0)"}, {10.0}),
        ("remembered", "two_step", {"2B (1, 1)"}, {8.0}),
    ):
        found = answers.answer(kind, name)
        assert (found.done, found.paid) == (done, paid)


def test_the_flow_ends_where_nobody_gains_alone(answers):
    """In climbing at (1, 1), though uniform play is answered by (2, 2) first."""
    for game, payoff in answers.STAGES.items():
        for i, j in answers.flow(payoff)[0].greedy:
            assert payoff[i, j] >= max(payoff[:, j].max(), payoff[i].max()), game
    assert answers.flow(answers.STAGES["climbing"])[0].greedy == {(1, 1)}


def test_a_run_and_its_line(program, monkeypatch):
    """Of every way to read a table, one run that is too short to learn; and the distance to what must be learned."""
    for method in ("perla_iql", "mean_field_q", "qplex", "perla_maddpg", "coma", "mean_field_ac"):
        kind, settings = program.METHODS[method]
        short = settings | {"rounds": 1, "copies": 16}
        monkeypatch.setitem(
            program.METHODS,
            method,
            (kind, short | {"own": settings["own"] | {"updates": 1}} if "own" in settings else short),
        )
        found = program.result(method, "two_step", 0)
        assert found["paid"] in (7, 0, 1, 8) and all(
            np.shape(table) in ((2, 2), (2,)) for table in found["tables"].values()
        )
    run = {
        "method": "vdn",
        "game": "two_step",
        "seed": 0,
        "did": "2A",
        "paid": 7.0,
        "tables": {"sum": [[-1.5, 2.5], [2.5, 6.9]]},
    }
    assert math.isclose(program.off_by(run)[0], 0.2)
    assert program.row_of([run])[2:7] == ["7.0", "2A 1", "7", "2A", "1 of 1"]
    assert TABLES["model"] == program.TABLES["model"]


def test_the_page_shows_the_runs_that_are_kept(program):
    """Its tables are made of them, and they are all there."""
    lines = (ROOT / "docs" / "studies" / "small_games" / "runs.jsonl").read_text().splitlines()
    runs = [json.loads(line) for line in lines]
    there = [(run["method"], run["game"], run["seed"]) for run in runs]
    assert len(there) == len(set(there)) and {one[:2] for one in there} == set(
        itertools.product(program.METHODS, GAMES)
    )
    assert program.markdown(runs) == PAGE.read_text().split("## The table\n\n")[1]
