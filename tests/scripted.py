"""An environment whose episodes are drawn from the seed of their reset, so that a test can draw them, too, and say what is right.

Agents come with the reset or later, and end at different times, by flags or without a word; who has ended may stay in ``agents`` with
its flags up, as many environments leave it. An observation is (agent, episode's number, time), the number being unlike others'.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

ENDS = ("terminated", "truncated", "both", "silent")


@dataclass(frozen=True)
class Life:
    """One agent in one episode: it is there from the observation at time ``comes`` on and ends with step ``goes`` (the number of steps
    then), ``how``; ``stays``: it is left in agents, flags up."""

    comes: int
    goes: int
    how: str
    stays: bool


def lives_of(seed: int, agents: int) -> list[Life]:
    """Everybody's life in the episode of a seed; somebody is there at the reset."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(agents):
        comes = int(rng.integers(0, 4)) * int(rng.random() < 0.5)
        length = int(rng.integers(1, 6))
        found.append(Life(comes, comes + length, str(rng.choice(ENDS)), bool(rng.random() < 0.3)))
    if all(life.comes for life in found):
        first = found[0]
        found[0] = Life(0, first.goes, first.how, first.stays)
    if rng.random() < 0.3:  # several at once
        last = max(life.goes for life in found)
        found = [Life(life.comes, last, life.how, life.stays) for life in found]
    return found


def reward_of(seed: int, time: int, agent: int) -> float:
    """What an agent is paid for its step from ``time`` on."""
    return float((seed * 31 + time * 7 + agent * 3) % 11 - 5)


def seen_of(seed: int, time: int, agent: int) -> np.ndarray:
    """What it sees at a time, float32 [3]."""
    return np.array([agent, seed % 9973 / 9973, time / 10], np.float32)


class Scripted(ParallelEnv):
    metadata = {"name": "scripted"}

    def __init__(self, agents=3, horizon=None, nobody=False, reborn=False):
        self.possible_agents = [f"agent_{index}" for index in range(agents)]
        self.nobody, self.reborn = nobody, reborn
        if horizon:
            self.horizon = horizon

    def observation_space(self, agent):
        return spaces.Box(-10, 10, (3,), np.float32)

    def action_space(self, agent):
        return spaces.Discrete(3)

    def _table(self, of, agents):
        return {self.possible_agents[index]: of(index) for index in agents}

    def reset(self, seed=None, options=None):
        self.seed, self.time = seed, 0
        self.lives = lives_of(seed, len(self.possible_agents))
        here = [index for index, life in enumerate(self.lives) if life.comes == 0 and not self.nobody]
        self.agents = [self.possible_agents[index] for index in here]
        return self._table(lambda index: seen_of(seed, 0, index), here), self._table(lambda index: {}, here)

    def step(self, actions):
        acting = [index for index, life in enumerate(self.lives) if life.comes <= self.time < life.goes]
        assert set(actions) == {self.possible_agents[index] for index in acting}, "exactly those who live act"
        paid = self._table(lambda index: reward_of(self.seed, self.time, index), acting)
        self.time += 1
        terminated, truncated, here, told = {}, {}, [], []
        for index, life in enumerate(self.lives):
            over = self.time >= life.goes
            kept = over and life.stays and life.how != "silent"
            if self.time < life.comes or (over and index not in acting and not kept):
                continue
            told.append(index)
            name = self.possible_agents[index]
            terminated[name] = over and life.how in ("terminated", "both")
            truncated[name] = over and life.how in ("truncated", "both")
            if not over or kept:
                here.append(index)
        if self.reborn and self.time >= 2:
            back = [index for index in range(len(self.lives)) if self.time > self.lives[index].goes]
            here = sorted({*here, *back})
            told = sorted({*told, *back})
            terminated |= dict.fromkeys((self.possible_agents[index] for index in back), False)
            truncated |= dict.fromkeys((self.possible_agents[index] for index in back), False)
        self.agents = [self.possible_agents[index] for index in here]
        seen = self._table(lambda index: seen_of(self.seed, self.time, index), told)
        return seen, paid, terminated, truncated, self._table(lambda index: {}, told)


parallel_env = Scripted


@dataclass
class Step:
    """What is right of one agent in one copy at one step t of a rollout."""

    there: bool
    """It acts."""
    begins: bool
    """The episode begins with this observation."""
    seen: np.ndarray | None = None
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False
    final: np.ndarray | None = None
    """What it sees where it was cut off."""


def right(seeds, agents: int, cut: int, steps: int) -> list[list[Step]]:
    """[steps + 1][agents] of one copy, from the definition. seeds(episode): of the reset; cut: steps after which the first episode is cut
    off, once nobody ends by itself in the same step; 0: never."""
    table: list[list[Step]] = []
    for episode in itertools.count():
        seed = seeds(episode)
        lives = lives_of(seed, agents)
        for time in itertools.count():
            here = [life.comes <= time < life.goes for life in lives]
            if time and not any(here):
                break  # nobody is left
            ends = [there and time + 1 == life.goes for there, life in zip(here, lives)]
            stopped = episode == 0 and cut and time + 1 >= cut and not any(ends)
            row = []
            for agent, life in enumerate(lives):
                one = Step(here[agent], time == 0)
                if one.there:
                    one.seen, one.reward = seen_of(seed, time, agent), reward_of(seed, time, agent)
                    one.terminated = ends[agent] and life.how != "truncated"
                    one.truncated = ends[agent] and life.how == "truncated" or bool(stopped)
                    if one.truncated:
                        one.final = seen_of(seed, time + 1, agent)
                elif stopped and life.comes == time + 1:
                    # It comes with the observation at which the others are cut off, and so is cut off before it acts.
                    one.truncated, one.final = True, seen_of(seed, time + 1, agent)
                row.append(one)
            table.append(row)
            if len(table) > steps:
                return table
            if stopped:
                break
    raise AssertionError
