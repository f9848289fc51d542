"""The suites of agents on grids, particles and PettingZoo's own: ends, deaths, rewards, seeds, and who shares a process."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from rware.warehouse import Direction

from perla_net.ground.errors import InputError
from perla_net.ground.processes import Processes
from perla_net.settings.options import validated
from perla_net.simulation.prepare import prepare
from perla_net.simulation.simulation import Simulation
from perla_net.world.hosts import ALIVE, FINAL, OVER, TERMINATED, TRUNCATED, Host
from perla_net.world.suites import lbf, magent2, mpe2, pettingzoo, rware

SUITES = {"lbf": lbf, "rware": rware, "magent2": magent2, "mpe2": mpe2, "pettingzoo": pettingzoo}
ALL = {
    "lbf:Foraging-2s-8x8-3p-2f-coop-v3": {"max_episode_steps": 11},
    "lbf:grid-6x9-2p-1f": {"max_episode_steps": 9},
    "rware:tiny-3ag": {"max_steps": 13, "message_bits": 1},
    "rware:img-tiny-2ag-easy": {"max_steps": 9},
    "magent2:battle": {"map_size": 16, "max_cycles": 12, "minimap_mode": True, "extra_features": True},
    "magent2:combined_arms": {"map_size": 18, "max_cycles": 12},
    "magent2:adversarial_pursuit": {"map_size": 14, "max_cycles": 11},
    "magent2:tiger_deer": {"map_size": 14, "max_cycles": 300, "tiger_step_recover": -1.0},
    "magent2:gather": {"max_cycles": 5},
    "mpe2:simple_tag": {"max_cycles": 7},
    "mpe2:simple_speaker_listener": {"max_cycles": 7, "continuous_actions": True},
    "mpe2:collect_treasure": {"max_cycles": 7},
    "pettingzoo:pursuit": {"max_cycles": 7},
    "pettingzoo:multiwalker": {"max_cycles": 9},
    "pettingzoo:knights_archers_zombies": {"spawn_delay": 3, "max_cycles": 16},
    "pettingzoo:pistonball": {"n_pistons": 4, "shrink": 9, "max_cycles": 5},
    "pettingzoo:cooperative_pong": {"render_ratio": 5, "max_cycles": 7},
    "pettingzoo:rps": {"max_cycles": 5},
}


def make(env, arguments, copies=1, agents=None, render=False):
    suite, _, name = env.partition(":")
    return SUITES[suite].make(name, arguments, copies, agents, render)


def seeds(*numbers):
    return [np.random.SeedSequence(number) for number in numbers]


def draws(agents, copies, steps, seed=0):
    """Random actions [steps][agent][copies, words], copy by copy, so that a copy's do not depend on their number."""
    streams = [np.random.default_rng((seed, copy)) for copy in copies]
    return [[np.stack([draw(agent.action, rng) for rng in streams]) for agent in agents] for _ in range(steps)]


def draw(action, rng):
    if action.low:
        return rng.uniform(-1, 1, action.words).astype(np.float32)
    return np.array([rng.integers(size) for size in action.sizes], np.int32)


def snapshot(batch):
    """What a world reads after a reset, as bytes."""
    rows = [np.zeros((batch.copies, agent.observation_size), np.float32) for agent in batch.spec.agents]
    batch.observe(slice(None), rows, [None] * len(rows))
    return [array.tobytes() for array in (*rows, batch.alive)]


def episode(batch, seed, actions):
    batch.reset(np.arange(1), seeds(seed))
    shown = [snapshot(batch)]
    for action in actions:
        batch.step(action)
        shown.append(snapshot(batch) + [a.tobytes() for a in (batch.reward, batch.terminated, batch.truncated)])
        if not batch.alive.any():
            break
    return shown


@pytest.mark.parametrize("env", ALL)
def test_an_episode_depends_on_its_seed_alone(env):
    batch, used = make(env, ALL[env]), make(env, ALL[env])
    actions = draws(batch.spec.agents, [0], 20)
    first = episode(batch, 5, actions)
    episode(used, 6, draws(batch.spec.agents, [1], 7, seed=1))
    assert episode(used, 5, actions) == first
    fixed = ("rps", "battle", "combined_arms", "gather")  # no chance there, or only in fights
    if not env.endswith(fixed):
        assert episode(used, 7, actions) != first


