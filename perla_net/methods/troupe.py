"""Who acts for the agents of one rank that talk while they act: step by step all say what they say, hear their neighbours, and act."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, Sequence

import numpy as np
import torch

from ..learning.distributions import Distribution
from ..learning.talking import Inner, TalkingPolicy, Words
from ..network.channel import Channel, Heard, Said
from .player import Player


class Kept(NamedTuple):
    """What a talker has kept of a rollout, in chunks side by side: chunks × B rows, chunk after chunk, of N steps.

    memory [rows, width], with which each chunk begins; heard: of each step and pass; noise [N, rows, noisy], of messages, or None. Of several agents
    every tensor has an axis of them in front of the rows."""

    memory: torch.Tensor
    heard: list[list[Words]]
    noise: torch.Tensor | None


class Talker(Player):
    """A :class:`~perla_net.learning.talking.TalkingPolicy`, or several equal ones side by side, that act in B copies; keeps what it takes to learn
    from its steps. Of several every array has an axis of agents in front of B."""

    remembers = True
    policy: TalkingPolicy

    def __init__(
        self,
        members: Sequence[int],
        policy: TalkingPolicy,
        distribution: Distribution,
        identity: torch.Tensor,
        copies: int,
        horizon: int,
    ) -> None:
        """``members``: the agents."""
        super().__init__(policy, distribution, identity, copies, horizon)
        self.members, self.policy = list(members), policy
        self.keeps = False
        """Whether it keeps its steps, and says what it says as one who learns does."""
        self.noise_said: np.ndarray | None = None
        """[T, B, noisy], of messages, while it learns."""
        self.draws: np.ndarray | None = None
        """[T, B] uniform numbers of the gate; None: it does what is more probable."""
        self.open_gate: list[np.ndarray] = []
        """Of each step [B] bool: in which copies it spoke, where that was for it to decide; else in which it was there."""
        self.was_there: list[np.ndarray] = []
        self.outputs: list[torch.Tensor] = []
        """Of each step, [B, outputs + free], before masks."""
        self.gate_logits: list[torch.Tensor] = []
        self.memories: list[torch.Tensor] = []
        """Before the first step and after each, [B, width]."""
        self.heard: list[list[Words]] = []
        """Of each step and pass."""
        self._inner: Inner = {}

    def begin(self, *rngs: np.random.Generator, learns: bool = False) -> None:
        """See :class:`~.player.Player`; learns: draw noise for its messages and gate, too, and keep its steps."""
        super().begin(*rngs)
        policy, shape = self.policy, (self.horizon, self.copies)
        self.keeps = learns
        self.draws = self._by_agent([rng.random(shape) for rng in rngs] if policy.gates else [])
        noisy = [rng.standard_normal((*shape, policy.noisy), np.float32) for rng in rngs if learns and policy.noisy]
        self.noise_said = self._by_agent(noisy)
        for kept in (self.open_gate, self.was_there, self.outputs, self.gate_logits, self.memories, self.heard):
            kept.clear()

    def _by_agent(self, drawn: Sequence[np.ndarray]) -> np.ndarray | None:
        if not drawn:
            return None
        return np.stack(drawn, 1) if self.several else drawn[0]

    # A step

    def look(
        self, t: int, observations: Sequence[np.ndarray], begins: Sequence[np.ndarray], there: Sequence[np.ndarray]
    ) -> None:
        """Look; each of every member's, there [B] bool: in which copies the agent is alive."""
        x = self.with_identity(self._tensor(observations))
        if self.keeps and not t:
            self.memories.append(self.memory)
        self.memory = self.memory * ~self._tensor(begins).unsqueeze(-1)
        self._inner = self.policy.meet(self.policy.read(x), self.memory)
        speaks = alive = np.stack(there) if self.several else there[0]
        if self.policy.gates:
            logit = self.policy.gate(self._inner)
            chance = torch.sigmoid(logit).numpy()
            speaks = alive & (chance > 0.5 if self.draws is None else self.draws[t] < chance)
            if self.keeps:
                self.gate_logits.append(logit)
        self._speaks = speaks
        if self.keeps:
            self.open_gate.append(speaks)
            self.was_there.append(alive)
            self.heard.append([])

    def say(self, t: int, k: int) -> list[Said]:
        """What each member says in pass k."""
        noise = None if self.noise_said is None else torch.from_numpy(self.noise_said[t]).to(self.policy.flat.dtype)
        numbers = self.policy.say(k, self._inner, noise).numpy()
        return [Said(*each) for each in zip(self.each(numbers), self.each(self._speaks))]

    def hear(self, k: int, heard: Sequence[Heard | None]) -> None:
        """What arrives of its neighbours' messages in pass k, at every member; None: it hears nobody."""
        words = self.words(k, heard)
        self._inner = self.policy.hear(k, self._inner, words)
        if self.keeps:
            self.heard[-1].append(words)

    def close(self, t: int, masks: Sequence[np.ndarray | None], actions: Sequence[np.ndarray]) -> None:
        """Act."""
        outputs = self.policy.decide_by(self._inner["h"])
        self.memory = self.policy.remember(self._inner, outputs)
        if self.keeps:
            self.outputs.append(outputs)
            self.memories.append(self.memory)
        for action, chosen in zip(actions, self.each(self.choose(t, outputs.mT, masks).numpy())):
            self.distribution.write(chosen, action)

    # Between agents and the tensors of all

    def each(self, whole: Any) -> Sequence[Any]:
        """The rows of every member."""
        return whole if self.several else (whole,)

    def kept(self, chunk: int) -> Kept:
        """What its steps have left, for learning in chunks of so many steps."""
        starts = range(0, self.horizon, chunk)
        heard = [
            [_side_by_side([self.heard[start + t][k] for start in starts]) for k in range(self.policy.passes)]
            for t in range(chunk)
        ]
        noise = None
        if self.noise_said is not None:
            drawn = torch.from_numpy(self.noise_said).to(self.policy.flat.dtype)
            noise = chunked(drawn, chunk, 0, drawn.dim() - 2)
        return Kept(torch.cat([self.memories[start] for start in starts], -2), heard, noise)

    def words(self, k: int, heard: Sequence[Heard | None], rows: int = 0) -> Words:
        """What every member hears in pass k as tensors; rows: of a message (0: B)."""
        if heard[0] is None:
            return self.policy.silence(rows or self.copies, k)
        if not self.several:
            return words_of(heard[0], self.policy.flat.dtype)
        those = [one for one in heard if one is not None]
        numbers = [torch.from_numpy(np.stack(of_all)) for of_all in zip(*(one.numbers for one in those))]
        present = torch.from_numpy(np.stack([one.present for one in those], 1))
        return Words(numbers, present.to(self.policy.flat.dtype))


