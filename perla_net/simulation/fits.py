"""What was learned elsewhere, and whether it fits: checkpoints that are continued, frozen agents, ``--start-from``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Mapping, Sequence

from ..ground.errors import InputError
from ..ground.files import given
from ..ground.selection import listed
from ..methods import registry
from ..records.checkpoint import newest, read_agent, read_data, stems, without_ending
from ..world.spec import AgentSpec, WorldSpec, agent_from_data
from .plan import Plan


def check_team(agents: Sequence[AgentSpec], folder: Path, option: str) -> None:
    """Refuse to go on with a sealed checkpoint whose team is not these agents: other names, another order, other spaces. Raises
    InputError naming ``option``."""
    stored = read_data(folder / "manifest.json", option).get("agents", {})
    names = [agent.name for agent in agents]
    if list(stored) != names:
        what = "in another order" if sorted(stored) == sorted(names) else "others"
        raise InputError(
            f"{option} {folder}: was saved by the agents {listed(list(stored), 6)}; those of the environment are now {what}: {listed(names, 6)}"
        )
    for index, (agent, stem) in enumerate(zip(agents, stored.values())):
        trained, data, _ = trained_in(folder / stem, option)
        if (trained.name, data["index"]) != (agent.name, index):
            raise InputError(
                f"{option} {folder / stem}: holds {trained.name}, agent {data['index']}, in the place of {agent.name}, agent {index}"
            )
        check_fit(agent, trained, f"{option} {folder / stem}")


def trained_in(place: Path, option: str) -> tuple[AgentSpec, dict[str, Any], dict[str, Any]]:
    """Whose files ``place.json`` and ``place.safetensors`` are, and what they hold: spaces, data (``index`` is the place in the team) and
    arrays. Raises InputError naming ``option``."""
    data, arrays = read_agent(place, option)
    try:
        data["index"]
        return agent_from_data(data["spec"]), data, arrays
    except (KeyError, TypeError) as error:
        raise InputError(f"{option} {place}: is not an agent's checkpoint ({error})") from None


def check_fit(agent: AgentSpec, trained: AgentSpec, where: str) -> None:
    """Refuse a policy that cannot act for an agent: one for other spaces. Raises InputError, naming ``where`` the policy is."""
    if trained.reads_like(agent) and (trained.action.bare, trained.masked) == (agent.action.bare, agent.masked):
        return
    mine, needed = (_spaces(one) for one in (trained, agent))
    raise InputError(
        f"{where}: was trained for {mine}, but {agent.name} {needed.replace('observations', 'has observations', 1)}"
    )


def _spaces(agent: AgentSpec) -> str:
    action = agent.action
    acts = f"{action.kind}{action.sizes}" if action.sizes else f"{action.kind}{tuple(zip(action.low, action.high))}"
    masks = " with masks" if agent.masked else ""
    return f"observations {seen_text(agent)} and actions {acts}{masks}"


def seen_text(agent: AgentSpec) -> str:
    """An agent's observations, in messages."""
    return agent.seen.text if agent.observation else f"{agent.observation_kind}{agent.observation_shape}"


def check_controllers(world: WorldSpec, wanted: Mapping[int, str], there: Mapping[str, Any]) -> None:
    """Raises InputError for a controller that the environment does not have, or that cannot play a part of the team alone.

    wanted: agents, and the controllers that are to act for them; there: those of the environment, name → class.
    """
    for agent, name in wanted.items():
        option = f"--algorithm controller:{name}"
        if name not in there:
            known = f"it has {', '.join(there)}" if there else "it has none"
            raise InputError(f"{option}: {world.name} has no such controller for {world.agents[agent].name}; {known}")
        whole = getattr(there[name], "whole_team", "")
        if whole:
            raise InputError(f"{option}: {whole}, so that it cannot act for {world.agents[agent].name} alone")


