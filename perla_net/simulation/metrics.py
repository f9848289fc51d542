"""Figures of a round: what every agent reports, what the network did, how long it took; brought to rank 0."""

from __future__ import annotations

import math
import resource
import time
from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np

from ..ground.processes import Processes
from ..methods.protocol import Method
from ..methods.team import Team
from ..methods.variance import COLUMNS
from ..network.channel import Channel
from ..network.consensus import Averaging
from ..network.cost import medium_of, seconds
from ..network.exchange import Network
from ..network.schedule import Edges, reach, window_of
from ..network.talk import Talk
from ..world.world import World
from .plan import Plan

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
    "told",
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


@dataclass(frozen=True)
class Moment:
    """What happened in a round, of the agents of one rank: mean reward of each, what their methods report, what coding did to their
    policies; and the round's graph."""

    round: int
    rewards: Sequence[float]
    found: Sequence[dict[str, float]]
    distortions: Sequence[tuple[float | None, float | None]]
    edges: Edges


class Metrics:
    """Puts the figures of all ranks together."""

    def __init__(
        self,
        processes: Processes,
        plan: Plan,
        team: Team,
        methods: Sequence[Method],
        world: World,
        network: Network,
        averaging: Averaging | None,
        talk: Talk,
        channel: Channel | None = None,
    ) -> None:
        """``methods``: of the agents of this rank."""
        self.processes, self.plan, self.config, self.team = processes, plan, plan.config, team
        self.methods, self.world, self.network, self.averaging, self.talk = methods, world, network, averaging, talk
        self.channel = channel
        self.statistics = tuple(dict.fromkeys(name for method in team.methods for name in method.statistics))
        """Names of all that some agent's method reports."""
        self.history: list[Edges] = []
        """Graphs of the rounds so far, as far back as the union of them is not strongly connected; on rank 0."""
        self.totals = {"bytes": 0.0, "first_return": None}
        """Bytes of agent traffic so far, and the team's return when it was first known; on rank 0."""
        self._waited = 0.0

    def record(self, moment: Moment, clock: Clock) -> dict[str, Any] | None:
        """Bookkeeping: bring this round's figures to rank 0 and put them together, sums in the order of agents."""
        measured = COLUMNS if any(entry.measure_variance for entry in self.team.settings) else ()
        names = self.statistics
        expected = self._expected(moment.edges)
        own, heard_of = [], []
        for agent, reward, statistics, distortion in zip(
            self.methods, moment.rewards, moment.found, moment.distortions
        ):
            heard = [other for other in agent.embedded if other in expected[agent.index]]
            late = [age for other, age in agent.ages.items()]
            absent = sum(other not in agent.ages for other in heard)
            counts = self.network.counts[agent.index]
            models = agent.cross_entropies()
            apart = self.averaging.disagreement.get(agent.index) if self.averaging else None
            network = [sum(late), max(late, default=0), len(late), absent, len(heard), *counts.values()]
            found = [*_counted(distortion[:1]), *_counted(distortion[1:]), *_counted(models), *_counted([apart])]
            variances = agent.variances
            own.append([reward, *(statistics.get(name, math.nan) for name in names), *network, *found])
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
        width = 1 + len(names) + len(NETWORK)
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
            "round": moment.round,
            "env_steps": moment.round * self.config.copies * self.config.horizon,
            "episodes": len(episodes),
            "team_return": math.fsum(returns) if episodes else None,
            "agent_returns": returns if episodes else None,
            "figures": figures,
            "team_reward": math.fsum(table[:, 0]),
            "agent_rewards": table[:, 0].tolist(),
            **{name: _mean_of_known(table[:, 1 + k].tolist()) for k, name in enumerate(names)},
            **self._network_metrics(dict(zip(NETWORK, table[:, 1 + len(names) : width].T)), ledger, moment.edges),
        }
        if measured:
            metrics["target_variance"] = {
                name: _mean_of_known(column.tolist()) for name, column in zip(measured, table[:, width:].T)
            }
        *columns, memories = np.array(timings).T
        seconds = np.array(columns[:-1]).T
        phases = {name: round(float(seconds[:, k].mean()), 6) for k, name in enumerate(Clock.PHASES)}
        total = {"round": moment.round, "seconds": round(float(seconds.sum(1).max()), 6)}
        phases |= {"collectives": round(float(columns[-1].mean()), 6), "peak_mib": round(float(memories.max()), 1)}
        row = {
            "metrics": metrics,
            "timings": total | phases,
            "ledger": ledger,
            "neighbours": ages,
            "edges": moment.edges,
        }
        self._note_progress(metrics)
        return row

    def _expected(self, edges: Edges) -> dict[int, dict[int, int]]:
        """Whom each local agent can hear in this round → along how many edges."""
        found: dict[int, dict[int, int]] = {index: {} for index in self.network.local}
        if self.config.links.hops == 1:
            for source, target in edges:
                if target in found:
                    found[target][source] = 1
            return found
        for source, reached in enumerate(reach(len(self.team.specs), edges, self.config.links.hops)):
            for target, distance in reached.items():
                if target in found:
                    found[target][source] = distance
        return found

    def _network_metrics(self, columns: dict[str, np.ndarray], ledger: np.ndarray, edges: Edges) -> dict[str, Any]:
        """How the network fared in this round, from the agents' figures and the ledger."""
        total = {name: math.fsum(column) for name, column in columns.items()}
        size = int(ledger[:, 4].sum())
        self.totals["bytes"] += size
        found: dict[str, Any] = {
            "policy_age": total["ages"] / total["aged"] if total["aged"] else None,
            "oldest_policy": int(columns["oldest"].max()) if total["aged"] else None,
            "absent": total["absent"] / total["heard"] if total["heard"] else None,
            "edges": len(edges),
            "packets": int(total["sent"]),
            "loss": total["lost"] / total["sent"] if total["sent"] else None,
            "late": int(total["late"]),
            "unsent": int(total["unsent"]),
            "rejected": int(total["rejected"]),
            "bytes": size,
        }

        def mean(sums: str, counts: str) -> float | None:
            return total[sums] / total[counts] if total[counts] else None

        if self.channel:
            steps = self.config.copies * self.config.horizon
            found["bytes_per_step"] = total["told"] / steps
            found["bytes_per_step_and_edge"] = total["told"] / steps / len(edges) if edges else 0.0
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
            averagings = self.config.consensus.repeat if self.averaging and edges else 0
            phases = self.config.links.hops + averagings + self.talk.turns
            phases += self.channel.exchanges if self.channel and edges else 0
            found["communication_seconds"] = seconds(rows, medium, links, phases)
        if not self.plan.schedule.fixed or self.config.links.every > 1:
            self.history.append(edges)
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


def _counted(values: Sequence[float | None]) -> tuple[float, int]:
    """Sum and number of those that are known."""
    known = [value for value in values if value is not None]
    return math.fsum(known), len(known)


def _mean_of_known(values: Sequence[float]) -> float | None:
    known = [value for value in values if not math.isnan(value)]
    return _mean(known) if known else None


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0
