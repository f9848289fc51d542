"""The communication graph of every round: fixed, a periodic list, redrawn, a random matching, or by distance.

Every rank works it out by itself, from the plan and the run's seed; only positions that move are told, by the world. An
edge j → i of round t means that i hears j in that round.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Sequence

import numpy as np

from ..ground.errors import InputError
from ..ground.selection import selected

Edge = tuple[int, int]
Edges = tuple[Edge, ...]

KINDS = ("list", "redrawn", "matching", "distance")
DRAWN = 3
"""First part of the spawn key of everything random about graphs."""
LINK_ATTRIBUTES = ("loss", "delay", "latency", "bandwidth")
"""Attributes of a graph's edges that are properties of the link: share of packets lost, rounds, seconds, bytes per second."""


@dataclass(frozen=True)
class Schedule:
    """What determines the graph of each round, as plain data.

    kind ``list``: ``graphs`` one after the other, then again, each for ``every`` rounds. ``redrawn``: ``spec`` with a new
    seed each ``every`` rounds (``directed``: it makes directed graphs). ``matching``: pairs drawn at random each ``every`` rounds, everybody in at most one (gossip).
    ``distance``: agents within ``radius`` of each other. ``away``: (agent, first, last): rounds in which an agent has left.
    ``links``: source → target → attributes of that link. ``nodes``: how the nodes of a file became agents, in words; ``weighted``:
    edges of a file have weights. ``positions`` [agents][dimensions]: where agents that never
    move stand, for ``distance``; None where they move.
    """

    agents: int
    kind: str = "list"
    graphs: tuple[Edges, ...] = ((),)
    every: int = 1
    seed: int = 0
    spec: str = ""
    directed: bool = False
    radius: float = 0.0
    positions: tuple[tuple[float, ...], ...] | None = None
    away: tuple[tuple[int, int, int], ...] = ()
    links: tuple[tuple[int, int, dict[str, float]], ...] = ()
    nodes: str = ""
    weighted: bool = False
    _cache: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Schedule:
        """The inverse of :meth:`to_data`."""
        entries = dict(data)
        entries["graphs"] = tuple(tuple((j, i) for j, i in edges) for edges in data["graphs"])
        entries["away"] = tuple((agent, first, last) for agent, first, last in data["away"])
        entries["links"] = tuple((j, i, dict(attributes)) for j, i, attributes in data["links"])
        if data["positions"] is not None:
            entries["positions"] = tuple(tuple(place) for place in data["positions"])
        return cls(**entries)

    def to_data(self) -> dict[str, Any]:
        """As JSON data."""
        names = (
            "agents",
            "kind",
            "graphs",
            "every",
            "seed",
            "spec",
            "directed",
            "radius",
            "positions",
            "away",
            "links",
            "nodes",
            "weighted",
        )
        return {name: getattr(self, name) for name in names}

    @property
    def fixed(self) -> bool:
        """True when every round has the same graph."""
        return (len(self.graphs) == 1 if self.kind == "list" else self._stands) and not self.away

    @property
    def _stands(self) -> bool:
        return self.kind == "distance" and self.positions is not None

    @property
    def moves(self) -> bool:
        """True when the graph depends on positions that the environment must tell anew in each round."""
        return self.kind == "distance" and self.positions is None

    def edges(self, round_number: int, positions: np.ndarray | None = None) -> Edges:
        """The edges of a round (from 1), sorted. positions [agents, dimensions]: needed where :attr:`moves`."""
        epoch = 0 if self._stands else (round_number - 1) // self.every
        gone = frozenset(agent for agent, first, last in self.away if first <= round_number <= last)
        if self.moves:
            return self._without(self._near(positions), gone)
        key = (epoch % len(self.graphs) if self.kind == "list" else epoch, gone)
        if self._cache.get("key") != key:
            self._cache.update(key=key, edges=self._without(self._of_epoch(epoch), gone))
        return self._cache["edges"]

    def _of_epoch(self, epoch: int) -> Edges:
        if self.kind == "list":
            return self.graphs[epoch % len(self.graphs)]
        if self._stands:
            return self._near(np.array(self.positions))
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(DRAWN, epoch)))
        if self.kind == "matching":
            order = rng.permutation(self.agents)
            pairs = list(zip(order[::2].tolist(), order[1::2].tolist()))
            return tuple(sorted([*pairs, *((b, a) for a, b in pairs)]))
        from .families import generated  # networkx takes long to import, and most schedules need none

        return generated(self.spec, self.agents, int(rng.integers(2**31)))

    def _near(self, positions: np.ndarray | None) -> Edges:
        """Ordered pairs of agents at most ``radius`` apart (Euclidean)."""
        assert positions is not None
        squared = sum(np.square(column[:, None] - column[None]) for column in positions.astype(float).T)
        near = squared <= self.radius * self.radius
        np.fill_diagonal(near, False)
        return tuple((int(j), int(i)) for j, i in np.argwhere(near))

    @staticmethod
    def _without(edges: Edges, gone: frozenset[int]) -> Edges:
        return tuple(edge for edge in edges if not gone & set(edge)) if gone else edges

    def potential(self, hops: int = 1) -> Edges:
        """Ordered pairs (j, i) such that i may hear j in some round, within so many hops; sorted."""
        if self.kind != "list" and not self._stands:
            return tuple((j, i) for j in range(self.agents) for i in range(self.agents) if j != i)
        graphs = self.graphs if self.kind == "list" else (self._of_epoch(0),)
        found: set[Edge] = set()
        for edges in graphs:
            for source, reached in enumerate(reach(self.agents, edges, hops)):
                found.update((source, target) for target in reached)
        return tuple(sorted(found))

    def heard_together(self, agent: int, hops: int) -> list[list[int]]:
        """Sets of agents that one may hear in the same round, one of which is as large as any, as far as is known."""
        if self.kind == "matching" and hops == 1:
            return [[other] for other in range(self.agents) if other != agent]
        if self.kind == "list":
            return [
                [source for source, reached in enumerate(self._reach_of(number, hops)) if agent in reached]
                for number in range(len(self.graphs))
            ]
        if ("heard", hops) not in self._cache:
            heard: list[list[int]] = [[] for _ in range(self.agents)]
            for source, target in self.potential(hops):
                heard[target].append(source)
            self._cache["heard", hops] = heard
        return [self._cache["heard", hops][agent]]

    def _reach_of(self, number: int, hops: int) -> list[dict[int, int]]:
        if ("reach", number, hops) not in self._cache:
            self._cache["reach", number, hops] = reach(self.agents, self.graphs[number], hops)
        return self._cache["reach", number, hops]

    def undirected(self) -> bool:
        """True when every graph has each edge in both directions, as far as that can be known before the run."""
        if self.kind != "list":
            return not self.directed
        return all(self._symmetric(edges) for edges in self.graphs)

    @staticmethod
    def _symmetric(edges: Edges) -> bool:
        present = set(edges)
        return all((i, j) in present for j, i in edges)


