"""The plan of a run: a configuration that was checked against its environment and graph, as data that rank 0 broadcasts."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Mapping

import numpy as np

from ..methods import registry
from ..network.links import LinkModel, needs_symmetric
from ..network.schedule import Edges, Schedule
from ..settings.config import AgentSettings, Config
from ..settings.data import from_data, to_data
from ..world.spec import WorldSpec

if TYPE_CHECKING:  # only for annotations: nobody imports torch before the plan stands
    from ..methods.team import Team


@dataclass(frozen=True)
class Plan:
    """What rank 0 decided, from which every rank builds its part: data only, so that it can be broadcast."""

    config: Config
    settings: tuple[AgentSettings, ...]
    world: WorldSpec
    schedule: Schedule
    folder: str = ""
    resume_from: str = ""
    notes: tuple[str, ...] = ()
    """What a user should know before the run begins."""
    groups: tuple[tuple[int, ...], ...] = ()
    """Agents that share one network."""
    trained: Mapping[int, dict[str, Any]] = field(default_factory=dict)
    """Of frozen agents, what their checkpoint says: ``description`` and ``identity`` of the policy."""
    sources: Mapping[int, str] = field(default_factory=dict)
    """Checkpoints from which agents begin in a new run."""

    def to_bytes(self) -> bytes:
        """The plan as JSON."""
        names = ("config", "settings", "world", "folder", "resume_from", "notes", "groups")
        data = {name: to_data(getattr(self, name)) for name in names}
        by_agent = {name: list(getattr(self, name).items()) for name in ("trained", "sources")}
        return json.dumps(data | by_agent | {"schedule": self.schedule.to_data()}).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Plan:
        """The inverse of :meth:`to_bytes`."""
        tree = json.loads(data)
        return cls(
            from_data(Config, tree["config"]),
            tuple(from_data(AgentSettings, entry) for entry in tree["settings"]),
            WorldSpec.from_data(tree["world"]),
            Schedule.from_data(tree["schedule"]),
            tree["folder"],
            tree["resume_from"],
            tuple(tree["notes"]),
            tuple(tuple(group) for group in tree["groups"]),
            dict(tree["trained"]),
            dict(tree["sources"]),
        )

    def team(self) -> Team:
        """Spaces, settings, methods and graph, as every agent knows them."""
        from ..methods.team import Team

        edges = self.schedule.potential(self.config.links.hops)
        methods = tuple(registry.class_of(entry.algorithm) for entry in self.settings)
        world = self.world
        return Team(
            *(world.agents, self.settings, edges, methods, self.groups, self.trained),
            world.name,
            world.interaction or (),
            world.state,
        )

    def links(self, seed: int, use: tuple[int, ...] = ()) -> LinkModel:
        """The links of the run; ``use``: see :class:`~perla_net.network.links.LinkModel`."""
        config = self.config
        symmetric = needs_symmetric(config.consensus.what != "none", config.consensus.weights, config.links.symmetric)
        overrides = {(j, i): attributes for j, i, attributes in self.schedule.links}
        return LinkModel(config.links, seed, symmetric, overrides, use)

    def graph(self, round_number: int, positions: Callable[[], np.ndarray]) -> Edges:
        """A round's communication graph; nobody talks in the rounds that ``--links.every`` leaves out. positions: asked where agents move."""
        if (round_number - 1) % self.config.links.every:
            return ()
        return self.schedule.edges(round_number, positions() if self.schedule.moves else None)

    @property
    def controllers(self) -> dict[int, str]:
        """Agents that a reference controller of the environment acts for, and its name."""
        parts = (registry.split(entry.algorithm) for entry in self.settings)
        return {agent: name for agent, (kind, name) in enumerate(parts) if kind == "controller"}
