"""``python -m perla_net.environments [NAME …]``: what there is to learn in.

Without a name: every suite and the names in it that are worth a start, with agents, spaces, graph and licence, each made to
find out; a suite whose extra is not installed says what to type. With names (``SUITE``, ``SUITE:NAME`` or any ``--env``): these only; with a
single environment, its agents one by one.
"""

from __future__ import annotations

from collections import Counter
from typing import Iterable, Sequence

from ..ground.errors import InputError
from ..ground.text import columns
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
    return ", ".join(found[:2]) + (f" … ({len(found)} kinds)" if len(found) > 2 else "")


def row(env: str, licence: str) -> list[str]:
    """One line of the table."""
    try:
        world = describe(env)
    except InputError as error:
        return [env, "-", str(error).partition(": ")[2], "", "", licence]
    agents = world.agents
    graph = f"{len(world.interaction)} edges" if world.interaction is not None else "-"
    spaces = _range(map(space_text, agents)), _range(action_text(agent.action) for agent in agents)
    return [env, str(len(agents)), *spaces, graph, licence]


HEAD = ["environment", "agents", "observation", "actions", "graph", "licence"]


def table(chosen: Sequence[str]) -> str:
    """Suites and environments with their properties, aligned."""
    lines = []
    for name, suite in SUITES.items():
        wanted = [env for env in chosen if env.partition(":")[0] == name] if chosen else [name]
        if not wanted:
            continue
        extra = f'; pip install -c constraints.txt ".[{suite.extra}]"' if suite.extra else ""
        lines.append(f"\n{name}: {suite.about}{extra}")
        envs = [env for entry in wanted for env in ([entry] if entry != name else names_of(name, suite.names))]
        if envs:
            lines.append(columns([HEAD, *(row(env, suite.licence) for env in envs)]))
    return "\n".join(lines).lstrip("\n")


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
