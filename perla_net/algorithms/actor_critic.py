"""One agent's learner: policy, critic, optimisers; PPO or A2C on top, policy embedding underneath.

``learn`` reads top to bottom: values of every observation (embedded if there are neighbours to average out), returns
and advantages, then minibatches. It does not know where the neighbours' policies come from, nor of any rank.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Generator, Sequence

import numpy as np
import torch

from ..config import PRESETS, AgentSettings
from ..distributions import Categorical, Distribution, distribution_of
from ..embedding import Peer, choose_estimator, embed
from ..models import MLP, Adam, Policy
from ..world.spec import AgentSpec
from ..world.world import Rollout
from . import a2c, ppo
from .returns import form_advantage, generalised_advantages

OWN_SAMPLES = 8
"""Own actions drawn per state for Σ_b π(b|o) Q̂(o, b) when they cannot be enumerated."""

STATISTICS = (
    "policy_loss",
    "value_loss",
    "entropy",
    "divergence",
    "clipped",
    "policy_gradient",
    "critic_gradient",
    "explained_variance",
)
"""What :meth:`Learner.learn` reports, means over the minibatches: losses (value loss in normalised units), entropy in
nats, divergence: estimate of KL(old, new) (Schulman 2020: mean of ρ − 1 − log ρ), share of clipped ratios, gradient norms
before clipping, 1 − Var(G − V)/Var(G)."""

Shared = Generator[np.ndarray, np.ndarray, np.ndarray]


@dataclass
class Neighbour:
    """What the learner heard of one neighbour in this round: its policy at R = (T+1)·B + F states and its actions.

    outputs [R, outputs + free], masks applied; present [R] bool; action [T·B, words].
    """

    outputs: torch.Tensor
    present: torch.Tensor
    action: torch.Tensor


class Learner:
    """Policy and critic of one agent, and how they learn from its rollouts."""

    def __init__(
        self,
        spec: AgentSpec,
        settings: AgentSettings,
        neighbours: Sequence[AgentSpec],
        critic_size: int,
        identity: torch.Tensor,
        streams: Sequence[np.random.SeedSequence],
    ) -> None:
        """``neighbours``: whose policies the critic embeds (none: the base algorithm); ``critic_size``: size of the
        critic's state input without memory and identity; ``identity`` [n]: a fixed input that tells shared networks
        whom they act for (n may be 0); ``streams``: seeds of start, action noise, minibatches, embedding."""
        self.spec, self.settings, self.identity = spec, settings, identity
        self.preset = PRESETS[settings.algorithm]
        self.distribution = distribution_of(spec.action)
        self.neighbours: list[Distribution] = [distribution_of(other.action) for other in neighbours]
        self.form = settings.form if self.neighbours else "state"
        self.estimator = choose_estimator(settings.estimator, settings.exact_limit, self.neighbours)
        model = settings.model
        self.policy = Policy(
            spec.observation_size + len(identity),
            model.policy_hidden,
            self.distribution.outputs,
            self.distribution.free,
            model.policy_activation,
            model.memory,
        )
        # Q(o, a, ·) has a head per own action where these can be counted; else the own action is an input.
        self.own_heads = self.form != "state" and isinstance(self.distribution, Categorical)
        self.own_input = self.form != "state" and not self.own_heads
        size = critic_size + self.policy.width + len(identity) + (self.distribution.outputs if self.own_input else 0)
        heads = self.distribution.joint if self.own_heads else 1
        size += sum(distribution.width for distribution in self.neighbours)
        self.critic = MLP((size, *model.critic_hidden, heads), model.critic_activation)
        start = torch.Generator().manual_seed(int(streams[0].generate_state(1, np.uint64)[0] >> 1))
        self.policy.start(start, model.orthogonal, model.policy_gain)
        self.critic.start(start, model.orthogonal, 1.0)
        optimiser = settings.optimiser
        self.optimisers = [
            Adam(net, optimiser.epsilon, optimiser.max_gradient_norm) for net in (self.policy, self.critic)
        ]
        self.noise_rng, self.batch_rng, self.embed_rng = (np.random.default_rng(stream) for stream in streams[1:4])
        self.moments = np.zeros(3)  # PopArt: smoothed mean, mean square, and weight of the targets
        self.scale, self.shift = 1.0, 0.0
        self.embedding_seconds = 0.0

    # Values

    def values(
        self, critic_input: torch.Tensor, outputs: torch.Tensor, neighbours: list[Neighbour], action: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """(V̂ [R], Q̂(o, a) [T·B], Q(o, a, a_N) [T·B]) in the units of the return; the last two None in the state form.

        critic_input [R, size]; outputs [R, outputs + free] of the own policy; action [T·B, words], the own ones.
        """
        with torch.no_grad():
            if not neighbours:
                return self._in_units(self.critic(critic_input)[:, 0]), None, None
            peers = [Peer(d, n.outputs, n.present) for d, n in zip(self.neighbours, neighbours)]
            taken = len(action)
            if self.form == "state":
                return self._in_units(self._embedded(critic_input, peers)[:, 0]), None, None
            encodings = self.encode(neighbours, taken)
            if self.own_heads:
                assert isinstance(self.distribution, Categorical)
                embedded = self._embedded(critic_input, peers)
                share = self.distribution.joint_probabilities(outputs)
                value = (share * embedded).sum(1)
                own = self.distribution.joint_index(action).unsqueeze(1)
                at_action = embedded[:taken].gather(1, own)[:, 0]
                executed = self.critic(torch.cat([critic_input[:taken], encodings], 1)).gather(1, own)[:, 0]
            else:
                noise = self.distribution.noise(self.embed_rng, (OWN_SAMPLES, len(outputs)))
                value = torch.zeros(len(outputs))
                for draw in noise:
                    sampled = self.distribution.sample(outputs, draw)
                    value += self._embedded(torch.cat([critic_input, sampled], 1), peers)[:, 0] / OWN_SAMPLES
                first = [Peer(p.distribution, p.outputs[:taken], p.present[:taken]) for p in peers]
                x = torch.cat([critic_input[:taken], action], 1)
                at_action = self._embedded(x, first)[:, 0]
                executed = self.critic(torch.cat([x, encodings], 1))[:, 0]
            return self._in_units(value), self._in_units(at_action), self._in_units(executed)

    def _embedded(self, x: torch.Tensor, peers: list[Peer]) -> torch.Tensor:
        return embed(self.critic, x, peers, self.settings.samples, self.estimator, self.embed_rng)

    def _in_units(self, normalised: torch.Tensor) -> torch.Tensor:
        return normalised * self.scale + self.shift

    def encode(self, neighbours: list[Neighbour], taken: int) -> torch.Tensor:
        """The critic's inputs for the actions that the neighbours took, [T·B, width]."""
        return torch.cat([d.encode(n.action, n.present[:taken]) for d, n in zip(self.neighbours, neighbours)], dim=1)

    # Learning

    def learn(
        self,
        rollout: Rollout,
        reward: torch.Tensor,
        observation: torch.Tensor,
        critic_input: torch.Tensor,
        outputs: torch.Tensor,
        memory: torch.Tensor | None,
        neighbours: list[Neighbour],
        progress: float,
    ) -> Shared:
        """Update policy and critic from one rollout; returns the :data:`STATISTICS`.

        A generator: under parameter sharing it yields a vector at each place where agents must agree (moments of the
        targets, gradients) and expects the mean over the team to be sent back; a private agent yields nothing.

        reward [T, B]; observation [T, B, …] with identity; critic_input [R, size] with memory and identity; outputs
        [R, …] of the behaviour policy; memory [B, width] at the start, or None; progress: share of the run done.
        """
        settings = self.settings
        steps, copies = reward.shape
        taken = steps * copies
        action = self.action_tensor(rollout)
        began = time.perf_counter()
        value, at_action, executed = self.values(critic_input, outputs, neighbours, action)
        self.embedding_seconds = time.perf_counter() - began
        targets = generalised_advantages(rollout, reward, value, settings.returns.gamma, settings.returns.trace)
        returns = targets.target.view(taken)
        alive = torch.from_numpy(rollout.alive[:-1]).reshape(taken)
        advantage = form_advantage(self.form, returns, value[:taken], at_action, executed)
        if settings.returns.normalise_advantages:
            chosen = advantage[alive]
            if len(chosen):
                advantage = (advantage - chosen.mean()) / (chosen.std(correction=0) + 1e-8)
        explained = _explained_variance(value[:taken][alive], returns[alive])
        if settings.returns.normalise_values:
            yield from self._follow_moments(returns[alive])
        x = critic_input[:taken]
        if self.own_input:
            x = torch.cat([x, action], 1)
        if neighbours:
            x = torch.cat([x, self.encode(neighbours, taken)], 1)
        with torch.no_grad():
            old = self.distribution.log_probability(outputs[:taken], action)
        batch = {
            "x": x,
            "action": action,
            "advantage": advantage,
            "old": old,
            "target": (returns - self.shift) / self.scale,
            "observation": observation.reshape(taken, -1),
        }
        if rollout.mask is not None:
            batch["mask"] = torch.from_numpy(np.ascontiguousarray(rollout.mask[:-1])).view(taken, -1)
        if memory is not None:
            batch["begins"] = torch.from_numpy(rollout.begins[:-1].copy()).view(taken)
        if memory is not None or self.preset.shared:
            batch["alive"] = alive  # sequences stay whole, and agents that share gradients take equally many steps
        elif not alive.all():
            batch = {name: rows[alive] for name, rows in batch.items()}
        sums = yield from self._minibatches(batch, memory, (steps, copies), progress)
        return np.append(sums, explained)

    def _follow_moments(self, returns: torch.Tensor) -> Generator[np.ndarray, np.ndarray, None]:
        """PopArt (van Hasselt et al. 2016, arXiv 1602.07714): move the targets' scale, keep the critic's outputs in units.

        μ, ν: smoothed mean and mean square of the returns; σ² = ν − μ²; W ← W σ/σ', b ← (σ b + μ − μ')/σ'.
        """
        here = np.array([float(returns.sum()), float(returns.square().sum()), float(len(returns))])
        if self.preset.shared:
            here = yield here
        if here[2] > 0:
            smoothing = self.settings.returns.value_smoothing
            self.moments = smoothing * self.moments + (1 - smoothing) * here / here[2]
        if self.moments[2] == 0:
            return
        shift, square = self.moments[:2] / self.moments[2]
        scale = max(float(square - shift * shift), 1e-8) ** 0.5
        last = self.critic.layers - 1
        weight, bias = self.critic.frozen[f"w{last}"], self.critic.frozen[f"b{last}"]
        weight *= self.scale / scale
        bias.mul_(self.scale).add_(self.shift - shift).div_(scale)
        self.scale, self.shift = scale, float(shift)

    def _minibatches(
        self, batch: dict[str, torch.Tensor], memory: torch.Tensor | None, shape: tuple[int, int], progress: float
    ) -> Shared:
        """Epochs of minibatches; a policy with memory takes whole copies, so that its sequences stay whole."""
        settings = self.settings
        ppo_base = self.preset.base == "ppo"
        epochs = settings.ppo.epochs if ppo_base else 1
        size = (settings.ppo.minibatch if ppo_base else settings.a2c.minibatch) or shape[0] * shape[1]
        units = len(batch["action"]) if memory is None else shape[1]
        size = size if memory is None else max(1, size // shape[0])
        rate = 1.0 - progress if settings.optimiser.schedule == "linear" else 1.0
        sums, number = np.zeros(len(STATISTICS) - 1), 0
        if memory is not None:
            batch = {name: rows.view(*shape, *rows.shape[1:]) for name, rows in batch.items()}
        for _ in range(epochs):
            order = torch.from_numpy(self.batch_rng.permutation(units))
            if memory is None:
                shuffled = {name: rows[order] for name, rows in batch.items()}
            else:
                shuffled = {name: rows[:, order] for name, rows in batch.items()} | {"memory": memory[order]}
            for start in range(0, units, size):
                if memory is None:
                    part = {name: rows[start : start + size] for name, rows in shuffled.items()}
                else:
                    part = {name: rows[:, start : start + size] for name, rows in shuffled.items() if name != "memory"}
                    part["memory"] = shuffled["memory"][start : start + size]
                measured = self._backward(part)
                if self.preset.shared:
                    yield from self._average_gradients()
                policy, critic = self.optimisers
                norms = (
                    policy.step(settings.optimiser.learning_rate * rate),
                    critic.step(settings.optimiser.critic_learning_rate * rate),
                )
                sums += torch.stack([*measured, *norms]).numpy()
                number += 1
        return sums / max(number, 1)

    def _average_gradients(self) -> Generator[np.ndarray, np.ndarray, None]:
        own = torch.cat([self.policy.gradient, self.critic.gradient]).numpy()
        mean = torch.from_numpy((yield own).astype(np.float32))
        self.policy.gradient.copy_(mean[: len(self.policy.flat)])
        self.critic.gradient.copy_(mean[len(self.policy.flat) :])

    def _backward(self, part: dict[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Gradients of policy loss − entropy bonus + critic loss on one minibatch; what was measured on the way."""
        settings = self.settings
        if "memory" in part:
            outputs, _ = self.policy.sequence(part["observation"], part["memory"], part["begins"])
            outputs = outputs.flatten(0, 1)
            part = {name: rows.flatten(0, 1) for name, rows in part.items() if name != "memory"}
        else:
            outputs = self.policy(part["observation"])
        alive = part.get("alive")
        outputs = self.distribution.masked(outputs, part.get("mask"))
        log_probability, entropies = self.distribution.log_probability_and_entropy(outputs, part["action"])
        entropy = _mean(entropies, alive)
        loss_of = ppo.policy_loss if self.preset.base == "ppo" else a2c.policy_loss
        loss, ratio = loss_of(log_probability, part["old"], part["advantage"], settings.ppo.clip)
        policy_loss = _mean(loss, alive)
        value_loss = self.critic_loss(part["x"], part["action"], part["target"], alive)
        (policy_loss - settings.returns.entropy * entropy + value_loss).backward()
        with torch.no_grad():
            divergence = _mean(ratio - 1 - (log_probability - part["old"]), alive)
            clipped = _mean(((ratio - 1).abs() > settings.ppo.clip).to(ratio.dtype), alive)
        return policy_loss.detach(), value_loss.detach(), entropy.detach(), divergence, clipped

    def critic_loss(
        self, x: torch.Tensor, action: torch.Tensor, target: torch.Tensor, alive: torch.Tensor | None = None
    ) -> torch.Tensor:
        """½ mean (f(x, a_N) − target)², with the actions that were really taken; target in normalised units."""
        predicted = self.critic(x)
        if self.own_heads:
            assert isinstance(self.distribution, Categorical)
            predicted = predicted.gather(1, self.distribution.joint_index(action).unsqueeze(1))
        return 0.5 * _mean((predicted[:, 0] - target).square(), alive)

    def action_tensor(self, rollout: Rollout) -> torch.Tensor:
        """The own actions [T·B, words]: int64, or float32 when continuous."""
        return words_to_actions(rollout.action, self.distribution)

    # State

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything that changes and is a tensor."""
        policy, critic = self.optimisers
        return {
            "policy": self.policy.flat.numpy(),
            "policy.first": policy.first.numpy(),
            "policy.second": policy.second.numpy(),
            "critic": self.critic.flat.numpy(),
            "critic.first": critic.first.numpy(),
            "critic.second": critic.second.numpy(),
            "moments": self.moments,
        }

    def numbers(self) -> dict[str, Any]:
        """Everything that changes and is not: optimiser steps, PopArt's scale, states of the random streams."""
        streams = {"noise": self.noise_rng, "batch": self.batch_rng, "embed": self.embed_rng}
        return {
            "steps": [optimiser.steps for optimiser in self.optimisers],
            "scale": self.scale,
            "shift": self.shift,
            "streams": {name: rng.bit_generator.state for name, rng in streams.items()},
        }

    def restore(self, arrays: dict[str, np.ndarray], numbers: dict[str, Any]) -> None:
        """Continue from :meth:`arrays` and :meth:`numbers`."""
        for name, target in self.arrays().items():
            target[:] = arrays[name]
        for optimiser, steps in zip(self.optimisers, numbers["steps"]):
            optimiser.steps = steps
        self.scale, self.shift = numbers["scale"], numbers["shift"]
        for name, rng in (("noise", self.noise_rng), ("batch", self.batch_rng), ("embed", self.embed_rng)):
            rng.bit_generator.state = numbers["streams"][name]


def words_to_actions(words: np.ndarray, distribution: Distribution) -> torch.Tensor:
    """Action words [..., words] float32 (int32 bits where discrete) as a tensor [rows, words]."""
    flat = np.ascontiguousarray(words).reshape(-1, words.shape[-1])
    if isinstance(distribution, Categorical):
        return torch.from_numpy(flat.view(np.int32).astype(np.int64))
    return torch.from_numpy(flat.copy())


def _mean(values: torch.Tensor, alive: torch.Tensor | None) -> torch.Tensor:
    if alive is None:
        return values.mean()
    return torch.where(alive, values, 0.0).sum() / alive.sum().clamp(min=1)


def _explained_variance(value: torch.Tensor, returns: torch.Tensor) -> float:
    variance = float(returns.var(correction=0)) if len(returns) else 0.0
    return 1.0 - float((returns - value).var(correction=0)) / variance if variance > 0 else 0.0
