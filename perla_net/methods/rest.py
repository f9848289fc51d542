"""Policy embedding of values that are learned from a memory: what neighbours' actions add to a value of the agent's own.

    Q_i(o, a_i, a_N) = q_i(o, a_i) + R_i(o, a_i, a_N) − R̂_i(o, a_i),    R̂_i(o, a_i) = E_{a_j ~ π_j(·|o_j), j ∈ N_i} [ R_i(o, a_i, a_N) ]

Any Q_i can be written like this, and its embedding is Q̂_i(o, a_i) = E_{a_N}[Q_i] = q_i(o, a_i): a network of the agent's own observation, by
which it acts and bootstraps. Both descend ½ δ², δ = Q_i(o, a_i, a_N) − y with the actions that were really taken:

    ∂/∂q_i(o, a_i) = δ,    ∂/∂R_i(o, a_i, a_N) = δ    (R̂_i is held fast: E[δ | o, a_i] is q_i's to bring to zero)

so that q_i learns from targets from which R_i − R̂_i takes what the neighbours did by chance, whatever R_i: its mean under their policies is zero.
Where nobody was heard it is zero, and q_i learns as the base algorithm's. Where several agents' values add up (``perla_vdn``), what a neighbour's
action is worth by itself is the business of its own q_j, so that R_i counts only as far as it depends on both, by its mean over the own policy:

    Q_i = q_i + D_i(a_i) − Σ_b π_i(b|o_i) D_i(b),    D_i(b) = R_i(o, b, a_N) − R̂_i(o, b)

whose mean given a_i is q_i, too, and which, given a_N, has nothing left of R_i. π_j is the newest policy that is held of j, so that q_i is the mean over
what the neighbours do *now* also on steps that are long past; or (``told``) the one that acted.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal, Mapping, Sequence

import numpy as np
import torch

from ..learning.build import generator_of, image_in
from ..learning.distributions import distribution_of
from ..learning.embedding import Peer, choose_estimator, embed
from ..learning.models import BLOCKED, MLP, OPTIMISERS, Pass
from ..network.exchange import Inbox
from ..settings.config import Section, option
from ..world.world import Rollout
from .acting import Acting
from .hearing import Hearing, Neighbour
from .keeping import Part
from .memory import Rows
from .protocol import Learning, Now, Seat
from .team import Team

Policies = Literal["newest", "told"]


class Rest:
    """R_i of one agent, and what it takes to know R̂_i on remembered steps."""

    def __init__(self, seat: Seat, hearing: Hearing, own: int, heads: int, policies: Policies) -> None:
        """``own``: further numbers that R reads behind the observation (identity, the own action); ``heads``: one for each own action, or 1."""
        self.seat, self.hearing, self.settings = seat, hearing, seat.settings
        self.others = hearing.embedded
        specs = {other: seat.team.specs[other] for other in self.others}
        self.distributions = {other: distribution_of(spec.action) for other, spec in specs.items()}
        self.now = {other: policies == "newest" and self._can_be_asked(other) for other in self.others}
        """Of whom the newest policy is asked again on remembered steps; of the others what they told is kept."""
        model, optimiser = self.settings.model, self.settings.optimiser
        image = image_in(seat.spec, model)
        size = seat.spec.observation_size + own + sum(one.width for one in self.distributions.values())
        self.network = MLP(
            (size, *model.critic_hidden, heads),
            model.critic_activation,
            images=((0, image),) if image else (),
            channels=model.channels,
        )
        first, *_, draws = seat.streams(4)
        start = np.random.SeedSequence(first.entropy, spawn_key=(*first.spawn_key, 0, 0))
        generator = generator_of(start)
        self.network.start(generator, model.orthogonal, 1.0)
        self.network.to(seat.device)
        self.optimiser = OPTIMISERS[optimiser.method](self.network, optimiser.epsilon, optimiser.max_gradient_norm)
        self.rng = np.random.default_rng(draws)
        self._pass: Pass | None = None
        self._looked: tuple[torch.Tensor, torch.Tensor] | None = None
        """(heads, whether somebody was heard) of the last :meth:`beyond`, [M] each; None where nobody was anywhere."""

    def _can_be_asked(self, other: int) -> bool:
        told = self.seat.team.methods[other].tells(self.seat.team, other)
        if self.seat.team.settings[other].share == "modelled":
            return "choices" not in told
        return "policy" in told and "memory" not in told

    def _on_own_view(self, other: int) -> bool:
        return self.seat.team.settings[other].share in ("own_view", "modelled")

    # Remembering

    def rows(self, rollout: Rollout, inbox: Inbox, heard: list[Neighbour]) -> Rows:
        """What is to be remembered of the neighbours, [T, B, …]: their actions, whether they were heard and there, and what tells their policies."""
        steps, copies = rollout.reward.shape
        taken = steps * copies
        found: Rows = {}
        for other, neighbour in zip(self.others, heard):
            spec, distribution = self.seat.team.specs[other], self.distributions[other]
            known = neighbour.outputs is not None and neighbour.action is not None and neighbour.present is not None
            outputs = neighbour.outputs if known else torch.zeros(taken, distribution.outputs + distribution.free)
            action = neighbour.action if known else distribution.read(np.zeros((taken, spec.action.words), np.float32))
            assert outputs is not None and action is not None
            present = neighbour.present[:taken] if known and neighbour.present is not None else torch.zeros(taken)
            rows = {"action_of": action, "there_of": present.to(torch.bool)}
            if not self.now[other]:
                rows["outputs_of"] = outputs[:taken]
            elif not self._on_own_view(other):
                rows["seen_by"] = self.hearing.observations(other, rollout, inbox)[0][:taken]
                if spec.masked:
                    rows["allowed_of"] = (outputs[:taken, : spec.action.flags] > BLOCKED).to(torch.float32)
            found |= {
                f"{name}_{other}": row.reshape(steps, copies, *row.shape[1:]).cpu().numpy()
                for name, row in rows.items()
            }
        return found

    # Learning

    def beyond(
        self,
        x: torch.Tensor,
        rows: Mapping[str, torch.Tensor],
        heads: torch.Tensor,
        shares: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """D = R(o, a_i, a_N) − R̂(o, a_i) of drawn steps, [M]; zero where nobody was heard. x [M, size]: observation and further numbers;
        heads [M]: which head counts; shares [M, heads]: π_i, over which the mean of D is to be left out."""
        known = torch.stack([rows[f"there_of_{other}"] for other in self.others]).any(0)
        self._looked = None
        if not known.any():
            return torch.zeros(len(x), dtype=x.dtype, device=x.device)
        peers = [self._peer(other, rows) for other in self.others]
        settings = self.settings
        there = [peer.distribution for peer in peers if peer.outputs is not None]
        estimator = choose_estimator(settings.estimator, settings.exact_limit, settings.samples, there)
        with torch.no_grad():
            mean = embed(self.network, self.network.encode(x), peers, settings.samples, estimator, self.rng)
        encodings = [
            self.distributions[other].encode(rows[f"action_of_{other}"], rows[f"there_of_{other}"])
            for other in self.others
        ]
        if self._pass is None or self._pass.outputs.shape[-1] != len(x):
            self._pass = Pass(self.network, len(x))
        executed = self._pass.forward(torch.cat([x, *encodings], 1))
        self._looked = heads, known
        difference = executed.mT - mean
        found = difference.gather(1, heads.unsqueeze(1))[:, 0]
        if shares is not None:
            found = found - (shares * difference).sum(1)
        return found * known

    @torch.no_grad()
    def _peer(self, other: int, rows: Mapping[str, torch.Tensor]) -> Peer:
        """A neighbour at drawn steps."""
        distribution, present = self.distributions[other], rows[f"there_of_{other}"]
        if not present.any():
            return Peer(distribution, None, None)
        if not self.now[other]:
            return Peer(distribution, rows[f"outputs_of_{other}"], present)
        own_view = self._on_own_view(other)
        seen = rows["observation"] if own_view else rows[f"seen_by_{other}"]
        if other in self.hearing.models:
            return Peer(distribution, self.hearing.models[other].outputs(seen), present)
        identity = self.seat.team.identity_of(other).to(seen)
        if len(identity):
            seen = torch.cat([seen, identity.expand(len(seen), -1)], 1)
        policy = self.hearing.peers[other]
        mask = rows.get("mask" if own_view else f"allowed_of_{other}")
        return Peer(distribution, policy.decide(distribution.masked(policy(seen), mask, -1), -1), present)

    def backward(self, slope: torch.Tensor) -> None:
        """From ∂L/∂(R − R̂) of the last :meth:`beyond`, [M], to the network's gradient."""
        self.network.gradient.zero_()
        if self._looked is None:
            return
        assert self._pass is not None
        heads, known = self._looked
        whole = torch.zeros_like(self._pass.outputs).scatter_(0, heads.unsqueeze(0), (slope * known).unsqueeze(0))
        self._pass.backward(whole)

    def parts(self) -> dict[str, Part]:
        """What changes."""
        return {"rest": self.network, "rest.optimiser": self.optimiser, "embed": self.rng, "heard": self.hearing}


