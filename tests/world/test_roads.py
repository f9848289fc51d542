"""Traffic on any road graph: physics, conservation, what is read from files, and PettingZoo's own tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

from perla_net.ground.errors import InputError
from perla_net.ground.graph_files import find_file
from perla_net.world.environments import make
from perla_net.world.networked import traffic
from perla_net.world.networked.road_network import GIVE_WAY, GREEN, OUTSIDE, derived_phases, read_network
from perla_net.world.networked.roads import CONTROLLERS, FixedTime, Groups, TrafficRoads
from perla_net.world.parallel import parallel_env

SIOUX = "sioux_falls.graphml"


def roads(file: Path | str, copies: int = 1, **arguments) -> TrafficRoads:
    text = ",".join(f"{key}={value}" for key, value in arguments.items())
    env = make(f"traffic:{file}" + (f":{text}" if text else ""), copies, None)
    env.reset(np.arange(copies), seeds(copies))
    return env


def seeds(copies: int, start: int = 0) -> list[np.random.SeedSequence]:
    return [np.random.SeedSequence(1, spawn_key=(start + copy,)) for copy in range(copies)]


def written(graph: nx.Graph, folder: Path) -> Path:
    nx.write_graphml(graph, folder / "roads.graphml")
    return folder / "roads.graphml"


def chance(env: TrafficRoads, rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.integers(0, number, env.copies) for number in env.phases]


def link(env: TrafficRoads, tail: str, head: str) -> int:
    return next(i for i, road in enumerate(env.network.links) if (road.tail, road.head) == (tail, head))


def movement(env: TrafficRoads, tail: str, middle: str, head: str) -> int:
    """Index of the movement tail → middle → head."""
    onto = link(env, middle, head)
    return next(i for i, m in enumerate(env.network.movements) if (m.link, m.onto) == (link(env, tail, middle), onto))


def phase_of(env: TrafficRoads, signal: str, *movements: int) -> int:
    """The first phase of a signal that gives green to all of the movements."""
    found = next(s for s in env.network.signals if s.name == signal)
    return next(p for p, phase in enumerate(found.phases) if set(movements) <= set(phase))


def random_roads(seed: int) -> nx.DiGraph:
    """A strongly connected directed graph with links of all sizes, some of them tiny."""
    rng = np.random.default_rng(seed)
    graph = nx.DiGraph(nx.cycle_graph(9, create_using=nx.DiGraph))
    graph.add_edges_from((int(a), int(b)) for a, b in rng.integers(0, 9, (14, 2)) if a != b)
    for _, data in graph.nodes(data=True):
        if seed % 2:
            data["x"], data["y"] = rng.uniform(0, 1000, 2).tolist()
    for *_, data in graph.edges(data=True):
        data["length_m"] = float(rng.choice([5, 40, 130, 400]))
        data["lanes"] = int(rng.integers(1, 4))
        data["speed_kmh"] = float(rng.choice([30, 50, 70]))
    return graph


def crossing(arms: dict[str, tuple[float, float]], **road) -> nx.DiGraph:
    """A junction ``c`` at (0, 0) with roads to and from each arm."""
    graph = nx.DiGraph()
    graph.add_node("c", x=0.0, y=0.0)
    for name, (x, y) in arms.items():
        graph.add_node(name, x=float(x), y=float(y))
        graph.add_edge(name, "c", **road)
        graph.add_edge("c", name, **road)
    return graph


FOUR = {"n": (0, 1), "e": (1, 0), "s": (0, -1), "w": (-1, 0)}


def grid_of_roads() -> nx.DiGraph:
    """3 × 3 signals as in ``traffic:grid``, with an arm to the outside wherever there is no neighbour."""
    graph = nx.DiGraph()
    road = {"length_m": 200.0, "lanes": 3, "speed_kmh": 48.0}
    for row in range(3):
        for column in range(3):
            here = f"{row}{column}"
            graph.add_node(here, x=float(column), y=float(-row))
            for down, right in ((-1, 0), (0, 1), (1, 0), (0, -1)):
                inside = 0 <= row + down < 3 and 0 <= column + right < 3
                there = f"{row + down}{column + right}" if inside else f"out{row + down}{column + right}"
                graph.add_node(there, x=float(column + right), y=float(-row - down))
                graph.add_edge(here, there, **road)
                if not inside:
                    graph.add_edge(there, here, **road)
    return graph


# Physics


@pytest.mark.parametrize("case", [("sioux", 1.0), ("sioux", 2.5), *((seed, 3.0) for seed in range(6))], ids=str)
@pytest.mark.parametrize("controller", [None, "max_pressure"])
def test_vehicles_are_conserved_and_no_limit_is_exceeded(tmp_path, case, controller):
    """Demanded = outside + on links + left at every step; no link over its storage, no flow over saturation or at red."""
    which, demand = case
    file = SIOUX if which == "sioux" else written(random_roads(which), tmp_path)
    env = roads(file, 3, demand=demand, horizon=120)
    chosen = CONTROLLERS[controller](env) if controller else None
    rng = np.random.default_rng(0)
    passing = env.onto != len(env.lanes)
    for step in range(120):
        env.step(list(chosen.act(env)) if chosen else chance(env, rng))
        assert (env.demanded == env.entered + env.outside.sum(1)).all()
        assert (env.entered == env.left + env.on_link.sum(1)).all()
        assert (env.on_link <= env.storage).all() and (env.queue >= 0).all() and (env.moving >= 0).all()
        green = env.greens[np.arange(len(env.owner)), env.phase[:, env.owner]]
        assert (env.served[green == 0] == 0).all()
        assert (env.served <= 3 * env.movement_lanes * (green > 0)).all()  # 2.5 vehicles a lane, and a half saved
        from_link = np.stack([np.bincount(env.link, s * passing, len(env.lanes)) for s in env.served])
        dealt = np.bincount(env.link, env.movement_lanes * passing, len(env.lanes))
        assert (from_link <= 3 * np.minimum(env.lanes, dealt)).all()
        if step % 20 == 19:
            held = np.stack([np.bincount(env.link, row, len(env.lanes)) for row in env.queue + env.moving])
            assert (held == env.on_link).all()
            stored = env.transit.sum(1)
            assert (stored == env.moving.sum(1)).all()
    assert env.left.min() > 0
    if demand == 2.5 and controller is None:
        assert env.blocked.min() > 0, "links that are full must hold vehicles back"


def test_a_platoon_moves_as_in_the_grid(tmp_path):
    """The same arms, lanes, lengths and speeds: a queue is served and arrives at the next signal in the very same steps."""
    env = roads(written(grid_of_roads(), tmp_path), demand=0)
    grid = traffic.TrafficGrid(1, rows=3, columns=3, demand=0)
    grid.reset(np.arange(1), seeds(1))
    assert [len(signal.phases) for signal in env.network.signals] == [8] * 9
    assert env.storage.tolist() == [traffic.LINK_STORAGE] * 48 and set(env.travel) == {traffic.TRAVEL_STEPS}
    through = movement(env, "out1-1", "10", "11")
    assert env.movement_lanes[through] == 1
    env.queue[0, through] = grid.queue[0, 3, traffic.WEST, traffic.THROUGH] = 40
    env.on_link[0, link(env, "out1-1", "10")] = 40
    onward = link(env, "10", "11")
    names = [signal.name for signal in env.network.signals]
    west_east = phase_of(env, "signal_10", through, movement(env, "11", "10", "out1-1"))
    for step in range(16):
        wanted = [0] * 9
        wanted[names.index("signal_10")] = west_east if 3 <= step < 12 else 0
        env.step([np.array([phase]) for phase in wanted])
        grid.step([np.array([2 if signal == 3 and 3 <= step < 12 else 0]) for signal in range(9)])
        assert env.queue[0, through] == grid.queue[0, 3, traffic.WEST, traffic.THROUGH]
        own = env.link == onward
        assert env.moving[0, own].sum() == grid.transit[0, :, 4, traffic.WEST].sum()
        assert env.on_link[0, onward] == grid.on_link()[0, 4, traffic.WEST]
    assert 0 < env.queue[0, through] < 40


@pytest.mark.parametrize(("length", "speed", "steps"), [(200, 50, 3), (1000, 50, 14), (30, 50, 1), (200, 100, 1)])
def test_travel_takes_length_over_speed(tmp_path, length, speed, steps):
    """A vehicle that sets out in step t is in the queue, and at green past it, ``steps`` steps later."""
    env = roads(written(crossing(FOUR, length_m=float(length), speed_kmh=float(speed)), tmp_path), demand=0)
    start = link(env, "w", "c")
    env.arrivals[0, 2, list(env.source).index(start)] = 1
    phase = phase_of(env, "signal_c", *np.flatnonzero(env.link == start))
    passed = []
    for _ in range(4 + 2 * steps):
        env.step([np.array([phase])])
        passed.append((int(env.served[0, env.link == start].sum()), int(env.left[0])))
    assert [step for step, (served, _) in enumerate(passed) if served] == [2 + steps]
    assert [step for step, (_, left) in enumerate(passed) if left][0] == 2 + 2 * steps


def test_saturation_of_lanes_shared_and_own(tmp_path):
    """1800 vehicles/h a lane: on one lane all movements together, on three lanes each of three; at half where they give way."""
    for lanes, per_step in ((1, 2.5), (3, 7.5), (2, 5.0)):
        env = roads(written(crossing(FOUR, lanes=lanes, length_m=9000.0), tmp_path), demand=0)
        own = np.flatnonzero(env.link == link(env, "n", "c"))
        assert env.movement_lanes[own].tolist() == [1, 1, 1]
        env.queue[0, own], env.on_link[0, link(env, "n", "c")] = 200, 600
        alone = phase_of(env, "signal_c", *own)
        served = []
        env.outside[0, link(env, "n", "c")] = 30
        for _ in range(21):
            env.step([np.array([alone])])
            served.append(env.served[0, own].copy())
            assert env.entered[0] == min(30, len(served) * int(2.5 * lanes))
        assert np.sum(served[1:]) == 20 * per_step
        if lanes == 1:
            assert np.ptp(np.sum(served, axis=0)) <= 3, "movements take precedence in turn"
    env.greens[env.greens == GREEN] = GIVE_WAY
    before = env.left + env.on_link.sum(1)
    env.outside[:] = 0
    env.credit[:] = 0
    halves = []
    for _ in range(20):
        env.step([np.array([alone])])
        halves.append(env.served[0, own[0]])
    assert sum(halves) == 20 * 1.25 and (env.left + env.on_link.sum(1) == before).all()


def test_full_links_spill_back(tmp_path):
    """a → b → c, the exit of c at red: the short link between fills to its storage and b's green is of no use."""
    graph = nx.DiGraph()
    for name, x, y in (("o", -1, 0), ("a", 0, 0), ("b", 1, 0), ("p", 0, 1), ("q", 1, 1), ("z", 2, 0)):
        graph.add_node(name, x=float(x), y=float(y))
    for tail, head in (("o", "a"), ("p", "a"), ("a", "b"), ("q", "b"), ("b", "z")):
        graph.add_edge(tail, head, length_m=60.0 if tail == "a" else 300.0)
    env = roads(written(graph, tmp_path), demand=0)
    assert [signal.name for signal in env.network.signals] == ["signal_a", "signal_b"]
    middle, first = link(env, "a", "b"), movement(env, "o", "a", "b")
    assert env.storage[middle] == 8
    env.queue[0, first], env.on_link[0, link(env, "o", "a")] = 30, 30
    green_a = phase_of(env, "signal_a", first)
    red_b = phase_of(env, "signal_b", movement(env, "q", "b", "z"))
    for _ in range(12):
        env.step([np.array([green_a]), np.array([red_b])])
    assert env.on_link[0, middle] == 8 and env.queue[0, first] == 22 and env.blocked[0] > 0
    assert env.left[0] == 0 and env.served[0, first] == 0
    reward = env.reward[0].tolist()
    assert reward == pytest.approx([-22 * 5 / 60, -8 * 5 / 60])
    green_b = phase_of(env, "signal_b", movement(env, "a", "b", "z"))
    for _ in range(40):
        env.step([np.array([green_a]), np.array([green_b])])
    assert env.left[0] == 30 and env.on_link.sum() == 0


