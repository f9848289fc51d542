"""A run: rounds of rollout, exchange and learning.

The four lines of :meth:`Simulation.round` are the program; everything else hangs on them.
"""

from __future__ import annotations

import json
import math
import resource
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generator, Sequence

import numpy as np

from .config import PRESETS, AgentSettings, Config, from_data, to_data
from .errors import InputError
from .processes import Processes, cores_by_host
from .world.spec import WorldSpec

if TYPE_CHECKING:  # only for annotations: rank 0 imports networkx elsewhere, and nobody torch before the plan stands
    import networkx as nx

    from .agent import Team

EXACT_MOST = 65_536
"""Joint actions beyond which ``--estimator exact`` is refused."""
HEADS_MOST = 4096
"""Own actions beyond which a critic with a head per own action is refused."""


@dataclass(frozen=True)
class Plan:
    """What rank 0 decided, from which every rank builds its part: data only, so that it can be broadcast."""

    config: Config
    settings: tuple[AgentSettings, ...]
    world: WorldSpec
    edges: tuple[tuple[int, int], ...]
    folder: str = ""
    resume_from: str = ""

    def to_bytes(self) -> bytes:
        """The plan as JSON."""
        return json.dumps(to_data(self)).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Plan:
        """The inverse of :meth:`to_bytes`."""
        tree = json.loads(data)
        return cls(
            from_data(Config, tree["config"]),
            tuple(from_data(AgentSettings, entry) for entry in tree["settings"]),
            WorldSpec.from_data(tree["world"]),
            tuple((source, target) for source, target in tree["edges"]),
            tree["folder"],
            tree["resume_from"],
        )

    def team(self) -> Team:
        """Spaces, settings and graph, as every agent knows them."""
        from .agent import Team

        return Team(self.world.agents, self.settings, self.edges)


def prepare(config: Config, graph: nx.DiGraph | None = None, ranks: int = 1) -> Plan:
    """Check a validated configuration against its environment and graph; on rank 0 only.

    Raises InputError for everything that could not run. Writes nothing.
    """
    from .options import agent_overrides, settings_with
    from .topology import build
    from .world.environments import make, takes_any_number

    # One agent per rank where nothing else says how many.
    wanted = config.agents.number or (ranks if ranks > 1 and takes_any_number(config.env) else None)
    world = make(config.env, 1, wanted).spec
    names = [agent.name for agent in world.agents]
    number = len(names)
    if ranks > number:
        raise InputError(
            f"{ranks} ranks for {number} agents: each rank needs an agent; type mpirun -n {number} or fewer, or raise --agents"
        )
    if graph is None:
        graph = build(config.topology, names, world.interaction, config.seed)
    config = replace(config, agents=replace(config.agents, number=number))
    settings = tuple(settings_with(config, overrides) for overrides in agent_overrides(config, names))
    plan = Plan(config, settings, world, tuple(sorted(graph.edges)))
    _check_combinations(plan)
    return plan


def _check_combinations(plan: Plan) -> None:
    """Refuse what the options allow one by one but not together."""
    agents, settings, edges = plan.world.agents, plan.settings, plan.edges
    if plan.config.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise InputError(
                f"--device cuda: PyTorch {torch.__version__} sees no GPU here; use --device cpu, or install a CUDA build of it"
            )
    shared = {PRESETS[entry.algorithm].shared for entry in settings}
    if True in shared and plan.config.batch_agents == "yes":
        raise InputError("--batch-agents yes: parameter sharing (ps_*) makes agents step one by one; leave it at auto")
    if shared == {True, False}:
        raise InputError("algorithm: parameter sharing (ps_*) is for the whole team; private agents cannot be mixed in")
    if shared == {True}:
        first = agents[0]
        for other, entry in zip(agents, settings):
            if (other.observation_size, other.action, other.masked) != (
                first.observation_size,
                first.action,
                first.masked,
            ):
                raise InputError(
                    f"--algorithm {entry.algorithm}: parameter sharing needs equal spaces, but {other.name} and {first.name} differ"
                )
            if entry != settings[0]:
                raise InputError(
                    f"--algorithm {entry.algorithm}: parameter sharing needs equal settings, but those of {other.name} "
                    f"and {first.name} differ"
                )
    for index, entry in enumerate(settings):
        if entry.model.memory == "gru" and not entry.model.policy_hidden:
            raise InputError(f"--model.memory gru: needs a hidden layer, but {agents[index].name} has policy_hidden ()")
        heard = [source for source, target in edges if target == index]
        if not (PRESETS[entry.algorithm].embedding and entry.samples and heard):
            continue
        if not entry.model.critic_hidden:
            raise InputError(
                f"--model.critic-hidden: an embedded critic needs a hidden layer, but {agents[index].name} has none"
            )
        for other in heard:
            same_mask = agents[other].masked == agents[index].masked and (
                not agents[other].masked or agents[other].action == agents[index].action
            )
            if settings[other].share == "own_view" and not same_mask:
                raise InputError(
                    f"--share own_view: {agents[index].name} cannot evaluate {agents[other].name}'s policy with its own action "
                    "mask: their actions or masks differ"
                )
            if settings[other].share == "own_view" and not agents[other].reads_like(agents[index]):
                raise InputError(
                    f"--share own_view: {agents[index].name} cannot evaluate {agents[other].name}'s policy on its own observation: "
                    f"{agents[index].observation_kind}{agents[index].observation_shape} is not "
                    f"{agents[other].observation_kind}{agents[other].observation_shape}"
                )
        own = agents[index].action.joint
        if entry.form != "state" and own is not None and own > HEADS_MOST:
            raise InputError(
                f"--form {entry.form}: {agents[index].name} has {own} actions, and a critic with a head for each takes at most "
                f"{HEADS_MOST}; use --form state"
            )
        counts = [agents[other].action.joint for other in heard]
        joint = None if None in counts else math.prod(counts)
        if entry.estimator == "exact" or (
            entry.estimator == "auto" and joint is not None and joint <= max(entry.exact_limit, entry.samples)
        ):
            if joint is None or joint > EXACT_MOST:
                what = "continuous actions" if joint is None else f"{joint} joint actions"
                raise InputError(
                    f"--estimator exact: {agents[index].name}'s neighbours have {what}, and at most {EXACT_MOST} can be "
                    "enumerated; stratified takes samples"
                )


