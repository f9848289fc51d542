"""One agent's private state: it acts, tells its neighbours what they want, hears them, and learns."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Mapping, Sequence

import numpy as np
import torch

from .algorithms.actor_critic import Learner, Neighbour, Shared, words_to_actions
from .config import PRESETS, AgentSettings
from .distributions import Categorical, Distribution, distribution_of
from .embedding import choose_estimator, joint_actions
from .models import Policy
from .network.exchange import Edge, Inbox, Sections
from .network.messages import Form
from .world.spec import AgentSpec
from .world.world import Rollout


@dataclass(frozen=True)
class Team:
    """What every agent knows of all: spaces and settings (both from the configuration) and the communication graph."""

    specs: tuple[AgentSpec, ...]
    settings: tuple[AgentSettings, ...]
    edges: tuple[Edge, ...]

    def heard_by(self, agent: int) -> list[int]:
        """In-neighbours of an agent, in order."""
        return sorted(source for source, target in self.edges if target == agent)

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
        """For each ordered pair of agents, the sections that the second wants of the first."""
        table: dict[Edge, list[str]] = {}
        everyone = range(len(self.specs))
        for agent in everyone:
            settings = self.settings[agent]
            embedded, heard = set(self.embedded_by(agent)), set(self.heard_by(agent))
            for other in everyone:
                if other == agent:
                    continue
                wanted: list[str] = []
                if other in embedded:
                    wanted += self._of_policy(other)
                if PRESETS[settings.algorithm].critic_input == "global" and "observations" not in wanted:
                    wanted.append("observations")
                if settings.reward.mixing == "team" or (settings.reward.mixing == "neighbourhood" and other in heard):
                    wanted.append("rewards")
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
            estimator = choose_estimator(settings.estimator, settings.exact_limit, embedded)
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
    """A policy that acts in B copies: an :class:`~perla_net.world.world.Actor`."""

    def __init__(
        self, policy: Policy, distribution: Distribution, identity: torch.Tensor, copies: int, horizon: int
    ) -> None:
        self.policy, self.distribution, self.identity = policy, distribution, identity
        self.copies, self.horizon = copies, horizon
        self.memory = policy.begin(copies)
        self.noise: torch.Tensor | None = None

    def begin(self, rng: np.random.Generator | None) -> None:
        """Before ``horizon`` steps: draw the noise of all of them, or act greedily without ``rng``."""
        self.noise = None if rng is None else self.distribution.noise(rng, (self.horizon, self.copies))

    @torch.no_grad()
    def act(
        self, t: int, observation: np.ndarray, mask: np.ndarray | None, begins: np.ndarray, action: np.ndarray
    ) -> None:
        """See :class:`~perla_net.world.world.Actor`."""
        x = self.with_identity(torch.from_numpy(observation))
        if self.policy.width:
            outputs, self.memory = self.policy.step(x, self.memory, torch.from_numpy(begins))
        else:
            outputs = self.policy(x)
        if mask is not None:
            outputs = self.distribution.masked(outputs, torch.from_numpy(mask))
        chosen = (
            self.distribution.greedy(outputs)
            if self.noise is None
            else self.distribution.sample(outputs, self.noise[t])
        )
        if isinstance(self.distribution, Categorical):
            action.view(np.int32)[:] = chosen.numpy()
        else:
            action[:] = chosen.numpy()

    def with_identity(self, observation: torch.Tensor) -> torch.Tensor:
        """Observations [..., size] with the agent's identity appended, where a shared network needs it."""
        if not len(self.identity):
            return observation
        return torch.cat([observation, self.identity.expand(*observation.shape[:-1], -1)], dim=-1)


