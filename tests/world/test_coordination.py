"""Tasks whose optimum is known against their formulas, their joint actions counted out, and what makes them hard, one by one."""

import itertools

import networkx
import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

from perla_net.ground.errors import InputError
from perla_net.ground.processes import Processes
from perla_net.settings.options import validated
from perla_net.simulation.prepare import prepare
from perla_net.simulation.simulation import Simulation
from perla_net.world.catalogue import details
from perla_net.world.networked.coordination import TASKS
from perla_net.world.networked.games import any_number, make
from perla_net.world.parallel import parallel_env

DISCRETE = ["convention", "additive", "squeeze"]
SMALL = [
    ("convention", {"graph": "ring"}, 4),
    ("convention", {"graph": "star", "payoffs": "0.5-2-2-1.5"}, 3),
    ("additive", {"actions": 3, "seed": 5}, 4),
    ("squeeze", {"actions": 4}, 3),
    ("squeeze", {"actions": 3, "mu": 40, "sigma": 0.01}, 3),
    ("squeeze", {"actions": 5, "mu": 0}, 3),
    ("targets", {}, 2),
    ("targets", {"kind": "mean", "target": -0.75}, 2),
]
"""Tasks small enough to try all joint actions."""


def begun(name: str, copies: int = 1, agents: int | None = None, **arguments):
    """Such tasks at the start of their episodes."""
    task = make(name, arguments, copies, agents, False)
    task.reset(np.arange(copies), [np.random.SeedSequence(seed) for seed in range(copies)])
    return task


def observed(task) -> np.ndarray:
    """[copies, agents, contexts]."""
    rows = [np.zeros((task.copies, task.contexts), np.float32) for _ in range(task.number)]
    task.observe(slice(None), rows, [None] * task.number)
    return np.stack(rows, 1)


def played(task, controller: str) -> np.ndarray:
    """Rewards of an episode, [steps, copies, agents]."""
    acting, rewards = task.controllers[controller](task), []
    for _ in range(task.horizon):
        task.step(list(acting.act(task)))
        rewards.append(task.reward.copy())
    return np.array(rewards)


def every_joint_action(task) -> np.ndarray:
    """[joint actions, agents]; continuous ones on a grid of steps of 1/20 of the bound."""
    each = range(task.actions) if task.actions else np.linspace(-1, 1, 41)
    return np.array(list(itertools.product(each, repeat=task.number)))


def test_payoffs_by_hand():
    line = begun("convention", 2, 3, graph="line")
    line.step(list(np.array([[0, 0, 1], [2, 2, 2]]).T))
    assert np.allclose(line.reward, [[1.2, 0.6, 0], [1, 1, 1]])
    assert np.allclose(line.metrics(np.arange(2))["payoff"], [0.6, 1])
    assert np.allclose(line.metrics(np.arange(2))["of_best"], [0.5, 1 / 1.2])
    assert np.array_equal(line.metrics(np.arange(2))["optimal"], [0.5, 0])
    additive = begun("additive", 1, 3)
    additive.step([np.array([1]), np.array([0]), np.array([3])])
    assert np.allclose(additive.reward, (additive.weight[0, 1] + additive.weight[1, 0] + additive.weight[2, 3]) / 3)
    assert (0 <= additive.weight).all() and (additive.weight < 1).all()
    squeeze = begun("squeeze", 10, 4, mu=1.25, sigma=0.5)  # μ = 5, σ = 2
    squeeze.step([np.arange(10), np.full(10, 2), np.zeros(10, int), np.full(10, 1)])
    x = np.arange(10) + 3
    assert np.allclose(squeeze.reward[:, 0], x * np.exp(-(((x - 5) / 2) ** 2)) / 5, atol=1e-6)  # greatest at 5
    assert squeeze.metrics(np.arange(10))["optimal"].tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    own, mean = begun("targets", 1, 2, bound=3), begun("targets", 1, 2, kind="mean", target=0.25)
    own.step([np.array([0.5], np.float32), np.array([-9.0], np.float32)])  # 1.5, and −3 at the bound
    c = own.centre[:, 0]
    assert np.allclose(own.reward, -((1.5 - c[0]) ** 2 + (3 + c[1]) ** 2) / 2)
    assert np.allclose(own.metrics(np.arange(1))["distance"] ** 2, -own.reward[0, 0])
    mean.step([np.array([0.5], np.float32), np.array([0.75], np.float32)])  # mean 1.25
    assert np.allclose(mean.reward, -1) and np.allclose(mean.metrics(np.arange(1))["distance"], 1)


