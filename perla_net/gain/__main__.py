"""``python -m perla_net.gain ENV``: whom each agent must hear, and whether hearing will pay, before anybody trains."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Sequence

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy and torch are loaded: cores are used by ranks

import numpy as np  # noqa: E402

from ..ground.errors import InputError, Stopped  # noqa: E402
from ..ground.files import given as path_given  # noqa: E402
from ..ground.files import write_whole  # noqa: E402
from ..ground.processes import Processes, connect, guarded, launched  # noqa: E402

STEPS = 20
"""Default: steps at most that a future is followed."""
MANY = {"states": 64, "draws": 8, "futures": 8}
"""Defaults: states, pairs of joint actions in each, futures of each."""
FEWER = 4
"""Futures where a state comes back by playing its episode again."""
REPLAYED, LEAST = 300_000, 8
"""Steps that are played in all there, about two minutes' worth: so few states are looked at that it is no more, but these at least."""
PATIENCE = 3600.0
"""Seconds that a rank without states waits for one that still has some."""
ABOUT = (
    "Before training: whose actions each agent's return depends on, whom it must hear, and whether averaging them out of its critic will "
    "pay (docs/gain.md)."
)


def main(arguments: Sequence[str]) -> int:
    """The command line, alone or under mpirun; returns the exit status. Raises InputError."""
    if {"-h", "--help"} & set(arguments):
        if launched()[0] == 0:
            _reader().parse_args(list(arguments))
        return 0
    processes = connect()
    return guarded(processes, lambda: _main(processes, arguments))


def _reader() -> Any:
    from ..settings.command_line import parser

    reader = parser("perla_net.gain", ABOUT)
    reader.add_argument(
        "env", nargs="?", metavar="ENV", help="an environment, as in --env (default with --run: the run's)"
    )
    reader.add_argument("--agents", type=int, metavar="N", help="number of agents (default: the environment's)")
    reader.add_argument(
        "--topology",
        metavar="SPEC",
        help="who hears whom (default: the run's; else interaction where there is one, else ring)",
    )
    reader.add_argument(
        "--run", metavar="RUN", help="a run whose team acts, sampled (default: uniformly random actions)"
    )
    for name, letter, what in (
        ("states", "S", "states that are looked at"),
        ("draws", "M", "pairs of joint actions in each"),
        ("futures", "K", "futures of each"),
    ):
        fewer = "; fewer where episodes have to be played again" if name != "draws" else ""
        reader.add_argument(f"--{name}", type=int, metavar=letter, help=f"{what} (default {MANY[name]}{fewer})")
    reader.add_argument(
        "--horizon", type=int, metavar="H", help=f"steps of a future (default: an episode's, {STEPS} at most)"
    )
    reader.add_argument("--gamma", type=float, metavar="G", help="discount per step (default: a run's, 0.97)")
    reader.add_argument(
        "--copies", type=int, metavar="B", help="environment copies of a training round (default: a run's, 64)"
    )
    reader.add_argument(
        "--steps", type=int, metavar="T", help="steps of a training round in each (default: a run's --horizon, 120)"
    )
    reader.add_argument(
        "--window", type=int, default=1, metavar="W", help="rounds that a critic is fitted on (default 1)"
    )
    reader.add_argument("--seed", type=int, default=0, metavar="S", help="of states, actions and futures (default 0)")
    reader.add_argument("--all", action="store_true", help="a row for every agent, however many")
    reader.add_argument(
        "--json", metavar="FILE", help="write everything, for --topology influence:file=FILE,top=K as well"
    )
    reader.add_argument("--draw", metavar="FILE", help="write a picture: png, svg, pdf (extra plot)")
    return reader


