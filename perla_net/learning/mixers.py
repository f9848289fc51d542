"""Networks that make the team's value of the agents' utilities: monotonic (QMIX), dueling (QPLEX), any joint value (QTRAN).

All read the state s [M, S], or what is in its place. Agents may differ in how many actions they have: joint actions are one-hot, agent after
agent, [M, Σ A_i], zeros for one that is not there. They start as torch's linear layers do, uniformly within 1/√fan-in, as in the sources.
"""

from __future__ import annotations

import math
from typing import Any, Sequence

import torch
import torch.nn.functional as F

from .models import MLP, Network

LEAST = 1e-10
"""What keeps weights positive that are an absolute value (QPLEX's code)."""


class Linears(Network):
    """A network of linear layers by name, ``w_NAME`` [out, in] and ``b_NAME`` [out]."""

    def __init__(self, layers: dict[str, tuple[int, int]], dtype: torch.dtype = torch.float32) -> None:
        """``layers``: name → (out, in)."""
        self.layers = layers
        shapes = {f"w_{name}": size for name, size in layers.items()}
        super().__init__(shapes | {f"b_{name}": size[:1] for name, size in layers.items()}, dtype)

    def start(self, generator: torch.Generator) -> None:
        """Initial weights and biases."""
        for name, (_, fan_in) in self.layers.items():
            bound = 1 / math.sqrt(fan_in)
            for tensor in (self.frozen[f"w_{name}"], self.frozen[f"b_{name}"]):
                tensor.uniform_(-bound, bound, generator=generator)

    def linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """One of the layers."""
        return F.linear(x, self.tensors[f"w_{name}"], self.tensors[f"b_{name}"])


class Monotonic(Linears):
    """QMIX (Rashid et al. 2018): Q_tot = w₂(s)ᵀ elu(W₁(s)ᵀ q + b₁(s)) + V(s) with W₁, w₂ ≥ 0, so that Q_tot rises with every utility.

    W₁ [agents, width] and w₂ [width] are the absolute values of two-layer hypernetworks of the state, b₁ is linear, V has two layers;
    biases may be of either sign. The first layers of all four are one product.
    """

    def __init__(self, state: int, agents: int, width: int, hyper: int, dtype: torch.dtype = torch.float32) -> None:
        """``width``: of the mixer; ``hyper``: of the hypernetworks' hidden layers."""
        self.agents, self.parts = agents, (hyper, hyper, width, width)
        layers = {
            "first": (sum(self.parts), state),
            "weights": (agents * width, hyper),
            "last": (width, hyper),
            "value": (1, width),
        }
        super().__init__(layers, dtype)

    def __call__(self, state: torch.Tensor, utilities: torch.Tensor) -> torch.Tensor:
        """[M, S], [M, agents] → Q_tot [M]; differentiable by parameters and utilities, once."""
        return _Monotonic.apply(self, state, utilities, *self.tensors.values())


class _Monotonic(torch.autograd.Function):
    """Forward and backward of :class:`Monotonic` by hand: half of the time of autograd's. Everything is [features, M], so that what belongs to
    one agent or one layer lies in one piece; there is nothing to copy, and products with one column per step are sums of whole rows."""

    @staticmethod
    def forward(ctx: Any, mixer: Monotonic, state: torch.Tensor, utilities: torch.Tensor, *_: torch.Tensor) -> Any:
        """See :meth:`Monotonic.__call__`."""

        def linear(name: str, x: torch.Tensor) -> torch.Tensor:
            return torch.addmm(mixer.frozen[f"b_{name}"].unsqueeze(1), mixer.frozen[f"w_{name}"], x)

        first = linear("first", state.mT)
        to_weights, to_last, bias, to_value = first.split(mixer.parts)
        for part in (to_weights, to_last, to_value):
            part.relu_()
        raw, raw_last = linear("weights", to_weights), linear("last", to_last)
        weights, last, hidden = raw.abs().unflatten(0, (mixer.agents, -1)), raw_last.abs(), bias.clone()
        told = utilities.mT.contiguous()
        for mine, weight in zip(told, weights):
            hidden.addcmul_(mine, weight)
        F.elu_(hidden)
        ctx.mixer = mixer
        ctx.save_for_backward(state, told, first, raw, raw_last, weights, last, hidden)
        return (hidden * last).sum(0) + linear("value", to_value)[0]

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # type: ignore[override]
        """From ∂L/∂Q_tot [M] to those by utilities and parameters."""
        mixer, found = ctx.mixer, {}
        state, told, first, raw, raw_last, weights, last, hidden = ctx.saved_tensors
        to_weights, to_last, _, to_value = first.split(mixer.parts)
        slope = torch.empty_like(first)
        into_weights, into_last, into_bias, into_value = slope.split(mixer.parts)

        def back(name: str, delta: torch.Tensor, x: torch.Tensor, into: torch.Tensor | None = None) -> None:
            # y = W x + b:  ∂L/∂W = ∂L/∂y xᵀ,  ∂L/∂b = Σ_M ∂L/∂y,  and, where x = relu(…), ∂L/∂… = Wᵀ ∂L/∂y where x > 0
            found[f"w_{name}"], found[f"b_{name}"] = delta @ x.mT, delta.sum(1)
            if into is not None:
                into.copy_(torch.ops.aten.threshold_backward(mixer.frozen[f"w_{name}"].mT @ delta, x, 0))

        back("value", gradient.unsqueeze(0), to_value, into_value)
        back("last", raw_last.sign().mul_(hidden).mul_(gradient), to_last, into_last)
        # elu'(x) is 1 above zero, else elu(x) + 1
        inner = torch.ops.aten.elu_backward(last * gradient, 1.0, 1.0, 1.0, True, hidden)
        into_bias.copy_(inner)
        by_utility = (weights * inner).sum(1).mT
        by_weight = raw.sign().unflatten(0, (mixer.agents, -1)).mul_(inner).mul_(told.unsqueeze(1))
        back("weights", by_weight.flatten(0, 1), to_weights, into_weights)
        back("first", slope, state.mT)
        return None, None, by_utility, *(found[name] for name in mixer.tensors)


