"""Agents that a reference controller of the environment acts for (``--algorithm controller:NAME``)."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

import numpy as np

from ..learning.distributions import Gaussian, distribution_of
from ..network.exchange import Inbox, Sections
from ..world.world import Rollout
from .acting import of_rollout, states
from .player import Follower
from .protocol import KINDS, Facts, Learning, Method, Now, Seat
from .team import Team


class Controller(Method):
    """Acts as the controller decides, on the hosts, from the simulator's state; learns nothing.

    Neighbours embed it as a point at its action: it tells what it does in every state of the rollout, also in those in which nothing is done
    any more.
    """

    facts = Facts(
        "Follows a reference controller of the environment (max_pressure, aloha, constant …), and learns nothing.",
        "fixed",
        "-",
        KINDS,
        "nobody",
        "its actions, which others embed as certain",
        "nothing",
        "see the environment (docs/environments.md)",
        "verified: a team of controllers earns what the controller earns in evaluation",
    )
    has_policy = False
    learns = False
    remembers = True

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self._player = Follower()
        self._distribution = distribution_of(self.spec.action)

    @classmethod
    def tells(cls, team: Team, index: int) -> list[str]:
        """See :class:`~.protocol.Method`."""
        return ["choices", "actions", "presence"]

    def player(self) -> Follower:
        """See :class:`~.protocol.Method`."""
        return self._player

    def tell(self, rollout: Rollout, sections: Sequence[str]) -> Sections:
        """See :class:`~.protocol.Method`."""
        return {name: self._section(rollout, name) for name in sections}

    def _section(self, rollout: Rollout, name: str) -> np.ndarray:
        if name == "choices":
            assert rollout.choice is not None and rollout.final_choice is not None
            words = states(np.ascontiguousarray(rollout.choice), np.ascontiguousarray(rollout.final_choice)).numpy()
            return words if isinstance(self._distribution, Gaussian) else words.view(np.int32)
        if name == "observations":
            return states(rollout.observation, rollout.final_observation).numpy()
        return of_rollout(rollout, self._distribution, name)

    def learn(self, rollout: Rollout, inbox: Inbox, now: Now) -> Learning:
        """Nothing."""
        return {}
        yield

    def description(self) -> dict[str, Any]:
        """See :class:`~.protocol.Method`."""
        return {"controller": self.settings.algorithm.partition(":")[2]}

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """See :class:`~.protocol.Method`."""
        return {}, {}

    def restore(self, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> None:
        """See :class:`~.protocol.Method`."""
