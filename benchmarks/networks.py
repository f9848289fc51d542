"""Every topology over every kind of bad network: nothing hangs, the numbers do not depend on the ranks, and what it costs.

    python benchmarks/networks.py [--ranks 16 2 1] [--agents 16] [--rounds 5] [--topologies ring star …]

Fourteen topologies × {clean, 30 % loss, delay of 3 rounds, a budget of half a message per agent and round, 8-bit compression, top-k
compression}, perla_ippo on traffic with small rollouts, one job per number of ranks; then one agent, two agents and isolated
nodes. Of the last round: bytes of all agents, mean age of the policies that were embedded, share of packets lost, share of
neighbours absent, relative error of what receivers hold, KL(true, held) in nats; seconds of a round.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from measure import head, start

TOPOLOGIES = {
    "ring": "ring",
    "line": "line",
    "star": "star",
    "grid": "grid",
    "complete": "complete",
    "empty": "empty",
    "tree": "tree",
    "hypercube": "hypercube",
    "exponential": "exponential",
    "small world": "watts_strogatz:k=4,p=0.1,seed=3",
    "scale free": "barabasi_albert:m=2,seed=3",
    "Erdős–Rényi, drawn each round": "erdos_renyi:p=0.2,every=1",
    "matching": "matching",
    "one-peer exponential": "one_peer_exponential",
}
SPECIAL = {"one agent": ("ring", 1), "two agents": ("ring", 2), "isolated nodes": ("erdos_renyi:p=0.05,seed=1", None)}
HALF = -1
"""In the place of a budget: half of one agent's message to one neighbour."""
NETWORKS = {
    "clean": {},
    "30 % loss": {"links": {"loss": 0.3}},
    "delay 3": {"links": {"delay": 3}},
    "half budget": {"links": {"budget": HALF}},
    "8-bit": {"compression": {"method": "int8"}},
    "top-k": {"compression": {"method": "top_k"}},
}
SMALL = {"copies": 8, "horizon": 40, "samples": 16, "evaluate_episodes": 0, "checkpoint_every": 0, "display": "none"}


def cases(topologies: list[str], agents: int) -> list[tuple[str, str, str, int]]:
    """(name, network, spec, agents) of every run."""
    table = {name: (spec, agents) for name, spec in TOPOLOGIES.items() if name in topologies}
    table |= {name: (spec, number or agents) for name, (spec, number) in SPECIAL.items()}
    return [(name, network, spec, number) for name, (spec, number) in table.items() for network in NETWORKS]


def inside(topologies: list[str], agents: int, rounds: int, out: Path) -> None:
    """Within mpirun: all runs one after the other, as ``perla_net.train`` does them."""
    import perla_net
    from perla_net.ground.processes import launched
    from perla_net.simulation.prepare import prepare
    from perla_net.simulation.wishes import Traffic

    ranks = launched()[1]
    for number, (_, network, spec, size) in enumerate(cases(topologies, agents)):
        if size < ranks:
            continue
        options = {"agents": {"number": size}, "topology": spec, "rounds": rounds, "ppo": {"minibatch": 80}, **SMALL}
        options |= {key: dict(value) for key, value in NETWORKS[network].items()}
        if options.get("links", {}).get("budget") == HALF:
            options["links"]["budget"] = 0
            plan = prepare(config_of(options))
            team = plan.team()
            traffic = Traffic(team, plan.config.compression)
            sizes = [traffic.form(0, name, 0, 8, 40).size for name in team.methods[0].tells(team, 0)]
            options["links"]["budget"] = (128 + sum(sizes)) // 2
        perla_net.train(config_of(options | {"out": str(out / str(number))}))


def config_of(options: dict) -> object:
    """A checked configuration."""
    from perla_net.settings.options import validated

    return validated(options)


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--ranks", type=int, nargs="+", default=[16, 2, 1])
    reader.add_argument("--agents", type=int, default=16)
    reader.add_argument("--rounds", type=int, default=5)
    reader.add_argument("--topologies", nargs="+", default=list(TOPOLOGIES))
    reader.add_argument("--inside", help=argparse.SUPPRESS)
    given = reader.parse_args()
    if given.inside:
        inside(given.topologies, given.agents, given.rounds, Path(given.inside))
        return
    print(head(f"{given.agents} agents, {given.rounds} rounds, on {' and '.join(map(str, given.ranks))} ranks"))
    options = ["--agents", str(given.agents), "--rounds", str(given.rounds), "--topologies", *given.topologies]
    with tempfile.TemporaryDirectory() as place:
        for ranks in given.ranks:
            job = start(ranks, __file__, *options, "--inside", f"{place}/{ranks}")
            if job.wait(timeout=3000):
                sys.exit(f"the job on {ranks} ranks failed")
        titles = ("topology", "network", "edges", "bytes", "age", "loss", "absent", "distortion", "KL", "s", "same")
        print("{:<30} {:<12} {:>5} {:>10} {:>5} {:>5} {:>6} {:>10} {:>8} {:>6} {:>5}".format(*titles))
        different = 0
        for number, (name, network, _, size) in enumerate(cases(given.topologies, given.agents)):
            folders = [Path(place) / str(ranks) / str(number) for ranks in given.ranks if ranks <= size]
            if not folders:
                folders = [Path(place) / str(min(given.ranks)) / str(number)]
            texts = {(folder / "metrics.jsonl").read_bytes() for folder in folders if folder.exists()}
            if not texts:
                continue
            row = json.loads(next(iter(texts)).splitlines()[-1])
            times = (folders[0] / "timings.jsonl").read_text().splitlines()
            seconds = json.loads(times[-1])["seconds"]
            shown = [row["policy_age"], row["loss"], row["absent"], row.get("distortion"), row.get("policy_divergence")]
            cells = ["-" if value is None else f"{value:.2g}" for value in shown]
            same = "yes" if len(texts) == 1 and len(folders) > 1 else "-" if len(folders) == 1 else "NO"
            different += same == "NO"
            print(
                f"{name:<30} {network:<12} {row['edges']:>5} {row['bytes']:>10,} {cells[0]:>5} {cells[1]:>5} "
                f"{cells[2]:>6} {cells[3]:>10} {cells[4]:>8} {seconds:>6.2f} {same:>5}"
            )
    print(f"{different} of the runs differ between the numbers of ranks")
    sys.exit(different > 0)


if __name__ == "__main__":
    main()
