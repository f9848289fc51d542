"""SUMO: order of signals, lanes and phases against the network itself, SUMO-RL, conservation, seeds, workers that die."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, needs_mpirun, run
from pettingzoo.test import parallel_api_test, parallel_seed_test

from perla_net.ground.errors import InputError
from perla_net.world.networked.traffic import EAST, LEFT, NORTH, PHASES, RIGHT, SOUTH, THROUGH, WEST, TrafficGrid
from perla_net.world.suites import sumo
from perla_net.world.suites.sumo_worker import ARMS, FOUR_ARM_PHASES, TURNS

SIGNAL = "B2"
"""One of grid4x4's inner signals: north of it is B3, east C2, south B1, west A2 (the letters go east, the numbers north)."""
ROADS = {NORTH: "B3", EAST: "C2", SOUTH: "B1", WEST: "A2"}
AWAY = {LEFT: 1, THROUGH: 2, RIGHT: 3}
"""By which arm one leaves, clockwise from that of arrival."""


def seeds(copies: int, first: int = 0) -> list[np.random.SeedSequence]:
    return [np.random.SeedSequence(3, spawn_key=(first + copy,)) for copy in range(copies)]


def made(name: str = "grid4x4", copies: int = 1, **arguments) -> sumo.SumoCopies:
    return sumo.make(name, arguments, copies, None, False)


def started(name: str = "grid4x4", copies: int = 1, first: int = 0, **arguments) -> sumo.SumoCopies:
    batch = made(name, copies, **arguments)
    batch.reset(np.arange(copies), seeds(copies, first))
    return batch


def observed(batch: sumo.SumoCopies) -> list[np.ndarray]:
    rows = [np.zeros((batch.copies, spec.observation_size), np.float32) for spec in batch.specs]
    batch.observe(slice(None), rows, [None] * len(rows))
    return rows


def drive(batch: sumo.SumoCopies, steps: int, seed: int = 0) -> np.ndarray:
    """Random phases, the same in every copy; rewards [steps, copies, signals]."""
    rng, rewards = np.random.default_rng(seed), []
    for _ in range(steps):
        batch.step([np.full((batch.copies, 1), rng.integers(spec.action.sizes[0]), np.int32) for spec in batch.specs])
        rewards.append(batch.reward.copy())
    return np.array(rewards)


def crossing(folder: Path, vehicles: np.ndarray, depart: float = 3.0, more: str = "", west: str = "") -> str:
    """A demand for grid4x4: [arm, turn] vehicles over SIGNAL, all due at once; ``west``: the way from there, if further."""
    lines = []
    for arm, turn in np.ndindex(4, 3):
        start, end = ROADS[arm] + SIGNAL, SIGNAL + ROADS[(arm + AWAY[turn]) % 4]
        for number in range(vehicles[arm, turn]):
            route = (
                west.replace('edges="', f'edges="{start} ')
                if west and arm == WEST
                else f'<route edges="{start} {end}"/>'
            )
            lines.append(f'<vehicle id="{arm}{turn}{number}" depart="{depart}" departLane="best">{route}</vehicle>')
    file = folder / "demand.rou.xml"
    file.write_text("<routes>" + "".join(lines) + more + "</routes>")
    return str(file)


def on_lanes(batch: sumo.SumoCopies, signal: int) -> np.ndarray:
    """Vehicles on the twelve lanes [arm, turn], from the densities of the observation."""
    return np.rint(observed(batch)[signal][0, 9:21] * 272.8 / 7.5).astype(int).reshape(4, 3)


def test_signals_stand_where_those_of_the_traffic_grid_do():
    batch, grid = made(), TrafficGrid(1)
    assert batch.spec.positions == tuple((300.0 + 300 * x, 1200.0 - 300 * y) for x, y in grid.spec.positions)
    assert not batch.spec.moves
    assert batch.spec.interaction == grid.spec.interaction
    assert [spec.name for spec in batch.specs[:5]] == ["A3", "B3", "C3", "D3", "A2"]
    assert [spec.action.sizes for spec in batch.specs] == [spec.action.sizes for spec in grid.spec.agents]
    assert all(spec.reads_like(other) for spec, other in zip(batch.specs, grid.spec.agents))


