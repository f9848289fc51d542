"""``python -m perla_net.topology SPEC``: what a communication graph is like."""

from __future__ import annotations

import sys
from typing import Any, Sequence

from .ground.errors import InputError
from .ground.files import given as path_given
from .ground.processes import UNIT
from .network.graphs import graph_of, schedule_of
from .network.measures import draw, properties
from .network.schedule import Edges, Schedule, complete_window


def bytes_per_round(
    schedule: Schedule, arguments: Sequence[str], edges: Edges
) -> tuple[int, int, dict[tuple[int, int], int]]:
    """(bytes of all agents, bytes that the busiest agent sends, edge → bytes) in a round of a run with these options on these edges, by
    the formats that the run itself uses; without averaging, forwarding and the few final observations."""
    from .network.exchange import raw
    from .settings.command_line import command_line
    from .simulation.prepare import prepare
    from .simulation.wishes import Traffic

    plan = prepare(command_line(arguments), schedule)
    traffic = Traffic(plan.team(), plan.config.compression)
    present, copies, horizon = set(edges), plan.config.copies, plan.config.horizon
    sent, carried = [0] * len(plan.world.agents), dict.fromkeys(edges, 0)
    for edge, sections in traffic.wants().items():
        if edge in present:
            forms = [traffic.form(edge[0], name, 0, copies, horizon) for name in sections]
            packets = len({name == "policy" for name in sections})
            carried[edge] = UNIT * packets + sum(form.size for form in forms)
            sent[edge[0]] += carried[edge]
    for (source, _), sections in traffic.team_wants().items():
        sent[source] += UNIT + sum(raw(traffic.form(source, name, 0, copies, horizon)).size for name in sections)
    return sum(sent), max(sent), carried


def main(arguments: Sequence[str]) -> int:
    """``python -m perla_net.topology SPEC --agents N``: the figures of a graph, its edges, and a picture."""
    from .settings.command_line import parser
    from .world.environments import make

    reader = parser(
        "perla_net.topology", "What a communication graph is like; further options are those of perla_net.run."
    )
    reader.add_argument(
        "spec", metavar="SPEC", help="a family[:key=value,…], 'interaction', a graph file or a Python file"
    )
    reader.add_argument("--agents", type=int, metavar="N", help="number of agents (default: the environment's)")
    reader.add_argument("--env", help="environment whose agents talk (default traffic:grid)")
    reader.add_argument(
        "--seed", type=int, default=0, metavar="S", help="seed of a Python file's random numbers (default 0)"
    )
    reader.add_argument(
        "--rounds", type=int, default=64, metavar="N", help="rounds to look at of a graph that changes (default 64)"
    )
    reader.add_argument("--draw", metavar="FILE", help="write a picture (png, svg, pdf)")
    given, rest = reader.parse_known_args(list(arguments))
    if given.agents is not None and given.agents < 1:
        raise InputError(f"--agents {given.agents}: there must be at least one")
    env = given.env or "traffic:grid"
    world = make(env, 1, given.agents).spec
    names = [agent.name for agent in world.agents]
    if given.rounds < 1:
        raise InputError(f"--rounds {given.rounds}: there must be at least one")
    schedule = schedule_of(given.spec, names, world.interaction, given.seed, world.positions, world.moves, given.rounds)
    if schedule.moves:
        raise InputError(
            f"--topology {given.spec}: depends on where the agents of {env} go; run it, and look into graphs.jsonl"
        )
    every = [schedule.edges(number + 1) for number in range(1 if schedule.fixed else given.rounds)]
    graph = graph_of(every[0], names, schedule)
    figures = properties(graph)
    options = [
        "--env",
        env,
        "--agents",
        str(len(names)),
        "--topology",
        given.spec,
        "--seed",
        str(given.seed),
        *rest,
    ]
    total, most, carried = bytes_per_round(schedule, options, every[0])
    figures["bytes per round (all, busiest agent)"] = (total, most)
    if not schedule.fixed:
        numbers = [len(edges) for edges in every]
        figures["rounds looked at"] = len(every)
        figures["different graphs"] = len(set(every))
        figures["directed edges (least, mean, most)"] = (min(numbers), sum(numbers) / len(numbers), max(numbers))
        figures["rounds whose union connects all"] = complete_window(every, len(names))
    print(f"{given.spec} for {len(names)} agents of {env}" + ("" if schedule.fixed else "; first its graph of round 1"))
    if schedule.nodes:
        print(f"  {'nodes became agents':<38}{schedule.nodes}")
    for name, value in figures.items():
        print(f"  {name:<38}{_shown(value)}")
    if len(graph) <= 64:
        print("  who hears whom (each line: an agent, then those that it hears)")
        for node in graph:
            print(f"    {node:>3} {names[node]:<16}{' '.join(map(str, sorted(graph.predecessors(node)))) or '-'}")
    if given.draw:
        places = world.positions if given.env else None  # without an environment the question is about the graph alone
        draw(graph, path_given(given.draw, "--draw"), places, names, carried)
        print(f"  drawn in {given.draw}")
    return 0


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " · ".join(map(_shown, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


if __name__ == "__main__":
    from .ground.entry import entry

    sys.exit(entry(main, sys.argv[1:]))
