"""``smax:MAP``: StarCraft-like battles of units against a scripted enemy (SMAX of JaxMARL), many copies in one call.

Rutherford et al. 2023 (arXiv 2311.10090); it stands for SMAC (arXiv 1902.04043) and SMACv2, whose game binary is not free to
install. Allies are the agents; the enemy is JaxMARL's heuristic, which walks to the other side and shoots whom it can see.

One step is 8 world steps of 1/16 s on a map of 32 × 32. Actions: 0 to 3 move north, east, south, west, 4 stops, 5 + e shoots at enemy
e; the mask allows moves while alive and shots in range. Observation: what is within sight, per unit health, place, last move and
target, cooldown, type; then one's own. Reward, the same for all allies: the share of the enemies' health that this step took, plus 1
when the battle is won.

An ally that falls is over (terminated) with the reward of the step in which it fell; the team goes on. What the team earns later
is not in its own return, though JaxMARL would go on paying it for the sacrifice: ``dead=stay`` keeps the fallen in the game until
the battle ends, as JaxMARL does, with "stop" as their only action. A battle is over when one side has fallen: termination. At ``horizon``
steps (default 100) it is cut off: truncation, unless that very step decides it. (JaxMARL's own limit ends it after 101.)

Only ``step_env`` of JaxMARL is used, which does not begin anew by itself, so the last observation of a battle is its own.
Copies run one after another in a loop inside one compiled function for up to 16 of them: the machine code is the same however many
there are, and so are the numbers.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import math
import os
import sys
import types
from pathlib import Path
from typing import Any, Callable, Sequence

import numpy as np

if "jax" not in sys.modules:  # read once, when it is loaded; cores are used by ranks
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from ...ground.errors import InputError  # noqa: E402
from ..networked.base import bounded  # noqa: E402
from ..spec import ActionSpec, AgentSpec, WorldSpec  # noqa: E402


def _smax() -> Any:
    """JaxMARL's SMAX without the rest of JaxMARL, whose __init__ loads all its environments, and prints."""
    bare = []
    if "jaxmarl" not in sys.modules:
        found = importlib.util.find_spec("jaxmarl")
        if found is None:
            raise ModuleNotFoundError("No module named 'jaxmarl'", name="jaxmarl")
        for name in ("jaxmarl", "jaxmarl.environments", "jaxmarl.environments.smax"):
            package = types.ModuleType(name)
            package.__path__ = [str(Path(found.submodule_search_locations[0], *name.split(".")[1:]))]
            sys.modules[name] = package
            bare.append(name)
    try:
        return importlib.import_module("jaxmarl.environments.smax.heuristic_enemy_smax_env")
    finally:
        for name in bare:  # whoever wants all of it later loads it as usual
            del sys.modules[name]


HEURISTIC = _smax()

BLOCK = 16
"""Copies of one call of a compiled function."""
HORIZON = 100
STOP = 4
SWITCHES = ("see_enemy_actions", "walls_cause_death", "enemy_shoots")
CHOICES = {"dead": ("leave", "stay"), "observation_type": ("unit_list", "conic"), "attack_mode": ("closest", "random")}
NUMBERS = {
    "horizon": (1, math.inf, True),
    "won_battle_bonus": (-math.inf, math.inf, False),
    "map_width": (1, math.inf, False),
    "map_height": (1, math.inf, False),
    "world_steps_per_env_step": (1, math.inf, True),
}
"""Arguments: least, greatest, whole."""


def maps() -> dict[str, Any]:
    """Name → JaxMARL's scenario."""
    return sys.modules[HEURISTIC.SMAX.__module__].MAP_NAME_TO_SCENARIO


SAVED = ("time", "team_return", "alive", "observation", "mask", "whole")
"""Arrays [copies, …] that are saved beside JaxMARL's own."""


@functools.cache
def battle(scenario: str, options: tuple[tuple[str, Any], ...]) -> Battle:
    """The compiled functions of a map; once per process, for all its environments."""
    return Battle(scenario, dict(options))


