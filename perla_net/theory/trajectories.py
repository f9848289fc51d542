"""The forms of the embedded critic over several steps: ``trajectory`` is unbiased whatever the critic, and what noise each form leaves.

An episode of T steps of a game with states s, then it ends. Critic W_t(s, a, J), V_W = Σ_a Σ_J π π W, Ŵ(s, a) = Σ_J π W; with the exact
critic W = Q = r + γ E V(s'). The program's advantages of step t are sums over what follows,

    state       A_t = Σ_l (γλ)^l δ_{t+l},                       δ = r + γ V_W(s') − V_W(s), V_W(s') = 0 at the end
    control     A_t − [W − Ŵ]_t
    trajectory  A_t − [W − Ŵ]_t − Σ_{l ≥ 1} (γλ)^l [W − V_W]_{t+l}

so that each is a first term plus γλ times a sum Z of later ones that depends on the past through s' alone:

    Z_t = f_t + γλ Z_{t+1},    E[Z_t | s] = Σ π π P (f + γλ m),   E[Z_t² | s] = Σ π π P (f² + 2 f γλ m + (γλ)² q),   m, q: of Z_{t+1} at s'

backwards from the end. Every bracket has the mean zero given (s, a) or s, so that all three have one mean given (s_t, a_t); at λ = 1 the δ
telescope to G_t − V_W(s_t), and that mean is the exact Q_t(s, a) up to what does not depend on a: the gradient of the policy, also with a wrong critic.
With λ < 1 a wrong critic biases all three alike. With the exact critic what is left of G, given (s_t, a_t), is a sum of martingale differences,

    G_t − Q̂_t = D_t + Σ_{l ≥ 1} γ^l [Q − V]_{t+l} + Σ_{l ≥ 0} γ^{l+1} [V(s_{t+l+1}) − E V(s_{t+l+1})]

of which ``control`` takes the first away and ``trajectory`` the first two: what is left is the chance of the transitions alone, and in a game of one
state nothing, so that ``trajectory`` has the variance of the own action by itself, that of ``action``.

Nothing is drawn: all paths of actions and states are enumerated, and are the copies of one rollout, in float64. Each copy plays a second episode
after the first, so that what leaks from it is seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from ..methods.hearing import Neighbour
from ..methods.lesson import Experience
from ..settings.config import AgentSettings, Critic, Model, Returns
from ..world.world import Rollout
from .checks import Check
from .games import Game, joint_shares, softmax
from .measure import advantages_of, learner_of, logits, policy_gradients, write_table
from .variance import NOISE_OF_WRONG_CRITIC, lengths

STEPS = 3
"""T, at most."""
MOST_PATHS = 5_000
"""Of actions and states, through T steps."""
ROUNDING = 1e-9
"""Of what is computed in float64, in units of the greatest value."""
UNBIASED = ("state", "control", "trajectory")
CASES = (("exact", 1.0), ("wrong", 1.0), ("wrong", 0.6))
"""Critic and λ."""


class Row(NamedTuple):
    """Of one form: trace of the variance of the gradient at step 0, measured and predicted, and its share of that of ``state``; length of the
    bias of the gradient of all steps, as a share of the gradient's, measured and predicted."""

    form: str
    critic: str
    trace: float
    measured: float
    predicted: float
    share: float
    bias: float
    predicted_bias: float
    checks: list[Check]


@dataclass
class Trajectories:
    """What one game gave."""

    game: str
    steps: int
    paths: int
    rows: list[Row] = field(default_factory=list)

    @property
    def checks(self) -> list[Check]:
        """All of them."""
        return [check for row in self.rows for check in row.checks]


