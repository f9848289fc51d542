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
    for step in range(steps - 1, -1, -1):
        running = delta[step] + carry[step] * running
        advantage[step] = running
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


def control_variate(
    form: str,
    rollout: Rollout,
    value: torch.Tensor,
    embedded: torch.Tensor,
    executed: torch.Tensor,
    gamma: float,
    trace: float,
) -> torch.Tensor:
    """What the forms ``control`` and ``trajectory`` take from G_t − V̂(o_t), [T·B]: of mean zero given (o_t, a_t), whatever the critic.

    control     D_t = Q(o_t, a_t, a_N,t) − Q̂(o_t, a_t)
    trajectory  C_t = D_t + Σ_{l ≥ 1} (γλ)^l [Q(o_{t+l}, a_{t+l}, a_N,t+l) − Σ_b π(b|o_{t+l}) Q̂(o_{t+l}, b)], within the episode

    value, embedded, executed [T·B]: Σ_b π(b|o) Q̂(o, b), Q̂(o, a) and Q(o, a, a_N).
    """
    here = executed - embedded
    if form == "control":
        return here
    steps, copies = rollout.reward.shape
    going = torch.from_numpy(~(rollout.terminated | rollout.truncated)).to(here.device)
    carry = gamma * trace * going.to(here.dtype)
    joint = (executed - value).view(steps, copies)
    later = torch.zeros_like(joint)
    for t in range(steps - 2, -1, -1):
        later[t] = carry[t] * (joint[t + 1] + later[t + 1])
    return here + later.view(-1)


def form_advantage(
    form: str,
    returns: torch.Tensor,
    value: torch.Tensor,
    embedded: torch.Tensor | None,
    executed: torch.Tensor | None,
    variate: torch.Tensor | None = None,
    coefficient: float = 1.0,
) -> torch.Tensor:
    """The advantage of the actions taken, by form of the embedded critic. All tensors alike in shape.

    state       G_t − V̂(o)
    action      Q̂(o, a) − Σ_b π(b|o) Q̂(o, b)
    control     G_t − V̂(o) − c D_t;  with c = 1: G_t − Q(o, a, a_N) + Q̂(o, a) − Σ_b π(b|o) Q̂(o, b)
    trajectory  G_t − V̂(o) − c C_t;  with c = 1: Q̂(o_t, a_t) − V̂(o_t) + Σ_l (γλ)^l [r_{t+l} + γ V̂(o_{t+l+1}) − Q(o_{t+l}, a_{t+l}, a_N,t+l)]

    returns: G_t; value: V̂(o), or Σ_b π(b|o) Q̂(o, b); embedded: Q̂(o, a); executed: Q(o, a, a_N) with the actions that
    the neighbours took; variate: C_t of :func:`control_variate`; coefficient: c. ``control`` and ``trajectory`` have the mean of G given the
    own action, whatever the critic (Cheng et al. 2019, PMLR 100, on trajectory-wise control variates). (G itself has a wrong critic's bias
    where it bootstraps, λ < 1.)
    """
    if form == "state":
        return returns - value
    assert embedded is not None
    if form == "action":
        return embedded - value
    assert executed is not None
    if form == "control" and coefficient == 1:
        return returns - executed + embedded - value
    variate = executed - embedded if variate is None else variate
    return returns - value - coefficient * variate


def fitted_coefficient(gain: torch.Tensor, variate: torch.Tensor, own: torch.Tensor) -> float:
    """c of the least squares G − V̂ ≈ const + b (Q̂(o, a) − V̂) + c C, within 0 and 1; 0 where C does not vary. All [M].

    Given (o, a) the mean of C is 0, so that c = Cov(G − V̂, C) / Var C whatever b: what takes most of the variance away. ``own``,
    Q̂(o, a) − V̂, only takes out what in few samples goes together with C by chance.
    """
    if not len(gain):
        return 0.0
    gain, variate, own = (part.double() - part.double().mean() for part in (gain, variate, own))
    least = 1e-12 * len(gain)
    spread = float(own.square().sum())
    if spread > least:  # both without their part along own (Frisch and Waugh 1933)
        gain, variate = (part - float(part @ own) / spread * own for part in (gain, variate))
    left = float(variate.square().sum())
    return min(max(float(gain @ variate) / left, 0.0), 1.0) if left > least else 0.0
