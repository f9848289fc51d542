"""``lbf:8x8-2p-1f``: level-based foraging (Albrecht & Ramamoorthy 2013; Papoudakis et al. 2021, arXiv 2006.07869).

The package lbforaging with its native class, for the end of time is a termination in it, an episode depends on the one
before (nobody may start where somebody stood at the end of it), and images and fields that are not square fail.

Names are those of the package, ``[Foraging-][grid-][2s-]ROWSxCOLUMNS-PLAYERSp-FOODSf[-coop][-2s][-ind][-pen][-v3]``: images, sight
of 2 cells, foods as strong as the three weakest players together, foods that one can take alone, a penalty of 0.1.
Players and foods have levels; those who load beside a food take it if their levels add up to its own. Foods are as many as
found a place, where the field is small.

Arguments: ``sight`` (cells; all), ``coop`` (false), ``grid`` (false; observations are images), ``penalty`` (0) for loading in vain,
``min_player_level``, ``max_player_level`` (1, 2), ``min_food_level``, ``max_food_level`` (1, the three weakest players' sum),
``normalize_reward`` (true), ``observe_agent_levels`` (true), ``max_episode_steps`` (50).

Observation: (row, column, level) of each food and each player, oneself first, −1 −1 0 for one that is not in sight; with
limited sight rows and columns of the visible part. With ``grid``: [2·sight + 1, 2·sight + 1, 3], levels of players, levels of food,
cells that one may enter. Action: 0 nothing, 1 up, 2 down, 3 left, 4 right, 5 load. Reward: level of the food that one took part
in taking, times the own share in the levels that took it, over all levels of food: with everything taken, all rewards add up to 1.
Terminated when no food is left, truncated after ``max_episode_steps``.
"""

from __future__ import annotations

import logging
import math
import re
from typing import Any

import numpy as np
from gymnasium import spaces
from lbforaging.foraging import ForagingEnv

from ...ground.errors import InputError
from ..copies import Copies
from ..networked.base import bounded, build
from .joint import Joint
from .tiles import BLUE, GREEN, Board

NAME = re.compile(
    r"(?:Foraging-?)?(?P<grid>grid-)?(?:(?P<sight>\d+)s-)?(?P<rows>\d+)x(?P<columns>\d+)-(?P<players>\d+)p-(?P<foods>\d+)f"
    r"(?P<coop>-coop)?(?:-(?P<sees>\d+)s)?(?P<ind>-ind)?(?P<pen>-pen)?(?:-v(?P<version>\d+))?"
)
LARGEST = 99


class Field(ForagingEnv):
    """The package's environment with its observation spaces put right."""

    def _get_observation_space(self) -> spaces.Box:
        levels = sorted(self.max_player_level)
        strongest = levels[-1] if self._observe_agent_levels else 1
        food = sum(levels[:3]) if self.max_food_level is None else max(self.max_food_level)
        if self._grid_observation:
            high = np.ones((3, 2 * self.sight + 1, 2 * self.sight + 1), np.float32)
            return spaces.Box(np.zeros_like(high), high * np.array([strongest, food, 1], np.float32)[:, None, None])
        last_row, last_column = self.rows - 1, self.cols - 1
        player = ([-1, -1, 0], [last_row, last_column, strongest])
        if not self._observe_agent_levels:
            player = ([-1, -1], [last_row, last_column])
        low = [-1, -1, 0] * self.max_num_food + player[0] * len(self.players)
        high = [last_row, last_column, food] * self.max_num_food + player[1] * len(self.players)
        return spaces.Box(np.array(low, np.float32), np.array(high, np.float32))