def frozen_agents(plan: Plan, stored: Path | None) -> Plan:
    """The plan with the policies of its frozen agents: from a checkpoint of this run, ``stored``, else from where they were trained. Raises
    InputError where one is missing, or is for other spaces."""
    trained: dict[int, dict[str, Any]] = {}
    sources: dict[int, str] = {}
    files = stems([agent.name for agent in plan.world.agents])
    for index, (agent, entry) in enumerate(zip(plan.world.agents, plan.settings)):
        kind, path = registry.split(entry.algorithm)
        if kind != "frozen":
            continue
        option = "--algorithm frozen"
        place = stored / files[index] if stored else source_of(path, agent.name, index, option)[0]
        spec, data, arrays = trained_in(place, option)
        check_fit(agent, spec, f"{option} {place}")
        if "policy" not in data:
            raise InputError(
                f"{option} {place}: follows {data.get('algorithm')}, and has no policy that could be frozen; name the controller"
            )
        if "talks" in data["policy"]:
            raise InputError(
                f"{option} {place}: talks to its neighbours while it acts ({data.get('algorithm')}), and a frozen agent says nothing; evaluate its "
                "team as a whole"
            )
        trained[index] = {"description": data["policy"], "identity": arrays["identity"].tolist()}
        if stored is None:
            sources[index] = str(place)
    return replace(plan, trained=trained, sources=sources)


def begin_with(plan: Plan) -> Plan:
    """The plan with the checkpoints that ``--start-from`` begins with. Raises InputError where a policy does not fit."""
    option = "--start-from"
    team, sources, notes = plan.team(), dict(plan.sources), list(plan.notes)
    fresh = []
    for index, agent in enumerate(plan.world.agents):
        method = team.methods[index]
        if not method.learns:
            continue
        first = (team.group_of(index) or (index,))[0]  # one network for the group
        place, how = source_of(str(plan.config.start_from), plan.world.agents[first].name, first, option)
        spec, data, _ = trained_in(place, option)
        check_fit(agent, spec, f"{option} {place}")
        if "policy" not in data:
            raise InputError(f"{option} {place}: follows {data.get('algorithm')}, and has no policy to begin with")
        wanted = team.policy_of(index).description
        if data["policy"] != wanted:
            if data["policy"].get("head") != wanted.get("head"):
                raise InputError(
                    f"{option} {place}: its policy was trained by {data.get('algorithm')}, and {agent.name} is to learn by "
                    f"{plan.settings[index].algorithm}, which decides in another way; name a run of that kind"
                )
            odd = next(key for key in {**wanted, **data["policy"]} if wanted.get(key) != data["policy"].get(key))
            raise InputError(
                f"{option} {place}: its policy has {odd} {data['policy'].get(odd)}, but that of {agent.name} is to have {wanted.get(odd)}"
            )
        sources[index] = str(place)
        if how and how not in fresh:
            fresh.append(how)
    return replace(
        plan, sources=sources, notes=tuple([*notes, *(f"{option} {plan.config.start_from}: {how}" for how in fresh)])
    )


def source_of(path: str, name: str, index: int, option: str) -> tuple[Path, str]:
    """(where an agent's files are, how they were chosen where that is worth saying): ``path`` is a run, one of its checkpoints, or an agent's
    own files. Of a run: by the agent's name, else by its place; where there are fewer agents, these take turns. Raises InputError."""
    place = given(path, option)
    if (place / "manifest.json").is_file():
        folder = place
    elif (place / "config.yaml").is_file():
        folder = newest(place, option)[0]
    elif place.is_dir():
        raise InputError(
            f"{option} {place}: is neither the folder of a run, nor one of its checkpoints, nor an agent's files"
        )
    else:
        return without_ending(place), ""
    agents = read_data(folder / "manifest.json", option).get("agents", {})
    if name in agents:
        return folder / agents[name], ""
    files = list(agents.values())
    if not files:
        raise InputError(f"{option} {folder}: holds no agents")
    how = (
        "agents by their place"
        if index < len(files)
        else f"agent k begins as agent k mod {len(files)}, since there are only so many"
    )
    return folder / files[index % len(files)], how
