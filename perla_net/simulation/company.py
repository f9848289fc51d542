"""Trained agents that act and learn no more, of one rank: each by itself, and those that talk while they act in step with those they hear."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np

from ..ground.errors import InputError
from ..ground.processes import Processes
from ..network.channel import Channel
from ..records import checkpoint
from ..world.world import World, blocks_of
from .loading import load_player

EVALUATION = (1,)
"""The use of links in evaluations, where they have other fates than in the run's rounds."""


class Company:
    """Who acts in a :class:`~perla_net.world.world.World` for the agents of this rank; :attr:`actors` and :attr:`slots` are what it takes."""

    def __init__(
        self, processes: Processes, plan: Any, world: World, paths: Sequence[Path], copies: int, steps: int, seed: int
    ) -> None:
        """``paths``: every agent's checkpoint, in order; ``steps``: of a rollout, which is what a round is to links, budgets and graphs that
        change. Collective."""
        self.plan, self.world, self.rollouts = plan, world, 0
        players = {index: load_player(paths[index], copies, steps, "checkpoint", index)[1] for index in world.local}
        self.players = list(players.values())
        sizes = _sizes_of_all(processes, players, len(plan.world.agents))
        talking = [index for index in world.local if index in sizes]
        self.channel: Channel | None = None
        quiet = [index for index in world.local if index not in sizes]
        self.actors: list[Any] = [players[index] for index in quiet]
        self.slots = [[world.local.index(index)] for index in quiet]
        if sizes:
            from ..methods.troupe import Troupe

            blocks = blocks_of(len(plan.world.agents), processes.size)
            self.channel = Channel(
                processes, blocks, sizes, plan.schedule.potential(), plan.links(seed, EVALUATION), copies, steps,
                plan.config.compression.method,
            )  # fmt: skip
            slots = [world.local.index(index) for index in talking]
            members = [players[index] for index in talking]
            self.actors.append(Troupe(self.channel, members, lambda n, t: world.alive(slots[n], t)))
            self.slots.append(slots)

    def begin(self, streams: Sequence[np.random.Generator] = ()) -> None:
        """Before a rollout: draw the noise of all its steps from a stream an agent of this rank, or act greedily. Collective where graphs move."""
        for number, player in enumerate(self.players):
            player.begin(*streams[number : number + 1])
        if self.channel:
            self.rollouts += 1
            self.channel.begin(self.rollouts, self.plan.graph(self.rollouts, self.world.positions))

    def collect(self) -> None:
        """Act for a rollout."""
        self.world.collect(self.actors, self.slots)

    def free(self) -> None:
        """Give back what the MPI library keeps. Collective."""
        if self.channel:
            self.channel.free()


def _sizes_of_all(processes: Processes, players: Mapping[int, Any], agents: int) -> dict[int, tuple[int, ...]]:
    """Numbers in what agents say at every step, by pass, of those that do; each rank tells of its own, none reads others' checkpoints. Collective."""
    own = [tuple(getattr(getattr(player, "policy", None), "sizes_said", ())) for player in players.values()]
    each = [len(block) for block in blocks_of(agents, processes.size)]
    counts = processes.all_gather(np.array([len(sizes) for sizes in own], np.int64), each, "passes of all who talk")
    by_rank = [int(part.sum()) for part in np.split(counts, np.cumsum(each)[:-1])]
    flat = np.array([size for sizes in own for size in sizes], np.int64)
    told = np.split(processes.all_gather(flat, by_rank, "sizes of messages"), np.cumsum(counts)[:-1])
    return {agent: tuple(sizes.tolist()) for agent, sizes in enumerate(told) if len(sizes)}


def talking_in(paths: Sequence[Path]) -> dict[int, dict[str, Any]]:
    """Descriptions of the policies that talk at every step, by agent, from all agents' checkpoints."""
    told = [checkpoint.read_data(path.with_name(f"{path.name}.json"), "checkpoint").get("policy") for path in paths]
    return {agent: policy for agent, policy in enumerate(told) if policy and "talks" in policy}


def check_company(plan: Any, paths: Sequence[Path], links_asked: Sequence[str] = ()) -> None:
    """Raises InputError for agents that talk, but not as those who hear them learned to listen; or where links were asked for, and nobody talks."""
    from ..learning.talking import size_of

    talking, names = talking_in(paths), [agent.name for agent in plan.world.agents]
    sizes = {agent: size_of(policy) for agent, policy in talking.items()}
    if links_asked and not sizes:
        raise InputError(
            f"{links_asked[0]}: nobody of this team talks while it acts, so that links do not matter to what it does"
        )
    for index in sizes:
        learned = [tuple(size) for size in talking[index]["heard"]]
        heard = [sizes[j] for j, i in sorted(plan.schedule.potential()) if i == index and j in sizes]
        if learned != heard:
            raise InputError(
                f"{paths[index].name}: learned to hear {len(learned)} neighbours with messages of {learned} numbers, but {names[index]} hears "
                f"{len(heard)} here, with {heard}"
            )
