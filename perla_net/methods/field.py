"""The mean field: what an agent hears of its neighbours' actions, as their mean (Yang et al. 2018, arXiv 1802.05438)."""

from __future__ import annotations

from typing import Mapping, NamedTuple, Sequence

import numpy as np
import torch

from ..learning.distributions import distribution_of
from ..network.exchange import Inbox, Letter
from ..world.world import Rollout
from .hearing import Neighbour, Part
from .protocol import Seat
from .team import Team

SECTIONS = ("actions", "presence")
"""What is asked of each neighbour."""


class Mean(NamedTuple):
    """ā of a rollout: taken [T·B, width], at every step; states [R, width], in every state; heard [T·B]: how many were heard there.

    ā is the mean of the one-hot actions (values, of continuous ones) of those that were heard and there; nobody: zeros, and a mark. In the
    states of the last row, and in those that episodes ended with, in which nobody acts any more, it is the one of the step before.
    """

    taken: torch.Tensor
    states: torch.Tensor
    heard: torch.Tensor

    def as_neighbour(self) -> Neighbour:
        """One neighbour in place of all, whose mean action is known; nothing of it is drawn."""
        everywhere = torch.ones(len(self.states), dtype=torch.bool, device=self.states.device)
        return Neighbour(self.states, everywhere, self.taken, encoded=self.taken, expected=self.states)


class Field:
    """What one agent makes of its neighbours' actions."""

    def __init__(self, seat: Seat, device: torch.device) -> None:
        self.seat, self.device = seat, device
        self.neighbours = seat.team.heard_by(seat.index)
        self.distribution = distribution_of(seat.team.specs[self.neighbours[0]].action)

    @property
    def nothing(self) -> torch.Tensor:
        """ā where nobody was heard, [width]."""
        return self.distribution.absent.to(self.device)

    def hear(self, rollout: Rollout, inbox: Inbox) -> Mean:
        """ā of a rollout, from what arrived."""
        steps, copies = rollout.reward.shape
        total = torch.zeros(steps * copies, self.distribution.width, device=self.device)
        heard = torch.zeros(steps * copies, device=self.device)
        for other in self.neighbours:
            letter = inbox.get(other, Letter())
            if not set(SECTIONS) <= set(letter.sections):
                continue
            part = Part(rollout, self.seat.copies, letter.copies or self.seat.copies)
            action = self.distribution.read(letter.sections["actions"].view(np.float32)).to(self.device)
            present = torch.from_numpy(letter.sections["presence"][: len(action)].astype(bool)).to(self.device)
            total[part.taken] += self.distribution.encode(action, present) * present.unsqueeze(1)
            heard[part.taken] += present
        mean = torch.where(heard.unsqueeze(1) > 0, total / heard.clamp(min=1).unsqueeze(1), self.nothing)
        running = mean.view(steps, copies, -1)
        t, copy = torch.from_numpy(rollout.final_at).to(self.device).unbind(1)
        return Mean(mean, torch.cat([mean, running[-1], running[t, copy]]), heard)


def wants(team: Team, index: int) -> Mapping[int, Sequence[str]]:
    """What an agent wants of each of those that it may hear, for its mean field."""
    return {other: SECTIONS for other in team.heard_by(index)}
