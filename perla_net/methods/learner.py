"""An actor-critic's networks and how they learn: PPO or A2C on top, policy embedding underneath.

``learn`` reads top to bottom: values of every observation (embedded if there are neighbours to average out), returns
and advantages, then minibatches (``trainer.py``). It does not know where the neighbours' policies come from.
"""

from __future__ import annotations

import math
import time
from typing import Any, Generator, Sequence

import numpy as np
import torch

from ..learning.build import image_in, policy_for
from ..learning.distributions import Categorical, Distribution, distribution_of
from ..learning.embedding import Peer, choose_estimator, embed
from ..learning.models import MLP, OPTIMISERS
from ..settings.config import AgentSettings
from ..world.spec import AgentSpec
from ..world.world import Rollout
from .hearing import Neighbour
from .keeping import Part
from .protocol import Say
from .returns import form_advantage, generalised_advantages
from .trainer import MEASURED, Batch, Shared, Trainer
from .variance import target_variances

OWN_SAMPLES = 8
"""Own actions drawn per state for Σ_b π(b|o) Q̂(o, b) when they cannot be enumerated."""

STATISTICS = (*MEASURED, "explained_variance")
"""What :meth:`Learner.learn` reports: what the trainer measures, and 1 − Var(G − V)/Var(G)."""


How = tuple[int, str, np.random.Generator]
"""How expectations over the neighbours' actions are taken: K, estimator, random stream."""