@pytest.mark.parametrize(("name", "arguments", "agents"), SMALL)
def test_the_optimum_is_that_of_all_joint_actions_and_the_controller_gets_it(name, arguments, agents):
    joint = every_joint_action(begun(name, 1, agents, **arguments))
    task = begun(name, len(joint), agents, **arguments)
    task.step(list(joint.T))
    payoff = task.metrics(np.arange(len(joint)))["payoff"]
    if task.actions:
        assert payoff.max() == pytest.approx(task.optimum, abs=1e-12)
        best = task.metrics(np.arange(len(joint)))["optimal"] == 1
        assert np.array_equal(best, np.isclose(payoff, payoff.max(), rtol=1e-9))
    else:
        assert -(task.scale**2) / 40**2 <= payoff.max() <= task.optimum == 0
    assert np.allclose(played(begun(name, 3, agents, **arguments), "optimal"), task.optimum, atol=1e-6)
    # What the uniform controller gets is the mean over all of them; on the grid for continuous ones the same to a few hundredths.
    rewards = played(begun(name, 20, agents, horizon=400, **arguments), "uniform").mean((1, 2)).ravel()
    error = rewards.std() / np.sqrt(len(rewards))
    assert abs(rewards.mean() - payoff.mean()) < 4.5 * error + (0 if task.actions else 0.12)


@pytest.mark.parametrize("name", TASKS)
def test_the_optimum_with_many_agents_contexts_and_steps(name):
    for arguments in ({}, {"contexts": 5}):
        task = begun(name, 3, 32, horizon=4, **arguments)
        assert np.allclose(played(task, "optimal"), task.optimum, atol=1e-6)
        figures = task.metrics(np.arange(3))
        assert np.allclose(figures["payoff"], task.optimum)
        if name in DISCRETE:
            assert np.allclose(figures["of_best"], 1) and np.allclose(figures["optimal"], 1)
        else:
            assert np.allclose(figures["distance"], 0, atol=1e-6)
    mean = begun("targets", 3, 32, kind="mean", contexts=2, target=1, horizon=4)
    assert np.allclose(played(mean, "optimal"), 0, atol=1e-6)


@pytest.mark.parametrize(("name", "arguments", "agents"), [case for case in SMALL if case[0] != "targets"])
def test_replies_are_the_best_against_what_the_others_did(name, arguments, agents):
    task = begun(name, 30, agents, horizon=3, contexts=2, **arguments)
    rng = np.random.default_rng(0)
    did = task.effects(rng.integers(0, task.actions, (30, agents)))
    task.step(list(task.actions_for(did).T))
    assert np.array_equal(task.last, did)
    replies = task.replies()
    assert np.array_equal(task.effects(task.controllers["best_response"](task).act(task).T), replies)
    for agent in range(agents):
        tried = []
        for action in range(task.actions):
            did[:, agent] = action
            tried.append(np.broadcast_to(task.payoff(did), did.shape)[:, agent])
        did[:] = task.last
        assert np.allclose(np.max(tried, 0), np.array(tried)[replies[:, agent], np.arange(30)])


