"""MADDPG: private deterministic policies, and for each a critic of what all of them see and do (Lowe et al. 2017, arXiv 1706.02275)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Callable, ClassVar, Generator, Mapping, NamedTuple, Sequence

import numpy as np
import torch
from annotated_types import Ge, Gt, Le

from ..ground.errors import InputError
from ..learning.build import generator_of, image_in, policy_for
from ..learning.distributions import Categorical, distribution_of
from ..learning.models import MLP, OPTIMISERS, Pass, Policy
from ..network.exchange import Inbox
from ..settings.checking import flag
from ..settings.config import AgentSettings, Count, NonNegative, Positive, Rate, Section, option
from ..world.world import Rollout
from .acting import Acting, of_rollout, states
from .coalition import averaged, check_alike, members, sharers
from .deterministic import of_last_inputs, straight_through
from .exploration import Noise
from .joint import JointReplay, TeamMemory
from .keeping import Kept, Part, restore_parts
from .memory import Rows, check_begin
from .protocol import Facts, Learning, Now, Say, Seat, shape_of
from .targets import Target
from .team import Team

STATISTICS = ("td_loss", "q_value", "critic_gradient", "policy_gradient", "exploration", "remembered")
"""Means over a round's gradient steps: ½ (Q − y)², Q of what was done, the gradients' norms before clipping; σ of the round's rollout (of continuous
actions); steps in the memory."""
BOUND = 1.0
"""Of a policy's continuous actions."""

Shared = Generator[Say, Any, Any]
Drawn = Mapping[str, torch.Tensor]


@dataclass
class Options(Section):
    """Deterministic policy gradients from a memory; learning rates, gamma and clipping are ``--optimiser.…`` and ``--returns.gamma``."""

    memory: Annotated[int, Ge(1), Le(100_000_000)] = option(
        30_000, "States that the memory keeps, each of the whole team."
    )
    begin: Count = option(1_000, "Steps in the memory before learning begins.")
    updates: Positive = option(64, "Gradient steps in a round.")
    batch: Positive = option(256, "Steps in a gradient step.")
    target_every: Positive = option(1, "Gradient steps after which the target networks follow.")
    target_rate: Annotated[float, Gt(0), Le(1)] = option(0.01, "Share of the way that they then follow (1: a copy).")
    temperature: Rate = option(1.0, "Of the Gumbel-softmax through which discrete actions are differentiated.")
    regularisation: NonNegative = option(
        1e-3, "Weight of the mean square of the policy's outputs, before they become actions."
    )
    noise: Noise = option(Noise, "Noise in continuous actions.")


class Passes(NamedTuple):
    """Over as many rows as a gradient step has."""

    policy: Pass
    critic: Pass
    target_policy: Pass
    target_critic: Pass


