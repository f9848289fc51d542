"""The same walkers, all copies in one call: `--env batch:walkers_batch.Walkers`."""

import numpy as np

from perla_net.world.networked.base import Batch
from perla_net.world.spec import ActionSpec, AgentSpec, WorldSpec


class Walkers(Batch):
    STATE = ("time", "place")  # arrays [copies, …]: zeroed at a reset, saved with a checkpoint

    def __init__(self, copies, agents=None, horizon=20):
        super().__init__(copies, agents or 4, horizon)  # time, reward, terminated, truncated, alive
        self.place = np.zeros((copies, agents or 4))
        self.first = np.zeros_like(self.place)

    @property
    def spec(self):
        number = self.place.shape[1]
        walker = [AgentSpec(f"walker_{k}", 2, "box", (2,), ActionSpec("discrete", (3,))) for k in range(number)]
        edges = tuple((j, j + 1) for j in range(number - 1))
        return WorldSpec("walkers", tuple(walker), edges, self.horizon)

    def draw(self, copy, rng):  # all that is random in an episode, from the copy's own seed
        self.first[copy] = rng.uniform(-5, 5, self.place.shape[1])

    def begin(self, copies):
        self.place[copies] = self.first[copies]

    def _gap(self):
        return self.place[:, np.maximum(np.arange(self.place.shape[1]) - 1, 0)] - self.place

    def step(self, actions):  # actions[i]: int32 [copies, 1]
        self.place += np.concatenate(actions, axis=1) - 1
        self.time += 1
        self.reward[:] = -np.abs(self._gap())
        self.truncated[:] = (self.time == self.horizon)[:, None]

    def observe(self, copies, observations, masks):
        rows = np.stack([self.place, self._gap()], 2)[copies]
        for agent, out in enumerate(observations):
            out[:] = rows[:, agent]

    def metrics(self, copies):
        return {"spread": np.ptp(self.place[copies], axis=1)}
