"""Small environments with one quirk each, as users' environments have them: ``pettingzoo:quirks:kind=…``."""

from __future__ import annotations

import os
import random

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv


class Plain(ParallelEnv):
    """Three agents that see (own index, time / 10), choose one of three, are paid 1, and are truncated after five steps."""

    metadata = {"name": "plain", "render_modes": []}
    names: list = ["a0", "a1", "a2"]
    length = 5

    def __init__(self, **arguments):
        self.possible_agents, self.agents, self.t, self.arguments = list(self.names), [], 0, arguments

    def observation_space(self, agent):
        return spaces.Box(-10, 10, (2,), np.float32)

    def action_space(self, agent):
        return spaces.Discrete(3)

    def see(self, name):
        return np.array([self.possible_agents.index(name), self.t / 10], np.float32)

    def info(self, name):
        return {}

    def pay(self, name, actions):
        return 1.0

    def reset(self, seed=None, options=None):
        self.agents, self.t = list(self.possible_agents), 0
        return {n: self.see(n) for n in self.agents}, {n: self.info(n) for n in self.agents}

    def step(self, actions):
        for name, action in actions.items():
            assert self.action_space(name).contains(action), f"{action!r} is outside {self.action_space(name)}"
        here, paid = list(self.agents), {n: self.pay(n, actions) for n in self.agents}
        self.t += 1
        over = self.t >= self.length
        self.agents = [] if over else self.agents
        told = {n: self.see(n) for n in here}
        return told, paid, dict.fromkeys(here, False), dict.fromkeys(here, over), {n: self.info(n) for n in here}


NAMES = {
    "slash": ["team/0", "team_0", "team 0"],
    "case": ["A", "a", "b"],
    "int": [0, 1, 2],
    "tuple": [("red", 0), ("red", 1), ("blue", 0)],
    "files": ["manifest", "world-0-1", ".hidden", "x.json", "../up", ""],
    "letters": ["ä", "a\u0308", "信号", "x" * 300, "x" * 299],
    "numbers": ["3", "1", "0", "2"],
    "newline": ["x", "new\nline"],
    "twice": [1, "1"],
    "nobody": [],
}


class Named(Plain):
    def __init__(self, names="int"):
        self.names = NAMES[names]
        super().__init__()
        self.interaction_graph = list(zip(self.names, self.names[1:]))


class Wrong(Plain):
    """One thing of what it gives is not what the parallel API says. late: only in the tenth episode of an object."""

    def __init__(self, what, late=False):
        super().__init__()
        self.what, self.late, self.episodes = what, late, 0

    def observation_space(self, agent):
        if self.what in ("below", "above"):
            return spaces.Discrete(3)
        if self.what == "masks":
            box = super().observation_space(agent)
            return spaces.Dict(observation=box, action_mask=spaces.Box(0, 1, (3,), np.int8))
        return super().observation_space(agent)

    def action_space(self, agent):
        return spaces.Box(-1, 1, (1,)) if self.what == "mask_of_values" else super().action_space(agent)

    def wrong(self):
        return not self.late or (self.episodes >= 10 and self.t > 1)

    def see(self, name):
        if self.what in ("below", "above"):
            return {"below": -1, "above": 3}[self.what] if self.wrong() else 0
        if self.what == "masks":
            return {"observation": super().see(name), "action_mask": np.ones(2 if self.wrong() else 3, np.int8)}
        if self.what == "shape" and self.wrong():
            return np.zeros((2, 2), np.float32)
        return super().see(name)

    def info(self, name):
        masks = self.what == "mask_of_values" or (self.what == "late_mask" and self.t > 1)
        return {"action_mask": np.ones(3, np.int8)} if masks else {}

    def reset(self, seed=None, options=None):
        self.episodes += 1
        seen, infos = super().reset(seed)
        return seen, None if self.what == "reset_infos" else infos

    def step(self, actions):
        seen, paid, ended, cut, infos = super().step(actions)
        here = list(paid)
        if not self.wrong():
            return seen, paid, ended, cut, infos
        if self.what == "flags":
            return seen, paid, False, self.t >= 5, infos
        if self.what == "flag":
            return seen, paid, dict.fromkeys(here, np.array([False, False])), cut, infos
        if self.what == "no_flag":
            return seen, paid, {}, cut, infos
        if self.what == "rewards":
            return seen, 1.0, ended, cut, infos
        if self.what == "reward":
            return seen, dict.fromkeys(here, "1"), ended, cut, infos
        if self.what == "infos":
            return seen, paid, ended, cut, None
        if self.what == "infinite":
            return seen, dict.fromkeys(here, float("nan")), ended, cut, infos
        if self.what == "exit":
            raise SystemExit(0)
        if self.what == "stranger":
            self.agents = [*self.agents, "new_7"]
        if self.what == "raises":
            raise KeyError("a bug of one's own")
        return seen, paid, ended, cut, infos


