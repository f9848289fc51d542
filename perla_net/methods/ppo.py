"""Proximal policy optimisation, clipped surrogate (Schulman et al. 2017, arXiv 1707.06347, equation 7)."""

from __future__ import annotations

import torch


def policy_loss(
    log_probability: torch.Tensor, old: torch.Tensor, advantage: torch.Tensor, clip: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Per step, all tensors [M]: the loss L, ∂L/∂ log π, and the ratio ρ.

    ρ = π(a|o) / π_old(a|o);  L = −min(ρ A, clip(ρ, 1−ε, 1+ε) A);  ∂L/∂ log π = −ρ A where the first is not the larger, else 0.
    """
    ratio = torch.exp(log_probability - old)
    gain = ratio * advantage
    bounded = ratio.clamp(1 - clip, 1 + clip).mul_(advantage)
    return -torch.minimum(gain, bounded), -gain * (gain <= bounded), ratio
