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

import json
import math
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
from typing import Any, Iterator, Mapping, Sequence, TextIO

import yaml

from . import checkpoint, slurm
from .claim import lock as lock_file
from .comparison import table
from .config import Config, to_data
from .display import duration_text
from .errors import InputError
from .files import given as path_given
from .files import write_whole
from .options import parser, read_yaml, to_yaml, validated
from .processes import launched
from .study_file import Run, Study, label_of, name_of, names_of_options, read_study

GRACE = 60.0
"""Seconds that a run has to end its round and write a checkpoint, before it is killed."""
NAP = 0.1
"""Seconds between two looks at the runs."""
TAIL = 8
"""Lines of a failed run's log that are shown."""


# The folder


def lock(folder: Path) -> TextIO:
    """Keep others from running the study for as long as the file is open. Raises InputError that names who does."""
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / "lock").open("a+", encoding="utf-8")
    if not lock_file(file):
        file.seek(0)
        host, _, process = file.read().strip().partition(" ")
        file.close()
        raise InputError(f"{folder}: process {process} on {host} runs this study; wait for it, or end it")
    _sign(file, os.getpid())
    return file


def _sign(file: TextIO, process: int) -> None:
    """Write into a locked file who has it."""
    file.truncate(0)
    file.write(f"{socket.gethostname()} {process}\n")
    file.flush()


def _holder(study: Study, run: Run) -> str | None:
    """Who has the run's lock, 'HOST PROCESS' (of Slurm: 'slurm JOB'); None when nobody has."""
    if not study.lock(run).exists():
        return None
    with study.lock(run).open(encoding="utf-8") as file:
        return None if lock_file(file) else file.read().strip()


def write_folder(study: Study) -> list[str]:
    """Make the folder, write ``study.yaml`` and the runs' options; the names of runs in it that are no longer asked for.

    Raises InputError, before anything is written, where a run was begun with other options.
    """
    check_folder(study)
    for name in ("configs", "runs", "logs", "locks"):
        (study.folder / name).mkdir(parents=True, exist_ok=True)
    for run in study.runs:
        write_whole(study.options(run), to_yaml(run.config))
    write_whole(
        study.folder / "study.yaml", yaml.safe_dump(to_data(study.file), sort_keys=False, default_flow_style=None)
    )
    known = {run.label for run in study.runs}
    return sorted(place.name for place in (study.folder / "runs").iterdir() if place.name not in known)


def check_folder(study: Study) -> None:
    """Raises InputError where a run was begun with other options than the study has now."""
    for run in study.runs:
        if not (study.place(run).exists() and study.options(run).exists()):
            continue
        before = validated(read_yaml(study.options(run), "STUDY"), str(study.options(run)))
        then, now = (dict(_leaves(to_data(config))) for config in (before, run.config))
        for name in now:
            if then.get(name) != now[name]:
                raise InputError(
                    f"{study.folder}: {run.label} was begun with {name} {label_of(then.get(name))}, and is now to have "
                    f"{label_of(now[name])}; give the study another name (or --out), or remove what is in {study.folder}"
                )


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict) and prefix + key not in names_of_options():
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def collect(study: Study) -> None:
    """Every run's state as its files tell it, then ``index.json``."""
    known = {}
    if (study.folder / "index.json").is_file():
        known = {row["label"]: row for row in checkpoint.read_data(study.folder / "index.json", "STUDY")["runs"]}
    for run in study.runs:
        run.state, run.reason = _state(study, run)
        run.seconds = known.get(run.label, {}).get("seconds")
        _time(study, run)
    study.write_index()


def _time(study: Study, run: Run) -> None:
    """The seconds of a run that somebody else ran to its end: those of its rounds."""
    if run.state == "done" and run.seconds is None:
        rows = (study.place(run) / "timings.jsonl").read_text(encoding="utf-8").splitlines()
        run.seconds = round(math.fsum(json.loads(row)["seconds"] for row in rows), 1)


