"""Groups: agents that share one network (parameter sharing)."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from ..ground.errors import InputError
from ..ground.selection import selected
from ..methods import registry
from ..methods.presets import PRESETS, critic_input, embeds, reads_mean
from ..settings.config import AgentSettings, Config
from .plan import Plan


def groups_of(config: Config, names: Sequence[str], settings: Sequence[AgentSettings]) -> dict[str, tuple[int, ...]]:
    """Those of ``agents.groups``, what they are called → agents in order; the whole team where its preset shares (``ps_…``). Raises
    InputError for groups that overlap, and names that do not exist."""
    shared = {entry.algorithm in PRESETS and PRESETS[entry.algorithm].shared for entry in settings}
    if shared == {True, False}:
        raise InputError(
            "algorithm: parameter sharing (ps_*) is for the whole team; private agents cannot be mixed in; agents.groups says who shares"
        )
    if shared == {True}:
        name = settings[0].algorithm
        if config.agents.groups:
            raise InputError(
                f"agents.groups: {name} is one group of the whole team already; with groups say --algorithm {name.removeprefix('ps_')}"
            )
        return {f"--algorithm {name}": tuple(range(len(names)))}
    found: dict[str, tuple[int, ...]] = {}
    owner: dict[int, str] = {}
    for group, those in config.agents.groups.items():
        where = f"agents.groups.{group}"
        members: set[int] = set()
        for selector in those if isinstance(those, list) else [those]:
            if isinstance(selector, (dict, list, bool)) or selector is None:
                raise InputError(f"{where}: {selector!r} is not an agent's name, an index, or a range like 0-3")
            members.update(selected(str(selector), names, where))
        if not members:
            raise InputError(f"{where}: has no agents")
        for member in sorted(members):
            if member in owner:
                raise InputError(
                    f"{where}: {names[member]} is in {owner[member]}, too; an agent has one network, so groups must not overlap"
                )
            owner[member] = where
        found[where] = tuple(sorted(members))
    return found


def check_groups(plan: Plan, groups: Mapping[str, tuple[int, ...]]) -> None:
    """Raises InputError where agents of a group could not have one network."""
    agents, settings = plan.world.agents, plan.settings
    if groups and plan.config.batch_agents == "yes":
        raise InputError(
            "--batch-agents yes: parameter sharing (ps_*, agents.groups) makes agents step one by one; leave it at auto"
        )
    heard = _heard(plan) if groups else []
    for where, group in groups.items():
        first = group[0]
        for other in group:
            name, kind = agents[other].name, registry.split(settings[other].algorithm)[0]
            if kind in registry.WITH_ARGUMENT:
                raise InputError(
                    f"{where}: {name} is {settings[other].algorithm}, and learns nothing that could be shared"
                )
            if settings[other].algorithm not in PRESETS and not registry.class_of(settings[other].algorithm).shares:
                raise InputError(
                    f"{where}: {settings[other].algorithm} does not keep one network for several agents ({name})"
                )
            one, two = (
                (a.observation_size, a.observation and a.seen.meaning, a.action, a.masked)
                for a in (agents[other], agents[first])
            )
            if one != two:
                raise InputError(
                    f"{where}: parameter sharing needs equal spaces, but {name} and {agents[first].name} differ"
                )
            if settings[other] != settings[first]:
                raise InputError(
                    f"{where}: parameter sharing needs equal settings, but those of {name} and {agents[first].name} differ"
                )
            if heard[other] != heard[first]:
                raise InputError(
                    f"{where}: critics that read those whom they hear can only be shared where these are alike, but {name} and "
                    f"{agents[first].name} hear others"
                )


def _heard(plan: Plan) -> list[list[Any]]:
    """Of every agent, what the inputs of its critic mean beside its own observation: spaces of those whom it may hear, in order."""
    specs = plan.world.agents
    found: list[list[Any]] = [[] for _ in specs]
    for source, target in sorted(plan.schedule.potential(plan.config.links.hops)):
        entry, heard = plan.settings[target], specs[source]
        acts = heard.action.bare if embeds(entry) or reads_mean(entry) else None
        found[target].append((acts, heard.seen.meaning if critic_input(entry) == "neighbourhood" else None))
    return [inputs if any(part != (None, None) for part in inputs) else [] for inputs in found]
