"""``traffic:grid`` as a PettingZoo ``ParallelEnv``, for other programs: one copy, the same dynamics."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from .traffic import PHASES, TrafficGrid


class TrafficParallelEnv(ParallelEnv):
    """Signals of a road grid; spaces, units and reward as in :mod:`perla_net.world.traffic`.

    Arguments as of :class:`~perla_net.world.traffic.TrafficGrid`: agents, rows, columns, reward, demand, horizon.
    ``infos`` hold the episode's figures (delay in s, vehicles, served, blocked) so far.
    """

    metadata = {"name": "perla_traffic_grid_v0", "render_modes": [], "is_parallelizable": True}

    def __init__(self, **arguments: Any) -> None:
        self.grid = TrafficGrid(1, **arguments)
        self.render_mode = None
        self.possible_agents = [agent.name for agent in self.grid.spec.agents]
        self.agents: list[str] = []
        self.observation_spaces = {name: spaces.Box(0.0, 1.0, (33,), np.float32) for name in self.possible_agents}
        self.action_spaces = {name: spaces.Discrete(len(PHASES)) for name in self.possible_agents}
        self._seeds = np.random.SeedSequence()

    @property
    def interaction_graph(self) -> list[tuple[str, str]]:
        """(j, i) where signal j influences signal i."""
        names = self.possible_agents
        return [(names[source], names[target]) for source, target in self.grid.spec.interaction or ()]

    def observation_space(self, agent: str) -> spaces.Space:
        """Box [0, 1]^33."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space:
        """Discrete(8)."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Begin an episode; later ones follow from the last seed that was given."""
        if seed is not None:
            self._seeds = np.random.SeedSequence(seed)
        self.agents = list(self.possible_agents)
        self.grid.reset(np.arange(1), self._seeds.spawn(1))
        return self._observations(), {name: {} for name in self.agents}

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        """Advance by 5 s."""
        if not self.agents:
            return {}, {}, {}, {}, {}
        self.grid.step([np.array([int(actions[name])]) for name in self.agents])
        figures = {name: float(values[0]) for name, values in self.grid.metrics(np.arange(1)).items()}
        over = bool(self.grid.truncated[0, 0])
        rewards = {name: float(self.grid.reward[0, index]) for index, name in enumerate(self.agents)}
        result = (
            self._observations(),
            rewards,
            {name: False for name in self.agents},
            {name: over for name in self.agents},
            {name: dict(figures) for name in self.agents},
        )
        if over:
            self.agents = []
        return result

    def _observations(self) -> dict[str, np.ndarray]:
        rows = [np.zeros((1, 33), np.float32) for _ in self.possible_agents]
        self.grid.observe(slice(None), rows, [None] * len(rows))
        return {name: row[0] for name, row in zip(self.possible_agents, rows)}

    def render(self) -> None:
        """Nothing is drawn."""

    def close(self) -> None:
        """Nothing to close."""


parallel_env = TrafficParallelEnv
