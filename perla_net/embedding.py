"""Policy embedding: a critic averaged over the policies that the neighbours communicated (PERLA, arXiv 2209.01054).

A critic f(x, a_N) reads a state x and the actions of the neighbours N. Embedded:

    f̂(x) = E_{a_j ~ π_j(·|o_j), j ∈ N} [ f(x, a_N) ]

with three estimators of the expectation: ``exact`` sums over all joint actions; ``monte_carlo`` averages K independent
samples; ``stratified`` averages K points of a lattice shifted at random per state (Cranley and Patterson 1976), each of
which is distributed like a sample, so that it is unbiased too. Where K is too small for a lattice of that many dimensions,
the further coordinates are strata in random order (Latin hypercube sampling, McKay et al. 1979).

The critic's first layer is linear, so W·[x, a_N] + b = (W_x·x + b) + Σ_j (a row of W_j): one product per state and one
table row per neighbour action. Only the layers above are evaluated per joint action, in blocks that stay in cache, and
the last layer, again linear, only once per state, after the average.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from .distributions import Categorical, Distribution
from .models import IN_PLACE, MLP

BLOCK_NUMBERS = 192 * 1024
"""Numbers of one hidden layer in a block: 768 KiB of float32; two layers of a block are meant for a core's L2 cache."""


@dataclass
class Peer:
    """A neighbour at R states: how its actions are distributed, and where it is there at all.

    outputs [R, outputs + free] of its policy, masks applied; present [R] bool.
    """

    distribution: Distribution
    outputs: torch.Tensor
    present: torch.Tensor


def joint_actions(distributions: list[Distribution]) -> int | None:
    """Number of joint actions of the neighbours; None when one of them acts continuously."""
    counts = [distribution.joint for distribution in distributions]
    return None if None in counts else math.prod(counts)


def choose_estimator(estimator: str, exact_limit: int, distributions: list[Distribution]) -> str:
    """The estimator that ``auto`` stands for: exact up to ``exact_limit`` joint actions, else stratified."""
    if estimator != "auto":
        return estimator
    count = joint_actions(distributions)
    return "exact" if count is not None and count <= exact_limit else "stratified"


@torch.no_grad()
def embed(
    critic: MLP, x: torch.Tensor, peers: list[Peer], samples: int, estimator: str, rng: np.random.Generator
) -> torch.Tensor:
    """f̂ at R states: [R, heads].

    critic: input [x | encodings of the peers in order]; x [R, size]; samples: K; estimator: exact, monte_carlo or
    stratified; rng: for the last two. An absent peer counts as the value 'absent' with probability one.
    """
    weights = critic.frozen
    first = weights["w0"].t().contiguous()
    width = x.shape[1]
    base = torch.addmm(weights["b0"], x, first[:width])
    factors: list[_Factor] = []
    for peer in peers:
        table = first[width : width + peer.distribution.width]
        width += peer.distribution.width
        factors += _factors(peer, table)
    if critic.layers == 1:
        raise ValueError("an embedded critic needs at least one hidden layer")
    if estimator == "exact":
        averaged = _exact(critic, base, factors)
    else:
        averaged = _sampled(critic, base, factors, samples, estimator == "stratified", rng)
    last = critic.layers - 1
    return torch.addmm(weights[f"b{last}"], averaged, weights[f"w{last}"].t())


@dataclass
class _Factor:
    """One component of a peer's action. Categorical: probabilities [R, n] over the rows of ``table`` [n, H];
    continuous: mean and deviation [R, d] over ``table`` [d, H], plus ``absent`` [R, H] where the peer is not there."""

    table: torch.Tensor
    probabilities: torch.Tensor | None = None
    mean: torch.Tensor | None = None
    deviation: torch.Tensor | None = None
    absent: torch.Tensor | None = None


def _factors(peer: Peer, table: torch.Tensor) -> list[_Factor]:
    complete = bool(peer.present.all())
    if isinstance(peer.distribution, Categorical):
        found, start = [], 0
        for size, share in zip(peer.distribution.sizes, peer.distribution.probabilities(peer.outputs)):
            rows = table[start : start + size + 1]
            start += size + 1
            if complete:
                found.append(_Factor(rows[:size], share))
            else:
                here = peer.present.unsqueeze(1).to(share.dtype)
                found.append(_Factor(rows, torch.cat([share * here, 1 - here], dim=1)))
        return found
    here = peer.present.unsqueeze(1).to(peer.outputs.dtype)
    mean, log_deviation = peer.distribution.split(peer.outputs)
    return [_Factor(table[:-1], mean=mean * here, deviation=log_deviation.exp() * here, absent=(1 - here) * table[-1])]


def _exact(critic: MLP, base: torch.Tensor, factors: list[_Factor]) -> torch.Tensor:
    """Σ over joint actions of Π_j π_j(a_j) h(x, a_N), h the last hidden layer: [R, H]."""
    table = base.new_zeros(1, base.shape[1])
    for factor in factors:
        if factor.probabilities is None:
            raise ValueError("continuous actions cannot be enumerated")
        table = (table.unsqueeze(1) + factor.table).flatten(0, 1)
    tail = _Tail(critic, base, len(table))
    for start, stop in tail.blocks():
        torch.add(base[start:stop].unsqueeze(1), table, out=tail.first[: stop - start])
        share = base.new_ones(stop - start, 1)
        for factor in factors:
            share = (share.unsqueeze(2) * factor.probabilities[start:stop].unsqueeze(1)).flatten(1)
        tail.average(start, stop, share)
    return tail.averaged


