"""The program's own environments as PettingZoo ``ParallelEnv``, for other programs: one copy, the same dynamics.

    from perla_net.world.parallel import parallel_env
    env = parallel_env("traffic:grid", rows=3, columns=4)

Also by import path: ``--env pettingzoo:perla_net.world.parallel:env=spread,agents=5``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from ..settings.specs import written
from .environments import make
from .spec import ActionSpec


def parallel_env(
    env: str = "traffic:grid", agents: int | None = None, render_mode: str | None = None, **arguments: Any
) -> ParallelEnv:
    """One of the program's own environments, with its own arguments. Raises InputError for what it does not know."""
    if arguments:
        given = ",".join(f"{key}={written(value)}" for key, value in arguments.items())
        env += (":" if "=" not in env else ",") + given
    return BatchParallelEnv(make(env, 1, agents), render_mode)


class BatchParallelEnv(ParallelEnv):
    """One copy of a batch environment: Discrete and MultiDiscrete actions, or Box; Box observations.

    Continuous actions are in the space's units, as the bounds say. Where actions are masked an observation is a Dict of
    ``observation`` and ``action_mask``. ``infos`` hold the episode's figures so far (the batch environment's ``metrics``).
    """

    def __init__(self, batch: Any, render_mode: str | None = None) -> None:
        self.batch, self.spec = batch, batch.spec
        self.metadata = {
            "name": "perla_" + self.spec.name.replace(":", "_") + "_v0",
            "render_modes": ["rgb_array"] if hasattr(batch, "picture") else [],
            "is_parallelizable": True,
        }
        self.render_mode = render_mode
        self.possible_agents = [agent.name for agent in self.spec.agents]
        self.agents: list[str] = []
        self.observation_spaces: dict[str, spaces.Space] = {}
        for agent in self.spec.agents:
            box = spaces.Box(-np.inf, np.inf, agent.observation_shape, np.float32)
            flags = spaces.Box(0, 1, (agent.action.flags,), np.int8)
            self.observation_spaces[agent.name] = (
                spaces.Dict({"observation": box, "action_mask": flags}) if agent.masked else box
            )
        self.action_spaces = {agent.name: _space_of(agent.action) for agent in self.spec.agents}
        self._seeds = np.random.SeedSequence()

    @property
    def interaction_graph(self) -> list[tuple[str, str]]:
        """(j, i) where agent j influences agent i."""
        names = self.possible_agents
        return [(names[source], names[target]) for source, target in self.spec.interaction or ()]

    @property
    def horizon(self) -> int | None:
        """Usual number of steps of an episode."""
        return self.spec.horizon

    def observation_space(self, agent: str) -> spaces.Space:
        """A Box, or a Dict of ``observation`` and ``action_mask``."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space:
        """Discrete, MultiDiscrete or Box."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Begin an episode; later ones follow from the last seed that was given."""
        if seed is not None:
            self._seeds = np.random.SeedSequence(seed)
        self.agents = list(self.possible_agents)
        self.batch.reset(np.arange(1), self._seeds.spawn(1))
        return self._observations(), {name: {} for name in self.agents}

    def step(self, actions: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        """Advance by one step; agents that are over leave ``agents``."""
        if not self.agents:
            return {}, {}, {}, {}, {}
        there = self.agents
        words = []
        for agent in self.spec.agents:
            kind = np.float32 if agent.action.kind == "continuous" else np.int32
            given = np.asarray(actions.get(agent.name, np.zeros(agent.action.words)))
            words.append(agent.action.internal(given.reshape(1, -1)).astype(kind))
        self.batch.step(words)
        figures = {name: float(values[0]) for name, values in self.batch.metrics(np.arange(1)).items()}
        number = {name: index for index, name in enumerate(self.possible_agents)}
        terminated = {name: bool(self.batch.terminated[0, number[name]]) for name in there}
        truncated = {name: bool(self.batch.truncated[0, number[name]]) for name in there}
        rewards = {name: float(self.batch.reward[0, number[name]]) for name in there}
        observations = self._observations()
        self.agents = [
            name for name in there if not (terminated[name] or truncated[name]) and self.batch.alive[0, number[name]]
        ]
        return observations, rewards, terminated, truncated, {name: dict(figures) for name in there}

    def _observations(self) -> dict[str, Any]:
        rows = [np.zeros((1, agent.observation_size), np.float32) for agent in self.spec.agents]
        masks = [np.ones((1, a.action.flags), np.float32) if a.masked else None for a in self.spec.agents]
        self.batch.observe(slice(None), rows, masks)
        found = {}
        for agent, row, mask in zip(self.spec.agents, rows, masks):
            if agent.name in self.agents:
                seen = row[0].reshape(agent.observation_shape)
                found[agent.name] = (
                    seen if mask is None else {"observation": seen, "action_mask": mask[0].astype(np.int8)}
                )
        return found

    def render(self) -> np.ndarray | None:
        """A picture, uint8 [height, width, 3], with ``render_mode="rgb_array"``."""
        return self.batch.picture(0) if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Nothing to close."""


def _space_of(action: ActionSpec) -> spaces.Space:
    if action.kind == "continuous":
        return spaces.Box(np.array(action.low, np.float32), np.array(action.high, np.float32), dtype=np.float32)
    return spaces.Discrete(action.sizes[0]) if action.kind == "discrete" else spaces.MultiDiscrete(action.sizes)
