"""Advantage actor-critic (Mnih et al. 2016, arXiv 1602.01783, the synchronous variant)."""

from __future__ import annotations

import torch


def policy_loss(
    log_probability: torch.Tensor, old: torch.Tensor, advantage: torch.Tensor, clip: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """−log π(a|o) A per step, and the ratio π / π_old for the record. All tensors [M]; ``clip`` is not used."""
    return -log_probability * advantage, torch.exp(log_probability.detach() - old)
