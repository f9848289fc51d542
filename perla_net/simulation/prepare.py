"""From a configuration to a plan, with everything checked that can be before a run begins; on rank 0 only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..ground.errors import InputError
from ..ground.selection import listed
from ..network.schedule import Schedule
from ..settings.config import Config
from ..settings.specs import parse_spec
from .checks import check_combinations
from .fits import begin_with, check_controllers, frozen_agents
from .groups import check_groups, groups_of
from .plan import Plan


def prepare(
    config: Config,
    schedule: Schedule | None = None,
    ranks: int = 1,
    rehearsed: bool = False,
    stored: Path | None = None,
) -> Plan:
    """Check a validated configuration against its environment and graph; on rank 0 only.

    schedule: the graphs of a run that is continued; rehearsed: let an environment of others play an episode before it is relied
    on; stored: a checkpoint of this very run, which has the policies of its frozen agents. Raises InputError for everything that could not
    run. Writes nothing.
    """
    from ..network.graphs import schedule_of
    from ..network.readers import is_graph_file
    from ..settings.options import agent_overrides, settings_with
    from ..world.environments import make, takes_any_number

    # One agent per rank where nothing else says how many.
    wanted = config.agents.number or (ranks if ranks > 1 and takes_any_number(config.env) else None)
    environment = make(config.env, 1, wanted)
    world = environment.spec
    notes = []
    if rehearsed and getattr(environment, "unknown", False):
        from ..world.rehearsal import rehearse

        notes += rehearse(config.env, environment, world)
    names = [agent.name for agent in world.agents]
    number = len(names)
    flat = [
        one.name for one in world.agents if one.observation and any(part.kind == "image" for part in one.seen.leaves)
    ]
    if flat:
        notes.append(f"images inside a Dict or Tuple are seen as numbers, not through convolutions ({listed(flat)})")
    if ranks > number:
        raise InputError(
            f"{ranks} ranks for {number} agents: each rank needs an agent; type mpirun -n {number} or fewer, or raise --agents"
        )
    if config.topology == "auto":
        config = replace(config, topology="ring" if world.interaction is None else "interaction")
    if schedule is None:
        schedule = schedule_of(
            config.topology, names, world.interaction, config.seed, world.positions, world.moves, config.rounds
        )
    elif (
        config.rounds > len(schedule.graphs) > 1 and Path(parse_spec(config.topology, is_graph_file)[0]).suffix == ".py"
    ):
        longer = schedule_of(config.topology, names, None, config.seed, rounds=config.rounds)
        if longer.graphs[: len(schedule.graphs)] != schedule.graphs:
            raise InputError(f"--topology {config.topology}: does not make the graphs any more that the run began with")
        schedule = longer
    if schedule.nodes and not schedule.nodes.startswith(("by name", "by number (node k")):
        notes.append(f"the nodes of {config.topology} became agents {schedule.nodes}")
    if schedule.weighted and config.consensus.what != "none":
        notes.append(
            f"the edges of {config.topology} have weights of their own, which averaging does not use: it takes those of "
            f"--consensus.weights {config.consensus.weights}"
        )
    config = replace(config, agents=replace(config.agents, number=number))
    if config.algorithm in ("consensus", "consensus_reward") and config.consensus.what == "none":
        config = replace(config, consensus=replace(config.consensus, what="critics"))
    if config.algorithm == "kappa_hop":  # what its critic reads is forwarded that far
        kappa = settings_with(config, ()).sections["kappa_hop"]["kappa"]
        config = replace(config, links=replace(config.links, hops=max(config.links.hops, kappa)))
    settings = tuple(settings_with(config, overrides) for overrides in agent_overrides(config, names))
    read = {name for entry in settings for name in entry.sections}
    notes += [
        f"no agent reads the options {name}.…: none has --algorithm {name}"
        for name in config.sections
        if name not in read
    ]
    groups = groups_of(config, names, settings)
    plan = Plan(config, settings, world, schedule, notes=tuple(notes), groups=tuple(groups.values()))
    check_groups(plan, groups)
    check_controllers(world, plan.controllers, getattr(environment, "controllers", {}))
    plan = frozen_agents(plan, stored)
    check_combinations(plan)
    return begin_with(plan) if config.start_from and stored is None else plan
