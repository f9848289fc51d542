"""The feeder against its sources, Kirchhoff's laws and a full AC power flow; control against its definitions."""

import logging
from pathlib import Path

import networkx
import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

from perla_net.ground.errors import InputError
from perla_net.world.networked import voltage
from perla_net.world.networked.voltage import BUSES, Feeder, make
from perla_net.world.parallel import parallel_env

SEEDS = [np.random.SeedSequence(seed) for seed in range(64)]
TOPOLOGIES = Path(__file__).parents[2] / "topologies"
RESISTANCE, REACTANCE = (voltage.TABLE[:, 2:4] / 12.66**2).T


def feeder(copies: int = 4, agents: int | None = None, **arguments) -> Feeder:
    """Such a feeder at the start of its episodes."""
    made = make("ieee33", arguments, copies, agents, False)
    made.reset(np.arange(copies), SEEDS[:copies])
    return made


def observed(one: Feeder, copies=slice(None)) -> list[np.ndarray]:
    rows = len(np.arange(one.copies)[copies])
    found = [np.zeros((rows, agent.observation_size), np.float32) for agent in one.spec.agents]
    one.observe(copies, found, [None] * len(found))
    return found


def random_actions(one: Feeder, rng: np.random.Generator) -> list[np.ndarray]:
    return list(rng.uniform(-1, 1, (len(one.at), one.copies)).astype(np.float32))


def test_the_feeder_is_that_of_the_topology_file_and_of_pandapower():
    from pandapower.networks import case33bw

    graph = networkx.read_graphml(TOPOLOGIES / "ieee33.graphml", node_type=int)
    ours = {(int(a) - 1, int(b) - 1): (r, x) for a, b, r, x, _, _ in voltage.TABLE}
    assert {
        (min(edge[:2]), max(edge[:2])): (edge[2]["r_ohm"], edge[2]["x_ohm"]) for edge in graph.edges(data=True)
    } == ours
    net = case33bw()
    lines = net.line[net.line.in_service]
    theirs = zip(
        lines.from_bus, lines.to_bus, lines.r_ohm_per_km * lines.length_km, lines.x_ohm_per_km * lines.length_km
    )
    assert {(a, b): (r, x) for a, b, r, x in theirs} == ours
    loads = net.load.sort_values("bus")
    assert loads.bus.tolist() == list(range(1, BUSES))
    assert np.allclose(voltage.NOMINAL, [loads.p_mw, loads.q_mvar], rtol=1e-12)
    assert np.allclose(voltage.NOMINAL.sum(1), [3.715, 2.3]) and set(net.bus.vn_kv) == {voltage.KILOVOLTS}


def test_kirchhoffs_laws_hold_at_every_bus_and_along_every_branch():
    one = feeder(3)
    rng = np.random.default_rng(0)
    for _ in range(40):
        loads, supplied = one.load_power.copy(), np.zeros((2, BUSES, 3))
        supplied[0, one.at] = one.active
        one.step(random_actions(one, rng))
        flow, voltages, reactive = one.paid
        supplied[1, one.at] = reactive.T
        for power in range(2):
            leaving = np.zeros((BUSES, 3))
            for bus, parent in enumerate(voltage.PARENT[1:], 1):
                leaving[parent] += flow[bus, power]
            entering = flow[:, power]
            assert np.allclose(entering + supplied[power], leaving + loads[power], atol=1e-12)
        for bus in range(1, BUSES):
            drop = 2 * (RESISTANCE[bus - 1] * flow[bus, 0] + REACTANCE[bus - 1] * flow[bus, 1])
            assert np.allclose(voltages[bus] ** 2, voltages[voltage.PARENT[bus]] ** 2 - drop, atol=1e-12)
        assert (voltages[0] == 1).all()