class Simulation:
    """One rank's part of a run."""

    def __init__(self, plan: Plan, processes: Processes) -> None:
        import torch

        from .agent import Agent, Squad
        from .network.exchange import Network
        from .world.world import World, blocks_of

        torch.set_num_threads(1)  # cores are used by ranks, and thread counts change the last bits
        self.plan, self.processes, self.config = plan, processes, plan.config
        config = plan.config
        processes.stall_timeout = config.stall_timeout
        self.blocks = blocks_of(len(plan.world.agents), processes.size)
        self.local = self.blocks[processes.rank]
        self.hosts = _spread(cores_by_host(processes), config.hosts, processes.size)
        self.team = plan.team()
        self.world = World(
            processes, plan.world, config.env, self.blocks, self.hosts, config.copies, config.horizon, config.seed
        )
        self.agents = [
            Agent(index, self.team, config.seed, config.copies, config.horizon, config.device) for index in self.local
        ]
        together = config.batch_agents == "yes" or (config.batch_agents == "auto" and config.device == "cuda")
        self.squads = Squad.gather(self.agents) if together else []
        grouped = {agent.index for squad in self.squads for agent in squad.agents}
        self.singles = [agent for agent in self.agents if agent.index not in grouped]
        wants = self.team.wants()
        self.network = Network(
            processes,
            self.blocks,
            wants,
            lambda agent, section, finals: self.team.form(agent, section, finals, config.copies, config.horizon),
        )
        told: dict[int, set[str]] = {index: set() for index in self.local}
        for (source, _), names in wants.items():
            if source in told:
                told[source].update(names)
        self.wanted = {index: sorted(names) for index, names in told.items()}
        self.done = 0
        self._waited = 0.0

    def round(self) -> dict[str, Any] | None:
        """One round; what happened in it, on rank 0 (see :meth:`_record`)."""
        self.done += 1
        self.processes.where = f"round {self.done}"
        clock = Clock()
        rollouts = self._collect()
        clock.lap("world")
        messages = {a.index: a.message(r, self.wanted[a.index]) for a, r in zip(self.agents, rollouts)}
        clock.lap("learning")  # the behaviour policy at every state, which the learner needs anyway
        inboxes = self.network.exchange(messages, self.done, len(rollouts[0].final_at))
        clock.lap("exchange")
        losses = self._learn(rollouts, inboxes)
        clock.lap("learning")
        embedding = sum(agent.take_embedding_seconds() for agent in self.agents)
        clock.move("learning", "embedding", embedding)
        return self._record(rollouts, losses, clock)

    def _collect(self) -> list[Any]:
        """The rollouts of the local agents."""
        slots = [[self.local.index(agent.index) for agent in squad.agents] for squad in self.squads]
        slots += [[self.local.index(agent.index)] for agent in self.singles]
        return self.world.collect([actor.begin() for actor in (*self.squads, *self.singles)], slots)

    def _learn(self, rollouts: Sequence[Any], inboxes: dict[int, Any]) -> list[np.ndarray]:
        """Every local agent learns; agents that share parameters step together and hear the mean of what each yields."""
        from .agent import run_alone

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
        from .algorithms.actor_critic import STATISTICS

        own = []
        for agent, rollout, statistics in zip(self.agents, rollouts, losses):
            reward = float(rollout.reward.astype(np.float64).sum()) / rollout.reward.size
            ages = list(agent.ages.values())
            heard, absent = len(agent.embedded), len(agent.embedded) - len(ages)
            own.append([reward, *statistics, sum(ages), heard, absent, self.network.rejected[agent.index]])
        gathered = self.processes.gather(np.array(own), "gathering of metrics")
        ledgers = self.processes.gather(self.network.ledger.take(), "gathering of the ledger")
        clock.lap("bookkeeping")
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        waited, self._waited = self.processes.waited - self._waited, self.processes.waited
        timings = self.processes.gather(np.append(clock.values(), [waited, memory]), "gathering of timings")
        episodes = self.world.take_episodes()
        if gathered is None or ledgers is None or timings is None or episodes is None:
            return None
        table = np.concatenate([part.reshape(-1, len(STATISTICS) + 5) for part in gathered])
        returns = [_mean([float(episode.returns[agent]) for episode in episodes]) for agent in range(len(table))]
        figures = {
            name: _mean([episode.figures[name] for episode in episodes])
            for name in (episodes[0].figures if episodes else ())
        }
        ages, heard, absent, rejected = (float(column.sum()) for column in table[:, -4:].T)
        ledger = np.concatenate([part.reshape(-1, 5) for part in ledgers])
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
            "policy_age": ages / (heard - absent) if heard > absent else None,
            "absent": absent / heard if heard else None,
            "rejected": int(rejected),
            "bytes": int(ledger[:, 4].sum()),
        }
        *columns, memories = np.array(timings).T
        seconds = np.array(columns[:-1]).T
        phases = {name: round(float(seconds[:, k].mean()), 6) for k, name in enumerate(Clock.PHASES)}
        total = {"round": self.done, "seconds": round(float(seconds.sum(1).max()), 6)}
        phases |= {"collectives": round(float(columns[-1].mean()), 6), "peak_mib": round(float(memories.max()), 1)}
        return {"metrics": metrics, "timings": total | phases, "ledger": ledger[np.lexsort(ledger[:, 2::-1].T)]}

    # State

    def save(self, folder: Path) -> None:
        """Write this rank's agents and copies into a checkpoint's folder, then let rank 0 seal it."""
        from . import checkpoint

        self.processes.where = f"checkpoint {self.done}"
        if self.processes.rank == 0 and folder.exists():
            shutil.rmtree(folder)  # what a job left that was killed while it wrote here
        self.processes.agree(0, "begin of a checkpoint")
        for agent in self.agents:
            arrays, numbers = agent.state()
            data = {
                "format": checkpoint.FORMAT,
                "round": self.done,
                "index": agent.index,
                "spec": to_data(agent.spec),
                "policy": agent.policy.description,
                "state": numbers,
            }
            checkpoint.write(folder, checkpoint.stem(agent.spec.name), arrays, data)
        if self.world.host:
            first, copies = self.world.host.first, self.world.host.copies
            checkpoint.write(folder, f"world-{first}-{first + copies - 1}", self.world.host.save(), None)
        self.processes.agree(0, "end of a checkpoint")
        if self.processes.rank == 0:
            checkpoint.seal(folder, {"round": self.done, "steps": self.world.steps})
            checkpoint.prune(folder.parent.parent, self.config.keep_checkpoints)
        self.processes.agree(0, "sealing of a checkpoint")

    def start(self) -> bool:
        """Begin anew, or from the plan's checkpoint; False when the environment could not be brought back as it was."""
        from . import checkpoint

        if not self.plan.resume_from:
            self.world.start()
            return True
        folder = Path(self.plan.resume_from)
        manifest = checkpoint.read_data(folder / "manifest.json", "--resume")
        self.done, self.world.steps = manifest["round"], manifest["steps"]
        for agent in self.agents:
            arrays = checkpoint.read_arrays(folder / f"{checkpoint.stem(agent.spec.name)}.safetensors", "--resume")
            data = checkpoint.read_data(folder / f"{checkpoint.stem(agent.spec.name)}.json", "--resume")
            agent.restore(arrays, data["state"])
        same = True
        if self.world.host:
            state = read_world(folder, self.world.host.first, self.world.host.copies)
            same = self.world.host.load(state, manifest["steps"])
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


def read_world(folder: Path, first: int, copies: int) -> dict[str, np.ndarray]:
    """The state of copies first … first + copies − 1, from however many hosts wrote it."""
    from . import checkpoint

    parts: list[dict[str, np.ndarray]] = []
    for file in sorted(folder.glob("world-*.safetensors"), key=lambda file: int(file.stem.split("-")[1])):
        start, stop = (int(number) for number in file.stem.split("-")[1:])
        low, high = max(start, first), min(stop, first + copies - 1)
        if low <= high:
            arrays = checkpoint.read_arrays(file, "--resume")
            parts.append({name: array[low - start : high - start + 1] for name, array in arrays.items()})
    return {name: _stack([part[name] for part in parts]) for name in parts[0]}


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


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0
