"""``vmas:SCENARIO``: robots on a plane that push, carry, avoid and cover, many copies in one call (VMAS, licence GPL-3).

Bettini et al. 2022 (arXiv 2207.03530). VMAS is under the GNU General Public License 3, this program is not: the package is an
optional install of its own, and is imported only for ``--env vmas:…``.

VMAS steps all copies as one batch of tensors. What a copy does should follow from its seed and its actions alone, whoever shares
the batch, and three things are in the way:

* Randomness. VMAS draws for all copies from one generator. Here each reset draws from the copy's own seed.
* Rounding. PyTorch treats the last numbers of an array, which do not fill a vector of the processor, by other code. A batch is
  therefore padded to a multiple of 32 copies, which costs next to nothing.
* Scenarios that draw in their steps, or keep things that belong to all copies or outlive an episode. The scenarios in
  :data:`BATCHED` do neither (the tests compare bits). All others, and those that draw in their steps because of an argument (noise),
  get a world per copy, made anew for each episode with a generator of its own: slow, and right. ``separate=true`` asks for it.

VMAS leaves the global generators of torch, numpy and Python as they were. A scenario's ``done`` is termination, for all its agents;
after ``horizon`` steps (default 100) an episode is cut off. Figures: every number that the scenario's ``info`` tells, mean over agents,
summed over the episode.
"""

from __future__ import annotations

import math
import random
import re
import warnings
from pathlib import Path
from typing import Any, Sequence

import numpy as np
import torch
import vmas
from vmas.simulator.core import Box, Sphere
from vmas.simulator.environment import Environment

from ...ground.errors import ContractError, InputError
from ..networked.base import bounded
from ..spec import ActionSpec, AgentSpec, WorldSpec

HORIZON = 100
LANES = 32
"""A batch has a multiple of these copies: more than any vector of a processor holds."""
BATCHED = frozenset(
    "balance ball_passage dispersion dropout flocking give_way multi_give_way navigation passage reverse_transport sampling "
    "simple simple_spread simple_tag simple_world_comm transport wheel".split()
)
"""Scenarios whose copies leave each other alone."""
THIN = 0.02
"""How wide a line is drawn, in units of the plane."""
OWN = ("horizon", "continuous", "separate")


def _generators(seed: np.random.SeedSequence) -> list[Any]:
    """States of torch's, numpy's and Python's generators, as VMAS keeps them."""
    words = [int(word) for word in seed.generate_state(3)]
    torch_state = torch.Generator().manual_seed(words[0]).get_state()
    return [torch_state, np.random.RandomState(words[1]).get_state(), random.Random(words[2]).getstate()]


class World:
    """One batch of VMAS: ``copies`` of them count, the rest is padding."""

    def __init__(self, scenario: str, options: dict[str, Any], copies: int, size: int, continuous: bool) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.env = vmas.make_env(scenario, num_envs=size, continuous_actions=continuous, **options)
        self.copies, self.size, self.continuous = copies, size, continuous

    def step(self, words: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, np.ndarray]]]:
        """Advance; ``words``: native actions [copies, words] per agent. Observations, rewards, done, infos, as :meth:`see`."""
        actions = []
        for chosen in words:
            whole = np.zeros((self.size, chosen.shape[1]), np.float32 if self.continuous else np.int64)
            whole[: self.copies] = chosen
            actions.append(torch.from_numpy(whole))
        observations, rewards, done, infos = self.env.step(actions)
        earned = np.stack([reward.reshape(self.size).numpy() for reward in rewards], 1)
        told = [
            {
                name: value.reshape(self.size).numpy()[: self.copies]
                for name, value in info.items()
                if _one_each(value, self.size)
            }
            for info in infos
        ]
        return self._rows(observations), earned[: self.copies], done.numpy()[: self.copies], told

    def see(self) -> list[np.ndarray]:
        """What each agent sees now, [copies, size] float32 per agent."""
        (observations,) = self.env.get_from_scenario(True, False, False, False)
        return self._rows(observations)

    def _rows(self, observations: list[Any]) -> list[np.ndarray]:
        rows = []
        for seen in observations:
            parts = seen.values() if isinstance(seen, dict) else [seen]
            flat = np.concatenate([part.reshape(self.size, -1).numpy() for part in parts], 1, dtype=np.float32)
            rows.append(flat[: self.copies])
        return rows


def _one_each(value: Any, size: int) -> bool:
    return isinstance(value, torch.Tensor) and value.numel() == size and not value.is_complex()


