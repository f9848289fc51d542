"""An agent's critic: what it reads, in which units it speaks, and its values with the neighbours averaged out.

V(o) without neighbours, else V(o, a_N) (``state``) or Q(o, a, a_N) (the other forms), with a head per own action where these can be counted,
or the own action as an input. It does not know where the neighbours' policies come from.
"""

from __future__ import annotations

from typing import NamedTuple, Sequence

import numpy as np
import torch

from ..learning.build import image_in
from ..learning.distributions import Categorical, Distribution, distribution_of
from ..learning.embedding import Peer, choose_estimator, embed
from ..learning.models import MLP
from ..settings.config import AgentSettings
from ..world.spec import AgentSpec
from .hearing import Neighbour
from .presets import reads_mean

OWN_SAMPLES = 8
"""Own actions drawn per state for Σ_b π(b|o) Q̂(o, b) when they cannot be enumerated."""
OWN_ENUMERATED = 64
"""Own actions up to which they are enumerated where each takes a pass of its own."""
How = tuple[int, str, np.random.Generator]
"""How expectations over the neighbours' actions are taken: K, estimator, random stream."""


class Values(NamedTuple):
    """Of a rollout's R states and T·B steps, in the units of the return: value [R], V̂(o) or Σ_b π(b|o) Q̂(o, b); at_action [T·B], Q̂(o, a);
    executed [T·B], Q(o, a, a_N). The last two are None in the state form."""

    value: torch.Tensor
    at_action: torch.Tensor | None = None
    executed: torch.Tensor | None = None


