"""``mpe2:simple_spread_v3`` …: the multi-agent particle environments (Lowe et al. 2017, arXiv 1706.02275) of the package mpe2.

Names are its modules, with or without the version. Arguments go to the environment; ``max_cycles`` (25 steps, then everybody is
truncated), ``continuous_actions`` (false), and where there are several alike, ``N``. Agents are at positions on a plane that
each sees much of; nobody dies.
"""

from __future__ import annotations

import difflib
from typing import Any

import mpe2  # noqa: F401 so that its absence is told from a name that it does not have

from ...ground.errors import InputError
from ..copies import Copies
from .pettingzoo import modules_of, parallel_copies, versioned

NAMES = (
    "simple",
    "simple_adversary",
    "simple_crypto",
    "simple_formation",
    "simple_line",
    "simple_push",
    "simple_reference",
    "simple_speaker_listener",
    "simple_spread",
    "simple_tag",
    "simple_world_comm",
    "collect_treasure",
)


def make(name: str, arguments: dict[str, Any], copies: int, agents: int | None, render: bool) -> Copies:
    """``mpe2:NAME``. Raises InputError."""
    module = versioned("mpe2", name)
    if module is None:
        known = [last for last in modules_of("mpe2") if versioned("mpe2", last)]
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean mpe2:{close[0]}?" if close else f"there are {', '.join(known)}"
        raise InputError(f"--env mpe2:{name}: there is no such environment in mpe2; {hint}")
    return parallel_copies(f"mpe2:{name}", module, arguments, copies, agents, render)
