"""What every agent knows of all others: spaces, settings, who may hear whom, who learns as one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Mapping

import torch

from ..learning.build import policy_from
from ..learning.models import Policy
from ..settings.config import AgentSettings
from ..world.spec import AgentSpec
from .presets import embeds


@dataclass(frozen=True)
class Team:
    """Plain knowledge, the same for everybody and on every rank.

    edges: who may hear whom in some round, (source, target); methods: everybody's class of :class:`~.protocol.Method`; groups: agents that
    share one network, each group in order; trained: of agents that act by a network that was trained elsewhere, its ``description``
    and ``identity``, as their checkpoint tells them; world: the environment's name (``games:ipd``); interaction: who influences whom in it,
    (source, target), where it tells; state: numbers in the environment's own state, 0 where it tells none.
    """

    specs: tuple[AgentSpec, ...]
    settings: tuple[AgentSettings, ...]
    edges: tuple[tuple[int, int], ...]
    methods: tuple[Any, ...]
    groups: tuple[tuple[int, ...], ...] = ()
    trained: Mapping[int, Mapping[str, Any]] | None = None
    world: str = ""
    interaction: tuple[tuple[int, int], ...] = ()
    state: int = 0

    @property
    def purposes(self) -> tuple[str, ...]:
        """What methods call what they say, in the ledger."""
        return tuple(name for method in self.methods for name in method.purposes)

    def heard_by(self, agent: int) -> list[int]:
        """Those that an agent may hear in some round, in order."""
        return self._heard[agent]

    @cached_property
    def _heard(self) -> list[list[int]]:
        heard: list[list[int]] = [[] for _ in self.specs]
        for source, target in sorted(self.edges):
            heard[target].append(source)
        return heard

    def embedded_by(self, agent: int) -> list[int]:
        """Those whose policies the agent's critic embeds when it hears them."""
        return self.heard_by(agent) if embeds(self.settings[agent]) else []

    def group_of(self, agent: int) -> tuple[int, ...]:
        """Those that share one network with an agent, itself among them; nobody where its networks are its own."""
        return self._group_of.get(agent, ())

    @cached_property
    def _group_of(self) -> dict[int, tuple[int, ...]]:
        return {member: group for group in self.groups for member in group}

    def identity_of(self, agent: int) -> torch.Tensor:
        """What tells a network whom it acts for: one-hot of the agent, within its group where a group shares one, or where it was asked
        for; else nothing. Of a network that was trained elsewhere, what it was told there."""
        if self.trained and agent in self.trained:
            return torch.tensor(self.trained[agent]["identity"], dtype=torch.float32)
        group, asked = self.group_of(agent), self.settings[agent].identity
        if asked == "no" or (asked == "auto" and not group):
            return torch.zeros(0)
        return torch.eye(len(group))[group.index(agent)] if group else torch.eye(len(self.specs))[agent]

    def policy_of(self, agent: int) -> Policy:
        """A policy network as the agent's, with zero weights, from which others rebuild what they hear. Raises LookupError for agents
        without one."""
        if self.trained and agent in self.trained:
            return policy_from(self.trained[agent]["description"])
        return self.methods[agent].policy_for(self, agent)

    def policy_shape(self, agent: int) -> tuple[tuple[int, ...], int, bytes]:
        """Of an agent's policy: sizes of its tensors, width of the memory, architecture."""
        return self._policies[agent]

    @cached_property
    def _policies(self) -> dict[int, tuple[tuple[int, ...], int, bytes]]:
        found = {}
        for agent, method in enumerate(self.methods):
            if method.has_policy:
                policy = self.policy_of(agent)
                sizes = tuple(math.prod(shape) for shape in policy.shapes.values())
                found[agent] = sizes, policy.width, policy.architecture
        return found
