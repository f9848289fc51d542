"""The platoon: equations, rewards, ends, who influences whom, and PettingZoo's own tests."""

from __future__ import annotations

import math

import numpy as np
import pytest
from conftest import needs_mpirun, run
from pettingzoo.test import parallel_api_test, parallel_seed_test

from perla_net.ground.errors import InputError
from perla_net.world.networked.platoon import CatchUp, Constant, Platoon, SlowDown, make, optimal_speed
from perla_net.world.parallel import parallel_env

BOTH = pytest.mark.parametrize("kind", [CatchUp, SlowDown])


def started(kind: type[Platoon], copies: int = 3, first: int = 0, **arguments) -> Platoon:
    platoon = kind(copies, **arguments)
    platoon.reset(np.arange(copies), [np.random.SeedSequence(1, spawn_key=(first + copy,)) for copy in range(copies)])
    return platoon


def observed(platoon: Platoon) -> list[np.ndarray]:
    rows = [np.zeros((platoon.copies, agent.observation_size), np.float32) for agent in platoon.spec.agents]
    platoon.observe(slice(None), rows, [None] * len(rows))
    return rows


def at_rest(copies: int = 4, **arguments) -> Platoon:
    platoon = started(CatchUp, copies, **arguments)
    platoon.headway[:] = 20
    return platoon


def test_the_target_is_an_equilibrium_of_every_choice():
    assert optimal_speed(np.array([0, 5, 20, 35, 90.0])) == pytest.approx([0, 0, 15, 30, 30], abs=1e-13)
    platoon = at_rest()
    rng = np.random.default_rng(0)
    for _ in range(100):
        platoon.step(list(rng.integers(0, 4, (8, 4))))
    assert np.abs(platoon.headway - 20).max() < 1e-12 and np.abs(platoon.speed - 15).max() < 1e-12
    assert np.abs(platoon.reward).max() < 1e-20 and np.abs(np.array(observed(platoon))).max() < 1e-6


def test_small_disturbances_swing_as_the_linearised_model():
    """Under (0.5, 0.5) the first headway obeys x'' + x' + (π/4) x = 0, x its distance from 20 m."""
    platoon = at_rest(1)
    platoon.headway[0, 0] += 1e-3
    acting = Constant(platoon)
    decay, turn = 0.5, math.sqrt(math.pi / 4 - 0.25)
    for step in range(1, 61):
        platoon.step(list(acting.act(platoon)))
        at = step * 0.1
        exact = math.exp(-decay * at) * (math.cos(turn * at) + decay / turn * math.sin(turn * at))
        assert abs((platoon.headway[0, 0] - 20) / 1e-3 - exact) < 0.06


@BOTH
def test_every_step_is_that_of_the_published_equations(kind):
    """One vehicle after the other, in plain numbers, with all limits, and the rewards."""
    platoon = started(kind, 2, reward="training")
    first = 15 * (1.5 + platoon.drawn)
    assert ((platoon.drawn >= 0) & (platoon.drawn < 1)).all() and platoon.drawn[0] != platoon.drawn[1]
    leader = [
        np.r_[np.linspace(first[copy], 15, 300), np.full(301, 15)] if kind is SlowDown else np.full(601, 15.0)
        for copy in range(2)
    ]
    h, v = platoon.headway.copy(), platoon.speed.copy()
    start = [20 * (1.5 + platoon.drawn[copy]) if kind is CatchUp else 20 for copy in range(2)]
    assert h[:, 0].tolist() == start and (h[:, 1:] == 20).all()
    assert (v == (first[:, None] if kind is SlowDown else 15)).all()
    rng = np.random.default_rng(3)
    for step in range(40):
        chosen = rng.integers(0, 4, (2, 8))
        platoon.step(list(chosen.T))
        for copy in range(2):
            before = v[copy].copy()
            for i in range(8):
                ahead = before[i - 1] if i else leader[copy][step]
                share = min(max((h[copy, i] - 5) / 30, 0), 1)
                u = 0.5 * (chosen[copy, i] in (1, 3)) * (15 - 15 * math.cos(math.pi * share) - before[i])
                u += 0.5 * (chosen[copy, i] in (2, 3)) * (ahead - before[i])
                v[copy, i] = min(max(before[i] + 0.1 * min(max(u, -2.5), 2.5), 0), 30)
            for i in range(8):
                old, new = (before[i - 1], v[copy, i - 1]) if i else leader[copy][step : step + 2]
                h[copy, i] += 0.05 * (old + new - before[i] - v[copy, i])
                u = (v[copy, i] - before[i]) / 0.1
                cost = (h[copy, i] - 20) ** 2 + (v[copy, i] - 15) ** 2 + 0.1 * u**2 + 5 * min(h[copy, i] - 10, 0) ** 2
                assert platoon.reward[copy, i] == pytest.approx(-cost, rel=1e-6, abs=1e-9)
        assert np.abs(platoon.headway - h).max() < 1e-10 and np.abs(platoon.speed - v).max() < 1e-10
    assert not platoon.collided.any() and (platoon.speed <= 30).all()


