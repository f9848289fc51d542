"""Networks over one flat parameter vector: what is optimised, sent to neighbours, shared and saved is that vector."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any, Callable

import torch
import torch.nn.functional as F

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "elu": F.elu,
    "silu": F.silu,
}
IN_PLACE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "tanh": torch.tanh_,
    "relu": torch.relu_,
    "elu": lambda tensor: F.elu(tensor, inplace=True),
    "silu": lambda tensor: F.silu(tensor, inplace=True),
}
HIDDEN_GAIN = {"tanh": 5 / 3, "relu": math.sqrt(2), "elu": math.sqrt(2), "silu": math.sqrt(2)}


class Network:
    """Named tensors that are views of one vector ``flat``, with gradients that are views of ``gradient``."""

    def __init__(self, shapes: dict[str, tuple[int, ...]], dtype: torch.dtype = torch.float32) -> None:
        size = sum(math.prod(shape) for shape in shapes.values())
        self.flat = torch.zeros(size, dtype=dtype)
        self.gradient = torch.zeros(size, dtype=dtype)
        self.tensors: dict[str, torch.Tensor] = {}
        start = 0
        for name, shape in shapes.items():
            stop = start + math.prod(shape)
            leaf = self.flat[start:stop].view(shape).detach().requires_grad_()
            leaf.grad = self.gradient[start:stop].view(shape)
            self.tensors[name] = leaf
            start = stop

    @property
    def frozen(self) -> dict[str, torch.Tensor]:
        """The same tensors outside autograd, for writing and for evaluation."""
        return {name: tensor.detach() for name, tensor in self.tensors.items()}

    def fill(self, flat: torch.Tensor) -> None:
        """Take over another vector's numbers."""
        self.flat.copy_(flat)


class MLP(Network):
    """Linear layers with an activation between them. ``sizes``: input, hidden…, output."""

    def __init__(self, sizes: tuple[int, ...], activation: str, dtype: torch.dtype = torch.float32) -> None:
        self.sizes, self.activation = sizes, activation
        self.layers = len(sizes) - 1
        super().__init__(_linear_shapes(sizes), dtype)

    def start(self, generator: torch.Generator, orthogonal: bool, last_gain: float) -> None:
        """Initial weights: orthogonal with the activation's gain, or uniform within 1/sqrt(fan-in); zero or uniform biases."""
        _start_linear(self, self.layers, self.activation, generator, orthogonal, last_gain)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """[M, input] → [M, output]."""
        activate = ACTIVATIONS[self.activation]
        for layer in range(self.layers):
            x = F.linear(x, self.tensors[f"w{layer}"], self.tensors[f"b{layer}"])
            if layer < self.layers - 1:
                x = activate(x)
        return x


