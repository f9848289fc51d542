"""Talking while learning: what agents say to their group, or to whoever hears them, in step.

All agents of a group say the same kind of thing at the same time and are sent back its mean, or everybody's numbers. What is
said to neighbours goes over the round's edges, through losses, delays and budgets as other experience does; what arrives is sent back.
Everybody's bytes stand in the ledger under the purpose that the speaker names; those of a group over the complete graph of its members.
"""

from __future__ import annotations

import zlib
from typing import Any, Mapping, NamedTuple, Sequence

import numpy as np

from ..ground.errors import Diverged
from ..ground.processes import UNIT
from .exchange import Network
from .messages import TALK, Form, Packet, Rejected, pack, unpack
from .schedule import Edges


class Say(NamedTuple):
    """Something that an agent says, and what it wants to be sent back.

    purpose: its name in the ledger, at most 12 bytes; numbers: float32 or float64 [n]; to: the agents of a group, the speaker among them, all
    of whom say the same kind of thing at the same time, reliably; None: whoever hears the agent in this round, over links as they are. mean:
    the mean over the group is sent back, [n]; else everybody's numbers, agent → [n], of the group, or of those that were heard.
    """

    purpose: str
    numbers: np.ndarray
    to: tuple[int, ...] | None = None
    mean: bool = False

    @property
    def kind(self) -> int:
        """Equal for what may be said together; never 0, which is silence."""
        words = (self.purpose, str(self.numbers.dtype), self.to, self.mean, len(self.numbers) if self.to else 0)
        return zlib.crc32(repr(words).encode()) + 1

    def __str__(self) -> str:
        whom = "its neighbours" if self.to is None else f"a group of {len(self.to)}"
        return f"{self.purpose!r} ({len(self.numbers)} {self.numbers.dtype} numbers) to {whom}"


Answer = Any
"""The mean [n], or agent → [n]."""
FINISHED = (0, 0, 0, 0)


