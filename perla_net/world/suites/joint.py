"""Gymnasium environments that take and give tuples, one entry per agent, as objects with PettingZoo's parallel API."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces


class Joint:
    """``env`` with agents ``agent_0`` …, who all begin and end together. Images [layers, rows, columns] become [rows, columns,
    layers]. A subclass says in :meth:`ended` which end of an episode it was, since such environments do not, and draws in ``render``."""

    metadata = {"render_modes": ["rgb_array"]}

    def __init__(self, env: Any) -> None:
        self.env = env
        self.possible_agents = [f"agent_{index}" for index in range(len(env.action_space))]
        self.agents: list[str] = []
        self._actions = dict(zip(self.possible_agents, env.action_space))
        self._observations = dict(zip(self.possible_agents, map(_layers_last, env.observation_space)))

    @property
    def unwrapped(self) -> Joint:
        """Itself."""
        return self

    def observation_space(self, agent: str) -> spaces.Space:
        """A Box of float32."""
        return self._observations[agent]

    def action_space(self, agent: str) -> spaces.Space:
        """Discrete or MultiDiscrete."""
        return self._actions[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Begin an episode, which the seed alone determines."""
        self.agents = list(self.possible_agents)
        return self._named(self.env.reset(seed=seed)[0]), {name: {} for name in self.agents}

    def step(self, actions: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        """Advance by one step."""
        seen, rewards, *_ = self.env.step([actions[name] for name in self.possible_agents])
        terminated, truncated = self.ended()
        present = self.agents
        if terminated or truncated:
            self.agents = []
        return (
            self._named(seen),
            dict(zip(present, map(float, rewards))),
            dict.fromkeys(present, terminated),
            dict.fromkeys(present, truncated and not terminated),
            {name: {} for name in present},
        )

    def ended(self) -> tuple[bool, bool]:
        """Whether the last step ended the episode for good, and whether time is up."""
        raise NotImplementedError

    def _named(self, seen: Any) -> dict[str, np.ndarray]:
        layers_last = [np.moveaxis(one, 0, -1) if np.ndim(one) == 3 else one for one in seen]
        return dict(zip(self.possible_agents, layers_last))


def _layers_last(space: spaces.Space) -> spaces.Space:
    if len(space.shape) != 3:
        return space
    return spaces.Box(np.moveaxis(space.low, 0, -1), np.moveaxis(space.high, 0, -1), dtype=space.dtype)
