"""Agents that learn as one team: who they are, what they are paid together, and when that is over.

What the team earns does not end for an agent that dies: its value goes on until the episode is over for all of them.
"""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import Any, Callable, Generator, Iterable, NamedTuple, Sequence

import numpy as np
import torch

from ..ground.errors import InputError
from ..settings.checking import flag
from ..settings.config import AgentSettings
from ..world.world import Rollout
from .presets import PRESETS
from .protocol import Say
from .team import Team


class TeamPlay(NamedTuple):
    """A rollout as the team's: reward [T, B], the mean over its members; rollout, with the team's ends in place of the agent's; there [T·B]
    bool: some member acts."""

    reward: torch.Tensor
    rollout: Rollout
    there: torch.Tensor


def averaged(gradients: Sequence[torch.Tensor], sharers: Sequence[int]) -> Generator[Say, np.ndarray, None]:
    """Parameter sharing: put the mean over those who share networks in place of the own gradients; with nobody, nothing is said.

    Who shares with nobody but must stay in step with others that do says it to itself.
    """
    if not sharers:
        return
    mean = yield Say("gradients", torch.cat(list(gradients)).cpu().numpy(), sharers, mean=True)
    parts = torch.from_numpy(mean.astype(np.float32)).split([len(one) for one in gradients])
    for own, part in zip(gradients, parts):
        own.copy_(part)


def sharers(team: Team, index: int, together: Sequence[int]) -> tuple[int, ...]:
    """Those with whom an agent averages its gradients: its group; itself alone where others that learn in step with it are in one."""
    return team.group_of(index) or ((index,) if any(team.group_of(agent) for agent in together) else ())


def check_alike(team: Team, index: int, asked: Callable[[AgentSettings], Iterable[tuple[str, Any]]], why: str) -> None:
    """Raises InputError where an agent differs from the first with its method; asked(settings): (option, value) of what must be the same."""
    first = members(team, index)[0]
    for (what, mine), (_, theirs) in zip(*(asked(team.settings[agent]) for agent in (index, first))):
        if mine != theirs:
            raise InputError(
                f"{what}: must be the same for all agents with {team.settings[index].algorithm}, {why}, but those of {team.specs[index].name} and "
                f"{team.specs[first].name} differ"
            )


def members(team: Team, index: int) -> tuple[int, ...]:
    """All agents with the agent's method, in order: its team."""
    algorithm = team.settings[index].algorithm
    return tuple(agent for agent, settings in enumerate(team.settings) if settings.algorithm == algorithm)


def play_together(rollout: Rollout, together: tuple[int, ...]) -> Generator[Say, np.ndarray, TeamPlay]:
    """Tell the others what one was paid, whether one was cut off, and whether one was there.

    The team's episode ends where the copy's does: by truncation, and its value goes on from what was seen there, where a member was cut off;
    else by termination. Who died or was cut off before that is not there any more, and the team plays on.
    """
    own = np.stack([rollout.reward, rollout.truncated, rollout.alive[:-1]]).astype(np.float32)
    mean = yield Say("rewards", own.ravel(), together, mean=True)
    reward, cut, there = mean.astype(np.float32).reshape(own.shape)
    over = rollout.begins[1:]
    truncated = over & (cut > 0)
    t, copy = rollout.final_at.T
    whole = replace(rollout, terminated=over & ~truncated, truncated=truncated, final_cut=truncated[t, copy])
    return TeamPlay(torch.from_numpy(reward.copy()), whole, torch.from_numpy(there.ravel() > 0))


def check_choices(settings: AgentSettings) -> None:
    """Raises InputError where an option was changed that the agent's method leaves no choice in."""
    usual = AgentSettings()
    for name in PRESETS[settings.algorithm].fixed:
        value, default = (_option(of, name) for of in (settings, usual))
        if value != default:
            raise InputError(
                f"{flag(name)} {value}: {settings.algorithm} leaves no choice here (docs/methods.md); leave it at "
                f"{'none' if default is None else default}"
            )


def _option(settings: AgentSettings, name: str) -> Any:
    return reduce(getattr, name.split("."), settings)
