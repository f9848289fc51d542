"""Critics that are fitted by themselves: closed form, folds, windows, linear embedding, control variates."""

from __future__ import annotations

import itertools
import json
import math
import shutil

import numpy as np
import pytest
import torch
from conftest import job, needs_mpirun, run

from perla_net.ground.errors import InputError
from perla_net.ground.processes import Processes
from perla_net.learning.distributions import distribution_of
from perla_net.learning.embedding import Peer, embed
from perla_net.learning.models import MLP
from perla_net.learning.ridge import PENALTIES, gram, ridge, ridge_from
from perla_net.methods import order
from perla_net.methods.hearing import Neighbour
from perla_net.methods.learner import Learner
from perla_net.methods.lesson import Experience, Lesson
from perla_net.methods.protocol import run_alone
from perla_net.methods.returns import control_variate, fitted_coefficient, form_advantage, generalised_advantages
from perla_net.methods.window import Window
from perla_net.settings.config import AgentSettings, Critic, Model, Returns
from perla_net.settings.options import validated
from perla_net.simulation.prepare import prepare
from perla_net.simulation.simulation import Simulation
from perla_net.world.spec import ActionSpec, AgentSpec
from perla_net.world.world import Rollout

RIDGE = {"fit": "ridge", "order": "first"}
TOYS = {"env": "pettingzoo:toys:kind=match,agents=3", "copies": 4, "horizon": 8, "rounds": 4, "ppo": {"minibatch": 16}}

GAME = {
    "env": "games:convention",
    "agents": 6,
    "topology": "interaction",
    "copies": 32,
    "horizon": 1,
    "model": {"critic_hidden": []},
    "critic": RIDGE | {"window": 3, "coefficient": "one"},
}


# Closed form


@pytest.mark.parametrize(("rows", "size"), [(50, 4), (5, 20), (1, 3), (12, 12)])
def test_ridge_is_what_an_independent_solver_finds(rows, size):
    """The penalty as further rows of a least-squares problem with an unpunished constant, solved by LAPACK's gelsd."""
    rng = np.random.default_rng(rows)
    x, y, penalty = rng.normal(size=(rows, size)) + 3, rng.normal(size=rows) * 5 + 7, 0.1
    table = np.concatenate([x, np.ones((rows, 1))], 1)
    punished = np.concatenate([np.sqrt(penalty) * np.eye(size), np.zeros((size, 1))], 1)
    expected = np.linalg.lstsq(np.concatenate([table, punished]), np.concatenate([y, np.zeros(size)]), rcond=None)[0]
    for w, b in (
        ridge(torch.from_numpy(x), torch.from_numpy(y), [penalty]),
        ridge_from(gram(torch.from_numpy(x), torch.from_numpy(y)), [penalty]),
    ):
        assert np.allclose(np.append(w.numpy(), float(b)), expected, atol=1e-8)


@pytest.mark.parametrize(("rows", "size"), [(60, 5), (30, 10), (20, 40)])
@pytest.mark.parametrize("noise", [0.01, 1.0, 30.0])
def test_the_penalty_is_chosen_by_cross_validation(rows, size, noise):
    """The least n |y − ŷ|² / (n − tr H)², with the whole hat matrix, the constant's row included, by hand."""
    rng = np.random.default_rng(rows)
    x = rng.normal(size=(rows, size)) + 2
    y = x @ rng.normal(size=size) + noise * rng.normal(size=rows)
    errors = []
    for penalty in PENALTIES:
        centred = x - x.mean(0)
        hat = centred @ np.linalg.solve(centred.T @ centred + penalty * np.eye(size), centred.T) + 1 / rows
        left = y - hat @ (y - y.mean()) - y.mean() * (hat @ np.ones(rows))
        free = rows - np.trace(hat)
        errors.append(rows * (left @ left) / free**2 if free > 1e-6 * rows else np.inf)
    best = PENALTIES[int(np.argmin(errors))]
    for found in (
        ridge(torch.from_numpy(x), torch.from_numpy(y), PENALTIES),
        ridge_from(gram(torch.from_numpy(x), torch.from_numpy(y)), PENALTIES) if rows > size else None,
    ):
        if found:
            expected = ridge(torch.from_numpy(x), torch.from_numpy(y), [best])
            assert np.allclose(found[0], expected[0], atol=1e-6) and float(found[1]) == pytest.approx(
                float(expected[1])
            )


