"""``--measure-variance``: the embedding's sampling variance inside a real run."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import perla_net
from perla_net.learning.embedding import Peer
from perla_net.methods import lesson
from perla_net.methods.variance import COLUMNS, SAMPLES, target_variances
from perla_net.settings.config import PPO, Agents, Config, Critic, Returns


def run(folder: Path, **options) -> list[dict]:
    """The metrics of a small run on a ring of eight signals."""
    settings = dict(
        topology="ring",
        critic=Critic(order="together"),
        agents=Agents(number=8),
        rounds=2,
        copies=8,
        horizon=60,
        ppo=PPO(minibatch=120),
        evaluate_episodes=0,
    )
    perla_net.train(Config(**settings | options, display="none", out=str(folder)))
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("form", ["state", "action", "control"])
def test_target_variance_falls_as_one_over_k(tmp_path, form):
    rows = run(tmp_path / "run", form=form, measure_variance=True)
    for row in rows:
        found = row["target_variance"]
        for samples in SAMPLES[1:]:  # of about 1000 states of each of eight agents: a few per cent of error
            assert samples * found[f"monte_carlo_{samples}"] == pytest.approx(found["monte_carlo_1"], rel=0.2)
            assert found[f"stratified_{samples}"] < found[f"monte_carlo_{samples}"]
        assert found["exact"] == 0 < found["monte_carlo_64"] and found["left"] > 0


def test_measuring_changes_nothing(tmp_path):
    measured = run(tmp_path / "one", measure_variance=True)
    for row in measured:
        assert row.pop("target_variance")["exact"] == 0
    assert measured == run(tmp_path / "two")


def test_only_what_applies_is_measured(tmp_path):
    """Agents that hear nobody have no such variance, and continuous actions cannot be enumerated."""
    found = run(tmp_path / "one", topology="empty", measure_variance=True)[0]["target_variance"]
    assert set(found.values()) == {None}
    found = run(tmp_path / "two", env="voltage:ieee33", agents=Agents(), topology="interaction", measure_variance=True)[
        0
    ]["target_variance"]
    assert found["exact"] is None and found["left"] is None
    assert found["monte_carlo_1"] == pytest.approx(16 * found["monte_carlo_16"], rel=0.2)


@pytest.mark.parametrize(
    ("env", "form"),
    [("traffic:grid", "control"), ("traffic:grid", "state"), ("pettingzoo:toys:kind=leaver", "control")],
)
def test_variances_are_those_of_enumeration(tmp_path, monkeypatch, env, form):
    """γ² Σ_J P(J) (m(J) − m̄)² at the states that follow, m(J) from neighbours that are certain of J; Var(r + γ m̄' − m̄)."""
    seen = []

    def keep(learner, x, outputs, peers, reward, whole, rng):
        found = target_variances(learner, x, outputs, peers, reward, whole, rng)
        assert reward.numel() + reward.shape[1] <= 1024, "all states are looked at"
        seen.append((found, *enumerated(learner, x, outputs, peers, reward, whole), int(whole.sum())))
        return found

    monkeypatch.setattr(lesson, "target_variances", keep)
    agents = Agents(number=None if env.startswith("pettingzoo") else 4)
    run(
        tmp_path / "run",
        env=env,
        form=form,
        agents=agents,
        topology="ring",
        rounds=1,
        measure_variance=True,
        returns=Returns(gamma=0.7),
    )
    for found, variance, left, number in seen:
        found = dict(zip(COLUMNS, found))
        if number > 300:
            assert found["monte_carlo_1"] == pytest.approx(variance, rel=0.25)
        assert found["left"] == pytest.approx(left, rel=1e-4)
    if env.endswith("leaver"):  # the second agent is there for two steps of sixty, the second of which is its last
        assert [entry[-1] for entry in seen] == [8 * 59, 8]


def enumerated(learner, x, outputs, peers, reward, whole) -> tuple[float, float]:
    steps, copies = reward.shape
    rows, gamma = (steps + 1) * copies, learner.settings.returns.gamma
    x, outputs = x[:rows], outputs[:rows]
    sizes = [peer.outputs.shape[1] for peer in peers]
    rng, values, shares = np.random.default_rng(0), [], []
    for joint in itertools.product(*map(range, sizes)):
        share = torch.ones(rows, dtype=torch.float64)
        certain = []
        for peer, action, size in zip(peers, joint, sizes):
            there = peer.present[:rows]
            policy = torch.softmax(peer.outputs[:rows].double(), 1)[:, action]
            share *= torch.where(there, policy, float(action == 0))
            logits = torch.full((rows, size), -1e9).index_fill(1, torch.tensor([action]), 0.0)
            certain.append(Peer(peer.distribution, logits, there))
        values.append(learner.expected(x, outputs, certain, (1, "monte_carlo", rng), None).double())
        shares.append(share)
    value, share = torch.stack(values), torch.stack(shares)
    mean = (share * value).sum(0)
    spread = (share * (value - mean) ** 2).sum(0).view(steps + 1, copies)[1:]
    mean = mean.view(steps + 1, copies)
    delta = (reward + gamma * mean[1:] - mean[:-1])[whole]
    return gamma**2 * float(spread[whole].mean()), float(delta.var(correction=0))
