"""Action distributions as functions of a policy's outputs, and how a critic reads actions of others.

One object per action space, no state. M is any number of rows. Actions are tensors [M, words]: int64 for discrete
components, float32 for continuous ones and where both occur (whole numbers are exact there). What acts and learns has the policy's outputs as [outputs, M], as
:class:`~.models.Pass` gives them; what embeds has them as [M, outputs], as messages carry them. Acting and
learning also take tensors with an axis of agents in front.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Callable

import numpy as np
import torch
import torch.nn.functional as F

from ..world.spec import ActionSpec
from .models import BLOCKED


@dataclass
class Score:
    """log π(a|o) and the entropy (nats) of M decisions, both [M], and their gradient with respect to the outputs."""

    log_probability: torch.Tensor
    entropy: torch.Tensor
    gradient: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    """(weights of ∂ log π [M], weights of ∂ entropy [M]) → gradient of their weighted sum [outputs + free, M]."""


class Categorical:
    """Independent categorical components: Discrete (one) and MultiDiscrete."""

    def __init__(self, action: ActionSpec) -> None:
        self.sizes = action.sizes
        self.outputs, self.free = sum(action.sizes), 0
        self.joint = math.prod(action.sizes)
        self.own_width = self.outputs
        # An absent agent is a value of its own of each component, so that a critic can tell it from every action.
        self.width = sum(action.sizes) + len(action.sizes)
        last = list(np.cumsum(np.array(action.sizes) + 1) - 1)
        self.absent = torch.zeros(self.width).index_fill_(0, torch.tensor(last), 1.0)
        """What a critic reads of an agent that is not there, [width]."""

    def write(self, actions: np.ndarray, words: np.ndarray) -> None:
        """Actions [M, words] into the world's float32 words, as the bits of int32."""
        words.view(np.int32)[:] = actions

    def read(self, words: np.ndarray) -> torch.Tensor:
        """The inverse of :meth:`write`: actions [rows, words] from words [..., words]."""
        return torch.from_numpy(_rows(words).view(np.int32).astype(np.int64))

    def own(self, action: torch.Tensor) -> torch.Tensor:
        """What a critic without heads reads of the agent's own action, [M, own_width]: one-hot per component."""
        parts = [F.one_hot(action[..., index].long(), size) for index, size in enumerate(self.sizes)]
        return torch.cat(parts, dim=-1).to(torch.float32)

    # Acting and learning: outputs are [outputs, M]

    def masked(self, outputs: torch.Tensor, mask: torch.Tensor | None, axis: int = -2) -> torch.Tensor:
        """Logits with forbidden actions (mask 0) at probability zero; ``axis``: along which they lie (any will do here)."""
        return outputs if mask is None else torch.where(mask > 0, outputs, BLOCKED)

    def noise(self, rng: np.random.Generator, steps: int, number: int) -> torch.Tensor:
        """Gumbel noise [steps, outputs, number]; argmax(logits + noise) is a sample (Gumbel 1954)."""
        # numpy's float32 exponential is exactly 0 once in 2^23 draws; its Gumbel number would be infinite and beat a mask.
        exponential = torch.from_numpy(rng.standard_exponential((steps, self.outputs, number), dtype=np.float32))
        return exponential.clamp_min_(1e-30).log_().neg_()

    def sample(self, outputs: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Actions [M, words] from noise [outputs, M]."""
        return self.greedy(outputs + noise)

    def greedy(self, outputs: torch.Tensor) -> torch.Tensor:
        """The most probable actions [M, words]."""
        if len(self.sizes) == 1:
            return outputs.max(-2).indices.unsqueeze(-1)  # over few actions a tenth of argmax's time
        return torch.stack([part.max(-2).indices for part in outputs.split(self.sizes, -2)], dim=-1)

    def score(self, outputs: torch.Tensor, action: torch.Tensor) -> Score:
        """Of the actions [M, words] under logits [outputs, M]."""
        parts = outputs.split(self.sizes, -2) if len(self.sizes) > 1 else (outputs,)
        logs = [F.log_softmax(part, -2) for part in parts]
        shares = [log.exp() for log in logs]
        chosen = [action[..., index].unsqueeze(-2) for index in range(len(logs))]
        entropies = [-(share * log).sum(-2, keepdim=True) for share, log in zip(shares, logs)]

        def gradient(d_log: torch.Tensor, d_entropy: torch.Tensor) -> torch.Tensor:
            # ∂ log π(a) / ∂ logit_b = 1[a = b] − π_b;  ∂ H / ∂ logit_b = −π_b (log π_b + H)
            d_log, d_entropy = d_log.unsqueeze(-2), d_entropy.unsqueeze(-2)
            found = []
            for log, share, index, entropy in zip(logs, shares, chosen, entropies):
                part = (log + entropy).mul_(d_entropy).add_(d_log).mul_(share).neg_()
                found.append(part.scatter_add_(-2, index, d_log))
            return torch.cat(found, -2) if len(found) > 1 else found[0]

        log_probability = reduce(torch.add, [log.gather(-2, index) for log, index in zip(logs, chosen)])
        return Score(log_probability.squeeze(-2), reduce(torch.add, entropies).squeeze(-2), gradient)

    # Embedding: outputs are [M, outputs]

    def split(self, outputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Logits [M, outputs] by component."""
        return outputs.split(self.sizes, dim=-1) if len(self.sizes) > 1 else (outputs,)

    def probabilities(self, outputs: torch.Tensor) -> list[torch.Tensor]:
        """π of each component, [M, size]; in memory as [size, M], along which the softmax is fast."""
        return [F.softmax(part.mT.contiguous(), dim=-2).mT for part in self.split(outputs)]

    def divergence(self, outputs: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """KL(π, π') in nats of two sets of logits, [M]."""
        total = outputs.new_zeros(len(outputs), dtype=torch.float64)
        for one, other in zip(self.split(outputs.double()), self.split(others.double())):
            logs = F.log_softmax(one, -1)
            total += (logs.exp() * (logs - F.log_softmax(other, -1))).sum(-1)
        return total

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

    def every_action(self) -> torch.Tensor:
        """All joint actions [joint, words], in the order of :meth:`joint_probabilities`."""
        return torch.cartesian_prod(*(torch.arange(size) for size in self.sizes)).reshape(self.joint, -1)

    def mean_own(self, outputs: torch.Tensor) -> torch.Tensor:
        """Expectation of :meth:`own`, [M, own_width]."""
        return torch.cat(self.probabilities(outputs), -1)

    def mean_encoding(self, outputs: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Expectation of :meth:`encode`, [M, width]: a critic that is linear in it is embedded without samples."""
        here = present.unsqueeze(-1).to(outputs.dtype)
        return torch.cat([part for share in self.probabilities(outputs) for part in (share * here, 1 - here)], -1)

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
        self.absent = torch.cat([torch.zeros(self.size), torch.ones(1)])
        self.own_width = self.size

    def write(self, actions: np.ndarray, words: np.ndarray) -> None:
        """Actions [M, size] into the world's words."""
        words[:] = actions

    def read(self, words: np.ndarray) -> torch.Tensor:
        """Actions [rows, size] from words [..., size]."""
        return torch.from_numpy(_rows(words).copy())

    def own(self, action: torch.Tensor) -> torch.Tensor:
        """What a critic reads of the agent's own action, [M, own_width]: its values."""
        return action

    # Acting and learning: outputs are [2 size, M]

    def masked(self, outputs: torch.Tensor, mask: torch.Tensor | None, axis: int = -2) -> torch.Tensor:
        """Unchanged: continuous actions have no masks."""
        return outputs

    def noise(self, rng: np.random.Generator, steps: int, number: int) -> torch.Tensor:
        """Standard normal noise [steps, size, number]."""
        return torch.from_numpy(rng.standard_normal((steps, self.size, number), dtype=np.float32))

    def sample(self, outputs: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Actions [M, size]; the environment's adapter scales and clips them, the density is that of the unclipped."""
        mean, log_deviation = outputs.chunk(2, dim=-2)
        return (mean + log_deviation.exp() * noise).mT

    def greedy(self, outputs: torch.Tensor) -> torch.Tensor:
        """The mean [M, size]."""
        return outputs[..., : self.size, :].mT

    def score(self, outputs: torch.Tensor, action: torch.Tensor) -> Score:
        """Of the actions [M, size]; log density and differential entropy."""
        mean, log_deviation = outputs.chunk(2, dim=-2)
        precision = torch.exp(-log_deviation)
        scaled = (action.mT - mean) * precision
        log_probability = (-0.5 * scaled.square() - log_deviation - 0.5 * math.log(2 * math.pi)).sum(-2)
        entropy = (log_deviation + 0.5 * math.log(2 * math.pi * math.e)).sum(-2)

        def gradient(d_log: torch.Tensor, d_entropy: torch.Tensor) -> torch.Tensor:
            # z = (a − μ)/σ:  ∂ log π / ∂ μ = z/σ;  ∂ log π / ∂ log σ = z² − 1;  ∂ H / ∂ log σ = 1
            d_log, d_entropy = d_log.unsqueeze(-2), d_entropy.unsqueeze(-2)
            return torch.cat([d_log * scaled * precision, d_log * (scaled.square() - 1) + d_entropy], -2)

        return Score(log_probability, entropy, gradient)

    # Embedding: outputs are [M, 2 size]

    def split(self, outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log standard deviation, each [M, size]."""
        mean, log_deviation = outputs.chunk(2, dim=-1)
        return mean, log_deviation

    def divergence(self, outputs: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """KL(π, π') in nats, [M]: Σ log σ'/σ + (σ² + (μ − μ')²) / 2σ'² − ½."""
        (mean, log), (mean2, log2) = self.split(outputs.double()), self.split(others.double())
        spread = (2 * log).exp() + (mean - mean2).square()
        return (log2 - log + spread / (2 * (2 * log2).exp()) - 0.5).sum(-1)

    def mean_own(self, outputs: torch.Tensor) -> torch.Tensor:
        """Expectation of :meth:`own`, [M, own_width]."""
        return self.split(outputs)[0]

    def mean_encoding(self, outputs: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Expectation of :meth:`encode`, [M, width]."""
        return self.encode(self.split(outputs)[0], present)

    def encode(self, action: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """What a critic reads of another agent's action: its values, zero when absent, and a flag 'absent', [M, size + 1]."""
        here = present.unsqueeze(-1).to(torch.float32)
        return torch.cat([action * here, 1 - here], dim=-1)


class Curved(Gaussian):
    """As :class:`Gaussian`, for a reader that is linear: it reads of each component what the environment gets, c = clip(a, l, h), and c²,
    so that it knows payoffs with a curvature, and both have exact means."""

    FAR = 1e6
    """An infinite bound, for arithmetic."""

    def __init__(self, action: ActionSpec) -> None:
        super().__init__(action)
        self.width = 2 * self.size + 1
        self.absent = torch.cat([torch.zeros(2 * self.size), torch.ones(1)])
        self.own_width = 2 * self.size
        low, high = torch.tensor(action.low), torch.tensor(action.high)
        bounded = low.isfinite() & high.isfinite()  # there the policy's actions run from −1 to 1 (ActionSpec.to_space)
        self.low = torch.where(bounded, -1.0, low.clamp(min=-self.FAR))
        self.high = torch.where(bounded, 1.0, high.clamp(max=self.FAR))

    def own(self, action: torch.Tensor) -> torch.Tensor:
        """What a critic reads of the agent's own action, [M, own_width]: values within the bounds, and their squares."""
        inside = action.clamp(self.low.to(action.device), self.high.to(action.device))
        return torch.cat([inside, inside.square()], -1)

    def encode(self, action: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """What a critic reads of another agent's action: the same, zero when absent, and a flag 'absent', [M, 2 size + 1]."""
        return self._flagged(self.own(action), present)

    def mean_own(self, outputs: torch.Tensor) -> torch.Tensor:
        """Expectation of :meth:`own`, [M, own_width]. With α = (l − μ)/σ, β = (h − μ)/σ, Φ and φ of the standard normal and I = Φ(β) − Φ(α):

        E c = μ I + σ (φ(α) − φ(β)) + l Φ(α) + h (1 − Φ(β))
        E c² = (μ² + σ²) I + σ ((μ + l) φ(α) − (μ + h) φ(β)) + l² Φ(α) + h² (1 − Φ(β))
        """
        mean, log_deviation = self.split(outputs.double())
        deviation = log_deviation.exp()
        low, high = self.low.to(mean), self.high.to(mean)
        alpha, beta = (low - mean) / deviation, (high - mean) / deviation
        below, above = torch.special.ndtr(alpha), torch.special.ndtr(-beta)
        at_low, at_high = (torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi) for z in (alpha, beta))
        inside = 1 - below - above
        first = mean * inside + deviation * (at_low - at_high) + low * below + high * above
        second = (mean.square() + deviation.square()) * inside + low.square() * below + high.square() * above
        second += deviation * ((mean + low) * at_low - (mean + high) * at_high)
        return torch.cat([first, second], -1).to(outputs.dtype)

    def mean_encoding(self, outputs: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Expectation of :meth:`encode`, [M, width]."""
        return self._flagged(self.mean_own(outputs), present)

    def _flagged(self, values: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        here = present.unsqueeze(-1).to(torch.float32)
        return torch.cat([values * here, 1 - here], dim=-1)


class Mixed:
    """Discrete and continuous components, all independent: logits, then means; the log standard deviations are free."""

    def __init__(self, action: ActionSpec, curved: bool = False) -> None:
        self.counted, self.continuous = Categorical(action), (Curved if curved else Gaussian)(action)
        self.outputs, self.free = self.counted.outputs + self.continuous.outputs, self.continuous.free
        self.joint = None
        self.width = self.counted.width + self.continuous.width
        self.own_width = self.width
        self.absent = torch.cat([self.counted.absent, self.continuous.absent])

    def write(self, actions: np.ndarray, words: np.ndarray) -> None:
        """Actions [M, words] float32 into the world's words: the bits of int32 first, then values."""
        number = len(self.counted.sizes)
        words.view(np.int32)[..., :number] = actions[..., :number]
        words[..., number:] = actions[..., number:]

    def read(self, words: np.ndarray) -> torch.Tensor:
        """Actions [rows, words] float32 from words [..., words]."""
        number, rows = len(self.counted.sizes), _rows(words)
        return torch.from_numpy(
            np.concatenate([rows.view(np.int32)[:, :number], rows[:, number:]], 1, dtype=np.float32)
        )

    def _parts(self, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        number = len(self.counted.sizes)
        return action[..., :number].long(), action[..., number:]

    # Acting and learning: outputs are [outputs + free, M]

    def masked(self, outputs: torch.Tensor, mask: torch.Tensor | None, axis: int = -2) -> torch.Tensor:
        """Logits with forbidden actions at probability zero; ``axis``: along which logits and flags lie."""
        if mask is None:
            return outputs
        logits, rest = outputs.split([self.counted.outputs, outputs.shape[axis] - self.counted.outputs], axis)
        return torch.cat([self.counted.masked(logits, mask), rest], axis)

    def noise(self, rng: np.random.Generator, steps: int, number: int) -> torch.Tensor:
        """Gumbel noise for the logits, standard normal noise for the means: [steps, outputs, number]."""
        return torch.cat([part.noise(rng, steps, number) for part in (self.counted, self.continuous)], 1)

    def sample(self, outputs: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Actions [M, words] from noise [outputs, M]."""
        cut = self.counted.outputs
        whole = self.counted.sample(outputs[..., :cut, :], noise[..., :cut, :])
        values = self.continuous.sample(outputs[..., cut:, :], noise[..., cut:, :])
        return torch.cat([whole.to(values.dtype), values], -1)

    def greedy(self, outputs: torch.Tensor) -> torch.Tensor:
        """The most probable discrete components and the means [M, words]."""
        cut = self.counted.outputs
        values = self.continuous.greedy(outputs[..., cut:, :])
        return torch.cat([self.counted.greedy(outputs[..., :cut, :]).to(values.dtype), values], -1)

    def score(self, outputs: torch.Tensor, action: torch.Tensor) -> Score:
        """Sums over both parts, which are independent."""
        cut = self.counted.outputs
        whole, values = self._parts(action)
        first = self.counted.score(outputs[..., :cut, :], whole)
        second = self.continuous.score(outputs[..., cut:, :], values)

        def gradient(d_log: torch.Tensor, d_entropy: torch.Tensor) -> torch.Tensor:
            return torch.cat([first.gradient(d_log, d_entropy), second.gradient(d_log, d_entropy)], -2)

        return Score(first.log_probability + second.log_probability, first.entropy + second.entropy, gradient)

    # Embedding: outputs are [M, outputs + free]

    def divergence(self, outputs: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """KL(π, π') in nats, [M]."""
        cut = self.counted.outputs
        return self.counted.divergence(outputs[:, :cut], others[:, :cut]) + self.continuous.divergence(
            outputs[:, cut:], others[:, cut:]
        )

    def mean_own(self, outputs: torch.Tensor) -> torch.Tensor:
        """Expectation of :meth:`own`, [M, own_width]."""
        return self.mean_encoding(outputs, torch.ones(len(outputs), dtype=torch.bool, device=outputs.device))

    def mean_encoding(self, outputs: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Expectation of :meth:`encode`, [M, width]."""
        cut = self.counted.outputs
        first = self.counted.mean_encoding(outputs[:, :cut], present)
        return torch.cat([first, self.continuous.mean_encoding(outputs[:, cut:], present)], -1)

    def encode(self, action: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """What a critic reads of another agent's action: one part after the other, [M, width]."""
        whole, values = self._parts(action)
        return torch.cat([self.counted.encode(whole, present), self.continuous.encode(values, present)], -1)

    def own(self, action: torch.Tensor) -> torch.Tensor:
        """What a critic reads of the agent's own action, [M, own_width]: as of another agent that is there."""
        return self.encode(action, torch.ones(action.shape[:-1], dtype=torch.bool, device=action.device))


Distribution = Categorical | Gaussian | Mixed


def _rows(words: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(words).reshape(-1, words.shape[-1])


@lru_cache(maxsize=1024)
def distribution_of(action: ActionSpec, curved: bool = False) -> Distribution:
    """The distribution over an action space; it has no state, so that equal spaces share one. curved: its continuous components are read as
    by :class:`Curved`."""
    if not action.low:
        return Categorical(action)
    if action.sizes:
        return Mixed(action, curved)
    return Curved(action) if curved else Gaussian(action)
