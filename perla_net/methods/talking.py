"""Learned messages: agents that talk to their neighbours at every step, and learn what to say from what it did to those who heard it.

The policy is one of :mod:`~perla_net.learning.talking`; the critic, the returns and the advantages are the actor-critic's. A gradient step goes once
forward and once backward through the rollout, all talking agents in step (:mod:`~.through_time`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Mapping, Sequence

import torch

from ..ground.errors import InputError
from ..learning import talking as networks
from ..learning.build import policy_for
from ..learning.distributions import Categorical, distribution_of
from ..learning.models import Policy
from ..learning.talking import TalkingPolicy
from ..network.channel import PURPOSES
from ..network.exchange import Inbox
from ..settings.config import AgentSettings, NonNegative, Positive, Section, option
from ..world.world import Rollout
from .actor_critic import ActorCritic
from .chorus import SPOKE, Chorus, learn_together
from .lesson import Experience
from .order import STATISTICS
from .protocol import KINDS, Facts, Learning, Now, Seat
from .team import Team
from .troupe import Talker


class Talking(ActorCritic):
    """What these methods have in common."""

    network: ClassVar[type[TalkingPolicy]]
    """Its messages."""
    purposes = PURPOSES
    statistics = STATISTICS
    averages = shares = False
    remembers = True
    talks_while_acting = True
    part: tuple[Chorus, int] | None = None
    """The chorus that it acts and learns in, and its place there, under ``--batch-agents``."""

    def __init__(self, seat: Seat) -> None:
        self.alone = not self.says(seat.team, seat.index)
        super().__init__(seat)
        if not self.alone:
            assert isinstance(self.policy, TalkingPolicy)
            self.talker = Talker([seat.index], self.policy, self.distribution, self.identity, self.copies, self.horizon)
            self._player = self.talker
            self.mark()

    def trained(self, seat: Seat) -> Policy:
        """See :class:`~.actor_critic.ActorCritic`: the policy that talks."""
        return self.policy_for(seat.team, seat.index)

    # What is known before anything is built

    @classmethod
    def talks(cls, team: Team, index: int) -> bool:
        """See :class:`~.protocol.Method`: what it says while it learns are messages of steps."""
        return False

    @classmethod
    def talks_to_neighbours(cls, team: Team, index: int) -> bool:
        """See :class:`~.protocol.Method`."""
        return False

    @classmethod
    def says(cls, team: Team, index: int) -> tuple[int, ...]:
        """See :class:`~.protocol.Method`: nothing where nobody who talks hears it, and it hears nobody."""
        near = [j if i == index else i for j, i in team.edges if index in (j, i)]
        if not any(_talks(team, other) for other in near):
            return ()
        return _size_said(team, index)

    @classmethod
    def policy_for(cls, team: Team, index: int) -> Policy:
        """See :class:`~.protocol.Method`; who is alone has a GRU, and nothing else."""
        spec, settings = team.specs[index], with_memory(team.settings[index])
        identity = len(team.identity_of(index))
        if not cls.says(team, index):
            return policy_for(spec, settings.model, identity)
        distribution = distribution_of(spec.action)
        heard = [other for other in team.heard_by(index) if _talks(team, other)]
        return cls.network(
            spec.observation_size + identity,
            settings.model.policy_hidden,
            distribution.outputs,
            distribution.free,
            settings.model.policy_activation,
            [_size_said(team, other) for other in heard],
            cls.own(team, index),
        )

    @classmethod
    def own(cls, team: Team, index: int) -> dict[str, Any]:
        """What an agent's network is told beside sizes, JSON: by default the options of its kind."""
        return dict(next(iter(team.settings[index].sections.values()), {}))

    @classmethod
    def tells(cls, team: Team, index: int) -> list[str]:
        """See :class:`~.protocol.Method`: what it does depends on what it hears, so that its weights alone do not tell it."""
        modelled = team.settings[index].share == "modelled"
        return ["actions", "presence"] if modelled else ["outputs", "actions", "presence"]

    @classmethod
    def first_words(cls, team: Team, index: int) -> str:
        """See :class:`~.protocol.Method`."""
        sizes = cls.says(team, index)
        if not sizes:
            return "nobody to talk to"
        passes = f" in each of {len(sizes)} passes" if len(sizes) > 1 else ""
        return f"{sizes[0]} numbers a step{passes}" + (", embedding" if team.embedded_by(index) else "")

    @classmethod
    def check(cls, team: Team, index: int) -> None:
        """See :class:`~.protocol.Method`."""
        super().check(team, index)
        settings, spec = team.settings[index], team.specs[index]
        name = settings.algorithm
        if settings.ppo.chunk and not cls.says(team, index):
            raise InputError(
                f"--ppo.chunk {settings.ppo.chunk}: is for agents that talk while they act, and {spec.name} has nobody to talk to; use 0"
            )
        if not settings.model.policy_hidden:
            raise InputError(
                f"--algorithm {name}: needs a hidden layer, but {spec.name} has --model.policy-hidden none"
            )
        if spec.observation_kind == "image" and settings.model.encoder != "none":
            raise InputError(
                f"--algorithm {name}: reads numbers, but {spec.name} sees images; use --model.encoder none"
            )
        if settings.measure_variance:
            raise InputError(
                f"--measure-variance: is for critics of what an agent sees; that of {name} reads its memory, too ({spec.name})"
            )
        if settings.share == "own_view":
            raise InputError(
                f"--share own_view: what {name} does depends on what {spec.name} hears, so that its parameters do not tell it; use outputs"
            )
        if team.group_of(index):
            raise InputError(
                f"agents.groups: agents that learn messages ({name}) have networks of their own ({spec.name})"
            )
        for other, entry in enumerate(team.settings):
            if not _talks(team, other):
                continue
            for what, mine, its in (
                ("--ppo.epochs", settings.ppo.epochs, entry.ppo.epochs),
                ("--ppo.chunk", settings.ppo.chunk, entry.ppo.chunk),
                ("kinds of messages: --algorithm", cls.network.kind, team.methods[other].network.kind),
                ("passes of a step:", *(len(_size_said(team, one)) for one in (index, other))),
            ):
                if mine != its:
                    raise InputError(
                        f"{what} {mine}: agents that learn messages learn in step, and {spec.name} has {mine}, {team.specs[other].name} {its}"
                    )

    # A round

    def player(self) -> Any:
        """See :class:`~.protocol.Method`."""
        if self.alone:
            return super().player()
        self.mark()
        self.talker.begin(self.noise_rng, learns=True)
        return self.talker

    def along(self, rollout: Rollout) -> tuple[torch.Tensor, torch.Tensor | None]:
        """See :class:`~.acting.Acting`: what it did decide. Memories are those with which it met a state. In the states that follow the last step, and
        the end of an episode, where nothing has been said, as if nobody were heard."""
        if self.alone:
            return super().along(rollout)
        if self.part:
            chorus, place = self.part
            chorus.hand_out(place)
        taken = rollout.reward.size
        policy = self.talker.policy
        memories = torch.stack(self.talker.memories)
        at = torch.from_numpy(rollout.final_at.copy())
        after = memories[at[:, 0] + 1, at[:, 1]] if len(at) else memories.new_zeros(0, policy.width)
        ended = torch.from_numpy(rollout.begins.copy())
        running = memories * ~ended.unsqueeze(2)
        met = torch.cat([running.flatten(0, 1), after])
        with torch.no_grad():
            x = self.with_identity(self.observation)[taken:]
            never = torch.zeros(len(x), dtype=torch.bool)
            rest, _ = policy.step(x, met[taken:], never)
            outputs = torch.cat([torch.stack(self.talker.outputs).flatten(0, 1), rest])
        return policy.decide(self.distribution.masked(outputs, self.mask, -1), -1), met

    def learn(self, rollout: Rollout, inbox: Inbox, now: Now) -> Learning:
        """See :class:`~.protocol.Method`."""
        if self.alone:
            return (yield from super().learn(rollout, inbox, now))
        learner = self.learner
        (found,) = yield from learn_together([self], self.talker, learner.trainer, [rollout], [inbox], now)
        return found

    def experience(self, rollout: Rollout, inbox: Inbox, round_number: int) -> Experience:
        """See :class:`~.actor_critic.ActorCritic`: the critic reads what the agent sees and remembers, not what it hears in that very step."""
        found = super().experience(rollout, inbox, round_number)
        return found if self.alone else replace(found, memory=None)

    # State

    def description(self) -> dict[str, Any]:
        """See :class:`~.protocol.Method`; and whom it learned to hear."""
        heard = [self.team.specs[other].name for other in self.team.heard_by(self.index) if _talks(self.team, other)]
        return super().description() | ({} if self.alone else {"neighbours": heard})

    def parts(self) -> Mapping[str, Any]:
        """See :class:`~.acting.Acting`."""
        found = dict(super().parts())
        return found if self.alone else found | {"fit": self.learner.fit_rng}

    def alike(self) -> Any:
        """See :class:`~.protocol.Method`: those who say and hear the same, each for itself; of a kind that can do so."""
        if self.alone or self.seat.group or len(self.identity) or not vars(type(self.policy)).get("side_by_side"):
            return None
        spec, critic = self.spec, self.learner.critic
        sizes = critic.sizes, self.learner.own_heads, self.learner.splits
        return repr(self.policy.description), spec.action, spec.masked, *sizes, repr(self.settings)

    @classmethod
    def together(cls, methods: Sequence[Any]) -> Chorus:
        """See :class:`~.chorus.Chorus`."""
        return Chorus(methods)