def test_voltages_follow_the_matrices_of_shared_branches():
    """v² = 1 + 2 R (g − p) + 2 X (q_g − q): R and X sum what the ways of two buses to the substation have in common."""
    one = feeder(2)
    graph = networkx.Graph((int(a) - 1, int(b) - 1, {"x": x}) for (a, b, *_), x in zip(voltage.TABLE, REACTANCE))
    ways = [set(map(frozenset, networkx.utils.pairwise(networkx.shortest_path(graph, 0, bus)))) for bus in range(BUSES)]
    reactance = np.array([[sum(graph.edges[tuple(edge)]["x"] for edge in a & b) for b in ways] for a in ways])
    assert np.allclose(one.response, 2 * reactance[:, one.at])
    before = one.squared.copy()
    one._flow(one.reactive.T + np.array([[0.3], [0], [-0.2], [0], [0], [0.1]]))
    expected = 2 * reactance[:, one.at] @ [0.3, 0, -0.2, 0, 0, 0.1]
    assert np.allclose(one.squared - before, expected[:, None])


def ac_power_flow(controller: str | None, **arguments) -> np.ndarray:
    """How far voltages (pu, greatest) and losses (MW) are from pandapower's at some hours in three copies, [24, 2]."""
    import pandapower
    from pandapower.networks import case33bw

    logging.getLogger("pandapower").setLevel(logging.ERROR)
    net = case33bw()
    rng = np.random.default_rng(0)
    found = []
    for hour in (8, 10, 11, 12, 13, 14, 19.5, 20):
        one = feeder(3, start=hour, horizon=2, **arguments)
        if net.sgen.empty:
            for bus in one.at:
                pandapower.create_sgen(net, int(bus), 0.0, 0.0)
        actions = list(one.controllers[controller](one).act(one)) if controller else random_actions(one, rng)
        loads, sun = one.load_power.copy(), one.active.copy()
        one.step(actions)
        flow, voltages, reactive = one.paid
        for copy in range(3):
            net.load.p_mw, net.load.q_mvar = loads[0, 1:, copy], loads[1, 1:, copy]
            net.sgen.p_mw, net.sgen.q_mvar = sun[:, copy], reactive[copy]
            pandapower.runpp(net, numba=False)
            current = (flow[1:, :, copy] ** 2).sum(1) / voltages[voltage.PARENT[1:], copy] ** 2
            off = np.abs(net.res_bus.vm_pu.to_numpy() - voltages[:, copy]).max()
            found.append((off, abs(net.res_line.pl_mw.sum() - RESISTANCE @ current)))
    return np.array(found)


@pytest.mark.parametrize(("controller", "bound"), [("none", 0.008), ("droop", 0.008), (None, 0.03)])
def test_lindistflow_is_near_the_full_ac_power_flow(controller, bound, capsys):
    off = ac_power_flow(controller)[:, 0].max()
    with capsys.disabled():
        print(f"\nLinDistFlow under {controller or 'random actions'}: |v - v_AC| at most {off:.4f} pu")
    assert off < bound


def test_distflow_is_the_full_ac_power_flow():
    off = ac_power_flow(None, flow="distflow").max(0)
    assert off[0] < 1e-4 and off[1] < 1e-3