class Battle:
    """JaxMARL's environment, and functions of it for up to :data:`BLOCK` copies, compiled when first called.

    begin(n, key [BLOCK, 2]) and step(n, key, time [BLOCK], state, action [BLOCK, allies]) give (state, observation
    [BLOCK, allies, size], mask [BLOCK, allies, actions], whole [BLOCK, size of the world's state], reward [BLOCK]); state is JaxMARL's, every leaf [BLOCK, …].
    guide(n, key, time, state, memory) gives (memory, action) of JaxMARL's heuristic in the place of the allies. The attributes
    state, observation, mask, whole and memory are zeros of these shapes.
    """

    def __init__(self, scenario: str, options: dict[str, Any]) -> None:
        if scenario not in maps():
            raise InputError(f"--env smax:{scenario}: there is no such map; there are {', '.join(sorted(maps()))}")
        self.env = HEURISTIC.HeuristicEnemySMAX(scenario=maps()[scenario], **options)
        self.allies, self.enemies = self.env.num_allies, self.env.num_enemies
        policy = HEURISTIC.create_heuristic_policy(self.env._env, 0)
        start = jax.tree.map(jnp.asarray, HEURISTIC.get_heuristic_policy_initial_state())
        self.begin = _in_turn(self._begin)
        self.step = _in_turn(self._step)
        self.guide = _in_turn(functools.partial(self._guide, policy, start))
        shapes = jax.eval_shape(self.begin, 0, np.zeros((BLOCK, 2), np.uint32))
        zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        self.state, self.observation, self.mask, self.whole, _ = zeros
        self.memory = jax.tree.map(lambda leaf: np.zeros((BLOCK, self.allies, *leaf.shape), leaf.dtype), start)

    def _shown(self, state: Any, observations: dict[str, Any]) -> tuple[Any, Any, Any]:
        masks = self.env.get_avail_actions(state)
        seen, allowed = (jnp.stack([each[name] for name in self.env.agents]) for each in (observations, masks))
        return seen, allowed, observations["world_state"]

    def _begin(self, key: Any) -> tuple[Any, ...]:
        observations, state = self.env.reset(jax.random.fold_in(key, 0))
        return state, *self._shown(state, observations), jnp.float32(0)

    def _step(self, key: Any, time: Any, state: Any, action: Any) -> tuple[Any, ...]:
        chosen = {name: action[index] for index, name in enumerate(self.env.agents)}
        told = self.env.step_env(jax.random.fold_in(key, time + 1), state, chosen)
        observations, state, rewards, _, _ = told
        return state, *self._shown(state, observations), jnp.float32(rewards[self.env.agents[0]])

    def _guide(self, policy: Any, start: Any, key: Any, time: Any, state: Any, memory: Any) -> tuple[Any, Any]:
        seen = self.env._env.get_obs_unit_list(state.state)
        keys = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, time + 1), 1), self.allies)
        memory = jax.tree.map(lambda fresh, kept: jnp.where(time == 0, fresh, kept), start, memory)
        action, memory = jax.vmap(policy)(keys, memory, jnp.stack([seen[name] for name in self.env.agents]))
        return memory, action


def _in_turn(function: Callable[..., Any]) -> Callable[..., Any]:
    """A compiled function of (n, stacked arguments) that applies ``function`` to the first n of them, one at a time.

    How often the loop runs is not known to the compiler: it cannot unroll it into other arithmetic for few copies.
    """

    @jax.jit
    def run(number: Any, *arguments: Any) -> Any:
        def one(index: Any) -> Any:
            return function(*jax.tree.map(lambda leaf: leaf[index], arguments))

        def body(index: Any, results: Any) -> Any:
            return jax.tree.map(lambda all, own: all.at[index].set(own), results, one(index))

        shapes = jax.eval_shape(one, 0)
        empty = jax.tree.map(lambda leaf: jnp.zeros((BLOCK, *leaf.shape), leaf.dtype), shapes)
        return jax.lax.fori_loop(0, number, body, empty)

    return run