def with_memory(settings: AgentSettings) -> AgentSettings:
    """The same with a GRU."""
    return replace(settings, model=replace(settings.model, memory="gru"))


def _talks(team: Team, index: int) -> bool:
    """Whether an agent's method says anything at a step."""
    return team.methods[index].talks_while_acting


def _size_said(team: Team, index: int) -> tuple[int, ...]:
    """Sizes of what an agent says, by pass, where it has anybody to talk to."""
    spec, settings, method = team.specs[index], team.settings[index], team.methods[index]
    distribution = distribution_of(spec.action)
    seen = spec.observation_size + len(team.identity_of(index))
    return method.network.says(
        settings.model.policy_hidden[-1] if settings.model.policy_hidden else 0,
        seen,
        distribution.outputs + distribution.free,
        method.own(team, index),
    )


def _shares(team: Team, index: int) -> list[int]:
    """Sizes of the components of an agent's actions, where these can be counted."""
    distribution = distribution_of(team.specs[index].action)
    return list(distribution.sizes) if isinstance(distribution, Categorical) else []


def _parts_said(team: Team, index: int) -> list[int]:
    """(observation, policy, hidden) numbers in what an agent of NeurComm says."""
    spec, distribution = team.specs[index], distribution_of(team.specs[index].action)
    hidden = team.settings[index].model.policy_hidden[-1]
    return [spec.observation_size + len(team.identity_of(index)), distribution.outputs + distribution.free, hidden]


