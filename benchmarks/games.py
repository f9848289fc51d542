"""Where all methods for two end up in the small games, over seeds, beside what they must come to by what they can represent.

    python benchmarks/games.py [--games climbing …] [--methods qmix …] [--seeds 10] [--keep FILE.jsonl]
        [--markdown docs/studies/small_games.md]

One run after another in this process, about a second each. With ``--keep`` every run is a line of that file, and those that are there already are
not made again, so that several processes, or a second call, can share the work. Shown is what the greedy team does after training: payoff of a step (of
two_step: of the episode), mean over seeds, and joint actions; what must come out is solved in ``game_answers.py``. "off by": root mean square difference between the
learned table and the nearest one that the method can come to, median over seeds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any, Sequence

import numpy as np
from game_answers import GAMMA, PENALTY, STAGES, answer
from game_tables import did, paid, tables
from measure import head

from perla_net.ground.processes import Processes
from perla_net.ground.text import columns
from perla_net.settings.options import validated
from perla_net.simulation.prepare import prepare
from perla_net.simulation.simulation import Simulation

ENVIRONMENTS = {
    "qtran": "games:qtran",
    "qtran, second": "games:qtran:variant=2",
    "two_step": "games:two_step",
    "climbing": "games:climbing",
    "penalty": f"games:penalty:k={PENALTY}",
}
UNIFORM = {"kind": "epsilon", "start": 1.0, "end": 1.0}
QUICK = {"exploration": UNIFORM, "begin": 100, "target_every": 20}
TABLES = {
    "copies": 32,
    "rounds": 8,
    "optimiser": {"method": "sgd", "learning_rate": 0.5, "critic_learning_rate": 0.5, "max_gradient_norm": 0.0},
    "model": {"policy_hidden": [], "critic_hidden": []},
    "own": QUICK | {"updates": 40, "batch": 256},
}
"""Utilities that are tables, moved by plain gradients; exploring uniformly."""
MIXED = {
    "copies": 32,
    "rounds": 12,
    "optimiser": {"learning_rate": 0.01, "critic_learning_rate": 0.01, "max_gradient_norm": 0.0},
    "model": {"policy_hidden": []},
    "own": QUICK | {"updates": 50, "batch": 32},
}
"""The same beneath a mixer, moved by Adam."""
WEIGHTED = MIXED | {"own": MIXED["own"] | {"updates": 70, "central": 64}}
BOUND = MIXED | {"own": MIXED["own"] | {"opt_weight": 0.1}}
"""QTRAN-base: where the greedy joint action is not the best, one loss holds the utilities there in every step, and the other, which pulls them away, acts
where the best one is drawn."""
SLOW = MIXED | {
    "optimiser": MIXED["optimiser"] | {"learning_rate": 0.002, "critic_learning_rate": 0.003, "schedule": "constant"},
    "model": {"policy_hidden": [], "policy_gain": 1.0},
    "own": MIXED["own"] | {"updates": 60},
}
"""QPLEX: utilities that come close to one another need great weights λ, which take time."""
POLICY = {
    "copies": 64,
    "rounds": 60,
    "optimiser": {"learning_rate": 0.04, "critic_learning_rate": 0.02, "schedule": "constant"},
    "model": {"policy_hidden": [], "critic_hidden": [16]},
    "returns": {"entropy": 0.02},
}
PPO = POLICY | {"ppo": {"minibatch": 512, "epochs": 6}}
A2C = POLICY | {"rounds": 45, "a2c": {"minibatch": 64}}
DETERMINISTIC = {
    "copies": 32,
    "rounds": 10,
    "optimiser": {"learning_rate": 0.01, "critic_learning_rate": 0.01, "schedule": "constant"},
    "model": {"policy_hidden": [], "critic_hidden": [32]},
    "own": {"begin": 100, "updates": 60, "batch": 128, "target_rate": 0.05},
}
EMBEDDED = DETERMINISTIC | {
    "optimiser": DETERMINISTIC["optimiser"] | {"learning_rate": 0.02},
    "own": DETERMINISTIC["own"] | {"regularisation": 0.03},
}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "iql": ("means", TABLES),
    "perla_iql": ("joint means", TABLES),
    "mean_field_q": ("field", TABLES),
    "vdn": ("additive", TABLES),
    "perla_vdn": ("additive", TABLES),
    "qmix": ("monotonic", MIXED),
    "ow_qmix": ("optimistic", WEIGHTED),
    "cw_qmix": ("central", WEIGHTED),
    "qplex": ("any", SLOW),
    "qtran_base": ("any", BOUND),
    "qtran_alt": ("any", MIXED),
    "maddpg": ("remembered", DETERMINISTIC),
    "perla_maddpg": ("flow", EMBEDDED),
    "ippo": ("flow", PPO),
    "mappo": ("flow", PPO),
    "happo": ("flow", PPO),
    "perla_ippo": ("flow", PPO),
    "perla_mappo": ("flow", PPO),
    "coma": ("flow", A2C),
    "perla_coma": ("flow", A2C | {"critic": {"passes": 3}}),
    "perla_ia2c": ("flow", A2C),
    "mean_field_ac": ("flow", A2C | {"critic": {"passes": 3, "window": 1}}),
}
"""What kind of learner it is, and its settings."""
MORE: dict[tuple[str, str], dict[str, Any]] = {
    ("ow_qmix", "two_step"): {"updates": 150},
    ("cw_qmix", "two_step"): {"updates": 100},
}
"""Options of a method's own that a game takes beyond these."""


