"""LOLA, HOLA and COLA: values and derivatives against slow ones, closed forms, what they reach, and what is refused."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import networkx
import numpy as np
import pytest
import torch
from conftest import job, rows, run

from perla_net.ground.processes import Processes
from perla_net.learning.distributions import distribution_of
from perla_net.learning.models import Policy
from perla_net.methods.dice import Course, Part, decayed_sum, halves_of, sampled_game
from perla_net.methods.look_ahead import hola, inconsistency, lola, naive
from perla_net.methods.pair_games import ITERATED, PairGame, iterated, numbers_of, pair_game, play_by
from perla_net.settings.options import validated
from perla_net.simulation.prepare import prepare
from perla_net.simulation.simulation import Simulation
from perla_net.world.networked.games import make
from perla_net.world.spec import ActionSpec


def simulation_of(env, algorithm, seed=0, **settings):
    """On as small rollouts as can be: exact players do not learn from them."""
    whole = {"env": env, "algorithm": algorithm, "topology": "interaction", "copies": 1, "horizon": 1, "seed": seed}
    simulation = Simulation(prepare(validated({"agents": 2, "rounds": 100} | whole | settings)), Processes())
    simulation.start()
    return simulation


def player(*numbers):
    return torch.tensor(numbers, dtype=torch.float64, requires_grad=True)


def drawn(seed, number=5):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(number, dtype=torch.float64, generator=generator).requires_grad_()


IPD = iterated(*ITERATED["games:ipd"], 0.96)


# Values


def played_out(name, x, y, gamma, steps=2000):
    """Both players' discounted sums, by moving the distribution over (own, other's) last actions step by step. Payoffs by hand."""
    p, q = 1 / (1 + np.exp(-np.array(x))), 1 / (1 + np.exp(-np.array(y)))
    table = {"games:ipd": {"CC": (-1, -1), "CD": (-3, 0), "DC": (0, -3), "DD": (-2, -2)}}.get(
        name, {"CC": (1, -1), "CD": (-1, 1), "DC": (-1, 1), "DD": (1, -1)}
    )
    order = ["start", "CC", "CD", "DC", "DD"]
    share, total = {"start": 1.0}, np.zeros(2)
    for t in range(steps):
        after = dict.fromkeys(table, 0.0)
        for state, weight in share.items():
            one, other = p[order.index(state)], q[order.index(state if state == "start" else state[::-1])]
            for move in table:
                chance = (one if move[0] == "C" else 1 - one) * (other if move[1] == "C" else 1 - other)
                after[move] += weight * chance
        total += gamma**t * sum(weight * np.array(table[move]) for move, weight in after.items())
        share = after
    return total


@pytest.mark.parametrize("name,gamma", [("games:ipd", 0.96), ("games:matching_pennies", 0.9)])
def test_values_are_those_of_the_game_played_out(name, gamma):
    """Also where the players differ: what is CD to the one is DC to the other."""
    x, y = drawn(1), drawn(2)
    game = iterated(*ITERATED[name], gamma)
    found = torch.stack(game.values(x, y)).detach().numpy()
    assert np.allclose(found, played_out(name, x.tolist(), y.tolist(), gamma, 700), atol=1e-9)
    one, other = iterated(*ITERATED[name][::-1], gamma).values(y, x)
    assert np.allclose([float(other.detach()), float(one.detach())], found)
    assert found[0] * (1 - gamma) == pytest.approx(found[0] * game.share)


def test_a_player_who_mixes_up_its_own_view_is_found_out():
    """Tit for tat against who always defects: one C, then D. In the other's view of CD and DC it would be the other way round for ever."""
    copies, defects = player(9e3, 9e3, -9e3, 9e3, -9e3), player(-9e3, -9e3, -9e3, -9e3, -9e3)
    assert float(IPD.values(copies, defects)[0].detach()) == pytest.approx(-3 - 2 * 0.96 / 0.04)
    assert float(IPD.values(copies, copies)[0].detach()) == pytest.approx(-1 / 0.04)


