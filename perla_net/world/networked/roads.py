"""``traffic:FILE``: signals of any road graph, many copies stepped in one call.

The store-and-forward model of ``traffic:grid`` (:mod:`.traffic`: Varaiya 2013, whole vehicles, finite storage, 5 s a step) on the
links and movements that :mod:`.road_network` reads from GraphML or a SUMO net, for example ``traffic:sioux_falls.graphml``.
Signals differ in their arms, observations and phases; junctions without a choice of phases let everything pass and are no agents.

A vehicle drives along its link for length / speed, rounded to whole steps and at least one, and waits at its end in the queue of
its *movement* (link → next link), which is drawn by the link's shares as it enters. A link stores one vehicle per 7.5 m and
lane, five per lane at least. A movement has lanes of its own; where a link has fewer lanes than movements, each may use one lane and all of them
together no more than there are. A green lane discharges one vehicle per 2 s, half as many where the phase must give way; a movement
that turns green loses 3 s. Movements onto the same link, or out of shared lanes, take precedence in turn, step by step.
A full link lets nobody in: it spills back. Vehicles that leave the network do so at the end of a link, whatever the signal
shows. Those that set out and find their first link full wait outside, and their waiting counts at the signal ahead.

Observation of a signal with P phases and M movements (from its first approach to its last, left to right; P + 1 + 2M numbers):
phase one-hot (P), whether the phase may change (1), vehicles for each movement (M) and those of them that wait (M), both as a
fraction of what the movement's lanes store and at most 1. Action: the phase to show next (P); ignored until the present one has
lasted 7 s. Signal j influences signal i where the fastest way from j to i passes no other signal.

Reward, in vehicle-minutes per step, times -1: ``queue``: vehicles that wait at the signal (those outside included) times 5 s / 60;
``pressure``: the absolute difference of waiting vehicles on the links to the signal and on those away from it, same unit.
An episode is 360 steps (30 minutes of demand that swells from 0.6 to 1.4 of its mean and ebbs) and ends by truncation.
"""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from ...ground.errors import InputError
from ..spec import ActionSpec, AgentSpec, WorldSpec
from .base import build
from .drawing import Scene
from .road_network import GIVE_WAY, GREEN, LOST, OUTSIDE, Network, read_network
from .road_pictures import RoadMap, road_scene
from .traffic import (
    HEADWAY,
    HORIZON,
    MINIMUM_GREEN,
    START_UP,
    STEP,
    TURN_TABLE,
    YELLOW,
    LongestQueue,
    SignalTraffic,
    demand_profile,
)

VEHICLE_SPACE = 7.5
"""Metres of lane that a waiting vehicle takes."""
LEAST_STORAGE = 5
"""Vehicles per lane; what a step of travel and a step of waiting need at saturation flow. Nets have links of a metre."""
UNLIMITED = 1 << 20


