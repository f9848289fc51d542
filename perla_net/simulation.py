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

from .config import PRESETS, AgentSettings, Config, from_data, parse_spec, to_data
from .errors import InputError
from .network.links import bad_share
from .network.schedule import Edges, Schedule, reach, window_of
from .processes import UNIT, Processes, cores_by_host
from .world.spec import WorldSpec

if TYPE_CHECKING:  # only for annotations: nobody imports torch before the plan stands
    from .agent import Team
    from .network.exchange import Inbox

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
    schedule: Schedule
    folder: str = ""
    resume_from: str = ""

    def to_bytes(self) -> bytes:
        """The plan as JSON."""
        data = {name: to_data(getattr(self, name)) for name in ("config", "settings", "world", "folder", "resume_from")}
        return json.dumps(data | {"schedule": self.schedule.to_data()}).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Plan:
        """The inverse of :meth:`to_bytes`."""
        tree = json.loads(data)
        return cls(
            from_data(Config, tree["config"]),
            tuple(from_data(AgentSettings, entry) for entry in tree["settings"]),
            WorldSpec.from_data(tree["world"]),
            Schedule.from_data(tree["schedule"]),
            tree["folder"],
            tree["resume_from"],
        )

    def team(self) -> Team:
        """Spaces, settings and graph, as every agent knows them."""
        from .agent import Team

        edges = self.schedule.potential(self.config.links.hops)
        return Team(self.world.agents, self.settings, edges, self.config.compression)


def prepare(config: Config, schedule: Schedule | None = None, ranks: int = 1) -> Plan:
    """Check a validated configuration against its environment and graph; on rank 0 only.

    schedule: the graphs of a run that is continued. Raises InputError for everything that could not run. Writes nothing.
    """
    from .options import agent_overrides, settings_with
    from .topology import schedule_of
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
    if schedule is None:
        schedule = schedule_of(
            config.topology, names, world.interaction, config.seed, world.positions, world.moves, config.rounds
        )
    elif config.rounds > len(schedule.graphs) > 1 and Path(parse_spec(config.topology)[0]).suffix == ".py":
        longer = schedule_of(config.topology, names, None, config.seed, rounds=config.rounds)
        if longer.graphs[: len(schedule.graphs)] != schedule.graphs:
            raise InputError(f"--topology {config.topology}: does not make the graphs any more that the run began with")
        schedule = longer
    config = replace(config, agents=replace(config.agents, number=number))
    settings = tuple(settings_with(config, overrides) for overrides in agent_overrides(config, names))
    plan = Plan(config, settings, world, schedule)
    _check_combinations(plan)
    return plan


def _check_combinations(plan: Plan) -> None:
    """Refuse what the options allow one by one but not together."""
    agents, settings = plan.world.agents, plan.settings
    heard_by: list[list[int]] = [[] for _ in agents]
    for source, target in plan.schedule.potential(plan.config.links.hops):
        heard_by[target].append(source)
    _check_network(plan)
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
        heard = heard_by[index]
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
        together = [
            [agents[other].action.joint for other in those]
            for those in plan.schedule.heard_together(index, plan.config.links.hops)
        ]
        joint = None if any(None in counts for counts in together) else max(map(math.prod, together), default=1)
        if entry.estimator == "exact" or (
            entry.estimator == "auto" and joint is not None and joint <= max(entry.exact_limit, entry.samples)
        ):
            if joint is None or joint > EXACT_MOST:
                what = "continuous actions" if joint is None else f"{joint} joint actions"
                raise InputError(
                    f"--estimator exact: {agents[index].name}'s neighbours have {what}, and at most {EXACT_MOST} can be "
                    "enumerated; stratified takes samples"
                )


