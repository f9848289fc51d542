"""``magent2:battle`` …: MAgent2 (Zheng et al. 2018, arXiv 1712.00600), hundreds of agents on a grid, most of whom can die.

The engine is driven directly, a group of agents at a time: the package's PettingZoo layer spends its time on a dictionary
entry per agent, and in the first step of every episode gives each group the actions of the first one. Observations, rewards
and ends are those of that layer, but for the observation of an agent that died, which is zero.

Names and their arguments (with defaults; every one takes ``max_cycles``, ``minimap_mode`` and ``extra_features`` (false)):
``battle`` (map_size 45, max_cycles 1000), ``battlefield`` (80, 1000; walls), ``combined_arms`` (45, 1000; melee and ranged),
all three with step_reward −0.005, dead_penalty −0.1, attack_penalty −0.1, attack_opponent_reward 0.2 and 5 for a kill;
``gather`` (max_cycles 500; step_reward −0.01, attack_penalty −0.1, dead_penalty −1, attack_food_reward 0.5, 5 for the last
bite); ``adversarial_pursuit`` (45, 500; tag_penalty −0.2, a tag is worth 1 and costs the prey 1); ``tiger_deer`` (45, 300;
tiger_step_recover −0.1 health a step, deer_attacked −0.1, 1 for a deer attacked by two tigers at once).

Agents see a square around themselves, [rows, columns, channels] with walls, then presence and health of each group, the own
one first; ``minimap_mode`` adds densities over the whole map and the own place, ``extra_features`` the agent's number in binary,
its last action and reward. Actions: moves by cells in a circle, then attacks on cells in a circle. Who is killed is
terminated with the reward of that step; as soon as one of the groups (food is one) is gone all are; after ``max_cycles`` steps
they are truncated. In ``battle``, ``battlefield``, ``combined_arms`` and ``gather`` every episode starts alike, and what the seed
decides is the order in which attacks of a step are made.
"""

from __future__ import annotations

import importlib
import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the package would set it to half of the cores, for the whole process
from magent2.environments import magent_env  # noqa: E402

from ...ground.errors import InputError  # noqa: E402
from ..networked.base import Batch, bounded  # noqa: E402
from ..spaces import agent_spec  # noqa: E402
from ..spec import WorldSpec  # noqa: E402
from .tiles import BLUE, GREEN, GREY, ORANGE, RED, Board  # noqa: E402

SMALLEST = {"battle": 12, "battlefield": 46, "combined_arms": 16, "adversarial_pursuit": 7, "tiger_deer": 10}
NAMES = (*SMALLEST, "gather")
LARGEST = 400
"""Side of a map; with more walls than such a map has the package writes beyond its table of them."""
COLOURS = {
    "battle": (RED, BLUE),
    "battlefield": (RED, BLUE),
    "combined_arms": (RED, ORANGE, BLUE, GREEN),
    "adversarial_pursuit": (RED, BLUE),
    "tiger_deer": (GREEN, ORANGE),
    "gather": (GREEN, BLUE),
}


@dataclass
class Team:
    """A group of agents in the engine: its handle, its agents' indices, and their newest observations."""

    name: str
    handle: Any
    agents: np.ndarray
    seen: np.ndarray
    """[copies, agents of the team, numbers]."""


