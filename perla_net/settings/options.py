"""Command line and YAML → a validated :class:`~perla_net.config.Config`. Only rank 0 imports this module."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import json
import types
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Sequence, Union, get_args, get_origin, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from ..ground.errors import InputError
from ..ground.files import given as given_path
from ..ground.selection import selected
from . import sections
from .config import AgentSettings, Config, Section
from .data import to_data

PER_AGENT = tuple(entry.name for entry in dataclasses.fields(AgentSettings))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        raise InputError(f"{message}; `python -m {self.prog} --help` lists every option")


def parser(prog: str, description: str) -> argparse.ArgumentParser:
    """An argument parser whose complaints are :class:`InputError`, for every entry point of the program."""
    return _Parser(prog=prog, description=description, allow_abbrev=False)


def command_line(arguments: Sequence[str]) -> Config:
    """The configuration that ``python -m perla_net.run ARGUMENTS`` asks for: defaults, then YAML, then the options.

    Raises InputError for anything unknown, of a wrong type or out of range.
    """
    reader = parser("perla_net.run", "Train a team of networked agents; under mpirun each agent is a rank.")
    reader.usage = "[mpirun -n RANKS] python -m perla_net.run [OPTIONS]"
    reader.add_argument("--config", metavar="FILE", help="YAML file of options (text); the command line wins over it.")
    reader.add_argument(
        "--agents",
        metavar="N",
        dest="agents.number",
        default=argparse.SUPPRESS,
        help=_help("integer", None, "Number of agents (default: the environment's, else one per rank)."),
    )
    for name, hint, default, sentence in flat(Config):
        if not name.startswith("agents."):
            flag = "--" + name.replace("_", "-")
            reader.add_argument(
                flag,
                dest=name,
                default=argparse.SUPPRESS,
                metavar=_metavar(hint),
                help=_help(_type_name(hint), default, sentence),
            )
    words, of_methods = _of_methods(arguments)
    given = vars(_parse(reader, words))
    file = given.pop("config")
    given |= of_methods
    tree = nested(read_yaml(given_path(file, "--config")), file) if file else {}
    if _whole(tree.get("agents")):
        tree["agents"] = {"number": tree["agents"]}
    for name, text in given.items():
        _set(tree, name, _from_text(text, name))
    options = {name: "--" + name.replace("_", "-") for name in given}
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
        group, dot, _ = flag[2:].partition(".")
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


def _parse(reader: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    given, unknown = reader.parse_known_args(list(arguments))
    if unknown:
        known = [flag for action in reader._actions for flag in action.option_strings]
        close = difflib.get_close_matches(unknown[0].partition("=")[0], known, 1)
        hint = f"did you mean {close[0]}?" if close else f"`python -m {reader.prog} --help` lists every option"
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
    stored = to_data(validated(read_yaml(file, "--resume"), str(file)))
    asked = to_data(config)
    if given is None:
        given = {name for name, _, _, _ in flat(Config) if _get(asked, name) != _get(to_data(Config()), name)}
    for name in sorted(given - {"resume", "out"} | ({"out"} if asked["out"] not in (None, config.resume) else set())):
        if _get(asked, name) == _get(stored, name):
            continue
        if name not in RESUMABLE:
            flag = "--agents" if name == "agents.number" else "--" + name.replace("_", "-")
            raise InputError(
                f"--resume {config.resume}: continues the run as it was configured; {flag} cannot be changed"
            )
        stored[name] = asked[name]
    return validated(stored | {"resume": config.resume, "out": config.resume}, str(file))


def _get(tree: dict[str, Any], name: str) -> Any:
    group, _, rest = name.partition(".")
    if sections.is_section(group):
        return tree["sections"].get(group, {}).get(rest)
    for part in name.split("."):
        tree = tree[part]
    return tree


class _Reader(yaml.SafeLoader):
    """YAML in which no mapping has a key twice: the specification forbids it, and the last would win without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping; raises ConstructorError for a key that is there already."""
        seen = set()
        names = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        for key in names:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key.value}' is there twice", key.start_mark
                )
            seen.add(key.value)
        self.flatten_mapping(node)
        if not all(isinstance(key, yaml.ScalarNode) for key, _ in node.value):
            return super().construct_mapping(node, deep)
        # Keys are names, as they are written: 010 is no octal number, and on is no truth.
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; raises ValueError for a key that is there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for index, (key, _) in enumerate(pairs) if key in dict(pairs[:index]))
        raise ValueError(f"the key '{twice}' is there twice")
    return found


def read_yaml(file: Path, option: str = "--config") -> dict[str, Any]:
    """A YAML or (by its ending) JSON mapping as data. Raises InputError when the file cannot be read or holds something else."""
    kind = "JSON" if file.suffix.lower() == ".json" else "YAML"
    try:
        text = file.read_text(encoding="utf-8")
        data = json.loads(text, object_pairs_hook=_once) if kind == "JSON" else yaml.load(text, _Reader)
    except OSError as error:
        raise InputError(f"{option} {file}: cannot be read ({error.strerror})") from None
    except (
        yaml.YAMLError,
        ValueError,
        RecursionError,
    ) as error:  # ValueError: not UTF-8, not JSON, a number of 5000 digits
        raise InputError(f"{option} {file}: is not {kind} ({' '.join(str(error).split())})") from None
    if not isinstance(data or {}, dict):
        raise InputError(f"{option} {file}: holds a {type(data).__name__}, not a mapping of options")
    return data or {}


def validated(tree: Config | dict[str, Any], source: str = "Config", options: dict[str, str] | None = None) -> Config:
    """A checked copy of a configuration, from data or from an instance made by hand.

    ``source`` and ``options`` say where a value came from, for the sentence of an InputError.
    """
    data = to_data(tree)
    if _whole(data.get("agents")):
        data["agents"] = {"number": data["agents"]}
    data = _gathered(nested(data, source), source)
    agents = data.get("agents")
    if isinstance(agents, dict) and isinstance(agents.get("default"), dict):
        where = f"{source}, agents.default"
        agents = agents | {"default": _gathered(nested(agents["default"], where), where)}
    if isinstance(agents, dict) and isinstance(agents.get("overrides"), dict):  # YAML reads the index 3 as a number
        whose = {str(key): value for key, value in agents["overrides"].items()}
        own = {
            key: _gathered(nested(value, f"{source}, agents.overrides.{key}"), f"{source}, agents.overrides.{key}")
            if isinstance(value, dict)
            else value
            for key, value in whose.items()
        }
        agents = agents | {"overrides": own}
    if agents is not None:
        data["agents"] = agents
    config = check(Config, data, source, options or {})
    for name in ("out", "resume"):
        if getattr(config, name) is not None:
            setattr(config, name, str(given_path(getattr(config, name), f"--{name}")))
    flags = options or {}
    kinds = [settings_with(config, [], source, flags)]
    for selector, override in [("default", config.agents.default), *config.agents.overrides.items()]:
        kinds.append(settings_with(config, [(selector, override)], source, flags))
    for name in config.sections:
        if name == sections.OUTSIDE and not any(sections.OUTSIDE in kind.sections for kind in kinds):
            where = next((flag for known, flag in flags.items() if known.startswith(f"{name}.")), f"{source}: {name}")
            raise InputError(f"{where}: is for a method of your own, --algorithm MODULE.CLASS, but no agent has one")
    # What is written to config.yaml is whole: every section that some agent's method reads.
    used = {name for kind in kinds for name in kind.sections} | set(config.sections)
    resolved = dict(config.sections)
    for name in sorted(used):
        algorithm = config.algorithm if name in kinds[0].sections else name
        if name != sections.OUTSIDE or name in kinds[0].sections:
            resolved[name] = _section(algorithm, name, config.sections.get(name, {}), source, flags)
    config.sections = resolved
    return config


def _gathered(tree: dict[str, Any], source: str) -> dict[str, Any]:
    """Options with those of methods under ``sections``. Raises InputError for a section that is no mapping."""
    own = {key: value for key, value in tree.items() if isinstance(key, str) and sections.is_section(key)}
    for key, value in own.items():
        if not isinstance(value, dict):
            raise InputError(f"{source}: {key} holds {value!r}, not a mapping of options")
    rest = {key: value for key, value in tree.items() if key not in own}
    return rest | {"sections": {**tree.get("sections", {}), **own}} if own else rest


def _spread(tree: dict[str, Any]) -> dict[str, Any]:
    """The inverse of :func:`_gathered`."""
    return {key: value for key, value in tree.items() if key != "sections"} | tree.get("sections", {})


def _section(algorithm: str, name: str, given: dict[str, Any], source: str, flags: dict[str, str]) -> dict[str, Any]:
    """A method's own options, whole. Raises InputError for unknown ones, and values that it cannot have."""
    kind = sections.methods().options(algorithm, flags.get("algorithm", f"{source}: algorithm"))
    mine = {known.partition(".")[2]: flag for known, flag in flags.items() if known.startswith(f"{name}.")}
    if kind is None:
        if given:
            raise InputError(
                f"{source}: {name}: {algorithm} has no options of its own, but {next(iter(given))} is given"
            )
        return {}
    hints = get_type_hints(kind, include_extras=True)
    read = {key: _read(value, hints.get(key)) if isinstance(value, str) else value for key, value in given.items()}
    return to_data(check(kind, read, f"{source}, {name}", mine))


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def nested(tree: dict[str, Any], source: str) -> dict[str, Any]:
    """Options with dotted names (``ppo.minibatch: 8``), as studies have them, in their groups. Raises InputError where one is given in
    both ways."""
    found = {key: value for key, value in tree.items() if not isinstance(key, str) or "." not in key}
    for key in tree:
        if key in found:
            continue
        *groups, last = key.split(".")
        inner = found
        for group in groups:
            known = inner.get(group, {})
            if not isinstance(known, dict):
                raise InputError(f"{source}: {key}: '{group}' is given as {known!r}, too, which is not a mapping")
            inner[group] = inner = dict(known)
        if last in inner:
            raise InputError(f"{source}: {key} is given twice")
        inner[last] = tree[key]
    return found


