"""The games against their payoff tables, their symmetries and their known values; on pairs and on graphs."""

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
from perla_net.world.networked.coordination import TASKS
from perla_net.world.networked.games import GAMES, any_number, make
from perla_net.world.networked.telling import TELLING
from perla_net.world.parallel import parallel_env

PAIRWISE = [name for name in GAMES if name not in ("two_step", *TASKS, *TELLING)]
ON_GRAPHS = [(name, graph) for name in PAIRWISE for graph in ("ring", "star", "complete", "grid")]


def begun(name: str, copies: int = 1, agents: int | None = None, **arguments):
    """Such games at the start of their episodes."""
    game = make(name, arguments, copies, agents, False)
    game.reset(np.arange(copies), [np.random.SeedSequence(seed) for seed in range(copies)])
    return game


def observed(game, copies=slice(None)) -> list[np.ndarray]:
    number = len(np.arange(game.copies)[copies])
    rows = [np.zeros((number, agent.observation_size), np.float32) for agent in game.spec.agents]
    game.observe(copies, rows, [None] * len(rows))
    return rows


def any_actions(game, rng: np.random.Generator) -> list[np.ndarray]:
    shape = game.reward.T.shape
    action = game.spec.agents[0].action
    if action.kind == "continuous":
        return list(rng.uniform(-1, 1, shape).astype(np.float32))
    return list(rng.integers(0, action.sizes[0], shape).astype(np.int32))


TABLES = {
    "climbing": ({}, "11 -30 0 -30 7 0 0 6 5"),
    "penalty": ({"k": -25}, "-25 0 10 0 2 0 10 0 -25"),
    "qtran": ({}, "8 -12 -12 -12 0 0 -12 0 0"),
    "qtran, second": ({"variant": 2}, "8 -12 -12 -12 6 0 -12 0 6"),
    "ipd": ({}, "-1 -3 0 -2 / -1 0 -3 -2"),
    "matching_pennies": ({}, "1 -1 -1 1 / -1 1 1 -1"),
}
"""Row player's payoffs / column player's, over joint actions in lexical order."""


@pytest.mark.parametrize("name", TABLES)
def test_payoffs_entry_by_entry(name):
    arguments, text = TABLES[name]
    row, _, column = text.partition("/")
    expected = np.array([row.split(), (column or row).split()], float)
    actions = {4: 2, 9: 3}[expected.shape[1]]
    joint = np.array(list(itertools.product(range(actions), repeat=2)), np.int32)
    game = begun(name.split(",")[0], len(joint), **arguments)
    game.step(list(joint.T))
    assert np.array_equal(game.reward, expected.T)
    best = expected.sum(0) == expected.sum(0).max()
    if name == "matching_pennies":
        assert (game.reward.sum(1) == 0).all()
        assert np.array_equal(game.metrics(np.arange(4))["matches"], [1, 0, 0, 1])
    else:
        assert np.array_equal(game.metrics(np.arange(len(joint)))["optimal"], best)


def test_continuous_payoffs_and_their_equilibria():
    x, y = np.random.default_rng(0).uniform(-2, 2, (2, 50)).astype(np.float32)
    tandem, hamiltonian = begun("tandem", 50), begun("hamiltonian", 50, bound=4)
    tandem.step([x / 2, y / 2])
    losses = np.stack([(x + y) ** 2 - 2 * x, (x + y) ** 2 - 2 * y], 1)
    assert np.allclose(tandem.reward, -losses, atol=1e-5)
    hamiltonian.step([x / 4, y / 4])
    assert np.allclose(hamiltonian.reward, np.stack([-x * y, x * y], 1), atol=1e-5)
    assert (hamiltonian.reward.sum(1) == 0).all()
    assert np.allclose(tandem.metrics(np.arange(50))["distance"], np.abs(x + y - 1), atol=1e-6)
    assert np.allclose(hamiltonian.metrics(np.arange(50))["distance"], np.hypot(x, y), atol=1e-6)
    tandem.step([np.full(50, 9.0, np.float32), np.full(50, -9.0, np.float32)])  # out of bounds: (2, −2)
    assert np.allclose(tandem.reward, [4, -4])


