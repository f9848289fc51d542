"""Epochs of minibatches: gradients of policy and critic by hand, and optimiser steps.

One :class:`Trainer` trains one agent's networks, or those of several equal agents side by side; then every tensor has an
axis of agents in front. Nothing is allocated twice that could be kept, and a minibatch is a slice of arrays that are
gathered once per epoch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Generator, Sequence

import numpy as np
import torch

from ..learning.distributions import Categorical, Distribution
from ..learning.models import MLP, Adam, Pass, Policy
from ..settings.config import AgentSettings
from .coalition import averaged
from .losses import policy_loss
from .presets import base_of
from .protocol import Say
from .window import Rows

MEASURED = (
    "policy_loss",
    "value_loss",
    "entropy",
    "divergence",
    "clipped",
    "policy_gradient",
    "critic_gradient",
)
"""What :meth:`Trainer.run` reports, means over the minibatches: losses (value loss in normalised units), entropy in nats,
divergence: estimate of KL(old, new) (Schulman 2020: mean of ρ − 1 − log ρ), share of clipped ratios, gradient norms
before clipping."""

PASSES, STEPS = 8, 64
"""At least so many passes, and so many steps, has a critic's own fit where nothing else is said: small rounds have few minibatches."""

Shared = Generator[Say, np.ndarray, np.ndarray]


