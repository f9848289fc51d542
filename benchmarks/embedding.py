"""The embedding kernel, over the matrix product that it cannot avoid and over a plain embedding; variance at equal time.

    python benchmarks/embedding.py [--pairs 5] [--states 8192] [--degrees 2 4 8] [--samples 16 100 250]

8192 states of 33 numbers, neighbours with 8 actions each, a critic with two hidden layers of 64 and relu, one core. *product*: the
second layer alone, one [64] × [64, 64] product per state and joint action, in the same blocks. *plain*: actions drawn with
``torch.multinomial``, one-hot, concatenated with the state, three layers. The estimator is the one that ``auto`` takes: all joint
actions where these are fewer than the samples, else the stratified ones. Each figure is the median of alternating runs; targets:
at most 1.7 times the product, at most 0.3 of the plain one.
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial
from typing import Callable

import numpy as np
import torch
import torch.nn.functional as F
from measure import head, spread

from perla_net.learning.distributions import Categorical
from perla_net.learning.embedding import BLOCK_NUMBERS, Peer, choose_estimator, embed, joint_actions
from perla_net.learning.models import MLP
from perla_net.world.spec import ActionSpec

OBSERVATION, ACTIONS, HIDDEN = 33, 8, 64
PLAIN_STATES = 512


@torch.no_grad()
def plain(critic: MLP, x: torch.Tensor, peers: list[Peer], samples: int) -> torch.Tensor:
    """Draw, encode, concatenate, three layers, average; in pieces, since all at once would not fit in memory."""
    means = []
    for start in range(0, len(x), PLAIN_STATES):
        rows = slice(start, start + PLAIN_STATES)
        number = len(x[rows])
        parts = [x[rows].repeat_interleave(samples, 0)]
        for peer in peers:
            drawn = torch.multinomial(torch.softmax(peer.outputs[rows], 1), samples, replacement=True)
            parts.append(F.one_hot(drawn.flatten(), peer.distribution.width).to(torch.float32))
        means.append(critic(torch.cat(parts, 1)).view(number, samples, -1).mean(1))
    return torch.cat(means)


def product(states: int, joint: int) -> Callable[[], None]:
    """Nothing but the second layer's product for so many states and joint actions."""
    rows = max(1, BLOCK_NUMBERS // (joint * HIDDEN))
    block, weight = torch.randn(rows * joint, HIDDEN), torch.randn(HIDDEN, HIDDEN)
    out = torch.empty(rows * joint, HIDDEN)

    def run() -> None:
        for start in range(0, states, rows):
            part = min(rows, states - start) * joint
            torch.mm(block[:part], weight, out=out[:part])

    return run


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--pairs", type=int, default=5)
    reader.add_argument("--states", type=int, default=8192)
    reader.add_argument("--degrees", type=int, nargs="+", default=[2, 4, 8])
    reader.add_argument("--samples", type=int, nargs="+", default=[16, 100, 250])
    given = reader.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(head(f"embedding of {given.states} states, milliseconds, median; ratios with their range"))
    print(
        f"{'degree':>6} {'K':>4} {'estimator':>16} {'time':>7} {'product':>8} {'over product':>22} {'plain':>7} {'over plain':>25}"
    )
    variances = []
    for degree in given.degrees:
        distribution = Categorical(ActionSpec("discrete", (ACTIONS,)))
        here = torch.ones(given.states, dtype=torch.bool)
        peers = [Peer(distribution, torch.randn(given.states, ACTIONS), here) for _ in range(degree)]
        critic = MLP((OBSERVATION + degree * distribution.width, HIDDEN, HIDDEN, 1), "relu")
        critic.start(torch.Generator().manual_seed(0), True, 1.0)
        x = torch.randn(given.states, OBSERVATION)
        rng = np.random.default_rng(0)
        for samples in given.samples:
            chosen = choose_estimator("auto", 1, samples, [distribution] * degree)
            joint = joint_actions([distribution] * degree) if chosen == "exact" else samples
            alone = product(given.states, joint or samples)
            times: dict[str, list[float]] = {"embed": [], "product": [], "plain": []}
            for pair in range(given.pairs + 1):
                found = {
                    "embed": seconds(partial(embed, critic, x, peers, samples, chosen, rng)),
                    "product": seconds(alone),
                    "plain": seconds(partial(plain, critic, x, peers, samples)),
                }
                if pair:  # the first warms up
                    for name, value in found.items():
                        times[name].append(value * 1e3)
            over_product = [a / b for a, b in zip(times["embed"], times["product"])]
            over_plain = [a / b for a, b in zip(times["embed"], times["plain"])]
            middle = {name: statistics.median(values) for name, values in times.items()}
            print(
                f"{degree:>6} {samples:>4} {chosen:>16} {middle['embed']:>7.1f} {middle['product']:>8.1f} "
                f"{spread(over_product):>22} {middle['plain']:>7.0f} {spread(over_plain, '.3f'):>25}",
                flush=True,
            )
            if chosen != "exact":
                variances.append((degree, samples, *variance_at_equal_time(critic, x[:512], peers, samples, rng)))
    print(
        "\nvariance of the estimate times seconds, stratified over monte_carlo (below 1: stratified is better at equal time)"
    )
    for degree, samples, ratio, slower in variances:
        print(f"degree {degree}, K {samples}: variance {ratio:.3f}, time {slower:.2f}, product {ratio * slower:.3f}")


def variance_at_equal_time(
    critic: MLP, x: torch.Tensor, peers: list[Peer], samples: int, rng: np.random.Generator
) -> tuple[float, float]:
    """(variance, time) of stratified over monte_carlo, means over states of the variance between 64 repetitions."""
    few = [Peer(peer.distribution, peer.outputs[: len(x)], peer.present[: len(x)]) for peer in peers]
    variance, times = [], []
    for estimator in ("stratified", "monte_carlo"):
        repeated, spent = [], []
        for _ in range(64):
            began = time.perf_counter()
            repeated.append(embed(critic, x, few, samples, estimator, rng)[:, 0])
            spent.append(time.perf_counter() - began)
        variance.append(float(torch.stack(repeated).double().var(0).mean()))
        times.append(statistics.median(spent))
    return variance[0] / variance[1], times[0] / times[1]


if __name__ == "__main__":
    main()
