"""``influence:file=FILE,top=K`` and ``influence:file=FILE,share=S``: everybody hears those who, as ``python -m perla_net.gain … --json FILE``
measured, influence it most."""

from __future__ import annotations

import json
from typing import Any, Sequence

import networkx as nx
import numpy as np

from ..ground.errors import InputError
from ..ground.graph_files import find_file

FORMAT = "perla_net.gain"
"""How what the file says of itself begins."""
ROUNDING = 1e-9


def of_influence(spec: str, arguments: dict[str, Any], names: Sequence[str]) -> nx.DiGraph:
    """The graph with an edge j → i for the K others j with the largest shares of influence on i (``top=K``), or for the fewest whose shares
    reach S (``share=S``); never for a share that is not reliably above zero. Ties by index. Raises InputError."""
    given = dict(arguments)
    file, top, share = (given.pop(name, None) for name in ("file", "top", "share"))
    if given:
        raise InputError(
            f"--topology {spec}: influence does not take '{next(iter(given))}'; it takes file, and top or share"
        )
    if file is None:
        raise InputError(
            f"--topology {spec}: influence needs file=FILE, written by python -m perla_net.gain … --json FILE"
        )
    if (top is None) == (share is None):
        raise InputError(f"--topology {spec}: influence needs either top=K or share=S, one of them")
    if top is not None and (not isinstance(top, int) or isinstance(top, bool) or top < 1):
        raise InputError(f"--topology {spec}: top={top} is not a positive number of agents")
    if share is not None and (isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share <= 1):
        raise InputError(f"--topology {spec}: share={share} is not a number above 0, 1 at most")
    shares = _read(spec, str(file), names)
    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(names)))
    for agent, row in enumerate(shares):
        order = [int(other) for other in np.argsort(-row, kind="stable") if row[other] > 0 and other != agent]
        if share is not None:
            upto = np.cumsum(row[order]) / max(row[order].sum(), ROUNDING)
            order = order[: int((upto < share - ROUNDING).sum()) + 1]
        graph.add_edges_from((other, agent) for other in order[:top])
    return graph


def _read(spec: str, file: str, names: Sequence[str]) -> np.ndarray:
    """Shares [to, from] in the order of ``names``; 0 where they are not reliably above zero."""
    place = find_file(file)
    if place is None or not place.is_file():
        raise InputError(f"--topology {spec}: there is no file {file}")
    try:
        data = json.loads(place.read_text(encoding="utf-8-sig"))
        if not str(data["format"]).startswith(FORMAT):
            raise ValueError
        known, table = list(data["names"]), data["over_horizon"]
        shares = np.array(table["shares"], float)
        reliable = np.array(table["reliable"], bool)
        if not shares.shape == reliable.shape == (len(known), len(known)) or not np.isfinite(shares).all():
            raise ValueError
    except (OSError, KeyError, TypeError, ValueError):
        raise InputError(
            f"--topology {spec}: {file} was not written by python -m perla_net.gain … --json FILE"
        ) from None
    if len(known) != len(names):
        raise InputError(f"--topology {spec}: {file} is of {len(known)} agents, but there are {len(names)}")
    if missing := [name for name in names if name not in known]:
        raise InputError(f"--topology {spec}: {file} is of other agents; it has no {missing[0]}")
    order = [known.index(name) for name in names]
    return np.where(reliable, shares, 0.0)[np.ix_(order, order)]
