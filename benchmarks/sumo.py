"""SUMO: teams trained in it, and one trained in ``traffic:grid``, beside the network's own programme and greedy rules.

    python benchmarks/sumo.py [--network grid4x4] [--out FOLDER] [--methods perla_ippo ippo] [--seeds 0 1 2] [--ranks 16]
        [--episodes 10] [--timeout 3600] [--no-transfer] [--no-plans] [--speed] [-- OPTIONS OF perla_net.run]

Every team is trained by a job of its own with ``OPTIONS``; for grid4x4 also teams in ``traffic:grid`` with ``ELSEWHERE``, which
then act in SUMO as they are. What is in the folder already is not repeated. All control the same held-out episodes (same demand,
other drivers). Printed are seconds per vehicle, mean ± 95 % interval over episodes: waiting; travel time of those that arrived;
travel time of all, counted from the departure that the demand asks for; delay of all. The programme of grid4x4 goes through all
eight phases and is easily beaten, so for that network the best of some fixed plans of four phases is shown too.
``--speed`` prints only steps per second: of SUMO left alone, and through our world with the same vehicles.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from typing import Any

import numpy as np
from measure import head, spread
from teams import HELD_OUT, arguments_of, around, evaluated, parsed, seconds, trained

from perla_net.ground.text import columns
from perla_net.world.suites import sumo

OPTIONS = [
    *("--topology", "interaction", "--copies", "16", "--horizon", "60", "--rounds", "120", "--ppo.minibatch", "240"),
    *("--returns.gamma", "0.9", "--checkpoint-every", "0", "--display", "none"),
]
ELSEWHERE = [
    *("--env", "traffic:grid:demand=0.25", "--agents", "16", "--topology", "interaction"),
    *("--copies", "32", "--horizon", "120", "--rounds", "50", "--ppo.minibatch", "480"),
    *("--returns.gamma", "0.9", "--checkpoint-every", "0", "--display", "none"),
]
"""RESCO's grid4x4 has a fifth of ``traffic:grid``'s usual demand."""
SHOWN = ("waiting", "travel_time", "travel_time_all", "delay", "arrived")

Figures = dict[str, list[float]]
"""Figure → value per episode."""


class Plan:
    """Phases 0 to 3 of grid4x4 for so many steps each, in waves that travel east and south."""

    def __init__(self, greens: tuple[int, ...], wave: int) -> None:
        self.plan, self.wave = np.repeat(np.arange(4), greens), wave

    def act(self, copies: sumo.SumoCopies) -> np.ndarray:
        """Phases, int [signals, copies]."""
        signal, steps = np.arange(16), np.array([env.time for env in copies.envs])
        return self.plan[(steps - self.wave * (signal % 4 + signal // 4)[:, None]) % len(self.plan)]


def controlled(network: str, controller: Any, episodes: int) -> Figures:
    """Figures of ``controller(copies)``, on the episodes that ``evaluate`` has too."""
    copies = sumo.make(network, {}, episodes, None, False)
    acting = controller(copies)
    use = 2  # the evaluation's random streams (world.EVALUATION)
    copies.reset(
        np.arange(episodes), [np.random.SeedSequence(HELD_OUT, spawn_key=(use, n, 0)) for n in range(episodes)]
    )
    for _ in range(copies.spec.horizon or 0):
        copies.step(list(np.asarray(acting.act(copies), np.int32)))
    return {name: values.tolist() for name, values in copies.metrics(np.arange(episodes)).items()}


def references(network: str, episodes: int, plans: bool) -> dict[str, Figures]:
    """The reference controllers, and the plan that is best in one episode."""
    found = {name: controlled(network, kind, episodes) for name, kind in sumo.CONTROLLERS.items()}
    if plans:
        tried = list(itertools.product(((2, 2, 2, 2), (3, 2, 3, 2), (4, 2, 4, 2), (6, 2, 6, 2)), (0, 2, 4)))
        waiting = [controlled(network, lambda _, one=one: Plan(*one), 1)["waiting"][0] for one in tried]
        best = tried[int(np.argmin(waiting))]
        found[f"plan {best[0]}, wave {best[1]}"] = controlled(network, lambda _: Plan(*best), episodes)
    return found


BARE = """
import json, sys, time, libsumo
command, steps, length = json.loads(sys.argv[1])
libsumo.start(["sumo", *command])
now, begin = libsumo.simulation.getTime(), time.perf_counter()
for step in range(steps):
    libsumo.simulation.step(now + length * (step + 1))