@BOTH
def test_headways_and_the_last_position_add_up_to_the_leaders(kind):
    """Positions from the trapezoid rule over speeds; every gap between them is a headway."""
    platoon = started(kind, 5)
    place = np.concatenate([np.zeros((5, 1)), -np.cumsum(platoon.headway, 1)], axis=1)
    rng = np.random.default_rng(0)
    for _ in range(60):
        before = np.concatenate([platoon.leader(platoon.time)[:, None], platoon.speed], 1)
        platoon.step(list(rng.integers(0, 4, (8, 5))))
        after = np.concatenate([platoon.leader(platoon.time)[:, None], platoon.speed], 1)
        place += 0.05 * (before + after) * ~platoon.collided[:, None]
    going = ~platoon.collided
    assert going.any()
    assert np.abs(place[:, 0] - platoon.headway.sum(1) - place[:, -1])[going].max() < 1e-9
    assert np.abs(-np.diff(place, axis=1) - platoon.headway)[going].max() < 1e-9
    if going[0]:
        assert np.abs(platoon.positions()[:, 0] - (place[0, 1:] - place[0, 0])).max() < 1e-9


def test_nobody_is_influenced_from_behind_and_each_by_the_one_ahead():
    """The first five of eight drive as a platoon of five; another choice of vehicle 3 reaches 4, then 5, never 2."""
    whole, part, other = started(SlowDown), started(SlowDown, agents=5), started(SlowDown)
    rng = np.random.default_rng(5)
    for step in range(20):
        actions = rng.integers(0, 4, (8, 3))
        whole.step(list(actions))
        part.step(list(actions[:5]))
        changed = actions.copy()
        if not step:
            changed[3] = changed[3] ^ 3
        other.step(list(changed))
        reached = (whole.headway != other.headway).any(0)
        assert not reached[:3].any() and not reached[step + 5 :].any()
        assert np.array_equal(whole.headway[:, :5], part.headway) and np.array_equal(whole.reward[:, :5], part.reward)
    assert reached[3:].all()
    assert whole.spec.interaction == tuple((i, i + 1) for i in range(7))
    seeing = CatchUp(1, observe="neighbours").spec
    assert set(seeing.interaction) == {(i, j) for i in range(8) for j in range(8) if abs(i - j) == 1}
    assert [agent.observation_size for agent in seeing.agents] == [10, *[15] * 6, 10]


@pytest.mark.parametrize(("horizon", "over"), [(600, 60), (50, 50)])
def test_a_collision_ends_the_episode_as_a_termination(horizon, over):
    """Vehicle 1 comes 5 m/s too fast, and nobody acts: 0.5 m a step."""
    platoon = started(CatchUp, 1, horizon=horizon, reward="training")
    platoon.headway[0, 0], platoon.speed[0, 0] = 2.1, 20
    after = None
    for step in range(1, over + 1):
        platoon.step([np.zeros(1, int)] * 8)
        assert platoon.collided[0] == (step >= 3)
        if platoon.collided[0]:
            assert (platoon.reward == -1000).all()
            state = platoon.headway.copy(), platoon.speed.copy(), platoon.acceleration.copy()
            after = after or state
            assert all(np.array_equal(now, then) for now, then in zip(state, after)), "a wreck does not move"
        assert platoon.terminated.all() == platoon.terminated.any() == (step == over)
        assert not platoon.truncated.any()
    figures = platoon.metrics(np.arange(1))
    assert figures["collided"] == 1 and figures["closest"] == pytest.approx(0.6)


def test_time_up_is_a_truncation():
    platoon = started(CatchUp, 2, horizon=90)
    acting = Constant(platoon)
    for step in range(1, 91):
        platoon.step(list(acting.act(platoon)))
        assert platoon.truncated.all() == platoon.truncated.any() == (step == 90) and not platoon.terminated.any()


def test_metrics_are_plain_whatever_the_reward():
    """Under ``plain`` the cost is minus the mean reward; shaping lowers rewards where a headway is below 10 m."""
    shaped, plain = (started(CatchUp, 6, reward=reward) for reward in ("training", "plain"))
    for platoon in (shaped, plain):
        platoon.headway[1:, 2] = 6
        platoon.headway[0, 7] = 0.9
    total, different = np.zeros(6), 0
    rng = np.random.default_rng(2)
    for _ in range(120):
        actions = list(rng.integers(1, 4, (8, 6)))
        shaped.step(actions)
        plain.step(actions)
        total += plain.reward.sum(1, dtype=float)
        expected = plain.reward - 5 * np.minimum(plain.headway - 10, 0) ** 2 * ~plain.collided[:, None]
        assert shaped.reward == pytest.approx(expected, rel=1e-6)
        different += (shaped.reward < plain.reward).sum()
    everyone = np.arange(6)
    assert different and plain.metrics(everyone)["cost"] == pytest.approx(-total / 120 / 8, rel=1e-6)
    for name, values in plain.metrics(everyone).items():
        assert np.array_equal(values, shaped.metrics(everyone)[name])


