"""The command: on games whose variances can be enumerated, on toys whose chance is known, on a run's team; refusals; ranks."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from conftest import MPIRUN, job

from perla_net.gain.acting import Chance
from perla_net.world.spec import ActionSpec

GAMES = {
    "climbing": ((11, -30, 0), (-30, 7, 0), (0, 6, 5)),
    "penalty": ((-100, 0, 10), (0, 2, 0), (10, 0, -100)),
}


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    """``gain_toys`` can be imported, here and in jobs."""
    from pathlib import Path

    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def gain(*arguments, check=True, ranks=0):
    return job(ranks, "perla_net.gain", *map(str, arguments), check=check)


def found(tmp_path, *arguments):
    """(what was printed, what was written)."""
    done = gain(*arguments, "--json", tmp_path / "gain.json")
    return done.stdout, json.loads((tmp_path / "gain.json").read_text())


def enumerated(table, number):
    """V_own, V_oth [N] and T [N, N] of the mean over both edges of a ring under uniform actions, by all joint actions."""
    table, own, total = np.array(table, float), np.zeros(number), np.zeros((number, number))
    others = np.zeros(number)
    for agent in range(number):
        sides = [(agent - 1) % number, (agent + 1) % number]
        pay = np.zeros((3, 3, 3))
        for mine, left, right in itertools.product(range(3), repeat=3):
            # On an edge the lower index is the row player.
            values = [table[mine, one] if agent < side else table[one, mine] for one, side in zip((left, right), sides)]
            pay[mine, left, right] = np.mean(values)
        own[agent] = pay.mean((1, 2)).var()
        others[agent] = pay.var() - own[agent]
        for axis, side in enumerate(sides, 1):
            total[agent, side] = pay.var(axis).mean()
    return own, others, total


@pytest.mark.parametrize("name", GAMES)
def test_games_by_enumeration(tmp_path, name):
    """All components within their intervals; nobody but neighbours matters, exactly; the ceiling is 1 + V_oth / V_own."""
    _, data = found(tmp_path, f"games:{name}:graph=ring,horizon=1", "--agents", 5, "--draws", 64, "--futures", 2)
    own, others, total = enumerated(GAMES[name], 5)
    for agent, row in enumerate(data["agents"]):
        for value, wanted in (
            (row["own"], own[agent]),
            (row["others"], others[agent]),
            (row["R"], 1 + others[agent] / own[agent]),
        ):
            assert abs(value[0] - wanted) < (value[2] - value[1]), (value, wanted)
        assert (
            row["chance"] == [0, 0, 0]
            and row["must_hear"]
            and set(row["must_hear"]) <= {(agent - 1) % 5, (agent + 1) % 5}
        )
        assert row["covered"] == [1, 1, 1] and (row["p_c"], row["p_c_additive"]) == (3 * (1 + 2 * 2), 1 + 3 * 2)
    for table in (data["at_once"], data["over_horizon"]):
        assert (np.array(table["total"])[~np.eye(5, dtype=bool)] > 0).sum() == 10
        np.testing.assert_array_equal(np.array(table["reliable"]), total > 0)
        np.testing.assert_allclose(np.where(np.eye(5), 0, table["total"]), total, rtol=0.15)
    assert data["team"]["R"][0] == pytest.approx((own + others).sum() / own.sum(), rel=0.2)


def test_what_an_action_does_later(tmp_path):
    """In ``two_step`` agent 0 chooses the game of the second step, in which half of the states stand already (2A pays 7, 2B 0, 1, 1 or 8): its
    first action is worth the means 7 or 2.5, what both do later is chance, and of no account to agent 0's first action or to agent 1's."""
    _, data = found(tmp_path, "games:two_step", "--states", 600, "--gamma", 1, "--draws", 32, "--futures", 4)
    one, other = data["agents"]
    first, second = (7 - 2.5) ** 2 / 4, np.array([[0, 1], [1, 8]], float)
    own = second.mean(1).var()
    others, later = second.var() - own, second.var()
    wanted = {
        "own": (first / 2 + own / 4, own / 4),
        "others": (others / 4, first / 2 + others / 4),
        "chance": (later / 4, later / 4),
    }
    for name, values in wanted.items():
        np.testing.assert_allclose([one[name][0], other[name][0]], values, rtol=0.15, err_msg=name)
    assert one["must_hear"] == [1] and other["must_hear"] == [0]
    assert one["own_at_once"][0] == pytest.approx(own / 4, rel=0.2) and one["chance_at_once"][0] == 0


def test_chance_that_is_drawn_at_the_reset_counts(tmp_path):
    """Its variance and the gain that is left; later steps' actions and chance come on top over a horizon."""
    told, data = found(tmp_path, "batch:gain_toys.Noisy", "--states", 200, "--draws", 4, "--futures", 4)
    assert "everything that it draws" in told and "NOT counted" not in told
    chance = np.array([row["chance"][0] for row in data["agents"]])
    np.testing.assert_allclose(chance, 9, rtol=0.1)
    np.testing.assert_allclose([row["own"][0] for row in data["agents"]], 0.25, atol=0.12)
    np.testing.assert_allclose([row["others"][0] for row in data["agents"]], 1, atol=0.25)
    assert data["team"]["R"][0] == pytest.approx(10.25 / 9.25, rel=0.03)
    assert [row["must_hear"] for row in data["agents"]] == [[1], [2], [0]]
    assert not any(row["conditions"]["C2"] or row["shows"] for row in data["agents"])
    _, data = found(tmp_path, "batch:gain_toys.Noisy:horizon=3", "--states", 90, "--gamma", 0.5, "--draws", 4)
    # Thirds of the states have 3, 2 and 1 steps to come; a step adds γ² (9 + 1.25).
    later = (0.25 * 10.25 + 0.0625 * 10.25 + 0.25 * 10.25) / 3
    np.testing.assert_allclose([row["chance"][0] for row in data["agents"]], 9 + later, rtol=0.12)
    np.testing.assert_allclose([row["chance_at_once"][0] for row in data["agents"]], 9, rtol=0.12)


