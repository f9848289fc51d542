"""``batch:MODULE.CLASS``: anybody's batch environment by import path (protocol: ``world/environments.py``)."""

from __future__ import annotations

import importlib
import json
from typing import Any

import numpy as np

from ...ground.errors import ContractError, InputError
from ...settings.data import to_data
from .. import contract, streams
from ..networked.base import build
from ..observed import short

TOLD = {"reward": "fiu", "terminated": "b", "truncated": "b", "alive": "b"}
"""Arrays that tell of a step → kinds of numbers that they may hold."""


class Watched:
    """Anybody's batch environment, held to the protocol."""

    unknown = True
    """See :class:`~perla_net.world.copies.Copies`."""

    def __init__(self, name: str, env: Any) -> None:
        """Raises InputError for a ``spec`` that is not plain data, or whose agents cannot be told apart."""
        self.name, self.env = name, env
        names = [agent.name for agent in env.spec.agents]
        contract.names_of(name, names)
        try:
            if not all(isinstance(agent, str) for agent in names):
                raise TypeError(
                    f"an agent is called {short(next(agent for agent in names if not isinstance(agent, str)))}, not by a text"
                )
            json.dumps(to_data(env.spec))
        except TypeError as error:
            raise InputError(f"--env {name}: its spec must be plain numbers and texts ({error})") from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)

    def reset(self, copies: np.ndarray, seeds: list[np.random.SeedSequence]) -> None:
        """Begin an episode in the given copies. Raises ContractError."""
        self._watch("reset", copies, seeds)

    def step(self, actions: list[np.ndarray]) -> None:
        """Advance every copy by one step. Raises ContractError."""
        self._watch("step", actions)

    def observe(self, copies: Any, observations: list[np.ndarray], masks: list[np.ndarray | None]) -> None:
        """Write what the agents of the given copies see, and what they may do. Raises ContractError."""
        self.env.observe(copies, observations, masks)
        for spec, mask in zip(self.env.spec.agents, masks):
            if mask is None:
                continue
            if not ((mask == 0) | (mask == 1)).all():
                raise ContractError(
                    f"--env {self.name}: the action mask of {spec.name} holds other flags than 1 (allowed) and 0"
                )
            spec.allow_something(mask)

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
