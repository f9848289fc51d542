"""One agent's private state: it acts, tells its neighbours what they want, hears them, and learns."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generator, Mapping, Sequence, TypeVar

import numpy as np
import torch

from .algorithms.actor_critic import Learner, Neighbour, words_to_actions
from .algorithms.trainer import Shared, Trainer
from .config import PRESETS, AgentSettings
from .distributions import Categorical, Distribution, distribution_of
from .embedding import choose_estimator, joint_actions
from .models import MLP, Adam, Pass, Policy
from .network.exchange import Edge, Inbox, Sections
from .network.messages import Form
from .world.spec import AgentSpec
from .world.world import Rollout

Result = TypeVar("Result")


@dataclass(frozen=True)
class Team:
    """What every agent knows of all: spaces and settings (both from the configuration) and the communication graph."""

    specs: tuple[AgentSpec, ...]
    settings: tuple[AgentSettings, ...]
    edges: tuple[Edge, ...]

    def heard_by(self, agent: int) -> list[int]:
        """In-neighbours of an agent, in order."""
        return self._heard[agent]

    @cached_property
    def _heard(self) -> list[list[int]]:
        heard: list[list[int]] = [[] for _ in self.specs]
        for source, target in sorted(self.edges):
            heard[target].append(source)
        return heard

    def embedded_by(self, agent: int) -> list[int]:
        """The in-neighbours whose policies the agent's critic embeds."""
        settings = self.settings[agent]
        return self.heard_by(agent) if PRESETS[settings.algorithm].embedding and settings.samples else []

    def policy_of(self, agent: int) -> Policy:
        """A policy network as the agent's, with zero weights."""
        spec, model = self.specs[agent], self.settings[agent].model
        distribution = distribution_of(spec.action)
        size = spec.observation_size + len(identity_of(self, agent))
        return Policy(
            size, model.policy_hidden, distribution.outputs, distribution.free, model.policy_activation, model.memory
        )

    @cached_property
    def _policies(self) -> list[tuple[int, int, bytes]]:
        """Of every agent's policy: number of parameters, width of the memory, architecture."""
        policies = map(self.policy_of, range(len(self.specs)))
        return [(len(policy.flat), policy.width, policy.architecture) for policy in policies]

    def wants(self) -> dict[Edge, list[str]]:
        """For each ordered pair of agents, the sections that the second wants of the first, where it wants any."""
        table: dict[Edge, list[str]] = {}
        everyone = range(len(self.specs))
        for agent in everyone:
            settings = self.settings[agent]
            embedded, heard = set(self.embedded_by(agent)), set(self.heard_by(agent))
            whole_team = PRESETS[settings.algorithm].critic_input == "global" or settings.reward.mixing == "team"
            for other in everyone if whole_team else self.heard_by(agent):
                if other == agent:
                    continue
                wanted: list[str] = []
                if other in embedded:
                    wanted += self._of_policy(other)
                if PRESETS[settings.algorithm].critic_input == "global" and "observations" not in wanted:
                    wanted.append("observations")
                if settings.reward.mixing == "team" or (settings.reward.mixing == "neighbourhood" and other in heard):
                    wanted.append("rewards")
                if wanted:
                    table[other, agent] = wanted
        return table

    def _of_policy(self, sender: int) -> list[str]:
        """Sections that tell a policy, by what its owner shares."""
        share = self.settings[sender].share
        if share == "outputs":
            return ["outputs", "actions", "presence"]
        sections = ["policy"]
        if self.settings[sender].model.memory == "gru":
            sections.append("memory")
        if share == "weights":
            sections.append("observations")
            if self.specs[sender].masked:
                sections.append("masks")
        return [*sections, "actions", "presence"]

    def form(self, agent: int, section: str, finals: int, copies: int, horizon: int) -> Form:
        """Type, shape and architecture of a section of the agent's message; R = (T+1)·B + finals states."""
        spec = self.specs[agent]
        distribution = distribution_of(spec.action)
        states, taken = (horizon + 1) * copies + finals, horizon * copies
        if section in ("policy", "memory"):
            size, width, architecture = self._policies[agent]
            return Form("float32", (size,) if section == "policy" else (copies, width), architecture)
        action_type = "int32" if isinstance(distribution, Categorical) else "float32"
        kind, shape = {
            "outputs": ("float32", (states, distribution.outputs + distribution.free)),
            "observations": ("float32", (states, spec.observation_size)),
            "masks": ("float32", (states, distribution.outputs)),
            "actions": (action_type, (taken, spec.action.words)),
            "presence": ("uint8", (states,)),
            "rewards": ("float32", (taken,)),
        }[section]
        return Form(kind, shape)


