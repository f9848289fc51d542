"""States that many copies go on from, each with chance of its own (``fork``): the program's own environments, and those that are played again."""

from __future__ import annotations

import random

import numpy as np
import pytest

from perla_net.world import streams
from perla_net.world.environments import make

CHANCE = {
    "traffic:grid:rows=2,columns=2,horizon=60": True,
    "traffic:sioux_falls.graphml:horizon=60": True,
    "wireless:grid:rows=2,columns=2": True,
    "voltage:ieee33:start=9": True,
    "platoon:slowdown": False,
    "spread": False,
    "games:ipd": False,
    "games:two_step": False,
}
"""Environment → whether its future has chance in it."""
STEPS = 7
"""Before the fork: in the middle of what the feeder's lines of noise go between."""


def seeds(*keys):
    return [np.random.SeedSequence(key) for key in keys]


def actions(env, rng):
    """The same random actions for all copies."""
    found = []
    for agent in env.spec.agents:
        if agent.action.low:
            found.append(np.repeat(rng.uniform(-1, 1, (1, len(agent.action.low))).astype(np.float32), env.copies, 0))
        else:
            found.append(
                np.repeat(np.array([[rng.integers(size) for size in agent.action.sizes]], np.int32), env.copies, 0)
            )
    return found


def seen(env):
    rows = [np.zeros((env.copies, agent.observation_size), np.float32) for agent in env.spec.agents]
    env.observe(slice(None), rows, [None] * len(rows))
    return np.concatenate(rows, 1)


@pytest.mark.parametrize("name", CHANCE)
def test_futures_of_a_state(name):
    """Everybody sees what was seen; copies of one future go on alike, those of another otherwise where there is chance; figures and rewards too."""
    steps = 1 if "two_step" in name else STEPS
    before, after = make(name, 3, None), make(name, 4, None)
    before.reset(np.arange(3), seeds(5, 6, 7))
    rng = np.random.default_rng(0)
    for _ in range(steps):
        before.step(actions(before, rng))
    state = {key: array[1:2] for key, array in before.save().items()}
    after.reset(np.arange(4), seeds(1, 2, 3, 4))
    assert after.fork(state, seeds(6)[0], seeds(10, 11), np.array([1, 0, 1, 0]))
    assert (seen(after) == seen(before)[1]).all() and after.alive.all() and not after.truncated.any()
    paid, shown = [], []
    for _ in range(1 if "two_step" in name else 12):
        after.step(actions(after, rng))
        paid.append(after.reward.copy())
        shown.append(seen(after))
    for rows in (np.stack(paid), np.stack(shown)):
        assert (rows[:, 0] == rows[:, 2]).all() and (rows[:, 1] == rows[:, 3]).all()
    assert (np.stack(shown)[:, 0] != np.stack(shown)[:, 1]).any() == CHANCE[name]


@pytest.mark.parametrize("name", CHANCE)
def test_a_fork_comes_from_the_state_alone(name):
    """Whatever the copies were doing, and however many there are."""
    before = make(name, 2, None)
    before.reset(np.arange(2), seeds(5, 6))
    state = {key: array[:1] for key, array in before.save().items()}
    rows = []
    for copies in (2, 5):
        after = make(name, copies, None)
        after.reset(np.arange(copies), seeds(*range(copies)))
        rng = np.random.default_rng(1)
        if copies == 5:
            after.step(actions(after, rng))
        after.fork(state, seeds(5)[0], seeds(8, 9), np.arange(copies) % 2)
        rng = np.random.default_rng(2)
        for _ in range(1 if "two_step" in name else 5):
            after.step(actions(after, rng))
        rows.append(np.concatenate([seen(after), after.reward], 1)[:2])
    assert np.array_equal(*rows)


def test_what_a_state_has_seen_of_the_future_stays():
    """The feeder's loads and sun up to the values that the present lies between, also past a branching; the day's levels, and traffic's."""
    feeder = make("voltage:ieee33:start=9", 3, None)
    feeder.reset(np.arange(3), seeds(5, 6, 7))
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        feeder.step(actions(feeder, rng))
    after = make("voltage:ieee33:start=9", 2, None)
    after.fork({key: array[:1] for key, array in feeder.save().items()}, seeds(5)[0], seeds(1, 2), np.arange(2))
    loads, sun = 10 + 1, 9 + 1  # steps up to the next values of noise (every 5) and clouds (every 3)
    assert (after.demand[:, :loads] == feeder.demand[0, :loads]).all() and (
        after.sun[:, :sun] == feeder.sun[0, :sun]
    ).all()
    assert (after.demand[0, loads:] != feeder.demand[0, loads:]).any() and (after.sun[0] != after.sun[1]).any()
    traffic, forked = make("traffic:grid", 1, 4), make("traffic:grid", 2, 4)
    traffic.reset(np.arange(1), seeds(3))
    forked.fork(traffic.save(), seeds(3)[0], seeds(1, 2), np.arange(2))
    assert (forked.level == traffic.level).all() and (forked.arrivals[0] != forked.arrivals[1]).any()


def test_an_episode_that_is_played_again():
    """Generators that an environment's objects hold go on from the future's seed; an episode that comes out otherwise is told."""
    before, after = make("pettingzoo:toys:kind=zoo", 1, None), make("pettingzoo:toys:kind=zoo", 3, None)
    before.reset(np.arange(1), seeds(4))
    kinds = [np.float32 if agent.action.low else np.int32 for agent in before.spec.agents]
    before.step([np.zeros((1, agent.action.words), kind) for agent, kind in zip(before.spec.agents, kinds)])
    state = before.save()
    assert after.fork(state, seeds(4)[0], seeds(8, 9), np.array([0, 1, 0]))
    assert (seen(after) == seen(before)).all()
    assert not after.fork(state | {"observation": state["observation"] + 1}, seeds(4)[0], seeds(8), np.zeros(3, int))


def test_generators_are_found_and_shared_ones_stay_shared():
    """In attributes, lists and dicts, each once; circles are no trouble; numpy's global stream is left alone."""

    class Holder:
        pass

    one, other = Holder(), Holder()
    for holder in (one, other):
        holder.rng = np.random.default_rng(1)
        holder.inner = {"a": [Holder(), Holder()], "up": holder}
        holder.inner["a"][0].rng = holder.rng
        holder.inner["a"][1].old, holder.inner["a"][1].python = np.random.RandomState(2), random.Random(3)
        holder.inner["a"][1].shared = np.random.mtrand._rand
    before = np.random.get_state()[1].tolist()
    assert streams.reseed(one, seeds(5)[0]) == streams.reseed(other, seeds(5)[0]) == 4
    assert one.inner["a"][0].rng is one.rng and np.random.get_state()[1].tolist() == before
    drawn = [
        (holder.rng.random(), holder.inner["a"][1].old.rand(), holder.inner["a"][1].python.random())
        for holder in (one, other)
    ]
    assert drawn[0] == drawn[1] and drawn[0][0] != np.random.default_rng(1).random()
