"""The program's own learner, given a critic that is a known table: what its estimators give in a game of one state.

A table over one-hot actions is a network with one hidden unit per joint action: relu(Σ of the one-hots − (m − 1)) for m
neighbours is 1 for its joint action and 0 for all others, and the last layer holds the table.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Generator, Sequence

import numpy as np
import torch

from ..learning.distributions import BLOCKED, Categorical
from ..learning.models import MLP
from ..methods.hearing import Neighbour
from ..methods.learner import Learner
from ..methods.lesson import Experience, Lesson
from ..methods.order import learn
from ..methods.protocol import Say
from ..methods.returns import form_advantage, generalised_advantages
from ..methods.trainer import MEASURED, Batch, Trainer
from ..settings.config import AgentSettings, Critic, Model, Returns
from ..world.spec import ActionSpec, AgentSpec
from ..world.world import Rollout
from .games import Game, joint_shares

FORMS = ("state", "action", "control")


def agent_spec(name: str, actions: int, observation: int = 1) -> AgentSpec:
    """An agent that observes a one-hot state (for one state: a constant 1)."""
    return AgentSpec(name, observation, "box", (observation,), ActionSpec("discrete", (actions,)))


def write_table(critic: MLP, states: int, sizes: tuple[int, ...], table: np.ndarray) -> None:
    """Make ``critic`` [one-hot state | one-hot actions with a place for 'absent'] → heads the table [heads, S·J]."""
    weights = critic.frozen
    for tensor in weights.values():
        tensor.zero_()
    starts = states + np.cumsum([0] + [size + 1 for size in sizes])
    for unit, (state, *joint) in enumerate(itertools.product(range(states), *map(range, sizes))):
        weights["w0"][unit, state] = 1
        for start, action in zip(starts, joint):
            weights["w0"][unit, int(start) + action] = 1
    weights["b0"][:] = -float(len(sizes))
    weights["w1"][:] = torch.from_numpy(np.asarray(table, float))


def logits(policy: np.ndarray, dtype: type[np.floating[Any]] = np.float32) -> torch.Tensor:
    """log π, with impossible actions as the program's masks make them."""
    with np.errstate(divide="ignore"):
        return torch.from_numpy(np.maximum(np.log(policy), BLOCKED).astype(dtype))


@dataclass
class Play:
    """n independent steps of the repeated game: own and others' actions (index of their joint action), and rewards, [n]."""

    own: np.ndarray
    others: np.ndarray
    reward: np.ndarray
    actions: list[np.ndarray]
    """[n] of every agent."""


def play(game: Game, agent: int, repetitions: int, rng: np.random.Generator) -> Play:
    """Everybody acts by its policy, through the program's own sampler."""
    actions = []
    for size, policy in zip(game.sizes, game.policies):
        distribution = Categorical(ActionSpec("discrete", (size,)))
        outputs = logits(policy).unsqueeze(1).expand(-1, repetitions)
        drawn = distribution.sample(outputs, distribution.noise(rng, 1, repetitions)[0])
        actions.append(drawn[:, 0].numpy())
    rest = [index for index in range(game.agents) if index != agent]
    others = np.ravel_multi_index([actions[index] for index in rest], [game.sizes[index] for index in rest])
    reward = game.payoffs[agent, 0][tuple(actions)]
    return Play(actions[agent], others, reward, actions)


@dataclass
class Measured:
    """What one agent's learner makes of a play, each [n] float64.

    value: V̂; target: the TD target r + γ V̂(s'); estimate: by form, what stands for the value of (s, a), which is the
    advantage without its baseline; advantage: by form.
    """

    value: np.ndarray
    target: np.ndarray
    estimate: dict[str, np.ndarray]
    advantage: dict[str, np.ndarray]


def learner_with(game: Game, agent: int, form: str, table: np.ndarray, estimator: str, samples: int, gamma: float,
                 rng: np.random.Generator) -> Learner:  # fmt: skip
    """The program's learner of ``agent``, hearing everybody, whose critic is ``table`` [heads, J]."""
    settings = AgentSettings(
        algorithm="perla_ia2c",
        form=form,
        critic=Critic(order="together", coefficient="one"),
        samples=samples,
        estimator=estimator,
        model=Model(policy_hidden=(), critic_hidden=(table.shape[1],), critic_activation="relu", orthogonal=False),
        returns=Returns(gamma=gamma, normalise_advantages=False, normalise_values=False),
    )
    learner = learner_of(game, agent, settings, rng)
    write_table(learner.critic, 1, tuple(size for index, size in enumerate(game.sizes) if index != agent), table)
    return learner


def learner_of(
    game: Game, agent: int, settings: AgentSettings, rng: np.random.Generator, observation: int = 1
) -> Learner:
    """The program's learner of ``agent``, hearing everybody, which observes so many numbers."""
    specs = [agent_spec(f"agent_{index}", size, observation) for index, size in enumerate(game.sizes)]
    peers = [spec for index, spec in enumerate(specs) if index != agent]
    start, _, *others = rng.bit_generator.seed_seq.spawn(5)  # the second would be the noise of its actions
    return Learner(specs[agent], settings, peers, [specs[agent]], torch.zeros(0), [start, *others])