class Smax:
    """``copies`` battles side by side; implements the batch protocol of ``world/environments.py``."""

    controllers: dict[str, type] = {}

    def __init__(self, name: str, fight: Battle, copies: int, horizon: int, stay: bool) -> None:
        """``stay``: the fallen stay in the game, as in JaxMARL."""
        self.name, self.battle, self.copies, self.horizon, self.stay = name, fight, copies, horizon, stay
        shape = (copies, fight.allies)
        self.reward = np.zeros(shape, np.float32)
        self.terminated, self.truncated, self.alive = np.zeros((3, *shape), bool)
        self.key, self.time = np.zeros((copies, 2), np.uint32), np.zeros(copies, np.int32)
        self.team_return = np.zeros(copies)
        self.observation = np.zeros((copies, *fight.observation.shape[1:]), np.float32)
        self.mask = np.zeros((copies, *fight.mask.shape[1:]), np.uint8)
        self.whole = np.zeros((copies, *fight.whole.shape[1:]), np.float32)
        self.blocks = [slice(first, min(first + BLOCK, copies)) for first in range(0, copies, BLOCK)]
        self.state = [jax.tree.map(np.copy, fight.state) for _ in self.blocks]

    @property
    def spec(self) -> WorldSpec:
        """Allies and their spaces; everybody is somewhere, and nothing tells in advance who meets whom."""
        size = self.observation.shape[2]
        action = ActionSpec("discrete", (self.mask.shape[2],))
        allies = tuple(AgentSpec(name, size, "box", (size,), action, masked=True) for name in self.battle.env.agents)
        references = tuple(self.controllers)
        return WorldSpec(self.name, allies, None, self.horizon, references, moves=True, state=self.whole.shape[1])

    def reset(self, copies: np.ndarray, seeds: list[np.random.SeedSequence]) -> None:
        """Begin a battle in the copies of the given indices."""
        for copy, seed in zip(copies, seeds, strict=True):
            self.key[copy] = seed.generate_state(2)
        self.time[copies] = self.team_return[copies] = 0
        self.reward[copies] = self.terminated[copies] = self.truncated[copies] = False
        self.alive[copies] = True
        for block, state in enumerate(self.state):
            chosen = np.array(
                [copy for copy in copies if self.blocks[block].start <= copy < self.blocks[block].stop], int
            )
            if not len(chosen):
                continue
            key = np.zeros((BLOCK, 2), np.uint32)
            key[: len(chosen)] = self.key[chosen]
            fresh, observation, mask, whole, _ = self.battle.begin(len(chosen), key)
            places = chosen - self.blocks[block].start
            self.state[block] = jax.tree.map(lambda old, new, at=places: _put(old, new, at), state, fresh)
            self.observation[chosen] = np.asarray(observation)[: len(chosen)]
            self.mask[chosen] = np.asarray(mask)[: len(chosen)]
            self.whole[chosen] = np.asarray(whole)[: len(chosen)]

    def step(self, actions: list[np.ndarray]) -> None:
        """Advance every battle by one step; ``actions[i]``: int [copies, 1] or [copies] of ally i."""
        chosen = np.stack([action.reshape(self.copies) for action in actions], 1)
        chosen = np.where(self.alive, chosen, STOP).astype(np.int32)
        earned = np.zeros(self.copies, np.float32)
        for block, where in enumerate(self.blocks):
            number = where.stop - where.start
            told = self.battle.step(
                number, _padded(self.key[where]), _padded(self.time[where]), self.state[block], _padded(chosen[where])
            )
            self.state[block] = told[0]
            parts = (np.asarray(part)[:number] for part in told[1:])
            self.observation[where], self.mask[where], self.whole[where], earned[where] = parts
        self.time += 1
        self.team_return += earned
        there = self.alive
        self.reward[:] = earned[:, None] * there
        allies, enemies = self.standing()
        over = (~allies.any(1) | ~enemies.any(1))[:, None]
        self.terminated[:] = there & (over if self.stay else over | ~allies)
        self.truncated[:] = there & ~self.terminated & (self.time >= self.horizon)[:, None]
        self.alive = there & ~self.terminated & ~self.truncated

    def standing(self) -> tuple[np.ndarray, np.ndarray]:
        """Which allies and which enemies have not fallen, bool [copies, allies] and [copies, enemies]."""
        units = self.leaves("unit_alive")
        return units[:, : self.battle.allies], units[:, self.battle.allies :]

    def leaves(self, name: str) -> np.ndarray:
        """One part of JaxMARL's state, [copies, units, …]."""
        return np.concatenate([np.asarray(getattr(state.state, name)) for state in self.state])[: self.copies]

    def observe(self, copies: Any, observations: list[np.ndarray], masks: list[np.ndarray | None]) -> None:
        """Write what the allies of the given copies see; zeros for the fallen."""
        for ally, (out, mask) in enumerate(zip(observations, masks)):
            out[:] = self.observation[copies, ally]
            if mask is not None:
                mask[:] = self.mask[copies, ally]

    def state_of(self, copies: Any) -> np.ndarray:
        """JaxMARL's state of the world, [copies, size]: all units, those of both sides."""
        return self.whole[copies]

    def metrics(self, copies: np.ndarray) -> dict[str, np.ndarray]:
        """``won``: 1 when no enemy stands and an ally does; how many ``allies`` and ``enemies`` stand; ``team_return``: what
        JaxMARL pays, the fallen included."""
        allies, enemies = self.standing()
        won = allies.any(1) & ~enemies.any(1)
        figures = {"won": won, "allies": allies.sum(1), "enemies": enemies.sum(1), "team_return": self.team_return}
        return {name: values[copies].astype(float) for name, values in figures.items()}

    def positions(self) -> np.ndarray:
        """Where the allies of the first copy are, or fell, [allies, 2] in units of the map."""
        return self.leaves("unit_positions")[0, : self.battle.allies].astype(float)

    def picture(self, copy: int) -> np.ndarray:
        """The map with its units at their size: allies blue, enemies red, paler the less health; ×: fallen. uint8 image."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # JaxMARL itself needs matplotlib
        from matplotlib.figure import Figure
        from matplotlib.patches import Circle

        env = self.battle.env
        place, health, kinds = (self.leaves(name)[copy] for name in ("unit_positions", "unit_health", "unit_types"))
        share, radius = health / np.asarray(env.unit_type_health)[kinds], np.asarray(env.unit_type_radiuses)[kinds]
        figure = Figure((6.4, 6.7), dpi=100)
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_axes((0.02, 0.02, 0.96, 0.92), aspect="equal", xticks=(), yticks=())
        axes.set(xlim=(0, env.map_width), ylim=(0, env.map_height), title=f"{self.name}, step {self.time[copy]}")
        for unit, (x, y) in enumerate(place):
            colour = (0.12, 0.35, 0.75) if unit < env.num_allies else (0.8, 0.15, 0.15)
            if health[unit] > 0:
                axes.add_patch(Circle((x, y), radius[unit], facecolor=(*colour, share[unit]), edgecolor=colour))
            letter = env.unit_type_shorthands[kinds[unit]] if health[unit] > 0 else "×"
            axes.text(x, y, letter, ha="center", va="center_baseline", fontsize=8, color="black")
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()

    def save(self) -> dict[str, np.ndarray]:
        """JaxMARL's state leaf by leaf, and what was last seen, arrays [copies, …]."""
        own = {name: getattr(self, name).copy() for name in SAVED}
        leaves = zip(*(jax.tree.leaves(state) for state in self.state))
        return own | {f"leaf{number}": np.concatenate(parts)[: self.copies] for number, parts in enumerate(leaves)}

    def load(self, state: dict[str, np.ndarray], seeds: list[np.random.SeedSequence]) -> None:
        """Continue from :meth:`save`; ``seeds`` are those of the running battles."""
        for copy, seed in enumerate(seeds):
            self.key[copy] = seed.generate_state(2)
        for name in SAVED:
            getattr(self, name)[:] = state[name]
        for block, where in enumerate(self.blocks):
            leaves, shape = jax.tree.flatten(self.battle.state)
            leaves = [_padded(state[f"leaf{number}"][where]) for number in range(len(leaves))]
            self.state[block] = jax.tree.unflatten(shape, leaves)

    redraws = "everything that it draws"
    """What of its chance is another in each future of :meth:`fork`."""

    def fork(
        self,
        state: dict[str, np.ndarray],
        seed: np.random.SeedSequence,
        futures: Sequence[np.random.SeedSequence],
        of: np.ndarray,
    ) -> bool:
        """Let every copy go on from the state of one, ``state``: of :meth:`save`, arrays [1, …], with chance from ``futures[of[copy]]``: a
        step draws from its copy's key and the time alone."""
        self.load({name: np.repeat(array, self.copies, 0) for name, array in state.items()}, [futures[k] for k in of])
        return True


