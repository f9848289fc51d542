"""``batch:MODULE.CLASS``: anybody's batch environment by import path (protocol: ``world/environments.py``)."""

from __future__ import annotations

import importlib
from typing import Any

from ...errors import InputError
from ..networked.base import build


def make(path: str, arguments: dict[str, Any], copies: int, agents: int | None, render: bool) -> Any:
    """``CLASS(copies, agents, **arguments)``. Raises InputError where there is no such class, or it does not take these."""
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name) if module else None
    except ImportError as error:
        raise InputError(f"--env batch:{path}: cannot be imported ({error})") from None
    except AttributeError:
        found = None
    if found is None:
        raise InputError(f"--env batch:{path}: is not MODULE.CLASS, such as walkers_batch.Walkers")
    return build(found, f"batch:{path}", arguments, copies, agents)


def any_number(path: str, arguments: dict[str, Any]) -> bool:
    """Left to the class: ``agents`` is what was asked for, or the number of ranks."""
    return True