class Zombie(Plain):
    """Agents die at steps 2, 3, 4 and stay in agents, flags up."""

    when = {"a0": 2, "a1": 3, "a2": 4}

    def step(self, actions):
        assert set(actions) == {n for n in self.names if self.t < self.when[n]}, "only the living act"
        self.t += 1
        ns = self.agents
        paid = {n: float(n in actions) for n in ns}
        return {n: self.see(n) for n in ns}, paid, {n: self.t >= self.when[n] for n in ns}, dict.fromkeys(ns, False), {}


class NoCut(Plain):
    """Everybody leaves after five steps, without any flag."""

    def step(self, actions):
        seen, paid, ended, cut, infos = super().step(actions)
        return seen, paid, ended, dict.fromkeys(cut, False), infos


class InfoMask(Plain):
    """Only action ``only`` is allowed, which infos say; -1: none is."""

    def __init__(self, only=1):
        super().__init__()
        self.only = only

    def info(self, name):
        return {"action_mask": (np.arange(3) == self.only).astype(np.int8)}

    def step(self, actions):
        assert set(actions.values()) <= {max(self.only, 0)}, f"only {self.only} is allowed, not {actions}"
        return super().step(actions)


class Bytes(Plain):
    """Five by five cells of kinds 0 to 2, as bytes."""

    def observation_space(self, agent):
        return spaces.Box(0, 2, (5, 5), np.uint8)

    def see(self, name):
        return np.full((5, 5), self.t % 3, np.uint8)


BOXES = {
    "tight": spaces.Box(-0.3, 0.1, (2,), np.float64),
    "below_zero": spaces.Box(-2.0, -0.8, (2,), np.float32),
    "scalar": spaces.Box(-1.0, 2.0, (), np.float32),
    "half": spaces.Box(0.0, np.inf, (2, 2), np.float16),
    "whole": spaces.Box(0, 10, (2,), np.int32),
}


class Acts(Plain):
    def __init__(self, box):
        super().__init__()
        self.box = BOXES[box]

    def action_space(self, agent):
        return self.box


class Draws(Plain):
    """Draws from the global streams, or (``of=entropy``) from one that nobody can seed; also to be made."""

    def __init__(self, of="global"):
        super().__init__()
        self.rng = np.random.default_rng() if of == "entropy" else None
        self.shift = np.random.rand()

    def pay(self, name, actions):
        return self.rng.random() if self.rng else np.random.rand() + random.random() + self.shift


class Signature(Plain):
    """reset takes nothing, only the seed, or asks for more; ``old``: seeded by a method of its own."""

    def __init__(self, what="nothing"):
        super().__init__()
        self.reset = {"nothing": self._nothing, "seed": self._seed, "more": self._more, "old": self._nothing}[what]
        self.rng = np.random.default_rng(0)
        if what == "old":
            self.seed = self._old

    def _old(self, seed):
        self.rng = np.random.default_rng(seed)

    def _nothing(self):
        return Plain.reset(self)

    def _seed(self, seed=None):
        self.rng = np.random.default_rng(seed)
        return Plain.reset(self)

    def _more(self, seed, level):
        return Plain.reset(self)

    def pay(self, name, actions):
        return self.rng.random()


class Endless(Plain):
    length = 10**9


class Changed(Plain):
    """What it is depends on the variable CHANGED, as a file that is edited between a run and its resumption."""

    def __init__(self):
        self.how = os.environ.get("CHANGED", "")
        others = {"fewer": ["a0"], "renamed": ["b0", "b1", "b2"], "swapped": ["a1", "a0", "a2"]}
        self.names = others.get(self.how, ["a0", "a1", "a2"])
        super().__init__()

    def observation_space(self, agent):
        return spaces.Box(-10, 10, (3 if self.how == "wider" else 2,), np.float32)

    def see(self, name):
        return np.resize(super().see(name), 3 if self.how == "wider" else 2)

    def action_space(self, agent):
        return spaces.Discrete(4 if self.how == "actions" else 3)


