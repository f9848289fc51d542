"""What follows from a state: many copies of it, each with a joint action and a future of its own.

The copies of one state are laid out [draw m, joint action q, future k]. Copies with the same (m, k) have the same future: the same chance in
the environment and the same noise of all later actions, for every agent; those with the same (m, q) have the same joint action. Draws have
different futures, which the estimators do not need, but which costs nothing and tells more of chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np

from ..ground.errors import ContractError, InputError
from ..world import streams
from ..world.contract import Lives
from ..world.environments import make
from ..world.hosts import aligned, split
from ..world.spec import WorldSpec
from .acting import Acting
from .visiting import CHANCE, FIRST, LATER, REST, Visit, sequence

MOST = 1024
"""Copies that are stepped together, where one call steps many."""
FEW = 64
"""The same where each copy is an object of its own."""


@dataclass(frozen=True)
class Design:
    """How a state is looked at: draws M of two joint actions, futures n of each, horizon h (steps), discount, seed."""

    draws: int
    futures: int
    horizon: int
    gamma: float
    seed: int

    def block(self, agents: int, most: int) -> int:
        """Draws that are stepped together: as many as divide M and make at most ``most`` copies, else one."""
        copies = (agents + 2) * self.futures
        return max(
            part for part in range(1, self.draws + 1) if self.draws % part == 0 and (part == 1 or part * copies <= most)
        )


class Branches:
    """Copies of an environment in which states are branched."""

    def __init__(self, env: str, world: WorldSpec, design: Design) -> None:
        """Raises InputError where the environment cannot be made so often."""
        self.env, self.world, self.design = env, world, design
        probe = make(env, 1, len(world.agents))
        if reason := getattr(probe, "unbranched", ""):
            raise InputError(f"{env}: its states cannot be branched: {reason}")
        if not (hasattr(probe, "fork") or (hasattr(probe, "save") and hasattr(probe, "load"))):
            raise InputError(
                f"{env}: its states cannot be branched: it has neither save and load nor fork (perla_net/world/environments.py)"
            )
        number = len(world.agents)
        self.block = design.block(number, FEW if hasattr(probe, "envs") else MOST)
        self.copies = self.block * (number + 2) * design.futures
        self.environment: Any = make(env, self.copies, number)
        draw, joint, future = np.indices((self.block, number + 2, design.futures)).reshape(3, -1)
        self.draw, self.joint, self.future = draw, joint, draw * design.futures + future
        self.lives = Lives(world.name, [agent.name for agent in world.agents], self.copies)
        agents = world.agents
        self.actions = split(
            aligned(sum(agent.action.words for agent in agents) * self.copies),
            [(self.copies, agent.action.words) for agent in agents],
        )
        self.seen = [np.zeros((self.copies, agent.observation_size), np.float32) for agent in agents]
        self.masks = [
            np.ones((self.copies, agent.action.flags), np.float32) if agent.masked else None for agent in agents
        ]

    def outcomes(self, visit: Visit, team: Sequence[Acting]) -> tuple[np.ndarray, np.ndarray, bool]:
        """What everybody is paid after the state ``visit``, in the first step and over h (discounted), [M, N + 2, n, N] each; and whether the
        environment's chance differs between the futures. ``team`` was made for :attr:`copies`. Raises InputError where the state does not
        come back."""
        parts = [self._part(visit, team, first) for first in range(0, self.design.draws, self.block)]
        once, later, redrawn = zip(*parts)
        return np.concatenate(once), np.concatenate(later), all(redrawn)

    def _part(self, visit: Visit, team: Sequence[Acting], first: int) -> tuple[np.ndarray, np.ndarray, bool]:
        """The same for draws ``first`` … ``first + block − 1``."""
        design, number = self.design, len(team)
        with streams.kept():
            redrawn = self._restore(visit, first)
            for agent, actor in enumerate(team):
                actor.take(self._noise(visit, actor, agent, first))
                actor.memory = (
                    visit.memories[agent].expand(self.copies, -1).clone() if actor.remembers else actor.memory
                )
            earned = np.zeros((self.copies, number))
            once = earned
            there = np.broadcast_to(visit.alive, (self.copies, number))
            running = np.ones(self.copies, bool)
            for step in range(design.horizon):
                begins = np.full(self.copies, visit.begins and step == 0)
                for agent, actor in enumerate(team):
                    actor.act(step, [self.seen[agent]], [self.masks[agent]], [begins], [self.actions[agent]])
                there = self._step()
                paid = np.where(there & running[:, None], self.environment.reward, 0.0).astype(float)
                earned = earned + design.gamma**step * paid
                once = earned if step == 0 else once
                over = self.lives.over
                running &= ~over
                if not running.any() or step == design.horizon - 1:
                    break
                if over.any():  # nothing that they are paid from now on counts, but all copies are stepped together
                    which = np.flatnonzero(over)
                    self.environment.reset(which, sequence(design.seed, REST).spawn(len(which)))
                    self.lives.begin(which, self.environment.alive[which])
                self._look()
        shape = (self.block, number + 2, design.futures, number)
        return once.reshape(shape), earned.reshape(shape), redrawn

    def _step(self) -> np.ndarray:
        """One step of all copies; who was there, [copies, N]."""
        self.environment.step(
            [
                action if agent.action.low else action.view(np.int32)
                for action, agent in zip(self.actions, self.world.agents)
            ]
        )
        return self.lives.step(self.environment.terminated, self.environment.truncated, self.environment.alive)

    def _look(self) -> None:
        """What everybody sees now; zeros for who is not there."""
        self.environment.observe(slice(None), self.seen, self.masks)
        if not self.lives.alive.all():
            for agent, seen in enumerate(self.seen):
                seen[~self.lives.alive[:, agent]] = 0

    def _noise(self, visit: Visit, actor: Acting, agent: int, first: int) -> np.ndarray:
        """One agent's noise, [h, numbers, copies]: in the first step by joint action, afterwards by future."""
        design = self.design
        key = visit.number, agent
        rng = np.random.default_rng(sequence(design.seed, FIRST, *key))
        both = actor.draw(rng, 1, 2 * design.draws)[0].reshape(-1, 2, design.draws)[:, :, first : first + self.block]
        second = (self.joint == 1) | (self.joint == 2 + agent)  # B, and A with this agent's action of B
        at_once = both[:, second.astype(int), self.draw][None]
        if design.horizon == 1:
            return at_once
        rng = np.random.default_rng(sequence(design.seed, LATER, *key))
        later = actor.draw(rng, design.horizon - 1, design.draws * design.futures)
        return np.concatenate([at_once, later[:, :, first * design.futures + self.future]])

    def _restore(self, visit: Visit, first: int) -> bool:
        """Bring the state into every copy, with the futures of draws ``first`` …, and see that it is the state that was visited. Returns
        whether the environment's chance was drawn anew."""
        design = self.design
        if hasattr(self.environment, "fork"):
            numbers = range(first * design.futures, (first + self.block) * design.futures)
            futures = [sequence(design.seed, CHANCE, visit.number, future) for future in numbers]
            if self.environment.fork(visit.state, visit.seed, futures, self.future) is not False and self._arrived(
                visit
            ):
                return True
        # Where nobody knows how chance could be drawn anew without changing what is seen, all futures have that of the episode.
        state = {name: np.repeat(array, self.copies, 0) for name, array in visit.state.items()}
        if self.environment.load(state, [visit.seed] * self.copies) is False or not self._arrived(visit):
            raise ContractError(
                f"--env {self.env}: its states cannot be branched: played again from its seed and actions, step {visit.step} of copy "
                f"{visit.number} comes out otherwise than it was"
            )
        return False

    def _arrived(self, visit: Visit) -> bool:
        """Whether everybody who is there in the state sees in every copy what was seen there, to the bit; who is there is taken over."""
        self.lives.begin(np.arange(self.copies), np.broadcast_to(visit.alive, self.lives.alive.shape))
        if not np.array_equal(self.environment.alive, self.lives.alive):
            return False
        self._look()
        for agent in np.flatnonzero(visit.alive):
            mask, seen = self.masks[agent], self.seen[agent]
            if not (seen == visit.observations[agent]).all() or not (
                mask is None or (mask == visit.masks[agent]).all()
            ):
                return False
        return True
