"""What ranks must agree on, checked at the start by a checksum over ranks: a difference would not be seen later, but be in every number."""

from __future__ import annotations

import json
import zlib
from typing import Any, Sequence

import numpy as np

from ..config import to_data
from ..errors import Stopped
from ..processes import Processes
from .spec import WorldSpec, short


def agree_on_world(processes: Processes, env: str, planned: WorldSpec, mine: WorldSpec) -> None:
    """See that every rank has the environment that rank 0 planned with. Collective; raises Stopped on all ranks.

    mine: what the environment that this rank made says; ``planned`` on ranks that make none.
    """
    facts = [
        ("agents", sorted(_names(mine)), sorted(_names(planned)), "it must have the same agents wherever it is made"),
        (
            "agents in the order of possible_agents",
            _names(mine),
            _names(planned),
            "make it the same in every process: sort it, for the order of a set depends on PYTHONHASHSEED",
        ),
        ("spaces", to_data(mine.agents), to_data(planned.agents), "they must be the same wherever it is made"),
        (
            "edges of the interaction graph",
            to_data(mine.interaction or ()),
            to_data(planned.interaction or ()),
            "it must be the same wherever it is made",
        ),
        ("horizon, references or positions", _rest(mine), _rest(planned), "it must be the same wherever it is made"),
    ]
    agree(processes, f"--env {env}", facts)


def agree(processes: Processes, subject: str, facts: Sequence[tuple[str, Any, Any, str]]) -> None:
    """Compare facts over ranks. facts: (what it is, this rank's data, rank 0's data or None where only rank 0 has them, what would be
    right). Collective; raises Stopped on all ranks where one differs: the lowest such rank says what."""
    digests = np.array([zlib.crc32(json.dumps(mine).encode()) for _, mine, _, _ in facts], np.uint32)
    lengths = [digests.nbytes] * processes.size
    gathered = processes.all_gather(digests.view(np.uint8), lengths, "comparison of what ranks must agree on")
    table = np.ascontiguousarray(gathered).view(np.uint32).reshape(processes.size, -1)
    planned = table[0].copy()
    for number, (_, _, theirs, _) in enumerate(facts):
        if theirs is not None:
            planned[number] = zlib.crc32(json.dumps(theirs).encode())
    wrong = np.argwhere(table != planned)
    if not len(wrong):
        return
    rank, number = (int(place) for place in wrong[0])
    what, mine, theirs, right = facts[number]
    text = ""
    if processes.rank == rank:
        shown = f"rank {rank}"
        if theirs is not None:
            one, other = _difference(mine, theirs)
            shown = f"rank {rank}: {one}; rank 0, which planned the run: {other}"
        text = f"{subject}: the {what} of one process are not those of another ({shown}); {right}"
    raise Stopped(text, 2)


def _names(spec: WorldSpec) -> list[str]:
    return [agent.name for agent in spec.agents]


def _rest(spec: WorldSpec) -> list[Any]:
    return [spec.horizon, list(spec.references), to_data(spec.positions), spec.moves]


def _difference(mine: Any, theirs: Any) -> tuple[str, str]:
    """Two lists of names as they are, so far as they fit; of others the first entries that differ."""
    if all(isinstance(entry, str) for entry in [*mine, *theirs]):
        return tuple(", ".join(names[:6]) + (", …" if len(names) > 6 else "") for names in (mine, theirs))
    for one, other in zip(mine, theirs):
        if one != other:
            return short(one), short(other)
    return f"{len(mine)} entries", f"{len(theirs)} entries"