def test_table_of_phases_is_that_of_the_traffic_grid():
    green = np.array([[[(arm, turn) in phase for turn in TURNS] for arm in ARMS] for phase in FOUR_ARM_PHASES])
    assert np.array_equal(green, PHASES)
    assert (NORTH, EAST, SOUTH, WEST) == tuple(ARMS.index(arm) for arm in "NESW")
    assert (LEFT, THROUGH, RIGHT) == tuple(TURNS.index(turn) for turn in "lsr")


def test_lanes_are_seen_in_the_order_of_the_traffic_grid(tmp_path):
    vehicles = np.array([[1, 2, 0], [0, 3, 1], [2, 0, 3], [3, 1, 2]])
    batch = started(routes=crossing(tmp_path, vehicles))
    for _ in range(4):
        batch.step([np.zeros((1, 1), np.int32)] * 16)
    assert np.array_equal(on_lanes(batch, batch.agents.index(SIGNAL)), vehicles)


def test_phases_serve_the_lanes_that_they_serve_in_the_traffic_grid(tmp_path):
    """By experiment: which lanes empty while a phase is held. Right turns go at red too, after a stop, in this network."""
    batch = made(routes=crossing(tmp_path, np.full((4, 3), 2)))
    signal = batch.agents.index(SIGNAL)
    for phase in range(8):
        batch.reset(np.arange(1), seeds(1))
        for _ in range(14):
            batch.step([np.full((1, 1), phase, np.int32)] * 16)
        left = on_lanes(batch, signal)[:, [LEFT, THROUGH]]
        assert np.array_equal(left == 0, PHASES[phase][:, [LEFT, THROUGH]]), (phase, left)
        assert set(np.unique(left)) <= {0, 2}


SUMO_RL = """
import json, sys, warnings
warnings.simplefilter("ignore")
from sumo_rl import SumoEnvironment
given = json.loads(sys.stdin.read())
env = SumoEnvironment(given["net"], given["routes"], num_seconds=10**6, begin_time=given["begin"], delta_time=5,
    yellow_time=2, min_green=5, reward_fn="diff-waiting-time", sumo_seed=given["seed"], add_system_info=False,
    add_per_agent_info=False)
seen, rewards = [env.reset()], []
signals = {name: [[phase.state for phase in one.green_phases], one.lanes] for name, one in env.traffic_signals.items()}
for row in given["actions"]:
    states = {name: signals[name][0].index(state) for name, state in row.items()}
    observation, reward, *_ = env.step(states)
    seen.append(observation)
    rewards.append({name: float(value) for name, value in reward.items()})
seen = [{name: row.tolist() for name, row in one.items()} for one in seen]
print("@" + json.dumps([signals, seen, rewards]))
"""


@pytest.mark.parametrize("name", ["grid4x4", "cologne8"])
def test_observations_and_rewards_are_those_of_sumo_rl(name):
    """The same phases shown in SUMO-RL's own environment: every number, after sorting phases and lanes by their names."""
    env = made(name, reward="diff_waiting").envs[0]
    rng = np.random.default_rng(0)
    # SUMO-RL lets no phase change in the first 7 s, ours does.
    actions = [
        {agent: 0 if step < 2 else int(rng.integers(env.action_space(agent).n)) for agent in env.possible_agents}
        for step in range(40)
    ]
    played = {one["name"]: one for one in env.signals}
    folder = sumo._resco("") / name
    told = {
        "net": str(folder / f"{name}.net.xml"),
        "routes": str(next(folder.glob("*.rou.xml"))),
        "begin": sumo.RESCO[name],
        "seed": 11,
        "actions": [{agent: played[agent]["states"][phase] for agent, phase in row.items()} for row in actions],
    }
    settings = os.environ | {"LIBSUMO_AS_TRACI": "1", "SUMO_HOME": sumo._sumo_home()}
    done = subprocess.run(
        [sys.executable, "-c", SUMO_RL],
        input=json.dumps(told),
        capture_output=True,
        text=True,
        env=settings,
        timeout=100,
    )
    assert "@" in done.stdout, done.stderr
    signals, seen, rewards = json.loads(done.stdout.rpartition("@")[2])
    assert set(signals) == set(env.possible_agents)
    observations = [env.reset(11)[0]]
    for row, expected in zip(actions, rewards):
        observation, reward, *_ = env.step(row)
        observations.append(observation)
        assert np.allclose(
            [reward[agent] * 60 / 100 for agent in played], [expected[agent] for agent in played], atol=1e-5
        )
    assert max(max(abs(value) for value in row.values()) for row in rewards) > 0
    for step, (ours, theirs) in enumerate(zip(observations, seen)):
        for agent, one in played.items():
            states, lanes = signals[agent]
            phases = [states.index(state) for state in one["states"]]
            places = [lanes.index(lane) for lane in one["lanes"]]
            their = np.array(theirs[agent])
            head, (density, queue) = their[: len(states) + 1], their[len(states) + 1 :].reshape(2, -1)
            flag = [1.0] if step < 2 else [head[-1]]
            sorted_ = np.concatenate([head[phases], flag, density[places], queue[places]])
            assert np.allclose(ours[agent], sorted_, atol=1e-6), (step, agent)