def test_two_step_pays_seven_or_up_to_eight():
    """All 16 ways to play: agent 1's first action does nothing, in 2A no action does."""
    plays = np.array(list(itertools.product(range(2), repeat=4)), np.int32)
    game = begun("two_step", 16)
    assert (np.concatenate(observed(game)) == [1, 0, 0]).all()
    game.step(list(plays[:, :2].T))
    assert not game.reward.any() and not game.terminated.any() and game.alive.all()
    assert np.array_equal(observed(game)[1], np.eye(3)[1 + plays[:, 0]])
    game.step(list(plays[:, 2:].T))
    expected = np.where(plays[:, 0] == 0, 7, np.array([[0, 1], [1, 8]])[plays[:, 2], plays[:, 3]])
    assert np.array_equal(game.reward, np.stack([expected, expected], 1))
    assert game.terminated.all() and not game.truncated.any() and not game.alive.any() and not observed(game)[0].any()
    assert np.array_equal(game.metrics(np.arange(16))["optimal"], expected == 8)
    game.reset(np.array([3]), [np.random.SeedSequence(0)])
    assert game.alive[3].all() and (observed(game)[0][3] == [1, 0, 0]).all()


@pytest.mark.parametrize(("name", "graph"), ON_GRAPHS)
def test_on_a_graph_everybody_is_paid_the_mean_of_its_edges(name, graph):
    number = 6
    game, pair = begun(name, 3, number, graph=graph), begun(name, 3)
    edges = {(a, b) for a, b in game.spec.interaction}
    whole = networkx.Graph(edges)
    assert edges == {(b, a) for a, b in edges} and nx_like(graph, whole)
    actions = any_actions(game, np.random.default_rng(0))
    game.step(actions)
    got = {agent: [] for agent in range(number)}
    for one, other in sorted(edges):
        if one < other:
            pair.reset(np.arange(3), [np.random.SeedSequence(0)] * 3)
            pair.step([actions[one], actions[other]])
            got[one].append(pair.reward[:, 0].copy())
            got[other].append(pair.reward[:, 1].copy())
    assert np.allclose(game.reward, np.stack([np.mean(got[agent], 0) for agent in range(number)], 1), atol=1e-5)
    degrees = np.array([whole.degree[agent] for agent in range(number)])
    if name in ("matching_pennies", "hamiltonian"):
        assert np.allclose(game.reward @ degrees, 0, atol=1e-5), "zero-sum edge by edge"
    ends = make(name, {}, 1, None, False).rules.ends
    assert game.terminated.all() == ends and game.alive.all() != ends and not game.truncated.any()


def nx_like(family: str, graph: networkx.Graph) -> bool:
    same = {
        "ring": networkx.cycle_graph(6),
        "star": networkx.star_graph(5),
        "complete": networkx.complete_graph(6),
        "grid": networkx.grid_2d_graph(2, 3),
    }
    return networkx.is_isomorphic(graph, same[family])


def test_what_is_observed_is_the_last_joint_action():
    game = begun("ipd", 2, 3, graph="line")
    assert [row[0].tolist() for row in observed(game)] == [[1] + [0] * 4, [1] + [0] * 8, [1] + [0] * 4]
    game.step([np.array([0, 1]), np.array([1, 1]), np.array([0, 0])])
    left, middle, right = observed(game)
    pairs = np.eye(4)  # CC, CD, DC, DD from one's own side
    assert left.tolist() == [[0, *pairs[1]], [0, *pairs[3]]]
    assert middle.tolist() == [[0, *pairs[2], *pairs[2]], [0, *pairs[3], *pairs[2]]]
    assert right.tolist() == [[0, *pairs[1]], [0, *pairs[1]]]
    assert all((row == 1).all() and row.shape == (1, 1) for row in observed(begun("climbing")))


@pytest.mark.parametrize("name", ["climbing", "penalty", "ipd", "matching_pennies"])
def test_iterated_games_are_cut_off_not_over(name):
    game = begun(name, 2, horizon=3)
    for step in range(1, 4):
        game.step([np.zeros(2, np.int32)] * 2)
        assert game.truncated.all() == (step == 3) and not game.terminated.any() and game.alive.all()
    assert begun(name).horizon == {"climbing": 25, "penalty": 25}.get(name, 150)


