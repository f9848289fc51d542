"""What every agent knows of all others: who wants what of whom, and in which form it travels."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from ..learning.distributions import Gaussian, distribution_of
from ..learning.embedding import choose_estimator, joint_actions
from ..learning.models import Policy
from ..network.exchange import Wishes
from ..network.messages import Form
from ..network.schedule import Edge, Schedule
from ..settings.config import PRESETS, AgentSettings, Compression
from ..world.spec import AgentSpec
from .actor_critic import policy_for


@dataclass(frozen=True)
class Team:
    """What every agent knows of all: spaces and settings (both from the configuration), who may hear whom in some round
    (``edges``), and how what is sent is coded."""

    specs: tuple[AgentSpec, ...]
    settings: tuple[AgentSettings, ...]
    edges: tuple[Edge, ...]
    compression: Compression = field(default_factory=Compression)

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
        settings = self.settings[agent]
        return self.heard_by(agent) if PRESETS[settings.algorithm].embedding and settings.samples else []

    def policy_of(self, agent: int) -> Policy:
        """A policy network as the agent's, with zero weights."""
        return policy_for(self.specs[agent], self.settings[agent].model, len(identity_of(self, agent)))

    @cached_property
    def _policies(self) -> list[tuple[tuple[int, ...], int, bytes]]:
        """Of every agent's policy: sizes of its tensors, width of the memory, architecture."""
        policies = map(self.policy_of, range(len(self.specs)))
        return [
            (tuple(math.prod(shape) for shape in policy.shapes.values()), policy.width, policy.architecture)
            for policy in policies
        ]

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
        for agent in range(len(self.specs)):
            settings = self.settings[agent]
            embedded = set(self.embedded_by(agent))
            of_team = self._wants_of_all(agent)
            for other in self.heard_by(agent):
                wanted = self._of_policy(other) if other in embedded else []
                if settings.reward.mixing == "neighbourhood":
                    wanted.append("rewards")
                wanted = [name for name in wanted if name not in of_team]
                if wanted:
                    table[other, agent] = wanted
        return table

    def team_wants(self) -> dict[Edge, list[str]]:
        """For each pair of agents, the sections that the second wants of the first as of everybody, where it wants any."""
        everyone = range(len(self.specs))
        return {
            (other, agent): wanted
            for agent in everyone
            if (wanted := self._wants_of_all(agent))
            for other in everyone
            if other != agent
        }

    def _wants_of_all(self, agent: int) -> list[str]:
        settings = self.settings[agent]
        observations = ["observations"] if PRESETS[settings.algorithm].critic_input == "global" else []
        return observations + (["rewards"] if settings.reward.mixing == "team" else [])

    def _of_policy(self, sender: int) -> list[str]:
        """Sections that tell a policy, by what its owner shares."""
        share = self.settings[sender].share
        if share == "modelled":
            return ["actions", "presence"]
        if share == "outputs":
            return ["outputs", "actions", "presence"]
        sections = ["policy"]
        if self.settings[sender].model.memory == "gru":
            sections.append("memory")
        if share == "weights":
            sections.append("observations")
            if self.specs[sender].masked:
                sections.append("masks")
        return [*sections, "actions", "presence"]

    def form(self, agent: int, section: str, finals: int, copies: int, horizon: int) -> Form:
        """Type, shape, coding and architecture of a section of the agent's message; R = (T+1)·B + finals states."""
        spec = self.specs[agent]
        distribution = distribution_of(spec.action)
        states, taken = (horizon + 1) * copies + finals, horizon * copies
        method, groups, kept, architecture = self.compression.method, (), 0, bytes(8)
        if section in ("policy", "memory"):
            sizes, width, architecture = self._policies[agent]
            kind, shape = "float32", (sum(sizes),) if section == "policy" else (copies, width)
            groups = sizes if section == "policy" else ()
        else:
            action_type = "float32" if isinstance(distribution, Gaussian) else "int32"  # what counts is never coded
            kind, shape = {
                "outputs": ("float32", (states, distribution.outputs + distribution.free)),
                "observations": ("float32", (states, spec.observation_size)),
                "masks": ("float32", (states, spec.action.flags)),
                "actions": (action_type, (taken, spec.action.words)),
                "presence": ("uint8", (states,)),
                "rewards": ("float32", (taken,)),
            }[section]
        if kind != "float32" or method == "none" or (method == "top_k" and section != "policy"):
            return Form(kind, shape, architecture)
        if method == "top_k":
            kept = max(1, round(self.compression.keep * shape[0]))
        return Form(kind, shape, architecture, method, groups, kept)


STATES = ("outputs", "observations", "masks", "presence")
"""Sections with a row for every state: [(T+1)·B + F, …]."""
TAKEN = ("actions", "rewards")
"""Sections with a row for every action: [T·B, …]."""


def cut(section: str, values: np.ndarray, copies: int, of: int, final_copies: np.ndarray) -> np.ndarray:
    """The part of a section that concerns the first ``copies`` of ``of`` environment copies."""
    if section == "memory":
        return values[:copies]
    finals = len(final_copies) if section in STATES else 0
    running = len(values) - finals
    first = values[:running].reshape(-1, of, *values.shape[1:])[:, :copies].reshape(-1, *values.shape[1:])
    return np.concatenate([first, values[running:][final_copies < copies]]) if finals else first


def identity_of(team: Team, agent: int) -> torch.Tensor:
    """One-hot of the agent where one network acts for all (parameter sharing), or where it was asked for; else nothing."""
    settings = team.settings[agent]
    if not (settings.identity == "yes" or (settings.identity == "auto" and PRESETS[settings.algorithm].shared)):
        return torch.zeros(0)
    return torch.eye(len(team.specs))[agent]


def estimator_line(team: Team, schedule: Schedule, hops: int) -> str:
    """How the team embeds the most that an agent hears in a round, in words with the counts behind the choice."""
    kinds: dict[str, int] = {}
    for agent in range(len(team.specs)):
        settings, known = team.settings[agent], set(team.embedded_by(agent))
        heard = max(schedule.heard_together(agent, hops), key=len, default=[])
        embedded = [distribution_of(team.specs[other].action) for other in heard if other in known]
        if not embedded:
            text = "no embedding"
        else:
            estimator = choose_estimator(settings.estimator, settings.exact_limit, settings.samples, embedded)
            count = joint_actions(embedded)
            work = (
                f"{count} joint actions"
                if estimator == "exact"
                else f"{settings.samples} samples of {count or 'continuous'}"
            )
            text = f"{settings.form} form, {estimator} ({work}{'' if schedule.fixed else ' at most'})"
        kinds[text] = kinds.get(text, 0) + 1
    return "; ".join(f"{number} agent{'s' * (number > 1)}: {text}" for text, number in kinds.items())
