"""Whether what an agent hears its neighbours do has a mean; nothing here needs torch."""

from __future__ import annotations

from typing import Sequence

from ..ground.errors import InputError
from ..world.spec import AgentSpec


def check_one_kind(agents: Sequence[AgentSpec], index: int, heard: Sequence[int], algorithm: str) -> None:
    """Raises InputError where there is no mean of the actions of those whom agent ``index`` may hear, as they are of different kinds."""
    for other in heard:
        if agents[other].action.bare != agents[heard[0]].action.bare:
            raise InputError(
                f"--algorithm {algorithm}: reads the mean of the actions that {agents[index].name} hears, but those of {agents[heard[0]].name} and "
                f"{agents[other].name} are not of the same kind"
            )
