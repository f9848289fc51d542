"""A study's file: settings × seeds, read and checked before anything starts; and what is where in the study's folder."""

from __future__ import annotations

import difflib
import itertools
import json
import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence

import numpy as np

from ..ground.errors import InputError
from ..ground.files import write_whole
from ..settings import sections
from ..settings.checking import check, flat
from ..settings.config import Config, Count, Rate, Section, option
from ..settings.data import to_data
from ..settings.options import to_yaml, validated
from ..settings.yaml_files import read_yaml
from ..simulation.checks import check_policy_losses
from ..simulation.prepare import prepare
from ..world.environments import make

LONGEST = 200
"""Characters of a run's name, which is that of a folder."""
OURS = {
    "seed": "seeds",
    "out": "--out",
    "resume": "the study, which resumes by itself",
    "evaluate_points": "evaluate.points",
    "evaluate_episodes": "evaluate.episodes",
}
"""Options of a run that a study decides, and where."""

Entries = list[dict[str, Any]]  # by another name, since StudyFile has a key called list


@dataclass
class Evaluate(Section):
    """Evaluations during a run."""

    points: Count = option(0, "Evaluations at evenly spaced points, beside one before the first round.")
    episodes: Count = option(20, "Episodes of each.")


@dataclass
class StudyFile(Section):
    """The keys of a study's file; ``docs/studies.md`` explains them."""

    name: Optional[str] = option(None, "Name of the study (default: that of the file).")
    options: dict[str, Any] = option(dict, "Options of every run, nested or with dotted names.")
    grid: Optional[dict[str, Any]] = option(None, "Axis → values: every combination is a setting.")
    list: Optional[Entries] = option(None, "The settings one by one, in place of a grid.")
    seeds: Any = option(None, "Seeds of every setting: how many, or which.")
    ranks: Any = option(1, "Ranks of a run, or 'agents': one per agent.")
    time_limit: Rate = option(3600.0, "Seconds that a start of a run may take.")
    evaluate: Evaluate = option(Evaluate, "Evaluations during a run.")
    metric: str = option("return", "Figure of the environment that the study compares.")
    higher_is_better: bool = option(True, "Whether more of it is better.")
    normalise: dict[str, tuple[float, float]] = option(
        dict, "Task → the low and the high figure that 0 to 1 stand for."
    )
    baseline: dict[str, Any] = option(dict, "Axis → value: what the table compares with.")


@dataclass
class Run:
    """One run of a study: a setting with a seed."""

    label: str
    settings: dict[str, str]
    task: str
    seed: int
    config: Config
    ranks: int
    state: str = "waiting"
    """``waiting``, ``running``, ``done`` or ``failed``."""
    seconds: float | None = None
    reason: str = ""


@dataclass
class Study:
    """A study that was read and checked, and where it lives."""

    name: str
    folder: Path
    file: StudyFile
    axes: list[str]
    runs: list[Run] = field(default_factory=list)

    def place(self, run: Run) -> Path:
        """The run's folder."""
        return self.folder / "runs" / run.label

    def options(self, run: Run) -> Path:
        """The run's resolved options."""
        return self.folder / "configs" / f"{run.label}.yaml"

    def log(self, run: Run) -> Path:
        """What the run said."""
        return self.folder / "logs" / f"{run.label}.log"

    def mark(self, run: Run) -> Path:
        """Why the run failed; there only if it did."""
        return self.folder / "logs" / f"{run.label}.failed"

    def lock(self, run: Run) -> Path:
        """The file that the run's processes keep locked."""
        return self.folder / "locks" / run.label

    def write_index(self) -> None:
        """``index.json``: every run and its state."""
        rows = [
            {
                "label": run.label,
                "folder": f"runs/{run.label}",
                "settings": run.settings,
                "task": run.task,
                "seed": run.seed,
                "state": run.state,
                "seconds": run.seconds,
                "reason": run.reason,
            }
            for run in self.runs
        ]
        shared = to_data(self.file)
        head = {name: shared[name] for name in ("name", "metric", "higher_is_better", "normalise", "baseline")}
        write_whole(self.folder / "index.json", json.dumps(head | {"axes": self.axes, "runs": rows}, indent=1))


