"""A study's folder: who has it, what it was to be, and the state of every run as its files tell it."""

from __future__ import annotations

import json
import math
import os
import socket
from pathlib import Path
from typing import Any, Iterator, Mapping, TextIO

import yaml

from ..ground.errors import InputError
from ..ground.files import write_whole
from ..records import checkpoint
from ..records.claim import lock as lock_file
from ..settings.config import Config
from ..settings.data import to_data
from ..settings.options import to_yaml, validated
from ..settings.yaml_files import read_yaml
from .study_file import Run, Study, label_of, names_of_options


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
                    f"{study.folder}: {run.label} was begun with {name.removeprefix('sections.')} {label_of(then.get(name))}, and is now to have "
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
