"""Agents that act by a trained policy and learn no more (``--algorithm frozen:RUN_OR_AGENT_PATH``)."""

from __future__ import annotations

from ..learning.models import Policy
from ..network.exchange import Inbox
from ..world.world import Rollout
from .acting import Acting
from .protocol import KINDS, Facts, Learning, Now, Seat
from .team import Team


class Frozen(Acting):
    """Acts by a policy that was trained elsewhere, with its noise; learns nothing, and is heard like any other."""

    facts = Facts(
        "Acts by a trained policy of a run or an agent's checkpoint, and learns nothing.",
        "fixed",
        "-",
        KINDS,
        "nobody",
        "nothing more",
        "nothing",
        "-",
        "verified: a frozen team earns in evaluation what the team earned that it was, to the byte",
    )
    learns = False
    remembers = True

    def __init__(self, seat: Seat) -> None:
        _, noise = seat.streams(2)
        policy = seat.team.policy_of(seat.index)
        policy.to(seat.device)
        super().__init__(seat, policy, noise)

    @classmethod
    def policy_for(cls, team: Team, index: int) -> Policy:
        """See :class:`~.protocol.Method`: only the team knows, from the checkpoint."""
        raise LookupError("a frozen policy comes from its checkpoint")

    def learn(self, rollout: Rollout, inbox: Inbox, now: Now) -> Learning:
        """Nothing."""
        return {}
        yield