def _state(study: Study, run: Run) -> tuple[str, str]:
    """(state, reason)."""
    if _holder(study, run) is not None:
        return "running", ""
    if study.mark(run).exists():
        return "failed", study.mark(run).read_text(encoding="utf-8").strip()
    if finished(study.place(run), run.config):
        return "done", ""
    rounds = checkpoint.sealed(study.place(run))
    return "waiting", f"will be continued after round {rounds[-1].name}" if rounds else ""


def finished(folder: Path, config: Config) -> bool:
    """Whether a run's folder holds all that the run was to leave."""
    if not (folder / "checkpoints" / str(config.rounds) / "manifest.json").is_file():
        return False
    for name, asked in (("evaluation.json", config.evaluate_episodes), ("absolute.json", config.evaluate_points)):
        try:
            asked and checkpoint.read_data(folder / name, "STUDY")
        except InputError:  # not there, or cut short
            return False
    return True


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


def main(arguments: Sequence[str]) -> int:
    """``python -m perla_net.study STUDY``; the exit status: 0 all runs are done, 1 not all, 2 bad input."""
    if launched()[1] > 1:
        raise InputError("start a study without mpirun; it starts one for each of its runs")
    reader = parser("perla_net.study", "Run a study: settings × seeds, packed onto the cores of this machine.")
    reader.add_argument("study", metavar="STUDY", type=Path, help="a study's YAML file, or its folder")
    reader.add_argument("--out", type=Path, metavar="FOLDER", help="the study's folder (default: studies/NAME)")
    reader.add_argument("--cores", type=int, metavar="N", help="cores to use (default: all that are available)")
    reader.add_argument(
        "--retry-failed", action="store_true", help="also continue, or start anew, the runs that failed"
    )
    reader.add_argument("--dry-run", action="store_true", help="check everything and list the runs; write nothing")
    reader.add_argument("--emit", choices=["slurm"], help="write a Slurm array of the runs that wait; start nothing")
    reader.add_argument("--collect", action="store_true", help="bring index.json up to date; start nothing")
    reader.add_argument("--table", action="store_true", help="print the statistics of the runs that are done")
    reader.add_argument("--baseline", metavar="AXIS=VALUE,…", help="what --table compares with (default: the study's)")
    given = reader.parse_args(list(arguments))
    if given.cores is not None and given.cores < 1:
        raise InputError(f"--cores {given.cores}: must be at least 1")
    if given.baseline and not given.table:
        raise InputError("--baseline: is for --table")
    given.study = path_given(given.study, "STUDY")
    given.out = path_given(given.out, "--out") if given.out else None
    cores = given.cores or len(os.sched_getaffinity(0))
    if given.table:
        folder = given.study if given.study.is_dir() else given.out
        print(
            table(
                folder or Path("studies") / name_of(read_yaml(given.study, "STUDY").get("name"), given.study),
                given.baseline,
            )
        )
        return 0
    study = read_study(given.study, given.out)
    if given.dry_run:
        check_folder(study)
        for run in study.runs:
            run.state, run.reason = _state(study, run)
            print(f"{run.state} {run.label if run.state == 'done' else shlex.join(command(study, run))}")
        print(progress(study, cores)[0])
        return 0
    with lock(study.folder):
        return _work(study, cores, given)


def _work(study: Study, cores: int, given: Any) -> int:
    """What main does while nobody else does anything to the study."""
    left_alone = write_folder(study)
    if left_alone:
        print(f"{len(left_alone)} of the runs in {study.folder / 'runs'} are no longer asked for; they are left alone")
    if given.retry_failed:
        for run in study.runs:
            study.mark(run).unlink(missing_ok=True)
    collect(study)
    if given.emit:
        print(slurm.emit(study))
        return 0
    for run in study.runs:
        if run.state == "failed":
            print(f"{failure(study, run)}\n    (--retry-failed tries again)")
    if given.collect:
        print(progress(study, cores)[0])
        return int(any(run.state != "done" for run in study.runs))
    if any(run.ranks > 1 and run.state == "waiting" for run in study.runs):
        _mpirun()  # complains now, if at all
    status = Runner(study, cores).work()
    if status == 0:
        print(f"next: python -m perla_net.study {study.folder} --table")
    return status


if __name__ == "__main__":
    from .run import entry

    sys.exit(entry(main, sys.argv[1:]))
