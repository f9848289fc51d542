"""Trained agents that act and learn no more, of one rank: each by itself, and those that talk while they act in step with those they hear."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Sequence

import numpy as np

from ..ground.errors import InputError
from ..ground.processes import Processes
from ..network.channel import Channel
from ..network.links import LinkModel, needs_symmetric
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
        sizes = sizes_said(paths)
        talking = [index for index in world.local if index in sizes]
        self.channel: Channel | None = None
        quiet = [index for index in world.local if index not in sizes]
        self.actors: list[Any] = [players[index] for index in quiet]
        self.slots = [[world.local.index(index)] for index in quiet]
        if sizes:
            from ..methods.troupe import Troupe

            blocks = blocks_of(len(plan.world.agents), processes.size)
            self.channel = Channel(
                processes, blocks, sizes, plan.schedule.potential(), link_model(plan, seed), copies, steps,
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
            schedule = self.plan.schedule
            positions = self.world.positions() if schedule.moves else None
            self.rollouts += 1
            every = self.plan.config.links.every
            edges = () if (self.rollouts - 1) % every else schedule.edges(self.rollouts, positions)
            self.channel.begin(self.rollouts, edges)

    def collect(self) -> None:
        """Act for a rollout."""
        self.world.collect(self.actors, self.slots)

    def free(self) -> None:
        """Give back what the MPI library keeps. Collective."""
        if self.channel:
            self.channel.free()


def link_model(plan: Any, seed: int) -> LinkModel:
    """The links of a plan."""
    config = plan.config
    symmetric = needs_symmetric(config.consensus.what != "none", config.consensus.weights, config.links.symmetric)
    overrides = {(j, i): attributes for j, i, attributes in plan.schedule.links}
    return LinkModel(config.links, seed, symmetric, overrides, EVALUATION)


def sizes_said(paths: Sequence[Path]) -> dict[int, tuple[int, ...]]:
    """Numbers in what agents say at every step, by pass, of those that do."""
    found = {}
    for index, path in enumerate(paths):
        data = checkpoint.read_data(path.with_name(f"{path.name}.json"), "checkpoint")
        description = data.get("policy") or {}
        if "talks" in description:
            from ..learning.talking import size_of

            found[index] = size_of(description)
    return found


def check_company(plan: Any, paths: Sequence[Path], links_asked: Sequence[str] = ()) -> None:
    """Raises InputError for agents that talk, but not as those who hear them learned to listen; or where links were asked for, and nobody talks."""
    sizes, names = sizes_said(paths), [agent.name for agent in plan.world.agents]
    if links_asked and not sizes:
        raise InputError(
            f"{links_asked[0]}: nobody of this team talks while it acts, so that links do not matter to what it does"
        )
    for index in sizes:
        data = checkpoint.read_data(paths[index].with_name(f"{paths[index].name}.json"), "checkpoint")
        learned = [tuple(size) for size in data["policy"]["heard"]]
        heard = [j for j, i in plan.schedule.potential() if i == index and j in sizes]
        if learned != [sizes[other] for other in sorted(heard)]:
            raise InputError(
                f"{paths[index].name}: learned to hear {len(learned)} neighbours with messages of {learned} numbers, but {names[index]} hears "
                f"{len(heard)} here, with {[sizes[other] for other in sorted(heard)]}"
            )
