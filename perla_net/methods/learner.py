"""An actor-critic's networks: policy and critic of one agent, their optimisers and streams, units, a fit in closed form, averaging, state."""

from __future__ import annotations

import math
from typing import Generator, Sequence

import numpy as np
import torch

from ..learning.build import generator_of, policy_for
from ..learning.distributions import Categorical
from ..learning.models import MLP, OPTIMISERS, Policy
from ..learning.ridge import PENALTIES, gram, ridge, ridge_from
from ..settings.config import AgentSettings
from ..world.spec import AgentSpec
from .critic import EmbeddedCritic
from .keeping import Part
from .protocol import Say
from .trainer import Trainer
from .window import Rows, Window


class Learner(EmbeddedCritic):
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
        policy: Policy | None = None,
    ) -> None:
        """``neighbours``: whose policies the critic embeds (none: the base algorithm); ``views``: whose
        observations the critic reads, in order; ``identity`` [n]: a fixed input that tells shared networks
        whom they act for (n may be 0); ``streams``: seeds of start, minibatches, embedding, measuring;
        ``device``: where networks live and learning happens (``cpu``, ``cuda``); ``group``: agents that share these networks; ``flags``:
        how many numbers behind the views say who is not there; ``policy``: with zero weights, where it is not that of ``--model.…``."""
        self.identity, self.group = identity, group
        self.policy = policy or policy_for(spec, settings.model, len(identity))
        super().__init__(spec, settings, neighbours, views, flags + self.policy.width + len(identity), streams[2])
        model = settings.model
        start = generator_of(streams[0])
        self.policy.start(start, model.orthogonal, model.policy_gain, model.policy_deviation)
        self.critic.start(start, model.orthogonal, 1.0)
        for network in (self.policy, self.critic, *([self.rest] if self.rest else ())):
            network.to(device)
        epsilon, most = settings.optimiser.epsilon, settings.optimiser.max_gradient_norm
        optimiser = OPTIMISERS[settings.optimiser.method]
        self.optimisers = optimiser(self.policy, epsilon, most), optimiser(self.critic, epsilon, most)
        self.trainer = Trainer(
            self.policy,
            self.critic,
            self.optimisers,
            self.distribution,
            self.own_heads and not self.splits,
            settings,
            group,
        )
        self.batch_rng = np.random.default_rng(streams[1])
        # Of the critic's own fits; longer than any other key of this agent's streams.
        fits = np.random.SeedSequence(streams[1].entropy, spawn_key=(*streams[1].spawn_key, 0, 0))
        self.fit_rng = np.random.default_rng(fits)
        self.window = Window(settings.critic.window)
        self.embedding_seconds = 0.0
        self.explained = 0.0
        self.out_of_sample = self.coefficient = self.samples_per_parameter = math.nan
        self.measuring = streams[3]
        self.variances: np.ndarray | None = None
        """:data:`~.variance.COLUMNS` of the last rollout, under ``--measure-variance``."""

    @property
    def judged(self) -> tuple[float, float, float, float]:
        """What was noted of the critic in the last round, as the last of :data:`~.order.STATISTICS`."""
        return self.explained, self.out_of_sample, self.coefficient, self.samples_per_parameter

    # Units

    def follow_moments(self, returns: torch.Tensor) -> Generator[Say, np.ndarray, None]:
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

    # Closed form

    def solve(self, network: MLP, rows: Rows) -> Generator[Say, np.ndarray, float]:
        """Fit the critic, or R, by ridge regression, each head on the steps at which its action was taken; returns half the mean squared
        error that is left. The critic speaks in its own units, R in those of the return. A group that shares the network says what each
        head's regression needs."""
        scale, shift = self.units if network is self.critic else (1.0, 0.0)
        x, target, action = rows["x"], (rows["target"] - float(shift)) / float(scale), rows["action"]
        if "weight" in rows:
            there = rows["weight"] > 0
            x, target, action = x[there], target[there], action[there]
        heads = network.sizes[-1]
        head = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        if self.own_heads:
            assert isinstance(self.distribution, Categorical)
            head = self.distribution.joint_index(action)
        of_head = [head == k for k in range(heads)]
        asked = self.settings.critic.penalty
        penalties = PENALTIES if asked is None else (asked,)
        if self.group:
            own = torch.stack([gram(x[mine], target[mine]) for mine in of_head])
            mean = yield Say("moments", own.cpu().numpy().ravel(), self.group, mean=True)
            sums = torch.from_numpy(np.asarray(mean, np.float64)).view_as(own).to(x.device)
            found = [ridge_from(each * len(self.group), penalties) for each in sums]
            counts = sums[:, -1, -1]
            level = sums[:, -2, -1].sum() / counts.sum().clamp(min=1)
        else:
            found = [ridge(x[mine], target[mine], penalties) for mine in of_head]
            counts = torch.stack([mine.sum() for mine in of_head])
            level = target.double().mean() if len(target) else torch.zeros((), dtype=torch.float64)
        weight, bias = network.frozen["w0"], network.frozen["b0"]
        for k, (w, b) in enumerate(found):
            weight[k] = w
            bias[k] = b if counts[k] > 0 else level  # an action that nobody took is as good as the others
        if not len(x):
            return 0.0
        said = (x @ weight.T + bias).gather(1, head.unsqueeze(1))[:, 0]
        return 0.5 * float((said - target).square().mean())

    @torch.no_grad()
    def left_by_values(self, rows: Rows) -> torch.Tensor:
        """What V(o), as it is now, leaves for R of rows of any round, [rows]: r + γ V(o') − V(o), or the target less V(o)."""
        left = rows["target"] - self._in_units(self.critic(rows["seen"])[:, 0])
        if "next" in rows:
            left += rows["going"] * self._in_units(self.critic(rows["next"])[:, 0])
        return left

    # Averaging

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

    # State

    def parts(self) -> dict[str, Part]:
        """What changes, beside the policy."""
        policy, critic = self.optimisers
        found: dict[str, Part] = {
            "policy.optimiser": policy,
            "critic": self.critic,
            "critic.optimiser": critic,
            "moments": self.moments,
            "units": self.units,
            "batch": self.batch_rng,
            "embed": self.embed_rng,
        }
        if self.rest:
            found["rest"] = self.rest
        if self.order != "together":
            found |= {"fit": self.fit_rng, "window": self.window}
        return found
