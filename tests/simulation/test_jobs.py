"""Whole jobs, most under mpirun: identities over ranks, ledger, resume, evaluation, exit statuses."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, SMALL, command, environment, job, needs_mpirun, rows, run

import perla_net
from perla_net.settings.config import Config

os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]))
MPE = ("--env", "pettingzoo:mpe2.simple_spread_v3:max_cycles=12", "--topology", "complete")
TRAFFIC = ("--agents", "4", "--topology", "ring")
WORLDS = {"traffic": TRAFFIC, "mpe2": MPE, "spread": ("--env", "spread", *TRAFFIC)}


@needs_mpirun
@pytest.mark.mpi
@pytest.mark.parametrize(
    ("algorithm", "world"),
    [
        *((algorithm, world) for algorithm in ("perla_ippo", "mappo", "ps_ippo") for world in ("traffic", "mpe2")),
        ("perla_ippo", "spread"),
    ],
)
def test_numbers_do_not_depend_on_ranks(tmp_path, algorithm, world):
    options = (*WORLDS[world], "--algorithm", algorithm, "--evaluate-episodes", "2")
    alone = run(tmp_path / "alone", 0, *options)
    number = 3 if world == "mpe2" else 4
    for ranks in (2, number):
        assert run(tmp_path / str(ranks), ranks, *options) == alone
        for name in ("ledger.csv", "evaluation.json", "config.yaml", "topology.graphml"):
            assert (tmp_path / str(ranks) / name).read_bytes() == (tmp_path / "alone" / name).read_bytes(), name
    assert alone.count(b"\n") == 3


NETWORKS = {
    "moving": (
        *("--env", "spread", "--agents", "5", "--topology", "distance:radius=0.8", "--links.hops", "2"),
        *("--links.loss", "0.2", "--links.delay", "1", "--links.delay-model", "geometric"),
    ),
    "drawn": (
        *("--agents", "6", "--topology", "erdos_renyi:p=0.4,every=1,away=2@2", "--compression.method", "top_k"),
        *("--links.loss", "0.3", "--links.burst", "2", "--links.delay", "1", "--reward.mixing", "neighbourhood"),
    ),
    "narrow": (
        *("--agents", "4", "--topology", "ring", "--links.budget", "50000", "--compression.method", "int8"),
        *("--links.bit-errors", "1e-6", "--links.delay", "0.7", "--links.delay-model", "geometric"),
        *("--links.overtake", "false", "--cost.preset", "radio"),
    ),
    "consensus": (
        *("--agents", "4", "--topology", "matching", "--consensus.what", "policies", "--links.loss", "0.3"),
        *("--compression.method", "int8", "--share", "modelled"),
    ),
    "modelled": (
        *(
            "--env",
            "pettingzoo:toys",
            "--topology",
            "complete",
            "--share",
            "modelled",
            "--horizon",
            "3",
            "--copies",
            "2",
        ),
        *("--estimator", "monte_carlo", "--samples", "5"),
    ),
    "push_sum": (
        *(
            "--agents",
            "4",
            "--topology",
            "one_peer_exponential",
            "--consensus.what",
            "parameters",
            "--links.loss",
            "0.3",
        ),
        *(
            "--consensus.weights",
            "push_sum",
            "--links.delay",
            "1",
            "--links.delays",
            "everything",
            "--algorithm",
            "ippo",
        ),
    ),
}


@needs_mpirun
@pytest.mark.mpi
@pytest.mark.parametrize("network", NETWORKS)
def test_bad_networks_are_as_repeatable_as_good_ones(tmp_path, network):
    """The same bytes for any number of ranks, and when the run is resumed with packets on their way."""
    options = ("--rounds", "6", "--checkpoint-every", "2", "--keep-checkpoints", "3", *NETWORKS[network])
    alone = run(tmp_path / "alone", 0, *options)
    assert run(tmp_path / "three", 3, *options) == alone
    for name in ("ledger.csv", "neighbours.csv", "graphs.jsonl", "schedule.json", "topology.graphml"):
        assert (tmp_path / "three" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes(), name
    folder = tmp_path / "three"
    for last in ("6", "4"):
        shutil.rmtree(folder / "checkpoints" / last)
    job(2, "perla_net.run", "--resume", str(folder))
    assert (folder / "metrics.jsonl").read_bytes() == alone
    for name in ("ledger.csv", "neighbours.csv", "graphs.jsonl"):
        assert (folder / name).read_bytes() == (tmp_path / "alone" / name).read_bytes(), name


def test_a_file_that_yields_goes_on_yielding_when_a_run_gets_more_rounds(tmp_path):
    options = ("--agents", "4", "--topology", "wandering_hub.py")
    run(tmp_path / "long", 0, *options, "--rounds", "6", "--optimiser.schedule", "constant")
    run(tmp_path / "short", 0, *options, "--rounds", "3", "--optimiser.schedule", "constant")
    job(0, "perla_net.run", "--resume", str(tmp_path / "short"), "--rounds", "6")
    for name in ("graphs.jsonl", "metrics.jsonl"):
        assert (tmp_path / "short" / name).read_bytes() == (tmp_path / "long" / name).read_bytes()


@pytest.mark.parametrize("topology", ["ring", "one_peer_exponential", "erdos_renyi:p=0.4,every=2", "ring+star"])
def test_the_folder_tells_every_graph_that_was_used(tmp_path, topology):
    run(tmp_path / "run", 0, "--agents", "6", "--topology", topology, "--rounds", "5")
    changes = [json.loads(line) for line in (tmp_path / "run" / "graphs.jsonl").read_text().splitlines()]
    used = {change["round"]: {tuple(edge) for edge in change["edges"]} for change in changes}
    names = [f"signal_{index // 3}_{index % 3}" for index in range(6)]
    for number in range(1, 6):
        used.setdefault(number, used.get(number - 1))
        sent = {(row["source"], row["target"]) for row in ledger(tmp_path / "run") if int(row["round"]) == number}
        assert sent == {(names[j], names[i]) for j, i in used[number]}
    assert len(changes) == {"ring": 1, "one_peer_exponential": 5, "ring+star": 5}.get(topology, 3)


@needs_mpirun
@pytest.mark.mpi
def test_numbers_do_not_depend_on_hosts_memory_and_deaths(tmp_path):
    options = ("--env", "pettingzoo:toys", "--topology", "complete", "--model.memory", "gru", "--samples", "9")
    alone = run(tmp_path / "alone", 0, *options)
    assert run(tmp_path / "one_host", 4, *options, "--hosts", "1") == alone
    assert run(tmp_path / "three_hosts", 3, *options, "--hosts", "3") == alone


@pytest.mark.parametrize("base", ["ippo", "ia2c", "mappo"])
def test_empty_topology_is_the_base_algorithm(tmp_path, base):
    def without_edges(metrics: bytes) -> list[dict]:
        return [{k: v for k, v in json.loads(line).items() if k != "edges"} for line in metrics.splitlines()]

    plain = without_edges(run(tmp_path / "base", 0, "--agents", "4", "--topology", "ring", "--algorithm", base))
    for name, options in {
        "empty": ("--topology", "empty", "--algorithm", f"perla_{base}"),
        "off": ("--topology", "ring", "--algorithm", f"perla_{base}", "--samples", "0"),
    }.items():
        assert without_edges(run(tmp_path / name, 0, "--agents", "4", *options)) == plain, name


def test_seeds_matter_and_repeat(tmp_path):
    first, again, other = (run(tmp_path / str(k), 0, *TRAFFIC, "--seed", seed) for k, seed in enumerate("112"))
    assert first == again != other


def test_a_run_starts_again_from_its_own_configuration(tmp_path):
    first = run(tmp_path / "first", 0, *TRAFFIC, "--seed", "4")
    job(0, "perla_net.run", "--config", str(tmp_path / "first" / "config.yaml"), "--out", str(tmp_path / "second"))
    assert (tmp_path / "second" / "metrics.jsonl").read_bytes() == first


def ledger(folder: Path) -> list[dict]:
    with (folder / "ledger.csv").open(newline="") as file:
        return list(csv.DictReader(file))


COUNTING = """
import sys
import numpy as np
from perla_net import run
from perla_net.ground import processes
sent = 0
true_exchange = processes.RankNeighbourhood.exchange
def counting(self, pieces, name):
    global sent
    sent += sum(piece.nbytes for those in pieces for piece in those)
    return true_exchange(self, pieces, name)
