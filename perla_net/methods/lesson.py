"""What one agent makes of one rollout: values, returns, advantages, and the rows that its critic and its policy learn from."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Generator

import numpy as np
import torch

from ..learning.embedding import Peer
from ..world.world import Rollout
from .critic import Values
from .hearing import Neighbour
from .learner import Learner
from .protocol import Say
from .returns import Targets, control_variate, fitted_coefficient, form_advantage, generalised_advantages
from .trainer import Batch
from .variance import target_variances
from .window import Rows


@dataclass
class Experience:
    """A rollout with what was heard of others in it.

    reward [T, B]; observation [R, …] with identity, or None where critic_input begins with it; critic_input [R, size] with memory and
    identity; outputs [R, …] of the behaviour policy; memory [B, width] at the start, or None; R = (T+1)·B + F states.
    """

    rollout: Rollout
    reward: torch.Tensor
    observation: torch.Tensor | None
    critic_input: torch.Tensor
    outputs: torch.Tensor
    memory: torch.Tensor | None
    neighbours: list[Neighbour]


class Lesson:
    """One agent's round of learning, step by step."""

    def __init__(
        self, learner: Learner, experience: Experience, keep_all: bool, valued: torch.Tensor | None = None
    ) -> None:
        """keep_all: steps in which the agent was not there stay, with weight 0, so that batches of several agents agree; valued [T·B] bool:
        steps that the critic learns from, where these are not those in which the agent was there."""
        self.learner, self.experience, self.keep_all = learner, experience, keep_all
        rollout = experience.rollout
        self.steps, self.copies = experience.reward.shape
        self.taken = self.steps * self.copies
        device = experience.reward.device
        self.action = learner.distribution.read(rollout.action).to(device)
        self.alive = torch.from_numpy(rollout.alive[:-1]).reshape(self.taken).to(device)
        self.everywhere = bool(self.alive.all())
        self.valued = self.alive if valued is None else valued
        self.values = Values(experience.reward.new_zeros(0))
        self._inputs: dict[str, torch.Tensor] = {}
        learner.embedding_seconds = 0.0

    def look(self) -> Values:
        """What the critic says now."""
        began, heard = time.perf_counter(), self.experience
        self.values = self.learner.values(heard.critic_input, heard.outputs, heard.neighbours, self.action)
        self.learner.embedding_seconds += time.perf_counter() - began
        return self.values

    def measure(self) -> None:
        """Under ``--measure-variance``: note how much the TD targets vary, with random numbers that nothing else uses."""
        learner, heard = self.learner, self.experience
        if not learner.settings.measure_variance:
            return
        stream, steps = learner.measuring, learner.optimisers[0].steps
        key = (*stream.spawn_key, steps, 0)  # longer than any other: (0, i, 4, steps) may be a model of agent 4
        rng = np.random.default_rng(np.random.SeedSequence(stream.entropy, spawn_key=key))
        peers = [Peer(d, n.outputs, n.present) for d, n in zip(learner.neighbours, heard.neighbours)]
        rollout = heard.rollout
        whole = torch.from_numpy(rollout.alive[:-1] & ~(rollout.terminated | rollout.truncated))
        learner.variances = target_variances(
            learner, heard.critic_input, heard.outputs, peers, heard.reward, whole.to(heard.reward.device), rng
        )

    def _targets(self, trace: float) -> Targets:
        gamma = self.learner.settings.returns.gamma
        return generalised_advantages(self.experience.rollout, self.experience.reward, self.values.value, gamma, trace)

    def returns(self) -> torch.Tensor:
        """G_t, [T·B], from the values that were looked at last."""
        return self._targets(self.learner.settings.returns.trace).target.view(self.taken)

    def fitted_to(self) -> torch.Tensor:
        """What the critic is fitted to, [T·B]: the returns with its own λ."""
        own = self.learner.settings.critic.trace
        return self.returns() if own is None else self._targets(own).target.view(self.taken)

    def advantage(self, returns: torch.Tensor) -> torch.Tensor:
        """A_t, [T·B], by the form of the critic, as it is; notes the coefficient of its control variate, and how well values explain the
        returns."""
        learner, settings = self.learner, self.learner.settings
        value, at_action, executed = self.values
        value = value[: self.taken]
        variate, coefficient = None, 1.0
        learner.coefficient = float("nan")
        if learner.form in ("control", "trajectory"):
            assert at_action is not None and executed is not None
            gamma, trace = settings.returns.gamma, settings.returns.trace
            variate = control_variate(learner.form, self.experience.rollout, value, at_action, executed, gamma, trace)
            if settings.critic.coefficient != "one":
                parts = (returns - value, variate, at_action - value)
                coefficient = fitted_coefficient(*(part[self.alive] for part in parts))
            learner.coefficient = coefficient
        learner.explained = explained_variance(value[self.valued], returns[self.valued])
        return form_advantage(learner.form, returns, value, at_action, executed, variate, coefficient)

    def normalised(self, advantage: torch.Tensor, among: torch.Tensor) -> torch.Tensor:
        """Advantages centred and scaled by those ``among`` [T·B] bool, where the settings say so."""
        chosen = advantage if bool(among.all()) else advantage[among]
        if not self.learner.settings.returns.normalise_advantages or not len(chosen):
            return advantage
        return (advantage - chosen.mean()) / (chosen.std(correction=0) + 1e-8)

    def judge(self, target: torch.Tensor) -> None:
        """Note how well the critic predicts what it has not been fitted to, target [T·B]; of R, what V leaves."""
        learner = self.learner
        said = self.values.value[: self.taken] if self.values.executed is None else self.values.executed
        if learner.rest:
            said = said - self.values.value[: self.taken]
        learner.out_of_sample = explained_variance(said[self.valued], target[self.valued])
        rows = float(self.valued.sum()) + sum(_counted(part) for part in learner.window.rounds)
        learner.samples_per_parameter = rows / len((learner.rest or learner.critic).flat)

    def follow(self, target: torch.Tensor, among: torch.Tensor | None = None) -> Generator[Say, np.ndarray, None]:
        """Let the critic's units follow what it is fitted to; among [T·B] bool: only these steps."""
        if self.learner.settings.returns.normalise_values:
            yield from self.learner.follow_moments(target[self.valued if among is None else self.valued & among])

    # Rows to learn from

    def of_copies(self, first: bool) -> torch.Tensor:
        """The steps of one half of the copies, [T·B] bool; of an odd number, the first half is the smaller."""
        half = torch.arange(self.copies, device=self.alive.device) < self.copies // 2
        return (half if first else ~half).repeat(self.steps)

    def join(self, first: Values, second: Values) -> None:
        """Take what was seen of the first half of the copies from the one, and of the second half from the other."""
        here = self.of_copies(True)
        row = torch.arange(self.copies, device=here.device) < self.copies // 2
        final = torch.from_numpy(self.experience.rollout.final_at[:, 1] < self.copies // 2).to(here.device)
        states = torch.cat([here, row, final])
        value = torch.where(states, first.value, second.value)
        if first.at_action is None or first.executed is None or second.at_action is None or second.executed is None:
            self.values = Values(value)
            return
        at_action = torch.where(here, first.at_action, second.at_action)
        self.values = Values(value, at_action, torch.where(here, first.executed, second.executed))

    def rows(self, target: torch.Tensor, among: torch.Tensor | None = None) -> Rows:
        """What the critic is fitted on: this round's steps, or some of them [T·B] bool."""
        found = {"x": self._read("critic"), "action": self.action, "target": target}
        return self._those(found, among)

    def rest_rows(self, among: torch.Tensor | None = None) -> Rows:
        """What R is fitted on, likewise: ``target``, the reward; ``seen`` and ``next``, what V reads of the step and of what follows; ``going``: γ,
        or 0 where nothing follows. With a λ of the critic's own above 0: the return is the target, and nothing follows."""
        heard, learner = self.experience, self.learner
        found = {"x": self._read("rest"), "action": self.action, "seen": self._read("critic")}
        if trace := learner.settings.critic.trace:
            return self._those(found | {"target": self._targets(trace).target.view(self.taken)}, among)
        rollout, device = heard.rollout, heard.reward.device
        follows = torch.arange(self.taken, device=device) + self.copies
        if len(rollout.final_at):  # what an episode ended with comes behind all running observations
            t, copy = torch.from_numpy(rollout.final_at).to(device).unbind(1)
            follows[t * self.copies + copy] = self.taken + self.copies + torch.arange(len(t), device=device)
        going = torch.from_numpy(~rollout.terminated).to(device).view(self.taken) * learner.settings.returns.gamma
        found |= {"target": heard.reward.reshape(self.taken), "next": heard.critic_input[follows], "going": going}
        return self._those(found, among)

    def rest_left(self) -> torch.Tensor:
        """What V leaves for R in this round, [T·B]."""
        trace = self.learner.settings.critic.trace or 0.0
        return self._targets(trace).advantage.view(self.taken)

    def _read(self, which: str) -> torch.Tensor:
        if which not in self._inputs:
            heard = self.experience
            read = self.learner.step_inputs if which == "critic" else self.learner.rest_inputs
            self._inputs[which] = read(heard.critic_input, self.action, heard.neighbours)
        return self._inputs[which]

    def _those(self, found: Rows, among: torch.Tensor | None) -> Rows:
        if self.keep_all:
            found["weight"] = self.valued.to(torch.float32)
            chosen = among
        else:
            chosen = self.valued if among is None else self.valued & among
            chosen = None if among is None and bool(self.valued.all()) else chosen
        return found if chosen is None else {name: column[chosen] for name, column in found.items()}

    def batch(self, advantage: torch.Tensor, returns: torch.Tensor, with_critic: bool) -> Batch:
        """What the trainer learns from; with_critic: the critic learns in the same minibatches, from the returns."""
        learner, heard, taken = self.learner, self.experience, self.taken
        rollout, device = heard.rollout, advantage.device
        x = self._read("critic") if with_critic else heard.critic_input[:taken]
        mask = (
            None
            if rollout.mask is None
            else torch.from_numpy(np.ascontiguousarray(rollout.mask[:-1])).view(taken, -1).to(device)
        )
        batch = Batch(
            x,
            None if heard.observation is None else heard.observation[:taken],
            self.action,
            advantage,
            (returns - learner.shift) / learner.scale,
            learner.distribution.score(heard.outputs[:taken].mT.contiguous(), self.action).log_probability,
            self.alive.to(torch.float32),
            mask,
        )
        if with_critic and self.valued is not self.alive:
            batch.value_weight = self.valued.to(torch.float32)
        if heard.memory is not None:
            batch.memory, batch.begins = heard.memory, torch.from_numpy(rollout.begins[:-1].copy()).to(device)
        elif not self.keep_all:
            # Else all steps stay: sequences whole, and equally many of all who learn side by side or share gradients.
            batch.weight = None
            if not self.everywhere:
                for name, column in batch.rows().items():
                    setattr(batch, name, column[self.alive])
        return batch


def explained_variance(value: torch.Tensor, returns: torch.Tensor) -> float:
    """1 − Var(G − V)/Var(G); 0 where G does not vary."""
    variance = float(returns.var(correction=0)) if len(returns) else 0.0
    return 1.0 - float((returns - value).var(correction=0)) / variance if variance > 0 else 0.0


def _counted(rows: Rows) -> float:
    return float(rows["weight"].sum()) if "weight" in rows else float(len(rows["target"]))