def test_agents_of_cologne8_differ():
    batch = started("cologne8")
    assert len(batch.agents) == 8
    assert len({(spec.observation_size, spec.action.sizes) for spec in batch.specs}) >= 6
    for spec, row, one in zip(batch.specs, observed(batch), batch.envs[0].signals):
        phases, lanes = spec.action.sizes[0], len(one["lanes"])
        assert spec.observation_size == 1 + phases + 2 * lanes and row[0, :phases].tolist() == [1] + [0] * (phases - 1)
        assert not one["four_arms"]
    rows = [-place[1] for place in batch.spec.positions]
    assert rows == sorted(rows), "agents go from north to south"
    assert {edge for pair in batch.spec.interaction for edge in pair} <= set(range(8))


def test_a_road_past_junctions_without_signals_is_an_interaction():
    """In cologne8 some signals are linked only so; and nobody influences itself."""
    env = made("cologne8").envs[0]
    net = ElementTree.parse(sumo._resco("") / "cologne8" / "cologne8.net.xml").getroot()
    ends = {edge.get("id"): (edge.get("from"), edge.get("to")) for edge in net.findall("edge")}
    direct = {
        (ends[road][0], one["name"])
        for one in env.signals
        for road in one["roads"]
        if ends[road][0] in env.possible_agents
    }
    found = set(env.interaction_graph)
    assert direct < found and all(source != target for source, target in found)


def test_a_phase_lasts_at_least_seven_seconds():
    batch = started(horizon=20)
    shown = []
    for wanted in (3, 5, 5, 5, 2):
        batch.step([np.full((1, 1), wanted, np.int32)] * 16)
        row = observed(batch)[0][0]
        shown.append((int(row[:8].argmax()), int(row[8])))
    assert shown == [(3, 0), (3, 1), (5, 0), (5, 1), (2, 0)]


def test_vehicles_are_conserved_and_counted():
    batch = started(horizon=1000)
    env = batch.envs[0]
    file = next((sumo._resco("") / "grid4x4").glob("*.rou.xml"))
    departures = np.array([float(one.get("depart")) for one in ElementTree.parse(file).getroot().findall("vehicle")])
    for _ in range(4):
        drive(batch, 25)
        env.worker.ask(b"F")
        told = json.loads(env.worker.answer())
        assert told["inserted"] == told["arrived"] + told["inside"]
        # SUMO inserts those due at time t in the second that begins then
        assert told["inserted"] + told["outside"] == (departures < env.time * 5).sum()
    assert told["arrived"] > 50


def test_vehicles_are_conserved_where_jams_are_teleported():
    batch = started("cologne8", demand=4, teleport=20, horizon=1000)
    drive(batch, 70)
    worker = batch.envs[0].worker
    worker.ask(b"F")
    told = json.loads(worker.answer())
    assert told["teleports"] > 10
    assert told["inserted"] == told["arrived"] + told["inside"]


def test_figures_of_one_vehicle_that_waits_at_red(tmp_path):
    """Its waiting is what the rewards counted; its travel is the time since its departure, until it has arrived."""
    vehicles = np.zeros((4, 3), int)
    vehicles[NORTH, THROUGH] = 1
    batch = started(routes=crossing(tmp_path, vehicles, depart=4.0))
    env, signal = batch.envs[0], batch.agents.index(SIGNAL)
    counted = 0.0
    for step in range(1, 41):
        batch.step([np.full((1, 1), 3 if step < 20 else 0, np.int32)] * 16)
        counted -= batch.reward[0, signal] * 60
        figures = env.metrics()
        assert figures["inserted"] == 1 and figures["teleports"] == 0
        if not figures["arrived"]:
            assert figures["travel_time"] == 0 and figures["travel_time_all"] == step * 5 - 4
            assert np.isclose(figures["waiting"], counted, atol=5)
    assert figures["arrived"] == 1 and figures["waiting"] > 60
    assert figures["travel_time_all"] == figures["travel_time"] == pytest.approx(20 * 5 - 4 + 22, abs=12)
    assert figures["waiting"] < figures["delay"] < figures["travel_time"]