@pytest.mark.parametrize("env", ALL)
def test_a_copy_is_the_same_alone_and_among_others(env):
    whole = make(env, ALL[env], 3)
    spec = whole.spec
    hosts = [Host(whole, spec, 0, (3, 1), 0), Host(make(env, ALL[env]), spec, 2, (3, 1), 0)]
    for host in hosts:
        host.start()
    for action in draws(spec.agents, range(3), 14):
        hosts[0].act(action)
        hosts[1].act([one[2:] for one in action])
        for host in hosts:
            host.step()
        assert all(np.array_equal(rows[2:], alone) for rows, alone in zip(hosts[0].rows, hosts[1].rows))
    ends = [[(e.ended, e.length, *e.returns, *e.figures.values()) for e in h.episodes if e.copy == 2] for h in hosts]
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    "env, more",
    [
        *(("lbf:8x8-2p-1f", {}), ("rware:tiny-2ag", {}), ("magent2:tiger_deer", {}), ("pettingzoo:pursuit", {})),
        ("magent2:battle", {"map_size": 14, "max_cycles": 15}),  # saved where an episode has just begun
    ],
)
def test_a_saved_host_is_played_again(env, more):
    arguments = ALL.get(env, {}) | more
    spec = make(env, arguments).spec
    host, other = (Host(make(env, arguments, 2), spec, 0, (3, 1), 0) for _ in range(2))
    host.start()
    actions = draws(spec.agents, range(2), 24)
    for action in actions[:15]:
        host.act(action)
        host.step()
    state = {name: array.copy() for name, array in host.save().items()}
    assert other.load(state, host.steps)
    for action in actions[15:]:
        for one in (host, other):
            one.act(action)
            one.step()
    assert np.array_equal(host.buffer, other.buffer)


@pytest.mark.parametrize("env", ["lbf:8x8-4p-2f:sight=2", "rware:tiny-2ag:message_bits=2", "magent2:battle:map_size=14,max_cycles=12", "mpe2:simple_adversary"])  # fmt: skip
def test_teams_learn_without_a_hitch(env):
    options = {"env": env, "topology": "complete", "algorithm": "perla_ippo", "copies": 2, "horizon": 14, "rounds": 3, "ppo": {"minibatch": 8}, "samples": 4}  # fmt: skip
    simulation = Simulation(prepare(validated(options)), Processes())
    simulation.start()
    for _ in range(2):
        row = simulation.round()["metrics"]
    assert np.isfinite([row["policy_loss"], row["value_loss"], row["entropy"]]).all() and row["rejected"] == 0


# Level-based foraging


def beside_food(*, levels, food, idle=0, **arguments):
    """Two players left and right of the only food, and idle ones in the corners."""
    batch = make(f"lbf:7x7-{2 + idle}p-1f", arguments)
    batch.reset(np.arange(1), seeds(1))
    field = batch.envs[0].env
    field.field[:] = 0
    field.field[3, 3] = field._food_spawned = food
    for player, place, level in zip(field.players, [(3, 2), (3, 4), (0, 0), (6, 6)], [*levels, *[2] * idle]):
        player.position, player.level = place, level
    field._gen_valid_moves()
    return batch


def load(batch, *loading):
    batch.step([np.array([[5 if agent in loading else 0]], np.int32) for agent in range(len(batch.agents))])


def test_foraging_ends_with_the_food_or_with_the_time():
    batch = beside_food(levels=(1, 2), food=3, idle=1)
    for _ in range(49):
        load(batch)
        assert batch.alive.all() and not (batch.terminated | batch.truncated).any()
    assert batch.metrics(np.arange(1))["food"] == 0
    load(batch)
    assert batch.truncated.all() and not batch.terminated.any() and not batch.alive.any(), "food is left"
    for steps in (1, 50):  # also when the last of it is taken in the last step
        batch = beside_food(levels=(1, 2), food=3, idle=1)
        for _ in range(steps - 1):
            load(batch, 0)  # too weak alone
        load(batch, 0, 1)
        assert batch.terminated.all() and not batch.truncated.any()
        assert np.allclose(batch.reward, [[1 / 3, 2 / 3, 0]]), "shares go by level, to those who took part"
        assert batch.metrics(np.arange(1))["food"] == 1


