"""A strongly coupled task: agents on a ring whose payoffs depend on what their two neighbours do.

Each agent is shown one of ``contexts`` numbers, chooses one of ``actions`` actions, and is paid
``payoff[context, left's action, own action, right's action]``, a table drawn once per game from a standard normal and
scaled so that the best own answer matters as much as the neighbours' choices. With ``team`` every agent is paid the
team's mean instead. An episode is one step. ``pettingzoo:ring_game:agents=8,team=true`` with this folder on PYTHONPATH.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv


class RingGame(ParallelEnv):
    """See the module."""

    metadata = {"name": "ring_game_v0"}

    def __init__(self, agents: int = 8, contexts: int = 3, actions: int = 4, game: int = 0, team: bool = False) -> None:
        self.possible_agents = [f"player_{index}" for index in range(agents)]
        self.contexts, self.number, self.team = contexts, actions, team
        self.payoff = np.random.default_rng(game).normal(size=(agents, contexts, actions, actions, actions))

    def observation_space(self, agent: str) -> spaces.Space:
        """The context, one-hot through Discrete."""
        return spaces.Discrete(self.contexts)

    def action_space(self, agent: str) -> spaces.Space:
        """Discrete."""
        return spaces.Discrete(self.number)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """New contexts."""
        self.shown = np.random.default_rng(seed).integers(0, self.contexts, len(self.possible_agents))
        self.agents = list(self.possible_agents)
        return self._seen(), {agent: {} for agent in self.agents}

    def _seen(self) -> dict[str, int]:
        return {agent: int(context) for agent, context in zip(self.possible_agents, self.shown)}

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        """Pay everybody; the episode is over."""
        chosen = np.array([actions[agent] for agent in self.possible_agents])
        index = np.arange(len(chosen))
        paid = self.payoff[index, self.shown, np.roll(chosen, 1), chosen, np.roll(chosen, -1)]
        if self.team:
            paid = np.full(len(chosen), paid.mean())
        self.agents = []
        everyone = self.possible_agents
        return (
            self._seen(),
            dict(zip(everyone, paid.tolist())),
            dict.fromkeys(everyone, True),
            dict.fromkeys(everyone, False),
            {agent: {} for agent in everyone},
        )


parallel_env = RingGame
