"""World traffic: actions to the hosts, observations and rewards back, into rollouts that MPI fills in place."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Collection, Mapping, Protocol, Sequence

import numpy as np

from ..ground.errors import ContractError, Stopped
from ..ground.processes import Processes
from . import streams
from .agreement import agree_on_world
from .environments import make
from .hosts import ALIVE, BROKEN, FINAL, OVER, TERMINATED, TRUNCATED, Episode, Host, RowLayout, aligned, split
from .spec import WorldSpec

TRAINING, EVALUATION, POINTS, ABSOLUTE = 1, 2, 3, 4
"""Uses of an environment copy, each with random streams of its own (first part of the spawn key); those from ABSOLUTE on are
the batches of the absolute metric."""


class Actor(Protocol):
    """Whoever chooses the actions of one agent, or of several."""

    remembers: bool
    """Whether ``begins`` is wanted; else it is empty."""
    follows: bool
    """Whether a controller on the hosts acts for it: then :meth:`act` is not called."""

    def act(
        self,
        t: int,
        observations: list[np.ndarray],
        masks: list[np.ndarray | None],
        begins: list[np.ndarray],
        actions: list[np.ndarray],
    ) -> None:
        """Write the actions of all copies for step t; each list has an entry per agent.

        observation [copies, size] float32; mask [copies, outputs] float32 or None; begins [copies] bool: the episode
        begins with this observation; action [copies, words] float32, int32 words for discrete actions.
        """


@dataclass
class Rollout:
    """What one agent saw, did and got in T steps of B copies. Arrays are views into the world's buffers.

    observation [T+1, B, D]; mask [T+1, B, outputs] or None; action [T, B, words] float32 words; reward [T, B];
    terminated, truncated [T, B] bool: by step t; alive, begins [T+1, B] bool; final_at [F, 2]: (t, copy) of the F
    observations that episodes ended with, final_observation [F, D], final_mask, final_alive [F] (the agent is there),
    final_cut [F] (it was cut off there, and bootstraps from it); choice [T+1, B, words], final_choice [F, words]: what a controller does in
    every state, where one acts for the agent; state [T+1, B, S], final_state [F, S]: of the environment, where the agent asked for it.
    """

    observation: np.ndarray
    mask: np.ndarray | None
    action: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    alive: np.ndarray
    begins: np.ndarray
    final_at: np.ndarray
    final_observation: np.ndarray
    final_mask: np.ndarray | None
    final_alive: np.ndarray
    final_cut: np.ndarray
    choice: np.ndarray | None = None
    final_choice: np.ndarray | None = None
    state: np.ndarray | None = None
    final_state: np.ndarray | None = None

    @property
    def steps(self) -> int:
        """T."""
        return len(self.reward)


def blocks_of(number: int, parts: int) -> list[range]:
    """0 … number − 1 in ``parts`` consecutive blocks of nearly equal length, the longer ones first."""
    base, longer = divmod(number, parts)
    starts = [part * base + min(part, longer) for part in range(parts + 1)]
    return [range(starts[part], starts[part + 1]) for part in range(parts)]


class World:
    """``copies`` copies of an environment, spread over the ranks in ``hosts``, seen by the agents of every rank."""

    def __init__(
        self,
        processes: Processes,
        spec: WorldSpec,
        env: str,
        agents: Sequence[range],
        hosts: Sequence[int],
        copies: int,
        horizon: int,
        seed: int,
        use: int = TRAINING,
        render: bool = False,
        limit: int = 0,
        controllers: Mapping[int, str] | None = None,
        state_for: Collection[int] = (),
    ) -> None:
        """``agents[p]``: agents of rank p; ``use``: TRAINING (resets spread over copies) or another; ``render``: pictures
        will be asked for; ``limit``, ``controllers``: see :class:`Host`; ``state_for``: agents that get the environment's state. Raises Stopped where the ranks do not have the same environment."""
        self.processes, self.spec, self.horizon, self.copies = processes, spec, horizon, copies
        self.local = agents[processes.rank]
        self.hosts = list(hosts)[:copies]
        self.shards = blocks_of(copies, len(self.hosts))
        controlled = controllers or {}
        # It comes once to every rank, with the rows of its first agent that wants it.
        wanting = [[agent for agent in block if agent in state_for] for block in agents]
        self.state_with = {agent: found[0] for found in wanting for agent in found}
        """For agents that get the environment's state, with whose rows it comes."""
        bringing = sorted(set(self.state_with.values()))
        self.layouts = [
            RowLayout.of(agent, index in controlled, spec.state if index in bringing else 0)
            for index, agent in enumerate(spec.agents)
        ]
        self.host: Host | None = None
        if processes.rank in self.hosts:
            shard = self.shards[self.hosts.index(processes.rank)]
            environment = make(env, len(shard), len(spec.agents), render)
            stagger = copies if use == TRAINING else 0
            self.host = Host(environment, spec, shard[0], (seed, use), stagger, limit, controlled, bringing)
        figures = list(self.host.environment.metrics(np.zeros(0, np.int64))) if self.host else None
        agree_on_world(processes, env, spec, self.host.environment.spec if self.host else spec, figures)
        self._make_transfers(agents)
        words = [spec.agents[agent].action.words for agent in self.local]
        row_words = sum(self.layouts[agent].width for agent in self.local) * copies
        self.slab = aligned((horizon + 1) * row_words).reshape(horizon + 1, row_words)
        self.action_slab = aligned(horizon * sum(words) * copies).reshape(horizon, sum(words) * copies)
        self.rows = _split_steps(self.slab, [(copies, self.layouts[agent].width) for agent in self.local])
        self.actions = _split_steps(self.action_slab, [(copies, width) for width in words])
        self._views = [self.layouts[agent] for agent in self.local]
        self.flags = [
            rows[..., self.layouts[agent].reward + 1].view(np.int32) for rows, agent in zip(self.rows, self.local)
        ]
        self.steps = 0

    def _make_transfers(self, agents: Sequence[range]) -> None:
        """Where every block of an exchange lies, on both sides, in bytes."""
        number = len(self.spec.agents)
        widths = [layout.width for layout in self.layouts]
        words = [agent.action.words for agent in self.spec.agents]

        def local_blocks(sizes: list[int]) -> list[list[tuple[int, int]]]:
            """Per rank: this rank's buffer [agent][copy][word], cut at the shard of that rank's host."""
            per_rank: list[list[tuple[int, int]]] = [[] for _ in range(self.processes.size)]
            start = 0
            for agent in self.local:
                for host, shard in zip(self.hosts, self.shards):
                    per_rank[host].append((4 * (start + shard[0] * sizes[agent]), 4 * len(shard) * sizes[agent]))
                start += self.copies * sizes[agent]
            return per_rank

        def host_blocks(sizes: list[int]) -> list[list[tuple[int, int]]]:
            """Per rank: the host's buffer [agent][copy of the shard][word], cut at that rank's agents."""
            per_rank: list[list[tuple[int, int]]] = [[] for _ in range(self.processes.size)]
            if self.host:
                starts = np.concatenate([[0], np.cumsum([size * self.host.copies for size in sizes])])
                for rank, block in enumerate(agents):
                    per_rank[rank] = [(4 * int(starts[a]), 4 * sizes[a] * self.host.copies) for a in block]
            return per_rank

        nothing = np.zeros(0, np.float32)
        self._host_rows = (self.host.buffer if self.host else nothing).view(np.uint8)
        self._host_actions = (self.host.action_buffer if self.host else nothing).view(np.uint8)
        self._agents = agents
        assert number == sum(map(len, agents))
        self._to_hosts = self.processes.all_to_all(local_blocks(words), host_blocks(words), "actions to hosts")
        self._to_agents = self.processes.all_to_all(host_blocks(widths), local_blocks(widths), "observations to agents")

    def start(self) -> None:
        """Begin the first episodes and show their first observations."""
        if self.host:
            with streams.kept():
                self.host.start()
        self.show()

    def show(self) -> None:
        """Bring the hosts' present observations to the agents, as the first of the next rollout."""
        self._to_agents.run(self._host_rows, self.slab[self.horizon].view(np.uint8))
        self._look_for_breaks(self.horizon)

    def _look_for_breaks(self, t: int) -> None:
        """Raises Stopped on every rank where a host could not go on before step t; the first such host says why."""
        broken = np.flatnonzero(self.flags[0][t] & BROKEN)
        if len(broken):
            owner = next(host for host, shard in zip(self.hosts, self.shards) if broken[0] in shard)
            raise Stopped(broken_text(self.host, self.processes) if owner == self.processes.rank else "")

    def collect(self, actors: Sequence[Actor], slots: Sequence[Sequence[int]] | None = None) -> list[Rollout]:
        """Let the agents of this rank act for ``horizon`` steps; their rollouts, valid until the next call.

        ``slots``: for each actor, which of the rank's agents it acts for; without it, each for one.
        """
        self.slab[0] = self.slab[self.horizon]
        acting = list(zip(actors, slots or [[slot] for slot in range(len(self.local))], strict=True))
        with streams.kept():
            for t in range(self.horizon):
                self.step(t, acting)
        return self._rollouts()

    def step(self, t: int, acting: Sequence[tuple[Actor, Sequence[int]]]) -> None:
        """Step t of a rollout: two collectives, actions to the hosts and rows back."""
        for actor, slots in acting:
            if actor.follows:
                for slot in slots:
                    self.actions[slot][t] = self._views[slot].choices(self.rows[slot][t])
                continue
            views = [self._views[slot].views(self.rows[slot][t]) for slot in slots]
            begins = [(self.flags[slot][t] & OVER) > 0 for slot in slots] if actor.remembers else []
            actor.act(
                t, [view for view, _ in views], [mask for _, mask in views], begins, [self.actions[k][t] for k in slots]
            )
        self._to_hosts.run(self.action_slab[t].view(np.uint8), self._host_actions)
        if self.host:
            self.host.step()
        self._to_agents.run(self._host_rows, self.slab[t + 1].view(np.uint8))
        self._look_for_breaks(t + 1)
        self.steps += 1

    def alive(self, slot: int, t: int) -> np.ndarray:
        """In which copies an agent of this rank is there at step t of the present rollout, [copies] bool."""
        return (self.flags[slot][t] & ALIVE) > 0

    def _rollouts(self) -> list[Rollout]:
        final_at = np.argwhere(self.flags[0][1:] & FINAL)
        finals = self._exchange_finals(final_at)
        rollouts = []
        for slot, agent in enumerate(self.local):
            layout, rows, flags = self.layouts[agent], self.rows[slot], self.flags[slot]
            observation, mask = layout.views(rows)
            final_observation, final_mask = layout.views(finals[slot])
            final_flags = finals[slot][:, layout.reward + 1].view(np.int32)
            rollouts.append(
                Rollout(
                    observation,
                    mask,
                    self.actions[slot],
                    rows[1:, :, layout.reward],
                    (flags[1:] & TERMINATED) > 0,
                    (flags[1:] & TRUNCATED) > 0,
                    (flags & ALIVE) > 0,
                    (flags & OVER) > 0,
                    final_at,
                    final_observation,
                    final_mask,
                    (final_flags & ALIVE) > 0,
                    (final_flags & TRUNCATED) > 0,
                    layout.choices(rows) if layout.choice else None,
                    layout.choices(finals[slot]) if layout.choice else None,
                    *self._states_of(agent, finals),
                )
            )
        return rollouts

    def _states_of(self, agent: int, finals: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
        if agent not in self.state_with:
            return None, None
        bringing = self.state_with[agent]
        slot, layout = self.local.index(bringing), self.layouts[bringing]
        return layout.states(self.rows[slot]), layout.states(finals[slot])

    def _exchange_finals(self, final_at: np.ndarray) -> list[np.ndarray]:
        """The final rows of the rollout, one transfer for all its steps, in the order of ``final_at``."""
        counts = [int(np.isin(final_at[:, 1], shard).sum()) for shard in self.shards]
        widths = [layout.width for layout in self.layouts]
        if not sum(counts):
            return [np.zeros((0, widths[agent]), np.float32) for agent in self.local]
        receive: list[list[tuple[int, int]]] = [[] for _ in range(self.processes.size)]
        start = 0
        for agent in self.local:
            for host, count in zip(self.hosts, counts):
                receive[host].append((4 * start, 4 * count * widths[agent]))
                start += count * widths[agent]
        send: list[list[tuple[int, int]]] = [[] for _ in range(self.processes.size)]
        outgoing = np.zeros(0, np.float32)
        if self.host:
            mine = counts[self.hosts.index(self.processes.rank)]
            starts = np.concatenate([[0], np.cumsum([width * mine for width in widths])])
            for rank, block in enumerate(self._agents):
                send[rank] = [(4 * int(starts[agent]), 4 * widths[agent] * mine) for agent in block]
            outgoing = self.host.take_finals(len(widths))
        incoming = np.zeros(start, np.float32)
        transfer = self.processes.all_to_all(send, receive, "final observations to agents", self._to_agents)
        transfer.run(outgoing.view(np.uint8), incoming.view(np.uint8))
        transfer.free()
        # Received host after host; wanted by (t, copy), whatever the number of hosts.
        by_host = np.concatenate([np.flatnonzero(np.isin(final_at[:, 1], shard)) for shard in self.shards])
        order = np.argsort(by_host, kind="stable")
        return [piece[order] for piece in split(incoming, [(len(final_at), widths[agent]) for agent in self.local])]

    def close(self) -> None:
        """Give back what the MPI library keeps for the exchanges. Collective."""
        self._to_hosts.free()
        self._to_agents.free()

    def positions(self) -> np.ndarray:
        """Where the agents are in copy 0 now, [agents, dimensions], on every rank. Collective; the first host tells."""
        data = None
        if self.processes.rank == 0:  # which always hosts the first copies
            assert self.host is not None
            places = np.ascontiguousarray(self.host.environment.positions(), np.float64)
            data = places.tobytes()
        told = self.processes.broadcast(data, "positions of the agents")
        return np.frombuffer(told, np.float64).reshape(len(self.spec.agents), -1)

    def take_episodes(self) -> list[Episode] | None:
        """Episodes that ended since the last call, by the step they ended at and copy: on rank 0, None elsewhere."""
        return gather_episodes(self.processes, self.host, len(self.spec.agents))


def broken_text(host: Host | None, processes: Processes) -> str:
    """Why a host could not go on: a sentence, or, for what an environment's own code raised, its traceback."""
    assert host is not None and host.broken is not None
    if isinstance(host.broken, ContractError):
        return f"{host.broken} (in {processes.where})"
    if isinstance(host.broken, SystemExit):
        return f"--env {host.lives.env}: sys.exit({host.broken.code}) was called in {processes.where}"
    text = "".join(traceback.format_exception(host.broken)).rstrip()
    return f"rank {processes.rank} failed in {processes.where}\n{text}"


def gather_episodes(processes: Processes, host: Host | None, agents: int) -> list[Episode] | None:
    """The episodes that ended on all hosts since the last call, by step and copy: on rank 0, None elsewhere."""
    rows = np.zeros(0)
    if host:
        episodes, host.episodes = host.episodes, []
        rows = np.concatenate([_pack(episode) for episode in episodes] or [rows])
    gathered = processes.gather(rows, "gathering of episodes")
    if gathered is None:
        return None
    # Rank 0 hosts copies whenever anybody does, so it knows the figures' names.
    names = list(host.environment.metrics(np.zeros(0, np.int64))) if host else []
    table = np.concatenate(gathered).reshape(-1, 5 + agents + len(names))
    return sorted((_unpack(row, agents, names) for row in table), key=lambda episode: (episode.ended, episode.copy))


def _split_steps(slab: np.ndarray, shapes: list[tuple[int, int]]) -> list[np.ndarray]:
    """Views [steps, copies, width] of a [steps, words] slab, one per agent."""
    views, start = [], 0
    for copies, width in shapes:
        views.append(slab[:, start : start + copies * width].reshape(len(slab), copies, width))
        start += copies * width
    return views


def _pack(episode: Episode) -> np.ndarray:
    head = [episode.ended, episode.copy, episode.number, episode.length, episode.cut]
    return np.concatenate([head, episode.returns, list(episode.figures.values())])


def _unpack(row: np.ndarray, agents: int, names: list[str]) -> Episode:
    (ended, copy, number, length, cut), rest = (int(value) for value in row[:5]), row[5:]
    figures = dict(zip(names, rest[agents:].tolist()))
    return Episode(ended, copy, number, length, rest[:agents], figures, bool(cut))
