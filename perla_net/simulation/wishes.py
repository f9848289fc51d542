"""Who wants what of whom, and in which form it travels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..learning.distributions import Gaussian, distribution_of
from ..methods.rewards import sections as of_reward
from ..methods.team import Team
from ..network.exchange import Wishes
from ..network.messages import Form
from ..network.schedule import Edge
from ..settings.config import Compression

STATES = ("outputs", "observations", "masks", "presence", "choices")
"""Sections with a row for every state: [(T+1)·B + F, …]."""


@dataclass(frozen=True)
class Traffic:
    """What a team's methods and rewards ask of others, and how it is coded."""

    team: Team
    compression: Compression

    def wishes(self, copies: int, horizon: int) -> Wishes:
        """Who wants what of whom, and the forms of it."""
        return Wishes(
            self.wants(),
            self.team_wants(),
            lambda agent, section, some, finals: self.form(agent, section, finals, some, horizon),
            lambda section, values, some, final_copies: cut(section, values, some, copies, final_copies),
        )

    def wants(self) -> dict[Edge, list[str]]:
        """For each pair (source, target) of which the second may hear the first, the sections that it wants, where any."""
        table: dict[Edge, list[str]] = {}
        team = self.team
        for agent, method in enumerate(team.methods):
            of_team = self._wants_of_all(agent)
            of_each = method.wants(team, agent)
            reward = of_reward(team.settings[agent].reward, of_team=False) if method.learns else []
            for other in team.heard_by(agent):
                wanted = [*of_each.get(other, ()), *reward]
                wanted = [name for name in wanted if name not in of_team]
                if wanted:
                    table[other, agent] = wanted
        return table

    def team_wants(self) -> dict[Edge, list[str]]:
        """For each pair of agents, the sections that the second wants of the first as of everybody, where it wants any."""
        everyone = range(len(self.team.specs))
        return {
            (other, agent): wanted
            for agent in everyone
            if (wanted := self._wants_of_all(agent))
            for other in everyone
            if other != agent
        }

    def _wants_of_all(self, agent: int) -> list[str]:
        team = self.team
        if not team.methods[agent].learns:
            return []
        return [*team.methods[agent].wants_of_all(team, agent), *of_reward(team.settings[agent].reward, of_team=True)]

    def form(self, agent: int, section: str, finals: int, copies: int, horizon: int) -> Form:
        """Type, shape, coding and architecture of a section of the agent's message; R = (T+1)·B + finals states."""
        spec = self.team.specs[agent]
        distribution = distribution_of(spec.action)
        states, taken = (horizon + 1) * copies + finals, horizon * copies
        method, groups, kept, architecture = self.compression.method, (), 0, bytes(8)
        if section in ("policy", "memory"):
            sizes, width, architecture = self.team.policy_shape(agent)
            kind, shape = "float32", (sum(sizes),) if section == "policy" else (copies, width)
            groups = sizes if section == "policy" else ()
        else:
            action_type = "float32" if isinstance(distribution, Gaussian) else "int32"  # what counts is never coded
            kind, shape = {
                "outputs": ("float32", (states, distribution.outputs + distribution.free)),
                "observations": ("float32", (states, spec.observation_size)),
                "masks": ("float32", (states, spec.action.flags)),
                "actions": (action_type, (taken, spec.action.words)),
                "choices": (action_type, (states, spec.action.words)),
                "presence": ("uint8", (states,)),
                "rewards": ("float32", (taken,)),
            }[section]
        if kind != "float32" or method == "none" or (method == "top_k" and section != "policy"):
            return Form(kind, shape, architecture)
        if method == "top_k":
            kept = max(1, round(self.compression.keep * shape[0]))
        return Form(kind, shape, architecture, method, groups, kept)


def cut(section: str, values: np.ndarray, copies: int, of: int, final_copies: np.ndarray) -> np.ndarray:
    """The part of a section that concerns the first ``copies`` of ``of`` environment copies."""
    if section == "memory":
        return values[:copies]
    finals = len(final_copies) if section in STATES else 0
    running = len(values) - finals
    first = values[:running].reshape(-1, of, *values.shape[1:])[:, :copies].reshape(-1, *values.shape[1:])
    return np.concatenate([first, values[running:][final_copies < copies]]) if finals else first