processes.RankNeighbourhood.exchange = counting
status = run.main(sys.argv[1:])
from mpi4py import MPI
total = MPI.COMM_WORLD.allreduce(sent)
if MPI.COMM_WORLD.rank == 0:
    print("counted", total)
sys.exit(status)
"""


@needs_mpirun
@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.parametrize(("topology", "edges"), [("ring", 32), ("star", 30)])
def test_ledger_has_the_edges_and_the_bytes(tmp_path, topology, edges):
    script = tmp_path / "counting.py"
    script.write_text(COUNTING)
    done = job(
        16, str(script), *SMALL, "--topology", topology, "--rounds", "2", "--out", str(tmp_path / "run"), timeout=200
    )
    table = ledger(tmp_path / "run")
    found = {(row["source"], row["target"]) for row in table}
    expected = set()
    for index in range(16):
        for other in [(index + 1) % 16] if topology == "ring" else [0] if index else []:
            expected |= {(index, other), (other, index)}
    names = [f"signal_{index // 4}_{index % 4}" for index in range(16)]
    assert len(found) == edges and found == {(names[source], names[target]) for source, target in expected}
    total = sum(int(row["bytes"]) for row in table)
    assert f"counted {total}" in done.stdout
    assert {row["purpose"] for row in table} == {"envelope", "policy", "observations", "actions", "presence"}


@pytest.mark.parametrize("env", ["traffic", "mpe2", "zoo"])
def test_resumed_run_is_the_run_that_was_never_interrupted(tmp_path, env):
    options = {
        "traffic": TRAFFIC,
        "mpe2": MPE,
        "zoo": ("--env", "pettingzoo:toys", "--topology", "complete", "--model.memory", "gru"),
    }
    long = ("--rounds", "6", "--checkpoint-every", "2", *options[env])
    whole = run(tmp_path / "whole", 0, *long)
    run(tmp_path / "part", 0, *long)
    folder = tmp_path / "part"
    unsealed = folder / "checkpoints" / "6"
    for file in unsealed.iterdir():
        file.unlink()  # as if the job had been killed while it wrote this checkpoint, with more hosts than now
    for name in ("world-0-0.safetensors", "manifest.tmp"):
        (unsealed / name).write_bytes(b"half written")
    done = job(0, "perla_net.run", "--resume", str(folder), process=True)
    assert "continuing after round 4" in done.stdout and "anew" not in done.stdout
    assert (folder / "metrics.jsonl").read_bytes() == whole
    assert (folder / "ledger.csv").read_bytes() == (tmp_path / "whole" / "ledger.csv").read_bytes()
    assert {file.name for file in unsealed.iterdir()} == {
        file.name for file in (tmp_path / "whole" / "checkpoints" / "6").iterdir()
    }
    job(0, "perla_net.run", "--resume", str(folder), "--rounds", "7")
    assert rows(folder)[-1]["round"] == 7 and "rounds: 7" in (folder / "config.yaml").read_text()


@needs_mpirun
@pytest.mark.mpi
def test_a_rank_that_is_killed_takes_all_down_and_the_run_resumes_elsewhere(tmp_path):
    long = ("--rounds", "40", "--checkpoint-every", "3", "--keep-checkpoints", "50", *TRAFFIC)
    whole = run(tmp_path / "whole", 0, *long)
    folder = tmp_path / "killed"
    process = start(4, *SMALL, *long, "--out", str(folder))
    wait_for(lambda: (folder / "checkpoints" / "6" / "manifest.json").exists(), process)
    victims = ranks_of(folder)
    os.kill(victims[-1], signal.SIGKILL)
    began = time.monotonic()
    process.wait(timeout=30)
    assert time.monotonic() - began < 10 and process.returncode != 0
    time.sleep(0.5)
    assert not ranks_of(folder), "no rank is left behind"
    job(2, "perla_net.run", "--resume", str(folder))
    assert (folder / "metrics.jsonl").read_bytes() == whole


def start(ranks: int, *arguments: str, module: str = "perla_net.run") -> subprocess.Popen:
    return subprocess.Popen(
        command(ranks, module, *arguments), cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def wait_for(condition, process: subprocess.Popen, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.05)


def ranks_of(folder: Path) -> list[int]:
    """Process ids of the Python ranks of the job that writes into a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(folder).encode() in words and b"python" in Path(os.fsdecode(words[0])).name.encode():
                found.append(int(entry.name))
    return sorted(found)


