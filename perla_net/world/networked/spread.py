"""``spread``: MPE's cooperative navigation for any number of agents, many copies stepped in one call.

Lowe et al. 2017 (arXiv 1706.02275), with the dynamics, observations and rewards of mpe2's ``simple_spread_v3``: N agents, which
are discs of radius 0.15, move on a plane and should cover N landmarks without touching each other. The same seed gives
the same start as there, and the same actions the same episode to rounding.

One step is 0.1 time units: positions move by the velocity, then v ← 0.75 v + 0.1 (u + contact forces); u is 5 in the direction
of the action (0 none, 1 left, 2 right, 3 down, 4 up). Two agents at distance d < 0.3 or nearly so push each other apart with the
force 100 · 0.001 · log(1 + exp((0.3 − d) / 0.001)).

Observation (6N numbers, in units of the plane): own velocity and position, landmarks relative to the agent, other agents
relative to it, and 2(N − 1) zeros, the silent channel of MPE. Reward of agent i: (1 − local_ratio) · (−Σ over landmarks of the
distance of the nearest agent) + local_ratio · (−number of agents that i touches). An episode is 25 steps and ends by truncation.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ground.errors import InputError
from ..spec import ActionSpec, AgentSpec, WorldSpec
from .base import Batch, bounded, build
from .drawing import COLOURS, INK, Marks, Scene, Texts

STEP, DAMPING, SENSITIVITY = 0.1, 0.25, 5.0
CONTACT_FORCE, CONTACT_MARGIN = 100.0, 1e-3
TOUCH = 0.3
NEAR = TOUCH + 40 * CONTACT_MARGIN
"""Beyond this distance the contact force is below 1e-18 and is not computed."""
DIRECTIONS = np.array([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]], float)
HORIZON = 25


class Spread(Batch):
    """``copies`` planes side by side."""

    STATE = ("position", "velocity", "landmark", "time", "missed", "touches")
    DRAWN = ("drawn",)

    def __init__(
        self, copies: int, agents: int | None = None, horizon: int = HORIZON, local_ratio: float = 0.5
    ) -> None:
        self.number = number = agents or 3
        super().__init__(copies, number, bounded("spread", "horizon", horizon, 1, math.inf, whole=True))
        self.local_ratio = bounded("spread", "local_ratio", local_ratio, 0, 1)
        self.drawn = np.zeros((copies, 2, number, 2))
        self.position = np.zeros((copies, number, 2))
        self.velocity = np.zeros((copies, number, 2))
        self.landmark = np.zeros((copies, number, 2))
        self.missed = np.zeros(copies)
        self.touches = np.zeros(copies)
        self.others = np.array([[other for other in range(number) if other != agent] for agent in range(number)], int)

    @property
    def spec(self) -> WorldSpec:
        """Agents and spaces; there is no graph, everybody sees everybody, but everybody is somewhere."""
        size = 6 * self.number
        action = ActionSpec("discrete", (len(DIRECTIONS),))
        agents = tuple(AgentSpec(f"agent_{index}", size, "box", (size,), action) for index in range(self.number))
        return WorldSpec("spread", agents, None, self.horizon, tuple(self.controllers), moves=True)

    def positions(self) -> np.ndarray:
        """Where everybody is in the first copy, [agents, 2], in units of the plane."""
        return self.position[0]

    def draw(self, copy: int, rng: np.random.Generator) -> None:
        """Agents and landmarks uniform in [−1, 1]²."""
        self.drawn[copy] = rng.uniform(-1, 1, (2, self.number, 2))

    def begin(self, copies: np.ndarray) -> None:
        """Everybody at rest where it was drawn."""
        self.position[copies], self.landmark[copies] = self.drawn[copies, 0], self.drawn[copies, 1]

    def step(self, actions: list[np.ndarray]) -> None:
        """Advance every copy by 0.1; ``actions[i]``: int [copies, 1] or [copies] of agent i."""
        chosen = np.stack([action.reshape(self.copies) for action in actions], axis=1)
        force = SENSITIVITY * DIRECTIONS[chosen]
        self._push(force)
        self.position += STEP * self.velocity
        self.velocity *= 1 - DAMPING
        self.velocity += STEP * force
        self.time += 1
        x, y = self.position[..., 0], self.position[..., 1]
        to_landmark = np.square(x[:, :, None] - self.landmark[:, None, :, 0])
        to_landmark += np.square(y[:, :, None] - self.landmark[:, None, :, 1])
        missed = np.sqrt(to_landmark.min(1)).sum(1)
        touching = (self._squared_distances() < TOUCH * TOUCH).sum(2) - 1  # everybody touches itself
        self.missed += missed / self.number
        self.touches += touching.sum(1) / 2
        self.reward[:] = -(1 - self.local_ratio) * missed[:, None] - self.local_ratio * touching
        self.truncated[:] = (self.time >= self.horizon)[:, None]

    def _squared_distances(self) -> np.ndarray:
        x, y = self.position[..., 0], self.position[..., 1]
        squared = np.square(x[:, :, None] - x[:, None, :])
        squared += np.square(y[:, :, None] - y[:, None, :])
        return squared

    def _push(self, force: np.ndarray) -> None:
        """Add the contact forces to ``force`` [copies, agents, 2]."""
        copy, one, other = np.nonzero(self._squared_distances() < NEAR * NEAR)
        different = one != other
        copy, one, other = copy[different], one[different], other[different]
        apart = self.position[copy, one] - self.position[copy, other]
        distance = np.sqrt(np.square(apart).sum(1))
        penetration = np.logaddexp(0, (TOUCH - distance) / CONTACT_MARGIN) * CONTACT_MARGIN
        np.add.at(force, (copy, one), (CONTACT_FORCE * penetration / distance)[:, None] * apart)

    def observe(self, copies: Any, observations: list[np.ndarray], masks: list[np.ndarray | None]) -> None:
        """Write the present observations of the given copies (index array or slice) into ``[copies, 6N]`` arrays."""
        position, number = self.position[copies].astype(np.float32), self.number
        places = np.concatenate([self.landmark[copies].astype(np.float32), position], axis=1)
        relative = (places[:, None] - position[:, :, None]).reshape(len(position), number, -1)
        motion = np.concatenate([self.velocity[copies], position], axis=2, dtype=np.float32, casting="same_kind")
        for agent, out in enumerate(observations):
            own = 2 * (number + agent)  # where the agent stands among the places; it does not see itself
            out[:, :4] = motion[:, agent]
            out[:, 4 : 4 + own] = relative[:, agent, :own]
            out[:, 4 + own : 4 * number + 2] = relative[:, agent, own + 2 :]
            out[:, 4 * number + 2 :] = 0

    def metrics(self, copies: np.ndarray) -> dict[str, np.ndarray]:
        """Of the episodes so far, [len(copies)]: ``distance``, mean distance of a landmark to the nearest agent; ``touches``,
        pairs of agents in contact, summed over steps."""
        return {"distance": self.missed[copies] / np.maximum(self.time[copies], 1), "touches": self.touches[copies]}

    def scene(self, copy: int) -> Scene:
        """Agents as large as they are, with their ways so far, and landmarks."""
        position = self.position[copy]
        touching = (self._squared_distances()[copy] < TOUCH * TOUCH).sum(1) > 1
        few = self.number <= len(COLOURS)
        return Scene(
            "spread",
            int(self.time[copy]),
            [
                Marks(self.landmark[copy], "landmark", colour=INK, shape="x", size=110, order=4),
                Marks(
                    position, "agent, and its way so far", colour=COLOURS[: self.number] if few else COLOURS[0],
                    radius=TOUCH / 2, edge="white", trail=True,
                ),
                Marks(position[touching], "touches another agent", colour="none", radius=TOUCH / 2, edge="black"),
                Texts(position, [str(agent) for agent in range(self.number)], size=10, colour="white"),
            ],
            f"{self.time[copy] * STEP:.1f} time units",
            note="numbers: agents",
            width=6.4,
        )  # fmt: skip


class Assignment:
    """Everybody walks to a landmark of its own, those that make the sum of distances least (Hungarian method)."""

    def __init__(self, spread: Spread) -> None:
        self.number = spread.number

    def act(self, spread: Spread) -> np.ndarray:
        """Directions, int [agents, copies]."""
        from scipy.optimize import linear_sum_assignment

        target = np.empty_like(spread.position)
        for copy, (agents, landmarks) in enumerate(zip(spread.position, spread.landmark)):
            distances = np.linalg.norm(agents[:, None] - landmarks[None], axis=2)
            target[copy] = landmarks[linear_sum_assignment(distances)[1]]
        # Where one would coast to; from there, a push along the longer axis if it is worth one.
        error = target - (spread.position + spread.velocity * STEP / DAMPING)
        axis = np.abs(error).argmax(2)
        along = np.take_along_axis(error, axis[..., None], 2)[..., 0]
        push = 1 + 2 * axis + (along > 0)
        return np.where(np.abs(along) > SENSITIVITY * STEP * STEP / DAMPING / 2, push, 0).T


Spread.controllers = {"assignment": Assignment}


def make(name: str, arguments: dict[str, Any], copies: int, agents: int | None, render: bool) -> Spread:
    """``spread``; see :class:`Spread` for the arguments."""
    if name:
        raise InputError(f"--env spread:{name}: there is one spread, without a name")
    return build(Spread, "spread", arguments, copies, agents)


def any_number(name: str, arguments: dict[str, Any]) -> bool:
    """Yes."""
    return True
