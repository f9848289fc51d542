"""Proximal policy optimisation, clipped surrogate (Schulman et al. 2017, arXiv 1707.06347, equation 7)."""

from __future__ import annotations

import torch


def policy_loss(
    log_probability: torch.Tensor, old: torch.Tensor, advantage: torch.Tensor, clip: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """−min(ρ A, clip(ρ, 1−ε, 1+ε) A) per step, ρ = π(a|o) / π_old(a|o); and ρ. All tensors [M]."""
    ratio = torch.exp(log_probability - old)
    return -torch.min(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage), ratio