@needs_mpirun
@pytest.mark.mpi
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_run_after_the_round_with_a_checkpoint(tmp_path, number):
    folder = tmp_path / "run"
    process = start(2, *SMALL, *TRAFFIC, "--rounds", "100000", "--out", str(folder))
    wait_for(lambda: (folder / "metrics.jsonl").exists() and (folder / "metrics.jsonl").stat().st_size, process)
    for rank in ranks_of(folder):
        os.kill(rank, number)
    output = process.communicate(timeout=30)[0]
    assert process.returncode == 0 and "stopped by a signal" in output and "--resume" in output
    done = rows(folder)[-1]["round"]
    assert (folder / "checkpoints" / str(done) / "manifest.json").exists()


FAILING = """
import sys
from perla_net.ground.entry import entry
from perla_net.run import main
from perla_net.simulation import simulation
true_round = simulation.Simulation.round
def failing(self):
    if self.processes.rank == int(sys.argv[1]) and self.done == 2:
        self.processes.where = "round 3"
        raise ValueError("a bug on purpose")
    return true_round(self)
simulation.Simulation.round = failing
sys.exit(entry(main, sys.argv[2:]))
"""


@needs_mpirun
@pytest.mark.mpi
@pytest.mark.parametrize("rank", [0, 2])
def test_a_rank_that_raises_ends_all_and_says_who_and_where(tmp_path, rank):
    script = tmp_path / "failing.py"
    script.write_text(FAILING)
    process = start(
        3, str(rank), *SMALL, *TRAFFIC, "--rounds", "100000", "--out", str(tmp_path / "run"), module=str(script)
    )
    metrics = tmp_path / "run" / "metrics.jsonl"
    wait_for(
        lambda: process.poll() is not None or (metrics.exists() and metrics.read_text().count("\n") >= 2), _Anything()
    )
    began = time.monotonic()
    output = process.communicate(timeout=60)[0]
    assert time.monotonic() - began < 5 and process.returncode not in (0, 2)
    assert f"rank {rank} failed in round 3" in output and "ValueError: a bug on purpose" in output


