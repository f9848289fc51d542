"""Consensus: agents average one vector each with their neighbours, round after round.

``metropolis``: x_i ← x_i + γ Σ_j W_ij (x_j − x_i) with W_ij = 1 / (1 + max(d_i, d_j)), from degrees that the neighbours sent
(Xiao, Boyd and Lall 2005). W is doubly stochastic, so the mean stays what it was, as long as both ends of a link fail
together; a neighbour that was not heard counts as i itself. Coded vectors take CHOCO's form (Koloskova et al. 2019, arXiv
1902.00340), for each edge with its own x̂: x_i ← x_i + γ Σ_j W_ij (x̂_ji − x̂_ij), x̂_ij what j holds of i, which moves by the
coded difference; what one end gains the other loses, so the mean stays too.

``push_sum``: everybody splits x_i w_i and w_i in equal shares among itself and those that hear it, and takes the ratio of what
it then has (Kempe, Dobra and Gehrke 2003; with learning between: Nedić and Olshevsky 2016). Column sums are one on any directed
graph; a share that does not get through stays with its sender, who knows, as from a link layer's acknowledgement.
"""

from __future__ import annotations

import math
from typing import Any, Mapping

import numpy as np

from ..ground.processes import Processes
from ..settings.config import Compression, Consensus, Links
from . import compression
from .exchange import Network, Wishes
from .links import LinkModel, needs_symmetric
from .messages import PARAMETERS, Form, Packet, Rejected, pack, unpack
from .schedule import Edge, Edges, Schedule