def test_states_and_payoffs_are_those_of_the_environment():
    """A policy that holds a player's numbers plays by them; exact payoffs are what the environment pays."""
    simulation = simulation_of("games:ipd", "lola")
    method = simulation.methods[1]
    numbers = torch.arange(5.0, dtype=torch.float64)
    play_by(method.policy, numbers, 0.0)
    assert torch.equal(numbers_of(method.team, 1, method.policy), numbers)
    game = make("ipd", {}, 1, 2, False)
    game.begin(np.array([0]))
    observations = [np.zeros((1, 5), np.float32) for _ in range(2)]
    for moves, own in ((None, 0), ((0, 1), 3), ((1, 0), 2), ((0, 0), 1), ((1, 1), 4)):
        if moves:
            game.step([np.array([move]) for move in moves])
        game.observe(slice(None), observations, [None, None])
        logits = method.policy(torch.from_numpy(observations[1]))[0]
        assert float(logits[0] - logits[1]) == own
    for name in ("tandem", "hamiltonian"):
        one, other = simulation_of(f"games:{name}", "hola").methods
        for method, bound in ((one, 2.0), (other, 2.0)):
            play_by(method.policy, player(0.5).detach(), bound)
            assert method.numbers() == pytest.approx([0.5])
            acted = method.policy(torch.ones(1, 1))[0]
            assert float(acted[0]) == 0.25 and float(acted[1].exp()) < 1e-8
        game = make(name, {}, 1, 2, False)
        game.begin(np.array([0]))
        game.step([np.array([0.5 / 2]), np.array([-1.2 / 2])])
        for i, (x, y) in enumerate([(0.5, -1.2), (-1.2, 0.5)]):
            value, worth = pair_game(one.team, i, 1 - i).values(player(x), player(y))
            assert float(value) == pytest.approx(game.reward[0, i]) and float(worth) == pytest.approx(
                game.reward[0, 1 - i]
            )


# Derivatives


def differences(of, at, step=1e-5):
    """Central differences of a function of a vector."""
    at = at.detach()
    return torch.stack([(of(at + step * e) - of(at - step * e)) / (2 * step) for e in torch.eye(len(at)).double()])


def test_lola_against_finite_differences():
    """Each published form; with nothing to look ahead all are naive; in none of them is ∇_i V_j lost."""
    x, y, eta = drawn(3), drawn(4), 0.7
    value = lambda one, other: IPD.values(one, other)[0].detach()  # noqa: E731
    worth = lambda one, other: IPD.values(one, other)[1].detach()  # noqa: E731
    alone = differences(lambda one: value(one, y), x)
    through = differences(lambda other: value(x, other), y)

    def of_worth(one):
        return differences(lambda other: worth(one, other), y, 1e-4)

    mixed = torch.stack([(of_worth(x + 1e-4 * e) - of_worth(x - 1e-4 * e)) / 2e-4 for e in torch.eye(5).double()])
    shaping = alone + eta * mixed @ through
    assert torch.allclose(lola(IPD, x, y, eta, "shaping"), shaping, atol=1e-4)

    def surrogate(one):
        return value(one, y) + eta * differences(lambda other: value(one, other), y, 1e-4) @ of_worth(one)

    assert torch.allclose(lola(IPD, x, y, eta, "surrogate"), differences(surrogate, x, 1e-4), atol=1e-3)

    def stepped(one):
        return value(one, y + eta * differences(lambda other: worth(one, other), y, 1e-5))

    assert torch.allclose(lola(IPD, x, y, eta, "step"), differences(stepped, x, 1e-4), atol=1e-3)
    for form in ("shaping", "surrogate", "step"):
        assert torch.allclose(lola(IPD, x, y, 0.0, form), naive(IPD, x, y), atol=1e-12)
        assert not torch.allclose(lola(IPD, x, y, eta, form), naive(IPD, x, y), atol=1e-2)
    assert torch.allclose(naive(IPD, x, y), alone, atol=1e-6)


def test_a_probability_near_one_still_has_a_slope():
    """In float32, σ(18) is 1 and its slope 0."""
    x, y = player(*[18.0] * 5), player(*[18.0] * 5)
    assert float(naive(IPD, x, y).norm()) > 0


