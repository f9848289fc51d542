"""Evaluations at evenly spaced points of a run, and the absolute metric."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import job

import perla_net
from perla_net.ground.errors import InputError
from perla_net.settings.config import Agents, Config
from perla_net.simulation.evaluation import points_of


def run(folder: Path, **options) -> Path:
    """A run whose episodes differ, so that evaluations do: platoons of three."""
    settings = dict(
        env="platoon:catchup:horizon=30",
        agents=Agents(number=3),
        rounds=4,
        copies=2,
        horizon=15,
        evaluate_episodes=3,
        evaluate_points=2,
        display="none",
        out=str(folder),
    )
    return perla_net.train(Config(**settings | options)).folder


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return run(tmp_path_factory.mktemp("points") / "run")


def rows_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "rounds,points,expected",
    [(20, 4, [0, 5, 10, 15, 20]), (3, 8, [0, 1, 2, 3]), (50, 0, []), (7, 2, [0, 4, 7]), (5, 1, [0, 5])],
)
def test_points_are_evenly_spaced(rounds, points, expected):
    assert points_of(rounds, points) == expected


def test_points_have_steps_bytes_and_episodes_of_their_own(done):
    rows = rows_of(done)
    assert [row["round"] for row in rows] == [0, 2, 4]
    assert [row["env_steps"] for row in rows] == [0, 60, 120]
    sent = np.cumsum([json.loads(line)["bytes"] for line in (done / "metrics.jsonl").read_text().splitlines()])
    assert [row["bytes"] for row in rows] == [0, sent[1], sent[3]] and sent[1] > 0
    assert all(len(values) == 3 for row in rows for values in row["figures"].values())
    final = json.loads((done / "evaluation.json").read_text())["team, greedy"]["return"]["mean"]
    assert np.mean(rows[-1]["figures"]["return"]) != final  # the same team, in other episodes


def test_absolute_is_the_best_point_in_ten_times_as_many_other_episodes(done):
    best = max(rows_of(done), key=lambda row: sum(row["figures"]["return"]))
    absolute = json.loads((done / "absolute.json").read_text())
    assert absolute["round"] == best["round"] and absolute["episodes"] == 30
    returns = absolute["figures"]["return"]
    assert len(set(returns)) == 30 and not set(returns) & set(best["figures"]["return"])
    assert [folder.name for folder in (done / "points").iterdir()] == [str(best["round"])]
    agent = perla_net.load_agent(done / "points" / str(best["round"]) / "vehicle_1")
    assert agent.act(np.zeros(5, np.float32)) in range(4)


def test_training_does_not_notice(done, tmp_path):
    without = run(tmp_path / "run", evaluate_points=0, evaluate_episodes=0)
    assert (without / "metrics.jsonl").read_bytes() == (done / "metrics.jsonl").read_bytes()
    assert not (without / "evaluations.jsonl").exists() and not (without / "points").exists()


def test_a_run_that_was_interrupted_has_the_same_points(done, tmp_path):
    """Interrupted after the last point (the best) was written, before its checkpoint was."""
    folder = run(tmp_path / "run", checkpoint_every=3)
    shutil.rmtree(folder / "checkpoints" / "4")
    (folder / "absolute.json").unlink()
    shutil.rmtree(folder / "points")
    perla_net.train(Config(resume=str(folder), display="none"))
    for name in ("evaluations.jsonl", "metrics.jsonl"):
        assert (folder / name).read_bytes() == (done / name).read_bytes(), name
    assert (folder / "absolute.json").read_bytes() == (done / "absolute.json").read_bytes()


@pytest.mark.mpi
def test_points_do_not_depend_on_ranks(done, tmp_path):
    options = "--env platoon:catchup:horizon=30 --agents 3 --rounds 4 --copies 2 --horizon 15 --evaluate-episodes 3"
    job(2, "perla_net.run", *options.split(), "--evaluate-points", "2", "--out", str(tmp_path / "run"))
    for name in ("evaluations.jsonl", "absolute.json"):
        assert (tmp_path / "run" / name).read_bytes() == (done / name).read_bytes(), name


def test_points_need_episodes(tmp_path):
    with pytest.raises(InputError, match="--evaluate-points 2: needs episodes"):
        run(tmp_path / "run", evaluate_episodes=0)
    assert not (tmp_path / "run").exists()


def test_the_best_point_has_the_best_mean_whatever_the_number_of_episodes(done, tmp_path, monkeypatch):
    """--resume may change --evaluate-episodes: −50 twice is a larger sum, and worse, than −20 ten times."""
    from perla_net.ground.processes import Processes
    from perla_net.simulation import evaluation as evaluate

    points = tmp_path / "points"
    rows = [(0, [-50.0] * 2), (2, [-20.0] * 10)]
    for number, _ in rows:
        (points / str(number)).mkdir(parents=True)
    lines = [json.dumps({"round": number, "figures": {"return": values}}) + "\n" for number, values in rows]
    (tmp_path / "evaluations.jsonl").write_text("".join(lines))
    monkeypatch.setattr(evaluate, "_team", lambda *_: {"return": [1.0]})
    monkeypatch.setattr(evaluate, "players_of", lambda *_: [])

    class Plan:
        config = Config(evaluate_episodes=1)

        class world:
            agents = ()

    assert evaluate.absolute(Processes(), Plan, points)["round"] == 2


def test_results_of_a_shorter_run_do_not_outlive_it(done, tmp_path, monkeypatch):
    """A run that is given more rounds has no evaluation until these are done."""
    from perla_net.simulation import simulation

    folder = tmp_path / "run"
    shutil.copytree(done, folder)
    assert (folder / "evaluation.json").exists() and (folder / "absolute.json").exists()

    def broken(self):
        raise RuntimeError("the machine is gone")

    monkeypatch.setattr(simulation.Simulation, "round", broken)
    with pytest.raises(RuntimeError, match="the machine is gone"):
        perla_net.train(Config(resume=str(folder), rounds=6, display="none"))
    assert not (folder / "evaluation.json").exists() and not (folder / "absolute.json").exists()


def test_points_cannot_be_asked_for_when_all_rounds_are_done(tmp_path):
    folder = run(tmp_path / "run", evaluate_points=0)
    with pytest.raises(InputError, match="--evaluate-points 2: the run in .* has all its 4 rounds"):
        perla_net.train(Config(resume=str(folder), evaluate_points=2, display="none"))
    assert json.loads((folder / "evaluation.json").read_text())
