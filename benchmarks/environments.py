"""Environments: steps per second bare and through the world; rounds on 4 ranks and 1; batched environments by copies.

    python benchmarks/environments.py [ENV …] [--seconds 2] [--pairs 5]
    python benchmarks/environments.py --batched [--seconds 2]

The first, for every name that `python -m perla_net.environments` lists (or those given): agents; whether they differ; steps of the
environment per second in a bare loop over the package's own class (or, for the program's own environments, over ``step`` alone),
through the world (observations, masks, resets, rows for every agent), and their ratio, random actions, alternately in one process; then a round of
``ippo`` and of ``perla_ippo`` on 4 ranks and on 1, and whether ``metrics.jsonl`` has the same bytes. The second: environment steps per
second and core of the program's own environments with 16 agents and 64, 256, 1024 copies, two processes on two cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, Callable

import numpy as np
from measure import head, mpi_command, spread

warnings.filterwarnings("ignore")
COPIES = 4
SEED = np.random.SeedSequence(7)


class Anything:
    """Acts at random among what is allowed: noise that was drawn before."""

    remembers = follows = False

    def __init__(self, actions: list[Any]) -> None:
        self.actions = actions
        rng = np.random.default_rng(0)
        self.noise = [rng.random((64, COPIES, max(1, action.flags)), dtype=np.float32) for action in actions]
        self.values = [rng.uniform(-1, 1, (64, COPIES, len(a.low))).astype(np.float32) for a in actions]
        self.turn = 0

    def act(self, t: int, observations: Any, masks: Any, begins: Any, words: list[np.ndarray]) -> None:
        self.turn = (self.turn + 1) % 64
        for action, mask, noise, values, out in zip(self.actions, masks, self.noise, self.values, words):
            likes, start = noise[self.turn] * (1 if mask is None else mask), 0
            for component, size in enumerate(action.sizes):
                out[:, component : component + 1].view(np.int32)[:, 0] = likes[:, start : start + size].argmax(1)
                start += size
            out[:, len(action.sizes) :] = values[self.turn]


def through_the_world(env: str) -> Callable[[], int]:
    """A function that does 10 steps of all copies and says how many steps of the environment that were."""
    from perla_net.ground.processes import Processes
    from perla_net.world.environments import make
    from perla_net.world.world import World

    spec = make(env, 1, None).spec
    number = len(spec.agents)
    world = World(Processes(), spec, env, [range(number)], [0], COPIES, 10, 7)
    world.start()
    actor = Anything([agent.action for agent in spec.agents])

    def work() -> int:
        world.collect([actor], [list(range(number))])
        return 10 * COPIES

    return work


def bare_parallel(env: Any) -> Callable[[], int]:
    """The same for a PettingZoo ParallelEnv by itself."""
    env.reset(seed=7)
    spaces = {name: env.action_space(name) for name in env.possible_agents}
    table = [{name: space.sample() for name, space in spaces.items()} for _ in range(64)]
    turn = 0

    def work() -> int:
        nonlocal turn
        for _ in range(10):
            turn = (turn + 1) % 64
            _, _, ended, cut, _ = env.step({name: table[turn][name] for name in env.agents})
            if not env.agents or all(ended[name] or cut[name] for name in ended):
                env.reset()
        return 10

    return work


def bare_joint(env: Any) -> Callable[[], int]:
    """The same for a gymnasium environment whose action is a tuple, one per agent."""
    env.reset(seed=7)
    table = [env.action_space.sample() for _ in range(64)]
    turn = 0

    def work() -> int:
        nonlocal turn
        for _ in range(10):
            turn = (turn + 1) % 64
            _, _, done, cut, _ = env.step(table[turn])
            if done or cut:
                env.reset()
        return 10

    return work


def bare_batch(env: str) -> Callable[[], int]:
    """The same for a batch environment of the program's own: ``step`` alone, no observations."""
    from perla_net.world.environments import make

    batch = make(env, COPIES, None)
    batch.reset(np.arange(COPIES), SEED.spawn(COPIES))
    actor = Anything([agent.action for agent in batch.spec.agents])
    words = [np.zeros((COPIES, agent.action.words), np.float32) for agent in batch.spec.agents]
    given = [w if agent.action.low else w.view(np.int32) for w, agent in zip(words, batch.spec.agents)]
    nothing = [None] * len(words)

    def work() -> int:
        for t in range(10):
            actor.act(t, nothing, nothing, nothing, words)
            batch.step(given)
            over = (batch.terminated | batch.truncated).all(1)
            if over.any():
                batch.reset(np.flatnonzero(over), SEED.spawn(int(over.sum())))
        return 10 * COPIES

    return work


