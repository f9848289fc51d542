"""Bus-voltage violations on the IEEE 33-bus feeder: learned teams beside no control, droop and central control.

    python benchmarks/voltage.py [--methods ippo perla_ippo …] [--seeds 0 1 2] [--ranks 2]
        [--rounds 60] [--out FOLDER] [--table FILE.md]

Each run is a job of its own of a minute or two, one after the other; runs that are in the folder already are not
repeated. Evaluated are 50 held-out days (the same for everybody with one seed): on LinDistFlow, which the teams
trained on, and on the branch equations with losses, which give the full AC power flow's voltages. Every line is a
mean over these days with its 95 % interval (Student's t). ``team`` methods learn from the whole team's reward
(``reward=team``). A day's reward depends on the actions of the moment only, so that agents do not look ahead (gamma
0).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from measure import head, start

from perla_net.display import columns

ENV = "voltage:ieee33"
METHODS = {
    "ippo": ("", ["--algorithm", "ippo"]),
    "perla_ippo": ("", ["--algorithm", "perla_ippo", "--samples", "16"]),
    "ippo, team": ("reward=team", ["--algorithm", "ippo"]),
    "perla_ippo, team": ("reward=team", ["--algorithm", "perla_ippo", "--samples", "16"]),
}
"""Arguments of the environment and options."""
COMMON = ["--topology", "interaction", "--copies", "16", "--horizon", "120", "--returns.gamma", "0"]
COMMON += ["--evaluate-episodes", "50", "--checkpoint-every", "0", "--display", "none"]
FIGURES = {
    "outside": (100, "buses outside %"),
    "steps_outside": (100, "steps with any %"),
    "deviation": (1, "worst, pu"),
    "losses": (1000, "losses kW"),
}
LIMIT = 1800
"""Seconds that a job may take."""


def run(ranks: int, *arguments: str) -> None:
    """A job to its end."""
    process = start(ranks, *arguments)
    try:
        process.communicate(timeout=LIMIT)
    except BaseException:
        process.kill()
        raise
    if process.returncode:
        raise SystemExit(f"exit status {process.returncode}: {' '.join(arguments)}")


def evaluations(folder: Path, method: str, seed: int, ranks: int, rounds: int) -> list[dict]:
    """On LinDistFlow and with losses; trained before if that is not there yet."""
    extra, options = METHODS[method]
    if not (folder / "evaluation.json").exists():
        env = ENV + (f":{extra}" if extra else "")
        more = ["--rounds", str(rounds), "--seed", str(seed), "--out", str(folder)]
        run(ranks, "-m", "perla_net.run", "--env", env, *COMMON, *options, *more)
    exact = folder / "evaluation_distflow.json"
    if not exact.exists():
        env = f"{ENV}:flow=distflow" + (f",{extra}" if extra else "")
        run(ranks, "-m", "perla_net.evaluate", str(folder), "--env", env, "--episodes", "50", "--out", str(exact))
    return [json.loads(file.read_text()) for file in (folder / "evaluation.json", exact)]


def line(figures: dict) -> list[str]:
    """Figures as mean and interval."""
    return [
        "{:.3g} ({:.3g} to {:.3g})".format(*(scale * figures[name][part] for part in ("mean", "low", "high")))
        for name, (scale, _) in FIGURES.items()
    ]


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    reader.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    reader.add_argument("--ranks", type=int, default=2)
    reader.add_argument("--rounds", type=int, default=60)
    reader.add_argument("--out", type=Path, default=Path("runs/voltage"))
    reader.add_argument("--table", type=Path)
    given = reader.parse_args()
    tables = [[["seed", "control", *(label for _, label in FIGURES.values())]] for _ in range(2)]
    for seed in given.seeds:
        for number, method in enumerate(given.methods):
            folder = given.out / f"{method.replace(', ', '-')}-seed{seed}"
            for rows, found in zip(tables, evaluations(folder, method, seed, given.ranks, given.rounds)):
                names = {"team, greedy": method, "team, sampled": f"{method}, sampled"}
                if number == 0:
                    names |= {name: name for name in found if not name.startswith("team")}
                rows += [[str(seed), shown, *line(found[name])] for name, shown in names.items()]
            print(folder, flush=True)
    text = head(f"{ENV}, 50 days, mean (95 % interval); {given.rounds} rounds of 16 copies × 120 steps")
    for title, rows in zip(("LinDistFlow", "with losses (as full AC)"), tables):
        text += f"\n{title}\n{columns(rows)}"
    print(text)
    if given.table:
        given.table.parent.mkdir(parents=True, exist_ok=True)
        given.table.write_text(text + "\n")


if __name__ == "__main__":
    main()