def test_hola_of_low_orders_is_what_is_known():
    """Order 0: the naive gradient; order 1: LOLA's step at α; where values are bilinear, also the whole surrogate."""
    x, y = drawn(5), drawn(6)
    assert torch.allclose(hola(IPD, x, y, 0.3, 0)[0], 0.3 * naive(IPD, x, y))
    assert torch.allclose(hola(IPD, x, y, 0.3, 1)[0], 0.3 * lola(IPD, x, y, 0.3, "step"))
    _, _, game = team_game("hamiltonian")
    x, y = player(0.4), player(-1.1)
    assert torch.allclose(hola(game, x, y, 0.3, 1)[0], 0.3 * lola(game, x, y, 0.3, "surrogate"))


def team_game(name):
    one, other = simulation_of(f"games:{name}", "hola").methods
    return one, other, pair_game(one.team, 0, 1)


ORDERS = range(5)


def tandem_of_order(alpha, order):
    """hⁿ of both players = p (x + y) + q:  h = −α ∂_x [(x + y + h')² − 2 x] with h' = p' (x + y) + q'."""
    p = q = 0.0
    for _ in range(order + 1):
        p, q = -2 * alpha * (1 + p) ** 2, -2 * alpha * ((1 + p) * q - 1)
    return p, q


def hamiltonian_of_order(alpha, order):
    """hⁿ_x = a x + b y, hⁿ_y = c x + d y:  h_x = −α ∂_x x (y + c' x + d' y),  h_y = α ∂_y y (x + a' x + b' y)."""
    a = b = c = d = 0.0
    for _ in range(order + 1):
        a, b, c, d = -2 * alpha * c, -alpha * (1 + d), alpha * (1 + a), 2 * alpha * b
    return a, b, c, d


@pytest.mark.parametrize("order", ORDERS)
def test_hola_against_closed_forms(order):
    for name in ("tandem", "hamiltonian"):
        _, _, game = team_game(name)
        x, y = player(0.7), player(-1.3)
        found = [float(step.detach()) for step in hola(game, x, y, 0.1, order)]
        if name == "tandem":
            p, q = tandem_of_order(0.1, order)
            assert found == pytest.approx([p * -0.6 + q] * 2)
        else:
            a, b, c, d = hamiltonian_of_order(0.1, order)
            assert found == pytest.approx([0.7 * a - 1.3 * b, 0.7 * c - 1.3 * d])


def consistent_tandem(alpha):
    """The limit: p = −2α (1 + p)², q = 2α / (1 + 2α (1 + p)); at rest where h = 0, x + y = −q / p = 1 / (1 + p)."""
    p = (-(4 * alpha + 1) + np.sqrt(8 * alpha + 1)) / (4 * alpha)
    q = 2 * alpha / (1 + 2 * alpha * (1 + p))
    return p, q, -q / p


def consistent_hamiltonian(alpha):
    """The limit: h_x = (−2α² x − α y) / (1 + 2α²), h_y = (α x − 2α² y) / (1 + 2α²)."""
    down = 1 + 2 * alpha**2
    return -2 * alpha**2 / down, -alpha / down, alpha / down, -2 * alpha**2 / down


def test_consistent_steps_are_the_limit_of_looking_ahead():
    """Their inconsistency is zero, if (and only if) their dependence on the own numbers is differentiated."""
    p, q, rest = consistent_tandem(0.1)
    assert tandem_of_order(0.1, 60) == pytest.approx((p, q)) and rest == pytest.approx(1 / (1 + p))
    assert hamiltonian_of_order(0.1, 60) == pytest.approx(consistent_hamiltonian(0.1))
    _, _, game = team_game("tandem")
    x, y = (part.unsqueeze(1).detach().requires_grad_() for part in (drawn(1, 9), drawn(2, 9)))

    def steps(one, other):
        return (p * (one + other) + q,) * 2

    assert float(inconsistency(game, steps, x, y, 0.1).max()) < 1e-24
    assert float(inconsistency(game, lambda *both: [one.detach() for one in steps(*both)], x, y, 0.1).mean()) > 1e-4


LINEAR = {"hidden": [], "begin": 300, "updates": 1, "learning_rate": 0.02, "batch": 16}


