"""Networks over one flat parameter vector: what is optimised, sent to neighbours, shared and saved is that vector."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from contextlib import contextmanager
from typing import Any, Callable, Iterator, Sequence, TypeVar

import torch
import torch.nn.functional as F


def tanh(x: torch.Tensor) -> torch.Tensor:
    """tanh x = 2 σ(2x) − 1, to 2.5e-7; torch's sigmoid takes less time than its tanh."""
    return torch.sigmoid(2 * x).mul(2).sub(1)


_MINUS_ONE = torch.tensor(-1.0)
BLOCKED = -1e9
"""Logit of an action that the mask forbids: probability zero, and a finite gradient."""


def _tanh_(x: torch.Tensor) -> torch.Tensor:
    return _tanh_of_half_(x.mul_(2))


def _tanh_of_half_(x: torch.Tensor) -> torch.Tensor:
    """tanh(x/2) = −1 + 2 σ(x), in place and in two passes; torch takes the constant from any device."""
    return torch.add(_MINUS_ONE, x.sigmoid_(), alpha=2, out=x)


ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "tanh": tanh,
    "relu": torch.relu,
    "elu": F.elu,
    "silu": F.silu,
}
IN_PLACE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "tanh": _tanh_,
    "relu": torch.relu_,
    "elu": lambda tensor: F.elu(tensor, inplace=True),
    "silu": lambda tensor: F.silu(tensor, inplace=True),
}
_aten = torch.ops.aten
# In place of ∂L/∂out: ∂L/∂in, from out = φ(in) or, for silu, from in.
DERIVATIVE: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "tanh": lambda gradient, out: _aten.tanh_backward.grad_input(gradient, out, grad_input=gradient),
    "relu": lambda gradient, out: _aten.threshold_backward.grad_input(gradient, out, 0, grad_input=gradient),
    "elu": lambda gradient, out: _aten.elu_backward.grad_input(gradient, 1.0, 1.0, 1.0, True, out, grad_input=gradient),
    "silu": lambda gradient, before: _aten.silu_backward.grad_input(gradient, before, grad_input=gradient),
}
HIDDEN_GAIN = {"tanh": 5 / 3, "relu": math.sqrt(2), "elu": math.sqrt(2), "silu": math.sqrt(2)}


def activation_of(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """A non-linearity by name: in place where nothing is differentiated."""
    return (ACTIVATIONS if torch.is_grad_enabled() else IN_PLACE)[name]


AnyNetwork = TypeVar("AnyNetwork", bound="Network")


class Network:
    """Named tensors that are views of one vector ``flat``, with gradients that are views of ``gradient``.

    ``flat`` is [size], or [agents, size] for several equal networks side by side (see :meth:`together`).
    """

    def __init__(self, shapes: dict[str, tuple[int, ...]], dtype: torch.dtype = torch.float32) -> None:
        self.shapes = shapes
        size = sum(math.prod(shape) for shape in shapes.values())
        self._view(torch.zeros(size, dtype=dtype), torch.zeros(size, dtype=dtype))

    def _view(self, flat: torch.Tensor, gradient: torch.Tensor) -> None:
        self.flat, self.gradient = flat, gradient
        self.tensors: dict[str, torch.Tensor] = {}
        self.frozen: dict[str, torch.Tensor] = {}
        """The same tensors outside autograd, for writing and for evaluation."""
        self.gradients: dict[str, torch.Tensor] = {}
        start = 0
        for name, shape in self.shapes.items():
            stop = start + math.prod(shape)
            leaf = flat[..., start:stop].unflatten(-1, shape).detach().requires_grad_()
            leaf.grad = gradient[..., start:stop].unflatten(-1, shape)
            self.tensors[name], self.frozen[name], self.gradients[name] = leaf, leaf.detach(), leaf.grad
            start = stop

    def fill(self, flat: torch.Tensor) -> None:
        """Take over another vector's numbers."""
        self.flat.copy_(flat)

    def at(self: AnyNetwork, flat: torch.Tensor) -> AnyNetwork:
        """The same network with the parameters ``flat`` [size], through which derivatives of any order go; it has no gradients of its own."""
        other = copy.copy(self)
        parts = flat.split([math.prod(shape) for shape in self.shapes.values()])
        other.flat = flat
        other.tensors = {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts)}
        other.frozen = {name: tensor.detach() for name, tensor in other.tensors.items()}
        return other

    def linear(self, x: torch.Tensor, weight: str, bias: str | None = None) -> torch.Tensor:
        """x Wᵀ + b inside autograd, by the names of W and b: [..., in] → [..., out]; of several networks side by side [agents, M, in]."""
        w, b = self.tensors[weight], self.tensors[bias] if bias else None
        if w.dim() == 2:
            return F.linear(x, w, b)
        return torch.bmm(x, w.mT) if b is None else torch.baddbmm(b.unsqueeze(1), x, w.mT)

    @contextmanager
    def leaves(self) -> Iterator[None]:
        """Inside, autograd goes through :attr:`tensors`, and adds to ``gradient``. Of several networks side by side, whose tensors lie apart, each
        is a tensor of its own for so long, and ``gradient`` is written in the end."""
        kept = self.tensors
        if self.flat.dim() > 1:
            self.tensors = {name: tensor.clone().requires_grad_() for name, tensor in self.frozen.items()}
        yield
        if self.tensors is not kept:
            for name, leaf in self.tensors.items():
                if leaf.grad is not None:
                    self.gradients[name].add_(leaf.grad)
            self.tensors = kept

    def to(self, place: str | torch.device | torch.dtype) -> None:
        """Move to a device (``cpu``, ``cuda``), or to another precision."""
        self._view(self.flat.to(place), self.gradient.to(place))

    @classmethod
    def together(cls, networks: Sequence[AnyNetwork]) -> AnyNetwork:
        """Equal networks as one, with an axis of agents in front; from now on each is a view of its row there."""
        whole = copy.copy(networks[0])
        whole._view(torch.stack([n.flat for n in networks]), torch.stack([n.gradient for n in networks]))
        for network, flat, gradient in zip(networks, whole.flat, whole.gradient):
            network._view(flat, gradient)
        return whole