def _check_network(plan: Plan) -> None:
    """Refuse what links, compression and averaging cannot do together."""
    config, schedule = plan.config, plan.schedule
    links, averaging = config.links, config.consensus.what != "none"
    if links.burst and links.burst < 1:
        raise InputError(f"--links.burst {links.burst}: a burst lasts at least one round; 0 stands for no bursts")
    if links.burst and links.loss_good == links.loss_bad:
        raise InputError(
            f"--links.loss-bad {links.loss_bad}: must be more than --links.loss-good, or --links.burst be 0"
        )
    if links.delay_model == "constant" and links.delay != round(links.delay):
        raise InputError(
            f"--links.delay {links.delay}: a constant delay is a whole number of rounds; or make it geometric"
        )
    _check_losses(plan)
    slow = links.delay or any("delay" in attributes for _, _, attributes in schedule.links)
    if links.hops > 1 and links.every > 1 and slow:
        raise InputError(
            f"--links.every {links.every}: what arrives in a silent round cannot be forwarded; use --links.hops 1, or no delay"
        )
    if config.compression.method == "top_k":
        if links.hops > 1:
            raise InputError("--compression.method top_k: differences cannot be forwarded; use --links.hops 1")
        if slow and links.delay_model == "geometric" and links.overtake:
            raise InputError("--compression.method top_k: differences must arrive in order; use --links.overtake false")
        team = plan.team()
        for source in sorted({j for (j, _), names in team.wants().items() if "policy" in names}):
            whole = 2 * UNIT + 4 * len(team.policy_of(source).flat)
            if 0 < links.budget < whole:
                raise InputError(
                    f"--links.budget {links.budget}: the first policy is sent whole under top_k, and that of "
                    f"{plan.world.agents[source].name} needs {whole} bytes"
                )
    if not averaging:
        return
    metropolis = config.consensus.weights == "metropolis"
    if metropolis and not schedule.undirected():
        raise InputError(
            f"--consensus.weights metropolis: needs graphs whose edges go both ways, and '{config.topology}' has others; "
            "use push_sum"
        )
    fails = links.loss or links.bit_errors or any("loss" in attributes for _, _, attributes in schedule.links)
    if metropolis and links.symmetric == "no" and fails:
        raise InputError(
            "--links.symmetric no: Metropolis weights would lose the mean; use --consensus.weights push_sum"
        )
    if metropolis and links.budget:
        raise InputError(
            f"--links.budget {links.budget}: may stop one direction of a link, and Metropolis weights would lose the mean; "
            "use --consensus.weights push_sum"
        )
    if not metropolis and config.compression.method == "top_k":
        raise InputError("--compression.method top_k: push-sum divides whole vectors; use int8, or Metropolis weights")
    if metropolis and slow:
        raise InputError("--links.delay: Metropolis weights would lose the mean; use --consensus.weights push_sum")
    if not metropolis and config.consensus.step != 1:
        raise InputError(
            f"--consensus.step {config.consensus.step}: is for Metropolis weights; push-sum goes all the way"
        )
    if not metropolis and not _heard_back(schedule):
        raise InputError(
            f"--consensus.weights push_sum: in '{config.topology}' some agent sends to others and never hears of them, so that "
            "its weight would vanish; every part of the graph must be strongly connected over the rounds"
        )
    if True in {PRESETS[entry.algorithm].shared for entry in plan.settings}:
        raise InputError(
            "--consensus.what: agents under parameter sharing (ps_*) are equal already; use a private algorithm"
        )
    team = plan.team()
    if config.consensus.what != "policies" and any(team.embedded_by(agent) for agent in range(len(plan.settings))):
        raise InputError(
            f"--consensus.what {config.consensus.what}: the inputs of critics that embed neighbours mean different agents; "
            "average policies, or use an algorithm without embedding"
        )
    first = _averaged_shape(plan, team, 0)
    for index in range(1, len(plan.settings)):
        if _averaged_shape(plan, team, index) != first:
            raise InputError(
                f"--consensus.what {config.consensus.what}: averaging needs equal networks, but those of "
                f"{plan.world.agents[index].name} and {plan.world.agents[0].name} differ"
            )


def _check_losses(plan: Plan) -> None:
    """Refuse losses that links with bursts cannot have in the long run."""
    links = plan.config.links
    if not links.burst:
        return
    own = [
        (f"--topology {plan.config.topology}: an edge's loss", a["loss"])
        for _, _, a in plan.schedule.links
        if "loss" in a
    ]
    for where, loss in [("--links.loss", links.loss), *own]:
        if not links.loss_good <= loss <= links.loss_bad:
            raise InputError(
                f"{where} {loss}: must lie between --links.loss-good {links.loss_good} and --links.loss-bad "
                f"{links.loss_bad}, which it averages"
            )
        most = links.burst / (1 + links.burst)
        if bad_share(links, loss) > most:
            raise InputError(
                f"{where} {loss}: bursts of {links.burst:g} rounds with at least one good round between leave a link bad in at "
                f"most {most:.3f} of them; make --links.burst longer"
            )