def read_study(path: Path, out: Path | None = None) -> Study:
    """A study from its file, or from its folder to continue it; every setting checked as a run would. Writes nothing.

    Raises InputError for unknown keys and options, for values that a run would refuse, and for settings that are not distinct.
    """
    if path.is_dir():
        if not (path / "study.yaml").is_file():
            raise InputError(f"STUDY {path}: is not the folder of a study (it has no study.yaml)")
        path, out = path / "study.yaml", out or path
    file = check(StudyFile, read_yaml(path, "STUDY"), str(path), {})
    file.name = name_of(file.name, path)
    file.seeds = _seeds(path, file.seeds)
    if file.ranks != "agents" and (type(file.ranks) is not int or file.ranks < 1):
        raise InputError(f"{path}: ranks {file.ranks!r}: it should be a number of ranks, at least 1, or agents")
    if (file.grid is None) == (file.list is None):
        raise InputError(f"{path}: needs either grid or list, which say what differs between the runs")
    common = _flat_options(file.options, f"{path}: options")
    common |= {f"evaluate_{name}": value for name, value in to_data(file.evaluate).items()}
    axes, settings = _listed(path, file.list) if file.grid is None else _combined(path, file.grid)
    study = Study(file.name, out or Path("studies") / file.name, file, axes)
    rows = [(labels, *_resolved(f"{path}, {_joined(labels)}", common | own, file.ranks)) for labels, own in settings]
    for _, config, _ in rows:
        known = ("return", *_figures(config.env, config.agents.number)) if file.metric != "return" else ("return",)
        if file.metric not in known:
            raise InputError(
                f"{path}: metric {file.metric!r}: {config.env} has no such figure; it has {', '.join(known)}"
            )
    for seed in file.seeds:  # settings inside, so that a study that was stopped has a bit of everything
        for labels, config, ranks in rows:
            label = re.sub(r"[^A-Za-z0-9_.=,+-]", "_", _joined(labels | {"seed": str(seed)}))
            if len(label) > LONGEST:
                raise InputError(f"{path}: {label}: is too long for the name of a folder; give the values labels")
            task = labels.get("task", labels.get("env", config.env))
            study.runs.append(Run(label, labels, task, seed, replace(config, seed=seed), ranks))
    _check_distinct(path, study.runs)
    tasks = list(dict.fromkeys(run.task for run in study.runs))
    for task, ends in file.normalise.items():
        if task not in tasks:
            raise InputError(f"{path}: normalise: there is no task '{task}'; there are {', '.join(tasks)}")
        if not ends[0] < ends[1]:
            raise InputError(f"{path}: normalise.{task} {list(ends)}: it should be a low figure and a higher one")
    file.baseline = baseline_of(file.baseline, axes, [run.settings for run in study.runs], f"{path}: baseline")
    return study


def name_of(name: Any, path: Path) -> str:
    """The name of the study in a file. Raises InputError where it cannot be that of a folder and of a Slurm job."""
    name = name or path.stem
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]*", name):
        raise InputError(f"{path}: name {name!r}: it should consist of letters, digits, '_', '.', '+' and '-'")
    return name


def _seeds(path: Path, given: Any) -> list[int]:
    found = list(range(given)) if type(given) is int else given
    if not isinstance(found, list) or not found or any(type(seed) is not int or seed < 0 for seed in found):
        raise InputError(f"{path}: seeds {given!r}: it should be how many, at least 1, or a list of numbers from 0 on")
    if len(set(found)) < len(found):
        raise InputError(f"{path}: seeds {given!r}: has a seed twice")
    return found


def _resolved(where: str, options: Mapping[str, Any], ranks: Any) -> tuple[Config, int]:
    """A setting's configuration and ranks. Raises InputError for what a run would refuse, in the run's own words."""
    try:
        plan = prepare(validated(dict(options), where), None, 1 if ranks == "agents" else ranks)
        check_policy_losses(plan)
    except InputError as error:
        raise InputError(str(error) if str(error).startswith(where) else f"{where}: {error}") from None
    return plan.config, len(plan.world.agents) if ranks == "agents" else ranks


@lru_cache
def _figures(env: str, agents: int | None) -> tuple[str, ...]:
    """What an environment tells of its episodes beside the return."""
    return tuple(make(env, 1, agents).metrics(np.arange(1)))


@lru_cache
def names_of_options() -> tuple[str, ...]:
    """Dotted names of all options of a run."""
    return tuple(name for name, _, _, _ in flat(Config))


def of_method(name: str) -> bool:
    """Whether an option, or a group of options, belongs to a method that declares its own."""
    return sections.is_section(name.partition(".")[0])


