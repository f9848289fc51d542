"""How soon a run is good: from the folder of one, and by hand."""

import json
import shutil

import numpy as np
import pytest
from conftest import job, needs_mpirun, rows, run

from perla_net.ground.errors import InputError
from perla_net.records.run_folder import Curve
from perla_net.studies.rounds import rounds_to, rounds_to_share

OPTIONS = ("--agents", "3", "--algorithm", "ippo", "--horizon", "6", "--rounds", "6", "--ppo.minibatch", "12")
OPTIONS += (
    "--evaluate-episodes",
    "5",
    "--checkpoint-every",
    "2",
    "--keep-checkpoints",
    "3",
    "--optimiser.learning-rate",
    "0.05",
)


def test_the_first_round_at_or_above():
    curve = Curve.of([(k + 1, 0, 0, value) for k, value in enumerate([0.1, np.nan, 0.5, 0.3, 0.9])])
    assert [rounds_to(curve, threshold) for threshold in (-1, 0.2, 0.5, 0.6, 0.91)] == [1, 3, 3, 5, None]
    assert rounds_to(Curve.of([]), 0.0) is None


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("rounds")
    for name, noise in (("additive", "noise=2,contexts=2,horizon=2"), ("targets", "horizon=2")):
        run(place / name, 0, "--env", f"games:{name}:{noise}", *OPTIONS)
    return place


def test_a_share_of_the_optimum_of_a_run(folders):
    folder = folders / "additive"
    payoffs = [row["figures"]["payoff"] for row in rows(folder)]
    best = json.loads((folder / "evaluation.json").read_text())["optimal"]
    assert (
        best["payoff"]["low"] == best["payoff"]["high"] and best["of_best"]["mean"] == 1
    )  # exact in spite of the noise
    for share in (0.1, 0.6, 0.7, 0.8, 0.9, 1.01):
        reached = [number + 1 for number, payoff in enumerate(payoffs) if payoff >= share * best["payoff"]["mean"]]
        assert rounds_to_share(folder, share) == (reached[0] if reached else None)
    assert rounds_to_share(folder, 0.1) == 1 and rounds_to_share(folder, 1.01) is None
    assert rounds_to_share(folder, -1e3, "return") == 1


def test_where_the_optimum_is_0_a_floor_is_needed(folders):
    folder = folders / "targets"
    with pytest.raises(InputError, match="payoff of 'optimal' is .*0, so that a share of it says nothing; name a"):
        rounds_to_share(folder)
    with pytest.raises(InputError, match="not above .*, that of 'optimal'"):
        rounds_to_share(folder, controller="uniform", floor="optimal")
    assert rounds_to_share(folder, 1.0, floor="uniform") is None and rounds_to_share(folder, -9.0, floor="uniform") == 1


def test_what_was_not_evaluated_is_said(folders):
    with pytest.raises(InputError, match="has no evaluation of 'best'; it has team, greedy, team, sampled, optimal"):
        rounds_to_share(folders / "additive", controller="best")
    with pytest.raises(InputError, match="has no such figure; it has return, of_best, optimal, payoff"):
        rounds_to_share(folders / "additive", metric="delay")


@needs_mpirun
@pytest.mark.mpi
def test_such_a_run_has_the_same_bytes_on_three_ranks_and_when_resumed(folders, tmp_path):
    """With noise, contexts and episodes of two steps, which are drawn again."""
    env = "games:additive:noise=2,contexts=2,horizon=2"
    run(tmp_path / "three", 3, "--env", env, *OPTIONS)
    folder = tmp_path / "three"
    for number in ("6", "4"):
        shutil.rmtree(folder / "checkpoints" / number)
    (folder / "evaluation.json").unlink()
    job(2, "perla_net.run", "--resume", str(folder))
    for name in ("metrics.jsonl", "evaluation.json"):
        assert (folder / name).read_bytes() == (folders / "additive" / name).read_bytes(), name