def test_ridge_without_rows_is_zero():
    w, b = ridge(torch.zeros(0, 3), torch.zeros(0), [0.1])
    assert not w.any() and float(b) == 0
    assert not ridge_from(gram(torch.zeros(0, 3), torch.zeros(0)), [0.1])[0].any()


def test_a_fit_gives_every_action_its_own_head():
    """Heads on the steps of their action only; an action that nobody took says the mean of all."""
    one = learner(critic=Critic(**RIDGE), model=Model(critic_hidden=()))
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(30, one.critic.sizes[0], generator=rng)
    action = torch.arange(30).unsqueeze(1) % 2
    target = torch.where(action[:, 0] == 0, 2 * x[:, 0] + 1, -x[:, 1])
    one.units[:] = 4.0, -2.0
    assert run_alone(one.solve(one.critic, {"x": x, "action": action, "target": target})) < 1e-3
    said = one._in_units(one.critic(x)).detach()
    assert torch.allclose(said.gather(1, action)[:, 0], target, atol=0.1)
    assert torch.allclose(said[:, 2], target.mean().expand(30), atol=1e-4)


# Linear and pooled critics


BOX = ActionSpec("continuous", (), (-1.0, 0.0), (1.0, 9.0))
SPACES = {
    "discrete": distribution_of(ActionSpec("discrete", (3,))),
    "several": distribution_of(ActionSpec("multi_discrete", (2, 3))),
    "continuous": distribution_of(BOX),
    "mixed": distribution_of(ActionSpec("mixed", (2,), (-1.0,), (1.0,))),
    "curved": distribution_of(BOX, curved=True),
    "curved, no bounds": distribution_of(
        ActionSpec("continuous", (), (-math.inf, -0.5, -math.inf), (math.inf, math.inf, 0.3)), curved=True
    ),
    "curved, mixed": distribution_of(ActionSpec("mixed", (2,), (-1.0,), (1.0,)), curved=True),
}


def peers_of(space, number, states, generator):
    distribution = SPACES[space]
    width = distribution.outputs + distribution.free
    present = torch.rand(number, states, generator=generator) > 0.3
    return [Peer(distribution, torch.randn(states, width, generator=generator), here) for here in present]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("pooled", [False, True])
def test_a_linear_critic_is_embedded_without_samples(space, pooled):
    """f(x, E[a_N]), against the mean over many joint actions that are drawn and encoded."""
    generator, draws, states = torch.Generator().manual_seed(0), 20_000, 2
    peers = peers_of(space, 2, states, generator)
    distribution = peers[0].distribution
    width = distribution.width * (1 if pooled else 2)
    critic = MLP((4 + width, 3), "relu")
    critic.flat.normal_(generator=generator)
    x = torch.randn(states, 4, generator=generator)
    found = embed(critic, x, peers, 1, "monte_carlo", np.random.default_rng(0), pooled)
    rng = np.random.default_rng(1)
    encodings = []
    for peer in peers:
        outputs = peer.outputs.repeat(draws, 1)
        noise = distribution.noise(rng, 1, len(outputs))[0]
        action = distribution.sample(outputs.mT, noise)
        encodings.append(distribution.encode(action, peer.present.repeat(draws)))
    read = [torch.stack(encodings).mean(0)] if pooled else encodings
    drawn = critic(torch.cat([x.repeat(draws, 1), *read], 1)).detach().view(draws, states, 3)
    error = drawn.std(0) / draws**0.5
    assert bool(((found - drawn.mean(0)).abs() < 5 * error + 1e-4).all())


