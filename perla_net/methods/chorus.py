"""How agents that talk learn: what the critic says, then gradient steps of the policy, each through a whole rollout and all who talk; one agent, or
several equal ones side by side (``--batch-agents``)."""

from __future__ import annotations

from typing import Any, Generator, Mapping, Sequence

import numpy as np
import torch

from ..learning.distributions import Distribution
from ..network.exchange import Inbox
from ..settings.config import AgentSettings
from ..world.world import Rollout
from .lesson import Lesson
from .order import STATISTICS, look
from .protocol import Now
from .squad import SideBySide
from .through_time import backward, forward
from .trainer import MEASURED, Trainer
from .troupe import Talker, chunked, unchunked

SPOKE = "talked"
"""Share of the steps in which a gated agent was there that it spoke in."""
Statistics = Generator[Any, Any, list[dict[str, float]]]
"""Yields :class:`~.through_time.Utter`; ends with everybody's statistics."""


def learn_together(
    agents: Sequence[Any],
    talker: Talker,
    trainer: Trainer,
    rollouts: Sequence[Rollout],
    inboxes: Sequence[Inbox],
    now: Now,
) -> Statistics:
    """What the critics say, then ``--ppo.epochs`` gradient steps of whole rollouts; ``agents``: of the talker, of which the trainer has the networks."""
    learners = [agent.learner for agent in agents]
    lessons = [
        Lesson(agent.learner, agent.experience(rollout, inbox, now.round), keep_all=True)
        for agent, rollout, inbox in zip(agents, rollouts, inboxes)
    ]
    fitted = yield from look(lessons, trainer, now.progress)
    returns = [lesson.returns() for lesson in lessons]
    advantages = [lesson.normalised(lesson.advantage(target), lesson.alive) for lesson, target in zip(lessons, returns)]
    if fitted is None:
        for lesson, target in zip(lessons, returns):
            yield from lesson.follow(target)
        rows = [lesson.rows(target) for lesson, target in zip(lessons, returns)]
        units, rngs = [learner.units for learner in learners], [learner.fit_rng for learner in learners]
        fitted = yield from trainer.fit(rows, units, rngs, now.progress)
    fitted = np.atleast_2d(fitted)
    measured = yield from _improve(agents, talker, trainer, lessons, advantages, now.progress)
    found = []
    for n, learner in enumerate(learners):
        loss, gradient = fitted[n]
        own = dict(zip(MEASURED, measured[n])) | {"value_loss": float(loss), "critic_gradient": float(gradient)}
        found.append(own | dict(zip(STATISTICS[len(MEASURED) :], learner.judged)))
        if talker.policy.gates:
            there, spoke = (
                np.stack([talker.each(step)[n] for step in kept]) for kept in (talker.was_there, talker.open_gate)
            )
            found[n][SPOKE] = float(spoke[there].mean()) if there.any() else float("nan")
    return found


