"""What an agent hears of its neighbours: their policies where they stood, and what they saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping

import numpy as np
import torch

from ..learning.distributions import Categorical, Distribution, Gaussian, distribution_of
from ..learning.models import BLOCKED, Policy
from ..network.exchange import Inbox, Letter
from ..world.world import Rollout
from .acting import along
from .modelling import Model
from .protocol import Seat

CERTAIN = -20.0
"""Log standard deviation of a continuous action that is certain."""


@dataclass
class Neighbour:
    """What was heard of one neighbour in this round: its policy at R = (T+1)·B + F states and its actions.

    outputs [R, outputs + free], masks applied; present [R] bool; action [T·B, words]. All None: nothing, it is absent.
    encoded [T·B, width], expected [R, width]: what a critic reads of the actions, and its mean; worked out once, when first asked for.
    """

    outputs: torch.Tensor | None = None
    present: torch.Tensor | None = None
    action: torch.Tensor | None = None
    encoded: torch.Tensor | None = None
    expected: torch.Tensor | None = None


class Part:
    """The states of a rollout that belong to its first environment copies."""

    def __init__(self, rollout: Rollout, of: int, copies: int) -> None:
        self.copies = copies
        self.begins, self.final_at = rollout.begins[:, :copies], rollout.final_at
        self.taken: Any = slice(None)
        self.states: Any = slice(None)
        self.rows, self.steps = rollout.alive.size + len(rollout.final_at), rollout.reward.size
        if copies < of:
            running = np.arange(rollout.alive.size).reshape(rollout.alive.shape)[:, :copies]
            finals = np.flatnonzero(rollout.final_at[:, 1] < copies)
            self.final_at = rollout.final_at[finals]
            self.taken = torch.from_numpy(running[:-1].ravel().copy())
            self.states = torch.from_numpy(np.concatenate([running.ravel(), rollout.alive.size + finals]))

    def whole(self, outputs: torch.Tensor, present: torch.Tensor, action: torch.Tensor) -> Neighbour:
        """A neighbour known in these states, and absent in the others."""
        if isinstance(self.states, slice):
            return Neighbour(outputs, present, action)
        everywhere = Neighbour(
            outputs.new_zeros(self.rows, outputs.shape[1]),
            present.new_zeros(self.rows),
            action.new_zeros(self.steps, action.shape[1]),
        )
        for target, places, values in (
            (everywhere.outputs, self.states, outputs),
            (everywhere.present, self.states, present),
            (everywhere.action, self.taken, action),
        ):
            assert target is not None
            target[places] = values
        return everywhere


class Hearing:
    """What one agent holds of those whose policies it embeds, and what it makes of a round's letters."""

    def __init__(self, seat: Seat, embedded: list[int], device: torch.device) -> None:
        self.seat, self.team, self.embedded, self.device = seat, seat.team, embedded, device
        self.peers: dict[int, Policy] = {}
        """The newest policy that is held of each neighbour, once one has come."""
        self.models = {
            other: Model(
                seat.spec,
                distribution_of(self.team.specs[other].action),
                seat.settings.model,
                seat.settings.modelling,
                np.random.SeedSequence(seat.seed, spawn_key=(0, seat.index, other)),
                device,
            )
            for other in embedded
            if "choices" not in self._told_by(other) and self.team.settings[other].share == "modelled"
        }
        self.held_since = {other: -1 for other in embedded}
        """Round of the newest policy that is held of each neighbour; −1: none."""
        self.ages: dict[int, int] = {}
        """Age in rounds of each embedded neighbour's policy in the last exchange; absent ones are not listed."""
        self.hops: dict[int, int] = {}
        """Edges along which came what is embedded of each neighbour."""

    def _told_by(self, other: int) -> list[str]:
        return self.team.methods[other].tells(self.team, other)

    @torch.no_grad()
    def hear(
        self, rollout: Rollout, inbox: Inbox, round_number: int, observation: torch.Tensor, mask: torch.Tensor | None
    ) -> list[Neighbour]:
        """Neighbours' policies at the states of the rollout, from what arrived and from what is held. observation, mask [R, …]: the own
        ones, for those whose policies are evaluated there."""
        found = []
        self.ages.clear()
        self.hops.clear()
        for other in self.embedded:
            letter = inbox.get(other, Letter())
            if "policy" in letter.sections and letter.made > self.held_since[other]:
                self._hold(other, letter.sections["policy"])
                self.held_since[other] = letter.made
            neighbour = self._neighbour(other, letter, rollout, observation, mask)
            if neighbour.outputs is not None:
                fresh = other in self.models or not {"outputs", "choices"}.isdisjoint(letter.sections)
                self.ages[other] = round_number - (round_number if fresh else self.held_since[other])
                self.hops[other] = letter.hops
            found.append(neighbour)
        return found

    def _hold(self, other: int, flat: np.ndarray) -> None:
        if other not in self.peers:
            self.peers[other] = self.team.policy_of(other)
            self.peers[other].to(self.device)
        self.peers[other].fill(torch.from_numpy(flat.copy()))

    def _neighbour(
        self, other: int, letter: Letter, rollout: Rollout, observation: torch.Tensor, mask: torch.Tensor | None
    ) -> Neighbour:
        """What is known of one neighbour; nothing when it is absent: no policy, or not this round's experience of it."""
        share, sections = self.team.settings[other].share, letter.sections
        if "actions" not in sections or "presence" not in sections:
            return Neighbour()
        distribution = distribution_of(self.team.specs[other].action)
        action = distribution.read(sections["actions"].view(np.float32)).to(self.device)
        present = self._tensor(sections["presence"].astype(bool))
        # The first copies only, where a budget left no room for all.
        part = Part(rollout, self.seat.copies, letter.copies or self.seat.copies)
        told = self._told_by(other)
        if "choices" in told:
            if "choices" not in sections:
                return Neighbour()
            choices = distribution.read(sections["choices"].view(np.float32)).to(self.device)
            return part.whole(point(distribution, choices), present, action)
        if "outputs" in told:
            if "outputs" not in sections:
                return Neighbour()
            return part.whole(self._tensor(sections["outputs"]), present, action)
        if share == "modelled":
            seen = observation[part.states]
            outputs = self.models[other].outputs(seen)
            running = present[: len(action)]
            self.models[other].fit(seen[: len(action)][running], action[running])
            return part.whole(outputs, present, action)
        if other not in self.peers:
            return Neighbour()
        policy = self.peers[other]
        if policy.width and "memory" not in sections:
            return Neighbour()
        memory = self._tensor(sections["memory"]) if policy.width else policy.begin(part.copies)
        if share == "own_view":
            seen = observation[part.states]
            mask = None if mask is None else mask[part.states]
        else:
            if "observations" in letter.team:
                seen = self._tensor(letter.team["observations"])[part.states]
            elif "observations" in sections:
                seen = self._tensor(sections["observations"])
            else:
                return Neighbour()
            if self.team.specs[other].masked and "masks" not in sections:
                return Neighbour()
            mask = self._tensor(sections["masks"]) if "masks" in sections else None
        identity = self.team.identity_of(other).to(self.device)
        if len(identity):
            seen = torch.cat([seen, identity.expand(len(seen), -1)], 1)
        outputs, _ = along(policy, distribution, seen, mask, part.begins, part.final_at, memory, action)
        return part.whole(outputs, present, action)

    def observations(self, other: int, rollout: Rollout, inbox: Inbox) -> tuple[torch.Tensor, torch.Tensor]:
        """(what a neighbour saw [R, size], whether it is known and was there [R] bool): zeros where it is not."""
        states = rollout.alive.size + len(rollout.final_at)
        seen = torch.zeros(states, self.team.specs[other].observation_size, device=self.device)
        known = torch.zeros(states, dtype=torch.bool, device=self.device)
        letter = inbox.get(other, Letter())
        whole = letter.team.get("observations")
        told = letter.sections.get("observations") if whole is None else whole
        if told is None or "presence" not in letter.sections:
            return seen, known
        part = Part(rollout, self.seat.copies, letter.copies or self.seat.copies)
        present = self._tensor(letter.sections["presence"].astype(bool))
        here = self._tensor(told) if whole is None else self._tensor(told)[part.states]
        seen[part.states], known[part.states] = here * present.unsqueeze(1), present
        return seen, known

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array.copy()).to(self.device)

    # State

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """(arrays, numbers) that a resumed run needs."""
        arrays = {f"held.{other}": policy.flat.cpu().numpy() for other, policy in self.peers.items()}
        models: dict[str, Any] = {}
        for other, model in self.models.items():
            found, models[str(other)] = model.state()
            arrays |= {f"model.{other}.{name}": array for name, array in found.items()}
        return arrays, {"held_since": {str(k): v for k, v in self.held_since.items()}, "models": models}

    def restore(self, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> None:
        """Continue from :meth:`state`."""
        for other in self.embedded:
            self.held_since[other] = numbers["held_since"][str(other)]
            if f"held.{other}" in arrays:
                self._hold(other, arrays[f"held.{other}"])
        for other, model in self.models.items():
            of_model = {name: arrays[f"model.{other}.{name}"] for name in ("policy", "first", "second")}
            model.restore(of_model, numbers["models"][str(other)])


def point(distribution: Distribution, action: torch.Tensor) -> torch.Tensor:
    """Outputs [M, outputs + free] of a policy that is certain to take an action [M, words]."""
    if isinstance(distribution, Categorical):
        outputs = torch.full((len(action), distribution.outputs), BLOCKED, device=action.device)
        starts = torch.tensor([0, *np.cumsum(distribution.sizes[:-1])], device=action.device)
        return outputs.scatter_(1, starts + action.long(), 0.0)
    if isinstance(distribution, Gaussian):
        return torch.cat([action, torch.full_like(action, CERTAIN)], 1)
    number = len(distribution.counted.sizes)
    parts = ((distribution.counted, action[:, :number]), (distribution.continuous, action[:, number:]))
    return torch.cat([point(one, values) for one, values in parts], 1)