@pytest.mark.parametrize("estimator", ["exact", "monte_carlo", "stratified"])
def test_a_critic_that_pools_its_neighbours(estimator):
    """The mean of the encodings as input: summed over all joint actions by hand."""
    generator = torch.Generator().manual_seed(0)
    peers = peers_of("discrete", 3, 5, generator)
    distribution = peers[0].distribution
    critic = MLP((2 + distribution.width, 8, 1), "relu")
    critic.flat.normal_(generator=generator)
    x = torch.randn(5, 2, generator=generator)
    found = embed(critic, x, peers, 20_000, estimator, np.random.default_rng(0), True)[:, 0]
    shares = [torch.cat([distribution.probabilities(p.outputs)[0] * p.present[:, None], ~p.present[:, None]], 1) for p in peers]  # fmt: skip
    expected = torch.zeros(5)
    for joint in itertools.product(range(4), repeat=3):
        code = torch.stack([torch.eye(4)[value] for value in joint]).mean(0).expand(5, -1)
        weight = torch.stack([share[:, value] for share, value in zip(shares, joint)]).prod(0)
        expected += weight * critic(torch.cat([x, code], 1)).detach()[:, 0]
    assert torch.allclose(found, expected, atol=1e-4 if estimator == "exact" else 0.1)


def learner(form="control", neighbours=2, **settings) -> Learner:
    spec = AgentSpec("a", 3, "box", (3,), ActionSpec("discrete", (3,)))
    streams = np.random.SeedSequence(0).spawn(4)
    return Learner(spec, AgentSettings(form=form, **settings), [spec] * neighbours, [spec], torch.zeros(0), streams)


def heard(number, states, taken, generator, sizes=3):
    return [
        Neighbour(
            torch.randn(states, sizes, generator=generator),
            torch.rand(states, generator=generator) > 0.2,
            torch.randint(0, sizes, (taken, 1), generator=generator),
        )
        for _ in range(number)
    ]


