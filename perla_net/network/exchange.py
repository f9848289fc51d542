"""Exchange along the edges of the communication graph.

What an edge carries is a list of named sections that the receiver wants; both ends derive it, and every section's form, from
the configuration. The sender decides what becomes of a packet (it knows budget and links), counts it in the ledger, and
hands over what arrives; the receiver keeps what is not due yet. Agents that share a rank take the same path, short of
the wire.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Callable, Iterable, Mapping, Sequence

import numpy as np

from ..ground.processes import UNIT, Processes
from .ledger import Ledger
from .links import Budget, LinkModel, damaged
from .messages import EXPERIENCE, MODELS, TALK, TEAM, WHOLE, Form, Packet, Rejected, open_packets, pack, unpack
from .schedule import Edge, Edges, relays

Sections = dict[str, np.ndarray]
LASTING = ("policy",)
"""Sections that stay of use after their round; the others are that round's experience."""


@dataclass
class Letter:
    """What arrived from one agent in a round.

    sections: accepted ones; made: round of the policy among them; copies: environment copies that the experience covers;
    hops: edges along which it came; team: what the whole team is told, always complete.
    """

    sections: Sections = field(default_factory=dict)
    made: int = 0
    copies: int = 0
    hops: int = 1
    team: Sections = field(default_factory=dict)


Inbox = dict[int, Letter]
"""Sender → what arrived from it."""


@dataclass(frozen=True)
class Wishes:
    """Who wants what: ``graph`` along the communication graph, ``team`` from the whole team, reliably.

    (source, target) → names of sections; equal on all ranks. expected(agent, section, copies, finals): the form of a
    section for that many copies and final observations; cut(section, values, copies, final_copies): the part of a whole
    section that concerns the first copies.
    """

    graph: Mapping[Edge, Sequence[str]]
    team: Mapping[Edge, Sequence[str]]
    expected: Callable[[int, str, int, int], Form]
    cut: Callable[[str, np.ndarray, int, np.ndarray], np.ndarray]


COUNTED = ("sent", "lost", "late", "unsent", "rejected", "told")
"""What is counted of the packets, and of the messages of steps, of one agent in a round: sent (budget permitting); of these lost, and late experience;
not sent for want of budget; and at the receiver rejected sections. told: bytes of what it said at steps, before it acted."""


