"""How much a TD target varies with the neighbours' actions that the embedding draws, inside a real run (``--measure-variance``).

The one-step target of a transition (o, r, o') is y = r + γ V̂(o'), with V̂ the embedded value of :meth:`Learner.values`. Two
independent draws y, y' of it differ only by the joint actions that were drawn, so that E[(y − y')²]/2 is the variance of the
target given the transition: for independent samples it falls as 1/K (PERLA, arXiv 2209.01054, theorem 1). ``exact`` draws nothing,
so that it is 0 wherever the joint actions can be enumerated: it stands there to be compared with, not as a measurement.
What is left of the TD errors' variance, Var(r + γ V̂(o') − V̂(o)) over the steps with V̂ exact, no K takes away.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch

from ..learning.embedding import Peer, joint_actions
from ..settings.config import AgentSettings

SAMPLES = (1, 4, 16, 64)
ESTIMATORS = ("monte_carlo", "stratified")
COLUMNS = (*(f"{estimator}_{samples}" for estimator in ESTIMATORS for samples in SAMPLES), "exact", "left")
"""What is measured: variance of the target by estimator and K, in units of the return squared; exact: 0 where the joint actions can be
enumerated; left: variance of the TD errors with exact values."""
STATES = 1024
"""States of an agent and round that are looked at."""
ENUMERATED = 4096
"""Joint actions up to which ``exact`` is taken."""


class Valuing(Protocol):
    """What has embedded values: a :class:`~.learner.Learner`."""

    settings: AgentSettings

    def own_noise(self, outputs: torch.Tensor, rng: np.random.Generator) -> torch.Tensor | None:
        """See there."""

    def expected(
        self, critic_input: torch.Tensor, outputs: torch.Tensor, peers: list[Peer], how: Any, noise: torch.Tensor | None
    ) -> torch.Tensor:
        """See there."""


def target_variances(
    learner: Valuing,
    critic_input: torch.Tensor,
    outputs: torch.Tensor,
    peers: list[Peer],
    reward: torch.Tensor,
    whole: torch.Tensor,
    rng: np.random.Generator,
) -> np.ndarray:
    """The :data:`COLUMNS`; NaN where they do not apply (no neighbours, or too many joint actions).

    critic_input, outputs, peers: of the first (T+1)·B states, as in :meth:`Learner.values`; reward [T, B]; whole [T, B] bool: the
    agent was there before and after the step; others do not count.
    """
    found = np.full(len(COLUMNS), np.nan)
    steps, copies = reward.shape
    kept = min(copies, max(1, STATES // (steps + 1)))
    counted = whole[:, :kept]
    there = [peer for peer in peers if peer.outputs is not None]
    if not there or not bool(counted.any()):
        return found

    def part(whole: torch.Tensor) -> torch.Tensor:
        return whole[: (steps + 1) * copies].unflatten(0, (steps + 1, copies))[:, :kept].flatten(0, 1)

    x, outputs = part(critic_input), part(outputs)
    peers = [
        Peer(peer.distribution, None, None)
        if peer.outputs is None or peer.present is None
        else Peer(peer.distribution, part(peer.outputs), part(peer.present))
        for peer in peers
    ]
    gamma = learner.settings.returns.gamma
    noise = learner.own_noise(outputs, rng)  # the same in all draws: only the neighbours' actions are to vary

    def values(samples: int, estimator: str) -> torch.Tensor:
        return learner.expected(x, outputs, peers, (samples, estimator, rng), noise).view(steps + 1, kept)

    for column, name in enumerate(COLUMNS[:-2]):
        estimator, _, samples = name.rpartition("_")
        first, second = (values(int(samples), estimator)[1:] for _ in range(2))
        found[column] = float((gamma * (first - second))[counted].double().square().mean()) / 2
    joint = joint_actions([peer.distribution for peer in there])
    if joint is not None and joint <= ENUMERATED:
        value = values(1, "exact")
        delta = reward[:, :kept] + gamma * value[1:] - value[:-1]
        found[-2:] = 0.0, float(delta[counted].double().var(correction=0))
    return found
