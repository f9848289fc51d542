"""Networked actor-critics: consensus, consensus_reward, kappa_hop, adopt, against what they must come to."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import job, needs_mpirun, rows, run

from perla_net.methods.adopt import choose
from perla_net.methods.kappa_hop import KappaHop
from perla_net.methods.protocol import Say

SPREAD = ("--env", "spread", "--agents", "4")
SMALL = ("--horizon", "6", "--rounds", "3")


def test_at_kappa_zero_it_is_ippo(tmp_path):
    words = (*SPREAD, *SMALL, "--topology", "line")
    assert run(tmp_path / "a", 0, *words, "--algorithm", "kappa_hop", "--kappa-hop.kappa", "0") == run(
        tmp_path / "b", 0, *words, "--algorithm", "ippo"
    )


def test_consensus_is_ippo_whose_critics_are_averaged(tmp_path):
    words = (*SPREAD, *SMALL, "--topology", "ring")
    assert run(tmp_path / "a", 0, *words, "--algorithm", "consensus") == run(
        tmp_path / "b", 0, *words, "--algorithm", "ippo", "--consensus.what", "critics"
    )


@pytest.mark.parametrize("algorithm", ["adopt", "consensus_reward"])
def test_alone_or_without_edges(tmp_path, algorithm):
    """adopt without neighbours is ippo, bit for bit; a reward that nobody averages is one's own."""
    words = (*SPREAD, *SMALL, "--topology", "empty")
    own = [json.loads(row) for row in run(tmp_path / "a", 0, *words, "--algorithm", algorithm).splitlines()]
    if algorithm == "adopt":
        base = [json.loads(row) for row in run(tmp_path / "b", 0, *words, "--algorithm", "ippo").splitlines()]
        for row in own:
            assert row.pop("adopted") is None and row.pop("estimated_return") < 0
        assert own == base
    assert all(np.isfinite(row["policy_gradient"]) for row in own)


class Line:
    """What :meth:`KappaHop.of_neighbourhood` needs of an agent."""

    def __init__(self, index: int, kappa: int) -> None:
        self.index, self.kappa = index, kappa

    def tensor(self, array: np.ndarray) -> torch.Tensor:
        """A tensor."""
        return torch.from_numpy(array.copy())


@pytest.mark.parametrize("kappa", [1, 2, 4])
@pytest.mark.parametrize("lost", [None, (2, 3)])
def test_means_of_those_within_kappa_edges(kappa, lost):
    """Along a line of five, and when one edge carries nothing."""
    advantage = torch.arange(5 * 3, dtype=torch.float32).view(5, 3) ** 2
    alive = torch.ones(5, 3, dtype=torch.bool)
    alive[4, 1] = False
    edges = {(i, j) for i in range(5) for j in range(5) if abs(i - j) == 1} - ({lost, lost[::-1]} if lost else set())
    steps = [KappaHop.of_neighbourhood(Line(i, kappa), advantage[i], alive[i]) for i in range(5)]  # type: ignore[arg-type]
    said: list[Say] = [next(step) for step in steps]
    found: dict[int, torch.Tensor] = {}
    for _ in range(kappa):
        heard = [{j: said[j].numbers for j, i in sorted(edges) if i == me} for me in range(5)]
        for i, step in enumerate(steps):
            try:
                said[i] = step.send(heard[i])
            except StopIteration as stop:
                found[i] = stop.value
    there = torch.where(alive, advantage, 0.0)
    for i in range(5):
        near = [j for j in range(5) if abs(i - j) <= kappa and (not lost or (j <= 2) == (i <= 2))]
        assert torch.allclose(found[i], there[near].mean(0)), i


def test_whom_to_adopt():
    rng = np.random.default_rng(0)
    assert choose(1, {0: 1.0, 1: 1.0, 2: 0.5}, 0.0, rng) == 1, "the own, of equal ones"
    assert choose(2, {0: 1.0, 1: 1.0, 2: 0.5}, 0.0, rng) == 0, "then the lowest number"
    estimates = {0: 0.0, 1: 1.0, 2: 2.0}
    drawn = [choose(0, estimates, 0.7, rng) for _ in range(20000)]
    expected = np.exp(np.array([0, 1, 2]) / 0.7)
    assert np.allclose(np.bincount(drawn) / 20000, expected / expected.sum(), atol=0.012)
    assert choose(0, {0: -1e9, 1: 1e9}, 1e-9, rng) == 1, "no overflow"