def task_of(arguments: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """(plan, everything else as JSON data) of the command line, checked; on rank 0. Raises InputError."""
    given = _reader().parse_args(list(arguments))
    if given.run is None and given.env is None:
        raise InputError(
            "gain needs an environment, such as games:climbing, or --run RUN; `python -m perla_net.gain --help`"
        )
    for name, least in (
        ("states", 2),
        ("draws", 2),
        ("futures", 2),
        ("horizon", 1),
        ("copies", 1),
        ("steps", 1),
        ("window", 1),
        ("agents", 1),
    ):
        value = getattr(given, name)
        if value is not None and value < least:
            raise InputError(f"--{name} {value}: must be at least {least}")
    if given.seed < 0:
        raise InputError(f"--seed {given.seed}: must be at least 0")
    if given.gamma is not None and not 0 <= given.gamma <= 1:
        raise InputError(f"--gamma {given.gamma:g}: must be from 0 to 1")
    for name in ("json", "draw"):
        if value := getattr(given, name):
            if not path_given(value, f"--{name}").absolute().parent.is_dir():
                raise InputError(f"--{name} {value}: there is no folder {path_given(value, f'--{name}').parent}")
    if given.draw:
        from ..ground.pictures import pyplot_for

        pyplot_for(path_given(given.draw, "--draw"))  # a missing extra is told before the work, not after
    plan, players, gamma = _of_run(given) if given.run else _of_env(given)
    if plan.schedule.moves or not plan.schedule.fixed:
        raise InputError(f"--topology {plan.config.topology}: changes during a run; gain needs one graph")
    episode = plan.world.horizon or STEPS
    usual = _usual(plan, given.draws, given.futures, given.horizon or min(STEPS, episode))
    design = {
        "draws": given.draws or usual["draws"],
        "futures": given.futures or usual["futures"],
        "horizon": given.horizon or min(STEPS, episode),
        "gamma": gamma if given.gamma is None else given.gamma,
        "seed": given.seed,
    }
    copies, steps = given.copies or plan.config.copies, given.steps or plan.config.horizon
    rest = {
        "players": [str(path) for path in players],
        "states": given.states or usual["states"],
        "design": design,
        "run": given.run,
        "round": {"copies": copies, "steps": steps, "window": given.window},
        "samples": copies * steps * given.window,
        "all": given.all,
        "json": given.json,
        "draw": given.draw,
    }
    return plan, rest


def _usual(plan: Any, draws: int | None, futures: int | None, horizon: int) -> dict[str, int]:
    """States, draws and futures where nothing else is said."""
    from ..world.environments import make
    from .visiting import UNKNOWN

    number = len(plan.world.agents)
    found = MANY | {"draws": draws or MANY["draws"], "futures": futures or MANY["futures"]}
    if getattr(make(plan.config.env, 1, number), "replays", False):
        found["futures"] = futures or FEWER
        copies = found["draws"] * found["futures"] * (number + 2)
        steps = copies * ((plan.world.horizon or UNKNOWN) // 2 + horizon)
        found["states"] = max(LEAST, min(MANY["states"] // 2, REPLAYED // steps))
    return found


def _of_env(given: Any) -> tuple[Any, list[Path], float]:
    """(plan, players, discount) without a run."""
    from ..network.graphs import schedule_of
    from ..settings.config import Config
    from ..simulation.plan import Plan
    from ..world.environments import make

    environment = make(given.env, 1, given.agents)
    world = environment.spec
    if getattr(environment, "unknown", False):
        from ..world.rehearsal import rehearse

        for note in rehearse(given.env, environment, world):
            print(f"note: {note}", file=sys.stderr)
    topology = given.topology or ("interaction" if world.interaction else "ring")
    names = [agent.name for agent in world.agents]
    schedule = schedule_of(topology, names, world.interaction, given.seed, world.positions, world.moves)
    config = replace(Config(), env=given.env, topology=topology, seed=given.seed)
    return Plan(config, (), world, schedule), [], config.returns.gamma


def _of_run(given: Any) -> tuple[Any, list[Path], float]:
    """(plan, players, discount) of a run's last checkpoint, in its environment or another."""
    from ..network.graphs import schedule_of
    from ..records.checkpoint import newest
    from ..settings.options import validated
    from ..settings.yaml_files import read_yaml
    from ..simulation.evaluation import players_of
    from ..simulation.fits import check_fit, trained_in
    from ..simulation.prepare import prepare
    from ..simulation.running import of_run, read_schedule
    from ..world.environments import make, takes_any_number
    from .acting import team_of

    run = path_given(given.run, "--run")
    if not (run / "config.yaml").is_file():
        raise InputError(f"--run {run}: is not the folder of a run (it has no config.yaml)")
    config = validated(read_yaml(run / "config.yaml", "--run"), str(run / "config.yaml"))
    folder, _ = newest(run, "--run")
    try:
        plan = prepare(config, read_schedule(run), stored=folder)
    except InputError as error:
        raise of_run(error, run, "--run") from None
    number = len(plan.world.agents)
    if given.agents not in (None, number):
        raise InputError(f"--agents {given.agents}: the team of {run} has {number}")
    players = players_of(folder, plan.world.agents)
    if given.env:
        world = make(given.env, 1, number if takes_any_number(given.env) else None).spec
        if len(world.agents) != number:
            raise InputError(f"{given.env}: has {len(world.agents)} agents, but the team of {run} has {number}")
        plan = replace(plan, world=world, config=replace(plan.config, env=given.env))
    for agent, path in zip(plan.world.agents, players):
        check_fit(agent, trained_in(path, "--run")[0], f"--run {path}")
    team_of(plan.world.agents, players, 1)  # who follows a controller is refused here
    world = plan.world
    if given.topology:
        names = [agent.name for agent in world.agents]
        schedule = schedule_of(given.topology, names, world.interaction, given.seed, world.positions, world.moves)
        plan = replace(plan, schedule=schedule, config=replace(plan.config, topology=given.topology))
    return plan, players, plan.settings[0].returns.gamma


def _main(processes: Processes, arguments: Sequence[str]) -> int:
    from ..simulation.running import agree_on_plan

    found: list[Any] = []

    def plan() -> Any:
        found.extend(task_of(arguments))
        return found[0]

    agreed = agree_on_plan(processes, plan, lambda: json.dumps(found[1]))
    if agreed is None:
        return 2
    the_plan, text = agreed
    task = json.loads(text)
    findings = look(processes, the_plan, task)
    if findings is None:
        return 0
    _tell(the_plan, task, *findings)
    return 0


def look(processes: Processes, plan: Any, task: dict[str, Any]) -> tuple[Any, int] | None:
    """(findings, states in which the environment's chance was drawn anew) on rank 0, None elsewhere. The states are spread over ranks,
    each is looked at by one alone: the numbers are the same for any number of ranks. Collective; raises Stopped."""
    import torch

    from ..world.agreement import together
    from .acting import team_of
    from .branching import Branches, Design
    from .findings import Question, conclude
    from .prediction import influence
    from .variance import Components, components
    from .visiting import visit

    torch.set_num_threads(1)
    processes.stall_timeout = PATIENCE
    design, states, env, world = Design(**task["design"]), task["states"], plan.config.env, plan.world
    players = list(map(Path, task["players"]))
    wrong: list[str] = []
    rows: list[np.ndarray] = []
    visits: list[Any] = []
    processes.where = "the visits"
    try:
        branches = Branches(env, world, design)
        visits = visit(env, world, team_of(world.agents, players, states), states, design.seed)
        team = team_of(world.agents, players, branches.copies)
        began = time.monotonic()
        for state in range(processes.rank, states, processes.size):
            processes.where = f"state {state}"
            once, over, redrawn = branches.outcomes(visits[state], team)
            rows.append(np.concatenate([[redrawn], components(once).flat(), components(over).flat()]))
            if processes.rank == 0:
                _progress(state + 1, states, time.monotonic() - began)
    except InputError as error:
        wrong.append(str(error))
    together(processes, wrong, lambda text: Stopped(text, 2), "end of the states")
    width = 1 + 2 * (len(world.agents) ** 2 + 3 * len(world.agents))
    gathered = processes.gather(np.concatenate([np.zeros(0), *rows]), "gathering of states")
    if gathered is None:
        return None
    table = np.empty((states, width))
    for rank, part in enumerate(gathered):
        table[rank :: processes.size] = part.reshape(-1, width)
    half = (width - 1) // 2
    alive = np.array([one.alive for one in visits])
    both = [
        influence([Components.of_flat(row) for row in table[:, 1 + k * half : 1 + (k + 1) * half]], alive, design.seed)
        for k in range(2)
    ]
    heard: list[list[int]] = [[] for _ in world.agents]
    for source, target in plan.schedule.edges(1):
        heard[target].append(source)
    question = Question(plan.config.topology, tuple(map(tuple, heard)), task["samples"])
    contexts = [
        int(np.any([one.observations[agent] != visits[0].observations[agent] for one in visits], axis=(0, 1)).sum())
        for agent in range(len(world.agents))
    ]
    return conclude(world.agents, *both, contexts, question), int(table[:, 0].sum())


def _progress(done: int, of: int, seconds: float) -> None:
    """One line on stderr, over and over where it is a terminal."""
    end = "\n" if done == of else "\r" if sys.stderr.isatty() else ""
    if end:
        print(f"gain: state {done} of {of}, {seconds:.0f} s", end=end, file=sys.stderr, flush=True)


def _tell(plan: Any, task: dict[str, Any], findings: Any, redrawn: int) -> None:
    from ..world.environments import make
    from .findings import data_of
    from .words import report

    design = task["design"]
    who = f"the team of {task['run']}" if task["run"] else "uniformly random actions"
    print(f"{plan.config.env}, {len(plan.world.agents)} agents, {who}; {_design_text(task)}")
    about = getattr(make(plan.config.env, 1, len(plan.world.agents)), "redraws", "")
    chance = _chance_text(redrawn, task["states"], about)
    print(f"chance: {chance}")
    print(report(findings, task["all"]))
    if task["json"]:
        facts = {
            "env": plan.config.env,
            "run": task["run"],
            "states": task["states"],
            **design,
            "round": task["round"],
            "chance": chance,
        }
        text = json.dumps(data_of(findings, facts), indent=1, allow_nan=False)
        write_whole(path_given(task["json"], "--json"), text + "\n")
    if task["draw"]:
        from .picture import draw

        draw(path_given(task["draw"], "--draw"), findings, plan.world.positions)
        print(f"drawn in {task['draw']}")


def _design_text(task: dict[str, Any]) -> str:
    design, round = task["design"], task["round"]
    return (
        f"{task['states']} states × {design['draws']} draws × {design['futures']} futures of {design['horizon']} steps, γ = {design['gamma']:g}, "
        f"seed {design['seed']}; a critic's samples: {round['copies']} copies × {round['steps']} steps × {round['window']} rounds"
    )


def _chance_text(redrawn: int, states: int, about: str) -> str:
    """What V_env holds of the environment's chance."""
    if redrawn == states:
        return f"futures differ in later actions and in {about}"
    if redrawn == 0:
        return (
            "futures differ in later actions alone: how this environment's chance could be drawn anew from a state is not known, so what it adds "
            "to V_env is NOT counted, and R is too large if there is any"
        )
    return (
        f"in {states - redrawn} of {states} states the environment's chance could not be drawn anew without changing what is seen, so what it adds "
        "to V_env is NOT counted there, and R is too large"
    )


if __name__ == "__main__":
    from ..ground.entry import entry

    sys.exit(entry(main, sys.argv[1:]))
