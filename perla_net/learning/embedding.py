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

A critic without hidden layers is linear in what it reads, so that f̂(x) = f(x, E[a_N]): exact, without a sample. A critic that reads
the *mean* of its neighbours' actions (deep sets, Zaheer et al. 2017, arXiv 1703.06114) has one table for all of them, divided by their number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from .distributions import Distribution, Gaussian, Mixed
from .models import IN_PLACE, MLP

BLOCK_NUMBERS = 192 * 1024
"""Numbers of one hidden layer in a block: 768 KiB of float32, about a core's L2 cache."""
CHUNK_NUMBERS = 128 * 1024
"""Samples whose actions are drawn together."""
GROUP_ROWS = 64
"""Joint actions of a group of neighbours that share a table: 16 KiB of a layer of 64, which stays in the L1 cache."""
COMPARED = 64
"""Actions from which on a binary search beats comparing with every one."""


@dataclass
class Peer:
    """A neighbour at R states: how its actions are distributed, and where it is there at all.

    outputs [R, outputs + free] of its policy, masks applied, and present [R] bool; both None where it is nowhere there.
    """

    distribution: Distribution
    outputs: torch.Tensor | None
    present: torch.Tensor | None


def joint_actions(distributions: list[Distribution]) -> int | None:
    """Number of joint actions of the neighbours; None when one of them acts continuously."""
    counts = [distribution.joint for distribution in distributions]
    return None if None in counts else math.prod(counts)


def choose_estimator(estimator: str, exact_limit: int, samples: int, distributions: list[Distribution]) -> str:
    """The estimator that ``auto`` stands for where those are there: exact up to ``exact_limit`` joint actions, or where there
    are no more of them than samples, so that enumerating is also less work; else stratified."""
    if estimator != "auto":
        return estimator
    count = joint_actions(distributions)
    return "exact" if count is not None and count <= max(exact_limit, samples) else "stratified"


@torch.no_grad()
def embed(
    critic: MLP,
    x: torch.Tensor,
    peers: list[Peer],
    samples: int,
    estimator: str,
    rng: np.random.Generator,
    pooled: bool = False,
) -> torch.Tensor:
    """f̂ at R states: [R, heads].

    critic: input [x | encodings of the peers in order], or, ``pooled``, [x | their mean]; x [R, size]; samples: K; estimator: exact, monte_carlo
    or stratified; rng: for the last two. An absent peer counts as the value 'absent' with probability one.
    """
    weights = critic.frozen
    first = weights["w0"].t().contiguous()
    width = x.shape[1]
    base = torch.addmm(weights["b0"], x, first[:width])
    factors: list[_Factor] = []
    for peer in peers:
        table = first[width : width + peer.distribution.width]
        if pooled:
            table = table / len(peers)
        else:
            width += peer.distribution.width
        if critic.layers == 1 and peer.outputs is not None:
            base += peer.distribution.mean_encoding(peer.outputs, peer.present) @ table
        elif peer.outputs is None:  # the same everywhere, so a constant of the first layer
            base += peer.distribution.absent.to(base.device) @ table
        else:
            factors += _factors(peer, table)
    if critic.layers == 1:
        return base
    if not factors:
        tail = _Tail(critic, base, 1)
        for start, stop in tail.blocks():
            tail.averaged[start:stop] = tail.evaluate(stop - start, base[start:stop])
        averaged = tail.averaged
    elif estimator == "exact":
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
    distribution, outputs, present = peer.distribution, peer.outputs, peer.present
    if isinstance(distribution, Mixed):
        counted, continuous = distribution.counted, distribution.continuous
        first, second = outputs[:, : counted.outputs], outputs[:, counted.outputs :]
        return _factors(Peer(counted, first, present), table[: counted.width]) + _factors(
            Peer(continuous, second, present), table[counted.width :]
        )
    here = present.unsqueeze(1).to(outputs.dtype)
    if isinstance(distribution, Gaussian):
        mean, log_deviation = distribution.split(outputs)
        deviation = log_deviation.exp()
        return [_Factor(table[:-1], mean=mean * here, deviation=deviation * here, absent=(1 - here) * table[-1])]
    complete = bool(present.all())
    found, start = [], 0
    for size, share in zip(distribution.sizes, distribution.probabilities(outputs)):
        rows = table[start : start + size + 1]
        start += size + 1
        if complete:
            found.append(_Factor(rows[:size], share))
        else:
            found.append(_Factor(rows, torch.cat([share * here, 1 - here], dim=1)))
    return found


