"""Actor-critics: PPO and A2C with any critic input, policy embedding, parameter sharing; eight presets of them by name."""

from __future__ import annotations

import time
from typing import Any, Mapping, Sequence

import numpy as np
import torch

from ..learning.models import Policy
from ..network.exchange import Inbox
from ..world.spec import AgentSpec
from ..world.world import Rollout
from .acting import Acting
from .field import SECTIONS, Field
from .hearing import Hearing
from .keeping import Part
from .learner import Learner
from .lesson import Experience, Lesson
from .order import STATISTICS, Judge, learn
from .presets import PRESETS, critic_input, reads_mean
from .protocol import KINDS, Facts, Learning, Now, Seat, shape_of
from .squad import Squad
from .team import Team

PPO = "Schulman et al. 2017, arXiv 1707.06347"
A2C = "Mnih et al. 2016, arXiv 1602.01783"
PERLA = "Jafferjee et al., arXiv 2209.01054 (PERLA)"
MAPPO = "Yu et al. 2022, arXiv 2103.01955"
CONSENSUS = "Zhang et al. 2018, arXiv 1802.08757; Chu et al. 2020, arXiv 2004.01339 (ConsensusNet)"
MEAN_FIELD = "Yang et al. 2018, arXiv 1802.05438"


def facts_of(name: str) -> Facts:
    """The facts of a preset, from its choices."""
    preset = PRESETS[name]
    base = "PPO" if preset.base == "ppo" else "A2C"
    everyone = preset.critic_input == "global"
    heard = []
    if preset.embedding:
        heard.append("its neighbours: their policies, where these stood")
    if preset.mean_field:
        heard.append("its neighbours: their actions, which must be of one kind")
    if name == "consensus":
        heard.append("its neighbours: their critics, which are averaged every round")
    if everyone:
        heard.append("the whole team: observations")
    sends = "the group's mean of gradients and of targets' moments" if preset.shared else "nothing more"
    if name == "consensus":
        sends = "its critic"
    which = "a critic of everybody's observations" if everyone else "a critic of its own observation"
    how = " that averages out its neighbours' policies" if preset.embedding else ""
    if preset.mean_field:
        which = "a critic of its own observation and action and its neighbours' mean action"
    source = (
        MEAN_FIELD
        if preset.mean_field
        else PERLA
        if preset.embedding
        else MAPPO
        if everyone
        else PPO
        if preset.base == "ppo"
        else A2C
    )
    verified = "gradients and returns against autograd and by hand"
    if preset.shared:
        verified = "networks stay equal; averaging over the complete graph comes to the same"
    elif preset.embedding:
        verified = f"without neighbours it is {name.removeprefix('perla_')}, bit for bit"
    elif preset.mean_field:
        verified = "advantages and targets against a slow one; without neighbours it is ia2c, bit for bit"
    if name == "consensus":
        source, how = CONSENSUS, ", averaged with its neighbours' after every round"
        verified = "is ippo with --consensus.what critics, bit for bit"
    if name == "perla_ippo":
        verified = f"PERLA's theorems 1, 3 and 6 (python -m perla_net.theory); {verified}"
    return Facts(
        f"{base} with {which}{how}{', one network for the whole team' if preset.shared else ''}.",
        "actor-critic",
        "on",
        ("discrete", "multi_discrete") if preset.mean_field else KINDS,
        "; ".join(heard) or "nobody",
        sends,
        "its own reward, or --reward.mixing" + ("; the whole team" if everyone or preset.shared else ""),
        source,
        f"verified: {verified}",
    )


