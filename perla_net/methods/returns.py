"""Returns and advantages of one agent from one rollout. T steps of B copies, F final observations."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..world.world import Rollout


@dataclass
class Targets:
    """advantage, target [T, B]: what the policy and the critic learn from."""

    advantage: torch.Tensor
    target: torch.Tensor


def generalised_advantages(
    rollout: Rollout, reward: torch.Tensor, value: torch.Tensor, gamma: float, trace: float
) -> Targets:
    """GAE(λ) (Schulman et al. 2016, arXiv 1506.02438, equation 16) and the λ-return.

    δ_t = r_t + γ V(s_{t+1}) − V(s_t);  A_t = δ_t + γ λ A_{t+1};  G_t = A_t + V(s_t).
    At a termination V(s_{t+1}) is 0; at a truncation it is the value of the observation that the episode ended with.
    At both the sum over λ is cut.

    reward [T, B]; value [(T+1)·B + F]: of every observation of the rollout, then of the final ones.
    """
    steps, copies = reward.shape
    present = value[: (steps + 1) * copies].view(steps + 1, copies)
    following = present[1:].clone()
    if len(rollout.final_at):
        t, copy = torch.from_numpy(rollout.final_at).to(value.device).unbind(1)
        cut_off = torch.from_numpy(rollout.final_cut).to(value.device)
        following[t[cut_off], copy[cut_off]] = value[(steps + 1) * copies :][cut_off]
    terminated = torch.from_numpy(rollout.terminated).to(value.device)
    ended = terminated | torch.from_numpy(rollout.truncated).to(value.device)
    delta = reward + gamma * following.masked_fill(terminated, 0.0) - present[:-1]
    carry = gamma * trace * (~ended).to(reward.dtype)
    advantage = torch.empty_like(delta)
    running = delta.new_zeros(copies)
    for t in range(steps - 1, -1, -1):
        running = delta[t] + carry[t] * running
        advantage[t] = running
    return Targets(advantage, advantage + present[:-1])


def discounted(rollout: Rollout, reward: torch.Tensor, gamma: float) -> torch.Tensor:
    """G_t = r_t + γ G_{t+1}, within an episode and within the rollout: [T, B]."""
    ended = torch.from_numpy(rollout.terminated | rollout.truncated).to(reward.device)
    returns = torch.empty_like(reward)
    running = torch.zeros_like(reward[0])
    for t in range(len(reward) - 1, -1, -1):
        running = reward[t] + gamma * running * ~ended[t]
        returns[t] = running
    return returns


def form_advantage(
    form: str, returns: torch.Tensor, value: torch.Tensor, embedded: torch.Tensor | None, executed: torch.Tensor | None
) -> torch.Tensor:
    """The advantage of the actions taken, by form of the embedded critic. All tensors alike in shape.

    state    G_t − V̂(o)
    action   Q̂(o, a) − Σ_b π(b|o) Q̂(o, b)
    control  G_t − Q(o, a, a_N) + Q̂(o, a) − Σ_b π(b|o) Q̂(o, b)

    returns: G_t; value: V̂(o), or Σ_b π(b|o) Q̂(o, b); embedded: Q̂(o, a); executed: Q(o, a, a_N) with the actions that
    the neighbours took. ``control`` has the mean of G, whatever the critic: given (o, a) the middle two have equal means. (G
    itself has a wrong critic's bias where it bootstraps, λ < 1.)
    """
    if form == "state":
        return returns - value
    assert embedded is not None
    if form == "action":
        return embedded - value
    assert executed is not None
    return returns - executed + embedded - value