def test_best_responses_from_action_0():
    """A convention and what does not depend on others stay or become the best; who answers all at once overshoots."""
    assert np.allclose(played(begun("convention", 2, 5, horizon=3), "best_response"), 1.2)
    assert np.allclose(played(begun("convention", 2, 5, horizon=3, payoffs="1-2"), "best_response"), 1)
    for name in ("additive", "targets"):
        task = begun(name, 1, 5, horizon=3)
        rewards = played(task, "best_response")
        assert (rewards[0] < task.optimum - 0.01).all() and np.allclose(rewards[1:], task.optimum)
    mean = played(begun("targets", 1, 3, kind="mean", horizon=4, target=0.6), "best_response")[:, 0, 0]
    assert np.allclose(
        mean, [-(0.6**2), -(1.2**2), -(2.4**2), -(1.4**2)], atol=1e-5
    )  # all at 0, 1.8, −1.8, the bound 2
    squeeze = begun("squeeze", 1, 6, horizon=3)
    all_nothing, all_most, _ = played(squeeze, "best_response")[:, 0, 0]
    assert all_nothing == 0 and all_most == pytest.approx(squeeze.value[54])


@pytest.mark.parametrize("name", TASKS)
def test_noise_is_of_its_size_and_leaves_everything_else_alone(name):
    plain, noisy = (begun(name, 40, 8, horizon=50, contexts=2, noise=sd) for sd in (0, 0.3))
    rewards = [played(task, "uniform") for task in (plain, noisy)]
    noise = rewards[1] - rewards[0]
    everybodys = noise if name == "convention" else noise[..., :1]
    assert np.allclose(noise, everybodys, atol=1e-6)  # a team's payoff stays one number
    assert everybodys.std() == pytest.approx(0.3, rel=0.05) and abs(everybodys.mean()) < 4 * 0.3 / np.sqrt(2000)
    if name == "convention":
        assert np.abs(np.corrcoef(noise.reshape(-1, 8).T) - np.eye(8)).max() < 0.12
    for one, other in zip(plain.metrics(np.arange(40)).values(), noisy.metrics(np.arange(40)).values()):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("name", DISCRETE)
def test_a_context_shifts_what_an_action_does(name):
    task, plain = begun(name, 6, 5, contexts=4, horizon=3), begun(name, 6, 5, horizon=3)
    rng = np.random.default_rng(0)
    for _ in range(3):
        seen = observed(task)
        assert (seen.sum(2) == 1).all() and seen.shape == (6, 5, 4)
        actions = rng.integers(0, task.actions, (5, 6))
        task.step(list(actions))
        plain.step(list((actions + seen.argmax(2).T) % task.actions))
        assert np.array_equal(task.reward, plain.reward)
    seen = observed(task)  # also what an episode ends with has a context, a new one
    assert (seen.sum(2) == 1).all() and not np.array_equal(seen.argmax(2), task.context[:, 2])
    task.reset(np.array([4]), [np.random.SeedSequence(9)])
    assert [task.metrics(np.arange(6))[figure][4] for figure in ("payoff", "optimal")] == [0, 0]
    assert (observed(plain) == 1).all() and observed(plain).shape == (6, 5, 1)


def test_a_context_has_a_target_of_its_own():
    task = begun("targets", 6, 5, contexts=3)
    seen = observed(task).argmax(2)
    task.step(list(np.zeros((5, 6), np.float32)))
    assert np.allclose(task.reward[:, 0], -np.mean(task.centre[np.arange(5), seen] ** 2, 1))
    assert np.array_equal(task.centre[:, :1], begun("targets", 1, 5).centre)
    assert np.array_equal(task.centre[:2], begun("targets", 1, 2, contexts=3).centre)
    mean = begun("targets", 6, 5, contexts=3, kind="mean")
    assert not mean.centre[:, 0].any() and np.array_equal(mean.centre[:, 1:], task.centre[:, 1:])
    seen = observed(mean).argmax(2)
    mean.step(list(np.zeros((5, 6), np.float32)))
    assert np.allclose(mean.reward[:, 0], -((-mean.centre[np.arange(5), seen].mean(1) - 0.5) ** 2))


