"""Advantage actor-critic (Mnih et al. 2016, arXiv 1602.01783, the synchronous variant)."""

from __future__ import annotations

import torch


def policy_loss(
    log_probability: torch.Tensor, old: torch.Tensor, advantage: torch.Tensor, clip: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Per step, all tensors [M]: L = −log π(a|o) A, ∂L/∂ log π = −A, and π / π_old for the record; ``clip`` is not used."""
    return -log_probability * advantage, -advantage, torch.exp(log_probability - old)