@pytest.mark.parametrize("arguments", [{}, {"reward": "team", "barrier": "l1"}, {"flow": "distflow"}])
def test_a_copy_does_not_depend_on_the_others_and_goes_on_when_saved(arguments):
    whole, alone = feeder(64, **arguments), make("ieee33", arguments, 1, 6, False)
    alone.reset(np.arange(1), SEEDS[63:])
    rng = np.random.default_rng(1)
    controllers = [(kind(whole), kind(alone)) for kind in whole.controllers.values()]
    for step in range(60):
        if step % 3 == 0:
            pair = controllers[step // 3 % 3]
            actions, own = pair[0].act(whole), pair[1].act(alone)
            assert np.array_equal(actions[:, 63:], own)
        else:
            actions = np.array(random_actions(whole, rng))
        whole.step(list(actions))
        alone.step(list(actions[:, 63:]))
        if step == 30:
            again = make("ieee33", arguments, 1, 6, False)
            again.load(alone.save(), SEEDS[63:])
        if step > 30:
            again.step(list(actions[:, 63:]))
        assert np.array_equal(whole.reward[63:], alone.reward)
        for all_rows, one_row, kept in zip(
            observed(whole), observed(alone), observed(again) if step > 30 else observed(alone)
        ):
            assert np.array_equal(all_rows[63:], one_row) and np.array_equal(kept, one_row)
    for all_rows, some in zip(observed(whole), observed(whole, np.array([63, 5]))):
        assert np.array_equal(all_rows[[63, 5]], some)
    for name, values in alone.metrics(np.arange(1)).items():
        assert np.array_equal(whole.metrics(np.array([5, 63]))[name][1:], values), name
        assert np.array_equal(again.metrics(np.arange(1))[name], values), name


def test_other_copies_go_on_when_one_begins_anew():
    one, other = feeder(3), feeder(3)
    rng = np.random.default_rng(2)
    for step in range(9):
        actions = random_actions(one, rng)
        one.step(actions)
        other.step(actions)
        if step == 4:
            one.reset(np.array([1]), SEEDS[10:11])
    assert np.array_equal(one.reward[[0, 2]], other.reward[[0, 2]]) and not np.array_equal(
        one.reward[1], other.reward[1]
    )
    assert one.time.tolist() == [9, 4, 9]


def test_rewards_figures_and_observations_are_what_the_docstring_says():
    one = feeder(2, alpha=0.5)
    twin = feeder(2, alpha=0.5, reward="team", barrier="l2")
    rng = np.random.default_rng(3)
    outside = 0
    for _ in range(200):
        actions = random_actions(one, rng)
        loads, sun, hour = one.load_power.copy(), one.active.copy(), one.time[0] * 0.05
        seen = observed(one)
        for agent, zone in enumerate(one.zones):
            size = len(zone)
            expected = np.concatenate(
                [loads[0, zone, 0] / voltage.NOMINAL[0, zone - 1], loads[1, zone, 0] / voltage.NOMINAL[1, zone - 1]]
            )
            assert np.allclose(seen[agent][0, : 2 * size], expected)
            assert np.allclose(seen[agent][0, 2 * size : 3 * size], (one.voltage[zone, 0] - 1) / 0.05, atol=1e-6)
            room = np.sqrt(one.rating**2 - sun[agent, 0] ** 2)
            own = np.array([sun[agent, 0], one.reactive[0, agent], room]) / one.rating
            assert np.allclose(seen[agent][0, 3 * size : 3 * size + 3], own, atol=1e-6)
            assert np.allclose(
                seen[agent][0, 3 * size + 3 :], [np.sin(np.pi * hour / 12), np.cos(np.pi * hour / 12)], atol=1e-6
            )
        one.step(actions)
        twin.step(actions)
        injected = np.array(actions).T * np.sqrt(one.rating**2 - sun.T**2)
        assert np.allclose(one.paid[2], injected)
        voltages = one.paid[1]
        effort = np.abs(injected) / (1.2 * 1.5 * 3.715 / 6)
        for agent, zone in enumerate(one.zones):
            away = np.abs(voltages[zone] - 1)
            normal = np.exp(-(away**2) / 0.02) / np.sqrt(2 * np.pi * 0.01)
            bowl = np.where(away > 0.05, 2 * away - 0.095, 0.04 - 0.01 * normal)
            assert np.allclose(one.reward[:, agent], -bowl.mean(0) - 0.5 * effort[:, agent], atol=1e-6)
        team = -((voltages[1:] - 1) ** 2).mean(0) - 0.5 * effort.mean(1)
        assert np.allclose(twin.reward, team[:, None], atol=1e-6)
        outside += (np.abs(voltages[1:] - 1) > 0.05).mean(0)
    assert np.allclose(one.metrics(np.arange(2))["outside"], outside / 200) and outside.min() > 0


def test_an_episode_is_cut_off_not_over():
    one = feeder(2, horizon=7)
    for step in range(1, 8):
        one.step([np.zeros(2, np.float32)] * 6)
        assert one.truncated.all() == (step == 7) and not one.terminated.any() and one.alive.all()


def test_zones_divide_the_buses_and_influence_stops_at_the_next_inverter():
    one = feeder(1)
    assert one.buses == [13, 18, 22, 25, 29, 33]
    assert sorted(np.concatenate(one.zones).tolist()) == list(range(1, BUSES))
    assert all(at in zone for at, zone in zip(one.at, one.zones))
    graph = networkx.Graph((int(a) - 1, int(b) - 1) for a, b, *_ in voltage.TABLE)
    for number in (1, 3, 6, 9, 32):
        one = feeder(1, number)
        expected = {
            (j, i)
            for j, a in enumerate(one.at)
            for i, b in enumerate(one.at)
            if i != j and not set(one.at) & set(networkx.shortest_path(graph, a, b)[1:-1])
        }
        assert set(one.spec.interaction) == expected and len(one.spec.interaction) == len(expected)
    assert len(one.spec.agents) == 32 and one.buses == list(range(2, 34))


def test_droop_rests_on_its_curve_and_central_at_the_least_squares():
    from scipy.optimize import lsq_linear

    assert np.allclose(
        voltage.Droop.curve(np.array([0.9, 0.92, 0.95, 0.98, 1.0, 1.02, 1.05, 1.08, 1.2])),
        [0.44, 0.44, 0.22, 0, 0, 0, -0.22, -0.44, -0.44],
    )
    one = feeder(16, start=10, horizon=40)
    droop = voltage.Droop(one)
    injected = 0
    for _ in range(40):
        actions = droop.act(one)
        room = one.room.copy()
        one.step(list(actions))
        _, voltages, reactive = one.paid
        wanted = np.clip(one.rating * droop.curve(voltages[one.at]), -room, room)
        assert np.abs(wanted - reactive.T).max() < 1e-3 * one.rating
        injected = max(injected, np.abs(reactive).max())
    assert injected > 0.1
    for hour in (3, 11, 13, 20):
        one = feeder(2, start=hour)
        central = voltage.Central(one)
        for _ in range(3):
            actions = central.act(one)
            rest = one.squared[:, 0] - one.response @ one.reactive[0]
            least = 2 * lsq_linear(one.response, 1 - rest, (-one.room[:, 0], one.room[:, 0])).cost
            room = one.room.copy()
            one.step(list(actions))
        ours = ((rest + one.response @ (actions * room)[:, 0] - 1) ** 2).sum()
        assert least * (1 - 1e-9) <= ours < 1.02 * least + 1e-9


def test_control_is_needed_and_possible():
    """Buses outside of the limits from 9:00 to 21:00 under the reference controllers, each far from the next."""
    outside = {}
    for name in ("none", "droop", "central"):
        one = feeder(20, start=9, horizon=240)
        acting = one.controllers[name](one)
        for _ in range(240):
            one.step(list(acting.act(one)))
        outside[name] = one.metrics(np.arange(20))["outside"].mean()
    assert outside["none"] > 0.1 > 0.07 > outside["droop"] > 0.01 > 0.001 > outside["central"]


@pytest.mark.filterwarnings("ignore")
def test_pettingzoo_accepts_it():
    parallel_api_test(parallel_env("voltage:ieee33", horizon=30), num_cycles=100)
    parallel_seed_test(lambda: parallel_env("voltage:ieee33", buses="13-18-33"))


def test_a_picture_shows_all_buses():
    one = feeder(2)
    one.step([np.ones(2, np.float32)] * 6)
    low = one.picture(1)
    one.step([-np.ones(2, np.float32)] * 6)
    assert low.dtype == np.uint8 and low.ndim == 3 and low.shape[2] == 3 and not np.array_equal(low, one.picture(1))


@pytest.mark.parametrize(
    ("arguments", "agents", "names"),
    [
        ({"buses": "13-34"}, None, "13-34"),
        ({"buses": "13-13"}, None, "13-13"),
        ({"buses": 1}, None, "buses 1"),
        ({"buses": "13-18"}, 3, "--agents 3"),
        ({}, 33, "--agents 33"),
        ({"reward": "mine"}, None, "own, team"),
        ({"barrier": "wall"}, None, "bowl, l1, l2"),
        ({"flow": "ac"}, None, "lindistflow"),
        ({"solar": -1}, None, "solar -1"),
        ({"horizon": 2.5}, None, "horizon 2.5"),
        ({"sun": 1}, None, "'sun'"),
    ],
)
def test_bad_arguments_are_named(arguments, agents, names):
    with pytest.raises(InputError, match="voltage:ieee33") as caught:
        make("ieee33", arguments, 1, agents, False)
    assert names in str(caught.value)
    with pytest.raises(InputError, match="voltage:ieee34"):
        make("ieee34", {}, 1, None, False)