@pytest.mark.parametrize("name", ["tandem", "hamiltonian"])
def test_cola_settles_where_consistent_steps_do(name):
    """Both players' replicas stay equal to the bit."""
    simulation = simulation_of(f"games:{name}", "cola", rounds=40, cola=LINEAR | {"rate": 0.1})
    for _ in range(40):
        row = simulation.round()["metrics"]
    one, other = simulation.methods
    for mine, theirs in zip(one.fits[1].networks, other.fits[0].networks):
        assert torch.equal(mine.flat, theirs.flat)
    assert row["consistency"] < 1e-6 and row["consistency_beyond"] < 1e-5 and row["consistency_here"] < 1e-6
    x, y = (float(method.numbers()[0]) for method in simulation.methods)
    if name == "tandem":
        assert x + y == pytest.approx(consistent_tandem(0.1)[2], abs=0.01)
    else:
        a, b, c, d = consistent_hamiltonian(0.1)
        linear = torch.cat([network.frozen["w0"] for network in one.fits[1].networks]).flatten()
        assert linear.tolist() == pytest.approx([a, b, c, d], abs=2e-3)
        start = np.hypot(*(float(method.numbers()[0]) for method in simulation_of("games:hamiltonian", "cola").methods))
        factor = np.linalg.norm(np.linalg.eigvals(np.eye(2) + [[a, b], [c, d]])[0])
        assert np.hypot(x, y) == pytest.approx(start * factor**40, rel=0.1)


# What is reached


def pairs_of(tmp_path, number):
    """A graph of so many pairs: as many seeds in one run."""
    file = tmp_path / "pairs.graphml"
    networkx.write_graphml(networkx.Graph([(2 * k, 2 * k + 1) for k in range(number)]), file)
    return file


def test_the_prisoners_dilemma_separates(tmp_path):
    """LOLA ends near −1 a step in most pairs, the naive gradient near −2 in all."""
    ended = {}
    for lookahead in (0.0, 1.0):
        simulation = simulation_of(
            f"games:ipd:graph={pairs_of(tmp_path, 6)}",
            "lola",
            agents=12,
            returns={"gamma": 0.96},
            lola={"lookahead": lookahead},
        )
        for _ in range(45):
            simulation.round()
        numbers = [player(*method.numbers()) for method in simulation.methods]
        values = [0.04 * float(IPD.values(x, y)[0].detach()) for x, y in zip(numbers[::2], numbers[1::2])]
        ended[lookahead] = np.array(values)
    assert (ended[0.0] < -1.95).all()
    assert (ended[1.0] > -1.15).sum() >= 4


def test_an_agent_with_many_neighbours_plays_with_each():
    """The mean over edges, each edge a game of two: x steps by −α Σ_j (1/d_i) …, whatever j's other neighbours."""
    simulation = simulation_of("games:tandem:graph=line", "hola", agents=3, hola={"order": 0, "rate": 0.1})
    before = [float(method.numbers()[0]) for method in simulation.methods]
    simulation.round()
    after = [float(method.numbers()[0]) for method in simulation.methods]
    x, y, z = before
    slopes = [2 - 2 * (x + y), (2 - 2 * (x + y) + 2 - 2 * (y + z)) / 2, 2 - 2 * (y + z)]
    assert np.allclose(np.array(after) - before, 0.1 * np.array(slopes), atol=1e-6)


def test_who_is_not_heard_is_not_looked_ahead_of():
    """Nothing is known of who never was heard; of who was heard once, its numbers then, and the naive gradient."""
    simulation = simulation_of("games:ipd", "lola", links={"loss": 1.0}, lola={"lookahead": 5.0})
    method = simulation.methods[0]
    before = method.numbers()
    row = simulation.round()["metrics"]
    assert row["opponents"] == 0 and row["value"] is None and np.array_equal(method.numbers(), before)
    method.held[0], method.known[0] = np.arange(5.0), True
    step = naive(pair_game(method.team, 0, 1), player(*before), player(*range(5)))
    simulation.round()
    assert np.allclose(method.numbers(), before + step.detach().numpy(), atol=1e-5)


# From samples