def test_players_may_start_where_others_stood():
    used = make("lbf:5x5-9p-1f", {})
    for seed in range(10):
        assert episode(used, seed, []) == episode(make("lbf:5x5-9p-1f", {}), seed, [])


def test_foraging_names_and_arguments():
    assert not beside_food(levels=(1, 1), food=3, penalty=0.5).reward.any()
    batch = beside_food(levels=(1, 1), food=3, penalty=0.5)
    load(batch, 0)
    assert batch.reward.tolist() == [[-0.5, 0]]
    unscaled = beside_food(levels=(2, 1), food=2, normalize_reward=False)
    load(unscaled, 0)
    assert unscaled.reward.tolist() == [[4, 0]]
    short, whole = make("lbf:8x8-2p-3f", {}), make("lbf:Foraging-8x8-2p-3f-v3", {})
    assert episode(short, 1, []) == episode(whole, 1, [])
    env = make("lbf:Foraging-2s-8x8-2p-3f-coop-v3", {}).envs[0].env
    assert (env.sight, env.force_coop, env.field_size) == (2, True, (8, 8))


def test_foraging_images_have_layers_last_and_positions_are_columns_and_rows():
    batch = make("lbf:grid-2s-6x9-2p-1f", {})
    batch.reset(np.arange(1), seeds(4))
    field = batch.envs[0].env
    assert batch.spec.agents[0].observation_shape == (5, 5, 3)
    field.field[:] = 0
    field.field[2, 4], field.players[0].position, field.players[1].position = 3, (2, 5), (0, 8)
    field._gen_valid_moves()
    load(batch)
    image = batch.seen[0][0].reshape(5, 5, 3)
    assert image[2, 1].tolist() == [0, 3, 0], "food one cell to the left of the middle"
    assert image[2, 2, 0] == field.players[0].level and image[2, 3].tolist() == [0, 0, 1]
    assert batch.positions().tolist() == [[5, 2], [8, 0]]
    assert batch.picture(0).shape == (6 * 36 + 1, 9 * 36 + 1, 3)


