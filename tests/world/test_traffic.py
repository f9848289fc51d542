"""The traffic grid: physics, conservation, spaces, controllers, and PettingZoo's own tests."""

from __future__ import annotations

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

from perla_net.ground.errors import InputError
from perla_net.world.networked import traffic
from perla_net.world.networked.traffic import (
    CONTROLLERS,
    LINK_STORAGE,
    PHASES,
    THROUGH,
    TrafficGrid,
    demand_profile,
    shape_of,
)
from perla_net.world.parallel import parallel_env


def seeds(copies: int, start: int = 0) -> list[np.random.SeedSequence]:
    return [np.random.SeedSequence(1, spawn_key=(start + copy,)) for copy in range(copies)]


def started(copies: int = 3, first: int = 0, **arguments) -> TrafficGrid:
    grid = TrafficGrid(copies, **arguments)
    grid.reset(np.arange(copies), seeds(copies, first))
    return grid


def drive(grid: TrafficGrid, controller: str | None, steps: int, seed: int = 0) -> None:
    """Let a controller, or chance, run the grid."""
    chosen = CONTROLLERS[controller](grid) if controller else None
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        grid.step(list(chosen.act(grid)) if chosen else list(rng.integers(0, 8, (grid.signals, grid.copies))))


@pytest.mark.parametrize("controller", [None, *CONTROLLERS])
@pytest.mark.parametrize("demand", [1.0, 4.0])
def test_vehicles_are_conserved_exactly(controller, demand):
    grid = started(demand=demand)
    inside = []
    for _ in range(12):
        drive(grid, controller, 30)
        inside.append(grid.on_link().sum((1, 2)))
        assert (grid.entered == inside[-1] + grid.left).all()
        assert (grid.demanded == grid.entered + grid.outside.sum((1, 2))).all()
        assert (grid.queue >= 0).all() and (grid.transit >= 0).all() and (grid.on_link() <= LINK_STORAGE).all()
    assert grid.left.min() > 0
    if demand == 4.0 and controller is None:
        assert grid.blocked.min() > 0, "links that are full must hold vehicles back"


def test_saturation_flow_and_lost_time():
    """A lane discharges one vehicle per 2 s of green, and 3 s are lost when it turns green."""
    grid = started(1, agents=1, demand=0.0)
    grid.queue[0, 0, 0, THROUGH] = 60
    grid.phase[0, 0] = 1
    left = []
    for _ in range(5):
        grid.step([np.array([0])])
        left.append(int(grid.left[0]))
    assert left == [1, 3, 6, 8, 11]  # 2 s, then 5 s a step: 1 + 2.5 + 2.5 + …
    assert grid.queue[0, 0, 0, THROUGH] == 60 - left[-1]


def test_a_phase_lasts_at_least_seven_seconds():
    grid = started(1, agents=1)
    grid.step([np.array([3])])
    assert grid.phase[0, 0] == 3
    grid.step([np.array([5])])
    assert grid.phase[0, 0] == 3, "5 s have passed since the change: too early"
    grid.step([np.array([5])])
    assert grid.phase[0, 0] == 5


def test_travel_time_and_turning():
    """A vehicle served at one signal reaches the next one's queue three steps later, on the link that it turned to."""
    grid = started(1, agents=2, rows=1, columns=2, demand=0.0)
    grid.queue[0, 0, traffic.WEST, THROUGH] = 1  # at the western signal, heading east
    grid.phase[:] = 2
    sizes = []
    for _ in range(4):
        grid.step([np.array([2]), np.array([0])])
        sizes.append((int(grid.transit[0, :, 1, traffic.WEST].sum()), int(grid.queue[0, 1, traffic.WEST].sum())))
    assert sizes[:3] == [(1, 0)] * 3 and sizes[3][0] == 0
    assert grid.on_link()[0, 1, traffic.WEST] + grid.left[0] == 1


def test_turn_shares_and_demand():
    grid = started(8)
    drive(grid, "longest_queue", 360)
    expected = grid.mean_arrivals.sum() * 360
    assert abs(grid.demanded.mean() / expected - 1) < 0.1
    assert np.isclose(demand_profile(360).mean(), 1.0)
    counts = grid.turn_counts[:, :, -1].mean((0, 1)) / traffic.TURN_TABLE
    assert np.allclose(counts, traffic.TURN_SHARES[:2], atol=0.01)


def test_phases_never_give_green_to_conflicting_lanes():
    through_ns, through_ew = PHASES[:, [0, 2], 1].any(1), PHASES[:, [1, 3], 1].any(1)
    assert not (through_ns & through_ew).any()
    opposite_left = PHASES[:, 0, 0] & PHASES[:, 2, 1]
    assert not opposite_left.any()
    assert PHASES.sum((1, 2)).tolist() == [4, 2, 4, 2, 3, 3, 3, 3]