def rollout_of(copies, horizon, gamma, seed=0, hidden=(), memory="none", trace=1.0):
    """Two policies in double precision, the course of a rollout of theirs, and their parts in it."""
    simulation = simulation_of(
        f"games:ipd:horizon={horizon}",
        "lola",
        seed,
        copies=copies,
        horizon=horizon,
        lola={"gradient": "dice"},
        model={"policy_hidden": list(hidden), "memory": memory, "policy_gain": 1.0},
    )
    for method in simulation.methods:  # episodes of all copies begin with the rollout
        method.player()
    rollouts = simulation._collect()
    course, parts = Course(rollouts[0], gamma, trace), []
    for method, rollout in zip(simulation.methods, rollouts):
        method.tell(rollout, [])
        method.policy.to(torch.float64)
        there = torch.from_numpy(np.concatenate([rollout.alive.reshape(-1), rollout.final_alive]))
        memory_at_start = method.memory_at_start.double() if method.policy.width else None
        parts.append(
            Part(
                method.policy,
                method.distribution,
                method.observation.double(),
                method.distribution.read(rollout.action),
                torch.from_numpy(rollout.reward.copy()),
                there,
                None,
                memory_at_start,
            )
        )
    return simulation, rollouts, course, parts


def test_a_decayed_sum():
    terms, kept = torch.randn(37, 3).double(), torch.rand(37, 3).double() * (torch.rand(37, 3) > 0.1)
    slow, running = [], torch.zeros(3).double()
    for term, share in zip(terms, kept):
        running = term + share * running
        slow.append(running)
    assert torch.allclose(decayed_sum(terms, kept), torch.stack(slow))


@pytest.mark.parametrize("memory,trace", [("none", 1.0), ("none", 0.8), ("gru", 1.0)])
def test_sampled_derivatives_against_sums_over_steps(memory, trace):
    """J's first and mixed derivatives, from the scores of single steps added up in loops; an episode ends within the rollout."""
    hidden = (4,) if memory == "gru" else ()
    _, rollouts, course, parts = rollout_of(4, 6, 0.9, 3, hidden, memory, trace)
    begins = rollouts[0].begins[:-1]
    here, there = halves_of(4)[0]
    game = sampled_game(parts[0], parts[1], course, here, there)
    x, y = (part.policy.flat.clone().requires_grad_() for part in parts)
    value, worth = game.values(x, y)
    left = parts[1].left_by_baseline(course, here)
    scores = []
    for part, flat in zip(parts, (x, y)):
        logs = part.log_probability(flat, course, torch.arange(4))
        cells = [[torch.autograd.grad(logs[t, b], flat, retain_graph=True)[0] for b in range(4)] for t in range(6)]
        scores.append(cells)
    own, mixed, episodes = torch.zeros(len(y)).double(), torch.zeros(len(x), len(y)).double(), 0
    for b in there.tolist():
        running, weight = [torch.zeros(len(x)).double(), torch.zeros(len(y)).double()], 1.0
        for t in range(6):
            if begins[t, b] or t == 0:
                running, weight, episodes = [torch.zeros_like(one) for one in running], 1.0, episodes + 1
            running = [cells[t][b] + trace * one for cells, one in zip(scores, running)]
            own += weight * left[t, b] * running[1]
            mixed += weight * left[t, b] * torch.outer(*running)
            weight *= 0.9
    slope = torch.autograd.grad(worth, y, create_graph=True)[0]
    assert torch.allclose(slope, own / episodes, atol=1e-10)
    found = torch.stack([torch.autograd.grad(one, x, retain_graph=True)[0] for one in slope], 1)
    assert torch.allclose(found, mixed / episodes, atol=1e-10) and float(found.norm()) > 1e-3
    alone = naive(sampled_game(parts[0], None, course, here, there), x, x)
    assert torch.allclose(alone, torch.autograd.grad(value, x)[0], atol=1e-12)


