"""One team of each family on four ranks, on one, killed and continued: the same bytes; by ``benchmarks/matrix.py``, one after another in one job."""

from __future__ import annotations

import os

import pytest
from conftest import ROOT, needs_mpirun, rows

from perla_net.world.environments import SUITES

LOSSY = {"links": {"loss": 0.3}}
TRAFFIC = {"env": "traffic:grid:horizon=15", "agents": 4, "topology": "ring"}
PAIRS = {"env": "games:tandem:graph=ring", "agents": 4}
ZOO = {"env": "pettingzoo:toys:kind=zoo", "topology": "complete"}
GRU = {"model": {"memory": "gru"}}


def of_team(settings, members, number=4, **more):
    """Agents, some of which have other settings."""
    return {"agents": {"number": number, "overrides": {members: settings}, **more}}


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """All of them, by name: by losses, delays and budgets, with memories, groups, agents that die, and beside others that learn otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT, ROOT / "tests"))))
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        from matrix import MEMORY, own
        from matrix_runs import Case, compare

        qmix = of_team({"algorithm": "qmix", "qmix": MEMORY | {"target_every": 3}}, "box")
        qmix["agents"]["overrides"]["masked"] = qmix["agents"]["overrides"]["box"]
        optimal = {"baseline": "optimal", "target_every": 2}
        teams = {
            "value-based": own("perla_vdn") | TRAFFIC | GRU | {"links": {"loss": 0.3, "delay": 1}},
            "factorisation": {"algorithm": "ippo"} | ZOO | qmix,
            "deterministic": own("maddpg") | TRAFFIC | LOSSY,
            "counterfactual": {
                "algorithm": "coma",
                "coma": optimal,
                "samples": 4,
                "exact_limit": 4,
                "critic": {"passes": 2},
            }
            | TRAFFIC
            | of_team({"algorithm": "perla_coma", "perla_coma": {"target_rate": 0.5}}, "2-3"),
            "sequential": {"algorithm": "happo", "ppo": {"epochs": 2}}
            | TRAFFIC
            | {"agents": {"number": 4, "groups": {"pair": "0-1"}}},
            "mean field": own("mean_field_q") | TRAFFIC | GRU | {"links": {"loss": 0.3, "budget": 900}},
            "learning-aware": {"algorithm": "cola", "cola": {"begin": 20, "updates": 2, "batch": 16}} | PAIRS | LOSSY,
            "from samples": {"algorithm": "lola", "lola": {"gradient": "dice"}} | TRAFFIC | GRU | LOSSY,
            "opponent modelling": {"algorithm": "liam", "liam": {"minibatch": 40}} | ZOO | LOSSY,
            "shared code": {"algorithm": "liam"}
            | TRAFFIC
            | LOSSY
            | {"agents": {"number": 4, "groups": {"pair": [0, 2]}}},
        }
        found = compare(
            [Case(name, team | {"evaluate_episodes": 1}) for name, team in teams.items()],
            tmp_path_factory.mktemp("matrix"),
        )
    return {one.case.name: one for one in found}


@needs_mpirun
@pytest.mark.mpi
@pytest.mark.slow
def test_ranks_and_kills_do_not_show(verdicts):
    """metrics, evaluation, ledger, and all that the agents keep."""
    assert {name: (one.wrong, one.ended) for name, one in verdicts.items() if one.wrong} == {}


@needs_mpirun
@pytest.mark.mpi
@pytest.mark.slow
def test_who_told_whom(verdicts):
    """Each kind of a mixed team is paid as a team of its own; ratios go from one to the next only; the dead are told of."""
    ledger = {name: (one.folder / "alone" / "ledger.csv").read_text().splitlines() for name, one in verdicts.items()}
    names = ["signal_0_0", "signal_0_1", "signal_1_0", "signal_1_1"]
    lines = [line.split(",") for line in ledger["counterfactual"]]
    told = {(one, other) for _, one, other, purpose, *_ in lines if purpose == "rewards"}
    assert told == {(names[a], names[b]) for a, b in ((0, 1), (1, 0), (2, 3), (3, 2))}
    ratios = [line.split(",") for line in ledger["sequential"] if line.startswith("1,") and ",ratios," in line]
    # Two hand-overs of three blocks, one of which has two agents: 6 or 8 pairs, four bytes a step.
    assert 6 <= sum(int(line[4]) for line in ratios) <= 8
    assert all(int(line[5]) == 4 * 48 * int(line[4]) for line in ratios)
    assert any(",box,masked,experience," in line for line in ledger["factorisation"])
    last = {name: rows(one.folder / "alone")[-1] for name, one in verdicts.items()}
    assert last["sequential"]["factor_spread"] > 0 and last["factorisation"]["mixer_gradient"] > 0
    assert last["learning-aware"]["policy_gradient"] is not None


def test_the_program_has_a_task_of_every_suite(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from matrix import FAMILIES

    assert set(SUITES) - {"batch"} == set(FAMILIES)