def gradient_steps(settings: AgentSettings, steps: int, copies: int) -> int:
    """How many :meth:`Trainer.run` takes on T steps of B copies of which none is left out."""
    epochs, size = _epochs_and_size(settings)
    size = size or steps * copies
    if settings.model.memory == "none":
        return epochs * math.ceil(steps * copies / size)
    return epochs * math.ceil(copies / max(1, size // steps))


def _epochs_and_size(settings: AgentSettings) -> tuple[int, int]:
    """Passes over a round's steps, and steps in a minibatch (0: all of them)."""
    if base_of(settings.algorithm) == "ppo":
        return settings.ppo.epochs, settings.ppo.minibatch
    return 1, settings.a2c.minibatch


@dataclass
class Batch:
    """What one agent learns from: ``rows`` steps in any order, or [T, B] steps in order for a policy with memory.

    x [rows, size]: the critic's input; observation [rows, size]: the policy's, or None where x begins with it; action
    [rows, words]; advantage, target (normalised), old (log π of the behaviour), weight [rows]: 1, or 0 for a step that
    does not count; value_weight [rows]: the same for the critic, where it differs; mask [rows, outputs] or None; memory [B, width] and begins
    [T, B] for a policy with memory.
    """

    x: torch.Tensor
    observation: torch.Tensor | None
    action: torch.Tensor
    advantage: torch.Tensor
    target: torch.Tensor
    old: torch.Tensor
    weight: torch.Tensor | None
    mask: torch.Tensor | None = None
    value_weight: torch.Tensor | None = None
    memory: torch.Tensor | None = None
    begins: torch.Tensor | None = None

    def rows(self) -> dict[str, torch.Tensor]:
        """The tensors with an entry per step."""
        names = ("x", "observation", "action", "advantage", "target", "old", "weight", "mask", "value_weight")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


class Trainer:
    """Trains a policy and a critic from batches."""

    def __init__(
        self,
        policy: Policy,
        critic: MLP,
        optimisers: tuple[Adam, Adam],
        distribution: Distribution,
        own_heads: bool,
        settings: AgentSettings,
        group: tuple[int, ...] = (),
    ) -> None:
        """``own_heads``: the critic has a head per own action, and the one of the action taken is trained; ``group``: agents that share
        these networks."""
        self.policy, self.critic, self.optimisers, self.distribution = policy, critic, optimisers, distribution
        self.own_heads, self.settings, self.group = own_heads, settings, group
        self.base = base_of(settings.algorithm)
        self.loss = policy_loss(settings.policy_loss, self.base)
        self._passes: dict[int, tuple[Pass, Pass]] = {}
        self._gathered: dict[str, torch.Tensor] = {}

    def passes(self, rows: int) -> tuple[Pass, Pass]:
        """Buffers for policy and critic on minibatches of so many rows."""
        if rows not in self._passes:
            if len(self._passes) > 3:  # dead agents leave a remainder of a new length each round
                self._passes.clear()
            policy = Pass(self.policy, rows)
            self._passes[rows] = policy, Pass(self.critic, rows, room=policy)
        return self._passes[rows]

    def run(
        self,
        batches: Sequence[Batch],
        rngs: Sequence[np.random.Generator],
        progress: float,
        with_critic: bool = True,
    ) -> Shared:
        """Learn; returns :data:`MEASURED`, [7] or, with several agents, [agents, 7]. with_critic: the critic learns from the same minibatches;
        else it has been fitted, and its figures are 0.

        A generator: under parameter sharing it says the gradients of each step and expects the group's mean to be sent
        back. ``rngs``: one stream per agent for the order of its steps; ``progress``: share of the run that is done.
        """
        settings, first = self.settings, batches[0]
        epochs, size = _epochs_and_size(settings)
        rate = self.rate(progress)
        if first.memory is None:
            units = len(first.action)
            tables = [batch.rows() for batch in batches]
            parts = self._shuffled(tables, rngs, epochs, max(1, min(size or units, units)))
        else:
            steps, units = first.begins.shape
            copies = max(1, (size or steps * units) // steps)
            parts = self._sequences(first, rngs[0], epochs, copies)
        policy, critic = self.optimisers
        measured = []
        for part in parts:
            found = self._gradients(part, with_critic)
            networks = (self.policy, self.critic) if with_critic else (self.policy,)
            yield from averaged([network.gradient for network in networks], self.group)
            norm = policy.step(settings.optimiser.learning_rate * rate)
            of_critic = torch.zeros_like(norm)
            if with_critic:
                of_critic = critic.step(settings.optimiser.critic_learning_rate * rate)
            measured += [*found, norm, of_critic]
        if not measured:
            return np.zeros((*self.policy.flat.shape[:-1], len(MEASURED)))
        table = torch.stack(measured).view(-1, len(MEASURED), *measured[0].shape)
        return np.moveaxis(table.mean(0, dtype=torch.float64).cpu().numpy(), 0, -1)

    def fit(
        self,
        rows: Sequence[Rows],
        units: Sequence[np.ndarray],
        rngs: Sequence[np.random.Generator],
        progress: float,
    ) -> Shared:
        """Fit the critic alone, ``--critic.passes`` times over all rows; returns the means of its loss and of its gradient's norm, [2] or
        [agents, 2]. rows: of each agent, with the targets in units of the return; units: each critic's (scale, shift). A generator like
        :meth:`run`."""
        settings = self.settings
        size = _epochs_and_size(settings)[1]
        number = len(rows[0]["target"])
        tables = [
            table | {"target": (table["target"] - float(shift)) / float(scale)}
            for table, (scale, shift) in zip(rows, units)
        ]
        measured = []
        rate = settings.optimiser.critic_learning_rate * self.rate(progress)
        size = max(1, min(size or number, number))
        passes = settings.critic.passes or max(PASSES, math.ceil(STEPS / math.ceil(max(number, 1) / size)))
        for part in self._shuffled(tables, rngs, passes, size):
            count = part["target"].shape[-1]
            loss = self._critic_gradients(self.passes(count)[1], part, _shares(part, "weight", count))
            yield from averaged([self.critic.gradient], self.group)
            measured += [loss, self.optimisers[1].step(rate)]
        if not measured:
            return np.zeros((*self.policy.flat.shape[:-1], 2))
        table = torch.stack(measured).view(-1, 2, *measured[0].shape)
        return np.moveaxis(table.mean(0, dtype=torch.float64).cpu().numpy(), 0, -1)

    def rate(self, progress: float) -> float:
        """What the schedule multiplies learning rates with."""
        return 1.0 - progress if self.settings.optimiser.schedule == "linear" else 1.0

    # Minibatches

    def _shuffled(
        self, tables: Sequence[Rows], rngs: Sequence[np.random.Generator], epochs: int, size: int
    ) -> Generator[dict[str, torch.Tensor], None, None]:
        """Minibatches of ``size`` steps in random order, views of arrays that are gathered once per epoch."""
        several = self.policy.flat.dim() > 1
        units = len(tables[0]["action"])
        if several:
            columns = {name: torch.stack([table[name] for table in tables]).flatten(0, 1) for name in tables[0]}
        else:
            columns = tables[0]
        for name, column in columns.items():
            if name not in self._gathered or self._gathered[name].shape != column.shape:
                self._gathered[name] = torch.empty_like(column)
        for _ in range(epochs):
            orders = [rng.permutation(units) + index * units for index, rng in enumerate(rngs)]
            order = torch.from_numpy(np.concatenate(orders)).to(self.policy.flat.device)
            gathered = {
                name: torch.index_select(column, 0, order, out=self._gathered[name]) for name, column in columns.items()
            }
            if several:
                gathered = {name: column.unflatten(0, (len(tables), units)) for name, column in gathered.items()}
            for start in range(0, units, size):
                rows = min(size, units - start)
                yield {name: column.narrow(int(several), start, rows) for name, column in gathered.items()}

    def _sequences(
        self, batch: Batch, rng: np.random.Generator, epochs: int, copies: int
    ) -> Generator[dict[str, torch.Tensor], None, None]:
        """Minibatches of whole copies for a policy with memory."""
        assert batch.begins is not None and batch.memory is not None
        steps, units = batch.begins.shape
        columns = {name: column.unflatten(0, (steps, units)) for name, column in batch.rows().items()}
        for _ in range(epochs):
            order = torch.from_numpy(rng.permutation(units)).to(self.policy.flat.device)
            for start in range(0, units, copies):
                chosen = order[start : start + copies]
                part = {name: column[:, chosen].flatten(0, 1) for name, column in columns.items()}
                yield part | {"memory": batch.memory[chosen], "begins": batch.begins[:, chosen]}

    # Gradients

    def _gradients(self, part: dict[str, torch.Tensor], with_critic: bool = True) -> list[torch.Tensor]:
        """Gradients of policy loss − entropy bonus + critic loss on one minibatch; what was measured on the way."""
        x, action = part["x"], part["action"]
        rows = x.shape[-2]
        policy, critic = self.passes(rows)
        weight = _shares(part, "weight", rows)
        observation = part["observation"] if "observation" in part else x[..., : self.policy.observation]
        remembers = "memory" in part
        outputs = self._remembering(observation, part) if remembers else policy.forward(observation)
        mask = part.get("mask")
        masked = self.distribution.masked(outputs.detach(), None if mask is None else mask.mT)
        score = self.distribution.score(masked, action)
        old, advantage, clip = part["old"], part["advantage"], self.settings.ppo.clip
        loss, slope, ratio = self.loss(score.log_probability, old, advantage, clip)
        gradient = score.gradient(slope * weight, weight * -self.settings.returns.entropy)
        if remembers:
            self.policy.gradient.zero_()
            outputs.backward(gradient)
        else:
            policy.backward(gradient)
        loss = (weight * loss).sum(-1)
        value_loss = torch.zeros_like(loss)
        if with_critic:
            of_critic = _shares(part, "value_weight", rows) if "value_weight" in part else weight
            value_loss = self._critic_gradients(critic, part, of_critic)
        # KL(old, new) ≈ mean of ρ − 1 − log ρ
        divergence = ratio - 1 - (score.log_probability - old)
        clipped = (ratio - 1).abs() > clip
        return [
            loss,
            value_loss,
            (weight * score.entropy).sum(-1),
            (weight * divergence).sum(-1),
            (weight * clipped).sum(-1),
        ]

    def _remembering(self, observation: torch.Tensor, part: dict[str, torch.Tensor]) -> torch.Tensor:
        """Outputs [outputs, M] of a policy with memory, inside autograd."""
        steps, copies = part["begins"].shape
        outputs, _ = self.policy.sequence(observation.unflatten(0, (steps, copies)), part["memory"], part["begins"])
        return outputs.flatten(0, 1).mT

    def _critic_gradients(self, critic: Pass, part: dict[str, torch.Tensor], weight: torch.Tensor) -> torch.Tensor:
        """Gradient of ½ Σ_M w (f(x, a_N) − target)², with the actions that were really taken; returns the loss."""
        predicted = critic.forward(part["x"])
        if self.own_heads:
            assert isinstance(self.distribution, Categorical)
            taken = self.distribution.joint_index(part["action"]).unsqueeze(-2)
            error = predicted.gather(-2, taken).squeeze(-2) - part["target"]
            gradient = torch.zeros_like(predicted).scatter_(-2, taken, (weight * error).unsqueeze(-2))
        else:
            error = predicted.squeeze(-2) - part["target"]
            gradient = (weight * error).unsqueeze(-2)
        critic.backward(gradient)
        return 0.5 * (weight * error.square()).sum(-1)


def _shares(part: dict[str, torch.Tensor], name: str, rows: int) -> torch.Tensor:
    """What every step of a minibatch counts, adding up to 1: alike, or by the weights of that name."""
    weight = part.get(name)
    if weight is None:
        return part["target"].new_full((), 1 / rows).expand(part["target"].shape)
    return weight / weight.sum(-1, keepdim=True).clamp(min=1)