def settings_with(
    config: Config,
    overrides: Sequence[tuple[str, dict[str, Any]]],
    source: str = "Config",
    flags: dict[str, str] | None = None,
) -> AgentSettings:
    """Run-wide agent settings with overrides laid over them in order, validated; of methods' own options those of the agent's method.

    ``overrides`` holds (selector, nested settings) pairs; the selector only serves the sentence of an InputError, and so do ``flags``, dotted
    names → options on the command line.
    """
    tree = {name: to_data(getattr(config, name)) for name in PER_AGENT}
    settings, where = check(AgentSettings, tree, source, {}), source
    for selector, override in overrides:
        _lay(tree, override)
        where = f"{source}, " + ("agents.default" if selector == "default" else f"agents.overrides.{selector}")
        settings = check(AgentSettings, tree, where, {})
    option = f"{where}: algorithm" if where != source else (flags or {}).get("algorithm", f"{source}: algorithm")
    methods = sections.methods()
    methods.check(settings.algorithm, option)
    for name, given in settings.sections.items():  # also of methods that others have: nothing unknown passes
        if name != sections.OUTSIDE:
            _section(name, name, given, where, flags or {})
    name = methods.section_of(settings.algorithm)
    settings.sections = (
        {name: _section(settings.algorithm, name, settings.sections.get(name, {}), where, flags or {})} if name else {}
    )
    return settings


