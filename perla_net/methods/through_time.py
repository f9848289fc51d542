"""Back-propagation through time, and through neighbours: a pass forward through a rollout, and one back, in step with all who talk.

Each agent runs its own network on its own data; what it hears is where its graph ends, and what its neighbours send back for its messages is where its
own backward pass goes on. Nothing but messages and their gradients is exchanged, and the gradient is that of the sum of everybody's losses,

    ∂(Σ_j L_j)/∂θ_i = ∂L_i/∂θ_i + Σ_t,k (Σ_j ∂L_j/∂m_i,t,k) ∂m_i,t,k/∂θ_i,

through all steps of the rollout and all passes of a step. (The memory with which it begins is a number.)
"""

from __future__ import annotations

from typing import Any, Generator, NamedTuple, Sequence

import torch

from ..learning.talking import Inner
from .troupe import Talker, words_of


class Utter(NamedTuple):
    """What an agent that learns says in pass k of step t, its message [B, size], and is sent what it hears; or, where ``back``, ∂L/∂ what it heard, one
    [B, size] a neighbour, and is sent ∂L/∂ what it said [B, size]. None is sent to who hears nobody, or is heard by nobody."""

    t: int
    k: int
    numbers: Any
    back: bool


Uttering = Generator[Utter, Any, Any]


class Step(NamedTuple):
    """A step inside autograd: what was read of the observation, the memory with which it was met, what was said and heard in each pass, what it ended
    with, and the memory after it."""

    read: Inner
    met: torch.Tensor
    said: list[torch.Tensor]
    heard: list[Sequence[torch.Tensor]]
    code: torch.Tensor
    memory: torch.Tensor
    gate: torch.Tensor | None


class Passage(NamedTuple):
    """A rollout inside autograd, cut into pieces: what is read of all observations, the steps, and outputs [T, B, …] of what all steps ended with."""

    read: Inner
    steps: list[Step]
    codes: torch.Tensor
    outputs: torch.Tensor

    @property
    def gates(self) -> list[torch.Tensor]:
        """Logits of each step, [B]."""
        return [step.gate for step in self.steps if step.gate is not None]


def forward(talker: Talker, x: torch.Tensor, begins: torch.Tensor, anew: bool) -> Uttering:
    """A rollout that the talker has kept, once more, inside autograd: a :class:`Passage`; x [T, B, size], begins [T, B]. anew: what neighbours
    say now is heard; else it is what was heard when the agent acted, with the same parameters."""
    policy = talker.policy
    read = policy.read(x.flatten(0, 1))
    # Leaves, whose gradients are brought to what they are of when all steps have been gone through.
    pieces = {name: part.detach().unflatten(0, x.shape[:2]) for name, part in read.items()}
    memory, steps = talker.memories[0].detach(), []
    for t in range(len(x)):
        met = (memory * ~begins[t].unsqueeze(1)).detach().requires_grad_()
        mine = {name: part[t].requires_grad_(read[name].requires_grad) for name, part in pieces.items()}
        inner = policy.meet(mine, met)
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
                part.requires_grad_(policy.teaches)
            heard.append(words.numbers)
            inner = policy.hear(k, inner, words)
        with torch.no_grad():
            outputs = policy.decide_by(inner["h"]) if policy.keeps_outputs else inner["h"]
        memory = policy.remember(inner, outputs)
        steps.append(Step(mine, met, said, heard, inner["h"], memory, gate))
    codes = torch.stack([step.code.detach() for step in steps]).requires_grad_()
    return Passage(read, steps, codes, policy.decide_by(codes))


def backward(
    passage: Passage, begins: torch.Tensor, slopes: torch.Tensor, gate_slopes: torch.Tensor | None, teaches: bool = True
) -> Uttering:
    """From the last step to the first; slopes [T, B, outputs + free]: ∂L/∂outputs; gate_slopes [T, B]; teaches: gradients go back to those that
    were heard. Adds to the policy's gradient."""
    passage.outputs.backward(slopes)
    of_codes = _gradient(passage.codes)
    later: torch.Tensor | None = None  # ∂L/∂ the memory after the step
    for t in reversed(range(len(passage.steps))):
        step = passage.steps[t]
        roots, given = [step.code], [of_codes[t]]
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
    for name, part in passage.read.items():
        if part.requires_grad:
            part.backward(torch.cat([_gradient(step.read[name]) for step in passage.steps]))


def _gradient(tensor: torch.Tensor) -> torch.Tensor:
    """What backward passes have left at a leaf; nothing reached it: zero."""
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
