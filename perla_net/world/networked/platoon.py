"""``platoon:catchup`` and ``platoon:slowdown``: cooperative adaptive cruise control, many copies stepped in one call.

Chu, Chinchali and Katti 2020 ("Multi-agent reinforcement learning for networked system control", ICLR; arXiv
2004.01339), with the equations, constants and order of events of the authors' program (deeprl_network,
``envs/cacc_env.py``). N vehicles follow each other and a leader that nobody steers. Vehicle i keeps the headway h (m,
from its front to the front of the one ahead) and the speed v (m/s); one step is 0.1 s (``control_interval_sec``: there
is no finer simulation step beneath it).

An action chooses the gains (α, β), in 1/s, of the optimal velocity model (Bando et al. 1995) for one step:

    u = α (V(h) − v) + β (v_ahead − v)
    V(h) = 15 (1 − cos(π (h − 5) / 30)) between h = 5 and 35 m, 0 below, 30 m/s above

0: (0, 0), 1: (0.5, 0), 2: (0, 0.5), 3: (0.5, 0.5). u is cut to ±2.5 m/s², the new speed to [0, 30] m/s; headways follow
by the trapezoid rule, h += 0.05 (v_ahead + v_ahead' − v − v'). All start at the target, h = 20 m and v = 15 m/s (where
V(20) = 15), but for, with U uniform in [0, 1):

    catchup    the first headway is 20 (1.5 + U) m; the leader drives at 15 m/s
    slowdown   leader and vehicles drive at 15 (1.5 + U) m/s; the leader slows to 15 m/s linearly over 300 steps

Speeds of a slow-down may start above the limit of 30 m/s; as in the authors' program the first step cuts them to it.

Reward of vehicle i: −(h − 20)² − (v − 15)² − 0.1 u² of the state after the step, with u the acceleration that came of
it; ``reward=training`` (the authors' shaping, default) adds −5 min(h − 10, 0)², ``reward=plain`` does not. A headway
below 1 m is a collision: from then on everything stands still and every vehicle gets −1000 a step, until the episode
is over (termination) at the next multiple of 60 steps or with the time. (What follows a collision can thus cost less
than driving on.) Without one it is cut off after 600 steps (truncation).

Observation (5 numbers): (v − 15) / 15, clip((v_ahead − v) / 5, ±2), clip((V(h) − v) / 5, ±2),
(h + 0.1 (v_ahead − v) − 20) / 20 and u / 2.5; ``observe=neighbours`` (the authors' IA2C agents) appends those of the
vehicle ahead and of the one behind. A vehicle is influenced by the one ahead, and by the one behind only where it
observes it. (The authors' agents talk both ways: ``--topology path``.)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ground.errors import InputError
from ..spec import ActionSpec, AgentSpec, WorldSpec
from .base import Batch, bounded, build
from .drawing import INK, PALE, Axis, Lines, Marks, Scale, Scene, Texts

STEP = 0.1
HEADWAY, SPEED = 20.0, 15.0
"""Targets, m and m/s."""
STANDSTILL, FREE = 5.0, 35.0
"""Headways, m, up to which a vehicle wants to stand and from which it wants to drive at the limit."""
SPEED_LIMIT, ACCELERATION_LIMIT = 30.0, 2.5
GAINS = np.array([(0, 0), (0.5, 0), (0, 0.5), (0.5, 0.5)])
ACCELERATION_WEIGHT = 0.1
NEAR, NEAR_WEIGHT = 10.0, 5.0
TOUCH, TOUCH_COST, TOUCH_BLOCK = 1.0, 1000.0, 60
SLOWING = 300
HORIZON = 600
PACE = Scale("speed, m/s", "viridis")
GAP = Scale(f"headway, m (target {HEADWAY:g})", "coolwarm_r", centre=HEADWAY)
VEHICLE = ((-1.6, -0.7), (1.6, -0.7), (1.6, 0.7), (-1.6, 0.7), (-1.6, -0.7))
"""Its outline in the picture."""


def optimal_speed(headway: np.ndarray) -> np.ndarray:
    """The speed, m/s, that suits a headway, m."""
    share = np.clip((headway - STANDSTILL) / (FREE - STANDSTILL), 0, 1)
    return SPEED_LIMIT / 2 * (1 - np.cos(np.pi * share))


class Platoon(Batch):
    """``copies`` platoons side by side; a scenario says how they begin and what the leader does."""

    scenario = ""
    STATE = ("headway", "speed", "acceleration", "collided", "time", "cost", "missed", "closest")
    DRAWN = LASTING = ("drawn",)

    def __init__(
        self,
        copies: int,
        agents: int | None = None,
        horizon: int = HORIZON,
        reward: str = "training",
        observe: str = "own",
    ) -> None:
        self.vehicles, name = agents or 8, self.env
        super().__init__(copies, self.vehicles, bounded(name, "horizon", horizon, 1, math.inf, whole=True))
        if reward not in ("training", "plain"):
            raise InputError(f"--env {name}: reward '{reward}' is neither training nor plain")
        if observe not in ("own", "neighbours"):
            raise InputError(f"--env {name}: observe '{observe}' is neither own nor neighbours")
        self.shaped, self.wide = reward == "training", observe == "neighbours"
        self.drawn = np.zeros(copies)
        shape = (copies, self.vehicles)
        self.headway, self.speed, self.acceleration = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        self.collided = np.zeros(copies, bool)
        self.cost, self.missed, self.closest = np.zeros(copies), np.zeros(copies), np.zeros(copies)

    @property
    def env(self) -> str:
        """As in ``--env``."""
        return f"platoon:{self.scenario}"

    @property
    def spec(self) -> WorldSpec:
        """Vehicles from the first to the last; they move, and their places are those of :meth:`positions`."""
        number = self.vehicles
        action = ActionSpec("discrete", (len(GAINS),))
        sizes = [5 * len(self._seen_by(vehicle)) for vehicle in range(number)]
        agents = tuple(AgentSpec(f"vehicle_{i + 1}", size, "box", (size,), action) for i, size in enumerate(sizes))
        edges = [(other, i) for i in range(number) for other in {i - 1, *self._seen_by(i)} if other not in (-1, i)]
        return WorldSpec(self.env, agents, tuple(sorted(edges)), self.horizon, tuple(self.controllers), moves=True)

    def _seen_by(self, vehicle: int) -> list[int]:
        """Whose five numbers a vehicle observes."""
        others = [other for other in (vehicle - 1, vehicle + 1) if 0 <= other < self.vehicles]
        return [vehicle, *others] if self.wide else [vehicle]

    def positions(self) -> np.ndarray:
        """Where the vehicles of the first copy are, [vehicles, 1], m ahead of the leader (so below zero)."""
        return -np.cumsum(self.headway[0])[:, None]

    def draw(self, copy: int, rng: np.random.Generator) -> None:
        """U of the scenario."""
        self.drawn[copy] = rng.random()

    def begin(self, copies: np.ndarray) -> None:
        """Headways of 20 m and speeds of 15 m/s; a scenario disturbs them."""
        self.headway[copies], self.speed[copies] = HEADWAY, SPEED
        self.disturb(copies)
        self.closest[copies] = self.headway[copies].min(1)

    def disturb(self, copies: np.ndarray) -> None:
        """Set the start of the scenario in the given copies."""
        raise NotImplementedError

    def leader(self, time: np.ndarray) -> np.ndarray:
        """Speed of the leader, m/s, [copies], at the step that each copy has reached."""
        raise NotImplementedError

    def _ahead(self, time: np.ndarray, speed: np.ndarray) -> np.ndarray:
        """Speed of the vehicle ahead of each, [copies, vehicles]."""
        return np.concatenate([self.leader(time)[:, None], speed[:, :-1]], axis=1)

    def step(self, actions: list[np.ndarray]) -> None:
        """Advance every copy by 0.1 s; ``actions[i]``: int [copies, 1] or [copies], the gains of vehicle i."""
        gains = GAINS[np.stack([action.reshape(self.copies) for action in actions], axis=1)]
        speed, ahead = self.speed, self._ahead(self.time, self.speed)
        wanted = gains[..., 0] * (optimal_speed(self.headway) - speed) + gains[..., 1] * (ahead - speed)
        new = np.clip(speed + np.clip(wanted, -ACCELERATION_LIMIT, ACCELERATION_LIMIT) * STEP, 0, SPEED_LIMIT)
        gained = STEP / 2 * (ahead + self._ahead(self.time + 1, new) - speed - new)
        moving = ~self.collided[:, None]
        self.acceleration = np.where(moving, (new - speed) / STEP, self.acceleration)
        self.speed = np.where(moving, new, speed)
        self.headway = np.where(moving, self.headway + gained, self.headway)
        self.time += 1
        self._account()

    def _account(self) -> None:
        """Rewards, ends and figures of the state that a step led to."""
        least = self.headway.min(1)
        self.collided |= least < TOUCH
        cost = (
            np.square(self.headway - HEADWAY)
            + np.square(self.speed - SPEED)
            + ACCELERATION_WEIGHT * np.square(self.acceleration)
        )
        cost = np.where(self.collided[:, None], TOUCH_COST, cost)
        near = NEAR_WEIGHT * np.square(np.minimum(self.headway - NEAR, 0)) * (self.shaped & ~self.collided)[:, None]
        self.reward[:] = -cost - near
        self.cost += cost.sum(1)
        self.missed += np.abs(self.headway - HEADWAY).sum(1)
        self.closest = np.minimum(self.closest, least)
        late = self.time >= self.horizon
        self.terminated[:] = (self.collided & (late | (self.time % TOUCH_BLOCK == 0)))[:, None]
        self.truncated[:] = (late & ~self.collided)[:, None]

    def observe(self, copies: Any, observations: list[np.ndarray], masks: list[np.ndarray | None]) -> None:
        """Write the present observations of the given copies (index array or slice), [copies, 5, 10 or 15]."""
        headway, speed = self.headway[copies], self.speed[copies]
        closing = self._ahead(self.time, self.speed)[copies] - speed
        seen = np.stack(
            [
                speed / SPEED - 1,
                np.clip(closing / 5, -2, 2),
                np.clip((optimal_speed(headway) - speed) / 5, -2, 2),
                (headway + closing * STEP) / HEADWAY - 1,
                self.acceleration[copies] / ACCELERATION_LIMIT,
            ],
            axis=2,
            dtype=np.float32,
            casting="same_kind",
        )
        for vehicle, out in enumerate(observations):
            out[:] = seen[:, self._seen_by(vehicle)].reshape(out.shape)

    def metrics(self, copies: np.ndarray) -> dict[str, np.ndarray]:
        """Of the episodes so far, [len(copies)] float64, whatever ``reward`` says.

        cost: plain cost (times −1: reward) per vehicle and step, those after a collision included; headway_error: mean
        distance of the headways from 20 m; closest: least headway, m; collided: 0 or 1.
        """
        steps = np.maximum(self.time[copies], 1) * self.vehicles
        return {
            "cost": self.cost[copies] / steps,
            "headway_error": self.missed[copies] / steps,
            "closest": self.closest[copies],
            "collided": self.collided[copies].astype(float),
        }

    def scene(self, copy: int) -> Scene:
        """The road up to the leader: vehicles coloured by speed, below each the headway to the one ahead."""
        behind = np.concatenate([[0.0], np.cumsum(self.headway[copy])])
        road = np.stack([-behind, np.zeros_like(behind)], 1)
        speed = np.concatenate([self.leader(self.time)[copy : copy + 1], self.speed[copy]])
        gaps = np.stack([road[1:], road[:-1]], 1) - [0.0, 0.8]
        touching = self.headway[copy] < TOUCH
        return Scene(
            self.env,
            int(self.time[copy]),
            [
                Lines(np.array([[[-1e5, 0], [1e5, 0]]]), "", colour=PALE, width=26, order=0, framed=False),
                Lines(gaps, "headway, below the road", self.headway[copy], GAP, width=7),
                Marks(gaps.reshape(-1, 2), "", shape="|", colour=INK, size=90),
                Marks(road[1:], "vehicle", speed[1:], PACE, shape=VEHICLE, size=260),
                Marks(
                    road[:1], "leader, which nobody steers", speed[:1], PACE, shape=VEHICLE, size=260, edge="#d55e00"
                ),
                Marks(road[1:][touching], "collision", colour="#d55e00", shape="X", size=160, order=5),
                Texts(
                    np.stack([road[:, 0], np.full(len(road), 0.85)], 1),
                    ["leader", *(str(vehicle + 1) for vehicle in range(self.vehicles))],
                ),
            ],
            f"{self.time[copy] * STEP:.1f} s",
            note=f"numbers: vehicles; targets: headway {HEADWAY:g} m, speed {SPEED:g} m/s",
            across=Axis("m from the leader"),
            frame=(None, None, -1.5, 1.3),
            aspect=0.13,
            width=10.0,
        )


class CatchUp(Platoon):
    """The platoon has fallen behind its leader."""

    scenario = "catchup"

    def disturb(self, copies: np.ndarray) -> None:
        """The first headway is 30 to 50 m."""
        self.headway[copies, 0] = HEADWAY * (1.5 + self.drawn[copies])

    def leader(self, time: np.ndarray) -> np.ndarray:
        """Always 15 m/s."""
        return np.full(self.copies, SPEED)


class SlowDown(Platoon):
    """The leader slows down from 22.5 to 37.5 m/s."""

    scenario = "slowdown"

    def disturb(self, copies: np.ndarray) -> None:
        """All drive at the leader's speed."""
        self.speed[copies] = self.leader(np.zeros_like(self.time))[copies, None]

    def leader(self, time: np.ndarray) -> np.ndarray:
        """Linear in time from the first speed at step 0 to 15 m/s at step 299."""
        first = SPEED * (1.5 + self.drawn)
        return first + (SPEED - first) * np.minimum(time / (SLOWING - 1), 1)


class Constant:
    """The same gains for everybody, always: (0.5, 0.5), a strong baseline."""

    def __init__(self, platoon: Platoon, action: int = 3) -> None:
        self.actions = np.full((platoon.vehicles, platoon.copies), action)

    def act(self, platoon: Platoon) -> np.ndarray:
        """Gains, int [vehicles, copies]."""
        return self.actions


Platoon.controllers = {"constant": Constant}
SCENARIOS = {kind.scenario: kind for kind in (CatchUp, SlowDown)}


def make(name: str, arguments: dict[str, Any], copies: int, agents: int | None, render: bool) -> Platoon:
    """``platoon:catchup`` or ``platoon:slowdown``; see :class:`Platoon` for the arguments."""
    if name not in SCENARIOS:
        raise InputError(f"--env platoon:{name}: there are platoon:catchup and platoon:slowdown")
    return build(SCENARIOS[name], f"platoon:{name}", arguments, copies, agents)


def any_number(name: str, arguments: dict[str, Any]) -> bool:
    """Yes."""
    return True
