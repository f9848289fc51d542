"""Action distributions as functions of a policy's outputs, and how a critic reads actions of others.

One object per action space, no state. M is any number of rows. Actions are tensors [M, words]: int64 for discrete
components, float32 for continuous ones.
"""

from __future__ import annotations

import math
from functools import reduce

import numpy as np
import torch
import torch.nn.functional as F

from .world.spec import ActionSpec

BLOCKED = -1e9
"""Logit of an action that the mask forbids: probability zero, and a finite gradient."""


class Categorical:
    """Independent categorical components: Discrete (one) and MultiDiscrete."""

    def __init__(self, action: ActionSpec) -> None:
        self.sizes = action.sizes
        self.outputs, self.free = sum(action.sizes), 0
        self.joint = math.prod(action.sizes)
        # An absent agent is a value of its own of each component, so that a critic can tell it from every action.
        self.width = sum(action.sizes) + len(action.sizes)

    def split(self, outputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Logits [M, outputs] by component."""
        return outputs.split(self.sizes, dim=-1) if len(self.sizes) > 1 else (outputs,)

    def masked(self, outputs: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Logits with forbidden actions (mask 0) at probability zero."""
        return outputs if mask is None else torch.where(mask > 0, outputs, BLOCKED)

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> torch.Tensor:
        """Gumbel noise [*shape, outputs]; argmax(logits + noise) is a sample (Gumbel 1954)."""
        # numpy's float32 exponential is exactly 0 once in 2^23 draws; its Gumbel number would be infinite and beat a mask.
        exponential = torch.from_numpy(rng.standard_exponential((*shape, self.outputs), dtype=np.float32))
        return exponential.clamp_min_(1e-30).log_().neg_()

    def sample(self, outputs: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Actions [M, words] from noise [M, outputs]."""
        return self.greedy(outputs + noise)

    def greedy(self, outputs: torch.Tensor) -> torch.Tensor:
        """The most probable actions [M, words]."""
        return torch.stack([part.argmax(-1) for part in self.split(outputs)], dim=-1)

    def log_probability(self, outputs: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """log π(a|o) [M]."""
        parts = [
            F.log_softmax(part, dim=-1).gather(-1, action[..., index : index + 1])
            for index, part in enumerate(self.split(outputs))
        ]
        return reduce(torch.add, parts).squeeze(-1)

    def entropy(self, outputs: torch.Tensor) -> torch.Tensor:
        """−Σ π log π [M], in nats."""
        logs = [F.log_softmax(part, dim=-1) for part in self.split(outputs)]
        return reduce(torch.add, [-(log.exp() * log).sum(-1) for log in logs])

    def log_probability_and_entropy(
        self, outputs: torch.Tensor, action: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Both of the above, from one log-softmax."""
        logs = [F.log_softmax(part, dim=-1) for part in self.split(outputs)]
        taken = [log.gather(-1, action[..., index : index + 1]) for index, log in enumerate(logs)]
        entropy = reduce(torch.add, [-(log.exp() * log).sum(-1) for log in logs])
        return reduce(torch.add, taken).squeeze(-1), entropy

    def probabilities(self, outputs: torch.Tensor) -> list[torch.Tensor]:
        """π of each component, [M, size]."""
        return [F.softmax(part, dim=-1) for part in self.split(outputs)]

    def joint_probabilities(self, outputs: torch.Tensor) -> torch.Tensor:
        """π of every joint action, [M, joint], the last component running fastest."""
        return reduce(
            lambda left, right: (left.unsqueeze(-1) * right.unsqueeze(-2)).flatten(-2), self.probabilities(outputs)
        )

    def joint_index(self, action: torch.Tensor) -> torch.Tensor:
        """Number of the joint action [M], matching :meth:`joint_probabilities`."""
        index = action[..., 0]
        for component, size in enumerate(self.sizes[1:], start=1):
            index = index * size + action[..., component]
        return index

    def encode(self, action: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """What a critic reads of another agent's action: one-hot per component with a last place for 'absent', [M, width]."""
        parts = [
            F.one_hot(torch.where(present, action[..., index], size), size + 1) for index, size in enumerate(self.sizes)
        ]
        return torch.cat(parts, dim=-1).to(torch.float32)


class Gaussian:
    """Independent normal components: means from the network, log standard deviations free."""

    def __init__(self, action: ActionSpec) -> None:
        self.size = len(action.low)
        self.outputs = self.free = self.size
        self.joint = None
        self.width = self.size + 1

    def masked(self, outputs: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Unchanged: continuous actions have no masks."""
        return outputs

    def split(self, outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log standard deviation, each [M, size]."""
        mean, log_deviation = outputs.chunk(2, dim=-1)
        return mean, log_deviation

    def noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> torch.Tensor:
        """Standard normal noise [*shape, size]."""
        return torch.from_numpy(rng.standard_normal((*shape, self.size), dtype=np.float32))

    def sample(self, outputs: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Actions [M, size]; the environment's adapter scales and clips them, the density is that of the unclipped."""
        mean, log_deviation = self.split(outputs)
        return mean + log_deviation.exp() * noise

    def greedy(self, outputs: torch.Tensor) -> torch.Tensor:
        """The mean [M, size]."""
        return self.split(outputs)[0]

    def log_probability(self, outputs: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """log density [M]."""
        mean, log_deviation = self.split(outputs)
        scaled = (action - mean) * torch.exp(-log_deviation)
        return (-0.5 * scaled.square() - log_deviation - 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self, outputs: torch.Tensor) -> torch.Tensor:
        """Differential entropy [M], in nats."""
        return (self.split(outputs)[1] + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)

    def log_probability_and_entropy(
        self, outputs: torch.Tensor, action: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Both of the above."""
        return self.log_probability(outputs, action), self.entropy(outputs)

    def encode(self, action: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """What a critic reads of another agent's action: its values, zero when absent, and a flag 'absent', [M, size + 1]."""
        here = present.unsqueeze(-1).to(torch.float32)
        return torch.cat([action * here, 1 - here], dim=-1)


Distribution = Categorical | Gaussian


def distribution_of(action: ActionSpec) -> Distribution:
    """The distribution over an action space."""
    return Gaussian(action) if action.kind == "continuous" else Categorical(action)