def trained(method: str, game: str, seed: int) -> Simulation:
    """A run, to its end."""
    whole = {"env": ENVIRONMENTS[game], "algorithm": method, "agents": 2, "topology": "complete", "seed": seed}
    settings = dict(METHODS[method][1])
    own = settings.pop("own", {}) | MORE.get((method, game), {})
    returns = settings.pop("returns", {}) | {"gamma": GAMMA if game == "two_step" else 0.0}
    whole |= {"horizon": 8, "returns": returns} | settings | ({method: own} if own else {})
    simulation = Simulation(prepare(validated(whole)), Processes())
    simulation.start()
    for _ in range(simulation.config.rounds):
        simulation.round()
    return simulation


def result(method: str, game: str, seed: int) -> dict[str, Any]:
    """What is kept of a run."""
    methods = trained(method, game, seed).methods
    done = did(methods, game)
    learned = {name: table.round(2).tolist() for name, table in tables(methods, game).items()}
    return {"method": method, "game": game, "seed": seed, "did": done, "paid": paid(done, game), "tables": learned}


def off_by(run: dict[str, Any]) -> tuple[float, bool]:
    """(distance to the nearest table that the method can come to, whether it acts as one must who has that); NaN where none is learned."""
    kind = METHODS[run["method"]][0]
    found = answer(kind, run["game"])
    learned = [np.array(table) for table in run["tables"].values()][: len(found.fits[0].tables)]
    if not learned:
        return np.nan, False
    away = [np.concatenate([(one - other).ravel() for one, other in zip(learned, fit.tables)]) for fit in found.fits]
    distances = [float((one**2).mean() ** 0.5) for one in away]
    nearest = found.fits[int(np.argmin(distances))]
    names = {str(pair) for pair in nearest.greedy}
    return min(distances), run["did"].removeprefix("2B ") in names


HEAD = ["game", "method", "paid", "does (seeds)", "must pay", "must do", "reached", "another valley", "table off by"]


