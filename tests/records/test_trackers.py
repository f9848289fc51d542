"""TensorBoard events and wandb runs: the rows of the run's files, once for the team, the same curve after --resume."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path

import pytest
from conftest import MPIRUN, job, needs_mpirun, rows, run

from perla_net.ground.errors import InputError
from perla_net.records import trackers
from perla_net.records.run_folder import rows_of
from perla_net.settings.config import Config
from perla_net.simulation.running import train

GAME = ("--env", "games:climbing:graph=ring", "--agents", "4")


def test_scalars_are_the_numbers_of_a_row():
    row = {"round": 3, "team_return": 1.5, "agent_returns": [1.0, None], "figures": {"delay": 2.0}, "cost": None}
    assert trackers.scalars(row, ["a", "b"]) == {"team_return": 1.5, "agent_returns/a": 1.0, "figures/delay": 2.0}


@pytest.mark.parametrize("options", [{"tensorboard": True}, {"wandb": "mine"}])
def test_missing_package_is_told_before_anything_starts(tmp_path, monkeypatch, options):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    name = next(iter(options))
    with pytest.raises(InputError, match=rf'--{name} .*needs {name}.*constraints.txt "\.\[{name}\]"'):
        train(Config(rounds=1, out=str(tmp_path / "run"), **options))
    assert not (tmp_path / "run").exists()


def test_wandb_without_a_login_is_told_before_anything_starts(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not installed: extra wandb")
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(InputError, match="WANDB_MODE=offline"):
        train(Config(rounds=1, out=str(tmp_path / "run"), wandb="mine"))
    assert not (tmp_path / "run").exists()


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Curves as TensorBoard shows them: tag → (step, value)."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder / "tensorboard"))
    reader.Reload()
    return {tag: [(one.step, one.value) for one in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


@needs_mpirun
@pytest.mark.mpi
def test_one_curve_for_all_ranks_also_after_resume(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: extra tensorboard")
    options = (*GAME, "--rounds", "5", "--checkpoint-every", "3", "--evaluate-points", "1", "--evaluate-episodes", "2")
    plain = run(tmp_path / "plain", 0, *options)
    assert not (tmp_path / "plain" / "tensorboard").exists()
    folder = tmp_path / "run"
    assert run(folder, 2, *options, "--tensorboard", "true") == plain  # it changes no number
    assert len(list((folder / "tensorboard").iterdir())) == 1  # one file, not one a rank
    (folder / "checkpoints" / "5").rename(
        tmp_path / "gone"
    )  # as if it had been killed after round 5, saved after round 3
    job(0, "perla_net.run", "--resume", str(folder))
    found = events(folder)
    assert len(list((folder / "tensorboard").iterdir())) == 2
    assert (folder / "metrics.jsonl").read_bytes() == plain
    metrics = rows(folder)
    for tag, pick in {
        "team_return": lambda row: row["team_return"],
        "bytes": lambda row: row["bytes"],
        "agent_returns/player_2": lambda row: (row["agent_returns"] or [None] * 4)[2],
        "figures/payoff": lambda row: row["figures"].get("payoff"),
    }.items():
        wanted = [(row["round"], pick(row)) for row in metrics if pick(row) is not None]
        assert [step for step, _ in found[tag]] == [step for step, _ in wanted] and wanted, tag
        assert [value for _, value in found[tag]] == pytest.approx([value for _, value in wanted], rel=1e-6), tag
    assert {step for step, _ in found["timings/world"]} == {1, 2, 3, 4, 5}
    points = rows_of(folder / "evaluations.jsonl")
    means = [(row["round"], pytest.approx(math.fsum(row["figures"]["return"]) / 2, rel=1e-6)) for row in points]
    assert sorted(set(found["evaluation/return"])) == means


def test_files_are_read_in_the_order_in_which_they_were_begun(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: extra tensorboard")
    board = trackers.Trackers(Config(tensorboard=True), tmp_path, [], 0)
    board.write({"round": 1, "cost": 2.0}, {})
    board.close()
    (first,) = (tmp_path / "tensorboard").iterdir()
    # Of the same second, and a process number that would sort behind any other.
    second = int(time.time())
    first.rename(first.with_name(f"events.out.tfevents.{second}.z.9999999.0"))
    resumed = trackers.Trackers(Config(tensorboard=True), tmp_path, [], 0)
    resumed.write({"round": 1, "cost": 3.0}, {})
    resumed.close()
    assert events(tmp_path)["cost"] == [(1, 3.0)]
    (tmp_path / "tensorboard" / "events.out.tfevents.99999999999.z.1.0").touch()
    with pytest.raises(InputError, match="99999999999.*to come.*clock"):
        trackers.Trackers(Config(tensorboard=True), tmp_path, [], 0)


def test_wandb_has_one_run_for_all_ranks(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not installed: extra wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = tmp_path / "run"
    run(folder, 2 if MPIRUN else 0, *GAME, "--wandb", "mine", timeout=150)
    offline = [place for place in (folder / "wandb").iterdir() if place.is_dir() and not place.is_symlink()]
    assert len(offline) == 1 and offline[0].name.startswith("offline-run-")
    known = json.loads((folder / "wandb.json").read_text())
    assert known["project"] == "mine" and offline[0].name.endswith(known["id"])
    log = next(offline[0].glob("*.wandb")).read_bytes()
    for word in (b"team_return", b"agent_returns/player_3", b"perla_ippo"):
        assert word in log
    assert os.path.getsize(folder / "metrics.jsonl") > 0
