"""The batched spread against mpe2's, and as a PettingZoo environment."""

import numpy as np
import pytest
from mpe2 import simple_spread_v3
from pettingzoo.test import parallel_api_test, parallel_seed_test

from perla_net.ground.errors import InputError
from perla_net.world.networked.spread import Spread
from perla_net.world.parallel import parallel_env


def observed(spread: Spread) -> np.ndarray:
    """[copies, agents, 6N]."""
    rows = [np.zeros((spread.copies, 6 * spread.number), np.float32) for _ in range(spread.number)]
    spread.observe(slice(None), rows, [None] * spread.number)
    return np.stack(rows, 1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("number", "local_ratio"), [(1, 0.5), (3, 0.5), (16, 0.2)])
def test_every_step_is_that_of_mpe2(number, local_ratio):
    theirs = [simple_spread_v3.parallel_env(N=number, local_ratio=local_ratio, max_cycles=25) for _ in range(3)]
    ours = Spread(3, number, local_ratio=local_ratio)
    ours.reset(np.arange(3), [np.random.SeedSequence(seed) for seed in range(3)])
    seen = [env.reset(seed=seed)[0] for seed, env in enumerate(theirs)]
    rng = np.random.default_rng(0)
    for step in range(25):
        expected = np.array([[rows[name] for name in env.possible_agents] for rows, env in zip(seen, theirs)])
        assert np.abs(observed(ours) - expected).max() < 1e-6
        if step % 3 == 0:  # for a while in one direction, so that agents meet
            actions = rng.integers(0, 5, (3, number))
        ours.step(list(actions.T))
        for copy, env in enumerate(theirs):
            seen[copy], rewards, _, truncated, _ = env.step(dict(zip(env.possible_agents, actions[copy].tolist())))
            assert np.abs(ours.reward[copy] - list(rewards.values())).max() < 1e-6 * max(1, number)
            assert ours.truncated[copy].tolist() == list(truncated.values())
    assert number == 1 or ours.touches.sum() > 0


def test_a_copy_does_not_depend_on_the_others_and_goes_on_when_saved():
    whole, part = Spread(4, 5), Spread(2, 5)
    seeds = [np.random.SeedSequence(seed) for seed in range(4)]
    whole.reset(np.arange(4), seeds)
    part.reset(np.arange(2), seeds[2:])
    rng = np.random.default_rng(1)
    for step in range(20):
        actions = rng.integers(0, 5, (4, 5))
        whole.step(list(actions.T))
        part.step(list(actions[2:].T))
        if step == 10:
            again = Spread(2, 5)
            again.load(part.save(), seeds[2:])
        if step > 10:
            again.step(list(actions[2:].T))
    assert np.array_equal(whole.reward[2:], part.reward) and np.array_equal(again.reward, part.reward)
    assert np.array_equal(observed(whole)[2:], observed(part))


def test_the_assignment_covers_the_landmarks():
    spread = Spread(8, 4, horizon=60)
    spread.reset(np.arange(8), [np.random.SeedSequence(seed) for seed in range(8)])
    controller = spread.controllers["assignment"](spread)
    for _ in range(60):
        spread.step(list(controller.act(spread)))
    left = np.linalg.norm(spread.position[:, :, None] - spread.landmark[:, None], axis=3).min(1)
    assert np.median(left) < 0.1


@pytest.mark.filterwarnings("ignore")
def test_pettingzoo_accepts_it():
    parallel_api_test(parallel_env("spread", agents=4), num_cycles=100)
    parallel_seed_test(lambda: parallel_env("spread"))


def test_bad_arguments():
    for arguments in ({"horizon": 0}, {"local_ratio": 2}, {"horizon": "long"}):
        with pytest.raises(InputError):
            Spread(1, 3, **arguments)
