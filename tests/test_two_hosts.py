"""A run over two hosts (``launch/two_hosts.sh``): the numbers of one host, whatever the wire between them is like."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path
from typing import Iterator

import pytest
from conftest import MPIRUN, ROOT, SMALL, job, needs_mpirun, run

pytestmark = [pytest.mark.mpi, needs_mpirun]
SCRIPT = ROOT / "launch" / "two_hosts.sh"
NAME = f"test-{os.getpid()}"
"""Pairs of hosts are called after the process that tests with them, so that nobody meets another's."""
OPTIONS = (
    *SMALL,
    "--agents",
    "4",
    "--rounds",
    "20",
    "--model.policy-hidden",
    "128,128",
    "--optimiser.schedule",
    "constant",
)
"""A run that sends 16 MB in 2 seconds where nothing holds it up."""
RATE = 10e6
"""Bits per second of the narrow wire."""


def script(*arguments: str, name: str = NAME, check: bool = True) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [str(SCRIPT), *arguments], capture_output=True, text=True, timeout=60, cwd=ROOT, env=variables(name)
    )
    assert not check or done.returncode == 0, (
        f"{arguments}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    )
    return done


def sent() -> list[tuple[int, int]]:
    """For each host the bytes that have left it by the wire, and how often a narrow wire made some wait."""
    return [(int(size), int(waits)) for size, waits in map(str.split, script("sent").stdout.splitlines())]


def variables(name: str) -> dict[str, str]:
    path = [str(Path(program).parent) for program in (sys.executable, MPIRUN) if program]
    return os.environ | {"TWO_HOSTS": name, "PATH": os.pathsep.join([*path, os.environ["PATH"]])}


def remove_leftovers() -> None:
    """Take down the hosts of test sessions that were killed before they could."""
    for name in script("list").stdout.split():
        owner = re.fullmatch(r"test-(\d+)", name)
        if owner and not Path("/proc", owner[1]).exists():
            script("down", name=name)


@pytest.fixture(scope="module")
def hosts() -> Iterator[None]:
    found = script("check", check=False)
    if found.returncode:
        pytest.skip(found.stderr.strip())
    remove_leftovers()
    script("up")
    try:
        yield
    finally:
        script("down")


@pytest.fixture(scope="module")
def ring(tmp_path_factory) -> str:
    """A ring whose neighbours are not neighbours in number: in their order, every edge leads from host to host."""
    file = tmp_path_factory.mktemp("ring") / "ring.edgelist"
    file.write_text("0 2\n2 1\n1 3\n3 0\n")
    return str(file)


@pytest.fixture(scope="module")
def alone(ring, tmp_path_factory) -> tuple[bytes, float]:
    """The metrics of the run on one host, and the seconds of its rounds."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    return run(folder, 4, *OPTIONS, "--topology", ring), seconds(folder)


@pytest.fixture(scope="module")
def order(hosts, ring, tmp_path_factory) -> Path:
    """The ranks' hosts as placement wants them, in a file."""
    file = tmp_path_factory.mktemp("order") / "order"
    at = ("--hosts", f"{NAME}-1:2,{NAME}-2:2", "--out", str(file))
    assert "between hosts: 4 of 8; 8 if" in job(0, "perla_net.placement", ring, "--agents", "4", *at).stdout
    return file


class Run:
    """A run over the two hosts, in the background."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        before = sent()
        self.process = subprocess.Popen(
            [str(SCRIPT), "run", *arguments, "--out", str(folder)], cwd=ROOT, env=variables(NAME), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.wait_for_rounds(1)
        self.where = self._where()
        self._before = before

    def rounds(self) -> int:
        file = self.folder / "metrics.jsonl"
        return file.read_bytes().count(b"\n") if file.exists() else 0

    def wait_for_rounds(self, number: int) -> None:
        deadline = time.monotonic() + 60
        while self.rounds() < number:
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"no round {number}\n{self._end()}")
            time.sleep(0.01)

    def _where(self) -> dict[int, str]:
        """The network in which each rank is."""
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if str(self.folder).encode() in words and b"python" in Path(os.fsdecode(words[0])).name.encode():
                    rank = re.search(rb"\0(?:PMI|OMPI_COMM_WORLD)_RANK=(\d+)\0", (entry / "environ").read_bytes())
                    found[int(rank[1])] = os.readlink(entry / "ns" / "net")
            except OSError:
                continue  # no process, or one that ended meanwhile
        return found

    def metrics(self) -> bytes:
        """The run's metrics, when it is over."""
        try:
            output = self.process.communicate(timeout=60)[0]
        except subprocess.TimeoutExpired:
            pytest.fail(f"the run does not end\n{self._end()}")
        assert self.process.returncode == 0, output
        self.crossed = [after - before for (after, _), (before, _) in zip(sent(), self._before)]
        return (self.folder / "metrics.jsonl").read_bytes()

    def _end(self) -> str:
        script("down")  # ends what the run has on both hosts; the tests that follow will say that the hosts are gone
        self.process.kill()
        return self.process.communicate(timeout=10)[0]


def seconds(folder: Path, what: str = "seconds") -> float:
    return sum(json.loads(line)[what] for line in (folder / "timings.jsonl").read_text().splitlines())


def payload(folder: Path, where: dict[int, str]) -> list[int]:
    """Bytes of agent traffic from one host to the other, and back, by the ledger."""
    place = {f"signal_{rank // 2}_{rank % 2}": network for rank, network in where.items()}
    total = dict.fromkeys(where.values(), 0)
    with (folder / "ledger.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if place[row["source"]] != place[row["target"]]:
                total[place[row["source"]]] += int(row["bytes"])
    return sorted(total.values())


def report(folder: Path, wire: str, alone: float) -> None:
    print(
        f"\n{wire}: rounds {seconds(folder):.2f} s, of them in collectives {seconds(folder, 'collectives'):.2f} s; "
        f"on one host {alone:.2f} s"
    )


def test_numbers_are_those_of_one_host_and_ranks_go_where_placement_says(hosts, ring, alone, order, tmp_path):
    over = Run(tmp_path / "run", "-r", str(order), *OPTIONS, "--topology", ring)
    assert over.metrics() == alone[0]
    report(over.folder, "two hosts", alone[1])
    wanted = order.read_text().split()
    assert sorted(over.where) == [0, 1, 2, 3] and len(set(over.where.values())) == 2
    for one, other in combinations(range(4), 2):
        assert (over.where[one] == over.where[other]) == (wanted[one] == wanted[other])
    assert os.readlink("/proc/self/ns/net") not in over.where.values()
    told = payload(over.folder, over.where)
    assert told[0] > 0 and all(crossed >= least for crossed, least in zip(sorted(over.crossed), told))


def test_a_narrow_wire_makes_it_slower_and_changes_no_number(hosts, ring, alone, order, tmp_path):
    script("narrow", f"{RATE / 1e6:g}mbit")
    try:
        over = Run(tmp_path / "run", "-r", str(order), *OPTIONS, "--topology", ring)
        assert over.metrics() == alone[0]
        assert all(waits > 0 for _, waits in sent())
    finally:
        script("wide")
    report(over.folder, "two hosts, 10 Mbit/s", alone[1])
    # Nothing is sent faster than the wire carries; its queue lets 32 KiB pass at once.
    assert seconds(over.folder) > (max(payload(over.folder, over.where)) - 32 * 1024) * 8 / RATE


def test_a_cut_wire_stops_it_and_changes_no_number(hosts, ring, alone, tmp_path):
    """Ranks in their order here, without a file of hosts: both hosts have half of them."""
    over = Run(tmp_path / "run", "-n", "4", *OPTIONS, "--topology", ring, "--rounds", "120")
    assert over.where[0] == over.where[1] != over.where[2] == over.where[3]
    cut = subprocess.Popen([str(SCRIPT), "cut", "2"], cwd=ROOT, env=variables(NAME), text=True, stdout=subprocess.PIPE)
    assert "cannot hear each other for 2 s" in cut.stdout.readline()
    before = over.rounds()
    cut.communicate(timeout=20)
    after = over.rounds()
    assert over.metrics().startswith(alone[0])  # of fewer rounds; the learning rate is constant
    report(over.folder, "two hosts, cut for 2 s", alone[1])
    # What was on its way when the wire was cut may end one round; what comes first when it is back, another.
    assert before < 118 and after <= before + 2, "no round without the wire"
    assert seconds(over.folder) > 2


def test_hosts_of_a_killed_session_are_removed(hosts):
    ended = subprocess.Popen(["true"])
    ended.wait(timeout=10)
    left = f"test-{ended.pid}"
    script("up", name=left)
    assert {NAME, left} <= set(script("list").stdout.split())
    remove_leftovers()
    names = script("list").stdout.split()
    assert NAME in names and left not in names
    assert "there are no hosts" in script("sent", name=left, check=False).stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("narrow", "quickly"), "narrow quickly: is not a rate; write 10mbit or 500kbit"),
        (("cut", "long"), "cut long: is not a number of seconds"),
        (("cut",), "cut needs one value"),
        (("run", "-n", "x"), "-n 'x': is not a number of ranks"),
        (("up",), f"{NAME}-1 and {NAME}-2 are there already"),
        (("down", "now"), "down takes no value, but 'now' was given"),
        (("widen",), "'widen' is none of up, run,"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_refused(hosts, arguments, sentence):
    done = script(*arguments, check=False)
    assert done.returncode == 2 and sentence in done.stderr and done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("launch/two_hosts.sh: ")


def test_without_root_it_says_what_is_missing():
    with SCRIPT.open() as text:
        user = {"user": 65534} if os.geteuid() == 0 else {}
        done = subprocess.run(
            ["bash", "-s", "check"], stdin=text, capture_output=True, text=True, timeout=20, cwd="/", **user
        )
    assert done.returncode == 2 and done.stderr.startswith("launch/two_hosts.sh: missing here: root")
