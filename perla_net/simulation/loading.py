"""One agent out of a checkpoint, alone: ``perla_net.load_agent(path).act(observation)``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping

import numpy as np
import torch

from ..ground.errors import InputError
from ..ground.files import given
from ..learning.build import policy_from
from ..learning.distributions import distribution_of
from ..learning.talking import TalkingPolicy
from ..methods.player import Follower, Player
from ..methods.troupe import Talker
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
        self.player.begin(*([] if rng is None else [rng]))
        words = np.zeros((1, self.spec.action.words), np.float32)
        self.player.act(0, [row[None]], [flags], [np.array([self._begins])], [words])
        self._begins = False
        return self.spec.action.native(words[0])


def load_agent(path: str | Path) -> LoadedAgent:
    """The agent saved in ``path`` (``…/checkpoints/ROUND/NAME``, with or without an ending). Raises InputError."""
    spec, player, data = load_player(Path(path), copies=1, horizon=1, option="load_agent")
    if isinstance(player, Follower):
        raise InputError(
            f"load_agent {path}: {spec.name} follows the controller {data['controller']}, which acts on the simulator's state, and cannot act "
            "by itself"
        )
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
    of_it = policy, distribution_of(spec.action), identity, copies, horizon
    if isinstance(policy, TalkingPolicy):
        return spec, Talker(data["index"] if index is None else index, *of_it), data
    return spec, Player(*of_it), data
