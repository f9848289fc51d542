"""Small parallel environments whose right answers are known: ``pettingzoo:toys:kind=…``."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv


class Zoo(ParallelEnv):
    """Every kind of space in one team; agents that die, leave by truncation, and stay.

    box: Box(3) → Discrete(3), lives to the end. discrete: Discrete(4) → MultiDiscrete(2, 3), cut off at step 5.
    binary: MultiBinary(3) → Box(2), lives to the end. masked: Dict → Discrete(4), dies at step 3; action 0 is forbidden
    at odd times. Episodes are cut off after 7 steps. The first number of box's observation is 10·seed-digit + time.
    """

    metadata = {"name": "zoo"}
    possible_agents = ["box", "discrete", "binary", "masked"]
    length = 7

    def __init__(self):
        self.observation_spaces = {
            "box": spaces.Box(-np.inf, np.inf, (3,), np.float32),
            "discrete": spaces.Discrete(4, start=1),
            "binary": spaces.MultiBinary(3),
            "masked": spaces.Dict({"observation": spaces.Box(0, 1, (2,)), "action_mask": spaces.MultiBinary(4)}),
        }
        self.action_spaces = {
            "box": spaces.Discrete(3),
            "discrete": spaces.MultiDiscrete([2, 3]),
            "binary": spaces.Box(np.array([0.0, -np.inf], np.float32), np.array([10.0, np.inf], np.float32)),
            "masked": spaces.Discrete(4),
        }

    def observation_space(self, agent):
        return self.observation_spaces[agent]

    def action_space(self, agent):
        return self.action_spaces[agent]

    def reset(self, seed=None, options=None):
        self.digit = int(np.random.default_rng(seed).integers(1, 9))
        self.time = 0
        self.agents = list(self.possible_agents)
        return self._observe(), {agent: {} for agent in self.agents}

    def _observe(self):
        allowed = np.ones(4, np.int8)
        allowed[0] = self.time % 2 == 0
        table = {
            "box": np.array([10 * self.digit + self.time, self.digit, self.time], np.float32),
            "discrete": 1 + self.time % 4,
            "binary": np.array([self.time >> bit & 1 for bit in range(3)], np.int8),
            "masked": {"observation": np.array([self.time / 8, 1], np.float32), "action_mask": allowed},
        }
        return {agent: table[agent] for agent in self.agents}

    def step(self, actions):
        assert set(actions) == set(self.agents), "actions of exactly the agents that are there"
        for agent, action in actions.items():
            assert self.action_spaces[agent].contains(action), (agent, action)
        if "masked" in actions:
            assert self.time % 2 == 0 or actions["masked"] != 0, "a forbidden action was taken"
        before = list(self.agents)
        rewards = {
            agent: float(self.time + index) for index, agent in enumerate(self.possible_agents) if agent in before
        }
        self.time += 1
        over = self.time == self.length
        terminated = {agent: agent == "masked" and self.time == 3 for agent in before}
        truncated = {agent: over or (agent == "discrete" and self.time == 5) for agent in before}
        observations = self._observe()
        self.agents = [agent for agent in before if not (terminated[agent] or truncated[agent])]
        return observations, rewards, terminated, truncated, {agent: {} for agent in before}


class Told(Zoo):
    """The same, and it tells its state: digit and time, or (``wrong``) something of another size."""

    state_space = spaces.Box(0, 20, (2,))

    def __init__(self, wrong=False):
        super().__init__()
        self.wrong = wrong

    def state(self):
        return np.array([self.digit, self.time, 0][: 3 if self.wrong else 2], np.float32)


class Match(ParallelEnv):
    """One agent or several, each shown a number and paid 1 for naming it; ``recall``: shown only at the first of 3 steps,
    paid at the last; ``continuous``: name it as a real number. Episodes end by termination after ``length`` steps."""

    metadata = {"name": "match"}

    def __init__(self, agents=1, numbers=4, recall=False, continuous=False, length=4):
        self.possible_agents = [f"agent_{index}" for index in range(agents)]
        self.numbers, self.recall, self.continuous, self.length = numbers, recall, continuous, 3 if recall else length

    def observation_space(self, agent):
        return spaces.Box(0, 1, (self.numbers + 1,), np.float32)

    def action_space(self, agent):
        return spaces.Box(-np.inf, np.inf, (1,), np.float32) if self.continuous else spaces.Discrete(self.numbers)

    def reset(self, seed=None, options=None):
        self.rng = np.random.default_rng(seed)
        self.time = 0
        self.agents = list(self.possible_agents)
        self._draw()
        return self._observe(), {agent: {} for agent in self.agents}

    def _draw(self):
        if not self.recall or self.time == 0:
            self.shown = self.rng.integers(0, self.numbers, len(self.possible_agents))

    def _observe(self):
        rows = {}
        for index, agent in enumerate(self.possible_agents):
            row = np.zeros(self.numbers + 1, np.float32)
            if not self.recall or self.time == 0:
                row[self.shown[index]] = 1
            row[-1] = self.time / self.length
            rows[agent] = row
        return rows

    def step(self, actions):
        rewards = {}
        for index, agent in enumerate(self.possible_agents):
            if agent not in actions:
                continue
            if self.continuous:
                rewards[agent] = -float((actions[agent][0] - self.shown[index]) ** 2)
            else:
                paid = not self.recall or self.time == self.length - 1
                rewards[agent] = float(paid and actions[agent] == self.shown[index])
        self.time += 1
        self._draw()
        over = self.time == self.length
        present, self.agents = self.agents, [] if over else self.agents
        return (
            self._observe(),
            rewards,
            dict.fromkeys(present, over),
            dict.fromkeys(present, False),
            {a: {} for a in present},
        )


class Picture(Match):
    """The number is a bright column of a noisy image of bytes, height 9, width 4 per number, three channels or one."""

    def __init__(self, grey=False, **arguments):
        super().__init__(**arguments)
        self.shape = (9, 4 * self.numbers) if grey else (9, 4 * self.numbers, 3)

    def observation_space(self, agent):
        return spaces.Box(0, 255, self.shape, np.uint8)

    def _observe(self):
        rows = {}
        for index, agent in enumerate(self.possible_agents):
            image = self.rng.integers(0, 60, self.shape, dtype=np.uint8)
            image[:, 4 * self.shown[index] + 1 : 4 * self.shown[index] + 3] = 255
            rows[agent] = image
        return rows


class Aim(Match):
    """Name the number, and hit a value that goes with it: a Tuple, or with ``keys`` a Dict, of discrete and continuous parts."""

    def __init__(self, keys=False, **arguments):
        super().__init__(**arguments)
        parts = {"where": spaces.Box(-2, 2, (1,), np.float32), "which": spaces.Discrete(self.numbers, start=5)}
        self.space = spaces.Dict(parts) if keys else spaces.Tuple(parts.values())

    def action_space(self, agent):
        return self.space

    def step(self, actions):
        flat = {}
        for agent, action in actions.items():
            assert self.space.contains(action), action
            _, which = (None, action["which"]) if isinstance(action, dict) else action
            flat[agent] = which - 5
        shown = self.shown
        observations, rewards, *rest = super().step(flat)
        for agent in rewards:
            index = self.possible_agents.index(agent)
            where = actions[agent]["where"] if isinstance(actions[agent], dict) else actions[agent][0]
            rewards[agent] -= float(where[0] - (shown[index] - 1.5)) ** 2
        return observations, rewards, *rest


class Leaver(Match):
    """Two agents; the second dies after two steps of sixty."""

    def __init__(self):
        super().__init__(agents=2, length=60)

    def step(self, actions):
        observations, rewards, terminated, truncated, infos = super().step(actions)
        if self.time == 2:
            terminated["agent_1"] = True
            self.agents = ["agent_0"]
        alive = [agent for agent in terminated if agent in actions]
        return tuple(
            {agent: table[agent] for agent in alive} for table in (observations, rewards, terminated, truncated, infos)
        )


class Breach(Match):
    """At its third step it does what the parallel API does not allow, or has numbers that are not finite; its figures are
    those of an episode, and it cannot be drawn."""

    def __init__(self, what):
        super().__init__(agents=2, length=8)
        self.what = what

    def reset(self, seed=None, options=None):
        self.paid = 0.0
        began = super().reset(seed, options)
        return began[0] if self.what == "reset" else began

    def metrics(self):
        return {"paid": self.paid}

    def step(self, actions):
        observations, rewards, *rest = super().step(actions)
        if self.time == 3:
            if self.what == "no_reward":
                del rewards["agent_1"]
            elif self.what == "no_observation":
                del observations["agent_1"]
            elif self.what == "shape":
                observations["agent_0"] = np.zeros(1, np.float32)
            elif self.what == "text":
                rewards["agent_0"] = "much"
            elif self.what == "four":
                return (observations, rewards, *rest[1:])
            elif self.what == "nan_reward":
                rewards["agent_1"] = float("nan")
            elif self.what == "inf_observation":
                observations["agent_0"][0] = np.inf
        return (observations, rewards, *rest)


class BadMask(Match):
    """A mask for more actions than there are."""

    def observation_space(self, agent):
        return spaces.Dict({"observation": spaces.Box(0, 1, (2,)), "action_mask": spaces.MultiBinary(9)})


class Masked(Match):
    """Two agents who may not name one of the numbers, another one at every step; the mask comes with the observation."""

    def __init__(self):
        super().__init__(agents=2)

    def observation_space(self, agent):
        flags = spaces.Box(0, 1, (self.numbers,), np.int8)
        return spaces.Dict({"observation": super().observation_space(agent), "action_mask": flags})

    def _observe(self):
        rows = super()._observe()
        flags = np.ones(self.numbers, np.int8)
        flags[(int(self.shown[0]) + 1) % self.numbers] = 0
        return {agent: {"observation": row, "action_mask": flags.copy()} for agent, row in rows.items()}

    def step(self, actions):
        assert all(action != (int(self.shown[0]) + 1) % self.numbers for action in actions.values())
        return super().step(actions)


def crash():
    raise RuntimeError("an environment that cannot be made")


def parallel_env(kind="zoo", **arguments):
    kinds = {
        "zoo": Zoo,
        "told": Told,
        "match": Match,
        "picture": Picture,
        "aim": Aim,
        "leaver": Leaver,
        "breach": Breach,
        "badmask": BadMask,
        "masked": Masked,
        "crash": crash,
    }
    return kinds[kind](**arguments)