class Crowd(Batch):
    """``worlds``: the package's environments, one per copy, whose engines are driven here."""

    replays = True
    """A state comes back by playing its episode again."""

    def __init__(self, env: str, worlds: list[magent_env.magent_parallel_env]) -> None:
        self.worlds, first = worlds, worlds[0]
        self.env, self.kind = f"magent2:{env}", env
        names = first.possible_agents
        super().__init__(len(worlds), len(names), first.max_cycles)
        self.spaces = [(first.observation_space(name), first.action_space(name)) for name in names]
        self.agents = [agent_spec(self.env, name, *both) for name, both in zip(names, self.spaces)]
        self.teams = []
        for handle, size in zip(first.handles, first.team_sizes):
            start = sum(len(team.agents) for team in self.teams)
            numbers = self.agents[start].observation_size
            seen = np.zeros((self.copies, size, numbers), np.float32)
            self.teams.append(Team(names[start].rpartition("_")[0], handle, np.arange(start, start + size), seen))
        self.place = np.zeros((self.copies, len(names), 2), np.int32)
        """Column and row of everybody, of the dead where they died."""
        self.living = [[team.agents for team in self.teams] for _ in worlds]
        """Per copy and team, the indices of those who are in the engine, in its order."""
        self.food = [handle for handle in first.env.get_handles() if handle not in first.handles]
        self.grown = sum(first.env.get_num(handle) for handle in self.food)
        self.tags = np.zeros(self.copies)
        self.actions: list[list[np.ndarray]] = [[] for _ in worlds]

    @property
    def spec(self) -> WorldSpec:
        """Agents of all teams, one after the other; everybody may influence everybody, and moves."""
        return WorldSpec(self.env, tuple(self.agents), None, self.horizon, tuple(self.controllers), moves=True)

    def positions(self) -> np.ndarray:
        """Where everybody is in the first copy, [agents, 2], in cells."""
        return self.place[0].astype(float)

    def reset(self, copies: np.ndarray, seeds: list[np.random.SeedSequence]) -> None:
        """Begin an episode in the given copies."""
        for copy, seed in zip(copies, seeds, strict=True):
            world = self.worlds[copy]
            world.env.set_seed(int(seed.generate_state(1)[0] >> 1))
            world.env.reset()
            world.generate_map()
            self.time[copy], self.tags[copy] = 0, 0
            self.actions[copy] = []
            self.living[copy] = [team.agents for team in self.teams]
            self.terminated[copy] = self.truncated[copy] = False
            self.alive[copy], self.reward[copy] = True, 0
            for team, living in zip(self.teams, self.living[copy]):
                self._look(copy, team, living, np.ones(len(living), bool))

    def _look(self, copy: int, team: Team, present: np.ndarray, alive: np.ndarray) -> None:
        """Note what those who are in the engine see, and where they are; zeros for those who are not alive any more."""
        world = self.worlds[copy]
        view, features = world.env.get_observation(team.handle)
        if not world.extra_features:
            features = features[:, -2:] if world.minimap_mode else features[:, :0]
        _, rows, columns, channels = view.shape
        everybody = len(present) == len(team.agents)
        rank = slice(None) if everybody else present - team.agents[0]
        seen = team.seen[copy].reshape(len(team.agents), rows, columns, -1)
        if not everybody:
            seen[:] = 0
        seen[rank, :, :, :channels] = view
        if features.shape[1]:
            seen[rank, :, :, channels:] = features[:, None, None, :]
        seen[present[~alive] - team.agents[0]] = 0
        self.place[copy, present] = world.env.get_pos(team.handle)

    def step(self, actions: list[np.ndarray]) -> None:
        """Advance every copy; ``actions[i]``: int [copies, 1] or [copies] of agent i, that of the dead is not read."""
        chosen = np.stack([action.reshape(self.copies) for action in actions], axis=1).astype(np.int32)
        for copy in range(self.copies):
            self._step(copy, chosen[copy])

    def _step(self, copy: int, chosen: np.ndarray) -> None:
        self.actions[copy].append(chosen)
        engine = self.worlds[copy].env
        for team, present in zip(self.teams, self.living[copy]):
            engine.set_action(team.handle, chosen[present])
        over = engine.step()
        self.time[copy] += 1
        self.reward[copy], self.terminated[copy], self.truncated[copy], self.alive[copy] = 0, False, False, False
        for number, (team, present) in enumerate(zip(self.teams, self.living[copy])):
            alive = engine.get_alive(team.handle)
            self.reward[copy, present] = engine.get_reward(team.handle)
            self.terminated[copy, present] = over | ~alive
            self._look(copy, team, present, alive)
            self.living[copy][number] = present[alive]
        if self.kind == "adversarial_pursuit":
            self.tags[copy] -= self.reward[copy, self.teams[1].agents].sum()
        engine.clear_dead()
        for present in self.living[copy]:
            going_on = ~self.terminated[copy, present]
            if self.time[copy] >= self.horizon:
                self.truncated[copy, present] = going_on
            else:
                self.alive[copy, present] = going_on

    def observe(self, copies: Any, observations: list[np.ndarray], masks: list[np.ndarray | None]) -> None:
        """Write the newest observations of the given copies; zeros for the dead."""
        for team in self.teams:
            seen = team.seen[copies]
            for rank, agent in enumerate(team.agents):
                observations[agent][:] = seen[:, rank]

    def metrics(self, copies: np.ndarray) -> dict[str, np.ndarray]:
        """Of the episodes so far, [len(copies)]: ``alive_TEAM``, share of a team that lives; ``food``, share that was eaten;
        in ``adversarial_pursuit``, where nobody dies, ``tags``."""
        if self.kind == "adversarial_pursuit":
            return {"tags": self.tags[copies].copy()}
        found = {
            f"alive_{team.name}": np.array(
                [len(self.living[copy][number]) / len(team.agents) for copy in copies], float
            )
            for number, team in enumerate(self.teams)
        }
        if self.grown:
            left = [sum(self.worlds[copy].env.get_num(handle) for handle in self.food) for copy in copies]
            found["food"] = 1 - np.array(left, float) / self.grown
        return found

    def picture(self, copy: int) -> np.ndarray:
        """Walls grey, each group in its colour, uint8 [height, width, 3]."""
        world = self.worlds[copy]
        board = Board(world.map_size, world.map_size, max(2, 600 // world.map_size))
        for column, row in world.env._get_walls_info():
            board.fill(row, column, GREY)
        sides = world.env._get_groups_info()[:, 0]
        for handle, side, colour in zip(world.env.get_handles(), sides, COLOURS[self.kind]):
            for column, row in world.env.get_pos(handle):
                board.fill(row, column, colour, int(side))
        return board.image

    def save(self) -> dict[str, np.ndarray]:
        """The actions since the reset, padded with zeros, and what the engine must come to again with them."""
        words = np.zeros((self.copies, max(map(len, self.actions)), len(self.agents)), np.int32)
        for copy, actions in enumerate(self.actions):
            words[copy, : len(actions)] = actions or words[copy, :0]
        return {
            "words": words,
            "steps": np.array([len(actions) for actions in self.actions], np.int32),
            **{name: array.copy() for name, array in self._state().items()},
        }

    def _state(self) -> dict[str, np.ndarray]:
        return {"place": self.place, "alive": self.alive, "reward": self.reward, "tags": self.tags}

    def load(self, state: dict[str, np.ndarray], seeds: list[np.random.SeedSequence]) -> bool:
        """Play the running episodes again up to where they were; False when they come out otherwise."""
        self.reset(np.arange(self.copies), seeds)
        for copy in range(self.copies):
            for words in state["words"][copy, : state["steps"][copy]]:
                self._step(copy, words.copy())
        return all(np.array_equal(array, state[name]) for name, array in self._state().items())

    def fork(self, *_: Any) -> bool:
        """No: how the engine's chance could be drawn anew in the middle of an episode is not known."""
        return False


def make(name: str, arguments: dict[str, Any], copies: int, agents: int | None, render: bool) -> Crowd:
    """``magent2:NAME``. Raises InputError."""
    env = f"magent2:{name}"
    if name not in NAMES:
        raise InputError(f"--env {env}: is none of {', '.join(NAMES)}")
    module = importlib.import_module(f"magent2.environments.{name}.{name}")
    rewards = getattr(module, "default_reward_args", None) or module.default_env_args
    switches = ("minimap_mode", "extra_features")
    known = ["map_size"] * (name in SMALLEST) + ["max_cycles", *switches, *rewards]
    for key, value in arguments.items():
        if key not in known:
            raise InputError(f"--env {env}: unknown argument '{key}'; it takes {', '.join(known)}")
        if key in switches and not isinstance(value, bool):
            raise InputError(f"--env {env}: {key} {value!r} is not true or false")
        if key in rewards and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise InputError(f"--env {env}: {key} {value!r} is not a number")
    if "map_size" in arguments:
        bounded(env, "map_size", arguments["map_size"], SMALLEST[name], LARGEST, whole=True)
    bounded(env, "max_cycles", arguments.get("max_cycles", 1), 1, math.inf, whole=True)
    try:
        worlds = [module.parallel_env(**arguments) for _ in range(copies)]
    except AssertionError:  # some maps have walls on their border then
        raise InputError(f"--env {env}: the map does not come out with this map_size; try another") from None
    if min(worlds[0].team_sizes) == 0:
        raise InputError(f"--env {env}: map_size {arguments['map_size']} is too small, one of the groups has no agents")
    number = len(worlds[0].possible_agents)
    if agents is not None and agents != number:
        raise InputError(f"--agents {agents}: {env} has {number} agents (set them by map_size)")
    return Crowd(name, worlds)
