"""Evaluation on held-out seeds: the trained team, greedy and sampled, beside the environment's reference controllers.

``python -m perla_net.evaluate RUN`` repeats it from a run's last checkpoint, with any number of ranks.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any, Sequence

import numpy as np

from .errors import InputError
from .processes import Processes, connect, cores_by_host, guarded, launched

CHUNK = 32
"""Steps between looks at whether all episodes are over, for environments that do not tell their length."""
LONGEST = 20_000
"""Steps after which an evaluation gives up on an episode that does not end."""
SAMPLING = 4
"""First part of the spawn key of the noise with which a sampled team acts."""


def evaluate(processes: Processes, plan: Any, folder: Path, episodes: int, seed: int) -> dict[str, Any] | None:
    """Every controller's figures over ``episodes`` episodes, on rank 0: controller → figure → mean, low, high, episodes.

    folder: a sealed checkpoint; the same seed gives the same episodes to every controller, whatever the ranks.
    """
    import torch

    torch.set_num_threads(1)
    processes.stall_timeout = plan.config.stall_timeout
    table = {}
    for mode in ("greedy", "sampled"):
        processes.where = f"evaluation of the {mode} team"
        table[f"team, {mode}"] = _team(processes, plan, folder, episodes, seed, mode)
    for name in plan.world.references or ("random",):
        processes.where = f"evaluation of {name}"
        table[name] = _reference(processes, plan, name, episodes, seed)
    if processes.rank:
        return None
    from .display import interval

    return {
        name: {figure: interval(values) for figure, values in figures.items()}
        for name, figures in table.items()
        if figures
    }


def _team(
    processes: Processes, plan: Any, folder: Path, episodes: int, seed: int, mode: str
) -> dict[str, list[float]] | None:
    from .checkpoint import stem
    from .loading import load_player
    from .world.world import EVALUATION, World, blocks_of

    chunk = plan.world.horizon or CHUNK
    blocks = blocks_of(len(plan.world.agents), processes.size)
    world = World(
        processes, plan.world, plan.config.env, blocks, cores_by_host(processes), episodes, chunk, seed, EVALUATION
    )
    players, streams = [], []
    for index in world.local:
        path = folder / stem(plan.world.agents[index].name)
        players.append(load_player(path, episodes, chunk, "checkpoint")[1])
        streams.append(np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(SAMPLING, index))))
    world.start()
    while True:
        for player, stream in zip(players, streams):
            player.begin(*[stream] * (mode == "sampled"))
        world.collect(players)
        running = 0 if world.host is None or (world.host.episode > 0).all() else 1
        if not processes.agree(running, "end of an evaluation"):
            break
        if world.steps > LONGEST:
            raise RuntimeError(f"an evaluation episode of {plan.world.name} has not ended after {LONGEST} steps")
    return _figures(world.take_episodes())


def _reference(processes: Processes, plan: Any, name: str, episodes: int, seed: int) -> dict[str, list[float]] | None:
    """A reference controller needs no agents: every host runs its own copies, no traffic."""
    from .world.environments import make
    from .world.hosts import Host
    from .world.world import EVALUATION, blocks_of, gather_episodes

    hosts = cores_by_host(processes)[:episodes]
    host = None
    if processes.rank in hosts:
        shard = blocks_of(episodes, len(hosts))[hosts.index(processes.rank)]
        environment = make(plan.config.env, len(shard), len(plan.world.agents))
        host = Host(environment, plan.world, shard[0], (seed, EVALUATION), 0)
        controller = _Random(host, plan.world, seed) if name == "random" else environment.controllers[name](environment)
        host.start()
        while (host.episode == 0).any():
            host.act(controller.act(environment))
            host.step()
            host.finals.clear()
            if host.steps > LONGEST:
                raise RuntimeError(f"an evaluation episode of {plan.world.name} has not ended after {LONGEST} steps")
    return _figures(gather_episodes(processes, host, len(plan.world.agents)))


class _Random:
    """Uniformly random allowed actions, the reference where an environment has none of its own."""

    def __init__(self, host: Any, world: Any, seed: int) -> None:
        self.host, self.world = host, world
        self.streams = [
            np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(SAMPLING, 1 << 20, host.first + copy)))
            for copy in range(host.copies)
        ]

    def act(self, environment: Any) -> list[np.ndarray]:
        """Words per agent, [copies, words] int32 or float32."""
        chosen = []
        for spec, layout, rows in zip(self.world.agents, self.host.layouts, self.host.rows):
            _, mask = layout.views(rows)
            drawn = [
                self._draw(stream, spec.action, None if mask is None else mask[copy])
                for copy, stream in enumerate(self.streams)
            ]
            chosen.append(np.array(drawn, np.float32 if spec.action.kind == "continuous" else np.int32))
        return chosen

    def _draw(self, stream: np.random.Generator, action: Any, mask: np.ndarray | None) -> list[float]:
        if action.kind == "continuous":
            return stream.uniform(-1, 1, len(action.low)).tolist()
        values, start = [], 0
        for size in action.sizes:
            allowed = np.arange(size) if mask is None else np.flatnonzero(mask[start : start + size])
            values.append(int(stream.choice(allowed)) if len(allowed) else 0)
            start += size
        return values


def _figures(episodes: Sequence[Any] | None) -> dict[str, list[float]] | None:
    """The first episode of every copy, in the order of copies: figure → values."""
    if episodes is None:
        return None
    first = sorted((episode for episode in episodes if episode.number == 0), key=lambda episode: episode.copy)
    figures = {"return": [math.fsum(episode.returns) for episode in first]}
    for name in first[0].figures:
        figures[name] = [episode.figures[name] for episode in first]
    return figures


def main(arguments: Sequence[str]) -> int:
    """``python -m perla_net.evaluate RUN [--episodes E] [--seed S]``, alone or under mpirun."""
    if {"-h", "--help"} & set(arguments):
        return _read(arguments, 1)[0] if launched()[0] == 0 else 0
    processes = connect()
    return guarded(processes, lambda: _main(processes, arguments))


def _read(arguments: Sequence[str], ranks: int) -> Any:
    from .checkpoint import newest
    from .options import parser, read_yaml, validated
    from .plan import prepare
    from .run import read_schedule

    reader = parser("perla_net.evaluate", "Evaluate the trained team of a run beside the reference controllers.")
    reader.add_argument("run", metavar="RUN", help="the run's folder")
    reader.add_argument("--episodes", type=int, metavar="E", help="episodes per controller (default: the run's)")
    reader.add_argument("--seed", type=int, metavar="S", help="seed of the held-out episodes (default: the run's)")
    reader.add_argument("--out", metavar="FILE", help="write the figures as JSON")
    given = reader.parse_args(list(arguments))
    run = Path(given.run)
    if not (run / "config.yaml").is_file():
        raise InputError(f"{run}: is not the folder of a run (it has no config.yaml)")
    config = validated(read_yaml(run / "config.yaml", "RUN"), str(run / "config.yaml"))
    folder, _ = newest(run, "RUN")
    plan = prepare(config, read_schedule(run), ranks)
    episodes = config.evaluate_episodes or 20 if given.episodes is None else given.episodes
    seed = config.seed if given.seed is None else given.seed
    for name, value, least in (("--episodes", episodes, 1), ("--seed", seed, 0)):
        if value < least:
            raise InputError(f"{name} {value}: must be at least {least}")
    if given.out and not Path(given.out).parent.is_dir():
        raise InputError(f"--out {given.out}: there is no folder {Path(given.out).parent}")
    return plan, folder, episodes, seed, given.out


def _main(processes: Processes, arguments: Sequence[str]) -> int:
    from .display import evaluation_table
    from .run import agree_on_plan

    found: list[Any] = []

    def plan() -> Any:
        found.extend(_read(arguments, processes.size))
        return found[0]

    agreed = agree_on_plan(processes, plan, lambda: json.dumps([str(found[1]), *found[2:4]]))
    if agreed is None:
        return 2
    the_plan, extra = agreed
    folder, episodes, seed = json.loads(extra)
    table = evaluate(processes, the_plan, Path(folder), episodes, seed)
    if table is not None:
        print(f"{folder}, seed {seed}")
        print(evaluation_table(table, episodes))
        if found[4]:
            Path(found[4]).write_text(json.dumps(table, indent=1))
    return 0


if __name__ == "__main__":
    from .run import entry

    sys.exit(entry(main, sys.argv[1:]))
