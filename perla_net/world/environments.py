"""The registry of environments, and what a batch environment must offer.

A *batch environment* holds some copies of an environment and steps them in one call:

    env.spec                                  WorldSpec: agents, spaces, interaction graph, horizon
    env.reset(copies, seeds)                  begin episodes in the copies of the given indices
    env.step(actions)                         actions[i]: int32 or float32 [copies, words] of agent i
    env.observe(copies, observations, masks)  write into [copies, size] float32 arrays, one per agent; masks into
                                              [copies, outputs] float32 arrays, or None where the agent has no mask
    env.reward, .terminated, .truncated, .alive   [copies, agents] of the last step; alive: acts in the next step
    env.controllers                           reference controllers: name → class; object.act(env) gives actions
    env.metrics(copies)                       further figures of the episodes so far, name → [copies]
    env.positions()                           where spec.moves: [agents, dimensions] in the first copy
    env.save() / env.load(state, seeds)       arrays [copies, …], and back

Only ``world/hosts.py`` calls these.
"""

from __future__ import annotations

from typing import Any

from ..config import parse_spec
from ..errors import InputError

OWN = {"traffic:grid": ("rows", "columns", "reward", "demand", "horizon"), "spread": ("horizon", "local_ratio")}
"""The program's own environments and their arguments."""


def make(env: str, copies: int, agents: int | None) -> Any:
    """A batch environment of ``copies`` copies. Raises InputError for unknown names and arguments.

    ``env`` is ``SUITE:NAME[:key=value,…]``; ``agents`` is the number asked for, None when left to the environment.
    """
    name, arguments = parse_spec(env)
    suite, _, rest = name.partition(":")
    if name in OWN:
        unknown = [key for key in arguments if key not in OWN[name]]
        if unknown:
            raise InputError(f"--env {env}: unknown argument '{unknown[0]}'; {name} takes {', '.join(OWN[name])}")
        if name == "spread":
            from .spread import Spread

            return Spread(copies, agents, **arguments)
        from .traffic import TrafficGrid

        return TrafficGrid(copies, agents, **arguments)
    if suite == "pettingzoo" and rest:
        from .pettingzoo import PettingZoo

        return PettingZoo(rest, arguments, copies, agents)
    raise InputError(f"--env {env}: there is no such environment; known are {', '.join(OWN)} and pettingzoo:MODULE")


def takes_any_number(env: str) -> bool:
    """True where neither the environment nor its arguments fix the number of agents."""
    name, arguments = parse_spec(env)
    return name in OWN and not {"rows", "columns"} & set(arguments)
