"""Who acts for the agents of one rank that talk while they act: step by step all say what they say, hear their neighbours, and act."""

from __future__ import annotations

from functools import cached_property
from typing import Callable, Sequence

import numpy as np
import torch

from ..learning.distributions import Distribution
from ..learning.talking import Inner, TalkingPolicy, Words
from ..network.channel import Channel, Heard, Said
from .player import Player


class Talker(Player):
    """A :class:`~perla_net.learning.talking.TalkingPolicy` that acts in B copies; keeps what it takes to learn from its steps."""

    remembers = True
    policy: TalkingPolicy

    def __init__(
        self,
        index: int,
        policy: TalkingPolicy,
        distribution: Distribution,
        identity: torch.Tensor,
        copies: int,
        horizon: int,
    ) -> None:
        """``index``: of the agent."""
        super().__init__(policy, distribution, identity, copies, horizon)
        self.index, self.policy = index, policy
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
        self.heard: list[list[Heard]] = []
        """Of each step and pass."""
        self._inner: Inner = {}

    def begin(self, *rngs: np.random.Generator, learns: bool = False) -> None:
        """See :class:`~.player.Player`; learns: draw noise for its messages and gate, too, and keep its steps."""
        super().begin(*rngs)
        policy, shape = self.policy, (self.horizon, self.copies)
        self.keeps = learns
        self.draws = rngs[0].random(shape) if rngs and policy.gates else None
        self.noise_said = (
            rngs[0].standard_normal((*shape, policy.noisy), np.float32) if learns and policy.noisy else None
        )
        for kept in (self.open_gate, self.was_there, self.outputs, self.gate_logits, self.memories, self.heard):
            kept.clear()

    # A step

    def look(self, t: int, observation: np.ndarray, begins: np.ndarray, there: np.ndarray) -> None:
        """Look; there [B] bool: in which copies the agent is alive."""
        x = self.with_identity(self._tensor([observation]))
        if self.keeps and not t:
            self.memories.append(self.memory)
        self.memory = self.memory * ~self._tensor([begins]).unsqueeze(1)
        self._inner = self.policy.meet(self.policy.read(x), self.memory)
        speaks = there
        if self.policy.gates:
            logit = self.policy.gate(self._inner)
            chance = torch.sigmoid(logit).numpy()
            speaks = there & (chance > 0.5 if self.draws is None else self.draws[t] < chance)
            if self.keeps:
                self.gate_logits.append(logit)
        self._speaks = speaks
        if self.keeps:
            self.open_gate.append(speaks)
            self.was_there.append(there)
            self.heard.append([])

    def say(self, t: int, k: int) -> Said:
        """Its message in pass k."""
        noise = None if self.noise_said is None else torch.from_numpy(self.noise_said[t]).to(self.policy.flat.dtype)
        return Said(self.policy.say(k, self._inner, noise).numpy(), self._speaks)

    def hear(self, k: int, heard: Heard) -> None:
        """What arrives of its neighbours' messages in pass k."""
        self._inner = self.policy.hear(k, self._inner, words_of(heard, self.policy.flat.dtype))
        if self.keeps:
            self.heard[-1].append(heard)

    def close(self, t: int, mask: np.ndarray | None, action: np.ndarray) -> None:
        """Act."""
        outputs = self.policy.decide_by(self._inner["h"])
        self.memory = self.policy.remember(self._inner, outputs)
        if self.keeps:
            self.outputs.append(outputs)
            self.memories.append(self.memory)
        self.distribution.write(self.choose(t, outputs.mT, [mask]).numpy(), action)

    @cached_property
    def nothing(self) -> list[Heard]:
        """What it hears, by pass, where nobody is heard."""
        found = []
        for k in range(self.policy.passes):
            numbers, present = self.policy.silence(self.copies, k)
            found.append(Heard([part.numpy() for part in numbers], present.numpy() > 0))
        return found


def words_of(heard: Heard, dtype: torch.dtype = torch.float32) -> Words:
    """The same as tensors."""
    return Words([torch.from_numpy(part) for part in heard.numbers], torch.from_numpy(heard.present).to(dtype))


class Troupe:
    """An :class:`~perla_net.world.world.Actor` for several agents. Collective: every rank has one where anybody talks, if it has nobody in it."""

    remembers, follows = True, False

    def __init__(self, channel: Channel, talkers: Sequence[Talker], there: Callable[[int, int], np.ndarray]) -> None:
        """``there``: (which of the talkers, step) → in which copies it is alive, bool."""
        self.channel, self.talkers, self.there = channel, list(talkers), there

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
        for n, talker in enumerate(self.talkers):
            talker.look(t, observations[n], begins[n], self.there(n, t))
        for k in range(self.channel.passes):
            said = {talker.index: talker.say(t, k) for talker in self.talkers if k < talker.policy.passes}
            heard = self.channel.say(t, k, said, begins[0] if begins else None)
            for talker in self.talkers:
                if k < talker.policy.passes:
                    talker.hear(k, heard[talker.index] if talker.index in heard else talker.nothing[k])
        for talker, mask, action in zip(self.talkers, masks, actions):
            talker.close(t, mask, action)