def test_contexts_are_uniform_and_private():
    task = begun("additive", 200, 4, contexts=3, horizon=20)
    drawn = task.context[:, :20].reshape(-1, 4)
    shares = np.array([np.bincount(column, minlength=3) / len(drawn) for column in drawn.T])
    assert np.abs(shares - 1 / 3).max() < 0.03 and np.abs(np.corrcoef(drawn.T) - np.eye(4)).max() < 0.08


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("controller", ["optimal", "uniform", "best_response"])
def test_controllers_go_on_from_a_saved_state(name, controller):
    settings = {"noise": 0.5, "contexts": 3, "horizon": 6}
    task, again = begun(name, 3, 4, **settings), make(name, settings, 3, 4, False)
    acting, other = task.controllers[controller](task), again.controllers[controller](again)
    for _ in range(3):
        task.step(list(acting.act(task)))
    again.load(task.save(), [np.random.SeedSequence(seed) for seed in range(3)])
    for _ in range(3):
        assert np.array_equal(acting.act(task), other.act(again))
        task.step(list(acting.act(task)))
        again.step(list(other.act(again)))
        assert np.array_equal(task.reward, again.reward)
    for one, two in zip(task.save().values(), again.save().values(), strict=True):
        assert np.array_equal(one, two)


def test_what_a_seed_draws_is_of_the_task():
    same, other = begun("additive", 2, 6), begun("additive", 2, 6, seed=1)
    same.reset(np.arange(2), [np.random.SeedSequence(99)] * 2)
    assert np.array_equal(same.weight, begun("additive", 1, 6).weight) and not np.array_equal(same.weight, other.weight)
    assert np.array_equal(same.weight[:4], begun("additive", 1, 4).weight)


@pytest.mark.parametrize("name", TASKS)
def test_one_step_ends_by_termination_more_by_truncation(name):
    one, many = begun(name, 2, 3), begun(name, 2, 3, horizon=3)
    actions = [np.zeros(2, np.int32)] * 3
    one.step(actions)
    assert one.terminated.all() and not one.truncated.any() and not one.alive.any()
    for step in range(1, 4):
        many.step(actions)
        assert many.truncated.all() == (step == 3) and not many.terminated.any() and many.alive.all()
    one.reset(np.array([1]), [np.random.SeedSequence(0)])
    assert one.alive.tolist() == [[False] * 3, [True] * 3] and one.spec.horizon == 1


def test_who_influences_whom(tmp_path):
    assert set(begun("convention", 1, 32).spec.interaction) == {(i, (i + s) % 32) for i in range(32) for s in (-1, 1)}
    small_world = networkx.watts_strogatz_graph(12, 4, 0.2, seed=1)
    networkx.write_graphml(small_world, tmp_path / "world.graphml")
    task = begun("convention", 3, graph=str(tmp_path / "world.graphml"))
    assert networkx.utils.graphs_equal(networkx.Graph(list(task.spec.interaction)), networkx.Graph(small_world.edges))
    rewards = played(task, "uniform")[0]
    did = task.last[1]
    expected = [np.mean([task.pays[did[i]] * (did[i] == did[j]) for j in small_world[i]]) for i in range(12)]
    assert np.allclose(rewards[1], expected)
    assert any_number("convention", {}) and any_number("convention", {"graph": "grid"}) and any_number("squeeze", {})
    assert not any_number("convention", {"graph": str(tmp_path / "world.graphml")})
    for name in ("additive", "squeeze", "targets"):
        assert len(begun(name, 1, 5).spec.interaction) == 20


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "env",
    ["games:convention:horizon=4,contexts=2,noise=1", "games:squeeze:contexts=2", "games:targets:contexts=3,horizon=2"],
)
def test_pettingzoo_accepts_them_with_everything_on(env):
    parallel_api_test(parallel_env(env, 5), num_cycles=60)
    parallel_seed_test(lambda: parallel_env(env, 5), num_cycles=30)