def test_numbers_do_not_depend_on_how_copies_are_spread():
    whole, first, second = started(5), started(2), started(3, first=2)
    for grid, copies in ((whole, slice(0, 5)), (first, slice(0, 2)), (second, slice(2, 5))):
        rng = np.random.default_rng(7)
        for _ in range(50):
            actions = rng.integers(0, 8, (16, 5))[:, copies]
            grid.step(list(actions))
    assert np.array_equal(whole.queue, np.concatenate([first.queue, second.queue]))
    assert np.array_equal(whole.reward, np.concatenate([first.reward, second.reward]))


def test_saved_state_continues_exactly():
    one = started()
    drive(one, None, 37)
    state = one.save()
    other = TrafficGrid(3)
    other.load({name: array.copy() for name, array in state.items()}, seeds(3))
    for grid in (one, other):
        drive(grid, None, 40, seed=5)
    assert all(np.array_equal(array, other.save()[name]) for name, array in one.save().items())


def test_observation_is_that_of_sumo_rl():
    grid = started(2)
    drive(grid, None, 40)
    rows = [np.zeros((2, 33), np.float32) for _ in range(16)]
    grid.observe(slice(None), rows, [None] * 16)
    for signal, row in enumerate(rows):
        assert (row[:, :8].argmax(1) == grid.phase[:, signal]).all() and (row[:, :8].sum(1) == 1).all()
        assert (row[:, 8] == (grid.held[:, signal] >= 7)).all()
        assert np.allclose(row[:, 21:], np.minimum(grid.queue[:, signal].reshape(2, 12) / 26, 1))
        assert (row[:, 9:21] >= row[:, 21:]).all() and row.min() >= 0 and row.max() <= 1


def test_rewards():
    for kind in ("queue", "pressure"):
        grid = started(reward=kind)
        drive(grid, None, 60)
        waiting = grid.queue.sum((2, 3)) + grid.outside.sum(2)
        if kind == "queue":
            assert np.allclose(grid.reward, -waiting * 5 / 60)
        else:
            assert (grid.reward <= 0).all() and (grid.reward >= -LINK_STORAGE * 100).all()


def test_delay_is_waiting_time_per_vehicle():
    grid = started(2)
    total = np.zeros(2)
    for _ in range(100):
        drive(grid, "max_pressure", 1)
        total += 5 * (grid.queue.sum((1, 2, 3)) + grid.outside.sum((1, 2)))
    assert np.allclose(grid.metrics(np.arange(2))["delay"], total / grid.demanded)


def test_references_are_ordered_as_they_should():
    delays = {}
    for name in CONTROLLERS:
        grid = started(6)
        drive(grid, name, 360)
        delays[name] = grid.metrics(np.arange(6))["delay"].mean()
    assert delays["longest_queue"] < delays["fixed_time"] and delays["max_pressure"] < delays["fixed_time"]


@pytest.mark.parametrize(("agents", "shape"), [(16, (4, 4)), (12, (3, 4)), (7, (1, 7)), (1, (1, 1)), (None, (4, 4))])
def test_shape(agents, shape):
    assert shape_of(agents, None, None) == shape
    grid = TrafficGrid(1, agents)
    assert len(grid.spec.agents) == shape[0] * shape[1]
    for source, target in grid.spec.interaction:
        assert abs(source // shape[1] - target // shape[1]) + abs(source % shape[1] - target % shape[1]) == 1


def test_bad_arguments():
    for arguments in ({"rows": 0}, {"reward": "speed"}, {"demand": -1}, {"agents": 16, "rows": 3}):
        with pytest.raises(InputError):
            TrafficGrid(1, **arguments)


@pytest.mark.filterwarnings("ignore")
def test_pettingzoo_accepts_the_parallel_environment():
    parallel_api_test(parallel_env(agents=6), num_cycles=400)
    parallel_seed_test(parallel_env)
    env = parallel_env(agents=12)
    env.reset(seed=1)
    assert ("signal_0_1", "signal_0_0") in env.interaction_graph


def test_parallel_and_batch_interfaces_agree():
    env = parallel_env(agents=4)
    env.reset(seed=3)
    grid = TrafficGrid(1, 4)
    grid.reset(np.arange(1), np.random.SeedSequence(3).spawn(1))
    rng = np.random.default_rng(0)
    for _ in range(30):
        actions = rng.integers(0, 8, 4)
        _, rewards, *_ = env.step({name: int(action) for name, action in zip(env.possible_agents, actions)})
        grid.step([np.array([action]) for action in actions])
        assert np.allclose(list(rewards.values()), grid.reward[0])
