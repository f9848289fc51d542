"""The platoon: teams trained on the interaction graph against the constant action (0.5, 0.5), both scenarios.

    python benchmarks/platoon.py [--out FOLDER] [--scenarios catchup slowdown] [--methods perla_ippo ippo]
        [--seeds 0 1 2] [--ranks 2] [--episodes 50] [--timeout 3600] [-- OPTIONS OF perla_net.run]

Every team is trained by a job of its own with ``OPTIONS``; what is in the folder already is not repeated. All then
drive the same held-out episodes. Printed is the plain cost per vehicle and step, mean ± 95 % interval over episodes,
and its difference to the constant action's, episode by episode (the cost depends much more on where an episode starts
than on who drives).
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

from measure import head, start

from perla_net.display import columns, interval

OPTIONS = [
    *("--agents", "8", "--topology", "interaction", "--reward.mixing", "neighbourhood"),
    *("--copies", "16", "--horizon", "60", "--rounds", "300", "--checkpoint-every", "0", "--display", "none"),
    *("--returns.gamma", "0.97", "--returns.entropy", "0", "--ppo.minibatch", "480"),
    *("--optimiser.learning-rate", "4e-3", "--optimiser.critic-learning-rate", "4e-3"),
]
HELD_OUT = 1000
"""Seed of the episodes that teams are compared on."""

Figures = dict[str, dict[str, list[float]]]
"""Controller → figure → value per episode."""


def arguments_of(doc: str, out: str) -> argparse.ArgumentParser:
    """What this program and ``wireless.py`` take alike."""
    reader = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--out", type=Path, default=Path(out))
    reader.add_argument("--methods", nargs="+", default=["perla_ippo", "ippo"])
    reader.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    reader.add_argument("--ranks", type=int, default=2)
    reader.add_argument("--episodes", type=int, default=50)
    reader.add_argument("--timeout", type=float, default=3600, help="seconds for one training")
    return reader


def trained(folder: Path, ranks: int, timeout: float, episodes: int, options: list[str]) -> Figures:
    """Train a team into ``folder`` and let it and the reference controllers act, unless that has been done already."""
    file = folder / f"episodes-{episodes}.json"
    if not file.exists():
        if not (folder / "trained").exists():
            job = start(ranks, "-m", "perla_net.run", "--evaluate-episodes", "0", "--out", str(folder), *options)
            try:
                output, _ = job.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                job.kill()
                raise SystemExit(f"{folder}: not trained after {timeout:g} s")
            if job.returncode:
                raise SystemExit(f"{folder}: exit status {job.returncode}\n{output}")
            (folder / "trained").touch()
        file.write_text(json.dumps(evaluated(folder, episodes)))
    return json.loads(file.read_text())


def evaluated(run: Path, episodes: int) -> Figures:
    """The team of a run, greedy and sampled, and the reference controllers, on the held-out episodes."""
    from perla_net import evaluate
    from perla_net.processes import Processes

    task = evaluate.task_of([str(run)], 1)
    found = evaluate.by_episode(Processes(), task.plan, list(map(Path, task.players)), episodes, HELD_OUT)
    assert found is not None
    return found


def around(values: list[float], form: str) -> str:
    """Mean ± half of the 95 % interval."""
    found = interval(values)
    return f"{found['mean']:{form}} ± {(found['high'] - found['low']) / 2:{form.lstrip('+')}}"


def minus(values: list[float], others: list[float]) -> list[float]:
    """Differences, episode by episode."""
    return [value - other for value, other in zip(values, others)]


def seconds(folder: Path) -> float:
    """How long a training took."""
    return sum(json.loads(line)["seconds"] for line in (folder / "timings.jsonl").read_text().splitlines())


def main() -> None:
    reader = arguments_of(__doc__, "runs/platoon")
    reader.add_argument("--scenarios", nargs="+", default=["catchup", "slowdown"])
    given, more = reader.parse_known_args()
    more = [option for option in more if option != "--"]
    print(head(f"platoon, plain cost per vehicle and step, {given.episodes} held-out episodes"))
    for scenario in given.scenarios:
        rows = [["", "cost", "minus constant", "headway error m", "closest m", "collided", "trained in s"]]
        env = f"platoon:{scenario}:observe=neighbours"
        gained: dict[str, list[float]] = {}
        for method in given.methods:
            for seed in given.seeds:
                folder = given.out / f"{scenario}-{method}-{seed}"
                options = ["--env", env, "--algorithm", method, "--seed", str(seed), *OPTIONS, *more]
                found = trained(folder, given.ranks, given.timeout, given.episodes, options)
                base = found["constant"]["cost"]
                if len(rows) == 1:
                    rows.append(["constant (0.5, 0.5)", *_cells(found["constant"]), ""])
                for mode in ("greedy", "sampled"):
                    figures = found[f"team, {mode}"]
                    cells = _cells(figures, base)
                    rows.append([f"{method}, seed {seed}, {mode}", *cells, f"{seconds(folder):.0f}"])
                    difference = minus(figures["cost"], base)
                    gained.setdefault(f"{method}, {mode}", []).append(sum(difference) / len(difference))
        print(f"\nplatoon:{scenario}")
        print(columns(rows))
        for name, differences in gained.items() if len(given.seeds) > 1 else ():
            print(f"  {name}: minus constant, over seeds {around(differences, '+.2f')}")


def _cells(figures: dict[str, list[float]], base: list[float] | None = None) -> list[str]:
    return [
        around(figures["cost"], ".2f"),
        around(minus(figures["cost"], base), "+.2f") if base else "",
        around(figures["headway_error"], ".2f"),
        around(figures["closest"], ".1f"),
        f"{sum(figures['collided']) / len(figures['collided']):.2f}",
    ]


if __name__ == "__main__":
    main()
