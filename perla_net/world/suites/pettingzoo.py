"""``pettingzoo:pursuit``, ``pettingzoo:MODULE``: environments with PettingZoo's parallel API, by short name or import path.

Short names are those of PettingZoo's own modules, with the version or without (``pursuit``, ``pursuit_v5``: that which is
installed); anything else is a module with a ``parallel_env``, to which the arguments go: ``pettingzoo:my.module:size=5``. Two
arguments are ours, and never reach it: ``shrink=4`` keeps every fourth row and column of images, ``reward_weights=[1,0.5]`` makes one number
of a reward that is a vector of objectives. What modules of PettingZoo report wrongly is put right, see the classes here.
"""

from __future__ import annotations

import difflib
import importlib
import math
import os
import pkgutil
import re
import warnings
from typing import Any

import numpy as np
from gymnasium import spaces

from ...ground.errors import InputError
from .. import contract, streams
from ..copies import Copies
from ..networked.base import bounded

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pictures are asked for as arrays, never as windows

FAMILIES = ("sisl", "butterfly", "classic", "atari")
NAMES = ("pursuit", "multiwalker", "pistonball", "cooperative_pong", "knights_archers_zombies", "rps")


class Played:
    """A module's environment as it is, with its usual length, and smaller images if asked for."""

    draws_to_see = False
    """Observations are only there when the environment is told to draw."""

    def __init__(self, name: str, env: Any, shrink: int) -> None:
        """``name``: as in ``--env``, for messages."""
        self.env, self.shrink = env, shrink
        self._reset = contract.reset_of(name, env)
        whole = getattr(env, "unwrapped", env)
        inner = getattr(whole, "env", None)
        limits = [getattr(env, "horizon", None), *(getattr(one, "max_cycles", None) for one in (whole, inner))]
        self.horizon = next((limit for limit in limits if isinstance(limit, int) and limit > 0), None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)

    def observation_space(self, agent: str) -> Any:
        """The environment's own; of fewer rows and columns where images are shrunk."""
        space = self.env.observation_space(agent)
        if self.shrink == 1:
            return space
        step = self.shrink
        return spaces.Box(space.low[::step, ::step], space.high[::step, ::step], dtype=space.dtype)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Begin an episode."""
        return self._shrunk(self._reset(seed))

    def step(self, actions: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        """Advance by one step."""
        return self._shrunk(self.env.step(actions))

    def _shrunk(self, result: Any) -> Any:
        """What was returned, with smaller images; as it is where it is not what it should be, which whoever reads it says."""
        step = self.shrink
        if step == 1 or not isinstance(result, tuple) or not result or not isinstance(result[0], dict):
            return result
        return {name: image[::step, ::step] for name, image in result[0].items()}, *result[1:]


class Pursuit(Played):
    """Everybody is terminated when the last evader is caught, also if that happens in the last step."""

    def step(self, actions: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        """Advance by one step."""
        seen, rewards, terminated, truncated, infos = super().step(actions)
        if self.env.unwrapped.env.is_terminal:
            terminated, truncated = dict.fromkeys(terminated, True), dict.fromkeys(truncated, False)
        return seen, rewards, terminated, truncated, infos

    def positions(self) -> dict[str, np.ndarray]:
        """Cells."""
        layer = self.env.unwrapped.env.pursuer_layer
        return {name: layer.get_position(index) for index, name in enumerate(self.env.possible_agents)}


class Multiwalker(Played):
    """Who still walks when time is up is truncated; the environment calls it terminated."""

    def step(self, actions: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        """Advance by one step."""
        seen, rewards, terminated, truncated, infos = super().step(actions)
        inner = self.env.unwrapped.env
        if inner.frames >= inner.max_cycles:
            over = dict(zip(self.env.possible_agents, inner.last_dones))
            terminated = {name: bool(over[name]) for name in terminated}
            truncated = {name: not over[name] for name in terminated}
        return seen, rewards, terminated, truncated, infos


class KnightsArchersZombies(Played):
    """Zombies come at the same times in every episode (the environment goes on counting from the last one), and who hits one
    is paid in that step (the environment pays all but the first agent a step later, and not at all at the end)."""

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Begin an episode."""
        self.env.unwrapped.zombie_spawn_interval.reset()
        return super().reset(seed, options)

    def step(self, actions: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        """Advance by one step."""
        seen, _, terminated, truncated, infos = super().step(actions)
        players = self.env.unwrapped.agent_map
        return seen, {name: float(players[name].score) for name in terminated}, terminated, truncated, infos


class CooperativePong(Played):
    """Observations are black unless the environment draws."""

    draws_to_see = True


CORRECTED = {
    "pursuit": Pursuit,
    "multiwalker": Multiwalker,
    "knights_archers_zombies": KnightsArchersZombies,
    "cooperative_pong": CooperativePong,
}


def make(name: str, arguments: dict[str, Any], copies: int, agents: int | None, render: bool) -> Copies:
    """``copies`` objects made by ``MODULE.parallel_env(**arguments)``."""
    module = name
    if name.partition(".")[0] == "momaland":
        raise InputError(
            f"--env pettingzoo:{name}: say momaland:beach and the like, where what the package reports wrongly is put right"
        )
    if "." not in name:
        found = [versioned(f"pettingzoo.{family}", name) for family in FAMILIES]
        module = next(filter(None, found), name)
    return parallel_copies(f"pettingzoo:{name}", module, arguments, copies, agents, render)


def versioned(package: str, name: str) -> str | None:
    """The module of a package for ``pursuit_v5`` or, whichever version there is, ``pursuit``; None if there is none."""
    known = modules_of(package)
    if name in known and re.search(r"_v\d+$", name):
        return f"{package}.{name}"
    versions = [int(last[len(name) + 2 :]) for last in known if re.fullmatch(rf"{re.escape(name)}_v\d+", last)]
    return f"{package}.{name}_v{max(versions)}" if versions else None


def modules_of(package: str) -> list[str]:
    """Names of the modules in a package; none if it is not there."""
    try:
        return [entry.name for entry in pkgutil.iter_modules(importlib.import_module(package).__path__)]
    except (ImportError, AttributeError):
        return []


def parallel_copies(
    name: str,
    module: str,
    arguments: dict[str, Any],
    copies: int,
    agents: int | None,
    render: bool,
    played: type[Played] = Played,
) -> Copies:
    """The same for a suite whose environments are such modules; ``name`` as in ``--env``, ``played``: what puts right what they report.
    Raises InputError."""
    construct = _constructor(name, module)
    shrink = bounded(name, "shrink", arguments.get("shrink", 1), 1, math.inf, whole=True)
    weights = _weights(name, arguments.get("reward_weights"))
    arguments = {key: value for key, value in arguments.items() if key not in ("shrink", "reward_weights")}
    top, _, last = module.rpartition(".")
    if top.startswith("pettingzoo."):
        played = CORRECTED.get(re.sub(r"_v\d+$", "", last), Played)
    if render or played.draws_to_see:
        arguments = {"render_mode": "rgb_array", **arguments}
    envs = []
    try:
        with streams.kept():
            for _ in range(copies):
                streams.begin(0, 0)  # copies are equal, also where something is drawn to make one
                envs.append(played(name, construct(**arguments), shrink))
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # an environment's own constructor may raise anything
        raise InputError(f"--env {name}: cannot be made with {arguments}: {' '.join(str(error).split())}") from None
    for agent in getattr(envs[0], "possible_agents", ()) if shrink > 1 else ():
        shape = envs[0].env.observation_space(agent).shape or ()
        if len(shape) != 3:
            raise InputError(f"--env {name}: shrink is for images, and {agent} does not see any")
    known = top.partition(".")[0] in ("pettingzoo", "mpe2") and not weights
    return Copies(name, envs, agents, not known, weights)


def _weights(name: str, given: Any) -> list[float]:
    """``reward_weights``: a number for each objective; none where they are not given. Raises InputError."""
    if given is None:
        return []
    numbers = given if isinstance(given, list) else []
    if not numbers or any(type(one) not in (int, float) or not math.isfinite(one) for one in numbers):
        raise InputError(
            f"--env {name}: reward_weights {given!r} is not a list of numbers such as [1,0.5], one for each objective"
        )
    return [float(one) for one in numbers]


def _constructor(name: str, module: str) -> Any:
    """``parallel_env`` of a module, or of the module of the same name inside it (``pettingzoo.sisl.pursuit``)."""
    _, _, last = module.rpartition(".")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            loaded = importlib.import_module(module)
            if not hasattr(loaded, "parallel_env") and hasattr(loaded, "__path__"):
                try:
                    loaded = importlib.import_module(f"{module}.{last}")
                except ModuleNotFoundError:
                    pass  # the message below says that there is no parallel_env
    except ImportError as error:
        raise InputError(f"--env {name}: cannot be imported ({error}){_import_hint(module, error)}") from None
    construct = getattr(loaded, "parallel_env", None)
    if construct is None:
        raise InputError(f"--env {name}: is not parallel: the module has no parallel_env")
    return construct


def _import_hint(module: str, error: ImportError) -> str:
    """What to do about a module that cannot be imported: install its package, or a similar name."""
    top, missing = module.partition(".")[0], (error.name or "").partition(".")[0]
    package, _, last = module.rpartition(".")
    extra = {"mpe2": "mpe2", "pettingzoo": "pettingzoo"}.get(top)
    if module in NAMES:
        extra, missing = "pettingzoo", "pettingzoo"
    if extra and missing and _absent(missing):
        if missing == "multi_agent_ale_py":
            return "; install it, and its ROMs, by hand"
        return f'; install it with: pip install -c constraints.txt ".[{extra}]"'
    close = difflib.get_close_matches(last, modules_of(package) if package else NAMES, 1)
    hint = f"; did you mean {package + '.' * bool(package)}{close[0]}?" if close and close != [last] else ""
    return hint + ("" if package else f"; one's own {last}.py must be in the present folder or on PYTHONPATH")


def _absent(package: str) -> bool:
    try:
        importlib.import_module(package)
    except ImportError:
        return True
    return False