def _padded(rows: np.ndarray) -> np.ndarray:
    """Rows [n, …] with zeros up to :data:`BLOCK`."""
    return np.concatenate([rows, np.zeros((BLOCK - len(rows), *rows.shape[1:]), rows.dtype)])


def _put(old: Any, new: Any, places: np.ndarray) -> np.ndarray:
    """``old`` with its rows at ``places`` replaced by the first of ``new``."""
    changed = np.array(old)
    changed[places] = np.asarray(new)[: len(places)]
    return changed


class Heuristic:
    """JaxMARL's heuristic, the enemy's, in the place of the allies."""

    def __init__(self, smax: Smax) -> None:
        self.memory = [smax.battle.memory for _ in smax.blocks]

    def act(self, smax: Smax) -> np.ndarray:
        """Actions, int [allies, copies]."""
        chosen = np.full((smax.battle.allies, smax.copies), STOP)
        for block, where in enumerate(smax.blocks):
            number = where.stop - where.start
            key, time = _padded(smax.key[where]), _padded(smax.time[where])
            self.memory[block], action = smax.battle.guide(number, key, time, smax.state[block], self.memory[block])
            chosen[:, where] = np.asarray(action)[:number].T
        return np.where(smax.alive.T, chosen, STOP)


Smax.controllers = {"heuristic": Heuristic}


