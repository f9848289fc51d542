"""What a run says of itself: in its first lines what it is, in its last ones what to look at next."""

from __future__ import annotations

import shlex
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..ground.text import many
from ..learning.distributions import distribution_of
from ..learning.embedding import choose_estimator, joint_actions
from ..methods.presets import PRESETS, reads_mean
from ..methods.team import Team
from ..network.schedule import Schedule
from .film import drawable
from .plan import Plan

INSTALL = 'pip install -c constraints.txt ".[{}]"'
MISSING = {"report": ("plotly",), "film": ("matplotlib", "PIL")}
"""Extra → what it brings that the command cannot do without."""


def first_lines(plan: Plan, team: Team, ranks: int, hosts: int, done: int) -> str:
    """What is learned, by whom, on what, and for how long; then who hears whom, and how each method goes about it.

    done: rounds that are over, of a run that is continued. How long a round takes nobody knows before there was one: the first
    lines say how many there are, and every round's line how much time is left.
    """
    config, number = plan.config, len(plan.world.agents)
    learners = sum(method.learns for method in team.methods)
    who = f"{many(number, 'agent')} learn{'s' * (number == 1)}"
    if learners < number:
        who = (
            f"{learners} of {number} agents learn" if learners else f"{many(number, 'agent')}, none of whom learns, in"
        )
    methods = [name for name, _ in Counter(entry.algorithm for entry in team.settings).most_common()]
    named = ", ".join(methods[:3]) + f" and {len(methods) - 3} more" * (len(methods) > 3)
    rounds = f"rounds {done + 1} to {config.rounds}" if done else many(config.rounds, "round")
    after = f", then {many(config.evaluate_episodes, 'episode')} of evaluation" if config.evaluate_episodes else ""
    rows = [
        ("time", f"told after the first round{after}"),
        (
            "ranks",
            f"{ranks}, of which {hosts} host{'s' * (hosts == 1)} {many(config.copies, 'copy')} of the environment"
            if ranks > 1
            else f"1, with {many(config.copies, 'copy')} of the environment",
        ),
        ("topology", f"{config.topology}{_edges(plan.schedule)}"),
        *who_learns(plan, team),
    ]
    width = max(len(name) for name, _ in rows)
    shown = [
        f"  {'' if k and rows[k - 1][0] == name else name:<{width}}  {text}" for k, (name, text) in enumerate(rows)
    ]
    return "\n".join([f"{who} {config.env} with {named}: {rounds} of {config.copies * config.horizon:,} steps", *shown])


def last_lines(folder: Path, ranks: int, environment: Any) -> str:
    """What to type next: each line can be pasted, or says what to install first. environment: a batch environment of the run."""
    run = shlex.quote(str(folder))
    lines = [f"run's folder: {folder}", f"evaluate: {again(ranks, 'perla_net.evaluate')} {run} --episodes 100"]
    commands = {"report": f"python -m perla_net.report {run}"}
    if drawable(environment):
        commands["film"] = f"python -m perla_net.evaluate {run} --record film.gif"
    for extra, command in commands.items():
        lacks = [package for package in MISSING[extra] if find_spec(package) is None]
        lines.append(f"{extra + ':':<9} {f'first {INSTALL.format(extra)}' if lacks else command}")
    return "\n".join(lines)


def again(ranks: int, module: str = "perla_net.run") -> str:
    """The words that begin a command with as many ranks."""
    python = f"python -m {module}"
    return f"mpirun -n {ranks} {python}" if ranks > 1 else python


def who_learns(plan: Plan, team: Team) -> list[tuple[str, str]]:
    """(method, agents) of every kind of agent: how many act and learn so, and how they embed the most that one hears in a round, with the
    counts behind the choice."""
    kinds: Counter[tuple[str, str]] = Counter()
    for agent, entry in enumerate(team.settings):
        text = team.methods[agent].first_words(team, agent)
        if not text and entry.algorithm in PRESETS:
            text = _estimator(plan, team, agent)
        if plan.config.agents.groups and team.group_of(agent):
            text += f", one network for {len(team.group_of(agent))}"
        kinds[entry.algorithm, text] += 1
    listed = [(name, many(number, "agent") + f": {text}" * bool(text)) for (name, text), number in kinds.items()]
    return sorted(listed, key=lambda row: [name for name, _ in kinds].index(row[0]))  # a method's kinds together


def _edges(schedule: Schedule) -> str:
    if schedule.moves:
        return ", moving with the agents"
    edges = many(len(schedule.edges(1)), "directed edge")
    return f", {edges}" if schedule.fixed else f", {edges} at first, changing"


def _estimator(plan: Plan, team: Team, agent: int) -> str:
    settings, known = team.settings[agent], set(team.embedded_by(agent))
    heard = max(plan.schedule.heard_together(agent, plan.config.links.hops), key=len, default=[])
    if reads_mean(settings):
        return f"mean action of {len(heard)}"
    embedded = [distribution_of(team.specs[other].action) for other in heard if other in known]
    if not embedded:
        return "no embedding"
    estimator = choose_estimator(settings.estimator, settings.exact_limit, settings.samples, embedded)
    count = joint_actions(embedded)
    work = (
        f"{count:,} joint actions"
        if estimator == "exact"
        else f"{settings.samples} samples of {f'{count:,}' if count else 'continuous'}"
    )
    form = PRESETS[settings.algorithm].form or settings.form
    return f"{form} form, {estimator} ({work}{'' if plan.schedule.fixed else ' at most'})"