def test_members_share_what_a_group_has():
    """The vectorised rule against one that goes from member to member."""
    rng = np.random.default_rng(3)
    group = rng.integers(-1, 5, 23)
    groups = Groups(group, 6)
    for _ in range(20):
        wish, budget = rng.integers(0, 6, (4, 23)), rng.integers(0, 15, (4, 6))
        time = rng.integers(0, 50, 4)
        expected = wish.copy()
        for copy in range(4):
            for number in range(6):
                members, left = np.flatnonzero(group == number), budget[copy, number]
                for place in range(len(members)):
                    member = members[(place + time[copy]) % len(members)]
                    expected[copy, member] = min(wish[copy, member], left)
                    left -= expected[copy, member]
        assert (groups.share_out(wish, budget, time) == expected).all()
        for number in range(6):
            assert (groups.sums(wish)[:, number] == wish[:, group == number].sum(1)).all()


# Demand and turns


def test_sioux_falls_is_the_published_equilibrium():
    """Flows that follow from the file's demand and turns, times 20, have the total travel time of the published solution,
    7 480 225.34 in units of 0.01 vehicle-hours, by the data set's own travel time functions."""
    network = read_network("traffic", SIOUX)
    data = nx.read_graphml(find_file(SIOUX))
    assert 20 * network.demand.sum() == pytest.approx(360600, abs=1)
    flows = 20 * network.flows(network.demand)
    roads_of = [data.edges[road.tail, road.head] for road in network.links]
    capacity = np.array([road["capacity"] for road in roads_of])
    times = np.array([road["free_flow_time"] for road in roads_of]) * (1 + 0.15 * (flows / capacity) ** 4)
    assert flows @ times == pytest.approx(7480225.34, rel=1e-5)
    assert len(network.links) == 76 and len(network.signals) == 19
    assert {len(signal.phases) for signal in network.signals} > {2, 3, 4, 8}