print(time.perf_counter() - begin)
"""


def speed(network: str, steps: int = 360) -> None:
    """Steps per second of one simulation under its own programme: SUMO alone, and through ours, alternately."""
    bare, ours = [], []
    for _ in range(5):
        copies = sumo.make(network, {}, 1, None, False)
        acting = sumo.FixedTime(copies)
        copies.reset(np.arange(1), [np.random.SeedSequence(0)])
        rows = [np.zeros((1, spec.observation_size), np.float32) for spec in copies.specs]
        begin = time.perf_counter()
        for _ in range(steps):
            copies.step(list(acting.act(copies)))
            copies.observe(slice(None), rows, [None] * len(rows))
        ours.append(steps / (time.perf_counter() - begin))
        settings = copies.envs[0].settings
        command = [*settings["command"], "--seed", str(sumo.seed_of(np.random.SeedSequence(0)))]
        told = json.dumps([command, steps, settings["step"]])
        done = subprocess.run([sys.executable, "-c", BARE, told], capture_output=True, text=True, check=True)
        bare.append(steps / float(done.stdout.split()[-1]))
    ratios = [one / other for one, other in zip(ours, bare)]
    print(f"{network}: steps/s, SUMO alone {spread(bare, '.0f')}, ours {spread(ours, '.0f')}, ratio {spread(ratios)}")


def main() -> None:
    reader = arguments_of(__doc__, "runs/sumo", 16, 10)
    reader.add_argument("--network", default="grid4x4")
    reader.add_argument("--no-transfer", action="store_true")
    reader.add_argument("--no-plans", action="store_true")
    reader.add_argument("--speed", action="store_true")
    given, more = parsed(reader)
    env, grid = f"sumo:{given.network}", given.network == "grid4x4"
    if given.speed:
        print(head("steps per second of one simulation, 5 s each"))
        return speed(given.network)
    print(
        head(f"{env}, seconds per vehicle, {given.episodes} held-out episodes; options {' '.join(more) or 'default'}")
    )
    rows = [["", *SHOWN, "trained in s"]]
    for name, figures in references(given.network, given.episodes, grid and not given.no_plans).items():
        rows.append([name, *(around(figures[figure], ".1f") for figure in SHOWN), ""])
    tasks = [(method, ["--env", env, *OPTIONS]) for method in given.methods]
    if grid and not given.no_transfer:
        tasks += [("from traffic:grid, " + given.methods[0], ELSEWHERE)]
    for name, options in tasks:
        method, found = name.split()[-1], {}
        for seed in given.seeds:
            folder = given.out / f"{given.network}-{name.replace(', ', '-').replace(' ', '_').replace(':', '_')}-{seed}"
            trained(folder, given.ranks, given.timeout, ["--algorithm", method, "--seed", str(seed), *options, *more])
            for mode, figures in evaluated(folder, given.episodes, env, ()).items():
                cells = [around(figures[figure], ".1f") for figure in SHOWN]
                rows.append([f"{name}, seed {seed}, {mode[6:]}", *cells, f"{seconds(folder):.0f}"])
                for figure in SHOWN:
                    found.setdefault((mode, figure), []).append(float(np.mean(figures[figure])))
        for mode in ("team, greedy", "team, sampled") if len(given.seeds) > 1 else ():
            rows.append(
                [f"{name}, over seeds, {mode[6:]}", *(around(found[mode, figure], ".1f") for figure in SHOWN), ""]
            )
    print(columns(rows))


if __name__ == "__main__":
    main()