class Groups:
    """Members sorted into groups: sums over a group, and what a group has shared out among its members."""

    def __init__(self, group: np.ndarray, number: int) -> None:
        """``group`` [members]: 0 … number − 1, or −1 for members of none."""
        member = np.flatnonzero(group >= 0)
        self.member = member[np.argsort(group[member], kind="stable")]
        self.group = group[self.member]
        size = np.bincount(self.group, minlength=number)
        self.size, self.start = size, np.cumsum(size) - size
        self.end = self.start + size
        self.rank = np.arange(len(self.member)) - self.start[self.group]

    def _running(self, values: np.ndarray) -> np.ndarray:
        total = np.zeros((len(values), len(self.member) + 1), np.int32)
        np.cumsum(values[:, self.member], axis=1, out=total[:, 1:])
        return total

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sum over each group of whole numbers [copies, members], [copies, groups]."""
        total = self._running(values)
        return total[:, self.end] - total[:, self.start]

    def share_out(self, wish: np.ndarray, budget: np.ndarray, time: np.ndarray) -> np.ndarray:
        """What each of ``wish`` [copies, members] gets of its group's ``budget`` [copies, groups], whole numbers.

        One member after the other takes all that it wants and there is; the first in the order moves on by one a step.
        """
        total = self._running(wish)
        whole = total[:, self.end] - total[:, self.start]
        copy, place = np.nonzero((whole > budget)[:, self.group])  # the others get what they want
        group, member = self.group[place], self.member[place]
        first = time[copy] % self.size[group]
        before = total[copy, place] - total[copy, self.start[group] + first]
        before += np.where(self.rank[place] < first, whole[copy, group], 0)
        granted = wish.copy()
        granted[copy, member] = np.clip(budget[copy, group] - before, 0, wish[copy, member])
        return granted


class TrafficRoads(SignalTraffic):
    """``copies`` of one road network side by side; arrays over copies, links (L), movements (M) and signals (S)."""

    STATE = (
        "queue",
        "moving",
        "transit",
        "credit",
        "link_credit",
        "on_link",
        "outside",
        "assigned",
        *SignalTraffic.STATE,
    )
    DRAWN = ("level", "arrivals", "turns")

    def __init__(
        self,
        name: str,
        network: Network,
        copies: int,
        agents: int | None = None,
        reward: str = "queue",
        demand: float = 1.0,
        horizon: int = HORIZON,
    ) -> None:
        signals = len(network.signals)
        if agents is not None and agents != signals:
            raise InputError(f"--agents {agents}: {name} has {signals} signals")
        super().__init__(name, copies, signals, reward, demand, horizon)
        self.name, self.network = name, network
        self._lay_out(network)
        links, movements = len(network.links), len(network.movements)
        self.queue = np.zeros((copies, movements), np.int32)
        self.moving = np.zeros((copies, movements), np.int32)
        self.transit = np.zeros((copies, int(self.travel[self.link].sum())), np.int32)
        self.credit = np.zeros((copies, movements), np.int32)
        self.link_credit = np.zeros((copies, links), np.int32)
        self.on_link = np.zeros((copies, links), np.int32)
        self.outside = np.zeros((copies, links), np.int32)
        self.assigned = np.zeros((copies, links), np.int32)
        self.served = np.zeros((copies, movements), np.int32)
        """Vehicles that made each movement in the last step."""
        self.level = np.zeros((copies, len(self.source)))
        """Demand of each source in this episode, relative to its mean."""
        self.arrivals = np.zeros((copies, horizon, len(self.source)), np.int16)
        self.turns = np.zeros((copies, len(self.branching) + 1, TURN_TABLE), np.int8)

    def _lay_out(self, network: Network) -> None:
        """The network as flat arrays. Link L stands for the outside."""
        links, movements = network.links, network.movements
        outside = len(links)
        self.lanes = np.array([link.lanes for link in links], np.int32)
        self.travel = np.array([max(1, round(link.seconds / STEP)) for link in links])
        lane_storage = np.array([max(LEAST_STORAGE, int(link.length / VEHICLE_SPACE)) for link in links], np.int32)
        self.storage = self.lanes * lane_storage
        self.link = np.array([movement.link for movement in movements])
        self.onto = np.array([outside if m.onto == OUTSIDE else m.onto for m in movements])
        self.share = np.array([movement.share for movement in movements])
        self.movement_lanes = np.array([movement.lanes for movement in movements], np.int32)
        self.first = np.searchsorted(self.link, np.arange(outside))
        count = np.bincount(self.link, minlength=outside)
        slots = self.travel[self.link]
        self.first_slot = np.cumsum(slots) - slots
        self.of_link = Groups(self.link, outside)
        self.onto_link = Groups(self.onto, outside + 1)

        passing = self.onto != outside
        needed = np.bincount(self.link, self.movement_lanes * passing, minlength=outside)
        self.shared = needed > self.lanes
        self.shares_lanes = passing & self.shared[self.link]
        self.in_shared_lanes = Groups(np.where(self.shares_lanes, self.link, -1), outside)

        self.source = np.flatnonzero(network.demand > 0)
        self.mean_arrivals = network.demand[self.source] * STEP / 3600 * self.demand
        self.entry_limit = self.lanes[self.source] * STEP // HEADWAY
        self.branching = np.flatnonzero(count > 1)
        self.table_of = np.full(outside, len(self.branching))
        self.table_of[self.branching] = np.arange(len(self.branching))
        self.cuts = np.ones((len(self.branching), count.max() - 1))
        for row, link in enumerate(self.branching):
            own = self.share[self.first[link] : self.first[link] + count[link] - 1]
            self.cuts[row, : len(own)] = np.cumsum(own)

        self.at = network.signal_at()
        self.to_signal = Groups(self.at, len(network.signals))
        away = np.full(outside, -1)
        self.phases = np.array([len(signal.phases) for signal in network.signals])
        self.owner = np.zeros(len(movements), int)
        self.greens = np.full((len(movements), self.phases.max()), GREEN, np.int32)  # where there is no signal: always
        for number, signal in enumerate(network.signals):
            own = signal.movements
            self.owner[own] = number
            for phase in range(self.phases.max()):
                shown = signal.phases[min(phase, len(signal.phases) - 1)]
                self.greens[own, phase] = [shown.get(m, 0) for m in own]
            onto = self.onto[own]
            away[onto[onto != outside]] = number
        self.first_green = np.arange(len(movements)) * self.greens.shape[1]
        self.from_signal = Groups(away, len(network.signals))

        # Observations: all of them side by side, and where each signal's own numbers are.
        self.controlled = np.concatenate([signal.movements for signal in network.signals])
        self.scale = (1 / (self.movement_lanes * lane_storage[self.link])[self.controlled]).astype(np.float32)
        self.first_phase = np.cumsum(self.phases) - self.phases
        signals, seen, phases = len(network.signals), len(self.controlled), self.phases.sum()
        self.columns, done = [], 0
        for number, signal in enumerate(network.signals):
            lanes = phases + signals + done + np.arange(len(signal.movements))
            one_hot = self.first_phase[number] + np.arange(self.phases[number])
            self.columns.append(np.concatenate([one_hot, [phases + number], lanes, lanes + seen]))
            done += len(signal.movements)
        self.seen = np.zeros((self.copies, phases + signals + 2 * seen), np.float32)

    @property
    def spec(self) -> WorldSpec:
        """Agents, spaces, who influences whom, and where signals stand (in the file's units)."""
        agents = tuple(
            AgentSpec(signal.name, len(columns), "box", (len(columns),), ActionSpec("discrete", (len(signal.phases),)))
            for signal, columns in zip(self.network.signals, self.columns)
        )
        places = [signal.place for signal in self.network.signals]
        known = None if any(place is None for place in places) else tuple(places)
        return WorldSpec(self.name, agents, tuple(self.network.ways()), self.horizon, tuple(self.controllers), known)

    def draw(self, copy: int, rng: np.random.Generator) -> None:
        """How busy each source is, then Poisson arrivals per source and step, and the movement of each vehicle of a link, in the order they
        enter."""
        self.level[copy] = rng.uniform(0.7, 1.3, len(self.source))
        self.draw_on(copy, rng)

    def draw_on(self, copy: int, rng: np.random.Generator) -> None:
        """Arrivals and movements. Vehicles that have their movement keep it: they stand in its lane."""
        profile = demand_profile(self.horizon)[:, None]
        self.arrivals[copy] = rng.poisson(self.mean_arrivals * self.level[copy] * profile)
        drawn = rng.random((len(self.branching), TURN_TABLE), dtype=np.float32)
        self.turns[copy, :-1] = (drawn[:, :, None] >= self.cuts[:, None, :]).sum(2)

    def step(self, actions: list[np.ndarray]) -> None:
        """Advance every copy by 5 s; ``actions[i]`` are signal i's phases, int [copies, 1] or [copies].

        Fills ``reward`` [copies, signals], ``truncated``, ``served`` and the counters behind :meth:`metrics`.
        """
        before = self._greens()
        self.change_phases(actions)
        green = self._greens()

        slot = self.first_slot + (self.time[:, None] % self.travel)[:, self.link]
        arrived = np.take_along_axis(self.transit, slot, 1)
        np.put_along_axis(self.transit, slot, 0, 1)
        self.queue += arrived
        self.moving -= arrived

        # Credit is in halves of seconds of a green lane; a vehicle takes HEADWAY seconds.
        seconds = np.where((green > 0) & (before == 0), np.int32(STEP - YELLOW - START_UP), np.int32(STEP))
        self.credit = np.where(green > 0, self.credit + seconds * green * self.movement_lanes, 0)
        wish = np.minimum(self.queue, self.credit // (GREEN * HEADWAY))
        if self.shared.any():
            wish = self._within_lanes(wish, np.where(green > 0, seconds, 0))
        room = np.empty((self.copies, len(self.lanes) + 1), np.int32)
        room[:, :-1], room[:, -1] = self.storage - self.on_link, UNLIMITED
        self.served = served = self.onto_link.share_out(wish, room, self.time)
        self.queue -= served
        self.credit -= GREEN * HEADWAY * served
        np.minimum(self.credit, self.movement_lanes * (HEADWAY - 1) * GREEN + 1, out=self.credit)
        if self.shared.any():
            used = self.of_link.sums(served * self.shares_lanes)
            self.link_credit = np.minimum(self.link_credit - HEADWAY * used, self.lanes * (HEADWAY - 1))
        self.blocked += (wish - served).sum(1)
        entering = self.onto_link.sums(served)
        self.left += entering[:, -1]
        entering = entering[:, :-1]
        self.on_link += entering - self.of_link.sums(served)

        running = np.flatnonzero(self.time < self.horizon)
        arrivals = np.zeros((self.copies, len(self.source)), np.int32)
        arrivals[running] = self.arrivals[running, self.time[running]]
        room = (self.storage - self.on_link)[:, self.source]
        waiting = self.outside[:, self.source] + arrivals
        setting_out = np.minimum(np.minimum(waiting, room), self.entry_limit)
        self.outside[:, self.source] = waiting - setting_out
        self.on_link[:, self.source] += setting_out
        entering[:, self.source] += setting_out
        self.demanded += arrivals.sum(1)
        self.entered += setting_out.sum(1)
        self._assign(entering, slot)

        self.time += 1
        queues = self.of_link.sums(self.queue)
        self.waited += queues.sum(1) + self.outside.sum(1)
        here = self.to_signal.sums(queues + self.outside)
        if self.reward_kind == "queue":
            self.reward[:] = -here * (STEP / 60)
        else:
            self.reward[:] = -np.abs(here - self.from_signal.sums(queues)) * (STEP / 60)
        self.truncated[:] = (self.time >= self.horizon)[:, None]

    def _greens(self) -> np.ndarray:
        """How the present phases serve each movement, [copies, M]."""
        return self.greens.reshape(-1)[self.first_green + self.phase[:, self.owner]]

    def _within_lanes(self, wish: np.ndarray, seconds: np.ndarray) -> np.ndarray:
        """``wish`` as far as shared lanes allow; ``seconds`` of green of each movement in this step, both [copies, M]."""
        longest = np.maximum.reduceat(np.where(self.shares_lanes, seconds, 0), self.first, axis=1)
        self.link_credit = np.where(longest > 0, self.link_credit + self.lanes * longest, 0)
        return self.in_shared_lanes.share_out(wish, self.link_credit // HEADWAY, self.time)

    def _assign(self, entering: np.ndarray, slot: np.ndarray) -> None:
        """Give the vehicles that enter links their movements, in the order drawn for the episode, and send them off."""
        copy, link = np.nonzero(entering)
        number = entering[copy, link]
        vehicle = np.repeat(np.arange(len(number)), number)
        order = np.arange(len(vehicle)) - (np.cumsum(number) - number)[vehicle]
        order += self.assigned[copy, link][vehicle]
        self.assigned[copy, link] += number
        copy, link = copy[vehicle], link[vehicle]
        movement = self.first[link] + self.turns[copy, self.table_of[link], order % TURN_TABLE]
        ones = np.ones(len(movement), np.int32)
        np.add.at(self.moving.reshape(-1), copy * len(self.link) + movement, ones)
        np.add.at(self.transit.reshape(-1), copy * self.transit.shape[1] + slot[copy, movement], ones)

    def observe(self, copies: Any, observations: list[np.ndarray], masks: list[np.ndarray | None]) -> None:
        """Write the present observations of the given copies (index array or slice) into ``[copies, size]`` arrays."""
        phase, queue = self.phase[copies], self.queue[copies][:, self.controlled]
        phases, signals, seen = self.phases.sum(), len(self.phases), len(self.controlled)
        block = self.seen[: len(phase)]
        block[:, :phases] = 0
        np.put_along_axis(block, self.first_phase + phase, 1, 1)
        block[:, phases : phases + signals] = self.held[copies] >= YELLOW + MINIMUM_GREEN
        lanes = block[:, phases + signals :]
        lanes[:, :seen] = (queue + self.moving[copies][:, self.controlled]) * self.scale
        lanes[:, seen:] = queue * self.scale
        np.minimum(lanes, 1, out=lanes)
        for columns, out in zip(self.columns, observations):
            out[:] = block[:, columns]

    @cached_property
    def _map(self) -> RoadMap:
        links = self.network.links
        ends = [(link.tail, link.head) for link in links]
        places = self.network.places or nx.kamada_kawai_layout(nx.Graph(ends))
        tails, heads = (np.array([places[link[side]] for link in ends], float) for side in (0, 1))
        signals = [
            heads[self.at == number].mean(0) if signal.place is None else signal.place
            for number, signal in enumerate(self.network.signals)
        ]
        entered, controlled = {head for _, head in ends}, {ends[link][1] for link in np.flatnonzero(self.at >= 0)}
        others = np.array([places[node] for node in sorted(entered - controlled)], float).reshape(-1, 2)
        open_ended = np.array([tail not in entered for tail, _ in ends])
        return RoadMap.of(tails, heads, np.array(signals, float), others, open_ended)

    def scene(self, copy: int) -> Scene:
        """Queues on every road, what is green, full roads, vehicles outside."""
        drawn = self._map
        inside = self.controlled[self.onto[self.controlled] < len(self.lanes)]  # who leaves the network does so anyway
        ways = np.stack([drawn.roads[self.link[inside], 1], drawn.roads[self.onto[inside], 0]], 1)
        how = self._greens()[copy, inside]
        return road_scene(
            f"traffic:{Path(self.name.partition(':')[2]).name}",
            int(self.time[copy]),
            self.clock(copy),
            drawn,
            self.of_link.sums(self.queue)[copy],
            self.on_link[copy],
            self.storage,
            self.outside[copy],
            (ways[how == GREEN], ways[how == GIVE_WAY]),
        )

    def text(self, copy: int) -> str:
        """The busiest signals: phase shown, vehicles that wait in queues and outside, and the longest approach."""
        queues, outside = self.of_link.sums(self.queue)[copy], self.outside[copy]
        inside, out = self.to_signal.sums(queues[None])[0], self.to_signal.sums(outside[None])[0]
        waiting = int(queues.sum() + outside.sum())
        lines = [f"minute {self.time[copy] * STEP / 60:5.1f}   waiting {waiting:5d}   left {self.left[copy]:6d}"]
        lines.append(f"{'signal':<24}{'phase':>7}{'queue':>7}{'outside':>9}   longest approach")
        for signal in np.argsort(-(inside + out), kind="stable")[:12]:
            own = np.flatnonzero(self.at == signal)
            worst = own[queues[own].argmax()]
            name = self.network.signals[signal].name
            phase = f"{self.phase[copy, signal]}/{self.phases[signal]}"
            lines.append(
                f"{name[:23]:<24}{phase:>7}{inside[signal]:>7}{out[signal]:>9}   "
                f"{self.network.links[worst].tail[:20]}: {queues[worst]} of {self.storage[worst]}"
            )
        return "\n".join(lines)


class FixedTime:
    """Each signal repeats its own plan: Webster's (1958) cycle and splits for the expected flows.

    The phases are those that serve every movement, :meth:`~.road_network.Network.plan`; with lost time L = 3 s per phase and
    the critical flow ratios y of ``peak`` times the mean demand, Y = Σ y at most 0.9, the cycle is (1.5 L + 5) / (1 − Y) within
    [30, 120] s, and green is divided in proportion to y; whole steps, two at least.
    """

    def __init__(self, roads: TrafficRoads, peak: float = 1.4) -> None:
        network = roads.network
        flows = network.flows(network.demand * roads.demand * peak)
        plans = []
        for signal in network.signals:
            chosen = network.plan(signal, flows)
            ratios = np.array([ratio for _, ratio in chosen])
            lost, total = LOST * len(chosen), min(float(ratios.sum()), 0.9)
            cycle = min(max((1.5 * lost + 5) / (1 - total), 30.0), 120.0)
            parts = ratios / ratios.sum() if ratios.sum() > 0 else np.full(len(chosen), 1 / len(chosen))
            steps = np.maximum(2, np.rint(((cycle - lost) * parts + LOST) / STEP)).astype(int)
            plans.append(np.repeat([phase for phase, _ in chosen], steps))
        self.length = np.array([len(plan) for plan in plans])[:, None]
        self.start = (np.cumsum(self.length) - self.length[:, 0])[:, None]
        self.plan = np.concatenate(plans)

    def act(self, roads: TrafficRoads) -> np.ndarray:
        """Phases, int [signals, copies]."""
        return self.plan[self.start + roads.time % self.length]


class LongestRoadQueue(LongestQueue):
    """Serve the phase with the most waiting vehicles, held for at least ``hold`` seconds."""

    def __init__(self, roads: TrafficRoads, hold: int = 15) -> None:
        super().__init__(roads, hold)
        signals, movements = roads.network.signals, len(roads.link)
        most = max(len(phase) for signal in signals for phase in signal.phases)
        # Movements of each phase; those that do not exist have weight 0 (column M), phases that do not are never best.
        self.served = np.full((len(signals), int(roads.phases.max()), most), movements)
        self.rate = np.zeros(self.served.shape)
        for number, signal in enumerate(signals):
            for phase, movement in enumerate(signal.phases):
                self.served[number, phase, : len(movement)] = list(movement)
                self.rate[number, phase, : len(movement)] = [how / GREEN for how in movement.values()]
        self.missing = np.arange(self.served.shape[1]) >= roads.phases[:, None]

    def weights(self, roads: TrafficRoads) -> np.ndarray:
        """Weight of every movement, [copies, M]."""
        return roads.queue

    def scores(self, roads: TrafficRoads) -> np.ndarray:
        """What each phase would serve, [copies, signals, phases]: summed in a fixed order, whatever the number of copies."""
        weights = self.weights(roads)
        weights = np.concatenate([weights, np.zeros((len(weights), 1))], axis=1)
        score = np.zeros((len(weights), *self.missing.shape))
        for place in range(self.served.shape[2]):
            score += weights[:, self.served[:, :, place]] * self.rate[:, :, place]
        score[:, self.missing] = -math.inf
        return score


class MaxRoadPressure(LongestRoadQueue):
    """Varaiya (2013): weight of a movement is its saturation flow times its queue minus the mean queue that its vehicles join."""

    def weights(self, roads: TrafficRoads) -> np.ndarray:
        """Pressure of every movement, [copies, M]."""
        joined = np.add.reduceat(roads.queue * roads.share, roads.first, axis=1)
        joined = np.concatenate([joined, np.zeros((len(joined), 1))], axis=1)
        return roads.movement_lanes * (roads.queue - joined[:, roads.onto])


CONTROLLERS = {"fixed_time": FixedTime, "longest_queue": LongestRoadQueue, "max_pressure": MaxRoadPressure}
"""Reference controllers by name; each reads the network itself, not observations."""
TrafficRoads.controllers = CONTROLLERS


def make_roads(name: str, arguments: dict[str, Any], copies: int, agents: int | None) -> TrafficRoads:
    """``traffic:FILE``: FILE is a path, or the name of a file that comes with the program; further arguments as of
    :class:`TrafficRoads`. Raises InputError for files that are not there or not a road graph."""
    env = f"traffic:{name}"

    def made(
        copies: int, agents: int | None, reward: str = "queue", demand: float = 1.0, horizon: int = HORIZON
    ) -> TrafficRoads:
        return TrafficRoads(env, read_network(env, name), copies, agents, reward, demand, horizon)

    return build(made, env, arguments, copies, agents)