def row_of(runs: Sequence[dict[str, Any]]) -> list[str]:
    """A line of the table."""
    first = runs[0]
    found = answer(METHODS[first["method"]][0], first["game"])
    counts = Counter(run["did"] for run in runs)
    reached = sum(run["did"] in found.done for run in runs)
    distances = [off_by(run) for run in runs]
    valley = sum(run["did"] not in found.done and acts for run, (_, acts) in zip(runs, distances))
    away = statistics.median(distance for distance, _ in distances)
    return [
        first["game"],
        first["method"],
        f"{np.mean([run['paid'] for run in runs]):.1f}",
        ", ".join(f"{name} {number}" for name, number in counts.most_common()),
        " or ".join(f"{value:g}" for value in sorted(found.paid)),
        " ".join(sorted(found.done)),
        f"{reached} of {len(runs)}",
        str(valley) if reached < len(runs) else "-",
        "-" if np.isnan(away) else f"{away:.2f}",
    ]


def sections(runs: Sequence[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Runs by game and method, in the order of these."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for game in STAGES:
        for method in METHODS:
            some = sorted(
                (run for run in runs if (run["game"], run["method"]) == (game, method)), key=lambda r: r["seed"]
            )
            if some:
                found[game, method] = some
    return found


def markdown(runs: Sequence[dict[str, Any]]) -> str:
    """The table of each game; folded behind it the joint tables of the first seed that did what most did."""
    parts = []
    found = sections(runs)
    for game, payoff in STAGES.items():
        mine = {method: some for (one, method), some in found.items() if one == game}
        if not mine:
            continue
        shown = "; ".join(" ".join(f"{value:g}" for value in line) for line in payoff)
        parts += [f"### {game}", "", f"Payoffs {shown}{' in 2B; 2A pays 7' if game == 'two_step' else ''}.", ""]
        parts += ["| " + " | ".join(HEAD[1:]) + " |", "|---" * len(HEAD[1:]) + "|"]
        parts += ["| " + " | ".join(row_of(some)[1:]) + " |" for some in mine.values()]
        parts += ["", "<details><summary>What was learned, in one seed each</summary><pre>"]
        for method, some in mine.items():
            usual = Counter(run["did"] for run in some).most_common(1)[0][0]
            run = next(run for run in some if run["did"] == usual)
            for name, table in run["tables"].items():
                parts.append(f"{method}, seed {run['seed']}, {name}")
                parts += ["  " + " ".join(f"{v:8.2f}" for v in line) for line in np.atleast_2d(np.array(table))]
        parts += ["</pre></details>", ""]
    return "\n".join(parts).strip() + "\n"


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--games", nargs="+", default=list(STAGES), choices=list(STAGES))
    reader.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    reader.add_argument("--seeds", type=int, default=10)
    reader.add_argument("--keep", type=Path, help="a file of runs, read and continued")
    reader.add_argument("--markdown", type=Path, help="a page whose part below '## The table' is written anew")
    given = reader.parse_args()
    runs = (
        [json.loads(line) for line in given.keep.read_text().splitlines()] if given.keep and given.keep.exists() else []
    )
    there = {(run["method"], run["game"], run["seed"]) for run in runs}
    asked = [(m, g, s) for m in given.methods for g in given.games for s in range(given.seeds)]
    missing = [one for one in asked if one not in there]
    began = time.perf_counter()
    for number, one in enumerate(missing, 1):
        runs.append(result(*one))
        if given.keep:
            with given.keep.open("a") as file:
                file.write(json.dumps(runs[-1]) + "\n")
        passed = time.perf_counter() - began
        print(
            f"\r{number} of {len(missing)} runs, {passed:.0f} s, {passed / number * (len(missing) - number):.0f} s to go: "
            f"{one[0]}, {one[1]}, seed {one[2]}: {runs[-1]['did']}".ljust(110),
            end="\n" if number % 10 == 0 else "",
            flush=True,
        )
    runs = [run for run in runs if (run["method"], run["game"], run["seed"]) in set(asked)]
    print("\n" + head(f"greedy teams in the small games, {given.seeds} seeds"))
    print(columns([HEAD, *(row_of(some) for some in sections(runs).values())]))
    if given.markdown:
        page, marker = given.markdown.read_text(), "## The table\n"
        given.markdown.write_text(page.split(marker)[0] + marker + "\n" + markdown(runs))


if __name__ == "__main__":
    main()
