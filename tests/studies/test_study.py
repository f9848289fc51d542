"""Studies: what is refused, packing, limits, failures, signals, locks, Slurm; one real study, killed and continued."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT, command, environment, job, needs_mpirun

import perla_net
from perla_net.ground.errors import InputError
from perla_net.settings.options import validated
from perla_net.settings.yaml_files import read_yaml
from perla_net.studies import runner as study
from perla_net.studies.comparison import score, table
from perla_net.studies.folder import collect, lock, write_folder
from perla_net.studies.runner import Runner
from perla_net.studies.statistics import (
    bootstrap_interval,
    interquartile_mean,
    paired_difference,
    probability_of_improvement,
)
from perla_net.studies.study_file import Study, read_study
from perla_net.study import main

SMALL = {
    "env": "platoon:catchup:horizon=30",
    "agents": 3,
    "rounds": 4,
    "copies": 2,
    "horizon": 15,
    "ppo.minibatch": 16,
    "checkpoint_every": 1,
}
FILE = {
    "name": "small",
    "options": SMALL,
    "grid": {"topology": ["ring", "empty"], "method": {"ippo": {"algorithm": "ippo"}, "K=2": {"samples": 2}}},
    "seeds": 2,
    "evaluate": {"points": 2, "episodes": 3},
    "baseline": {"method": "ippo"},
}


def written(folder: Path, **keys) -> Path:
    """A study's file with other keys than FILE's; None leaves one out."""
    file = folder / "study.yaml"
    data = {key: value for key, value in (FILE | keys).items() if value is not None}
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    return file


# Files


def test_a_grid_is_every_combination_with_every_seed_and_settings_of_a_seed_come_together(tmp_path):
    found = read_study(written(tmp_path), tmp_path / "out")
    assert read_study(written(tmp_path, metric="collided"), tmp_path / "out").file.metric == "collided"
    assert found.axes == ["topology", "method"] and not (tmp_path / "out").exists()
    expected = itertools.product((0, 1), ("ring", "empty"), ("ippo", "K=2"))
    assert [(run.seed, *run.settings.values()) for run in found.runs] == list(expected)
    last = found.runs[-1]
    assert last.label == "topology=empty,method=K=2,seed=1" and last.task == "platoon:catchup:horizon=30"
    config = last.config
    assert (config.topology, config.samples, config.algorithm, config.seed) == ("empty", 2, "perla_ippo", 1)
    assert (config.agents.number, config.ppo.minibatch, config.evaluate_points, config.evaluate_episodes) == (
        3,
        16,
        2,
        3,
    )


def test_options_may_be_nested_or_dotted_and_values_labelled(tmp_path):
    options = {"env": "spread", "links": {"loss": 0.1}, "links.burst": 2, "model": {"policy-hidden": [8]}}
    grid = {"agents": [3, 4], "topology": {"small world": "watts_strogatz:k=2,p=0.1", "none": "empty"}}
    found = read_study(written(tmp_path, options=options, grid=grid, baseline=None, ranks="agents", seeds=[5]))
    assert found.folder == Path("studies/small")
    assert [run.ranks for run in found.runs] == [3, 3, 4, 4]
    first = found.runs[0]
    assert first.label == "agents=3,topology=small_world,seed=5" and first.settings["topology"] == "small world"
    config = first.config
    assert (config.links.loss, config.links.burst, config.model.policy_hidden) == (0.1, 2.0, (8,))
    assert config.topology == "watts_strogatz:k=2,p=0.1"


def test_a_list_has_labels_and_tasks_of_its_own(tmp_path):
    entries = [
        {"task": "near", "label": "ring", "topology": "ring"},
        {"task": "far", "label": "ring", "topology": "ring", "env": "platoon:slowdown:horizon=30"},
    ]
    found = read_study(written(tmp_path, grid=None, list=entries, baseline=None, normalise={"far": [-10, 0]}))
    assert found.axes == ["task", "setting"] and [run.task for run in found.runs] == ["near", "far"] * 2
    assert found.runs[1].config.env == "platoon:slowdown:horizon=30"
    plain = read_study(written(tmp_path, grid=None, list=[{"topology": "ring"}, {"topology": "star"}], baseline=None))
    assert [run.settings for run in plain.runs[:2]] == [{"setting": "topology=ring"}, {"setting": "topology=star"}]


def test_reading_what_was_written_gives_the_same_study(tmp_path):
    first = read_study(written(tmp_path), tmp_path / "out")
    assert write_folder(first) == []
    again = read_study(tmp_path / "out")
    assert again == first
    for run in first.runs:
        assert yaml.safe_load(first.options(run).read_text())["seed"] == run.seed


def test_the_example_of_the_documentation_is_a_study():
    found = read_study(ROOT / "docs" / "examples" / "study.yaml")
    assert len(found.runs) == 18 and [len({run.settings[axis] for run in found.runs}) for axis in found.axes] == [3, 2]


@pytest.mark.parametrize(
    "keys,words",
    [
        ({"sedes": 3}, ["unknown key 'sedes'", "did you mean 'seeds'"]),
        ({"seeds": None}, ["seeds None"]),
        ({"seeds": 0}, ["seeds 0"]),
        ({"seeds": [1, 1]}, ["seeds [1, 1]", "twice"]),
        ({"seeds": True}, ["seeds True"]),
        ({"ranks": "all"}, ["ranks 'all'", "agents"]),
        ({"ranks": 9}, ["topology=ring", "9 ranks for 3 agents"]),
        ({"time_limit": 0}, ["time_limit 0"]),
        ({"grid": None}, ["grid or list"]),
        ({"list": [{"topology": "ring"}]}, ["grid or list"]),
        ({"grid": {"topologie": ["ring"]}}, ["grid.topologie", "unknown option", "did you mean 'topology'"]),
        ({"grid": {"topology": "ring"}}, ["grid.topology 'ring'", "list of values"]),
        ({"grid": {"topology": []}}, ["grid.topology []"]),
        ({"grid": {"topology": ["ring", "ring"]}}, ["grid.topology", "ring twice"]),
        ({"grid": {"seed": [1, 2]}}, ["seed", "belongs to seeds"]),
        ({"grid": {"links.loss": [0, 1.5]}, "baseline": None}, ["links.loss=1.5", "1.5", "less than or equal to 1"]),
        ({"grid": {"topology": ["rign"]}, "baseline": None}, ["topology=rign", "rign"]),
        ({"grid": {"a": {"x": {"samples": 2}}, "b": {"y": {"samples": 3}}}}, ["a and b both set samples"]),
        ({"grid": {"a": {"x": {"samples": 2}, "y": {"samples": 2}}}, "baseline": None}, ["a=x and a=y are the same run"]),
        ({"grid": {"topology": {"a b": "ring", "a_b": "star"}}, "baseline": None}, ["have one name"]),
        ({"grid": {"topology": {"r" * 200: "ring"}}, "baseline": None}, ["too long"]),
        ({"options": SMALL | {"out": "here"}}, ["out: belongs to --out"]),
        ({"options": SMALL | {"evaluate_points": 3}}, ["evaluate_points: belongs to evaluate.points"]),
        ({"options": SMALL | {"links": 3}}, ["links 3", "mapping"]),
        ({"options": SMALL | {"ppo": {"minibatch": 8}}}, ["ppo.minibatch is given twice"]),
        ({"options": SMALL | {"rounds": "many"}}, ["rounds 'many'"]),
        ({"evaluate": {"point": 3}}, ["evaluate.point", "did you mean"]),
        ({"evaluate": {"points": 2, "episodes": 0}}, ["--evaluate-points 2", "episodes"]),
        ({"normalise": {"platoon": [0, 1]}}, ["no task 'platoon'", "platoon:catchup"]),
        ({"normalise": {"platoon:catchup:horizon=30": [2, 2]}}, ["a low figure and a higher one"]),
        ({"baseline": {"methods": "ippo"}}, ["no axis 'methods'", "topology, method"]),
        ({"baseline": {"method": "mappo"}}, ["no value 'mappo'", "ippo, K=2"]),
        ({"name": "a/b"}, ["name 'a/b'"]),
        ({"name": 2024}, ["name 2024"]),
        ({"metric": "cots"}, ["metric 'cots'", "platoon:catchup:horizon=30", "return, cost, headway_error"]),
        ({"list": [{"task": "x"}, {"topology": "ring"}], "grid": None}, ["entry 2", "no task"]),
    ],
)  # fmt: skip
def test_bad_files_are_refused_before_anything_starts(tmp_path, keys, words):
    with pytest.raises(InputError) as caught:
        main([str(written(tmp_path, **keys)), "--out", str(tmp_path / "out")])
    message = str(caught.value)
    assert all(word in message for word in words) and "\n" not in message, message
    assert not (tmp_path / "out").exists()


# Running, with scripts in place of runs


FAKE = """
import json, os, signal, sys, time
folder, rounds, what = sys.argv[1], sys.argv[2], sys.argv[3]
def leave(name, text):
    os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
    open(os.path.join(folder, name), "w").write(text)
