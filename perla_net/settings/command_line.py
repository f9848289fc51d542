"""``python -m perla_net.run OPTIONS`` → a validated configuration; parsers for all commands."""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path
from typing import Any, Sequence

from ..ground.errors import InputError
from ..ground.files import given as given_path
from . import sections
from .checking import flag, flat, read_word
from .config import Config
from .data import to_data
from .options import is_whole, nested, validated
from .yaml_files import read_yaml


class _Parser(argparse.ArgumentParser):
    listing = "--help"
    """What lists every option."""

    def error(self, message: str) -> None:
        raise InputError(f"{message}; `{self.prog} {self.listing}` lists every option")


def parser(module: str, description: str, **options: Any) -> _Parser:
    """An argument parser whose complaints are :class:`InputError`, for every entry point of the program."""
    return _Parser(prog=f"python -m {module}", description=description, allow_abbrev=False, **options)


def command_line(arguments: Sequence[str]) -> Config:
    """The configuration that ``python -m perla_net.run ARGUMENTS`` asks for: defaults, then YAML, then the options.

    Raises InputError for anything unknown, of a wrong type or out of range. What ``--help`` prints is in ``help.py``.
    """
    reader = parser("perla_net.run", "", add_help=False)
    reader.listing = "--help all"
    reader.add_argument("--config")
    reader.add_argument("--agents", dest="agents.number", default=argparse.SUPPRESS)
    for name, *_ in flat(Config):
        if not name.startswith("agents."):
            reader.add_argument(flag(name), dest=name, default=argparse.SUPPRESS)
    words, of_methods = _of_methods(arguments)
    given = vars(_parse(reader, words))
    file = given.pop("config")
    given |= of_methods
    tree = nested(read_yaml(given_path(file, "--config")), file) if file else {}
    if is_whole(tree.get("agents")):
        tree["agents"] = {"number": tree["agents"]}
    for name, text in given.items():
        _set(tree, name, _from_text(text, name))
    options = {name: flag(name) for name in given}
    config = validated(tree, file or "options", options | {"agents.number": "--agents"} if given else {})
    if config.resume and config.start_from:
        raise InputError(
            f"--start-from {config.start_from}: begins a new run; with --resume, a run goes on with what it has"
        )
    if not config.resume:
        return config
    if file:
        raise InputError("--config: cannot be combined with --resume, which takes its options from the run's folder")
    return resumed(config, set(given))


def _of_methods(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The words without the options of methods (``--iql.batch 64``, ``--method.pull=0.1``), and these, by dotted name."""
    rest: list[str] = []
    found: dict[str, str] = {}
    words = iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        group, dot, _ = flag[2:].replace("-", "_").partition(".")
        if not (flag.startswith("--") and dot and sections.is_section(group)):
            rest.append(word)
            continue
        text = value if equals else next(words, None)
        if text is None or (text.startswith("--") and not equals):
            raise InputError(
                f"argument {flag}: expected one argument; `python -m perla_net.methods {group}` lists its options"
            )
        found[flag[2:].replace("-", "_")] = text
    return rest, found


def _parse(reader: _Parser, arguments: Sequence[str]) -> argparse.Namespace:
    given, unknown = reader.parse_known_args(list(arguments))
    if unknown:
        known = [flag for action in reader._actions for flag in action.option_strings]
        close = difflib.get_close_matches(unknown[0].partition("=")[0], known, 1)
        hint = f"did you mean {close[0]}?" if close else f"`{reader.prog} {reader.listing}` lists every option"
        if any(
            "." in word and not word.startswith("-") and word.replace(".", "_").isidentifier() for word in arguments
        ):
            hint += "; those of a method of your own are --method.…"
        raise InputError(f"unknown option {unknown[0]}; {hint}")
    return given


RESUMABLE = (
    "rounds",
    "resume",
    "hosts",
    "stall_timeout",
    "display",
    "tensorboard",
    "wandb",
    "checkpoint_every",
    "keep_checkpoints",
    "evaluate_episodes",
    "evaluate_points",
    "evaluate_steps",
)
"""Options that may change when a run is continued."""


def resumed(config: Config, given: set[str] | None = None) -> Config:
    """The configuration of the run in the folder ``config.resume``, with those options of ``config`` that may change.

    given: dotted names of the options that were asked for (default: those that differ from Config's defaults); one that
    may not change must be what the run has.
    """
    assert config.resume is not None
    file = Path(config.resume) / "config.yaml"
    if not file.is_file():
        raise InputError(f"--resume {config.resume}: is not the folder of a run (it has no config.yaml)")
    stored = to_data(validated(_of_its_time(read_yaml(file, "--resume")), str(file)))
    asked = to_data(config)
    if given is None:
        given = {name for name, _, _, _ in flat(Config) if _get(asked, name) != _get(to_data(Config()), name)}
    for name in sorted(given - {"resume", "out"} | ({"out"} if asked["out"] not in (None, config.resume) else set())):
        if _get(asked, name) == _get(stored, name):
            continue
        if name not in RESUMABLE:
            asked_by = "--agents" if name == "agents.number" else flag(name)
            raise InputError(
                f"--resume {config.resume}: continues the run as it was configured; {asked_by} cannot be changed"
            )
        stored[name] = asked[name]
    return validated(stored | {"resume": config.resume, "out": config.resume}, str(file))


def _of_its_time(tree: dict[str, Any]) -> dict[str, Any]:
    """The options of a run that began before critics had a fit of their own, with what was so then: it goes on as it began."""
    critic = tree.get("critic")
    if isinstance(critic, dict) and "order" not in critic:
        return tree | {"critic": critic | {"order": "together", "coefficient": "one"}}
    return tree


def _get(tree: Any, name: str) -> Any:
    group, _, rest = name.partition(".")
    if sections.is_section(group):
        tree, name = tree["sections"].get(group, {}), rest
    for part in name.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def _from_text(text: str, name: str) -> Any:
    if sections.is_section(name.partition(".")[0]):
        return text  # read when the method is known
    return read_word(text, next(hint for known, hint, _, _ in flat(Config) if known == name))


def set_option(tree: dict[str, Any], name: str, text: str) -> None:
    """Set an option, by dotted name, to what a command line says."""
    _set(tree, name, _from_text(text, name))


def _set(tree: dict[str, Any], name: str, value: Any) -> None:
    *groups, last = name.split(".")
    for group in groups:
        inner = tree.setdefault(group, {})
        if not isinstance(inner, dict):
            raise InputError(f"--config: '{group}' holds {inner!r}, not a mapping")
        tree = inner
    tree[last] = value
