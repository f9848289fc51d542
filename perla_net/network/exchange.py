"""Exchange along the edges of the communication graph: one flat buffer per neighbouring rank and round.

What an edge carries is a list of named sections that the receiver wants; both ends derive it, and every section's size,
from the configuration, so no sizes travel. Agents that share a rank take the same path, short of the wire.
"""

from __future__ import annotations

from typing import Callable, Mapping, Sequence

import numpy as np

from ..processes import Processes
from .ledger import Ledger
from .messages import Form, Rejected, pack, unpack

Edge = tuple[int, int]
Sections = dict[str, np.ndarray]
Inbox = dict[int, Sections]
"""Sender → the sections of its message that arrived and were accepted."""


class Network:
    """The communication network as the agents of one rank see it."""

    def __init__(
        self,
        processes: Processes,
        agents: Sequence[range],
        wants: Mapping[Edge, Sequence[str]],
        expected: Callable[[int, str, int], Form],
    ) -> None:
        """``agents[p]``: agents of rank p; ``wants[j, i]``: sections that i wants of j; ``expected(j, section, finals)``:
        the form of j's section in a round with that many final observations. Equal on all ranks."""
        self.processes, self.expected = processes, expected
        self.rank_of = {agent: rank for rank, block in enumerate(agents) for agent in block}
        self.local = agents[processes.rank]
        self.wants = {edge: tuple(sections) for edge, sections in sorted(wants.items()) if sections}
        mine = processes.rank
        self.outgoing = [edge for edge in self.wants if self.rank_of[edge[0]] == mine]
        self.incoming = [edge for edge in self.wants if self.rank_of[edge[1]] == mine]
        self.destinations = sorted({self.rank_of[target] for _, target in self.outgoing} - {mine})
        self.sources = sorted({self.rank_of[source] for source, _ in self.incoming} - {mine})
        self.graph = processes.neighbourhood(self.sources, self.destinations)
        self.ledger = Ledger()
        self.rejected: dict[int, int] = {agent: 0 for agent in self.local}
        self._buffers = [np.zeros(0, np.uint8), np.zeros(0, np.uint8)]

    def exchange(self, messages: Mapping[int, Sections], round_number: int, finals: int) -> dict[int, Inbox]:
        """Send every local agent's sections to those who want them; what each local agent received.

        messages: agent → section → numbers of the expected form; finals: final observations in this round's rollout.
        A section that fails validation is left out, and counted in :attr:`rejected`, anew in each round.
        """
        self.rejected = {agent: 0 for agent in self.local}
        packed = {
            (agent, name): pack(name, values, self.expected(agent, name, finals), agent, round_number)
            for agent, sections in messages.items()
            for name, values in sections.items()
        }
        for (source, target), names in ((edge, self.wants[edge]) for edge in self.outgoing):
            for name in names:
                self.ledger.note(source, target, name, packed[source, name].size)
        send, send_sizes = self._fill(packed)
        received, starts = self._travel(send, send_sizes, finals)
        inboxes: dict[int, Inbox] = {agent: {} for agent in self.local}
        for edge in self.incoming:
            source, target = edge
            accepted: Sections = {}
            for name in self.wants[edge]:
                form = self.expected(source, name, finals)
                if self.rank_of[source] == self.processes.rank:
                    section = packed[source, name]
                else:
                    start = starts[edge, name]
                    section = received[start : start + form.size]
                try:
                    accepted[name] = unpack(section, name, form, source, round_number)
                except Rejected:
                    self.rejected[target] += 1
            inboxes[target][source] = accepted
        return inboxes

    def _fill(self, packed: Mapping[tuple[int, str], np.ndarray]) -> tuple[np.ndarray, list[int]]:
        """All outgoing sections back to back, by destination rank, then edge; and bytes per destination."""
        pieces, sizes = [], []
        for rank in self.destinations:
            here = [
                packed[edge[0], name]
                for edge in self.outgoing
                if self.rank_of[edge[1]] == rank
                for name in self.wants[edge]
            ]
            pieces += here
            sizes.append(sum(piece.size for piece in here))
        send = self._buffer(0, sum(sizes))
        if pieces:
            np.concatenate(pieces, out=send)
        return send, sizes

    def _travel(
        self, send: np.ndarray, send_sizes: list[int], finals: int
    ) -> tuple[np.ndarray, dict[tuple[Edge, str], int]]:
        """The collective; the received bytes, and where in them each section begins."""
        starts, sizes, position = {}, [], 0
        for rank in self.sources:
            first = position
            for edge in self.incoming:
                if self.rank_of[edge[0]] == rank:
                    for name in self.wants[edge]:
                        starts[edge, name] = position
                        position += self.expected(edge[0], name, finals).size
            sizes.append(position - first)
        received = self._buffer(1, position)
        self.graph.exchange(send, send_sizes, received, sizes)
        return received, starts

    def _buffer(self, which: int, size: int) -> np.ndarray:
        if self._buffers[which].size < size:
            self._buffers[which] = np.zeros(size, np.uint8)
        return self._buffers[which][:size]

    def team_mean(self, vectors: Sequence[np.ndarray], purpose: str) -> np.ndarray:
        """The mean over all agents of one vector each (local agents' in order), the sum taken in the order of agents.

        For methods that need the whole team: in the ledger its bytes run over the complete graph.
        """
        team, size = len(self.rank_of), vectors[0].size
        lengths = [0] * self.processes.size
        for rank in self.rank_of.values():
            lengths[rank] += size
        for source in self.local:
            for target in range(team):
                if target != source:
                    self.ledger.note(source, target, purpose, vectors[0].nbytes)
        rows = self.processes.all_gather(np.concatenate(list(vectors)), lengths, f"mean of {purpose}").reshape(
            team, size
        )
        total = rows[0].copy()
        for row in rows[1:]:
            total += row
        return total / team
