"""A run: rounds of rollout, exchange and learning.

The four lines of :meth:`Simulation.round` are the program; everything else hangs on them.
"""

from __future__ import annotations

from typing import Any, Mapping, Sequence

import numpy as np
import torch

from ..ground.errors import Diverged, Stopped
from ..ground.processes import Processes, cores_by_host
from ..methods import registry
from ..methods.protocol import Learning, Method, Now, Seat, begun, run_alone
from ..methods.troupe import Troupe
from ..network.channel import Channel
from ..network.consensus import Averaging
from ..network.exchange import Inbox, Network
from ..network.schedule import Edges, Schedule
from ..network.talk import Say, Talk
from ..world.agreement import agree, together
from ..world.world import Rollout, World, blocks_of
from .metrics import Clock, Metrics, Moment
from .plan import Plan
from .saving import Saver
from .wishes import Traffic


class Simulation:
    """One rank's part of a run."""

    def __init__(self, plan: Plan, processes: Processes) -> None:
        torch.set_num_threads(1)  # cores are used by ranks, and thread counts change the last bits
        self.plan, self.processes, self.config = plan, processes, plan.config
        config = plan.config
        processes.stall_timeout = config.stall_timeout
        self.blocks = blocks_of(len(plan.world.agents), processes.size)
        self.local = self.blocks[processes.rank]
        self.hosts = _spread(cores_by_host(processes), config.hosts, processes.size)
        self.team = team = plan.team()
        self.world = World(
            processes,
            plan.world,
            config.env,
            self.blocks,
            self.hosts,
            config.copies,
            config.horizon,
            config.seed,
            controllers=plan.controllers,
            state_for=[index for index, method in enumerate(team.methods) if method.wants_state(team, index)],
        )
        commons: dict[Any, Any] = {}
        self.methods: list[Method] = [
            team.methods[index](
                Seat(
                    index,
                    team,
                    config.seed,
                    config.copies,
                    config.horizon,
                    config.device,
                    config.consensus.equal_start,
                    commons,
                )
            )
            for index in self.local
        ]
        faults = [
            f"--algorithm {method.settings.algorithm}: {fault}"
            for method in self.methods
            if registry.from_outside(method.settings.algorithm)
            for fault in method.faults()
        ]
        together(processes, faults, lambda text: Stopped(text, 2), "check of the methods")
        side_by_side = config.batch_agents == "yes" or (config.batch_agents == "auto" and config.device == "cuda")
        self.squads = _squads(self.methods) if side_by_side else []
        grouped = {method.index for squad in self.squads for method in squad.agents}
        self.singles = [method for method in self.methods if method.index not in grouped]
        agree(processes, f"--topology {config.topology}", [_graphs(plan.schedule)])
        self._make_network()
        self._make_channel()
        self.done = 0
        self.edges: Edges = ()
        """The communication graph of the last round."""
        self.metrics = Metrics(
            processes, plan, team, self.methods, self.world, self.network, self.averaging, self.talk, self.channel
        )
        self.saver = Saver(processes, plan, self.methods, self.world, self.metrics, self._parts())

    def _make_network(self) -> None:
        """Exchange, talk and averaging along the graphs of the run."""
        plan, config, team = self.plan, self.config, self.team
        wishes = Traffic(team, config.compression).wishes(config.copies, config.horizon)
        averaging = config.consensus.what != "none"
        links = plan.links(config.seed)
        everyone = range(len(team.specs))
        self.talkers = {agent for agent in everyone if team.methods[agent].talks(team, agent)}
        """Agents whose methods say something while they learn."""
        of_edges = any(team.methods[agent].talks_to_neighbours(team, agent) for agent in self.talkers)
        beyond = averaging or config.links.hops > 1 or of_edges
        potential = plan.schedule.potential() if beyond else ()
        self.network = Network(self.processes, self.blocks, wishes, config.copies, links, potential, team.purposes)
        self.talk = Talk(self.network, [agent.name for agent in team.specs])
        self.averaging = None
        if averaging:
            first, what = self.methods[0], config.consensus.what
            groups = first.shared_groups(what)
            exact = len(first.shared_vector(what)) - sum(groups)
            self.averaging = Averaging(self.network, config.consensus, config.compression, groups, exact)
        told: dict[int, set[str]] = {index: set() for index in self.local}
        for table in (wishes.graph, wishes.team):
            for (source, _), names in table.items():
                if source in told:
                    told[source].update(names)
        self.wanted = {index: sorted(names) for index, names in told.items()}

    def _make_channel(self) -> None:
        """What agents say to their neighbours at every step, where any does."""
        team, everyone = self.team, range(len(self.team.specs))
        said = {agent: team.methods[agent].says(team, agent) for agent in everyone}
        sizes = {agent: found for agent, found in said.items() if found}
        # Of the local agents those that say something at every step: several side by side, and the others each by itself.
        self.choruses = [squad for squad in self.squads if squad.agents[0].index in sizes]
        self.squads = [squad for squad in self.squads if squad not in self.choruses]
        self.soloists = [method for method in self.singles if method.index in sizes]
        self.singles = [method for method in self.singles if method.index not in sizes]
        self.channel: Channel | None = None
        if sizes:
            config, one = self.config, next(iter(sizes))
            self.channel = Channel(
                self.processes, self.blocks, sizes, team.edges, self.network.links, config.copies, config.horizon,
                config.compression.method, self.network, chunk=team.settings[one].ppo.chunk,
            )  # fmt: skip
            self.epochs, self.teaches = team.settings[one].ppo.epochs, team.methods[one].network.teaches

    def round(self) -> dict[str, Any] | None:
        """One round; what happened in it, on rank 0 (see :meth:`Metrics.record`)."""
        self.done += 1
        self.processes.where = f"round {self.done}"
        clock = Clock()
        if self.channel:
            self.network.begin(self.done)
            self.edges = self.plan.graph(self.done, self.world.positions)
            self.channel.begin(self.done, self.edges)
        try:
            rollouts = self._collect()
        except Stopped:
            self._step_back()
            raise
        # Before anybody learns: a method of the user's own may write into what it is given.
        rewards = [float(rollout.reward.astype(np.float64).sum()) / rollout.reward.size for rollout in rollouts]
        if not self.channel:
            self.edges = self.plan.graph(self.done, self.world.positions)
        clock.lap("world")
        messages = {m.index: m.tell(r, self.wanted[m.index]) for m, r in zip(self.methods, rollouts)}
        clock.lap("learning")  # the behaviour policy at every state, which the learner needs anyway
        inboxes = self.network.exchange(messages, self.done, self.edges, rollouts[0].final_at[:, 1])
        distortions = [method.distortion(self.network.told.get(method.index, [])) for method in self.methods]
        self._average("before")
        clock.lap("exchange")
        found = self._learn(rollouts, inboxes)
        self._check_parameters()
        clock.lap("learning")
        self._average("after")
        clock.lap("exchange")
        clock.move("learning", "embedding", sum(method.embedding_seconds() for method in self.methods))
        return self.metrics.record(Moment(self.done, rewards, found, distortions, self.edges), clock)

    def _average(self, when: str) -> None:
        """Let neighbours average what ``--consensus.what`` says."""
        options = self.config.consensus
        if self.averaging is None or options.when != when:
            return
        vectors = {method.index: method.shared_vector(options.what) for method in self.methods}
        averaged = self.averaging.average(vectors, self.done, self.edges)
        for method in self.methods:
            method.take_shared(options.what, averaged[method.index])

    def _collect(self) -> list[Rollout]:
        """The rollouts of the local agents."""
        slots = [[self.local.index(method.index) for method in squad.agents] for squad in self.squads]
        slots += [[self.local.index(method.index)] for method in self.singles]
        players: list[Any] = [one.player() for one in (*self.squads, *self.singles)]
        if self.channel:
            talkers = [one.player() for one in (*self.choruses, *self.soloists)]
            own = [self.local.index(agent) for talker in talkers for agent in talker.members]
            players.append(Troupe(self.channel, talkers, lambda n, t: self.world.alive(own[n], t)))
            slots.append(own)
        rollouts = self.world.collect(players, slots)
        found = [
            f"{self.config.env}: the {what} of {method.spec.name} is not finite at step {step} of round {self.done}, copy {copy}"
            for method, rollout in zip(self.methods, rollouts)
            for what, array in (("reward", rollout.reward), ("observation", rollout.observation))
            if not np.isfinite(array).all()
            for step, copy in [np.argwhere(~np.isfinite(array))[0][:2]]
        ]
        together(self.processes, found, Stopped, "check of the rollouts")
        return rollouts

    def _check_parameters(self) -> None:
        """Raise Diverged where an agent's networks hold anything but finite numbers: it would act on, by its first action; and where what should
        be the same in several agents is not."""
        found = [
            f"the {what} of {method.spec.name} is no longer finite after round {self.done}: smaller learning rates, or "
            "rewards, help, and a --policy-loss must be finite on every step"
            for method in self.methods
            for what in method.not_finite()
        ]
        found += [f"{text} (before round {self.done})" for method in self.methods for text in method.out_of_step()]
        together(self.processes, found, Diverged, "check of the networks")

    def _learn(self, rollouts: Sequence[Rollout], inboxes: dict[int, Inbox]) -> list[dict[str, float]]:
        """Every local agent learns; those that say something while they do go on in step."""
        now = Now(self.done, self.config.rounds)
        by_agent = dict(zip(self.local, rollouts))
        found: dict[int, dict[str, float]] = {}
        for squad in self.squads:
            theirs = [by_agent[method.index] for method in squad.agents]
            found.update(zip([method.index for method in squad.agents], squad.learn(theirs, inboxes, now)))
        talking: dict[int, Learning] = {}
        for method in self.singles:
            steps = begun(method, by_agent[method.index], inboxes[method.index], now)
            if method.index in self.talkers:
                talking[method.index] = steps
            else:
                found[method.index] = run_alone(steps)
        if self.talkers:
            found |= self._in_step(talking)
        if self.channel:
            learning: list[tuple[list[int], Any]] = []
            for chorus in self.choruses:
                members = [method.index for method in chorus.agents]
                learning.append((members, chorus.learn([by_agent[agent] for agent in members], inboxes, now)))
            for method in self.soloists:
                steps = begun(method, by_agent[method.index], inboxes[method.index], now)
                learning.append(([method.index], steps))
            found |= self._uttering(self.channel, learning)
        return [found[index] for index in self.local]

    def _in_step(self, talking: dict[int, Learning]) -> dict[int, dict[str, float]]:
        """Methods that say something while they learn: whenever all have, everybody is sent what it hears."""
        found: dict[int, dict[str, float]] = {}
        answers: dict[int, Any] = dict.fromkeys(talking)
        self.talk.begin()
        while True:
            said: dict[int, Say | None] = dict.fromkeys(self.local)
            for agent, steps in talking.items():
                if agent in found:
                    continue
                try:
                    said[agent] = steps.send(answers.get(agent))
                except StopIteration as stop:
                    found[agent] = stop.value
            heard = self.talk.turn(said, self.done, self.edges)
            if heard is None:
                return found
            answers = heard

    def _uttering(self, channel: Channel, learning: Sequence[tuple[list[int], Any]]) -> dict[int, dict[str, float]]:
        """Methods that learn what to say: epochs of a pass forward through the rollout, of which the first is what was heard when it was made, and
        a pass back, all in step; also on ranks where nobody does. ``learning``: agents, and what they learn by."""
        found: dict[int, dict[str, float]] = {}
        said: dict[int, Any] = {}
        """What those with the first of these agents say."""

        def go_on(answers: Mapping[int, Any] | None) -> None:
            for members, steps in learning:
                try:
                    said[members[0]] = steps.send(
                        None if answers is None else [answers.get(agent) for agent in members]
                    )
                except StopIteration as stop:
                    results = stop.value if isinstance(stop.value, list) else [stop.value]
                    found.update(zip(members, results, strict=True))
                    said.pop(members[0], None)

        def numbers(t: int, k: int, back: bool) -> dict[int, Any]:
            if len(said) < len(learning):
                raise RuntimeError(f"pass {k} of step {t}: some agents have finished")
            each: dict[int, Any] = {}
            for members, _ in learning:
                words = said[members[0]]
                if (getattr(words, "t", None), words.k, words.back) != (t, k, back):
                    raise RuntimeError(f"{self.team.specs[members[0]].name} says {words!r}, not pass {k} of step {t}")
                each.update(zip(members, words.numbers, strict=True))
            return each

        order = [(t, k) for t in range(channel.chunk) for k in range(channel.passes)]
        go_on(None)
        for epoch in range(self.epochs if self.teaches else 0):
            if epoch:
                channel.anew()
                for t, k in order:
                    go_on(channel.again(t, k, numbers(t, k, False)))
            channel.backwards()
            for t, k in reversed(order):
                go_on(channel.back(t, k, numbers(t, k, True)))
        return found

    def _step_back(self) -> None:
        """Undo the begin of a round whose rollout could not be finished: nothing was learned in it. What the environment has come to is
        not worth keeping: whoever goes on from here begins its episodes anew."""
        self.done -= 1
        if self.world.host and self.world.host.broken is None:
            self.world.host.broken = Stopped("a rollout was given up")
        for method in self.methods:
            method.take_back()

    def _parts(self) -> list[tuple[str, Any]]:
        """What has state per agent beside the methods."""
        return [("network", self.network)] + ([("averaging", self.averaging)] if self.averaging else [])

    def start(self) -> bool:
        """Begin anew, or from the plan's checkpoint; False when the environment could not be brought back as it was."""
        if self.plan.resume_from:
            self.done, same = self.saver.restore()
            return same
        self.saver.begin()
        self.world.start()
        return True


def _squads(methods: Sequence[Method]) -> list[Any]:
    """Those that may act and learn side by side."""
    found: dict[Any, list[Method]] = {}
    for method in methods:
        key = method.alike()
        if key is not None:
            found.setdefault((type(method), key), []).append(method)
    return [type(group[0]).together(group) for group in found.values()]


def _graphs(schedule: Schedule) -> tuple[str, Any, None, str]:
    """The first graphs as this rank works them out, for comparison: those that are drawn depend on the version of networkx."""
    rounds = () if schedule.moves else range(1, 1 + 3 * schedule.every, schedule.every)
    return (
        "graphs",
        [schedule.edges(number) for number in rounds],
        None,
        "the same version of networkx must be installed for all of them",
    )


def _spread(candidates: Sequence[int], wanted: int | None, size: int) -> list[int]:
    """The ranks that host copies: as asked for, else one per core."""
    if wanted is None:
        return list(candidates)
    if wanted <= len(candidates):
        return list(candidates[:wanted])
    others = [rank for rank in range(size) if rank not in candidates]
    return sorted([*candidates, *others[: wanted - len(candidates)]])
