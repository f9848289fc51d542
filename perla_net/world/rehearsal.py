"""A rehearsal: an environment that nobody here knows plays an episode of random actions before a run relies on it.

What breaks the contract is found before anything is written; an episode that does not end, or that comes out otherwise when it is
played again from its seed, is said.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from functools import lru_cache
from typing import Any

import numpy as np

from ..ground.errors import ContractError
from ..ground.selection import listed
from . import streams
from .environments import make
from .hosts import Host
from .spec import ActionSpec, WorldSpec

REHEARSAL = 100
"""Use of an environment copy (first part of the spawn key), see ``world.py``."""
STEPS, SECONDS = 1000, 2.0
"""An episode that has not ended after so many steps, or so much time, is not waited for."""
AGAIN = 50
"""Steps that are played a second time."""
PATIENCE = 60.0
"""Seconds that another process has to make the environment."""
LAUNCHED = ("PMI", "PMIX", "OMPI_", "MPI_", "HYDI_", "SLURM_STEP", "SLURM_PROCID")
"""Variables by which a launcher tells its processes who they are; a process of ours is none of them."""


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

    def _draw(
        self, stream: np.random.Generator, action: ActionSpec, mask: np.ndarray | None, words: np.ndarray
    ) -> None:
        whole, start = words[: len(action.sizes)].view(np.int32), 0
        for component, size in enumerate(action.sizes):
            allowed = np.arange(size) if mask is None else np.flatnonzero(mask[start : start + size])
            whole[component] = stream.choice(allowed) if len(allowed) else 0
            start += size
        words[len(action.sizes) :] = stream.uniform(-1, 1, len(action.low))


def rehearse(env: str, environment: Any, world: WorldSpec) -> list[str]:
    """Play an episode in a batch environment of one copy: sentences about what a user should know. Raises ContractError, and whatever
    else the environment raises."""
    import torch  # noqa: F401  before its stream matters: what an environment loads it for would not be seen the first time

    _check_order(env, world)
    with streams.kept():
        first, ended = _play(environment, world, STEPS)
        again, _ = _play(environment, world, min(AGAIN, len(first) - 1))
    found = []
    if not ended:
        found.append(
            f"no episode of {env} ended within {len(first) - 1:,} steps of random actions: returns will be known only of episodes that "
            "end, and an evaluation cuts its episodes off (--evaluate-steps)"
        )
    if os.environ.get("PYTHONHASHSEED", "random") == "random":
        found.append(
            "PYTHONHASHSEED is not set, so that sets of names have another order in every process; an environment that goes through them will "
            "not repeat (python -m perla_net.run sets it)"
        )
    for step, (one, other) in enumerate(zip(first, again)):
        if one != other:
            found.append(
                f"{env} is not determined by its seed: an episode that was played twice, with the same seed and actions, differed at step "
                f"{step}; runs will not repeat, and their numbers depend on the number of ranks"
            )
            break
    return found


def _check_order(env: str, world: WorldSpec) -> None:
    """See that agents whose names are in no order of themselves come in the same one in another process: made from a set, they do not.

    Raises ContractError. Names in their natural order are believed: if they came so by chance, every other order is refused.
    """
    names = [agent.name for agent in world.agents]
    if names == sorted(names, key=_natural):
        return
    found = _in_another_process(env)
    if found is not None and found != names:
        raise ContractError(
            f"--env {env}: possible_agents has another order, or other agents, in another process ({listed(names)}; {listed(found)}); make it "
            "the same in every process: sort it, for the order of a set depends on PYTHONHASHSEED"
        )


@lru_cache
def _in_another_process(env: str) -> list[str] | None:
    """The agents' names in a process of another PYTHONHASHSEED; None where the environment cannot be made there (twice at a time, say):
    then nothing is known, and ranks are compared with each other anyway."""
    script = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from perla_net.world.rehearsal import show; show(sys.argv[2])"
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(LAUNCHED)}
    inherited["PYTHONHASHSEED"] = "1" if os.environ.get("PYTHONHASHSEED") == "2" else "2"
    command = [sys.executable, "-W", "ignore", "-c", script, json.dumps(sys.path), env]
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, env=inherited, timeout=PATIENCE)
        return json.loads(done.stdout.decode().splitlines()[-1])
    except (subprocess.TimeoutExpired, ValueError, IndexError):
        return None


def show(env: str) -> None:
    """Print the agents' names in order, as JSON."""
    print("\n" + json.dumps([agent.name for agent in make(env, 1, None).spec.agents]))


def _natural(name: str) -> list[Any]:
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.findall(r"[0-9]+|[^0-9]+", name)]


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
        for spec, layout, rows in zip(world.agents, host.layouts, host.rows):
            seen, reward = rows[:, : layout.observation], rows[:, layout.reward]
            for what, values in (("reward", reward), ("observation", seen)):
                if host.broken is None and not np.isfinite(values).all():
                    raise ContractError(
                        f"--env {world.name}: the {what} of {spec.name} is not finite at step {len(shown)} of an episode"
                    )
