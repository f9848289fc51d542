"""COMA: counterfactual advantages from a critic of everybody's actions, and its PERLA form, which averages out the neighbours' policies.

Every agent has a critic Q_i(s, a_-i, ·) with a head for each of its own actions, which never reads the own action. In a round it is fitted to
TD(λ) targets of its target network at the joint actions taken,

    y_t = r_t + γ [(1 − λ) Q⁻(s_{t+1}, u_{t+1}) + λ y_{t+1}],

then it judges, A = Q(s, u) − Σ_b π(b|o) Q(s, (a_-i, b)), and the policy takes A2C's step. r is the mean reward of all agents with this method.
PERLA's form has Q_i(o, a_N, ·), and in both places its expectation over the policies that the neighbours communicated, in place of what they did.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Generator, Literal, Mapping, Sequence

import numpy as np
import torch
from annotated_types import Gt, Le

from ..ground.errors import InputError
from ..learning.distributions import Categorical, distribution_of
from ..learning.embedding import Peer, choose_estimator, embed
from ..learning.models import MLP
from ..network.exchange import Inbox
from ..settings.config import AgentSettings, Fraction, Positive, Section, option
from ..world.spec import AgentSpec
from ..world.world import Rollout
from .acting import states
from .actor_critic import PERLA, ActorCritic
from .coalition import check_choices, members, play_together
from .critic import Values, in_other_units
from .hearing import Neighbour
from .keeping import Part
from .learner import Learner
from .lesson import Experience, Lesson
from .order import STATISTICS, learn
from .presets import HEADS_MOST
from .protocol import Facts, Learning, Now, Say, Seat
from .returns import Targets, generalised_advantages
from .targets import Target
from .team import Team


@dataclass
class Options(Section):
    """A counterfactual critic."""

    baseline: Literal["counterfactual", "optimal"] = option(
        "counterfactual",
        "What is taken from Q: its mean under the own policy; or the baseline with which the gradient varies least (Kuba et al. 2021).",
    )
    trace: Fraction = option(0.8, "Lambda of the returns that the critic is fitted to.")
    target_every: Positive = option(1, "Rounds after which the target critic follows.")
    target_rate: Annotated[float, Gt(0), Le(1)] = option(1.0, "Share of the way that it then follows (1: a copy).")


def chosen_form(settings: AgentSettings, options: Options) -> AgentSettings:
    """Settings with what the method leaves no choice in: heads for own actions, also where nobody is heard, fitted to this round before they
    judge, to returns with the method's own λ."""
    critic = replace(settings.critic, order="first", fit="gradient", window=1, own_action="heads", alone="yes")
    returns = replace(settings.returns, trace=options.trace)
    return replace(settings, form="action", critic=critic, returns=returns)


class CounterfactualLearner(Learner):
    """Policy, critic and target critic of one agent."""

    def __init__(self, options: Options, executed: bool, spec: AgentSpec, settings: AgentSettings, *rest: Any) -> None:
        """executed: others' actions are read as they were taken, else averaged out; rest: of :class:`Learner`, behind the settings."""
        super().__init__(spec, chosen_form(settings, options), *rest)
        self.options, self.executed = options, executed
        self.target = Target(self.critic, options.target_every, options.target_rate)
        self.target_units = self.units.copy()
        """Units in which the target critic speaks."""

    def every_action(self, critic: MLP, x: torch.Tensor, neighbours: list[Neighbour]) -> torch.Tensor:
        """Q(s, a_-i, ·), or Q̂(o, ·), of all own actions in R states: [R, joint], in the critic's units."""
        if self.executed:
            return critic(torch.cat([x, *(neighbour.expected for neighbour in neighbours)], 1))
        peers = [Peer(d, n.outputs, n.present) for d, n in zip(self.neighbours, neighbours)]
        there = [peer.distribution for peer in peers if peer.outputs is not None]
        settings = self.settings
        estimator = choose_estimator(settings.estimator, settings.exact_limit, settings.samples, there)
        return embed(critic, critic.encode(x), peers, settings.samples, estimator, self.embed_rng, self.pooled)

    @torch.no_grad()
    def values(
        self, critic_input: torch.Tensor, outputs: torch.Tensor, neighbours: list[Neighbour], action: torch.Tensor
    ) -> Values:
        """See :class:`EmbeddedCritic`: value is the baseline, at_action what the action taken is worth."""
        found = self._in_units(self.every_action(self.critic, critic_input, neighbours))
        taken = len(action)
        own = self.distribution.joint_index(action).unsqueeze(1)
        value = (baseline_weights(self.distribution, outputs, self.options.baseline) * found).sum(1)
        at_action = found[:taken].gather(1, own)[:, 0]
        if self.executed:
            return Values(value, at_action, at_action)
        executed = self.critic(self.step_inputs(critic_input, action, neighbours)).gather(1, own)[:, 0]
        return Values(value, at_action, self._in_units(executed))

    @torch.no_grad()
    def targets_at(self, x: torch.Tensor, neighbours: list[Neighbour], own: torch.Tensor) -> torch.Tensor:
        """Q⁻ in R states at own joint actions [R], in units of the return: [R]."""
        scale, shift = self.target_units.tolist()
        found = self.every_action(self.target.network, x, neighbours)
        return found.gather(1, own.unsqueeze(1))[:, 0] * scale + shift

    def follow(self) -> None:
        """After a round: the target critic goes its share of the way, in the critic's present units."""
        in_other_units(self.target.network, tuple(self.target_units), tuple(self.units))
        self.target_units[:] = self.units
        self.target.follow()

    def begin_target(self) -> None:
        """The target as the critic is now."""
        self.target.begin()
        self.target_units[:] = self.units

    def parts(self) -> dict[str, Part]:
        """What changes, beside the policy."""
        return super().parts() | {"target": self.target, "target.units": self.target_units}


