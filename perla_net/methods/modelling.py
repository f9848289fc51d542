"""Models of neighbours' policies under ``--share modelled``: behavioural cloning, the control for policies that travel.

π̂_j(a_j | o_i): from the agent's own observation to the neighbour's action, fitted to the actions that the neighbour took by
maximum likelihood. What a round's rollout is embedded with is the model as it was before that rollout, so that it is as
independent of the actions taken there as a communicated policy is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..learning.build import generator_of, image_in
from ..learning.distributions import Distribution
from ..learning.models import Adam, Pass, Policy
from ..settings.config import Model as Networks
from ..settings.config import Modelling
from ..world.spec import AgentSpec


class Model:
    """One agent's model of one neighbour."""

    def __init__(
        self,
        own: AgentSpec,
        distribution: Distribution,
        networks: Networks,
        options: Modelling,
        stream: np.random.SeedSequence,
        device: torch.device,
    ) -> None:
        """``own``: the agent's spaces, whose observations it reads; ``distribution``: of the neighbour's actions."""
        self.distribution, self.options = distribution, options
        hidden, activation = networks.policy_hidden, networks.policy_activation
        outputs = distribution.outputs, distribution.free
        image = image_in(own, networks)
        self.policy = Policy(own.observation_size, hidden, *outputs, activation, "none", image, networks.channels)
        start, order = stream.spawn(2)
        generator = generator_of(start)
        self.policy.start(generator, networks.orthogonal, networks.policy_gain)
        self.policy.to(device)
        self.optimiser = Adam(self.policy, 1e-5, 0.5)
        self.rng = np.random.default_rng(order)
        self.cross_entropy: float | None = None
        """Nats: −mean log π̂_j(a_j | o_i) on the last actions, before the model was fitted to them; None without any."""

    @torch.no_grad()
    def outputs(self, observation: torch.Tensor) -> torch.Tensor:
        """The neighbour's distribution as the model sees it at own observations [M, …]: [M, outputs + free]."""
        return self.policy(observation)

    @torch.no_grad()
    def fit(self, observation: torch.Tensor, action: torch.Tensor) -> None:
        """Some epochs of minibatches of max Σ log π̂_j(a_j | o_i); observation [M, …], action [M, words]."""
        number = len(action)
        self.cross_entropy = None
        if not number:
            return
        before = self.policy(observation).mT.contiguous()
        self.cross_entropy = -float(self.distribution.score(before, action).log_probability.mean())
        size = min(self.options.minibatch, number)
        walk = Pass(self.policy, size)
        for _ in range(self.options.epochs):
            order = torch.from_numpy(self.rng.permutation(number)).to(observation.device)
            for start in range(0, number - size + 1, size):
                rows = order[start : start + size]
                score = self.distribution.score(walk.forward(observation[rows]), action[rows])
                weight = score.log_probability.new_full((size,), -1 / size)
                walk.backward(score.gradient(weight, torch.zeros_like(weight)))
                self.optimiser.step(self.options.learning_rate)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """(arrays, numbers) that a resumed run needs."""
        arrays = {"policy": self.policy.flat, "first": self.optimiser.first, "second": self.optimiser.second}
        numbers = {"steps": self.optimiser.steps, "rng": self.rng.bit_generator.state}
        return {name: tensor.cpu().numpy() for name, tensor in arrays.items()}, numbers

    def restore(self, arrays: dict[str, np.ndarray], numbers: dict[str, Any]) -> None:
        """Continue from :meth:`state`."""
        self.policy.fill(torch.from_numpy(arrays["policy"].copy()))
        self.optimiser.first.copy_(torch.from_numpy(arrays["first"].copy()))
        self.optimiser.second.copy_(torch.from_numpy(arrays["second"].copy()))
        self.optimiser.steps = numbers["steps"]
        self.rng.bit_generator.state = numbers["rng"]
