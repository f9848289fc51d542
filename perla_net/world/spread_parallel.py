"""``spread`` as a PettingZoo ``ParallelEnv``: ``pettingzoo:perla_net.world.spread_parallel``."""

from __future__ import annotations

from typing import Any

import numpy as np

from .parallel import BatchParallelEnv
from .spread import Spread


class SpreadParallelEnv(BatchParallelEnv):
    """Cooperative navigation; arguments as of :class:`~perla_net.world.spread.Spread`: agents, horizon, local_ratio."""

    metadata = {"name": "perla_spread_v0", "render_modes": [], "is_parallelizable": True}

    def __init__(self, **arguments: Any) -> None:
        super().__init__(Spread(1, **arguments), -np.inf, np.inf)


parallel_env = SpreadParallelEnv
