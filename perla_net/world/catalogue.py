"""``python -m perla_net.environments [NAME …]``: what there is to learn in.

Without a name: every installed suite and the names in it that are worth a start, with agents, spaces and graph, each made to
find out; at the end a line for each suite whose extra is not installed. With names (``SUITE``, ``SUITE:NAME`` or any ``--env``): these only;
with a single environment, its agents one by one.
"""

from __future__ import annotations

from collections import Counter
from importlib.util import find_spec
from typing import Iterable, Iterator, Sequence

from ..ground.errors import InputError
from ..ground.text import columns, wrapped
from .environments import SUITES, make
from .spec import ActionSpec, AgentSpec, WorldSpec


def describe(env: str) -> WorldSpec:
    """The agents, spaces and graph of an environment. Raises InputError where it cannot be made."""
    return _looked_at(env)[0]


def _looked_at(env: str) -> tuple[WorldSpec, float | None, int]:
    """The same, the greatest payoff of an agent and step, where the environment knows it, and how many objectives its reward has."""
    batch = make(env, 1, None)
    try:
        return batch.spec, getattr(batch, "optimum", None), getattr(batch, "objectives", 1)
    finally:
        getattr(batch, "close", lambda: None)()


def space_text(spec: AgentSpec) -> str:
    """An observation space in a few characters."""
    return spec.seen.text + (" + mask" if spec.masked else "")


def action_text(action: ActionSpec) -> str:
    """An action space in a few characters: ``8``, ``5×3``, ``Box(2)``."""
    parts = ["×".join(map(str, action.sizes))] if action.sizes else []
    return " + ".join([*parts, f"Box({len(action.low)})"] if action.low else parts)


def _range(texts: Iterable[str]) -> str:
    """Different texts in the order of their frequency, at most two."""
    found = [text for text, _ in Counter(texts).most_common()]
    return ", ".join(found[:2]) + (f" + {len(found) - 2} more" if len(found) > 2 else "")


def row(env: str) -> list[str]:
    """One line of the table. Raises InputError where the environment cannot be made."""
    world = describe(env)
    agents = world.agents
    graph = f"{len(world.interaction)} edges" if world.interaction is not None else "-"
    spaces = _range(map(space_text, agents)), _range(action_text(agent.action) for agent in agents)
    return [env, str(len(agents)), *spaces, graph]


HEAD = ["environment", "agents", "observation", "actions", "graph"]


def table(chosen: Sequence[str]) -> Iterator[str]:
    """Suites with their environments, aligned, one suite after the other as they are looked at; then those that are not installed."""
    absent = []
    for name, suite in SUITES.items():
        wanted = [env for env in chosen if env.partition(":")[0] == name] if chosen else [name]
        if not wanted:
            continue
        if any(find_spec(package) is None for package in suite.packages):
            absent.append(f"  {name:<12}{suite.about}")
            continue
        rows, faults = [], []
        for env in (env for entry in wanted for env in ([entry] if entry != name else names_of(name, suite.names))):
            try:
                rows.append(row(env))
            except InputError as error:
                faults.append(f"  {error}")
        head = wrapped(f"{name}: {suite.about} (licence: {suite.licence})", rest="  ")
        yield "\n".join([*head, *([columns([HEAD, *rows])] if rows else []), *faults, ""])
    if absent:
        yield "\n".join(['not installed; pip install -c constraints.txt ".[NAME]" adds one:', *absent])


def names_of(suite: str, names: Sequence[str]) -> list[str]:
    """What ``--env`` takes for the listed names of a suite."""
    return [f"{suite}:{name}" if name else suite for name in names]


def details(env: str) -> str:
    """One environment, agent by agent."""
    world, optimum, objectives = _looked_at(env)
    heard: dict[int, list[int]] = {index: [] for index in range(len(world.agents))}
    for source, target in world.interaction or ():
        heard[target].append(source)
    rows: list[Sequence[str]] = [["agent", "name", "observation", "actions", "influenced by"]]
    for index, agent in enumerate(world.agents):
        by = " ".join(map(str, heard[index])) if world.interaction is not None else "?"
        rows.append([str(index), agent.name, space_text(agent), action_text(agent.action), by or "-"])
    facts = {
        "usual length of an episode": f"{world.horizon} steps" if world.horizon else "not told",
        "reference controllers": ", ".join(world.references) or "none (random actions stand in)",
        "positions": "told as it goes" if world.moves else "fixed" if world.positions else "not told",
    }
    if isinstance(optimum, (int, float)):
        facts["optimum"] = f"{optimum:.6g} for an agent and step (mean over agents, without noise)"
    if objectives > 1:
        facts["reward"] = f"{objectives} objectives, one number by reward_weights=[{','.join(['1'] * objectives)}]"
    return "\n".join([world.name, *(f"  {name}: {value}" for name, value in facts.items()), columns(rows)])
