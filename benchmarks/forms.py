"""Which form of the embedding learns best? Base, state, action, control and a central critic on a strongly coupled game.

    PYTHONPATH=benchmarks python benchmarks/forms.py [--seeds 6] [--rounds 40]

The game is ``ring_game`` with 8 agents, once with everyone's own payoff on a ring, once with the team's mean on the
complete graph (K = 16 samples of 4^7 joint actions). Each seed has its own payoffs and the same for every method;
reported is the mean payoff per agent and step around a quarter, half and the end of training, with Student's interval
over seeds, and the paired difference to the base algorithm. ``learning_curves.py --methods ippo perla_ring -- --form …``
does the same for traffic.
"""

from __future__ import annotations

import argparse
import multiprocessing

from measure import head

TOGETHER = {"order": "together"}
"""Embedded networks that learn with the policy."""
METHODS = {
    "ippo": {"algorithm": "ippo"},
    "perla state": {"form": "state", "critic": TOGETHER},
    "perla action": {"form": "action", "critic": TOGETHER},
    "perla control": {"form": "control", "critic": TOGETHER | {"coefficient": "one"}},
    "mappo": {"algorithm": "mappo"},
}


def train(job: tuple[str, bool, int, int]) -> list[float]:
    """Mean payoff per agent and step, by round, of one method on one game."""
    name, team, seed, rounds = job
    from perla_net.ground.processes import Processes
    from perla_net.settings.options import validated
    from perla_net.simulation.prepare import prepare
    from perla_net.simulation.simulation import Simulation

    options = {
        "env": f"pettingzoo:ring_game:agents=8,game={seed},team={str(team).lower()}",
        "topology": "complete" if team else "ring",
        "samples": 16, "copies": 64, "horizon": 8, "rounds": rounds, "seed": seed, "ppo": {"minibatch": 128, "epochs": 4},
    }  # fmt: skip
    simulation = Simulation(prepare(validated(options | METHODS[name])), Processes())
    simulation.start()
    rows = [simulation.round()["metrics"] for _ in range(rounds)]
    return [row["team_reward"] / 8 for row in rows]


def main() -> None:
    from perla_net.ground.text import columns
    from perla_net.records.display import interval

    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--seeds", type=int, default=6)
    reader.add_argument("--rounds", type=int, default=40)
    given = reader.parse_args()
    print(head(f"payoff per agent and step, {given.seeds} seeds, {given.rounds} rounds of 512 steps"))
    jobs = [
        (name, team, seed, given.rounds) for team in (False, True) for seed in range(given.seeds) for name in METHODS
    ]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        results = dict(zip(jobs, pool.map(train, jobs, chunksize=1)))
    marks = [given.rounds // 4, given.rounds // 2, given.rounds]

    def at(name: str, team: bool, seed: int, mark: int) -> float:
        values = results[name, team, seed, given.rounds][max(0, mark - 4) : mark]
        return sum(values) / len(values)

    for team in (False, True):
        print("team's mean, complete graph" if team else "own payoff, ring")
        rows = [["method", *(f"round {mark}" for mark in marks), "difference to ippo at the end"]]
        for name in METHODS:
            cells = []
            for mark in marks:
                found = interval([at(name, team, seed, mark) for seed in range(given.seeds)])
                cells.append(f"{found['mean']:.3f} ± {(found['high'] - found['low']) / 2:.3f}")
            paired = interval(
                [at(name, team, seed, marks[-1]) - at("ippo", team, seed, marks[-1]) for seed in range(given.seeds)]
            )
            rows.append([name, *cells, f"{paired['mean']:+.3f} ± {(paired['high'] - paired['low']) / 2:.3f}"])
        print(columns(rows))


if __name__ == "__main__":
    main()