def to_yaml(config: Config) -> str:
    """The resolved configuration as YAML; the run's own folder is left out, so that it can start a new run."""
    data = _spread(to_data(config)) | {"out": None, "resume": None}
    agents = data["agents"]
    overrides = {key: _spread(value) for key, value in agents["overrides"].items()}
    data["agents"] = agents | {"default": _spread(agents["default"]), "overrides": overrides}
    return yaml.safe_dump(data, sort_keys=False, default_flow_style=None)


def agent_overrides(config: Config, names: Sequence[str]) -> list[list[tuple[str, dict[str, Any]]]]:
    """For each agent the overrides that apply to it: default first, then in the order of the file."""
    chosen: list[list[tuple[str, dict[str, Any]]]] = [[("default", config.agents.default)] for _ in names]
    for selector, override in config.agents.overrides.items():
        for index in selected(str(selector), names, "agents.overrides"):
            chosen[index].append((selector, override))
    return chosen


@lru_cache
def _adapter(kind: type) -> TypeAdapter:
    return TypeAdapter(kind)


def check(kind: type, data: dict[str, Any], source: str, options: dict[str, str]) -> Any:
    """Data as an object of a dataclass. Raises InputError that names ``source``, or the option of a dotted name in ``options``."""
    data = _as_written(kind, data)
    try:
        return _adapter(kind).validate_python(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        own, whole = ({entry.name for entry in dataclasses.fields(part)} for part in (AgentSettings, Config))
        if kind is AgentSettings and name in whole - own:
            raise InputError(f"{source}: unknown key '{name}': it is the whole run's, and agents cannot differ in it")
        known = [entry[0] for entry in flat(kind)] + [entry.name for entry in dataclasses.fields(kind)]
        close = difflib.get_close_matches(name, known, 1) or difflib.get_close_matches(name.split(".")[-1], known, 1)
        raise InputError(f"{source}: unknown key '{name}'" + (f"; did you mean '{close[0]}'?" if close else ""))
    where = options.get(name, f"{source}: {name}")
    reason = first["msg"][0].lower() + first["msg"][1:]
    raise InputError(f"{where} {first['input']!r}: {reason.replace('input should', 'it should')}")


def _as_written(kind: type, data: Any) -> Any:
    """Data with YAML's booleans turned into what they were written as (``symmetric: no``), where an option's values are texts."""
    if not isinstance(data, dict):
        return data
    hints, found = get_type_hints(kind, include_extras=True), dict(data)
    for name, value in data.items():
        hint = hints.get(name)
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            found[name] = _as_written(hint, value)
        elif isinstance(value, bool) and hint is not None:
            bare, optional = _bare(hint)
            if get_origin(bare) is Literal and {"yes", "no"} <= set(get_args(bare)):
                found[name] = "yes" if value else "no"
            elif bare is str:
                found[name] = "true" if value else None if optional else "false"
    return found


def _lay(tree: dict[str, Any], override: dict[str, Any]) -> None:
    for key, value in override.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            _lay(tree[key], value)
        else:
            tree[key] = value


def flat(kind: type, prefix: str = "") -> list[tuple[str, Any, Any, str]]:
    """(dotted name, type, default, sentence) of every option below a dataclass."""
    rows = []
    hints = get_type_hints(kind, include_extras=True)
    # Run-wide options first: they are what a newcomer looks for.
    own = [entry for entry in dataclasses.fields(kind) if entry.name not in PER_AGENT or kind is not Config]
    rest = [entry for entry in dataclasses.fields(kind) if entry not in own]
    for entry in own + rest:
        if entry.metadata.get("hidden"):
            continue
        hint = hints[entry.name]
        if isinstance(hint, type) and issubclass(hint, Section):
            rows += flat(hint, prefix + entry.name + ".")
        else:
            default = entry.default_factory() if entry.default is dataclasses.MISSING else entry.default
            rows.append((prefix + entry.name, hint, default, entry.metadata["help"]))
    return rows


def _bare(hint: Any) -> tuple[Any, bool]:
    """A type without its bounds, and whether it may be None."""
    if get_origin(hint) is Annotated:
        return _bare(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return _bare(next(part for part in get_args(hint) if part is not type(None)))[0], True
    return hint, False


def _type_name(hint: Any) -> str:
    bare, optional = _bare(hint)
    if get_origin(bare) is Literal:
        name = "one of " + ", ".join(get_args(bare))
    elif get_origin(bare) is tuple:
        name = "integers with commas"
    else:
        name = {int: "integer", float: "number", str: "text", bool: "true or false"}.get(bare, "mapping")
    return name + (", optional" if optional else "")


def _metavar(hint: Any) -> str:
    bare, _ = _bare(hint)
    if get_origin(bare) is Literal:
        return "NAME"
    return {int: "N", float: "X", bool: "BOOL", str: "TEXT"}.get(bare, "N,N")


def _help(kind: str, default: Any, sentence: str) -> str:
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    return f"{sentence} [{kind}; default {'none' if shown is None else shown}]".replace("%", "%%")


def _from_text(text: str, name: str) -> Any:
    if sections.is_section(name.partition(".")[0]):
        return text  # read when the method is known
    return _read(text, next(hint for known, hint, _, _ in flat(Config) if known == name))


def _read(text: str, hint: Any) -> Any:
    """A word of the command line as what an option of that type takes."""
    if hint is None:
        return text
    bare, optional = _bare(hint)
    if optional and text.lower() == "none":
        return None
    if get_origin(bare) is tuple:
        return [part for part in text.split(",") if part]
    return text


def _set(tree: dict[str, Any], name: str, value: Any) -> None:
    *groups, last = name.split(".")
    for group in groups:
        inner = tree.setdefault(group, {})
        if not isinstance(inner, dict):
            raise InputError(f"--config: '{group}' holds {inner!r}, not a mapping")
        tree = inner
    tree[last] = value
