"""What docs/environments.md shows: an environment of one's own, as a ParallelEnv and as a batch, learns and agrees with itself."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from conftest import ROOT, SMALL, job, run
from pettingzoo.test import parallel_api_test, parallel_seed_test

from perla_net.ground.errors import InputError
from perla_net.ground.processes import Processes
from perla_net.settings.options import validated
from perla_net.simulation.prepare import prepare
from perla_net.simulation.simulation import Simulation
from perla_net.world.environments import make

EXAMPLES = ROOT / "docs" / "examples"


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield
    for name in ("walkers", "walkers_batch"):
        sys.modules.pop(name, None)


def test_each_example_is_about_forty_lines():
    for file in set(EXAMPLES.glob("*.py")) - {EXAMPLES / "picture.py"}:
        most = {"own_method.py": 80, "own_message.py": 64}.get(file.name, 48)
        assert len(file.read_text().splitlines()) <= most, file.name


def test_both_examples_are_the_same_environment():
    one, many = make("pettingzoo:walkers:agents=5", 1, None), make("batch:walkers_batch.Walkers", 1, 5)
    assert one.spec.interaction == many.spec.interaction and one.spec.horizon == many.spec.horizon
    rows = [[np.zeros((1, 2), np.float32) for _ in range(5)] for _ in range(2)]
    for env in (one, many):
        env.reset(np.arange(1), [np.random.SeedSequence(3)])
    many.place[:] = one.envs[0].place
    rng = np.random.default_rng(0)
    for _ in range(20):
        actions = [rng.integers(0, 3, (1, 1)).astype(np.int32) for _ in range(5)]
        for env, seen in zip((one, many), rows):
            env.step(actions)
            env.observe(slice(None), seen, [None] * 5)
        assert np.allclose(rows[0], rows[1], atol=1e-6) and np.allclose(one.reward, many.reward, atol=1e-6)
        assert np.array_equal(one.truncated, many.truncated)
    assert many.truncated.all()


def test_pettingzoo_accepts_the_first():
    from walkers import parallel_env

    parallel_api_test(parallel_env(), num_cycles=50)
    parallel_seed_test(parallel_env)


@pytest.mark.parametrize("env", ["pettingzoo:walkers", "batch:walkers_batch.Walkers"])
def test_a_team_learns_in_it(env):
    """Whoever follows stays within half a step or so of the one ahead: at best about −0.3 a step; standing still −3.3."""
    options = {"env": env, "topology": "interaction", "copies": 16, "horizon": 20, "rounds": 30}
    options |= {"ppo": {"minibatch": 80}, "optimiser": {"learning_rate": 0.01}}
    simulation = Simulation(prepare(validated(options)), Processes())
    simulation.start()
    rows = [simulation.round()["metrics"] for _ in range(30)]
    assert rows[-1]["team_return"] > 0.5 * rows[0]["team_return"] and len(simulation.plan.schedule.edges(1)) == 3


def test_what_is_no_environment_is_one_sentence():
    for env, sentence in (
        ("batch:walkers_batch.Runners", "is not MODULE.CLASS"),
        ("batch:nowhere.Walkers", "cannot be imported"),
        ("batch:walkers_batch.Walkers:speed=3", "unknown argument 'speed'; it takes horizon"),
    ):
        with pytest.raises(InputError, match=sentence):
            make(env, 1, None)


@pytest.mark.parametrize(
    ("what", "status", "sentence"),
    [
        ("reset", 2, "reset returned a dict, not observations and infos"),
        ("four", 2, "step returned 4 values, not observations, rewards"),
        ("no_reward", 2, "step returned no reward for agent_1, who was there"),
        ("no_observation", 2, "there is no observation of agent_1, who is in agents"),
        ("shape", 2, "the observation of agent_0 has shape (1,), but its space says (5,)"),
        ("text", 2, "the reward of agent_0 is 'much', not a number"),
        ("nan_reward", 2, "the reward of agent_1 is not finite at step 3 of an episode"),
        ("inf_observation", 2, "the observation of agent_0 is not finite at step 3 of an episode"),
    ],
)
def test_who_breaks_the_contract_is_told_so(tmp_path, what, status, sentence):
    done = job(
        0, "perla_net.run", *SMALL, "--env", f"pettingzoo:toys:kind=breach,what={what}", "--out", str(tmp_path / "run"),
        check=False,
    )  # fmt: skip
    assert done.returncode == status and sentence in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_what_cannot_be_drawn_is_said(tmp_path):
    run(tmp_path / "run", 0, "--env", "pettingzoo:walkers")
    done = job(0, "perla_net.evaluate", str(tmp_path / "run"), "--record", str(tmp_path / "film.png"), check=False)
    assert done.returncode == 2 and "cannot be drawn" in done.stderr


def test_figures_that_only_an_episode_has(tmp_path):
    assert make("pettingzoo:toys:kind=breach,what=nothing", 1, None).metrics(np.arange(0)) is not None
