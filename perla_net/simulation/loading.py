"""One agent out of a checkpoint, alone: ``perla_net.load_agent(path).act(observation)``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np
import torch

from ..ground.errors import InputError
from ..ground.files import given
from ..learning.build import policy_from
from ..learning.distributions import distribution_of
from ..learning.talking import TalkingPolicy
from ..methods.player import Follower, Player
from ..methods.troupe import Talker, words_of
from ..network.channel import Heard
from ..records import checkpoint
from ..world.spec import AgentSpec, agent_from_data


class LoadedAgent:
    """A trained policy that acts by itself in one environment."""

    def __init__(self, spec: AgentSpec, player: Player) -> None:
        self.spec, self.player = spec, player
        self.reset()

    def reset(self) -> None:
        """Begin an episode: a policy with memory forgets."""
        self._begins = True

    def act(self, observation: Any, mask: Any = None, rng: np.random.Generator | None = None) -> Any:
        """The action for one observation of the agent's own space, as its environment gives it (a Dict or Tuple where it is one): an int,
        or an array for several components, which the action space contains.

        Greedy without ``rng``, else sampled. ``mask``: allowed actions (also taken from a Dict with an ``action_mask``).
        Raises ValueError for an observation or a mask that is not of the space.
        """
        row, flags = self._read(observation, mask)
        self.player.begin(*([] if rng is None else [rng]))
        words = np.zeros((1, self.spec.action.words), np.float32)
        self.player.act(0, [row], [flags], [np.array([self._begins])], [words])
        self._begins = False
        return self.spec.action.native(words[0])

    def _read(self, observation: Any, mask: Any) -> tuple[np.ndarray, np.ndarray | None]:
        """(observation [1, size], mask [1, outputs] or None)."""
        if isinstance(observation, Mapping) and "action_mask" in observation:
            observation, mask = self.spec.apart(observation)
        try:
            row = self.spec.flatten(observation)
        except ValueError as error:
            raise ValueError(f"the observation of {self.spec.name} {error}") from None
        try:
            flags = self.spec.allowed(mask)[None] if self.spec.masked or mask is not None else None
        except ValueError as error:
            raise ValueError(f"the action mask of {self.spec.name} {error}") from None
        return row[None], flags


Told = Mapping[str, Any]
"""Neighbour → its message, an array of numbers; of those that are missing, or None, nothing was heard."""


class LoadedTalker(LoadedAgent):
    """A trained policy that talks to its neighbours before it acts: in every step ``say``, bring messages to whom they are for, ``act``."""

    player: Talker

    def __init__(self, spec: AgentSpec, player: Talker, neighbours: Sequence[str]) -> None:
        super().__init__(spec, player)
        self.neighbours = tuple(neighbours)
        """Names of those that it learned to hear, in order."""
        self.passes = player.policy.passes
        """Exchanges in a step."""

    @torch.no_grad()
    def say(
        self, observation: Any, heard: Told | Sequence[Told] = (), rng: np.random.Generator | None = None
    ) -> np.ndarray | None:
        """Its message in this step, float32, the same for all that hear it; None where it decides to be silent. It remembers nothing of it.

        heard: where there are several passes, what was heard in those before: one mapping each. A gate opens where that is more probable than not,
        or, with ``rng``, at random. Raises ValueError as :meth:`act` does.
        """
        row, _ = self._read(observation, None if not self.spec.masked else np.ones(self.spec.action.outputs))
        policy, player = self.player.policy, self.player
        keep = 0.0 if self._begins else 1.0
        inner = policy.meet(policy.read(player.with_identity(torch.from_numpy(row))), player.memory * keep)
        before = self._by_pass(heard, "say")
        if len(before) >= self.passes:
            raise ValueError(
                f"{self.spec.name} speaks {self.passes} times in a step, and has heard {len(before)} times"
            )
        for k, told in enumerate(before):
            inner = policy.hear(k, inner, words_of(self._heard(told, k)))
        if policy.gates:
            chance = float(torch.sigmoid(policy.gate(inner)))
            if not (chance > 0.5 if rng is None else rng.random() < chance):
                return None
        return policy.say(len(before), inner)[0].numpy().copy()

    @torch.no_grad()
    def act(  # type: ignore[override]
        self,
        observation: Any,
        heard: Told | Sequence[Told] = (),
        mask: Any = None,
        rng: np.random.Generator | None = None,
    ) -> Any:
        """The action for one observation and for what was heard in this step: neighbour → message, and where there are several passes one mapping for
        each; of whom nothing is there, nothing was heard. Else as :meth:`LoadedAgent.act`. Raises ValueError, too, for a message of another size,
        or from somebody who is no neighbour."""
        row, flags = self._read(observation, mask)
        player, every = self.player, np.ones(1, bool)
        told = self._by_pass(heard, "act")
        if len(told) > self.passes:
            raise ValueError(f"{self.spec.name} hears {self.passes} times in a step, not {len(told)} times")
        player.begin(*([] if rng is None else [rng]))
        player.look(0, [row], [np.array([self._begins])], [every])
        for k in range(self.passes):
            player.hear(k, [self._heard(told[k] if k < len(told) else {}, k)])
        words = np.zeros((1, self.spec.action.words), np.float32)
        player.close(0, [flags], [words])
        self._begins = False
        return self.spec.action.native(words[0])

    def _by_pass(self, heard: Any, what: str) -> list[Told]:
        """One mapping a pass."""
        found = [heard] if isinstance(heard, Mapping) else list(heard)
        if what == "say" and isinstance(heard, Mapping):
            found = [heard] if heard else []
        if not all(isinstance(told, Mapping) for told in found):
            raise ValueError(
                f"what {self.spec.name} heard should be a dict, neighbour: message, or a list of one for each pass"
            )
        return found

    def _heard(self, told: Told, k: int) -> Heard:
        if unknown := sorted(set(told) - set(self.neighbours)):
            raise ValueError(
                f"{self.spec.name} does not hear {unknown[0]!r}; it learned to hear {', '.join(self.neighbours) or 'nobody'}"
            )
        numbers, present = [], np.zeros((len(self.neighbours), 1), bool)
        for n, (name, sizes) in enumerate(zip(self.neighbours, self.player.policy.heard)):
            size = sizes[k] if k < len(sizes) else 0
            message = told.get(name)
            row = np.zeros(size, np.float32) if message is None else np.asarray(message, np.float32)
            if row.shape != (size,) or not np.isfinite(row).all():
                raise ValueError(
                    f"the message of {name} to {self.spec.name} should be {size} finite numbers, not {row.shape}"
                )
            numbers.append(row[None])
            present[n] = message is not None
        return Heard(numbers, present)


def load_agent(path: str | Path) -> LoadedAgent:
    """The agent saved in ``path`` (``…/checkpoints/ROUND/NAME``, with or without an ending). Raises InputError."""
    spec, player, data = load_player(Path(path), copies=1, horizon=1, option="load_agent")
    if isinstance(player, Follower):
        raise InputError(
            f"load_agent {path}: {spec.name} follows the controller {data['controller']}, which acts on the simulator's state, and cannot act "
            "by itself"
        )
    if isinstance(player, Talker):
        return LoadedTalker(spec, player, data["neighbours"])
    return LoadedAgent(spec, player)


def load_player(
    path: Path, copies: int, horizon: int, option: str, index: int | None = None
) -> tuple[AgentSpec, Player | Follower, dict[str, Any]]:
    """(space, who acts, whole JSON) of one agent's files; ``index``: of the agent in its team, where it is not what it was trained as. Raises
    InputError naming ``option``."""
    path = given(path, option)
    stem = checkpoint.without_ending(path)
    data, arrays = checkpoint.read_agent(stem, option)
    try:
        spec = agent_from_data(data["spec"])
        if "controller" in data:
            return spec, Follower(), data
        policy = policy_from(data["policy"])
        policy.fill(torch.from_numpy(arrays["policy"].copy()))
        identity = torch.from_numpy(arrays["identity"].copy())
    except (KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"{option} {stem}: is not an agent's checkpoint ({error})") from None
    distribution = distribution_of(spec.action)
    if isinstance(policy, TalkingPolicy):
        at = data["index"] if index is None else index
        return spec, Talker([at], policy, distribution, identity, copies, horizon), data
    return spec, Player(policy, distribution, identity, copies, horizon), data
