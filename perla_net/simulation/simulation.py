"""A run: rounds of rollout, exchange and learning.

The four lines of :meth:`Simulation.round` are the program; everything else hangs on them.
"""

from __future__ import annotations

import math
import resource
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Generator, Sequence

import numpy as np

from ..ground.errors import Diverged, InputError, Stopped, Unsaved, WriteError
from ..ground.processes import Processes, cores_by_host
from ..network.schedule import Edges, Schedule, reach, window_of
from ..settings.data import to_data
from ..world.agreement import agree, together
from .plan import Plan

if TYPE_CHECKING:  # only for annotations: nobody imports torch before the plan stands
    from ..methods.agent import Agent
    from ..network.exchange import Inbox

NETWORK = (
    "ages",
    "oldest",
    "aged",
    "absent",
    "heard",
    "sent",
    "lost",
    "late",
    "unsent",
    "rejected",
    "distortion",
    "distorted",
    "divergence",
    "diverged",
    "cross_entropy",
    "models",
    "disagreement",
    "disagreeing",
)
"""Figures of one agent in a round, beside its reward and the learner's statistics, from which the metrics of the network come."""


class Simulation:
    """One rank's part of a run."""

    def __init__(self, plan: Plan, processes: Processes) -> None:
        import torch

        from ..methods.agent import Agent, Squad
        from ..network.consensus import Averaging
        from ..network.exchange import Network
        from ..network.links import LinkModel, needs_symmetric
        from ..records import checkpoint
        from ..world.world import World, blocks_of

        torch.set_num_threads(1)  # cores are used by ranks, and thread counts change the last bits
        self.plan, self.processes, self.config = plan, processes, plan.config
        config = plan.config
        processes.stall_timeout = config.stall_timeout
        self.blocks = blocks_of(len(plan.world.agents), processes.size)
        self.local = self.blocks[processes.rank]
        self.hosts = _spread(cores_by_host(processes), config.hosts, processes.size)
        self.team = plan.team()
        self.stems = checkpoint.stems([agent.name for agent in plan.world.agents])
        """What each agent's files are called."""
        self.world = World(
            processes, plan.world, config.env, self.blocks, self.hosts, config.copies, config.horizon, config.seed
        )
        self.agents = [
            Agent(
                index,
                self.team,
                config.seed,
                config.copies,
                config.horizon,
                config.device,
                config.consensus.equal_start,
            )
            for index in self.local
        ]
        together = config.batch_agents == "yes" or (config.batch_agents == "auto" and config.device == "cuda")
        self.squads = Squad.gather(self.agents) if together else []
        grouped = {agent.index for squad in self.squads for agent in squad.agents}
        self.singles = [agent for agent in self.agents if agent.index not in grouped]
        wishes = self.team.wishes(config.copies, config.horizon)
        averaging = config.consensus.what != "none"
        symmetric = needs_symmetric(averaging, config.consensus.weights, config.links.symmetric)
        overrides = {(j, i): attributes for j, i, attributes in plan.schedule.links}
        agree(processes, f"--topology {config.topology}", [_graphs(plan.schedule)])
        links = LinkModel(config.links, config.seed, symmetric, overrides)
        forwards = averaging or config.links.hops > 1
        potential = plan.schedule.potential() if forwards else ()
        self.network = Network(processes, self.blocks, wishes, config.copies, links, potential)
        self.averaging = None
        if averaging:
            learner = self.agents[0].learner
            groups = learner.shared_groups(config.consensus.what)
            exact = len(learner.shared_vector(config.consensus.what)) - sum(groups)
            self.averaging = Averaging(self.network, config.consensus, config.compression, groups, exact)
        told: dict[int, set[str]] = {index: set() for index in self.local}
        for table in (wishes.graph, wishes.team):
            for (source, _), names in table.items():
                if source in told:
                    told[source].update(names)
        self.wanted = {index: sorted(names) for index, names in told.items()}
        self.done = 0
        self.edges: Edges = ()
        """The communication graph of the last round."""
        self.history: list[Edges] = []
        """Graphs of the rounds so far, as far back as the union of them is not strongly connected; on rank 0."""
        self.totals = {"bytes": 0.0, "first_return": None}
        """Bytes of agent traffic so far, and the team's return when it was first known; on rank 0."""
        self.distortions: list[tuple[float | None, float | None]] = []
        """Of each local agent: what coding did to its policy in this round."""
        self._waited = 0.0

    def round(self) -> dict[str, Any] | None:
        """One round; what happened in it, on rank 0 (see :meth:`_record`)."""
        self.done += 1
        self.processes.where = f"round {self.done}"
        clock = Clock()
        try:
            rollouts = self._collect()
        except Stopped:
            self._step_back()
            raise
        self.edges = self._graph()
        clock.lap("world")
        messages = {a.index: a.message(r, self.wanted[a.index]) for a, r in zip(self.agents, rollouts)}
        clock.lap("learning")  # the behaviour policy at every state, which the learner needs anyway
        inboxes = self.network.exchange(messages, self.done, self.edges, rollouts[0].final_at[:, 1])
        self.distortions = [agent.distortion(self.network.told.get(agent.index, [])) for agent in self.agents]
        self._average("before")
        clock.lap("exchange")
        losses = self._learn(rollouts, inboxes)
        self._check_parameters()
        clock.lap("learning")
        self._average("after")
        clock.lap("exchange")
        embedding = sum(agent.take_embedding_seconds() for agent in self.agents)
        clock.move("learning", "embedding", embedding)
        return self._record(rollouts, losses, clock)

    def _graph(self) -> Edges:
        """This round's communication graph; nobody talks in the rounds that ``--links.every`` leaves out."""
        if (self.done - 1) % self.config.links.every:
            return ()
        positions = self.world.positions() if self.plan.schedule.moves else None
        return self.plan.schedule.edges(self.done, positions)

    def _average(self, when: str) -> None:
        """Let neighbours average what ``--consensus.what`` says."""
        options = self.config.consensus
        if self.averaging is None or options.when != when:
            return
        vectors = {agent.index: agent.shared_vector(options.what) for agent in self.agents}
        averaged = self.averaging.average(vectors, self.done, self.edges)
        for agent in self.agents:
            agent.take_shared(options.what, averaged[agent.index])

    def _collect(self) -> list[Any]:
        """The rollouts of the local agents."""
        slots = [[self.local.index(agent.index) for agent in squad.agents] for squad in self.squads]
        slots += [[self.local.index(agent.index)] for agent in self.singles]
        rollouts = self.world.collect([actor.begin() for actor in (*self.squads, *self.singles)], slots)
        found = [
            f"{self.config.env}: the {what} of {agent.spec.name} is not finite at step {step} of round {self.done}, copy {copy}"
            for agent, rollout in zip(self.agents, rollouts)
            for what, array in (("reward", rollout.reward), ("observation", rollout.observation))
            if not np.isfinite(array).all()
            for step, copy in [np.argwhere(~np.isfinite(array))[0][:2]]
        ]
        together(self.processes, found, Stopped, "check of the rollouts")
        return rollouts

    def _check_parameters(self) -> None:
        """Raise Diverged where an agent's networks hold anything but finite numbers: it would act on, by its first action."""
        found = [
            f"the {what} of {agent.spec.name} is no longer finite after round {self.done}: smaller learning rates, or "
            "rewards, help, and a --policy-loss must be finite on every step"
            for agent in self.agents
            for what, network in (("policy", agent.learner.policy), ("critic", agent.learner.critic))
            if not bool(network.flat.isfinite().all())
        ]
        together(self.processes, found, Diverged, "check of the networks")

    def _learn(self, rollouts: Sequence[Any], inboxes: dict[int, Inbox]) -> list[np.ndarray]:
        """Every local agent learns; agents that share parameters step together and hear the mean of what each yields."""
        from ..methods.agent import run_alone

        progress = (self.done - 1) / self.config.rounds
        by_agent = dict(zip(self.local, rollouts))
        if self.agents[0].preset.shared:
            learners = [
                agent.learn(by_agent[agent.index], inboxes[agent.index], self.done, progress) for agent in self.agents
            ]
            return self._in_step(learners)
        found: dict[int, np.ndarray] = {}
        for squad in self.squads:
            theirs = [by_agent[agent.index] for agent in squad.agents]
            statistics = squad.learn(theirs, inboxes, self.done, progress)
            found.update(zip([agent.index for agent in squad.agents], statistics))
        for agent in self.singles:
            found[agent.index] = run_alone(
                agent.learn(by_agent[agent.index], inboxes[agent.index], self.done, progress)
            )
        return [found[index] for index in self.local]

    def _in_step(self, learners: Sequence[Generator[np.ndarray, np.ndarray, np.ndarray]]) -> list[np.ndarray]:
        """Learners that share parameters: whenever all have yielded, each is sent the team's mean."""
        results: list[np.ndarray] = []
        answer: np.ndarray | None = None
        while not results:
            yielded = []
            for learner in learners:
                try:
                    yielded.append(learner.send(answer))  # type: ignore[arg-type]
                except StopIteration as stop:
                    results.append(stop.value)
            if yielded:
                answer = self.network.team_mean(yielded, "moments" if yielded[0].dtype == np.float64 else "gradients")
        return results

    def _record(self, rollouts: Sequence[Any], losses: Sequence[np.ndarray], clock: Clock) -> dict[str, Any] | None:
        """Bookkeeping: bring this round's figures to rank 0 and put them together, sums in the order of agents."""
        from ..methods.actor_critic import STATISTICS
        from ..methods.variance import COLUMNS

        measured = COLUMNS if any(entry.measure_variance for entry in self.team.settings) else ()
        expected = self._expected()
        own, heard_of = [], []
        for agent, rollout, statistics, distortion in zip(self.agents, rollouts, losses, self.distortions):
            reward = float(rollout.reward.astype(np.float64).sum()) / rollout.reward.size
            heard = [other for other in agent.embedded if other in expected[agent.index]]
            late = [age for other, age in agent.ages.items()]
            absent = sum(other not in agent.ages for other in heard)
            counts = self.network.counts[agent.index]
            models = [agent.models[other].cross_entropy for other in agent.ages if other in agent.models]
            apart = self.averaging.disagreement.get(agent.index) if self.averaging else None
            network = [sum(late), max(late, default=0), len(late), absent, len(heard), *counts.values()]
            found = [*_counted(distortion[:1]), *_counted(distortion[1:]), *_counted(models), *_counted([apart])]
            variances = agent.learner.variances
            own.append([reward, *statistics, *network, *found])
            own[-1] += [math.nan] * len(measured) if variances is None else variances.tolist()
            heard_of += [[agent.index, other, age, agent.hops[other]] for other, age in sorted(agent.ages.items())]
            heard_of += [
                [agent.index, other, -1, expected[agent.index][other]] for other in heard if other not in agent.ages
            ]
        gathered = self.processes.gather(np.array(own), "gathering of metrics")
        ledgers = self.processes.gather(self.network.ledger.take(), "gathering of the ledger")
        neighbours = self.processes.gather(np.array(heard_of, np.float64).reshape(-1, 4), "gathering of ages")
        clock.lap("bookkeeping")
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        waited, self._waited = self.processes.waited - self._waited, self.processes.waited
        timings = self.processes.gather(np.append(clock.values(), [waited, memory]), "gathering of timings")
        episodes = self.world.take_episodes()
        if gathered is None or ledgers is None or timings is None or episodes is None or neighbours is None:
            return None
        width = 1 + len(STATISTICS) + len(NETWORK)
        table = np.concatenate([part.reshape(-1, width + len(measured)) for part in gathered])
        returns = [_mean([float(episode.returns[agent]) for episode in episodes]) for agent in range(len(table))]
        figures = {
            name: _mean([episode.figures[name] for episode in episodes])
            for name in (episodes[0].figures if episodes else ())
        }
        ledger = np.concatenate([part.reshape(-1, 5) for part in ledgers])
        ledger = ledger[np.lexsort(ledger[:, 2::-1].T)]
        ages = np.concatenate([part.reshape(-1, 4) for part in neighbours])
        metrics = {
            "round": self.done,
            "env_steps": self.done * self.config.copies * self.config.horizon,
            "episodes": len(episodes),
            "team_return": math.fsum(returns) if episodes else None,
            "agent_returns": returns if episodes else None,
            "figures": figures,
            "team_reward": math.fsum(table[:, 0]),
            "agent_rewards": table[:, 0].tolist(),
            **{name: math.fsum(table[:, 1 + k]) / len(table) for k, name in enumerate(STATISTICS)},
            **self._network_metrics(dict(zip(NETWORK, table[:, 1 + len(STATISTICS) : width].T)), ledger),
        }
        if measured:
            metrics["target_variance"] = {
                name: _mean_of_known(column.tolist()) for name, column in zip(measured, table[:, width:].T)
            }
        *columns, memories = np.array(timings).T
        seconds = np.array(columns[:-1]).T
        phases = {name: round(float(seconds[:, k].mean()), 6) for k, name in enumerate(Clock.PHASES)}
        total = {"round": self.done, "seconds": round(float(seconds.sum(1).max()), 6)}
        phases |= {"collectives": round(float(columns[-1].mean()), 6), "peak_mib": round(float(memories.max()), 1)}
        row = {"metrics": metrics, "timings": total | phases, "ledger": ledger, "neighbours": ages, "edges": self.edges}
        self._note_progress(metrics)
        return row

    def _expected(self) -> dict[int, dict[int, int]]:
        """Whom each local agent can hear in this round → along how many edges."""
        found: dict[int, dict[int, int]] = {index: {} for index in self.local}
        if self.config.links.hops == 1:
            for source, target in self.edges:
                if target in found:
                    found[target][source] = 1
            return found
        for source, reached in enumerate(reach(len(self.team.specs), self.edges, self.config.links.hops)):
            for target, distance in reached.items():
                if target in found:
                    found[target][source] = distance
        return found

    def _network_metrics(self, columns: dict[str, np.ndarray], ledger: np.ndarray) -> dict[str, Any]:
        """How the network fared in this round, from the agents' figures and the ledger."""
        from ..network.cost import medium_of, seconds

        total = {name: math.fsum(column) for name, column in columns.items()}
        size = int(ledger[:, 4].sum())
        self.totals["bytes"] += size
        found: dict[str, Any] = {
            "policy_age": total["ages"] / total["aged"] if total["aged"] else None,
            "oldest_policy": int(columns["oldest"].max()) if total["aged"] else None,
            "absent": total["absent"] / total["heard"] if total["heard"] else None,
            "edges": len(self.edges),
            "packets": int(total["sent"]),
            "loss": total["lost"] / total["sent"] if total["sent"] else None,
            "late": int(total["late"]),
            "unsent": int(total["unsent"]),
            "rejected": int(total["rejected"]),
            "bytes": size,
        }

        def mean(sums: str, counts: str) -> float | None:
            return total[sums] / total[counts] if total[counts] else None

        if self.config.compression.method != "none":
            found["distortion"] = mean("distortion", "distorted")
            found["policy_divergence"] = mean("divergence", "diverged")
        if any(entry.share == "modelled" for entry in self.team.settings):
            found["model_cross_entropy"] = mean("cross_entropy", "models")
        if self.averaging:
            found["disagreement"] = mean("disagreement", "disagreeing")
        medium = medium_of(self.config.cost)
        if medium:
            links = {(j, i): attributes for j, i, attributes in self.plan.schedule.links}
            rows = [(int(source), int(target), int(size)) for source, target, _, _, size in ledger.tolist()]
            averagings = self.config.consensus.repeat if self.averaging and self.edges else 0
            phases = self.config.links.hops + averagings + self.network.team_means
            found["communication_seconds"] = seconds(rows, medium, links, phases)
        if not self.plan.schedule.fixed or self.config.links.every > 1:
            self.history.append(self.edges)
            found["window"] = window_of(self.history, len(self.team.specs))
            del self.history[: -(found["window"] or len(self.history))]
        return found

    def _note_progress(self, metrics: dict[str, Any]) -> None:
        """Add what the team has gained per megabyte: (return − first return) / (10⁻⁶ · bytes sent so far)."""
        if metrics["team_return"] is not None and self.totals["first_return"] is None:
            self.totals["first_return"] = metrics["team_return"]
        megabytes = self.totals["bytes"] / 1e6
        known = metrics["team_return"] is not None and megabytes > 0
        gained = metrics["team_return"] - self.totals["first_return"] if known else 0.0
        metrics["return_per_megabyte"] = gained / megabytes if known else None

    # State

    def save(self, folder: Path) -> None:
        """Write this rank's agents and copies into a checkpoint's folder, then let rank 0 seal it. Raises Unsaved on all ranks, and
        leaves nothing half-written. Collective."""
        from ..records import checkpoint

        self.processes.where = f"checkpoint {self.done}"
        if self.processes.rank == 0 and folder.exists():
            shutil.rmtree(folder)  # what a job left that was killed while it wrote here
        self.processes.agree(0, "begin of a checkpoint")
        self._together(self._write_parts, folder, "end of a checkpoint")
        self._together(self._seal, folder, "sealing of a checkpoint")
        if self.processes.rank == 0:
            checkpoint.prune(folder.parent.parent, self.config.keep_checkpoints)

    def _together(self, write: Callable[[Path], None], folder: Path, name: str) -> None:
        """Let every rank write; where one cannot, the checkpoint is removed, and all raise Unsaved."""
        from ..records import checkpoint

        found = []
        try:
            write(folder)
        except WriteError as error:
            found.append(str(error))
        try:
            together(self.processes, found, Unsaved, name)
        except Unsaved:
            if self.processes.rank == 0:
                checkpoint.discard(folder)
            raise

    def _write_parts(self, folder: Path) -> None:
        from ..records import checkpoint

        for agent in self.agents:
            arrays, numbers = agent.state()
            for name, part in self._parts():
                more, numbers[name] = part.state(agent.index)
                arrays |= {f"{name}.{key}": array for key, array in more.items()}
            data = self._description(agent) | {"state": numbers}
            checkpoint.write(folder, self.stems[agent.index], arrays, data, agent.spec.name)
        if self.world.host:
            first, copies = self.world.host.first, self.world.host.copies
            checkpoint.write(folder, f"world-{first}-{first + copies - 1}", self.world.host.save(), None)

    def _seal(self, folder: Path) -> None:
        from ..records import checkpoint

        if self.processes.rank == 0:
            names = [agent.name for agent in self.team.specs]
            data = {"round": self.done, "steps": self.world.steps, "totals": self.totals, "history": self.history}
            data["agents"] = dict(zip(names, self.stems))
            checkpoint.seal(folder, data)

    def _step_back(self) -> None:
        """Undo the begin of a round whose rollout could not be finished: nothing was learned in it. What the environment has come to is
        not worth keeping: whoever goes on from here begins its episodes anew."""
        self.done -= 1
        if self.world.host and self.world.host.broken is None:
            self.world.host.broken = Stopped("a rollout was given up")
        for agent in self.agents:
            agent.take_back()

    def save_players(self, folder: Path) -> None:
        """Write what the agents need to act, and no more."""
        from ..records import checkpoint

        for agent in self.agents:
            arrays, _ = agent.state()
            acting = {name: arrays[name] for name in ("policy", "identity")}
            checkpoint.write(folder, self.stems[agent.index], acting, self._description(agent), agent.spec.name)
        self.processes.agree(0, "saving of players")

    def _description(self, agent: Agent) -> dict[str, Any]:
        return {
            "round": self.done,
            "index": agent.index,
            "spec": to_data(agent.spec),
            "policy": agent.policy.description,
        }

    def _parts(self) -> list[tuple[str, Any]]:
        """What has state per agent beside the agents."""
        return [("network", self.network)] + ([("averaging", self.averaging)] if self.averaging else [])

    def start(self) -> bool:
        """Begin anew, or from the plan's checkpoint; False when the environment could not be brought back as it was."""
        from ..records import checkpoint

        if not self.plan.resume_from:
            self.world.start()
            return True
        folder = Path(self.plan.resume_from)
        manifest = checkpoint.read_data(folder / "manifest.json", "--resume")
        self.done, self.world.steps = manifest["round"], manifest["steps"]
        for agent in self.agents:
            data, arrays = checkpoint.read_agent(folder / self.stems[agent.index], "--resume")
            try:
                agent.restore(arrays, data["state"])
                for name, part in self._parts():
                    prefix = f"{name}."
                    mine = {key[len(prefix) :]: array for key, array in arrays.items() if key.startswith(prefix)}
                    part.restore(agent.index, mine, data["state"][name])
            except KeyError as error:
                raise InputError(f"--resume {folder}: the state of {agent.spec.name} has no {error}") from None
        self.totals = manifest["totals"]
        self.history = [tuple((j, i) for j, i in edges) for edges in manifest["history"]]
        same = True
        if self.world.host:
            state = read_world(folder, self.world.host.first, self.world.host.copies)
            same = self.world.host.load(state, self.world.steps)
        same = not self.processes.agree(int(not same), "return of the environment")
        if self.world.host and not same:
            self.world.host.anew()
        self.world.show()
        return same