class EmbeddedCritic:
    """The critic of one agent, and its values."""

    def __init__(
        self,
        spec: AgentSpec,
        settings: AgentSettings,
        neighbours: Sequence[AgentSpec],
        views: Sequence[AgentSpec],
        others: int,
        draws: np.random.SeedSequence,
    ) -> None:
        """``neighbours``: whose policies the critic embeds (none: the base algorithm); ``views``: whose observations it reads, in order;
        ``others``: further numbers that it reads behind these (flags, memory, identity); ``draws``: seed of the joint actions that are
        drawn of the neighbours."""
        self.spec, self.settings = spec, settings
        options, model = settings.critic, settings.model
        self.form = settings.form if neighbours or options.alone == "yes" else "state"
        self.at_mean = bool(neighbours) and reads_mean(settings)
        """It reads the neighbours' mean action, that of one in place of all, and nothing is averaged over policies."""
        if self.at_mean:
            self.form = "action"
        self.pooled = options.peers == "pooled"
        self.order = options.order
        if self.order == "auto":
            self.order = {"state": "together", "action": "first"}.get(self.form, "folds")
        self.splits = (
            self.form != "state" and options.fit == "residual" and self.order != "together" and not self.at_mean
        )
        """The critic is V(o), as the base algorithm's, and what it leaves is a linear function R of everything: Q = V + R − Σ_b π(b|o) R̂."""
        self.distribution = distribution_of(spec.action, curved=self.splits)
        self.neighbours: list[Distribution] = [
            distribution_of(other.action, curved=self.splits) for other in neighbours
        ]
        # Q(o, a, ·) has a head per own action where these can be counted; else the own action is an input.
        counted = isinstance(self.distribution, Categorical) and options.own_action != "input"
        self.own_heads = self.form != "state" and counted
        self.own_input = self.form != "state" and not self.own_heads
        seen = sum(view.observation_size for view in views)
        widths = [distribution.width for distribution in self.neighbours]
        joint = self.distribution.own_width if self.own_input else 0
        joint += widths[0] if self.pooled and widths else sum(widths)
        heads = self.distribution.joint if self.own_heads else 1
        starts = np.cumsum([0] + [view.observation_size for view in views]).tolist()
        images = tuple((at, image) for at, view in zip(starts, views) if (image := image_in(view, model)))
        size, outputs = (seen + others, 1) if self.splits else (seen + others + joint, heads)
        sizes = (size, *model.critic_hidden, outputs)
        self.critic = MLP(sizes, model.critic_activation, images=images, channels=model.channels)
        self.rest_reads = seen if images else 0
        """Where R begins to read: it reads no images."""
        self.rest: MLP | None = None
        """R, in units of the return."""
        if self.splits:
            self.rest = MLP((seen + others - self.rest_reads + joint, heads), model.critic_activation)
        self.embed_rng = np.random.default_rng(draws)
        self.moments = np.zeros(3)  # PopArt: smoothed mean, mean square, and weight of the targets
        self.units = np.array([1.0, 0.0])
        """Scale and shift of the targets: the critic's outputs times the one plus the other are returns."""

    # Units

    @property
    def scale(self) -> float:
        """What a unit of the critic's outputs is worth."""
        return float(self.units[0])

    @property
    def shift(self) -> float:
        """The return that 0 stands for."""
        return float(self.units[1])

    def _in_units(self, normalised: torch.Tensor) -> torch.Tensor:
        return normalised * self.scale + self.shift

    def _rescale(self, scale: float, shift: float) -> None:
        """Let the critic speak in other units and mean the same."""
        in_other_units(self.critic, (self.scale, self.shift), (scale, shift))
        self.units[:] = scale, shift

    def _units(self) -> tuple[float, float]:
        """(scale, shift) of the targets, from their moments."""
        if self.moments[2] == 0:
            return 1.0, 0.0
        shift, square = self.moments[:2] / self.moments[2]
        return max(float(square - shift * shift), 1e-8) ** 0.5, float(shift)

    # Values

    @torch.no_grad()
    def values(
        self,
        critic_input: torch.Tensor,
        outputs: torch.Tensor,
        neighbours: list[Neighbour],
        action: torch.Tensor,
    ) -> Values:
        """What the critic says of a rollout, with the neighbours averaged out.

        critic_input [R, size]; outputs [R, outputs + free] of the own policy; action [T·B, words], the own ones.
        """
        if self.form == "state" and not neighbours:
            return Values(self._in_units(self.critic(critic_input)[:, 0]))
        if self.splits:
            return self._split_values(critic_input, outputs, neighbours, action)
        if self.critic.layers == 1 or self.at_mean:
            found = self._linear(self.critic, critic_input, outputs, neighbours, action)
            return Values(*(None if part is None else self._in_units(part) for part in found))
        peers = [Peer(d, n.outputs, n.present) for d, n in zip(self.neighbours, neighbours)]
        taken = len(action)
        settings = self.settings
        there = [peer.distribution for peer in peers if peer.outputs is not None]
        estimator = choose_estimator(settings.estimator, settings.exact_limit, settings.samples, there)
        how = settings.samples, estimator, self.embed_rng
        if self.form == "state":
            return Values(self.expected(critic_input, outputs, peers, how, None))
        encodings = self.encode(neighbours, taken)
        if self.own_heads:
            assert isinstance(self.distribution, Categorical)
            embedded = self._embedded(critic_input, peers, how)
            share = self.distribution.joint_probabilities(outputs)
            value = (share * embedded).sum(1)
            own = self.distribution.joint_index(action).unsqueeze(1)
            at_action = embedded[:taken].gather(1, own)[:, 0]
            executed = self.critic(torch.cat([critic_input[:taken], *encodings], 1)).gather(1, own)[:, 0]
            return Values(self._in_units(value), self._in_units(at_action), self._in_units(executed))
        value = self.expected(critic_input, outputs, peers, how, self.own_noise(outputs, self.embed_rng))
        first = [
            peer
            if peer.outputs is None or peer.present is None
            else Peer(peer.distribution, peer.outputs[:taken], peer.present[:taken])
            for peer in peers
        ]
        x = torch.cat([critic_input[:taken], self.distribution.own(action)], 1)
        at_action = self._in_units(self._embedded(x, first, how)[:, 0])
        executed = self._in_units(self.critic(torch.cat([x, *encodings], 1))[:, 0])
        return Values(value, at_action, executed)

    def _embedded(self, x: torch.Tensor, peers: list[Peer], how: How) -> torch.Tensor:
        return embed(self.critic, self.critic.encode(x), peers, *how, self.pooled)

    def own_noise(self, outputs: torch.Tensor, rng: np.random.Generator) -> torch.Tensor | None:
        """What :meth:`expected` draws own actions with, where these cannot be enumerated."""
        if self.splits or not self.own_input or self.critic.layers == 1 or self._few_own_actions():
            return None
        return self.distribution.noise(rng, OWN_SAMPLES, len(outputs)).to(outputs.device)

    def _few_own_actions(self) -> bool:
        return isinstance(self.distribution, Categorical) and self.distribution.joint <= OWN_ENUMERATED

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
        if self.splits:
            return self._in_units(self.critic(critic_input)[:, 0])
        if self.own_heads:
            assert isinstance(self.distribution, Categorical)
            share = self.distribution.joint_probabilities(outputs)
            return self._in_units((share * self._embedded(critic_input, peers, how)).sum(1))
        if not self.own_input:
            return self._in_units(self._embedded(critic_input, peers, how)[:, 0])
        if self.critic.layers == 1:  # linear in the own action, too
            x = torch.cat([critic_input, self.distribution.mean_own(outputs)], 1)
            return self._in_units(self._embedded(x, peers, how)[:, 0])
        value = outputs.new_zeros(len(outputs))
        if noise is None:
            assert isinstance(self.distribution, Categorical)
            shares = self.distribution.joint_probabilities(outputs)
            for action, share in zip(self.distribution.every_action().to(outputs.device), shares.unbind(1)):
                own = self.distribution.own(action.expand(len(outputs), -1))
                value += share * self._embedded(torch.cat([critic_input, own], 1), peers, how)[:, 0]
            return self._in_units(value)
        for draw in noise:
            sampled = self.distribution.own(self.distribution.sample(outputs.mT, draw))
            value += self._embedded(torch.cat([critic_input, sampled], 1), peers, how)[:, 0] / OWN_SAMPLES
        return self._in_units(value)

    def encode(self, neighbours: list[Neighbour], taken: int) -> list[torch.Tensor]:
        """The critic's inputs for the actions that the neighbours took, [T·B, width] each; one, their mean, where it pools them."""
        parts = []
        for distribution, neighbour in zip(self.neighbours, neighbours):
            if neighbour.action is None or neighbour.present is None:
                parts.append(distribution.absent.to(self.critic.flat.device).expand(taken, -1))
                continue
            if neighbour.encoded is None:
                neighbour.encoded = distribution.encode(neighbour.action, neighbour.present[:taken])
            parts.append(neighbour.encoded)
        return [torch.stack(parts).mean(0)] if self.pooled and parts else parts

    def _expected_encodings(self, neighbours: list[Neighbour], states: int) -> list[torch.Tensor]:
        """Means of :meth:`encode` under the neighbours' policies, [R, width] each; all that a linear critic is embedded with."""
        parts = []
        for distribution, neighbour in zip(self.neighbours, neighbours):
            if neighbour.outputs is None or neighbour.present is None:
                parts.append(distribution.absent.to(self.critic.flat.device).expand(states, -1))
                continue
            if neighbour.expected is None:
                neighbour.expected = distribution.mean_encoding(neighbour.outputs, neighbour.present)
            parts.append(neighbour.expected)
        return [torch.stack(parts).mean(0)] if self.pooled and parts else parts

    def _linear(
        self,
        network: MLP,
        x: torch.Tensor,
        outputs: torch.Tensor,
        neighbours: list[Neighbour],
        action: torch.Tensor,
    ) -> Values:
        """:meth:`values` of a network without hidden layers, which is linear in others' actions: f̂(x) = f(x, E[a_N]), without samples; or of one
        that reads their mean action itself, f(x, ā); not in units."""
        taken = len(action)
        means, taken_ones = self._expected_encodings(neighbours, len(x)), self.encode(neighbours, taken)

        def critic(*parts: torch.Tensor) -> torch.Tensor:
            return network(torch.cat(parts, 1) if len(parts) > 1 else parts[0])

        if self.form == "state":
            return Values(critic(x, *means)[:, 0])
        if self.own_heads:
            assert isinstance(self.distribution, Categorical)
            embedded, own = critic(x, *means), self.distribution.joint_index(action).unsqueeze(1)
            value = (self.distribution.joint_probabilities(outputs) * embedded).sum(1)
            executed = critic(x[:taken], *taken_ones).gather(1, own)[:, 0]
            return Values(value, embedded[:taken].gather(1, own)[:, 0], executed)
        own = self.distribution.own(action)
        value = critic(x, self.distribution.mean_own(outputs), *means)[:, 0]
        at_action = critic(x[:taken], own, *(mean[:taken] for mean in means))[:, 0]
        return Values(value, at_action, critic(x[:taken], own, *taken_ones)[:, 0])

    def _split_values(
        self, x: torch.Tensor, outputs: torch.Tensor, neighbours: list[Neighbour], action: torch.Tensor
    ) -> Values:
        """V(o), V + R̂(o, a) − m and V + R(o, a, a_N) − m with m = Σ_b π(b|o) R̂(o, b), so that V stays what it is."""
        assert self.rest is not None
        taken = len(action)
        value = self._in_units(self.critic(x)[:, 0])
        mean, at_action, executed = self._linear(self.rest, x[:, self.rest_reads :], outputs, neighbours, action)
        assert at_action is not None and executed is not None
        base = value[:taken] - mean[:taken]
        return Values(value, base + at_action, base + executed)

    def step_inputs(
        self, critic_input: torch.Tensor, action: torch.Tensor, neighbours: list[Neighbour]
    ) -> torch.Tensor:
        """All that the critic reads of the steps of a rollout, [T·B, sizes[0]]."""
        x = critic_input[: len(action)]
        return x if self.splits else self._with_actions(x, action, neighbours)

    def rest_inputs(
        self, critic_input: torch.Tensor, action: torch.Tensor, neighbours: list[Neighbour]
    ) -> torch.Tensor:
        """All that R reads of them."""
        return self._with_actions(critic_input[: len(action), self.rest_reads :], action, neighbours)

    def _with_actions(self, x: torch.Tensor, action: torch.Tensor, neighbours: list[Neighbour]) -> torch.Tensor:
        parts = [x]
        if self.own_input:
            parts.append(self.distribution.own(action))
        parts += self.encode(neighbours, len(action))
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]


def in_other_units(critic: MLP, before: tuple[float, float], now: tuple[float, float]) -> None:
    """Let a critic that spoke in units (scale, shift) speak in others and mean the same."""
    last = critic.layers - 1
    weight, bias = critic.frozen[f"w{last}"], critic.frozen[f"b{last}"]
    weight *= before[0] / now[0]
    bias.mul_(before[0]).add_(before[1] - now[1]).div_(now[0])