def test_vehicles_that_find_no_room_count(tmp_path):
    """More than the road holds, at red: those outside are in the reward and in the delay."""
    vehicles = np.zeros((4, 3), int)
    vehicles[WEST, LEFT] = 60
    batch = started(routes=crossing(tmp_path, vehicles))
    signal = batch.agents.index(SIGNAL)
    for _ in range(40):
        batch.step([np.full((1, 1), 2, np.int32)] * 16)
    figures = batch.envs[0].metrics()
    assert figures["inserted"] + figures["outside"] == 60 and figures["outside"] >= 10
    assert batch.reward[0, signal] == pytest.approx(-60 * 5 / 60, abs=5 / 60)
    assert figures["travel_time_all"] == 200 - 3


def test_rewards(tmp_path):
    """In vehicle-minutes. Pressure is the queue where nobody stands beyond; and what stands here is beyond the next."""
    vehicles = np.zeros((4, 3), int)
    vehicles[SOUTH, LEFT] = 4
    found = {}
    for kind in sumo.REWARDS:
        batch = started(routes=crossing(tmp_path, vehicles), reward=kind)
        found[kind] = np.array([step[0] for step in hold(batch, 12, phase=2)])
    signal, south = batch.agents.index(SIGNAL), batch.agents.index(ROADS[SOUTH])
    assert np.array_equal(found["queue"][:, signal], found["pressure"][:, signal])
    assert np.array_equal(found["queue"][1:, signal], found["pressure"][1:, south])  # at first some are still outside
    assert found["queue"][-1, signal] == pytest.approx(-4 * 5 / 60)
    assert found["diff_waiting"][-1, signal] == pytest.approx(-4 * 5 / 60), "four vehicles stood for the 5 s"
    assert not np.delete(found["queue"], signal, 1).any()


def hold(batch: sumo.SumoCopies, steps: int, phase: int) -> list[np.ndarray]:
    """The same phase everywhere; rewards."""
    rewards = []
    for _ in range(steps):
        batch.step([np.full((batch.copies, 1), phase, np.int32)] * 16)
        rewards.append(batch.reward.copy())
    return rewards


def test_a_seed_is_an_episode_whatever_was_run_before():
    fresh = drive(started("cologne8", first=5), 30)
    gc.collect()
    batch = started("cologne8", first=4)
    other = drive(batch, 30)
    batch.reset(np.arange(1), seeds(1, 5))
    assert np.array_equal(drive(batch, 30), fresh)
    assert not np.array_equal(other, fresh)
    shifted = started("cologne8", first=5, shift=60)
    assert not np.array_equal(drive(shifted, 30), fresh)


def test_copies_do_not_depend_on_each_other():
    both, alone = started("cologne8", 2), started("cologne8", 1, first=1)
    rewards = drive(both, 30)
    assert np.array_equal(rewards[:, 1:], drive(alone, 30))
    assert not np.array_equal(rewards[:, 0], rewards[:, 1])
    assert all(np.array_equal(row[1:], own) for row, own in zip(observed(both), observed(alone)))
    figures = both.metrics(np.array([1]))
    assert list(figures) == list(sumo.FIGURES)
    assert all(np.array_equal(figures[name], values) for name, values in alone.metrics(np.arange(1)).items())


def test_episodes_are_cut_off_not_over():
    batch = started(copies=2, horizon=3)
    drive(batch, 2)
    assert not batch.truncated.any() and batch.alive.all()
    drive(batch, 1)
    assert batch.truncated.all() and not batch.terminated.any()
    assert all(row.any() for row in observed(batch)), "the final observation is there to bootstrap from"
    batch.reset(np.array([1]), seeds(1))
    assert batch.alive.tolist() == [[False] * 16, [True] * 16]
    drive(batch, 1)
    assert batch.envs[0].time == 3 and batch.envs[1].time == 1
    assert made(step=10).spec.horizon == 360


