"""perla_net: networked learning agents, each its own MPI rank, that tell their neighbours their policies.

Public names, loaded when first used: ``Config``, ``train``, ``load_agent``, ``InputError``, ``Stopped``.
"""

from typing import TYPE_CHECKING, Any

from .ground import steady

steady.restart()

from .methods import registry  # noqa: E402

registry.announce()  # methods' own options are known wherever options are read

__version__ = "0.1.0"
__all__ = ["Config", "InputError", "Stopped", "load_agent", "train"]

if TYPE_CHECKING:  # what type checkers and editors see; keep it equal to what follows
    from .ground.errors import InputError, Stopped
    from .settings.config import Config
    from .simulation.loading import load_agent
    from .simulation.running import train

_HOMES = {
    "Config": "settings.config",
    "train": "simulation.running",
    "load_agent": "simulation.loading",
    "InputError": "ground.errors",
    "Stopped": "ground.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'perla_net' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
