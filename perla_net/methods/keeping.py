"""State of a method's parts, for checkpoints: arrays and JSON numbers, by name.

A part is a network of this program or a ``torch.nn.Module``, an optimiser of this program or of ``torch.optim``, a ``numpy.random.Generator``, a
tensor, an array, or anything with ``state()`` and ``restore(arrays, numbers)``.
"""

from __future__ import annotations

import json
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


Part = (
    Network
    | Adam
    | np.random.Generator
    | torch.Tensor
    | np.ndarray
    | torch.nn.Module
    | torch.optim.Optimizer
    | HasState
)


def state_of(parts: Mapping[str, Part]) -> Kept:
    """The state of all parts."""
    arrays: dict[str, np.ndarray] = {}
    numbers: dict[str, Any] = {}
    for name, part in parts.items():
        found: Mapping[str, np.ndarray] = {}
        if isinstance(part, Network):
            arrays[name] = part.flat.cpu().numpy()
        elif isinstance(part, Adam):
            found, numbers[name] = {"first": part.first.cpu().numpy(), "second": part.second.cpu().numpy()}, part.steps
        elif isinstance(part, np.random.Generator):
            numbers[name] = part.bit_generator.state
        elif isinstance(part, torch.Tensor):
            arrays[name] = part.detach().cpu().numpy()
        elif isinstance(part, np.ndarray):
            arrays[name] = part
        elif isinstance(part, torch.nn.Module):
            found = {key: tensor.detach().cpu().numpy() for key, tensor in part.state_dict().items()}
        elif isinstance(part, torch.optim.Optimizer):
            found, numbers[name] = _of_optimiser(part)
        else:
            found, numbers[name] = part.state()
        arrays |= {f"{name}.{key}": array for key, array in found.items()}
    return arrays, numbers


def restore_parts(parts: Mapping[str, Part], arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> None:
    """Continue from :func:`state_of`, in place. Raises KeyError for what is missing."""
    for name, part in parts.items():
        prefix = f"{name}."
        mine = {key[len(prefix) :]: array for key, array in arrays.items() if key.startswith(prefix)}
        if isinstance(part, Network):
            part.fill(_tensor(arrays[name]))
        elif isinstance(part, Adam):
            part.first.copy_(_tensor(mine["first"]))
            part.second.copy_(_tensor(mine["second"]))
            part.steps = numbers[name]
        elif isinstance(part, np.random.Generator):
            part.bit_generator.state = numbers[name]
        elif isinstance(part, torch.Tensor):
            part.data.copy_(_tensor(arrays[name]))
        elif isinstance(part, np.ndarray):
            part[...] = arrays[name]
        elif isinstance(part, torch.nn.Module):
            part.load_state_dict({key: _tensor(mine[key]) for key in part.state_dict()})
        elif isinstance(part, torch.optim.Optimizer):
            part.load_state_dict(_whole(part, mine, numbers[name]))
        else:
            part.restore(mine, numbers[name])


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array))


def _of_optimiser(optimiser: torch.optim.Optimizer) -> Kept:
    """Tensors by ``parameter.name``; plain numbers, and what the groups say, as JSON."""
    whole = optimiser.state_dict()
    arrays = {
        f"{parameter}.{key}": value.cpu().numpy()
        for parameter, entries in whole["state"].items()
        for key, value in entries.items()
        if isinstance(value, torch.Tensor)
    }
    rest = {
        str(parameter): {key: value for key, value in entries.items() if not isinstance(value, torch.Tensor)}
        for parameter, entries in whole["state"].items()
    }
    return arrays, {"state": rest, "groups": whole["param_groups"]}


def _whole(
    optimiser: torch.optim.Optimizer, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]
) -> dict[str, Any]:
    """The inverse of :func:`_of_optimiser`."""
    state: dict[int, dict[str, Any]] = {int(parameter): dict(rest) for parameter, rest in numbers["state"].items()}
    for name, array in arrays.items():
        parameter, _, key = name.partition(".")
        state[int(parameter)][key] = _tensor(array)
    return {"state": state, "param_groups": numbers["groups"]}


def faults_of(parts: Any, taken: tuple[str, ...] = ()) -> list[str]:
    """What cannot be kept, a sentence each; ``taken``: names that are somebody else's."""
    if not isinstance(parts, Mapping):
        return [f"parts() returned {type(parts).__name__}, not a mapping of names to parts"]
    kinds = (
        *(Network, Adam, np.random.Generator, torch.Tensor, np.ndarray),
        *(torch.nn.Module, torch.optim.Optimizer, HasState),
    )
    found = [f"parts() has '{name}', a name that its policy and noise have" for name in parts if name in taken]
    found += [
        f"parts() has '{name}', a {type(part).__name__}; it may be a network, an optimiser, a numpy random generator, a tensor, an array, or have "
        "state() and restore()"
        for name, part in parts.items()
        if not isinstance(part, kinds)
    ]
    if found:
        return found
    try:
        arrays, numbers = state_of(parts)
        copies = {name: np.array(array) for name, array in arrays.items()}
        restore_parts(parts, copies, json.loads(json.dumps(numbers, default=lambda value: value.tolist())))
    except Exception as error:  # anybody's parts
        return [f"parts() cannot be kept in a checkpoint and restored ({type(error).__name__}: {error})"]
    return []


def not_finite(parts: Mapping[str, Part]) -> list[str]:
    """Names of the networks among the parts that hold anything but finite numbers."""
    found = []
    for name, part in parts.items():
        if isinstance(part, Network):
            finite = bool(part.flat.isfinite().all())
        elif isinstance(part, torch.nn.Module):
            finite = all(bool(tensor.isfinite().all()) for tensor in part.state_dict().values())
        else:
            continue
        if not finite:
            found.append(name)
    return found