def test_vehicles_turn_and_set_out_as_told(tmp_path):
    graph = crossing(FOUR, lanes=2)
    graph.edges["c", "s"]["lanes"] = 1
    graph.edges["n", "c"]["turns"] = "s:0.5 e:0.2"
    graph.edges["n", "c"]["demand_vph"] = 900.0
    graph.nodes["e"]["demand_vph"] = 300.0
    graph.nodes["c"]["exit_share"] = 0.25
    env = roads(written(graph, tmp_path), 16)
    network = env.network
    told = {
        (network.links[m.link].tail, network.links[m.onto].head if m.onto != OUTSIDE else ""): m.share
        for m in network.movements
    }
    assert (told["n", "s"], told["n", "e"], told["n", ""]) == pytest.approx((0.5, 0.2, 0.3))
    assert (told["e", "s"], told["e", "w"], told["e", "n"], told["e", ""]) == pytest.approx((0.15, 0.3, 0.3, 0.25))
    assert ("n", "w") not in told
    assert network.demand[link(env, "n", "c")] == 900 and network.demand.sum() == 1200
    flows = network.flows(network.demand)
    assert flows[link(env, "c", "s")] == pytest.approx(900 * 0.5 + 300 * 0.15)
    arrived = env.arrivals.sum((0, 1)) / (16 * 0.5)
    assert arrived == pytest.approx(network.demand[env.source], rel=0.12)
    first = env.table_of[link(env, "n", "c")]
    shares = np.bincount(env.turns[:, first].ravel(), minlength=3) / env.turns[:, first].size
    own = [m.share for m in network.movements if m.link == link(env, "n", "c")]
    assert shares == pytest.approx(own, abs=0.02)


