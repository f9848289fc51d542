"""What agents say to their neighbours at every step of the world, before they act, and the gradients that come back for it.

At step t, pass k, every speaker j says a message m_j [copies, size] of a fixed size to all that hear it in this round's graph, and hears theirs:
one exchange for all agents of a rank, of fixed lengths, placed by MPI where it is read. In learning ∂L_i/∂m_j goes the other way over the same
edges, from the last step to the first; a speaker is sent the sum over its hearers, in their order. (Distributed back-propagation over
neighbourhood exchanges.)

Links treat each message of each copy by itself, as if every copy were a world of its own: lost, or damaged (a bit that flips spoils its checksum),
or ``delay`` steps late; the newest of those that arrive in a step is heard, none of an episode that is over, and none after the rollout. What
is not heard is marked as absent, and sends no gradient back; a gradient that is lost, damaged or late is zero. Who is out of its budget is silent.

What is said again, in learning, may be that of several chunks of the rollout at once, side by side as if they were copies: no message goes from one to
the next.
"""

from __future__ import annotations

from typing import Iterable, Mapping, NamedTuple, Sequence

import numpy as np

from ..ground.processes import Block, Processes
from . import compression
from .exchange import Network
from .links import Budget, LinkModel
from .messages import GRADIENT, MESSAGE
from .schedule import Edge, Edges

MARK = 2
"""Bytes beside the numbers of a message: whether and when it arrives."""
SILENT, DAMAGED = 0, -1
"""Marks; 1 + d: arrives d steps after it was said."""
PURPOSES = ("message", "gradient")


class Said(NamedTuple):
    """numbers [copies, size]; spoke [copies] bool: in which copies anything is said."""

    numbers: np.ndarray
    spoke: np.ndarray


class Heard(NamedTuple):
    """Of every neighbour that an agent may hear, in order: numbers [copies, size of its messages], zero where absent; present [neighbours, copies] bool."""

    numbers: list[np.ndarray]
    present: np.ndarray


