"""A message of one's own: of what its neighbours say, an agent reads the greatest in each place, so that one who knows is heard in a crowd."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from perla_net.learning.talking import TalkingPolicy
from perla_net.methods.protocol import Facts
from perla_net.methods.talking import Talking
from perla_net.settings.config import Positive, Section, option


class LoudestPolicy(TalkingPolicy):
    """m = tanh(W h) of the h of the step before;  h = GRU(e(o) + C max over those heard of m, h)."""

    kind = "loudest"

    @classmethod
    def says(cls, hidden, observation, outputs, own):
        return (own["size"],)

    def talking_shapes(self):
        size = self.own["size"]
        return {"said": (size, self.hidden), "heard": (self.hidden, size)}

    def say(self, k, inner, noise=None):
        return torch.tanh(F.linear(inner["h"], self.tensors["said"]))

    def hear(self, k, inner, heard):
        read = inner["e"]
        if self.heard:
            # −1 is as quiet as it gets, and so is who is not heard.
            loud = [torch.where(there[:, None] > 0, m, -1.0) for m, there in zip(heard.numbers, heard.present)]
            read = read + F.linear(torch.stack(loud).amax(0), self.tensors["heard"])
        return {"h": self._gru(read, inner["h"])}


@dataclass
class Options(Section):
    """What ``--method.…`` takes."""

    size: Positive = option(8, "Numbers in a message.")


class Loudest(Talking):
    """PPO by a policy that talks so."""

    network, Options = LoudestPolicy, Options
    facts = Facts(
        summary="PPO with a GRU and learned messages: the greatest of what is heard, place by place.",
        family="learned messages",
        policy="on",
        actions=("discrete", "multi_discrete", "continuous", "mixed"),
        hears="its neighbours: their messages of every step, and the gradients of its own",
        sends="a message a step; the gradient of each that it heard",
        needs="its own reward, or --reward.mixing",
        source="-",
        status="tested",
    )
