"""Links as they really are: packets that are lost, late or damaged, and what an agent may send in a round.

Every fate is a function of the run's seed, the link, the round and the packet, drawn from a counter-based generator
(Philox, Salmon et al. 2011): a run with bad links is as repeatable as one with good ones, whatever the number of ranks.

Loss is Bernoulli, or in bursts (Gilbert 1960, Elliott 1963): each link is a Markov chain over rounds between a good and a bad
state, which lose packets with different probability. Delay counts rounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..settings.config import Links
from .messages import Packet

STREAM = 5
"""First part of the spawn key of all links' streams."""
_CHAIN = 255
"""In the place of a packet's kind: the draws of a link's Markov chain."""


@dataclass(frozen=True)
class Fate:
    """What becomes of a packet: lost on the way; rounds until it arrives; bits of its sections that flip."""

    lost: bool = False
    delay: int = 0
    flips: tuple[int, ...] = ()


class LinkModel:
    """The links of a run. Both ends of an undirected link fail together where ``symmetric``."""

    def __init__(
        self,
        options: Links,
        seed: int,
        symmetric: bool,
        overrides: dict[tuple[int, int], dict[str, float]],
        use: tuple[int, ...] = (),
    ):
        """``overrides``: (source, target) → ``loss``, ``delay`` of that link, in place of the options'; of two directions that
        fail together, the worse; ``use``: what the links are for, beside training: each use has fates of its own."""
        self.options, self.symmetric, self.overrides = options, symmetric, {}
        for (source, target), attributes in overrides.items():
            known = self.overrides.setdefault(self._link(source, target), {})
            for name, value in attributes.items():
                known[name] = max(value, known.get(name, 0.0))
        self.key = int(np.random.SeedSequence(seed, spawn_key=(STREAM, *use)).generate_state(1, np.uint64)[0])
        self._bad: dict[tuple[int, int], tuple[int, bool]] = {}
        self.clean = not (options.loss or options.delay or options.bit_errors or overrides)

    def _link(self, source: int, target: int) -> tuple[int, int]:
        """What a link's fates are drawn for: a direction, or both where they fail together."""
        return (min(source, target), max(source, target)) if self.symmetric else (source, target)

    def _random(self, a: int, b: int, round_number: int, kind: int, salt: int) -> np.random.Generator:
        """A stream of its own for each packet: key (run, link), counter (round, kind, salt)."""
        counter = np.array([0, salt, kind, round_number], np.uint64)
        return np.random.Generator(np.random.Philox(counter=counter, key=np.array([self.key, a << 32 | b], np.uint64)))

    def chain(self, a: int, b: int) -> tuple[float, float, float, float]:
        """(P(good → bad), P(bad → good), loss when good, loss when bad) of a link.

        The bad state lasts ``burst`` rounds on average, and the share of packets lost in the long run is ``loss``:
        π l_bad + (1 − π) l_good with π = P(g→b) / (P(g→b) + P(b→g)).
        """
        options = self.options
        loss = self.overrides.get((a, b), {}).get("loss", options.loss)
        if not options.burst:
            return 0.0, 1.0, loss, loss
        share, leave = bad_share(options, loss), 1 / options.burst
        return leave * share / (1 - share), leave, options.loss_good, options.loss_bad

    def bad(self, a: int, b: int, round_number: int) -> bool:
        """Whether the link's chain is in the bad state in a round; it starts from its stationary distribution."""
        enter, leave, _, _ = self.chain(a, b)
        at, state = self._bad.get((a, b), (0, False))
        if at > round_number:
            at = 0
        while at < round_number:
            at += 1
            drawn = self._random(a, b, at, _CHAIN, 0).random()
            if at == 1:
                state = drawn < enter / (enter + leave)
            else:
                state = drawn >= leave if state else drawn < enter
        self._bad[a, b] = at, state
        return state

    def fate(self, packet: Packet, round_number: int, turn: int, delayed: bool) -> Fate:
        """What becomes of a packet that is sent in a round; ``turn``: which of its kind on that link; ``delayed``: whether
        delays apply to it."""
        a, b = self._link(packet.sender, packet.target)
        options, here = self.options, self.overrides.get((a, b), {})
        _, _, good, bad = self.chain(a, b)
        rng = self._random(a, b, round_number, packet.kind, turn)
        first, second = rng.random(2)
        lost = first < (bad if good != bad and self.bad(a, b, round_number) else good)
        mean = here.get("delay", options.delay) if delayed else 0
        if options.delay_model == "geometric":
            # P(d) = (1 − q) q^d with mean q / (1 − q)
            delay = int(math.log1p(-second) / math.log(mean / (1 + mean))) if mean else 0
        else:
            delay = round(mean)
        flips: tuple[int, ...] = ()
        if options.bit_errors:
            bits = 8 * (packet.size - 64)
            flips = tuple(rng.integers(bits, size=rng.binomial(bits, options.bit_errors)).tolist())
        return Fate(bool(lost), delay, flips)

    def of_steps(
        self, source: int, target: int, round_number: int, kind: int, turn: int, shape: tuple[int, int], bits: int
    ) -> np.ndarray:
        """What becomes of the messages that a link may see in the steps of a round, int16 of that shape [steps, copies]: 0, lost; −1, damaged; else
        1 + steps until it arrives. Each by itself, but for a link's bad rounds; ``turn``: which of several of one kind in a step; ``bits``:
        of a message, each of which may flip: P(damaged) = 1 − (1 − P(flip))^bits."""
        a, b = self._link(source, target)
        options, here = self.options, self.overrides.get((a, b), {})
        _, _, good, bad = self.chain(a, b)
        chance, late, spoilt = self._random(a, b, round_number, kind, turn).random((3, *shape))
        mean = here.get("delay", options.delay)
        if options.delay_model == "geometric" and mean:
            delay = np.log1p(-late) / math.log(mean / (1 + mean))
        else:
            delay = np.full(shape, round(mean))
        marks = 1 + np.minimum(delay, shape[0]).astype(np.int16)  # later than the round is as good as lost
        if options.bit_errors:
            whole = (1 - options.bit_errors) ** bits
            marks[spoilt >= whole] = -1
        marks[chance < (bad if good != bad and self.bad(a, b, round_number) else good)] = 0
        return marks

    @property
    def late_experience(self) -> bool:
        """Whether delays apply to experience too, which is of no use after its round."""
        return self.options.delays == "everything"


