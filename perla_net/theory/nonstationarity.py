"""The paper's second claim: what a critic knows right after the neighbours have changed their policies.

One state, neighbours' policies π before and π' after the change; a critic trained before it, used before a single new sample.

- without embedding it has averaged over what the neighbours did: Q̃_π(a) = E_{J ~ π} Q(a, J), and knows of no change;
- with embedding it averages Q(a, J) over the policies that were communicated after the change: Q̂_π'(a) = E_{J ~ π'} Q(a, J).

With the exact critics of π, Q = r + γ V_π, the errors against the exact Q̃_π'(a) = E_{J ~ π'} [r + γ V_π'] are, for every a,

    with     γ (V_π − V_π'),             nothing in a game of one step (γ = 0): only what lies behind the next step is old
    without  that + Σ_J (π − π')(J) Q(a, J),  whose size is at most (max Q − min Q) Σ_j TV(π_j, π'_j)

The first is the same for every action: it cancels in the advantage Q̂(a) − Σ_b π(b) Q̂(b), which with embedding is exact right after
any change (in a game of one state), and without it is not. All this is checked. Beside it stands, without a law, the same with
critics learned from as many plays of π with noisy rewards (means by (a, J), and by a): rare joint actions are learned
badly, so that a large change asks the embedded critic for what it has hardly seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from ..learning.embedding import Peer, embed
from .checks import Check
from .games import Game, joint_shares, softmax
from .measure import Play, learner_with, logits, play
from .variance import ROUNDING

SMALL, LARGE = 0.01, 0.3
"""KL(π', π) in nats of a normal update and of a large one, per neighbour."""
SWAP_STEPS = 400
"""Steps of exact policy-gradient ascent that the other, trained policy comes from."""
PLAYS, NOISE = 300, 0.2
"""Plays from which the learned critics come, and the standard deviation of a reward then, in units of the spread of the agent's payoffs."""
SAMPLES = 16
"""K of the Monte Carlo estimate beside the exact one."""
DRAWS = 4000
"""Of that estimate."""


@dataclass
class Change:
    """One kind of change at one γ. Errors: root mean square over own actions, (without embedding, with it)."""

    kind: str
    gamma: float
    distance: float
    """Σ_j TV(π_j, π'_j)."""
    value: tuple[float, float]
    """Of Q̂."""
    advantage: tuple[float, float]
    """Of the advantage."""
    learned: tuple[float, float]
    """Of the advantage, from learned critics."""


@dataclass
class Nonstationarity:
    """All changes of one game, and the checks."""

    game: str
    rows: list[Change] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)


def gradients(game: Game, policies: list[np.ndarray]) -> list[np.ndarray]:
    """Exact gradient of every agent's payoff in its own logits: π (Q̄ − Σ π Q̄), at γ = 0."""
    rows = [policy[None] for policy in policies]
    found = []
    for agent, policy in enumerate(policies):
        mean = game.averaged(agent, game.payoffs[agent], rows)[0]
        found.append(policy * (mean - policy @ mean))
    return found


def moved(policy: np.ndarray, direction: np.ndarray, divergence: float) -> np.ndarray:
    """softmax(log π + η direction) with the η ≥ 0 at which KL(π', π) is ``divergence``, by bisection; the farthest there is
    where none goes so far."""
    start = np.log(np.maximum(policy, 1e-300))
    size = np.abs(direction).max()
    if size < 1e-12:
        return policy

    def at(step: float) -> np.ndarray:
        return softmax(start + step * direction / size)

    def apart(other: np.ndarray) -> float:
        return float((other * (np.log(np.maximum(other, 1e-300)) - start)).sum())

    low, high = 0.0, 60.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if apart(at(middle)) < divergence else (low, middle)
    return at(high)


def changes(game: Game, rng: np.random.Generator) -> dict[str, list[np.ndarray]]:
    """Policies of all agents after each kind of change: steps along everybody's own gradient, and policies trained from another
    start (exact gradient ascent)."""
    now = gradients(game, game.policies)
    theta = [rng.normal(size=size) for size in game.sizes]
    for _ in range(SWAP_STEPS):
        steps = gradients(game, [softmax(one) for one in theta])
        theta = [one + 10 / spread * step for one, step, spread in zip(theta, steps, game.spreads)]
    return {
        "normal update": [moved(policy, step, SMALL) for policy, step in zip(game.policies, now)],
        "large update": [moved(policy, step, LARGE) for policy, step in zip(game.policies, now)],
        "another trained policy": [softmax(one) for one in theta],
    }