def test_saved_state_continues_exactly():
    one, other = started("cologne8", 2), made("cologne8", 2)
    drive(one, 12)
    one.reset(np.array([1]), seeds(1, 9))
    drive(one, 7)
    assert other.load(one.save(), [*seeds(1), *seeds(1, 9)])
    assert np.array_equal(drive(one, 15, seed=2), drive(other, 15, seed=2))
    assert not other.load(one.save(), seeds(2, 3)), "with other seeds it is another episode, and is found out"


BARE = """
import json, sys, libsumo
libsumo.start(["sumo", *json.loads(sys.argv[1])])
stood = 0
for _ in range(600):
    libsumo.simulationStep()
    stood += sum(libsumo.vehicle.getSpeed(vehicle) < 0.1 for vehicle in libsumo.vehicle.getIDList())
print("@" + json.dumps(stood / int(libsumo.simulation.getParameter("", "stats.vehicles.inserted"))))
"""


def test_fixed_time_is_the_networks_own_programme():
    """The vehicles of a simulation that nobody touches, counted second by second, wait as long."""
    batch = made(horizon=120)
    controller = batch.controllers["fixed_time"](batch)
    batch.reset(np.arange(1), seeds(1))
    shown = []
    for _ in range(120):
        batch.step(list(controller.act(batch)))
        shown.append(int(observed(batch)[0][0, :8].argmax()))
    # greens of 10 s and yellows of 3 s; phases in the file's order, which is not that of traffic:grid
    assert shown[:3] == [0, 0, 1] and list(dict.fromkeys(shown)) == [0, 1, 4, 5, 2, 3, 7, 6]
    command = [*batch.envs[0].settings["command"], "--seed", str(sumo.seed_of(seeds(1)[0]))]
    done = subprocess.run([sys.executable, "-c", BARE, json.dumps(command)], capture_output=True, text=True, timeout=60)
    expected = json.loads(done.stdout.rpartition("@")[2])
    assert batch.envs[0].metrics()["waiting"] == pytest.approx(expected, rel=5e-3) and expected > 20
    late = made()
    late.reset(np.arange(1), seeds(1))
    with pytest.raises(RuntimeError, match="before it"):
        late.controllers["fixed_time"](late).act(late)


def test_greedy_rules(tmp_path):
    """The longest queue is served; max-pressure does not send vehicles to where more stand already."""
    vehicles = np.zeros((4, 3), int)
    vehicles[WEST, THROUGH], vehicles[NORTH, THROUGH] = 4, 2
    ahead = '<route edges="B2C2 C2D2 D2right2"/>'
    more = [f'<vehicle id="{n}" depart="{3 + n}" departLane="best">{ahead}</vehicle>' for n in range(8)]
    batch = started(routes=crossing(tmp_path, vehicles, more="".join(more), west=ahead))
    rules = {name: batch.controllers[name](batch) for name in ("longest_queue", "max_pressure")}
    assert all((rule.act(batch) == 0).all() for rule in rules.values()), "nobody waits: the present phase stays"
    hold(batch, 12, phase=6)
    chosen = {name: int(rule.act(batch)[batch.agents.index(SIGNAL), 0]) for name, rule in rules.items()}
    assert chosen == {"longest_queue": 2, "max_pressure": 0}


def test_greedy_rules_beat_the_shipped_programme():
    waiting = {}
    for name in sumo.CONTROLLERS:
        batch = made("cologne8", horizon=90)
        controller = batch.controllers[name](batch)
        batch.reset(np.arange(1), seeds(1))
        for _ in range(90):
            batch.step(list(controller.act(batch)))
        waiting[name] = float(batch.metrics(np.arange(1))["waiting"][0])
    assert waiting["longest_queue"] < waiting["fixed_time"] / 2 and waiting["max_pressure"] < waiting["fixed_time"] / 2


def test_a_worker_that_dies_is_named():
    batch = started(copies=2)
    batch.envs[1].worker.process.kill()
    with pytest.raises(RuntimeError, match="copy 1 .* (ended with exit status -9|listen)"):
        drive(batch, 2)


def test_a_worker_that_is_silent_is_named(monkeypatch):
    batch = started()  # which may take longer on a busy machine
    monkeypatch.setattr(sumo, "PATIENCE", 0.3)
    worker = batch.envs[0].worker
    worker.process.send_signal(signal.SIGSTOP)
    with pytest.raises(RuntimeError, match="copy 0 .* silent for"):
        drive(batch, 1)
    worker.process.kill()