def bad_share(options: Links, loss: float) -> float:
    """The share of rounds in the bad state with which a link with bursts loses ``loss`` in the long run."""
    return (loss - options.loss_good) / (options.loss_bad - options.loss_good)


def damaged(sections: list[np.ndarray], flips: tuple[int, ...]) -> list[np.ndarray]:
    """Copies of the sections with the given bits flipped, counted over all of them."""
    damaged = np.concatenate(sections)
    for bit in flips:
        damaged[bit // 8] ^= np.uint8(1 << bit % 8)
    return np.split(damaged, np.cumsum([section.size for section in sections])[:-1])


class Budget:
    """What the agents of this rank may still send in the present round.

    The rule: policies before experience, experience before what is forwarded for others, parameters to average when their
    time comes; within each, neighbours in turn, beginning with another one in each round; what does not fit is not sent,
    but for experience, of which as many environment copies go as fit.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._left: dict[int, int] = {}

    def begin(self) -> None:
        """A new round."""
        self._left.clear()

    def left(self, agent: int) -> int | None:
        """Bytes that an agent may still send; None: any number."""
        return self._left.get(agent, self.limit) if self.limit else None

    def spend(self, agent: int, size: int) -> bool:
        """Take a packet's bytes from what is left; False, and nothing taken, when they do not fit."""
        if not self.limit:
            return True
        left = self._left.get(agent, self.limit)
        if size > left:
            return False
        self._left[agent] = left - size
        return True


def needs_symmetric(averaging: bool, weights: str, wish: str) -> bool:
    """Whether both ends of a link fail together: as wished, else where averaging with Metropolis weights needs it."""
    return wish == "yes" or (wish == "auto" and averaging and weights == "metropolis")