class _Anything:
    def poll(self):
        return None


@needs_mpirun
@pytest.mark.mpi
def test_a_stalled_collective_names_the_missing_rank_and_aborts(tmp_path):
    folder = tmp_path / "run"
    process = start(3, *SMALL, *TRAFFIC, "--rounds", "100000", "--stall-timeout", "2", "--out", str(folder))
    wait_for(lambda: (folder / "metrics.jsonl").exists() and (folder / "metrics.jsonl").stat().st_size, process)
    os.kill(rank_number(folder, 1), signal.SIGSTOP)
    output = process.communicate(timeout=40)[0]
    assert process.returncode != 0
    assert "stalled for 2 s in" in output and "missing: rank 1 of 3" in output and "round" in output


def rank_number(folder: Path, rank: int) -> int:
    for process in ranks_of(folder):
        variables = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
        if f"PMI_RANK={rank}".encode() in variables or f"OMPI_COMM_WORLD_RANK={rank}".encode() in variables:
            return process
    raise AssertionError(f"rank {rank} is not there")


def test_a_launcher_whose_library_is_not_mpi4pys(tmp_path):
    """As if another MPI's mpirun had started 16 processes, each of which is alone for mpi4py."""
    foreign = environment() | {"OMPI_COMM_WORLD_SIZE": "16", "OMPI_COMM_WORLD_RANK": "0"}
    for variable in ("PMI_SIZE", "PMI_RANK", "PMIX_RANK"):
        foreign.pop(variable, None)
    done = subprocess.run(
        command(0, "perla_net.run"), capture_output=True, text=True, timeout=60, cwd=tmp_path, env=foreign
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "started 16 processes" in done.stderr and "alone" in done.stderr
    assert not list(tmp_path.iterdir())
    silent = subprocess.run(
        command(0, "perla_net.run"),
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env=foreign | {"OMPI_COMM_WORLD_RANK": "3"},
    )
    assert silent.returncode == 2 and silent.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--rouds", "3"), "unknown option --rouds; did you mean --rounds?"),
        (("--config", "{yaml}"), "unknown key 'roundz'"),
        (("--topology", "rnig"), "no family or networkx generator 'rnig'"),
        (("--topology", "{graphml}", "--agents", "16"), "has 15 nodes, but there are 16 agents"),
        (("--samples", "-5"), "--samples '-5'"),
        (("--env", "pettingzoo:mpe3.simple"), "cannot be imported"),
        (("--env", "pettingzoo:math"), "is not parallel"),
        (("--resume", "{unreadable}"), "has no complete checkpoint"),
        (("--resume", "{truncated}"), "is damaged"),
        (("--env", "pettingzoo:mpe2.simple_tag_v3", "--topology", "ring", "--share", "own_view"), "--share own_view"),
        (("--out", "{full}"), "not empty"),
        (("--out", "{yaml}/below"), "cannot be made"),
        (("--batch-agents", "yes", "--algorithm", "ps_ippo"), "--batch-agents yes"),
        pytest.param(
            ("--device", "cuda"),
            "sees no GPU here",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(tmp_path, arguments, sentence):
    import networkx as nx

    (tmp_path / "bad.yaml").write_text("roundz: 3\n")
    nx.write_graphml(nx.cycle_graph(15), tmp_path / "fifteen.graphml")
    places = {"yaml": tmp_path / "bad.yaml", "graphml": tmp_path / "fifteen.graphml", "full": tmp_path}
    for name in ("unreadable", "truncated"):
        if f"{{{name}}}" in arguments:
            places[name] = tmp_path / name
            run(places[name], 0, *TRAFFIC)
            if name == "unreadable":
                (places[name] / "checkpoints" / "3" / "manifest.json").unlink()
            else:
                file = places[name] / "checkpoints" / "3" / "signal_0_0.safetensors"
                file.write_bytes(file.read_bytes()[:100])
    before = snapshot(tmp_path)
    out = () if "--resume" in arguments or "--out" in arguments else ("--out", str(tmp_path / "new"))
    done = job(0, "perla_net.run", *(word.format(**places) for word in arguments), *out, check=False, process=True)
    assert done.returncode == 2 and sentence in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("perla_net: ") and done.stdout == ""
    assert snapshot(tmp_path) == before, "nothing is written"


def snapshot(folder: Path) -> dict[str, int]:
    return {str(file): file.stat().st_size for file in folder.rglob("*")}


@needs_mpirun
@pytest.mark.mpi
@pytest.mark.parametrize(
    ("ranks", "arguments", "sentence"),
    [(3, ("--agents", "2"), "3 ranks for 2 agents"), (2, ("--rouds", "3"), "did you mean --rounds?")],
)
def test_bad_input_under_mpirun_is_said_once(tmp_path, ranks, arguments, sentence):
    done = job(ranks, "perla_net.run", *arguments, "--out", str(tmp_path / "new"), check=False, timeout=60)
    assert done.returncode == 2 and done.stderr.count("perla_net: ") == 1 and sentence in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_missing_extra_says_what_to_install(tmp_path):
    hidden = tmp_path / "mpe2.py"
    hidden.write_text("raise ImportError('as if it were not installed')\n")
    code = (
        "import importlib.util, sys; true = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'mpe2' else true(name, *rest)\n"
        "sys.modules['mpe2'] = None\n"
        "from perla_net.ground.entry import entry\n"
        "from perla_net.run import main; sys.exit(entry(main, sys.argv[1:]))\n"
    )
    script = tmp_path / "without.py"
    script.write_text(code)
    done = job(0, str(script), *MPE, check=False)
    assert done.returncode == 2 and '".[mpe2]"' in done.stderr


def test_evaluation_is_repeated_from_the_checkpoint(tmp_path):
    run(tmp_path / "run", 0, *TRAFFIC, "--evaluate-episodes", "3")
    stored = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert set(stored) == {"team, greedy", "team, sampled", "fixed_time", "longest_queue", "max_pressure"}
    assert set(stored["fixed_time"]) == {"return", "delay", "vehicles", "served", "blocked"}
    job(0, "perla_net.evaluate", str(tmp_path / "run"), "--out", str(tmp_path / "again.json"), process=True)
    assert json.loads((tmp_path / "again.json").read_text()) == stored
    job(
        0,
        "perla_net.evaluate",
        str(tmp_path / "run"),
        "--seed",
        "9",
        "--episodes",
        "2",
        "--out",
        str(tmp_path / "other.json"),
    )
    other = json.loads((tmp_path / "other.json").read_text())
    assert (
        other["fixed_time"]["delay"] != stored["fixed_time"]["delay"] and other["fixed_time"]["delay"]["episodes"] == 2
    )
    done = job(0, "perla_net.evaluate", str(tmp_path), check=False)
    assert done.returncode == 2 and "not the folder of a run" in done.stderr


def test_another_agent_in_the_team_and_another_environment(tmp_path):
    """An agent of one run takes a place in another's team, and a team acts where it was not trained; neither changes a file."""
    for name, seed in (("run", "0"), ("other", "1")):
        run(tmp_path / name, 0, *TRAFFIC, "--seed", seed)

    def figures(*arguments):
        job(
            0,
            "perla_net.evaluate",
            str(tmp_path / "run"),
            "--episodes",
            "2",
            "--out",
            str(tmp_path / "f.json"),
            *arguments,
        )
        return json.loads((tmp_path / "f.json").read_text())

    plain = figures()
    guest = tmp_path / "other" / "checkpoints" / "3" / "signal_1_1"
    mixed = figures("--replace", f"2={guest}")
    assert mixed["team, sampled"] != plain["team, sampled"] and mixed["fixed_time"] == plain["fixed_time"]
    own = tmp_path / "run" / "checkpoints" / "3" / "signal_1_0"
    assert figures("--replace", f"signal_1_0={own}") == plain
    longer = figures("--env", "traffic:grid:horizon=400,rows=2")
    assert longer["fixed_time"]["vehicles"]["mean"] > plain["fixed_time"]["vehicles"]["mean"]
    for arguments, sentence in (
        (("--env", "spread"), "signal_0_0 … was trained for"),
        (("--env", "traffic:grid:rows=2,columns=3"), "has 6 agents, but the team has 4"),
        (("--replace", "9=x"), "'9' is outside 0-3"),
        (("--replace", f"0={tmp_path}/nothing"), "nothing"),
        (("--record", "film.avi"), "must end in .gif, .mp4 or .png"),
        (("--record", "nowhere/film.gif"), "there is no folder nowhere"),
    ):
        done = job(0, "perla_net.evaluate", str(tmp_path / "run"), *arguments, check=False)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
        assert all(part in done.stderr for part in sentence.replace("signal_0_0 … ", "").split(" … ")), done.stderr


def test_an_episode_is_filmed_and_watched(tmp_path):
    from PIL import Image

    run(tmp_path / "run", 0, "--env", "traffic:grid:horizon=30", "--agents", "4", "--topology", "ring")
    for name, frames in (("film.gif", 31), ("sheet.png", 1)):
        done = job(0, "perla_net.evaluate", str(tmp_path / "run"), "--record", str(tmp_path / name))
        assert name in done.stdout and "evaluation over" not in done.stdout
        with Image.open(tmp_path / name) as image:
            assert getattr(image, "n_frames", 1) == frames and image.size[0] > 700
    job(0, "perla_net.evaluate", str(tmp_path / "run"), "--record", str(tmp_path / "film.mp4"), process=True)
    assert (tmp_path / "film.mp4").read_bytes()[4:8] == b"ftyp"
    shown = job(0, "perla_net.evaluate", str(tmp_path / "run"), "--watch", "--episodes", "1").stdout
    assert shown.count("minute") == 31 and "evaluation over 1" in shown
    run(tmp_path / "zoo", 0, "--env", "pettingzoo:toys")
    for option in ("--watch", "--record"):
        value = [str(tmp_path / "x.gif")] if option == "--record" else []
        done = job(0, "perla_net.evaluate", str(tmp_path / "zoo"), option, *value, check=False)
        assert done.returncode == 2 and "cannot be" in done.stderr


def test_environments_are_listed(tmp_path):
    done = job(0, "perla_net.environments", "traffic:grid:rows=2,columns=3", process=True)
    assert "signal_1_2" in done.stdout and "max_pressure" in done.stdout
    assert "14 edges" in job(0, "perla_net.environments", "traffic:grid:rows=2,columns=3", "spread").stdout
    done = job(0, "perla_net.environments", "weather", check=False)
    assert done.returncode == 2 and "there is no such suite" in done.stderr


@needs_mpirun
@pytest.mark.mpi
def test_evaluation_with_another_number_of_ranks(tmp_path):
    run(tmp_path / "run", 0, *TRAFFIC, "--evaluate-episodes", "3")
    job(3, "perla_net.evaluate", str(tmp_path / "run"), "--out", str(tmp_path / "again.json"))
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "run" / "evaluation.json").read_bytes()


def test_training_from_python_and_one_agent_alone(tmp_path):
    config = Config(
        agents=4,
        topology="ring",
        copies=2,
        horizon=10,
        rounds=2,
        evaluate_episodes=2,
        display="none",
        out=str(tmp_path / "run"),
    )
    result = perla_net.train(config)
    assert result.rounds == 2 and result.evaluation["fixed_time"]["delay"]["mean"] > 0
    agent = perla_net.load_agent(result.folder / "checkpoints" / "2" / "signal_0_1")
    action = agent.act(np.zeros(33))
    assert action in range(8) and agent.act(np.zeros(33)) == action
    assert {agent.act(np.zeros(33), rng=np.random.default_rng(seed)) for seed in range(40)} != {action}
    assert agent.act(np.zeros(33), mask=np.eye(8)[5]) == 5
    with pytest.raises(ValueError, match=r"has shape \(32,\), but its space says \(33,\)"):
        agent.act(np.zeros(32))
    with pytest.raises(perla_net.InputError, match="not empty"):
        perla_net.train(config)
    with pytest.raises(perla_net.InputError, match="cannot be read"):
        perla_net.load_agent(tmp_path / "nobody")


def test_loaded_agents_act_in_their_own_spaces(tmp_path):
    import toys

    run(tmp_path / "run", 0, "--env", "pettingzoo:toys", "--topology", "complete", "--model.memory", "gru")
    env = toys.parallel_env()
    agents = {name: perla_net.load_agent(tmp_path / "run" / "checkpoints" / "3" / name) for name in env.possible_agents}
    observations, _ = env.reset(seed=0)
    while env.agents:
        actions = {}
        for name in env.agents:
            actions[name] = agents[name].act(observations[name])
        observations, *_ = env.step(actions)


def test_a_run_folder_holds_what_a_reader_needs(tmp_path):
    run(tmp_path / "run", 0, *TRAFFIC)
    folder = tmp_path / "run"
    assert {file.name for file in folder.iterdir()} == {
        "config.yaml",
        "topology.graphml",
        "metrics.jsonl",
        "timings.jsonl",
        "ledger.csv",
        "neighbours.csv",
        "graphs.jsonl",
        "schedule.json",
        "run.jsonl",
        "checkpoints",
    }
    row = rows(folder)[-1]
    assert {"round", "env_steps", "team_return", "agent_returns"} <= set(row) and row["env_steps"] == 3 * 4 * 20
    described = json.loads((folder / "run.jsonl").read_text())
    assert described["versions"]["torch"] and described["command"][2] == "perla_net.run"
    assert not list(folder.rglob("*.pkl")) and not list(folder.rglob("*.pt"))