@dataclass
class PolicyOptions(Section):
    """Whose policies count on remembered steps."""

    policies: Policies = option(
        "newest",
        "Over which policies of the neighbours Q is averaged on remembered steps: the newest that are held, or those that acted, as they told them.",
    )


OF_EMBEDDING = ("optimiser.critic", "model.critic", "samples", "estimator", "exact_limit")
"""What such methods read of the options that all have."""


class Embedding(Acting):
    """What methods have in common whose values average out the neighbours' policies; to stand before the base algorithm."""

    rest: Rest | None = None
    """None where there is nobody to hear, and so nothing but the base algorithm."""

    def _begin_rest(self, own: int, heads: int, policies: Policies) -> None:
        """At the end of ``__init__``; arguments as for :class:`Rest`."""
        self.embedded = self.team.embedded_by(self.index)
        self._squares: list[float] = []
        self._seconds = 0.0
        if self.embedded:
            self.hearing = Hearing(self.seat, self.embedded, self.device)
            self.ages, self.hops = self.hearing.ages, self.hearing.hops
            self.rest = Rest(self.seat, self.hearing, own, heads, policies)

    @classmethod
    def wants(cls, team: Team, index: int) -> Mapping[int, Sequence[str]]:
        """See :class:`~.protocol.Method`: the policies that it averages over."""
        return {other: team.methods[other].tells(team, other) for other in team.embedded_by(index)}

    def learn(self, rollout: Rollout, inbox: Inbox, now: Now) -> Learning:
        """As the base algorithm; and says how much neighbours' actions are worth, ``peers_value``: root mean square of D in the steps drawn."""
        self._squares.clear()
        self._seconds = 0.0
        found = yield from super().learn(rollout, inbox, now)
        return {**found, "peers_value": float(np.mean(self._squares)) ** 0.5 if self._squares else np.nan}

    def _heard(self, rollout: Rollout, inbox: Inbox, now: Now) -> Rows:
        """What is to be remembered of the neighbours, [T, B, …]."""
        if self.rest is None:
            return {}
        began = time.perf_counter()
        heard = self.hearing.hear(rollout, inbox, now.round, self.observation, self.mask)
        rows = self.rest.rows(rollout, inbox, heard)
        self._seconds += time.perf_counter() - began
        return rows

    def _beyond(
        self,
        rest: Rest,
        x: torch.Tensor,
        rows: Mapping[str, torch.Tensor],
        heads: torch.Tensor,
        shares: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """:meth:`Rest.beyond`, noted."""
        began = time.perf_counter()
        beyond = rest.beyond(x, rows, heads, shares)
        self._squares.append(float(beyond.square().mean()))
        self._seconds += time.perf_counter() - began
        return beyond

    def embedding_seconds(self) -> float:
        """See :class:`~.protocol.Method`."""
        return self._seconds

    def cross_entropies(self) -> list[float | None]:
        """See :class:`~.protocol.Method`."""
        models = self.hearing.models if self.rest else {}
        return [models[other].cross_entropy for other in self.ages if other in models]

    def parts(self) -> Mapping[str, Part]:
        """See :class:`~.acting.Acting`."""
        return {**super().parts(), **(self.rest.parts() if self.rest else {})}