class Network:
    """The communication network as the agents of one rank see it."""

    def __init__(
        self,
        processes: Processes,
        agents: Sequence[range],
        wishes: Wishes,
        copies: int,
        links: LinkModel,
        potential: Iterable[Edge] = (),
        purposes: Sequence[str] = (),
    ) -> None:
        """``agents[p]``: agents of rank p; ``copies``: environment copies; ``potential``: pairs that may have an edge in some
        round, which relays, averaging and talk use; ``purposes``: what else is said, beside :data:`~.ledger.PURPOSES`."""
        self.processes, self.wishes, self.copies, self.links = processes, wishes, copies, links
        self.rank_of = {agent: rank for rank, block in enumerate(agents) for agent in block}
        self.local = agents[processes.rank]
        self.hops = links.options.hops
        mine = processes.rank
        # What is forwarded goes from edge to edge, however far those are who want it.
        along = potential if self.hops > 1 else (*wishes.graph, *potential)
        pairs = {(self.rank_of[j], self.rank_of[i]) for j, i in (*along, *wishes.team)}
        self.destinations = sorted(target for source, target in pairs if source == mine != target)
        self.sources = sorted(source for source, target in pairs if target == mine != source)
        self.graph = processes.neighbourhood(self.sources, self.destinations)
        self.ledger = Ledger(purposes)
        self.budget = Budget(links.options.budget)
        self.counts = {agent: dict.fromkeys(COUNTED, 0) for agent in self.local}
        self.mailbox: list[Packet] = []
        """Packets for local agents that are on their way."""
        self.known: dict[Edge, np.ndarray] = {}
        """What the target of an edge holds of its source's policy, where differences are sent; kept by the sender."""
        self.held: dict[Edge, np.ndarray] = {}
        """The same, kept by the receiver."""
        self.told: dict[int, list[np.ndarray]] = {}
        """Of each local agent, what receivers make of the policy or outputs that it sent, where coding loses something."""
        self.newest: dict[Edge, int] = {}
        """(origin, local agent) → round of the newest policy that has come: what comes again, or was overtaken, is dropped."""
        self._contents: dict[Any, tuple[str, ...]] = {}
        self._of_origin: dict[int, tuple[str, ...]] = {}
        for (source, _), names in wishes.graph.items():
            known = self._of_origin.get(source, ())
            self._of_origin[source] = known + tuple(name for name in names if name not in known)
        self.differing = {
            source
            for source, names in self._of_origin.items()
            if "policy" in names and wishes.expected(source, "policy", 1, 0).coding == "top_k"
        }
        """Agents whose policies are sent as differences."""
        self._relays: tuple[Edges | None, dict[Edge, list[int]]] = None, {}
        self._round = 0
        self._begun = False
        self._final_copies = np.zeros(0, np.int64)

    # A round

    def begin(self, round_number: int, final_copies: np.ndarray | None = None) -> None:
        """A new round: nothing sent, nothing counted yet."""
        self._begun = final_copies is None
        self._round = round_number
        self._final_copies = np.zeros(0, np.int64) if final_copies is None else final_copies
        self.counts = {agent: dict.fromkeys(COUNTED, 0) for agent in self.local}
        self.told = {}
        self.budget.begin()

    def exchange(
        self, messages: Mapping[int, Sections], round_number: int, edges: Edges, final_copies: np.ndarray
    ) -> dict[int, Inbox]:
        """Send every local agent's sections to those that want them; what each local agent received.

        messages: agent → section → numbers of the expected form; edges: the graph of this round; final_copies: of which
        environment copy each final observation is. What fails validation is left out, and counted in :attr:`counts`, anew
        in each round.
        """
        if self._begun and round_number == self._round:  # something was said while the agents acted
            self._begun, self._final_copies = False, final_copies
        else:
            self.begin(round_number, final_copies)
        packed: dict[Any, np.ndarray] = {}
        inboxes: dict[int, Inbox] = {agent: {} for agent in self.local}
        outgoing = self._to_team(messages, packed) + self._to_neighbours(messages, packed, edges)
        for hop in range(1, (self.hops if edges else 1) + 1):
            arriving = self.carry(outgoing, f"hop {hop}") if edges or self.wishes.team else []
            arrived = [
                packet for packet in self.due(arriving, (MODELS, EXPERIENCE, TEAM)) if self._accept(packet, inboxes)
            ]
            if hop < self.hops and edges:
                outgoing = self._to_forward(arrived, edges)
        return inboxes

    def _to_team(self, messages: Mapping[int, Sections], packed: dict[Any, np.ndarray]) -> list[Packet]:
        """Packets for those that want something of all; these neither get lost nor count against the budget."""
        packets = []
        for (source, target), names in sorted(self.wishes.team.items()):
            if source not in messages:
                continue
            sections = []
            for name in names:
                if (source, name) not in packed:
                    form = self.wishes.expected(source, name, self.copies, len(self._final_copies))
                    packed[source, name] = pack(name, messages[source][name], raw(form), source, self._round)
                sections.append(packed[source, name])
                self.ledger.note(source, target, name, sections[-1].size)
            self.ledger.note(source, target, "envelope", UNIT)
            packets.append(Packet(TEAM, source, source, target, self._round, self._round, 1, self.copies, sections))
        return packets

    def _to_neighbours(
        self, messages: Mapping[int, Sections], packed: dict[Any, np.ndarray], edges: Edges
    ) -> list[Packet]:
        """The agents' own packets, as far as budget and links let them through."""
        targets: dict[int, list[int]] = {}
        for source, target in edges:
            if source in messages:
                targets.setdefault(source, []).append(target)
        packets = []
        for source, all_of_them in targets.items():
            turn = (self._round - 1) % len(all_of_them)
            in_turn = all_of_them[turn:] + all_of_them[:turn]
            for kind in (MODELS, EXPERIENCE):
                for target in in_turn:
                    packet = self._own(kind, source, target, messages[source], packed)
                    if packet:
                        packets.append(packet)
        return packets

    def _own(
        self, kind: int, source: int, target: int, message: Sections, packed: dict[Any, np.ndarray]
    ) -> Packet | None:
        """One packet, after budget and links have had their say; None when it does not arrive at all."""
        names = self.contents(kind, source, target)
        if not names:
            return None
        copies = self.copies if kind == MODELS else self._affordable(kind, source, target)
        if not copies:
            self.counts[source]["unsent"] += 1
            return None
        packet = Packet(kind, source, source, target, self._round, self._round, 1, copies, [])
        if kind == MODELS and (source, target) not in self.known and source in self.differing:
            packet.flags = WHOLE
        forms = self.forms(packet)
        final_copies = self._final_copies
        for name, form in zip(names, forms):
            if form.coding == "top_k":
                difference = message[name] - self.known[source, target]
                section = pack(name, difference, form, source, self._round)
            else:
                key = (source, name, form.coding, copies)
                if key not in packed:
                    whole = message[name]
                    values = whole if copies == self.copies else self.wishes.cut(name, whole, copies, final_copies)
                    packed[key] = pack(name, values, form, source, self._round)
                    if form.coding != "raw" and name in ("policy", "outputs") and copies == self.copies:
                        self.told.setdefault(source, []).append(unpack(packed[key], name, form, source, self._round))
                section = packed[key]
            packet.sections.append(section)
        sent = self.dispatch(packet)
        if source in self.differing and kind == MODELS:
            self._remember(packet, sent, message["policy"], forms[0])
        return sent

    def _remember(self, packet: Packet, sent: Packet | None, policy: np.ndarray, form: Form) -> None:
        """Follow what the receiver holds: the sender learns, as from a link layer's acknowledgement, what got through."""
        edge = packet.sender, packet.target
        if sent is not None and sent.sections is packet.sections:  # neither lost nor damaged
            if packet.flags & WHOLE:
                self.known[edge] = policy.copy()
            else:
                self.known[edge] += unpack(packet.sections[0], "policy", form, packet.origin, packet.made)
        if edge in self.known:
            self.told.setdefault(packet.sender, []).append(self.known[edge].copy())

    def _affordable(self, kind: int, source: int, target: int) -> int:
        """How many copies' experience the agent may still send."""
        left = self.budget.left(source)
        if left is None:
            return self.copies
        low, high = 0, self.copies
        while low < high:
            middle = (low + high + 1) // 2
            probe = Packet(kind, source, source, target, self._round, self._round, 1, middle, [])
            if UNIT + sum(form.size for form in self.forms(probe)) <= left:
                low = middle
            else:
                high = middle - 1
        return low

    # Packets in general

    def contents(self, kind: int, origin: int, target: int) -> tuple[str, ...]:
        """Names of the sections in a packet. Where messages are forwarded, all that anybody wants of the origin."""
        key = kind, origin, target
        if key not in self._contents:
            if kind == TALK:
                names = ()
            elif kind == TEAM:
                names = tuple(self.wishes.team.get((origin, target), ()))
            else:
                all_of_them = (
                    self.wishes.graph.get((origin, target), ()) if self.hops == 1 else self._of_origin.get(origin, ())
                )
                names = tuple(name for name in all_of_them if (name in LASTING) == (kind == MODELS))
            self._contents[key] = names
        return self._contents[key]

    def forms(self, packet: Packet) -> list[Form]:
        """The forms of a packet's sections, in order."""
        finals = len(self._final_copies)
        if packet.copies < self.copies:
            finals = int((self._final_copies < packet.copies).sum())
        found = []
        for name in self.contents(packet.kind, packet.origin, packet.target):
            form = self.wishes.expected(packet.origin, name, packet.copies, finals)
            plain = packet.kind == TEAM or (packet.flags & WHOLE and form.coding == "top_k")
            found.append(raw(form) if plain else form)
        return found

    def dispatch(self, packet: Packet, turn: int = 0) -> Packet | None:
        """Send a packet as far as budget and links let it: what arrives of it, or None. All that is sent is counted.

        ``turn``: which of several packets of one kind that a link sees in a round.
        """
        source, counts = packet.sender, self.counts[packet.sender]
        if not self.budget.spend(source, packet.size):
            counts["unsent"] += 1
            return None
        counts["sent"] += 1
        self.ledger.note(source, packet.target, "envelope", UNIT)
        if packet.purpose:
            self.ledger.note(source, packet.target, packet.purpose, packet.size - UNIT)
        else:
            names = self.contents(packet.kind, packet.origin, packet.target)
            for name, form in zip(names, self.forms(packet)):
                self.ledger.note(source, packet.target, name, form.size)
        if self.links.clean:
            return packet
        momentary = packet.kind in (EXPERIENCE, TALK)
        policy_at_stake = "outputs" in self.contents(packet.kind, packet.origin, packet.target) if momentary else True
        # Of two packets that fail together each end has one; a forwarded one has no counterpart.
        turn = (packet.origin + 1) << 32 | packet.made if packet.hops > 1 else turn
        fate = self.links.fate(packet, self._round, turn, policy_at_stake or self.links.late_experience)
        if fate.lost:
            counts["lost"] += 1
            return None
        if fate.delay and momentary:
            counts["late"] += 1
            return None
        arriving = packet
        if fate.flips:
            arriving = packet.kept()
            arriving.sections = damaged(packet.sections, fate.flips)
        arriving.due = self._round + fate.delay
        return arriving

    def carry(self, packets: Sequence[Packet], name: str) -> list[Packet]:
        """Move packets to the ranks of their targets; those for local agents. Collective. Their sections stay valid until
        the next call with the same ``name``."""
        mine = self.processes.rank
        pieces: dict[int, list[np.ndarray]] = {rank: [] for rank in self.destinations}
        found = []
        for packet in packets:
            rank = self.rank_of[packet.target]
            if rank == mine:
                found.append(packet)
            else:
                pieces[rank] += packet.pieces()
        for data in self.graph.exchange([pieces[rank] for rank in self.destinations], name):
            found += open_packets(data)
        return found

    def due(self, arriving: Sequence[Packet], kinds: Sequence[int]) -> list[Packet]:
        """Of the packets that arrive and those that are waiting, the ones of these kinds whose time has come, in a fixed
        order; the others wait."""
        for packet in sorted(arriving, key=_order):
            if not self.links.options.overtake:
                before = [
                    p.due
                    for p in self.mailbox
                    if (p.sender, p.target, p.kind) == (packet.sender, packet.target, packet.kind)
                ]
                packet.due = max([packet.due, *before])
            if packet.due > self._round:
                self.mailbox.append(packet.kept())
        now = [packet for packet in (*self.mailbox, *arriving) if packet.due <= self._round and packet.kind in kinds]
        self.mailbox = [packet for packet in self.mailbox if packet.due > self._round or packet.kind not in kinds]
        return sorted(now, key=_order)

    def _accept(self, packet: Packet, inboxes: dict[int, Inbox]) -> bool:
        """Put what is valid in a packet into the target's inbox; whether anything was, and was new."""
        counts = self.counts[packet.target]
        pair = packet.origin, packet.target
        known = inboxes[packet.target].get(packet.origin)
        if packet.kind == MODELS and packet.made <= self.newest.get(pair, 0):
            return False
        if packet.kind == EXPERIENCE and known and known.copies:
            return False
        names, forms = self.contents(packet.kind, packet.origin, packet.target), self.forms(packet)
        body = packet.sections[0] if len(packet.sections) == 1 else None
        if sum(form.size for form in forms) != packet.size - UNIT:
            counts["rejected"] += len(names)
            return False
        letter = known or Letter()
        start, accepted = 0, 0
        for index, (name, form) in enumerate(zip(names, forms)):
            section = packet.sections[index] if body is None or len(names) == 1 else body[start : start + form.size]
            start += form.size
            try:
                values = unpack(section, name, form, packet.origin, packet.made)
                if name == "policy" and packet.origin in self.differing:
                    values = self._added(packet, values)
            except Rejected:
                counts["rejected"] += 1
                continue
            accepted += 1
            if packet.kind == TEAM:
                letter.team[name] = values
                continue
            if packet.kind == MODELS:
                letter.made = self.newest[pair] = packet.made
            else:
                letter.copies = packet.copies
            if packet.kind == EXPERIENCE or not letter.copies:
                letter.hops = packet.hops
            letter.sections[name] = values
        inboxes[packet.target][packet.origin] = letter
        return accepted > 0

    def _added(self, packet: Packet, values: np.ndarray) -> np.ndarray:
        """What the receiver holds of a policy after a difference, or a whole one, has come. Raises Rejected."""
        edge = packet.sender, packet.target
        if packet.flags & WHOLE:
            self.held[edge] = values.copy()
        elif edge in self.held:
            self.held[edge] = self.held[edge] + values
        else:
            raise Rejected("a difference to a policy that never came")
        return self.held[edge]

    def _to_forward(self, arrived: Sequence[Packet], edges: Edges) -> list[Packet]:
        """What local agents forward of that which has just arrived and was new to them."""
        if self._relays[0] is not edges:
            self._relays = edges, relays(len(self.rank_of), edges, self.hops)
        table, packets = self._relays[1], []
        for packet in sorted(arrived, key=lambda packet: (packet.kind, _order(packet))):
            if packet.kind == TEAM or packet.hops >= self.hops:
                continue
            relay = packet.target
            for target in table.get((packet.origin, relay), ()):
                copy = replace(packet, sender=relay, target=target, due=self._round, hops=packet.hops + 1)
                sent = self.dispatch(copy)
                if sent:
                    packets.append(sent)
        return packets

    # State

    def state(self, agent: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """(arrays, numbers) that a resumed run needs for one local agent: what is on its way to it, what differences refer
        to, how new the policies are that it has."""
        mail = [piece for packet in self.mailbox if packet.target == agent for piece in packet.pieces()]
        arrays = {"mail": np.concatenate(mail)} if mail else {}
        arrays |= {f"known.{target}": value for (source, target), value in self.known.items() if source == agent}
        arrays |= {f"held.{source}": value for (source, target), value in self.held.items() if target == agent}
        newest = {str(origin): made for (origin, target), made in self.newest.items() if target == agent}
        return arrays, {"newest": newest}

    def restore(self, agent: int, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> None:
        """Continue from :meth:`state`."""
        if "mail" in arrays:
            self.mailbox += open_packets(arrays["mail"].copy())
        for name, array in arrays.items():
            kind, _, other = name.partition(".")
            if kind == "known":
                self.known[agent, int(other)] = array.copy()
            elif kind == "held":
                self.held[int(other), agent] = array.copy()
        self.newest.update({(int(origin), agent): made for origin, made in numbers["newest"].items()})


def raw(form: Form) -> Form:
    """The same numbers as they are."""
    return Form(form.kind, form.shape, form.architecture)


def _order(packet: Packet) -> tuple[int, ...]:
    return packet.made, packet.hops, packet.origin, packet.sender, packet.target, packet.kind