def _exact(critic: MLP, base: torch.Tensor, factors: list[_Factor]) -> torch.Tensor:
    """Σ over joint actions of Π_j π_j(a_j) h(x, a_N), h the last hidden layer: [R, H]."""
    if any(factor.probabilities is None for factor in factors):
        raise ValueError("continuous actions cannot be enumerated")
    table = _joint_table([factor.table for factor in factors])
    shares = [factor.probabilities.contiguous() for factor in factors]
    tail = _Tail(critic, base, len(table))
    for start, stop in tail.blocks():
        rows = stop - start
        torch.add(base[start:stop].unsqueeze(1), table, out=tail.first[: rows * len(table)].view(rows, len(table), -1))
        share = base.new_ones(rows, 1)
        for one in shares:
            share = (share.unsqueeze(2) * one[start:stop].unsqueeze(1)).view(rows, -1)
        hidden = tail.evaluate(rows * len(table))
        torch.bmm(share.unsqueeze(1), hidden.view(rows, len(table), -1), out=tail.averaged[start:stop].unsqueeze(1))
    return tail.averaged


def _joint_table(tables: list[torch.Tensor]) -> torch.Tensor:
    """Sums of one row of each table, for all combinations, the last table's running fastest: [Π n, H]."""
    joint = tables[0]
    for table in tables[1:]:
        joint = (joint.unsqueeze(1) + table).flatten(0, 1)
    return joint