class Learner:
    """Policy and critic of one agent, and how they learn from its rollouts."""

    def __init__(
        self,
        spec: AgentSpec,
        settings: AgentSettings,
        neighbours: Sequence[AgentSpec],
        views: Sequence[AgentSpec],
        identity: torch.Tensor,
        streams: Sequence[np.random.SeedSequence],
        device: str = "cpu",
        group: tuple[int, ...] = (),
        flags: int = 0,
    ) -> None:
        """``neighbours``: whose policies the critic embeds (none: the base algorithm); ``views``: whose
        observations the critic reads, in order; ``identity`` [n]: a fixed input that tells shared networks
        whom they act for (n may be 0); ``streams``: seeds of start, minibatches, embedding, measuring;
        ``device``: where networks live and learning happens (``cpu``, ``cuda``); ``group``: agents that share these networks; ``flags``:
        how many numbers behind the views say who is not there."""
        self.spec, self.settings, self.identity, self.group = spec, settings, identity, group
        self.distribution = distribution_of(spec.action)
        self.neighbours: list[Distribution] = [distribution_of(other.action) for other in neighbours]
        self.form = settings.form if self.neighbours else "state"
        model = settings.model
        self.policy = policy_for(spec, model, len(identity))
        # Q(o, a, ·) has a head per own action where these can be counted; else the own action is an input.
        self.own_heads = self.form != "state" and isinstance(self.distribution, Categorical)
        self.own_input = self.form != "state" and not self.own_heads
        size = (
            sum(view.observation_size for view in views)
            + flags
            + self.policy.width
            + len(identity)
            + (self.distribution.own_width if self.own_input else 0)
        )
        heads = self.distribution.joint if self.own_heads else 1
        size += sum(distribution.width for distribution in self.neighbours)
        starts = np.cumsum([0] + [view.observation_size for view in views]).tolist()
        images = tuple((at, image) for at, view in zip(starts, views) if (image := image_in(view, model)))
        sizes = (size, *model.critic_hidden, heads)
        self.critic = MLP(sizes, model.critic_activation, images=images, channels=model.channels)
        start = torch.Generator().manual_seed(int(streams[0].generate_state(1, np.uint64)[0] >> 1))
        self.policy.start(start, model.orthogonal, model.policy_gain)
        self.critic.start(start, model.orthogonal, 1.0)
        for network in (self.policy, self.critic):
            network.to(device)
        epsilon, most = settings.optimiser.epsilon, settings.optimiser.max_gradient_norm
        optimiser = OPTIMISERS[settings.optimiser.method]
        self.optimisers = optimiser(self.policy, epsilon, most), optimiser(self.critic, epsilon, most)
        self.trainer = Trainer(
            self.policy, self.critic, self.optimisers, self.distribution, self.own_heads, settings, group
        )
        self.batch_rng, self.embed_rng = (np.random.default_rng(stream) for stream in streams[1:3])
        self.moments = np.zeros(3)  # PopArt: smoothed mean, mean square, and weight of the targets
        self.units = np.array([1.0, 0.0])
        """Scale and shift of the targets: the critic's outputs times the one plus the other are returns."""
        self.embedding_seconds = 0.0
        self.explained = 0.0
        self.measuring = streams[3]
        self.variances: np.ndarray | None = None
        """:data:`~.variance.COLUMNS` of the last rollout, under ``--measure-variance``."""

    @property
    def scale(self) -> float:
        """What a unit of the critic's outputs is worth."""
        return float(self.units[0])

    @property
    def shift(self) -> float:
        """The return that 0 stands for."""
        return float(self.units[1])

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
            settings = self.settings
            there = [peer.distribution for peer in peers if peer.outputs is not None]
            estimator = choose_estimator(settings.estimator, settings.exact_limit, settings.samples, there)
            how = settings.samples, estimator, self.embed_rng
            if self.form == "state":
                return self.expected(critic_input, outputs, peers, how, None), None, None
            encodings = self.encode(neighbours, taken)
            if self.own_heads:
                assert isinstance(self.distribution, Categorical)
                embedded = self._embedded(critic_input, peers, how)
                share = self.distribution.joint_probabilities(outputs)
                value = (share * embedded).sum(1)
                own = self.distribution.joint_index(action).unsqueeze(1)
                at_action = embedded[:taken].gather(1, own)[:, 0]
                executed = self.critic(torch.cat([critic_input[:taken], encodings], 1)).gather(1, own)[:, 0]
            else:
                value = self.expected(critic_input, outputs, peers, how, self.own_noise(outputs, self.embed_rng))
                first = [
                    peer
                    if peer.outputs is None or peer.present is None
                    else Peer(peer.distribution, peer.outputs[:taken], peer.present[:taken])
                    for peer in peers
                ]
                x = torch.cat([critic_input[:taken], self.distribution.own(action)], 1)
                at_action = self._in_units(self._embedded(x, first, how)[:, 0])
                executed = self._in_units(self.critic(torch.cat([x, encodings], 1))[:, 0])
                return value, at_action, executed
            return self._in_units(value), self._in_units(at_action), self._in_units(executed)

    def _embedded(self, x: torch.Tensor, peers: list[Peer], how: How) -> torch.Tensor:
        return embed(self.critic, self.critic.encode(x), peers, *how)

    def own_noise(self, outputs: torch.Tensor, rng: np.random.Generator) -> torch.Tensor | None:
        """What :meth:`expected` draws own actions with, where these cannot be enumerated."""
        if not self.own_input:
            return None
        return self.distribution.noise(rng, OWN_SAMPLES, len(outputs)).to(outputs.device)

    @torch.no_grad()
    def expected(
        self,
        critic_input: torch.Tensor,
        outputs: torch.Tensor,
        peers: list[Peer],
        how: How,
        noise: torch.Tensor | None,
    ) -> torch.Tensor:
        """V̂(o), or Σ_b π(b|o) Q̂(o, b): [R], in the units of the return. Arguments as in :meth:`values`; noise: of
        :meth:`own_noise`."""
        if self.own_heads:
            assert isinstance(self.distribution, Categorical)
            share = self.distribution.joint_probabilities(outputs)
            return self._in_units((share * self._embedded(critic_input, peers, how)).sum(1))
        if noise is None:
            return self._in_units(self._embedded(critic_input, peers, how)[:, 0])
        value = outputs.new_zeros(len(outputs))
        for draw in noise:
            sampled = self.distribution.own(self.distribution.sample(outputs.mT, draw))
            value += self._embedded(torch.cat([critic_input, sampled], 1), peers, how)[:, 0] / OWN_SAMPLES
        return self._in_units(value)

    def _in_units(self, normalised: torch.Tensor) -> torch.Tensor:
        return normalised * self.scale + self.shift

    def encode(self, neighbours: list[Neighbour], taken: int) -> torch.Tensor:
        """The critic's inputs for the actions that the neighbours took, [T·B, width]."""
        parts = []
        for distribution, neighbour in zip(self.neighbours, neighbours):
            if neighbour.action is None or neighbour.present is None:
                parts.append(distribution.absent.to(self.policy.flat.device).expand(taken, -1))
            else:
                parts.append(distribution.encode(neighbour.action, neighbour.present[:taken]))
        return torch.cat(parts, dim=1)

    # Learning

    def learn(self, progress: float, **experience: Any) -> Shared:
        """Update policy and critic from one rollout; returns the :data:`STATISTICS`.

        A generator: under parameter sharing it says a vector at each place where agents must agree (moments of the
        targets, gradients) and expects the mean over the group to be sent back; a private agent says nothing.
        ``experience`` as in :meth:`prepare`; progress: share of the run that is done.
        """
        batch = yield from self.prepare(**experience)
        measured = yield from self.trainer.run([batch], [self.batch_rng], progress)
        return np.append(measured, self.explained)

    def prepare(
        self,
        rollout: Rollout,
        reward: torch.Tensor,
        observation: torch.Tensor | None,
        critic_input: torch.Tensor,
        outputs: torch.Tensor,
        memory: torch.Tensor | None,
        neighbours: list[Neighbour],
        keep_all: bool = False,
    ) -> Generator[Say, np.ndarray, Batch]:
        """Values, returns and advantages of a rollout: what the trainer learns from. A generator like :meth:`learn`.

        reward [T, B]; observation [R, …] with identity, or None where critic_input begins with it; critic_input [R, size]
        with memory and identity; outputs [R, …] of the behaviour policy; memory [B, width] at the start, or None;
        keep_all: steps in which the agent was not there stay, with weight 0, so that batches of several agents agree.
        """
        settings = self.settings
        steps, copies = reward.shape
        taken = steps * copies
        device = reward.device
        action = self.distribution.read(rollout.action).to(device)
        began = time.perf_counter()
        value, at_action, executed = self.values(critic_input, outputs, neighbours, action)
        self.embedding_seconds = time.perf_counter() - began
        if settings.measure_variance:
            self._measure(rollout, reward, critic_input, outputs, neighbours)
        targets = generalised_advantages(rollout, reward, value, settings.returns.gamma, settings.returns.trace)
        returns = targets.target.view(taken)
        alive = torch.from_numpy(rollout.alive[:-1]).reshape(taken).to(device)
        everywhere = bool(alive.all())
        advantage = form_advantage(self.form, returns, value[:taken], at_action, executed)
        if settings.returns.normalise_advantages:
            chosen = advantage if everywhere else advantage[alive]
            if len(chosen):
                advantage = (advantage - chosen.mean()) / (chosen.std(correction=0) + 1e-8)
        self.explained = _explained_variance(value[:taken][alive], returns[alive])
        if settings.returns.normalise_values:
            yield from self._follow_moments(returns[alive])
        parts = [critic_input[:taken]]
        if self.own_input:
            parts.append(self.distribution.own(action))
        if neighbours:
            parts.append(self.encode(neighbours, taken))
        mask = (
            None if rollout.mask is None else torch.from_numpy(np.ascontiguousarray(rollout.mask[:-1])).view(taken, -1)
        )
        batch = Batch(
            torch.cat(parts, 1) if len(parts) > 1 else parts[0],
            None if observation is None else observation[:taken],
            action,
            advantage,
            (returns - self.shift) / self.scale,
            self.distribution.score(outputs[:taken].mT.contiguous(), action).log_probability,
            alive.to(torch.float32),
            None if mask is None else mask.to(device),
        )
        if memory is not None:
            batch.memory, batch.begins = memory, torch.from_numpy(rollout.begins[:-1].copy()).to(device)
        elif not keep_all and not self.group:
            # Else all steps stay: sequences whole, and equally many of all who learn side by side or share gradients.
            batch.weight = None
            if not everywhere:
                for name, column in batch.rows().items():
                    setattr(batch, name, column[alive])
        return batch

    def _measure(
        self,
        rollout: Rollout,
        reward: torch.Tensor,
        critic_input: torch.Tensor,
        outputs: torch.Tensor,
        neighbours: list[Neighbour],
    ) -> None:
        """Note how much the TD targets of this rollout vary, with random numbers that nothing else uses."""
        stream, steps = self.measuring, self.optimisers[0].steps
        key = (*stream.spawn_key, steps, 0)  # longer than any other: (0, i, 4, steps) may be a model of agent 4
        rng = np.random.default_rng(np.random.SeedSequence(stream.entropy, spawn_key=key))
        peers = [Peer(d, n.outputs, n.present) for d, n in zip(self.neighbours, neighbours)]
        whole = torch.from_numpy(rollout.alive[:-1] & ~(rollout.terminated | rollout.truncated)).to(reward.device)
        self.variances = target_variances(self, critic_input, outputs, peers, reward, whole, rng)

    def _follow_moments(self, returns: torch.Tensor) -> Generator[Say, np.ndarray, None]:
        """PopArt (van Hasselt et al. 2016, arXiv 1602.07714): move the targets' scale, keep the critic's outputs in units.

        μ, ν: smoothed mean and mean square of the returns; σ² = ν − μ²; W ← W σ/σ', b ← (σ b + μ − μ')/σ'.
        """
        here = np.array([float(returns.sum()), float(returns.square().sum()), float(len(returns))])
        if self.group:
            here = yield Say("moments", here, self.group, mean=True)
        if here[2] > 0:
            smoothing = self.settings.returns.value_smoothing
            self.moments = smoothing * self.moments + (1 - smoothing) * here / here[2]
        self._rescale(*self._units())

    def _rescale(self, scale: float, shift: float) -> None:
        """Let the critic speak in other units and mean the same."""
        last = self.critic.layers - 1
        weight, bias = self.critic.frozen[f"w{last}"], self.critic.frozen[f"b{last}"]
        weight *= self.scale / scale
        bias.mul_(self.scale).add_(self.shift - shift).div_(scale)
        self.units[:] = scale, shift

    def shared_vector(self, what: str) -> torch.Tensor:
        """What agents average: ``policies``, ``critics``, or both (``parameters``). A critic comes in the units of the return,
        since agents normalise their targets differently, with mean, variance and weight of its targets behind it."""
        parts = [] if what == "critics" else [self.policy.flat]
        if what != "policies":
            critic = self.critic.flat.clone()
            biases = self.critic.sizes[-1]
            weights = biases * self.critic.sizes[-2]
            critic[-biases - weights :] *= self.scale  # the last layer's weights and biases lie at the end
            critic[-biases:] += self.shift
            scale, shift = self._units()
            parts += [critic, torch.tensor([shift, scale * scale, self.moments[2]], dtype=torch.float64).to(critic)]
        return torch.cat(parts)

    def take_shared(self, what: str, vector: torch.Tensor) -> None:
        """Go on with the average of what :meth:`shared_vector` gave."""
        if what != "critics":
            self.policy.fill(vector[: len(self.policy.flat)])
        if what != "policies":
            self.critic.fill(vector[-3 - len(self.critic.flat) : -3])
            self.units[:] = 1.0, 0.0
            if self.settings.returns.normalise_values:
                mean, variance, weight = vector[-3:].double().tolist()
                self.moments[:] = mean * weight, (variance + mean * mean) * weight, weight
                self._rescale(*self._units())

    def shared_groups(self, what: str) -> tuple[int, ...]:
        """Sizes of the tensors in :meth:`shared_vector`, without the three numbers behind a critic."""
        networks = {"policies": [self.policy], "critics": [self.critic], "parameters": [self.policy, self.critic]}[what]
        return tuple(math.prod(shape) for network in networks for shape in network.shapes.values())

    def _units(self) -> tuple[float, float]:
        """(scale, shift) of the targets, from their moments."""
        if self.moments[2] == 0:
            return 1.0, 0.0
        shift, square = self.moments[:2] / self.moments[2]
        return max(float(square - shift * shift), 1e-8) ** 0.5, float(shift)

    # State

    def parts(self) -> dict[str, Part]:
        """What changes, beside the policy."""
        policy, critic = self.optimisers
        return {
            "policy.optimiser": policy,
            "critic": self.critic,
            "critic.optimiser": critic,
            "moments": self.moments,
            "units": self.units,
            "batch": self.batch_rng,
            "embed": self.embed_rng,
        }


def _explained_variance(value: torch.Tensor, returns: torch.Tensor) -> float:
    variance = float(returns.var(correction=0)) if len(returns) else 0.0
    return 1.0 - float((returns - value).var(correction=0)) / variance if variance > 0 else 0.0
