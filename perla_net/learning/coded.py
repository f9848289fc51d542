"""A policy that reads, beside the observation, a code of what its agent has seen and done so far."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .models import Network, Policy, activation_of, start_weight


class CodedPolicy(Policy):
    """z_t = GRU(φ(W [o_t, a_{t−1}] + b), z_{t−1});  π(·|o_t, z_t) a network without memory. What others see is one policy with a memory.

    The memory [M, code + own] is (z, what the policy reads of the last action), nothing where an episode begins. Parameters of π come first in
    ``flat``, then those of the encoder, which is trained apart: :meth:`adopt` and :meth:`coder` make networks of these two parts.
    """

    recalls = True

    def __init__(
        self, observation: int, code: int, own: int, hidden: tuple[int, ...], outputs: int, free: int, activation: str
    ) -> None:
        """``observation``: numbers in it; ``code``: of z; ``own``: of what is read of an action (``distribution.own``)."""
        super().__init__(observation + code, hidden, outputs, free, activation, "none")
        self.code, self.own, self.width = code, own, code + own
        self.description = {"observation": observation, "code": code, "own": own, "hidden": list(hidden)}
        self.description |= {"outputs": outputs, "free": free, "activation": activation}
        self.coder_shapes: dict[str, tuple[int, ...]] = {
            "code_w": (code, observation + own),
            "code_b": (code,),
            "gru_wi": (3 * code, code),
            "gru_wh": (3 * code, code),
            "gru_bi": (3 * code,),
            "gru_bh": (3 * code,),
        }
        Network.__init__(self, self.shapes | self.coder_shapes)

    def start_coder(self, generator: torch.Generator, orthogonal: bool) -> None:
        """Initial weights of the encoder; those of π are its network's, see :meth:`adopt`."""
        start_weight(self.frozen["code_w"], generator, orthogonal, 1.0)
        for name in ("gru_wi", "gru_wh"):
            for gate in self.frozen[name].chunk(3):
                start_weight(gate, generator, orthogonal, 1.0)

    def adopt(self, network: Policy) -> None:
        """Let π's network, which reads (observation, code), be a view of its part here, with its own parameters."""
        size = len(network.flat)
        self.flat[:size] = network.flat
        network._view(self.flat[:size], self.gradient[:size])

    def coder(self) -> Network:
        """The encoder's parameters and gradients, a view of their part here."""
        found = Network(self.coder_shapes)
        size = len(self.flat) - len(found.flat)
        found._view(self.flat[size:], self.gradient[size:])
        return found

    # Codes

    def recall(self, memory: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        """The memory once the policy has acted: own [M, own], what it reads of its action."""
        return torch.cat([memory[:, : self.code], own], 1)

    def codes(
        self, observation: torch.Tensor, memory: torch.Tensor, begins: torch.Tensor, own: torch.Tensor
    ) -> torch.Tensor:
        """z along steps [T, B, observation] from memory [B, width]: [T, B, code]. own [≥ T − 1, B, own]: of the actions that were taken there."""
        keep = (~begins).unsqueeze(2).to(observation.dtype)
        before = torch.cat([memory[None, :, self.code :], own])[: len(observation)] * keep
        code, found = memory[:, : self.code], []
        for read, kept in zip(self._read(observation, before), keep):
            code = self._coded(read, code * kept)
            found.append(code)
        return torch.stack(found)

    def _read(self, observation: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        x = F.linear(torch.cat([observation, own], -1), self.tensors["code_w"], self.tensors["code_b"])
        return activation_of(self.activation)(x)

    def _coded(self, read: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        names = ("gru_wi", "gru_wh", "gru_bi", "gru_bh")
        return torch.gru_cell(read, code, *(self.tensors[name] for name in names))

    # As any policy with memory

    def step(
        self, observation: torch.Tensor, memory: torch.Tensor, begins: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`~.models.Policy`; :meth:`recall` says what was done."""
        memory = memory * ~begins.unsqueeze(1)
        code = self._coded(self._read(observation, memory[:, self.code :]), memory[:, : self.code])
        return self._decided(observation, code), torch.cat([code, torch.zeros_like(memory[:, self.code :])], 1)

    def sequence(
        self, observation: torch.Tensor, memory: torch.Tensor, begins: torch.Tensor, own: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`~.models.Policy`; own [≥ T − 1, B, own] as in :meth:`codes`. Memories hold what was done in the step, too, where it is known."""
        assert own is not None
        codes = self.codes(observation, memory, begins, own)
        done = torch.cat([own, own.new_zeros(1, *own.shape[1:])])[: len(codes)]
        return self._decided(observation, codes), torch.cat([codes, done], -1)

    def _decided(self, observation: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        return self._head(self._body(torch.cat([observation, code], -1)))
