"""Every method on 4 ranks, on 1, killed and continued: the same bytes.

``python benchmarks/matrix.py``: each method on one cheap task that it is for, and four methods on every family of tasks that is installed.
``python benchmarks/matrix.py coma qmix traffic``: these methods, and these families.

A row is one team that runs four rounds with a checkpoint in the middle: in one process; on four ranks; in one process that a SIGKILL ends within
round 4, then continued on four ranks; and from the four ranks' checkpoint of round 2, continued in one process. ``metrics.jsonl``, ``evaluation.json``,
``ledger.csv`` and what each agent's last checkpoint holds must be the same bytes in all of them. Runs go one after another inside one mpirun, since it
is the start of Python and torch on every rank that costs. Exit status 1 where anything differs, or a method was refused that should not have been.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measure import head, start

from perla_net.ground.errors import InputError
from perla_net.ground.text import columns
from perla_net.methods.registry import METHODS, class_of, options
from perla_net.records.checkpoint import read_agent, read_data
from perla_net.world.environments import SUITES, make, takes_any_number
from perla_net.world.spec import AgentSpec

RANKS = 4
ROUNDS, MIDDLE, KILLED = 4, 2, 4
"""Rounds of a run; the round with a checkpoint; the round in which it is killed, when its agents have told one another what they did."""
AT_ONCE = 12
"""Rows whose runs share an mpirun; after each lot its rows are printed."""
FILES = ("metrics.jsonl", "evaluation.json", "ledger.csv")
BOUNDS = {
    **{"copies": 4, "horizon": 12, "rounds": ROUNDS, "checkpoint_every": MIDDLE, "keep_checkpoints": 2},
    **{"evaluate_episodes": 2, "evaluate_steps": 30, "display": "none", "stall_timeout": 120, "ppo": {"minibatch": 32}},
}
"""What every run has; a rollout has 48 steps of each agent."""
MEMORY = {"begin": 40, "updates": 2, "batch": 16, "episodes": 3, "memory": 400}
"""Options of methods that learn from a memory, so that they learn from the first round on."""
TRAFFIC: dict[str, Any] = {"env": "traffic:grid:horizon=15", "agents": 4, "topology": "ring"}
PAIRS: dict[str, Any] = {"env": "games:tandem:graph=ring", "agents": 4}
OWN_TASK = {
    "lola": PAIRS,
    "hola": PAIRS,
    "cola": PAIRS | {"cola": {"begin": 20, "updates": 2, "batch": 16}},
}
"""Of methods that are not for ``TRAFFIC``."""
FAMILIES: dict[str, dict[str, Any]] = {
    "games": {"env": "games:climbing:graph=ring", "agents": 4},
    "traffic": TRAFFIC,
    "spread": {"env": "spread", "agents": 4},
    "platoon": {"env": "platoon:catchup"},
    "wireless": {"env": "wireless:grid", "agents": 4},
    "voltage": {"env": "voltage:ieee33"},
    "sumo": {"env": "sumo:cologne8", "copies": 2, "evaluate_episodes": 1},
    "mpe2": {"env": "mpe2:simple_line"},
    "lbf": {"env": "lbf:8x8-4p-2f"},
    "rware": {"env": "rware:tiny-4ag"},
    "mamujoco": {"env": "mamujoco:Ant-4x2"},
    "magent2": {"env": "magent2:battlefield"},
    "smax": {"env": "smax:5m_vs_6m"},
    "vmas": {"env": "vmas:navigation"},
    "pettingzoo": {"env": "pettingzoo:pursuit"},
}
"""A cheap task of each, for at least as many agents as there are ranks."""
ON_ALL = ("perla_ippo", "qmix", "maddpg", "coma")


@dataclass
class Case:
    """A row: the settings of its run, and whether it should be refused."""

    name: str
    settings: dict[str, Any]
    refused: bool = False


@dataclass
class Verdict:
    """What became of a row: what is wrong, nothing where all is well; what was said where a run was refused, or broke off; seconds of its runs."""

    case: Case
    folder: Path
    wrong: list[str] = field(default_factory=list)
    ended: str = ""
    seconds: float = 0.0

    def end(self, status: int, log: Path) -> None:
        """Note a run that ended otherwise than by itself."""
        said = log.read_text().strip().splitlines() if log.exists() else []
        self.ended = said[-1].removeprefix("perla_net: ") if said else "said nothing"
        if not (self.case.refused and status == 2 and len(said) == 1):
            self.wrong.append(f"{log.stem}: exit status {status}")


def own(algorithm: str) -> dict[str, Any]:
    """The method's section, with few steps where it has a memory."""
    kind = options(algorithm, "algorithm")
    known = set(kind.__dataclass_fields__) if kind else set()
    found = {name: value for name, value in MEMORY.items() if name in known} if "memory" in known else {}
    return {"algorithm": algorithm} | ({algorithm: found} if found else {})


