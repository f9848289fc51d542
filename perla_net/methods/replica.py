"""The team's value as every rank holds it: the same networks, the same memory of states, the same steps from the same start.

What the agents of a coalition tell reaches all of its agents in the same form, so that each could evaluate the team's value by itself and all
would get the same numbers. Agents that sit together share one replica: the first of them that has everybody's words computes, the others
read. That replicas are still equal is checked once a round, by a checksum that all tell.
"""

from __future__ import annotations

import zlib
from collections import Counter
from typing import Any, Mapping, NamedTuple, Sequence

import numpy as np
import torch

from ..learning.models import OPTIMISERS
from ..settings.config import Optimiser
from .keeping import Part, not_finite, restore_parts, state_of
from .memory import Replay, Rows
from .team_value import Batch, TeamValue


class Answer(NamedTuple):
    """What a gradient step found: ∂L/∂ of the told utilities, [P, N, M]; loss ½ (Q_tot − y)², Q_tot, norm of the gradient before clipping
    (of all networks together), then the figures of the team's value."""

    slope: torch.Tensor
    figures: tuple[float, ...]


class Replica:
    """Networks, optimisers, and the memory of what concerns all, kept in step with the agents' own memories."""

    def __init__(self, value: TeamValue, optimiser: Optimiser, memory: Replay) -> None:
        self.value, self.memory = value, memory
        kind, epsilon, most = OPTIMISERS[optimiser.method], optimiser.epsilon, optimiser.max_gradient_norm
        self.optimisers = {name: kind(network, epsilon, most) for name, network in value.networks.items()}
        self.round = self.steps = 0
        """Rounds that are remembered; gradient steps so far."""
        self.brought = False
        """Whether a checkpoint was restored."""
        self._answer: Answer | None = None

    # A round

    def remember(self, round_number: int, rows: Rows, begins: np.ndarray) -> None:
        """Keep the steps of a round; ``rows``: state, following [T, B, S]; action, life [T, B, N] (0: not there, 1: its life ends with the
        step, 2: it lives on); alive [T, B]: somebody acts."""
        assert round_number == self.round + 1, "a replica and its agents are in the same round"
        self.memory.add(rows, begins)
        self.round = round_number

    def learn(
        self,
        step: int,
        chosen: np.ndarray,
        told: Sequence[np.ndarray],
        variables: int,
        reward: torch.Tensor,
        rate: float,
    ) -> Answer:
        """Gradient step number ``step`` from here on: taken by the first who asks, read by the others.

        chosen: which steps or episodes of the memory; told [N] of [P + K, M]: each agent's words, of which the first P = ``variables`` rows are
        utilities that the loss goes back to; reward [M].
        """
        if step == self.steps:
            self._answer = self._step(chosen, told, variables, reward, rate)
            self.steps += 1
        assert step == self.steps - 1 and self._answer is not None, "agents with one replica take the same step"
        return self._answer

    def _step(
        self, chosen: np.ndarray, told: Sequence[np.ndarray], variables: int, reward: torch.Tensor, rate: float
    ) -> Answer:
        rows = {name: torch.from_numpy(array).to(reward.device) for name, array in self.memory.take(chosen).items()}
        lead = 2 if self.memory.episodes else 1
        flat = {name: rows[name].flatten(0, lead - 1) for name in rows}
        words = torch.from_numpy(np.stack(told, 1)).to(reward.device)
        counted = flat["alive"].to(torch.float32)  # steps behind the end of an episode have nobody alive
        present = words[:variables].requires_grad_()
        batch = Batch(
            flat["state"],
            flat["following"],
            flat["action"],
            (flat["life"] > 0).to(torch.float32),
            (flat["life"] > 1).to(torch.float32),
            reward,
            counted / counted.sum().clamp(min=1),
            present,
            words[variables:],
        )
        for network in self.value.networks.values():
            network.gradient.zero_()
        loss, error, total, figures = self.value.loss(batch)
        loss.backward()
        norms = [optimiser.step(rate) for optimiser in self.optimisers.values()]
        for target in self.value.targets.values():
            target.follow()
        measured = (
            0.5 * (batch.weight * error.detach().square()).sum(),
            (batch.weight * total.detach()).sum(),
            torch.linalg.vector_norm(torch.stack(norms)),
            *figures,
        )
        assert present.grad is not None
        return Answer(present.grad, tuple(float(one) for one in measured))

    # Whether replicas are equal

    def checksum(self) -> float:
        """Of all networks; the same where these are the same."""
        found = 0
        for network in self.value.networks.values():
            found = zlib.crc32(network.flat.detach().cpu().numpy(), found)
        return float(found)

    def not_finite(self) -> list[str]:
        """Names of the networks that hold anything but finite numbers."""
        return not_finite(self.value.networks)

    # State

    def _parts(self) -> dict[str, Part]:
        return {
            **self.value.networks,
            **{f"{name}.optimiser": optimiser for name, optimiser in self.optimisers.items()},
            **{f"{name}.target": target for name, target in self.value.targets.items()},
            "memory": self.memory,
        }

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """(arrays, numbers) that a resumed run needs."""
        arrays, numbers = state_of(self._parts())
        return arrays, numbers | {"round": self.round, "steps": self.steps}

    def restore(self, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> None:
        """Continue from :meth:`state`."""
        restore_parts(self._parts(), arrays, numbers)
        self.round, self.steps, self.brought = numbers["round"], numbers["steps"], True


def strangers(sums: Mapping[int, float]) -> list[int]:
    """Agents whose replica is not the one that most have (of as many, the first agent's). sums: agent → checksum."""
    counts = Counter(sums.values())
    usual = max(sums.values(), key=lambda one: counts[one])  # the first of the greatest
    return [agent for agent, one in sums.items() if one != usual]
