"""What the program's own environments have in common: figures of the last step, seeds per copy, saving by name."""

from __future__ import annotations

import inspect
from typing import Any, Callable, Sequence

import numpy as np

from ...ground.errors import InputError
from .drawing import frames


class Batch:
    """``copies`` copies side by side; a subclass fills in the dynamics (protocol: ``world/environments.py``).

    :attr:`STATE` names the arrays [copies, …] that make up a copy's state: :meth:`reset` sets them to zero,
    :meth:`save` and :meth:`load` carry them. What is random in an episode is drawn by :meth:`draw` from the copy's seed at
    the reset (and again at :meth:`load`), so that it does not depend on which copies share a process. :meth:`fork` lets many copies go
    on from one state, each with chance of its own.
    """

    STATE: tuple[str, ...] = ()
    DRAWN: tuple[str, ...] = ()
    """The arrays [copies, …] that :meth:`draw` fills, all of them or none: with them :meth:`fork` draws once for copies with the same future."""
    LASTING: tuple[str, ...] = ()
    """Those of them that belong to the whole episode, such as its targets: what comes later cannot be drawn without them."""
    redraws = "everything that it draws"
    """What of its chance is another in each future of :meth:`fork`."""
    controllers: dict[str, type] = {}
    """Reference controllers: name → class; ``cls(env).act(env)`` gives actions [agents, copies] or a list per agent."""

    def __init__(self, copies: int, agents: int, horizon: int) -> None:
        self.copies, self.horizon = copies, horizon
        self.time = np.zeros(copies, np.int32)
        """Steps since the reset; a subclass counts, and names it in :attr:`STATE`."""
        self.reward = np.zeros((copies, agents), np.float32)
        self.terminated = np.zeros((copies, agents), bool)
        self.truncated = np.zeros((copies, agents), bool)
        self.alive = np.ones((copies, agents), bool)

    def reset(self, copies: np.ndarray, seeds: list[np.random.SeedSequence]) -> None:
        """Begin an episode in the copies of the given indices."""
        for name in self.STATE:
            getattr(self, name)[copies] = 0
        self.redraw(copies, seeds)
        self.begin(copies)

    def redraw(self, copies: np.ndarray, seeds: list[np.random.SeedSequence]) -> None:
        """Draw what is random in the episodes of the given copies."""
        for copy, seed in zip(copies, seeds, strict=True):
            self.draw(int(copy), np.random.default_rng(seed))

    def draw(self, copy: int, rng: np.random.Generator) -> None:
        """Draw everything random of one copy's episode. Not part of :attr:`STATE`."""

    def draw_on(self, copy: int, rng: np.random.Generator) -> None:
        """Draw anew what is random in the rest of one copy's episode, given its state at the present :attr:`time`; what the state depends on
        stays. By default everything but :attr:`LASTING`: right where each step uses numbers of its own."""
        kept = {name: getattr(self, name)[copy].copy() for name in self.LASTING}
        self.draw(copy, rng)
        for name, array in kept.items():
            getattr(self, name)[copy] = array

    def begin(self, copies: np.ndarray) -> None:
        """Set the state that an episode begins with, after zeros and :meth:`draw`."""

    def metrics(self, copies: np.ndarray) -> dict[str, np.ndarray]:
        """Figures of the episodes so far, name → [len(copies)] float64."""
        return {}

    def picture(self, copy: int) -> np.ndarray:
        """What a subclass tells of a copy by ``scene(copy)``, by itself, uint8 [height, width, 3]; in a film all scenes share their scales."""
        return next(frames([self.scene(copy)]))  # type: ignore[attr-defined]

    def save(self) -> dict[str, np.ndarray]:
        """State of every copy, arrays [copies, …]."""
        return {name: getattr(self, name).copy() for name in self.STATE}

    def load(self, state: dict[str, np.ndarray], seeds: list[np.random.SeedSequence]) -> None:
        """Continue from :meth:`save`; ``seeds`` are those of the running episodes."""
        self.redraw(np.arange(self.copies), seeds)
        for name, array in state.items():
            getattr(self, name)[:] = array
        self.settle()

    def settle(self) -> None:
        """Work out what follows from the state, after :meth:`load` and :meth:`fork`."""

    def fork(
        self,
        state: dict[str, np.ndarray],
        seed: np.random.SeedSequence,
        futures: Sequence[np.random.SeedSequence],
        of: np.ndarray,
    ) -> bool:
        """Let every copy go on from the state of one, ``state``: of :meth:`save`, arrays [1, …]; ``seed``: of its episode. What is random
        afterwards is drawn from ``futures[of[copy]]``; all of these must be in use."""
        everyone = np.arange(self.copies)
        first = np.unique(of, return_index=True)[1]
        drawing = first if self.DRAWN else everyone
        self.redraw(drawing, [seed] * len(drawing))
        for name, array in state.items():
            getattr(self, name)[:] = array
        for copy in drawing:
            self.draw_on(int(copy), np.random.default_rng(futures[of[copy]]))
        for name in self.DRAWN:
            array = getattr(self, name)
            array[everyone] = array[first[of]]
        self.terminated[:], self.truncated[:], self.alive[:] = False, False, True
        self.settle()
        return True


def build(make: Callable[..., Any], env: str, arguments: dict[str, Any], copies: int, agents: int | None) -> Any:
    """``make(copies, agents, **arguments)``; raises InputError that names an argument which ``make`` does not take."""
    known = [name for name in inspect.signature(make).parameters if name not in ("copies", "agents")]
    for name in arguments:
        if name not in known:
            raise InputError(f"--env {env}: unknown argument '{name}'; it takes {', '.join(known) or 'none'}")
    return make(copies, agents, **arguments)


def bounded(env: str, name: str, value: Any, low: float, high: float, whole: bool = False) -> Any:
    """``value`` if it is a number (a whole one if asked) in [low, high]; else raises InputError."""
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        what = "a whole number" if whole else "a number"
        upto = f"from {low:g} to {high:g}" if np.isfinite(high) else f"of at least {low:g}"
        raise InputError(f"--env {env}: {name} {value!r} is not {what} {upto}")
    return value if whole else float(value)


def mean_of(values: np.ndarray) -> np.ndarray:
    """Mean over the second axis, summed from first to last: the same bits whatever the number of copies."""
    return np.add.accumulate(values, axis=1, dtype=float)[:, -1] / values.shape[1]