def test_what_sumo_says_is_shown():
    batch = started()
    env = batch.envs[0]
    env.worker.ask(b"S", np.full(16, 99, np.int32).tobytes())
    with pytest.raises(RuntimeError, match="copy 0 of this process failed"):
        env.worker.answer()


HOST = """
import sys
import numpy as np
from perla_net.world.suites import sumo
batch = sumo.make("cologne8", {}, 2, None, False)
batch.reset(np.arange(2), [np.random.SeedSequence(0)] * 2)
print(*(env.worker.process.pid for env in batch.envs), flush=True)
sys.stdin.read()
"""


def test_workers_end_with_their_host():
    host = subprocess.Popen(
        [sys.executable, "-c", HOST], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    workers = [int(word) for word in host.stdout.readline().split()]
    assert len(workers) == 2 and all(alive(worker) for worker in workers)
    host.kill()
    host.wait()
    until = time.monotonic() + 10
    while any(alive(worker) for worker in workers) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(alive(worker) for worker in workers)


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_workers_are_used_again_and_know_nothing_of_mpi(monkeypatch):
    gc.collect()
    monkeypatch.setenv("PMI_RANK", "3")
    monkeypatch.setattr(sumo, "IDLE", [])
    batch = started("cologne8")
    process = batch.envs[0].worker.process
    names = {entry.partition(b"=")[0] for entry in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")}
    assert b"PMI_RANK" not in names and b"SUMO_HOME" in names
    loaded = Path(f"/proc/{process.pid}/maps").read_text()
    assert "libsumo" in loaded and "libtorch" not in loaded and "mpi4py" not in loaded
    del batch
    gc.collect()
    assert started().envs[0].worker.process is process
    assert process.poll() is None


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("paris", {}, "none of grid4x4"),
        ("my.net.xml", {}, "routes=FILE"),
        ("my.net.xml", {"routes": "no.rou.xml"}, "is not a file"),
        ("no.sumocfg", {}, "is not a file"),
        ("grid4x4", {"yellow": 5}, "yellow 5"),
        ("grid4x4", {"step": 0}, "step 0"),
        ("grid4x4", {"reward": "speed"}, "queue, pressure, diff_waiting"),
        ("grid4x4", {"horizon": 1.5}, "horizon 1.5"),
        ("grid4x4", {"teleport": 0}, "teleport 0"),
        ("grid4x4", {"colour": 1}, "unknown argument 'colour'"),
    ],
)
def test_bad_arguments(name, arguments, words):
    with pytest.raises(InputError, match=words):
        made(name, **arguments)


def test_files_that_sumo_refuses(tmp_path):
    (tmp_path / "a.net.xml").write_text("<net>no network")
    routes = tmp_path / "a.rou.xml"
    routes.write_text('<routes><vehicle id="0" depart="0"><route edges="x y"/></vehicle></routes>')
    with pytest.raises(InputError, match="cannot open it"):
        made(str(tmp_path / "a.net.xml"), routes=str(routes))
    with pytest.raises(InputError, match="'x'"):
        made(routes=str(routes))


def test_files_of_the_user():
    """The same files by their paths, and by a configuration, are the same environment."""
    folder = sumo._resco("") / "cologne8"
    net, routes = str(folder / "cologne8.net.xml"), str(folder / "cologne8.rou.xml")
    expected = drive(started("cologne8"), 20)
    assert np.array_equal(drive(started(net, routes=routes, begin=25200), 20), expected)
    assert np.array_equal(drive(started(str(folder / "cologne8.sumocfg")), 20), expected)


@pytest.mark.filterwarnings("ignore")
def test_pettingzoo_accepts_a_copy():
    env = made("cologne8", horizon=30).envs[0]
    parallel_api_test(env, num_cycles=40)
    parallel_seed_test(lambda: made("cologne8", horizon=20).envs[0], num_cycles=8)


def test_picture():
    batch = started()
    drive(batch, 20)
    picture = batch.picture(0)
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.std() > 10


@needs_mpirun
@pytest.mark.mpi
def test_numbers_do_not_depend_on_ranks(tmp_path):
    options = ("--env", "sumo:cologne8:horizon=12", "--copies", "3", "--rounds", "2")
    assert run(tmp_path / "two", 2, *options) == run(tmp_path / "one", 0, *options)
