"""Batch environments with known variances: ``batch:gain_toys.NAME``."""

from __future__ import annotations

import numpy as np

from perla_net.world.networked.base import Batch
from perla_net.world.spec import ActionSpec, AgentSpec, WorldSpec


class Noisy(Batch):
    """Everybody is paid a_i + 2 a_{i+1} + noise, with a ∈ {0, 1} and N(0, 9) that is drawn for all steps at the reset: under uniform chance
    V_own = 1/4, V_oth = 1, V_env = 9 in a step."""

    STATE = ("time",)

    def __init__(self, copies, agents=None, horizon=1):
        super().__init__(copies, agents or 3, horizon)
        self.number = agents or 3
        self.noise = np.zeros((copies, horizon, self.number))

    @property
    def spec(self):
        action = ActionSpec("discrete", (2,))
        agents = tuple(AgentSpec(f"toy_{agent}", 2, "box", (2,), action) for agent in range(self.number))
        return WorldSpec("toy", agents, None, self.horizon)

    def draw(self, copy, rng):
        self.noise[copy] = rng.normal(0, 3, self.noise.shape[1:])

    def step(self, actions):
        chosen = np.stack([action.reshape(self.copies) for action in actions], 1)
        now = self.noise[np.arange(self.copies), np.minimum(self.time, self.horizon - 1)]
        self.reward[:] = chosen + 2 * np.roll(chosen, -1, 1) + now
        self.time += 1
        self.truncated[:] = (self.time >= self.horizon)[:, None]

    def observe(self, copies, observations, masks):
        for out in observations:
            out[:, 0], out[:, 1] = 1, self.time[copies]


class Announced(Noisy):
    """The same, but everybody sees the noise of the next step beforehand: it belongs to the state."""

    def observe(self, copies, observations, masks):
        now = self.noise[copies][np.arange(len(self.time[copies])), np.minimum(self.time[copies], self.horizon - 1)]
        for agent, out in enumerate(observations):
            out[:, 0], out[:, 1] = now[:, agent], 0


class Lasting(Announced):
    """And says so: the drawn numbers belong to the whole episode."""

    LASTING = ("noise",)


class Unlike(Noisy):
    """Cannot be brought back: nobody sees again what was seen."""

    visits = 0

    def observe(self, copies, observations, masks):
        Unlike.visits += 1
        for out in observations:
            out[:] = Unlike.visits

    def fork(self, *_):
        return False


class Free(Noisy):
    """Nobody is ever paid anything."""

    def step(self, actions):
        super().step(actions)
        self.reward[:] = 0