def _flat_options(given: Mapping[str, Any], where: str, prefix: str = "") -> dict[str, Any]:
    """Options, nested or dotted, as dotted name → value. Raises InputError for unknown ones and those that are the study's."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        name = prefix + str(key).replace("-", "_")
        if name == "agents" and not isinstance(value, dict):
            name = "agents.number"
        if name in OURS:
            raise InputError(f"{where}: {name}: belongs to {OURS[name]}")
        if name in names_of_options() or (of_method(name) and not isinstance(value, dict)):
            more = {name: value}
        elif of_method(name):  # whose options are checked with the whole setting
            more = _flat_options(value, where, name + ".")
        elif not any(known.startswith(name + ".") for known in names_of_options()):
            close = difflib.get_close_matches(name, names_of_options(), 1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            raise InputError(f"{where}: unknown option '{name}'{hint}")
        elif not isinstance(value, dict):
            raise InputError(f"{where}: {name} {value!r}: it should be a mapping of options")
        else:
            more = _flat_options(value, where, name + ".")
        for dotted in more:
            if dotted in found:
                raise InputError(f"{where}: {dotted} is given twice")
        found |= more
    return found


Setting = tuple[dict[str, str], dict[str, Any]]
"""(axis → label, dotted option → value)."""


def _combined(path: Path, grid: Mapping[str, Any]) -> tuple[list[str], list[Setting]]:
    """Axes of a grid, and its settings: every combination of the axes' values."""
    axes: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    setter: dict[str, str] = {}
    for axis, values in grid.items():
        where = f"{path}: grid.{axis}"
        if not isinstance(values, (list, dict)) or not values:
            raise InputError(f"{where} {values!r}: it should be a list of values, or a mapping of labels to values")
        choices = axes[str(axis)] = []
        for label, value in values.items() if isinstance(values, dict) else [(value, value) for value in values]:
            own = _flat_options(value if isinstance(value, dict) else {axis: value}, where)
            for name in own:
                if setter.setdefault(name, axis) != axis:
                    raise InputError(f"{path}: grid: {setter[name]} and {axis} both set {name}")
            if label_of(label) in dict(choices):
                raise InputError(f"{where}: has {label_of(label)} twice")
            choices.append((label_of(label), own))
    settings = []
    for chosen in itertools.product(*axes.values()):
        labels = {axis: label for axis, (label, _) in zip(axes, chosen)}
        settings.append((labels, {name: value for _, own in chosen for name, value in own.items()}))
    return list(axes), settings


def _listed(path: Path, entries: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[Setting]]:
    """Axes of a list, and its settings. An entry has options, and may have a ``label`` and a ``task``."""
    if not entries:
        raise InputError(f"{path}: list: has no settings")
    axes = ["task", "setting"] if any("task" in entry for entry in entries) else ["setting"]
    settings = []
    for number, entry in enumerate(entries, 1):
        where = f"{path}: list, entry {number}"
        own = _flat_options({name: value for name, value in entry.items() if name not in ("label", "task")}, where)
        if "task" in axes and "task" not in entry:
            raise InputError(f"{where}: has no task, but others have")
        label = entry.get("label", ",".join(f"{name}={label_of(value)}" for name, value in own.items()) or "default")
        labels = {"task": entry.get("task"), "setting": label}
        settings.append(({axis: label_of(labels[axis]) for axis in axes}, own))
    return axes, settings


def label_of(value: Any) -> str:
    """A value as it stands in tables and names."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "x".join(map(label_of, value))
    return str(value)


def _joined(labels: Mapping[str, str]) -> str:
    return ",".join(f"{axis}={label}" for axis, label in labels.items())


def _check_distinct(path: Path, runs: Sequence[Run]) -> None:
    """No two runs in one folder, and none under two names."""
    seen: dict[str, Run] = {}
    for run in runs:
        # Where upper and lower case are one, so would be their folders.
        for key, what in ((run.label.lower(), "have one name"), (to_yaml(run.config), "are the same run")):
            other = seen.setdefault(key, run)
            if other is not run:
                raise InputError(f"{path}: {_joined(other.settings)} and {_joined(run.settings)} {what} ({run.label})")


def baseline_of(
    given: Mapping[str, Any], axes: Sequence[str], settings: Sequence[Mapping[str, str]], where: str
) -> dict[str, str]:
    """Axis → label of what is compared with. Raises InputError for what the study does not have."""
    chosen = {str(axis): label_of(value) for axis, value in given.items()}
    for axis, label in chosen.items():
        if axis not in axes:
            raise InputError(f"{where}: there is no axis '{axis}'; there are {', '.join(axes)}")
        known = list(dict.fromkeys(setting[axis] for setting in settings))
        if label not in known:
            raise InputError(f"{where}: {axis} has no value '{label}'; it has {', '.join(known)}")
    return chosen
