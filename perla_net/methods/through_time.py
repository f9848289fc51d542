"""Back-propagation through time, and through neighbours: a pass forward through a rollout, and one back, in step with all who talk.

Each agent runs its own network on its own data; what it hears is where its graph ends, and what its neighbours send back for its messages is where its
own backward pass goes on. Nothing but messages and their gradients is exchanged, and the gradient is that of the sum of everybody's losses,

    ∂(Σ_j L_j)/∂θ_i = ∂L_i/∂θ_i + Σ_t,k (Σ_j ∂L_j/∂m_i,t,k) ∂m_i,t,k/∂θ_i,

through all steps of the rollout and all passes of a step. (The memory with which it begins is a number.)
"""

from __future__ import annotations

from typing import Any, Generator, NamedTuple, Sequence

import torch

from .troupe import Talker, words_of


class Utter(NamedTuple):
    """What an agent that learns says in pass k of step t, its message [B, size], and is sent what it hears; or, where ``back``, ∂L/∂ what it heard, one
    [B, size] a neighbour, and is sent ∂L/∂ what it said [B, size]. None is sent to who hears nobody, or is heard by nobody."""

    t: int
    k: int
    numbers: Any
    back: bool


Uttering = Generator[Utter, Any, Any]


class Stretch(NamedTuple):
    """A step inside autograd: the memory with which it was met, what was said and heard in each pass, what came of it."""

    met: torch.Tensor
    said: list[torch.Tensor]
    heard: list[Sequence[torch.Tensor]]
    outputs: torch.Tensor
    memory: torch.Tensor
    gate: torch.Tensor | None


def forward(talker: Talker, x: torch.Tensor, begins: torch.Tensor, anew: bool) -> Uttering:
    """A rollout that the talker has kept, once more, inside autograd: a list of :class:`Stretch`; x [T, B, size], begins [T, B]. anew: what neighbours
    say now is heard; else it is what was heard when the agent acted, with the same parameters."""
    policy = talker.policy
    memory, steps = talker.memories[0].detach(), []
    for t in range(len(x)):
        met = (memory * ~begins[t].unsqueeze(1)).detach().requires_grad_()
        inner = policy.open(x[t], met)
        gate = policy.gate(inner) if policy.gates else None
        noise = None if talker.noise_said is None else torch.from_numpy(talker.noise_said[t]).to(x.dtype)
        said, heard = [], []
        for k in range(policy.passes):
            said.append(policy.say(k, inner, noise))
            found = talker.heard[t][k]
            if anew:
                found = yield Utter(t, k, said[-1].detach().numpy(), False)
                found = talker.nothing[k] if found is None else found
            words = words_of(found, x.dtype)
            for part in words.numbers:
                part.requires_grad_()
            heard.append(words.numbers)
            inner = policy.hear(k, inner, words)
        outputs, memory = policy.close(inner)
        steps.append(Stretch(met, said, heard, outputs, memory, gate))
    return steps


def backward(
    steps: Sequence[Stretch],
    begins: torch.Tensor,
    slopes: torch.Tensor,
    gate_slopes: torch.Tensor | None,
    teaches: bool = True,
) -> Uttering:
    """From the last step to the first; slopes [T, B, outputs + free]: ∂L/∂outputs; gate_slopes [T, B]; teaches: gradients go back to those that
    were heard. Adds to the policy's gradient."""
    later: torch.Tensor | None = None  # ∂L/∂ the memory after the step
    for t in reversed(range(len(steps))):
        step = steps[t]
        roots, given = [step.outputs], [slopes[t]]
        if later is not None:
            roots.append(step.memory)
            given.append(later)
        if step.gate is not None and gate_slopes is not None:
            roots.append(step.gate)
            given.append(gate_slopes[t])
        torch.autograd.backward(roots, given, retain_graph=teaches)
        for k in reversed(range(len(step.said) * teaches)):
            back = yield Utter(t, k, [_gradient(part).numpy() for part in step.heard[k]], True)
            if back is not None and step.said[k].requires_grad:
                torch.autograd.backward([step.said[k]], [torch.from_numpy(back)], retain_graph=k > 0)
        later = _gradient(step.met) * ~begins[t].unsqueeze(1)


def _gradient(tensor: torch.Tensor) -> torch.Tensor:
    """What backward passes have left at a leaf; nothing reached it: zero."""
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
