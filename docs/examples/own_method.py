"""REINFORCE with a baseline that is talked about: everybody tells its neighbours how it fares, and learns against the mean of what it heard."""

from dataclasses import dataclass

import numpy as np
import torch

from perla_net.learning.models import Adam
from perla_net.methods.acting import Acting
from perla_net.methods.protocol import Facts, Say
from perla_net.methods.returns import discounted
from perla_net.settings.config import Fraction, Rate, Section, option


@dataclass
class Options(Section):
    """What ``--method.…`` takes."""

    learning_rate: Rate = option(1e-2, "Step size of the policy.")
    trust: Fraction = option(0.5, "Weight of what neighbours say in the baseline; the rest is the agent's own mean.")


class Gossip(Acting):
    """∇ log π(a|o) (G − b), b = (1 − trust) · own mean return + trust · mean over those heard."""

    facts = Facts(
        "REINFORCE with a baseline that neighbours tell each other.",
        "policy gradient",
        "on",
        ("discrete", "multi_discrete", "continuous", "mixed"),
        "its neighbours: their mean returns",
        "its mean return",
        "its own reward, or --reward.mixing",
        "Williams 1992",
        "tested",
    )
    Options = Options
    statistics = ("policy_loss", "baseline")
    purposes = ("gossip",)

    def __init__(self, seat):
        start, noise = seat.streams(2)
        super().__init__(seat, seat.new_policy(start), noise)
        self.options = seat.options(Options)
        self.optimiser = Adam(self.policy, epsilon=1e-5, max_norm=0.5)

    def learn(self, rollout, inbox, now):
        returns = discounted(rollout, self.reward(rollout, inbox), self.settings.returns.gamma).flatten()
        mine = returns.mean()
        heard = yield Say("gossip", np.array([mine], np.float32))
        theirs = np.mean([numbers[0] for numbers in heard.values()]) if heard else mine
        baseline = (1 - self.options.trust) * mine + self.options.trust * theirs
        steps = len(returns)
        score = self.distribution.score(self.outputs[:steps].mT.contiguous(), self.distribution.read(rollout.action))
        alive = torch.from_numpy(rollout.alive[:-1].copy()).flatten()
        weight = -(returns - baseline) * alive / alive.sum().clamp(min=1)
        outputs = self.policy(self.with_identity(self.observation[:steps]))
        self.policy.gradient.zero_()
        outputs.backward(score.gradient(weight, torch.zeros_like(weight)).mT)
        self.optimiser.step(self.options.learning_rate)
        return {"policy_loss": float((weight * score.log_probability).sum()), "baseline": float(baseline)}

    def parts(self):
        return {"optimiser": self.optimiser}
