"""Whose reward an agent learns from (``--reward.mixing``)."""

from __future__ import annotations

import numpy as np
import torch

from ..network.exchange import Inbox
from ..settings.config import Reward
from ..world.world import Rollout


def sections(reward: Reward, of_team: bool) -> list[str]:
    """What it wants of the whole team, or of those that are heard."""
    return ["rewards"] if reward.mixing == ("team" if of_team else "neighbourhood") else []


def mixed(reward: Reward, rollout: Rollout, inbox: Inbox, agents: int) -> torch.Tensor:
    """own: r_i; neighbourhood: r_i + Σ_j α^h_j r_j over those j heard along h_j edges (Chu et al. 2020's spatial
    discount); team: the mean over all agents. [T, B]. What did not arrive does not count."""
    own = torch.from_numpy(np.ascontiguousarray(rollout.reward))
    if reward.mixing == "own":
        return own
    total = torch.zeros_like(own)
    for letter in (inbox[other] for other in sorted(inbox)):
        heard = (letter.team if reward.mixing == "team" else letter.sections).get("rewards")
        if heard is not None:
            told = torch.from_numpy(heard.copy()).view(len(own), -1)
            weight = 1.0 if reward.mixing == "team" else reward.spatial_discount**letter.hops
            total[:, : told.shape[1]] += weight * told
    return own + total if reward.mixing == "neighbourhood" else (own + total) / agents
