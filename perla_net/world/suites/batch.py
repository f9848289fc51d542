"""``batch:MODULE.CLASS``: anybody's batch environment by import path (protocol: ``world/environments.py``)."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from ...errors import ContractError, InputError
from .. import streams
from ..networked.base import build

TOLD = {"reward": "fiu", "terminated": "b", "truncated": "b", "alive": "b"}
"""Arrays that tell of a step → kinds of numbers that they may hold."""


class Watched:
    """Anybody's batch environment, held to the protocol."""

    unknown = True
    """See :class:`~perla_net.world.copies.Copies`."""

    def __init__(self, name: str, env: Any) -> None:
        self.name, self.env = name, env

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)

    def reset(self, copies: np.ndarray, seeds: list[np.random.SeedSequence]) -> None:
        """Begin an episode in the given copies. Raises ContractError."""
        self._watch("reset", copies, seeds)

    def step(self, actions: list[np.ndarray]) -> None:
        """Advance every copy by one step. Raises ContractError."""
        self._watch("step", actions)

    def _watch(self, method: str, *arguments: Any) -> None:
        before = streams.state()
        getattr(self.env, method)(*arguments)
        if whose := streams.moved(before):
            raise ContractError(
                f"--env {self.name}: {method} draws from {whose}'s global stream, which copies on other ranks do not share; draw from "
                "default_rng(seed) of the seeds that reset is given"
            )
        shape = (self.env.copies, len(self.env.spec.agents))
        for name, kinds in TOLD.items():
            array = getattr(self.env, name, None)
            if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype.kind not in kinds:
                found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else f"a {type(array).__name__}"
                what = "bool" if kinds == "b" else "numbers"
                raise ContractError(
                    f"--env {self.name}: after {method} .{name} is {found}; it must be an array of {what}, {shape}: copies, agents"
                )


def make(path: str, arguments: dict[str, Any], copies: int, agents: int | None, render: bool) -> Watched:
    """``CLASS(copies, agents, **arguments)``. Raises InputError where there is no such class, or it does not take these."""
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name) if module else None
    except ImportError as error:
        raise InputError(f"--env batch:{path}: cannot be imported ({error})") from None
    except AttributeError:
        found = None
    if found is None:
        raise InputError(f"--env batch:{path}: is not MODULE.CLASS, such as walkers_batch.Walkers")
    return Watched(f"batch:{path}", build(found, f"batch:{path}", arguments, copies, agents))


def any_number(path: str, arguments: dict[str, Any]) -> bool:
    """Left to the class: ``agents`` is what was asked for, or the number of ranks."""
    return True
