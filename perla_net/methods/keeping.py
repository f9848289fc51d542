"""State of a method's parts, for checkpoints: arrays and JSON numbers, by name."""

from __future__ import annotations

from typing import Any, Mapping, Protocol, runtime_checkable

import numpy as np
import torch

from ..learning.models import Adam, Network

Kept = tuple[dict[str, np.ndarray], dict[str, Any]]
"""(arrays, numbers)."""


@runtime_checkable
class HasState(Protocol):
    """What tells its own state."""

    def state(self) -> Kept:
        """(arrays, numbers)."""

    def restore(self, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> None:
        """Continue from :meth:`state`."""


Part = Network | Adam | np.random.Generator | torch.Tensor | np.ndarray | HasState


def state_of(parts: Mapping[str, Part]) -> Kept:
    """The state of networks, optimisers, random streams, tensors, arrays, and whatever has ``state`` and ``restore``."""
    arrays: dict[str, np.ndarray] = {}
    numbers: dict[str, Any] = {}
    for name, part in parts.items():
        if isinstance(part, Network):
            arrays[name] = part.flat.cpu().numpy()
        elif isinstance(part, Adam):
            arrays |= {f"{name}.first": part.first.cpu().numpy(), f"{name}.second": part.second.cpu().numpy()}
            numbers[name] = part.steps
        elif isinstance(part, np.random.Generator):
            numbers[name] = part.bit_generator.state
        elif isinstance(part, torch.Tensor):
            arrays[name] = part.cpu().numpy()
        elif isinstance(part, np.ndarray):
            arrays[name] = part
        else:
            found, numbers[name] = part.state()
            arrays |= {f"{name}.{key}": array for key, array in found.items()}
    return arrays, numbers


def restore_parts(parts: Mapping[str, Part], arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> None:
    """Continue from :func:`state_of`, in place. Raises KeyError for what is missing."""
    for name, part in parts.items():
        if isinstance(part, Network):
            part.fill(torch.from_numpy(np.array(arrays[name])))
        elif isinstance(part, Adam):
            part.first.copy_(torch.from_numpy(np.array(arrays[f"{name}.first"])))
            part.second.copy_(torch.from_numpy(np.array(arrays[f"{name}.second"])))
            part.steps = numbers[name]
        elif isinstance(part, np.random.Generator):
            part.bit_generator.state = numbers[name]
        elif isinstance(part, torch.Tensor):
            part.copy_(torch.from_numpy(np.array(arrays[name])))
        elif isinstance(part, np.ndarray):
            part[:] = arrays[name]
        else:
            prefix = f"{name}."
            mine = {key[len(prefix) :]: array for key, array in arrays.items() if key.startswith(prefix)}
            part.restore(mine, numbers[name])