class Agent:
    """Private policy, critic, optimisers and random streams of one agent, and what it holds of its neighbours."""

    def __init__(self, index: int, team: Team, seed: int, copies: int, horizon: int) -> None:
        self.index, self.team, self.copies, self.horizon = index, team, copies, horizon
        self.spec, self.settings = team.specs[index], team.settings[index]
        self.preset = PRESETS[self.settings.algorithm]
        self.heard = team.heard_by(index)
        self.embedded = team.embedded_by(index)
        self.identity = identity_of(team, index)
        sizes = [spec.observation_size for spec in team.specs]
        critic_size = sum(sizes) if self.preset.critic_input == "global" else sizes[index]
        streams = np.random.SeedSequence(seed, spawn_key=(0, index)).spawn(4)
        if self.preset.shared:  # one network for all: equal starts
            streams[0] = np.random.SeedSequence(seed, spawn_key=(0, 0)).spawn(4)[0]
        neighbours = [team.specs[other] for other in self.embedded]
        self.learner = Learner(self.spec, self.settings, neighbours, critic_size, self.identity, streams)
        self.policy, self.distribution = self.learner.policy, self.learner.distribution
        self.peers = {other: team.policy_of(other) for other in self.embedded}
        self.held_since = {other: -1 for other in self.embedded}
        """Round of the newest policy that is held of each neighbour; −1: none."""
        self.player = Player(self.policy, self.distribution, self.identity, copies, horizon)
        self.memory_at_start = self.player.memory
        self.ages: dict[int, int] = {}
        """Age in rounds of each embedded neighbour's policy in the last exchange; absent ones are not listed."""
        self._hearing_seconds = 0.0
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
        self._outputs, self._memories = self._evaluate(
            self.policy, self.distribution, observation, mask, rollout, self.memory_at_start, self.player.with_identity
        )
        presence = np.concatenate([rollout.alive.reshape(-1), rollout.final_alive])
        words = np.ascontiguousarray(rollout.action).reshape(-1, rollout.action.shape[-1])
        values = {
            "policy": lambda: self.policy.flat.numpy(),
            "memory": lambda: self.memory_at_start.numpy(),
            "outputs": lambda: self._outputs.numpy(),
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
            running, begins = x[: steps * copies].view(steps, copies, -1), torch.from_numpy(rollout.begins.copy())
            outputs, remembered = policy.sequence(running, memory, begins)
            outputs, memories = outputs.flatten(0, 1), remembered.flatten(0, 1)
            if len(rollout.final_at):
                t, copy = torch.from_numpy(rollout.final_at).unbind(1)
                never = torch.zeros(len(t), dtype=torch.bool)
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
                neighbour = Neighbour(
                    torch.zeros(states, distribution.outputs + distribution.free),
                    torch.zeros(states, dtype=torch.bool),
                    words_to_actions(np.zeros((*rollout.reward.shape, spec.action.words), np.float32), distribution),
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
        action = words_to_actions(sections["actions"].view(np.float32), distribution)
        present = torch.from_numpy(sections["presence"].astype(bool))
        if share == "outputs":
            if "outputs" not in sections:
                return None
            return Neighbour(torch.from_numpy(sections["outputs"].copy()), present, action)
        policy = self.peers[other]
        memory = torch.from_numpy(sections["memory"].copy()) if "memory" in sections else policy.begin(self.copies)
        if self.held_since[other] < 0 or (policy.width and "memory" not in sections):
            return None
        if share == "own_view":
            observation, mask = _states(rollout.observation, rollout.final_observation), rollout.mask
            mask = None if mask is None else _states(mask, rollout.final_mask)
        else:
            if "observations" not in sections:
                return None
            observation = torch.from_numpy(sections["observations"].copy())
            if self.team.specs[other].masked and "masks" not in sections:
                return None
            mask = torch.from_numpy(sections["masks"].copy()) if "masks" in sections else None
        outputs, _ = self._evaluate(policy, distribution, observation, mask, rollout, memory)
        return Neighbour(outputs, present, action)

    # Learning

    def learn(self, rollout: Rollout, inbox: Inbox, round_number: int, progress: float) -> Shared:
        """Embed what was heard, then update critic and policy; a generator, see :meth:`Learner.learn`."""
        start = time.perf_counter()
        neighbours = self.hear(rollout, inbox, round_number)
        self._hearing_seconds = time.perf_counter() - start
        assert self._outputs is not None
        observation = _states(rollout.observation, rollout.final_observation)
        taken = self.horizon * self.copies
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
        memory = self.memory_at_start if self.policy.width else None
        statistics = yield from self.learner.learn(
            rollout, self._mixed_reward(rollout, inbox), own[:taken], x, self._outputs, memory, neighbours, progress
        )
        return statistics

    def take_embedding_seconds(self) -> float:
        """Seconds of the last :meth:`learn` that went into evaluating and embedding the neighbours' policies."""
        return self._hearing_seconds + self.learner.embedding_seconds

    def _observations_of(self, other: int, inbox: Inbox, states: int) -> torch.Tensor:
        heard = inbox.get(other, {}).get("observations")
        if heard is None:  # lost or rejected: a central critic sees nothing there
            return torch.zeros(states, self.team.specs[other].observation_size)
        return torch.from_numpy(heard.copy())

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
        arrays = self.learner.arrays() | {"memory": self.player.memory.numpy(), "identity": self.identity.numpy()}
        for other, policy in self.peers.items():
            arrays[f"held.{other}"] = policy.flat.numpy()
        return arrays, self.learner.numbers() | {"held_since": {str(k): v for k, v in self.held_since.items()}}

    def restore(self, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> None:
        """Continue from :meth:`state`."""
        self.learner.restore(dict(arrays), dict(numbers))
        self.player.memory = torch.from_numpy(arrays["memory"].copy())
        for other, policy in self.peers.items():
            policy.fill(torch.from_numpy(arrays[f"held.{other}"].copy()))
            self.held_since[other] = numbers["held_since"][str(other)]


def _states(running: np.ndarray, final: np.ndarray | None) -> torch.Tensor:
    """[T+1, B, D] and [F, D] as one contiguous [R, D] tensor."""
    flat = running.reshape(-1, running.shape[-1])
    return torch.from_numpy(np.concatenate([flat, final]))
