"""What a host makes of an environment: steps of copies a second, in several checkouts of this program, in turn.

    git worktree add /tmp/before eecc003
    python benchmarks/hosting.py /tmp/before . --repeat 5

Random actions, no learning; the last checkout is compared with the first. ``pettingzoo:toys`` is the
tests' own: next to no work in a step, four agents of every kind of space, the worst case for what is done around it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from measure import head, spread

ENVS = {
    # environment → agents, copies, steps
    "traffic:grid": (16, 64, 1500),
    "spread": (16, 64, 3000),
    "mpe2:simple_spread_v3": (None, 8, 300),
    "lbf:8x8-3p-1f-coop": (None, 8, 300),
    "pettingzoo:toys": (None, 8, 600),
}


def measure() -> dict[str, float]:
    """Steps of copies a second by environment, in the checkout that comes first on ``sys.path``."""
    import numpy as np
    import torch  # noqa: F401  as in a run, where its random stream is seeded, too

    from perla_net.world.environments import make
    from perla_net.world.hosts import Host

    found = {}
    for env, (agents, copies, steps) in ENVS.items():
        batch = make(env, copies, agents)
        spec, rng = batch.spec, np.random.default_rng(0)
        host = Host(batch, spec, 0, (0, 1), 0)
        host.start()
        chosen = []
        for _ in range(20):
            chosen.append([np.zeros((copies, agent.action.words), np.float32) for agent in spec.agents])
            for agent, words in zip(spec.agents, chosen[-1]):
                for component, size in enumerate(agent.action.sizes):  # toys forbids action 0 of who is masked
                    words.view(np.int32)[:, component] = rng.integers(int(agent.masked), size, copies)
        began = time.perf_counter()
        for step in range(steps):
            for target, words in zip(host.actions, chosen[step % 20]):
                target[:] = words
            host.step()
            host.finals.clear()
            host.episodes.clear()
        found[env] = steps * copies / (time.perf_counter() - began)
    return found


def main() -> None:
    """The table."""
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("checkouts", nargs="*", default=["."])
    reader.add_argument("--repeat", type=int, default=5)
    reader.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    given = reader.parse_args()
    if given.measure:
        print(json.dumps(measure()))
        return
    places = [str(Path(place).resolve()) for place in given.checkouts]
    tests = str(Path(__file__).resolve().parent.parent / "tests")
    rows: list[list[dict[str, float]]] = []
    for _ in range(given.repeat):
        rows.append([])
        for place in places:
            done = subprocess.run(
                [sys.executable, "-W", "ignore", __file__, "--measure"],
                env=os.environ | {"PYTHONPATH": f"{place}:{tests}"},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            rows[-1].append(json.loads(done.stdout.splitlines()[-1]))
    print(head("Steps of copies a second, by checkout; last / first"))
    for env in ENVS:
        rates = "  ".join(spread([row[k][env] for row in rows], ",.0f") for k in range(len(places)))
        print(f"{env:<24}{rates}  {spread([row[-1][env] / row[0][env] for row in rows])}")


if __name__ == "__main__":
    main()