def check_game(game: Game, agent: int, gamma: float, rng: np.random.Generator) -> Nonstationarity:
    """For one agent of a game of one state, at γ = 0 and at ``gamma``; its own policy stays what it is."""
    found, game = Nonstationarity(game.name), game.centred(gamma)
    rest = [other for other in range(game.agents) if other != agent]
    before = game.policies
    played = play(game, agent, PLAYS, rng)
    noise = NOISE * game.spreads[agent] * rng.normal(size=PLAYS)
    for kind, everybody in changes(game, rng).items():
        after = [before[agent] if index == agent else policy for index, policy in enumerate(everybody)]
        distance = sum(float(np.abs(before[other] - after[other]).sum()) / 2 for other in rest)
        for discount in dict.fromkeys((0.0, gamma)):
            old_value, old = game.values([policy[None] for policy in before], discount)
            new_value, new = game.values([policy[None] for policy in after], discount)
            critic = game.own_first(agent, old[agent])[0]
            truth = game.averaged(agent, new[agent], [policy[None] for policy in after])[0]
            joint = joint_shares([before[other][None] for other in rest]).ravel()
            step = discount * float(old_value[agent, 0] - new_value[agent, 0])
            without = critic @ joint - truth
            embedded = _embedded(game, agent, critic, after, "exact", 1, rng)[0] - truth
            table, means = _learned(critic.shape, played, noise)
            learned = _embedded(game, agent, table, after, "exact", 1, rng)[0] - truth
            own = before[agent]
            found.rows.append(
                Change(
                    kind,
                    discount,
                    distance,
                    (_rms(without), _rms(embedded)),
                    (_rms(without - own @ without), _rms(embedded - own @ embedded)),
                    (_rms(means - truth - own @ (means - truth)), _rms(learned - own @ learned)),
                )
            )
            where = f"{kind}, γ = {discount:g}"
            small = ROUNDING * (float(np.abs(critic).max()) or 1.0)
            shares = joint_shares([after[other][None] for other in rest]).ravel()
            centred = critic - (critic @ shares)[:, None]
            variance, third = centred**2 @ shares, np.abs(centred**3 @ shares)
            number = DRAWS * SAMPLES
            sampled = _embedded(game, agent, critic, after, "monte_carlo", SAMPLES, rng, DRAWS)
            for action in range(len(truth)):
                what = f"{where}, action {action}"
                error = float(embedded[action])
                found.checks += [
                    Check("error with embedding", game.name, f"{what}, exact", error, step, tolerance=small),
                    Check("advantage's error with embedding", game.name, f"{what}, exact", error - float(own @ embedded), 0.0,
                          tolerance=2 * small),
                    # A trained policy hardly ever does some things, so the standard error is the exact one, not what was seen.
                    Check("error with embedding", game.name, f"{what}, monte_carlo",
                          float(sampled[:, action].mean() - truth[action]), step, float(np.sqrt(variance[action] / number)),
                          float(third[action] / max(variance[action], 1e-300) / number), small),
                    Check("error without embedding", game.name, f"{what}: |error − γ (V − V')|",
                          abs(float(without[action]) - step), float(np.ptp(critic)) * distance, tolerance=small, limit=True),
                ]  # fmt: skip
    return found


def _embedded(game: Game, agent: int, critic: np.ndarray, policies: list[np.ndarray], estimator: str, samples: int,
              rng: np.random.Generator, number: int = 1) -> np.ndarray:  # fmt: skip
    """Q̂ [number, A] of a critic [A, J], by the program's ``embed``."""
    learner = learner_with(game, agent, "action", critic, estimator, samples, 0.0, rng)
    present = torch.ones(number, dtype=torch.bool)
    rest = [policy for index, policy in enumerate(policies) if index != agent]
    peers = [
        Peer(distribution, logits(policy).expand(number, -1).contiguous(), present)
        for distribution, policy in zip(learner.neighbours, rest)
    ]
    return embed(learner.critic, torch.ones(number, 1), peers, samples, estimator, rng).double().numpy()


def _rms(errors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(errors**2)))


def _learned(shape: tuple[int, ...], played: Play, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of the noisy rewards of the same plays: by (a, J) [A, J], and by a [A]; that of all where there was none.
    What lies behind the next step is the same for all actions, and left out: of these only the advantage is looked at."""
    reward = played.reward + noise
    cells = np.ravel_multi_index((played.own, played.others), shape)

    def means(index: np.ndarray, size: int) -> np.ndarray:
        counts = np.bincount(index, minlength=size)
        return np.where(counts > 0, np.bincount(index, reward, size) / np.maximum(counts, 1), float(reward.mean()))

    return means(cells, shape[0] * shape[1]).reshape(shape), means(played.own, shape[0])
