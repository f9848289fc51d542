"""Wireless multi-access: teams trained on the interaction graph against slotted ALOHA and the uniform policy.

    python benchmarks/wireless.py [--out FOLDER] [--methods perla_ippo ippo] [--seeds 0 1 2] [--ranks 2] [--episodes 50]
        [--timeout 3600] [--scan] [-- OPTIONS OF perla_net.run]

As ``platoon.py``: one training job per method and seed, all on the same held-out episodes; printed are packets
delivered per user and step, mean ± 95 % interval over episodes, and the difference to ALOHA's, episode by episode.
``--scan`` prints what ALOHA delivers by its probability (the reference controller takes the best).
"""

from __future__ import annotations

import numpy as np
from measure import head
from teams import arguments_of, around, evaluated, minus, parsed, seconds, trained

from perla_net.ground.text import columns
from perla_net.world.networked.wireless import Aloha, Wireless

OPTIONS = [
    *("--env", "wireless:grid", "--topology", "interaction", "--samples", "16", "--checkpoint-every", "0"),
    *("--reward.mixing", "neighbourhood", "--reward.spatial-discount", "1", "--display", "none"),
    *("--copies", "64", "--horizon", "20", "--rounds", "100", "--ppo.minibatch", "640", "--ppo.epochs", "4"),
    *("--returns.gamma", "0.8", "--returns.entropy", "0.02"),
    *("--optimiser.learning-rate", "4e-3", "--optimiser.critic-learning-rate", "4e-3"),
]


def scan(episodes: int) -> None:
    """Throughput of ALOHA by the probability with which a user sends."""
    for probability in np.arange(1, 11) / 10:
        network = Wireless(episodes)
        network.reset(np.arange(episodes), [np.random.SeedSequence(99, spawn_key=(copy,)) for copy in range(episodes)])
        acting = Aloha(network, probability)
        for _ in range(network.horizon):
            network.step(list(acting.act(network)))
        print(
            f"  ALOHA, {probability:.1f}: {around(network.metrics(np.arange(episodes))['throughput'].tolist(), '.4f')}"
        )


def main() -> None:
    reader = arguments_of(__doc__, "runs/wireless", 2, 50)
    reader.add_argument("--scan", action="store_true")
    given, more = parsed(reader)
    print(head(f"wireless:grid, packets per user and step, {given.episodes} held-out episodes"))
    if given.scan:
        scan(given.episodes)
    rows = [["", "throughput", "minus ALOHA", "delivered", "collisions", "fairness", "trained in s"]]
    gained: dict[str, list[float]] = {}
    for method in given.methods:
        for seed in given.seeds:
            folder = given.out / f"{method}-{seed}"
            options = ["--algorithm", method, "--seed", str(seed), *OPTIONS, *more]
            trained(folder, given.ranks, given.timeout, options)
            found = evaluated(folder, given.episodes)
            base = found["aloha"]["throughput"]
            if len(rows) == 1:
                references = [name for name in found if not name.startswith("team")]
                rows += [[name, *_cells(found[name], base), ""] for name in references]
            for mode in ("greedy", "sampled"):
                figures = found[f"team, {mode}"]
                rows.append([f"{method}, seed {seed}, {mode}", *_cells(figures, base), f"{seconds(folder):.0f}"])
                difference = minus(figures["throughput"], base)
                gained.setdefault(f"{method}, {mode}", []).append(sum(difference) / len(difference))
    print(columns(rows))
    for name, differences in gained.items() if len(given.seeds) > 1 else ():
        print(f"  {name}: minus ALOHA, over seeds {around(differences, '+.4f')}")


def _cells(figures: dict[str, list[float]], base: list[float]) -> list[str]:
    return [
        around(figures["throughput"], ".4f"),
        around(minus(figures["throughput"], base), "+.4f"),
        *(around(figures[name], ".3f") for name in ("delivered", "collisions", "fairness")),
    ]


if __name__ == "__main__":
    main()
