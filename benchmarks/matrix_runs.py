"""What ``matrix.py`` does with a row: four runs of one team, many rows in one job, and whether they left the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measure import start

from perla_net.records.checkpoint import read_agent, read_data

RANKS = 4
ROUNDS, MIDDLE, KILLED = 4, 2, 4
"""Rounds of a run; the round with a checkpoint; the round in which it is killed, when its agents have told one another what they did."""
FILES = ("metrics.jsonl", "evaluation.json", "ledger.csv")
BOUNDS = {
    **{"copies": 4, "horizon": 12, "rounds": ROUNDS, "checkpoint_every": MIDDLE, "keep_checkpoints": 2},
    **{
        "evaluate_episodes": 2,
        "evaluate_steps": 30,
        "display": "plain",
        "stall_timeout": 120,
        "ppo": {"minibatch": 32},
    },
}
"""What every run has; a rollout has 48 steps of each agent."""
ANEW = "could not be brought back to its state"
"""Is said of an environment whose state cannot be saved, so that a run that is continued is another one."""


@dataclass
class Case:
    """A row: the settings of its run, and whether it should be refused."""

    name: str
    settings: dict[str, Any]
    refused: bool = False


@dataclass
class Verdict:
    """What became of a row: what is wrong, nothing where all is well; what was said where a run was refused, or broke off;
    whether its environment cannot be brought back, and the continued runs said so; seconds of its runs."""

    case: Case
    folder: Path
    wrong: list[str] = field(default_factory=list)
    ended: str = ""
    anew: bool = False
    seconds: float = 0.0

    def end(self, status: int, log: Path) -> None:
        """Note a run that ended otherwise than by itself."""
        said = log.read_text().strip().splitlines() if log.exists() else []
        self.ended = said[-1].removeprefix("perla_net: ") if said else "said nothing"
        if not (self.case.refused and status == 2 and len(said) == 1):
            self.wrong.append(f"{log.stem}: exit status {status}")


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
                status = entry(main, one["words"])
                sys.stdout.flush()
                os._exit(status)
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
        process = start(ranks, __file__, str(file))
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
            one.anew = all(ANEW in (one.folder / f"{kind}-again.log").read_text() for kind in ("killed", "back"))
            one.wrong = [*_wrong(one.folder, one.anew), *["was not refused"] * one.case.refused]
    return verdicts


def _wrong(folder: Path, anew: bool) -> Iterator[str]:
    """What is not as it is in the run of one process; anew: continued runs are others."""
    kinds = {"ranks": f"on {RANKS} ranks"} | ({} if anew else {"killed": "after the kill", "back": "from the middle"})
    for kind, what in kinds.items():
        differ = [name for name in FILES if _bytes(folder / kind / name) != _bytes(folder / "alone" / name)]
        if _agents(folder / kind, ROUNDS) != _agents(folder / "alone", ROUNDS):
            differ.append("checkpoint")
        if differ:
            yield f"{what}: {', '.join(differ)}"
    if not _learned(folder / "alone"):
        yield "nothing was learned"


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


if __name__ == "__main__":
    work(Path(sys.argv[1]))