def test_without_demand_the_busiest_place_is_loaded_to_six_tenths(tmp_path):
    for graph in (crossing(FOUR), nx.grid_2d_graph(3, 3), random_roads(2)):
        named = nx.relabel_nodes(graph, {node: str(node).replace(" ", "") for node in graph})
        network = read_network("traffic", str(written(named, tmp_path)))
        assert network.load(network.demand) == pytest.approx(0.6)
        rim = {road.tail for road, rate in zip(network.links, network.demand) if rate}
        assert rim == (set(FOUR) if "n" in named else set(map(str, named)))


# Phases and graphs


def test_phases_of_crossings(tmp_path):
    def phases(arms, first, **road):
        env = read_network("traffic", str(written(crossing(arms, **road), tmp_path)))
        name = {i: env.links[m.link].tail + env.links[m.onto].head for i, m in enumerate(env.movements)
                if m.onto != OUTSIDE}  # fmt: skip
        assert [name[m] for m in env.signals[0].movements][:2] == first
        return [{name[m] for m in phase} for phase in env.signals[0].phases]

    four = phases(FOUR, ["ne", "ns"])  # from left to right
    assert four == [
        {"ns", "nw", "sn", "se"}, {"ne", "sw"}, {"ew", "en", "we", "ws"}, {"es", "wn"},
        {"ne", "ns", "nw"}, {"es", "ew", "en"}, {"sw", "sn", "se"}, {"wn", "we", "ws"},
    ]  # fmt: skip
    signs = {"n": 0, "e": 1, "s": 2, "w": 3}
    turn = {1: traffic.LEFT, 2: traffic.THROUGH, 3: traffic.RIGHT}
    grid = [{(a, t) for a in range(4) for t in range(3) if traffic.PHASES[p, a, t]} for p in range(8)]
    mine = [{(signs[m[0]], turn[(signs[m[1]] - signs[m[0]]) % 4]) for m in phase} for phase in four]
    assert sorted(map(sorted, mine)) == sorted(map(sorted, grid)), "the eight phases of traffic:grid"
    tee = {arm: FOUR[arm] for arm in "esw"}
    assert phases(tee, ["es", "ew"]) == [{"ew", "we", "ws"}, {"es", "ew"}, {"sw", "se"}]
    assert phases({"a": (0, 1), "b": (1, -1), "d": (-1, -1)}, ["ab", "ad"]) == [
        {"ab", "ad", "ba"},
        {"ba", "bd"},
        {"da", "db"},
    ]
    bare = crossing(FOUR)
    del bare.nodes["c"]["x"]
    env = read_network("traffic", str(written(bare, tmp_path)))
    assert [len(phase) for phase in env.signals[0].phases] == [3] * 4 and env.places is None
    assert derived_phases([[0], [1]], [0.0, 0.0], [0.0, 3.0]) == [{0: GREEN, 1: GREEN}]