def test_pictures_show_effects():
    for name in TASKS:
        task = begun(name, 2, 6, contexts=2)
        blank = task.picture(1)
        played(task, "uniform")
        assert blank.dtype == np.uint8 and not np.array_equal(blank, task.picture(1))


def test_the_listing_tells_the_optimum():
    assert "optimum: 1.2 for an agent and step" in details("games:convention")
    assert "optimum: 0 for an agent" in details("games:targets:kind=mean")
    assert "optimum" not in details("games:climbing").replace("optimal", "")


@pytest.mark.parametrize(
    ("name", "arguments", "agents", "sentence"),
    [
        ("convention", {"payoffs": "1.2"}, None, "payoffs '1.2' is not two or more numbers above 0"),
        ("convention", {"payoffs": 3}, None, "payoffs 3 is not two or more numbers above 0"),
        ("convention", {"payoffs": "1-0"}, None, "payoffs '1-0' is not"),
        ("convention", {"payoffs": "1--2"}, None, "payoffs '1--2' is not"),
        ("convention", {"graph": "torus"}, None, "graph 'torus' is neither ring, line"),
        ("convention", {"actions": 3}, None, "unknown argument 'actions'; it takes graph, payoffs, noise"),
        ("convention", {"noise": -1}, None, "noise -1 is not a number from 0"),
        ("additive", {"contexts": 0}, None, "contexts 0 is not a whole number from 1 to 1000"),
        ("additive", {"actions": 1}, None, "actions 1 is not a whole number from 2 to 1000"),
        ("additive", {"seed": -1}, None, "seed -1 is not a whole number of at least 0"),
        ("squeeze", {"horizon": 1.5}, None, "horizon 1.5 is not a whole number of at least 1"),
        ("squeeze", {"sigma": 0}, None, "sigma 0 is not a number from 0.001"),
        ("squeeze", {"mu": "much"}, None, "mu 'much' is not a number from 0"),
        ("squeeze", {"noise": True}, None, "noise True is not a number"),
        ("targets", {"kind": "both"}, None, "kind 'both' is neither own nor mean"),
        ("targets", {"target": 0.2}, None, "target 0.2 is for kind=mean"),
        ("targets", {"kind": "mean", "target": 3}, None, "target 3 is not a number from -2 to 2"),
        ("targets", {"kind": "mean", "target": 2, "contexts": 2}, None, "target 2 is not a number from -1 to 1"),
        ("targets", {"bound": 0.5}, None, "bound 0.5 is not a number from 1"),
        ("targets", {"graph": "ring"}, None, "unknown argument 'graph'"),
    ],
)
def test_bad_arguments_are_named(name, arguments, agents, sentence):
    with pytest.raises(InputError) as caught:
        make(name, arguments, 1, agents, False)
    assert str(caught.value).startswith(f"--env games:{name}: ") and sentence in str(caught.value)


def test_one_agent_is_not_enough():
    for name in TASKS:
        with pytest.raises(InputError, match=f"--agents 1: games:{name} needs at least 2"):
            make(name, {}, 1, 1, False)


def test_many_learners_settle_on_something_good():
    """Independent learners in the additive task: from the mean of the weights most of the way to the optimum."""
    options = {"env": "games:additive", "agents": {"number": 4}, "algorithm": "ippo", "copies": 64, "horizon": 1}
    options |= {"rounds": 40, "evaluate_episodes": 0, "optimiser": {"learning_rate": 0.05}, "returns": {"entropy": 0.0}}
    simulation = Simulation(prepare(validated(options | {"ppo": {"minibatch": 64}})), Processes())
    simulation.start()
    shares = [simulation.round()["metrics"]["figures"]["of_best"] for _ in range(40)]
    assert shares[0] < 0.85 and shares[-1] > 0.95
