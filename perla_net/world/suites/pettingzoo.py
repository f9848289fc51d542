"""``pettingzoo:NAME`` and ``pettingzoo:MODULE``: any environment with PettingZoo's parallel API, by import path."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
import warnings
from typing import Any

from ...errors import InputError
from ..copies import Copies


def make(module: str, arguments: dict[str, Any], copies: int, agents: int | None, render: bool) -> Copies:
    """``copies`` objects made by ``MODULE.parallel_env(**arguments)``."""
    return parallel_copies(f"pettingzoo:{module}", module, arguments, copies, agents, render)


def parallel_copies(
    name: str, module: str, arguments: dict[str, Any], copies: int, agents: int | None, render: bool
) -> Copies:
    """The same for a suite whose environments are such modules; ``name`` as in ``--env``. Raises InputError."""
    construct = _constructor(name, module)
    if render:
        arguments = {"render_mode": "rgb_array", **arguments}
    try:
        envs = [construct(**arguments) for _ in range(copies)]
    except Exception as error:  # an environment's own constructor may raise anything
        raise InputError(f"--env {name}: cannot be made with {arguments}: {' '.join(str(error).split())}") from None
    return Copies(name, envs, agents)


def _constructor(name: str, module: str) -> Any:
    """``parallel_env`` of a module, or of the module of the same name inside it (``pettingzoo.sisl.pursuit``)."""
    package, _, last = module.rpartition(".")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            loaded = importlib.import_module(module)
            if not hasattr(loaded, "parallel_env") and hasattr(loaded, "__path__"):
                try:
                    loaded = importlib.import_module(f"{module}.{last}")
                except ModuleNotFoundError:
                    pass  # the message below says that there is no parallel_env
    except ImportError as error:
        raise InputError(f"--env {name}: cannot be imported ({error}){_import_hint(module, package)}") from None
    construct = getattr(loaded, "parallel_env", None)
    if construct is None:
        raise InputError(f"--env {name}: is not parallel: the module has no parallel_env")
    return construct


def _import_hint(module: str, package: str) -> str:
    """What to do about a module that cannot be imported: install its package, or a similar name."""
    top = module.partition(".")[0]
    if importlib.util.find_spec(top) is None:
        extra = {"mpe2": "mpe2", "pettingzoo": "pettingzoo"}.get(top)
        return f'; install it with: pip install -c constraints.txt ".[{extra}]"' if extra else ""
    try:
        known = (
            [entry.name for entry in pkgutil.iter_modules(importlib.import_module(package).__path__)] if package else []
        )
    except (ImportError, AttributeError):
        return ""
    close = difflib.get_close_matches(module.rpartition(".")[2], known, 1)
    return f"; did you mean {package}.{close[0]}?" if close else ""