def rollout_of(played: Play) -> Rollout:
    """One step of n copies that go on: its target bootstraps from the observation that follows."""
    copies = len(played.own)
    action = np.zeros((1, copies, 1), np.float32)
    action.view(np.int32)[0, :, 0] = played.own
    here, never = np.ones((2, copies), bool), np.zeros((1, copies), bool)
    return Rollout(
        observation=np.ones((2, copies, 1), np.float32),
        mask=None,
        action=action,
        reward=played.reward[None].astype(np.float32),
        terminated=never,
        truncated=never,
        alive=here,
        begins=~here,
        final_at=np.zeros((0, 2), np.int64),
        final_observation=np.zeros((0, 1), np.float32),
        final_mask=None,
        final_alive=np.zeros(0, bool),
        final_cut=np.zeros(0, bool),
    )


def neighbours_of(game: Game, agent: int, played: Play) -> list[Neighbour]:
    """What the learner hears of everybody else: policy at both observations of every copy, and actions."""
    copies = len(played.own)
    return [
        Neighbour(
            logits(game.policies[index]).expand(2 * copies, -1).contiguous(),
            torch.ones(2 * copies, dtype=torch.bool),
            torch.from_numpy(played.actions[index][:, None]),
        )
        for index in range(game.agents)
        if index != agent
    ]


def with_another_state(game: Game, agent: int, played: Play) -> tuple[Play, list[Neighbour]]:
    """The play with one copy before the others, which is not looked at and in which everybody else follows another policy: a
    learner that mixes up states has other numbers in those that are looked at."""
    actions = [np.concatenate([one[:1], one]) for one in played.actions]
    own, others, reward = (np.concatenate([one[:1], one]) for one in (played.own, played.others, played.reward))
    played = Play(own, others, reward, actions)
    neighbours = neighbours_of(game, agent, played)
    for neighbour in neighbours:
        assert neighbour.outputs is not None
        known = neighbour.outputs[:1].clamp(min=-5)
        neighbour.outputs[:: len(own)] = torch.arange(known.shape[1]) - known  # of the copy's observation and the next
    return played, neighbours


def measure(game: Game, agent: int, critic: np.ndarray, estimator: str, samples: int, gamma: float, played: Play,
            rng: np.random.Generator) -> Measured:  # fmt: skip
    """The program's values, targets and advantages with a critic Q [A_agent, J], which for the state form is averaged over
    the own policy: V(a_N) = Σ_b π(b) Q(b, a_N), what its regression on the return converges to."""
    played, neighbours = with_another_state(game, agent, played)
    rollout = rollout_of(played)
    reward = torch.from_numpy(rollout.reward)
    copies = len(played.own)
    outputs = logits(game.policies[agent]).expand(2 * copies, -1).contiguous()
    own = torch.from_numpy(played.own[:, None])
    estimate, advantage = {}, {}
    first: tuple[np.ndarray, np.ndarray] | None = None
    for kind, stream in zip(("state", "control"), rng.spawn(2)):
        table = game.policies[agent] @ critic if kind == "state" else critic
        learner = learner_with(game, agent, kind, np.atleast_2d(table), estimator, samples, gamma, stream)
        x = torch.ones(2 * copies, 1)
        value, embedded, executed = learner.values(x, outputs, neighbours, own)
        trace = learner.settings.returns.trace
        returns = generalised_advantages(rollout, reward, value, gamma, trace).target.view(copies)
        now = value[:copies]
        if kind == "state":
            first = now[1:].double().numpy(), returns[1:].double().numpy()
        for form in ("state",) if kind == "state" else ("action", "control"):
            estimate[form] = form_advantage(form, returns, torch.zeros(copies), embedded, executed)[1:].double().numpy()
            advantage[form] = form_advantage(form, returns, now, embedded, executed)[1:].double().numpy()
    assert first is not None
    return Measured(*first, estimate, advantage)


def policy_gradients(
    policy: np.ndarray, own: np.ndarray, advantage: np.ndarray, dtype: type[np.floating[Any]] = np.float32
) -> np.ndarray:
    """g = A ∂ log π(a)/∂ logits of every step [n, A_agent], with the program's own score function."""
    distribution = Categorical(ActionSpec("discrete", (len(policy),)))
    outputs = logits(policy, dtype).unsqueeze(1).expand(-1, len(own)).contiguous()
    score = distribution.score(outputs, torch.from_numpy(own[:, None]))
    weight = torch.from_numpy(advantage.astype(dtype))
    return score.gradient(weight, torch.zeros_like(weight)).double().numpy().T


class Listener(Trainer):
    """A trainer that fits critics as any does, but keeps what the policy would learn from instead of letting it learn."""

    def __init__(self, learner: Learner) -> None:
        super().__init__(
            learner.policy,
            learner.critic,
            learner.optimisers,
            learner.distribution,
            learner.own_heads,
            learner.settings,
        )
        self.batches: list[Batch] = []

    def run(
        self,
        batches: Sequence[Batch],
        rngs: Sequence[np.random.Generator],
        progress: float,
        with_critic: bool = True,
    ) -> Generator[Say, np.ndarray, np.ndarray]:
        """Keep the batches."""
        self.batches = list(batches)
        return np.zeros(len(MEASURED))
        yield


def advantages_of(learner: Learner, heard: Experience) -> np.ndarray:
    """A_t [T·B] that the policy of a private agent learns from in a round: all of :func:`perla_net.methods.order.learn` but its last step."""
    listener = Listener(learner)
    for said in learn([Lesson(learner, heard, keep_all=False)], listener, 0.0):
        raise AssertionError(f"a private agent said {said}")
    (batch,) = listener.batches
    return batch.advantage.double().numpy()


def shares(game: Game, agent: int) -> tuple[np.ndarray, np.ndarray]:
    """π_agent [A] and the others' joint probabilities [J]."""
    rest = [policy[None] for index, policy in enumerate(game.policies) if index != agent]
    return game.policies[agent], joint_shares(rest).ravel()