class Episode(NamedTuple):
    """A game over T steps, seen by one agent. own [S, A], others [S, J], reward [S, A, J], following [S, A, J, S]; policies [S, A_i] of everybody;
    start [S]: probabilities of the first state."""

    game: Game
    agent: int
    steps: int
    gamma: float
    policies: list[np.ndarray]
    own: np.ndarray
    others: np.ndarray
    reward: np.ndarray
    following: np.ndarray
    start: np.ndarray

    def exact(self) -> np.ndarray:
        """Q_t(s, a, J) [T, S, A, J], by backward induction."""
        tables, value = [], np.zeros(len(self.start))
        for _ in range(self.steps):
            tables.append(self.reward + self.gamma * self.following @ value)
            value = self.value(tables[-1])
        return np.stack(tables[::-1])

    def value(self, critic: np.ndarray) -> np.ndarray:
        """V_W [S] of W [S, A, J]."""
        return np.einsum("sa,sj,saj->s", self.own, self.others, critic)

    def occupied(self) -> np.ndarray:
        """Probabilities of the states at every step [T, S]."""
        chain = np.einsum("sa,sj,sajz->sz", self.own, self.others, self.following)
        found = [self.start]
        for _ in range(self.steps - 1):
            found.append(found[-1] @ chain)
        return np.stack(found)


def episode_of(game: Game, agent: int, gamma: float, rng: np.random.Generator) -> Episode | None:
    """As many steps of a game, up to T, as there can be enumerated; None where that is less than two. In each state but the first everybody has
    another policy, drawn from ``rng``."""
    choices = int(np.prod(game.sizes)) * game.states
    steps = next((steps for steps in range(STEPS, 1, -1) if choices**steps <= MOST_PATHS), 0)
    if not steps:
        return None
    policies = [
        np.stack([policy, *(softmax(rng.normal(0, 0.7, len(policy))) for _ in range(game.states - 1))])
        for policy in game.policies
    ]
    if game.states == 1:
        game = game.centred(gamma)
    others = joint_shares([policy for index, policy in enumerate(policies) if index != agent])
    following = np.stack([game.own_first(agent, game.following[..., state]) for state in range(game.states)], -1)
    start = np.full(game.states, 1 / game.states)
    reward = game.own_first(agent, game.payoffs[agent])
    own = policies[agent]
    return Episode(game, agent, steps, gamma, policies, own, others.reshape(game.states, -1), reward, following, start)