leave("begun", str(time.time()))
if what == "stoppable":
    def stop(*_):
        leave("checkpoints/2/manifest.json", "{}")
        sys.exit(0)
    signal.signal(signal.SIGTERM, stop)
if what == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
leave("ready", "")
if what == "broken":
    print("something"); print("ValueError: it is broken"); sys.exit(3)
time.sleep(60 if what in ("stoppable", "deaf") else 0.4)
figures = {"figures": {"return": [float(len(folder))]}}
leave("evaluations.jsonl", json.dumps(figures) + "\\n"); leave("absolute.json", json.dumps(figures))
leave("evaluation.json", "{}"); leave("timings.jsonl", "")
leave("ended", str(time.time()))
leave(f"checkpoints/{rounds}/manifest.json", "{}")
"""


@pytest.fixture
def fake(monkeypatch):
    """Runs become a script that does what a dictionary, label → behaviour, says; else it sleeps and leaves a finished folder."""
    behaviour: dict[str, str] = {}
    asked: list[tuple[str, list[str]]] = []
    real = study.command

    def command_of(one: Study, run) -> list[str]:
        asked.append((run.label, real(one, run)))
        what = behaviour.get(run.label, "")
        return [sys.executable, "-c", FAKE, str(one.place(run)), str(run.config.rounds), what]

    monkeypatch.setattr(study, "command", command_of)
    return behaviour, asked


def made(folder: Path, **keys) -> Study:
    found = read_study(written(folder, **keys), folder / "out")
    write_folder(found)
    collect(found)
    return found


def index_of(one: Study) -> dict[str, dict]:
    return {row["label"]: row for row in json.loads((one.folder / "index.json").read_text())["runs"]}


def test_runs_are_packed_onto_the_cores(tmp_path, fake):
    one = made(tmp_path)
    one.runs[2].ranks = 2  # takes two of the three
    assert Runner(one, 3).work() == 0
    events = []
    for run in one.runs:
        begun, ended = (float((one.place(run) / name).read_text()) for name in ("begun", "ended"))
        events += [(begun, run.ranks), (ended, -run.ranks)]
    busy = list(itertools.accumulate(change for _, change in sorted(events)))
    assert max(busy) == 3
    rows = index_of(one)
    assert list(rows) == [run.label for run in one.runs] and {row["state"] for row in rows.values()} == {"done"}
    assert all(row["seconds"] >= 0.4 for row in rows.values())


def test_more_ranks_than_cores_still_run(tmp_path, fake):
    one = made(tmp_path, seeds=1)
    for run in one.runs:
        run.ranks = 3
    assert Runner(one, 2).work() == 0


def test_a_failed_run_is_reported_and_tried_again_only_when_asked(tmp_path, fake, capsys):
    behaviour, asked = fake
    file, out = str(written(tmp_path)), ["--out", str(tmp_path / "out"), "--cores", "4"]
    bad = "topology=ring,method=K=2,seed=0"
    behaviour[bad] = "broken"
    assert main([file, *out]) == 1
    said = capsys.readouterr().out
    assert f"failed: {bad}: exit status 3" in said and "ValueError: it is broken" in said
    assert said.count("small: 7 done, 0 running, 1 failed, 0 waiting") == 1
    row = json.loads((tmp_path / "out" / "index.json").read_text())["runs"][1]
    assert (row["label"], row["state"], row["reason"]) == (bad, "failed", "exit status 3")
    asked.clear()
    del behaviour[bad]
    assert main([file, *out]) == 1 and not asked
    assert f"failed: {bad}: exit status 3" in capsys.readouterr().out
    assert main([file, *out, "--retry-failed"]) == 0
    assert [label for label, _ in asked] == [bad]
    assert "8 done" in capsys.readouterr().out


def test_time_limits_end_runs_and_what_does_not_listen_is_killed(tmp_path, fake, monkeypatch, capsys):
    behaviour, _ = fake
    monkeypatch.setattr(study, "GRACE", 0.5)
    one = made(tmp_path, seeds=1, time_limit=2.5)
    polite, deaf, *others = one.runs
    behaviour |= {polite.label: "stoppable", deaf.label: "deaf"}
    began = time.monotonic()
    assert Runner(one, 4).work() == 1
    assert time.monotonic() - began < 30
    rows = index_of(one)
    assert [rows[run.label]["state"] for run in one.runs] == ["failed", "failed", "done", "done"]
    assert rows[polite.label]["reason"] == rows[deaf.label]["reason"] == "time limit of 2.5 s"
    assert (one.place(polite) / "checkpoints" / "2").exists()
    assert capsys.readouterr().out.count("failed: ") == 2


def test_signals_end_the_runs_and_leave_them_to_be_continued(tmp_path, fake, capsys):
    behaviour, asked = fake
    one = made(tmp_path)
    first, second = one.runs[:2]
    behaviour |= {first.label: "stoppable", second.label: "stoppable"}

    def interrupt():
        deadline = time.monotonic() + 30
        while not all((one.place(run) / "ready").exists() for run in (first, second)) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    threading.Thread(target=interrupt).start()
    assert Runner(one, 2).work() == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
    rows = index_of(one)
    assert {row["state"] for row in rows.values()} == {"waiting"}
    assert rows[first.label]["reason"] == "will be continued after round 2" and rows[one.runs[2].label]["reason"] == ""
    assert f"continue with: python -m perla_net.study {one.folder}" in capsys.readouterr().out
    behaviour.clear()
    asked.clear()
    assert Runner(one, 8).work() == 0
    words = dict(asked)
    assert words[first.label][-2:] == ["--resume", str(one.place(first))]
    assert words[one.runs[2].label][-4:] == [
        *("--config", str(one.options(one.runs[2]))), *("--out", str(one.place(one.runs[2])))
    ]  # fmt: skip


def test_a_begun_run_without_a_checkpoint_starts_anew(tmp_path, fake):
    one = made(tmp_path, seeds=1)
    (one.place(one.runs[0]) / "checkpoints" / "1").mkdir(parents=True)  # never sealed
    (one.place(one.runs[0]) / "metrics.jsonl").write_text("{")
    assert Runner(one, 4).work() == 0
    assert not (one.place(one.runs[0]) / "metrics.jsonl").exists()


def test_runs_of_a_killed_study_are_ended_and_continued(tmp_path, fake, capsys):
    behaviour, asked = fake
    one = made(tmp_path, seeds=1)
    orphan = one.runs[0]
    behaviour[orphan.label] = "stoppable"
    runner = Runner(one, 1)
    runner._start()
    process = runner.jobs[0].process
    while not (one.place(orphan) / "ready").exists():
        time.sleep(0.02)
        assert process.poll() is None
    # The runner is gone; who comes next finds the run's lock held, without having been told of it.
    behaviour.clear()
    asked.clear()
    threading.Thread(target=process.wait).start()  # as init does for orphans
    again = read_study(tmp_path / "out")
    write_folder(again)
    collect(again)
    assert again.runs[0].state == "running"
    assert Runner(again, 4).work() == 0
    assert f"{orphan.label} still runs" in capsys.readouterr().out
    assert dict(asked)[orphan.label][-2:] == ["--resume", str(one.place(orphan))]
    assert process.returncode == 0  # by its own handler, after its round


@pytest.mark.parametrize(
    "holder",
    ["slurm 77", "elsewhere 1", f"{socket.gethostname()} {os.getpid()}"],
    ids=["slurm", "elsewhere", "a number that is another's"],
)
def test_what_slurm_or_another_machine_runs_is_left_running(tmp_path, fake, holder):
    """So is a run whose process ended before its ranks did, and whose number another one has now (here: this one)."""
    one = made(tmp_path, seeds=1)
    script = 'exec 9>>"$1"; flock -n 9 && echo "$2" >"$1" && echo held; exec sleep 60'
    with subprocess.Popen(
        ["bash", "-c", script, "-", str(one.lock(one.runs[1])), holder], stdout=subprocess.PIPE
    ) as other:
        try:
            assert other.stdout.readline() == b"held\n"
            collect(one)
            assert Runner(one, 4).work() == 1
            assert [row["state"] for row in index_of(one).values()] == ["done", "running", "done", "done"]
        finally:
            other.kill()


def test_two_cannot_run_one_study(tmp_path):
    with lock(tmp_path / "out"):
        with pytest.raises(InputError) as caught:
            main([str(written(tmp_path)), "--out", str(tmp_path / "out")])
        assert f"process {os.getpid()} on " in str(caught.value)
    with lock(tmp_path / "out"):
        pass


def test_a_changed_file_adds_runs_but_changes_none(tmp_path, fake, capsys):
    out = ["--out", str(tmp_path / "out"), "--cores", "4"]
    assert main([str(written(tmp_path, seeds=1)), *out]) == 0
    changed = SMALL | {"rounds": 5}
    for dry in ([], ["--dry-run"]):
        with pytest.raises(InputError) as caught:
            main([str(written(tmp_path, options=changed)), *out, *dry])
        message = str(caught.value)
        assert all(word in message for word in ("topology=ring,method=ippo,seed=0", "rounds 4", "5", "--out", "name"))
    assert read_yaml(tmp_path / "out" / "study.yaml")["seeds"] == [0], "nothing was written"
    capsys.readouterr()
    assert main([str(written(tmp_path, seeds=1)), *out, "--dry-run"]) == 0
    assert "done topology=ring,method=ippo,seed=0\n" in capsys.readouterr().out, "no command for what is done"
    fake[1].clear()
    capsys.readouterr()
    assert main([str(written(tmp_path, seeds=[1], grid={"topology": ["ring", "star"]}, baseline=None)), *out]) == 0
    assert [label for label, _ in fake[1]] == ["topology=ring,seed=1", "topology=star,seed=1"]
    assert "4 of the runs" in capsys.readouterr().out  # of the first file


def test_a_dry_run_writes_nothing(tmp_path, capsys):
    assert main([str(written(tmp_path)), "--out", str(tmp_path / "out"), "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9 and all("perla_net.run --config" in line for line in lines[:8])
    assert not (tmp_path / "out").exists()


# Slurm


def test_a_slurm_array_does_what_the_study_would(tmp_path, capsys):
    """The script is checked by bash, and two of its indices run here, with a script in place of srun."""
    out = tmp_path / "out"
    arguments = [str(written(tmp_path, seeds=1, ranks=2, time_limit=600)), "--out", str(out)]
    assert main([*arguments, "--emit", "slurm"]) == 0
    assert f"sbatch {out / 'slurm.sh'}" in capsys.readouterr().out
    script = (out / "slurm.sh").read_text()
    subprocess.run(["bash", "-n", str(out / "slurm.sh")], check=True, timeout=30)
    for line in ("--array=0-3", "--ntasks=2", "--time=13", f"--output={out}/logs/slurm-%A-%a.log", "--job-name=small"):
        assert f"#SBATCH {line}\n" in script
    (tmp_path / "bin").mkdir()
    srun = tmp_path / "bin" / "srun"
    srun.write_text(
        f'#!/bin/bash\necho "$@" >>{tmp_path}/asked\n'
        'while [[ $1 == --* ]]; do shift; done\n'
        '[ -z "${BROKEN:-}" ] || { echo "srun: error: Node failure"; exit 7; }\nexec "$@"\n'
    )  # fmt: skip
    srun.chmod(0o755)
    paths = {"PATH": f"{srun.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}

    def task(index: str, **more: str) -> subprocess.CompletedProcess:
        told = os.environ | paths | {"SLURM_ARRAY_TASK_ID": index, "SLURM_JOB_ID": "12", "MPI": "pmi2"} | more
        words = ["bash", str(out / "slurm.sh")]
        return subprocess.run(words, env=told, capture_output=True, text=True, timeout=120, cwd="/")

    done = task("1")
    assert done.returncode == 0, done.stderr + (out / "logs" / "topology=ring,method=K=2,seed=0.log").read_text()
    label = "topology=ring,method=K=2,seed=0"
    asked = (tmp_path / "asked").read_text()
    assert asked.startswith("--mpi=pmi2 --ntasks=2 --cpus-per-task=1 --kill-on-bad-exit=1")
    assert f"-m perla_net.run --config {out}/configs/{label}.yaml --out {out}/runs/{label}" in asked
    assert task("2", BROKEN="1").returncode == 7
    assert task("9").returncode == 2
    assert main([*arguments, "--collect"]) == 1
    assert "small: 1 done, 0 running, 1 failed, 2 waiting" in capsys.readouterr().out
    rows = json.loads((out / "index.json").read_text())["runs"]
    assert [row["state"] for row in rows] == ["waiting", "done", "failed", "waiting"]
    assert rows[1]["seconds"] > 0 and rows[2]["reason"] == "exit status 7"
    # What is left: the failed one waits again if asked for.
    # Submitted again, the array passes over what is done, and what failed.
    length = (tmp_path / "asked").stat().st_size
    assert f"{label} is done" in task("1").stdout and "failed before" in task("2").stdout
    assert (tmp_path / "asked").stat().st_size == length
    assert main([*arguments, "--emit", "slurm", "--retry-failed"]) == 0
    script = (out / "slurm.sh").read_text()
    names = [line.split()[1] for line in script.splitlines() if line.startswith("  '2 ")]
    assert names == [rows[index]["label"] for index in (0, 2, 3)] and "--array=0-2" in script


# The table


def evaluated(folder: Path, values: dict[tuple[str, str, int], float], **head) -> None:
    """An index with runs (task, method, seed) → return, and what their evaluation left."""
    rows = []
    for (task, method, seed), value in values.items():
        label = f"{task}-{method}-{seed}"
        place = folder / "runs" / label
        place.mkdir(parents=True)
        point = {
            "round": 1,
            "env_steps": 1,
            "bytes": 0,
            "figures": {"return": [value - 1, value + 1], "delay": [-value]},
        }
        before = point | {"round": 0, "figures": {"return": [999.0], "delay": [999.0]}}
        (place / "evaluations.jsonl").write_text(f"{json.dumps(before)}\n{json.dumps(point)}\n")
        settings = {"task": task, "method": method}
        rows.append({"label": label, "folder": f"runs/{label}", "settings": settings, "task": task, "seed": seed})
        rows[-1] |= {"state": "done", "seconds": 1.0, "reason": ""}
    index = {"name": "made", "metric": "return", "higher_is_better": True, "axes": ["task", "method"], "normalise": {}}
    (folder / "index.json").write_text(json.dumps(index | {"baseline": {"method": "base"}} | head | {"runs": rows}))


VALUES = {
    (task, method, seed): scale * (seed + gain + (0.5 if (seed, method) == (2, "new") else 0))
    for task, scale in (("easy", 1.0), ("hard", 100.0))
    for method, gain in (("base", 0.0), ("new", 1.25))
    for seed in range(5)
}


def cells(text: str, *start: str) -> str:
    """The one line of a table that begins with these cells, with single blanks."""
    found = [" ".join(line.split()) for line in text.splitlines()]
    (line,) = [line for line in found if line.startswith(" ".join(start) + " ")]
    return line


def test_the_table_shows_what_the_statistics_say(tmp_path):
    evaluated(tmp_path, VALUES)
    text = table(tmp_path)
    assert "20 of 20 runs are done; return, higher is better" in text and "Absolute" not in text
    base, new = (np.array([VALUES["hard", m, s] for s in range(5)])[:, None] for m in ("base", "new"))
    alone = bootstrap_interval(interquartile_mean, base)
    assert cells(text, "hard", "base") == f"hard base 5 200 [{alone.low:.4g}, {alone.high:.4g}] baseline"
    iqm = bootstrap_interval(interquartile_mean, new)
    better = bootstrap_interval(probability_of_improvement, new, base)
    gained = paired_difference(new, base)
    assert cells(text, "hard", "new") == (
        f"hard new 5 {iqm.value:.4g} [{iqm.low:.4g}, {iqm.high:.4g}] 5 +{gained.value:.3g} ± "
        f"{gained.student.high - gained.value:.2g} [{gained.bootstrap.low:.3g}, {gained.bootstrap.high:.3g}] "
        f"{better.value:.4g} [{better.low:.4g}, {better.high:.4g}]"
    )
    assert gained.value == pytest.approx(135) and 0.5 < better.value < 1
    assert "tasks are not pooled" in text
    other = table(tmp_path, "method=new")
    assert "-135" in cells(other, "hard", "base") and "baseline" in cells(other, "hard", "new")


def test_normalised_tasks_are_pooled(tmp_path):
    evaluated(tmp_path, VALUES, normalise={"easy": [0, 5], "hard": [0, 500]})
    text = table(tmp_path)
    pooled = np.array(
        [[VALUES[task, "base", seed] / scale for task, scale in (("easy", 5), ("hard", 500))] for seed in range(5)]
    )
    iqm = bootstrap_interval(interquartile_mean, pooled)
    assert cells(text, "all, 0 to 1", "base").startswith(
        f"all, 0 to 1 base 5 {iqm.value:.4g} [{iqm.low:.4g}, {iqm.high:.4g}] 0.6 ["
    )
    assert "not pooled" not in text and "optimality gap" in text


def test_where_lower_is_better_improvement_means_less(tmp_path):
    evaluated(tmp_path, VALUES, metric="delay", higher_is_better=False, normalise={"easy": [-5, 0], "hard": [-500, 0]})
    evaluated(tmp_path / "up", VALUES, normalise={"easy": [0, 5], "hard": [0, 500]})
    down, up = table(tmp_path), table(tmp_path / "up")
    assert "delay, lower is better" in down and "-135" in cells(down, "hard", "new")
    assert cells(down, "hard", "new").split("] ")[-1] == cells(up, "hard", "new").split("] ")[-1]  # P(better)
    assert cells(down, "all, 0 to 1", "new") == cells(up, "all, 0 to 1", "new")


def test_runs_that_are_missing_leave_their_pairs_out(tmp_path):
    values = {key: value for key, value in VALUES.items() if key not in (("hard", "new", 0), ("hard", "base", 4))}
    evaluated(tmp_path, values, normalise={"easy": [0, 5], "hard": [0, 500]})
    text = table(tmp_path)
    assert cells(text, "hard", "new").startswith("hard new 4 ") and "] 3 +1" in cells(text, "hard", "new")
    assert cells(text, "all, 0 to 1", "new").startswith("all, 0 to 1 new 4 ") and "] 3 +" in cells(
        text, "all, 0 to 1", "new"
    )


def test_tables_that_cannot_be_made_say_why(tmp_path):
    for arguments, words in (
        ([str(tmp_path)], "no index.json"),
        ([str(tmp_path / "none.yaml")], "cannot be read"),
    ):
        with pytest.raises(InputError, match=words):
            main([*arguments, "--table"])
    evaluated(tmp_path, VALUES, metric="speed")
    with pytest.raises(InputError, match="metric speed: .*it has return, delay"):
        table(tmp_path)
    for baseline, words in (
        ("method", "is not AXIS=VALUE"),
        ("metod=new", "no axis 'metod'"),
        ("method=x", "no value 'x'"),
    ):
        with pytest.raises(InputError, match=words):
            table(tmp_path, baseline)


def test_a_baseline_may_be_a_topology_with_arguments(tmp_path):
    values = {(f"{task}:k=4,p=0.1", method, seed): value for (task, method, seed), value in VALUES.items()}
    evaluated(tmp_path, values, axes=["topology", "method"], baseline={})
    file = tmp_path / "index.json"
    index = json.loads(file.read_text())
    for row in index["runs"]:
        row["settings"]["topology"] = row["settings"].pop("task")
        row["task"] = "one"
    file.write_text(json.dumps(index))
    assert "baseline" not in table(tmp_path).partition("\n\nIQM")[0]
    text = table(tmp_path, "topology=easy:k=4,p=0.1,method=base")
    assert cells(text, "one", "easy:k=4,p=0.1", "base").endswith("baseline")
    assert "+200" not in text and "+198 ±" in cells(text, "one", "hard:k=4,p=0.1", "base")


# The documentation


def test_the_commands_of_the_documentation_work(tmp_path, fake, monkeypatch, capsys):
    """In order, from a clone; scripts stand in for the runs, which take minutes."""
    text = (ROOT / "docs" / "studies.md").read_text()
    example = ROOT / "docs" / "examples" / "study.yaml"
    shown = example.read_text().split("\n", 1)[1]  # but for its first line
    assert f"```yaml\n{shown}```" in text
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs" / "examples").mkdir(parents=True)
    (tmp_path / "docs" / "examples" / "study.yaml").write_text(example.read_text())
    commands = [line.split()[3:] for line in text.splitlines() if line.startswith("python -m perla_net.study")]
    statuses = [main(words if "--table" in words else [*words, "--cores", "18"]) for words in commands]
    assert len(commands) == 7 and [word for words in commands for word in words if word.startswith("--")] == [
        *("--dry-run", "--table", "--retry-failed", "--out", "--emit", "--collect", "--table", "--baseline")
    ]
    assert statuses == [0, 0, 0, 0, 0, 1, 0]  # of the study on the cluster no run is done
    said = capsys.readouterr().out
    assert said.count("18 of 18 runs are done; return, higher is better") == 2
    assert "18 runs; submit them with: sbatch studies/cluster/slurm.sh" in said
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    exec(compile(code, "docs/studies.md", "exec"), {})
    assert "PairedDifference(value=" in capsys.readouterr().out


# A real one


@needs_mpirun
@pytest.mark.mpi
def test_a_killed_study_goes_on_where_it_stopped(tmp_path):
    """As when the machine goes down: what was done is not repeated, and what was not ends as it would have, to the byte."""
    out = tmp_path / "out"
    options = SMALL | {"rounds": 8}
    grid = {"topology": ["ring", "empty"]}
    file = written(tmp_path, options=options, grid=grid, ranks=2, seeds=1, baseline={"topology": "empty"})
    words = ("perla_net.study", str(file), "--out", str(out), "--cores", "2")
    done, cut = (f"topology={topology},seed=0" for topology in ("ring", "empty"))
    process = subprocess.Popen(
        command(0, *words), cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 90
    while not (out / "runs" / cut / "checkpoints" / "1" / "manifest.json").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    os.killpg(int((out / "locks" / cut).read_text().split()[1]), signal.SIGKILL)
    process.wait(timeout=30)
    said = job(0, *words, process=True).stdout
    assert "small: 2 done, 0 running, 0 failed, 0 waiting" in said
    rows = json.loads((out / "index.json").read_text())["runs"]
    assert [(row["label"], row["state"]) for row in rows] == [(done, "done"), (cut, "done")]
    starts = [(out / "runs" / name / "run.jsonl").read_text().count("\n") for name in (done, cut)]
    assert starts == [1, 2], "the first was not repeated, the second was continued"
    config = validated(read_yaml(out / "configs" / f"{cut}.yaml"))
    alone = perla_net.train(replace(config, out=str(tmp_path / "alone"), display="none")).folder
    for name in ("metrics.jsonl", "evaluations.jsonl", "evaluation.json", "absolute.json", "ledger.csv"):
        assert (out / "runs" / cut / name).read_bytes() == (alone / name).read_bytes(), name
    text = table(out)
    for name, topology in ((done, "ring"), (cut, "empty")):
        value = score(out / "runs" / name, "return")
        assert f"{topology} 1 {value:,.4g} [{value:,.4g}, {value:,.4g}]" in " ".join(text.split())
    assert "Absolute metric" in text and "2 of 2 runs are done" in text
