"""States that a team comes to: one of each copy of the environment, at times spread over an episode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np
import torch

from ..world import streams
from ..world.environments import make
from ..world.hosts import ALIVE, OVER, Host
from ..world.spec import WorldSpec
from .acting import Acting

VISITED, GAIN = 101, 102
"""First parts of spawn keys: use of an environment copy on the way to a state (see ``world.py``); everything else that is random in here."""
WALK, WHEN, FIRST, LATER, CHANCE, REST = range(6)
"""What is drawn: on the way to a state; when it is left; the joint actions there; actions afterwards; the environment's chance; of copies that are over."""
UNKNOWN = 100
"""Steps over which states are spread where the environment does not tell the length of an episode."""


@dataclass(frozen=True)
class Visit:
    """A state: what the environment saved of it (arrays [1, …]), the seed of its episode, its step of the whole walk; per agent
    observation [1, size], mask [1, flags] or None, memory [1, width]; alive [N]: who acts there; begins: an episode does."""

    number: int
    state: dict[str, np.ndarray]
    seed: np.random.SeedSequence
    step: int
    observations: list[np.ndarray]
    masks: list[np.ndarray | None]
    memories: list[torch.Tensor]
    alive: np.ndarray
    begins: bool


def sequence(seed: int, *key: int) -> np.random.SeedSequence:
    """The stream of one purpose."""
    return np.random.SeedSequence(seed, spawn_key=(GAIN, *key))


def steps_of(states: int, horizon: int | None, seed: int) -> list[int]:
    """When each copy is stopped: somewhere in a part of its own of an episode's length, so that no rhythm of episodes is met."""
    length = horizon or UNKNOWN
    within = np.random.default_rng(sequence(seed, WHEN)).random(states)
    return [int((state + share) * length / states) for state, share in enumerate(within)]


def visit(
    env: str, world: WorldSpec, team: Sequence[Acting], states: int, seed: int, render: bool = False
) -> list[Visit]:
    """Let ``team`` (made for ``states`` copies) act, and note a state of each copy, a different episode each. Raises what the environment
    raises, ContractError among others."""
    environment = make(env, states, len(world.agents), render)
    host = Host(environment, world, 0, (seed, VISITED))
    generators = [np.random.default_rng(sequence(seed, WALK, agent)) for agent in range(len(team))]
    steps = steps_of(states, world.horizon, seed)
    found: dict[int, Visit] = {}
    with streams.kept():
        host.start()
        _raise(host)
        begins = np.ones(states, bool)
        for step in range(max(steps) + 1):
            here = [copy for copy, stop in enumerate(steps) if stop == step]
            if here:
                saved = environment.save()
                for copy in here:
                    found[copy] = _note(host, saved, team, copy, step, bool(begins[copy]))
            if step == max(steps):
                break
            for agent, (actor, layout, rows) in enumerate(zip(team, host.layouts, host.rows)):
                actor.take(actor.draw(generators[agent], 1, states))
                seen, mask = layout.views(rows)
                actor.act(0, [seen], [mask], [begins], [host.actions[agent]])
            host.step()
            _raise(host)
            host.finals.clear()
            flags = host.rows[0][:, host.layouts[0].reward + 1].view(np.int32)
            begins = (flags & OVER) > 0
    return [found[copy] for copy in range(states)]


def _note(
    host: Host, saved: dict[str, np.ndarray], team: Sequence[Acting], copy: int, step: int, begins: bool
) -> Visit:
    here = slice(copy, copy + 1)
    views = [layout.views(rows[here]) for layout, rows in zip(host.layouts, host.rows)]
    flags = [rows[copy, layout.reward + 1].view(np.int32) for layout, rows in zip(host.layouts, host.rows)]
    return Visit(
        copy,
        {name: array[here].copy() for name, array in saved.items()},
        np.random.SeedSequence(host.seed[0], spawn_key=(host.seed[1], copy, int(host.episode[copy]))),
        step,
        [seen.copy() for seen, _ in views],
        [None if mask is None else mask.copy() for _, mask in views],
        [actor.memory[here].clone() for actor in team],
        np.array([int(flag) & ALIVE for flag in flags]) > 0,
        begins,
    )


def _raise(host: Any) -> None:
    if host.broken is not None:
        raise host.broken