def _improve(
    agents: Sequence[Any],
    talker: Talker,
    trainer: Trainer,
    lessons: Sequence[Lesson],
    advantages: Sequence[torch.Tensor],
    progress: float,
) -> Generator[Any, Any, list[list[float]]]:
    """Gradient steps of the policies; returns :data:`~.trainer.MEASURED` of each agent, means over them."""

    def whole(parts: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.stack(list(parts)) if talker.several else parts[0]

    settings, policy, optimiser, first = agents[0].settings, talker.policy, trainer.optimisers[0], lessons[0]
    rate, of_steps = settings.optimiser.learning_rate * trainer.rate(progress), (first.steps, first.copies)
    masks = None
    if agents[0].mask is not None:
        masks = whole([agent.mask[: first.taken] for agent in agents])
    loss = PolicyLoss(
        agents[0].distribution,
        settings,
        trainer,
        whole([lesson.action for lesson in lessons]),
        whole(advantages),
        whole([lesson.alive for lesson in lessons]),
        masks,
        torch.from_numpy(np.stack(talker.open_gate, -2)).flatten(-2) if policy.gates else None,
    )
    loss.begin(whole([agent.outputs[: first.taken] for agent in agents]), _of_steps(talker.gate_logits))
    x = whole([agent.with_identity(agent.observation)[: first.taken].unflatten(0, of_steps) for agent in agents])
    begins = torch.from_numpy(first.experience.rollout.begins[:-1].copy())
    time, chunk = x.dim() - 3, settings.ppo.chunk or first.steps
    kept = talker.kept(chunk)
    x, begins = chunked(x, chunk, time, time + 1), chunked(begins, chunk, 0, 1)

    def in_order(side: torch.Tensor) -> torch.Tensor:
        return unchunked(side, first.copies, time, time + 1).flatten(time, time + 1)

    def in_chunks(order: torch.Tensor) -> torch.Tensor:
        return chunked(order.unflatten(time, of_steps), chunk, time, time + 1)

    measured = []
    for epoch in range(settings.ppo.epochs):
        policy.gradient.zero_()
        with policy.leaves():
            passage = yield from forward(talker, kept, x, begins, epoch > 0 and policy.teaches)
            logits = [gate.detach() for gate in passage.gates]
            gates = in_order(torch.stack(logits, time)) if logits else None
            slopes, gate_slopes, found = loss(in_order(passage.outputs.detach()), gates)
            if gate_slopes is not None:
                gate_slopes = in_chunks(gate_slopes)
            yield from backward(talker, passage, begins, in_chunks(slopes), gate_slopes)
        norm = optimiser.step(rate)
        none = torch.zeros_like(norm)
        measured.append([part.tolist() for part in (*found[:1], none, *found[1:], norm, none)])
    # [epochs, measured], or [epochs, measured, agents]
    return np.array(measured).mean(0).reshape(len(MEASURED), -1).T.tolist()


def _of_steps(logits: Sequence[torch.Tensor]) -> torch.Tensor | None:
    """[B] of each step as [T·B]."""
    return torch.stack(list(logits), -2).flatten(-2) if logits else None


class PolicyLoss:
    """L = mean over steps of the base's loss of log π(a) + log P(gate), less the entropy bonus of both; and its derivatives."""

    def __init__(
        self,
        distribution: Distribution,
        settings: AgentSettings,
        trainer: Trainer,
        action: torch.Tensor,
        advantage: torch.Tensor,
        alive: torch.Tensor,
        mask: torch.Tensor | None,
        gates: torch.Tensor | None,
    ) -> None:
        """action [M, words]; advantage, alive [M]; mask [M, outputs]; gates [M]: whether the agent spoke; M = T·B, of several agents [agents, M, …]."""
        self.distribution, self.settings, self.loss = distribution, settings, trainer.loss
        self.action, self.advantage, self.mask, self.gates = action, advantage, mask, gates
        weight = alive.to(advantage.dtype)
        self.weight = weight / weight.sum(-1, keepdim=True).clamp(min=1)
        self.old = advantage

    def begin(self, outputs: torch.Tensor, logits: torch.Tensor | None) -> None:
        """What the behaviour policy said, [M, …] with masks applied."""
        self.old = self.distribution.score(outputs.mT.contiguous(), self.action).log_probability
        if self.gates is not None and logits is not None:
            self.old = self.old + _log_gate(logits, self.gates)

    def __call__(
        self, outputs: torch.Tensor, gate: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None, list[torch.Tensor]]:
        """(∂L/∂outputs [M, …], ∂L/∂gate logits [M] or None, figures): policy loss, entropy, divergence, share clipped."""
        weight, bonus, clip = self.weight, self.settings.returns.entropy, self.settings.ppo.clip
        masked = self.distribution.masked(outputs.mT, None if self.mask is None else self.mask.mT)
        score = self.distribution.score(masked, self.action)
        log, entropy = score.log_probability, score.entropy
        if gate is not None and self.gates is not None:
            log = log + _log_gate(gate, self.gates)
        loss, slope, ratio = self.loss(log, self.old, self.advantage, clip)
        gradient = score.gradient(slope * weight, weight * -bonus).mT
        of_gate = None
        if gate is not None and self.gates is not None:
            # log P(g) = g x − softplus(x), P = σ(x): ∂ log P(g)/∂x = g − P;  H = softplus(x) − P x: ∂H/∂x = −x P (1 − P)
            chance = torch.sigmoid(gate)
            of_gate = slope * weight * (self.gates.to(gate.dtype) - chance)
            of_gate = of_gate + weight * bonus * gate * chance * (1 - chance)
            entropy = entropy + torch.nn.functional.softplus(gate) - chance * gate
        divergence = ratio - 1 - (log - self.old)
        clipped = (ratio - 1).abs() > clip
        return gradient, of_gate, [(weight * part).sum(-1) for part in (loss, entropy, divergence, clipped)]


def _log_gate(logit: torch.Tensor, opened: torch.Tensor) -> torch.Tensor:
    return torch.where(opened, logit, 0.0) - torch.nn.functional.softplus(logit)


class Chorus(SideBySide):
    """Agents of one rank that say and hear the same, each for itself: they act and learn side by side, as in a :class:`~.squad.Squad`.

    Each stays itself: its parameters, moments and random streams are its own, as rows of the chorus's tensors. The numbers differ from those of
    agents that learn one by one in the last bits.
    """

    def __init__(self, agents: Sequence[Any]) -> None:
        """``agents``: alike :class:`~.talking.Talking`."""
        super().__init__(agents)
        one = self.agents[0]
        members = [agent.index for agent in agents]
        self.talker = Talker(members, self.policy, self.trainer.distribution, one.identity, one.copies, one.horizon)
        for n, agent in enumerate(agents):
            agent.part = self, n

    def player(self) -> Talker:
        """Who acts for these agents in the next rollout."""
        for agent in self.agents:
            agent.mark()
        talker = self.talker
        talker.memory = torch.stack([agent.talker.memory for agent in self.agents])
        talker.begin(*[agent.noise_rng for agent in self.agents], learns=True)
        return talker

    def hand_out(self, n: int) -> None:
        """Let an agent have its part of the rollout: what it decided and remembers."""
        whole, own = self.talker, self.agents[n].talker
        own.memory = whole.memory[n]
        own.memories, own.outputs = ([part[n] for part in kept] for kept in (whole.memories, whole.outputs))

    def learn(self, rollouts: Sequence[Rollout], inboxes: Mapping[int, Inbox], now: Now) -> Statistics:
        """See :func:`learn_together`."""
        theirs = [inboxes[agent.index] for agent in self.agents]
        with self.counted():
            return (yield from learn_together(self.agents, self.talker, self.trainer, rollouts, theirs, now))
