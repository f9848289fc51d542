"""The platoon: teams trained on the interaction graph against the constant action (0.5, 0.5), both scenarios.

    python benchmarks/platoon.py [--out FOLDER] [--scenarios catchup slowdown] [--methods perla_ippo ippo]
        [--seeds 0 1 2] [--ranks 2] [--episodes 50] [--timeout 3600] [-- OPTIONS OF perla_net.run]

Every team is trained by a job of its own with ``OPTIONS``; what is in the folder already is not repeated. All then
drive the same held-out episodes. Printed is the plain cost per vehicle and step, mean ± 95 % interval over episodes,
and its difference to the constant action's, episode by episode (the cost depends much more on where an episode starts
than on who drives).
"""

from __future__ import annotations

from measure import head
from teams import arguments_of, around, evaluated, minus, parsed, seconds, trained

from perla_net.ground.text import columns

OPTIONS = [
    *("--agents", "8", "--topology", "interaction", "--reward.mixing", "neighbourhood"),
    *("--horizon", "60", "--checkpoint-every", "0", "--display", "none"),
    *("--returns.gamma", "0.97", "--returns.entropy", "0"),
]
LENGTH = {
    "catchup": ["--copies", "32", "--rounds", "300", "--ppo.minibatch", "960"],
    "slowdown": ["--copies", "64", "--rounds", "400", "--ppo.minibatch", "1920"],
}
"""Shorter trainings of slowdown leave some teams that are good when sampled and collide when greedy."""


def main() -> None:
    reader = arguments_of(__doc__, "runs/platoon", 2, 50)
    reader.add_argument("--scenarios", nargs="+", default=["catchup", "slowdown"])
    given, more = parsed(reader)
    print(head(f"platoon, plain cost per vehicle and step, {given.episodes} held-out episodes"))
    for scenario in given.scenarios:
        rows = [["", "cost", "minus constant", "headway error m", "closest m", "collided", "trained in s"]]
        env = f"platoon:{scenario}:observe=neighbours"
        gained: dict[str, list[float]] = {}
        for method in given.methods:
            for seed in given.seeds:
                folder = given.out / f"{scenario}-{method}-{seed}"
                options = ["--env", env, "--algorithm", method, "--seed", str(seed), *OPTIONS, *LENGTH[scenario], *more]
                trained(folder, given.ranks, given.timeout, options)
                found = evaluated(folder, given.episodes)
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
