"""The program's own environments as PettingZoo ``ParallelEnv``, for other programs: one copy, the same dynamics."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv


class BatchParallelEnv(ParallelEnv):
    """One copy of a batch environment with discrete actions and Box observations.

    ``infos`` hold the episode's figures so far (the batch environment's ``metrics``).
    """

    def __init__(self, batch: Any, low: float, high: float) -> None:
        """``low``, ``high``: bounds of the observations."""
        self.batch = batch
        spec = batch.spec
        self.render_mode = None
        self.possible_agents = [agent.name for agent in spec.agents]
        self.agents: list[str] = []
        self.sizes = [agent.observation_size for agent in spec.agents]
        self.observation_spaces = {
            agent.name: spaces.Box(low, high, (agent.observation_size,), np.float32) for agent in spec.agents
        }
        self.action_spaces = {agent.name: spaces.Discrete(agent.action.sizes[0]) for agent in spec.agents}
        self._edges = spec.interaction or ()
        self._seeds = np.random.SeedSequence()

    @property
    def interaction_graph(self) -> list[tuple[str, str]]:
        """(j, i) where agent j influences agent i."""
        names = self.possible_agents
        return [(names[source], names[target]) for source, target in self._edges]

    def observation_space(self, agent: str) -> spaces.Space:
        """A Box."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space:
        """A Discrete space."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Begin an episode; later ones follow from the last seed that was given."""
        if seed is not None:
            self._seeds = np.random.SeedSequence(seed)
        self.agents = list(self.possible_agents)
        self.batch.reset(np.arange(1), self._seeds.spawn(1))
        return self._observations(), {name: {} for name in self.agents}

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        """Advance by one step."""
        if not self.agents:
            return {}, {}, {}, {}, {}
        self.batch.step([np.array([int(actions[name])]) for name in self.agents])
        figures = {name: float(values[0]) for name, values in self.batch.metrics(np.arange(1)).items()}
        over = bool(self.batch.truncated[0, 0])
        rewards = {name: float(self.batch.reward[0, index]) for index, name in enumerate(self.agents)}
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
        rows = [np.zeros((1, size), np.float32) for size in self.sizes]
        self.batch.observe(slice(None), rows, [None] * len(rows))
        return {name: row[0] for name, row in zip(self.possible_agents, rows)}

    def render(self) -> None:
        """Nothing is drawn."""

    def close(self) -> None:
        """Nothing to close."""
