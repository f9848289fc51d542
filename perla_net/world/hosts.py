"""A host: the rank-side keeper of some environment copies. Autoreset, final observations, episode records."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Callable, Iterator, Mapping, Sequence

import numpy as np

from ..ground.errors import ContractError, InputError
from . import streams
from .contract import Lives
from .controllers import Controllers, for_all, write
from .spec import AgentSpec, WorldSpec

TERMINATED, TRUNCATED, ALIVE, OVER, FINAL, BROKEN = 1, 2, 4, 8, 16, 32
"""Bits of a row's flags. TERMINATED, TRUNCATED: this agent, by the step that led here. ALIVE: it acts next. OVER: the
copy's episode ended with that step, the observation is the first of the next. FINAL: the observation that the episode
ended with is kept, because some agent was cut off there and bootstraps from it. In the row of a final observation, ALIVE:
the agent is there, TRUNCATED: it was cut off there. BROKEN: the host cannot go on (:attr:`Host.broken`), and the rows mean nothing."""

ROW_PAD = 16
"""Rows are padded to 64 bytes, so that a row's alignment does not depend on who shares a rank."""


@dataclass(frozen=True)
class RowLayout:
    """Four-byte words of one agent in one copy at one step: observation, mask, reward, flags, choice, state, padding."""

    observation: int
    mask: int
    choice: int = 0
    """Words of the action that a controller chose for it, where one acts for it."""
    state: int = 0
    """Words of the environment's state, where it comes with this agent's rows."""

    @classmethod
    def of(cls, spec: AgentSpec, controlled: bool = False, state: int = 0) -> RowLayout:
        """The layout of an agent's rows; ``controlled``: a controller on the host acts for it; ``state``: numbers that come with them."""
        mask, choice = spec.action.flags if spec.masked else 0, spec.action.words if controlled else 0
        return cls(spec.observation_size, mask, choice, state)

    @property
    def reward(self) -> int:
        """Position of the reward; the flags follow it."""
        return self.observation + self.mask

    @property
    def width(self) -> int:
        """Words of a row."""
        return -(-(self.reward + 2 + self.choice + self.state) // ROW_PAD) * ROW_PAD

    def views(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Observation and mask parts of rows [..., width] float32."""
        mask = rows[..., self.observation : self.reward] if self.mask else None
        return rows[..., : self.observation], mask

    def choices(self, rows: np.ndarray) -> np.ndarray:
        """The part of rows [..., width] float32 that a controller chose, [..., choice]."""
        return rows[..., self.reward + 2 : self.reward + 2 + self.choice]

    def states(self, rows: np.ndarray) -> np.ndarray:
        """The environment's state in rows [..., width] float32, [..., state]."""
        start = self.reward + 2 + self.choice
        return rows[..., start : start + self.state]


def aligned(words: int) -> np.ndarray:
    """Zeroed float32 words that start at a multiple of 64 bytes."""
    raw = np.zeros(words * 4 + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + words * 4].view(np.float32)


class Host:
    """Steps the copies ``first … first + copies − 1`` and writes what each agent may see into :attr:`rows`.

    ``rows[i]`` is agent i's [copies, width] float32 view into :attr:`buffer`, agent after agent, so that what goes to
    one rank is contiguous. ``actions[i]`` is [copies, words] float32, to be read as the action space says.
    """

    def __init__(
        self,
        environment: Any,
        spec: WorldSpec,
        first: int,
        seed: tuple[int, int],
        stagger: int = 0,
        limit: int = 0,
        controllers: Mapping[int, str] | None = None,
        state_with: Sequence[int] = (),
    ) -> None:
        """``seed``: (run's seed, kind of use); ``stagger``: all copies of the run, to spread their first resets, or 0;
        ``limit``: steps after which first episodes are cut off, and count as they are then, or 0; ``controllers``: agents that a reference
        controller of the environment acts for, and its name; ``state_with``: agents whose rows bring the environment's state."""
        self.environment, self.first, self.seed, self.limit = environment, first, seed, limit
        self.copies, number = environment.copies, len(spec.agents)
        self.lives = Lives(spec.name, [agent.name for agent in spec.agents], self.copies)
        self.reward = np.zeros((self.copies, number), np.float32)
        self.spec, self.controllers = spec, Controllers(environment, spec, controllers or {})
        self.state_with = tuple(state_with)
        self.layouts = [
            RowLayout.of(agent, index in self.controllers.wanted, spec.state if index in self.state_with else 0)
            for index, agent in enumerate(spec.agents)
        ]
        self.discrete = [not agent.action.low for agent in spec.agents]
        self.buffer = aligned(sum(layout.width for layout in self.layouts) * self.copies)
        self.rows = split(self.buffer, [(self.copies, layout.width) for layout in self.layouts])
        self.action_buffer = aligned(sum(agent.action.words for agent in spec.agents) * self.copies)
        self.actions = split(self.action_buffer, [(self.copies, agent.action.words) for agent in spec.agents])
        self.finals: list[np.ndarray] = []
        self.episodes: list[Episode] = []
        self.steps = 0
        self.broken: BaseException | None = None
        """What the environment could not go on after; every rank hears of it with the rows."""
        self.look: Callable[[Any], None] | None = None
        """Shown the environment after every step, before episodes that ended begin anew: for films."""
        self.episode = np.zeros(self.copies, np.int64)
        self.length = np.zeros(self.copies, np.int64)
        self.returns = np.zeros((self.copies, number))
        # Copies that all start together would show every rollout only one part of an episode: the first episode of
        # copy c is cut off (a truncation like any other) after a share of its length.
        self.cut = np.zeros(self.copies, np.int64)
        if stagger > 1 and spec.horizon:
            self.cut[:] = -(-spec.horizon * (first + 1 + np.arange(self.copies)) // stagger)
            self.cut[self.cut >= spec.horizon] = 0
        elif limit:
            self.cut[:] = limit

    def start(self) -> None:
        """Begin the first episodes."""
        with self._holding():
            everyone = np.arange(self.copies)
            self.environment.reset(everyone, self._seeds(everyone))
            self.lives.begin(everyone, self.environment.alive)
            nothing = np.zeros(self.copies, bool)
            self._publish(nothing, nothing, np.zeros(self.lives.alive.shape, np.int32))

    @contextmanager
    def _holding(self) -> Iterator[None]:
        """Whatever an environment raises within is kept in :attr:`broken`, and the rows say so: the other ranks wait for them, and
        all end together."""
        try:
            yield
        except (Exception, SystemExit) as error:  # anybody's code
            if isinstance(error, InputError) and not isinstance(error, ContractError):
                raise  # somebody else's, such as of a film
            self.broken = error
            for layout, rows in zip(self.layouts, self.rows):
                rows[:, layout.reward + 1].view(np.int32)[:] = BROKEN

    def _seeds(self, copies: np.ndarray) -> list[np.random.SeedSequence]:
        seed, use = self.seed
        return [
            np.random.SeedSequence(seed, spawn_key=(use, self.first + int(c), int(self.episode[c]))) for c in copies
        ]

    def act(self, actions: Sequence[np.ndarray]) -> None:
        """Set the actions of all agents, [copies] or [copies, words] each: what a reference controller does. Those of mixed
        spaces are float32 words already, discrete components as int32 bits."""
        for agent, chosen in enumerate(for_all(actions, self.spec, "a controller")):
            write(self.actions[agent], chosen, self.spec, agent, "a controller")

    def step(self) -> None:
        """Advance every copy by the actions in :attr:`actions`; begin new episodes where one ended."""
        if self.broken is None:
            with self._holding():
                self._step()

    def _step(self) -> None:
        environment, lives = self.environment, self.lives
        environment.step(
            [action.view(np.int32) if discrete else action for action, discrete in zip(self.actions, self.discrete)]
        )
        there = lives.step(environment.terminated, environment.truncated, environment.alive)
        if there.all():
            self.reward[:] = environment.reward
        else:
            self.reward[:] = 0
            np.copyto(self.reward, environment.reward, where=there)
        if self.look:
            self.look(environment)
        self.steps += 1
        self.length += 1
        self.returns += self.reward
        over = lives.over
        cut = (self.cut > 0) & (self.length >= self.cut)
        if cut.any():
            cut &= ~over if self.limit else ~(lives.terminated | lives.truncated).any(1)
            lives.cut(cut)
            over = lives.over
        final = lives.truncated.any(1)
        if final.any():
            self._keep_finals(np.flatnonzero(final))
        # Read before the reset: the flags speak of the step, not of the new episode.
        ended = lives.terminated * TERMINATED + lives.truncated * TRUNCATED
        if over.any():
            which = np.flatnonzero(over)
            self._note_episodes(which, cut)
            self.cut[which] = 0
            self.length[which] = 0
            self.returns[which] = 0
            self.episode[which] += 1
            environment.reset(which, self._seeds(which))
            lives.begin(which, environment.alive[which])
        self._publish(over, final, ended)

    def _publish(self, over: np.ndarray, final: np.ndarray, ended: np.ndarray) -> None:
        flags = ended + self.lives.alive * ALIVE + (over * OVER + final * FINAL)[:, None]
        views = [layout.views(rows) for layout, rows in zip(self.layouts, self.rows)]
        self.environment.observe(slice(None), [view for view, _ in views], [mask for _, mask in views])
        if not self.lives.alive.all():
            gone = (flags & (ALIVE | TERMINATED | TRUNCATED)) == 0
            for agent in np.flatnonzero(gone.any(0)):
                views[agent][0][gone[:, agent]] = 0
        for agent, (layout, rows) in enumerate(zip(self.layouts, self.rows)):
            rows[:, layout.reward] = self.reward[:, agent]
            rows[:, layout.reward + 1].view(np.int32)[:] = flags[:, agent]
        self._tell_state(slice(None), self.rows)
        for agent, words in self.controllers.choose().items():
            self.layouts[agent].choices(self.rows[agent])[:] = words

    def _tell_state(self, copies: Any, rows: Sequence[np.ndarray]) -> None:
        """Write the present state of these copies into the rows that bring it."""
        if self.state_with:
            state = self.environment.state_of(copies)
            for agent in self.state_with:
                self.layouts[agent].states(rows[agent])[:] = state

    def _keep_finals(self, copies: np.ndarray) -> None:
        block = np.zeros(sum(layout.width for layout in self.layouts) * len(copies), np.float32)
        rows = split(block, [(len(copies), layout.width) for layout in self.layouts])
        views = [layout.views(row) for layout, row in zip(self.layouts, rows)]
        self.environment.observe(copies, [view for view, _ in views], [mask for _, mask in views])
        for agent, (layout, row) in enumerate(zip(self.layouts, rows)):
            cut_off = self.lives.truncated[copies, agent]
            there = self.lives.alive[copies, agent] | cut_off
            row[:, layout.reward + 1].view(np.int32)[:] = there * ALIVE + cut_off * TRUNCATED
        self._tell_state(copies, rows)
        for agent, words in self.controllers.choose(hypothetical=True).items():
            self.layouts[agent].choices(rows[agent])[:] = words[copies]
        self.finals.append(block)

    def _note_episodes(self, copies: np.ndarray, cut: np.ndarray) -> None:
        whole = copies if self.limit else copies[~cut[copies]]
        metrics = self.environment.metrics(whole) if len(whole) else {}
        for row, copy in enumerate(whole):
            figures = {name: float(values[row]) for name, values in metrics.items()}
            number = int(self.episode[copy])
            self.episodes.append(
                Episode(
                    self.steps,
                    self.first + int(copy),
                    number,
                    int(self.length[copy]),
                    self.returns[copy].copy(),
                    figures,
                    bool(cut[copy]),
                )
            )

    def take_finals(self, agents: int) -> np.ndarray:
        """The final rows kept since the last call, flat: agent after agent, in the order in which they occurred."""
        finals, self.finals = self.finals, []
        counts = [block.size // sum(layout.width for layout in self.layouts) for block in finals]
        pieces = [split(block, [(n, layout.width) for layout in self.layouts]) for block, n in zip(finals, counts)]
        return np.concatenate(
            [piece[agent].ravel() for agent in range(agents) for piece in pieces] or [np.zeros(0, np.float32)]
        )

    def save(self) -> dict[str, np.ndarray]:
        """Arrays [copies, …] from which :meth:`load` goes on."""
        flags = np.stack(
            [rows[:, layout.reward + 1].view(np.int32) for layout, rows in zip(self.layouts, self.rows)], 1
        )
        own = {"episode": self.episode, "length": self.length, "returns": self.returns, "cut": self.cut, "flags": flags}
        own |= {"ended": self.lives.ended, "alive": self.lives.alive, "reward": self.reward}
        found = {f"host.{name}": array.copy() for name, array in own.items()}
        if self.controllers.wanted:
            found["host.remembers"] = np.full(self.copies, self.controllers.remember)
        if self.broken is not None:
            return found  # of an environment that failed nothing is worth keeping
        return found | {f"environment.{name}": array for name, array in self.environment.save().items()}

    def load(self, state: dict[str, np.ndarray], steps: int) -> bool:
        """Continue from :meth:`save`; False when the environment could not be brought back, and must be begun :meth:`anew`."""
        self.steps = steps
        for name in ("episode", "length", "returns", "cut"):
            getattr(self, name)[:] = state[f"host.{name}"]
        inner = {name.partition(".")[2]: array for name, array in state.items() if name.startswith("environment.")}
        forgotten = state.get("host.remembers", np.zeros(1, bool)).any()  # what a controller holds is nowhere kept
        if not inner or forgotten:
            return False
        with self._holding(), streams.kept():
            if self.environment.load(inner, self._seeds(np.arange(self.copies))) is False:
                return False
            self.lives.ended[:], self.lives.alive[:] = state["host.ended"], state["host.alive"]
            self.reward[:] = state["host.reward"]
            nothing = np.zeros(self.copies, bool)
            # Who ended with the last step still shows what it saw then.
            self._publish(nothing, nothing, state["host.flags"] & (TERMINATED | TRUNCATED))
            self._restore_flags(state)
        return True

    def _restore_flags(self, state: dict[str, np.ndarray]) -> None:
        for agent, (layout, rows) in enumerate(zip(self.layouts, self.rows)):
            rows[:, layout.reward + 1].view(np.int32)[:] = state["host.flags"][:, agent]

    def anew(self) -> None:
        """Begin the next episode in every copy, whatever became of the present ones; who remembers those is told that they are over."""
        self.episode += 1
        self.length[:], self.returns[:] = 0, 0
        with streams.kept():
            self.start()
        for layout, rows in zip(self.layouts, self.rows):
            rows[:, layout.reward + 1].view(np.int32)[:] |= OVER


@dataclass(frozen=True)
class Episode:
    """One finished episode: when it ended (host's step count), where, how long, and what it brought each agent."""

    ended: int
    copy: int
    number: int
    length: int
    returns: np.ndarray
    figures: dict[str, float]
    cut: bool = False
    """It did not end by itself: the evaluation did not wait any longer."""


def split(flat: np.ndarray, shapes: list[tuple[int, int]]) -> list[np.ndarray]:
    """Consecutive views of a flat array with the given shapes."""
    views, start = [], 0
    for rows, width in shapes:
        views.append(flat[start : start + rows * width].reshape(rows, width))
        start += rows * width
    return views