class Clock:
    """Seconds of this rank by phase."""

    PHASES = ("world", "exchange", "embedding", "learning", "bookkeeping")

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(self.PHASES, 0.0)
        self.last = time.perf_counter()

    def lap(self, phase: str) -> None:
        """What passed since the last lap belongs to ``phase``."""
        now = time.perf_counter()
        self.seconds[phase] += now - self.last
        self.last = now

    def move(self, source: str, target: str, seconds: float) -> None:
        """Book seconds of one phase under another."""
        self.seconds[source] -= seconds
        self.seconds[target] += seconds

    def values(self) -> np.ndarray:
        """Seconds in the order of :attr:`PHASES`."""
        return np.array([self.seconds[phase] for phase in self.PHASES])


def _graphs(schedule: Schedule) -> tuple[str, Any, None, str]:
    """The first graphs as this rank works them out, for comparison: those that are drawn depend on the version of networkx."""
    rounds = () if schedule.moves else range(1, 1 + 3 * schedule.every, schedule.every)
    return (
        "graphs",
        [schedule.edges(number) for number in rounds],
        None,
        "the same version of networkx must be installed for all of them",
    )


def read_world(folder: Path, first: int, copies: int) -> dict[str, np.ndarray]:
    """The state of copies first … first + copies − 1, from however many hosts wrote it."""
    from ..records import checkpoint

    parts: list[dict[str, np.ndarray]] = []
    for file in sorted(folder.glob("world-*.safetensors"), key=lambda file: int(file.stem.split("-")[1])):
        start, stop = (int(number) for number in file.stem.split("-")[1:])
        low, high = max(start, first), min(stop, first + copies - 1)
        if low <= high:
            arrays = checkpoint.read_arrays(file, "--resume")
            parts.append({name: array[low - start : high - start + 1] for name, array in arrays.items()})
    if sum(len(next(iter(part.values()))) for part in parts) != copies:
        raise InputError(f"--resume {folder}: has not the state of all copies {first} to {first + copies - 1}")
    names = set(parts[0]).intersection(*parts[1:])  # one that failed kept nothing of its environment
    return {name: _stack([part[name] for part in parts]) for name in parts[0] if name in names}


def _stack(arrays: list[np.ndarray]) -> np.ndarray:
    """Concatenate over copies; logs of actions may differ in length and are padded with zeros."""
    shape = np.max([array.shape[1:] for array in arrays], axis=0).astype(int) if arrays[0].ndim > 1 else ()
    padded = []
    for array in arrays:
        full = np.zeros((len(array), *shape), array.dtype)
        full[(slice(None), *(slice(0, size) for size in array.shape[1:]))] = array
        padded.append(full)
    return np.concatenate(padded)


def _spread(candidates: Sequence[int], wanted: int | None, size: int) -> list[int]:
    """The ranks that host copies: as asked for, else one per core."""
    if wanted is None:
        return list(candidates)
    if wanted <= len(candidates):
        return list(candidates[:wanted])
    others = [rank for rank in range(size) if rank not in candidates]
    return sorted([*candidates, *others[: wanted - len(candidates)]])


def _counted(values: Sequence[float | None]) -> tuple[float, int]:
    """Sum and number of those that are known."""
    known = [value for value in values if value is not None]
    return math.fsum(known), len(known)


def _mean_of_known(values: Sequence[float]) -> float | None:
    known = [value for value in values if not math.isnan(value)]
    return _mean(known) if known else None


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0
