"""Agent-steps per second of whole training: ours, BenchMARL's, and for IPPO a compiled program in JAX, on the same amount of work.

    python benchmarks/throughput.py --benchmarl PYTHON --jax PYTHON [--algorithm ippo] [--agents 16 3] [--pairs 5] [--ranks 2] [--processor]

An agent-step: one agent acts once, and is trained on it. The work: simple_spread, 64 copies × 128 steps a round, two hidden layers of 64,
float32, private parameters (the JAX program once with shared ones, which is less work, once with private ones). ``ippo``: 10 epochs of
minibatches of 1024 steps of an agent. ``qmix``, ``maddpg``: 64 updates of 1024 steps from a memory of 100,000 (actions are discrete, in BenchMARL's
MADDPG continuous; its QMIX has linear hypernetworks, ours have a hidden layer). Ours: ``mpirun -n 2``, the batched ``spread``, whose observations are
those of MPE (6 N numbers; VMAS leaves out the silent channel: 4 N + 2); beside ``ippo``, ``perla_ippo`` on a ring at K = 100. The
others are given by the Python of an environment that has them and are left out without it:

    python -m venv benchmarl && benchmarl/bin/pip install -c constraints.txt benchmarl==1.5.2 "torchrl<0.12" vmas torch
    python -m venv jaxmarl && jaxmarl/bin/pip install jaxmarl==0.2.0 flax optax "jax[cpu]"

All alternate within a pair, so that ratios are between neighbours in time. ``--processor``: one process and one thread of each, by seconds of processor
instead of the clock's, for machines on which others work. Targets for ``ippo`` with 16 agents: 3 times BenchMARL, level with JAX, ``perla_ippo`` at
0.75 of ``ippo``; with 3 agents: 2 times BenchMARL, 0.6 of JAX; for ``qmix`` and ``maddpg`` 3 times BenchMARL.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import head, spread, start

COPIES, STEPS = 64, 128
HERE = Path(__file__).parent
WORK = {"epochs": 10, "minibatch": 1024}, {"memory": 100_000, "updates": 64, "batch": 1024}
"""On-policy, off-policy."""
PROGRAM = """
import sys, time
import torch
from perla_net.ground.processes import Processes
from perla_net.settings.command_line import command_line
from perla_net.simulation.prepare import prepare
from perla_net.simulation.simulation import Simulation

torch.set_num_threads(1)
simulation = Simulation(prepare(command_line(sys.argv[1:])), Processes())
simulation.start()
for _ in range(simulation.config.rounds):
    began = time.process_time()
    simulation.round()
    print(time.process_time() - began)
"""


def ours(algorithm: str, agents: int, ranks: int, processor: bool = False, rounds: int = 5) -> float:
    """Agent-steps per second of our own program, from the median round after the first."""
    section, work = ("ppo", WORK[0]) if algorithm.endswith("ippo") else (algorithm, WORK[1])
    options = {
        "env": "spread",
        "agents": agents,
        "algorithm": algorithm,
        "topology": "ring",
        "samples": 100,
        "copies": COPIES,
        "horizon": STEPS,
        "rounds": rounds,
        **{f"{section}.{name}": value for name, value in work.items()},
        "evaluate-episodes": 0,
        "display": "none",
    }
    with tempfile.TemporaryDirectory() as folder:
        options["out"] = f"{folder}/run"
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        if processor:
            command = [sys.executable, "-W", "ignore", "-c", PROGRAM, *arguments]
            done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=True)
            seconds = [float(line) for line in done.stdout.splitlines()]
        else:
            start(ranks, "-m", "perla_net.run", *arguments).communicate(timeout=900)
            rows = [json.loads(line) for line in Path(folder, "run", "timings.jsonl").read_text().splitlines()]
            seconds = [row["seconds"] for row in rows]
    return agents * COPIES * STEPS / statistics.median(seconds[1:])


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
    reader.add_argument("--algorithm", nargs="+", default=["ippo"], choices=["ippo", "qmix", "maddpg"])
    reader.add_argument("--agents", type=int, nargs="+", default=[16, 3])
    reader.add_argument("--pairs", type=int, default=5)
    reader.add_argument("--ranks", type=int, default=2)
    reader.add_argument("--processor", action="store_true")
    given = reader.parse_args()
    how = "of processor, one process" if given.processor else f"of whole training, {given.ranks} ranks"
    print(head(f"agent-steps per second {how}"))
    versions: dict[str, str] = {}
    for algorithm in given.algorithm:
        for agents in given.agents:
            rates: dict[str, list[float]] = {}
            for _ in range(given.pairs):
                for name, (rate, found) in _pair(algorithm, agents, given).items():
                    rates.setdefault(name, []).append(rate)
                    versions |= {part: value for part, value in found.items() if part != "torch"}
            print(f"{agents} agents")
            for name, values in rates.items():
                ratios = [own / value for own, value in zip(rates[algorithm], values)]
                if name == "perla_ippo":
                    ratios = [1 / ratio for ratio in ratios]
                said = "perla_ippo over ippo" if name == "perla_ippo" else f"{algorithm} over {name}"
                ratio = "" if name == algorithm else f"; {said} {spread(ratios)}"
                print(f"  {name:<13} {spread(values, ',.0f')}{ratio}", flush=True)
    if versions:
        print(", ".join(f"{name} {value}" for name, value in versions.items()))


def _pair(algorithm: str, agents: int, given: argparse.Namespace) -> dict[str, tuple[float, dict[str, str]]]:
    """All programs once: name → (agent-steps per second, versions)."""
    found: dict[str, tuple[float, dict[str, str]]] = {}
    for name in (algorithm, "perla_ippo") if algorithm == "ippo" else (algorithm,):
        found[name] = ours(name, agents, given.ranks, given.processor), {}
    if given.jax and algorithm == "ippo" and not given.processor:
        for name, more in (("JAX, shared", []), ("JAX, private", ["--private"])):
            found[name] = another(given.jax, "throughput_jax.py", "--agents", str(agents), "--rounds", "5", *more)
    if given.benchmarl:
        more = ["--processor"] if given.processor else ["--threads", str(given.ranks)]
        more += ["--agents", str(agents), "--algorithm", algorithm, "--iterations", "3"]
        found["BenchMARL"] = another(given.benchmarl, "throughput_benchmarl.py", *more)
    return found


if __name__ == "__main__":
    main()
