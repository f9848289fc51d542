"""Wireless multi-access: conservation, collisions, chances, layout, reference controllers, PettingZoo's own tests."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import ROOT, needs_mpirun, run
from pettingzoo.test import parallel_api_test, parallel_seed_test

from perla_net.ground.errors import InputError
from perla_net.world.networked.wireless import Aloha, Wireless, make
from perla_net.world.parallel import parallel_env

SURE = {"arrival": 1, "success": 1}


def started(copies: int = 3, first: int = 0, **arguments) -> Wireless:
    network = Wireless(copies, **arguments)
    network.reset(np.arange(copies), [np.random.SeedSequence(1, spawn_key=(first + copy,)) for copy in range(copies)])
    return network


def drawn(network: Wireless, rng: np.random.Generator, copies: int | None = None) -> np.ndarray:
    """Actions by chance, [users, copies]."""
    return (rng.random((network.users, copies or network.copies)) * network.sizes[:, None]).astype(int)


def send(network: Wireless, **slots: int) -> list[np.ndarray]:
    """Actions of a network of one access point: ``u3=1``: user 3 sends its slot 1; the others nothing."""
    return [np.full(network.copies, slots.get(f"u{user}", 0)) for user in range(network.users)]


def near(count: float, trials: int, chance: float) -> bool:
    """Whether a count lies in the 99.9 % interval of the binomial distribution."""
    return abs(count - trials * chance) < 3.29 * np.sqrt(trials * chance * (1 - chance)) + 1


@pytest.mark.parametrize("controller", [None, "aloha", "random", "scheduler"])
@pytest.mark.parametrize("arguments", [{}, {"deadline": 4, "per_cell": 2, "rows": 2, "columns": 3, "mask": True}])
def test_every_user_s_packets_are_conserved(controller, arguments):
    network = started(4, arrival="random", **arguments)
    acting = network.controllers[controller](network) if controller else None
    rng = np.random.default_rng(0)
    got = np.zeros_like(network.delivered)
    for _ in range(100):
        network.step(list(acting.act(network) if acting else drawn(network, rng)))
        got += network.reward.astype(int)
        assert (network.offered == network.delivered + network.expired + network.queue.sum(2)).all()
        assert (network.senders.sum(1) >= network.served.sum(1)).all() and (network.served <= 1).all()
    assert (got == network.delivered).all() and network.delivered.sum() and network.expired.sum()
    assert (network.offered == network.arrivals.sum(1)).all() and network.truncated.all()
    assert not network.terminated.any()


def test_two_senders_collide_also_from_an_empty_slot():
    network = started(2, rows=2, columns=2, deadline=2, **SURE)
    assert network.queue.tolist() == [[[False, True]] * 4] * 2
    network.step(send(network, u0=2))
    assert network.reward.tolist() == [[1, 0, 0, 0]] * 2  # alone
    assert network.queue[:, :, 0].tolist() == [[False, True, True, True]] * 2
    network.step(send(network, u1=2, u2=2))
    assert not network.reward.any() and network.crowded.tolist() == [1, 1]
    network = started(2, rows=2, columns=2, deadline=2, **SURE)
    network.step(send(network, u3=2, u0=1))
    assert not network.reward.any() and network.crowded.all(), (
        "user 0 has nothing in slot 1 and is in the way all the same"
    )
    network.step(send(network, u3=1))
    assert network.reward.tolist() == [[0, 0, 0, 1]] * 2
    network.step(send(network, u0=1))
    assert network.reward[:, 0].all()
    network = started(2, rows=2, columns=2, arrival=0, success=1)
    network.step(send(network, u0=1))
    assert not network.reward.any() and not network.crowded.any() and (network.senders == 1).all()


def test_a_packet_lives_as_many_steps_as_its_deadline():
    network = started(1, rows=2, columns=2, deadline=3, **SURE)
    network.arrivals[:, 1:] = False
    for waited in range(3):
        assert network.queue[0, 0].tolist() == [slot == 2 - waited for slot in range(3)]
        assert not network.expired.any()
        network.step(send(network))
    assert (network.expired == 1).all() and not network.queue.any()


@pytest.mark.parametrize("chance", [0.05, 0.6])
def test_who_is_alone_succeeds_with_the_point_s_probability(chance):
    network = started(200, rows=2, columns=2, deadline=1, arrival=1, success=chance)
    for _ in range(100):
        network.step(send(network, u2=1))
    assert near(network.delivered.sum(), 200 * 100, chance) and not network.delivered[:, [0, 1, 3]].any()


def test_arrivals_have_their_probability():
    network = started(300, arrival=0.3)
    for _ in range(100):
        network.step(send(network))
    assert near(network.offered.sum(), 300 * 101 * 16, 0.3)


def test_layout_actions_and_graph():
    """Users share a point exactly if their cells touch; corners reach one point, edges two, the others four."""
    for rows, columns, per_cell in ((4, 4, 1), (2, 2, 1), (3, 5, 2)):
        network = Wireless(1, rows=rows, columns=columns, per_cell=per_cell, deadline=3)
        spec = network.spec
        cell = np.arange(network.users) // per_cell
        row, column = np.divmod(cell, columns)
        inner = (np.minimum(row, rows - 1 - row) > 0).astype(int) + (np.minimum(column, columns - 1 - column) > 0)
        assert network.reach.tolist() == [(1, 2, 4)[count] for count in inner]
        assert [agent.action.sizes for agent in spec.agents] == [(1 + 3 * (1, 2, 4)[count],) for count in inner]
        touching = np.maximum(abs(row[:, None] - row), abs(column[:, None] - column)) <= 1
        np.fill_diagonal(touching, False)
        assert spec.interaction == tuple((int(a), int(b)) for a, b in np.argwhere(touching))
    # numpy's legacy stream, seed 0: the success probabilities of the authors' program
    assert Wireless(1).success[:3] == pytest.approx([0.5488135, 0.71518937, 0.60276338], abs=1e-8)
    assert Wireless(1, layout=1).success[0] != Wireless(1).success[0]


def test_users_influence_those_of_the_graph_and_nobody_else():
    """With everything sure: i alone is served, and not any more when j joins it at a point; else nothing changes."""
    network = Wireless(1, **SURE, rows=3, columns=4)
    edges, seen = set(network.spec.interaction), set()
    for i in range(12):
        for way in range(network.reach[i]):
            for j in range(12):
                for other in range(network.reach[j]):
                    actions = np.zeros(12, int)
                    actions[j] = 1 + network.reach[j] + other
                    actions[i] = 1 + network.reach[i] + way
                    network.reset(np.arange(1), [np.random.SeedSequence(0)])
                    network.step([np.array([action]) for action in actions])
                    if i != j and not network.reward[0, i]:
                        seen.add((j, i))
    assert seen == edges


def test_aloha_at_one_point_is_the_textbook_s():
    """Four users who always have a packet: 4 p (1 − p)³ packets a step, most at p = 1/4."""
    network = started(100, rows=2, columns=2, deadline=1, **SURE)
    assert Aloha(network).probability == 0.25
    for probability in (0.1, 0.25, 0.6):
        network = started(100, rows=2, columns=2, deadline=1, **SURE)
        acting = Aloha(network, probability)
        for _ in range(100):
            network.step(list(acting.act(network)))
        assert near(network.delivered.sum(), 100 * 100, 4 * probability * (1 - probability) ** 3)


def test_aloha_sends_the_oldest_packet_to_points_by_their_worth():
    network = started(400, deadline=3, horizon=4)
    network.queue[:] = [False, True, True]
    acting = Aloha(network, 0.8)
    user, tries = 5, 0
    counts = np.zeros(5, int)
    for step in range(4):
        network.time[:] = step
        action = acting.act(network)[user]
        counts[0] += (action == 0).sum()
        for way in range(4):
            counts[1 + way] += (action == 1 + 4 + way).sum()
        tries += 400
    worth = network.success[network.points[user]]
    assert counts.sum() == tries and near(counts[0], tries, 0.2)
    assert all(near(counts[1 + way], tries, 0.8 * worth[way] / worth.sum()) for way in range(4))
    network.queue[:] = False
    assert not acting.act(network).any()


@pytest.mark.parametrize("mask", [False, True])
def test_the_uniform_policy_and_the_mask(mask):
    network = started(500, horizon=4, mask=mask)
    network.queue[:] = [True, False]
    acting = network.controllers["random"](network)
    counts = np.zeros(9, int)
    for step in range(4):
        network.time[:] = step
        counts += np.bincount(acting.act(network)[5], minlength=9)
    allowed = 5 if mask else 9
    assert all(near(counts[action], 2000, 1 / allowed) for action in range(allowed)) and not counts[allowed:].any()
    rows = [np.zeros((500, 2), np.float32) for _ in range(16)]
    masks = [np.full((500, size), 7, np.float32) if mask else None for size in network.sizes]
    network.observe(slice(None), rows, masks)
    assert all((row == [1, 0]).all() for row in rows)
    assert all(agent.masked == mask for agent in network.spec.agents)
    if mask:
        for reach, given in zip(network.reach, masks):
            assert (given == [1] + [1] * reach + [0] * reach).all()


def test_the_scheduler_never_collides_and_serves_one_a_point():
    network = started(3, rows=2, columns=2, deadline=1, **SURE)
    acting = network.controllers["scheduler"](network)
    for _ in range(100):
        network.step(list(acting.act(network)))
    assert (network.delivered.sum(1) == 100).all() and not network.crowded.any()
    found = {}
    for name, kind in Wireless.controllers.items():
        network = started(20)
        acting = kind(network)
        for _ in range(100):
            network.step(list(acting.act(network)))
        found[name] = network.metrics(np.arange(20))["throughput"].mean()
    assert found["scheduler"] > found["aloha"] > found["random"]


@pytest.mark.parametrize("arguments", [{}, {"mask": True, "deadline": 3}])
def test_a_copy_does_not_depend_on_the_others_and_goes_on_when_saved(arguments):
    whole, part, alone = started(5, **arguments), started(2, 3, **arguments), started(1, 4, **arguments)
    rng = np.random.default_rng(1)
    for step in range(60):
        actions = drawn(whole, rng)
        whole.step(list(actions))
        part.step(list(actions[:, 3:]))
        alone.step(list(actions[:, 4:]))
        if step == 30:
            again = Wireless(2, **arguments)
            again.load(part.save(), [np.random.SeedSequence(1, spawn_key=(copy,)) for copy in (3, 4)])
        if step > 30:
            again.step(list(actions[:, 3:]))
    for kind in (lambda network: Aloha(network, 0.5), *list(Wireless.controllers.values())[1:]):
        chosen = [kind(network).act(network) for network in (whole, part, alone, again)]
        assert all(np.array_equal(chosen[0][:, -few.shape[1] :], few) for few in chosen[1:])
    for one, other in ((whole, part), (whole, alone), (part, again)):
        assert np.array_equal(one.reward[-other.copies :], other.reward)
        assert np.array_equal(one.queue[-other.copies :], other.queue)
        for name, values in one.metrics(np.arange(one.copies)).items():
            assert np.array_equal(values[-other.copies :], other.metrics(np.arange(other.copies))[name]), name


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["wireless:grid", "wireless:grid:rows=2,columns=3,per_cell=2,mask=true"])
def test_pettingzoo_accepts_it(name):
    parallel_api_test(parallel_env(name), num_cycles=120)
    parallel_seed_test(lambda: parallel_env(name))


def test_picture():
    image = started(1, per_cell=2, rows=2, columns=3).picture(0)
    assert image.dtype == np.uint8 and image.ndim == 3 and image.std() > 0


def test_sizes():
    for agents, arguments, shape in (
        (None, {}, (4, 4)),
        (12, {}, (3, 4)),
        (24, {"per_cell": 2}, (3, 4)),
        (None, {"rows": 3}, (3, 3)),
        (15, {"columns": 5}, (3, 5)),
        (None, {"rows": 2, "columns": 7}, (2, 7)),
    ):
        network = Wireless(1, agents, **arguments)
        assert (network.rows, network.columns) == shape
        assert len(network.spec.agents) == agents or agents is None


def test_bad_arguments():
    wrong = (
        {"deadline": 0},
        {"arrival": 1.5},
        {"success": "often"},
        {"rows": 1},
        {"mask": 1},
        {"layout": -1},
        {"users": 3},
    )
    for arguments in wrong:
        with pytest.raises(InputError, match=f"--env wireless:grid: .*{next(iter(arguments))}"):
            make("grid", arguments, 1, None, False)
    for agents, arguments in (
        (7, {}),
        (2, {}),
        (16, {"rows": 3}),
        (9, {"rows": 4, "columns": 4}),
        (9, {"per_cell": 2}),
    ):
        with pytest.raises(InputError, match=f"--agents {agents}"):
            make("grid", arguments, 1, agents, False)
    with pytest.raises(InputError, match="wireless:grid"):
        make("ring", {}, 1, None, False)


@needs_mpirun
@pytest.mark.mpi
def test_numbers_do_not_depend_on_ranks(tmp_path):
    options = ("--env", "wireless:grid:horizon=30,mask=true", "--agents", "6", "--topology", "interaction")
    options += ("--samples", "8", "--evaluate-episodes", "3")
    assert run(tmp_path / "alone", 0, *options) == run(tmp_path / "two", 2, *options)
    one, two = ((tmp_path / name / "evaluation.json").read_bytes() for name in ("alone", "two"))
    assert one == two and b"aloha" in one


def test_programs_that_compare_teams_evaluate_episode_by_episode(tmp_path, monkeypatch):
    """What benchmarks/wireless.py, platoon.py, … and networked_tables.py take from a run."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import networked_tables
    import teams

    options = ("--env", "wireless:grid:horizon=10", "--agents", "6", "--topology", "interaction")
    run(tmp_path / "run", 0, *options, "--algorithm", "commnet", "--ppo.epochs", "1", "--evaluate-episodes", "0")
    found = teams.evaluated(tmp_path / "run", 3)
    assert teams.evaluated(tmp_path / "run", 3) == found
    monkeypatch.setattr(networked_tables, "MANY", 3)
    row = dict(zip(networked_tables.HEAD[3:], networked_tables.figures_of(tmp_path / "run", "wireless"), strict=True))
    greedy, aloha = found["team, greedy"]["throughput"], found["aloha"]["throughput"]
    assert len(greedy) == len(aloha) == 3
    assert float(row["figure"]) == pytest.approx(sum(greedy) / 3, abs=1e-5)
    assert float(row["difference"]) == pytest.approx((sum(greedy) - sum(aloha)) / 3, abs=1e-5)
    assert row["collided"] == "0" and row["said"] > 0 and row["bytes"] > 0