def _sampled(
    critic: MLP, base: torch.Tensor, factors: list[_Factor], samples: int, lattice: bool, rng: np.random.Generator
) -> torch.Tensor:
    """(1/K) Σ_k h(x, a_N^(k)): [R, H].

    Sample k of state r is at [k, r] here, so that whatever is done for all states of a chunk is one long loop. Neighbours
    are put in groups whose joint actions have a table of their own: a sample then looks up one row per group.
    """
    categorical = [factor for factor in factors if factor.probabilities is not None]
    continuous = [factor for factor in factors if factor.probabilities is None]
    if continuous:
        base = base + sum(factor.absent for factor in continuous)
    draws = _Draws(samples, len(base), categorical, continuous, lattice, rng, base.device)
    groups = _groups([len(factor.table) for factor in categorical])
    tables = [_joint_table([categorical[index].table for index in group]) for group in groups]
    offsets = np.cumsum([0] + [len(table) for table in tables]).tolist()
    tail = _Tail(critic, base, samples)
    # The last rows of the table are what the states of a block contribute, the last lookup of a sample is its state's.
    whole = torch.cat([*tables, base[: tail.rows]])
    lookups = len(groups) + 1
    chunk = -(-CHUNK_NUMBERS // samples // tail.rows) * tail.rows
    chosen = torch.empty(lookups, samples, min(chunk, len(base)), dtype=torch.int32, device=base.device)
    chosen[-1] = torch.arange(chosen.shape[2], device=base.device) % tail.rows + offsets[-1]
    bags = torch.arange(0, tail.rows * samples * lookups, lookups, dtype=torch.int32, device=base.device)
    for begin in range(0, len(base), chunk):
        end = min(begin + chunk, len(base))
        for number, group in enumerate(groups):
            found = draws.actions(group[0], begin, end)
            for index in group[1:]:
                found = found.mul_(len(categorical[index].table)).add_(draws.actions(index, begin, end))
            # Two-byte numbers become four-byte ones before the offset, which may not fit in two, is added.
            chosen[number, :, : end - begin] = found
            chosen[number].add_(offsets[number])
        normals = [draws.normals(number, begin, end) for number in range(len(continuous))]
        for start, stop in tail.blocks(begin, end):
            rows, here = stop - start, slice(start - begin, stop - begin)
            whole[offsets[-1] : offsets[-1] + rows] = base[start:stop]
            rows_of = chosen[:, :, here].permute(1, 2, 0).reshape(-1)
            hidden = F.embedding_bag(rows_of, whole, bags[: rows * samples], mode="sum")
            for factor, values in zip(continuous, normals):
                hidden.addmm_(values[:, here].reshape(rows * samples, -1), factor.table)
            hidden = tail.evaluate(rows * samples, hidden)
            torch.sum(hidden.view(samples, rows, -1), 0, out=tail.averaged[start:stop])
    return tail.averaged.mul_(1 / samples)


def _groups(sizes: list[int]) -> list[list[int]]:
    """Consecutive factors in groups of at most GROUP_ROWS joint values each; a larger factor stays alone."""
    groups: list[list[int]] = []
    rows = 0
    for index, size in enumerate(sizes):
        if groups and rows * size <= GROUP_ROWS:
            groups[-1].append(index)
            rows *= size
        else:
            groups.append([index])
            rows = size
    return groups


class _Draws:
    """The neighbours' actions in every sample of every state: independent, or along a randomly shifted lattice.

    A categorical action is the number of actions whose cumulated probability C_a is not above a uniform number u: for few
    actions, comparing with each is faster than a binary search. On the lattice u = (m + f) / K with integers
    m = (p + r) mod K, p the point, and shifts r = 0 … K−1 and 0 ≤ f < 1 per state, so that C_a ≤ u is ⌈K C_a − f⌉ ≤ m: whole
    numbers, of two bytes each.
    """

    def __init__(
        self,
        samples: int,
        states: int,
        categorical: list[_Factor],
        continuous: list[_Factor],
        lattice: bool,
        rng: np.random.Generator,
        device: torch.device,
    ) -> None:
        self.samples, self.rng, self.device, self.continuous = samples, rng, device, continuous
        self.sizes = [factor.mean.shape[1] for factor in continuous]
        dimensions = len(categorical) + sum(self.sizes)
        self.first = len(categorical)
        self.points: torch.Tensor | None = None
        if lattice:
            whole = torch.int16 if samples < 2**14 else torch.int32
            self.points = torch.from_numpy(lattice_points(samples, dimensions).T.copy()).unsqueeze(2).to(device, whole)
            shift = torch.from_numpy(rng.random((dimensions, states), dtype=np.float32)).to(device).mul_(samples)
            turned = shift.floor().clamp_(max=samples - 1)  # float32 may round K s up to K
            self.turned, self.within = (turned - samples).to(whole), shift.sub_(turned)
        self.thresholds = [self._thresholds(index, factor.probabilities) for index, factor in enumerate(categorical)]

    def _thresholds(self, dimension: int, probabilities: torch.Tensor) -> torch.Tensor:
        """C_a of all actions but the last [n − 1, R], or on the lattice ⌈K C_a − f⌉."""
        shares = probabilities.mT.contiguous()
        running = shares.clone()
        for action in range(1, len(running)):  # row by row: torch's cumsum is slow along the first axis
            torch.add(running[action - 1], shares[action], out=running[action])
        cumulated = running[:-1].div_(running[-1])
        if self.points is None:
            return cumulated
        return cumulated.mul_(self.samples).sub_(self.within[dimension]).ceil_().to(self.points.dtype)

    def _places(self, dimension: int, start: int, stop: int) -> torch.Tensor:
        """m of the lattice, [K, stop − start]."""
        assert self.points is not None
        places = self.points[dimension] + self.turned[dimension, start:stop]  # p + r − K: negative where m = p + r
        return places.add_((places >> (8 * places.itemsize - 1)).bitwise_and_(self.samples))

    def actions(self, dimension: int, start: int, stop: int) -> torch.Tensor:
        """Whole numbers [K, stop − start] of some kind: what a categorical neighbour does."""
        thresholds = self.thresholds[dimension][:, start:stop]
        if self.points is None:
            drawn = self.rng.random((self.samples, stop - start), dtype=np.float32)
            places = torch.from_numpy(drawn).to(self.device)
        else:
            places = self._places(dimension, start, stop)
        if len(thresholds) >= COMPARED:
            found = torch.searchsorted(thresholds.mT.contiguous(), places.mT.contiguous(), right=True, out_int32=True)
            return found.mT.contiguous()
        # A comparison that writes numbers of the same kind is vectorised; one that writes bool is not.
        found, passed = torch.empty_like(places), torch.empty_like(places)
        if not len(thresholds):
            return found.zero_()
        torch.ge(places, thresholds[0], out=found)
        for threshold in thresholds[1:]:
            found.add_(torch.ge(places, threshold, out=passed))
        return found

    def normals(self, number: int, start: int, stop: int) -> torch.Tensor:
        """[K, stop − start, d] of a continuous factor: μ + σ Φ⁻¹(u)."""
        factor, first = self.continuous[number], self.first + sum(self.sizes[:number])
        uniforms = []
        for dimension in range(first, first + self.sizes[number]):
            if self.points is None:
                drawn = self.rng.random((self.samples, stop - start), dtype=np.float32)
                uniforms.append(torch.from_numpy(drawn).to(self.device))
            else:
                uniforms.append(
                    (self._places(dimension, start, stop) + self.within[dimension, start:stop]) / self.samples
                )
        normal = torch.special.ndtri(torch.stack(uniforms, -1).clamp_(2**-24, 1 - 2**-24))
        return normal.mul_(factor.deviation[start:stop]).add_(factor.mean[start:stop])


class _Tail:
    """The layers above the first, evaluated on blocks of states × joint actions, and the averages over these."""

    def __init__(self, critic: MLP, base: torch.Tensor, joint: int) -> None:
        self.critic, self.states = critic, len(base)
        weights = critic.frozen
        self.layers = [(weights[f"b{layer}"], weights[f"w{layer}"].t()) for layer in range(1, critic.layers - 1)]
        self.activate = IN_PLACE[critic.activation]
        widths = critic.sizes[1:-1]
        self.rows = max(1, min(len(base), BLOCK_NUMBERS // (joint * max(widths))))
        self.first = base.new_empty(self.rows * joint, widths[0])
        self.above = [base.new_empty(self.rows * joint, width) for width in widths[1:]]
        self.averaged = base.new_empty(len(base), widths[-1])

    def blocks(self, start: int = 0, stop: int | None = None) -> list[tuple[int, int]]:
        """(start, stop) of the blocks of states, among the given ones."""
        stop = self.states if stop is None else stop
        return [(at, min(at + self.rows, stop)) for at in range(start, stop, self.rows)]

    def evaluate(self, number: int, hidden: torch.Tensor | None = None) -> torch.Tensor:
        """Carry the first ``number`` rows of ``first``, or ``hidden``, through the layers: [number, H]."""
        hidden = self.first[:number] if hidden is None else hidden
        self.activate(hidden)
        for (bias, weight), buffer in zip(self.layers, self.above):
            hidden = torch.addmm(bias, hidden, weight, out=buffer[:number])
            self.activate(hidden)
        return hidden


@lru_cache(maxsize=64)
def lattice_points(samples: int, dimensions: int) -> np.ndarray:
    """K points whose every coordinate runs through 0, 1, …, K−1 (in units of 1/K of the unit cube): int [K, dimensions].

    The first coordinates are those of a rank-1 lattice: coordinate d of point k is k z_d / K mod 1, with z_d and K coprime.
    The z_d are found one after the other, each the best of at most 256 candidates by the P₂ error (Sloan and Joe 1994) of
    its worst pair with those before; where even that pair is worse than independent samples, random permutations take
    their place (Latin hypercube sampling), again each the best of 256. Whatever the points, each is uniform in the cube once
    every coordinate has been shifted at random.
    """
    order = np.arange(samples)
    units = [z for z in range(1, samples // 2 + 1) if math.gcd(z, samples) == 1] or [1]
    lattice = [(order * z % samples) / samples for z in units[:: -(-len(units) // 256)]]
    rng = np.random.default_rng(samples)
    chosen = [lattice[0]]
    while len(chosen) < dimensions:
        error, best = _best(lattice, chosen)
        if error * 36 * samples > 1:
            error, best = _best([rng.permutation(samples) / samples for _ in range(256)], chosen)
        chosen.append(best)
    return np.rint(np.stack(chosen, axis=1) * samples).astype(np.int64)


def _best(candidates: list[np.ndarray], chosen: list[np.ndarray]) -> tuple[float, np.ndarray]:
    """The candidate whose worst pair with a chosen coordinate has the least P₂ error, and that error."""
    # Of a pair (x, y): mean_k B₂(x_k) B₂(y_k), B₂(x) = x² − x + 1/6; independent samples have B₂(0)² / K = 1 / (36 K).
    kernel = lambda x: x * x - x + 1 / 6  # noqa: E731
    before = np.stack([kernel(x) for x in chosen], 1)
    worst = np.array([float((kernel(x) @ before).max()) / len(x) for x in candidates])
    best = int(np.argmin(worst.round(12)))
    return worst[best], candidates[best]
