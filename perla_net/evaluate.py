"""``python -m perla_net.evaluate RUN``: a run's team once more, from its last checkpoint, with any number of ranks; also in another
environment, with agents of other runs in the team, as a film, or in the terminal."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Sequence

from .ground.errors import InputError
from .ground.files import given as path_given
from .ground.files import write_whole
from .ground.processes import Processes, connect, guarded, launched
from .ground.selection import selected
from .simulation.evaluation import evaluate, players_of


def main(arguments: Sequence[str]) -> int:
    """``python -m perla_net.evaluate RUN``, alone or under mpirun."""
    if {"-h", "--help"} & set(arguments):
        if launched()[0] == 0:
            task_of(arguments, 1)
        return 0
    processes = connect()
    return guarded(processes, lambda: _main(processes, arguments))


@dataclass(frozen=True)
class Task:
    """What rank 0 read from the command line."""

    plan: Any
    title: str
    players: list[str]
    episodes: int
    seed: int
    record: Path | None
    watch: bool
    out: Path | None


def task_of(arguments: Sequence[str], ranks: int) -> Task:
    """The command line, checked; on rank 0. Raises InputError."""
    from .records.checkpoint import newest
    from .settings.checking import flag, flat
    from .settings.command_line import parser, set_option
    from .settings.config import Links
    from .settings.options import validated
    from .settings.yaml_files import read_yaml
    from .simulation.company import check_company
    from .simulation.fits import check_controllers, check_fit, check_team, trained_in
    from .simulation.prepare import prepare
    from .simulation.running import of_run, read_schedule
    from .world.environments import make

    reader = parser("perla_net.evaluate", "Evaluate the trained team of a run beside the reference controllers.")
    reader.add_argument("run", metavar="RUN", help="the run's folder")
    reader.add_argument("--episodes", type=int, metavar="E", help="episodes per controller (default: the run's)")
    reader.add_argument("--seed", type=int, metavar="S", help="seed of the held-out episodes (default: the run's)")
    reader.add_argument("--env", help="another environment, whose agents have the same spaces in the same order")
    reader.add_argument(
        "--replace",
        metavar="AGENT=PATH",
        action="append",
        default=[],
        help="let another checkpoint act for an agent (name or number): RUN/checkpoints/ROUND/NAME; may be repeated",
    )
    reader.add_argument("--record", metavar="FILE", help="film one episode: .gif, .mp4, or .png for nine pictures")
    reader.add_argument("--watch", action="store_true", help="show one episode in the terminal, where it can be shown")
    reader.add_argument("--out", metavar="FILE", help="write the figures as JSON")
    for name, _, _, sentence in flat(Links):
        reader.add_argument(
            flag(f"links.{name}"),
            dest=f"links.{name}",
            metavar="X",
            help=f"of what agents say while they act: {sentence}",
        )
    given = reader.parse_args(list(arguments))
    run = path_given(given.run, "RUN")
    if not (run / "config.yaml").is_file():
        raise InputError(f"{run}: is not the folder of a run (it has no config.yaml)")
    links = {name: value for name, value in vars(given).items() if name.startswith("links.") and value is not None}
    tree = read_yaml(run / "config.yaml", "RUN")
    for name, text in links.items():
        set_option(tree, name, text)
    config = validated(tree, str(run / "config.yaml"), {name: flag(name) for name in links})
    folder, _ = newest(run, "RUN")
    try:
        plan = prepare(config, read_schedule(run), ranks, stored=folder)
    except InputError as error:
        raise of_run(error, run, "RUN") from None
    check_team(plan.world.agents, folder, "RUN")
    players = players_of(folder, plan.world.agents)
    if given.env:
        plan = _elsewhere(plan, given.env)
    for text in given.replace:
        index, path = _replaced(plan, text)
        players[index] = path
    check_company(plan, players, [flag(name) for name in links])
    methods = []
    for agent, path in zip(plan.world.agents, players):
        trained, data, _ = trained_in(path, "checkpoint")
        check_fit(agent, trained, f"--env {plan.config.env}: {path.name}")
        methods.append(
            f"controller:{data['controller']}" if "controller" in data else f"frozen:{path}"
        )  # nobody learns
    settings = (replace(entry, algorithm=method) for entry, method in zip(plan.settings, methods))
    plan = replace(plan, settings=tuple(settings))
    if plan.controllers:
        check_controllers(plan.world, plan.controllers, make(plan.config.env, 1, len(plan.world.agents)).controllers)
    looks = bool(given.record or given.watch)
    # A film, or a look, is what was asked for then; a table as well only where its episodes are named.
    episodes = given.episodes if given.episodes is not None else 0 if looks else config.evaluate_episodes or 20
    seed = config.seed if given.seed is None else given.seed
    for name, value, least in (("--episodes", episodes, 0 if looks else 1), ("--seed", seed, 0)):
        if value < least:
            raise InputError(f"{name} {value}: must be at least {least}")
    out = path_given(given.out, "--out") if given.out else None
    if out and not out.absolute().parent.is_dir():
        raise InputError(f"--out {out}: there is no folder {out.parent}")
    record = path_given(given.record, "--record") if given.record else None
    if record:
        from .simulation.film import check_ending

        check_ending(record)
    title = f"{folder}, seed {seed}" + (f", in {given.env}" if given.env else "")
    return Task(plan, title, list(map(str, players)), episodes, seed, record, given.watch, out)


def _elsewhere(plan: Any, env: str) -> Any:
    """The plan with another environment of as many agents."""
    from .world.environments import make, takes_any_number

    number = len(plan.world.agents)
    world = make(env, 1, number if takes_any_number(env) else None).spec
    if len(world.agents) != number:
        raise InputError(f"--env {env}: has {len(world.agents)} agents, but the team has {number}")
    return replace(plan, world=world, config=replace(plan.config, env=env))


def _replaced(plan: Any, text: str) -> tuple[int, Path]:
    """(number of the agent, checkpoint) of ``--replace AGENT=PATH``."""
    from .records.checkpoint import without_ending

    names = [agent.name for agent in plan.world.agents]
    # A name may hold an equals sign itself: the longest that fits is meant.
    known = sorted((name for name in names if text.startswith(f"{name}=")), key=len)
    who, equals, path = (known[-1], "=", text[len(known[-1]) + 1 :]) if known else text.partition("=")
    if not equals or not path:
        raise InputError(f"--replace {text}: is not AGENT=PATH")
    chosen = selected(who, names, f"--replace {text}")
    if len(chosen) > 1:
        raise InputError(f"--replace {text}: takes one agent, not several; it may be repeated")
    return chosen[0], without_ending(path_given(path, "--replace"))


def _main(processes: Processes, arguments: Sequence[str]) -> int:
    from .records.display import evaluation_table
    from .simulation.running import agree_on_plan

    found: list[Task] = []

    def plan() -> Any:
        found.append(task_of(arguments, processes.size))
        return found[0].plan

    def rest() -> str:
        return json.dumps([found[0].players, found[0].episodes, found[0].seed])

    agreed = agree_on_plan(processes, plan, rest)
    if agreed is None:
        return 2
    the_plan, extra = agreed
    players, episodes, seed = json.loads(extra)
    task = found[0] if found else None
    if task and (task.record or task.watch):
        _look(task)
    table = evaluate(processes, the_plan, list(map(Path, players)), episodes, seed) if episodes else None
    if table is not None and task:
        print(task.title)
        print(evaluation_table(table, episodes, the_plan.config.evaluate_steps))
        if task.out:
            write_whole(task.out, json.dumps(table, indent=1))
    return 0


def _look(task: Task) -> None:
    from .simulation import film

    players = list(map(Path, task.players))
    if task.watch:
        film.watch(task.plan, players, task.seed)
    if task.record:
        print(film.record(task.plan, players, task.seed, task.record))


if __name__ == "__main__":
    from .ground.entry import entry

    sys.exit(entry(main, sys.argv[1:]))
