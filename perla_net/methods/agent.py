"""One agent's private state: it acts, tells its neighbours what they want, hears them, and learns."""

from __future__ import annotations

import time
from typing import Any, Generator, Mapping, Sequence, TypeVar

import numpy as np
import torch

from ..learning.distributions import BLOCKED, Distribution, Gaussian, distribution_of
from ..learning.models import MLP, Adam, Pass, Policy
from ..network.exchange import Inbox, Letter, Sections
from ..settings.config import PRESETS
from ..world.world import Rollout
from .actor_critic import Learner, Neighbour
from .modelling import Model
from .team import Team, identity_of
from .trainer import Shared, Trainer

Result = TypeVar("Result")


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
        self._pass = Pass(policy, copies, learns=False)
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
        for action, values in zip(actions, found if self.several else (found,)):
            self.distribution.write(values, action)

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

    def __init__(
        self,
        index: int,
        team: Team,
        seed: int,
        copies: int,
        horizon: int,
        device: str = "cpu",
        equal_start: bool = False,
    ) -> None:
        """``equal_start``: with the same parameters as every agent of equal spaces and networks."""
        self.device = torch.device(device)
        self.index, self.team, self.copies, self.horizon = index, team, copies, horizon
        self.spec, self.settings = team.specs[index], team.settings[index]
        self.preset = PRESETS[self.settings.algorithm]
        self.heard = team.heard_by(index)
        self.embedded = team.embedded_by(index)
        self.identity = identity_of(team, index).to(device)
        views = team.specs if self.preset.critic_input == "global" else (self.spec,)
        streams = np.random.SeedSequence(seed, spawn_key=(0, index)).spawn(5)
        if self.preset.shared or equal_start:  # one network for all
            streams[0] = np.random.SeedSequence(seed, spawn_key=(0, 0)).spawn(4)[0]
        neighbours = [team.specs[other] for other in self.embedded]
        self.learner = Learner(self.spec, self.settings, neighbours, views, self.identity, streams, device)
        self.policy, self.distribution = self.learner.policy, self.learner.distribution
        self.peers: dict[int, Policy] = {}
        """The newest policy that is held of each neighbour, once one has come."""
        self.models = {
            other: Model(
                self.spec,
                distribution_of(team.specs[other].action),
                self.settings.model,
                self.settings.modelling,
                np.random.SeedSequence(seed, spawn_key=(0, index, other)),
                self.device,
            )
            for other in self.embedded
            if team.settings[other].share == "modelled"
        }
        self.held_since = {other: -1 for other in self.embedded}
        """Round of the newest policy that is held of each neighbour; −1: none."""
        self.player = Player(self.policy, self.distribution, self.identity, copies, horizon)
        self.mark()
        self.ages: dict[int, int] = {}
        """Age in rounds of each embedded neighbour's policy in the last exchange; absent ones are not listed."""
        self.hops: dict[int, int] = {}
        """Edges along which came what is embedded of each neighbour."""
        self._hearing_seconds = 0.0
        self._observation = torch.zeros(0)
        self._mask: torch.Tensor | None = None
        self._outputs: torch.Tensor | None = None
        self._memories: torch.Tensor | None = None

    def begin(self) -> Player:
        """Before a rollout: who acts for this agent in it, with the noise of all its steps drawn."""
        self.mark()
        self.player.begin(self.learner.noise_rng)
        return self.player

    def mark(self) -> None:
        """Note what a rollout begins with."""
        self.memory_at_start = self.player.memory
        self.noise_at_start = self.learner.noise_rng.bit_generator.state

    def take_back(self) -> None:
        """As at the last :meth:`mark`."""
        self.player.memory = self.memory_at_start
        self.learner.noise_rng.bit_generator.state = self.noise_at_start

    # Telling

    def message(self, rollout: Rollout, sections: Sequence[str]) -> Sections:
        """The sections that somebody wants of this agent. The policy is the one that made the rollout."""
        observation = _states(rollout.observation, rollout.final_observation)
        mask = None if rollout.mask is None else _states(rollout.mask, rollout.final_mask)
        self._observation = observation.to(self.device)
        self._mask = None if mask is None else mask.to(self.device)
        self._outputs, self._memories = self._evaluate(
            self.policy,
            self.distribution,
            self.player.with_identity(self._observation),
            self._mask,
            rollout.begins,
            rollout.final_at,
            self.memory_at_start,
        )
        presence = np.concatenate([rollout.alive.reshape(-1), rollout.final_alive])
        words = np.ascontiguousarray(rollout.action).reshape(-1, rollout.action.shape[-1])
        values = {
            "policy": lambda: self.policy.flat.cpu().numpy(),
            "memory": lambda: self.memory_at_start.cpu().numpy(),
            "outputs": lambda: self._outputs.cpu().numpy(),
            "observations": lambda: observation.numpy(),
            "masks": lambda: mask.numpy(),
            "actions": lambda: words if isinstance(self.distribution, Gaussian) else words.view(np.int32),
            "presence": lambda: presence.astype(np.uint8),
            "rewards": lambda: np.ascontiguousarray(rollout.reward).reshape(-1),
        }
        return {name: values[name]() for name in sections}

    @torch.no_grad()
    def distortion(self, told: Sequence[np.ndarray]) -> tuple[float | None, float | None]:
        """Of what receivers make of the policy (or of the outputs) that :meth:`message` gave: mean relative error
        ‖x̂ − x‖ / ‖x‖, over allowed actions only, and mean KL(π, π̂) in nats over the rollout's states (None with memory)."""
        if not told:
            return None, None
        assert self._outputs is not None
        of_outputs = self.settings.share == "outputs"
        true = self._outputs if of_outputs else self.policy.flat
        allowed = true > BLOCKED
        policy = None if of_outputs or self.policy.width else self.team.policy_of(self.index)
        if policy:
            policy.to(self.device)
        errors, divergences = [], []
        for vector in told:
            heard = self._tensor(vector)
            errors.append(float((heard - true)[allowed].norm() / true[allowed].norm().clamp(min=1e-12)))
            if of_outputs:
                outputs = heard
            elif policy:
                policy.fill(heard)
                outputs = policy(self.player.with_identity(self._observation))
            else:  # with memory: it would have to be run through anew for little
                continue
            blocked = self.distribution.masked(outputs, self._mask, -1)
            divergences.append(float(self.distribution.divergence(self._outputs, blocked).mean()))
        return sum(errors) / len(errors), sum(divergences) / len(divergences) if divergences else None

    @torch.no_grad()
    def _evaluate(
        self,
        policy: Policy,
        distribution: Distribution,
        x: torch.Tensor,
        mask: torch.Tensor | None,
        begins: np.ndarray,
        final_at: np.ndarray,
        memory: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """A policy's outputs [R, …] at the states of a rollout, and its memories there [R, width] if it has one.

        x [R, size]; begins [T+1, B]; final_at [F, 2]; the memory at a final observation follows from that of the step before.
        """
        memories = None
        if policy.width:
            steps, copies = begins.shape
            running = x[: steps * copies].view(steps, copies, -1)
            outputs, remembered = policy.sequence(running, memory, torch.from_numpy(begins.copy()).to(x.device))
            outputs, memories = outputs.flatten(0, 1), remembered.flatten(0, 1)
            if len(final_at):
                t, copy = torch.from_numpy(final_at).to(x.device).unbind(1)
                never = torch.zeros(len(t), dtype=torch.bool, device=x.device)
                last_outputs, last_memories = policy.step(x[steps * copies :], remembered[t, copy], never)
                outputs, memories = torch.cat([outputs, last_outputs]), torch.cat([memories, last_memories])
        else:
            outputs = policy(x)
        return distribution.masked(outputs, mask, -1), memories

    # Hearing

    @torch.no_grad()
    def hear(self, rollout: Rollout, inbox: Inbox, round_number: int) -> list[Neighbour]:
        """Neighbours' policies at the states of the rollout, from what arrived and from what is held."""
        found = []
        self.ages, self.hops = {}, {}
        for other in self.embedded:
            letter = inbox.get(other, Letter())
            if "policy" in letter.sections and letter.made > self.held_since[other]:
                if other not in self.peers:
                    self.peers[other] = self.team.policy_of(other)
                    self.peers[other].to(self.device)
                self.peers[other].fill(torch.from_numpy(letter.sections["policy"].copy()))
                self.held_since[other] = letter.made
            neighbour = self._neighbour(other, letter, rollout)
            if neighbour.outputs is not None:
                fresh = "outputs" in letter.sections or other in self.models
                self.ages[other] = round_number - (round_number if fresh else self.held_since[other])
                self.hops[other] = letter.hops
            found.append(neighbour)
        return found

    def _neighbour(self, other: int, letter: Letter, rollout: Rollout) -> Neighbour:
        """What is known of one neighbour; nothing when it is absent: no policy, or not this round's experience of it."""
        share, sections = self.team.settings[other].share, letter.sections
        if "actions" not in sections or "presence" not in sections:
            return Neighbour()
        distribution = distribution_of(self.team.specs[other].action)
        action = distribution.read(sections["actions"].view(np.float32)).to(self.device)
        present = self._tensor(sections["presence"].astype(bool))
        # The first copies only, where a budget left no room for all.
        part = _Part(rollout, self.copies, letter.copies or self.copies)
        if share == "outputs":
            if "outputs" not in sections:
                return Neighbour()
            return part.whole(self._tensor(sections["outputs"]), present, action)
        if share == "modelled":
            observation = self._observation[part.states]
            outputs = self.models[other].outputs(observation)
            running = present[: len(action)]
            self.models[other].fit(observation[: len(action)][running], action[running])
            return part.whole(outputs, present, action)
        if other not in self.peers:
            return Neighbour()
        policy = self.peers[other]
        if policy.width and "memory" not in sections:
            return Neighbour()
        memory = self._tensor(sections["memory"]) if policy.width else policy.begin(part.copies)
        if share == "own_view":
            observation = self._observation[part.states]
            mask = None if self._mask is None else self._mask[part.states]
        else:
            if "observations" in letter.team:
                observation = self._tensor(letter.team["observations"])[part.states]
            elif "observations" in sections:
                observation = self._tensor(sections["observations"])
            else:
                return Neighbour()
            if self.team.specs[other].masked and "masks" not in sections:
                return Neighbour()
            mask = self._tensor(sections["masks"]) if "masks" in sections else None
        identity = identity_of(self.team, other).to(self.device)
        if len(identity):
            observation = torch.cat([observation, identity.expand(len(observation), -1)], 1)
        outputs, _ = self._evaluate(policy, distribution, observation, mask, part.begins, part.final_at, memory)
        return part.whole(outputs, present, action)

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
        heard = inbox[other].team.get("observations") if other in inbox else None
        if heard is None:  # rejected: a central critic sees nothing there
            return torch.zeros(states, self.team.specs[other].observation_size, device=self.device)
        return self._tensor(heard)

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array.copy()).to(self.device)

    def _mixed_reward(self, rollout: Rollout, inbox: Inbox) -> torch.Tensor:
        """own: r_i; neighbourhood: r_i + Σ_j α^h_j r_j over those j heard along h_j edges (Chu et al. 2020's spatial
        discount); team: the mean over all agents. [T, B]. What did not arrive does not count."""
        own = torch.from_numpy(np.ascontiguousarray(rollout.reward))
        mixing = self.settings.reward
        if mixing.mixing == "own":
            return own
        total = torch.zeros_like(own)
        for letter in (inbox[other] for other in sorted(inbox)):
            heard = (letter.team if mixing.mixing == "team" else letter.sections).get("rewards")
            if heard is not None:
                reward = torch.from_numpy(heard.copy()).view(len(own), -1)
                weight = 1.0 if mixing.mixing == "team" else mixing.spatial_discount**letter.hops
                total[:, : reward.shape[1]] += weight * reward
        return own + total if mixing.mixing == "neighbourhood" else (own + total) / len(self.team.specs)

    # Averaging

    def shared_vector(self, what: str) -> np.ndarray:
        """What :meth:`Learner.shared_vector` gives, float32."""
        return self.learner.shared_vector(what).cpu().numpy()

    def take_shared(self, what: str, vector: np.ndarray) -> None:
        """Go on with an average; one that changed nothing leaves every bit as it was."""
        if not np.array_equal(vector, self.shared_vector(what)):
            self.learner.take_shared(what, self._tensor(vector))

    # State

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """(arrays, numbers) of everything that a resumed run needs of this agent."""
        arrays = self.learner.arrays() | {
            "memory": self.player.memory.cpu().numpy(),
            "identity": self.identity.cpu().numpy(),
        }
        for other, policy in self.peers.items():
            arrays[f"held.{other}"] = policy.flat.cpu().numpy()
        numbers: dict[str, Any] = {}
        for other, model in self.models.items():
            found, numbers[str(other)] = model.state()
            arrays |= {f"model.{other}.{name}": array for name, array in found.items()}
        held_since = {str(k): v for k, v in self.held_since.items()}
        return arrays, self.learner.numbers() | {"held_since": held_since, "models": numbers}

    def restore(self, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> None:
        """Continue from :meth:`state`."""
        self.learner.restore(dict(arrays), dict(numbers))
        self.player.memory = self._tensor(arrays["memory"])
        for other in self.embedded:
            self.held_since[other] = numbers["held_since"][str(other)]
            if f"held.{other}" in arrays:
                self.peers[other] = self.team.policy_of(other)
                self.peers[other].to(self.device)
                self.peers[other].fill(torch.from_numpy(arrays[f"held.{other}"].copy()))
        for other, model in self.models.items():
            of_model = {name: arrays[f"model.{other}.{name}"] for name in ("policy", "first", "second")}
            model.restore(of_model, numbers["models"][str(other)])


class _Part:
    """The states of a rollout that belong to its first environment copies."""

    def __init__(self, rollout: Rollout, of: int, copies: int) -> None:
        self.copies = copies
        self.begins, self.final_at = rollout.begins[:, :copies], rollout.final_at
        self.taken: Any = slice(None)
        self.states: Any = slice(None)
        self.rows, self.steps = rollout.alive.size + len(rollout.final_at), rollout.reward.size
        if copies < of:
            running = np.arange(rollout.alive.size).reshape(rollout.alive.shape)[:, :copies]
            finals = np.flatnonzero(rollout.final_at[:, 1] < copies)
            self.final_at = rollout.final_at[finals]
            self.taken = torch.from_numpy(running[:-1].ravel().copy())
            self.states = torch.from_numpy(np.concatenate([running.ravel(), rollout.alive.size + finals]))

    def whole(self, outputs: torch.Tensor, present: torch.Tensor, action: torch.Tensor) -> Neighbour:
        """A neighbour known in these states, and absent in the others."""
        if isinstance(self.states, slice):
            return Neighbour(outputs, present, action)
        everywhere = Neighbour(
            outputs.new_zeros(self.rows, outputs.shape[1]),
            present.new_zeros(self.rows),
            action.new_zeros(self.steps, action.shape[1]),
        )
        for target, places, values in (
            (everywhere.outputs, self.states, outputs),
            (everywhere.present, self.states, present),
            (everywhere.action, self.taken, action),
        ):
            assert target is not None
            target[places] = values
        return everywhere


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
        """Squads of all that are alike. Agents with memory or images, or that share parameters, are in none."""
        found: dict[Any, list[Agent]] = {}
        for agent in agents:
            if agent.preset.shared or agent.policy.width or len(agent.identity) or agent.policy.encoder:
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
        for agent in self.agents:
            agent.mark()
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