class Dueling(Linears):
    """QPLEX (Wang et al. 2021): any joint value that is greatest where all utilities are.

    With q' = w(s) q + b(s), w > 0:  Q_tot = Σ_i q'_i(u_i) + Σ_i (λ_i(s, u) − 1) A_i,  A_i = q'_i(u_i) − max q'_i ≤ 0, through which no gradient
    flows;  λ_i = Σ_k key_k(s) σ(agent_ki(s)) σ(action_ki(s, u)) > 0. w and b have one hidden layer.
    """

    def __init__(
        self,
        state: int,
        actions: Sequence[int],
        hyper: int,
        kernels: int,
        depth: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """``actions``: each agent's number; ``hyper``: width of hidden layers; ``kernels``: terms of λ; ``depth``: hidden layers of its parts."""
        agents = len(actions)
        self.agents, self.kernels, self.depth = agents, kernels, depth
        layers = {}
        for name, inputs, hidden, outputs in (
            ("weight", state, 1, agents),
            ("bias", state, 1, agents),
            ("key", state, depth, kernels),
            ("agent", state, depth, kernels * agents),
            ("action", state + sum(actions), depth, kernels * agents),
        ):
            widths = [inputs, *[hyper] * hidden, outputs]
            layers |= {f"{name}_{k}": size for k, size in enumerate(zip(widths[1:], widths))}
        super().__init__(layers, dtype)

    def _through(self, name: str, x: torch.Tensor, hidden: int) -> torch.Tensor:
        for layer in range(hidden):
            x = self.linear(f"{name}_{layer}", x).relu()
        return self.linear(f"{name}_{hidden}", x)

    def __call__(
        self, state: torch.Tensor, joint: torch.Tensor, chosen: torch.Tensor, greatest: torch.Tensor
    ) -> torch.Tensor:
        """[M, S], the joint action [M, Σ A_i], utilities of what was chosen and greatest ones, [M, agents] each → Q_tot [M]."""
        weight, bias = self.heads(state)
        advantage = (weight * (chosen - greatest)).detach()
        return (weight * chosen + bias + (self.importance(state, joint) - 1) * advantage).sum(-1)

    def heads(self, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """w > 0 and b, [M, agents] each."""
        return self._through("weight", state, 1).abs() + LEAST, self._through("bias", state, 1)

    def importance(self, state: torch.Tensor, joint: torch.Tensor) -> torch.Tensor:
        """λ > 0, [M, agents]."""
        key = self._through("key", state, self.depth).abs() + LEAST
        agent = self._through("agent", state, self.depth).sigmoid()
        each = agent * self._through("action", torch.cat([state, joint], -1), self.depth).sigmoid()
        return (key.unsqueeze(-1) * each.unflatten(-1, (self.kernels, self.agents))).sum(-2)


class JointValue(MLP):
    """QTRAN (Son et al. 2019): Q(s, u) of the state and the joint action, two hidden layers."""

    def __init__(self, state: int, actions: Sequence[int], hidden: int, dtype: torch.dtype = torch.float32) -> None:
        """``actions``: each agent's number."""
        self.state, self.actions = state, tuple(actions)
        super().__init__((state + sum(actions), hidden, hidden, 1), "relu", dtype)

    def value(self, state: torch.Tensor, joint: torch.Tensor) -> torch.Tensor:
        """[M, S], [M, Σ A_i] → [M]."""
        return self(torch.cat([state, joint], -1)).squeeze(-1)

    def of_every_own(self, state: torch.Tensor, joint: torch.Tensor) -> torch.Tensor:
        """Q(s, (b, u_−i)) for every agent i and action b, [M, agents, most actions]; whatever where an agent has fewer.

        The first layer is linear: another action of one agent is another column of it.
        """
        weight = self.tensors["w0"][:, self.state :]
        columns = columns_of(self.actions).to(joint.device)  # [agents, most]
        first = F.linear(torch.cat([state, joint], -1), self.tensors["w0"], self.tensors["b0"])
        mine = torch.stack(
            [F.linear(one, part) for one, part in zip(*(t.split(self.actions, -1) for t in (joint, weight)))], 1
        )
        hidden = (first.unsqueeze(1) - mine).unsqueeze(2) + weight.mT[columns]
        hidden = F.linear(hidden.relu(), self.tensors["w1"], self.tensors["b1"]).relu()
        return F.linear(hidden, self.tensors["w2"], self.tensors["b2"]).squeeze(-1)


def columns_of(actions: Sequence[int]) -> torch.Tensor:
    """Where each agent's actions stand in a joint one-hot vector, [agents, most actions]; its last one again where it has fewer."""
    starts = torch.tensor([sum(actions[:agent]) for agent in range(len(actions))])
    own = torch.arange(max(actions)).minimum(torch.tensor(actions).unsqueeze(1) - 1)
    return starts.unsqueeze(1) + own


def one_hot(action: torch.Tensor, there: torch.Tensor, actions: Sequence[int]) -> torch.Tensor:
    """Joint actions [M, agents] as [M, Σ A_i], zeros for whom ``there`` [M, agents] (0 or 1) leaves out."""
    places = columns_of(actions)[:, 0].to(action.device) + action
    return there.new_zeros(len(action), sum(actions)).scatter_(1, places, there)