class Averaging:
    """The averaging of one vector [size + exact] per agent, for the local agents of one rank."""

    def __init__(
        self, network: Network, options: Consensus, coding: Compression, groups: compression.Groups, exact: int = 0
    ) -> None:
        """``groups``: sizes of the tensors in the vector, for codings with a scale per tensor; ``exact``: how many numbers
        behind these are never coded."""
        self.network, self.options, self.size = network, options, sum(groups)
        size = self.size
        self.beside = Form("float32", (1 + exact,))
        """Beside the vector: the sender's degree, or its share of the push-sum weight; and what is never coded."""
        method = "raw" if coding.method == "none" else coding.method
        kept = max(1, round(coding.keep * size)) if method == "top_k" else 0
        self.form = Form("float32", (size,), coding=method, groups=groups, kept=kept)
        self.coded = method != "raw"
        self.known: dict[Edge, np.ndarray] = {}
        """x̂_ij, kept by i."""
        self.held: dict[Edge, np.ndarray] = {}
        """x̂_ij, kept by j."""
        self.mass: dict[int, np.ndarray] = {}
        """x_i w_i of push-sum, float64."""
        self.weight: dict[int, float] = {}
        self.last: dict[int, np.ndarray] = {}
        """The ratio after the last averaging: what changed since is what learning did."""
        self.disagreement: dict[int, float] = {}
        """Of each local agent that heard somebody: mean over these of ‖x_j − x_i‖ / ‖x_i‖, x_j as far as it knows."""

    def average(self, vectors: Mapping[int, np.ndarray], round_number: int, edges: Edges) -> dict[int, np.ndarray]:
        """Every local agent's vector, float32, after averaging over this round's graph. Collective."""
        self.disagreement = {}
        found = {agent: np.asarray(vector, np.float32) for agent, vector in vectors.items()}
        for turn in range(self.options.repeat):
            step = self._push_sum if self.options.weights == "push_sum" else self._metropolis
            found = step(found, round_number, edges, turn)
        return found

    def _exchange(
        self, sections: Mapping[Edge, list[np.ndarray]], round_number: int, turn: int
    ) -> tuple[set[Edge], list[Packet]]:
        """Send a packet along each edge of local sources: the edges along which they will arrive unharmed, and the packets
        that have arrived."""
        network = self.network
        through, outgoing = set(), []
        for (source, target), parts in sections.items():
            packet = Packet(
                PARAMETERS, source, source, target, round_number, round_number, 1, 0, parts, purpose="parameters"
            )
            sent = network.dispatch(packet, turn)
            if sent is not None:
                outgoing.append(sent)
                if sent.sections is parts:
                    through.add((source, target))
        return through, network.due(network.carry(outgoing, "averaging"), (PARAMETERS,))

    def _open(self, packet: Packet) -> tuple[np.ndarray, float] | None:
        """The vector (or difference), with what is never coded, and the number beside it; None when it is rejected."""
        body = np.concatenate(packet.sections) if len(packet.sections) > 1 else packet.sections[0]
        try:
            if body.size != self.form.size + self.beside.size:
                raise Rejected("size")
            vector = unpack(body[: self.form.size], "parameters", self.form, packet.origin, packet.made)
            beside = unpack(body[self.form.size :], "beside", self.beside, packet.origin, packet.made)
        except Rejected:
            self.network.counts[packet.target]["rejected"] += 1
            return None
        return np.concatenate([vector, beside[1:]]), float(beside[0])

    def _metropolis(
        self, vectors: Mapping[int, np.ndarray], round_number: int, edges: Edges, turn: int
    ) -> dict[int, np.ndarray]:
        targets = neighbours_of(vectors, edges)
        sections, coded = {}, {}
        for source, those in targets.items():
            body, exact = np.split(vectors[source], [self.size])
            numbers = np.concatenate([[np.float32(len(those))], exact])
            beside = pack("beside", numbers, self.beside, source, round_number)
            whole = None if self.coded else pack("parameters", body, self.form, source, round_number)
            for target in those:
                edge = source, target
                if whole is None:
                    known = self.known.setdefault(edge, np.zeros(self.form.shape, np.float32))
                    part = pack("parameters", body - known, self.form, source, round_number)
                    coded[edge] = unpack(part, "parameters", self.form, source, round_number)
                sections[edge] = [part if whole is None else whole, beside]
        through, arrived = self._exchange(sections, round_number, turn)
        for edge in through & coded.keys():
            self.known[edge] = self.known[edge] + coded[edge]
        changes = {agent: np.zeros(vector.shape) for agent, vector in vectors.items()}
        distances: dict[int, list[float]] = {agent: [] for agent in vectors}
        for packet in arrived:
            opened = self._open(packet)
            if opened is None:
                continue
            other, here = packet.origin, packet.target
            vector, degree = opened
            mine = vectors[here]
            if self.coded:
                edge, nothing = (other, here), np.zeros(self.form.shape, np.float32)
                self.held[edge] = self.held.get(edge, nothing) + vector[: self.size]
                vector = np.concatenate([self.held[edge], vector[self.size :]])
                mine = np.concatenate([self.known.get((here, other), nothing), mine[self.size :]])
            weight = 1 / (1 + max(degree, len(targets.get(here, ()))))
            apart = vector.astype(np.float64) - mine
            changes[here] += weight * apart
            distances[here].append(norm(vector.astype(np.float64) - vectors[here]))
        self._note(vectors, distances)
        step = self.options.step
        return {agent: (vectors[agent] + step * changes[agent]).astype(np.float32) for agent in vectors}

    def _push_sum(
        self, vectors: Mapping[int, np.ndarray], round_number: int, edges: Edges, turn: int
    ) -> dict[int, np.ndarray]:
        targets = neighbours_of(vectors, edges)
        sections, shares = {}, {}
        for agent, vector in vectors.items():
            if agent not in self.mass:
                self.mass[agent], self.weight[agent] = vector.astype(np.float64), 1.0
            else:
                self.mass[agent] = self.mass[agent] + (vector.astype(np.float64) - self.last[agent])
            share = 1 / (1 + len(targets.get(agent, ())))
            body, exact = np.split((share * self.mass[agent]).astype(np.float32), [self.size])
            part = pack("parameters", body, self.form, agent, round_number)
            numbers = np.concatenate([[np.float32(share * self.weight[agent])], exact])
            beside = pack("beside", numbers, self.beside, agent, round_number)
            sent = unpack(part, "parameters", self.form, agent, round_number)
            shares[agent] = np.concatenate([sent, exact]), float(numbers[0])
            for target in targets.get(agent, ()):
                sections[agent, target] = [part, beside]
        through, arrived = self._exchange(sections, round_number, turn)
        for source, _ in sorted(through):
            self.mass[source] = self.mass[source] - shares[source][0]
            self.weight[source] -= shares[source][1]
        distances: dict[int, list[float]] = {agent: [] for agent in vectors}
        for packet in arrived:
            opened = self._open(packet)
            if opened is not None:
                self.mass[packet.target] = self.mass[packet.target] + opened[0]
                self.weight[packet.target] += opened[1]
                distances[packet.target].append(norm(opened[0] / opened[1] - vectors[packet.target]))
        self._note(vectors, distances)
        self.last = {agent: (self.mass[agent] / self.weight[agent]).astype(np.float32) for agent in vectors}
        return dict(self.last)

    def _note(self, vectors: Mapping[int, np.ndarray], distances: Mapping[int, list[float]]) -> None:
        for agent, found in distances.items():
            if found:
                self.disagreement[agent] = sum(found) / len(found) / (norm(vectors[agent]) or 1.0)

    # State

    def state(self, agent: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """(arrays, numbers) that a resumed run needs for one local agent."""
        arrays = {f"known.{j}.{i}": value for (j, i), value in self.known.items() if j == agent}
        arrays |= {f"held.{j}.{i}": value for (j, i), value in self.held.items() if i == agent}
        if agent in self.mass:
            arrays |= {"mass": self.mass[agent], "last": self.last[agent]}
        return arrays, {"weight": self.weight.get(agent, 1.0)}

    def restore(self, agent: int, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> None:
        """Continue from :meth:`state`."""
        for name, array in arrays.items():
            kind, *edge = name.split(".")
            if kind in ("known", "held"):
                getattr(self, kind)[int(edge[0]), int(edge[1])] = array.copy()
        if "mass" in arrays:
            self.mass[agent], self.last[agent] = arrays["mass"].copy(), arrays["last"].copy()
            self.weight[agent] = numbers["weight"]


def neighbours_of(agents: Mapping[int, Any], edges: Edges) -> dict[int, list[int]]:
    """To whom each of the agents has an edge."""
    found: dict[int, list[int]] = {}
    for source, target in edges:
        if source in agents:
            found.setdefault(source, []).append(target)
    return found


def norm(vector: np.ndarray) -> float:
    """‖x‖, summed by numpy itself: the last bits of a product by BLAS depend on how many threads it has, which whoever imports this program decides."""
    return math.sqrt(np.square(vector, dtype=np.float64).sum())


class ConsensusAlone:
    """Consensus and nothing else: agents of one process average random vectors over the graphs of a schedule."""

    def __init__(
        self, schedule: Schedule, options: Consensus, links: Links, coding: Compression, size: int, seed: int
    ) -> None:
        """``size``: numbers of each vector, drawn from a standard normal distribution."""
        self.schedule, number = schedule, schedule.agents
        symmetric = needs_symmetric(True, options.weights, links.symmetric)
        overrides = {(j, i): attributes for j, i, attributes in schedule.links}
        model = LinkModel(links, seed, symmetric, overrides)
        nothing = Wishes({}, {}, lambda *_: Form("float32", (0,)), lambda *_: np.zeros(0))
        self.network = Network(Processes(), [range(number)], nothing, 1, model, schedule.potential())
        self.averaging = Averaging(self.network, options, coding, (size,))
        self._vectors = dict(enumerate(np.random.default_rng(seed).standard_normal((number, size)).astype(np.float32)))
        self.mean = self.vectors.mean(0)
        """Of the vectors at the start, [size]."""
        self.round = 0

    @property
    def vectors(self) -> np.ndarray:
        """Of all agents, float64 [agents, size]."""
        return np.stack([self._vectors[agent] for agent in range(self.schedule.agents)]).astype(np.float64)

    def run(self, rounds: int) -> np.ndarray:
        """Average for so many rounds; the disagreement ‖x − x̄‖ after each, [rounds]."""
        found = []
        for _ in range(rounds):
            self.round += 1
            self.network.begin(self.round)
            self._vectors = self.averaging.average(self._vectors, self.round, self.schedule.edges(self.round))
            found.append(np.linalg.norm(self.vectors - self.vectors.mean(0)))
        return np.array(found)