def test_the_best_policy_reaches_all_in_as_many_exchanges_as_the_diameter(tmp_path):
    """Along a line of four, three exchanges leave one policy; one does not."""
    policies = {}
    for exchanges in (1, 3):
        folder = tmp_path / str(exchanges)
        words = ("--topology", "line", "--algorithm", "adopt", "--adopt.exchanges", str(exchanges), "--rounds", "1")
        run(folder, 0, "--env", "traffic:grid:horizon=6", "--agents", "4", *SMALL, *words)
        from safetensors.numpy import load_file

        files = sorted((folder / "checkpoints" / "1").glob("signal_*.safetensors"))
        found = [load_file(file)["policy"] for file in files]
        assert len(found) == 4
        policies[exchanges] = len({policy.tobytes() for policy in found})
    assert policies[3] == 1 and policies[1] > 1
    assert 0 < rows(tmp_path / "3")[0]["adopted"] < 1


def test_nets_of_private_rewards_come_to_the_mean(tmp_path):
    """Averaged over a complete graph every round, all say the same of the team's reward."""
    from safetensors.numpy import load_file

    folder = tmp_path / "run"
    run(folder, 0, *SPREAD, *SMALL, "--topology", "complete", "--algorithm", "consensus_reward")
    nets = [load_file(folder / "checkpoints" / "3" / f"agent_{i}.safetensors")["reward_net"] for i in range(4)]
    assert all(np.allclose(net, nets[0], atol=1e-6) for net in nets)
    assert rows(folder)[-1]["reward_error"] > 0


@needs_mpirun
@pytest.mark.mpi
@pytest.mark.parametrize(
    "words",
    [
        (
            "adopt",
            "--adopt.exchanges",
            "2",
            "--adopt.temperature",
            "0.5",
            "--adopt.optimiser",
            "adopted",
            "--links.loss",
            "0.3",
        ),
        ("kappa_hop", "--kappa-hop.kappa", "2", "--links.loss", "0.2"),
        ("consensus_reward",),
    ],
    ids=lambda words: words[0],
)
def test_numbers_do_not_depend_on_ranks_or_on_stops(tmp_path, words):
    options = (*SPREAD, *SMALL, "--rounds", "4", "--checkpoint-every", "2", "--topology", "line", "--algorithm", *words)
    alone = run(tmp_path / "0", 0, *options, "--keep-checkpoints", "2")
    assert run(tmp_path / "3", 3, *options) == alone
    assert (tmp_path / "3" / "ledger.csv").read_bytes() == (tmp_path / "0" / "ledger.csv").read_bytes()
    import shutil

    shutil.rmtree(tmp_path / "0" / "checkpoints" / "4")
    job(2, "perla_net.run", "--resume", str(tmp_path / "0"))
    assert (tmp_path / "0" / "metrics.jsonl").read_bytes() == alone


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--algorithm", "consensus", "--topology", "star:directed=1"), ""),
        (("--algorithm", "kappa_hop", "--kappa-hop.kappa", "-1"), "--kappa-hop.kappa '-1'"),
        (("--algorithm", "adopt", "--adopt.temperature", "-1"), "--adopt.temperature '-1'"),
        (
            ("--algorithm", "adopt", "--env", "pettingzoo:toys:kind=zoo", "--topology", "complete"),
            "could not act by the policy of",
        ),
    ],
)
def test_refusals(tmp_path, words, sentence):
    agents = () if "pettingzoo:toys:kind=zoo" in words else SPREAD
    done = job(0, "perla_net.run", *agents, *SMALL, *words, "--out", str(tmp_path / "run"), check=False)
    assert done.returncode == 2 and sentence in done.stderr and done.stderr.count("\n") == 1


def test_a_neighbour_that_adopts_nothing_is_refused(tmp_path):
    file = tmp_path / "team.yaml"
    file.write_text(json.dumps({"agents": {"number": 4, "overrides": {"1": {"algorithm": "ippo"}}}}))
    words = ("--env", "spread", *SMALL, "--topology", "ring", "--algorithm", "adopt", "--config", str(file))
    done = job(0, "perla_net.run", *words, "--out", str(tmp_path / "run"), check=False)
    assert done.returncode == 2 and "which has --algorithm ippo and tells no estimate" in done.stderr