Images = tuple[tuple[int, tuple[int, int, int]], ...]
"""Where images lie in a network's input: (first column, (height, width, channels)) each."""


class Encoder:
    """Convolutions over the images in a network's input, whose features take the images' place there.

    Each image has its own layers, 3×3, stride 2, relu; then an average over at most ``POOLED`` × ``POOLED`` fields. Input
    [M, size]: features of the images in order, then all other numbers in order: [M, width]. Numbers at the end may be missing.
    """

    POOLED = 6

    def __init__(self, size: int, images: Images, channels: tuple[int, ...]) -> None:
        """``images``: (where it begins in the input, (height, width, channels)) of each."""
        self.images, self.channels = images, channels
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.width = size
        taken = torch.zeros(size, dtype=torch.bool)
        for number, (start, (height, width, depth)) in enumerate(images):
            taken[start : start + height * width * depth] = True
            self.width -= height * width * depth
            for layer, out in enumerate(channels):
                self.shapes[f"k{number}_{layer}"], self.shapes[f"c{number}_{layer}"] = (out, depth, 3, 3), (out,)
                height, width, depth = -(-height // 2), -(-width // 2), out
            self.width += min(height, self.POOLED) * min(width, self.POOLED) * depth
        self.others = torch.nonzero(~taken)[:, 0]

    def start(self, frozen: dict[str, torch.Tensor], generator: torch.Generator, orthogonal: bool) -> None:
        """Initial weights, as those of hidden relu layers."""
        for name, shape in self.shapes.items():
            if name.startswith("k"):
                start_weight(frozen[name].view(shape[0], -1), generator, orthogonal, HIDDEN_GAIN["relu"])

    def __call__(self, tensors: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """[..., size] → [..., width]."""
        lead, x = x.shape[:-1], x.flatten(0, -2)
        found = []
        others = self.others[self.others < x.shape[1]].to(x.device)
        for number, (start, shape) in enumerate(self.images):
            image = x[:, start : start + math.prod(shape)].unflatten(1, shape).permute(0, 3, 1, 2)
            for layer in range(len(self.channels)):
                kernel, bias = tensors[f"k{number}_{layer}"], tensors[f"c{number}_{layer}"]
                image = torch.relu(F.conv2d(image, kernel, bias, stride=2, padding=1))
            fields = min(image.shape[2], self.POOLED), min(image.shape[3], self.POOLED)
            found.append(F.adaptive_avg_pool2d(image, fields).flatten(1))
        return torch.cat([*found, x[:, others]], 1).unflatten(0, lead)


class Pass:
    """Forward and backward through a network's linear layers over M rows, without autograd and without allocating layers.

    With several networks side by side every tensor has an axis of agents in front. Outputs are [outputs, M]: a softmax
    over few actions is faster along the first axis than along the last.
    """

    def __init__(self, network: MLP | Policy, rows: int, room: Pass | None = None, learns: bool = True) -> None:
        """``room``: a pass of as many rows whose buffers may be overwritten, so that both stay in cache; ``learns``: there
        will be a :meth:`backward`."""
        self.network, self.learns = network, learns
        lead = network.flat.shape[:-1]
        hidden = network.sizes[1:-1]
        self._room: list[torch.Tensor] = list(room._room) if room else []
        self._taken: list[torch.Tensor] = []

        def new(size: int) -> torch.Tensor:
            place = next((k for k, buffer in enumerate(self._room) if buffer.shape[-1] == size), None)
            buffer = network.flat.new_empty(*lead, rows, size) if place is None else self._room.pop(place)
            self._taken.append(buffer)
            return buffer

        self.hidden = [new(size) for size in hidden]
        self.deltas = [new(size) for size in hidden]
        self.before = [new(size) for size in hidden] if network.activation == "silu" else self.hidden
        self._room += self._taken
        self.outputs = network.flat.new_empty(*lead, network.sizes[-1] + network.free, rows)
        self.product: Callable[..., torch.Tensor] = torch.bmm if lead else torch.mm
        self.affine: Callable[..., torch.Tensor] = torch.baddbmm if lead else torch.addmm
        self.derivative = DERIVATIVE[network.activation]
        # The factor 2 of tanh x = 2 σ(2x) − 1 costs nothing in the product before it.
        self.factor = 2 if network.activation == "tanh" else 1
        self.activate = _tanh_of_half_ if network.activation == "tanh" else IN_PLACE[network.activation]
        self._bound: torch.Tensor | None = None

    def _bind(self) -> None:
        """Look up the network's tensors, in the shapes that the products want."""
        network, last = self.network, self.network.layers - 1
        self._bound = network.flat
        self._below = [(network.frozen[f"b{k}"].unsqueeze(-2), network.frozen[f"w{k}"].mT) for k in range(last)]
        self._last = network.frozen[f"b{last}"].unsqueeze(-1), network.frozen[f"w{last}"]
        self._means = self.outputs[..., : network.sizes[-1], :]

    def forward(
        self, x: torch.Tensor, more: Sequence[torch.Tensor] = (), given: torch.Tensor | None = None
    ) -> torch.Tensor:
        """[M, input] → [outputs, M], valid until the next call.

        ``more``: inputs that stand behind x, [M, …] each, where it would take time to put all in one tensor; ``given`` [M, sizes[1]]: is filled
        with the first layer, before its non-linearity, of all inputs but the last of these.
        """
        if self._bound is not self.network.flat:
            self._bind()
        if isinstance(self.network, Policy) and self.network.context:
            x = self.network.completed(x)
        if self.network.encoder:  # convolutions go through autograd, everything above them is done by hand
            with torch.set_grad_enabled(self.learns):
                self._encoded = self.network.encoder(self.network.tensors, torch.cat([x, *more], -1) if more else x)
            last = more[-1].shape[-1] if more else 0
            x, more = self._encoded.detach(), ()
            if last:
                x, more = x[..., :-last], (x[..., -last:],)
        if more and not self.hidden:
            if given is not None:
                torch.addmm(
                    self.network.frozen["b0"], torch.cat([x, *more[:-1]], -1), self._in(x, *more[:-1]), out=given
                )
            x, more = torch.cat([x, *more], -1), ()
        self.inputs = (x, *more)
        below = x
        for layer, (bias, weight) in enumerate(self._below):
            out, before = self.hidden[layer], self.before[layer]
            if layer or not more:
                self.affine(bias, below, weight, beta=self.factor, alpha=self.factor, out=before)
            else:
                parts = weight.split([one.shape[-1] for one in self.inputs], -2)
                self.affine(bias, x, parts[0], beta=self.factor, alpha=self.factor, out=before)
                for number, (one, part) in enumerate(zip(more, parts[1:]), 1):
                    if given is not None and number == len(more):
                        torch.div(before, self.factor, out=given)
                    self.affine(before, one, part, alpha=self.factor, out=before)
            if self.before is not self.hidden:
                out.copy_(before)
            self.activate(out)
            below = out
        bias, weight = self._last
        self.affine(bias, weight, below.mT, out=self._means)
        if self.network.free:
            self.outputs[..., self.network.sizes[-1] :, :] = self.network.frozen["free"].unsqueeze(-1)
        return self.outputs

    def _in(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The first layer's weights for the first inputs, [in, out]."""
        return self.network.frozen["w0"][..., : sum(one.shape[-1] for one in inputs)].mT

    def _by_first(self, delta: torch.Tensor, found: torch.Tensor) -> None:
        """∂L/∂W of the first layer."""
        for one, part in zip(self.inputs, found.split([one.shape[-1] for one in self.inputs], -1)):
            self.product(delta, one, out=part)

    def backward(self, gradient: torch.Tensor) -> None:
        """From ∂L/∂outputs [outputs, M] of the last :meth:`forward` to the network's ``gradient``, which it overwrites."""
        network, found = self.network, self.network.gradients
        last, size = network.layers - 1, network.sizes[-1]
        if network.free:
            torch.sum(gradient[..., size:, :], -1, out=found["free"])
            gradient = gradient[..., :size, :]
        # y = W h + b:  ∂L/∂W = ∂L/∂y hᵀ,  ∂L/∂b = Σ_M ∂L/∂y,  ∂L/∂h = Wᵀ ∂L/∂y;  h = φ(y):  ∂L/∂y = φ'(y) ∂L/∂h
        if self.hidden:
            self.product(gradient, self.hidden[-1], out=found[f"w{last}"])
        else:
            self._by_first(gradient, found["w0"])
        torch.sum(gradient, -1, out=found[f"b{last}"])
        delta = gradient.mT
        for layer in range(last - 1, -1, -1):
            self.product(delta, network.frozen[f"w{layer + 1}"], out=self.deltas[layer])
            delta = self.derivative(self.deltas[layer], self.before[layer])
            if layer:
                self.product(delta.mT, self.hidden[layer - 1], out=found[f"w{layer}"])
            else:
                self._by_first(delta.mT, found["w0"])
            torch.sum(delta, -2, out=found[f"b{layer}"])
        if network.encoder:
            for name in network.encoder.shapes:
                found[name].zero_()
            self._encoded.backward(delta @ network.frozen["w0"])


class MLP(Network):
    """Linear layers with an activation between them. ``sizes``: input, hidden…, output."""

    free = context = 0

    def __init__(
        self,
        sizes: tuple[int, ...],
        activation: str,
        dtype: torch.dtype = torch.float32,
        images: Images = (),
        channels: tuple[int, ...] = (),
    ) -> None:
        self.activation, self.layers = activation, len(sizes) - 1
        self.encoder = Encoder(sizes[0], images, channels) if images else None
        self.sizes = (self.encoder.width, *sizes[1:]) if self.encoder else sizes
        super().__init__(_linear_shapes(self.sizes) | (self.encoder.shapes if self.encoder else {}), dtype)

    def start(self, generator: torch.Generator, orthogonal: bool, last_gain: float) -> None:
        """Initial weights: orthogonal with the activation's gain, or uniform within 1/sqrt(fan-in); zero or uniform biases."""
        _start_linear(self, self.layers, self.activation, generator, orthogonal, last_gain)
        if self.encoder:
            self.encoder.start(self.frozen, generator, orthogonal)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """The input of the first linear layer, [M, input] → [M, sizes[0]]: images replaced by their features."""
        return self.encoder(self.tensors, x) if self.encoder else x

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """[M, input] → [M, output]."""
        x = self.encode(x)
        activate = activation_of(self.activation)
        for layer in range(self.layers):
            x = F.linear(x, self.tensors[f"w{layer}"], self.tensors[f"b{layer}"])
            if layer < self.layers - 1:
                x = activate(x)
        return x


VALUES = ("epsilon", "boltzmann")
"""Heads of :class:`Policy` whose outputs are values of actions."""


class Policy(Network):
    """π(·|o): observation → distribution parameters, with or without a GRU before the last layer.

    ``outputs`` numbers come from the last layer; ``free`` more (a Gaussian's log standard deviations) do not depend on
    the observation and are appended to them. ``head``: what the outputs are: ``sampled``, parameters of the distribution; ``squashed``, the
    same, of which means are taken to within ±1; or values of the actions, of which ``epsilon`` takes the best but for a share ε,
    ``boltzmann`` each in proportion to exp(Q / τ). ``context``: so many more inputs, which are the same in all states as long as the agent
    does not say otherwise. They, and ε or τ, are parameters, so that they travel, and are saved, with the weights; no gradient ever reaches
    them.
    """

    recalls = False
    """Whether its memory must be told what was done (:class:`~.coded.CodedPolicy`)."""

    def __init__(
        self,
        observation: int,
        hidden: tuple[int, ...],
        outputs: int,
        free: int,
        activation: str,
        memory: str,
        image: tuple[int, int, int] | None = None,
        channels: tuple[int, ...] = (),
        head: str = "sampled",
        context: int = 0,
    ) -> None:
        """``observation``: numbers in it; ``image``: [height, width, channels] of that with which it begins, if any."""
        self.head, self.context = head, context
        self.activation, self.free, self.observation = activation, free, observation
        self.encoder = Encoder(observation + context, ((0, image),), channels) if image else None
        self.sizes = (self.encoder.width if self.encoder else observation + context, *hidden, outputs)
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
        if image and self.encoder:
            self.description |= {"image": list(image), "channels": list(channels)}
            shapes |= self.encoder.shapes
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
        if head != "sampled":
            self.description["head"] = head
        if head in VALUES:
            shapes["exploration"] = (1,)
        if context:
            self.description["context"] = context
            shapes["context"] = (context,)
        super().__init__(shapes)

    def decide(self, outputs: torch.Tensor, axis: int) -> torch.Tensor:
        """What the distribution takes, from outputs with masks applied; ``axis``: along which they lie.

        ε-greedy: log π with π(a) = (1 − ε) 1[a = argmax Q] + ε / |allowed|, over allowed actions; Boltzmann: Q / τ; squashed: tanh of the means.
        """
        if self.head == "sampled":
            return outputs
        if self.head == "squashed":
            means, rest = outputs.split([self.sizes[-1], self.free], axis)
            return torch.cat([means.tanh(), rest], axis)
        free = self.frozen["exploration"]  # [1], or [agents, 1] of several side by side
        if free.dim() > 1:
            free = free.unsqueeze(-1)
        allowed = outputs > BLOCKED
        if self.head == "boltzmann":
            return torch.where(allowed, outputs / free, BLOCKED)
        share = free * allowed / allowed.sum(axis, keepdim=True)
        best = outputs.max(axis, keepdim=True).indices
        share = share.scatter_add(axis, best, (1 - free).expand_as(best).to(share.dtype))
        return torch.where(share > 0, share.log(), BLOCKED)

    def best(self, outputs: torch.Tensor, axis: int) -> torch.Tensor:
        """Outputs whose most probable action is the one to take where nothing is to be tried: values as they are, however much is explored."""
        return outputs if self.head in VALUES else self.decide(outputs, axis)

    @classmethod
    def from_description(cls, description: dict[str, Any]) -> Policy:
        """The network that :attr:`description` tells, with zero weights."""
        arguments: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in description.items()
        }
        return cls(**arguments)

    @property
    def architecture(self) -> bytes:
        """Eight bytes that name the architecture; equal for equal descriptions."""
        return hashlib.sha256(json.dumps(self.description, sort_keys=True).encode()).digest()[:8]

    def start(self, generator: torch.Generator, orthogonal: bool, last_gain: float, deviation: float = 1.0) -> None:
        """Initial weights; see :meth:`MLP.start`. A Gaussian starts with this standard deviation, in the units in which actions reach ±1."""
        _start_linear(self, self.layers, self.activation, generator, orthogonal, last_gain)
        if self.encoder:
            self.encoder.start(self.frozen, generator, orthogonal)
        if self.free:
            self.frozen["free"].fill_(math.log(deviation))
        if self.width:
            for name in ("gru_wi", "gru_wh"):
                for gate in self.frozen[name].chunk(3):
                    start_weight(gate, generator, orthogonal, 1.0)

    def begin(self, copies: int) -> torch.Tensor:
        """The memory [copies, width], or [agents, copies, width], with which an episode begins."""
        return self.flat.new_zeros(*self.flat.shape[:-1], copies, self.width)

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

    def completed(self, x: torch.Tensor) -> torch.Tensor:
        """Rows that say nothing of the context, with the one that is kept."""
        if not self.context or x.shape[-1] > self.observation:
            return x
        return torch.cat([x, self.frozen["context"].expand(*x.shape[:-1], -1)], -1)

    def _body(self, x: torch.Tensor) -> torch.Tensor:
        x = self.completed(x)
        if self.encoder:
            x = self.encoder(self.tensors, x)
        activate = activation_of(self.activation)
        for layer in range(self.layers - 1):
            x = activate(self.linear(x, f"w{layer}", f"b{layer}"))
        return x

    def _remember(self, features: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        names = ("gru_wi", "gru_wh", "gru_bi", "gru_bh")
        return torch.gru_cell(features, memory, *(self.tensors[name] for name in names))

    def _head(self, features: torch.Tensor) -> torch.Tensor:
        last = self.layers - 1
        out = self.linear(features, f"w{last}", f"b{last}")
        if self.free:
            out = torch.cat([out, self.tensors["free"].unsqueeze(-2).expand(*out.shape[:-1], self.free)], dim=-1)
        return out


class Adam:
    """Adam (Kingma and Ba 2015, algorithm 1) on one network's flat vector, with clipping of the gradient's norm."""

    BETA1, BETA2 = 0.9, 0.999

    def __init__(self, network: Network, epsilon: float, max_norm: float) -> None:
        self.network, self.epsilon, self.max_norm = network, epsilon, max_norm
        self.first, self.second = torch.zeros_like(network.flat), torch.zeros_like(network.flat)
        self._scratch = torch.empty_like(network.flat)
        self.steps = 0

    def step(self, rate: float) -> torch.Tensor:
        """Apply the network's gradient; returns the gradient's norm before clipping, [] or [agents]."""
        gradient = self.network.gradient
        norm = torch.linalg.vector_norm(gradient, dim=-1, keepdim=True)
        if self.max_norm:
            gradient.mul_((self.max_norm / (norm + 1e-6)).clamp_(max=1.0))
        self.steps += 1
        self._move(gradient, rate)
        return norm[..., 0]

    def _move(self, gradient: torch.Tensor, rate: float) -> None:
        # m ← β1 m + (1−β1) g;  v ← β2 v + (1−β2) g²;  θ ← θ − rate · m̂ / (√v̂ + ε)
        self.first.lerp_(gradient, 1 - self.BETA1)
        self.second.mul_(self.BETA2).addcmul_(gradient, gradient, value=1 - self.BETA2)
        bias1, bias2 = 1 - self.BETA1**self.steps, 1 - self.BETA2**self.steps
        denominator = torch.sqrt(self.second, out=self._scratch).div_(math.sqrt(bias2)).add_(self.epsilon)
        self.network.flat.addcdiv_(self.first, denominator, value=-rate / bias1)

    @classmethod
    def together(cls, optimisers: Sequence[Adam], network: Network) -> Adam:
        """The optimisers of equal networks, all of one kind, as one of that kind for ``network``, their union; each becomes a view of its row."""
        first = optimisers[0]
        whole = type(first)(network, first.epsilon, first.max_norm)
        whole.steps = first.steps
        for index, optimiser in enumerate(optimisers):
            whole.first[index], whole.second[index] = optimiser.first, optimiser.second
            optimiser.first, optimiser.second = whole.first[index], whole.second[index]
        return whole


class GradientSteps(Adam):
    """Plain gradient descent with the same clipping, θ ← θ − rate · g; the moments stay zero."""

    def _move(self, gradient: torch.Tensor, rate: float) -> None:
        self.network.flat.add_(gradient, alpha=-rate)


OPTIMISERS = {"adam": Adam, "sgd": GradientSteps}


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
        start_weight(weight, generator, orthogonal, gain)
        if not orthogonal:
            bias.uniform_(-1 / math.sqrt(weight.shape[1]), 1 / math.sqrt(weight.shape[1]), generator=generator)


def start_weight(weight: torch.Tensor, generator: torch.Generator, orthogonal: bool, gain: float) -> None:
    """Initial weights of one matrix: orthogonal with this gain, or uniform within 1/sqrt(fan-in)."""
    if orthogonal:
        torch.nn.init.orthogonal_(weight, gain, generator=generator)
    else:
        bound = 1 / math.sqrt(weight.shape[1])
        weight.uniform_(-bound, bound, generator=generator)
