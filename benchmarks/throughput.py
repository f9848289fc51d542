"""Agent-steps per second of whole training: ours, BenchMARL's IPPO, and a compiled IPPO in JAX, on the same amount of work.

    python benchmarks/throughput.py --benchmarl PYTHON --jax PYTHON [--agents 16 3] [--pairs 5] [--ranks 2]

An agent-step: one agent acts once, and is trained on it. The work: simple_spread, 64 copies × 128 steps a round, 10 epochs of minibatches
of 1024 steps of an agent, two hidden layers of 64, float32, private parameters (the JAX program once with shared ones, which is less
work, once with private ones). Ours: ``mpirun -n 2``, the batched ``spread``; ``ippo``, and ``perla_ippo`` on a ring at K = 100. The
others are given by the Python of an environment that has them and are left out without it:

    python -m venv benchmarl && benchmarl/bin/pip install -c constraints.txt benchmarl==1.5.2 "torchrl<0.12" vmas torch
    python -m venv jaxmarl && jaxmarl/bin/pip install jaxmarl==0.2.0 flax optax "jax[cpu]"

All alternate within a pair, so that ratios are between neighbours in time. Targets with 16 agents: 3 times BenchMARL, level with JAX,
``perla_ippo`` at 0.75 of ``ippo``; with 3 agents: 2 times BenchMARL, 0.6 of JAX.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
from pathlib import Path

from measure import head, spread, start

COPIES, STEPS = 64, 128
HERE = Path(__file__).parent


def ours(algorithm: str, agents: int, ranks: int, rounds: int = 5) -> float:
    """Agent-steps per second of our own program, from the median round after the first."""
    options = {
        "env": "spread",
        "agents": agents,
        "algorithm": algorithm,
        "topology": "ring",
        "samples": 100,
        "copies": COPIES,
        "horizon": STEPS,
        "rounds": rounds,
        "ppo.epochs": 10,
        "ppo.minibatch": 1024,
        "evaluate-episodes": 0,
        "display": "none",
    }
    with tempfile.TemporaryDirectory() as folder:
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        process = start(ranks, "-m", "perla_net.run", *arguments, "--out", f"{folder}/run")
        process.communicate(timeout=900)
        rows = [json.loads(line) for line in Path(folder, "run", "timings.jsonl").read_text().splitlines()]
    return agents * COPIES * STEPS / statistics.median(row["seconds"] for row in rows[1:])


def another(python: str, program: str, *arguments: str) -> tuple[float, dict[str, str]]:
    """Agent-steps per second, and versions, of another program."""
    command = [python, str(HERE / program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=True)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return found["agent_steps_per_second"], found["versions"]


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--benchmarl", help="a Python that has BenchMARL")
    reader.add_argument("--jax", help="a Python that has jaxmarl")
    reader.add_argument("--agents", type=int, nargs="+", default=[16, 3])
    reader.add_argument("--pairs", type=int, default=5)
    reader.add_argument("--ranks", type=int, default=2)
    given = reader.parse_args()
    print(head(f"agent-steps per second of whole training, {given.ranks} ranks"))
    versions: dict[str, str] = {}
    for agents in given.agents:
        rates: dict[str, list[float]] = {}

        def note(name: str, rate: float, rates: dict[str, list[float]] = rates) -> None:
            rates.setdefault(name, []).append(rate)

        for _ in range(given.pairs):
            note("ippo", ours("ippo", agents, given.ranks))
            note("perla_ippo", ours("perla_ippo", agents, given.ranks))
            if given.jax:
                for name, more in (("JAX, shared", []), ("JAX, private", ["--private"])):
                    rate, found = another(
                        given.jax, "throughput_jax.py", "--agents", str(agents), "--rounds", "5", *more
                    )
                    versions |= found
                    note(name, rate)
            if given.benchmarl:
                rate, found = another(
                    given.benchmarl, "throughput_benchmarl.py", "--agents", str(agents), "--iterations", "3"
                )
                versions |= {name: value for name, value in found.items() if name != "torch"}
                note("BenchMARL", rate)
        print(f"{agents} agents")
        for name, values in rates.items():
            ratios = [own / value for own, value in zip(rates["ippo"], values)]
            if name == "perla_ippo":
                ratios = [1 / ratio for ratio in ratios]
            said = "perla_ippo over ippo" if name == "perla_ippo" else f"ippo over {name}"
            ratio = "" if name == "ippo" else f"; {said} {spread(ratios)}"
            print(f"  {name:<13} {spread(values, ',.0f')}{ratio}", flush=True)
    if versions:
        print(", ".join(f"{name} {value}" for name, value in versions.items()))


if __name__ == "__main__":
    main()