@dataclass
class CommNetOptions(Section):
    """Messages of CommNet; networks by ``--model.…``, learned by ``--ppo.epochs`` passes over whole rollouts."""

    passes: Positive = option(1, "Exchanges in a step: how many edges far one hears in it.")


@dataclass
class DIALOptions(Section):
    """Messages of DIAL."""

    bits: Positive = option(32, "Bits in a message.")
    noise: NonNegative = option(2.0, "Standard deviation of the noise in front of the sigmoid, while learning.")


@dataclass
class TarMACOptions(Section):
    """Messages of TarMAC."""

    signature: Positive = option(16, "Numbers in a message's signature.")
    value: Positive = option(32, "Numbers in a message's value.")


def facts_of(kind: str, what: str, source: str) -> Facts:
    """The facts of a kind of messages."""
    return Facts(
        f"PPO with a GRU and learned messages: {what}.",
        "learned messages",
        "on",
        KINDS,
        "its neighbours: their messages of every step, and the gradients of its own",
        "a message a step, also when it has learned; the gradient of each that it heard",
        "its own reward, or --reward.mixing",
        source,
        "verified: gradients against one process with everybody's networks; without neighbours it is ippo with a GRU, bit for bit",
    )


class CommNet(Talking):
    """See :class:`perla_net.learning.talking.CommNet`."""

    network, Options = networks.CommNet, CommNetOptions
    facts = facts_of("commnet", "hidden states, averaged", "Sukhbaatar et al. 2016, arXiv 1605.07736")