def test_chance_that_cannot_be_drawn_anew_is_said(tmp_path):
    """Where everybody has already seen it, it is part of the state: V_env does not hold it, and the output says so unless the environment
    says that it lasts."""
    told, data = found(tmp_path, "batch:gain_toys.Announced", "--states", 8)
    assert "NOT counted" in told and data["agents"][0]["chance"][0] == 0
    told, data = found(tmp_path, "batch:gain_toys.Lasting", "--states", 8)
    assert "NOT counted" not in told and data["agents"][0]["chance"][0] == 0


def test_futures_are_shared_by_joint_actions(tmp_path):
    """The same chance and the same later noise whatever is done now: who shares no access point with somebody has exactly no influence on it;
    with masks it has later, through those in between, who send only what they have."""
    column = np.arange(8) % 4
    far = np.abs(column[:, None] - column) > 1
    for mask, later in (("false", False), ("true", True)):
        _, data = found(tmp_path, f"wireless:grid:rows=2,columns=4,mask={mask}", "--states", 6, "--futures", 3)
        once, over = (np.array(data[part]["total"]) for part in ("at_once", "over_horizon"))
        assert (once[far] == 0).all() and (once[~far] != 0).any() and (over[far] != 0).any() == later
        assert all(row["chance_at_once"][0] > 0 for row in data["agents"])


