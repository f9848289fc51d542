"""What learning-aware agents reach in the games whose answers are known: LOLA beside the naive gradient, HOLA and COLA beside closed forms.

    python benchmarks/aware.py [--parts exact sampled consistency] [--pairs 30] [--rounds 200] [--seed 0]

``exact``: iterated prisoner's dilemma (γ = 0.96) and matching pennies (γ = 0.9), log odds from N(0, 1), α = η = 1 (Foerster et al. 2018): payoff of a step
by the exact values; in the dilemma how many pairs cooperate (better than −1.25) and defect (worse than −1.75), in pennies how far the greatest of the ten
probabilities is from the equilibrium's 1/2. ``sampled``: the dilemma by DiCE, a linear policy, 32 copies × 150 steps a round. ``consistency``: where HOLA
of several orders and COLA (linear networks) settle in tandem and hamiltonian, their inconsistency there and within the range, and what closed forms say:
of tandem the sum x + y, of hamiltonian the factor by which a round takes both nearer to 0.

The pairs of a table are one run, the edges of one graph: two agents a seed, each with random streams of its own.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any, Iterator

import networkx
import numpy as np
import torch
from measure import head

from perla_net.ground.processes import Processes
from perla_net.ground.text import columns
from perla_net.methods.pair_games import numbers_of, pair_game
from perla_net.settings.options import validated
from perla_net.simulation.prepare import prepare
from perla_net.simulation.simulation import Simulation

RATE = 0.1
"""α of HOLA and COLA."""


def trained(env: str, algorithm: str, pairs: int, rounds: int, seed: int, **settings: Any) -> Iterator[Simulation]:
    """A run of so many pairs: before the first round, and after each."""
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "pairs.graphml"
        networkx.write_graphml(networkx.Graph([(2 * k, 2 * k + 1) for k in range(pairs)]), graph)
        whole = {"env": f"{env}:graph={graph}", "algorithm": algorithm, "agents": 2 * pairs, "topology": "interaction"}
        whole |= {"copies": 1, "horizon": 1, "rounds": rounds, "seed": seed}
        simulation = Simulation(prepare(validated(whole | settings)), Processes())
    simulation.start()
    yield simulation
    for _ in range(rounds):
        simulation.round()
        yield simulation


def last(runs: Iterator[Simulation]) -> Simulation:
    """A run when it is over."""
    return deque(runs, 1)[0]


def numbers(simulation: Simulation) -> torch.Tensor:
    """What all play by, [pairs, 2, n]."""
    team = simulation.team
    found = [numbers_of(team, method.index, method.policy) for method in simulation.methods]
    return torch.stack(found).unflatten(0, (-1, 2))


def payoffs(simulation: Simulation) -> np.ndarray:
    """Mean payoff of a step by the exact values, [pairs, 2]."""
    game, plays = pair_game(simulation.team, 0, 1), numbers(simulation)
    return game.share * torch.stack(game.values(plays[:, 0], plays[:, 1]), 1).numpy()


def row_of(simulation: Simulation, game: str, how: str, seconds: float) -> list[str]:
    """A line of the tables of the iterated games."""
    paid = payoffs(simulation)
    line = [game, how, f"{paid.mean():.3f}"]
    if game == "ipd":
        both = paid.mean(1)
        line += [f"{(both > -1.25).sum()} of {len(both)}", f"{(both < -1.75).sum()}", "-"]
    else:
        away = (torch.sigmoid(numbers(simulation)) - 0.5).abs().amax((1, 2))
        line += ["-", "-", f"{away.mean():.2f}"]
    return [*line, f"{seconds:.0f} s"]


HEAD = ["game", "learner", "payoff a step", "cooperate", "defect", "from 1/2", "time"]


def exact(pairs: int, rounds: int, seed: int) -> str:
    """LOLA in its published forms, and the naive gradient."""
    rows = [HEAD]
    for game, gamma in (("ipd", 0.96), ("matching_pennies", 0.9)):
        for how in ("naive", "shaping", "surrogate", "step"):
            began = time.perf_counter()
            options = {"update": "shaping" if how == "naive" else how, "lookahead": 0.0 if how == "naive" else 1.0}
            simulation = last(
                trained(f"games:{game}", "lola", pairs, rounds, seed, lola=options, returns={"gamma": gamma})
            )
            how = how if how == "naive" else f"lola, {how}"
            rows.append(row_of(simulation, game, how, time.perf_counter() - began))
            print("  ".join(rows[-1]), flush=True)
    return columns(rows)


def sampled(pairs: int, rounds: int, seed: int) -> str:
    """The dilemma from trajectories."""
    rows = [HEAD]
    for how in ("naive", "shaping", "surrogate", "step"):
        began = time.perf_counter()
        options = {"gradient": "dice", "rate": 0.1, "update": "shaping" if how == "naive" else how}
        options |= {"lookahead": 0.0 if how == "naive" else 1.0}
        settings = {"copies": 32, "horizon": 150, "returns": {"gamma": 0.96}, "model": {"policy_hidden": []}}
        for number, simulation in enumerate(
            trained("games:ipd", "lola", pairs, rounds, seed, lola=options, **settings)
        ):
            if number % 25 == 0:
                print(f"{how}, round {number}: {payoffs(simulation).mean():.3f} a step", flush=True)
        how = how if how == "naive" else f"lola, {how}"
        rows.append(row_of(simulation, "ipd", how, time.perf_counter() - began))
        print("  ".join(rows[-1]), flush=True)
    return columns(rows)


def tandem(order: int) -> tuple[float, float]:
    """hⁿ = p (x + y) + q of both players."""
    p = q = 0.0
    for _ in range(order + 1):
        p, q = -2 * RATE * (1 + p) ** 2, -2 * RATE * ((1 + p) * q - 1)
    return p, q


def hamiltonian(order: int) -> np.ndarray:
    """hⁿ is this matrix times (x, y)."""
    a = b = c = d = 0.0
    for _ in range(order + 1):
        a, b, c, d = -2 * RATE * c, -RATE * (1 + d), RATE * (1 + a), 2 * RATE * b
    return np.array([[a, b], [c, d]])


def consistency(pairs: int, rounds: int, seed: int) -> str:
    """HOLA and COLA in the games of one number."""
    rows = [["game", "learner", "settles", "closed form", "inconsistency there", "within the range", "beyond", "time"]]
    linear = {"hidden": [], "begin": 500, "updates": 2, "learning_rate": 0.02}
    for game in ("tandem", "hamiltonian"):
        for order in (0, 1, 2, 4, None):
            began = time.perf_counter()
            algorithm = "cola" if order is None else "hola"
            options = linear if order is None else {"order": order}
            runs = trained(f"games:{game}", algorithm, pairs, rounds, seed, **{algorithm: options | {"rate": RATE}})
            before = numbers(next(runs)).clone()
            simulation = last(runs)
            method = simulation.methods[0]
            found = method.measure()
            closed = 200 if order is None else order  # COLA's steps are the limit of HOLA's
            after = numbers(simulation)[..., 0]
            if game == "tandem":
                p, q = tandem(closed)
                settles, right = f"x + y = {after.sum(1).mean():.4f}", f"{-q / p:.4f}"
            else:
                factor = (after.norm(dim=1) / before[..., 0].norm(dim=1)).log().mean() / rounds
                right = f"{np.abs(np.linalg.eigvals(np.eye(2) + hamiltonian(closed))).max():.5f}"
                settles = f"× {factor.exp():.5f} a round"
            measured = [f"{found[name]:.1e}" for name in ("consistency_here", "consistency", "consistency_beyond")]
            how = algorithm if order is None else f"{algorithm}, order {order}"
            rows.append([game, how, settles, right, *measured, f"{time.perf_counter() - began:.0f} s"])
            print("  ".join(rows[-1]), flush=True)
    return columns(rows)


PARTS = {"exact": exact, "sampled": sampled, "consistency": consistency}


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    reader.add_argument("--pairs", type=int, default=30)
    reader.add_argument("--rounds", type=int, default=200)
    reader.add_argument("--seed", type=int, default=0)
    given = reader.parse_args()
    tables = [PARTS[part](given.pairs, given.rounds, given.seed) for part in given.parts]
    print(head(f"{', '.join(given.parts)}: {given.pairs} pairs of players, {given.rounds} rounds"))
    print("\n\n".join(tables))


if __name__ == "__main__":
    main()