def make(name: str, arguments: dict[str, Any], copies: int, agents: int | None, render: bool) -> Smax:
    """``smax:MAP``; arguments are those in :data:`NUMBERS`, :data:`SWITCHES` and :data:`CHOICES`. Raises InputError."""
    env = f"smax:{name}"
    options = {}
    for key, value in arguments.items():
        if key in NUMBERS:
            options[key] = bounded(env, key, value, *NUMBERS[key])
        elif key in SWITCHES:
            if not isinstance(value, bool):
                raise InputError(f"--env {env}: {key} {value!r} is neither true nor false")
            options[key] = value
        elif key in CHOICES:
            if value not in CHOICES[key]:
                raise InputError(f"--env {env}: {key} {value!r} is not one of {', '.join(CHOICES[key])}")
            options[key] = value
        else:
            known = ", ".join([*NUMBERS, *SWITCHES, *CHOICES])
            raise InputError(f"--env {env}: unknown argument '{key}'; it takes {known}")
    horizon, stay = options.pop("horizon", HORIZON), options.pop("dead", "leave") == "stay"
    fight = battle(name, tuple(sorted(options.items())))
    if agents is not None and agents != fight.allies:
        raise InputError(f"--agents {agents}: {env} has {fight.allies} allies")
    return Smax(env, fight, copies, horizon, stay)
