"""Learning curves of several methods over seeds, with intervals; and the trained teams beside the reference controllers.

    python benchmarks/learning_curves.py [--methods ippo perla_ring …] [--seeds 0 1 2] [--ranks 2] [--out FOLDER]
        [--plot FILE.png] [-- OPTIONS OF perla_net.run]

Each run is a job of its own, one after the other; runs that are in the folder already are not repeated. Numbers do not
depend on --ranks. Intervals are Student's t over seeds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from measure import head, start

from perla_net.ground.text import columns
from perla_net.records.display import interval

METHODS = {
    "default": [],
    "ippo": ["--algorithm", "ippo"],
    "perla_ring": ["--algorithm", "perla_ippo", "--topology", "ring"],
    "perla_grid": ["--algorithm", "perla_ippo", "--topology", "grid", "--samples", "16"],
    "perla_complete": ["--algorithm", "perla_ippo", "--topology", "complete", "--samples", "16"],
    "mappo": ["--algorithm", "mappo"],
}


def finished(folder: Path) -> bool:
    """True when a run is there with its evaluation."""
    return (folder / "evaluation.json").exists()


def curve(folder: Path, figure: str) -> dict[int, float]:
    """A figure by round, of the rounds in which episodes ended."""
    found = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["figures"].get(figure) is not None:
            found[row["round"]] = row["figures"][figure]
        elif figure == "return" and row["team_return"] is not None:
            found[row["round"]] = row["team_return"]
    return found


def around(points: dict[int, float], middle: int, width: int = 2) -> float:
    """Mean over the rounds within ``width`` of one."""
    near = [value for at, value in points.items() if abs(at - middle) <= width]
    return sum(near) / len(near)


def text(values: list[float]) -> str:
    """Mean ± half the interval."""
    found = interval(values)
    return f"{found['mean']:.1f} ± {(found['high'] - found['low']) / 2:.1f}"


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--methods", nargs="+", default=[name for name in METHODS if name != "default"])
    reader.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    reader.add_argument("--ranks", type=int, default=2)
    reader.add_argument("--out", type=Path, default=Path("runs/learning_curves"))
    reader.add_argument("--figure", default="delay", help="figure of the environment, or return")
    reader.add_argument("--plot", type=Path)
    given, options = reader.parse_known_args()
    options = [option for option in options if option != "--"]
    folders = {name: [given.out / f"{name}-{seed}" for seed in given.seeds] for name in given.methods}
    for seed_index, seed in enumerate(given.seeds):
        for name in given.methods:
            folder = folders[name][seed_index]
            if not finished(folder):
                arguments = ["--agents", "16", "--seed", str(seed), "--out", str(folder), *METHODS[name], *options]
                process = start(given.ranks, "-m", "perla_net.run", *arguments)
                process.communicate()
                if process.returncode:
                    raise SystemExit(f"{name}, seed {seed}: exit status {process.returncode}")
    print(
        head(
            f"{given.figure} by round; mean ± 95 % interval over seeds {given.seeds}; options {' '.join(options) or 'default'}"
        )
    )
    curves = {name: [curve(folder, given.figure) for folder in places] for name, places in folders.items()}
    last = min(max(points) for places in curves.values() for points in places)
    marks = sorted({max(5, round(last * share)) for share in (0.2, 0.4, 0.6, 0.8, 1.0)})
    rows = [["method", *(f"round {mark}" for mark in marks), "greedy", "sampled"]]
    references: dict[str, dict[int, float]] = {}  # by seed: they are the same beside every method
    for name, places in folders.items():
        evaluations = [json.loads((folder / "evaluation.json").read_text()) for folder in places]
        final = [
            text([one[f"team, {mode}"][given.figure]["mean"] for one in evaluations]) for mode in ("greedy", "sampled")
        ]
        rows.append([name, *(text([around(points, mark) for points in curves[name]]) for mark in marks), *final])
        for seed, one in zip(given.seeds, evaluations):
            for controller, figures in one.items():
                if not controller.startswith("team"):
                    references.setdefault(controller, {})[seed] = figures[given.figure]["mean"]
    print(columns(rows))
    for controller, values in references.items():
        print(f"  {controller}: {text(list(values.values()))}")
    if given.plot:
        plot(curves, given.figure, given.plot)


def plot(curves: dict[str, list[dict[int, float]]], figure: str, file: Path) -> None:
    """Means over seeds with intervals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    canvas, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for name, places in curves.items():
        rounds = sorted(set.intersection(*(set(points) for points in places)))
        bands = [interval([points[at] for points in places]) for at in rounds]
        axes.plot(rounds, [band["mean"] for band in bands], label=name)
        axes.fill_between(rounds, [band["low"] for band in bands], [band["high"] for band in bands], alpha=0.15)
    axes.set(xlabel="round", ylabel=figure)
    axes.set_yscale("log" if figure == "delay" else "linear")
    axes.legend()
    canvas.savefig(file, dpi=130)


if __name__ == "__main__":
    main()
