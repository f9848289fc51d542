"""Tasks that need messages: what is paid, chance and optimum counted out, and what bad input gets."""

import itertools

import networkx
import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

from perla_net.ground.errors import InputError
from perla_net.world.networked.games import any_number, make
from perla_net.world.networked.telling import TELLING
from perla_net.world.parallel import parallel_env


def begun(name, copies=1, agents=None, **arguments):
    """Such tasks at the start of their episodes."""
    task = make(name, arguments, copies, agents, False)
    task.reset(np.arange(copies), [np.random.SeedSequence(seed) for seed in range(copies)])
    return task


def played(task, act):
    """What everybody is paid over an episode, [copies, agents]."""
    total = np.zeros(task.reward.shape)
    for _ in range(task.horizon):
        assert not task.terminated.any()
        task.step(act(task))
        total += task.reward
    assert task.terminated.all() and not task.alive.any()
    return total


@pytest.mark.parametrize(("agents", "distance"), [(2, 1), (5, 4)])
def test_a_relay_along_a_line(agents, distance):
    task = begun("relay", 200, agents)
    assert task.namer == agents - 1 and task.apart == distance and task.horizon == distance + 1
    assert (task.seen[:, 1:] == -1).all() and set(task.seen[:, 0]) == {0, 1, 2, 3}
    rows = [np.zeros((200, 4), np.float32) for _ in range(agents)]
    task.observe(slice(None), rows, [None] * agents)
    assert (rows[0].argmax(1) == task.seen[:, 0]).all() and not any(row.any() for row in rows[1:])
    paid = played(task, lambda task: list(task.controllers["optimal"](task).act(task)))
    assert (paid == 1).all() and (task.metrics(np.arange(200))["right"] == 1).all()


def test_only_the_last_step_of_the_one_who_must_name_it_counts():
    task = begun("relay", 4, 3, goals=2, horizon=3)
    right = task.seen[:, 0].copy()
    steps = []
    for t in range(3):
        named = right if t == 2 else 1 - right
        task.step([1 - right, 1 - right, named])
        steps.append(task.reward.copy())
    assert not np.any(steps[:2]) and (steps[2] == 1).all()


@pytest.mark.parametrize("goals", [2, 4])
def test_chance_in_a_relay_is_exact(goals):
    """Goals are uniform, and nothing that the others see depends on them."""
    task = begun("relay", 4000, 2, goals=goals)
    counts = np.bincount(task.seen[:, 0], minlength=goals) / 4000
    assert np.abs(counts - 1 / goals).max() < 4 * np.sqrt(1 / goals * (1 - 1 / goals) / 4000)
    paid = played(task, lambda task: [np.zeros(4000, int)] * 2)
    assert (paid[:, 0] == (task.seen[:, 0] == 0)).all()


@pytest.mark.parametrize("agents", [3, 5])
def test_chance_and_optimum_of_a_majority_are_exact(agents):
    """Every team of rules that read the own bit alone, over all bits: none is right more often than who names it."""
    task = begun("majority", 2**agents, agents, graph="complete")
    bits = np.array(list(itertools.product((0, 1), repeat=agents)))
    task.seen[:] = bits
    assert (task.right() == (bits.sum(1) > agents / 2)).all()
    best = 0.0
    for rule in itertools.product((0, 1), repeat=2):  # what it names when it sees 0, and 1
        named = np.array(rule)[bits[:, 0]]
        best = max(best, float((named == task.right()).mean()))
    assert best == task.without_messages
    paid = played(task, lambda task: list(task.controllers["own_bit"](task).act(task)))
    assert paid.mean() == pytest.approx(best) and task.metrics(np.arange(2**agents))["right"].mean() == pytest.approx(
        best
    )
    assert {3: 0.75, 5: 0.6875}[agents] == best


def test_horizon_and_who_is_far():
    assert begun("majority", 1, 5).horizon == 5 and begun("majority", 1, 5, graph="complete").horizon == 2
    assert begun("relay", 1, 6, graph="ring").namer == 3 and begun("relay", 1, 5, graph="star").namer == 4
    assert any_number("relay", {}) and not any_number("majority", {"graph": "here.graphml"})


@pytest.mark.parametrize("name", TELLING)
def test_pettingzoo_accepts_them(name):
    parallel_api_test(parallel_env(f"games:{name}", agents=3), num_cycles=20)
    parallel_seed_test(lambda: parallel_env(f"games:{name}", agents=3))


@pytest.mark.parametrize("name", TELLING)
def test_pictures(name):
    task = begun(name, 1, 3)
    pictures = [task.picture(0)]
    task.step([np.zeros(1, int)] * 3)
    pictures.append(task.picture(0))
    assert all(picture.ndim == 3 and picture.std() > 5 for picture in pictures)


def test_bad_input(tmp_path):
    parts = tmp_path / "parts.graphml"
    networkx.write_graphml(networkx.Graph([(0, 1), (2, 3)]), parts)
    for name, arguments, agents, sentence in (
        ("relay", {"goals": 1}, 2, "--env games:relay: goals 1 is not a whole number"),
        ("relay", {"horizon": 0}, 2, "--env games:relay: horizon 0"),
        ("relay", {"graph": str(parts)}, None, "--env games:relay: the graph is in parts"),
        ("majority", {}, 4, "--agents 4: games:majority needs an odd number"),
        ("majority", {"goals": 3}, 3, "unknown argument 'goals'"),
    ):
        with pytest.raises(InputError) as error:
            make(name, arguments, 1, agents, False)
        assert sentence in str(error.value)
