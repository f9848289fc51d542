"""Losses of the policy: those of the presets, and anybody's own by import path (``--policy-loss MODULE.FUNCTION``)."""

from __future__ import annotations

import importlib
from typing import Callable

import torch

from ..ground.errors import InputError
from . import a2c, ppo

PolicyLoss = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor, float], tuple[torch.Tensor, torch.Tensor, torch.Tensor]
]
"""(log π, log π of the behaviour, advantage, clip), tensors alike in shape → per step the loss L, ∂L/∂ log π, and the ratio ρ."""

BASES: dict[str, PolicyLoss] = {"ppo": ppo.policy_loss, "a2c": a2c.policy_loss}


def policy_loss(name: str, base: str) -> PolicyLoss:
    """The loss of a preset's base (``preset``), or one of the user's own: ``FUNCTION(log_probability, old, advantage, clip)``
    in MODULE, which returns the loss of every step of one agent in torch operations; its derivative is taken by autograd.

    Raises InputError for what cannot be imported, or does not return a loss per step that depends on ``log_probability``.
    """
    if name == "preset":
        return BASES[base]
    module, _, function = name.rpartition(".")
    own = None
    if module and not module.startswith("."):
        try:
            own = getattr(importlib.import_module(module), function, None)
        except Exception as error:  # the user's module may do anything
            raise InputError(f"--policy-loss {name}: cannot be imported ({type(error).__name__}: {error})") from None
    if not callable(own):
        raise InputError(f"--policy-loss {name}: is neither preset nor MODULE.FUNCTION, such as own_loss.spo")

    def differentiated(
        log_probability: torch.Tensor, old: torch.Tensor, advantage: torch.Tensor, clip: float
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        log_probability = log_probability.detach().requires_grad_()
        with torch.enable_grad():
            if log_probability.dim() > 1:  # agents side by side: the loss sees one after the other, as it would alone
                parts = [own(*row, clip) for row in zip(log_probability, old, advantage)]
                loss = torch.stack(parts) if all(isinstance(part, torch.Tensor) for part in parts) else None
            else:
                loss = own(log_probability, old, advantage, clip)
            if not isinstance(loss, torch.Tensor) or loss.shape != old.shape or not loss.requires_grad:
                raise InputError(f"--policy-loss {name}: must return a loss per step that depends on log_probability")
            (slope,) = torch.autograd.grad(loss.sum(), log_probability, allow_unused=True)
            if slope is None:
                raise InputError(f"--policy-loss {name}: must return a loss per step that depends on log_probability")
        return loss.detach(), slope, torch.exp(log_probability.detach() - old)

    try:
        found = differentiated(torch.tensor([-1.0, -0.5]), torch.tensor([-0.7, -0.7]), torch.tensor([1.0, -1.0]), 0.2)
        if not all(bool(part.isfinite().all()) for part in found):
            raise InputError(f"--policy-loss {name}: is not finite, or its derivative is not, on two ordinary numbers")
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"--policy-loss {name}: failed on two numbers ({type(error).__name__}: {error})") from None
    return differentiated
