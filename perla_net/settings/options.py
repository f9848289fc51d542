"""A whole configuration, from data or made by hand → a validated :class:`~.config.Config`; and back to YAML. Only rank 0 imports this."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any, Sequence, get_type_hints

import yaml

from ..ground.errors import InputError
from ..ground.files import given as given_path
from ..ground.selection import selected
from . import sections
from .checking import PER_AGENT, check, flag, read_word
from .config import AgentSettings, Config
from .data import to_data


def validated(tree: Config | dict[str, Any], source: str = "Config", options: dict[str, str] | None = None) -> Config:
    """A checked copy of a configuration, from data or from an instance made by hand.

    ``source`` and ``options`` say where a value came from, for the sentence of an InputError.
    """
    data = to_data(tree)
    if is_whole(data.get("agents")):
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
    for name in ("out", "resume", "start_from"):
        if getattr(config, name) is not None:
            setattr(config, name, str(given_path(getattr(config, name), flag(name))))
    flags = options or {}
    kinds = [settings_with(config, [], source, flags)]
    for selector, override in [("default", config.agents.default), *config.agents.overrides.items()]:
        kinds.append(settings_with(config, [(selector, override)], source, flags))
        if sections.OUTSIDE in override.get("sections", {}) and sections.OUTSIDE not in kinds[-1].sections:
            where = "agents.default" if selector == "default" else f"agents.overrides.{selector}"
            raise InputError(
                f"{source}, {where}: method is for a method of your own, but its algorithm is {kinds[-1].algorithm}"
            )
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
    if not isinstance(tree.get("sections", {}), dict):
        raise InputError(f"{source}: sections holds {tree['sections']!r}, not a mapping of methods to their options")
    if odd := [key for key in tree.get("sections", {}) if not sections.is_section(key)]:
        raise InputError(f"{source}: sections: there is no method {odd[0]!r} with options of its own")
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
    if unknown := [key for key in given if key not in {entry.name for entry in dataclasses.fields(kind)}]:
        close = difflib.get_close_matches(unknown[0], [entry.name for entry in dataclasses.fields(kind)], 1)
        hint = f"did you mean '{close[0]}'?" if close else f"`python -m perla_net.methods {algorithm}` lists them"
        raise InputError(
            f"{mine.get(unknown[0], f'{source}: {name}.{unknown[0]}')}: {algorithm} has no such option; {hint}"
        )
    hints = get_type_hints(kind, include_extras=True)
    read = {key: read_word(value, hints.get(key)) if isinstance(value, str) else value for key, value in given.items()}
    return to_data(check(kind, read, f"{source}, {name}", mine))


def is_whole(value: Any) -> bool:
    """A number of agents, say; not a truth."""
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


def _lay(tree: dict[str, Any], override: dict[str, Any]) -> None:
    for key, value in override.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            _lay(tree[key], value)
        else:
            tree[key] = value
