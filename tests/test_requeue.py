"""``REQUEUE=yes sbatch launch/slurm.sh``: a run in several parts, by a Slurm that is made of a few lines and does what sbatch(1),
scontrol(1) and slurm.schedmd.com/preempt.html say of jobs that are requeued."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable

import pytest
from conftest import ROOT, SMALL, rows, run

OPTIONS = ("--agents", "4", "--topology", "ring", "--rounds", "30", "--checkpoint-every", "2")
PROGRAMS = {
    # One task, on this machine; its status is the task's.
    "srun": 'case $1 in --mpi=list) echo pmi2; exit ;; esac\nwhile case $1 in --*) ;; *) false ;; esac; do shift; done\n'
    'echo $$ >"$CONTROLLER/task"\nexec "$@"',
    "squeue": 'cat "$CONTROLLER/state"',
    # "Requeue a running … batch job": what runs of it is killed.
    "scontrol": '[ "$1 $2" = "requeue $SLURM_JOB_ID" ] && [ ! -e "$CONTROLLER/never" ] || exit 1\n'
    'touch "$CONTROLLER/requeued"\nkill -KILL $PPID',
}  # fmt: skip
RUN = """#!/bin/sh
# A run that adds a checkpoint, says what it was told, and ends as it should.
case $1 in --mpi=list) echo pmi2; exit ;; esac
out=; for word; do case $word in --out=*) out=${word#*=} ;; esac; case $last in --out|--resume) out=$word ;; esac; last=$word; done
echo "${*#--*perla_net.run }"
[ -z "$ROUND" ] || { mkdir -p "$out/checkpoints/$ROUND"; touch "$out/checkpoints/$ROUND/manifest.json"; }
mkdir -p "$out"
printf 'evaluate_episodes: 20\\nevaluate_points: 0\\nrounds: 10\\n' >"$out/config.yaml"
touch "$out/run.jsonl"
[ -z "$EVALUATED" ] || touch "$out/evaluation.json"
[ -z "$CANCELLED" ] || echo COMPLETING >"$CONTROLLER/state"
[ -z "$HEARD" ] || kill -TERM $PPID
exit "$STATUS"
"""


class Slurm:
    """One job: started from the beginning of its script, again and again, for as long as it is requeued."""

    def __init__(self, place: Path) -> None:
        self.place, self.restarts = place, 0
        (place / "bin").mkdir()
        for name, body in PROGRAMS.items():
            self.program(name, f"#!/bin/sh\n{body}\n")
        self.program(
            "python", f'#!/bin/sh\nexec {sys.executable} -W ignore "$@"\n'
        )  # a link would forget its environment
        (place / "state").write_text("RUNNING\n")

    def program(self, name: str, text: str) -> None:
        (self.place / "bin" / name).write_text(text)
        (self.place / "bin" / name).chmod(0o755)

    def start(self, *options: str, **variables: str) -> subprocess.Popen:
        for name in ("requeued", "task"):
            (self.place / name).unlink(missing_ok=True)
        given = {
            "PATH": f"{self.place / 'bin'}:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "CONTROLLER": str(self.place),
            "MPI": "pmi2",
            "REQUEUE": "yes",
            "SLURM_JOB_ID": "7",
            "SLURM_NTASKS": "1",
        }
        if self.restarts:
            given["SLURM_RESTART_COUNT"] = str(self.restarts)
        self.restarts += 1
        return subprocess.Popen(
            [str(ROOT / "launch" / "slurm.sh"), *options],
            cwd=self.place,
            env=given | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def job(self, *options: str, **variables: str) -> tuple[int, str]:
        """(exit status, output) of a job to which nothing happens; −9: it was requeued."""
        process = self.start(*options, **variables)
        output = process.communicate(timeout=120)[0]
        return process.returncode, output

    @property
    def requeued(self) -> bool:
        return (self.place / "requeued").exists()


@pytest.fixture
def slurm(tmp_path):
    return Slurm(tmp_path)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen) -> None:
    until = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < until, process.communicate()[0]
        time.sleep(0.01)


def lines(file: Path) -> int:
    return file.read_text().count("\n") if file.exists() else 0


@pytest.mark.slow
def test_the_parts_are_the_run(slurm, tmp_path):
    """Interrupted before the time limit, then killed by a preemption without grace, then left alone."""
    folder = tmp_path / "runs" / "slurm-7"
    metrics = folder / "metrics.jsonl"

    process = slurm.start(*SMALL, *OPTIONS)
    wait_for(lambda: lines(metrics) >= 2, process)
    os.kill(int((tmp_path / "task").read_text()), signal.SIGTERM)  # to the steps: the shell does not hear it
    output = process.communicate(timeout=120)[0]
    first = rows(folder)[-1]["round"]
    assert slurm.requeued and f"runs/slurm-7 is at round {first} of 30, queued again" in output, output

    process = slurm.start(*SMALL, *OPTIONS)
    wait_for(lambda: lines(metrics) >= first + 3, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=120)
    second = rows(folder)[-1]["round"]
    assert first < second < 30

    status, output = slurm.job(*SMALL, *OPTIONS)
    assert status == 0 and not slurm.requeued, output
    assert "continuing after round" in output and "stopped by a signal" not in output
    assert metrics.read_bytes() == run(tmp_path / "whole", 0, *OPTIONS)
    status, output = slurm.job(*SMALL, *OPTIONS)
    assert (status, output, slurm.requeued) == (0, "", False), "complete: nothing to do"


def as_run(slurm: Slurm, *options: str, **variables: str) -> tuple[int, str]:
    """A job whose run does nothing but what the variables say."""
    slurm.program("srun", RUN)
    return slurm.job(
        *options, **dict.fromkeys(("ROUND", "EVALUATED", "CANCELLED", "HEARD"), "") | {"STATUS": "0"} | variables
    )


def test_parts_without_a_checkpoint_and_folders_that_are_named(slurm, tmp_path):
    """A restart of what has no checkpoint begins anew, and throws nothing away; one in the last evaluation goes on with it."""
    status, output = as_run(slurm, "--out=runs/mine", STATUS="1")
    assert (status, slurm.requeued) == (1, False)
    status, output = as_run(slurm, "--out", "runs/mine", "--rounds", "10", ROUND="4")
    assert slurm.requeued and output.startswith("--out runs/mine --rounds 10\n") and "round 4 of 10" in output
    assert (tmp_path / "runs" / "mine.before-restart-1" / "run.jsonl").exists()
    status, output = as_run(slurm, "--out", "runs/mine", ROUND="10", STATUS="143")
    assert slurm.requeued and output.startswith("--resume runs/mine\n")
    assert as_run(slurm, "--out", "runs/mine", EVALUATED="yes")[0] == 0 and not slurm.requeued


def test_a_signal_to_the_shell_waits_for_the_ranks(slurm):
    """Slurm's last word, and on some clusters the first of a preemption, reaches the shell too."""
    status, output = as_run(slurm, ROUND="4", HEARD="yes")
    assert slurm.requeued and "runs/slurm-7 is at round 4 of 10, queued again" in output


@pytest.mark.parametrize(
    ("variables", "status", "sentence"),
    [
        ({"ROUND": "4", "STATUS": "1"}, 1, ""),  # failed, and says why itself
        ({"ROUND": "4", "STATUS": "2"}, 2, ""),
        ({"STATUS": "143"}, 2, "not queued again: there is no checkpoint since the job's start"),
        ({"ROUND": "4", "CANCELLED": "yes"}, 2, "not queued again: the job is COMPLETING"),
        ({"ROUND": "10", "EVALUATED": "yes"}, 0, ""),
        ({"REQUEUE": "no"}, 2, "REQUEUE=no: should be yes, or not there"),
        ({"REQUEUE": "", "ROUND": "4"}, 0, ""),
    ],
)
def test_what_is_not_queued_again(slurm, variables, status, sentence):
    found, output = as_run(slurm, "--out", "runs/mine", **variables)
    assert found == status and sentence in output and not slurm.requeued, output
    assert output.count("launch/slurm.sh: ") == bool(sentence)


def test_a_slurm_that_does_not_requeue(slurm, tmp_path):
    (tmp_path / "never").touch()
    status, output = as_run(slurm, ROUND="4")
    assert status == 2 and "Slurm does not requeue the job; submit with sbatch --requeue" in output