def bare(env: str) -> Callable[[], int]:
    """The bare loop of an environment."""
    suite, _, name = env.partition(":")
    name = name.partition(":")[0]
    if suite in BARE:
        return BARE[suite](name)
    return bare_batch(env)


def _lbf(name: str) -> Callable[[], int]:
    import gymnasium
    import lbforaging  # noqa: F401

    return bare_joint(gymnasium.make(f"Foraging-{name}-v3").unwrapped)


def _rware(name: str) -> Callable[[], int]:
    import gymnasium
    import rware  # noqa: F401

    return bare_joint(gymnasium.make(f"rware-{name}-v2").unwrapped)


def _mpe2(name: str) -> Callable[[], int]:
    return _module_of(["mpe2"], name)


def _pettingzoo(name: str) -> Callable[[], int]:
    from perla_net.world.suites.pettingzoo import FAMILIES

    return _module_of([f"pettingzoo.{family}" for family in FAMILIES], name)


def _magent2(name: str) -> Callable[[], int]:
    return _module_of(["magent2.environments"], name)


def _module_of(packages: list[str], name: str) -> Callable[[], int]:
    import importlib

    from perla_net.world.suites.pettingzoo import versioned

    module = next(filter(None, (versioned(package, name) for package in packages)))
    return bare_parallel(importlib.import_module(module).parallel_env())


def _smax(name: str) -> Callable[[], int]:
    """JaxMARL's, as it is used there: copies side by side in one compiled function, which begins anew by itself."""
    from perla_net.world.suites.smax import HEURISTIC, maps
    import jax  # isort: skip

    env = HEURISTIC.HeuristicEnemySMAX(scenario=maps()[name])
    keys = jax.random.split(jax.random.key(7), COPIES)
    step = jax.jit(jax.vmap(env.step))
    _, state = jax.jit(jax.vmap(env.reset))(keys)
    samples = {agent: env.action_space(agent).n for agent in env.agents}
    rng = np.random.default_rng(0)
    table = [{agent: rng.integers(0, n, COPIES) for agent, n in samples.items()} for _ in range(64)]
    turn = 0

    def work() -> int:
        nonlocal state, turn
        for _ in range(10):
            turn = (turn + 1) % 64
            seen, state, *_ = step(keys, state, table[turn])
        jax.block_until_ready(seen)
        return 10 * COPIES

    return work


def _vmas(name: str) -> Callable[[], int]:
    """VMAS's own loop: copies side by side."""
    import vmas

    env = vmas.make_env(name, num_envs=COPIES, continuous_actions=True, seed=7)
    env.reset()
    table = [env.get_random_actions() for _ in range(64)]
    turn = 0

    def work() -> int:
        nonlocal turn
        for _ in range(10):
            turn = (turn + 1) % 64
            _, _, done, _ = env.step(table[turn])
            for copy in done.nonzero().flatten().tolist():
                env.reset_at(copy)
        return 10 * COPIES

    return work


def _mamujoco(name: str) -> Callable[[], int]:
    from gymnasium_robotics import mamujoco_v1

    scenario, _, parts = name.rpartition("-")
    return bare_parallel(mamujoco_v1.parallel_env(scenario, parts))


BARE: dict[str, Callable[[str], Callable[[], int]]] = {
    "lbf": _lbf,
    "rware": _rware,
    "mpe2": _mpe2,
    "pettingzoo": _pettingzoo,
    "magent2": _magent2,
    "mamujoco": _mamujoco,
    "smax": _smax,
    "vmas": _vmas,
}


def rate(work: Callable[[], int], seconds: float) -> float:
    """Steps per second."""
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        done += work()
    return done / (time.perf_counter() - began)


def ratios(env: str, seconds: float, pairs: int) -> tuple[str, str, str]:
    """Bare and through the world, steps per second, and bare over world, alternately."""
    one, other = bare(env), through_the_world(env)
    rate(one, 0.2), rate(other, 0.2)  # compile, warm up
    found = [(rate(one, seconds), rate(other, seconds)) for _ in range(pairs)]
    first, second = (spread([pair[k] for pair in found], ",.0f") for k in (0, 1))
    return first, second, spread([pair[1] / pair[0] for pair in found])


