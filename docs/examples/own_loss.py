"""A loss of one's own: `--policy-loss own_loss.spo`, with PYTHONPATH=docs/examples."""

import torch


def spo(log_probability, old, advantage, clip):
    """Simple policy optimisation (Xie et al. 2024, arXiv 2401.16025): a parabola around ratio 1 in place of PPO's clipping.

    All tensors have an entry per step; so has the result, the loss to be made small. clip: --ppo.clip.
    """
    ratio = torch.exp(log_probability - old)
    return advantage.abs() / (2 * clip) * (ratio - 1) ** 2 - ratio * advantage
