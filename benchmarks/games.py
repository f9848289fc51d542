"""Where independent PPO and PPO with policy messages end up in the small games, over seeds.

    python benchmarks/games.py [--games climbing ipd …] [--algorithms ippo perla_ippo] [--seeds 5]
        [--rounds 40] [--table FILE.md]

Every run is in this process and takes a few seconds. Shown is what the greedy team does after training: in how many
runs all play a joint action of the greatest joint payoff in every step, and payoff (mean reward of an agent and step;
greatest possible beside it) and the game's own figure, means over seeds with 95 % intervals (Student's t).
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from measure import head

import perla_net
from perla_net.ground.text import columns
from perla_net.records.display import interval
from perla_net.settings.config import Agents, Config, Optimiser, Returns

GAMES: dict[str, tuple[str, int, str]] = {
    "climbing": ("games:climbing", 2, "11"),
    "climbing, ring of 6": ("games:climbing:graph=ring", 6, "11"),
    "penalty, k = 0": ("games:penalty:k=0", 2, "10"),
    "penalty, k = -100": ("games:penalty:k=-100", 2, "10"),
    "qtran": ("games:qtran", 2, "8"),
    "qtran, second": ("games:qtran:variant=2", 2, "8"),
    "two_step": ("games:two_step", 2, "4"),
    "ipd": ("games:ipd", 2, "-1"),
    "ipd, ring of 6": ("games:ipd:graph=ring", 6, "-1"),
    "matching_pennies": ("games:matching_pennies", 2, "0"),
    "tandem": ("games:tandem", 2, "0.25"),
    "hamiltonian": ("games:hamiltonian", 2, "0"),
}
"""Environment, agents, greatest mean payoff."""
DISCOUNT = {"ipd": 0.96, "matching_pennies": 0.9}
"""As in the literature; elsewhere 0.99."""


def config_of(game: str, algorithm: str, rounds: int) -> Config:
    """A run of a game, all agents neighbours of those they play with."""
    env, agents, _ = GAMES[game]
    name = env.split(":")[1]
    return Config(
        env=env,
        agents=Agents(number=agents),
        topology="interaction",
        algorithm=algorithm,
        copies=32,
        horizon=25,
        rounds=rounds,
        optimiser=Optimiser(learning_rate=0.01, critic_learning_rate=0.01),
        returns=Returns(gamma=DISCOUNT.get(name, 0.99)),
        evaluate_episodes=4,
        checkpoint_every=0,
        display="none",
    )


def trained(config: Config, seed: int) -> dict[str, Any]:
    """What the greedy team does after a run."""
    with tempfile.TemporaryDirectory() as folder:
        result = perla_net.train(replace(config, seed=seed, out=str(Path(folder) / "run")))
    if result.evaluation is None:
        raise SystemExit("stopped")
    return {name: found["mean"] for name, found in result.evaluation["team, greedy"].items()}


def around(values: list[float]) -> str:
    """Mean ± half of the 95 % interval."""
    found = interval(values)
    return f"{found['mean']:.2f} ± {(found['high'] - found['low']) / 2:.2f}"


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--games", nargs="+", default=list(GAMES), choices=list(GAMES))
    reader.add_argument("--algorithms", nargs="+", default=["ippo", "perla_ippo"])
    reader.add_argument("--seeds", type=int, default=5)
    reader.add_argument("--rounds", type=int, default=40)
    reader.add_argument("--table", type=Path)
    given = reader.parse_args()
    rows = [["game", "algorithm", "runs at an optimum", "payoff", "best", "own figure"]]
    for game in given.games:
        for algorithm in given.algorithms:
            config = config_of(game, algorithm, given.rounds)
            runs = [trained(config, seed) for seed in range(given.seeds)]
            optimal = [run["optimal"] > 1 - 1e-9 for run in runs if "optimal" in run]
            own = [name for name in runs[0] if name not in ("return", "payoff", "optimal")]
            rows.append(
                [
                    game,
                    algorithm,
                    f"{sum(optimal)} of {len(optimal)}" if optimal else "-",
                    around([run["payoff"] for run in runs]),
                    GAMES[game][2],
                    ", ".join(f"{name} {around([run[name] for run in runs])}" for name in own) or "-",
                ]
            )
            print("  ".join(rows[-1]), flush=True)
    text = (
        head(f"greedy teams after {given.rounds} rounds of 32 copies × 25 steps, {given.seeds} seeds")
        + "\n"
        + columns(rows)
    )
    print(text)
    if given.table:
        given.table.write_text(text + "\n")


if __name__ == "__main__":
    main()