def baseline_weights(distribution: Categorical, outputs: torch.Tensor, kind: str) -> torch.Tensor:
    """Weights w of the baseline Σ_b w_b Q(b), [R, joint], from outputs [R, outputs] of the policy that acted, masks applied.

    counterfactual: w = π. optimal: w_b ∝ π_b ‖∇ log π_b‖², the gradient with respect to the logits, for which the variance of
    ∇ log π (Q − baseline) is least (Kuba et al. 2021, arXiv 2108.08612): ‖e_b − π‖² = 1 + ‖π‖² − 2 π_b, summed over components. Who
    is certain of an action has no gradient to vary: w = π.
    """
    shares = distribution.joint_probabilities(outputs)
    if kind == "counterfactual":
        return shares
    every = distribution.every_action().to(outputs.device)
    lengths = torch.zeros_like(shares)
    for component, share in enumerate(distribution.probabilities(outputs)):
        lengths += (1 + share.square().sum(1, keepdim=True) - 2 * share)[:, every[:, component]]
    weights = shares * lengths
    total = weights.sum(1, keepdim=True)
    return torch.where(total > 1e-12, weights / total.clamp(min=1e-12), shares)


class CounterfactualLesson(Lesson):
    """A round whose returns come from the target critic, which does not change in it."""

    def __init__(
        self,
        learner: CounterfactualLearner,
        experience: Experience,
        keep_all: bool,
        valued: torch.Tensor,
        at: torch.Tensor,
    ) -> None:
        """at [R]: Q⁻ at the joint actions taken; what stands in the other places is said there."""
        super().__init__(learner, experience, keep_all, valued)
        self.at = at

    def _targets(self, trace: float) -> Targets:
        """TD(λ): V of GAE is Q⁻(s_t, u_t), so that its λ-return is y_t."""
        heard, gamma = self.experience, self.learner.settings.returns.gamma
        return generalised_advantages(heard.rollout, heard.reward, self.at, gamma, trace)