class Foraging(Joint):
    """One field; see the module's docstring."""

    def __init__(self, env: Field, horizon: int) -> None:
        super().__init__(env)
        self.horizon = horizon

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Begin an episode."""
        for player in self.env.players:
            player.position = None  # else nobody may start, and nothing grow, where somebody stood in the last episode
        return super().reset(seed)

    def ended(self) -> tuple[bool, bool]:
        """No food left; time is up."""
        return not self.env.field.any(), self.env.current_step >= self.horizon

    def positions(self) -> dict[str, tuple[int, int]]:
        """Column and row, in cells."""
        return {name: player.position[::-1] for name, player in zip(self.possible_agents, self.env.players)}

    def metrics(self) -> dict[str, float]:
        """``food``: share of the food that was taken, by level."""
        grown = float(self.env._food_spawned)
        return {"food": 1 - float(self.env.field.sum()) / grown if grown else 0.0}

    def render(self) -> np.ndarray:
        """Players (blue) and food (green) with their levels, uint8 [height, width, 3]."""
        board = Board(*self.env.field_size, cell=36)
        for row, column in zip(*np.nonzero(self.env.field)):
            board.fill(row, column, GREEN)
            board.number(row, column, self.env.field[row, column])
        for player in self.env.players:
            board.disc(*player.position, BLUE)
            board.number(*player.position, player.level)
        return board.image


def make(name: str, arguments: dict[str, Any], copies: int, agents: int | None, render: bool) -> Copies:
    """``lbf:NAME``. Raises InputError."""
    env = f"lbf:{name}"
    found = NAME.fullmatch(name)
    if not found:
        raise InputError(f"--env {env}: is not of the form lbf:8x8-2p-1f, or lbf:Foraging-8x8-2p-1f-v3")
    said = found.groupdict()
    if said["version"] not in (None, "3"):
        raise InputError(
            f"--env {env}: the package has version 3 (leave -v{said['version']} out); in version 2 players had levels up to "
            "3: max_player_level=3"
        )
    rows, columns, players, foods = (int(said[part]) for part in ("rows", "columns", "players", "foods"))
    for what, number, low in (("rows", rows, 4), ("columns", columns, 4), ("players", players, 1), ("foods", foods, 1)):
        bounded(env, what, number, low, LARGEST, whole=True)
    if players + 9 * foods > rows * columns:  # a food keeps its eight neighbours free of others
        raise InputError(f"--env {env}: {players} players and {foods} foods do not fit into {rows} x {columns} cells")
    sight = said["sight"] or said["sees"]
    defaults = {
        "coop": bool(said["coop"]),
        "grid": bool(said["grid"]),
        "max_food_level": 1 if said["ind"] else None,
        "penalty": 0.1 if said["pen"] else 0.0,
        "sight": int(sight) if sight else max(rows, columns),
    }

    def one(
        copies: int,
        agents: int | None,
        sight: int,
        coop: bool,
        grid: bool,
        penalty: float,
        max_food_level: int | None,
        min_food_level: int = 1,
        min_player_level: int = 1,
        max_player_level: int = 2,
        normalize_reward: bool = True,
        observe_agent_levels: bool = True,
        max_episode_steps: int = 50,
    ) -> Copies:
        whole = {
            "sight": sight,
            "max_episode_steps": max_episode_steps,
            "min_player_level": min_player_level,
            "min_food_level": min_food_level,
        }
        for what, value in whole.items():
            bounded(env, what, value, 1, math.inf, whole=True)
        bounded(env, "max_player_level", max_player_level, min_player_level, math.inf, whole=True)
        if max_food_level is not None:
            bounded(env, "max_food_level", max_food_level, min_food_level, math.inf, whole=True)
        elif min_food_level > min_player_level * min(players, 3):
            raise InputError(
                f"--env {env}: min_food_level {min_food_level} can exceed what the {min(players, 3)} weakest players have "
                "together; say max_food_level too"
            )
        bounded(env, "penalty", penalty, 0, math.inf)
        switches = {"coop": coop, "grid": grid, "normalize_reward": normalize_reward}
        for what, value in (switches | {"observe_agent_levels": observe_agent_levels}).items():
            if not isinstance(value, bool):
                raise InputError(f"--env {env}: {what} {value!r} is not true or false")
        fields = [
            Field(
                players,
                min_player_level,
                max_player_level,
                min_food_level,
                max_food_level,
                (rows, columns),
                foods,
                min(sight, max(rows, columns)),
                max_episode_steps,
                coop,
                normalize_reward,
                grid,
                observe_agent_levels,
                penalty,
            )
            for _ in range(copies)
        ]
        return Copies(env, [Foraging(field, max_episode_steps) for field in fields], agents)

    return build(one, env, defaults | arguments, copies, agents)


logging.getLogger("lbforaging").setLevel(logging.ERROR)  # it notes every action that is not possible