def of_method(name: str, teacher: str) -> Case:
    """A method on a task that it is for, over links that lose. ``teacher``: the run from which ``frozen`` has its policies."""
    settings = OWN_TASK.get(name, TRAFFIC) | {"links": {"loss": 0.3}}
    if name in ("frozen", "controller"):  # beside two that embed them
        word = f"frozen:{teacher}" if name == "frozen" else "controller:fixed_time"
        team = {"number": 4, "overrides": {"2-3": {"algorithm": word}}}
        return Case(name, settings | {"algorithm": "perla_ippo", "agents": team})
    return Case(name, own(name) | settings)


def of_family(name: str, algorithm: str, agents: Sequence[AgentSpec]) -> Case:
    """A method on a family of tasks with these agents."""
    settings = FAMILIES[name]
    if takes_any_number(settings["env"]):  # which would be the number of ranks
        settings = settings | {"agents": len(agents)}
    there = {agent.action.kind for agent in agents} <= set(class_of(algorithm).facts.actions)
    return Case(f"{algorithm} on {name}", own(algorithm) | settings, refused=not there)


def installed(names: Sequence[str]) -> tuple[dict[str, Sequence[AgentSpec]], list[str]]:
    """Families and the agents of their tasks; sentences for those that are not installed."""
    found, missing = {}, []
    for name in names:
        try:
            environment = make(FAMILIES[name]["env"], 1, FAMILIES[name].get("agents"))
            found[name] = environment.spec.agents
            getattr(environment, "close", lambda: None)()
        except InputError as error:
            missing.append(f"{name}: {error}")
    return found, missing


# Runs


def step(folder: Path, kind: str, resumed: bool = False, killed: bool = False) -> dict[str, Any]:
    """One run of a list: the row's run of a kind, begun or continued."""
    place = folder / kind
    words = ["--resume", str(place)] if resumed else ["--config", str(folder / "config.json"), "--out", str(place)]
    return {"words": words, "killed": killed, "log": str(folder / f"{kind}{'-again' * resumed}.log")}


def work(file: Path) -> None:
    """Run a list of runs one after another in this job, and note how each ended; alone each in a process of its own, which may be killed."""
    from perla_net.ground.entry import entry
    from perla_net.ground.processes import launched
    from perla_net.run import main
    from perla_net.simulation import simulation  # noqa: F401 - once, for all the processes that are forked here

    rank, size, _ = launched()
    for one in json.loads(file.read_text()):
        began = time.perf_counter()
        if size == 1:
            child = os.fork()
            if not child:
                if one["killed"]:
                    _die_within(KILLED)
                _heard_in(one["log"])
                os._exit(entry(main, one["words"]))
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            status = 0 if one["killed"] and status == -signal.SIGKILL else 1 if one["killed"] and not status else status
        else:
            _heard_in(one["log"] if rank == 0 else os.devnull)
            status = entry(main, one["words"])
        if rank == 0:
            with file.with_suffix(".done").open("a") as done:
                print(json.dumps([status, time.perf_counter() - began]), file=done)


