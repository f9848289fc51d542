"""What a trained team of two does greedily in a small game, and the joint tables that it learned, whatever its method."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np
import torch
from game_answers import FIRST, STAGES

STATES = {"two_step": {"first": [1, 0, 0], "2A": [0, 1, 0], "2B": [0, 0, 1]}}
"""Observations, the same for both; elsewhere it is always 1."""


def seen(game: str, state: str = "2B") -> torch.Tensor:
    """One observation, [1, size]."""
    return torch.tensor([STATES[game][state] if game in STATES else [1]], dtype=torch.float32)


@torch.no_grad()
def outputs(method: Any, observation: torch.Tensor) -> torch.Tensor:
    """What the policy's network says, [actions]: values of Q-learners, logits of others."""
    return method.policy(method.with_identity(observation))[0]


def did(methods: Sequence[Any], game: str) -> str:
    """The greedy joint action; of two_step the game that is chosen, and what is done in it where that matters."""
    if game == "two_step" and outputs(methods[0], seen(game, "first")).argmax() == 0:
        return "2A"
    pair = tuple(int(outputs(method, seen(game)).argmax()) for method in methods)
    return f"2B {pair}" if game == "two_step" else str(pair)


def paid(done: str, game: str) -> float:
    """What that brings both."""
    if done == "2A":
        return FIRST
    one, other = (int(word) for word in done.removeprefix("2B ").strip("()").split(","))
    return float(STAGES[game][one, other])


@torch.no_grad()
def tables(methods: Sequence[Any], game: str) -> dict[str, np.ndarray]:
    """What was learned of the (last) stage: Q of joint actions, or each one's own; of those that learn none how probable each joint action is."""
    observation, first = seen(game), methods[0]
    each = [outputs(method, observation) for method in methods]
    name = first.settings.algorithm
    if name == "iql":
        return {"q_0": each[0].numpy(), "q_1": each[1].numpy()}
    if name in ("vdn", "perla_vdn"):
        return {"q_0 + q_1": (each[0][:, None] + each[1]).numpy()}
    if name == "perla_iql":
        beyond = rest_of(first, observation, each)
        return {"Q_0": (each[0][:, None] + beyond).numpy(), "q_0": each[0].numpy(), "q_1": each[1].numpy()}
    if name == "mean_field_q":
        fields = torch.nn.functional.pad(torch.eye(len(each[1])), (0, first.policy.context - len(each[1])))
        rows = torch.cat([observation.expand(len(fields), -1), fields], 1)
        return {"Q_0 at the other's action": first.policy(rows).mT.numpy()}
    if hasattr(first, "replica"):
        return {"Q_tot": team_value(methods, observation, each).numpy()}
    shares = [one.softmax(0) for one in each]
    probable = {"probability": (shares[0][:, None] * shares[1]).numpy()}
    if name in ("maddpg", "perla_maddpg"):
        return {"Q_0": of_critic(first, observation, shares).numpy()} | probable
    if name in ("coma", "perla_coma", "mean_field_ac"):
        learner = first.learner
        sight = torch.cat([observation, observation], 1) if name == "coma" else observation
        (other,) = learner.neighbours
        every = other.encode(other.every_action(), torch.ones(len(each[1]), dtype=torch.bool))
        said = learner.critic(torch.cat([sight.expand(len(every), -1), every], 1))
        return probable | {"Q_0": (said * learner.scale + learner.shift).mT.numpy()}
    return probable


def rest_of(method: Any, observation: torch.Tensor, each: Sequence[torch.Tensor]) -> torch.Tensor:
    """R_0(a, b) − R̂_0(a) of a Q-learner that explores uniformly."""
    (other,) = method.rest.distributions.values()
    every = other.encode(other.every_action(), torch.ones(len(each[1]), dtype=torch.bool))
    said = method.rest.network(torch.cat([observation.expand(len(every), -1), every], 1)).mT
    return said - said.mean(1, keepdim=True)


def of_critic(method: Any, observation: torch.Tensor, shares: Sequence[torch.Tensor]) -> torch.Tensor:
    """Q_0(a, b) of a critic that reads the own action."""
    own = torch.eye(len(shares[0]))
    if getattr(method, "rest", None):
        (other,) = method.rest.distributions.values()
    else:
        other = method.joint.distributions[1]
    every = other.encode(other.every_action(), torch.ones(len(shares[1]), dtype=torch.bool))
    joint = [(a, b) for a in range(len(shares[0])) for b in range(len(shares[1]))]
    mine, theirs = (torch.stack(part) for part in zip(*((own[a], every[b]) for a, b in joint)))
    sight = observation.expand(len(joint), -1)
    if not getattr(method, "rest", None):
        return method.critic(torch.cat([sight, sight, theirs, mine], 1)).view(len(own), -1)
    value = method.critic(torch.cat([observation.expand(len(own), -1), own], 1))
    rest = method.rest.network(torch.cat([sight, mine, theirs], 1)).view(len(own), -1)
    return value + rest - rest @ shares[1][:, None]


def team_value(methods: Sequence[Any], observation: torch.Tensor, each: Sequence[torch.Tensor]) -> torch.Tensor:
    """Q_tot of all joint actions."""
    value, sizes = methods[0].replica.value, [len(one) for one in each]
    joint = torch.cartesian_prod(*(torch.arange(size) for size in sizes))
    state, there = torch.cat([observation, observation], 1).expand(len(joint), -1), torch.ones(len(joint), 2)
    chosen = torch.stack([each[i][joint[:, i]] for i in range(2)], 1)
    if "joint" in value.networks:
        total = value.networks["joint"].value(state, value.joint(joint, there))
    elif methods[0].name == "qplex":
        greatest = torch.stack([one.max() for one in each]).expand(len(joint), 2)
        total = value.networks["mixer"](state, value.joint(joint, there), chosen, greatest)
    else:
        total = value.networks["mixer"](state, chosen)
    return total.view(sizes)
