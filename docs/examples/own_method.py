"""REINFORCE with a baseline that is talked about: everybody tells its neighbours how it fares, and learns against what it heard."""

from dataclasses import dataclass

import numpy as np
import torch

from perla_net.learning.models import MLP, Adam
from perla_net.methods.acting import Acting
from perla_net.methods.protocol import Facts, Say
from perla_net.methods.returns import discounted
from perla_net.settings.config import Fraction, Rate, Section, option


@dataclass
class Options(Section):
    """What ``--method.…`` takes."""

    learning_rate: Rate = option(1e-2, "Step size of policy and baseline.")
    trust: Fraction = option(
        0.3, "Weight of what neighbours say in the baseline; the rest is the agent's own value network."
    )


class Gossip(Acting):
    """∇ log π(a|o) (G − b),  b = (1 − trust) V(o) + trust · mean return of those heard;  V(o) is fitted to G."""

    facts = Facts(
        summary="REINFORCE with a baseline that neighbours tell each other.",
        family="policy gradient",
        policy="on",
        actions=("discrete", "multi_discrete", "continuous", "mixed"),
        hears="its neighbours: their mean returns",
        sends="its mean return",
        needs="its own reward, or --reward.mixing",
        source="Williams 1992",
        status="tested",
    )
    Options = Options
    statistics = ("policy_loss", "baseline", "heard")
    purposes = ("gossip",)

    def __init__(self, seat):
        start, noise, of_value = seat.streams(3)
        super().__init__(seat, seat.new_policy(start), noise)
        self.options = seat.options(Options)
        self.value = MLP((seat.spec.observation_size, 32, 1), "tanh")
        self.value.start(torch.Generator().manual_seed(int(of_value.generate_state(1)[0])), True, 1.0)
        self.optimisers = [Adam(network, epsilon=1e-5, max_norm=0.5) for network in (self.policy, self.value)]

    def learn(self, rollout, inbox, now):
        returns = discounted(rollout, self.reward(rollout, inbox), self.settings.returns.gamma).flatten()
        steps = len(returns)
        alive = torch.from_numpy(rollout.alive[:-1].copy()).flatten()
        weight = alive / alive.sum().clamp(min=1)

        heard = yield Say(
            "gossip", np.array([(weight * returns).sum()], np.float32)
        )  # agent → numbers of those that arrived
        theirs = [float(numbers[0]) for numbers in heard.values()]
        value = self.value(self.observation[:steps]).squeeze(1)
        trust = self.options.trust if theirs else 0.0
        baseline = (1 - trust) * value.detach() + trust * sum(theirs) / max(len(theirs), 1)

        self.value.gradient.zero_()
        (weight * (value - returns).square()).sum().backward()
        outputs = self.policy(self.with_identity(self.observation[:steps]))
        mask = None if self.mask is None else self.mask[:steps]
        allowed = self.distribution.masked(outputs.detach(), mask, -1).mT.contiguous()  # [outputs, steps]
        score = self.distribution.score(allowed, self.distribution.read(rollout.action))
        slope = -weight * (returns - baseline)  # of the loss by log π; the second argument would be that by the entropy
        self.policy.gradient.zero_()
        outputs.backward(score.gradient(slope, torch.zeros(steps)).mT)
        for optimiser in self.optimisers:
            optimiser.step(self.options.learning_rate)
        loss = float((slope * score.log_probability).sum())
        return {"policy_loss": loss, "baseline": float((weight * baseline).sum()), "heard": len(theirs)}

    def parts(self):
        return {"value": self.value, "policy.optimiser": self.optimisers[0], "value.optimiser": self.optimisers[1]}