def played(name: str, controller: str, copies: int = 2, agents: int | None = None, **arguments):
    """After a whole episode: the game, and the rewards of an agent [steps, copies, agents]."""
    game = begun(name, copies, agents, **arguments)
    acting = game.controllers[controller](game)
    rewards = []
    for _ in range(game.horizon):
        game.step(list(acting.act(game)))
        rewards.append(game.reward.copy())
    return game, np.array(rewards)


@pytest.mark.parametrize(
    ("name", "controller", "arguments", "value"),
    [
        ("climbing", "optimal", {}, 11),
        ("climbing", "optimal", {"agents": 5, "graph": "complete"}, 11),
        ("penalty", "optimal", {}, 10),
        ("penalty", "optimal", {"agents": 6, "graph": "ring"}, 10),
        ("qtran", "optimal", {}, 8),
        ("two_step", "optimal", {}, 4),
        ("ipd", "cooperate", {}, -1),
        ("ipd", "tit_for_tat", {"agents": 4, "graph": "ring"}, -1),
        ("ipd", "defect", {}, -2),
        ("tandem", "optimal", {}, 0.25),
        ("tandem", "equilibrium", {"agents": 4, "graph": "star"}, 0),
        ("hamiltonian", "equilibrium", {}, 0),
    ],
)
def test_reference_controllers_get_what_they_should(name, controller, arguments, value):
    game, rewards = played(name, controller, **arguments)
    assert np.allclose(rewards.mean(0), value) and np.allclose(game.metrics(np.arange(2))["payoff"], value)
    if controller == "optimal" and name != "tandem":
        assert (game.metrics(np.arange(2))["optimal"] == 1).all()


def test_discounted_values_of_the_prisoners():
    """Σ γ^t r_t over 150 steps: defection −2, cooperation −1, times (1 − γ^150) / (1 − γ), γ = 0.96."""
    factor = 0.96 ** np.arange(150)
    for controller, reward in (("defect", -2), ("cooperate", -1)):
        _, rewards = played("ipd", controller)
        assert np.allclose(np.tensordot(factor, rewards, 1), reward * (1 - 0.96**150) / 0.04)
    game = begun("ipd")  # tit for tat against a defector: deceived once
    acting = game.controllers["tit_for_tat"](game)
    for step in range(5):
        game.step([acting.act(game)[0], np.ones(1, int)])
        assert game.reward[0].tolist() == ([-3, 0] if step == 0 else [-2, -2])
    assert game.metrics(np.arange(1))["cooperation"] == 0.1


def test_coins_are_fair_and_of_the_copy():
    game, rewards = played("matching_pennies", "uniform", 200)
    assert abs(rewards[..., 0].mean()) < 4 / np.sqrt(200 * 150) and (rewards.sum(2) == 0).all()
    alone = make("matching_pennies", {}, 1, None, False)
    alone.reset(np.arange(1), [np.random.SeedSequence(7)])
    assert np.array_equal(alone.coins[0], game.coins[7]) and not np.array_equal(game.coins[0], game.coins[7])


def test_penalty_has_no_reference_where_neighbours_cannot_differ():
    assert make("penalty", {"graph": "ring"}, 1, 5, False).spec.references == ()
    assert make("penalty", {"graph": "ring"}, 1, 4, False).spec.references == ("optimal",)