def dilemma_played(policies, copies, steps, gamma):
    """Course and parts of ``copies`` episodes of the dilemma, all from their start, played here."""
    rng, both = np.random.default_rng(0), []
    states = np.zeros((2, steps + 1, copies), int)  # start, CC, CD, DC, DD, the own action first
    actions, rewards = np.zeros((2, steps, copies), int), np.zeros((2, steps, copies))
    odds = [policy(torch.eye(5).double()).detach().numpy() for policy in policies]
    for t in range(steps):
        for i in range(2):
            logits = odds[i][states[i, t]]
            actions[i, t] = rng.random(copies) > 1 / (1 + np.exp(logits[:, 1] - logits[:, 0]))
        for i in range(2):
            pair = 2 * actions[i, t] + actions[1 - i, t]
            states[i, t + 1], rewards[i, t] = 1 + pair, np.array([-1, -3, 0, -2])[pair]
    begins = np.zeros((steps + 1, copies), bool)
    begins[0] = True
    rollout = SimpleNamespace(begins=begins, final_at=np.zeros((0, 2), int), reward=rewards[0])
    for i, policy in enumerate(policies):
        x = torch.from_numpy(np.eye(5)[states[i].ravel()])
        action, reward = torch.from_numpy(actions[i].reshape(-1, 1)), torch.from_numpy(rewards[i])
        both.append(
            Part(policy, distribution_of(ActionSpec("discrete", (2,))), x, action, reward, torch.ones(len(x)) > 0)
        )
    return Course(rollout, gamma, 1.0), both


def test_sampled_gradients_are_those_of_exact_values():
    """With many episodes, each form comes to what it is of exact values; without the magic box none would be more than naive."""
    gamma, policies = 0.6, []
    for seed in range(2):
        policies.append(Policy(5, (), 2, 0, "tanh", "none"))
        policies[-1].to(torch.float64)
        policies[-1].flat.copy_(drawn(seed, 12).detach())
    course, parts = dilemma_played(policies, 12_000, 14, gamma)
    x, y = (policy.flat.clone().requires_grad_() for policy in policies)
    exact = iterated(*ITERATED["games:ipd"], gamma)

    def odds(policy, flat):
        outputs = policy.at(flat)(torch.eye(5).double())
        return outputs[:, 0] - outputs[:, 1]

    game = PairGame(len(x), lambda one, other: exact.values(odds(policies[0], one), odds(policies[1], other)))
    none = naive(game, x, y).detach()
    for form, inner in (("shaping", 1), ("surrogate", 1), ("step", 2)):
        right = lola(game, x, y, 0.3, form, inner).detach()
        found = [lola(sampled_game(*parts, course, *half), x, y, 0.3, form, inner) for half in halves_of(12_000)]
        error = float((sum(found).detach() / 2 - right).norm())
        assert error < 0.1 * float(right.norm()) and error < 0.3 * float((right - none).norm()), form


def test_without_looking_ahead_it_is_the_policy_gradient(tmp_path):
    """η = 0 and an opponent of whom nothing arrives come to the same step, bit for bit."""
    flats = []
    for options in (
        {"lola": {"gradient": "dice", "lookahead": 0.0}},
        {"lola": {"gradient": "dice"}, "topology": "empty"},
    ):
        simulation = simulation_of("games:ipd:horizon=10", "lola", copies=6, horizon=10, **options)
        simulation.round()
        flats.append(simulation.methods[0].policy.flat)
    assert torch.allclose(*flats, atol=1e-6) and float(flats[0].norm()) > 0


# Runs

RUNS = {
    "dice": ("--env", "pettingzoo:toys:kind=leaver", "--algorithm", "lola", "--lola.gradient", "dice"),
    "gru": ("--agents", "4", "--algorithm", "lola", "--lola.gradient", "dice", "--model.memory", "gru"),
    "exact": ("--env", "games:matching_pennies", "--algorithm", "lola"),
    "cola": ("--env", "games:tandem:graph=ring", "--agents", "4", "--algorithm", "cola", "--cola.begin", "20"),
    "hola": ("--env", "games:ipd", "--algorithm", "hola", "--hola.order", "2"),
}


@pytest.mark.parametrize("kind", RUNS)
def test_goes_on_from_the_middle(kind, tmp_path, monkeypatch):
    """To the byte, over links that lose; ranks are in test_matrix.py."""
    monkeypatch.setenv("PYTHONPATH", "tests")
    words = (*RUNS[kind], "--rounds", "4", "--checkpoint-every", "2", "--links.loss", "0.3")
    whole = run(tmp_path / "0", 0, *words, "--keep-checkpoints", "2")
    shutil.rmtree(tmp_path / "0" / "checkpoints" / "4")
    job(0, "perla_net.run", "--resume", str(tmp_path / "0"))
    assert (tmp_path / "0" / "metrics.jsonl").read_bytes() == whole
    assert rows(tmp_path / "0")[-1]["policy_gradient"] is not None
