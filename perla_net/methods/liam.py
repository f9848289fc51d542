"""Opponent modelling by representation: a code of what one has seen and done, from which one could tell what the neighbours see and do (``liam``)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generator, Mapping, Sequence

import numpy as np
import torch

from ..ground.errors import InputError
from ..learning.build import generator_of
from ..learning.coded import CodedPolicy
from ..learning.distributions import distribution_of
from ..learning.models import MLP, OPTIMISERS, Policy
from ..network.exchange import Inbox, Letter
from ..settings.config import Positive, Rate, Section, Sizes, option
from ..world.spec import ActionSpec, AgentSpec
from ..world.world import Rollout
from .actor_critic import ActorCritic
from .coalition import averaged
from .hearing import Part as Copies
from .keeping import Part
from .lesson import Experience
from .protocol import KINDS, Facts, Learning, Now, Say, Seat
from .team import Team

RECONSTRUCTED = ("liam_observation_error", "liam_action_cross_entropy")
"""Of the neighbours, in a round that nothing was fitted to yet: mean square of what is wrong in a number of an observation; −mean log π̂_j(a_j | z), nats."""


@dataclass
class Options(Section):
    """The code and its decoders; policy and critic are those of ``--model.…``, learned by ``--ppo.…``."""

    code: Positive = option(32, "Numbers in the code.")
    hidden: Sizes = option((64,), "Sizes of the decoders' hidden layers.")
    epochs: Positive = option(4, "Passes of encoder and decoders over a round's rollout.")
    minibatch: Positive = option(4096, "Steps in one of their minibatches, which are of whole copies.")
    learning_rate: Rate = option(1e-3, "Step size of encoder and decoders.")


@dataclass
class Told:
    """What a neighbour told of itself in a round: seen [T, B, size], action [T·B, words], known [T, B] bool: that it was there, and did arrive."""

    seen: torch.Tensor
    action: torch.Tensor
    known: torch.Tensor


class LIAM(ActorCritic):
    """z_t = f(o_1:t, a_1:t−1), fitted with a decoder for each neighbour j:  min E ½ ‖ô_j(z) − o_j‖² / size − log π̂_j(a_j | z).

    Policy and critic read (o, z), z as it was when the agent acted: no gradient of PPO reaches f. To act, nothing of others is needed. Who may never hear
    anybody has no code, and is ``ippo``, bit for bit; while nothing arrives, f stays what it is. A group shares f and its decoders too, the k-th of each
    member's neighbours having one decoder.
    """

    facts = Facts(
        "PPO that reads a code of its own trajectory, fitted to tell what its neighbours see and do.",
        "opponent modelling",
        "on",
        KINDS,
        "its neighbours: observations and actions, while it trains",
        "nothing more",
        "its own reward, or --reward.mixing",
        "Papoudakis et al. 2021, arXiv 2006.09447",
        "verified: without neighbours it is ippo, bit for bit; gradients against autograd; tells a neighbour that follows from the own past from chance",
    )
    Options = Options
    statistics = (*ActorCritic.statistics, *RECONSTRUCTED)
    averages = remembers = False
    uses = ("policy_loss", "model.", "model.critic", "optimiser.", "optimiser.critic", "returns.", "ppo.")

    def __init__(self, seat: Seat) -> None:
        self.options = seat.options(Options)
        super().__init__(seat)
        heard = seat.team.heard_by(seat.index)
        self.distributions = {other: distribution_of(seat.team.specs[other].action) for other in heard}
        self.decoders: dict[int, MLP] = {}
        if not isinstance(self.policy, CodedPolicy):
            return
        _, order, *_ = seat.streams(6)[-1].spawn(2 + len(heard))
        first = seat.group[0] if seat.group else seat.index  # whose start a group has
        start, _, *of_each = np.random.SeedSequence(seat.seed, spawn_key=(0, first)).spawn(6)[-1].spawn(2 + len(heard))
        self.policy.start_coder(generator_of(start), seat.settings.model.orthogonal)
        self.coder = self.policy.coder()
        self.fit_rng = np.random.default_rng(order)
        optimiser = OPTIMISERS["adam"]
        self.optimisers = {"coder": optimiser(self.coder, 1e-5, 0.5)}
        for other, one in zip(heard, of_each):
            size, distribution = seat.team.specs[other].observation_size, self.distributions[other]
            sizes = (self.options.code, *self.options.hidden, size + distribution.outputs + distribution.free)
            self.decoders[other] = MLP(sizes, "relu")
            self.decoders[other].start(generator_of(one), True, 0.01)
            self.decoders[other].to(self.device)
            self.optimisers[f"decoder.{other}"] = optimiser(self.decoders[other], 1e-5, 0.5)

    def acts_by(self, seat: Seat) -> Policy:
        """See :class:`~.actor_critic.ActorCritic`: PPO trains what lies behind the code."""
        policy = self.policy_for(seat.team, seat.index)
        if not isinstance(policy, CodedPolicy):
            return self.learner.policy
        policy.to(seat.device)
        policy.adopt(self.learner.policy)
        return policy

    # What is known before anything is built

    @classmethod
    def policy_for(cls, team: Team, index: int) -> Policy:
        """See :class:`~.protocol.Method`."""
        if not team.heard_by(index):
            return super().policy_for(team, index)
        spec, settings = team.specs[index], team.settings[index]
        distribution = distribution_of(spec.action)
        return CodedPolicy(
            spec.observation_size + len(team.identity_of(index)),
            settings.sections["liam"]["code"],
            distribution.own_width,
            settings.model.policy_hidden,
            distribution.outputs,
            distribution.free,
            settings.model.policy_activation,
        )

    @classmethod
    def read_by_networks(cls, team: Team, index: int) -> AgentSpec:
        """See :class:`~.actor_critic.ActorCritic`: observation and code."""
        spec = team.specs[index]
        if not team.heard_by(index):
            return spec
        size = spec.observation_size + team.settings[index].sections["liam"]["code"]
        return replace(spec, observation_size=size, observation_kind="box", observation_shape=(size,), observation=None)

    @classmethod
    def check(cls, team: Team, index: int) -> None:
        """See :class:`~.protocol.Method`."""
        super().check(team, index)
        settings, spec = team.settings[index], team.specs[index]
        if settings.critic.input not in ("preset", "own"):
            raise InputError(
                f"--critic.input {settings.critic.input}: the critic of liam reads what its policy reads; leave it at own ({spec.name})"
            )
        if spec.observation_kind == "image" and settings.model.encoder != "none":
            raise InputError(f"--algorithm liam: reads numbers, but {spec.name} sees images; use --model.encoder none")
        for other in team.group_of(index):
            if _decoded(team, other) != _decoded(team, index):
                raise InputError(
                    f"agents.groups: liam's decoders tell what each neighbour sees and does, and the neighbours of {spec.name} and "
                    f"{team.specs[other].name} are not alike, so that the two cannot share them"
                )

    @classmethod
    def wants(cls, team: Team, index: int) -> Mapping[int, Sequence[str]]:
        """See :class:`~.protocol.Method`: what the decoders are fitted to."""
        return {other: ["observations", "actions", "presence"] for other in team.heard_by(index)}

    # A round

    def learn(self, rollout: Rollout, inbox: Inbox, now: Now) -> Learning:
        """PPO on observations and codes; then encoder and decoders on what the neighbours told."""
        found = yield from super().learn(rollout, inbox, now)
        if not self.decoders:
            return found | dict.fromkeys(RECONSTRUCTED, np.nan)
        return found | (yield from self._reconstruct(rollout, inbox))

    def experience(self, rollout: Rollout, inbox: Inbox, round_number: int) -> Experience:
        """See :class:`~.actor_critic.ActorCritic`."""
        if not self.decoders:
            return super().experience(rollout, inbox, round_number)
        assert self.memories is not None
        x = torch.cat([self.with_identity(self.observation), self.memories[:, : self.options.code]], 1)
        return Experience(rollout, self.reward(rollout, inbox).to(self.device), None, x, self.outputs, None, [])

    def _reconstruct(self, rollout: Rollout, inbox: Inbox) -> Learning:
        """Fit encoder and decoders; how well they did before."""
        told = {other: one for other in self.decoders if (one := self._told_by(other, rollout, inbox)) is not None}
        steps, copies = rollout.reward.shape
        here = torch.from_numpy(rollout.alive[:-1].copy()).to(self.device)
        for one in told.values():
            one.known &= here
        told = {other: one for other, one in told.items() if bool(one.known.any())}
        if not told and not self.seat.group:  # a group stays in step
            return dict.fromkeys(RECONSTRUCTED, float("nan"))
        own = self.distribution.own(self.distribution.read(rollout.action).to(self.device)).view(steps, copies, -1)
        x = self.with_identity(self.observation)[: steps * copies].view(steps, copies, -1)
        begins = torch.from_numpy(rollout.begins[:-1].copy()).to(self.device)
        every = torch.arange(copies, device=self.device)
        with torch.no_grad():
            before = self.losses(x, own, begins, told, every)
        some = max(1, self.options.minibatch // steps)
        for _ in range(self.options.epochs):
            order = torch.from_numpy(self.fit_rng.permutation(copies)).to(self.device)
            for chosen in order.split(some):
                yield from self._fit(self.losses(x, own, begins, told, chosen), sorted(told))
        return {name: float(loss.mean()) for name, loss in zip(RECONSTRUCTED, before)}

    def losses(
        self, x: torch.Tensor, own: torch.Tensor, begins: torch.Tensor, told: Mapping[int, Told], chosen: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean squares of the observations' errors, and cross-entropies of the actions, of every neighbour that told something in some of these copies;
        x, own, begins [T, B, …]."""
        assert isinstance(self.policy, CodedPolicy)
        codes = self.policy.codes(x[:, chosen], self.memory_at_start[chosen], begins[:, chosen], own[:, chosen])
        errors, entropies = [], []
        for other, one in told.items():
            known = one.known[:, chosen].flatten()
            if not bool(known.any()):
                continue
            decoded = self.decoders[other](codes.flatten(0, 1)[known])
            seen = one.seen[:, chosen].flatten(0, 1)[known]
            action = one.action.view(*one.known.shape, -1)[:, chosen].flatten(0, 1)[known]
            guess, outputs = decoded[:, : seen.shape[1]], decoded[:, seen.shape[1] :]
            errors.append((guess - seen).square().mean())
            entropies.append(-self.distributions[other].score(outputs.mT, action).log_probability.mean())
        if not errors:
            return x.new_zeros(0), x.new_zeros(0)
        return torch.stack(errors), torch.stack(entropies)

    def _fit(self, losses: tuple[torch.Tensor, torch.Tensor], told: Sequence[int]) -> Generator[Say, np.ndarray, None]:
        """One gradient step of the encoder, and of the decoders of those that told something, to this agent or to one of its group:
        Σ_i g_i / Σ_i f_i over the group, f_i = 1 where agent i was told something, and 0 else."""
        errors, entropies = losses
        networks = {"coder": self.coder, **{f"decoder.{other}": one for other, one in self.decoders.items()}}
        for network in (self.policy, *self.decoders.values()):
            network.gradient.zero_()
        if len(errors):
            (0.5 * errors.mean() + entropies.mean()).backward()
        moves = torch.tensor([bool(len(errors)) and (name == "coder" or int(name[8:]) in told) for name in networks])
        flags = moves.to(torch.float32)
        yield from averaged([*(network.gradient for network in networks.values()), flags], self.seat.group)
        for (name, network), flag in zip(networks.items(), flags.tolist()):
            if not flag:
                continue
            if flag < 1:
                network.gradient.div_(flag)
            self.optimisers[name].step(self.options.learning_rate)

    def _told_by(self, other: int, rollout: Rollout, inbox: Inbox) -> Told | None:
        """A neighbour's part of the rollout; None where nothing of it arrived."""
        letter = inbox.get(other, Letter())
        if "actions" not in letter.sections:
            return None
        shape = rollout.reward.shape
        seen, known = self.hearing.observations(other, rollout, inbox)
        part = Copies(rollout, self.copies, letter.copies or self.copies)
        heard = self.distributions[other].read(letter.sections["actions"].view(np.float32)).to(self.device)
        action = heard.new_zeros(rollout.reward.size, heard.shape[1])
        action[part.taken] = heard
        taken = rollout.reward.size
        return Told(seen[:taken].view(*shape, -1), action, known[:taken].view(shape))

    def alike(self) -> None:
        """See :class:`~.protocol.Method`: each learns by itself."""
        return None

    # State

    def parts(self) -> Mapping[str, Part]:
        """See :class:`~.acting.Acting`."""
        found = dict(super().parts())
        if self.decoders:
            found |= {"fitting": self.fit_rng}
            found |= {f"decoder.{other}": network for other, network in self.decoders.items()}
            found |= {f"{name}.optimiser": optimiser for name, optimiser in self.optimisers.items()}
        return found


def _decoded(team: Team, index: int) -> list[tuple[int, ActionSpec]]:
    """What an agent's decoders tell, of each of those that it may hear, in order."""
    heard = [team.specs[other] for other in team.heard_by(index)]
    return [(spec.observation_size, spec.action.bare) for spec in heard]
