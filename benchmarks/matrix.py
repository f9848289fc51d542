"""Every method on 4 ranks, on 1, killed and continued: the same bytes.

``python benchmarks/matrix.py``: each method on one cheap task that it is for, and four methods on every family of tasks that is installed.
``python benchmarks/matrix.py coma qmix traffic``: these methods, and these families.

A row is one team that runs four rounds with a checkpoint in the middle: in one process; on four ranks; in one process that a SIGKILL ends within
round 4, then continued on four ranks; and from the four ranks' checkpoint of round 2, continued in one process. ``metrics.jsonl``, ``evaluation.json``,
``ledger.csv`` and what each agent's last checkpoint holds must be the same bytes in all of them. Runs go one after another inside one mpirun, since it
is the start of Python and torch on every rank that costs. Exit status 1 where anything differs, or a method was refused that should not have been.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matrix_runs import BOUNDS, Case, Verdict, compare, run_all, step
from measure import head

from perla_net.ground.errors import InputError
from perla_net.ground.text import columns
from perla_net.methods.registry import METHODS, class_of, options
from perla_net.world.environments import make, takes_any_number
from perla_net.world.spec import AgentSpec

AT_ONCE = 12
"""Rows whose runs share an mpirun; after each lot its rows are printed."""
MEMORY = {"begin": 40, "updates": 2, "batch": 16, "episodes": 3, "memory": 400}
"""Options of methods that learn from a memory, so that they learn from the first round on."""
TRAFFIC: dict[str, Any] = {"env": "traffic:grid:horizon=15", "agents": 4, "topology": "ring"}
PAIRS: dict[str, Any] = {"env": "games:tandem:graph=ring", "agents": 4}
LOSSY: dict[str, Any] = {"links": {"loss": 0.3}}
OWN_TASK = {
    "lola": PAIRS,
    "hola": PAIRS,
    "cola": PAIRS | {"cola": {"begin": 20, "updates": 2, "batch": 16}},
}
"""Of methods that are not for ``TRAFFIC``."""
FAMILIES: dict[str, dict[str, Any]] = {
    "games": {"env": "games:climbing:graph=ring", "agents": 4},
    "traffic": TRAFFIC,
    "spread": {"env": "spread", "agents": 4},
    "platoon": {"env": "platoon:catchup"},
    "wireless": {"env": "wireless:grid", "agents": 4},
    "voltage": {"env": "voltage:ieee33"},
    "sumo": {"env": "sumo:cologne8", "copies": 2, "evaluate_episodes": 1},
    "mpe2": {"env": "mpe2:simple_line"},
    "lbf": {"env": "lbf:8x8-4p-2f"},
    "rware": {"env": "rware:tiny-4ag"},
    "mamujoco": {"env": "mamujoco:Ant-4x2", "copies": 2, "evaluate_episodes": 1},
    "magent2": {"env": "magent2:battle:map_size=14,max_cycles=12"},
    "smax": {"env": "smax:5m_vs_6m"},
    "vmas": {"env": "vmas:navigation"},
    "momaland": {"env": "momaland:beach:num_agents=6,num_timesteps=8,reward_weights=[1,0.5]", "copies": 2},
    "pettingzoo": {"env": "pettingzoo:pursuit:n_pursuers=4,max_cycles=20", "copies": 2},
}
"""A cheap task of each, for at least as many agents as there are ranks."""
ON_ALL = ("perla_ippo", "qmix", "maddpg", "coma")


def own(algorithm: str) -> dict[str, Any]:
    """The method's section, with few steps where it has a memory."""
    kind = options(algorithm, "algorithm")
    known = set(kind.__dataclass_fields__) if kind else set()
    found = {name: value for name, value in MEMORY.items() if name in known} if "memory" in known else {}
    return {"algorithm": algorithm} | ({algorithm: found} if found else {})


def of_method(name: str, teacher: str) -> Case:
    """A method on a task that it is for, over links that lose. ``teacher``: the run from which ``frozen`` has its policies."""
    settings = OWN_TASK.get(name, TRAFFIC) | LOSSY
    if name in ("frozen", "controller"):  # beside two that embed them
        word = f"frozen:{teacher}" if name == "frozen" else "controller:fixed_time"
        team = {"number": 4, "overrides": {"2-3": {"algorithm": word}}}
        return Case(name, settings | {"algorithm": "perla_ippo", "agents": team})
    return Case(name, own(name) | settings)