@pytest.mark.parametrize(
    ("env", "arguments", "sentence"),
    [
        ("lbf:8x8-2p", {}, "not of the form lbf:8x8-2p-1f"),
        ("lbf:8x8-2p-1f-v2", {}, "max_player_level=3"),
        ("lbf:8x8-2p-1f", {"sigth": 2}, "unknown argument 'sigth'; it takes sight"),
        ("lbf:8x8-2p-1f", {"sight": 0}, "sight 0 is not a whole number of at least 1"),
        ("lbf:5x5-2p-4f", {}, "do not fit"),
        ("lbf:8x8-2p-1f", {"min_food_level": 3}, "say max_food_level too"),
        ("rware:tiny", {}, "not of the form rware:tiny-2ag"),
        ("rware:tiny-1ag-hard", {}, "requests 0 is not"),
        ("rware:1x2-2ag", {}, "must be odd"),
        ("rware:tiny-2ag", {"reward": "team"}, "none of individual, global, two_stage"),
        ("magent2:batle", {}, "none of battle"),
        ("magent2:battle", {"map_size": 4}, "map_size 4 is not a whole number from 12"),
        ("magent2:battle", {"tag_penalty": 1}, "unknown argument 'tag_penalty'; it takes map_size"),
        ("magent2:gather", {"map_size": 50}, "unknown argument 'map_size'"),
        ("magent2:battlefield", {"map_size": 51}, "try another"),
        ("magent2:adversarial_pursuit", {"map_size": 7}, "too small"),
        ("mpe2:simple_spread_v2", {}, "did you mean mpe2:simple_spread_v3"),
        ("mpe2:simple_spread", {"n": 3}, "cannot be made with"),
        ("pettingzoo:pursiut", {}, "did you mean pursuit"),
        ("pettingzoo:connect_four", {}, "is not parallel"),
        ("pettingzoo:rps", {"shrink": 2}, "shrink is for images"),
    ],
)
def test_what_is_wrong_is_said(env, arguments, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        make(env, arguments)
    assert str(caught.value).startswith(f"--env {env}: ")


def test_agents_cannot_be_chosen_beside_the_name():
    for env in ("lbf:8x8-2p-1f", "magent2:battle"):
        with pytest.raises(InputError, match="--agents 3: "):
            make(env, {}, 1, 3)


# The warehouse


def at_the_goal(name="tiny-2ag", **arguments):
    """The first robot carries a requested shelf and stands one cell above a goal, looking at it."""
    batch = make(f"rware:{name}", arguments)
    batch.reset(np.arange(1), seeds(1))
    env = batch.envs[0].env
    robot, shelf = env.agents[0], env.request_queue[0]
    column, row = env.goals[0]
    robot.x, robot.y, robot.dir, robot.carrying_shelf = column, row - 1, Direction.DOWN, shelf
    shelf.x, shelf.y = robot.x, robot.y
    env.agents[1].x = env.agents[1].y = 0
    env._recalc_grid()
    return batch, env


def move(batch, *actions):
    batch.step([np.array([[action]], np.int32) for action in actions])


@pytest.mark.parametrize(("reward", "paid"), [("individual", [1, 0]), ("global", [1, 1]), ("two_stage", [0.5, 0])])
def test_deliveries_are_paid_and_counted(reward, paid):
    batch, env = at_the_goal(reward=reward)
    requested = list(env.request_queue)
    move(batch, 1, 0)
    assert batch.reward.tolist() == [paid] and batch.metrics(np.arange(1))["deliveries"] == 1
    assert env.request_queue[1] is requested[1] and env.request_queue[0] is not requested[0]
    assert batch.positions()[0].tolist() == list(env.goals[0])
    move(batch, 0, 0)
    assert not batch.reward.any() and batch.metrics(np.arange(1))["deliveries"] == 1


def test_a_warehouse_ends_with_time_or_for_idleness():
    batch = make("rware:tiny-2ag", {"max_steps": 4})
    batch.reset(np.arange(1), seeds(1))
    for step in range(4):
        assert batch.alive.all() and not batch.truncated.any(), step
        move(batch, 0, 0)
    assert batch.truncated.all() and not batch.terminated.any() and batch.spec.horizon == 4
    batch, _ = at_the_goal(max_inactivity_steps=3)
    move(batch, 1, 0)
    for _ in range(2):
        move(batch, 0, 0)
        assert batch.alive.all(), "a delivery starts the count anew"
    move(batch, 0, 0)
    assert batch.terminated.all() and not batch.truncated.any()


def test_messages_reach_those_who_see_the_robot():
    batch = make("rware:tiny-2ag", {"message_bits": 2})
    batch.reset(np.arange(1), seeds(1))
    env = batch.envs[0].env
    assert batch.spec.agents[0].action.sizes == (5, 2, 2)
    env.agents[0].x, env.agents[0].y, env.agents[1].x, env.agents[1].y = 3, 9, 4, 9
    env._recalc_grid()
    batch.step([np.array([[0, 1, 0]], np.int32), np.array([[0, 0, 1]], np.int32)])
    cell = 1 + 4 + 2 + 2  # robot, direction, message, shelf and request of each of nine cells, after eight own figures
    heard = [batch.seen[0][agent][8 + at * cell + 5 :][:2].tolist() for agent, at in ((0, 5), (1, 3))]
    assert heard == [[0, 1], [1, 0]], "who is on the right says 01, who is on the left 10"


def test_warehouse_images_have_layers_last():
    batch, env = at_the_goal("img-Nd-1x3-8h-2ag-2req")
    move(batch, 0, 0)
    image = batch.seen[0][0].reshape(batch.spec.agents[0].observation_shape)
    assert image.shape == (3, 3, 5) and image[2, 1].tolist() == [0, 0, 0, 1, 1], "a goal below, free"
    assert image[1, 1].tolist() == [1, 1, 1, 0, 0], "itself, with a requested shelf"
    assert batch.picture(0).shape == (env.grid_size[0] * 24 + 1, env.grid_size[1] * 24 + 1, 3)


# MAgent2

STAY, RIGHT, RIGHT_TWICE, HIT_LEFT, HIT_RIGHT = 6, 7, 8, 16, 17
"""Actions in battle: moves in a circle of radius 2, row by row, then attacks on the eight cells around."""


def approach(seed=1, **arguments):
    """Battle of two against two, whose first red has just come to stand beside the first blue: (10, 5)."""
    batch = make("magent2:battle", {"map_size": 14, **arguments})
    host = Host(batch, batch.spec, 0, (seed, 1), 0)
    host.start()
    for action in (RIGHT_TWICE, RIGHT_TWICE, RIGHT_TWICE, RIGHT):
        fight(host, action)
    assert batch.positions()[[0, 2]].tolist() == [[9, 5], [10, 5]]
    return batch, host


def fight(host, *actions):
    host.act([np.array([[action]]) for action in (*actions, STAY, STAY, STAY, STAY)[:4]])
    host.step()
    return [
        int(rows[0, layout.reward + 1 :][:1].view(np.int32)[0]) for rows, layout in zip(host.rows, host.layouts)
    ]  # flags


def test_who_is_killed_is_terminated_once_and_the_others_go_on():
    batch, host = approach(dead_penalty=-0.75, max_cycles=12)
    for _ in range(5):  # 10 of health, 2 for a hit, 0.1 comes back each step: the sixth kills
        assert fight(host, HIT_RIGHT) == [ALIVE] * 4
        assert np.allclose(batch.reward, [[0.2 - 0.1 - 0.005, -0.005, -0.005, -0.005]])
    assert fight(host, HIT_RIGHT) == [ALIVE, ALIVE, TERMINATED, ALIVE]
    assert np.allclose(batch.reward, [[5 - 0.1 - 0.005, -0.005, -0.75, -0.005]]), "the last reward of the dead is kept"
    assert not host.rows[2][:, : host.layouts[2].observation].any()
    assert batch.metrics(np.arange(1)) == {"alive_red": np.array([1.0]), "alive_blue": np.array([0.5])}
    assert fight(host, STAY) == [ALIVE, ALIVE, 0, ALIVE] and batch.reward[0, 2] == 0
    final = fight(host, STAY)
    assert final == [TRUNCATED | ALIVE | OVER | FINAL] * 2 + [ALIVE | OVER | FINAL] + [TRUNCATED | ALIVE | OVER | FINAL]
    assert host.length[0] == 0 and host.episodes[0].length == 12
    flags = [block[layout.reward + 1 :][:1].view(np.int32)[0] for block, layout in kept(host)]
    assert flags == [TRUNCATED | ALIVE, TRUNCATED | ALIVE, 0, TRUNCATED | ALIVE]


def kept(host):
    """The rows of the only final observation, agent by agent."""
    row, start = host.take_finals(len(host.layouts)), 0
    for layout in host.layouts:
        yield row[start : start + layout.width], layout
        start += layout.width


def test_a_group_that_is_gone_ends_the_game():
    batch = make("magent2:tiger_deer", {"map_size": 12, "tiger_step_recover": -6.0})
    batch.reset(np.arange(1), seeds(1))
    for _ in range(2):  # tigers with 10 of health starve in the second step
        assert batch.alive.all()
        batch.step([np.zeros((1, 1), np.int32) for _ in batch.agents])
    assert batch.terminated.all() and not batch.truncated.any() and not batch.alive.any()
    assert batch.metrics(np.arange(1)) == {"alive_deer": np.array([1.0]), "alive_tiger": np.array([0.0])}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("battle", {"map_size": 20, "minimap_mode": True, "extra_features": True}),
        ("combined_arms", {"map_size": 18}),
        ("adversarial_pursuit", {"map_size": 14, "max_cycles": 60}),
        ("tiger_deer", {"map_size": 12}),
    ],
)
def test_crowds_are_those_of_the_package(name, arguments):
    """Bit for bit what its own PettingZoo layer tells, through fights and deaths, to the end or for 300 steps."""
    batch = make(f"magent2:{name}", arguments)
    other = importlib.import_module(f"magent2.environments.{name}.{name}").parallel_env(**arguments)
    names = [agent.name for agent in batch.agents]
    batch.reset(np.arange(1), seeds(4))
    seen, _ = other.reset(seed=int(seeds(4)[0].generate_state(1)[0] >> 1))
    other.team_sizes = [other.env.get_num(handle) for handle in other.handles]  # which it forgets to count
    rng, deaths = np.random.default_rng(2), 0
    rows = [np.zeros((1, agent.observation_size), np.float32) for agent in batch.agents]
    for _ in range(300):
        batch.observe(slice(None), rows, [None] * len(rows))
        for row, agent in zip(rows, names):
            assert np.array_equal(row[0], seen[agent].ravel()) if agent in other.agents else not row.any(), agent
        sizes = np.array([agent.action.sizes[0] for agent in batch.agents])
        actions = rng.integers(np.where(rng.random(len(sizes)) < 0.7, sizes // 2, 0), sizes)  # most of them attack
        told = {agent: int(action) for agent, action in zip(names, actions) if agent in other.agents}
        seen, reward, terminated, truncated, _ = other.step(told)
        batch.step(list(actions.reshape(-1, 1, 1)))
        assert [bool(flag) for flag in batch.terminated[0]] == [terminated.get(agent, False) for agent in names]
        assert batch.reward[0].tolist() == [float(np.float32(reward.get(agent, 0))) for agent in names]
        deaths += int(batch.terminated.sum())
        if not other.agents:
            assert batch.truncated.any() == any(truncated.values()) and not batch.alive.any()
            break
        assert [agent for agent, alive in zip(names, batch.alive[0]) if alive] == other.agents
    assert deaths or name == "adversarial_pursuit"


def test_everybody_obeys_from_the_first_step_on():
    batch = make("magent2:battle", {"map_size": 14})
    batch.reset(np.arange(1), seeds(1))
    before = batch.positions()
    batch.step([np.array([[action]]) for action in (STAY, STAY, RIGHT, STAY)])
    assert (batch.positions() - before).tolist() == [[0, 0], [0, 0], [1, 0], [0, 0]]


def test_the_seed_decides_duels():
    """Two hit each other in every step; in the sixth, whose attack comes first is the one to live."""
    ends = []
    for seed in (*range(8), *range(8)):
        batch, host = approach(seed)
        for _ in range(6):
            assert batch.alive.all()
            fight(host, HIT_RIGHT, STAY, HIT_LEFT)
        assert batch.alive.sum() == 3 and batch.alive[0, [1, 3]].all()
        ends.append(bool(batch.alive[0, 0]))
    assert ends[:8] == ends[8:] and set(ends) == {True, False}


def test_crowds_are_seen_as_images():
    spec = make("magent2:battle", {}).spec
    assert len(spec.agents) == 162 and spec.agents[0].observation_shape == (13, 13, 5)
    batch = make("magent2:adversarial_pursuit", {"map_size": 14})
    batch.reset(np.arange(1), seeds(1))
    assert {(a.observation_shape, a.action.sizes) for a in batch.agents} == {((10, 10, 5), (13,)), ((9, 9, 5), (9,))}
    middle = batch.teams[1].seen[0].reshape(-1, 9, 9, 5)[:, 4, 4]
    assert (middle == [0, 1, 1, 0, 0]).all(), "every prey sees itself, in full health, in the middle"
    picture = batch.picture(0)
    cell = 600 // 14
    column, row = batch.positions()[-1].astype(int)
    assert picture[row * cell + cell // 2, column * cell + cell // 2].tolist() == list(magent2.BLUE)


# mpe2


@pytest.mark.parametrize("name", mpe2.NAMES)
def test_particles_are_cut_off_after_their_time(name):
    batch = make(f"mpe2:{name}", {})
    assert batch.spec.horizon == 25 and batch.spec.moves and batch.positions().shape == (len(batch.agents), 2)
    batch.reset(np.arange(1), seeds(1))
    for _ in range(24):
        batch.step([np.zeros((1, agent.action.words), np.int32) for agent in batch.specs])
        assert batch.alive.all()
    batch.step([np.zeros((1, agent.action.words), np.int32) for agent in batch.specs])
    assert batch.truncated.all() and not batch.terminated.any()


def test_names_of_mpe2_are_all_that_there_are():
    known = {name.rpartition("_v")[0] for name in pettingzoo.modules_of("mpe2") if pettingzoo.versioned("mpe2", name)}
    assert known == set(mpe2.NAMES)
    assert make("mpe2:simple_spread", {"N": 5, "continuous_actions": True}).spec.agents[4].action.high == (1.0,) * 5


# PettingZoo's own


def test_short_names_are_modules():
    for name, module in (("pursuit", "pettingzoo.sisl.pursuit_v5"), ("rps_v2", "pettingzoo.classic.rps")):
        assert episode(make(f"pettingzoo:{name}", {}), 3, []) == episode(make(f"pettingzoo:{module}", {}), 3, [])


def idle(batch):
    batch.step([np.zeros((1, agent.action.words), np.float32) for agent in batch.specs])


def test_the_last_evader_ends_a_pursuit_also_in_the_last_step(monkeypatch):
    batch = make("pettingzoo:pursuit", {"max_cycles": 2})
    batch.reset(np.arange(1), seeds(1))
    assert batch.positions().shape == (8, 2)
    idle(batch)
    assert batch.alive.all()
    caught = property(lambda inner: inner.frames >= 2)
    monkeypatch.setattr(type(batch.envs[0].unwrapped.env), "is_terminal", caught)
    idle(batch)
    assert batch.terminated.all() and not batch.truncated.any()


def test_walkers_are_cut_off_by_time_and_end_when_they_fall():
    batch = make("pettingzoo:multiwalker", {"max_cycles": 4})
    batch.reset(np.arange(1), seeds(1))
    for _ in range(4):
        assert batch.alive.all()
        idle(batch)
    assert batch.truncated.all() and not batch.terminated.any()
    batch = make("pettingzoo:multiwalker", {"max_cycles": 200})
    batch.reset(np.arange(1), seeds(1))
    for action in draws(batch.specs, [0], 200):
        batch.step(action)
        if not batch.alive.any():
            break
    assert batch.terminated.all() and not batch.truncated.any() and batch.reward.min() < -50


def test_who_hits_a_zombie_is_paid_at_once():
    """Archers side by side shoot upwards: when the only zombie is gone, one of them is paid in that step."""
    arguments = {"num_archers": 9, "num_knights": 0, "max_zombies": 1, "spawn_delay": 3, "max_arrows": 40}
    batch = make("pettingzoo:knights_archers_zombies", arguments)
    zombies = lambda: len(batch.envs[0].unwrapped.zombie_list)  # noqa: E731
    who = set()
    for seed in range(4):
        batch.reset(np.arange(1), seeds(seed))
        while batch.alive.any():
            there = zombies()
            batch.step([np.array([[4]], np.int32)] * 9)
            if batch.alive.any():
                assert batch.reward.sum() == there * (1 - zombies())
                who |= set(np.flatnonzero(batch.reward[0]))
    assert len(who) >= 2


def test_the_dead_leave_the_living_behind():
    batch = make("pettingzoo:knights_archers_zombies", {"spawn_delay": 2})
    batch.reset(np.arange(1), seeds(1))
    for action in draws(batch.specs, [3], 400):
        before = batch.alive.copy()
        batch.step(action)
        died = before & batch.terminated
        if died.any() and batch.alive.any():
            break
    assert died.sum() == 1 and (batch.alive == before & ~died).all() and not batch.truncated.any()
    batch.step(action)
    assert not (batch.terminated & died).any() and not batch.reward[died].any() and batch.alive.any()


def test_pong_is_not_black_and_pistons_shrink():
    batch = make("pettingzoo:cooperative_pong", {"render_ratio": 5})
    batch.reset(np.arange(1), seeds(1))
    first = batch.seen[0][0].copy()
    batch.step([np.ones((1, 1), np.int32)] * 2)
    assert first.any() and not np.array_equal(first, batch.seen[0][0]) and batch.seen[0][0].max() <= 1
    small, whole = (make("pettingzoo:pistonball", {"n_pistons": 2, "shrink": k}) for k in (5, 1))
    assert small.spec.agents[0].observation_shape == (92, 24, 3)
    for one in (small, whole):
        one.reset(np.arange(1), seeds(1))
    assert np.array_equal(
        small.seen[0][1].reshape(92, 24, 3), whole.seen[0][1].reshape(whole.specs[1].observation_shape)[::5, ::5]
    )


@pytest.mark.parametrize("name", ["pursuit", "multiwalker", "knights_archers_zombies", "pistonball"])
def test_pictures_need_no_window(name):
    batch = make(f"pettingzoo:{name}", {}, render=True)
    batch.reset(np.arange(1), seeds(1))
    picture = batch.picture(0)
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.std() > 5