def identity_of(team: Team, agent: int) -> torch.Tensor:
    """One-hot of the agent under parameter sharing, where one network acts for all; else nothing."""
    if not PRESETS[team.settings[agent].algorithm].shared:
        return torch.zeros(0)
    return torch.eye(len(team.specs))[agent]


def estimator_line(team: Team) -> str:
    """How the team embeds, in words with the counts behind the choice, for the start of a run."""
    kinds: dict[str, int] = {}
    for agent in range(len(team.specs)):
        embedded = [distribution_of(team.specs[other].action) for other in team.embedded_by(agent)]
        settings = team.settings[agent]
        if not embedded:
            text = "no embedding"
        else:
            estimator = choose_estimator(settings.estimator, settings.exact_limit, settings.samples, embedded)
            count = joint_actions(embedded)
            work = (
                f"{count} joint actions"
                if estimator == "exact"
                else f"{settings.samples} samples of {count or 'continuous'}"
            )
            text = f"{settings.form} form, {estimator} ({work})"
        kinds[text] = kinds.get(text, 0) + 1
    return "; ".join(f"{number} agent{'s' * (number > 1)}: {text}" for text, number in kinds.items())


class Player:
    """A policy, or several equal ones side by side, acting in B copies: an :class:`~perla_net.world.world.Actor`."""

    def __init__(
        self, policy: Policy, distribution: Distribution, identity: torch.Tensor, copies: int, horizon: int
    ) -> None:
        """``identity``: see :class:`~perla_net.algorithms.actor_critic.Learner`; policies side by side have none."""
        self.policy, self.distribution, self.identity = policy, distribution, identity
        self.copies, self.horizon = copies, horizon
        self.remembers = policy.width > 0
        self.memory = policy.begin(copies)
        self.device = policy.flat.device
        self.several = policy.flat.dim() > 1
        self._pass = Pass(policy, copies)
        self.noise: torch.Tensor | None = None

    def begin(self, *rngs: np.random.Generator) -> None:
        """Before ``horizon`` steps: draw the noise of all of them from a stream per policy, or act greedily without."""
        drawn = [self.distribution.noise(rng, self.horizon, self.copies) for rng in rngs]
        self.noise = (torch.stack(drawn, 1) if self.several else drawn[0]).to(self.device) if drawn else None

    def act(
        self,
        t: int,
        observations: list[np.ndarray],
        masks: list[np.ndarray | None],
        begins: list[np.ndarray],
        actions: list[np.ndarray],
    ) -> None:
        """See :class:`~perla_net.world.world.Actor`."""
        x = self.with_identity(self._tensor(observations))
        if self.remembers:
            with torch.no_grad():
                outputs, self.memory = self.policy.step(x, self.memory, self._tensor(begins))
            outputs = outputs.mT
        else:
            outputs = self._pass.forward(x)
        if masks[0] is not None:
            outputs = self.distribution.masked(outputs, self._tensor(masks).mT)  # type: ignore[arg-type]
        if self.noise is None:
            chosen = self.distribution.greedy(outputs)
        else:
            chosen = self.distribution.sample(outputs, self.noise[t])
        found = chosen.cpu().numpy()
        discrete = isinstance(self.distribution, Categorical)
        for action, values in zip(actions, found if self.several else (found,)):
            (action.view(np.int32) if discrete else action)[:] = values

    def _tensor(self, arrays: Sequence[np.ndarray]) -> torch.Tensor:
        if self.several:
            return torch.from_numpy(np.stack(arrays)).to(self.device)
        return torch.from_numpy(arrays[0]).to(self.device)

    def with_identity(self, observation: torch.Tensor) -> torch.Tensor:
        """Observations [..., size] with the agent's identity appended, where a shared network needs it."""
        if not len(self.identity):
            return observation
        return torch.cat([observation, self.identity.expand(*observation.shape[:-1], -1)], dim=-1)