class COMA(ActorCritic):
    """A central critic Q_i(s, a_-i, ·) of each agent, and counterfactual advantages.

    What comes after the last step, and after what was cut off, is the value of a joint action that is drawn there by everybody's policy.
    """

    facts = Facts(
        "A2C with counterfactual advantages: a critic of everybody's observations and of all others' actions, TD(λ), a target critic.",
        "actor-critic",
        "on",
        ("discrete", "multi_discrete"),
        "the whole team: observations; all agents with this method: actions, rewards",
        "the same",
        "the mean reward of all agents with this method; the whole team",
        "Foerster et al. 2018, arXiv 1705.08926; optimal baseline: Kuba et al. 2021, arXiv 2108.08612",
        "verified: targets, advantages, both baselines and gradients by hand in float64; its critic learns the tables of games:two_step",
    )
    Options = Options
    executed: ClassVar[bool] = True
    averages = False

    def __init__(self, seat: Seat) -> None:
        self.together = members(seat.team, seat.index)
        self.others = [other for other in self.together if other != seat.index] if self.executed else []
        super().__init__(seat)
        seed = np.random.SeedSequence(seat.seed, spawn_key=(0, seat.index, 1, 0, 1))  # longer than the policy's noise
        self.ends_rng = np.random.default_rng(seed)

    def _new_learner(
        self,
        seat: Seat,
        embedded: Sequence[int],
        views: Sequence[AgentSpec],
        streams: Sequence[np.random.SeedSequence],
        flags: int,
    ) -> CounterfactualLearner:
        others = [seat.team.specs[other] for other in self.others or embedded]
        identity = seat.team.identity_of(seat.index).to(seat.device)
        rest = others, views, identity, streams, seat.device, seat.group, flags
        return CounterfactualLearner(seat.options(Options), self.executed, seat.spec, seat.settings, *rest)

    # What is known before anything is built

    @classmethod
    def check(cls, team: Team, index: int) -> None:
        """See :class:`~.protocol.Method`: actions that can be counted, and nothing asked for that it does not do."""
        super().check(team, index)
        settings, spec = team.settings[index], team.specs[index]
        check_choices(settings)
        if (spec.action.joint or 0) > HEADS_MOST:
            raise InputError(
                f"--algorithm {settings.algorithm}: {spec.name} has {spec.action.joint} actions, and a critic with a head for each takes at "
                f"most {HEADS_MOST}; use perla_ippo with --form state"
            )
        if cls.executed:
            first = (team.group_of(index) or (index,))[0]
            mine, theirs = (
                [team.specs[other].action for other in members(team, index) if other != agent]
                for agent in (index, first)
            )
            if mine != theirs:
                raise InputError(
                    f"agents.groups: {settings.algorithm}'s critics read all others' actions in order, and those of {spec.name} and "
                    f"{team.specs[first].name} are not of the same kinds, so that the two cannot share one"
                )

    @classmethod
    def talks(cls, team: Team, index: int) -> bool:
        """See :class:`~.protocol.Method`."""
        return True

    # A round

    def learn(self, rollout: Rollout, inbox: Inbox, now: Now) -> Learning:
        """Be paid as a team, know what everybody did, fit the critic, then judge by it."""
        played = yield from play_together(rollout, self.together)
        experience = self.experience(rollout, inbox, now.round)
        acted = self._acted(rollout)
        if self.executed:
            experience.neighbours = yield from self._what_others_did(rollout, acted)
        experience.rollout, experience.reward = played.rollout, played.reward.to(self.device)
        at = self.learner.targets_at(experience.critic_input, experience.neighbours, acted)
        keep_all, valued = bool(self.seat.group), played.there.to(self.device)
        lesson = CounterfactualLesson(self.learner, experience, keep_all, valued, at)
        found = yield from learn([lesson], self.learner.trainer, now.progress)
        self.learner.follow()
        return dict(zip(STATISTICS, found[0].tolist()))

    def _acted(self, rollout: Rollout) -> torch.Tensor:
        """The own joint action in R states [R]: what was done, and behind it what would be done at the end, drawn."""
        action = self.distribution.read(rollout.action).to(self.device)
        ends = self.outputs[len(action) :]
        noise = self.distribution.noise(self.ends_rng, 1, len(ends))[0].to(self.device)
        drawn = self.distribution.sample(ends.mT, noise)
        return self.distribution.joint_index(torch.cat([action, drawn]))

    def _what_others_did(self, rollout: Rollout, acted: torch.Tensor) -> Generator[Say, Any, list[Neighbour]]:
        """Everybody else's actions as the critic reads them; −1 says that one is not there."""
        alive = states(rollout.alive[..., None], rollout.final_alive[:, None])[:, 0].to(self.device)
        mine = torch.where(alive, acted, -1).to(torch.float32)  # whole numbers up to HEADS_MOST
        told = yield Say("actions", mine.cpu().numpy(), self.together)
        found = []
        for other in self.others:
            index = self.tensor(told[other]).long()
            distribution = distribution_of(self.team.specs[other].action)
            present, every = index >= 0, distribution.every_action().to(self.device)
            encoded = distribution.encode(every[index.clamp(min=0)], present)
            taken = rollout.reward.size
            found.append(Neighbour(None, present, every[index[:taken].clamp(min=0)], encoded[:taken], encoded))
        return found

    # State

    def parts(self) -> Mapping[str, Part]:
        """See :class:`~.acting.Acting`."""
        return {**super().parts(), "ends": self.ends_rng}

    def start_from(self, arrays: Mapping[str, np.ndarray], data: Mapping[str, Any]) -> None:
        """The policy, and a critic of the same shape; the target critic begins as that."""
        super().start_from(arrays, data)
        self.learner.begin_target()

    def alike(self) -> Any:
        """See :class:`~.protocol.Method`: it talks while it learns."""
        return None


class PerlaCOMA(COMA):
    """COMA whose critic reads the neighbours' actions, and averages them out by the policies that they communicated.

    Where nobody is heard it is a critic Q_i(o, ·) with nobody's actions, and so is COMA alone.
    """

    facts = Facts(
        "A2C with counterfactual advantages that average out its neighbours' policies in place of what these did.",
        "actor-critic",
        "on",
        ("discrete", "multi_discrete"),
        "its neighbours: their policies, where these stood; all agents with this method: rewards",
        "rewards",
        "the mean reward of all agents with this method",
        f"Foerster et al. 2018, arXiv 1705.08926; {PERLA}",
        "verified: without neighbours it is coma of a single agent, bit for bit; enumerated expectations by hand",
    )
    executed = False
