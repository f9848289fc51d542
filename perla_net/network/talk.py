"""Talking while learning: what agents say to their group, or to whoever hears them, in step.

All agents of a group say the same kind of thing at the same time and are sent back its mean, or everybody's numbers. What is
said to neighbours goes over the round's edges, through losses, delays and budgets as other experience does; what arrives is sent back.
Everybody's bytes stand in the ledger under the purpose that the speaker names; those of a group over the complete graph of its members.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
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
        return _kind(self.purpose, self.numbers.dtype.char, self.to, self.mean, len(self.numbers) if self.to else 0)

    def __str__(self) -> str:
        whom = "its neighbours" if self.to is None else f"a group of {len(self.to)}"
        return f"{self.purpose!r} ({len(self.numbers)} {self.numbers.dtype} numbers) to {whom}"


@lru_cache(maxsize=4096)
def _kind(*words: Any) -> int:
    return zlib.crc32(repr(words).encode()) + 1


Answer = Any
"""The mean [n], or agent → [n]."""
HEAD = 4
"""Numbers in the head of what an agent says."""


class Talk:
    """What the agents of one rank say while they learn.

    Every turn all ranks tell each other, of every agent, what kind of thing it says and how long that is, then the groups' numbers. Since
    rounds are much alike, a turn is expected to be like the same turn of the round before: then one exchange carries both, and
    only a turn that is not takes a second one.
    """

    def __init__(self, network: Network, names: Sequence[str]) -> None:
        self.network, self.names = network, names
        self.turns = 0
        """Turns of the present round in which a group, or neighbours, were waited for."""
        ranks = network.processes.size
        self._agents = [[agent for agent, rank in network.rank_of.items() if rank == here] for here in range(ranks)]
        self._expected: dict[int, np.ndarray] = {}
        """Turn → heads of the round before; the same on all ranks."""

    def begin(self) -> None:
        """A new round."""
        self.turns = 0

    def turn(self, said: Mapping[int, Say | None], round_number: int, edges: Edges) -> dict[int, Answer] | None:
        """What each local agent is sent back; None when nobody anywhere has said anything. Collective.

        said: every local agent's words, None for those that have finished. Raises Diverged on all ranks where the agents of a group do not
        say the same kind of thing.
        """
        heads, told = self._exchange(said)
        if not heads[:, 0].any():
            return None
        self._check(heads, said)
        self.turns += 1
        found = self._in_groups(heads, said, told)
        if ((heads[:, 0] > 0) & (heads[:, 2] == 0)).any():
            found |= self._to_neighbours(heads, said, round_number, edges)
        return found

    def _checked(self, agent: int, words: Any) -> None:
        """Raises TypeError for what cannot be said."""
        who = f"{self.names[agent]} says {getattr(words, 'purpose', words)!r}"
        if not isinstance(words, Say):
            raise TypeError(f"{who}: learn() may only yield Say(purpose, numbers)")
        if words.purpose not in self.network.ledger.purposes:
            raise TypeError(f"{who}, which is not among its class's purposes")
        if words.to is not None and agent not in words.to:
            raise TypeError(f"{who} to a group that it is not in")
        array = words.numbers
        if not (isinstance(array, np.ndarray) and array.ndim == 1 and array.dtype in (np.float32, np.float64)):
            what = f"{array.dtype}{list(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__
            raise TypeError(f"{who} as {what}: it should be a numpy array of float32 or float64 with one axis")

    def _exchange(self, said: Mapping[int, Say | None]) -> tuple[np.ndarray, list[np.ndarray]]:
        """(heads of all agents, int64 [agents, 4]: kind, bytes, members of its group, whether double precision; bytes of what each says to
        its group)."""
        for agent, words in said.items():
            if words is not None:
                self._checked(agent, words)
        mine = np.array([_head(said[agent]) for agent in self.network.local], np.int64).reshape(-1, HEAD)
        expected = self._expected.get(self.turns, np.zeros((len(self.network.rank_of), HEAD), np.int64))
        as_expected = np.array_equal(mine, expected[self.network.local.start : self.network.local.stop])
        sizes = _group_bytes(expected)
        local = [sizes[agent] for agent in self.network.local]
        words = self._bytes(said) if as_expected else [np.zeros(sum(local), np.uint8)]
        lengths = [8 * HEAD * len(agents) + sum(sizes[agent] for agent in agents) for agents in self._agents]
        flat = self.network.processes.all_gather(
            np.concatenate([mine.view(np.uint8).ravel(), *words]), lengths, f"turn {self.turns + 1} of what agents say"
        )
        heads, told, start = [], [], 0
        for agents in self._agents:
            stop = start + 8 * HEAD * len(agents)
            heads.append(flat[start:stop].copy().view(np.int64).reshape(-1, HEAD))
            for agent in agents:
                told.append(flat[stop : stop + sizes[agent]])
                stop += sizes[agent]
            start = stop
        found = np.concatenate(heads)
        self._expected[self.turns] = found
        if not np.array_equal(found, expected) and sum(_group_bytes(found)):
            told = self._again(found, said)
        return found, told

    def _again(self, heads: np.ndarray, said: Mapping[int, Say | None]) -> list[np.ndarray]:
        """What each agent says to its group, now that its length is known."""
        sizes = _group_bytes(heads)
        lengths = [sum(sizes[agent] for agent in agents) for agents in self._agents]
        words = self._bytes(said) or [np.zeros(0, np.uint8)]
        flat = self.network.processes.all_gather(np.concatenate(words), lengths, f"turn {self.turns + 1}, what is said")
        return np.split(flat, np.cumsum(sizes)[:-1])

    def _bytes(self, said: Mapping[int, Say | None]) -> list[np.ndarray]:
        """What local agents say to their groups."""
        words = (said[agent] for agent in self.network.local)
        return [np.ascontiguousarray(one.numbers).view(np.uint8) for one in words if one and one.to]

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

    def _in_groups(
        self, heads: np.ndarray, said: Mapping[int, Say | None], told: Sequence[np.ndarray]
    ) -> dict[int, Answer]:
        """What the local agents' groups said; a sum is taken in the order of agents."""
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
                rows = {other: told[other].view(words.numbers.dtype) for other in sorted(words.to)}
                answers[words.kind] = _mean(list(rows.values())) if words.mean else rows
            shared = answers[
                words.kind
            ]  # everybody gets its own: who writes into it must not be heard on one rank only
            found[agent] = {k: row.copy() for k, row in shared.items()} if isinstance(shared, dict) else shared.copy()
        return found

    def _to_neighbours(
        self, heads: np.ndarray, said: Mapping[int, Say | None], round_number: int, edges: Edges
    ) -> dict[int, Answer]:
        """Along this round's edges, as links and budgets let them."""
        network = self.network
        speakers = {agent: words for agent, words in said.items() if words and words.to is None}
        outgoing = []
        targets: dict[int, list[int]] = {agent: [] for agent in speakers}
        for source, target in edges:
            if source in speakers:
                targets[source].append(target)
        for source, all_of_them in targets.items():
            first = (round_number - 1) % max(len(all_of_them), 1)  # in turn, where a budget is too small for all
            for target in all_of_them[first:] + all_of_them[:first]:
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


def _head(words: Say | None) -> tuple[int, ...]:
    if words is None:
        return (0,) * HEAD
    return words.kind, words.numbers.nbytes, len(words.to or ()), int(words.numbers.dtype == np.float64)


def _group_bytes(heads: np.ndarray) -> list[int]:
    """Bytes that every agent says to its group."""
    return np.where(heads[:, 2] > 0, heads[:, 1], 0).tolist()


def _form(head: np.ndarray) -> Form:
    kind = "float64" if head[3] else "float32"
    return Form(kind, (int(head[1]) // np.dtype(kind).itemsize,))


def _mean(rows: Sequence[np.ndarray]) -> np.ndarray:
    total = rows[0].copy()
    for row in rows[1:]:
        total += row
    return total / len(rows)
