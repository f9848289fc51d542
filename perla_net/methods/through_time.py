"""Back-propagation through time, and through neighbours: a pass forward through a rollout, and one back, in step with all who talk.

Each agent runs its own network on its own data; what it hears is where its graph ends, and what its neighbours send back for its messages is where its
own backward pass goes on. Nothing but messages and their gradients is exchanged, and the gradient is that of the sum of everybody's losses,

    ∂(Σ_j L_j)/∂θ_i = ∂L_i/∂θ_i + Σ_t,k (Σ_j ∂L_j/∂m_i,t,k) ∂m_i,t,k/∂θ_i,

through all steps of the rollout and all passes of a step. (The memory with which it begins is a number.) With ``--ppo.chunk N`` through N steps at
most: the rollout is cut into chunks that are gone through side by side, as if they were so many more copies; each begins with the memory that the agent
had there when it acted.
"""

from __future__ import annotations

from typing import Any, Generator, NamedTuple, Sequence

import numpy as np
import torch

from ..learning.talking import Inner
from .troupe import Kept, Talker


class Utter(NamedTuple):
    """What agents that learn say in pass k of step t, of each its message [B, size], and are sent what each hears; or, where ``back``, of each ∂L/∂ what
    it heard, one [B, size] a neighbour, and are sent ∂L/∂ what each said [B, size]. None is sent to who hears nobody, or is heard by nobody."""

    t: int
    k: int
    numbers: Sequence[Any]
    back: bool


Uttering = Generator[Utter, Any, Any]


class Pass(NamedTuple):
    """A pass of a step inside autograd: what the agent made of things before it spoke, and the leaves that stand for that in what follows, where the
    graph is cut so that nothing is gone through twice; what it said; what it heard, leaves."""

    before: Inner
    after: Inner
    said: torch.Tensor
    heard: Sequence[torch.Tensor]


class Step(NamedTuple):
    """A step inside autograd: what was read of the observation, the memory with which it was met, its passes, what it ended with, and the memory after
    it."""

    read: Inner
    met: torch.Tensor
    passes: list[Pass]
    code: torch.Tensor
    memory: torch.Tensor
    gate: torch.Tensor | None


class Passage(NamedTuple):
    """A rollout inside autograd, cut into pieces: what is read of all observations, the steps, and outputs [T, B, …] of what all steps ended with; of
    several agents side by side [agents, T, B, …]."""

    read: Inner
    steps: list[Step]
    codes: torch.Tensor
    outputs: torch.Tensor

    @property
    def gates(self) -> list[torch.Tensor]:
        """Logits of each step, [B]."""
        return [step.gate for step in self.steps if step.gate is not None]


def forward(talker: Talker, kept: Kept, x: torch.Tensor, begins: torch.Tensor, anew: bool) -> Uttering:
    """A rollout that the talker has kept, once more, inside autograd: a :class:`Passage`; x [T, B, size], or [agents, T, B, size], begins [T, B], of
    chunks side by side. anew: what neighbours say now is heard; else it is what was heard when the agents acted, with the same parameters."""
    policy, of_steps = talker.policy, x.shape[-3:-1]
    read = policy.read(x.flatten(-3, -2))
    # Leaves, whose gradients are brought to what they are of when all steps have been gone through.
    pieces = {name: part.detach().unflatten(-2, of_steps) for name, part in read.items()}
    memory, steps = kept.memory, []
    for t in range(len(begins)):
        met = (memory * ~begins[t].unsqueeze(1)).detach().requires_grad_()
        mine = {name: part.select(-3, t).requires_grad_(read[name].requires_grad) for name, part in pieces.items()}
        inner = policy.meet(mine, met)
        gate = policy.gate(inner) if policy.gates else None
        noise = None if kept.noise is None else kept.noise[t]
        passes = []
        for k in range(policy.passes):
            said, before = policy.say(k, inner, noise), inner
            if policy.teaches:
                inner = {name: part.detach().requires_grad_(part.requires_grad) for name, part in inner.items()}
            words = kept.heard[t][k]
            if anew:
                words = talker.words(k, (yield Utter(t, k, talker.each(said.detach().numpy()), False)), x.shape[-2])
            words = words._replace(numbers=[part.detach().requires_grad_(policy.teaches) for part in words.numbers])
            passes.append(Pass(before, inner, said, words.numbers))
            inner = policy.hear(k, inner, words)
        with torch.no_grad():
            outputs = policy.decide_by(inner["h"]) if policy.keeps_outputs else inner["h"]
        memory = policy.remember(inner, outputs)
        steps.append(Step(mine, met, passes, inner["h"], memory, gate))
    codes = torch.stack([step.code.detach() for step in steps], -3).requires_grad_()
    return Passage(read, steps, codes, policy.decide_by(codes.flatten(-3, -2)).unflatten(-2, of_steps))


def backward(
    talker: Talker, passage: Passage, begins: torch.Tensor, slopes: torch.Tensor, gate_slopes: torch.Tensor | None
) -> Uttering:
    """From the last step to the first; slopes [T, B, outputs + free]: ∂L/∂outputs; gate_slopes [T, B]; of several agents with an axis of them in front.
    Gradients go back to those that were heard where what they say is learned. Adds to the policy's gradient."""
    passage.outputs.backward(slopes)
    of_codes = _gradient(passage.codes)
    later: torch.Tensor | None = None  # ∂L/∂ the memory after the step
    for t in reversed(range(len(passage.steps))):
        step = passage.steps[t]
        roots, given = [step.code], [of_codes.select(-3, t)]
        if later is not None:
            roots.append(step.memory)
            given.append(later)
        for k in reversed(range(len(step.passes) * talker.policy.teaches)):
            torch.autograd.backward(roots, given)
            before, after, said, heard = step.passes[k]
            roots = [part for part in before.values() if part.requires_grad]
            given = [_gradient(after[name]) for name, part in before.items() if part.requires_grad]
            owed = [talker.each(_gradient(part).numpy()) for part in heard]
            back = yield Utter(t, k, [[part[n] for part in owed] for n in range(len(talker.members))], True)
            found = [part for part in back if part is not None]
            if found and said.requires_grad:
                if len(found) < len(back):  # the others of these agents are heard by nobody
                    found = [np.zeros_like(found[0]) if part is None else part for part in back]
                roots.append(said)
                given.append(torch.from_numpy(np.stack(found) if talker.several else found[0]))
        if step.gate is not None and gate_slopes is not None:
            roots.append(step.gate)
            given.append(gate_slopes.select(-2, t))
        torch.autograd.backward(roots, given)
        later = _gradient(step.met) * ~begins[t].unsqueeze(1)
    for name, part in passage.read.items():
        if part.requires_grad:
            of_steps = [_gradient(step.read[name]) for step in passage.steps]
            part.backward(torch.stack(of_steps, -3).flatten(-3, -2))


def _gradient(tensor: torch.Tensor) -> torch.Tensor:
    """What backward passes have left at a leaf; nothing reached it: zero."""
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
