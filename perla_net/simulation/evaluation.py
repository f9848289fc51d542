"""Evaluation on held-out seeds: the trained team, greedy and sampled, beside the environment's reference controllers.

``python -m perla_net.evaluate RUN`` repeats it from a run's last checkpoint, with any number of ranks; also in another
environment, with agents of other runs in the team, as a film, or in the terminal.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any, Sequence

import numpy as np

from ..ground.errors import Stopped
from ..ground.processes import Processes, cores_by_host
from ..records.display import CUT

CHUNK = 32
"""Steps between looks at whether all episodes are over, for environments that do not tell their length."""
ROOM = 2**28
"""Bytes of observations that are kept at most between two looks."""
TENFOLD = 10
"""Times as many episodes as at a point, for the absolute metric."""
SAMPLING = 4
"""First part of the spawn key of the noise with which a sampled team acts."""


def evaluate(
    processes: Processes, plan: Any, players: Sequence[Path], episodes: int, seed: int
) -> dict[str, Any] | None:
    """Every controller's figures over ``episodes`` episodes, on rank 0: controller → figure → mean, low, high, episodes.

    players: every agent's checkpoint, in order; the same seed gives the same episodes to every controller, whatever the ranks.
    """
    table = by_episode(processes, plan, players, episodes, seed)
    if table is None:
        return None
    from ..records.display import interval

    return {name: {figure: interval(values) for figure, values in figures.items()} for name, figures in table.items()}


def by_episode(
    processes: Processes,
    plan: Any,
    players: Sequence[Path],
    episodes: int,
    seed: int,
    references: Sequence[str] | None = None,
) -> dict[str, dict[str, list[float]]] | None:
    """The same, episode by episode: controller → figure → values, in an order that is the same for all controllers.

    references: which reference controllers; by default all that the environment has.
    """
    import torch

    torch.set_num_threads(1)
    processes.stall_timeout = plan.config.stall_timeout
    table = {}
    for mode in ("greedy", "sampled"):
        processes.where = f"evaluation of the {mode} team"
        table[f"team, {mode}"] = _team(processes, plan, players, episodes, seed, mode == "sampled")
    for name in (plan.world.references or ("random",)) if references is None else references:
        processes.where = f"evaluation of {name}"
        table[name] = _reference(processes, plan, name, episodes, seed)
    if processes.rank:
        return None
    found = {name: figures for name, figures in table.items() if figures}
    if any(CUT in figures for figures in found.values()):
        for figures in found.values():
            figures.setdefault(CUT, [0.0] * episodes)
    return found


def points_of(rounds: int, points: int) -> list[int]:
    """After which rounds the team is evaluated: 0 and ``points`` more, evenly spaced; none for no points."""
    return sorted({round(rounds * point / points) for point in range(points + 1)}) if points else []


def at_point(processes: Processes, plan: Any, players: Sequence[Path], facts: dict[str, Any]) -> dict[str, Any] | None:
    """A row of ``evaluations.jsonl``, on rank 0: ``facts``, and the greedy team's figures episode by episode. Every point of
    a run has the same episodes, which no other evaluation has."""
    from ..world.world import POINTS

    processes.where = f"evaluation after round {facts['round']}"
    figures = _team(processes, plan, players, plan.config.evaluate_episodes, plan.config.seed, False, POINTS)
    return None if figures is None else facts | {"figures": figures}


def absolute(processes: Processes, plan: Any, points: Path) -> dict[str, Any] | None:
    """The absolute metric (Colas et al. 2018, arXiv 1806.08295; Gorsane et al. 2022, arXiv 2209.10485), on rank 0: the team
    that was best at a point, by mean return, in ten times as many episodes, none of which it was chosen by.

    points: the folder with the players of every point. Those of the others are removed.
    """
    from ..world.world import ABSOLUTE

    best = b""
    if processes.rank == 0:
        lines = (points.parent / "evaluations.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        returns = {row["round"]: row["figures"]["return"] for row in rows}
        best = str(max(returns, key=lambda round: math.fsum(returns[round]) / len(returns[round]))).encode()
    chosen = int(processes.broadcast(best if processes.rank == 0 else None, "choice of the best point"))
    players = players_of(points / str(chosen), plan.world.agents)
    processes.where = f"absolute metric of the team after round {chosen}"
    figures: dict[str, list[float]] = {}
    for batch in range(TENFOLD):  # one after the other: ten times as many simulators at once would be too many
        found = _team(
            processes, plan, players, plan.config.evaluate_episodes, plan.config.seed, False, ABSOLUTE + batch
        )
        for name, values in (found or {}).items():
            if name == CUT:  # there only in a batch in which it happened
                values = [0.0] * (batch * plan.config.evaluate_episodes - len(figures.get(CUT, ()))) + values
            figures.setdefault(name, []).extend(values)
    if processes.rank:
        return None
    for folder in points.iterdir():
        if folder.name != str(chosen):
            shutil.rmtree(folder)
    return {"round": chosen, "episodes": TENFOLD * plan.config.evaluate_episodes, "figures": figures}


def _team(
    processes: Processes,
    plan: Any,
    paths: Sequence[Path],
    episodes: int,
    seed: int,
    sampled: bool,
    use: int | None = None,
) -> dict[str, list[float]] | None:
    from ..world.hosts import RowLayout
    from ..world.world import EVALUATION, World, blocks_of
    from .company import Company

    controllers = plan.controllers
    layouts = [RowLayout.of(agent, index in controllers) for index, agent in enumerate(plan.world.agents)]
    step = (
        4 * episodes * sum(layout.width for layout in layouts)
    )  # bytes of all agents: the same for any number of ranks
    chunk = max(1, min(plan.world.horizon or CHUNK, ROOM // step))
    blocks = blocks_of(len(plan.world.agents), processes.size)
    hosts = cores_by_host(processes)
    use = EVALUATION if use is None else use
    limit = plan.config.evaluate_steps
    world = World(
        processes,
        plan.world,
        plan.config.env,
        blocks,
        hosts,
        episodes,
        chunk,
        seed,
        use,
        limit=limit,
        controllers=controllers,
    )
    company = Company(processes, plan, world, paths, episodes, chunk, seed)
    streams = [
        np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(SAMPLING, index))) for index in world.local
    ]
    world.start()
    while True:
        company.begin(streams if sampled else ())
        company.collect()
        running = 0 if world.host is None or (world.host.episode > 0).all() else 1
        if not processes.agree(running, "end of an evaluation"):
            break
    figures = _figures(world.take_episodes())
    company.free()
    world.close()
    return figures


def _reference(processes: Processes, plan: Any, name: str, episodes: int, seed: int) -> dict[str, list[float]] | None:
    """A reference controller needs no agents: every host runs its own copies, no traffic."""
    from ..world.agreement import together
    from ..world.environments import make
    from ..world.hosts import Host
    from ..world.rehearsal import RandomActions
    from ..world.streams import kept
    from ..world.world import EVALUATION, blocks_of, broken_text, gather_episodes

    hosts = cores_by_host(processes)[:episodes]
    host = None
    if processes.rank in hosts:
        shard = blocks_of(episodes, len(hosts))[hosts.index(processes.rank)]
        environment = make(plan.config.env, len(shard), len(plan.world.agents))
        host = Host(environment, plan.world, shard[0], (seed, EVALUATION), limit=plan.config.evaluate_steps)
        if name == "random":
            keys = [(SAMPLING, 1 << 20, copy) for copy in shard]
            streams = [np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key)) for key in keys]
            controller = RandomActions(host, plan.world, streams)
        else:
            controller = environment.controllers[name](environment)
        with kept():
            host.start()
            while host.broken is None and (host.episode == 0).any():
                host.act(controller.act(environment))
                host.step()
                host.finals.clear()
    broken = host is not None and host.broken is not None
    together(processes, [broken_text(host, processes)] if broken else [], Stopped, "end of an evaluation")
    return _figures(gather_episodes(processes, host, len(plan.world.agents)))


def _figures(episodes: Sequence[Any] | None) -> dict[str, list[float]] | None:
    """The first episode of every copy, in the order of copies: figure → values."""
    if episodes is None:
        return None
    first = sorted((episode for episode in episodes if episode.number == 0), key=lambda episode: episode.copy)
    figures = {"return": [math.fsum(episode.returns) for episode in first]}
    if any(episode.cut for episode in first):
        figures[CUT] = [float(episode.cut) for episode in first]
    for name in first[0].figures:
        figures[name] = [episode.figures[name] for episode in first]
    return figures


def players_of(folder: Path, agents: Sequence[Any]) -> list[Path]:
    """Where a checkpoint keeps each of the agents (specs, in order)."""
    from ..records.checkpoint import stems

    return [folder / stem for stem in stems([agent.name for agent in agents])]