@pytest.mark.parametrize("hidden", [(), (8,)])
def test_own_action_as_an_input_averages_over_the_own_policy(hidden):
    """V = Σ_b π(b|o) Q̂(o, b), each b put in by hand."""
    one = learner(
        "control",
        critic=Critic(own_action="input", order="together"),
        model=Model(critic_hidden=hidden),
        exact_limit=100,
    )
    one.critic.flat.normal_(0, 0.5, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    x, outputs = torch.randn(6, 3, generator=generator), torch.randn(6, 3, generator=generator)
    neighbours, action = heard(2, 6, 6, generator), torch.randint(0, 3, (6, 1), generator=generator)
    value, at_action, executed = one.values(x, outputs, neighbours, action)
    share = outputs.softmax(1)
    of_each = []
    for b in range(3):
        _, found, _ = one.values(x, outputs, neighbours, torch.full((6, 1), b))
        of_each.append(found)
    assert torch.allclose(value, (share * torch.stack(of_each, 1)).sum(1), atol=1e-5)
    assert torch.allclose(at_action, torch.stack(of_each, 1).gather(1, action)[:, 0], atol=1e-5)
    code = torch.cat([x, torch.eye(3)[action[:, 0]], *one.encode(neighbours, 6)], 1)
    assert torch.allclose(executed, one.critic(code).detach()[:, 0], atol=1e-5)


# Control variates


def rollout_of(reward, ended):
    """T steps of B copies; ended [T, B]: terminations."""
    steps, copies = reward.shape
    here = np.ones((steps + 1, copies), bool)
    return Rollout(
        np.zeros((steps + 1, copies, 1), np.float32), None, np.zeros((steps, copies, 1), np.float32),
        reward.astype(np.float32), ended, np.zeros_like(ended), here, ~here, np.zeros((0, 2), np.int64),
        np.zeros((0, 1), np.float32), None, np.zeros(0, bool), np.zeros(0, bool),
    )  # fmt: skip


def test_the_trajectory_form_is_its_formula():
    """Q̂(o_t, a_t) − V(o_t) + Σ_l (γλ)^l [r + γ V(o') − Q(o, a, a_N)], up to the end of the episode, written as that sum."""
    rng, gamma, trace = np.random.default_rng(0), 0.9, 0.8
    reward, ended = rng.normal(size=(6, 2)), np.zeros((6, 2), bool)
    ended[2, 1] = ended[4, 0] = True
    value, at_action, executed = rng.normal(size=14), rng.normal(size=12), rng.normal(size=12)
    tensors = [torch.from_numpy(array) for array in (value, at_action, executed)]
    rollout = rollout_of(reward, ended)
    returns = generalised_advantages(rollout, torch.from_numpy(reward), tensors[0], gamma, trace).target.view(12)
    variate = control_variate("trajectory", rollout, tensors[0][:12], tensors[1], tensors[2], gamma, trace)
    found = form_advantage("trajectory", returns, tensors[0][:12], tensors[1], tensors[2], variate).view(6, 2)
    v, q_hat, q = value.reshape(7, 2), at_action.reshape(6, 2), executed.reshape(6, 2)
    for t, copy in itertools.product(range(6), range(2)):
        expected, weight = q_hat[t, copy] - v[t, copy], 1.0
        for k in range(t, 6):
            following = 0.0 if ended[k, copy] else v[k + 1, copy]
            expected += weight * (reward[k, copy] + gamma * following - q[k, copy])
            weight *= gamma * trace
            if ended[k, copy]:
                break
        assert float(found[t, copy]) == pytest.approx(expected, abs=1e-9)


def test_the_control_form_with_a_coefficient():
    rng = torch.Generator().manual_seed(0)
    returns, value, at_action, executed = torch.randn(4, 200, generator=rng, dtype=torch.float64)
    noise = executed - at_action
    own = at_action - value
    gain = 0.3 * noise + 0.7 * own + torch.randn(200, generator=rng, dtype=torch.float64) + 2
    table = torch.stack([torch.ones(200, dtype=torch.float64), own, noise], 1)
    expected = np.linalg.lstsq(table.numpy(), gain.numpy(), rcond=None)[0][2]
    assert fitted_coefficient(gain, noise, own) == pytest.approx(expected)
    assert fitted_coefficient(-gain, noise, own) == 0 and fitted_coefficient(5 * noise, noise, own) == 1
    assert fitted_coefficient(gain, torch.zeros(200), own) == 0 == fitted_coefficient(gain[:0], noise[:0], own[:0])
    without = fitted_coefficient(gain, noise, torch.ones(200))  # Q̂ does not depend on the action
    assert without == pytest.approx(float(np.cov(gain, noise, bias=True)[0, 1] / np.var(noise.numpy())))
    plain = form_advantage("control", returns, value, at_action, executed)
    assert torch.allclose(form_advantage("control", returns, value, at_action, executed, noise, 1.0), plain)
    assert torch.equal(form_advantage("control", returns, value, at_action, executed, noise, 0.0), returns - value)


# Folds


PAYOFF = np.array([[1.0, -3.0], [2.0, 5.0]])
"""Of the agent, by (own action, neighbour's)."""
NEIGHBOUR = np.array([0.3, 0.7])
"""What it does."""


def judged(own, other, how, double, fit="ridge") -> np.ndarray:
    """Advantages of one step of B copies in which these actions were taken, by a learner that has seen nothing before."""
    copies = len(own)
    spec = AgentSpec("a", 1, "box", (1,), ActionSpec("discrete", (2,)))
    settings = AgentSettings(
        form="control",
        critic=Critic(order=how, fit=fit),
        model=Model(critic_hidden=() if fit == "ridge" else (4,)),
        returns=Returns(normalise_advantages=False, normalise_values=False, gamma=0.0),
    )
    one = Learner(spec, settings, [spec], [spec], torch.zeros(0), np.random.SeedSequence(0).spawn(4))
    if double:
        for network in (one.critic, one.rest):
            if network:
                network.to(torch.float64)
    one.critic.flat.normal_(0, 3, generator=torch.Generator().manual_seed(5))  # a wrong one
    reward = PAYOFF[own, other][None]
    rollout = rollout_of(reward, np.ones((1, copies), bool))
    rollout.action.view(np.int32)[0, :, 0] = own
    kind = torch.float64 if double else torch.float32
    outputs = torch.log(torch.from_numpy(NEIGHBOUR)).to(kind).expand(2 * copies, -1).contiguous()
    neighbour = Neighbour(outputs, torch.ones(2 * copies, dtype=torch.bool), torch.from_numpy(np.array(other)[:, None]))
    x, policy = torch.ones(2 * copies, 1, dtype=kind), torch.zeros(2 * copies, 2, dtype=kind)
    rewards = torch.from_numpy(reward).to(kind)
    lesson = Lesson(one, Experience(rollout, rewards, None, x, policy, None, [neighbour]), False)
    steps = {"first": order._first, "folds": order._in_folds}[how]
    run_alone(order._fit_rest([lesson], how) if fit == "residual" else steps([lesson], one.trainer, 0.0))
    return lesson.advantage(lesson.returns()).double().numpy()


def difference(how, double, fit="ridge") -> float:
    """E[A | own action 1] − E[A | own action 0] of the first of two copies: over all that can happen in both, none left out."""
    total = {0: 0.0, 1: 0.0}
    for own in itertools.product(range(2), repeat=2):
        for other in itertools.product(range(2), repeat=2):
            weight = 0.5 * NEIGHBOUR[list(other)].prod()
            total[own[0]] += weight * judged(np.array(own), np.array(other), how, double, fit)[0]
    return total[1] - total[0]


def test_folds_leave_the_mean_of_the_advantage_where_it_was():
    """Every joint outcome of two copies, weighted by its probability: the true difference between the own actions, to rounding, though
    each critic was fitted on one sample. A critic that has seen what it judges shifts it."""
    true = float(PAYOFF[1] @ NEIGHBOUR - PAYOFF[0] @ NEIGHBOUR)
    assert difference("folds", True) == pytest.approx(true, abs=1e-12)
    assert difference("folds", False) == pytest.approx(true, abs=1e-5)
    assert abs(difference("first", True) - true) > 0.1
    # In two parts: V has seen nothing of the round, and R nothing of the half that it judges.
    assert difference("folds", True, "residual") == pytest.approx(true, abs=1e-12)
    assert abs(difference("first", True, "residual") - true) > 0.1


def test_the_halves_of_copies():
    """Five copies: two in the first half, three in the second; what is joined comes from the right one."""
    one = learner("state", 0)
    steps, copies = 3, 5
    rollout = rollout_of(np.zeros((steps, copies)), np.zeros((steps, copies), bool))
    rollout.final_at = np.array([[1, 1], [2, 4]])
    blank = torch.zeros((steps + 1) * copies + 2, 3)
    lesson = Lesson(one, Experience(rollout, torch.zeros(steps, copies), None, blank, blank, None, []), False)
    here = lesson.of_copies(True).view(steps, copies)
    assert here[:, :2].all() and not here[:, 2:].any() and torch.equal(lesson.of_copies(False), ~lesson.of_copies(True))
    first, second = torch.zeros(len(blank)), torch.ones(len(blank))
    lesson.join(order.Values(first), order.Values(second))
    value = lesson.values.value
    assert (
        not value[:20].view(4, 5)[:, :2].any() and value[:20].view(4, 5)[:, 2:].all() and value[20:].tolist() == [0, 1]
    )


def test_a_window_keeps_the_last_rounds():
    window = Window(3)
    rows = [{"x": torch.full((2, 1), float(k)), "target": torch.full((2,), float(k))} for k in range(5)]
    seen = []
    for mine in rows:
        seen.append(window.with_rows(mine)["target"].tolist()[::2])
        window.push(mine)
    assert seen == [[0], [0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4]]
    other = Window(3)
    other.restore(*window.state())
    assert other.with_rows(rows[0])["x"].tolist() == window.with_rows(rows[0])["x"].tolist()
    alone = Window(1)
    alone.push(rows[0])
    assert not alone.rounds and alone.with_rows(rows[1]) is rows[1]


# In runs


def rows_of(**options):
    simulation = Simulation(prepare(validated(TOYS | options)), Processes())
    simulation.start()
    return simulation, [simulation.round()["metrics"] for _ in range(TOYS["rounds"])]


def merged(one, other):
    found = dict(one)
    for key, value in other.items():
        found[key] = merged(found[key], value) if isinstance(found.get(key), dict) else value
    return found


CRITICS = {
    "first": {"critic": {"order": "first", "window": 2, "passes": 2}},
    "folds": {"critic": {"order": "folds", "coefficient": "fitted", "iterations": 2, "trace": 0.0}},
    "ridge": {"critic": {"order": "first", "fit": "ridge", "window": 3}, "model": {"critic_hidden": []}},
    "residual": {"critic": {"order": "folds", "fit": "residual", "window": 3}, "form": "trajectory"},
    "folds ridge": {
        "critic": {"order": "folds", "fit": "ridge", "own_action": "input", "peers": "pooled"},
        "model": {"critic_hidden": []},
        "form": "trajectory",
    },
}


@pytest.mark.parametrize("name", CRITICS)
@pytest.mark.parametrize("base", ["ippo", "ia2c", "mappo"])
def test_who_hears_nobody_is_its_base(name, base):
    """Bit for bit, with the same order and effort."""
    _, alone = rows_of(algorithm=base, topology="empty", **CRITICS[name])
    _, embedding = rows_of(algorithm=f"perla_{base}", topology="empty", **CRITICS[name])
    assert alone == embedding
    _, hearing = rows_of(algorithm=f"perla_{base}", topology="complete", **CRITICS[name])
    assert hearing[-1]["policy_loss"] != alone[-1]["policy_loss"]


@pytest.mark.parametrize("name", CRITICS)
def test_agents_side_by_side_learn_what_they_learn_alone(name):
    one, _ = rows_of(topology="complete", **CRITICS[name])
    other, _ = rows_of(topology="complete", batch_agents="yes", **CRITICS[name])
    for a, b in zip(one.methods, other.methods):
        assert torch.allclose(a.learner.critic.flat, b.learner.critic.flat, atol=2e-3)
        assert torch.allclose(a.policy.flat, b.policy.flat, atol=2e-3)


@pytest.mark.parametrize("name", CRITICS)
def test_a_group_keeps_one_critic(name):
    """Fitted by the mean of gradients, or of what the regressions need; also where each embeds its own neighbours."""
    simulation, rows = rows_of(algorithm="ps_ippo", topology="empty", **CRITICS[name])
    flats = [torch.cat([agent.policy.flat, agent.learner.critic.flat]) for agent in simulation.methods]
    assert torch.equal(flats[0], flats[1]) and torch.equal(flats[0], flats[2])
    agents = {"groups": {"all": ["0-2"]}}
    simulation, rows = rows_of(topology="complete", agents=agents, **CRITICS[name])
    flats = [torch.cat([agent.policy.flat, agent.learner.critic.flat]) for agent in simulation.methods]
    assert torch.equal(flats[0], flats[1]) and torch.equal(flats[0], flats[2])


def test_a_shared_regression_is_that_of_all_rows():
    """Two agents' heads together: the closed form on the rows of both."""
    simulation, _ = rows_of(algorithm="ps_ippo", topology="empty", **CRITICS["ridge"])
    learners = [method.learner for method in simulation.methods]
    windows = [one.window.rounds[-1] for one in learners]
    talks = [one.solve(one.critic, rows) for one, rows in zip(learners, windows)]
    said = [next(talk) for talk in talks]
    mean = np.mean([np.asarray(word.numbers) for word in said], 0)
    for talk in talks:
        with pytest.raises(StopIteration):
            talk.send(mean)
    x, target = (torch.cat([rows[name] for rows in windows]) for name in ("x", "target"))
    w, b = ridge(x, (target - learners[0].shift) / learners[0].scale, PENALTIES)
    for one in learners:
        assert torch.allclose(one.critic.frozen["w0"][0], w.float(), atol=1e-5)
        assert float(one.critic.frozen["b0"][0]) == pytest.approx(float(b), abs=1e-5)


def test_alone_keeps_the_form_and_hears_nobody():
    options = GAME | {"form": "action"}
    simulation, rows = rows_of(**merged(options, {"critic": {"alone": "yes"}}))
    assert all(row["bytes"] == 0 for row in rows)
    assert all(method.learner.own_heads and not method.embedded for method in simulation.methods)
    _, hearing = rows_of(**options)
    assert hearing[-1]["critic_out_of_sample"] > 0.9 and rows[-1]["critic_out_of_sample"] < 0.5


def test_what_a_critic_reports():
    _, rows = rows_of(**GAME)
    simulation, folds = rows_of(topology="complete", **CRITICS["folds"])
    assert all(row["coefficient"] == 1 for row in rows) and all(0 <= row["coefficient"] <= 1 for row in folds)
    size = (
        len(simulation.methods[0].learner.critic.flat)
        if simulation.methods[0].learner.rest is None
        else len(simulation.methods[0].learner.rest.flat)
    )
    assert np.allclose([row["samples_per_parameter"] for row in folds], np.array([1, 2, 3, 4]) * 32 / size)
    grows = [row["samples_per_parameter"] for row in rows]
    assert np.allclose(np.array(grows) / grows[0], [1, 2, 3, 3])
    # The payoff is a sum over those who are heard, bilinear in the actions: a critic that has been fitted once predicts what it has not seen.
    assert rows[-1]["critic_out_of_sample"] > 0.9 > 0.5 > rows[0]["critic_out_of_sample"]


def test_with_memory_masks_and_deaths():
    for options in (
        {"model": {"memory": "gru", "policy_hidden": [8]}},
        {"env": "pettingzoo:scripted", "horizon": 12},
        {"links": {"loss": 0.5, "delay": 1}, "compression": {"method": "int8"}},
    ):
        for name in ("first", "folds ridge"):
            how = CRITICS[name]
            if options.get("env"):
                how = merged(how, {"critic": {"peers": "each"}})
            _, rows = rows_of(**merged(merged(how, {"topology": "complete"}), options))
            assert all(np.isfinite(row["policy_loss"]) for row in rows), (options, name)


REFUSED = [
    ({"critic": {"order": "first", "fit": "ridge"}}, "--critic.fit ridge: solves for a critic without hidden layers"),
    ({"critic": {"fit": "ridge", "order": "together"}, "model": {"critic_hidden": []}}, "--critic.fit ridge: is for a critic that is fitted by itself"),
    ({"critic": {"window": 6, "order": "together"}}, "--critic.window 6: is for a critic that is fitted by itself"),
    ({"critic": {"order": "folds"}, "form": "action"}, "--critic.order folds: is for the forms control and trajectory"),
    ({"critic": {"order": "folds"}, "form": "state"}, "--critic.order folds: is for the forms control and trajectory"),
    ({"critic": {"order": "folds"}, "copies": 1}, "--critic.order folds: halves the copies"),
    ({"critic": {"coefficient": "fitted"}, "form": "action"}, "--critic.coefficient fitted: is for the forms"),
    ({"critic": {"own_action": "heads"}, "env": "games:tandem"}, "--critic.own-action heads: needs actions that can be"),
    ({"critic": {"alone": "yes"}, "algorithm": "ippo"}, "--critic.alone yes: keeps the form"),
    ({"critic": {"order": "first", "fit": "ridge"}, "model": {"critic_hidden": []}, "env": "pettingzoo:toys:kind=picture,agents=2"}, "--critic.fit ridge: cannot fit convolutions"),
    ({"critic": {"peers": "pooled"}, "env": "pettingzoo:toys:kind=aim,agents=2", "overrides": True}, None),
]  # fmt: skip


@pytest.mark.parametrize(("options", "sentence"), REFUSED)
def test_what_critics_cannot_combine(options, sentence):
    options = dict(options)
    if options.pop("overrides", None):  # pooling equal peers is fine
        prepare(validated(TOYS | options | {"topology": "complete"}))
        return
    with pytest.raises(InputError) as refused:
        prepare(validated(TOYS | {"topology": "complete"} | options))
    assert str(refused.value).startswith(sentence), refused.value


def test_unequal_peers_are_not_pooled():
    options = {"env": "pettingzoo:toys", "critic": {"peers": "pooled"}, "topology": "complete"}
    with pytest.raises(InputError, match="--critic.peers pooled: takes the mean of the actions"):
        prepare(validated(options))


@needs_mpirun
@pytest.mark.mpi
@pytest.mark.parametrize("name", ["first", "folds ridge", "residual"])
def test_ranks_and_interruptions_do_not_show(name, tmp_path):
    """One process, four ranks, and a run that is cut and resumed: the same bytes, windows and folds included."""
    file = tmp_path / "critic.yaml"
    file.write_text(json.dumps(merged(CRITICS[name], {"critic": {"window": 3}, "samples": 8})))
    words = ("--config", str(file), "--agents", "4", "--rounds", "4", "--checkpoint-every", "2")
    whole = run(tmp_path / "0", 0, *words, "--keep-checkpoints", "2")
    assert run(tmp_path / "4", 4, *words) == whole
    shutil.rmtree(tmp_path / "0" / "checkpoints" / "4")
    job(0, "perla_net.run", "--resume", str(tmp_path / "0"))
    assert (tmp_path / "0" / "metrics.jsonl").read_bytes() == whole


def test_a_team_that_hears_its_edges_reaches_the_best_convention():
    """Twelve agents on a ring, 64 samples a round, ten rounds: the policies that are heard decide; without them nobody is there yet."""
    options = {
        "env": "games:convention", "agents": 12, "copies": 64, "horizon": 1, "rounds": 10, "topology": "interaction",
        "form": "action", "model": {"critic_hidden": []}, "optimiser": {"learning_rate": 8e-3},
        "critic": {"order": "first", "fit": "ridge", "window": 4},
    }  # fmt: skip

    def ends(**changes):
        simulation = Simulation(prepare(validated(merged(options, changes))), Processes())
        simulation.start()
        return [simulation.round()["metrics"]["team_reward"] / 12 for _ in range(10)]

    assert min(ends(seed=seed)[-1] for seed in range(2)) > 1.17
    assert ends(critic={"alone": "yes"})[-1] < 1.1


def test_a_payoff_that_is_quadratic_in_continuous_actions_is_known_exactly():
    """−(1/N) Σ (a_j − c_j)², actions clipped at the bounds: the defaults' R reads clipped actions and their squares, so that little but the
    penalty is left of the payoff on steps that R has not seen; and what the others do is taken away whole."""
    options = {
        "env": "games:targets", "agents": 4, "topology": "complete", "copies": 64, "horizon": 1, "rounds": 4,
        "share": "outputs",
    }  # fmt: skip
    simulation = Simulation(prepare(validated(options)), Processes())
    simulation.start()
    last = [simulation.round()["metrics"] for _ in range(4)][-1]
    assert last["critic_out_of_sample"] > 0.99 and last["coefficient"] > 0.95


def test_what_values_leave_is_the_td_error():
    """Of the rows that a window keeps, by the values of now: the TD errors of the rollout, ends and final observations included."""
    options = {"env": "pettingzoo:scripted", "horizon": 20, "topology": "complete"}
    simulation, _ = rows_of(**options)
    method = simulation.methods[0]
    rollouts = simulation._collect()
    messages = {m.index: m.tell(r, simulation.wanted[m.index]) for m, r in zip(simulation.methods, rollouts)}
    edges = simulation.plan.schedule.edges(1)
    inboxes = simulation.network.exchange(messages, 1, edges, rollouts[0].final_at[:, 1])
    lesson = Lesson(method.learner, method.experience(rollouts[0], inboxes[0], 1), keep_all=True)
    lesson.look()
    found = method.learner.left_by_values(lesson.rest_rows())
    assert len(rollouts[0].final_at) > 2 and lesson.alive.sum() > 20
    assert torch.allclose(found[lesson.alive], lesson.rest_left()[lesson.alive], atol=1e-4)
