"""Policy embedding: the three estimators against a plain enumeration, their variance, absence, every action space."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from perla_net.learning.distributions import Categorical, Gaussian, Mixed, distribution_of
from perla_net.learning.embedding import Peer, choose_estimator, embed, joint_actions, lattice_points
from perla_net.learning.models import MLP
from perla_net.world.spec import ActionSpec


def discrete(*sizes: int) -> Categorical:
    return Categorical(ActionSpec("discrete" if len(sizes) == 1 else "multi_discrete", sizes))


def critic_for(peers, width=5, heads=3, hidden=(16, 16), activation="relu", seed=0):
    critic = MLP((width + sum(p.distribution.width for p in peers), *hidden, heads), activation)
    critic.start(torch.Generator().manual_seed(seed), True, 1.0)
    return critic


def peers_with(*distributions, rows=7, seed=0, present=None):
    generator = torch.Generator().manual_seed(seed)
    here = torch.ones(rows, dtype=torch.bool) if present is None else present
    return [Peer(d, torch.randn(rows, d.outputs + d.free, generator=generator), here) for d in distributions]


def enumerate_plainly(critic, x, peers):
    """Σ over joint actions of Π π_j(a_j) f(x, a_N), one forward pass each."""
    total = 0
    choices = [list(itertools.product(*(range(size) for size in p.distribution.sizes))) for p in peers]
    for joint in itertools.product(*choices):
        share, parts = torch.ones(len(x)), [x]
        for peer, action in zip(peers, joint):
            taken = torch.tensor(action).expand(len(x), -1)
            log = peer.distribution.score(peer.outputs.mT, taken).log_probability
            share = share * torch.where(peer.present, log.exp(), 1 / peer.distribution.joint)
            parts.append(peer.distribution.encode(taken, peer.present))
        total = total + share.unsqueeze(1) * critic(torch.cat(parts, 1))
    return total.detach()


@pytest.mark.parametrize("distributions", [(discrete(4),), (discrete(3), discrete(5)), (discrete(2, 3), discrete(4))])
@pytest.mark.parametrize("activation", ["relu", "tanh", "elu", "silu"])
def test_exact_is_the_enumeration(distributions, activation):
    peers = peers_with(*distributions)
    critic, x = critic_for(peers, activation=activation), torch.randn(7, 5)
    result = embed(critic, x, peers, 1, "exact", np.random.default_rng(0))
    assert torch.allclose(result, enumerate_plainly(critic, x, peers), atol=1e-5)


def test_exact_with_absent_neighbours():
    present = torch.tensor([True, False, True, False, True, True, False])
    peers = peers_with(discrete(3), discrete(2, 2), present=present)
    critic, x = critic_for(peers), torch.randn(7, 5)
    result = embed(critic, x, peers, 1, "exact", np.random.default_rng(0))
    assert torch.allclose(result, enumerate_plainly(critic, x, peers), atol=1e-5)
    changed = [
        Peer(p.distribution, torch.where(present.unsqueeze(1), p.outputs, p.outputs + 5), p.present) for p in peers
    ]
    assert torch.equal(result, embed(critic, x, changed, 1, "exact", np.random.default_rng(0))), (
        "an absent policy counts"
    )


@pytest.mark.parametrize("estimator", ["monte_carlo", "stratified"])
def test_exact_lies_in_the_interval_of_samples(estimator):
    """K = 10 000: |mean − exact| within 4.5 standard errors (a chance of 1e-5 per state and head)."""
    peers = peers_with(discrete(8), discrete(8), discrete(3))
    critic, x = critic_for(peers), torch.randn(7, 5)
    exact = embed(critic, x, peers, 1, "exact", np.random.default_rng(0))
    single = torch.stack([embed(critic, x, peers, 1, "monte_carlo", np.random.default_rng(k)) for k in range(400)])
    error = single.std(0) / 10_000**0.5
    result = embed(critic, x, peers, 10_000, estimator, np.random.default_rng(1))
    assert ((result - exact).abs() <= 4.5 * error + 1e-5).all()


def test_stratified_has_less_variance_and_no_bias(capsys):
    peers = peers_with(discrete(8), discrete(8), rows=20)
    critic, x = critic_for(peers), torch.randn(20, 5)
    exact = embed(critic, x, peers, 1, "exact", np.random.default_rng(0))
    draws = {}
    for estimator in ("monte_carlo", "stratified"):
        draws[estimator] = torch.stack(
            [embed(critic, x, peers, 16, estimator, np.random.default_rng(k)) for k in range(600)]
        )
    ratio = float(draws["stratified"].var(0).mean() / draws["monte_carlo"].var(0).mean())
    with capsys.disabled():
        print(f"\nvariance of stratified over monte_carlo at K = 16, two neighbours with 8 actions: {ratio:.3f}")
    assert ratio < 0.5
    for estimator, values in draws.items():
        error = values.std(0) / 600**0.5
        assert ((values.mean(0) - exact).abs() <= 4.5 * error + 1e-6).all(), estimator


def test_variance_falls_as_one_over_k():
    """FACTS 1.2.1: given the state, Var of the K-average is Var/K."""
    peers = peers_with(discrete(4), discrete(4), rows=30)
    critic, x = critic_for(peers), torch.randn(30, 5)
    variance = {}
    for samples in (1, 4, 16):
        values = [embed(critic, x, peers, samples, "monte_carlo", np.random.default_rng(k)) for k in range(1500)]
        variance[samples] = torch.stack(values).var(0).mean()
    assert abs(float(variance[1] / variance[4]) / 4 - 1) < 0.1
    assert abs(float(variance[1] / variance[16]) / 16 - 1) < 0.1


@pytest.mark.parametrize("estimator", ["monte_carlo", "stratified"])
def test_continuous_and_mixed_neighbours(estimator):
    gaussian = distribution_of(ActionSpec("continuous", (), (-1.0, -1.0), (1.0, 1.0)))
    assert isinstance(gaussian, Gaussian)
    present = torch.tensor([True] * 5 + [False] * 2)
    both = distribution_of(ActionSpec("mixed", (2, 3), (-1.0,), (1.0,)))
    assert isinstance(both, Mixed)
    peers = peers_with(discrete(3), gaussian, both, discrete(4), present=present)
    critic, x = critic_for(peers), torch.randn(7, 5)
    result = embed(critic, x, peers, 4000, estimator, np.random.default_rng(1))
    rng = np.random.default_rng(5)
    samples = 4000
    totals = []
    for row in range(7):
        parts = [x[row].expand(samples, -1)]
        for peer in peers:
            outputs = peer.outputs[row].expand(samples, -1)
            action = peer.distribution.sample(outputs.mT, peer.distribution.noise(rng, 1, samples)[0])
            parts.append(peer.distribution.encode(action, peer.present[row].expand(samples)))
        totals.append(critic(torch.cat(parts, 1)).detach())
    plain = torch.stack(totals)
    error = (2 * plain.var(1) / samples).sqrt()
    assert ((result - plain.mean(1)).abs() <= 4.5 * error + 1e-4).all()


def test_masked_actions_have_probability_zero():
    distribution = discrete(4)
    outputs = distribution.masked(torch.zeros(200, 4), torch.tensor([[1.0, 0.0, 1.0, 0.0]]).expand(200, 4))
    peers = [Peer(distribution, outputs, torch.ones(200, dtype=torch.bool))]
    critic = MLP((5, 4, 1), "relu")
    critic.frozen["w0"][:, 1] = critic.frozen["w0"][:, 3] = torch.nan  # any weight on a forbidden action would show
    for estimator in ("monte_carlo", "stratified"):
        critic.frozen["w0"][:, 1] = critic.frozen["w0"][:, 3] = 1e9
        critic.frozen["w1"][:] = 1.0
        result = embed(critic, torch.zeros(200, 0), peers, 64, estimator, np.random.default_rng(0))
        assert result.abs().max() == 0
    sampled = distribution.sample(outputs.mT, distribution.noise(np.random.default_rng(0), 1, 200)[0])
    assert set(sampled.flatten().tolist()) == {0, 2}


def test_estimators_are_chosen_by_counts():
    assert joint_actions([discrete(8), discrete(8)]) == 64
    assert choose_estimator("auto", 100, 16, [discrete(8), discrete(8)]) == "exact"
    assert choose_estimator("auto", 63, 16, [discrete(8), discrete(8)]) == "stratified"
    assert choose_estimator("auto", 63, 64, [discrete(8), discrete(8)]) == "exact", "64 samples are no less work"
    assert choose_estimator("monte_carlo", 100, 16, [discrete(2)]) == "monte_carlo"
    gaussian = distribution_of(ActionSpec("continuous", (), (-1.0,), (1.0,)))
    assert joint_actions([gaussian, discrete(2)]) is None
    assert choose_estimator("auto", 100, 16, [gaussian]) == "stratified"


@pytest.mark.parametrize("samples", [5, 10, 16, 25, 100])
@pytest.mark.parametrize("neighbours", [4, 15])
def test_stratified_has_less_variance_also_with_many_neighbours(samples, neighbours):
    peers = peers_with(*[discrete(8)] * neighbours, rows=30)
    critic, x = critic_for(peers), torch.randn(30, 5)
    variance = {}
    for estimator in ("monte_carlo", "stratified"):
        draws = [embed(critic, x, peers, samples, estimator, np.random.default_rng(k)) for k in range(150)]
        variance[estimator] = torch.stack(draws).var(0).mean()
    assert variance["stratified"] < 0.8 * variance["monte_carlo"]


def test_no_two_coordinates_are_locked_together():
    """Whether two of fifteen neighbours agree: at most K/(K−1) times, with the alignment of cells twice, the variance
    of independent samples, for every pair; locked coordinates would make it K times."""
    distribution, samples = discrete(4), 25
    peers = [Peer(distribution, torch.zeros(3000, 4), torch.ones(3000, dtype=torch.bool)) for _ in range(15)]
    for first, second in ((0, 1), (0, 10), (3, 4), (7, 14)):
        critic = MLP((15 * distribution.width, 4, 1), "relu")
        for action in range(4):
            for peer in (first, second):
                critic.frozen["w0"][action, 5 * peer + action] = 1
        critic.frozen["b0"][:] = -1
        critic.frozen["w1"][:] = 1
        variance = [
            float(embed(critic, torch.zeros(3000, 0), peers, samples, estimator, np.random.default_rng(0)).var())
            for estimator in ("stratified", "monte_carlo")
        ]
        assert variance[0] < 2.3 * variance[1]


@pytest.mark.parametrize(("samples", "dimensions"), [(1, 1), (2, 3), (16, 2), (100, 4), (97, 6)])
def test_lattice_points_are_strata_of_every_axis(samples, dimensions):
    points = lattice_points(samples, dimensions) / samples
    assert points.shape[0] == samples and 1 <= points.shape[1] <= dimensions
    for axis in points.T:
        assert np.allclose(np.sort(axis), np.arange(samples) / samples, atol=1e-6)