class IC3Net(Talking):
    """See :class:`perla_net.learning.talking.IC3Net`."""

    network = networks.IC3Net
    statistics = (*Talking.statistics, SPOKE)
    facts = facts_of(
        "ic3net", "hidden states, averaged, said when a gate is open", "Singh et al. 2019, arXiv 1812.09755"
    )


class DIAL(Talking):
    """See :class:`perla_net.learning.talking.DIAL`."""

    network, Options = networks.DIAL, DIALOptions
    facts = facts_of(
        "dial",
        "bits, noisy while they are learned",
        "Foerster et al. 2016, arXiv 1605.06676; Chu et al. 2020, arXiv 2004.01339",
    )


class NeurComm(Talking):
    """See :class:`perla_net.learning.talking.NeurComm`."""

    network = networks.NeurComm
    facts = facts_of("neurcomm", "observations, policies and hidden states", "Chu et al. 2020, arXiv 2004.01339")

    @classmethod
    def own(cls, team: Team, index: int) -> dict[str, Any]:
        """See :class:`Talking`: its actions, and the parts of every neighbour's message."""
        heard = [other for other in team.heard_by(index) if _talks(team, other)]
        return {"shares": _shares(team, index), "parts": [_parts_said(team, other) for other in heard]}


class TarMAC(Talking):
    """See :class:`perla_net.learning.talking.TarMAC`."""

    network, Options = networks.TarMAC, TarMACOptions
    facts = facts_of("tarmac", "values, weighted by attention to their signatures", "Das et al. 2019, arXiv 1810.11187")


class Fingerprint(Talking):
    """See :class:`perla_net.learning.talking.Fingerprint`."""

    network = networks.Fingerprint
    purposes = PURPOSES[:1]
    facts = replace(
        facts_of("fingerprint", "", "Foerster et al. 2017, arXiv 1702.08887; Chu et al. 2020, arXiv 2004.01339"),
        summary="PPO with a GRU that reads its neighbours' policies of the step before; nothing of what is said is learned.",
        family="networked",
        hears="its neighbours: the shares of their actions in the step before",
        sends="the same, at every step, also when it has learned",
    )

    @classmethod
    def own(cls, team: Team, index: int) -> dict[str, Any]:
        """See :class:`Talking`: its actions."""
        return {"shares": _shares(team, index)}


def _embedding(base: type[Talking]) -> type[Talking]:
    """The same beside a critic that averages out the policies of those whom it hears."""
    kind = base.network.kind
    facts = replace(
        base.facts,
        summary=base.facts.summary[:-1] + "; a critic that averages out its neighbours' policies.",
        hears=base.facts.hears + "; their action distributions along the rollout",
        source=f"{base.facts.source}; Jafferjee et al., arXiv 2209.01054 (PERLA)",
        status=f"verified: without neighbours it is {kind}, bit for bit",
    )
    return type(
        f"Perla{base.__name__}",
        (base,),
        {"__doc__": base.__doc__, "facts": facts, "__module__": __name__},
    )


PerlaCommNet, PerlaIC3Net, PerlaDIAL, PerlaNeurComm, PerlaTarMAC, PerlaFingerprint = (
    _embedding(base) for base in (CommNet, IC3Net, DIAL, NeurComm, TarMAC, Fingerprint)
)