class Vmas:
    """``copies`` copies of a scenario; implements the batch protocol of ``world/environments.py``."""

    controllers: dict[str, type] = {}

    def __init__(
        self,
        name: str,
        scenario: str,
        options: dict[str, Any],
        copies: int,
        horizon: int = HORIZON,
        continuous: bool = True,
        separate: bool = False,
    ) -> None:
        """``name``: as in ``--env``; ``options``: the scenario's; ``separate``: a world per copy, made anew for each episode."""
        self.name, self.scenario, self.options, self.copies = name, scenario, options, copies
        self.horizon, self.continuous = horizon, continuous
        probe = self._world(1, np.random.SeedSequence(0))
        self.spec = self._spec(probe)
        number = len(self.spec.agents)
        before = Environment.vmas_random_state[0].clone()
        nothing = [np.zeros((1, agent.action.words), np.float32) for agent in self.spec.agents]
        *_, infos = probe.step(self._native(nothing))
        self.figures = {figure: np.zeros(copies) for info in infos for figure in info}
        draws = not torch.equal(before, Environment.vmas_random_state[0])
        self.separate = separate or draws or scenario not in BATCHED
        self.worlds = [probe] * copies if self.separate else [self._world(copies, np.random.SeedSequence(0), LANES)]
        self.generators: list[Any] = [None] * copies
        self.seen = [np.zeros((copies, agent.observation_size), np.float32) for agent in self.spec.agents]
        self.reward = np.zeros((copies, number), np.float32)
        self.terminated, self.truncated, self.alive = np.zeros((3, copies, number), bool)
        self.time = np.zeros(copies, np.int32)
        self.actions: list[list[np.ndarray]] = [[] for _ in range(copies)]

    def _world(self, copies: int, seed: np.random.SeedSequence, lanes: int = 1) -> World:
        """A world of a multiple of ``lanes`` copies, of which ``copies`` count."""
        Environment.vmas_random_state[:] = _generators(seed)
        try:
            return World(self.scenario, self.options, copies, -(-copies // lanes) * lanes, self.continuous)
        except Exception as error:  # a scenario's own code may raise anything
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"--env {self.name}: cannot be made with {self.options}: {reason}") from None

    def _spec(self, world: World) -> WorldSpec:
        agents = []
        for agent, seen in zip(world.env.agents, world.see()):
            space = world.env.get_agent_action_space(agent)
            if self.continuous:
                action = ActionSpec("continuous", (), tuple(space.low.tolist()), tuple(space.high.tolist()))
            else:
                action = ActionSpec("discrete", (int(space.n),))
            agents.append(AgentSpec(agent.name.replace(" ", "_"), seen.shape[1], "box", seen.shape[1:], action))
        return WorldSpec(self.name, tuple(agents), None, self.horizon, moves=True)

    def reset(self, copies: np.ndarray, seeds: list[np.random.SeedSequence]) -> None:
        """Begin an episode in the copies of the given indices."""
        for copy, seed in zip(copies, seeds, strict=True):
            self.actions[copy] = []
            if self.separate:
                self.worlds[copy] = self._world(1, seed)
                self._see(np.array([copy]), self.worlds[copy].see(), np.zeros(1, int))
                self.generators[copy] = list(Environment.vmas_random_state)
            else:
                Environment.vmas_random_state[:] = _generators(seed)
                self.worlds[0].env.reset_at(int(copy), return_observations=False)
        if not self.separate and len(copies):
            self._see(copies, self.worlds[0].see(), copies)
        self.time[copies] = self.reward[copies] = 0
        self.terminated[copies] = self.truncated[copies] = False
        self.alive[copies] = True
        for sums in self.figures.values():
            sums[copies] = 0

    def _see(self, copies: Any, rows: list[np.ndarray], places: Any) -> None:
        for seen, new in zip(self.seen, rows):
            seen[copies] = new[places]

    def step(self, actions: list[np.ndarray]) -> None:
        """Advance every copy by one step; ``actions[i]``: float32 or int32 [copies, words] of agent i."""
        words = [action.reshape(self.copies, -1) for action in actions]
        for done, row in zip(self.actions, np.concatenate([word.view(np.int32) for word in words], 1)):
            done.append(row)
        native = self._native(words)
        there = self.alive
        over = np.zeros(self.copies, bool)
        if self.separate:
            for copy, world in enumerate(self.worlds):
                Environment.vmas_random_state[:] = self.generators[copy]
                told = world.step([word[copy : copy + 1] for word in native])
                over[copy] = self._note(slice(copy, copy + 1), told)[0]
                self.generators[copy] = list(Environment.vmas_random_state)
        else:
            before = Environment.vmas_random_state[0]
            over[:] = self._note(slice(None), self.worlds[0].step(native))
            if not torch.equal(before, Environment.vmas_random_state[0]):
                raise ContractError(f"--env {self.name}: draws random numbers in its steps; say separate=true")
        self.time += 1
        self.terminated[:] = there & over[:, None]
        self.truncated[:] = there & ~self.terminated & (self.time >= self.horizon)[:, None]
        self.alive = there & ~self.terminated & ~self.truncated

    def _native(self, words: list[np.ndarray]) -> list[np.ndarray]:
        """Actions [copies, words] per agent in the scenario's units: from [−1, 1] to the bounds, or as numbered."""
        if not self.continuous:
            return [word.view(np.int32) for word in words]
        return [agent.action.in_bounds(word, "float32") for agent, word in zip(self.spec.agents, words)]

    def _note(self, where: slice, told: tuple[Any, ...]) -> np.ndarray:
        """Keep what a world tells of the copies ``where``; which of them are done."""
        rows, earned, done, infos = told
        self._see(where, rows, slice(None))
        self.reward[where] = earned
        for figure, sums in self.figures.items():
            values = [info[figure].astype(float) for info in infos if figure in info]
            # One after another: how numpy sums over an axis depends on the length of the other.
            sums[where] += sum(values[1:], values[0]) / len(values) if values else 0.0
        return done

    def observe(self, copies: Any, observations: list[np.ndarray], masks: list[np.ndarray | None]) -> None:
        """Write what the agents of the given copies see."""
        for out, seen in zip(observations, self.seen):
            out[:] = seen[copies]

    def metrics(self, copies: np.ndarray) -> dict[str, np.ndarray]:
        """What ``info`` told, mean over agents, summed over the episodes so far."""
        return {figure: sums[copies] for figure, sums in self.figures.items()}

    def _places(self, copy: int, entities: list[Any]) -> np.ndarray:
        place = 0 if self.separate else copy
        return np.array([entity.state.pos[place].tolist() for entity in entities], float).reshape(-1, 2)

    def positions(self) -> np.ndarray:
        """Where the agents of the first copy are, [agents, 2], in units of the plane."""
        return self._places(0, self.worlds[0].env.agents)

    def picture(self, copy: int) -> np.ndarray:
        """Everything in its shape and colour, agents numbered, uint8 [height, width, 3]. VMAS's own drawing needs OpenGL."""
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError:
            raise InputError(
                'a picture needs matplotlib; install it with: pip install -c constraints.txt ".[plot]"'
            ) from None
        env, place = self.worlds[copy if self.separate else 0].env, 0 if self.separate else copy
        agents = self._places(copy, env.agents)
        span = max(env.scenario.viewer_zoom, float(np.abs(agents - env.scenario.render_origin).max()) + 0.2)
        figure = Figure((6.4, 6.7), dpi=100)
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_axes((0.02, 0.02, 0.96, 0.92), aspect="equal", xticks=(), yticks=())
        (x, y), title = env.scenario.render_origin, f"{self.name}, step {self.time[copy]}"
        axes.set(xlim=(x - span, x + span), ylim=(y - span, y + span), title=title)
        for entity, centre in zip(env.world.entities, self._places(copy, env.world.entities)):
            patch = _patch(entity, centre, float(entity.state.rot[place]))
            colour = torch.as_tensor(getattr(entity.color, "value", entity.color), dtype=torch.float32)
            patch.set(color=colour[place if colour.dim() > 1 else ...].tolist()[:3], alpha=0.8)
            axes.add_patch(patch)
        for number, (x, y) in enumerate(agents):
            axes.text(x, y, str(number), ha="center", va="center_baseline", fontsize=8)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()

    def save(self) -> dict[str, np.ndarray]:
        """The actions of each running episode (words, padded with zeros), their number, and what was last seen."""
        width = sum(agent.action.words for agent in self.spec.agents)
        words = np.zeros((self.copies, int(self.time.max()), width), np.int32)
        for copy, actions in enumerate(self.actions):
            words[copy, : len(actions)] = np.reshape(actions, (-1, width))
        return {"words": words, "time": self.time.copy(), "observation": np.concatenate(self.seen, 1)}

    def load(self, state: dict[str, np.ndarray], seeds: list[np.random.SeedSequence]) -> bool:
        """Play each running episode again up to where it was; False when an observation then differs from the saved one.

        All copies are played at once, those with fewer steps beginning later.
        """
        words, time = state["words"], state["time"]
        self.reset(np.arange(self.copies), seeds)
        ends = np.cumsum([agent.action.words for agent in self.spec.agents])[:-1]
        kind = np.float32 if self.continuous else np.int32
        longest = int(time.max())
        for step in range(longest + 1):
            begins = np.flatnonzero(time == longest - step)
            self.reset(begins, [seeds[copy] for copy in begins])
            if step < longest:
                at = step - (longest - time)
                chosen = np.where((at >= 0)[:, None], words[np.arange(self.copies), np.maximum(at, 0)], 0)
                pieces = np.split(chosen.astype(np.int32), ends, axis=1)
                self.step([np.ascontiguousarray(piece).view(kind) for piece in pieces])
        return bool(np.array_equal(np.concatenate(self.seen, 1), state["observation"]))

    replays = True
    """A state comes back by playing its episode again."""
    redraws = "everything that it draws"
    """What of its chance is another in each future of :meth:`fork`."""

    def fork(
        self,
        state: dict[str, np.ndarray],
        seed: np.random.SeedSequence,
        futures: Sequence[np.random.SeedSequence],
        of: np.ndarray,
    ) -> bool:
        """Let every copy go on from one episode, which is played again: ``state``: of :meth:`save`, arrays [1, …]; ``seed``: of the episode.
        Steps draw afterwards from ``futures[of[copy]]``, where they draw at all. False where it does not come to where it was."""
        whole = {name: np.repeat(array, self.copies, 0) for name, array in state.items()}
        if not self.load(whole, [seed] * self.copies):
            return False
        for copy in range(self.copies) if self.separate else ():
            self.generators[copy] = _generators(futures[of[copy]])
        return True


def _patch(entity: Any, centre: np.ndarray, angle: float) -> Any:
    """A sphere, box or line as what matplotlib draws."""
    from matplotlib.patches import Circle, Rectangle

    if isinstance(entity.shape, Sphere):
        return Circle(centre, entity.shape.radius)
    length, width = entity.shape.length, entity.shape.width if isinstance(entity.shape, Box) else THIN
    corner = centre - np.array((length, width)) / 2
    return Rectangle(corner, length, width, angle=math.degrees(angle), rotation_point="center")


def _scenarios() -> dict[str, Path]:
    """Name → file of every scenario."""
    folder = Path(vmas.__file__).parent / "scenarios"
    return {file.stem: file for file in folder.rglob("*.py") if file.stem != "__init__"}


def _arguments(scenario: str) -> list[str]:
    """The arguments that a scenario's code asks for: VMAS itself passes over unknown ones."""
    return sorted(
        set(re.findall(r'kwargs\.(?:pop|get)\(\s*"(\w+)"', _scenarios()[scenario].read_text(encoding="utf-8")))
    )


def make(name: str, arguments: dict[str, Any], copies: int, agents: int | None, render: bool) -> Vmas:
    """``vmas:SCENARIO`` with ``horizon`` (steps), ``continuous`` (else discrete actions), ``separate`` and the scenario's own
    arguments. Raises InputError for what there is not."""
    env = f"vmas:{name}"
    if name not in _scenarios():
        raise InputError(f"--env {env}: there is no such scenario; there are {', '.join(sorted(_scenarios()))}")
    known = _arguments(name)
    options = {key: value for key, value in arguments.items() if key not in OWN}
    for key in options:
        if key not in known:
            raise InputError(f"--env {env}: unknown argument '{key}'; it takes {', '.join([*OWN, *known])}")
    horizon = bounded(env, "horizon", arguments.get("horizon", HORIZON), 1, math.inf, whole=True)
    switches = {"continuous": True, "separate": False}
    for key in switches:
        switches[key] = arguments.get(key, switches[key])
        if not isinstance(switches[key], bool):
            raise InputError(f"--env {env}: {key} {switches[key]!r} is neither true nor false")
    if agents is not None and any_number(name, arguments):
        options["n_agents"] = agents
    made = Vmas(env, name, options, copies, horizon, **switches)
    if agents not in (None, len(made.spec.agents)):
        raise InputError(f"--agents {agents}: {env} has {len(made.spec.agents)} agents (set them by its own arguments)")
    return made


def any_number(name: str, arguments: dict[str, Any]) -> bool:
    """Where the scenario asks for ``n_agents`` and the arguments do not say."""
    return name in _scenarios() and "n_agents" in _arguments(name) and "n_agents" not in arguments
