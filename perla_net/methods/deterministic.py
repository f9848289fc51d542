"""Gradients of critics by the actions that they read: what deterministic policies climb."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from ..learning.distributions import Categorical
from ..learning.models import MLP


def straight_through(
    distribution: Categorical, logits: torch.Tensor, temperature: float, rng: np.random.Generator
) -> torch.Tensor:
    """One-hot samples of each component, [M, outputs], with the gradient of softmax((logits + g) / τ), g of Gumbel's distribution."""
    noise = distribution.noise(rng, 1, len(logits))[0].mT.to(logits)
    parts = []
    for part in distribution.split(logits + noise):
        soft = F.softmax(part.mT / temperature, -2).mT  # fast along the first axis
        hard = F.one_hot(part.max(-1).indices, part.shape[-1]).to(soft)
        parts.append(hard + soft - soft.detach())
    return torch.cat(parts, -1)


def of_last_inputs(network: MLP, given: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """What a network with one output says, [M], differentiable by its ``last`` inputs only, which end the row; ``given`` [M, sizes[1]]: its first layer
    of those before them."""
    weights = network.frozen
    activate = {"tanh": torch.tanh, "relu": torch.relu, "elu": F.elu, "silu": F.silu}[network.activation]
    x = given + last @ weights["w0"][:, -last.shape[1] :].mT
    for layer in range(1, network.layers):
        x = F.linear(activate(x), weights[f"w{layer}"], weights[f"b{layer}"])
    return x[:, 0]