def words_of(heard: Heard, dtype: torch.dtype = torch.float32) -> Words:
    """The same as tensors."""
    return Words([torch.from_numpy(part) for part in heard.numbers], torch.from_numpy(heard.present).to(dtype))


def _side_by_side(parts: Sequence[Words]) -> Words:
    """The same message of several chunks."""
    if len(parts) == 1:
        return parts[0]
    numbers = [torch.cat(those, -2) for those in zip(*(part.numbers for part in parts))]
    return Words(numbers, torch.cat([part.present for part in parts], -1))


def chunked(whole: torch.Tensor, chunk: int, time: int, rows: int) -> torch.Tensor:
    """[…, T, …, B, …] as […, N, …, C·B, …], C chunks of N steps side by side; ``time``, ``rows``: the axes of T and B, behind it."""
    apart = whole.unflatten(time, (-1, chunk))  # the axes behind are one further
    return apart.movedim(time, rows).flatten(rows, rows + 1)


def unchunked(side: torch.Tensor, copies: int, time: int, rows: int) -> torch.Tensor:
    """The reverse of :func:`chunked`."""
    apart = side.unflatten(rows, (-1, copies))
    return apart.movedim(rows, time).flatten(time, time + 1)


class Troupe:
    """An :class:`~perla_net.world.world.Actor` for several agents. Collective: every rank has one where anybody talks, if it has nobody in it."""

    remembers, follows = True, False

    def __init__(self, channel: Channel, talkers: Sequence[Talker], there: Callable[[int, int], np.ndarray]) -> None:
        """``there``: (which of the talkers' members, counted through, step) → in which copies it is alive, bool."""
        self.channel, self.talkers, self.there = channel, list(talkers), there
        stops = np.cumsum([len(talker.members) for talker in talkers]).tolist()
        self._places = [range(stop - len(talker.members), stop) for talker, stop in zip(talkers, stops)]

    @torch.no_grad()
    def act(
        self,
        t: int,
        observations: list[np.ndarray],
        masks: list[np.ndarray | None],
        begins: list[np.ndarray],
        actions: list[np.ndarray],
    ) -> None:
        """See :class:`~perla_net.world.world.Actor`."""
        places = self._places
        for talker, those in zip(self.talkers, places):
            of_each = [observations[n] for n in those], [begins[n] for n in those]
            talker.look(t, *of_each, [self.there(n, t) for n in those])
        for k in range(self.channel.passes):
            speaking = [talker for talker in self.talkers if k < talker.policy.passes]
            said = {agent: one for talker in speaking for agent, one in zip(talker.members, talker.say(t, k))}
            heard = self.channel.say(t, k, said, begins[0] if begins else None)
            for talker in speaking:
                talker.hear(k, [heard.get(agent) for agent in talker.members])
        for talker, those in zip(self.talkers, places):
            talker.close(t, [masks[n] for n in those], [actions[n] for n in those])
