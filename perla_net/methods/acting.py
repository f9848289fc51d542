"""What all methods have in common that act by a policy network: acting, and telling others what they want of the policy."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

import numpy as np
import torch

from ..learning.build import policy_for
from ..learning.distributions import Distribution, Gaussian, distribution_of
from ..learning.models import BLOCKED, Policy
from ..network.exchange import Inbox, Sections
from ..world.world import Rollout
from .keeping import Part, faults_of, not_finite, restore_parts, state_of
from .player import Player
from .protocol import Method, Seat
from .rewards import mixed
from .team import Team


class Acting(Method):
    """A method with a policy network, its player, and a private stream of action noise.

    Subclasses call ``super().__init__`` with their network and stream, and say in :meth:`parts` what a checkpoint keeps beside these.
    """

    def __init__(self, seat: Seat, policy: Policy, noise: np.random.SeedSequence) -> None:
        """``policy``: with its initial parameters; ``noise``: seed of the noise in its actions."""
        super().__init__(seat)
        self.distribution = distribution_of(self.spec.action)
        self.identity = self.team.identity_of(self.index).to(self.device)
        self.policy = policy
        self.noise_rng = np.random.default_rng(noise)
        self._player = Player(policy, self.distribution, self.identity, self.copies, self.horizon)
        self.mark()
        self.observation = torch.zeros(0)
        """Of the last rollout's R = (T+1)·B + F states, [R, size]."""
        self.mask: torch.Tensor | None = None
        self.outputs = torch.zeros(0)
        """Of the policy in these states, masks applied: what the distribution takes, [R, outputs + free]."""
        self.memories: torch.Tensor | None = None
        """The policy's memories there, [R, width], where it has one."""

    # What is known before anything is built

    @classmethod
    def policy_for(cls, team: Team, index: int) -> Policy:
        """See :class:`Method`: by default of the agent's ``--model.…``, with outputs for its distribution."""
        return policy_for(team.specs[index], team.settings[index].model, len(team.identity_of(index)))

    @classmethod
    def tells(cls, team: Team, index: int) -> list[str]:
        """See :class:`Method`: by what the agent shares."""
        settings = team.settings[index]
        if settings.share == "modelled":
            return ["actions", "presence"]
        if settings.share == "outputs":
            return ["outputs", "actions", "presence"]
        sections = ["policy"]
        if team.policy_shape(index)[1]:
            sections.append("memory")
        if settings.share == "weights":
            sections.append("observations")
            if team.specs[index].masked:
                sections.append("masks")
        return [*sections, "actions", "presence"]

    # Acting

    def player(self) -> Player:
        """See :class:`Method`."""
        self.mark()
        self._player.begin(self.noise_rng)
        return self._player

    def mark(self) -> None:
        """Note what a rollout begins with."""
        self.memory_at_start = self._player.memory
        self.noise_at_start = self.noise_rng.bit_generator.state

    def take_back(self) -> None:
        """As at the last :meth:`mark`."""
        self._player.memory = self.memory_at_start
        self.noise_rng.bit_generator.state = self.noise_at_start

    def with_identity(self, observation: torch.Tensor) -> torch.Tensor:
        """Observations [..., size] with the agent's identity appended, where a shared network needs it."""
        return self._player.with_identity(observation)

    def reward(self, rollout: Rollout, inbox: Inbox) -> torch.Tensor:
        """What it learns from, [T, B]: see ``--reward.mixing``."""
        return mixed(self.settings.reward, rollout, inbox, len(self.team.specs))

    # Telling

    def tell(self, rollout: Rollout, sections: Sequence[str]) -> Sections:
        """See :class:`Method`. The policy is the one that made the rollout."""
        observation = states(rollout.observation, rollout.final_observation)
        mask = None if rollout.mask is None else states(rollout.mask, rollout.final_mask)
        self.observation = observation.to(self.device)
        self.mask = None if mask is None else mask.to(self.device)
        self.outputs, self.memories = self.along(rollout)
        values = {
            "policy": lambda: self.policy.flat.cpu().numpy(),
            "memory": lambda: self.memory_at_start.cpu().numpy(),
            "outputs": lambda: self.outputs.cpu().numpy(),
            "observations": lambda: observation.numpy(),
        }
        if mask is not None:
            values["masks"] = mask.numpy
        return {
            name: values[name]() if name in values else of_rollout(rollout, self.distribution, name)
            for name in sections
        }

    def along(self, rollout: Rollout) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What the policy decides in the rollout's states, and its memories there; see :func:`along`."""
        return along(
            self.policy,
            self.distribution,
            self.with_identity(self.observation),
            self.mask,
            rollout.begins,
            rollout.final_at,
            self.memory_at_start,
            self.distribution.read(rollout.action).to(self.device),
        )

    @torch.no_grad()
    def distortion(self, told: Sequence[np.ndarray]) -> tuple[float | None, float | None]:
        """Of what receivers make of the policy (or of the outputs) that :meth:`tell` gave: mean relative error
        ‖x̂ − x‖ / ‖x‖, over allowed actions only, and mean KL(π, π̂) in nats over the rollout's states (None with memory)."""
        if not told:
            return None, None
        of_outputs = "outputs" in self.tells(self.team, self.index)
        true = self.outputs if of_outputs else self.policy.flat
        allowed = true > BLOCKED
        policy = None if of_outputs or self.policy.width else self.team.policy_of(self.index)
        if policy:
            policy.to(self.device)
        errors, divergences = [], []
        for vector in told:
            heard = self.tensor(vector)
            errors.append(float((heard - true)[allowed].norm() / true[allowed].norm().clamp(min=1e-12)))
            if of_outputs:
                outputs = self.distribution.masked(heard, self.mask, -1)
            elif policy:
                policy.fill(heard)
                outputs = self.distribution.masked(policy(self.with_identity(self.observation)), self.mask, -1)
                outputs = policy.decide(outputs, -1)
            else:  # with memory: it would have to be run through anew for little
                continue
            divergences.append(float(self.distribution.divergence(self.outputs, outputs).mean()))
        return sum(errors) / len(errors), sum(divergences) / len(divergences) if divergences else None

    def tensor(self, array: np.ndarray) -> torch.Tensor:
        """A copy of an array where the agent computes."""
        return torch.from_numpy(array.copy()).to(self.device)

    def faults(self) -> list[str]:
        """See :class:`~.protocol.Method`: what :meth:`parts` has must come back from a checkpoint."""
        return faults_of(self.parts(), ("policy", "noise", "memory", "identity"))

    def not_finite(self) -> list[str]:
        """See :class:`~.protocol.Method`."""
        return not_finite(self._all_parts())

    # State

    def parts(self) -> Mapping[str, Part]:
        """What changes, beside policy, memory and noise: see :mod:`~.keeping`."""
        return {}

    def _all_parts(self) -> dict[str, Part]:
        return {"policy": self.policy, "noise": self.noise_rng, **self.parts()}

    def description(self) -> dict[str, Any]:
        """See :class:`Method`."""
        return {"policy": self.policy.description}

    def acting(self) -> dict[str, np.ndarray]:
        """See :class:`Method`."""
        return {"policy": self.policy.flat.cpu().numpy(), "identity": self.identity.cpu().numpy()}

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """See :class:`Method`."""
        arrays, numbers = state_of(self._all_parts())
        return arrays | self.acting() | {"memory": self._player.memory.cpu().numpy()}, numbers

    def restore(self, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> None:
        """See :class:`Method`."""
        restore_parts(self._all_parts(), arrays, numbers)
        self._player.memory = self.tensor(arrays["memory"])
        self.mark()

    def start_from(self, arrays: Mapping[str, np.ndarray], data: Mapping[str, Any]) -> None:
        """See :class:`Method`."""
        self.policy.fill(self.tensor(arrays["policy"]))


def states(running: np.ndarray, final: np.ndarray | None) -> torch.Tensor:
    """[T+1, B, D] and [F, D] as one contiguous [R, D] tensor."""
    flat = running.reshape(-1, running.shape[-1])
    return torch.from_numpy(np.concatenate([flat, final]))


def of_rollout(rollout: Rollout, distribution: Distribution, section: str) -> np.ndarray:
    """A section that says what happened: ``actions``, ``presence``, ``rewards``."""
    if section == "presence":
        return np.concatenate([rollout.alive.reshape(-1), rollout.final_alive]).astype(np.uint8)
    if section == "rewards":
        return np.ascontiguousarray(rollout.reward).reshape(-1)
    if section != "actions":
        raise KeyError(section)
    words = np.ascontiguousarray(rollout.action).reshape(-1, rollout.action.shape[-1])
    return words if isinstance(distribution, Gaussian) else words.view(np.int32)


def recalled(policy: Policy, distribution: Distribution, action: torch.Tensor, copies: int) -> tuple[torch.Tensor, ...]:
    """What ``policy.sequence`` must be told of the actions [T·B, words], beside the rest: nothing, for most."""
    return (distribution.own(action).unflatten(0, (-1, copies)),) if policy.recalls else ()


@torch.no_grad()
def along(
    policy: Policy,
    distribution: Distribution,
    x: torch.Tensor,
    mask: torch.Tensor | None,
    begins: np.ndarray,
    final_at: np.ndarray,
    memory: torch.Tensor,
    action: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What a policy decides [R, …] at the states of a rollout, and its memories there [R, width] if it has one.

    x [R, size]; begins [T+1, B]; final_at [F, 2]; the memory at a final observation follows from that of the step before; action [T·B, words]: what
    was done, which some policies read.
    """
    memories = None
    if policy.width:
        steps, copies = begins.shape
        running = x[: steps * copies].view(steps, copies, -1)
        outputs, remembered = policy.sequence(
            running,
            memory,
            torch.from_numpy(begins.copy()).to(x.device),
            *recalled(policy, distribution, action, copies),
        )
        outputs, memories = outputs.flatten(0, 1), remembered.flatten(0, 1)
        if len(final_at):
            t, copy = torch.from_numpy(final_at).to(x.device).unbind(1)
            never = torch.zeros(len(t), dtype=torch.bool, device=x.device)
            last_outputs, last_memories = policy.step(x[steps * copies :], remembered[t, copy], never)
            outputs, memories = torch.cat([outputs, last_outputs]), torch.cat([memories, last_memories])
    else:
        outputs = policy(x)
    return policy.decide(distribution.masked(outputs, mask, -1), -1), memories
