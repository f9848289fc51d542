"""``python -m perla_net.run``: command line → configuration → simulation; also ``perla_net.train``."""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Sequence

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy and torch are loaded: cores are used by ranks

from ..ground.errors import Diverged, InputError, Stopped, Unsaved  # noqa: E402
from ..ground.files import write_whole, writing  # noqa: E402
from ..ground.loading import Loading  # noqa: E402
from ..ground.processes import Processes, connect, guarded  # noqa: E402
from ..network.schedule import Schedule  # noqa: E402
from ..records.trackers import Trackers  # noqa: E402
from ..records.trackers import check as check_trackers  # noqa: E402
from ..settings.config import Config  # noqa: E402
from .checks import check_policy_losses  # noqa: E402
from .evaluation import absolute, at_point, evaluate, players_of, points_of  # noqa: E402
from .fits import check_team  # noqa: E402
from .plan import Plan  # noqa: E402
from .prepare import prepare  # noqa: E402

NAME_PART = 40
"""Characters that each part of a run's default name has at most."""


@dataclass(frozen=True)
class Result:
    """What a run left: its folder, the rounds that are done, and the evaluation (rank 0 only; None when there was none)."""

    folder: Path
    rounds: int
    evaluation: dict[str, Any] | None


def train(config: Config) -> Result:
    """Run a configuration in the processes of the present mpirun, or alone.

    Raises InputError for what cannot run, Stopped or Diverged for what could not go on; under mpirun on every rank, one of which knows why.
    """
    processes = connect()
    problem: list[Exception] = []

    def plan() -> Plan:
        try:
            return plan_of(config, processes.size)
        except InputError as error:
            problem.append(error)
            raise

    result: list[Result] = []

    def work() -> int:
        agreed = agree_on_plan(processes, plan, quiet=True)
        if agreed is not None:
            try:
                result.append(simulate(processes, agreed[0], ["perla_net.train"]))
            except (Stopped, Diverged) as error:  # all ranks have it
                problem.append(error if str(error) else type(error)("the run ended; another rank says why"))
        return 0

    guarded(processes, work)
    if not result:
        raise problem[0] if problem else InputError("the configuration was refused; rank 0 says why")
    return result[0]


def plan_of(config: Config, ranks: int) -> Plan:
    """The plan for a configuration, with a folder that is this run's alone; none is made where the plan is refused. On rank 0.
    Raises InputError."""
    from ..records import claim
    from ..settings.command_line import resumed
    from ..settings.options import validated

    config = validated(config)
    if not config.resume:
        plan = _checked_plan(config, ranks)
        return replace(plan, folder=str(claim.new(config.out, _new_name(config))))
    if config.out != config.resume:  # from Python; the command line has done it already
        config = resumed(config)
    folder = Path(config.resume or "")
    claim.again(folder)
    try:
        return replace(_checked_plan(config, ranks), folder=str(folder))
    except BaseException:
        claim.release(folder)
        raise


def _checked_plan(config: Config, ranks: int) -> Plan:
    from ..records.checkpoint import newest

    resume_from = ""
    schedule = None
    if config.resume:
        resume_from = str(newest(Path(config.resume), "--resume")[0])
        points = Path(config.resume) / "evaluations.jsonl"
        if config.evaluate_points and int(Path(resume_from).name) >= config.rounds and not points.exists():
            raise InputError(
                f"--evaluate-points {config.evaluate_points}: the run in {config.resume} has all its {config.rounds} rounds, "
                "and evaluated none of them; give it more --rounds"
            )
        schedule = read_schedule(Path(config.resume))
    try:
        plan = prepare(config, schedule, ranks, rehearsed=True, stored=Path(resume_from) if resume_from else None)
    except InputError as error:
        raise of_run(error, config.resume, "--resume") from None
    check_policy_losses(plan)
    if resume_from:
        check_team(plan.world.agents, Path(resume_from), "--resume")
    check_trackers(plan.config)
    return replace(plan, resume_from=resume_from)


def of_run(error: InputError, run: str | Path | None, option: str) -> InputError:
    """The same error; where it is about a number of agents that only the run's folder asked for, it names that."""
    return InputError(f"{option} {run}: {error}") if run and str(error).startswith("--agents") else error