class Policy(Network):
    """π(·|o): observation → distribution parameters, with or without a GRU before the last layer.

    ``outputs`` numbers come from the last layer; ``free`` more (a Gaussian's log standard deviations) do not depend on
    the observation and are appended to them.
    """

    def __init__(
        self, observation: int, hidden: tuple[int, ...], outputs: int, free: int, activation: str, memory: str
    ) -> None:
        self.activation, self.free, self.observation = activation, free, observation
        self.sizes = (observation, *hidden, outputs)
        self.layers = len(self.sizes) - 1
        self.width = hidden[-1] if memory == "gru" and hidden else 0
        self.description = {
            "observation": observation,
            "hidden": list(hidden),
            "outputs": outputs,
            "free": free,
            "activation": activation,
            "memory": memory,
        }
        shapes = _linear_shapes(self.sizes)
        if self.width:
            width = self.width
            shapes |= {
                "gru_wi": (3 * width, width),
                "gru_wh": (3 * width, width),
                "gru_bi": (3 * width,),
                "gru_bh": (3 * width,),
            }
        if free:
            shapes["free"] = (free,)
        super().__init__(shapes)

    @classmethod
    def from_description(cls, description: dict[str, Any]) -> Policy:
        """The network that :attr:`description` tells, with zero weights."""
        return cls(**(description | {"hidden": tuple(description["hidden"])}))

    @property
    def architecture(self) -> bytes:
        """Eight bytes that name the architecture; equal for equal descriptions."""
        return hashlib.sha256(json.dumps(self.description, sort_keys=True).encode()).digest()[:8]

    def start(self, generator: torch.Generator, orthogonal: bool, last_gain: float) -> None:
        """Initial weights; see :meth:`MLP.start`. A Gaussian starts with standard deviation 1."""
        _start_linear(self, self.layers, self.activation, generator, orthogonal, last_gain)
        if self.width:
            for name in ("gru_wi", "gru_wh"):
                for gate in self.frozen[name].chunk(3):
                    _start_weight(gate, generator, orthogonal, 1.0)

    def begin(self, copies: int) -> torch.Tensor:
        """The memory [copies, width] with which an episode begins."""
        return torch.zeros(copies, self.width)

    def __call__(self, observation: torch.Tensor) -> torch.Tensor:
        """[M, observation] → [M, outputs + free], for a policy without memory."""
        return self._head(self._body(observation))

    def step(
        self, observation: torch.Tensor, memory: torch.Tensor, begins: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One step of a policy with memory: ([M, outputs + free], next memory [M, width]); ``begins`` [M] clears the memory."""
        memory = self._remember(self._body(observation), memory * ~begins.unsqueeze(1))
        return self._head(memory), memory

    def sequence(
        self, observation: torch.Tensor, memory: torch.Tensor, begins: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Steps [T, B, observation] from memory [B, width]: ([T, B, outputs + free], memories after each step [T, B, width])."""
        features = self._body(observation)
        keep = (~begins).unsqueeze(2).to(features.dtype)
        memories = []
        for t in range(len(observation)):
            memory = self._remember(features[t], memory * keep[t])
            memories.append(memory)
        stacked = torch.stack(memories)
        return self._head(stacked), stacked

    def _body(self, x: torch.Tensor) -> torch.Tensor:
        activate = ACTIVATIONS[self.activation]
        for layer in range(self.layers - 1):
            x = activate(F.linear(x, self.tensors[f"w{layer}"], self.tensors[f"b{layer}"]))
        return x

    def _remember(self, features: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        names = ("gru_wi", "gru_wh", "gru_bi", "gru_bh")
        return torch.gru_cell(features, memory, *(self.tensors[name] for name in names))

    def _head(self, features: torch.Tensor) -> torch.Tensor:
        last = self.layers - 1
        out = F.linear(features, self.tensors[f"w{last}"], self.tensors[f"b{last}"])
        if self.free:
            out = torch.cat([out, self.tensors["free"].expand(*out.shape[:-1], self.free)], dim=-1)
        return out


class Adam:
    """Adam (Kingma and Ba 2015, algorithm 1) on one network's flat vector, with clipping of the gradient's norm."""

    BETA1, BETA2 = 0.9, 0.999

    def __init__(self, network: Network, epsilon: float, max_norm: float) -> None:
        self.network, self.epsilon, self.max_norm = network, epsilon, max_norm
        self.first, self.second = torch.zeros_like(network.flat), torch.zeros_like(network.flat)
        self.steps = 0

    def step(self, rate: float) -> torch.Tensor:
        """Apply the network's gradient, then clear it; returns the gradient's norm before clipping."""
        gradient = self.network.gradient
        norm = torch.linalg.vector_norm(gradient)
        if self.max_norm:
            gradient.mul_(torch.clamp(self.max_norm / (norm + 1e-6), max=1.0))
        self.steps += 1
        # m ← β1 m + (1−β1) g;  v ← β2 v + (1−β2) g²;  θ ← θ − rate · m̂ / (√v̂ + ε)
        self.first.lerp_(gradient, 1 - self.BETA1)
        self.second.mul_(self.BETA2).addcmul_(gradient, gradient, value=1 - self.BETA2)
        bias1, bias2 = 1 - self.BETA1**self.steps, 1 - self.BETA2**self.steps
        denominator = self.second.sqrt().div_(math.sqrt(bias2)).add_(self.epsilon)
        self.network.flat.addcdiv_(self.first, denominator, value=-rate / bias1)
        gradient.zero_()
        return norm


def _linear_shapes(sizes: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (fan_in, fan_out) in enumerate(zip(sizes, sizes[1:])):
        shapes[f"w{layer}"], shapes[f"b{layer}"] = (fan_out, fan_in), (fan_out,)
    return shapes


def _start_linear(
    network: Network, layers: int, activation: str, generator: torch.Generator, orthogonal: bool, last_gain: float
) -> None:
    for layer in range(layers):
        weight, bias = network.frozen[f"w{layer}"], network.frozen[f"b{layer}"]
        gain = last_gain if layer == layers - 1 else HIDDEN_GAIN[activation]
        _start_weight(weight, generator, orthogonal, gain)
        if not orthogonal:
            bias.uniform_(-1 / math.sqrt(weight.shape[1]), 1 / math.sqrt(weight.shape[1]), generator=generator)


def _start_weight(weight: torch.Tensor, generator: torch.Generator, orthogonal: bool, gain: float) -> None:
    if orthogonal:
        torch.nn.init.orthogonal_(weight, gain, generator=generator)
    else:
        bound = 1 / math.sqrt(weight.shape[1])
        weight.uniform_(-bound, bound, generator=generator)
