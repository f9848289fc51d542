"""A rehearsal: an environment that nobody here knows plays an episode of random actions before a run relies on it.

What breaks the contract is found before anything is written; an episode that does not end, or that comes out otherwise when it is
played again from its seed, is said.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from .hosts import Host
from .spec import ActionSpec, WorldSpec

REHEARSAL = 100
"""Use of an environment copy (first part of the spawn key), see ``world.py``."""
STEPS, SECONDS = 1000, 2.0
"""An episode that has not ended after so many steps, or so much time, is not waited for."""
AGAIN = 50
"""Steps that are played a second time."""


class RandomActions:
    """Uniformly random allowed actions, each copy from a stream of its own; the reference where an environment has none."""

    def __init__(self, host: Host, world: WorldSpec, streams: list[np.random.Generator]) -> None:
        self.host, self.world, self.streams = host, world, streams

    def act(self, environment: Any) -> list[np.ndarray]:
        """Words per agent, [copies, words] int32 or float32."""
        chosen = []
        for spec, layout, rows in zip(self.world.agents, self.host.layouts, self.host.rows):
            _, mask = layout.views(rows)
            words = np.zeros((len(self.streams), spec.action.words), np.float32)
            for copy, stream in enumerate(self.streams):
                self._draw(stream, spec.action, None if mask is None else mask[copy], words[copy])
            chosen.append(words if spec.action.low else words.view(np.int32))
        return chosen

    def _draw(self, stream: np.random.Generator, action: ActionSpec, mask: np.ndarray | None, words: np.ndarray) -> None:
        whole, start = words[: len(action.sizes)].view(np.int32), 0
        for component, size in enumerate(action.sizes):
            allowed = np.arange(size) if mask is None else np.flatnonzero(mask[start : start + size])
            whole[component] = stream.choice(allowed) if len(allowed) else 0
            start += size
        words[len(action.sizes) :] = stream.uniform(-1, 1, len(action.low))


def rehearse(env: str, environment: Any, world: WorldSpec) -> list[str]:
    """Play an episode in a batch environment of one copy: sentences about what a user should know. Raises ContractError, and whatever
    else the environment raises."""
    first, ended = _play(environment, world, STEPS)
    found = []
    if not ended:
        found.append(
            f"no episode of {env} ended within {len(first) - 1:,} steps of random actions: returns will be known only of episodes that "
            "end, and an evaluation cuts its episodes off (--evaluate-steps)"
        )
    again, _ = _play(environment, world, min(AGAIN, len(first) - 1))
    for step, (one, other) in enumerate(zip(first, again)):
        if one != other:
            found.append(
                f"{env} is not determined by its seed: an episode that was played twice, with the same seed and actions, differed at step "
                f"{step}; runs will not repeat, and their numbers depend on the number of ranks"
            )
            break
    return found


def _play(environment: Any, world: WorldSpec, most: int) -> tuple[list[bytes], bool]:
    """(what everybody was shown and paid at each step, whether the episode ended)."""
    host = Host(environment, world, 0, (0, REHEARSAL))
    actions = RandomActions(host, world, [np.random.default_rng(REHEARSAL)])
    shown, until = [], time.monotonic() + SECONDS
    host.start()
    while True:
        if host.broken is not None:
            raise host.broken
        shown.append(host.buffer.tobytes())
        if host.episode[0] or len(shown) > most or (most == STEPS and time.monotonic() > until):
            return shown, bool(host.episode[0])
        host.act(actions.act(environment))
        host.step()
        host.finals.clear()