class Talk:
    """What the agents of one rank say while they learn."""

    def __init__(self, network: Network, names: Sequence[str]) -> None:
        self.network, self.names = network, names
        self.turns = 0
        """Turns of the present round in which a group, or neighbours, were waited for."""
        ranks = network.processes.size
        self._agents = [[agent for agent, rank in network.rank_of.items() if rank == here] for here in range(ranks)]

    def begin(self) -> None:
        """A new round."""
        self.turns = 0

    def turn(self, said: Mapping[int, Say | None], round_number: int, edges: Edges) -> dict[int, Answer] | None:
        """What each local agent is sent back; None when nobody anywhere has said anything. Collective.

        said: every local agent's words, None for those that have finished. Raises Diverged on all ranks where the agents of a group do not
        say the same kind of thing.
        """
        heads = self._heads(said)
        if not heads[:, 0].any():
            return None
        self._check(heads, said)
        self.turns += 1
        found: dict[int, Answer] = {}
        if (heads[:, 2] > 0).any():
            found |= self._in_groups(heads, said)
        if ((heads[:, 0] > 0) & (heads[:, 2] == 0)).any():
            found |= self._to_neighbours(heads, said, round_number, edges)
        return found

    def _heads(self, said: Mapping[int, Say | None]) -> np.ndarray:
        """Of every agent (kind, bytes, members of its group, whether double precision), int64 [agents, 4]."""
        mine = [
            FINISHED
            if words is None
            else (words.kind, words.numbers.nbytes, len(words.to or ()), words.numbers.dtype == np.float64)
            for words in (said[agent] for agent in self.network.local)
        ]
        lengths = [len(FINISHED) * len(agents) for agents in self._agents]
        flat = self.network.processes.all_gather(np.array(mine, np.int64).ravel(), lengths, "what agents say")
        return flat.reshape(-1, len(FINISHED))

    def _check(self, heads: np.ndarray, said: Mapping[int, Say | None]) -> None:
        """Every kind of thing that is said to a group must come from all of it. What every rank sees, every rank concludes."""
        kinds, counts = np.unique(heads[heads[:, 2] > 0, 0], return_counts=True)
        sizes = [int(heads[heads[:, 0] == kind][0, 2]) for kind in kinds]
        if all(size == count for size, count in zip(sizes, counts)):
            return
        broken = [kind for kind, size, count in zip(kinds, sizes, counts) if size != count]
        agent = int(np.flatnonzero(np.isin(heads[:, 0], broken))[0])
        words = said.get(agent)
        if words is None:  # another rank's agent, which says it
            raise Diverged("")
        other = next(other for other in words.to or () if heads[other, 0] != words.kind)
        what = "has finished" if not heads[other, 0] else "says something else"
        raise Diverged(
            f"agents of a group must say the same kind of thing: {self.names[agent]} says {words}, but {self.names[other]} {what} (in "
            f"{self.network.processes.where})"
        )

    def _in_groups(self, heads: np.ndarray, said: Mapping[int, Say | None]) -> dict[int, Answer]:
        """Everybody's numbers to everybody; each group's sum is taken in the order of its agents."""
        lengths = [int(heads[agent, 1]) if heads[agent, 2] else 0 for agent in range(len(heads))]
        speakers = [words for agent in self.network.local if (words := said[agent]) and words.to]
        mine = [np.ascontiguousarray(words.numbers).view(np.uint8) for words in speakers]
        by_rank = [sum(lengths[agent] for agent in agents) for agents in self._agents]
        flat = self.network.processes.all_gather(
            np.concatenate(mine or [np.zeros(0, np.uint8)]),
            by_rank,
            f"saying {speakers[0].purpose if speakers else 'things'}",
        )
        starts = np.concatenate([[0], np.cumsum(lengths)])
        found: dict[int, Answer] = {}
        answers: dict[int, Answer] = {}
        for agent in self.network.local:
            words = said[agent]
            if not words or not words.to:
                continue
            for target in words.to:
                if target != agent:
                    self.network.ledger.note(agent, target, words.purpose, words.numbers.nbytes)
            if words.kind not in answers:
                rows = {
                    other: flat[starts[other] : starts[other + 1]].copy().view(words.numbers.dtype)
                    for other in sorted(words.to)
                }
                answers[words.kind] = _mean(list(rows.values())) if words.mean else rows
            found[agent] = answers[words.kind]
        return found

    def _to_neighbours(
        self, heads: np.ndarray, said: Mapping[int, Say | None], round_number: int, edges: Edges
    ) -> dict[int, Answer]:
        """Along this round's edges, as links and budgets let them."""
        network = self.network
        speakers = {agent: words for agent, words in said.items() if words and words.to is None}
        outgoing = []
        for source, target in edges:
            if source in speakers:
                words = speakers[source]
                section = pack(words.purpose, words.numbers, _form(heads[source]), source, round_number)
                packet = Packet(
                    TALK, source, source, target, round_number, round_number, 1, 0, [section], purpose=words.purpose
                )
                sent = network.dispatch(packet, self.turns)
                if sent is not None:
                    outgoing.append(sent)
        found: dict[int, Answer] = {agent: {} for agent in speakers}
        for packet in network.due(network.carry(outgoing, "talk"), (TALK,)):
            if packet.target not in speakers:  # who says nothing hears nothing
                continue
            try:
                form = _form(heads[packet.origin])
                if form.size != packet.size - UNIT:
                    raise Rejected("size")
                body = packet.sections[0]
                values = unpack(body, speakers[packet.target].purpose, form, packet.origin, round_number)
            except Rejected:
                network.counts[packet.target]["rejected"] += 1
                continue
            found[packet.target][packet.origin] = values
        return found


def _form(head: np.ndarray) -> Form:
    kind = "float64" if head[3] else "float32"
    return Form(kind, (int(head[1]) // np.dtype(kind).itemsize,))


def _mean(rows: Sequence[np.ndarray]) -> np.ndarray:
    total = rows[0].copy()
    for row in rows[1:]:
        total += row
    return total / len(rows)
