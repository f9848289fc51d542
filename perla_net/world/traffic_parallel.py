"""``traffic:grid`` as a PettingZoo ``ParallelEnv``: ``pettingzoo:perla_net.world.traffic_parallel``."""

from __future__ import annotations

from typing import Any

from .parallel import BatchParallelEnv
from .traffic import TrafficGrid


class TrafficParallelEnv(BatchParallelEnv):
    """Signals of a road grid; spaces, units and reward as in :mod:`perla_net.world.traffic`.

    Arguments as of :class:`~perla_net.world.traffic.TrafficGrid`: agents, rows, columns, reward, demand, horizon.
    ``infos``: delay in s, vehicles, served, blocked.
    """

    metadata = {"name": "perla_traffic_grid_v0", "render_modes": [], "is_parallelizable": True}

    def __init__(self, **arguments: Any) -> None:
        super().__init__(TrafficGrid(1, **arguments), 0.0, 1.0)


parallel_env = TrafficParallelEnv