def of_family(name: str, algorithm: str, agents: Sequence[AgentSpec]) -> Case:
    """A method on a family of tasks with these agents."""
    settings = FAMILIES[name]
    if takes_any_number(settings["env"]):  # which would be the number of ranks
        settings = settings | {"agents": len(agents)}
    there = {agent.action.kind for agent in agents} <= set(class_of(algorithm).facts.actions)
    return Case(f"{algorithm} on {name}", own(algorithm) | settings, refused=not there)


def installed(names: Sequence[str]) -> tuple[dict[str, Sequence[AgentSpec]], list[str]]:
    """Families and the agents of their tasks; sentences for those that are not installed."""
    found, missing = {}, []
    for name in names:
        try:
            environment = make(FAMILIES[name]["env"], 1, FAMILIES[name].get("agents"))
            found[name] = environment.spec.agents
            getattr(environment, "close", lambda: None)()
        except InputError as error:
            missing.append(f"{name}: {error}")
    return found, missing


# The command


def rows(verdicts: Sequence[Verdict]) -> list[list[str]]:
    """Of the table."""
    found = []
    for one in verdicts:
        env = str(one.case.settings["env"])
        said = f" ({one.ended})" if one.ended else ""
        alike = (
            "refused, rightly" if one.case.refused else "same bytes" + "; cannot be continued, and says so" * one.anew
        )
        found.append([one.case.name, env, f"{one.seconds:.1f} s", ("; ".join(one.wrong) or alike) + said])
    return found


def chosen(words: Sequence[str], teacher: str, say: Callable[[str], None]) -> list[Case]:
    """The rows that were asked for. Raises InputError for words that are neither method nor family."""
    if unknown := [word for word in words if word not in METHODS and word not in FAMILIES]:
        raise InputError(
            f"{unknown[0]}: is neither a method ({', '.join(METHODS)}) nor a family of tasks ({', '.join(FAMILIES)})"
        )
    methods = [name for name in METHODS if not words or name in words]
    families, missing = installed([name for name in FAMILIES if not words or name in words])
    for sentence in missing:
        say(f"not installed: {sentence}")
    cases = [of_method(name, teacher) for name in methods]
    if "lola" in methods:
        sampled = {"algorithm": "lola", "lola": {"gradient": "dice"}}
        cases.append(Case("lola from samples", sampled | TRAFFIC | LOSSY))
    return cases + [of_family(name, algorithm, agents) for name, agents in families.items() for algorithm in ON_ALL]


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="methods and families of tasks (default: all)")
    parser.add_argument("--out", type=Path, help="keep the runs' folders here")
    asked = parser.parse_args(arguments)
    print(head("Every method on 4 ranks, on 1, killed and continued"), flush=True)
    out = asked.out or Path(tempfile.mkdtemp(prefix="matrix-"))
    out.mkdir(parents=True, exist_ok=True)
    began, bad = time.perf_counter(), 0
    try:
        cases = chosen(asked.names, str(out / "teacher" / "alone"), print)
        if any("frozen:" in json.dumps(case.settings) for case in cases):
            folder = out / "teacher"
            folder.mkdir()
            (folder / "config.json").write_text(json.dumps(BOUNDS | own("ippo") | TRAFFIC))
            run_all(1, [step(folder, "alone")], out)
        for first in range(0, len(cases), AT_ONCE):
            verdicts = compare(cases[first : first + AT_ONCE], out)
            bad += sum(bool(verdict.wrong) for verdict in verdicts)
            print(columns([["row", "task", "runs", "verdict"], *rows(verdicts)]), flush=True)
    finally:
        if not asked.out:
            shutil.rmtree(out)
    print(f"{len(cases)} rows, {bad} of them wrong; {(time.perf_counter() - began) / 60:.1f} minutes")
    return int(bad > 0)


if __name__ == "__main__":
    from perla_net.ground.entry import entry

    sys.exit(entry(main, sys.argv[1:]))
