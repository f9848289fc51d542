"""``rware:tiny-2ag``: the multi-robot warehouse (Papoudakis et al. 2021, arXiv 2006.07869).

The package rware with its native class, for it calls the end of time a termination. Robots drive under shelves, carry those
that are requested to the goals, and must put them down on a free place before they can take another one.

Names are those of the package, ``[rware-][img-][Nd-][2s-]SIZE-[8h-]2ag[-easy|-hard][-v2]`` with SIZE tiny, small, medium, large or
ROWSxCOLUMNS (of blocks of shelves; an odd number of columns), for blocks 8 high, an image instead of numbers, one that does
not turn with the robot, a sight of 2 cells; also ``-2ag-3req-indiv|global|twostage``. As many shelves are requested at a time as
there are robots, twice as many (easy), half as many (hard).

Arguments: ``sensor_range`` (1 cell), ``column_height`` (8), ``requests``, ``reward`` (individual, global, two_stage), ``image`` (false),
``directional`` (true), ``message_bits`` (0), ``normalised_coordinates`` (false), ``max_steps`` (500), ``max_inactivity_steps`` (none).

Observation: own column and row, carrying, direction, on a corridor; of every cell in sight (itself among them, row after
row): robot there, its direction, its message, shelf there, requested. With ``image``: [2·range + 1, 2·range + 1, 5], the layers
shelves, requests, robots, goals, free cells. Action: 0 nothing, 1 forward, 2 turn left, 3 turn right, 4 lift or put down; with
messages one bit each more. Reward: 1 for each requested shelf that the robot brings to a goal (global: to everybody;
two_stage: 0.5, and 0.5 when it is put back). Truncated after ``max_steps``; terminated when ``max_inactivity_steps`` passed
without a delivery.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
from rware.warehouse import Direction, ObservationType, RewardType, Warehouse

from ...ground.errors import InputError
from ..copies import Copies
from ..networked.base import bounded, build
from .joint import Joint
from .tiles import BLUE, GREEN, GREY, ORANGE, Board

NAME = re.compile(
    r"(?:rware-)?(?P<image>img-)?(?P<fixed>Nd-)?(?:(?P<range>\d+)s-)?(?P<size>tiny|small|medium|large|\d+x\d+)"
    r"(?:-(?P<height>\d+)h)?-(?P<agents>\d+)ag(?:-(?P<requests>\d+)req)?(?:-(?P<reward>indiv|global|twostage))?"
    r"(?:-(?P<level>easy|hard))?(?:-v(?P<version>\d+))?"
)
SIZES = {"tiny": (1, 3), "small": (2, 3), "medium": (2, 5), "large": (3, 5)}
REQUESTED = {None: 1.0, "easy": 2.0, "hard": 0.5}
REWARDS = {"individual": RewardType.INDIVIDUAL, "global": RewardType.GLOBAL, "two_stage": RewardType.TWO_STAGE}
NOSE = {Direction.UP: (-1, 0), Direction.DOWN: (1, 0), Direction.LEFT: (0, -1), Direction.RIGHT: (0, 1)}
LARGEST = 99


class Robots(Joint):
    """One warehouse; see the module's docstring."""

    def __init__(self, env: Warehouse) -> None:
        super().__init__(env)
        self.horizon = env.max_steps
        self.deliveries = 0

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Begin an episode."""
        self.deliveries = 0
        return super().reset(seed)

    def step(self, actions: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        """Advance by one step."""
        found = super().step(actions)
        if self.env.reward_type == RewardType.GLOBAL:
            self.deliveries += int(found[1]["agent_0"])
        else:  # a robot that is paid at a goal brought a shelf there; elsewhere it put one back
            paid = [reward > 0 for reward in found[1].values()]
            at_goal = [(robot.x, robot.y) in self.env.goals for robot in self.env.agents]
            self.deliveries += sum(here and now for here, now in zip(at_goal, paid))
        return found

    def ended(self) -> tuple[bool, bool]:
        """Nothing delivered for too long; time is up."""
        env = self.env
        idle = env.max_inactivity_steps is not None and env._cur_inactive_steps >= env.max_inactivity_steps
        return idle, env._cur_steps >= env.max_steps

    def positions(self) -> dict[str, tuple[int, int]]:
        """Column and row, in cells."""
        return {name: (robot.x, robot.y) for name, robot in zip(self.possible_agents, self.env.agents)}

    def metrics(self) -> dict[str, float]:
        """``deliveries``: requested shelves brought to a goal."""
        return {"deliveries": float(self.deliveries)}

    def render(self) -> np.ndarray:
        """Robots (blue, orange with a shelf) that show where they look, shelves (grey, green if requested), goals (numbered),
        uint8 [height, width, 3]."""
        env, board = self.env, Board(*self.env.grid_size, cell=24)
        for number, (column, row) in enumerate(env.goals):
            board.fill(row, column, (60, 60, 60))
            board.number(row, column, number)
        for shelf in env.shelfs:
            board.fill(shelf.y, shelf.x, GREEN if shelf in env.request_queue else GREY)
        for robot in env.agents:
            board.disc(robot.y, robot.x, ORANGE if robot.carrying_shelf else BLUE, NOSE[robot.dir])
        return board.image


def make(name: str, arguments: dict[str, Any], copies: int, agents: int | None, render: bool) -> Copies:
    """``rware:NAME``. Raises InputError."""
    env = f"rware:{name}"
    found = NAME.fullmatch(name)
    if not found:
        raise InputError(
            f"--env {env}: is not of the form rware:tiny-2ag, rware:small-4ag-hard or rware:1x3-8h-2ag-2req"
        )
    said = found.groupdict()
    if said["version"] not in (None, "2"):
        raise InputError(f"--env {env}: the package has version 2 (leave -v{said['version']} out)")
    rows, columns = SIZES.get(said["size"]) or map(int, said["size"].split("x"))
    robots = bounded(env, "robots", int(said["agents"]), 1, LARGEST, whole=True)
    bounded(env, "rows of blocks", rows, 1, LARGEST, whole=True)
    if not 1 <= columns <= LARGEST or columns % 2 == 0:
        raise InputError(f"--env {env}: {columns} columns of blocks; the number must be odd, from 1 to {LARGEST}")
    shorts = {"indiv": "individual", "global": "global", "twostage": "two_stage", None: "individual"}
    defaults = {
        "requests": int(said["requests"] or robots * REQUESTED[said["level"]]),
        "reward": shorts[said["reward"]],
        "column_height": int(said["height"] or 8),
        "sensor_range": int(said["range"] or 1),
        "image": bool(said["image"]),
        "directional": not said["fixed"],
    }

    def one(
        copies: int,
        agents: int | None,
        requests: int,
        reward: str,
        column_height: int,
        sensor_range: int,
        image: bool,
        directional: bool,
        message_bits: int = 0,
        normalised_coordinates: bool = False,
        max_steps: int = 500,
        max_inactivity_steps: int | None = None,
    ) -> Copies:
        if str(reward) not in REWARDS:
            raise InputError(f"--env {env}: reward '{reward}' is none of {', '.join(REWARDS)}")
        bounded(env, "column_height", column_height, 1, LARGEST, whole=True)
        bounded(env, "sensor_range", sensor_range, 1, LARGEST, whole=True)
        bounded(env, "message_bits", message_bits, 0, 16, whole=True)
        bounded(env, "max_steps", max_steps, 1, math.inf, whole=True)
        if max_inactivity_steps is not None:
            bounded(env, "max_inactivity_steps", max_inactivity_steps, 1, math.inf, whole=True)
        switches = {"image": image, "directional": directional, "normalised_coordinates": normalised_coordinates}
        for what, value in switches.items():
            if not isinstance(value, bool):
                raise InputError(f"--env {env}: {what} {value!r} is not true or false")
        warehouses = [
            Warehouse(
                shelf_columns=columns,
                column_height=column_height,
                shelf_rows=rows,
                n_agents=robots,
                msg_bits=message_bits,
                sensor_range=sensor_range,
                request_queue_size=requests,
                max_inactivity_steps=max_inactivity_steps,
                max_steps=max_steps,
                reward_type=REWARDS[reward],
                observation_type=ObservationType.IMAGE if image else ObservationType.FLATTENED,
                image_observation_directional=directional,
                normalised_coordinates=normalised_coordinates,
            )
            for _ in range(copies)
        ]
        first = warehouses[0]
        shelves = int((first.highways == 0).sum())
        if robots > first.highways.size:
            raise InputError(f"--env {env}: {robots} robots do not fit into {first.highways.size} cells")
        # One shelf must stay that is not requested, to be requested next.
        bounded(env, "requests", requests, 1, shelves - 1, whole=True)
        return Copies(env, [Robots(warehouse) for warehouse in warehouses], agents)

    return build(one, env, defaults | arguments, copies, agents)
