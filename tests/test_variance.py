"""``--measure-variance``: the embedding's sampling variance inside a real run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import perla_net
from perla_net.algorithms.variance import SAMPLES
from perla_net.config import PPO, Agents, Config


def run(folder: Path, **options) -> list[dict]:
    """The metrics of a small run on a ring of eight signals."""
    settings = dict(
        agents=Agents(number=8), rounds=2, copies=8, horizon=60, ppo=PPO(minibatch=120), evaluate_episodes=0
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