class Channel:
    """The messages of the agents of one rank, for rollouts of T steps."""

    def __init__(
        self,
        processes: Processes,
        agents: Sequence[range],
        sizes: Mapping[int, Sequence[int]],
        potential: Iterable[Edge],
        links: LinkModel,
        copies: int,
        steps: int,
        coding: str = "none",
        network: Network | None = None,
        dtype: type = np.float32,
        chunk: int = 0,
    ) -> None:
        """``chunk``: steps of those that are learned from side by side, a divisor of ``steps`` (0: all); ``agents[p]``: agents of rank p; ``sizes``: speaker → numbers in its message of each pass; ``potential``: pairs that may have an edge in
        some round; ``network``: counts what is said, and has the agents' budget. Collective."""
        self.processes, self.links, self.copies, self.steps, self.dtype = processes, links, copies, steps, dtype
        self.chunk = chunk or steps
        self.coding = "raw" if coding == "none" else coding
        self.local = agents[processes.rank]
        self.network = network
        self.budget = network.budget if network else Budget(links.options.budget)
        rank_of = {agent: rank for rank, block in enumerate(agents) for agent in block}
        self.edges = sorted((j, i) for j, i in potential if j in sizes and i in sizes)
        """All pairs of which the second may hear the first."""
        self.passes = max((len(found) for found in sizes.values()), default=0)
        self.sources = {i: [j for j, target in self.edges if target == i] for i in self.local}
        """Whom each local agent may hear, in order."""
        self.targets = {j: [i for source, i in self.edges if source == j] for j in self.local}
        self._sizes = [
            {edge: sizes[edge[0]][k] for edge in self.edges if k < len(sizes[edge[0]])} for k in range(self.passes)
        ]

        def lanes(copies: int, reverse: bool, what: str) -> list[_Lane]:
            return [
                _Lane(self, rank_of, of_pass, copies, reverse, f"{what}, pass {k + 1}")
                for k, of_pass in enumerate(self._sizes)
            ]

        self._out = lanes(copies, False, "messages")
        rows = copies * (steps // self.chunk)
        self._again = self._out if rows == copies else lanes(rows, False, "messages")
        self._back = lanes(rows, True, "gradients")
        self._time = np.arange(steps)[:, None]
        self._live: frozenset[Edge] = frozenset()
        self._round = self._turn = 0
        self._acting = True
        self.exchanges = 0
        """In the present round."""
        shape = steps, copies
        mine = set(self.local)
        self._marks = [{e: np.zeros(shape, np.int16) for e in of_pass if e[0] in mine} for of_pass in self._sizes]
        """What the sender made of each message when it was said."""
        self._values = [
            {e: np.zeros((*shape, size), dtype) for e, size in of_pass.items() if e[1] in mine}
            for of_pass in self._sizes
        ]
        self._from = [{e: np.full(shape, -1) for e in of_pass if e[1] in mine} for of_pass in self._sizes]
        """At which step what is heard at a step was said; −1: nothing is."""
        self._owed: list[dict[Edge, np.ndarray]] = [{} for _ in self._sizes]
        """∂L/∂ what was said at each step, as far as it is known."""
        self._spoiled: list[dict[Edge, np.ndarray]] = [{} for _ in self._sizes]
        """Which gradients of each step do not arrive in time."""
        self._first = np.zeros(shape, int)
        """At which step of the rollout the episode of each step began."""

    def begin(self, round_number: int, edges: Edges) -> None:
        """A new rollout, over this graph."""
        self._round, self._turn, self.exchanges = round_number, 0, 0
        self._live = frozenset(edges)
        self._first[:] = 0
        if self.network is None:
            self.budget.begin()
        self.anew()
        if not self.links.clean:
            for k, of_pass in enumerate(self._marks):
                for edge, marks in of_pass.items():
                    marks[:] = self._fates(edge, MESSAGE, k, self._bytes(self._sizes[k][edge]))

    def anew(self) -> None:
        """Before a rollout's messages are said, or said again."""
        for of_pass in self._from:
            for told in of_pass.values():
                told[:] = -1

    def _fates(self, edge: Edge, kind: int, turn: int, size: int) -> np.ndarray:
        return self.links.of_steps(*edge, self._round, kind, turn, (self.steps, self.copies), 8 * size)

    def _bytes(self, size: int) -> int:
        """Of a message of one copy."""
        return compression.coded_size(self.coding, (size,), (size,), 0) + MARK

    # Forward

    def say(self, t: int, k: int, said: Mapping[int, Said], begins: np.ndarray | None = None) -> dict[int, Heard]:
        """Pass k of step t of a rollout; what each local agent hears. begins [copies] bool: an episode begins with this step. Collective."""
        if k == 0 and t:
            self._first[t] = self._first[t - 1]
        if k == 0 and begins is not None:
            self._first[t, begins] = t
        lane, marks_of, self._acting = self._out[k], self._marks[k], True
        for j, words in said.items():
            if not lane.of.get(j):
                continue
            for edge in self._in_turn(lane.of[j]):
                marks = marks_of[edge][t]
                if self.links.clean:
                    marks[:] = 1
                marks[~words.spoke] = SILENT
                if edge not in self._live:
                    marks[:] = SILENT
                else:
                    self._count(edge, "message", words.spoke, marks, self._sizes[k][edge], self.steps - t)
            lane.put(j, words.numbers, [marks_of[edge][t] for edge in lane.of[j]])
        return self._carry(lane, slice(t, t + 1), k)

    def again(self, t: int, k: int, said: Mapping[int, np.ndarray]) -> dict[int, Heard]:
        """The same with other numbers, when something is learned from that rollout: what was not heard then is not heard now; of step t of every
        chunk, [chunks × copies, size]. :meth:`anew` before the first. Collective."""
        lane, at, self._acting = self._again[k], slice(t, None, self.chunk), False
        left = (self.steps - self._time[at] + np.zeros(self.copies, int)).reshape(-1)
        for j, numbers in said.items():
            if not lane.of.get(j):
                continue
            marks = {edge: np.maximum(self._marks[k][edge][at], SILENT).reshape(-1) for edge in lane.of[j]}
            for edge in self._in_turn(lane.of[j]):
                self._count(edge, "message", marks[edge] > SILENT, marks[edge], self._sizes[k][edge], left)
            lane.put(j, numbers, list(marks.values()))
        return self._carry(lane, at, k)

    def _in_turn(self, edges: Sequence[Edge]) -> Sequence[Edge]:
        """Beginning with another one in each round, where a budget is too small for all."""
        first = (self._round - 1) % len(edges)
        return [*edges[first:], *edges[:first]]

    def _count(
        self, edge: Edge, purpose: str, spoke: np.ndarray, marks: np.ndarray, size: int, left: int | np.ndarray
    ) -> None:
        """Note what is sent over an edge; marks of what the budget does not pay for become silence. left: steps in which it may arrive."""
        number = int(np.count_nonzero(spoke))
        if not number:
            return
        sender = edge[0]
        total = number * self._bytes(size)
        paid = self.budget.spend(sender, total)
        if self.network:
            counts = self.network.counts[sender]
            if paid:
                counts["sent"] += number
                counts["lost"] += number - int(np.count_nonzero(marks))
                counts["late"] += int(np.count_nonzero(marks > left))
                counts["told"] += total * self._acting
                self.network.ledger.note(*edge, purpose, total, number)
            else:
                counts["unsent"] += number
        if not paid:
            marks[:] = SILENT

    def _carry(self, lane: _Lane, at: slice, k: int) -> dict[int, Heard]:
        """``at``: the steps whose messages these are."""
        lane.run()
        self.exchanges += 1
        found: dict[int, Heard] = {}
        for i, sources in self.sources.items():
            numbers: list[np.ndarray] = []
            present = np.zeros((len(sources), lane.copies), bool)
            for n, j in enumerate(sources):
                edge = j, i
                if edge not in self._values[k]:  # it says nothing in this pass
                    numbers.append(np.zeros((lane.copies, 0), self.dtype))
                    continue
                values, marks = lane.take(edge)
                size, kept = values.shape[1], self._values[k][edge]
                kept[at] = values.reshape(-1, self.copies, size)
                told = self._arrivals(edge, at, k, marks.reshape(-1, self.copies))
                present[n] = (told >= 0).reshape(-1)
                if (told == self._time[at]).all() or not present[n].any():
                    heard = kept[at]
                else:
                    heard = kept[np.maximum(told, 0), np.arange(self.copies)]
                heard = heard.reshape(-1, size)
                numbers.append(heard if present[n].all() else np.where(present[n][:, None], heard, 0))
            if sources:
                found[i] = Heard(numbers, present)
        return found

    def _arrivals(self, edge: Edge, at: slice, k: int, marks: np.ndarray) -> np.ndarray:
        """At which step what is heard at these steps was said, [steps, copies]; −1: nothing is. marks [steps, copies]: several steps only where none is late."""
        told = self._from[k][edge]
        if self.network and (spoiled := int(np.count_nonzero(marks == DAMAGED))):
            self.network.counts[edge[1]]["rejected"] += spoiled
        if (marks <= 1).all():
            told[at] = np.where(marks == 1, self._time[at], told[at])
        else:
            t = at.start
            # Of those that arrive in the same step the last one said is heard.
            for copy in np.flatnonzero(marks[0] > 0):
                if t + marks[0, copy] - 1 < self.steps:
                    told[t + marks[0, copy] - 1, copy] = t
        heard = told[at]
        heard[heard < self._first[at]] = -1  # of an episode that is over
        return heard

    # Back

    def backwards(self) -> None:
        """Before gradients of a rollout go back, from its last step to its first."""
        self._turn += 1
        if not any(self._owed):
            self._owed = [{edge: np.zeros_like(values) for edge, values in of_pass.items()} for of_pass in self._values]
        for of_pass in self._owed:
            for owed in of_pass.values():
                owed[:] = 0
        self._spoiled = [{} for _ in self._sizes]
        if not self.links.clean:
            for k, of_pass in enumerate(self._sizes):
                for j, i in self._owed[k]:
                    fates = self._fates((i, j), GRADIENT, self._turn << 8 | k, self._bytes(of_pass[j, i]))
                    # Late ones are of no use; whether delays apply to what is of use in its round only, is an option.
                    self._spoiled[k][j, i] = fates != 1 if self.links.late_experience else fates <= 0

    def back(self, t: int, k: int, gradients: Mapping[int, Sequence[np.ndarray]]) -> dict[int, np.ndarray]:
        """Pass k of step t of every chunk: gradients, by hearer, of what it heard there, each [chunks × copies, size]; returns ∂L/∂m of that shape for
        every local speaker.

        Every later pass and step must have been gone through. Collective.
        """
        lane, at, self._acting = self._back[k], slice(t, None, self.chunk), False
        now = self._time[at]
        every = np.arange(self.copies) + np.zeros_like(now)
        for i, those in gradients.items():
            for j, gradient in zip(self.sources[i], those, strict=True):
                if (edge := (j, i)) not in self._owed[k]:
                    continue
                told, owed = self._from[k][edge][at], self._owed[k][edge]
                heard = told >= 0
                gradient = gradient.reshape(*told.shape, -1)
                if (told == now).all():
                    owed[at] += gradient
                elif heard.any():
                    owed[told[heard], every[heard]] += gradient[heard]
        for edge, owed in self._owed[k].items():
            j, i = edge
            # What was said in step t and heard, then or later.
            answered = np.zeros(lane.copies, bool)
            if edge in self._live:
                told = self._from[k][edge]
                answered = (told[t:] == t).any(0) if self.chunk == self.steps else (told[at] == now).reshape(-1)
            marks = answered.astype(np.int16)
            if answered.any():
                if edge in self._spoiled[k]:
                    marks[self._spoiled[k][edge][at].reshape(-1)] = SILENT
                self._count((i, j), "gradient", answered, marks, self._sizes[k][edge], 1)
            lane.put_one(edge, owed[at].reshape(lane.copies, -1), marks)
        lane.run()
        self.exchanges += 1
        found = {}
        for j in self.local:
            edges = [(j, i) for i in self.targets[j] if (j, i) in self._sizes[k]]
            if not edges:
                continue
            total = np.zeros((lane.copies, self._sizes[k][edges[0]]), self.dtype)
            for edge in edges:
                values, marks = lane.take(edge)
                total += np.where((marks > SILENT)[:, None], values, 0)
            found[j] = total
        return found

    def free(self) -> None:
        """Give back what the MPI library keeps. Collective."""
        for lane in dict.fromkeys((*self._out, *self._again, *self._back)):
            lane.transfer.free()


class _Lane:
    """Where the messages of one pass lie in what is sent and received: of each edge, numbers as they are coded, and marks."""

    def __init__(
        self,
        channel: Channel,
        rank_of: Mapping[int, int],
        sizes: Mapping[Edge, int],
        copies: int,
        reverse: bool,
        name: str,
    ) -> None:
        """``sizes``: edge → numbers of a message; ``copies``: messages of a step; ``reverse``: from those that hear to those that speak."""
        self.channel, self.sizes, self.copies = channel, sizes, copies
        ranks, mine = channel.processes.size, channel.processes.rank
        send: list[list[Block]] = [[] for _ in range(ranks)]
        receive: list[list[Block]] = [[] for _ in range(ranks)]
        self._leaving: dict[Edge, int] = {}
        self._coming: dict[Edge, int] = {}
        self.of: dict[int, list[Edge]] = {}
        """Of each local agent the edges over which it sends here."""
        out = into = 0
        for edge, size in sizes.items():
            source, target = edge[::-1] if reverse else edge
            length = self._length(size)
            if rank_of[source] == mine:
                self._leaving[edge] = out
                self.of.setdefault(source, []).append(edge)
                send[rank_of[target]].append((out, length))
                out += length
            if rank_of[target] == mine:
                self._coming[edge] = into
                receive[rank_of[source]].append((into, length))
                into += length
        self.sent, self.received = np.zeros(out, np.uint8), np.zeros(into, np.uint8)
        self.transfer = channel.processes.all_to_all(send, receive, name)

    def _payload(self, size: int) -> int:
        channel = self.channel
        if channel.coding == "raw":
            return self.copies * size * np.dtype(channel.dtype).itemsize
        return compression.coded_size(channel.coding, (self.copies * size,), (size,) * self.copies, 0)

    def _length(self, size: int) -> int:
        """Bytes of an edge's block, a multiple of eight, so that numbers can be read where they lie."""
        return -(-(self._payload(size) + MARK * self.copies) // 8) * 8

    def put(self, source: int, numbers: np.ndarray, marks: Sequence[np.ndarray]) -> None:
        """What an agent says, the same to all of its edges, with the marks of each."""
        coded = self._coded(numbers)
        for edge, mark in zip(self.of[source], marks, strict=True):
            self._place(edge, coded, mark)

    def put_one(self, edge: Edge, numbers: np.ndarray, marks: np.ndarray) -> None:
        """What goes over one edge."""
        self._place(edge, self._coded(numbers), marks)

    def _coded(self, numbers: np.ndarray) -> np.ndarray:
        channel = self.channel
        flat = np.ascontiguousarray(numbers, channel.dtype).reshape(-1)
        if channel.coding == "raw":
            return flat.view(np.uint8)
        size = numbers.shape[1]
        return compression.encode(channel.coding, flat, (size,) * self.copies if size else (), 0)

    def _place(self, edge: Edge, coded: np.ndarray, marks: np.ndarray) -> None:
        start = self._leaving[edge]
        self.sent[start : start + coded.size] = coded
        self.sent[start + coded.size : start + coded.size + 2 * marks.size] = marks.view(np.uint8)

    def run(self) -> None:
        """Bring everything to where it goes."""
        self.transfer.run(self.sent, self.received)

    def take(self, edge: Edge) -> tuple[np.ndarray, np.ndarray]:
        """(numbers [copies, size], marks [copies]) that came over an edge; valid until the next :meth:`run`."""
        channel, size, start = self.channel, self.sizes[edge], self._coming[edge]
        stop = start + self._payload(size)
        data = self.received[start:stop]
        shape = self.copies, size
        if channel.coding == "raw":
            values = data.view(channel.dtype).reshape(shape)
        else:
            flat = compression.decode(channel.coding, data, (self.copies * size,), (size,) * self.copies, 0)
            values = flat.reshape(shape)
        return values, self.received[stop : stop + 2 * self.copies].view(np.int16)
