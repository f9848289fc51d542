"""Walkers on a line that should meet: a PettingZoo ParallelEnv, `--env pettingzoo:walkers`."""

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv


class Walkers(ParallelEnv):
    metadata = {"name": "walkers"}

    def __init__(self, agents=4, horizon=20, render_mode=None):
        self.possible_agents = [f"walker_{k}" for k in range(agents)]
        self.horizon = horizon  # optional: lets the program spread the first resets of its copies over an episode
        self.interaction_graph = [
            (f"walker_{j}", f"walker_{j + 1}") for j in range(agents - 1)
        ]  # optional: j influences j + 1

        self.sight, self.moves = spaces.Box(-np.inf, np.inf, (2,), np.float32), spaces.Discrete(3)  # left, none, right

    def observation_space(self, agent):
        return self.sight

    def action_space(self, agent):
        return self.moves

    def reset(self, seed=None, options=None):
        self.place = np.random.default_rng(seed).uniform(-5, 5, len(self.possible_agents))
        self.time, self.agents = 0, list(self.possible_agents)
        return self._observe(), {name: {} for name in self.agents}

    def _observe(self):
        ahead = self.place[np.maximum(np.arange(len(self.place)) - 1, 0)]  # the first walker leads
        rows = np.stack([self.place, ahead - self.place], 1).astype(np.float32)
        return dict(zip(self.agents, rows))

    def step(self, actions):
        self.place += [actions[name] - 1 for name in self.agents]
        self.time += 1
        seen, there, over = self._observe(), self.agents, self.time == self.horizon
        rewards = {name: -float(abs(seen[name][1])) for name in there}
        self.agents = [] if over else there
        return seen, rewards, dict.fromkeys(there, False), dict.fromkeys(there, over), {name: {} for name in there}


parallel_env = Walkers
