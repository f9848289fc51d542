"""Games of two on the edges of ``games:…`` whose values are known exactly and can be differentiated: what LOLA, HOLA and COLA look ahead in.

A player is a few numbers. In the iterated games, five: of each state, the log odds of its first action (cooperate, heads); states are the start
and what it and the other did last, CC, CD, DC, DD, *the own action first*, as the environment shows them: what is CD to one is DC to the other.
In the continuous games, one: its action.

    iterated    V = s₀ᵀ (I − γ P)⁻¹ r,  P(s, ·) = (p q, p (1 − q), (1 − p) q, (1 − p)(1 − q)),  p = σ(x_s), q = σ(y_s'),  s₀ = P(start, ·)
    tandem      V = 2 x − (x + y)², 2 y − (x + y)²
    hamiltonian V = −x y, x y

V is the discounted sum of an endless episode, of which ``share`` = 1 − γ makes the mean of a step. On a graph a player with d neighbours is paid the
mean over its edges, so that its value on one of them counts 1/d. Everything is float64: σ of a float32 is 1 too early.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import numpy as np
import torch

from ..ground.errors import InputError
from ..learning.models import Policy
from ..world.networked.games import PENNIES, PRISONERS, tables
from .hearing import CERTAIN
from .team import Team

ITERATED = {
    "games:ipd": tables(PRISONERS, np.transpose(PRISONERS)),
    "games:matching_pennies": tables(PENNIES, -np.array(PENNIES)),
}
"""Both players' payoffs by (own action, other's)."""
STATES = 5
"""The start, CC, CD, DC, DD."""
AS_THE_OTHER_SEES = [0, 1, 3, 2, 4]
Both = tuple[torch.Tensor, torch.Tensor]


def _tandem(x: torch.Tensor, y: torch.Tensor) -> Both:
    square = (x + y).square()
    return 2 * x - square, 2 * y - square


def _hamiltonian(x: torch.Tensor, y: torch.Tensor) -> Both:
    return -x * y, x * y


ONE_NUMBER: dict[str, Callable[[torch.Tensor, torch.Tensor], Both]] = {
    "games:tandem": _tandem,
    "games:hamiltonian": _hamiltonian,
}
"""What row and column player are paid for their actions."""
GAMES = (*ITERATED, *ONE_NUMBER)


@dataclass(frozen=True)
class PairGame:
    """The game on one edge.

    values: numbers of the one and of the other, [..., numbers] float64 → what each is worth, [...] both; share: what makes a value the mean of a
    step.
    """

    numbers: int
    values: Callable[[torch.Tensor, torch.Tensor], Both]
    share: float = 1.0


def iterated(one: np.ndarray, other: np.ndarray, gamma: float) -> PairGame:
    """one, other [2, 2]: payoffs by (own action, the other's)."""
    paid = torch.tensor(np.stack([one.ravel(), other.T.ravel()], 1))  # by the one's states CC, CD, DC, DD

    def values(x: torch.Tensor, y: torch.Tensor) -> Both:
        p, q = torch.sigmoid(x), torch.sigmoid(y[..., AS_THE_OTHER_SEES])
        moves = torch.stack([p * q, p * (1 - q), (1 - p) * q, (1 - p) * (1 - q)], -1)  # [..., states, 4]
        start, onward = moves[..., 0, :], moves[..., 1:, :]
        worth = torch.linalg.solve(torch.eye(4, dtype=p.dtype) - gamma * onward, paid.to(p.dtype))
        return (start.unsqueeze(-2) @ worth).squeeze(-2).unbind(-1)

    return PairGame(STATES, values, 1 - gamma)


def pair_game(team: Team, index: int, other: int) -> PairGame:
    """The game of an agent and one of those that it plays with, seen by the agent."""
    first = index < other  # the row player
    if team.world in ITERATED:
        payoffs = ITERATED[team.world]
        return iterated(payoffs[int(not first)], payoffs[int(first)], team.settings[index].returns.gamma)
    paid = ONE_NUMBER[team.world]
    mine, theirs = 1 / len(played_with(team, index)), 1 / len(played_with(team, other))

    def values(x: torch.Tensor, y: torch.Tensor) -> Both:
        x, y = x[..., 0], y[..., 0]
        one, other = paid(x, y) if first else paid(y, x)[::-1]
        return mine * one, theirs * other

    return PairGame(1, values)


def played_with(team: Team, index: int) -> list[int]:
    """Those that an agent plays with, in order."""
    return sorted(source for source, target in team.interaction if target == index)


def check_games(team: Team, index: int, option: str, otherwise: str = "") -> None:
    """Refuse an agent whose values are not known exactly, or that cannot know those that it plays with. Raises InputError."""
    name = team.specs[index].name
    if team.world not in GAMES:
        raise InputError(
            f"{option}: needs a game whose values can be differentiated exactly, {', '.join(GAMES)}, but --env is {team.world}{otherwise}"
        )
    for agent in (index, *played_with(team, index)) if team.world in ITERATED else ():
        if len(played_with(team, agent)) > 1:
            raise InputError(
                f"{option}: {team.specs[agent].name} plays {team.world} with {len(played_with(team, agent))} others by one action, which is no "
                f"game of two with an exact value{otherwise}"
            )
    if team.settings[index].model.memory == "gru":
        raise InputError(f"{option}: an exact player is a few numbers, without --model.memory gru ({name})")
    for other in played_with(team, index):
        if other not in team.heard_by(index):
            raise InputError(
                f"{option}: {name} must hear the parameters of {team.specs[other].name}, with which it plays; use --topology interaction"
            )
        check_heard(team, index, other, option)
        if team.policy_of(other).width:
            raise InputError(
                f"{option}: {team.specs[other].name} has a memory, so that it is not a few numbers for {name}"
            )


def check_heard(team: Team, index: int, other: int, option: str) -> None:
    """Refuse an opponent whose parameters cannot be known. Raises InputError."""
    one, settings = team.specs[other].name, team.settings[other]
    if not team.methods[other].has_policy or team.policy_of(other).head != "sampled":
        raise InputError(
            f"{option}: {team.specs[index].name} looks ahead of policies that move by gradients, and {one} has --algorithm {settings.algorithm}"
        )
    if settings.share != "weights":
        raise InputError(
            f"{option}: {team.specs[index].name} must hear the parameters of {one}, which has --share {settings.share}; use weights"
        )


# A player's numbers and its policy network


@torch.no_grad()
def numbers_of(team: Team, agent: int, policy: Policy) -> torch.Tensor:
    """The numbers that an agent with this policy plays by, [numbers] float64; whatever network it is."""
    spec = team.specs[agent]
    states = torch.eye(spec.observation_size)
    outputs = policy(torch.cat([states, team.identity_of(agent).expand(len(states), -1)], 1)).double()
    if spec.action.low:
        return spec.action.high[0] * outputs[:, 0]
    return outputs[:, 0] - outputs[:, 1]


def play_by(policy: Policy, numbers: torch.Tensor, bound: float) -> None:
    """Let a policy without hidden layers play by these numbers; ``bound`` of a continuous action, which it is certain of."""
    policy.flat.zero_()
    if policy.free:
        policy.frozen["b0"].copy_(numbers / bound)
        policy.frozen["free"].fill_(CERTAIN)
    else:
        policy.frozen["w0"][0, : len(numbers)] = numbers.to(policy.flat)