def _heard_back(schedule: Schedule) -> bool:
    """Whether everyone hears, over the rounds and through others, of all that it sends to."""
    import networkx as nx

    if schedule.kind != "list":
        return True
    graph = nx.DiGraph(schedule.potential())
    return all(nx.is_strongly_connected(graph.subgraph(part)) for part in nx.weakly_connected_components(graph))


def _averaged_shape(plan: Plan, team: Team, agent: int) -> Any:
    """What must be equal for two agents to average: shapes of their networks, and what a critic's inputs mean."""
    entry, what = plan.settings[agent], plan.config.consensus.what
    parts: list[Any] = [] if what == "critics" else [team.policy_of(agent).description]
    if what != "policies":
        of_critic = entry.model.critic_hidden, entry.model.critic_activation, PRESETS[entry.algorithm].critic_input
        spec = plan.world.agents[agent]
        parts += [of_critic, spec.observation_size, entry.returns.normalise_values]
    return parts


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

        from .agent import Agent, Squad
        from .network.consensus import Averaging
        from .network.exchange import Network
        from .network.links import LinkModel, needs_symmetric
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
        rollouts = self._collect()
        self.edges = self._graph()
        clock.lap("world")
        messages = {a.index: a.message(r, self.wanted[a.index]) for a, r in zip(self.agents, rollouts)}
        clock.lap("learning")  # the behaviour policy at every state, which the learner needs anyway
        inboxes = self.network.exchange(messages, self.done, self.edges, rollouts[0].final_at[:, 1])
        self.distortions = [agent.distortion(self.network.told.get(agent.index, [])) for agent in self.agents]
        self._average("before")
        clock.lap("exchange")
        losses = self._learn(rollouts, inboxes)
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
        return self.world.collect([actor.begin() for actor in (*self.squads, *self.singles)], slots)

    def _learn(self, rollouts: Sequence[Any], inboxes: dict[int, Inbox]) -> list[np.ndarray]:
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
            own.append([reward, *statistics, *network, *found])
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
        table = np.concatenate([part.reshape(-1, 1 + len(STATISTICS) + len(NETWORK)) for part in gathered])
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
            **self._network_metrics(dict(zip(NETWORK, table[:, 1 + len(STATISTICS) :].T)), ledger),
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
        from .network.cost import medium_of, seconds

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
        """Write this rank's agents and copies into a checkpoint's folder, then let rank 0 seal it."""
        from . import checkpoint

        self.processes.where = f"checkpoint {self.done}"
        if self.processes.rank == 0 and folder.exists():
            shutil.rmtree(folder)  # what a job left that was killed while it wrote here
        self.processes.agree(0, "begin of a checkpoint")
        for agent in self.agents:
            arrays, numbers = agent.state()
            for name, part in self._parts():
                more, numbers[name] = part.state(agent.index)
                arrays |= {f"{name}.{key}": array for key, array in more.items()}
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
            data = {"round": self.done, "steps": self.world.steps, "totals": self.totals, "history": self.history}
            checkpoint.seal(folder, data)
            checkpoint.prune(folder.parent.parent, self.config.keep_checkpoints)
        self.processes.agree(0, "sealing of a checkpoint")

    def _parts(self) -> list[tuple[str, Any]]:
        """What has state per agent beside the agents."""
        return [("network", self.network)] + ([("averaging", self.averaging)] if self.averaging else [])

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
            for name, part in self._parts():
                prefix = f"{name}."
                mine = {key[len(prefix) :]: array for key, array in arrays.items() if key.startswith(prefix)}
                part.restore(agent.index, mine, data["state"][name])
        self.totals = manifest["totals"]
        self.history = [tuple((j, i) for j, i in edges) for edges in manifest["history"]]
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


def _counted(values: Sequence[float | None]) -> tuple[float, int]:
    """Sum and number of those that are known."""
    known = [value for value in values if value is not None]
    return math.fsum(known), len(known)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0