def same_bytes(env: str, algorithm: str, agents: int) -> str:
    """Whether one round gives the same metrics on 4 ranks (fewer where there are fewer agents) and on 1."""
    found = []
    options = ["--env", env, "--algorithm", algorithm, "--rounds", "1", "--copies", str(COPIES), "--horizon", "10"]
    options += ["--topology", "complete" if agents <= 8 else "ring", "--samples", "4", "--ppo.minibatch", "20"]
    options += ["--evaluate-episodes", "0", "--checkpoint-every", "0", "--display", "none", "--agents", str(agents)]
    for ranks in (min(4, agents), 1):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            command = mpi_command(ranks, "-m", "perla_net.run", *options, "--out", str(out))
            allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=600, stdin=subprocess.DEVNULL, env=os.environ | allowed
            )
            if done.returncode:
                return f"failed on {ranks}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else '?'}"
            found.append((out / "metrics.jsonl").read_bytes())
    return "same" if found[0] == found[1] else "DIFFERENT"


def one(env: str, seconds: float, pairs: int) -> None:
    """A line of the first table. In a process of its own: suites do not share one well (threads, engines, XLA)."""
    from perla_net.world.catalogue import action_text, describe, space_text

    world = describe(env)
    kinds = {(space_text(agent), action_text(agent.action)) for agent in world.agents}
    agents = len(world.agents)
    if env.startswith("sumo"):
        figures = ("see benchmarks/sumo.py", "", "")
    else:
        figures = ratios(env, seconds, pairs)
    rounds = [same_bytes(env, algorithm, agents) for algorithm in ("ippo", "perla_ippo")]
    print(
        "\t".join([env, str(agents), f"{len(kinds)} kinds" if len(kinds) > 1 else "equal", *figures, *rounds]),
        flush=True,
    )


HEADING = ["environment", "agents", "spaces", "bare", "world", "world / bare", "ippo", "perla_ippo"]
OWN = {
    "traffic:grid": "traffic:grid",
    "spread": "spread",
    "platoon:catchup": "platoon:catchup",
    "wireless:grid": "wireless:grid",
    "voltage:ieee33": "voltage:ieee33",
    "games:climbing": "games:climbing:graph=ring",
    "games:ipd": "games:ipd:graph=ring",
}


def batched_rate(env: str, copies: int, seconds: float, start: float) -> None:
    """In a process of its own: steps of the environment per second through a host, from the given time on."""
    from perla_net.world.environments import make
    from perla_net.world.hosts import Host

    batch = make(env, copies, 16)
    host = Host(batch, batch.spec, 0, (7, 1), copies)
    rng = np.random.default_rng(0)
    for action, words in zip(batch.spec.agents, host.actions):
        if action.action.low:
            words[:] = rng.uniform(-1, 1, words.shape)
        else:
            words.view(np.int32)[:] = rng.integers(0, action.action.sizes, words.shape)
    host.start()
    host.step()
    while time.time() < start:
        time.sleep(0.01)
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        host.step()
        host.finals.clear()
        steps += copies
    print(steps / (time.perf_counter() - began))


def batched(seconds: float) -> None:
    """The second table."""
    print(head("environment steps per second and core, 16 agents, two processes; in brackets agent-steps"))
    print("\t".join(["environment", "64 copies", "256", "1024"]))
    for name, env in OWN.items():
        cells = []
        for copies in (64, 256, 1024):
            begin = str(time.time() + 4)
            arguments = [__file__, "--rate", env, str(copies // 2), str(seconds), begin]
            jobs = [subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True) for _ in range(2)]
            found = [float(job.communicate(timeout=300)[0]) for job in jobs]
            cells.append(f"{sum(found) / 2:,.0f} ({8 * sum(found):,.0f})")
        print("\t".join([name, *cells]), flush=True)


def main() -> None:
    """Reads the command line."""
    reader = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    reader.add_argument("envs", nargs="*")
    reader.add_argument("--seconds", type=float, default=2)
    reader.add_argument("--pairs", type=int, default=5)
    reader.add_argument("--batched", action="store_true")
    reader.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    reader.add_argument("--rate", nargs=4, help=argparse.SUPPRESS)
    given = reader.parse_args()
    if given.rate:
        env, copies, seconds, begin = given.rate
        return batched_rate(env, int(copies), float(seconds), float(begin))
    if given.batched:
        return batched(given.seconds)
    if given.one:
        return one(given.envs[0], given.seconds, given.pairs)
    from perla_net.world.catalogue import names_of
    from perla_net.world.environments import SUITES

    print(head(f"{given.pairs} pairs of {given.seconds:g} s each, {COPIES} copies, medians and ranges"))
    print("\t".join(HEADING), flush=True)
    for env in given.envs or [env for name, suite in SUITES.items() for env in names_of(name, suite.names)]:
        arguments = [__file__, env, "--one", "--seconds", str(given.seconds), "--pairs", str(given.pairs)]
        subprocess.run([sys.executable, "-W", "ignore", *arguments], timeout=1800)


if __name__ == "__main__":
    main()
