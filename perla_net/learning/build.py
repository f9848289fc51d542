"""Networks for an agent's spaces."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..settings.config import Model
from ..world.spec import AgentSpec
from .coded import CodedPolicy
from .distributions import distribution_of
from .models import Policy
from .talking import talking_from


def image_in(spec: AgentSpec, model: Model) -> tuple[int, int, int] | None:
    """[height, width, channels] of an observation that goes through convolutions; None for one that does not."""
    shape = spec.observation_shape
    if model.encoder == "none" or (model.encoder == "auto" and spec.observation_kind != "image"):
        return None
    if len(shape) == 2 and spec.observation_kind == "image":
        return (*shape, 1)
    return shape if len(shape) == 3 else None


def policy_for(spec: AgentSpec, model: Model, identity: int, head: str = "sampled", context: int = 0) -> Policy:
    """A policy network for an agent's spaces, with zero weights; ``identity``: numbers appended to its observation; ``head``, ``context``: see
    :class:`Policy`."""
    distribution = distribution_of(spec.action)
    return Policy(
        spec.observation_size + identity,
        model.policy_hidden,
        distribution.outputs,
        distribution.free,
        model.policy_activation,
        model.memory,
        image_in(spec, model),
        model.channels,
        head,
        context,
    )


def generator_of(seed: np.random.SeedSequence) -> torch.Generator:
    """What draws the initial weights of a network."""
    return torch.Generator().manual_seed(int(seed.generate_state(1, np.uint64)[0] >> 1))


def policy_from(description: dict[str, Any]) -> Policy:
    """The network that a policy's ``description`` tells, of whichever kind, with zero weights."""
    if "talks" in description:
        return talking_from(description)
    return (CodedPolicy if "code" in description else Policy).from_description(description)
