"""Theorem 6: a tabular actor-critic with embedding, on two time scales, ends at a locally optimal profile.

Every agent i keeps a table Q_i(s, a_1, …, a_n), which is the last layer of a critic that the program's own ``embed`` averages
over K joint actions of the others, and logits θ_i(s, ·). In each step, in several copies of the game, everybody acts by its policy
mixed with uniform exploration (the target is an expectation over policies, so behaviour may be any that tries everything), and

    y_i = r_i + γ Σ_b π_i(b|s') Q̂_i(s', b);   Q_i(s, a) += β_t (y_i − Q_i(s, a))        the critic, faster
    θ_i(s, b) += α_t (Q̂_i(s, b) − Σ_c π_i(c|s) Q̂_i(s, c))                               the actor, slower

(means over the copies that visited the entry) with Σ α = Σ β = ∞, Σ α² + β² < ∞ and α_t/β_t → 0 (Robbins and Monro
1951; Konda and Borkar 1999). The actor's is the natural policy gradient of a table (Kakade 2001): it rests where the plain one, π_i(b|s) times this,
rests, but leaves the neighbourhood of a saddle in fewer steps. Logits are projected onto a compact set, as such theorems ask
(the greatest is 0, none is below −8: no action is rarer than e⁻⁸). On a team game or an exact potential game a stable point of rest is one
where nobody gains by changing its own policy alone.

Three distances at the end are compared with limits, each agent's in units of its own spread/(1 − γ): of the embedded critic to the exact Q̃ of the
policies at that time; what the best change of one agent's policy would gain; and the same from the most probable actions.
The limits are ones of patience, not intervals: the theorem speaks of infinitely many steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from ..learning.distributions import Categorical
from ..learning.embedding import Peer, embed
from ..learning.models import MLP
from ..world.spec import ActionSpec
from .checks import Check
from .games import Game, softmax
from .measure import logits, write_table

RUNS, COPIES = 8, 16
"""Independent runs, each from logits of its own, and copies of the game in each."""
SAMPLES = 4
"""K."""
EXPLORATION = 0.5
"""Share of actions that are uniformly random."""
DEPTH = 8.0
"""Logits stay within this of the greatest."""
CRITIC_STEPS, ACTOR_STEPS = (1.0, 30.0, 0.6), (10.0, 60.0, 0.85)
"""c, t0, p: step sizes c (1 + t/t0)^−p; the actor's in units of 1/spread of the agent's payoffs."""
CRITIC_LIMIT, GAIN_LIMIT = 0.05, 0.02
"""Of the distances at the end."""
LOOKS = 12
"""Times, evenly spaced in log t, at which the distances are looked at."""


@dataclass
class Convergence:
    """Theorem 6 on one game: at each look (step) the two distances of every run [looks, RUNS], and how the runs ended."""

    game: str
    kind: str
    steps: list[int]
    critic: np.ndarray
    gain: np.ndarray
    profiles: list[tuple[tuple[int, ...], ...]] = field(default_factory=list)
    """Of every run the most probable action of every agent, per state."""
    returns: list[float] = field(default_factory=list)
    """Of every run, mean over agents and states of (1 − γ) V at the end."""
    checks: list[Check] = field(default_factory=list)


class _Tables:
    """RUNS copies of one agent's table behind one network: the run is part of the critic's one-hot state."""

    def __init__(self, game: Game, agent: int) -> None:
        self.rest = [other for other in range(game.agents) if other != agent]
        sizes = tuple(game.sizes[other] for other in self.rest)
        self.distributions = [Categorical(ActionSpec("discrete", (size,))) for size in sizes]
        rows, joint = RUNS * game.states, int(np.prod(sizes))
        width = rows + sum(distribution.width for distribution in self.distributions)
        self.critic = MLP((width, rows * joint, game.sizes[agent]), "relu")
        write_table(self.critic, rows, sizes, np.zeros((game.sizes[agent], rows * joint)))
        self.table = self.critic.frozen["w1"].numpy().reshape(game.sizes[agent], rows, joint)
        """A view of the critic's last layer [A_i, RUNS·S, J]: what is written here is what is embedded."""
        self.inputs = torch.eye(rows)

    def embedded(
        self, rows: np.ndarray, policies: list[np.ndarray], samples: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Q̂ [len(rows), A_i]; policies of all agents [RUNS·S, A_j]; samples 0: exact."""
        present = torch.ones(len(rows), dtype=torch.bool)
        peers = [
            Peer(distribution, logits(policies[other][rows]), present)
            for distribution, other in zip(self.distributions, self.rest)
        ]
        estimator = "monte_carlo" if samples else "exact"
        return embed(self.critic, self.inputs[rows], peers, samples, estimator, rng).numpy()


def check_game(game: Game, gamma: float, steps: int, rng: np.random.Generator) -> Convergence:
    """Theorem 6 on a team or potential game."""
    # Learned from 0: an offset of the payoffs is no part of what is to be learned, and would be float32's whole precision.
    offsets = game.payoffs.reshape(game.agents, -1).mean(1)
    game = game.shifted(-offsets)
    scales = game.spreads / (1 - gamma)
    agents, states, sizes = game.agents, game.states, game.sizes
    first_row = np.repeat(np.arange(RUNS) * states, COPIES)
    number = len(first_row)
    tables = [_Tables(game, agent) for agent in range(agents)]
    theta = [rng.normal(size=(RUNS * states, size)) for size in sizes]
    payoffs = game.payoffs.reshape(agents, states, -1)
    reached = game.following.reshape(states, -1, states).cumsum(-1)
    state = rng.integers(states, size=number)
    looks = sorted({int(step) for step in np.geomspace(5, steps, LOOKS)})
    found = Convergence(game.name, game.kind(), looks, np.zeros((len(looks), RUNS)), np.zeros((len(looks), RUNS)))
    for step in range(1, steps + 1):
        here = first_row + state
        policies = [softmax(one) for one in theta]
        chosen = []
        for policy, size in zip(policies, sizes):
            behaviour = (1 - EXPLORATION) * policy[here] + EXPLORATION / size
            chosen.append((behaviour.cumsum(1) < rng.random((number, 1))).sum(1).clip(max=size - 1))
        joint = np.ravel_multi_index(chosen, sizes)
        following = (reached[state, joint] < rng.random((number, 1))).sum(1).clip(max=states - 1)
        there = first_row + following
        fast, slow = (c * (1 + step / t0) ** -p for c, t0, p in (CRITIC_STEPS, ACTOR_STEPS))
        for agent, tabular in enumerate(tables):
            both = tabular.embedded(np.concatenate([here, there]), policies, SAMPLES, rng)
            now, following_value = both[:number], (policies[agent][there] * both[number:]).sum(1)
            target = payoffs[agent, state, joint] + gamma * following_value
            others = np.ravel_multi_index(
                [chosen[other] for other in tabular.rest], [sizes[other] for other in tabular.rest]
            )
            at = chosen[agent], here, others
            _move(tabular.table, at, fast * (target - tabular.table[at]))
            advantage = now - (policies[agent][here] * now).sum(1, keepdims=True)
            _move(theta[agent], (here,), slow / game.spreads[agent] * advantage)
            theta[agent] = np.maximum(theta[agent] - theta[agent].max(1, keepdims=True), -DEPTH)
        state = following
        if step in looks:
            _look(found, looks.index(step), game, gamma, tables, [softmax(one) for one in theta], scales)
    _end(found, game, gamma, [softmax(one) for one in theta], float(offsets.mean()))
    return found


def _move(table: np.ndarray, at: tuple[np.ndarray, ...], steps: np.ndarray) -> None:
    """Add to every entry (or row) the mean of the steps that are meant for it."""
    places = np.ravel_multi_index(at, table.shape[: len(at)])
    visited, number, counts = np.unique(places, return_inverse=True, return_counts=True)
    total = np.zeros((len(visited), *steps.shape[1:]))
    np.add.at(total, number, steps)
    index = np.unravel_index(visited, table.shape[: len(at)])
    table[index] += total / counts.reshape(-1, *[1] * (steps.ndim - 1))


def _of_run(policies: list[np.ndarray], run: int, states: int) -> list[np.ndarray]:
    return [policy[run * states : (run + 1) * states] for policy in policies]


def _look(found: Convergence, look: int, game: Game, gamma: float, tables: list[_Tables], policies: list[np.ndarray],
          scales: np.ndarray) -> None:  # fmt: skip
    everything = np.arange(RUNS * game.states)
    embedded = [tabular.embedded(everything, policies, 0, np.random.default_rng(0)) for tabular in tables]
    for run in range(RUNS):
        mine = _of_run(policies, run, game.states)
        _, q = game.values(mine, gamma)
        for agent in range(game.agents):
            here = embedded[agent][run * game.states : (run + 1) * game.states]
            away = np.abs(here - game.averaged(agent, q[agent], mine)).max() / scales[agent]
            found.critic[look, run] = max(found.critic[look, run], float(away))
        found.gain[look, run] = game.gain(mine, gamma)


def _end(found: Convergence, game: Game, gamma: float, policies: list[np.ndarray], offset: float) -> None:
    greedy_gain = 0.0
    for run in range(RUNS):
        mine = _of_run(policies, run, game.states)
        greedy = [np.eye(policy.shape[1])[policy.argmax(1)] for policy in mine]
        greedy_gain = max(greedy_gain, game.gain(greedy, gamma))
        found.profiles.append(
            tuple(tuple(int(policy[state].argmax()) for policy in mine) for state in range(game.states))
        )
        value, _ = game.values(mine, gamma)
        found.returns.append(float(value.mean()) * (1 - gamma) + offset)
    for what, measured, limit in (
        ("distance of the embedded critic to the exact one", found.critic[-1].max(), CRITIC_LIMIT),
        ("gain of the best change of one policy", found.gain[-1].max(), GAIN_LIMIT),
        ("the same from the most probable actions", greedy_gain, GAIN_LIMIT),
    ):
        what = f"{what}, worst run, after {found.steps[-1]} steps"
        found.checks.append(Check("theorem 6", game.name, what, float(measured), limit, limit=True))
