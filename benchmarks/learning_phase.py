"""The learning phase of one agent, over a plain PyTorch loop that does the same.

    python benchmarks/learning_phase.py [--pairs 7] [--steps 8192] [--observation 96]

Both update a policy (tanh) and a critic (relu), two hidden layers of 64 each, by clipped PPO: 10 epochs of minibatches of 1024 from
one rollout, GAE included, gradients clipped, Adam. The plain loop is what one finds in single-file implementations: modules,
autograd, ``torch.optim.Adam``. One core each, alternating; the target is a ratio of at most 0.9.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from measure import head, spread
from torch import nn

from perla_net.methods.learner import Learner
from perla_net.methods.lesson import Experience, Lesson
from perla_net.methods.order import learn
from perla_net.methods.protocol import run_alone
from perla_net.settings.config import AgentSettings
from perla_net.world.spec import ActionSpec, AgentSpec
from perla_net.world.world import Rollout

ACTIONS, EPOCHS, MINIBATCH, COPIES = 5, 10, 1024, 64


def plain(rollout: Rollout, policy: nn.Module, critic: nn.Module, optimisers: list) -> None:
    """One learning phase as one would write it down."""
    steps = rollout.steps
    observation = torch.from_numpy(rollout.observation)
    action = torch.from_numpy(rollout.action.view(np.int32)[..., 0].astype(np.int64))
    reward = torch.from_numpy(rollout.reward)
    with torch.no_grad():
        value = critic(observation.flatten(0, 1)).view(steps + 1, -1)
        old = torch.distributions.Categorical(logits=policy(observation[:-1])).log_prob(action)
        advantage = torch.zeros_like(reward)
        running = torch.zeros(reward.shape[1])
        for t in reversed(range(steps)):
            delta = reward[t] + 0.97 * value[t + 1] - value[t]
            running = delta + 0.97 * 0.95 * running
            advantage[t] = running
        target = (advantage + value[:-1]).flatten()
    observation, action, old, advantage = (
        observation[:-1].flatten(0, 1),
        action.flatten(),
        old.flatten(),
        advantage.flatten(),
    )
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    for _ in range(EPOCHS):
        order = torch.randperm(len(action))
        for start in range(0, len(action), MINIBATCH):
            chosen = order[start : start + MINIBATCH]
            distribution = torch.distributions.Categorical(logits=policy(observation[chosen]))
            ratio = torch.exp(distribution.log_prob(action[chosen]) - old[chosen])
            bounded = ratio.clamp(0.8, 1.2)
            policy_loss = -torch.min(ratio * advantage[chosen], bounded * advantage[chosen]).mean()
            value_loss = 0.5 * (critic(observation[chosen])[:, 0] - target[chosen]).square().mean()
            for optimiser in optimisers:
                optimiser.zero_grad()
            (policy_loss - 0.003 * distribution.entropy().mean() + value_loss).backward()
            for network, optimiser in zip((policy, critic), optimisers):
                nn.utils.clip_grad_norm_(network.parameters(), 0.5)
                optimiser.step()


def ours(learner: Learner, rollout: Rollout) -> None:
    """The same by the program's learner, from the rollout on."""
    observation = torch.from_numpy(rollout.observation).flatten(0, 1)
    reward = torch.from_numpy(rollout.reward)
    with torch.no_grad():
        outputs = learner.policy(observation)
    lesson = Lesson(learner, Experience(rollout, reward, None, observation, outputs, None, []), keep_all=False)
    run_alone(learn([lesson], learner.trainer, 0.0))


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--pairs", type=int, default=7)
    reader.add_argument("--steps", type=int, default=8192)
    reader.add_argument("--observation", type=int, default=96)
    given = reader.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    steps, size = given.steps // COPIES, given.observation
    words = np.zeros((steps, COPIES, 1), np.float32)
    words.view(np.int32)[:] = rng.integers(0, ACTIONS, words.shape)
    never = np.zeros((steps, COPIES), bool)
    rollout = Rollout(
        rng.standard_normal((steps + 1, COPIES, size), dtype=np.float32),
        None,
        words,
        rng.standard_normal((steps, COPIES), dtype=np.float32),
        never,
        never,
        np.ones((steps + 1, COPIES), bool),
        np.zeros((steps + 1, COPIES), bool),
        np.zeros((0, 2), np.int64),
        np.zeros((0, size), np.float32),
        None,
        np.zeros(0, bool),
        np.zeros(0, bool),
    )

    def layers(outputs: int, activation: type[nn.Module]) -> nn.Module:
        return nn.Sequential(nn.Linear(size, 64), activation(), nn.Linear(64, 64), activation(), nn.Linear(64, outputs))

    policy, critic = layers(ACTIONS, nn.Tanh), layers(1, nn.ReLU)
    optimisers = [torch.optim.Adam(network.parameters(), lr=2e-3, eps=1e-5) for network in (policy, critic)]
    settings = AgentSettings(algorithm="ippo")
    settings.ppo.epochs, settings.ppo.minibatch = EPOCHS, MINIBATCH
    spec = AgentSpec("agent", size, "box", (size,), ActionSpec("discrete", (ACTIONS,)))
    learner = Learner(spec, settings, [], [spec], torch.zeros(0), np.random.SeedSequence(0).spawn(4))
    print(head(f"learning phase of one agent, {given.steps} steps, observation of {size} numbers, one core"))
    ratios, theirs, own = [], [], []
    for pair in range(given.pairs + 1):
        began = time.perf_counter()
        plain(rollout, policy, critic, optimisers)
        middle = time.perf_counter()
        ours(learner, rollout)
        end = time.perf_counter()
        if pair:  # the first warms up
            theirs.append(middle - began)
            own.append(end - middle)
            ratios.append(own[-1] / theirs[-1])
    rate = given.steps / np.median(own), given.steps / np.median(theirs)
    print(f"plain loop {spread(theirs, '.3f')} s, ours {spread(own, '.3f')} s; ratio {spread(ratios)}")
    print(f"trained agent-steps per second: plain loop {rate[1]:,.0f}, ours {rate[0]:,.0f}")


if __name__ == "__main__":
    main()
