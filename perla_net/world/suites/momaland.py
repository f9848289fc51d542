"""``momaland:beach``, ``momaland:item_gathering`` …: MOMAland (GPL-3; Felten et al., arXiv 2407.16312), teams with several objectives.

A reward is a vector, of which ``reward_weights=[…]`` makes a number, see ``pettingzoo.py``; ``pistonball`` also takes ``shrink``. The other
arguments are the module's, with lists where it asks for arrays. Put right, of version 0.2.0: ``beach`` and ``item_gathering`` return
truncations in the place of terminations, and the other way round; ``multiwalker_stability`` reports its time limit as a termination, as
PettingZoo's does. Left out: turn-based games, which are not parallel; ``route_choice`` and ``gem_mining``, which fail with networkx 3.4 and
numpy 2.
"""

from __future__ import annotations

from typing import Any

import momaland  # noqa: F401  so that its absence is told from a name that it does not have
import numpy as np

from ...ground.errors import InputError
from ..copies import Copies
from .pettingzoo import Multiwalker, Played, parallel_copies


class Timed(Played):
    """An environment with its own words for how long an episode is; a picture where it draws one."""

    longest: int | None = None
    """Steps of an episode where it does not say."""

    def __init__(self, name: str, env: Any, shrink: int) -> None:
        super().__init__(name, env, shrink)
        self.horizon = self.horizon or getattr(env.unwrapped, "num_timesteps", self.longest)

    def render(self) -> Any:
        """The environment's picture; None where it has only a window of its own."""
        return self.env.render() if "rgb_array" in self.env.metadata["render_modes"] else None


class Drones(Timed):
    """Every episode is cut off after 200 steps."""

    longest = 200


class Swapped(Timed):
    """Who is terminated and who truncated, as the environment itself knows it: it returns them in each other's place."""

    def step(self, actions: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        """Advance by one step."""
        seen, rewards, _, _, infos = super().step(actions)
        whole = self.env.unwrapped
        return seen, rewards, dict(whole.terminations), dict(whole.truncations), infos


ENVIRONMENTS: dict[str, tuple[str, type[Played]]] = {
    "beach": ("beach.mobeach_v0", Swapped),
    "item_gathering": ("item_gathering.moitem_gathering_v0", Swapped),
    "catch": ("crazyrl.catch.catch_v0", Drones),
    "escort": ("crazyrl.escort.escort_v0", Drones),
    "surround": ("crazyrl.surround.surround_v0", Drones),
    "multiwalker_stability": ("multiwalker_stability.momultiwalker_stability_v0", Multiwalker),
    "pistonball": ("pistonball.mopistonball_v0", Timed),
}
DRAWN = ("item_gathering", "multiwalker_stability", "pistonball")
ARRAYS = ("initial_map", "init_flying_pos", "init_target_location")
"""Arguments that must be arrays."""


def make(name: str, arguments: dict[str, Any], copies: int, agents: int | None, render: bool) -> Copies:
    """``momaland:NAME``. Raises InputError."""
    env = f"momaland:{name}"
    if name not in ENVIRONMENTS:
        raise InputError(f"--env {env}: is none of {', '.join(ENVIRONMENTS)}")
    module, played = ENVIRONMENTS[name]
    given = dict(arguments)
    for key in ARRAYS:
        if key in given:
            given[key] = _array(env, key, given[key])
    return parallel_copies(env, f"momaland.envs.{module}", given, copies, agents, render and name in DRAWN, played)


def _array(env: str, key: str, value: Any) -> np.ndarray:
    """A list of numbers, or of lists of them, as an array. Raises InputError."""
    try:
        found = np.array(value)
    except ValueError:  # lists of different lengths
        found = np.array(None)
    if not isinstance(value, list) or found.dtype.kind not in "fi":
        raise InputError(f"--env {env}: {key} {value!r} is not an array of numbers such as [[0,1],[2,0]]")
    return found