class ActorCritic(Acting):
    """A policy and a critic, trained by PPO or A2C."""

    facts = Facts(
        "PPO or A2C with or without policy embedding.",
        "actor-critic",
        "on",
        KINDS,
        "see the presets",
        "see the presets",
        "see the presets",
        PPO,
        "verified",
    )
    statistics = STATISTICS
    averages = shares = remembers = True

    def __init__(self, seat: Seat) -> None:
        team, index = seat.team, seat.index
        start, noise, *others = seat.streams(5)
        embedded = team.embedded_by(index)
        self.field = (
            Field(seat, torch.device(seat.device)) if reads_mean(seat.settings) and team.heard_by(index) else None
        )
        in_critic = self.field.neighbours[:1] if self.field else embedded
        self.reads = critic_input(seat.settings)
        heard = team.heard_by(index) if self.reads == "neighbourhood" else []
        spec = self.read_by_networks(team, index)
        if self.reads == "global":
            views: Sequence[AgentSpec] = team.specs
        else:
            views = [spec, *(team.specs[other] for other in heard)]
        self.learner = self._new_learner(seat, in_critic, views, [start, *others], len(heard))
        super().__init__(seat, self.acts_by(seat), noise)
        self.embedded, self._seen = embedded, heard
        self.hearing = Hearing(seat, embedded, self.device)
        self.ages, self.hops = self.hearing.ages, self.hearing.hops
        self._hearing_seconds = 0.0

    def _new_learner(
        self,
        seat: Seat,
        embedded: Sequence[int],
        views: Sequence[AgentSpec],
        streams: Sequence[np.random.SeedSequence],
        flags: int,
    ) -> Learner:
        """Its networks, optimisers and streams; arguments as of :class:`~.learner.Learner`, embedded: those whose actions the critic reads."""
        neighbours = [seat.team.specs[other] for other in embedded]
        identity = seat.team.identity_of(seat.index).to(seat.device)
        spec = self.read_by_networks(seat.team, seat.index)
        return Learner(
            spec,
            seat.settings,
            neighbours,
            views,
            identity,
            streams,
            seat.device,
            seat.group,
            flags,
            self.trained(seat),
        )

    def trained(self, seat: Seat) -> Policy | None:
        """The policy that is trained, with zero weights, where it is not that of ``--model.…``."""
        return None

    def acts_by(self, seat: Seat) -> Policy:
        """The policy that acts: the one that is trained, unless there is more to it."""
        return self.learner.policy

    # What is known before anything is built

    @classmethod
    def read_by_networks(cls, team: Team, index: int) -> AgentSpec:
        """The agent's spaces as the networks that are trained have them."""
        return team.specs[index]

    @classmethod
    def wants(cls, team: Team, index: int) -> Mapping[int, Sequence[str]]:
        """See :class:`~.protocol.Method`: the policies that it embeds, and the observations that its critic reads."""
        embedded = set(team.embedded_by(index))
        found: dict[int, list[str]] = {}
        for other in team.heard_by(index):
            wanted = list(team.methods[other].tells(team, other)) if other in embedded else []
            if reads_mean(team.settings[index]):
                wanted = list(SECTIONS)
            if critic_input(team.settings[index]) == "neighbourhood":
                wanted += [name for name in ("observations", "presence") if name not in wanted]
            found[other] = wanted
        return found

    @classmethod
    def wants_of_all(cls, team: Team, index: int) -> Sequence[str]:
        """See :class:`~.protocol.Method`: what a central critic reads."""
        return ["observations"] if critic_input(team.settings[index]) == "global" else []

    # A round

    def learn(self, rollout: Rollout, inbox: Inbox, now: Now) -> Learning:
        """Embed what was heard, then update critic and policy."""
        lesson = Lesson(self.learner, self.experience(rollout, inbox, now.round), keep_all=bool(self.seat.group))
        found = yield from learn([lesson], self.learner.trainer, now.progress, self.judge)
        return dict(zip(STATISTICS, found[0].tolist()))

    judge: Judge | None = None
    """What makes other advantages of those by the own critic, for the policy to follow."""

    def experience(self, rollout: Rollout, inbox: Inbox, round_number: int) -> Experience:
        """What the learner learns from."""
        began = time.perf_counter()
        neighbours = self.hearing.hear(rollout, inbox, round_number, self.observation, self.mask)
        if self.field:
            neighbours = [self.field.hear(rollout, inbox).as_neighbour()]
        self._hearing_seconds = time.perf_counter() - began
        own = self.with_identity(self.observation)
        x = own if self.reads == "own" else self.with_identity(torch.cat(self._views(rollout, inbox), 1))
        if self.memories is not None:
            x = torch.cat([x, self.memories], 1)
        return Experience(
            rollout,
            self.reward(rollout, inbox).to(self.device),
            None if self.reads == "own" else own,
            x,
            self.outputs,
            self.memory_at_start if self.policy.width else None,
            neighbours,
        )

    def _views(self, rollout: Rollout, inbox: Inbox) -> list[torch.Tensor]:
        """What the critic sees of the team, each [R, size]; of a neighbourhood, with a flag 'not there' for each behind."""
        if self.reads == "neighbourhood":
            heard = [self.hearing.observations(other, rollout, inbox) for other in self._seen]
            absent = [(~known).unsqueeze(1).to(torch.float32) for _, known in heard]
            return [self.observation, *(seen for seen, _ in heard), *absent]
        return [
            self.observation if other == self.index else self._observations_of(other, inbox, len(self.observation))
            for other in range(len(self.team.specs))
        ]

    def _observations_of(self, other: int, inbox: Inbox, states: int) -> torch.Tensor:
        heard = inbox[other].team.get("observations") if other in inbox else None
        if heard is None:  # rejected: a central critic sees nothing there
            return torch.zeros(states, self.team.specs[other].observation_size, device=self.device)
        return self.tensor(heard)

    def embedding_seconds(self) -> float:
        """See :class:`~.protocol.Method`."""
        return self._hearing_seconds + self.learner.embedding_seconds

    def cross_entropies(self) -> list[float | None]:
        """See :class:`~.protocol.Method`."""
        return [self.hearing.models[other].cross_entropy for other in self.ages if other in self.hearing.models]

    @property
    def variances(self) -> np.ndarray | None:  # type: ignore[override]
        """See :class:`~.protocol.Method`."""
        return self.learner.variances

    # Averaging

    def shared_vector(self, what: str) -> np.ndarray:
        """What :meth:`Learner.shared_vector` gives, float32."""
        return self.learner.shared_vector(what).cpu().numpy()

    def take_shared(self, what: str, vector: np.ndarray) -> None:
        """Go on with an average; one that changed nothing leaves every bit as it was."""
        if not np.array_equal(vector, self.shared_vector(what)):
            self.learner.take_shared(what, self.tensor(vector))

    def shared_groups(self, what: str) -> tuple[int, ...]:
        """See :class:`~.protocol.Method`."""
        return self.learner.shared_groups(what)

    # State

    def parts(self) -> Mapping[str, Part]:
        """See :class:`~.acting.Acting`."""
        return {**self.learner.parts(), "heard": self.hearing}

    def description(self) -> dict[str, Any]:
        """See :class:`~.protocol.Method`."""
        return super().description() | {"networks": {"critic": shape_of(self.learner.critic)}}

    def start_from(self, arrays: Mapping[str, np.ndarray], data: Mapping[str, Any]) -> None:
        """The policy; the critic too, with its moments, where there is one of the same shape."""
        super().start_from(arrays, data)
        if data.get("networks", {}).get("critic") == shape_of(self.learner.critic):
            self.learner.critic.fill(self.tensor(arrays["critic"]))
            self.learner.moments[:], self.learner.units[:] = arrays["moments"], arrays["units"]

    # Side by side

    def alike(self) -> Any:
        """See :class:`~.protocol.Method`: agents with memory or images, or that share networks, are alone."""
        if self.seat.group or self.policy.width or len(self.identity) or self.policy.encoder:
            return None
        spec, learner = self.spec, self.learner
        sizes = learner.critic.sizes, learner.own_heads, learner.splits
        return spec.observation_size, spec.action, spec.masked, *sizes, repr(self.settings)

    @classmethod
    def together(cls, methods: Sequence[Any]) -> Squad:
        """See :class:`~.squad.Squad`."""
        return Squad(methods)
