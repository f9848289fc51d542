"""What ranks must agree on, checked at the start by a checksum over ranks (a difference would not be seen later, but be in every number);
and what one of them finds wrong later, which all must hear of."""

from __future__ import annotations

import json
import os
import zlib
from typing import Any, Callable, Sequence

import numpy as np

from ..ground.errors import Stopped
from ..ground.processes import Processes
from ..ground.selection import listed
from ..settings.data import to_data
from .observed import short
from .spec import WorldSpec


def agree_on_world(
    processes: Processes, env: str, planned: WorldSpec, mine: WorldSpec, figures: Sequence[str] | None
) -> None:
    """See that every rank has the environment that rank 0 planned with. Collective; raises Stopped on all ranks.

    mine: what the environment that this rank made says, ``planned`` on ranks that make none; figures: what it tells of its episodes,
    None on these.
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
        (
            "names of figures",
            None if figures is None else list(figures),
            None,
            "metrics() must tell the same, in the same order",
        ),
        (
            "PYTHONHASHSEED",
            os.environ.get("PYTHONHASHSEED", ""),
            None,
            "it must be the same for all of them: sets of names differ in their order otherwise",
        ),
        ("horizon, references or positions", _rest(mine), _rest(planned), "it must be the same wherever it is made"),
    ]
    agree(processes, f"--env {env}", facts)


def agree(processes: Processes, subject: str, facts: Sequence[tuple[str, Any, Any, str]]) -> None:
    """Compare facts over ranks. facts: (what it is, this rank's data or None where it has none, rank 0's data or None where only rank 0
    has them, what would be right). Collective; raises Stopped on all ranks where one differs: the lowest such rank says what."""
    digests = np.array([_digest(mine) for _, mine, _, _ in facts], np.uint32)
    lengths = [digests.nbytes] * processes.size
    gathered = processes.all_gather(digests.view(np.uint8), lengths, "comparison of what ranks must agree on")
    table = np.ascontiguousarray(gathered).view(np.uint32).reshape(processes.size, -1)
    planned = table[0].copy()
    for number, (_, _, theirs, _) in enumerate(facts):
        if theirs is not None:
            planned[number] = _digest(theirs)
    wrong = np.argwhere((table != planned) & (table != NOTHING))
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


def together(processes: Processes, found: Sequence[str], kind: Callable[[str], Exception], name: str) -> None:
    """Raise ``kind`` on every rank where some rank found something wrong; the lowest such rank says its first sentence. Collective."""
    first = processes.size - processes.agree(processes.size - processes.rank if found else 0, name)
    if first < processes.size:
        raise kind(found[0] if first == processes.rank else "")


NOTHING = 0
"""In the place of a checksum: this rank has no data to compare."""


def _digest(data: Any) -> int:
    return NOTHING if data is None else zlib.crc32(json.dumps(data).encode()) or 1


def _names(spec: WorldSpec) -> list[str]:
    return [agent.name for agent in spec.agents]


def _rest(spec: WorldSpec) -> list[Any]:
    return [spec.horizon, list(spec.references), to_data(spec.positions), spec.moves]


def _difference(mine: Any, theirs: Any) -> tuple[str, str]:
    """Two lists of names as they are, so far as they fit; of others the first entries that differ."""
    if all(isinstance(entry, str) for entry in [*mine, *theirs]):
        return listed(mine, 6), listed(theirs, 6)
    where, one, other = _first(mine, theirs)
    return f"{where} {short(one)}".strip(), short(other)


def _first(mine: Any, theirs: Any, where: str = "") -> tuple[str, Any, Any]:
    """The first place in which two trees of data differ, and what stands there."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        pairs = [(f"{where} {key}".strip(), mine[key], theirs.get(key)) for key in mine]
    elif isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
        pairs = [(f"{where} {number}".strip(), *pair) for number, pair in enumerate(zip(mine, theirs))]
    else:
        return where, mine, theirs
    return next((_first(one, other, place) for place, one, other in pairs if one != other), (where, mine, theirs))
