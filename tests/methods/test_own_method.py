"""``--policy-loss``: a loss of one's own, differentiated by autograd."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from conftest import ROOT, job

import perla_net
from perla_net.ground.errors import Diverged, InputError
from perla_net.methods.losses import BASES, policy_loss
from perla_net.settings.config import PPO, Agents, Config

MINE = """
import torch

def ppo(log_probability, old, advantage, clip):
    ratio = torch.exp(log_probability - old)
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)

def constant(log_probability, old, advantage, clip):
    return advantage * 2

def total(log_probability, old, advantage, clip):
    return (log_probability * advantage).sum()

def two(log_probability, old):
    return log_probability

other = torch.nn.Parameter(torch.ones(2))

def elsewhere(log_probability, old, advantage, clip):
    return other * advantage

number = 3

def never(log_probability, old, advantage, clip):
    return log_probability * float("nan")

def later(log_probability, old, advantage, clip):
    return -log_probability * advantage * (1 if len(old) < 5 else float("nan"))

def centred(log_probability, old, advantage, clip):
    return -torch.exp(log_probability - old) * (advantage - advantage.mean()) / advantage.std()
"""


@pytest.fixture
def importable(tmp_path, monkeypatch):
    (tmp_path / "my_losses.py").write_text(MINE)
    (tmp_path / "broken.py").write_text("def loss(:")
    (tmp_path / "lacking.py").write_text("import torch\ntorch.no_such_thing")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "examples"))
    return tmp_path


def run(folder, **options):
    settings = dict(agents=Agents(number=4), rounds=2, copies=2, horizon=20, ppo=PPO(minibatch=20), evaluate_episodes=0)
    perla_net.train(Config(**settings | options, display="none", out=str(folder)))
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_ppo_written_by_a_user_is_ppo(importable):
    theirs, ours = (run(importable / name, policy_loss=name) for name in ("my_losses.ppo", "preset"))
    for row, other in zip(theirs, ours):
        for name in ("policy_loss", "entropy", "divergence", "policy_gradient"):
            assert row[name] == pytest.approx(other[name], rel=1e-4, abs=1e-7), name
    other = run(importable / "spo", policy_loss="own_loss.spo")
    assert other[0]["policy_gradient"] != pytest.approx(ours[0]["policy_gradient"], rel=1e-3)


def test_the_derivative_is_the_losss(importable):
    """SPO: ∂L/∂ log π = ρ (|A| (ρ − 1) / ε − A)."""
    now, old, advantage = (torch.randn(200, generator=torch.Generator().manual_seed(k)) / 3 for k in range(3))
    loss, slope, ratio = policy_loss("own_loss.spo", "ppo")(now, old, advantage, 0.2)
    assert torch.allclose(ratio, (now - old).exp())
    assert torch.allclose(slope, ratio * (advantage.abs() * (ratio - 1) / 0.2 - advantage), atol=1e-5)
    assert not loss.requires_grad and loss.shape == now.shape


def test_presets_have_their_own():
    assert policy_loss("preset", "a2c") is BASES["a2c"] and policy_loss("preset", "ppo") is BASES["ppo"]


@pytest.mark.parametrize(
    "name,sentence",
    [
        ("spo", "is neither preset nor MODULE.FUNCTION"),
        ("nowhere.loss", "cannot be imported"),
        ("my_losses.other", "is neither preset nor MODULE.FUNCTION"),
        (".my_losses.ppo", "is neither preset nor MODULE.FUNCTION"),
        ("broken.loss", "cannot be imported .SyntaxError"),
        ("lacking.loss", "cannot be imported .AttributeError"),
        ("my_losses.two", "failed on two numbers .TypeError"),
        ("my_losses.elsewhere", "must return a loss per step that depends on log_probability"),
        ("my_losses.never", "is not finite, or its derivative is not"),
        ("my_losses.number", "is neither preset nor MODULE.FUNCTION"),
        ("my_losses.constant", "must return a loss per step that depends on log_probability"),
        ("my_losses.total", "must return a loss per step that depends on log_probability"),
    ],
)
def test_what_is_no_loss_is_refused_before_anything_starts(importable, name, sentence):
    with pytest.raises(InputError, match=f"--policy-loss {name}: {sentence}"):
        run(importable / "run", policy_loss=name)
    assert not (importable / "run").exists()


def test_agents_side_by_side_are_each_alone_with_it(importable):
    """A loss that centres advantages sees one agent's minibatch at a time."""
    alone, beside = (run(importable / how, policy_loss="my_losses.centred", batch_agents=how) for how in ("no", "yes"))
    for row, other in zip(alone, beside):
        for name in ("policy_loss", "entropy", "divergence", "policy_gradient"):
            assert row[name] == pytest.approx(other[name], rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize("options", [{}, {"batch_agents": "yes"}, {"algorithm": "ps_ippo"}])
def test_networks_that_are_not_finite_end_the_run(importable, options):
    with pytest.raises(Diverged, match="the policy of signal_0_0 is no longer finite after round 1"):
        run(importable / "run", policy_loss="my_losses.later", **options)


def test_evaluating_does_not_need_it(importable, monkeypatch):
    run(importable / "run", policy_loss="my_losses.ppo")
    monkeypatch.setattr("sys.path", [place for place in sys.path if place != str(importable)])
    monkeypatch.delitem(sys.modules, "my_losses")
    job(0, "perla_net.evaluate", str(importable / "run"), "--episodes", "1")
    done = job(0, "perla_net.run", "--resume", str(importable / "run"), "--rounds", "3", check=False)
    assert done.returncode == 2 and "--policy-loss my_losses.ppo: cannot be imported" in done.stderr