def test_who_influences_whom_and_who_is_an_agent(tmp_path):
    """A chain c – m – d – e: the bend m passes everything, and influence goes past it, but not past d."""
    graph = nx.Graph([("c", "m"), ("m", "d"), ("d", "e")])
    graph.add_edges_from([("c", "c1"), ("c", "c2"), ("d", "d1"), ("e", "e1"), ("e", "e2")])
    env = roads(written(graph, tmp_path))
    names = [signal.name for signal in env.network.signals]
    assert names == ["signal_c", "signal_d", "signal_e"]
    assert env.spec.interaction == ((0, 1), (1, 0), (1, 2), (2, 1))
    assert env.spec.positions is None and env.spec.name == f"traffic:{tmp_path}/roads.graphml"
    graph.nodes["d"]["signal"] = False
    env = roads(written(graph, tmp_path))
    assert env.spec.interaction == ((0, 1), (1, 0))
    one_way = nx.relabel_nodes(nx.DiGraph(nx.grid_2d_graph(2, 3)), lambda node: f"{node[0]}{node[1]}")
    one_way.remove_edge("01", "02")
    spec = make(f"traffic:{written(one_way, tmp_path)}", 1, None).spec
    assert [agent.name for agent in spec.agents] == ["signal_01", "signal_11"]
    sioux = make(f"traffic:{SIOUX}", 1, 19).spec
    assert len(sioux.agents) == 19 and len({agent.observation_size for agent in sioux.agents}) > 3
    assert all((i, j) in sioux.interaction for j, i in sioux.interaction), "its roads are two-way"
    assert len(sioux.positions) == 19


# What learners see


def test_numbers_do_not_depend_on_how_copies_are_spread():
    """Four copies at once against each alone, bit for bit: observations, rewards and what controllers choose."""
    whole = roads(SIOUX, 4, demand=1.5, reward="pressure")
    alone = [roads(SIOUX, 1, demand=1.5, reward="pressure") for _ in range(4)]
    for copy, env in enumerate(alone):
        env.reset(np.arange(1), seeds(1, copy))
    rng = np.random.default_rng(7)
    controllers = {env: [controller(env) for controller in CONTROLLERS.values()] for env in (whole, *alone)}
    for step in range(60):
        for number in range(3):
            chosen = np.array(controllers[whole][number].act(whole))
            for copy, env in enumerate(alone):
                assert np.array_equal(chosen[:, copy : copy + 1], controllers[env][number].act(env))
            if number == step // 20:
                actions = chosen if step % 3 else np.array(chance(whole, rng))
        whole.step(list(actions))
        seen = observations(whole)
        for copy, env in enumerate(alone):
            env.step(list(actions[:, copy : copy + 1]))
            assert np.array_equal(env.reward[0], whole.reward[copy])
            assert all(np.array_equal(a[0], b[copy]) for a, b in zip(observations(env), seen))
    for copy, env in enumerate(alone):
        for name, value in env.metrics(np.arange(1)).items():
            assert value[0] == whole.metrics(np.arange(4))[name][copy]


def observations(env: TrafficRoads) -> list[np.ndarray]:
    rows = [np.full((env.copies, agent.observation_size), np.nan, np.float32) for agent in env.spec.agents]
    env.observe(slice(None), rows, [None] * len(rows))
    return rows


def test_copies_may_be_at_different_steps():
    """A copy that begins anew while others go on is as one that begins with them."""
    env, other = roads(SIOUX, 2), roads(SIOUX, 1)
    for _ in range(25):
        env.step([np.zeros(2, int)] * 19)
    env.reset(np.array([1]), seeds(1))
    for _ in range(30):
        env.step([np.full(2, 1)] * 19)
        other.step([np.full(1, 1)] * 19)
    for name in TrafficRoads.STATE:
        assert np.array_equal(getattr(env, name)[1], getattr(other, name)[0]), name


def test_saved_state_continues_exactly():
    one = roads(SIOUX, 2, demand=2)
    rng = np.random.default_rng(1)
    for _ in range(40):
        one.step(chance(one, rng))
    other = make(f"traffic:{SIOUX}:demand=2", 2, None)
    other.load(one.save(), seeds(2))
    for _ in range(40):
        actions = chance(one, rng)
        one.step(actions)
        other.step(actions)
    assert all(np.array_equal(array, other.save()[name]) for name, array in one.save().items())
    assert np.array_equal(one.reward, other.reward)