@pytest.mark.parametrize("name", GAMES)
def test_a_copy_does_not_depend_on_the_others_and_goes_on_when_saved(name):
    arguments, agents = ({"graph": "star"} if name in PAIRWISE else {}), (None if name == "two_step" else 7)
    arguments |= {"noise": 0.5, "contexts": 3, "horizon": 15} if name in TASKS else {}
    arguments |= {"k": -0.3} if name == "penalty" else {}
    whole, alone = begun(name, 64, agents, **arguments), make(name, arguments, 1, agents, False)
    alone.reset(np.arange(1), [np.random.SeedSequence(63)])
    rng = np.random.default_rng(0)
    for step in range(min(whole.horizon, 20)):
        actions = any_actions(whole, rng)
        if step == 10:
            again = make(name, arguments, 1, agents, False)
            again.load(alone.save(), [np.random.SeedSequence(63)])
        for game in (alone, again) if step >= 10 else (alone,):
            game.step([action[63:] for action in actions])
            if step >= 10:
                assert all(map(np.array_equal, observed(game), observed(alone)))
                assert np.array_equal(game.reward, alone.reward)
                assert game.metrics(np.arange(1)) == alone.metrics(np.arange(1))
        whole.step(actions)
        assert np.array_equal(whole.reward[63:], alone.reward)
        assert all(np.array_equal(rows[63:], row) for rows, row in zip(observed(whole), observed(alone)))
        assert all(
            np.array_equal(rows[63:], row[:1]) for rows, row in zip(observed(whole), observed(whole, np.array([63, 5])))
        )
    for figure, values in whole.metrics(np.array([2, 63])).items():
        assert np.array_equal(values[1:], alone.metrics(np.arange(1))[figure]), figure


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "env", [f"games:{name}" for name in GAMES] + ["games:ipd:graph=star", "games:tandem:graph=grid"]
)
def test_pettingzoo_accepts_them(env):
    agents = 6 if "graph" in env else None
    parallel_api_test(parallel_env(env, agents), num_cycles=60)
    parallel_seed_test(lambda: parallel_env(env, agents), num_cycles=30)


def test_a_graph_of_a_file(tmp_path):
    file = tmp_path / "wheel.graphml"
    networkx.write_graphml(networkx.wheel_graph(5), file)
    game = begun("climbing", 1, graph=str(file))
    assert networkx.is_isomorphic(networkx.Graph(list(game.spec.interaction)), networkx.wheel_graph(5))
    assert any_number("climbing", {"graph": "ring"}) and not any_number("climbing", {"graph": str(file)})
    for graph, what in (
        (networkx.empty_graph(3), "edge"),
        (networkx.relabel_nodes(networkx.path_graph(3), {2: 7}), "0 to N-1"),
    ):
        networkx.write_graphml(graph, file)
        with pytest.raises(InputError, match=what):
            make("climbing", {"graph": str(file)}, 1, None, False)


@pytest.mark.parametrize("name", GAMES)
def test_pictures(name):
    game = begun(name, 2)
    blank = game.picture(0)
    game.step(any_actions(game, np.random.default_rng(0)))
    assert blank.dtype == np.uint8 and blank.ndim == 3 and not np.array_equal(blank, game.picture(0))


@pytest.mark.parametrize(
    ("name", "arguments", "agents", "names"),
    [
        ("chess", {}, None, "climbing, penalty"),
        ("climbing", {}, 3, "graph=ring"),
        ("climbing", {"graph": "torus"}, None, "'torus'"),
        ("climbing", {"graph": 5}, None, "graph 5"),
        ("climbing", {"graph": "ring"}, 1, "--agents 1"),
        ("climbing", {"horizon": 0}, None, "horizon 0"),
        ("climbing", {"k": 1}, None, "'k'"),
        ("penalty", {"k": 1}, None, "k 1"),
        ("qtran", {"variant": 3}, None, "variant 3"),
        ("two_step", {}, 3, "--agents 3"),
        ("two_step", {"graph": "ring"}, None, "'graph'"),
        ("tandem", {"bound": "wide"}, None, "bound 'wide'"),
    ],
)
def test_bad_arguments_are_named(name, arguments, agents, names):
    with pytest.raises(InputError, match=f"games:{name}") as caught:
        make(name, arguments, 1, agents, False)
    assert names in str(caught.value)


def test_independent_learners_find_out_that_defection_dominates():
    """With one step an episode: whatever the others do, defecting pays 1 more."""
    options = {
        "env": "games:ipd:graph=ring,horizon=1",
        "agents": {"number": 4},
        "algorithm": "ippo",
        "copies": 32,
        "horizon": 16,
        "rounds": 15,
        "optimiser": {"learning_rate": 0.02, "critic_learning_rate": 0.02},
        "returns": {"entropy": 0.0},
    }
    simulation = Simulation(prepare(validated(options)), Processes())
    simulation.start()
    rounds = [simulation.round()["metrics"] for _ in range(15)]
    assert 0.3 < rounds[0]["figures"]["cooperation"] < 0.7 and rounds[-1]["figures"]["cooperation"] < 0.02
    assert max(rounds[-1]["agent_rewards"]) < -1.95