def read_schedule(run: Path) -> Schedule:
    """The communication graphs that a run was made with, from its folder. Raises InputError."""
    from ..records.checkpoint import read_data

    file = run / "schedule.json"
    try:
        return Schedule.from_data(read_data(file, "RUN"))
    except (KeyError, TypeError) as error:
        raise InputError(f"{file}: does not describe communication graphs ({error})") from None


def _new_name(config: Config) -> str:
    parts = (
        config.env,
        config.algorithm,
        Path(config.topology).name,
        f"seed{config.seed}",
        time.strftime("%Y%m%d-%H%M%S"),
    )
    return "-".join(re.sub(r"[^A-Za-z0-9._]", "_", part)[:NAME_PART] for part in parts)


def agree_on_plan(
    processes: Processes, make_plan: Callable[[], Plan], extra: Callable[[], str] = str, quiet: bool = False
) -> tuple[Plan, str] | None:
    """Rank 0's plan on every rank, with a text beside it; None everywhere when rank 0 refused, after it said why."""
    if processes.rank:
        # The others load torch while rank 0 reads options, and a refusal ends them. (They leave by the usual way: MPICH says
        # goodbye to its launcher in an exit handler, which os._exit would skip.)
        Loading(_load).start()
        data = processes.broadcast(None, "broadcast of the plan")
    else:
        try:
            plan = make_plan().to_bytes()
            text = extra().encode()
            data = len(text).to_bytes(4, "big") + text + plan
        except InputError as error:
            if not quiet:
                print(f"perla_net: {error}", file=sys.stderr, flush=True)
            data = b""
        data = processes.broadcast(data, "broadcast of the plan")
    if not data:
        return None
    size = int.from_bytes(data[:4], "big")
    return Plan.from_bytes(data[4 + size :]), data[4 : 4 + size].decode()


def _load() -> None:
    """What takes long to import, and what nearly every run needs of the program itself."""
    import torch  # noqa: F401

    from ..methods import actor_critic  # noqa: F401
    from . import simulation  # noqa: F401


def simulate(processes: Processes, plan: Plan, command: Sequence[str]) -> Result:
    """The whole run: rounds, checkpoints, evaluation; the same calls on every rank."""
    from ..records import claim
    from .simulation import Simulation

    try:
        simulation = Simulation(plan, processes)
        return _simulate(simulation, simulation.start(), command)
    finally:
        claim.release(Path(plan.folder))


def _simulate(simulation: Any, same: bool, command: Sequence[str]) -> Result:
    """The same with a simulation that has begun; same: the environment is as it was left, where the run is continued."""
    processes, plan = simulation.processes, simulation.plan
    config, folder = plan.config, Path(plan.folder)
    chief = processes.rank == 0
    if chief:
        _open_folder(plan, folder, command, processes)
    recorder = progress = trackers = None
    if chief:
        from ..records.display import Progress
        from ..records.recorder import Recorder
        from .words import first_lines

        names = [agent.name for agent in plan.world.agents]
        recorder = Recorder(folder, names, simulation.done, simulation.team.purposes)
        trackers = Trackers(config, folder, names, simulation.done)
        progress = Progress(config.display, config.rounds, simulation.done)
        if config.display != "none":
            print(
                first_lines(plan, simulation.team, processes.size, len(simulation.hosts), simulation.done), flush=True
            )
            for note in plan.notes:
                print(f"note: {note}", flush=True)
            if plan.resume_from:
                print(f"continuing after round {simulation.done} of {folder}", flush=True)
            if not same:
                print(
                    "the environment could not be brought back to its state: its episodes start anew, so the curve is not "
                    "the one that an uninterrupted run would have had",
                    flush=True,
                )
    saved = simulation.done if plan.resume_from else -1
    stopped = 0
    points = points_of(config.rounds, config.evaluate_points)

    def evaluate_point() -> None:
        if simulation.done not in points:
            return
        place = folder / "points" / str(simulation.done)
        simulation.saver.save_players(place, simulation.done)
        steps = simulation.done * config.copies * config.horizon
        facts = {"round": simulation.done, "env_steps": steps, "bytes": int(simulation.metrics.totals["bytes"])}
        found = at_point(processes, plan, players_of(place, plan.world.agents), facts)
        if recorder is not None and found is not None:
            assert trackers is not None
            recorder.write_evaluation(found)
            trackers.write_evaluation(found)

    try:
        if not plan.resume_from:
            evaluate_point()
        with processes.catching_signals():
            while simulation.done < config.rounds and not stopped:
                row = simulation.round()
                if row is not None:
                    assert recorder is not None and progress is not None and trackers is not None
                    recorder.write(**row)
                    trackers.write(row["metrics"], row["timings"])
                    metrics = row["metrics"]
                    progress.show(metrics, config.copies * config.horizon, metrics["bytes"] / len(plan.world.agents))
                evaluate_point()
                stopped = processes.agree(processes.interrupted, "end of a round")
                due = config.checkpoint_every and simulation.done % config.checkpoint_every == 0
                if due or stopped or simulation.done == config.rounds:
                    saved = simulation.done
                    simulation.saver.save(folder / "checkpoints" / str(saved), saved)
    except Unsaved:
        raise
    except Stopped as error:  # met by all ranks, so that all can still save what was learned
        if simulation.done > max(saved, 0):
            saved = simulation.done
            simulation.saver.save(folder / "checkpoints" / str(saved), saved)
        if str(error) and saved > 0:
            raise Stopped(
                f"{error}; what was learned is in {folder / 'checkpoints' / str(saved)}", error.status
            ) from None
        raise
    if recorder is not None and trackers is not None:
        recorder.close()
        trackers.close()
    if stopped:
        if chief:
            from .words import again

            on = f"{again(processes.size)} --resume {shlex.quote(str(folder))}"
            print(f"\nstopped by a signal after round {simulation.done}; continue with: {on}", flush=True)
        return Result(folder, simulation.done, None)
    evaluation = best = None
    if points:
        best = absolute(processes, plan, folder / "points")
    if config.evaluate_episodes:
        players = players_of(folder / "checkpoints" / str(saved), plan.world.agents)
        evaluation = evaluate(processes, plan, players, config.evaluate_episodes, config.seed)
    if chief:
        _close_folder(simulation, folder, evaluation, best)
    return Result(folder, simulation.done, evaluation)