def test_chance_acts_as_masks_allow():
    """Uniformly among what is allowed, component by component; continuous ones in [−1, 1]."""
    action = ActionSpec("mixed", (3, 2), (-5.0,), (5.0,))
    actor, number = Chance(action), 30_000
    actor.take(actor.draw(np.random.default_rng(0), 1, number))
    mask = np.tile(np.array([1, 0, 1, 1, 1], np.float32), (number, 1))
    mask[: number // 2] = [0, 1, 0, 0, 1]
    words = np.zeros((number, 3), np.float32)
    actor.act(0, [np.zeros((number, 1))], [mask], [], [words])
    whole = words[:, :2].view(np.int32)
    assert (whole[: number // 2] == [1, 1]).all() and set(whole[number // 2 :, 0]) == {0, 2}
    np.testing.assert_allclose(whole[number // 2 :].mean(0), [1, 0.5], atol=0.03)
    assert np.abs(words[:, 2]).max() <= 1 and abs(words[:, 2].mean()) < 0.02


def test_same_arguments_same_bytes(tmp_path):
    """Twice, and another seed gives another answer."""
    arguments = ("wireless:grid:rows=2,columns=3", "--states", 5, "--futures", 2)
    first, again = (found(tmp_path, *arguments) for _ in range(2))
    assert first == again != found(tmp_path, *arguments, "--seed", 1)


@pytest.mark.mpi
@pytest.mark.skipif(not MPIRUN, reason="no mpirun")
def test_any_number_of_ranks(tmp_path):
    """Printed once, the same to the byte, also with more ranks than states; a refusal is one sentence."""
    arguments = ("wireless:grid:rows=2,columns=3", "--states", 3, "--futures", 2)
    alone = gain(*arguments, "--json", tmp_path / "1.json").stdout
    for ranks in (2, 4):
        assert gain(*arguments, "--json", tmp_path / f"{ranks}.json", ranks=ranks).stdout == alone
        assert (tmp_path / f"{ranks}.json").read_bytes() == (tmp_path / "1.json").read_bytes()
    refused = gain("games:nothing", ranks=2, check=False)
    assert refused.returncode == 2 and refused.stderr.count("perla_net:") == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "needs an environment"),
        (("spread", "--states", "1"), "--states 1: must be at least 2"),
        (("spread", "--futures", "1"), "--futures 1: must be at least 2"),
        (("spread", "--gamma", "1.5"), "--gamma 1.5"),
        (("spread", "--topology", "matching"), "gain needs one graph"),
        (("spread", "--run", "nowhere"), "is not the folder of a run"),
        (("spread", "--json", "/nowhere/at/all.json"), "there is no folder"),
        (("spread", "--draw", "picture.xyz"), "--draw"),
        (("batch:gain_toys.Unlike", "--states", "2"), "comes out otherwise than it was"),
        (("spread", "--what"), "--what"),
    ],
)
def test_refusals_are_one_sentence(arguments, sentence):
    """Exit status 2, nothing on stdout."""
    done = gain(*arguments, check=False)
    said = [line for line in done.stderr.splitlines() if not line.startswith(("note:", "gain:"))]
    assert done.returncode == 2 and done.stdout == "" and len(said) == 1 and sentence in said[0]


def test_a_replayed_environment(tmp_path):
    """An environment of others is played again from its seed; agents that are dead in a state do not count there."""
    told, data = found(
        tmp_path, "pettingzoo:toys:kind=zoo", "--states", 12, "--draws", 2, "--futures", 2, "--horizon", 2
    )
    assert "generators that were found" in told
    states = {row["name"]: row["states"] for row in data["agents"]}
    assert states["box"] == 12 and 0 < states["masked"] < 12


def test_the_team_of_a_run(tmp_path):
    """Its policies act, with memory; a policy that is sure of itself leaves no variance of actions; controllers are refused."""
    small = "--copies 2 --horizon 4 --rounds 1 --ppo.minibatch 8 --evaluate-episodes 1 --display none".split()
    run = tmp_path / "run"
    job(
        0,
        "perla_net.run",
        "--env",
        "games:ipd",
        "--model.memory",
        "gru",
        "--algorithm",
        "ippo",
        "--topology",
        "complete",
        "--out",
        str(run),
        *small,
    )
    told, data = found(tmp_path, "--run", run, "--states", 6, "--draws", 4, "--futures", 2, "--horizon", 3)
    assert f"the team of {run}" in told and data["topology"] == "complete" and data["samples"] == 8
    assert all(row["others"][0] > 0 for row in data["agents"])
    done = gain("spread", "--run", run, check=False)
    assert done.returncode == 2 and "was trained for" in done.stderr
    controlled = tmp_path / "controlled"
    job(0, "perla_net.run", "--env", "spread", "--algorithm", "controller:assignment", "--out", str(controlled), *small)
    done = gain("--run", controlled, check=False)
    assert done.returncode == 2 and "acts without chance" in done.stderr


def test_many_agents_are_few_rows(tmp_path):
    """Unless all are asked for; a picture is drawn."""
    pytest.importorskip("matplotlib")
    arguments = ("games:climbing:graph=ring,horizon=1", "--agents", 20, "--states", 4, "--draws", 4, "--futures", 2)
    short = gain(*arguments, "--draw", tmp_path / "gain.png").stdout
    assert "8 more" in short and (tmp_path / "gain.png").stat().st_size > 10_000
    assert sum(line.startswith("  player_") for line in gain(*arguments, "--all").stdout.splitlines()) == 40


def test_nothing_can_be_said_of_nothing():
    """Where no return depends on anything."""
    done = gain("batch:gain_toys.Free", "--states", 2, "--draws", 2, "--futures", 2)
    assert "nothing can be said" in done.stdout and "must_hear" not in done.stdout
