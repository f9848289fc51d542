"""Who acts in states that are looked at: a run's policies, or uniform chance; with noise that is handed in, so that two futures
can have the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Sequence

import numpy as np
import torch

from ..ground.errors import InputError
from ..methods.player import Follower, Player
from ..simulation.loading import load_player
from ..world.spec import ActionSpec, AgentSpec


class Chance:
    """Uniformly random actions among those allowed: an :class:`~perla_net.world.world.Actor` without a policy. Continuous components are
    uniform in what a policy's numbers are clipped to, [−1, 1]."""

    remembers, follows = False, False
    memory = torch.zeros(0)

    def __init__(self, action: ActionSpec) -> None:
        self.action = action
        self.noise: Any = None

    def draw(self, rng: np.random.Generator, steps: int, number: int) -> np.ndarray:
        """Noise [steps, words, number], uniform in [0, 1)."""
        return rng.random((steps, self.action.words, number))

    def take(self, noise: np.ndarray) -> None:
        """The noise of the next steps, [steps, words, copies]."""
        self.noise = noise

    def act(
        self,
        t: int,
        observations: list[np.ndarray],
        masks: list[np.ndarray | None],
        begins: list[np.ndarray],
        actions: list[np.ndarray],
    ) -> None:
        """See :class:`~perla_net.world.world.Actor`."""
        words, mask, start = actions[0], masks[0], 0
        whole = words[:, : len(self.action.sizes)].view(np.int32)
        for component, size in enumerate(self.action.sizes):
            share = self.noise[t, component]
            if mask is None:
                whole[:, component] = np.minimum(share * size, size - 1)
            else:
                allowed = np.cumsum(mask[:, start : start + size] > 0, axis=1)
                wanted = np.floor(share * allowed[:, -1]) + 1
                whole[:, component] = (allowed < wanted[:, None]).sum(1) % size
            start += size
        words[:, len(self.action.sizes) :] = 2 * self.noise[t, len(self.action.sizes) :].T - 1


class Trained:
    """A run's policy, sampled as in training."""

    follows = False

    def __init__(self, player: Player) -> None:
        self.player, self.remembers = player, player.remembers

    @property
    def memory(self) -> torch.Tensor:
        """What it remembers, [copies, width]."""
        return self.player.memory

    @memory.setter
    def memory(self, memory: torch.Tensor) -> None:
        self.player.memory = memory

    def draw(self, rng: np.random.Generator, steps: int, number: int) -> np.ndarray:
        """Noise [steps, numbers, number] as the policy's distribution takes it."""
        return self.player.distribution.noise(rng, steps, number).numpy()

    def take(self, noise: np.ndarray) -> None:
        """The noise of the next steps, [steps, numbers, copies]."""
        self.player.noise = torch.from_numpy(np.ascontiguousarray(noise))

    def act(self, *arguments: Any) -> None:
        """See :class:`~perla_net.world.world.Actor`."""
        self.player.act(*arguments)


Acting = Chance | Trained


def team_of(agents: Sequence[AgentSpec], players: Sequence[Path], copies: int) -> list[Acting]:
    """Everybody, in ``copies`` copies: by chance where ``players`` is empty, else the policies of these checkpoints. Raises InputError for
    who follows a controller: it acts on the simulator's state and has no probabilities that could be drawn from."""
    if not players:
        return [Chance(agent.action) for agent in agents]
    found: list[Acting] = []
    for agent, path in zip(agents, players, strict=True):
        _, player, data = load_player(path, copies, 1, "--run")
        if isinstance(player, Follower):
            raise InputError(
                f"--run {path}: {agent.name} follows the controller {data['controller']}, which acts without chance; gain needs policies"
            )
        found.append(Trained(player))
    return found