def test_observations_and_rewards():
    for kind in ("queue", "pressure"):
        env = roads(SIOUX, 2, reward=kind, demand=2)
        rng = np.random.default_rng(2)
        for _ in range(60):
            env.step(chance(env, rng))
        for number, (signal, row) in enumerate(zip(env.network.signals, observations(env))):
            own, phases = np.array(signal.movements), len(signal.phases)
            assert row.shape[1] == phases + 1 + 2 * len(own)
            assert (row[:, :phases].argmax(1) == env.phase[:, number]).all() and (row[:, :phases].sum(1) == 1).all()
            assert (row[:, phases] == (env.held[:, number] >= 7)).all()
            length = np.array([env.network.links[env.link[m]].length for m in own])
            stored = env.movement_lanes[own] * (length // 7.5)
            queue, present = env.queue[:, own], env.queue[:, own] + env.moving[:, own]
            assert np.allclose(row[:, phases + 1 :], np.minimum(np.hstack([present / stored, queue / stored]), 1))
            towards = np.unique(env.link[own])
            away = np.unique(env.onto[own])
            every = np.stack([np.bincount(env.link, q, len(env.lanes)) for q in env.queue])
            waiting = (every + env.outside)[:, towards].sum(1)
            expected = waiting if kind == "queue" else np.abs(waiting - every[:, away].sum(1))
            assert np.allclose(env.reward[:, number], -expected * 5 / 60)


def test_delay_is_waiting_time_per_vehicle():
    env = roads(SIOUX, 2)
    chosen, total = CONTROLLERS["longest_queue"](env), np.zeros(2)
    for _ in range(100):
        env.step(list(chosen.act(env)))
        total += 5 * (env.queue.sum(1) + env.outside.sum(1))
    assert np.allclose(env.metrics(np.arange(2))["delay"], total / env.demanded)


def test_episode_ends_by_truncation():
    env = roads(SIOUX, 1, horizon=3)
    ends = []
    for _ in range(3):
        env.step([np.zeros(1, int)] * 19)
        ends.append((env.truncated.all(), env.terminated.any(), env.alive.all()))
    assert ends == [(False, False, True), (False, False, True), (True, False, True)]


def test_references_are_better_than_chance():
    delays = {}
    for name in (None, *CONTROLLERS):
        env = roads(SIOUX, 3)
        chosen, rng = CONTROLLERS[name](env) if name else None, np.random.default_rng(0)
        for _ in range(env.horizon):
            env.step(list(chosen.act(env)) if chosen else chance(env, rng))
        delays[name] = env.metrics(np.arange(3))["delay"].mean()
    assert max(delays["longest_queue"], delays["max_pressure"]) < delays["fixed_time"] < delays[None] / 2


def test_fixed_time_is_websters_plan(tmp_path):
    """Two equal axes, ratio y each, no left turns: cycle (1.5 · 6 + 5) / (1 − 2y), half of it each."""
    graph = crossing(FOUR, length_m=100.0)
    for arm, opposite in (("n", "s"), ("s", "n"), ("e", "w"), ("w", "e")):
        graph.edges[arm, "c"]["turns"] = f"{opposite}:1"
        graph.edges[arm, "c"]["demand_vph"] = 450.0
    env = roads(written(graph, tmp_path))
    assert env.network.load(env.network.demand) == pytest.approx(0.5)
    plan = FixedTime(env, peak=1.6)  # Y = 0.8: a cycle of 70 s
    assert plan.plan.tolist() == [0] * 7 + [1] * 7


# Files and interfaces


def net(states: tuple[str, ...], control: str = 'tl="c"', root: str = "net") -> str:
    """A T of two-lane roads a, b (straight on) and d, as SUMO writes it, with what is to be left out."""
    places = {"a": (0, 0), "b": (200, 0), "d": (100, -100), "c": (100, 0)}
    lines = [f"<{root}>"]
    lines.append('<edge id=":c_0" function="internal"><lane id=":c_0_0" index="0" speed="9" length="9"/></edge>')
    for arm in "abd":
        for tail, head in ((arm, "c"), ("c", arm)):
            lanes = "".join(
                f'<lane id="{tail}{head}_{i}" index="{i}" speed="13.89" length="{90 + i}.5" {access}/>'
                for i, access in enumerate(('allow="pedestrian"', "", 'disallow="bus"'))
            )
            lines.append(f'<edge id="{tail}{head}" from="{tail}" to="{head}">{lanes}</edge>')
    lines.append('<edge id="tram" from="a" to="b"><lane id="t" index="0" speed="9" length="9" allow="tram"/></edge>')
    lines.extend(f'<junction id="{name}" type="x" x="{x}" y="{y}"/>' for name, (x, y) in places.items())
    phases = "".join(f'<phase duration="30" state="{state}"/>' for state in states)
    lines.append(f'<tlLogic id="c" type="static" programID="0" offset="0">{phases}</tlLogic>')
    lines.append('<tlLogic id="c" type="static" programID="1"><phase duration="9" state="GGGGGGGGG"/></tlLogic>')
    ways = [("a", "d", 1, "r"), ("a", "b", 1, "s"), ("a", "b", 2, "s"), ("b", "a", 1, "s"), ("b", "a", 2, "s"),
            ("b", "d", 2, "l"), ("d", "b", 1, "r"), ("d", "a", 2, "l"), ("a", "a", 2, "t")]  # fmt: skip
    for index, (start, end, lane, way) in enumerate(ways):
        tail = f'fromLane="{lane}" toLane="{lane}" {control} linkIndex="{index}" dir="{way}"'
        lines.append(f'<connection from="{start}c" to="c{end}" {tail} state="O"/>')
    lines.append('<connection from="ac" to="cb" fromLane="0" toLane="0" dir="s" state="M"/>')
    return "\n".join([*lines, f"</{root}>"])


STATES = ("GGGGGgrrr", "yyyyyyrrr", "rrrGGGrrr", "rrrrrrrrr", "srrrrrGGG")


def test_a_sumo_net(tmp_path):
    file = tmp_path / "tee.net.xml"
    file.write_text(net(STATES))
    network = read_network("traffic", str(file))
    assert [road.name for road in network.links] == ["ac", "ca", "bc", "cb", "dc", "cd"]
    assert {(road.lanes, road.length, road.speed) for road in network.links} == {(2, 92.5, 13.89)}
    ways = {
        (network.links[m.link].name, network.links[m.onto].name if m.onto != OUTSIDE else ""): (i, m)
        for i, m in enumerate(network.movements)
    }
    assert {way: m.lanes for way, (_, m) in ways.items()} == {
        ("ac", "cd"): 1, ("ac", "cb"): 2, ("bc", "ca"): 2, ("bc", "cd"): 1, ("dc", "cb"): 1, ("dc", "ca"): 1,
        ("ca", ""): 2, ("cb", ""): 2, ("cd", ""): 2,
    }  # fmt: skip
    number = {way: i for way, (i, _) in ways.items()}
    assert network.signals[0].phases == (
        {number["ac", "cd"]: GREEN, number["ac", "cb"]: GREEN, number["bc", "ca"]: GREEN, number["bc", "cd"]: GIVE_WAY},
        {number["bc", "ca"]: GREEN, number["bc", "cd"]: GREEN},
        {number["ac", "cd"]: GIVE_WAY, number["dc", "cb"]: GREEN, number["dc", "ca"]: GREEN},
    )
    assert network.signals[0].place == (100, 0)
    assert set(np.flatnonzero(network.demand)) == {0, 2, 4}
    env = roads(file, 2)
    for _ in range(60):
        env.step([np.arange(2) % 3])
        assert (env.demanded == env.outside.sum(1) + env.on_link.sum(1) + env.left).all()
    assert env.left.min() > 0 and env.spec.interaction == ()


def test_signals_of_resco_nets():
    """As many signals as RESCO's names say, phases as SUMO-RL counts them, and who is next to whom in the grid."""
    nets = _sumo_rl() / "nets" / "RESCO"
    for name, signals in (("grid4x4", 16), ("arterial4x4", 16), ("cologne8", 8), ("ingolstadt21", 21)):
        env = make(f"traffic:{nets / name / name}.net.xml", 1, None)
        assert len(env.spec.agents) == signals
        if name == "grid4x4":
            assert {agent.observation_size for agent in env.spec.agents} == {33} and set(env.phases) == {8}
            assert len(env.spec.interaction) == 48
        if name == "cologne8":
            assert env.phases.tolist() == [4, 2, 3, 4, 3, 2, 3, 4]
        env.reset(np.arange(1), seeds(1))
        for step in range(90):
            env.step([np.array([step // 6 % number]) for number in env.phases])
            assert env.demanded[0] == env.outside.sum() + env.on_link.sum() + env.left[0]
        assert env.left[0] > 0 and (env.on_link <= env.storage).all()


def _sumo_rl() -> Path:
    """Where the package is, without importing it, which needs SUMO_HOME."""
    return Path(importlib.util.find_spec("sumo_rl").origin).parent


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("traffic:ring", None, "there is traffic:grid, and traffic:FILE"),
        ("traffic:siouxfalls.graphml", None, "no such file.*did you mean traffic:sioux_falls.graphml"),
        ("traffic:nowhere.net.xml", None, "no such file.*traffic:grid"),
        ("traffic:x.graphml", "<graph", "cannot be read as graphml"),
        ("traffic:x.net.xml", "<net", "cannot be read as a SUMO net"),
        ("traffic:x.net.xml", net(STATES, root="additional"), "not a <net>"),
        ("traffic:x.net.xml", net(("GGGG", "rrGG")), "cannot be read as a SUMO net"),
        ("traffic:x.net.xml", net(STATES, ""), "no junction has a choice"),
        ("traffic:x.net.xml", net(STATES[:2]), "no junction has a choice"),
        ("traffic:sioux_falls.graphml:reward=speed", None, "neither queue nor pressure"),
        ("traffic:sioux_falls.graphml:horizon=0", None, "horizon 0"),
        ("traffic:sioux_falls.graphml:demand=-1", None, "demand -1"),
        ("traffic:sioux_falls.graphml:rows=3", None, "unknown argument 'rows'; it takes reward, demand, horizon"),
    ],
)
def test_sentences(tmp_path, name, text, sentence):
    if text is not None:
        (tmp_path / name.partition(":")[2]).write_text(text)
        name = f"traffic:{tmp_path / name.partition(':')[2]}"
    with pytest.raises(InputError, match=sentence):
        make(name, 1, None)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({("n", "c"): {"lanes": 1.5}}, "edge n → c has lanes=1.5, which is not a whole number from 1 to 100"),
        ({("n", "c"): {"length_m": "far"}}, "length_m='far', which is not a number"),
        ({("n", "c"): {"turns": "s:0.7 e:0.7"}}, "more than 1"),
        ({("n", "c"): {"turns": "s"}}, "'s' is not node:share"),
        ({("n", "c"): {"turns": "x:1"}}, "no road leads from c to x"),
        ({"c": {"exit_share": 2.0}}, "node c has exit_share=2.0"),
        ({"c": {"signal": "perhaps"}}, "neither true nor false"),
        ({"c": {"signal": False}}, "no junction has a choice"),
        ({"n": {"demand_vph": 0.0}}, "no vehicle sets out anywhere"),
        ({arm: {"exit_share": 0.0} for arm in FOUR}, "can never leave the network"),
        ({"c": {"x": "left"}}, "node c has x='left'"),
    ],
)
def test_sentences_about_attributes(tmp_path, change, sentence):
    graph = crossing(FOUR)
    for where, data in change.items():
        (graph.edges if isinstance(where, tuple) else graph.nodes)[where].update(data)
    if any(isinstance(value, str) and key != "turns" for data in change.values() for key, value in data.items()):
        for _, data in graph.nodes(data=True):  # one type per attribute
            data.update({key: str(value) for key, value in data.items()})
        for *_, data in graph.edges(data=True):
            data.update({key: str(value) for key, value in data.items()})
    with pytest.raises(InputError, match=sentence):
        make(f"traffic:{written(graph, tmp_path)}", 1, None)


def test_number_of_agents_is_the_files():
    with pytest.raises(InputError, match="has 19 signals"):
        make(f"traffic:{SIOUX}", 1, 16)


def test_picture_and_text(tmp_path):
    env = roads(SIOUX, 1)
    for _ in range(40):
        env.step([np.zeros(1, int)] * 19)
    picture = env.picture(0)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
    lines = env.text(0).splitlines()
    assert lines[0].startswith("minute   3.3") and len(lines) == 14
    shown = [int(line.split()[2]) + int(line.split()[3]) for line in lines[2:]]
    assert shown == sorted(shown, reverse=True) and shown[0] == round(-12 * float(env.reward.min()))
    bare = nx.relabel_nodes(nx.grid_2d_graph(2, 3), lambda node: f"{node[0]}-{node[1]}")
    assert roads(written(bare, tmp_path)).picture(0).ndim == 3, "without positions"
    large = nx.relabel_nodes(nx.grid_2d_graph(9, 9), lambda node: f"{node[0]}-{node[1]}")
    for node, data in large.nodes(data=True):
        data["x"], data["y"] = map(float, node.split("-"))
    assert roads(written(large, tmp_path)).picture(0).ndim == 3


@pytest.mark.filterwarnings("ignore")
def test_pettingzoo_accepts_the_parallel_environment():
    name = f"traffic:{SIOUX}"
    parallel_api_test(parallel_env(name), num_cycles=400)
    parallel_seed_test(lambda: parallel_env(name))
    env = parallel_env(name, horizon=5)
    assert ("signal_2", "signal_3") in env.interaction_graph and env.horizon == 5