class Unordered(Plain):
    """Agents from a set of texts, so that their order depends on PYTHONHASHSEED; agent_k is paid k. ``inside``: they are in order, but it
    goes through a set to draw what they are paid."""

    def __init__(self, inside=False):
        super().__init__()
        self.inside = inside
        names = {f"agent_{k}" for k in range(4)}
        self.possible_agents = sorted(names) if inside else list(names)

    def reset(self, seed=None, options=None):
        self.rng = np.random.default_rng(seed)
        return super().reset()

    def step(self, actions):
        seen, paid, *rest = super().step(actions)
        if self.inside:
            return seen, {name: self.rng.random() for name in set(paid)}, *rest
        return seen, {name: float(name[-1]) for name in paid}, *rest


class Figures(Plain):
    """metrics() goes through a set, or is not what it should be."""

    def __init__(self, what="set"):
        super().__init__()
        self.what = what

    def metrics(self):
        if self.what == "list":
            return [1.0]
        if self.what == "vary":
            return {"a": 1.0} if self.t < 3 else {"b": 1.0}
        return {name: float(len(name)) for name in {"alpha", "be", "gam", "d"}}


class Moves(Plain):
    """Changes the working folder in its steps, as careless environments do."""

    def step(self, actions):
        os.chdir("/")
        return super().step(actions)


class Duck:
    """Has the parallel API without inheriting anything; its influences are a method."""

    possible_agents = ["a", "b"]

    def __init__(self):
        self.inner = Plain()
        self.inner.possible_agents = self.possible_agents

    def __getattr__(self, name):
        if name in ("inner", "unwrapped", "world", "positions", "metrics", "controllers", "horizon"):
            raise AttributeError(name)
        return getattr(self.inner, name)

    def interaction_graph(self):
        return [("a", "b")]


class Arguments(Plain):
    """Tells what it was given."""

    def __init__(self, size=0, name="", rate=0.5, flag=False):
        super().__init__()
        print("given", repr(size), repr(name), repr(rate), repr(flag))


class Nested(Plain):
    """Sees a Dict of a Tuple, an image and what not; a1 has a mask in it, beside the rest. wrong: one part is not what its space says from
    the third step on; vector: is paid two objectives."""

    def __init__(self, wrong="", image=4, vector=False):
        super().__init__()
        self.wrong, self.image, self.vector = wrong, image, vector

    def observation_space(self, agent):
        parts = {
            "who": spaces.Discrete(3, start=-3),
            "grid": spaces.Box(-3, 3, (2, 2), np.int64),
            "more": spaces.Tuple(
                [spaces.MultiDiscrete([2, 3], start=[0, 1]), spaces.Box(0, 1, (self.image, 2, 3), np.uint8)]
            ),
        }
        return spaces.Dict(parts | {"action_mask": spaces.MultiBinary(3)} if agent == "a1" else parts)

    def see(self, name):
        index, odd = self.possible_agents.index(name), self.wrong if self.t > 1 else ""
        seen = {
            "more": (np.array([index % 2, 1 + index]), np.full((self.image, 2, 3), self.t % 2, np.uint8)),
            "grid": np.full((2, 2), self.t - 2)[: 1 if odd == "shape" else 2],
            "who": -index if odd == "value" else index - 3,
        }
        if odd == "key":
            del seen["who"]
        return seen | {"action_mask": np.array([0, 1, 0], np.int8)} if name == "a1" else seen

    def pay(self, name, actions):
        return [1, actions[name]] if self.vector else 1.0

    def step(self, actions):
        assert actions.get("a1", 1) == 1, "the only action that the mask allows"
        return super().step(actions)


class Objectives(Plain):
    """Is paid a vector: 1, the agent's index, its action; told: has a reward_space; odd: another number in the third step."""

    def __init__(self, told=True, odd=False, files=(), **more):
        super().__init__()
        self.odd = odd
        if told:
            self.reward_space = lambda agent: spaces.Box(-9, 9, (3,))
        assert list(files) in ([], ["a,b.xml", {"k": [1, None, True]}]) and not more, (files, more)

    def pay(self, name, actions):
        paid = np.array([1, self.possible_agents.index(name), actions[name]], np.float32)
        return paid[:2] if self.odd and self.t > 1 else paid


KINDS = {
    "plain": Plain,
    "names": Named,
    "wrong": Wrong,
    "zombie": Zombie,
    "nocut": NoCut,
    "infomask": InfoMask,
    "bytes": Bytes,
    "acts": Acts,
    "draws": Draws,
    "signature": Signature,
    "endless": Endless,
    "changed": Changed,
    "unordered": Unordered,
    "arguments": Arguments,
    "figures": Figures,
    "moves": Moves,
    "nested": Nested,
    "objectives": Objectives,
    "duck": Duck,
}


def parallel_env(kind="plain", **arguments):
    return KINDS[kind](**arguments)
