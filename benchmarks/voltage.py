"""Bus-voltage violations on the IEEE 33-bus feeder: learned teams beside no control, droop and central control.

    python benchmarks/voltage.py [--out FOLDER] [--methods ippo perla_ippo "ippo, team" "perla_ippo, team"]
        [--seeds 0 1 2] [--ranks 2] [--episodes 50] [--timeout 3600] [-- OPTIONS OF perla_net.run]

As ``platoon.py``: one training job per method and seed, all on the same held-out days, mean ± 95 % interval over days. They are
played twice: on LinDistFlow, which the teams trained on, and on the branch equations with losses, which give the full AC power
flow's voltages. ``team`` methods learn from the whole team's reward (``reward=team``). A day's reward depends on the actions
of the moment only, so that agents do not look ahead (gamma 0).
"""

from __future__ import annotations

import numpy as np
from measure import head
from teams import arguments_of, around, evaluated, parsed, seconds, trained

from perla_net.ground.text import columns

ENV = "voltage:ieee33"
METHODS = {
    "perla_ippo": ("", ["--algorithm", "perla_ippo", "--samples", "16"]),
    "ippo": ("", ["--algorithm", "ippo"]),
    "perla_ippo, team": ("reward=team", ["--algorithm", "perla_ippo", "--samples", "16"]),
    "ippo, team": ("reward=team", ["--algorithm", "ippo"]),
}
"""Arguments of the environment, and options."""
OPTIONS = [
    *("--topology", "interaction", "--copies", "16", "--horizon", "120", "--rounds", "60", "--returns.gamma", "0"),
    *("--checkpoint-every", "0", "--display", "none"),
]
FIGURES = {
    "outside": (100, ".2f", "buses outside %"),
    "steps_outside": (100, ".2f", "steps with any %"),
    "deviation": (1, ".4f", "worst, pu"),
    "losses": (1000, ".1f", "losses kW"),
}
"""Figure → scale, form, heading."""
FLOWS = {"LinDistFlow": [], "with losses (as full AC)": ["flow=distflow"]}


def env_of(*arguments: str) -> str:
    """The environment with arguments, those that are empty left out."""
    given = ",".join(filter(None, arguments))
    return f"{ENV}:{given}" if given else ENV


def main() -> None:
    reader = arguments_of(__doc__, "runs/voltage", 2, 50)
    given, more = parsed(reader)
    for method in given.methods:
        if method not in METHODS:
            reader.error(f"--methods {method}: there are {', '.join(METHODS)}")
    tables = {flow: [["", *(heading for *_, heading in FIGURES.values()), "trained in s"]] for flow in FLOWS}
    means: dict[tuple[str, str], list[float]] = {}
    for method in given.methods:
        reward, options = METHODS[method]
        for seed in given.seeds:
            folder = given.out / f"{method.replace(', ', '-')}-{seed}"
            trained(
                folder,
                given.ranks,
                given.timeout,
                ["--env", env_of(reward), "--seed", str(seed), *OPTIONS, *options, *more],
            )
            for (flow, argument), rows in zip(FLOWS.items(), tables.values()):
                found = evaluated(folder, given.episodes, env_of(*argument, reward))
                if len(rows) == 1:
                    rows += [[name, *_cells(found[name]), ""] for name in found if not name.startswith("team")]
                for mode in ("greedy", "sampled"):
                    figures = found[f"team, {mode}"]
                    rows.append([f"{method}, seed {seed}, {mode}", *_cells(figures), f"{seconds(folder):.0f}"])
                    means.setdefault((flow, f"{method}, {mode}"), []).append(100 * float(np.mean(figures["outside"])))
    print(head(f"{ENV}, {given.episodes} held-out days"))
    for flow, rows in tables.items():
        print(f"\n{flow}\n{columns(rows)}")
        for (where, name), outside in means.items() if len(given.seeds) > 1 else ():
            if where == flow:
                print(f"  {name}: buses outside %, over seeds {around(outside, '.2f')}")


def _cells(figures: dict[str, list[float]]) -> list[str]:
    return [around([scale * value for value in figures[name]], form) for name, (scale, form, _) in FIGURES.items()]


if __name__ == "__main__":
    main()