@pytest.mark.parametrize("see", ["own", "neighbours"])
def test_observations(see):
    platoon = started(SlowDown, 2, observe=see)
    rng = np.random.default_rng(1)
    for _ in range(30):
        platoon.step(list(rng.integers(0, 4, (8, 2))))
    h, v, u = platoon.headway[1], platoon.speed[1], platoon.acceleration[1]
    ahead = np.r_[platoon.leader(platoon.time)[1], v[:-1]]
    own = [
        [
            v[i] / 15 - 1,
            (ahead[i] - v[i]) / 5,
            (optimal_speed(h[i]) - v[i]) / 5,
            (h[i] + 0.1 * (ahead[i] - v[i])) / 20 - 1,
        ]
        for i in range(8)
    ]
    own = np.c_[np.array(own), u / 2.5]
    own[:, 1:3] = own[:, 1:3].clip(-2, 2)
    for i, row in enumerate(observed(platoon)):
        near = [i, *(j for j in (i - 1, i + 1) if 0 <= j < 8)] if see == "neighbours" else [i]
        assert np.allclose(row[1], own[near].ravel(), atol=1e-6)


@BOTH
def test_a_copy_does_not_depend_on_the_others_and_goes_on_when_saved(kind):
    whole, part, alone = started(kind, 5), started(kind, 2, first=3), started(kind, 1, first=4)
    rng = np.random.default_rng(1)
    for step in range(150):
        actions = rng.integers(0, 4, (8, 5)) | (step % 3 > 0)
        whole.step(list(actions))
        part.step(list(actions[:, 3:]))
        alone.step(list(actions[:, 4:]))
        if step == 70:
            again = kind(2)
            again.load(part.save(), [np.random.SeedSequence(1, spawn_key=(copy,)) for copy in (3, 4)])
        if step > 70:
            again.step(list(actions[:, 3:]))
        for few in (part, alone):
            assert np.array_equal(whole.reward[-few.copies :], few.reward)
    assert np.array_equal(again.headway, part.headway) and np.array_equal(again.reward, part.reward)
    for one, other in ((whole, part), (whole, alone), (part, again)):
        for name, values in one.metrics(np.arange(one.copies)).items():
            assert np.array_equal(values[-other.copies :], other.metrics(np.arange(other.copies))[name]), name
        for left, right in zip(observed(one), observed(other)):
            assert np.array_equal(left[-other.copies :], right)


@BOTH
def test_the_constant_action_brings_the_platoon_to_the_target(kind):
    platoon = started(kind, 8)
    acting = platoon.controllers["constant"](platoon)
    for _ in range(600):
        platoon.step(list(acting.act(platoon)))
    assert not platoon.collided.any() and platoon.truncated.all()
    assert np.abs(platoon.headway - 20).max() < 0.2 and np.abs(platoon.speed - 15).max() < 0.2


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["platoon:catchup", "platoon:slowdown:observe=neighbours"])
def test_pettingzoo_accepts_it(name):
    parallel_api_test(parallel_env(name), num_cycles=130)
    parallel_seed_test(lambda: parallel_env(name, agents=3))


def test_picture():
    image = started(SlowDown).picture(0)
    assert image.dtype == np.uint8 and image.ndim == 3 and image.std() > 0


def test_bad_arguments():
    for arguments in ({"horizon": 0}, {"reward": "mean"}, {"observe": "all"}, {"horizon": "long"}, {"vehicles": 3}):
        with pytest.raises(InputError, match="--env platoon:catchup"):
            make("catchup", arguments, 1, None, False)
    with pytest.raises(InputError, match="platoon:slowdown"):
        make("overtake", {}, 1, None, False)


@needs_mpirun
@pytest.mark.mpi
def test_numbers_do_not_depend_on_ranks(tmp_path):
    options = ("--env", "platoon:slowdown:horizon=60,observe=neighbours", "--agents", "4", "--topology", "interaction")
    options += ("--evaluate-episodes", "3")
    assert run(tmp_path / "alone", 0, *options) == run(tmp_path / "two", 2, *options)
    one, two = ((tmp_path / name / "evaluation.json").read_bytes() for name in ("alone", "two"))
    assert one == two and b"constant" in one