class MADDPG(Acting):
    """Q_i(o_1 … o_n, a_1 … a_n) → r_i + γ (1 − terminated_i) Q_i⁻(o', μ_1⁻(o_1') … μ_n⁻(o_n'));  μ_i climbs Q_i(o, a_1 … μ_i(o_i) … a_n).

    n agents have the method. All draw the same steps; on each they tell one another what their target policies do in what follows, and the others'
    actions of the step itself are those that were taken. μ_i climbs Q_i as it was before Q_i's own step. Discrete μ_i: one-hot samples of a softmax, whose gradient is that of a Gumbel-softmax
    (straight through; Jang et al. 2017, arXiv 1611.01144), in targets the most probable action; it explores by sampling. Continuous: tanh,
    with normal noise in what is done. With ``--critic.input own`` Q_i reads o_i and a_i only, and nobody says anything.
    """

    facts = Facts(
        "Deterministic policies, each with a critic of everybody's observations and actions, from a memory.",
        "deterministic policy gradient",
        "off",
        ("discrete", "multi_discrete", "continuous"),
        "the whole team: observations, actions, presence; all agents with this method: actions of their target policies on drawn steps",
        "its target policy's actions on drawn steps",
        "its own reward, or --reward.mixing; the whole team",
        "Lowe et al. 2017, arXiv 1706.02275; EPyMARL's regularisation, arXiv 2006.07869",
        "verified: losses against slow ones; games:targets everybody at its own, games:two_step 8 and games:climbing at (2, 2) with 5 a step, 10 of 10 seeds each",
    )
    Options = Options
    statistics = STATISTICS
    shares = True
    uses = ("optimiser.", "optimiser.critic", "model.critic", "critic.input")
    name: ClassVar[str] = "maddpg"

    def __init__(self, seat: Seat) -> None:
        start, noise, batch, _, gumbel = seat.streams(5)
        self.options = options = seat.options(Options)
        super().__init__(seat, seat.new_policy(start), noise)
        self.counted = isinstance(self.distribution, Categorical)
        self.team_of_it = members(seat.team, seat.index) if self._central(seat.team, seat.index) else ()
        self.others = [agent for agent in self.team_of_it if agent != seat.index]
        model, optimiser = self.settings.model, self.settings.optimiser
        # The critic reads: everybody's observations in the order of agents, identity, the others' actions, the own one.
        specs = [seat.team.specs[agent] for agent in self.team_of_it or (seat.index,)]
        seen = [spec.observation_size for spec in specs]
        at = np.cumsum([0, *seen]).tolist()
        place = self.team_of_it.index(seat.index) if self.team_of_it else 0
        self._mine = slice(at[place], at[place + 1])
        """Of the observations."""
        images = tuple((start, image) for start, spec in zip(at, specs) if (image := image_in(spec, model)))
        distributions = [distribution_of(spec.action) for spec in specs]
        start_of = np.cumsum([0, *(one.width for one in distributions)]).tolist()
        self._before, self._behind = start_of[place], start_of[place + 1]
        """Where the own action stands among everybody's."""
        width = sum(one.width for one in distributions) - distributions[place].width + self.distribution.own_width
        self.joint: TeamMemory | None = None
        if self.others:
            key = (self.name, self.team_of_it)
            mine = TeamMemory(options.memory, distributions, [spec.action.words for spec in specs])
            self.joint = seat.commons.setdefault(key, mine)
        size = sum(seen) + len(self.identity) + width
        self.critic = MLP(
            (size, *model.critic_hidden, 1), model.critic_activation, images=images, channels=model.channels
        )
        of_critic = np.random.SeedSequence(start.entropy, spawn_key=(*start.spawn_key, 1, 0))
        generator = generator_of(of_critic)
        self.critic.start(generator, model.orthogonal, 1.0)
        self.critic.to(self.device)
        kind = OPTIMISERS[optimiser.method]
        self.optimisers = [
            kind(one, optimiser.epsilon, optimiser.max_gradient_norm) for one in (self.policy, self.critic)
        ]
        self.targets = [Target(one, options.target_every, options.target_rate) for one in (self.policy, self.critic)]
        self.memory = JointReplay(options.memory)
        if self.team_of_it:  # the first agent's stream: the same steps are drawn everywhere
            batch = np.random.SeedSequence(self.seat.seed, spawn_key=(0, self.team_of_it[0])).spawn(3)[2]
        self.batch_rng, self.gumbel_rng = np.random.default_rng(batch), np.random.default_rng(gumbel)
        self._sharers = sharers(seat.team, seat.index, self.team_of_it)
        """Those whose gradients are averaged."""
        self._words = max(spec.action.words for spec in specs)
        """Of an action, the most of all agents: who says less says zeros behind it."""
        self._passes: Passes | None = None
        self._explore(0.0)

    def _explore(self, done: float) -> None:
        if not self.counted:
            self.policy.frozen["free"].fill_(math.log(self.options.noise.at(done)))

    # What is known before anything is built

    @classmethod
    def _central(cls, team: Team, index: int) -> bool:
        """Whether its critic reads everybody."""
        return team.settings[index].critic.input != "own"

    @classmethod
    def policy_for(cls, team: Team, index: int) -> Policy:
        """See :class:`~.protocol.Method`: continuous actions are within ±1."""
        spec = team.specs[index]
        head = "sampled" if spec.action.sizes else "squashed"
        return policy_for(spec, team.settings[index].model, len(team.identity_of(index)), head)

    @classmethod
    def check(cls, team: Team, index: int) -> None:
        """See :class:`~.protocol.Method`: actions with bounds; what all of them do in step must be the same."""
        super().check(team, index)
        settings, spec = team.settings[index], team.specs[index]
        if not np.isfinite([*spec.action.low, *spec.action.high]).all():
            raise InputError(
                f"--algorithm {cls.name}: needs continuous actions with bounds, but those of {spec.name} have none"
            )
        check_begin(settings.sections[cls.name], flag(cls.name))
        cls.check_critic_input(team, index)
        if cls._central(team, index):
            check_alike(team, index, cls._in_common, "who draw the same steps")

    @classmethod
    def _in_common(cls, settings: AgentSettings) -> list[tuple[str, Any]]:
        return [(f"{flag(cls.name)}.…", settings.sections[cls.name]), ("--critic.input", settings.critic.input)]

    @classmethod
    def check_critic_input(cls, team: Team, index: int) -> None:
        """Raises InputError for a critic that reads what it cannot."""
        if team.settings[index].critic.input == "neighbourhood":
            raise InputError(
                f"--critic.input neighbourhood: a critic of {cls.name} reads everybody's observations and actions (global), or its own; perla_maddpg's "
                "reads its neighbours' actions"
            )
        own = [agent for agent in members(team, index) if not cls._central(team, agent)]
        if own and len(own) < len(members(team, index)):
            raise InputError(f"--critic.input own: must be that of all agents with {cls.name}, or of none")

    @classmethod
    def wants_of_all(cls, team: Team, index: int) -> Sequence[str]:
        """See :class:`~.protocol.Method`: what its critic reads."""
        return ["observations", "actions", "presence"] if cls._central(team, index) else []

    @classmethod
    def talks(cls, team: Team, index: int) -> bool:
        """See :class:`~.protocol.Method`."""
        return cls._central(team, index) or bool(team.group_of(index))

    # Learning

    def learn(self, rollout: Rollout, inbox: Inbox, now: Now) -> Learning:
        """Remember the rollout, then take some gradient steps on what is drawn from the memory."""
        self._remember(rollout, inbox, now)
        explored = math.nan if self.counted else float(self.policy.frozen["free"][0].exp())
        self._explore(now.round / now.rounds)
        measured = []
        if len(self.memory) >= max(self.options.begin, 1):
            rate = 1.0 - now.progress if self.settings.optimiser.schedule == "linear" else 1.0
            for _ in range(self.options.updates):
                measured.append((yield from self._update(rate)))
        means = np.mean(measured, 0).tolist() if measured else [np.nan] * 4
        return dict(zip(STATISTICS, [*means, explored, float(len(self.memory))]))

    def _remember(self, rollout: Rollout, inbox: Inbox, now: Now) -> None:
        taken = rollout.reward.size
        action = self._within(self.distribution.read(rollout.action).numpy())
        observation = states(rollout.observation, rollout.final_observation).numpy()
        rows_of_states: Rows = {} if self.joint else {"observation": observation}
        if rollout.mask is not None:
            rows_of_states["mask"] = states(rollout.mask, rollout.final_mask).numpy()
        steps: Rows = {
            "action": action,
            "reward": self.reward(rollout, inbox).numpy().reshape(taken),
            "alive": rollout.alive[:-1].reshape(taken),
            "terminated": rollout.terminated.reshape(taken),
        }
        if self.joint and self.joint.round < now.round:
            self._remember_all(self.joint, observation, action, rollout, inbox, now.round)
        steps |= {name: row.reshape(taken, *row.shape[2:]) for name, row in self._heard(rollout, inbox, now).items()}
        # A group, or a team, draws the same steps on every rank, so that all of them stay.
        kept = None if self.seat.group or self.others else rollout.alive[:-1].reshape(taken)
        self.memory.add(rows_of_states, steps, rollout, kept)

    def _remember_all(
        self, joint: TeamMemory, observation: np.ndarray, action: np.ndarray, rollout: Rollout, inbox: Inbox, now: int
    ) -> None:
        """What everybody saw and did; own observation [R, size] and action [T·B, words]."""
        number, taken = len(observation), rollout.reward.size
        seen, there, done = [], [], []
        for agent, distribution in zip(self.team_of_it, joint.distributions):
            if agent == self.index:
                seen.append(observation)
                there.append(of_rollout(rollout, distribution, "presence").astype(bool))
                done.append(action.astype(np.float32))
                continue
            told = inbox[agent].team if agent in inbox else {}
            spec = self.team.specs[agent]
            known = {"observations", "actions", "presence"} <= set(told)  # else rejected: as if it were not there
            seen.append(told["observations"] if known else np.zeros((number, spec.observation_size), np.float32))
            there.append(told["presence"].astype(bool) if known else np.zeros(number, bool))
            words = told["actions"].view(np.float32) if known else np.zeros((taken, spec.action.words), np.float32)
            done.append(self._within(distribution.read(words).numpy()).astype(np.float32))
        rows = {"observation": np.concatenate(seen, 1), "there": np.stack(there, 1)}
        joint.remember(now, rows, {"done": np.concatenate(done, 1)}, rollout)

    def _heard(self, rollout: Rollout, inbox: Inbox, now: Now) -> Rows:
        """What else is to be remembered of every step, [T, B, …]."""
        return {}

    @staticmethod
    def _within(action: np.ndarray) -> np.ndarray:
        """Continuous actions as the environment takes them."""
        return action.clip(-BOUND, BOUND) if action.dtype == np.float32 else action

    def _update(self, rate: float) -> Shared:
        """One gradient step of critic and policy; (loss, Q, norms of the critic's and of the policy's gradient)."""
        rows = self._drawn()
        weight = rows["alive"].to(rows["reward"].dtype)
        weight = weight / weight.sum().clamp(min=1)
        if self._passes is None:
            size = len(weight)
            targets = (Pass(one.network, size, learns=False) for one in self.targets)
            self._passes = Passes(Pass(self.policy, size), Pass(self.critic, size), *targets)
        passes = self._passes
        x, then = rows["observation"], rows["next_observation"]
        actions = yield from self._target_actions(rows, passes.target_policy.forward(self._own(then)))
        following = passes.target_critic.forward(then, self._beside(then, *actions))[0]
        aim = rows["reward"] + self.settings.returns.gamma * following * ~rows["terminated"]
        # Critic: ½ (Q(o, a) − y)², with what was really done.
        given = x.new_empty(len(x), self.critic.sizes[1])
        done = self._beside(x, self._others_of(rows.get("encoded")), self.distribution.own(rows["action"]))
        value = passes.critic.forward(x, done, given)[0] + self._beyond_own(rows)
        error = value - aim
        passes.critic.backward((weight * error).unsqueeze(0))
        self._backward_beyond(weight * error)
        # Policy: −Q(o, a_1 … μ(o_i) … a_n), the others as they acted; Q as it was before its step, whose first layer is known by now.
        outputs = passes.policy.forward(self._own(x)).mT.detach().requires_grad_()
        self._policy_loss(rows, weight, outputs, given).backward()
        assert outputs.grad is not None
        passes.policy.backward(outputs.grad.mT)
        rates = self.settings.optimiser
        yield from averaged(self._critic_gradients(), self._sharers)
        of_critic = self._critic_step(rates.critic_learning_rate * rate)
        yield from averaged([self.policy.gradient], self._sharers)
        of_policy = self.optimisers[0].step(rates.learning_rate * rate)
        for one in self.targets:
            one.follow()
        loss = 0.5 * (weight * error.square()).sum()
        return float(loss), float((weight * value).sum()), float(of_critic), float(of_policy)

    def _drawn(self) -> dict[str, torch.Tensor]:
        chosen = self.memory.choose(self.batch_rng, self.options.batch)
        taken = self.memory.take(chosen, ("observation", "mask"))
        rows = {name: torch.from_numpy(row).to(self.device) for name, row in taken.items()}
        return rows | self.joint.take(chosen, self.device) if self.joint else rows

    def _own(self, observation: torch.Tensor) -> torch.Tensor:
        """What the policy reads, of what everybody sees."""
        return self.with_identity(observation[:, self._mine])

    def _target_actions(
        self, rows: Drawn, outputs: torch.Tensor
    ) -> Generator[Say, Any, tuple[torch.Tensor | None, torch.Tensor]]:
        """What the target policies do in what follows: the others' actions one behind the other, and the own one, as the critic reads them;
        outputs [outputs, M]: of the own target policy."""
        mask = rows.get("next_mask")
        masked = self.distribution.masked(outputs, None if mask is None else mask.mT)
        action = self.distribution.greedy(self.policy.best(masked, -2))
        own = self.distribution.own(action)
        if self.joint is None:
            return None, own
        words = np.zeros((len(action), self._words), np.float32)
        words[:, : action.shape[1]] = action.cpu().numpy()
        told = yield Say("actions", words.ravel(), self.team_of_it)
        whole = np.stack([told[agent].reshape(words.shape) for agent in self.team_of_it])
        return self._others_of(self.joint.encode(whole, rows["next_there"])), own

    def _others_of(self, encoded: torch.Tensor | None) -> torch.Tensor | None:
        """The others' actions of everybody's, [M, Σ width]."""
        return None if encoded is None else torch.cat([encoded[:, : self._before], encoded[:, self._behind :]], 1)

    def _beside(self, x: torch.Tensor, others: torch.Tensor | None, own: torch.Tensor) -> list[torch.Tensor]:
        """What the critic reads behind the observations x: identity and the others' actions, and the own one [M, own_width]."""
        parts = [self.identity.expand(len(x), -1)] if len(self.identity) else []
        parts += [others] if others is not None else []
        return [*([torch.cat(parts, 1).to(x)] if parts else []), own.to(x)]

    def _policy_loss(
        self, rows: Drawn, weight: torch.Tensor, outputs: torch.Tensor, given: torch.Tensor
    ) -> torch.Tensor:
        """−Q(o, a_1 … μ(o_i) … a_n) and the regularisation, the mean over drawn steps; outputs [M, outputs]: of the policy;
        given [M, …]: the critic's first layer without the own action."""
        mask = rows.get("mask")
        raw = outputs[:, : self.distribution.outputs]
        if mask is not None:  # what is forbidden has no size
            raw = torch.where(mask > 0, raw, 0.0)
        if self.counted:
            assert isinstance(self.distribution, Categorical)
            logits = self.distribution.masked(outputs, mask, -1)
            action = straight_through(self.distribution, logits, self.options.temperature, self.gumbel_rng)
        else:
            action = self.policy.decide(outputs, -1)[:, : self.distribution.outputs]
        value = of_last_inputs(self.critic, given, action)
        return (weight * (self.options.regularisation * raw.square().mean(1) - value)).sum()

    # What a critic that averages out its neighbours adds

    def _beyond_own(self, rows: Drawn) -> torch.Tensor | float:
        return 0.0

    def _backward_beyond(self, slope: torch.Tensor) -> None:
        pass

    def _critic_gradients(self) -> list[torch.Tensor]:
        return [self.critic.gradient]

    def _critic_step(self, rate: float) -> torch.Tensor:
        return self.optimisers[1].step(rate)

    # State

    def parts(self) -> Mapping[str, Part]:
        """See :class:`~.acting.Acting`."""
        return {
            "policy.optimiser": self.optimisers[0],
            "critic": self.critic,
            "critic.optimiser": self.optimisers[1],
            "target": self.targets[0],
            "target.critic": self.targets[1],
            "replay": self.memory,
            "batch": self.batch_rng,
            "gumbel": self.gumbel_rng,
            **({"joint": self.joint} if self.joint and self.index == self.team_of_it[0] else {}),
        }

    def restore_rest(self, read: Callable[[int], Kept]) -> None:
        """See :class:`~.protocol.Method`: what all remember is in the file of the first of them."""
        if self.joint and not self.joint.brought:
            restore_parts({"joint": self.joint}, *read(self.team_of_it[0]))

    def description(self) -> dict[str, Any]:
        """See :class:`~.protocol.Method`."""
        return super().description() | {"networks": {"critic": shape_of(self.critic)}}

    def start_from(self, arrays: Mapping[str, np.ndarray], data: Mapping[str, Any]) -> None:
        """The policy, and the critic where there is one of the same shape; targets with them. It explores anew."""
        super().start_from(arrays, data)
        if data.get("networks", {}).get("critic") == shape_of(self.critic) and "target.critic.network" in arrays:
            self.critic.fill(self.tensor(arrays["critic"]))
        self._explore(0.0)
        for one in self.targets:
            one.begin()
