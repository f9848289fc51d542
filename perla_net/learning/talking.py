"""Policies that say something to neighbours at every step, and hear theirs, before they act: one network, in four parts.

    inner          = meet(read(o), h)             what it makes of its observation, and then of its memory
    m              = say(k, inner)                its message in pass k = 0 … passes − 1, [copies, sizes_said[k]]
    inner          = hear(k, inner, heard)        what it makes of its neighbours' messages
    outputs        = decide_by(inner["h"])        what its distribution takes
    h              = remember(inner, outputs)     its memory

read and decide_by know nothing of time, and are taken for all steps of a rollout at once where something is learned from it.

All have a GRU (Cho et al. 2014) as wide as the last hidden layer. e(o): the hidden layers. A neighbour's messages may have any size: each goes
through a learned projection of its own size. With nobody heard every formula below has c = 0.

Several equal ones side by side (:meth:`~.models.Network.together`) are one network of this kind, with an axis of agents in front of M everywhere.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, Sequence

import torch

from ..ground.errors import InputError
from .models import Network, Policy, start_weight


class Words(NamedTuple):
    """Of every neighbour, in order: numbers [M, size], zero where absent; present [neighbours, M] float, 1 or 0; of several agents side by side
    [agents, M, size] and [neighbours, agents, M]."""

    numbers: Sequence[torch.Tensor]
    present: torch.Tensor


Inner = dict[str, torch.Tensor]
TALKING: dict[str, type[TalkingPolicy]] = {}
"""Kinds of messages by name: those of this module, and of every module that is loaded."""


class TalkingPolicy(Policy):
    """What these policies have in common. ``heard``: sizes of each neighbour's messages, by pass; ``own``: other numbers that its kind takes."""

    kind: ClassVar[str]
    """What descriptions call it; a subclass that has one is known by it."""
    gates = False
    """Whether it decides whether to speak."""
    teaches = True
    """Whether gradients go back to those that it hears: what they say is learned."""
    side_by_side = False
    """Whether its parts can be taken for several equal networks at once: they use :meth:`~.models.Network.linear`, and count axes from the end."""
    noisy = 0
    """Numbers of noise in its messages, while it learns."""

    def __init_subclass__(cls) -> None:
        if "kind" in vars(cls):
            TALKING[cls.kind] = cls

    def __init__(
        self,
        observation: int,
        hidden: tuple[int, ...],
        outputs: int,
        free: int,
        activation: str,
        heard: Sequence[Sequence[int]],
        own: dict[str, Any],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(observation, hidden, outputs, free, activation, "none")
        self.hidden, self.heard, self.own = hidden[-1], tuple(tuple(sizes) for sizes in heard), dict(own)
        self.description = {
            **{
                "talks": self.kind,
                "observation": observation,
                "hidden": list(hidden),
                "outputs": outputs,
                "free": free,
            },
            **{"activation": activation, "heard": [list(sizes) for sizes in heard], "own": dict(own)},
        }
        self.sizes_said = self.says(hidden[-1], observation, outputs + free, own)
        self.passes = len(self.sizes_said)
        self.width = self.remembered()
        shapes = dict(self.shapes)
        reads, width = self.read_by_memory(), self.hidden
        shapes |= {
            "gru_wi": (3 * width, reads),
            "gru_wh": (3 * width, width),
            "gru_bi": (3 * width,),
            "gru_bh": (3 * width,),
        }
        Network.__init__(self, shapes | self.talking_shapes(), dtype)

    # What its kind says

    @classmethod
    def says(cls, hidden: int, observation: int, outputs: int, own: dict[str, Any]) -> tuple[int, ...]:
        """Sizes of its messages, by pass."""
        raise NotImplementedError

    def remembered(self) -> int:
        """Numbers in its memory."""
        return self.hidden

    def read_by_memory(self) -> int:
        """Numbers that its GRU reads."""
        return self.hidden

    def talking_shapes(self) -> dict[str, tuple[int, ...]]:
        """Parameters beside hidden layers and GRU."""
        return {}

    def read(self, observation: torch.Tensor) -> Inner:
        """What it makes of observations [M, …] alone, [M, …] each."""
        return {"e": self._body(observation)}

    def meet(self, read: Inner, memory: torch.Tensor) -> Inner:
        """What it makes of that and of its memory [M, width]."""
        return {**read, "h": memory}

    def say(self, k: int, inner: Inner, noise: torch.Tensor | None = None) -> torch.Tensor:
        """Its message [M, sizes_said[k]]; noise [M, noisy]: where it learns; None: as it acts when it has learned."""
        raise NotImplementedError

    def gate(self, inner: Inner) -> torch.Tensor:
        """Logit [M] that it speaks, of a policy that :attr:`gates`."""
        raise NotImplementedError

    def hear(self, k: int, inner: Inner, heard: Words) -> Inner:
        """What it makes of what it hears in pass k."""
        raise NotImplementedError

    def decide_by(self, code: torch.Tensor) -> torch.Tensor:
        """Outputs [M, outputs + free] of what it ends a step with, ``inner["h"]`` [M, hidden]."""
        return self._head(code)

    keeps_outputs = False
    """Whether its memory holds what it decided."""

    def remember(self, inner: Inner, outputs: torch.Tensor) -> torch.Tensor:
        """Its memory [M, width] after a step; outputs: of the step, through which no gradient goes."""
        return inner["h"]

    # What they share

    def start(self, generator: torch.Generator, orthogonal: bool, last_gain: float, deviation: float = 1.0) -> None:
        """See :class:`~.models.Policy`; matrices of messages start with gain 1."""
        width, self.width = self.width, 0
        super().start(generator, orthogonal, last_gain, deviation)
        self.width = width
        for name in ("gru_wi", "gru_wh"):
            for gate in self.frozen[name].chunk(3):
                start_weight(gate, generator, orthogonal, 1.0)
        for name, shape in self.talking_shapes().items():
            if len(shape) == 2:
                start_weight(self.frozen[name], generator, orthogonal, 1.0)

    def _gru(self, read: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        if self.flat.dim() == 1:
            names = ("gru_wi", "gru_wh", "gru_bi", "gru_bh")
            return torch.gru_cell(read, memory, *(self.tensors[name] for name in names))
        # As torch's cell: r, z = σ(W_i x + b_i + W_h h + b_h);  n = tanh(W_i x + b_i + r (W_h h + b_h));  h' = n + z (h − n)
        wide = 2 * self.hidden
        x, h = self.linear(read, "gru_wi", "gru_bi"), self.linear(memory, "gru_wh", "gru_bh")
        r, z = torch.sigmoid(x[..., :wide] + h[..., :wide]).chunk(2, -1)
        n = torch.tanh(torch.addcmul(x[..., wide:], r, h[..., wide:]))
        return torch.lerp(n, memory, z)

    def _bias(self, name: str) -> torch.Tensor:
        """[1, size]."""
        return self.tensors[name].unsqueeze(-2)

    def _mean(self, name: str, k: int, heard: Words, size: int) -> torch.Tensor:
        """Σ_j P_j m_j / number of those that are heard, [M, size]; P one matrix for all messages of one size."""
        total = heard.present.new_zeros(*heard.present.shape[1:], size)
        for numbers, sizes in zip(heard.numbers, self.heard):
            if k < len(sizes):
                total = total + self.linear(numbers, f"{name}_{sizes[k]}")
        return total / heard.present.sum(0).clamp(min=1).unsqueeze(-1)

    def _projections(self, name: str, k: int, size: int) -> dict[str, tuple[int, ...]]:
        return {f"{name}_{sizes[k]}": (size, sizes[k]) for sizes in self.heard if k < len(sizes)}

    def silence(self, rows: int, k: int) -> Words:
        """Nobody is heard."""
        lead = self.flat.shape[:-1]
        numbers = [self.flat.new_zeros(*lead, rows, sizes[k] if k < len(sizes) else 0) for sizes in self.heard]
        return Words(numbers, self.flat.new_zeros(len(self.heard), *lead, rows))

    def step(
        self, observation: torch.Tensor, memory: torch.Tensor, begins: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`~.models.Policy`: one step in which nobody is heard."""
        inner = self.meet(self.read(observation), memory * ~begins.unsqueeze(1))
        for k in range(self.passes):
            inner = self.hear(k, inner, self.silence(len(observation), k))
        outputs = self.decide_by(inner["h"])
        return outputs, self.remember(inner, outputs.detach())

    def sequence(
        self, observation: torch.Tensor, memory: torch.Tensor, begins: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`~.models.Policy`: steps in which nobody is heard."""
        outputs, memories = [], []
        for x, begin in zip(observation, begins):
            out, memory = self.step(x, memory, begin)
            outputs.append(out)
            memories.append(memory)
        return torch.stack(outputs), torch.stack(memories)


class CommNet(TalkingPolicy):
    """h⁰ = GRU(e(o), h);  m_k = h^k;  c^k = mean over those heard of C_k m_k;  h^{k+1} = tanh(H_k h^k + c^k);  h = h^K, ``passes`` = K.

    Sukhbaatar et al. 2016, arXiv 1605.07736, equation 2, with a GRU in the place of its encoder.
    """

    kind, side_by_side = "commnet", True

    @classmethod
    def says(cls, hidden: int, observation: int, outputs: int, own: dict[str, Any]) -> tuple[int, ...]:
        """The hidden state, in each pass."""
        return (hidden,) * own["passes"]

    def talking_shapes(self) -> dict[str, tuple[int, ...]]:
        """H and its bias, and C for each size of message, of each pass."""
        found: dict[str, tuple[int, ...]] = {}
        for k in range(self.passes):
            found |= {f"h{k}": (self.hidden, self.hidden), f"hb{k}": (self.hidden,)} | self._projections(
                f"c{k}", k, self.hidden
            )
        return found

    def meet(self, read: Inner, memory: torch.Tensor) -> Inner:
        """See :class:`TalkingPolicy`."""
        return {"h": self._gru(read["e"], memory)}

    def say(self, k: int, inner: Inner, noise: torch.Tensor | None = None) -> torch.Tensor:
        """See :class:`TalkingPolicy`."""
        return inner["h"]

    def hear(self, k: int, inner: Inner, heard: Words) -> Inner:
        """See :class:`TalkingPolicy`."""
        own = self.linear(inner["h"], f"h{k}", f"hb{k}")
        return {"h": torch.tanh(own + self._mean(f"c{k}", k, heard, self.hidden))}


class IC3Net(TalkingPolicy):
    """m = h of the step before, said where a gate g ~ Bernoulli(σ(w h + b)) is open;  c = mean over those heard of C m;  h = GRU(e(o) + c, h).

    Singh et al. 2019, arXiv 1812.09755, equations 3 to 5, with a GRU for its LSTM. The gate is an action of the policy.
    """

    kind, side_by_side = "ic3net", True
    gates = True

    @classmethod
    def says(cls, hidden: int, observation: int, outputs: int, own: dict[str, Any]) -> tuple[int, ...]:
        """The hidden state."""
        return (hidden,)

    def talking_shapes(self) -> dict[str, tuple[int, ...]]:
        """The gate's, and C for each size of message."""
        return {"gate_w": (1, self.hidden), "gate_b": (1,)} | self._projections("c", 0, self.hidden)

    def say(self, k: int, inner: Inner, noise: torch.Tensor | None = None) -> torch.Tensor:
        """See :class:`TalkingPolicy`."""
        return inner["h"]

    def gate(self, inner: Inner) -> torch.Tensor:
        """See :class:`TalkingPolicy`."""
        return self.linear(inner["h"], "gate_w", "gate_b")[..., 0]

    def hear(self, k: int, inner: Inner, heard: Words) -> Inner:
        """See :class:`TalkingPolicy`."""
        return {"h": self._gru(inner["e"] + self._mean("c", 0, heard, self.hidden), inner["h"])}


class DIAL(TalkingPolicy):
    """m = DRU(W h + b) of the h of the step before, ``bits`` numbers;  h = GRU(e(o) + mean over those heard of C (2m − 1), h): an absent bit is in the
    middle between both.

    DRU(x) = σ(x + ``noise`` · ε), ε ~ N(0, 1), while it learns, and 1[x > 0] when it acts. Foerster et al. 2016, arXiv 1605.06676, section 5.2; learned
    by the policy's gradient, as in Chu et al. 2020, where the source learns Q-values.
    """

    kind, side_by_side = "dial", True
    START = 8.0
    """Gain of W at the start. Hidden states begin near 0.1, and with a gain of 1 no bit would rise above the noise."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.noisy = self.sizes_said[0]

    @classmethod
    def says(cls, hidden: int, observation: int, outputs: int, own: dict[str, Any]) -> tuple[int, ...]:
        """So many bits."""
        return (own["bits"],)

    def start(self, generator: torch.Generator, orthogonal: bool, last_gain: float, deviation: float = 1.0) -> None:
        """See :class:`TalkingPolicy`."""
        super().start(generator, orthogonal, last_gain, deviation)
        self.frozen["said_w"].mul_(self.START)

    def talking_shapes(self) -> dict[str, tuple[int, ...]]:
        """W, b, and C for each size of message."""
        bits = self.own["bits"]
        return {"said_w": (bits, self.hidden), "said_b": (bits,)} | self._projections("c", 0, self.hidden)

    def say(self, k: int, inner: Inner, noise: torch.Tensor | None = None) -> torch.Tensor:
        """See :class:`TalkingPolicy`."""
        x = self.linear(inner["h"], "said_w", "said_b")
        return (x > 0).to(x.dtype) if noise is None else torch.sigmoid(x + self.own["noise"] * noise)

    def hear(self, k: int, inner: Inner, heard: Words) -> Inner:
        """See :class:`TalkingPolicy`."""
        bits = [(2 * m - 1) * there.unsqueeze(-1) for m, there in zip(heard.numbers, heard.present)]
        read = inner["e"] + self._mean("c", 0, Words(bits, heard.present), self.hidden)
        return {"h": self._gru(read, inner["h"])}


class NeurComm(TalkingPolicy):
    """m = (o, π and h of the step before);  h = GRU([relu(W_o [o, o_N] + b), relu(W_π π_N + b), relu(W_h h_N + b)], h): what neighbours see, do and
    think, each encoded apart, with a flag of each neighbour that is not heard beside its observation. The gradient goes through h_N alone.

    Chu et al. 2020, arXiv 2004.01339, equation 5, with a GRU for its LSTM. The memory is (h, π).
    """

    kind, side_by_side = "neurcomm", True
    keeps_outputs = True

    def __init__(self, observation: int, hidden: tuple[int, ...], *arguments: Any, **named: Any) -> None:
        super().__init__(observation, hidden[-1:], *arguments, **named)  # e(o) is W_o

    @classmethod
    def says(cls, hidden: int, observation: int, outputs: int, own: dict[str, Any]) -> tuple[int, ...]:
        """Observation, policy, hidden state."""
        return (observation + outputs + hidden,)

    @property
    def policy_size(self) -> int:
        """Numbers in what it says of its policy."""
        return self.sizes[-1] + self.free

    def remembered(self) -> int:
        """The hidden state, and the policy of the last step."""
        return self.hidden + self.policy_size

    def read_by_memory(self) -> int:
        """Three codes."""
        return 3 * self.hidden

    def talking_shapes(self) -> dict[str, tuple[int, ...]]:
        """A matrix for each part of each neighbour's message; ``own.parts``: (observation, policy, hidden) of each."""
        found = {"pi_b": (self.hidden,), "think_b": (self.hidden,)}
        for n, parts in enumerate(self.own["parts"]):
            for name, size in zip(("see", "pi", "think"), (parts[0] + 1, *parts[1:])):
                found[f"{name}_{n}"] = (self.hidden, size)
        return found

    def read(self, observation: torch.Tensor) -> Inner:
        """See :class:`TalkingPolicy`."""
        see = self.linear(self.completed(observation), "w0", "b0")
        return {"o": observation, "see": see}

    def meet(self, read: Inner, memory: torch.Tensor) -> Inner:
        """See :class:`TalkingPolicy`."""
        return {**read, "h": memory[..., : self.hidden], "pi": memory[..., self.hidden :]}

    def say(self, k: int, inner: Inner, noise: torch.Tensor | None = None) -> torch.Tensor:
        """See :class:`TalkingPolicy`."""
        return torch.cat([inner["o"], inner["pi"].detach(), inner["h"]], -1)

    def hear(self, k: int, inner: Inner, heard: Words) -> Inner:
        """See :class:`TalkingPolicy`."""
        see = inner["see"]
        pi, think = self._bias("pi_b").expand_as(see), self._bias("think_b").expand_as(see)
        for n, (numbers, present) in enumerate(zip(heard.numbers, heard.present)):
            seen, done, thought = numbers.split(list(self.own["parts"][n]), -1)
            seen = torch.cat([seen.detach(), 1 - present.unsqueeze(-1)], -1)
            see = see + self.linear(seen, f"see_{n}")
            pi = pi + self.linear(done.detach(), f"pi_{n}")
            think = think + self.linear(thought, f"think_{n}")
        read = torch.relu(torch.cat([see, pi, think], -1))
        return {"h": self._gru(read, inner["h"])}

    def remember(self, inner: Inner, outputs: torch.Tensor) -> torch.Tensor:
        """See :class:`TalkingPolicy`; what it says of its policy are the shares of its actions, or what its distribution takes."""
        return torch.cat([inner["h"], shares_of(outputs, self.own["shares"])], -1)


class TarMAC(TalkingPolicy):
    """m = (signature k, value v) of the h of the step before;  α_j = softmax over those heard of q · k_j / √d, with q of the own h;
    h = GRU(e(o) + C Σ_j α_j v_j, h).

    Das et al. 2019, arXiv 1810.11187, equations 2 to 4, one round of communication, with a GRU.
    """

    kind, side_by_side = "tarmac", True

    @classmethod
    def says(cls, hidden: int, observation: int, outputs: int, own: dict[str, Any]) -> tuple[int, ...]:
        """Signature and value."""
        return (own["signature"] + own["value"],)

    def talking_shapes(self) -> dict[str, tuple[int, ...]]:
        """Of signature and value, of the query, and C; neighbours' messages of other sizes through a matrix each."""
        key, value = self.own["signature"], self.own["value"]
        found = {"said_w": (key + value, self.hidden), "said_b": (key + value,), "query_w": (key, self.hidden)}
        found |= {"query_b": (key,), "c": (self.hidden, value)}
        others = self._projections("as_own", 0, key + value)
        return found | {name: shape for name, shape in others.items() if shape[0] != shape[1]}

    def say(self, k: int, inner: Inner, noise: torch.Tensor | None = None) -> torch.Tensor:
        """See :class:`TalkingPolicy`."""
        return self.linear(inner["h"], "said_w", "said_b")

    def hear(self, k: int, inner: Inner, heard: Words) -> Inner:
        """See :class:`TalkingPolicy`."""
        key = self.own["signature"]
        read = inner["e"]
        if self.heard:
            query = self.linear(inner["h"], "query_w", "query_b")
            words = []
            for numbers, (size,) in zip(heard.numbers, self.heard):
                name = f"as_own_{size}"
                words.append(self.linear(numbers, name) if name in self.tensors else numbers)
            said = torch.stack(words)  # [neighbours, M, signature + value]
            score = (query * said[..., :key]).sum(-1) / key**0.5
            share = torch.where(heard.present > 0, score, -1e9).softmax(0) * heard.present
            read = read + self.linear((share.unsqueeze(-1) * said[..., key:]).sum(0), "c")
        return {"h": self._gru(read, inner["h"])}


class Fingerprint(TalkingPolicy):
    """m = π of the step before;  h = GRU(e(o) + relu(Σ_j W_j [π_j, whether it is heard] + b), h). Nothing of what is said is learned.

    Foerster et al. 2017, arXiv 1702.08887, as a baseline of networked learning in Chu et al. 2020, arXiv 2004.01339. The memory is (h, π).
    """

    kind, side_by_side = "fingerprint", True
    teaches = False
    keeps_outputs = True

    @classmethod
    def says(cls, hidden: int, observation: int, outputs: int, own: dict[str, Any]) -> tuple[int, ...]:
        """The policy."""
        return (outputs,)

    def remembered(self) -> int:
        """The hidden state, and the policy of the last step."""
        return self.hidden + self.sizes[-1] + self.free

    def talking_shapes(self) -> dict[str, tuple[int, ...]]:
        """A matrix for each neighbour."""
        found: dict[str, tuple[int, ...]] = {"pi_b": (self.hidden,)}
        return found | {f"pi_{n}": (self.hidden, size + 1) for n, (size,) in enumerate(self.heard)}

    def meet(self, read: Inner, memory: torch.Tensor) -> Inner:
        """See :class:`TalkingPolicy`."""
        return {**read, "h": memory[..., : self.hidden], "pi": memory[..., self.hidden :]}

    def say(self, k: int, inner: Inner, noise: torch.Tensor | None = None) -> torch.Tensor:
        """See :class:`TalkingPolicy`."""
        return inner["pi"].detach()

    def hear(self, k: int, inner: Inner, heard: Words) -> Inner:
        """See :class:`TalkingPolicy`."""
        pi = self._bias("pi_b").expand_as(inner["e"])
        for n, (numbers, present) in enumerate(zip(heard.numbers, heard.present)):
            pi = pi + self.linear(torch.cat([numbers.detach(), present.unsqueeze(-1)], -1), f"pi_{n}")
        return {"h": self._gru(inner["e"] + torch.relu(pi), inner["h"])}

    def remember(self, inner: Inner, outputs: torch.Tensor) -> torch.Tensor:
        """See :class:`TalkingPolicy`."""
        return torch.cat([inner["h"], shares_of(outputs, self.own["shares"])], -1)


def shares_of(outputs: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """What an agent says of its policy [M, n]: the shares of its actions, before masks, of components of these sizes; without such the outputs."""
    return torch.cat([part.softmax(-1) for part in outputs.split(list(sizes), -1)], -1) if sizes else outputs


def size_of(description: dict[str, Any]) -> tuple[int, ...]:
    """Numbers in the messages of the network that a description tells, by pass. Raises InputError."""
    told = description
    return _kind(told["talks"]).says(
        told["hidden"][-1], told["observation"], told["outputs"] + told["free"], told["own"]
    )


def talking_from(description: dict[str, Any]) -> TalkingPolicy:
    """The network that :attr:`TalkingPolicy.description` tells, with zero weights. Raises InputError for a kind that no loaded module has."""
    told = dict(description)
    kind = _kind(told.pop("talks"))
    return kind(**told | {"hidden": tuple(told["hidden"])})


def _kind(name: str) -> type[TalkingPolicy]:
    if name not in TALKING:  # a checkpoint is data: what it names is not imported for it
        raise InputError(
            f"its messages are of kind {name!r}, which no module that is loaded defines; import the one that does first"
        )
    return TALKING[name]
