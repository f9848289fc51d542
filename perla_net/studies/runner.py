"""Studies: settings × seeds from one file, run side by side on the cores of this machine, or by Slurm.

``python -m perla_net.study FILE.yaml`` starts or continues one; ``--table`` compares what is done; ``docs/studies.md``. All
that is known of a run stands in the study's folder, so that whatever happens to the study, it goes on from there:

    study.yaml  index.json      the study as it was read; every run and its state
    configs/LABEL.yaml          a run's resolved options
    runs/LABEL/                 its folder
    logs/LABEL.log  .failed     what it said; why it failed, if it did
    locks/LABEL                 locked for as long as a process of the run lives
    lock                        locked by who runs the study
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Sequence

from ..ground.errors import InputError
from ..ground.files import write_whole
from ..ground.text import duration_text
from ..records import checkpoint
from ..records.claim import lock as lock_file
from .folder import _holder, _sign, _state, _time, finished
from .study_file import Run, Study

GRACE = 60.0
"""Seconds that a run has to end its round and write a checkpoint, before it is killed."""
NAP = 0.1
"""Seconds between two looks at the runs."""
TAIL = 8
"""Lines of a failed run's log that are shown."""


# The folder


# Running


@lru_cache
def _mpirun() -> tuple[str, ...]:
    """The mpirun beside this Python, else the one on PATH, with what it needs to run several jobs on one machine."""
    beside = Path(sys.executable).parent / "mpirun"
    found = str(beside) if beside.exists() else shutil.which("mpirun")
    if not found:
        raise InputError(
            'there is no mpirun; install one with: pip install -c constraints.txt ".[mpi]", or set ranks: 1'
        )
    said = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=60).stdout
    # Open MPI would refuse more ranks than cores, and bind the ranks of every job to the same first cores.
    return (found, "--oversubscribe", "--bind-to", "none") if "Open MPI" in said else (found,)


def command(study: Study, run: Run) -> list[str]:
    """What starts a run, or continues it where it has a checkpoint."""
    options = ["--config", str(study.options(run)), "--out", str(study.place(run))]
    if checkpoint.sealed(study.place(run)):
        options = ["--resume", str(study.place(run))]
    launcher = [*_mpirun(), "-n", str(run.ranks)] if run.ranks > 1 else []
    return [*launcher, sys.executable, "-m", "perla_net.run", *options]


@dataclass
class Job:
    """A run that goes on."""

    run: Run
    process: subprocess.Popen
    slots: int
    began: float
    why: str = ""
    """Why it was told to end."""
    told: float = 0.0

    def end(self, why: str) -> None:
        """Tell the run to end after its round."""
        if not self.why:
            self.why, self.told = why, time.monotonic()
            _tell(self.process.pid)


def _tell(process: int) -> None:
    try:
        # Not its group: mpirun hands the signal on, and a second one would end a rank within its round.
        os.kill(process, signal.SIGTERM)
    except ProcessLookupError:
        pass  # it has just ended


