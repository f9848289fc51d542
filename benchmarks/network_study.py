"""Who must talk to whom, in which way, over which links: traffic 4×4 over topologies, kinds of sharing and loss, paired seeds.

    python benchmarks/network_study.py --out FOLDER [--seeds 0 1 2] [--workers 2] [--table FILE.md] [-- OPTIONS]

Each run is a process of its own that trains for about a minute (16 copies, 36 rounds, K = 16) and evaluates 20 held-out
episodes; runs that are in the folder already are not repeated. Differences are to no communication at equal seeds; intervals are
Student's t over seeds. Without communication neither sharing nor loss mean anything: one set of runs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from measure import head

from perla_net.ground.text import columns, size_text
from perla_net.records.display import interval

BASE = ["--copies", "16", "--rounds", "36", "--samples", "16", "--checkpoint-every", "0", "--display", "none"]
TOPOLOGIES = {
    "empty": "empty",
    "ring": "ring",
    "grid": "grid",
    "small-world": "watts_strogatz:k=4,p=0.1,seed=3",
    "complete": "complete",
}
SHARES = ("weights", "outputs", "modelled")
LOSSES = ("0", "0.3")


def settings() -> list[tuple[str, str, str]]:
    """(topology, share, loss) of every set of runs."""
    talking = [name for name in TOPOLOGIES if name != "empty"]
    return [("empty", "-", "-")] + [(name, share, loss) for name in talking for share in SHARES for loss in LOSSES]


def folder_of(out: Path, setting: tuple[str, str, str], seed: int) -> Path:
    """Where a run is."""
    return out / ("-".join(part for part in setting if part != "-") + f"-seed{seed}")


def train(out: Path, setting: tuple[str, str, str], seed: int, more: list[str]) -> None:
    """One run, unless it is there already."""
    folder = folder_of(out, setting, seed)
    if (folder / "evaluation.json").exists():
        return
    topology, share, loss = setting
    options = ["--topology", TOPOLOGIES[topology], "--seed", str(seed), "--out", str(folder)]
    options += ["--share", share] if share != "-" else []
    options += ["--links.loss", loss] if loss != "-" else []
    command = [sys.executable, "-W", "ignore", "-m", "perla_net.run", *BASE, *options, *more]
    subprocess.run(command, check=True, timeout=1800, stdin=subprocess.DEVNULL)
    print(folder.name, flush=True)


def figures(folder: Path) -> dict[str, float]:
    """Of a finished run: evaluated return and delay of the sampled team, bytes a round, seconds, and how the network fared."""
    evaluation = json.loads((folder / "evaluation.json").read_text())["team, sampled"]
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    times = [json.loads(line)["seconds"] for line in (folder / "timings.jsonl").read_text().splitlines()]
    half = rows[len(rows) // 2 :]
    return {
        "return": evaluation["return"]["mean"],
        "delay": evaluation["delay"]["mean"],
        "bytes": sum(row["bytes"] for row in rows) / len(rows),
        "absent": sum(row["absent"] or 0 for row in half) / len(half),
        "age": sum(row["policy_age"] or 0 for row in half) / len(half),
        "explained": sum(row["explained_variance"] for row in half) / len(half),
        "seconds": sum(times),
    }


def around(values: list[float], form: str) -> str:
    """Mean ± half of the 95 % interval."""
    found = interval(values)
    return f"{found['mean']:{form}} ± {(found['high'] - found['low']) / 2:{form}}"


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--out", type=Path, required=True)
    reader.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    reader.add_argument("--workers", type=int, default=2)
    reader.add_argument("--table", type=Path)
    reader.add_argument("more", nargs="*")
    given = reader.parse_args()
    jobs = [(setting, seed) for seed in given.seeds for setting in settings()]
    with ThreadPoolExecutor(given.workers) as pool:
        list(pool.map(lambda job: train(given.out, *job, given.more), jobs))
    found = {setting: [figures(folder_of(given.out, setting, seed)) for seed in given.seeds] for setting in settings()}
    base = found["empty", "-", "-"]
    names = ("return", "difference", "delay s", "explained", "absent", "age", "sent a round", "s a run")
    rows = [["topology, share, loss", *names]]
    for setting, runs in found.items():
        mean = {name: sum(run[name] for run in runs) / len(runs) for name in runs[0]}
        gained = [run["return"] - other["return"] for run, other in zip(runs, base)]
        rows.append(
            [
                " ".join(part for part in setting if part != "-"),
                around([run["return"] for run in runs], ".1f"),
                around(gained, ".1f") if setting[0] != "empty" else "-",
                around([run["delay"] for run in runs], ".1f"),
                around([run["explained"] for run in runs], ".3f"),
                f"{mean['absent']:.2f}",
                f"{mean['age']:.2f}",
                size_text(mean["bytes"]),
                f"{mean['seconds']:.0f}",
            ]
        )
    text = head(f"traffic:grid 4×4, seeds {given.seeds}") + "\n" + columns(rows)
    print(text)
    if given.table:
        given.table.write_text(text + "\n")


if __name__ == "__main__":
    main()