def predict(episode: Episode, critic: np.ndarray, trace: float, form: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and mean square of the advantage given (s_t, a_t), [T, S, A] each: the recursion at the head of this module. critic [T, S, A, J]."""
    carry, nothing = episode.gamma * trace, np.zeros(len(episode.start))
    m, q, after = nothing, nothing, nothing
    means, squares = [], []
    for table in critic[::-1]:
        value, average = episode.value(table), np.einsum("sj,saj->sa", episode.others, table)
        delta = (episode.reward - value[:, None, None])[..., None] + episode.gamma * after  # [S, A, J, S']
        of_own = (table - average[..., None])[..., None]  # W − Ŵ
        of_all = (table - value[:, None, None])[..., None]  # W − V_W
        if form == "action":
            first = np.broadcast_to((average - value[:, None])[..., None, None], delta.shape)
            later = 0 * delta
        else:
            first = delta if form == "state" else delta - of_own
            later = delta - of_all if form == "trajectory" else delta
        mean, square = _moments(episode, first, carry * m, carry**2 * q)
        means.append(mean)
        squares.append(square)
        m, q = ((episode.own * moment).sum(1) for moment in _moments(episode, later, carry * m, carry**2 * q))
        after = value
    return np.stack(means[::-1]), np.stack(squares[::-1])


def _moments(episode: Episode, term: np.ndarray, mean: np.ndarray, square: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and mean square given (s, a), [S, A], of term [S, A, J, S'] plus something of these moments [S'] after it."""
    weights = episode.others[:, None, :, None] * episode.following
    found = term + mean, term**2 + 2 * term * mean + square
    return (found[0] * weights).sum((2, 3)), (found[1] * weights).sum((2, 3))


class Paths(NamedTuple):
    """All paths: probability [P], states [T, P], actions of everybody [T, P, n]."""

    share: np.ndarray
    state: np.ndarray
    action: np.ndarray


def paths_of(episode: Episode) -> Paths:
    """Every sequence of joint actions and states, but those that cannot happen."""
    game, steps = episode.game, episode.steps
    joint, states = int(np.prod(game.sizes)), game.states
    index = np.indices((states, joint) * steps).reshape(2 * steps, -1)
    state, joint_action = index[0::2], index[1::2]
    action = np.stack(np.unravel_index(joint_action, game.sizes), -1)
    share = episode.start[state[0]]
    for t in range(steps):
        for agent, policy in enumerate(episode.policies):
            share = share * policy[state[t], action[t, :, agent]]
        if t + 1 < steps:
            flat = game.following.reshape(states, joint, states)
            share = share * flat[state[t], joint_action[t], state[t + 1]]
    possible = share > 0
    return Paths(share[possible], state[:, possible], action[:, possible])


def measured_advantages(
    episode: Episode, paths: Paths, critic: np.ndarray, trace: float, form: str, rng: np.random.Generator
) -> np.ndarray:
    """A_t [T, P] as the program's learner makes them with the critic W [T, S, A, J], which for the state form is averaged over the own policy."""
    game, agent, steps = episode.game, episode.agent, episode.steps
    states, number = game.states, len(paths.share)
    rest = [index for index in range(game.agents) if index != agent]
    table = np.einsum("sa,tsaj->tsj", episode.own, critic)[None] if form == "state" else critic.transpose(2, 0, 1, 3)
    learner = learner_of(
        game,
        agent,
        AgentSettings(
            algorithm="perla_ia2c",
            form=form,
            critic=Critic(order="together", coefficient="one"),
            estimator="exact",
            model=Model(policy_hidden=(), critic_hidden=(critic[:, :, 0].size,), orthogonal=False),
            returns=Returns(gamma=episode.gamma, trace=trace, normalise_advantages=False, normalise_values=False),
        ),
        rng,
        steps * states,
    )
    learner.critic.to(torch.float64)
    sizes = tuple(game.sizes[index] for index in rest)
    write_table(learner.critic, steps * states, sizes, table.reshape(len(table), -1))
    # The second episode is another copy's first one.
    state, action = (np.concatenate([part, part[:, ::-1]]) for part in (paths.state, paths.action))
    length = 2 * steps
    seen = np.concatenate([state, state[:1]])
    place = np.concatenate([np.tile(np.arange(steps), 2), [0]])[:, None] * states + seen
    x = torch.from_numpy(np.eye(steps * states)[place.ravel()])
    ends = np.zeros((length, number), bool)
    ends[steps - 1 :: steps] = True
    own = np.zeros((length, number, 1), np.float32)
    own.view(np.int32)[..., 0] = action[..., agent]
    tables = game.payoffs[agent]
    reward = np.ascontiguousarray(tables[(state, *np.moveaxis(action, -1, 0))])
    here = np.ones((length + 1, number), bool)
    rollout = Rollout(
        observation=x.numpy().astype(np.float32).reshape(length + 1, number, -1),
        mask=None,
        action=own,
        reward=reward.astype(np.float32),
        terminated=ends,
        truncated=np.zeros_like(ends),
        alive=here,
        begins=np.concatenate([~here[:1], ends]),
        final_at=np.zeros((0, 2), np.int64),
        final_observation=np.zeros((0, steps * states), np.float32),
        final_mask=None,
        final_alive=np.zeros(0, bool),
        final_cut=np.zeros(0, bool),
    )
    neighbours = [
        Neighbour(
            logits(episode.policies[index][seen.ravel()], np.float64),
            torch.ones(seen.size, dtype=torch.bool),
            torch.from_numpy(action[..., index].reshape(-1, 1)),
        )
        for index in rest
    ]
    outputs = logits(episode.own[seen.ravel()], np.float64)
    heard = Experience(rollout, torch.from_numpy(reward), None, x, outputs, None, neighbours)
    return advantages_of(learner, heard).reshape(length, number)[:steps]


def gradients(episode: Episode, paths: Paths, t: int, advantage: np.ndarray) -> tuple[np.ndarray, float]:
    """Mean [S, A] over all paths of ψ(a_t) A_t in the logits of each state, and the trace of its variance; the program's own score function."""
    found, square = np.zeros_like(episode.own), 0.0
    for state, policy in enumerate(episode.own):
        there = paths.state[t] == state
        each = policy_gradients(policy, paths.action[t, there, episode.agent], advantage[there], np.float64)
        found[state] = paths.share[there] @ each
        square += float(paths.share[there] @ (each**2).sum(1))
    return found, square - float((found**2).sum())


def check_game(game: Game, agent: int, gamma: float, rng: np.random.Generator) -> Trajectories | None:
    """All forms on one game, with the exact critic and a wrong one; None where the game is too large to enumerate two steps."""
    episode = episode_of(game, agent, gamma, rng)
    if episode is None:
        return None
    paths = paths_of(episode)
    found = Trajectories(game.name, episode.steps, len(paths.share))
    exact = episode.exact()
    noise = NOISE_OF_WRONG_CRITIC * game.spreads[agent] * rng.normal(size=exact.shape)
    critics = {"exact": exact, "wrong": exact + noise}
    own, occupied = episode.own, episode.occupied()
    apart = np.eye(own.shape[1]) - own[:, None, :]  # ψ(a) [S, A, A]

    def gradient_of(mean: np.ndarray) -> np.ndarray:
        return occupied[..., None] * np.einsum("sa,sab,tsa->tsb", own, apart, mean)

    truth = gradient_of(np.einsum("sj,tsaj->tsa", episode.others, exact))
    sizes = np.stack([lengths(policy) for policy in own])
    for critic, trace in CASES:
        table = critics[critic]
        small = ROUNDING * (float(np.abs(table).max()) or 1.0)
        before: dict[str, float] = {}
        for form in (*UNBIASED, "action") if critic == "exact" else UNBIASED:
            mean, square = predict(episode, table, trace, form)
            expected = gradient_of(mean)
            aim = truth if trace == 1 else expected
            traces = np.einsum("ts,sa,sa,tsa->t", occupied, own, sizes, square) - (expected**2).sum((1, 2))
            advantage = measured_advantages(episode, paths, table, trace, form, rng)
            where = f"{form}, {critic} critic, λ = {trace:g}"
            checks, spreads, means = [], [], []
            for t in range(episode.steps):
                at, spread = gradients(episode, paths, t, advantage[t])
                spreads.append(spread)
                means.append(at)
                checks += [
                    Check(
                        "trajectories: mean", game.name, f"{where}, step {t}, component {index}", *pair, tolerance=small
                    )
                    for index, pair in enumerate(zip(at.ravel().tolist(), aim[t].ravel().tolist()))
                ]
                tolerance = small * float(np.abs(table).max() + 1)
                what = f"{where}, step {t}"
                checks.append(
                    Check("trajectories: variance", game.name, what, spread, float(traces[t]), tolerance=tolerance)
                )
            before[form] = spreads[0]
            if critic == "exact" and form in ("control", "trajectory"):
                less = before["state" if form == "control" else "control"]
                checks.append(
                    Check(
                        "trajectories: order of variances",
                        game.name,
                        where,
                        spreads[0],
                        less,
                        tolerance=small,
                        limit=True,
                    )
                )
            share = spreads[0] / before["state"] if before["state"] > small else 1.0
            length = float(np.linalg.norm(truth)) or 1.0
            bias, predicted = (float(np.linalg.norm(part - truth)) / length for part in (np.stack(means), expected))
            found.rows.append(Row(form, critic, trace, spreads[0], float(traces[0]), share, bias, predicted, checks))
    return found