def _kill(process: int) -> None:
    try:
        os.killpg(process, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _has_open(process: int, file: Path) -> bool:
    """Whether a process has a file open, so that it is not another one that was given the same number since."""
    try:
        return any(os.path.samefile(entry, file) for entry in Path(f"/proc/{process}/fd").iterdir() if entry.exists())
    except OSError:  # it is gone, or somebody else's
        return False


class Runner:
    """Packs the waiting runs of a study onto cores; a run takes as many as it has ranks, at most all."""

    def __init__(self, study: Study, cores: int) -> None:
        self.study, self.cores = study, cores
        self.jobs: list[Job] = []
        self.signals: list[int] = []
        """Ctrl-C and SIGTERM so far: after one the runs end after their rounds, after two at once."""
        self.live = sys.stdout.isatty()
        self.shown = ""

    def work(self) -> int:
        """Run what waits. The exit status: 0 all done, 1 not all, 128 + the signal that stopped it."""
        before = {number: signal.signal(number, self._heard) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._end_orphans()
            while not self.signals and self._next() or self.jobs:
                self._start()
                self._show()
                time.sleep(NAP)
                self._look()
        finally:
            for job in self.jobs:  # there are some only after an error of this program
                _kill(job.process.pid)
            for number, handler in before.items():
                signal.signal(number, handler)
        self._show(last=True)
        if self.signals:
            print(f"stopped by a signal; continue with: python -m perla_net.study {self.study.folder}", flush=True)
            return 128 + self.signals[0]
        return int(any(run.state != "done" for run in self.study.runs))

    def _heard(self, number: int, frame: Any) -> None:
        self.signals.append(number)

    def _next(self) -> Run | None:
        """The first waiting run that there are cores for."""
        free = self.cores - sum(job.slots for job in self.jobs)
        waiting = (run for run in self.study.runs if run.state == "waiting")
        return next((run for run in waiting if min(run.ranks, self.cores) <= free), None)

    def _start(self) -> None:
        """Start what there are cores for."""
        study = self.study
        while not self.signals and (run := self._next()):
            words = command(study, run)
            with (
                study.lock(run).open("a+", encoding="utf-8") as held,
                study.log(run).open("a", encoding="utf-8") as log,
            ):
                if not lock_file(held):
                    run.state, run.reason = "running", "somebody else began it"
                    continue
                if study.place(run).exists() and "--resume" not in words:
                    shutil.rmtree(study.place(run))  # begun, but without a checkpoint
                log.write(f"$ {shlex.join(words)}\n")
                log.flush()
                # The run inherits the lock: it is held until the last of its processes ends, also if this one is killed.
                process = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=[held.fileno()],
                    env=os.environ | (_AS_ROOT if os.getuid() == 0 else {}),
                )
                _sign(held, process.pid)
            self.jobs.append(Job(run, process, min(run.ranks, self.cores), time.monotonic()))
            run.state, run.reason = "running", ""
            study.write_index()

    def _look(self) -> None:
        """See which jobs have ended, and end those that must."""
        now = time.monotonic()
        for job in list(self.jobs):
            if self.signals:
                job.end("stopped")
            elif now - job.began > self.study.file.time_limit:
                job.end("time limit")
            if job.why and (now - job.told > GRACE or len(self.signals) > 1):
                _kill(job.process.pid)
            if job.process.poll() is not None:
                self.jobs.remove(job)
                self._ended(job, now - job.began)

    def _ended(self, job: Job, seconds: float) -> None:
        study, run, status = self.study, job.run, job.process.returncode
        run.seconds = round((run.seconds or 0.0) + seconds, 1)
        reason = ""
        if not status and finished(study.place(run), run.config):
            pass
        elif job.why == "time limit":
            reason = f"time limit of {study.file.time_limit:g} s"
        elif not job.why:  # one that was told to stop waits to be continued, whatever its status
            reason = f"exit status {status}" if status > 0 else "stopped by a signal from elsewhere"
            reason = f"ended by {signal.Signals(-status).name}" if status < 0 else reason
        if reason:
            write_whole(study.mark(run), reason + "\n")
        run.state, run.reason = _state(study, run)
        study.write_index()
        if reason:
            self._say(failure(study, run))

    def _end_orphans(self) -> None:
        """End runs whose study was killed, so that this one can continue them."""
        for run in self.study.runs:
            host, _, process = (_holder(self.study, run) or "").partition(" ")
            if (
                host != socket.gethostname()
                or not process.isdigit()
                or not _has_open(int(process), self.study.lock(run))
            ):
                continue  # nobody has it, or Slurm, or another machine: it stays "running"
            self._say(f"{run.label} still runs, though its study was killed; ending it after its round")
            _tell(int(process))
            began = time.monotonic()
            while _holder(self.study, run) is not None:
                waited = time.monotonic() - began
                if waited > GRACE or self.signals:
                    _kill(int(process))
                if waited > 2 * GRACE:
                    raise InputError(
                        f"{self.study.folder}: process {process} of {run.label} does not end; end it by hand"
                    )
                time.sleep(NAP)
            run.state, run.reason = _state(self.study, run)
            _time(self.study, run)
        self.study.write_index()

    def _say(self, text: str) -> None:
        """Something besides the study's one line."""
        print(f"\r\033[K{text}" if self.live else text, flush=True)
        self.shown = "" if self.live else self.shown

    def _show(self, last: bool = False) -> None:
        """The study's one line: over itself on a terminal; elsewhere anew, when a run has ended."""
        counts, left = progress(self.study, self.cores, self.jobs)
        text = counts + left if self.live else counts
        if self.live and (text != self.shown or last):
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\033[K{text[:width]}", end="\n" if last else "", flush=True)
        elif text != self.shown:
            print(counts + left, flush=True)
        self.shown = text


_AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
"""Without these Open MPI refuses root, which one is in containers."""


def progress(study: Study, cores: int, jobs: Sequence[Job] = ()) -> tuple[str, str]:
    """How far the study is, and how long the rest will take: (Σ seconds of what is left × its cores) / cores."""
    count = {state: sum(run.state == state for run in study.runs) for state in ("done", "running", "failed", "waiting")}
    counts = f"{study.name}: " + ", ".join(f"{number} {state}" for state, number in count.items())
    took = [run.seconds for run in study.runs if run.state == "done" and run.seconds]
    if not took or not jobs:
        return counts, ""
    each = sum(took) / len(took)
    left = sum(each * min(run.ranks, cores) for run in study.runs if run.state == "waiting")
    left += sum(max(each - (time.monotonic() - job.began), 0.0) * job.slots for job in jobs)
    return counts, f", about {duration_text(left / cores)} left"


def failure(study: Study, run: Run) -> str:
    """Why a run failed, and the last lines of its log."""
    said = study.log(run).read_text(encoding="utf-8", errors="replace").splitlines() if study.log(run).exists() else []
    tail = [line for line in said if line.strip()][-TAIL:]
    return "\n    ".join([f"failed: {run.label}: {run.reason}; the end of {study.log(run)}:", *tail])