def reach(agents: int, edges: Sequence[Edge], hops: int) -> list[dict[int, int]]:
    """For every agent those that hear it within ``hops`` edges → their distance; in order of distance, then index."""
    after: list[list[int]] = [[] for _ in range(agents)]
    for source, target in sorted(edges):
        after[source].append(target)
    found = []
    for source in range(agents):
        distance = {source: 0}
        frontier = [source]
        for hop in range(1, hops + 1):
            frontier = sorted({target for node in frontier for target in after[node] if target not in distance})
            distance.update(dict.fromkeys(frontier, hop))
        del distance[source]
        found.append(distance)
    return found


def relays(agents: int, edges: Sequence[Edge], hops: int) -> dict[tuple[int, int], list[int]]:
    """(origin, relay) → to whom the relay forwards that origin's messages: an agent at distance h ≥ 2 is served by the
    lowest-numbered of its in-neighbours at distance h − 1, and by nobody else, so that no message comes twice."""
    before: list[list[int]] = [[] for _ in range(agents)]
    for source, target in sorted(edges):
        before[target].append(source)
    table: dict[tuple[int, int], list[int]] = {}
    for origin, reached in enumerate(reach(agents, edges, hops)):
        for target, distance in reached.items():
            if distance > 1:
                relay = next(node for node in before[target] if reached.get(node) == distance - 1)
                table.setdefault((origin, relay), []).append(target)
    return table


def parse_away(text: str, names: Sequence[str], spec: str) -> tuple[tuple[int, int, int], ...]:
    """``'3@10-20/0-1@5'`` → (agent, first, last): agent 3 is away in rounds 10 to 20, agents 0 and 1 in round 5;
    ``'3@10-'``: from round 10 on; agents by name, too. Raises InputError."""
    found = []
    for part in str(text).split("/"):
        who, at, when = part.rpartition("@")
        where = f"--topology {spec}: away '{part}' is not AGENTS@ROUNDS, such as 3@10-20 or 0-1@5"
        first, until, last = when.partition("-")
        try:
            rounds = (int(first), (int(last) if last else 2**31) if until else int(first))
        except ValueError:
            rounds = (0, 0)
        if not at or not 1 <= rounds[0] <= rounds[1]:
            raise InputError(f"{where}, with agents 0 to {len(names) - 1}")
        found += [(member, *rounds) for member in selected(who, names, where)]
    return tuple(found)


def window_of(history: Sequence[Edges], agents: int) -> int | None:
    """The least B such that the union of the last B graphs is strongly connected; None when not even all of them are."""
    union: set[Edge] = set()
    for back, edges in enumerate(reversed(history), start=1):
        if not set(edges) <= union:
            union.update(edges)
            if strongly_connected(agents, union):
                return back
        elif back == 1 and agents == 1:
            return 1
    return None


def strongly_connected(agents: int, edges: set[Edge] | Edges) -> bool:
    """Whether every agent reaches every other along the edges."""
    for flip in (False, True):
        after: list[list[int]] = [[] for _ in range(agents)]
        for edge in edges:
            source, target = edge[::-1] if flip else edge
            after[source].append(target)
        seen, stack = {0}, [0]
        while stack:
            for target in after[stack.pop()]:
                if target not in seen:
                    seen.add(target)
                    stack.append(target)
        if len(seen) < agents:
            return False
    return True


def complete_window(every: Sequence[Edges], agents: int) -> int | None:
    """The least B such that the union over every window of B consecutive graphs is strongly connected (B-connectivity);
    None when even the union of all is not."""
    if not strongly_connected(agents, {edge for edges in every for edge in edges}):
        return None
    size = 1
    for start in range(len(every)):
        while start + size <= len(every) and not strongly_connected(
            agents, {edge for edges in every[start : start + size] for edge in edges}
        ):
            size += 1
        if start + size > len(every):
            break
    return size if size <= len(every) else None