def _sampled(
    critic: MLP, base: torch.Tensor, factors: list[_Factor], samples: int, lattice: bool, rng: np.random.Generator
) -> torch.Tensor:
    """(1/K) Σ_k h(x, a_N^(k)): [R, H]."""
    dimensions = sum(1 if factor.mean is None else factor.mean.shape[1] for factor in factors)
    points = torch.from_numpy(lattice_points(samples, dimensions).T.copy()).unsqueeze(1) if lattice else None
    further = dimensions - len(points) if points is not None else 0
    categorical = [factor for factor in factors if factor.probabilities is not None]
    continuous = [factor for factor in factors if factor.probabilities is None]
    cumulated = []
    for factor in categorical:
        running = factor.probabilities.cumsum(1)
        cumulated.append(running / running[:, -1:])
    if categorical:
        table = torch.cat([factor.table for factor in categorical])
        offsets = np.cumsum([0] + [len(factor.table) for factor in categorical[:-1]]).tolist()
    if continuous:
        base = base + sum(factor.absent for factor in continuous)
    tail = _Tail(critic, base, samples)
    share = base.new_full((tail.rows, samples), 1 / samples)
    for start, stop in tail.blocks():
        rows = stop - start
        if points is None:
            uniform = torch.from_numpy(rng.random((dimensions, rows, samples), dtype=np.float32))
        else:
            shift = torch.from_numpy(rng.random((dimensions, rows, 1), dtype=np.float32))
            strata = points
            if further:
                order = torch.from_numpy(rng.random((further, rows, samples), dtype=np.float32)).argsort(2)
                strata = torch.cat([points.expand(-1, rows, -1), order.to(points.dtype) / samples])
            uniform = strata + shift
            uniform -= (uniform >= 1).to(uniform.dtype)
        hidden = tail.first[:rows]
        flat = hidden.view(rows * samples, -1)
        if categorical:
            chosen = torch.stack(
                [
                    torch.searchsorted(running[start:stop], uniform[index], right=True).add_(offset)
                    for index, (running, offset) in enumerate(zip(cumulated, offsets))
                ],
                dim=-1,
            )
            flat.copy_(F.embedding_bag(chosen.view(rows * samples, -1), table, mode="sum"))
            hidden.add_(base[start:stop].unsqueeze(1))
        else:
            hidden.copy_(base[start:stop].unsqueeze(1).expand_as(hidden))
        place = len(categorical)
        for factor in continuous:
            size = factor.mean.shape[1]
            normal = torch.special.ndtri(uniform[place : place + size].clamp(2**-24, 1 - 2**-24))
            place += size
            values = factor.mean[start:stop].unsqueeze(1) + factor.deviation[start:stop].unsqueeze(1) * normal.permute(
                1, 2, 0
            )
            flat.addmm_(values.reshape(rows * samples, size), factor.table)
        tail.average(start, stop, share[:rows])
    return tail.averaged


class _Tail:
    """The layers above the first, evaluated on blocks of [rows, joint, H] and averaged over the joint actions."""

    def __init__(self, critic: MLP, base: torch.Tensor, joint: int) -> None:
        self.critic, self.weights, self.joint, self.states = critic, critic.frozen, joint, len(base)
        widths = critic.sizes[1:-1]
        self.rows = max(1, min(len(base), BLOCK_NUMBERS // (joint * max(widths))))
        self.first = base.new_empty(self.rows, joint, widths[0])
        self.above = [base.new_empty(self.rows * joint, width) for width in widths[1:]]
        self.averaged = base.new_empty(len(base), widths[-1])

    def blocks(self) -> list[tuple[int, int]]:
        """(start, stop) of the blocks of states."""
        return [(start, min(start + self.rows, self.states)) for start in range(0, self.states, self.rows)]

    def average(self, start: int, stop: int, share: torch.Tensor) -> None:
        """Carry ``first`` through the layers; weight the joint actions by share [rows, joint]."""
        activate = IN_PLACE[self.critic.activation]
        rows = stop - start
        hidden = self.first[:rows].view(rows * self.joint, -1)
        activate(hidden)
        for layer, buffer in enumerate(self.above, start=1):
            out = buffer[: rows * self.joint]
            torch.addmm(self.weights[f"b{layer}"], hidden, self.weights[f"w{layer}"].t(), out=out)
            activate(out)
            hidden = out
        torch.bmm(share.unsqueeze(1), hidden.view(rows, self.joint, -1), out=self.averaged[start:stop].unsqueeze(1))


@lru_cache(maxsize=64)
def lattice_points(samples: int, dimensions: int) -> np.ndarray:
    """K points of a rank-1 lattice in the unit cube, float32 [K, at most ``dimensions``].

    Coordinate d of point k is k z_d / K mod 1, with z_d and K coprime, so that each runs through 0, 1/K, …, (K−1)/K. The z_d
    are found one after the other, each the best of at most 256 candidates by the P₂ error (Sloan and Joe 1994) of its
    worst pair with those before; where even that pair is worse than independent samples, the lattice ends, with fewer
    columns than were asked for.
    """
    order = np.arange(samples)
    units = [z for z in range(1, samples // 2 + 1) if math.gcd(z, samples) == 1] or [1]
    candidates = [(order * z % samples) / samples for z in units[:: -(-len(units) // 256)]]
    # Of a pair (x, y): mean_k B₂(x_k) B₂(y_k), B₂(x) = x² − x + 1/6; independent samples have B₂(0)² / K = 1 / (36 K).
    kernels = [x * x - x + 1 / 6 for x in candidates]
    chosen = [0]
    while len(chosen) < dimensions:
        worst = [max(float((kernel * kernels[c]).mean()) for c in chosen) for kernel in kernels]
        best = min(range(len(kernels)), key=lambda index: round(worst[index], 12))
        if worst[best] * 36 * samples > 1:
            break
        chosen.append(best)
    return np.stack([candidates[c] for c in chosen], axis=1).astype(np.float32)