def _open_folder(plan: Plan, folder: Path, command: Sequence[str], processes: Processes) -> None:
    import json

    from ..records.recorder import describe_machine
    from ..settings.options import to_yaml

    with writing(folder / "run.jsonl"), (folder / "run.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(describe_machine(command, processes.library, processes.size)) + "\n")
    write_whole(folder / "config.yaml", to_yaml(plan.config))  # also when resumed: rounds and the like may have changed
    if plan.resume_from:
        if int(Path(plan.resume_from).name) < plan.config.rounds:  # these are of a team that will not be the last one
            for name in ("evaluation.json", "absolute.json"):
                (folder / name).unlink(missing_ok=True)
        return
    import networkx as nx

    from ..network.graphs import graph_of

    # Everybody who may hear whom; which of these edges each round had stands in graphs.jsonl.
    names = [agent.name for agent in plan.world.agents]
    with writing(folder / "topology.graphml"):
        graph = graph_of(plan.schedule.potential(), names, plan.schedule)
        nx.write_graphml(nx.relabel_nodes(graph, dict(enumerate(names))), folder / "topology.graphml")
    write_whole(folder / "schedule.json", json.dumps(plan.schedule.to_data()))


def _close_folder(
    simulation: Any,
    folder: Path,
    evaluation: dict[str, Any] | None,
    best: dict[str, Any] | None,
) -> None:
    import json

    from ..records.display import evaluation_table, interval, traffic_lines
    from .words import last_lines

    plan, processes = simulation.plan, simulation.processes

    if evaluation is not None:
        write_whole(folder / "evaluation.json", json.dumps(evaluation, indent=1))
    if best is not None:
        write_whole(folder / "absolute.json", json.dumps(best))
    if plan.config.display == "none":
        return
    if evaluation is not None:
        print(evaluation_table(evaluation, plan.config.evaluate_episodes, plan.config.evaluate_steps))
    if best is not None:
        found = interval(best["figures"]["return"])
        half = (found["high"] - found["low"]) / 2
        print(
            f"absolute metric: the team after round {best['round']}, return {found['mean']:,.4g} ± {half:,.2g} over "
            f"{best['episodes']} episodes"
        )
    print(traffic_lines(folder / "ledger.csv"))
    host = simulation.world.host
    print(last_lines(folder, processes.size, host and host.environment), flush=True)