def _heard_in(log: str) -> None:
    """All that is said from here on goes into a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _die_within(number: int) -> None:
    """This process is killed in a round, when what its agents told one another has arrived, and nobody has learned from it."""
    from perla_net.network.exchange import Network

    whole = Network.exchange

    def exchange(self: Network, messages: Any, round_number: int, *rest: Any) -> Any:
        found = whole(self, messages, round_number, *rest)
        if round_number == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    Network.exchange = exchange  # type: ignore[method-assign]


def run_all(ranks: int, steps: Sequence[dict[str, Any]], out: Path) -> list[tuple[int, float]]:
    """How each of a list of runs ended, in one job of so many ranks: exit status, seconds. Where one takes the job down, another goes on with the rest."""
    found: list[tuple[int, float]] = []
    while len(found) < len(steps):
        file = Path(tempfile.mkstemp(".json", f"runs-{ranks}-", out)[1])
        file.write_text(json.dumps(steps[len(found) :]))
        process = start(ranks, str(Path(__file__)), "--work", str(file))
        try:
            process.communicate(timeout=60 + 60 * (len(steps) - len(found)))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        done = file.with_suffix(".done")
        ended = [tuple(json.loads(line)) for line in done.read_text().splitlines()] if done.exists() else []
        found += ended
        if len(found) < len(steps):
            found.append((process.returncode or 1, 0.0))
    return found


def compare(cases: Sequence[Case], out: Path) -> list[Verdict]:
    """Run every row in all four ways, and hold the bytes against each other."""
    verdicts = [Verdict(case, out / case.name.replace(" ", "-")) for case in cases]
    for one in verdicts:
        one.folder.mkdir(parents=True)
        (one.folder / "config.json").write_text(json.dumps(BOUNDS | one.case.settings))

    def stage(ranks: int, *kinds: tuple[str, bool, bool]) -> None:
        going = [(one, step(one.folder, *kind)) for one in verdicts if not one.ended for kind in kinds]
        for (one, run), (status, seconds) in zip(going, run_all(ranks, [run for _, run in going], out)):
            one.seconds += seconds
            if status and not one.ended:
                one.end(status, Path(run["log"]))

    stage(1, ("alone", False, False), ("killed", False, True))
    stage(RANKS, ("ranks", False, False), ("killed", True, False))
    for one in verdicts:
        if not one.ended:
            shutil.copytree(one.folder / "ranks", one.folder / "back")
            shutil.rmtree(one.folder / "back" / "checkpoints" / str(ROUNDS))
    stage(1, ("back", True, False))
    for one in verdicts:
        if not one.ended:
            one.wrong = _wrong(one.folder) + ["was not refused"] * one.case.refused
    return verdicts


def _wrong(folder: Path) -> list[str]:
    """What is not as it is in the run of one process."""
    wrong = []
    for kind, what in (("ranks", f"on {RANKS} ranks"), ("killed", "after the kill"), ("back", "from the middle")):
        differ = [name for name in FILES if _bytes(folder / kind / name) != _bytes(folder / "alone" / name)]
        if _agents(folder / kind, ROUNDS) != _agents(folder / "alone", ROUNDS):
            differ.append("checkpoint")
        if differ:
            wrong.append(f"{what}: {', '.join(differ)}")
    return wrong if _learned(folder / "alone") else [*wrong, "nothing was learned"]


def _bytes(file: Path) -> bytes:
    return file.read_bytes() if file.exists() else b""


def _agents(run: Path, round_number: int) -> dict[str, Any]:
    """What the agents keep in a checkpoint; safetensors may write it in any order."""
    folder = run / "checkpoints" / str(round_number)
    if not folder.is_dir():
        return {}
    kept = {}
    for name in read_data(folder / "manifest.json", str(folder))["agents"].values():
        data, arrays = read_agent(folder / name, str(folder))
        kept[name] = data, {key: (array.dtype, array.shape, array.tobytes()) for key, array in arrays.items()}
    return kept


def _learned(run: Path) -> bool:
    """Whether some policy is not any more what it was in the middle."""
    before, after = (_agents(run, number) for number in (MIDDLE, ROUNDS))
    return any(
        "policy" in arrays and arrays["policy"] != before[name][1]["policy"] for name, (_, arrays) in after.items()
    )


# The command


def rows(verdicts: Sequence[Verdict]) -> list[list[str]]:
    """Of the table."""
    found = []
    for one in verdicts:
        env = str(one.case.settings["env"])
        said = f" ({one.ended})" if one.ended else ""
        alike = "refused, rightly" if one.case.refused else "same bytes"
        found.append([one.case.name, env, f"{one.seconds:.1f} s", ("; ".join(one.wrong) or alike) + said])
    return found


def chosen(words: Sequence[str], teacher: str, say: Callable[[str], None]) -> list[Case]:
    """The rows that were asked for. Raises InputError for words that are neither method nor family."""
    if unknown := [word for word in words if word not in METHODS and word not in FAMILIES]:
        raise InputError(
            f"{unknown[0]}: is neither a method ({', '.join(METHODS)}) nor a family of tasks ({', '.join(FAMILIES)})"
        )
    methods = [name for name in METHODS if not words or name in words]
    families, missing = installed([name for name in FAMILIES if not words or name in words])
    for sentence in missing:
        say(f"not installed: {sentence}")
    assert set(SUITES) - {"batch"} <= set(FAMILIES), "a suite without a task here"
    cases = [of_method(name, teacher) for name in methods]
    return cases + [of_family(name, algorithm, agents) for name, agents in families.items() for algorithm in ON_ALL]


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="methods and families of tasks (default: all)")
    parser.add_argument("--out", type=Path, help="keep the runs' folders here")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.work:
        work(asked.work)
        return 0
    print(head("Every method on 4 ranks, on 1, killed and continued"), flush=True)
    out = asked.out or Path(tempfile.mkdtemp(prefix="matrix-"))
    out.mkdir(parents=True, exist_ok=True)
    began, bad = time.perf_counter(), 0
    try:
        cases = chosen(asked.names, str(out / "teacher" / "alone"), print)
        if any("frozen:" in json.dumps(case.settings) for case in cases):
            folder = out / "teacher"
            folder.mkdir()
            (folder / "config.json").write_text(json.dumps(BOUNDS | own("ippo") | TRAFFIC))
            run_all(1, [step(folder, "alone")], out)
        for first in range(0, len(cases), AT_ONCE):
            verdicts = compare(cases[first : first + AT_ONCE], out)
            bad += sum(bool(verdict.wrong) for verdict in verdicts)
            print(columns([["row", "task", "runs", "verdict"], *rows(verdicts)]), flush=True)
    finally:
        if not asked.out:
            shutil.rmtree(out)
    print(f"{len(cases)} rows, {bad} of them wrong; {(time.perf_counter() - began) / 60:.1f} minutes")
    return int(bad > 0)


if __name__ == "__main__":
    from perla_net.ground.entry import entry

    sys.exit(entry(main, sys.argv[1:]))