class Agent:
    """Private policy, critic, optimisers and random streams of one agent, and what it holds of its neighbours."""

    def __init__(self, index: int, team: Team, seed: int, copies: int, horizon: int, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.index, self.team, self.copies, self.horizon = index, team, copies, horizon
        self.spec, self.settings = team.specs[index], team.settings[index]
        self.preset = PRESETS[self.settings.algorithm]
        self.heard = team.heard_by(index)
        self.embedded = team.embedded_by(index)
        self.identity = identity_of(team, index).to(device)
        sizes = [spec.observation_size for spec in team.specs]
        critic_size = sum(sizes) if self.preset.critic_input == "global" else sizes[index]
        streams = np.random.SeedSequence(seed, spawn_key=(0, index)).spawn(4)
        if self.preset.shared:  # one network for all: equal starts
            streams[0] = np.random.SeedSequence(seed, spawn_key=(0, 0)).spawn(4)[0]
        neighbours = [team.specs[other] for other in self.embedded]
        self.learner = Learner(self.spec, self.settings, neighbours, critic_size, self.identity, streams, device)
        self.policy, self.distribution = self.learner.policy, self.learner.distribution
        self.peers = {other: team.policy_of(other) for other in self.embedded}
        for peer in self.peers.values():
            peer.to(device)
        self.held_since = {other: -1 for other in self.embedded}
        """Round of the newest policy that is held of each neighbour; −1: none."""
        self.player = Player(self.policy, self.distribution, self.identity, copies, horizon)
        self.memory_at_start = self.player.memory
        self.ages: dict[int, int] = {}
        """Age in rounds of each embedded neighbour's policy in the last exchange; absent ones are not listed."""
        self._hearing_seconds = 0.0
        self._observation = torch.zeros(0)
        self._outputs: torch.Tensor | None = None
        self._memories: torch.Tensor | None = None

    def begin(self) -> Player:
        """Before a rollout: who acts for this agent in it, with the noise of all its steps drawn."""
        self.memory_at_start = self.player.memory
        self.player.begin(self.learner.noise_rng)
        return self.player

    # Telling

    def message(self, rollout: Rollout, sections: Sequence[str]) -> Sections:
        """The sections that somebody wants of this agent. The policy is the one that made the rollout."""
        observation = _states(rollout.observation, rollout.final_observation)
        mask = None if rollout.mask is None else _states(rollout.mask, rollout.final_mask)
        self._observation = observation.to(self.device)
        self._outputs, self._memories = self._evaluate(
            self.policy,
            self.distribution,
            self._observation,
            None if mask is None else mask.to(self.device),
            rollout,
            self.memory_at_start,
            self.player.with_identity,
        )
        presence = np.concatenate([rollout.alive.reshape(-1), rollout.final_alive])
        words = np.ascontiguousarray(rollout.action).reshape(-1, rollout.action.shape[-1])
        values = {
            "policy": lambda: self.policy.flat.cpu().numpy(),
            "memory": lambda: self.memory_at_start.cpu().numpy(),
            "outputs": lambda: self._outputs.cpu().numpy(),
            "observations": lambda: observation.numpy(),
            "masks": lambda: mask.numpy(),
            "actions": lambda: words.view(np.int32) if isinstance(self.distribution, Categorical) else words,
            "presence": lambda: presence.astype(np.uint8),
            "rewards": lambda: np.ascontiguousarray(rollout.reward).reshape(-1),
        }
        return {name: values[name]() for name in sections}

    @torch.no_grad()
    def _evaluate(
        self,
        policy: Policy,
        distribution: Distribution,
        observation: torch.Tensor,
        mask: torch.Tensor | None,
        rollout: Rollout,
        memory: torch.Tensor,
        extend: Any = lambda x: x,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """A policy's outputs [R, …] at the states of a rollout, and its memories there [R, width] if it has one.

        observation [R, size]; the memory at a final observation follows from that of the step before.
        """
        x = extend(observation)
        memories = None
        if policy.width:
            steps, copies = rollout.alive.shape
            running = x[: steps * copies].view(steps, copies, -1)
            begins = torch.from_numpy(rollout.begins.copy()).to(x.device)
            outputs, remembered = policy.sequence(running, memory, begins)
            outputs, memories = outputs.flatten(0, 1), remembered.flatten(0, 1)
            if len(rollout.final_at):
                t, copy = torch.from_numpy(rollout.final_at).to(x.device).unbind(1)
                never = torch.zeros(len(t), dtype=torch.bool, device=x.device)
                last_outputs, last_memories = policy.step(x[steps * copies :], remembered[t, copy], never)
                outputs, memories = torch.cat([outputs, last_outputs]), torch.cat([memories, last_memories])
        else:
            outputs = policy(x)
        return distribution.masked(outputs, mask), memories

    # Hearing

    @torch.no_grad()
    def hear(self, rollout: Rollout, inbox: Inbox, round_number: int) -> list[Neighbour]:
        """Neighbours' policies at the states of the rollout, from what arrived and from what is held."""
        found = []
        self.ages = {}
        states = rollout.alive.size + len(rollout.final_at)
        for other in self.embedded:
            sections = inbox.get(other, {})
            if "policy" in sections:
                self.peers[other].fill(torch.from_numpy(sections["policy"].copy()))
                self.held_since[other] = round_number
            neighbour = self._neighbour(other, sections, rollout)
            if neighbour is None:
                spec = self.team.specs[other]
                distribution = distribution_of(spec.action)
                nothing = words_to_actions(
                    np.zeros((*rollout.reward.shape, spec.action.words), np.float32), distribution
                )
                neighbour = Neighbour(
                    torch.zeros(states, distribution.outputs + distribution.free, device=self.device),
                    torch.zeros(states, dtype=torch.bool, device=self.device),
                    nothing.to(self.device),
                )
            else:
                newest = round_number if "outputs" in sections else self.held_since[other]
                self.ages[other] = round_number - newest
            found.append(neighbour)
        return found

    def _neighbour(self, other: int, sections: Sections, rollout: Rollout) -> Neighbour | None:
        """What is known of one neighbour; None when it is absent: no policy, or not this round's experience of it."""
        share = self.team.settings[other].share
        if "actions" not in sections or "presence" not in sections:
            return None
        distribution = distribution_of(self.team.specs[other].action)
        action = words_to_actions(sections["actions"].view(np.float32), distribution).to(self.device)
        present = self._tensor(sections["presence"].astype(bool))
        if share == "outputs":
            if "outputs" not in sections:
                return None
            return Neighbour(self._tensor(sections["outputs"]), present, action)
        policy = self.peers[other]
        memory = self._tensor(sections["memory"]) if "memory" in sections else policy.begin(self.copies)
        if self.held_since[other] < 0 or (policy.width and "memory" not in sections):
            return None
        if share == "own_view":
            observation = self._observation
            mask = None if rollout.mask is None else _states(rollout.mask, rollout.final_mask).to(self.device)
        else:
            if "observations" not in sections:
                return None
            observation = self._tensor(sections["observations"])
            if self.team.specs[other].masked and "masks" not in sections:
                return None
            mask = self._tensor(sections["masks"]) if "masks" in sections else None
        outputs, _ = self._evaluate(policy, distribution, observation, mask, rollout, memory)
        return Neighbour(outputs, present, action)

    # Learning

    def learn(self, rollout: Rollout, inbox: Inbox, round_number: int, progress: float) -> Shared:
        """Embed what was heard, then update critic and policy; a generator, see :meth:`Learner.learn`."""
        return self.learner.learn(progress, **self.experience(rollout, inbox, round_number))

    def experience(self, rollout: Rollout, inbox: Inbox, round_number: int) -> dict[str, Any]:
        """What the learner learns from, as the arguments of :meth:`Learner.prepare`."""
        start = time.perf_counter()
        neighbours = self.hear(rollout, inbox, round_number)
        self._hearing_seconds = time.perf_counter() - start
        observation = self._observation
        own = self.player.with_identity(observation)
        if self.preset.critic_input == "global":
            views = [
                observation if other == self.index else self._observations_of(other, inbox, len(observation))
                for other in range(len(self.team.specs))
            ]
            x = self.player.with_identity(torch.cat(views, 1))
        else:
            x = own
        if self._memories is not None:
            x = torch.cat([x, self._memories], 1)
        return {
            "rollout": rollout,
            "reward": self._mixed_reward(rollout, inbox).to(self.device),
            "observation": own if self.preset.critic_input == "global" else None,
            "critic_input": x,
            "outputs": self._outputs,
            "memory": self.memory_at_start if self.policy.width else None,
            "neighbours": neighbours,
        }

    def take_embedding_seconds(self) -> float:
        """Seconds of the last :meth:`learn` that went into evaluating and embedding the neighbours' policies."""
        return self._hearing_seconds + self.learner.embedding_seconds

    def _observations_of(self, other: int, inbox: Inbox, states: int) -> torch.Tensor:
        heard = inbox.get(other, {}).get("observations")
        if heard is None:  # lost or rejected: a central critic sees nothing there
            return torch.zeros(states, self.team.specs[other].observation_size, device=self.device)
        return self._tensor(heard)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array.copy()).to(self.device)

    def _mixed_reward(self, rollout: Rollout, inbox: Inbox) -> torch.Tensor:
        """own: r_i; neighbourhood: r_i + α Σ_j r_j over in-neighbours j; team: the mean over all agents. [T, B]."""
        own = torch.from_numpy(np.ascontiguousarray(rollout.reward))
        mixing = self.settings.reward
        if mixing.mixing == "own":
            return own
        others = [
            torch.from_numpy(inbox[other]["rewards"].copy()).view(own.shape)
            for other in (self.heard if mixing.mixing == "neighbourhood" else range(len(self.team.specs)))
            if "rewards" in inbox.get(other, {})
        ]
        total = sum(others, torch.zeros_like(own))
        if mixing.mixing == "neighbourhood":
            return own + mixing.spatial_discount * total
        return (own + total) / len(self.team.specs)

    # State

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """(arrays, numbers) of everything that a resumed run needs of this agent."""
        arrays = self.learner.arrays() | {
            "memory": self.player.memory.cpu().numpy(),
            "identity": self.identity.cpu().numpy(),
        }
        for other, policy in self.peers.items():
            arrays[f"held.{other}"] = policy.flat.cpu().numpy()
        return arrays, self.learner.numbers() | {"held_since": {str(k): v for k, v in self.held_since.items()}}

    def restore(self, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> None:
        """Continue from :meth:`state`."""
        self.learner.restore(dict(arrays), dict(numbers))
        self.player.memory = self._tensor(arrays["memory"])
        for other, policy in self.peers.items():
            policy.fill(torch.from_numpy(arrays[f"held.{other}"].copy()))
            self.held_since[other] = numbers["held_since"][str(other)]


class Squad:
    """Agents of one rank whose networks and settings are equal: they act and learn side by side, one product for all.

    Each agent stays itself: its parameters, moments and random streams are its own, as rows of the squad's tensors. The
    numbers differ from those of agents that learn one by one in the last bits, since products are summed in another order.
    """

    def __init__(self, agents: Sequence[Agent]) -> None:
        self.agents = list(agents)
        learners = [agent.learner for agent in agents]
        first = learners[0]
        policy = Policy.together([learner.policy for learner in learners])
        critic = MLP.together([learner.critic for learner in learners])
        self.optimisers = (
            Adam.together([learner.optimisers[0] for learner in learners], policy),
            Adam.together([learner.optimisers[1] for learner in learners], critic),
        )
        self.trainer = Trainer(policy, critic, self.optimisers, first.distribution, first.own_heads, first.settings)
        one = agents[0]
        self.player = Player(policy, first.distribution, one.identity, one.copies, one.horizon)

    @staticmethod
    def gather(agents: Sequence[Agent]) -> list[Squad]:
        """Squads of all that are alike. Agents with memory, or that share parameters, are in none."""
        found: dict[Any, list[Agent]] = {}
        for agent in agents:
            if agent.preset.shared or agent.policy.width:
                continue
            spec, learner = agent.spec, agent.learner
            alike = (
                spec.observation_size,
                spec.action,
                spec.masked,
                learner.critic.sizes,
                learner.own_heads,
                repr(agent.settings),
            )
            found.setdefault(alike, []).append(agent)
        return [Squad(group) for group in found.values()]

    def begin(self) -> Player:
        """Before a rollout: who acts for these agents in it."""
        self.player.begin(*[agent.learner.noise_rng for agent in self.agents])
        return self.player

    def learn(
        self, rollouts: Sequence[Rollout], inboxes: Mapping[int, Inbox], round_number: int, progress: float
    ) -> list[np.ndarray]:
        """Everybody's statistics, after everybody has learned."""
        batches = [
            run_alone(
                agent.learner.prepare(**agent.experience(rollout, inboxes[agent.index], round_number), keep_all=True)
            )
            for agent, rollout in zip(self.agents, rollouts)
        ]
        learners = [agent.learner for agent in self.agents]
        for whole, optimiser in zip(self.optimisers, learners[0].optimisers):
            whole.steps = optimiser.steps
        measured = run_alone(self.trainer.run(batches, [learner.batch_rng for learner in learners], progress))
        for learner in learners:
            for whole, optimiser in zip(self.optimisers, learner.optimisers):
                optimiser.steps = whole.steps
        return [np.append(row, learner.explained) for row, learner in zip(measured, learners)]


def run_alone(steps: Generator[np.ndarray, np.ndarray, Result]) -> Result:
    """Run what may ask for the team's mean, and must not, to its end."""
    try:
        next(steps)
    except StopIteration as stop:
        return stop.value
    raise RuntimeError("a private learner asked for the team's mean")


def _states(running: np.ndarray, final: np.ndarray | None) -> torch.Tensor:
    """[T+1, B, D] and [F, D] as one contiguous [R, D] tensor."""
    flat = running.reshape(-1, running.shape[-1])
    return torch.from_numpy(np.concatenate([flat, final]))
