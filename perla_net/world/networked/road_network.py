"""Road networks for ``traffic:FILE``: links, movements, signals and demand, from GraphML or from SUMO's ``.net.xml``.

**GraphML.** Nodes are junctions. An edge is a one-way road, an undirected edge two. What the file does not say has a default:

========  ==============  ============================================================================================
edge      ``length_m``    metres (200)
edge      ``lanes``       whole number (1)
edge      ``speed_kmh``   free speed (50)
edge      ``demand_vph``  vehicles/h that set out at its beginning
edge      ``turns``       ``"node:share node:share …"``: shares of the vehicles at its end that go on to each node; those
                          missing from 1 leave the network there
node      ``x``, ``y``    position, y northwards, any unit; used if every node has one
node      ``signal``      whether it may have a signal (nodes with three or more neighbours)
node      ``demand_vph``  vehicles/h that set out here, divided among its roads by their lanes
node      ``exit_share``  share of the arriving vehicles that leave the network here
========  ==============  ============================================================================================

The *rim* are the nodes with one neighbour, or with roads in or out only. Where a node has no ``exit_share``, all leave at the rim
and nobody elsewhere; if there is no rim, and neither ``exit_share`` nor ``turns`` anywhere, 0.2 of those who arrive leave at
every node. Those who go on take the next roads in proportion to their lanes, never back unless there is no other road.
Without ``demand_vph`` anywhere, vehicles set out at the rim, else everywhere, equally many per lane, as many as load the busiest
signal or link to 0.6 of what it can pass.

Phases follow from positions. A turn by more than 45° is left or right, any other is through (traffic keeps right). Approaches
that are opposite to within 45° make pairs, the straightest first, an approach in one pair at most. The phases: for each pair,
through and right from both, then left from both; for each approach, all of it. A phase whose movements are all in another one is left
out: a crossing of four arms has eight phases, a T has three. Without positions: a phase per approach.

**SUMO.** Edges that passenger cars may use; connections give movements (turns back left out), lanes and signals; the phases are
those of the first program of each ``tlLogic`` without yellow and not all red (as SUMO-RL counts them). ``G`` is green, ``g`` and
``s`` give way. Those who go on take the next edges in proportion to their lanes. Vehicles set out where no connection leads in,
and leave where none leads on; how many is as above.

A junction with fewer than two different phases has no signal: everything is green. So is, with one, what no phase serves.
"""

from __future__ import annotations

import difflib
import heapq
import math
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Sequence

import networkx as nx
import numpy as np

from ...ground.errors import InputError
from ...ground.graph_files import find_file, topologies_folder
from .traffic import HEADWAY, START_UP, YELLOW

SATURATION = 3600 / HEADWAY
"""Vehicles/h that a lane discharges while it is green."""
OUTSIDE = -1
"""In place of the next link: the vehicle leaves the network."""
GIVE_WAY, GREEN = 1, 2
"""How a phase serves a movement: at half the saturation flow, since it must give way, or at all of it."""
BEND = math.radians(45)
LENGTH, LANES, SPEED, EXIT_SHARE, LOAD = 200.0, 1, 50.0, 0.2, 0.6
LOST = YELLOW + START_UP


@dataclass(frozen=True)
class Link:
    """A one-way road: metres, lanes, metres per second."""

    name: str
    tail: str
    head: str
    length: float
    lanes: int
    speed: float

    @property
    def seconds(self) -> float:
        """Of free travel."""
        return self.length / self.speed


@dataclass(frozen=True)
class Movement:
    """From the end of a link onto another one, or :data:`OUTSIDE`: share of the link's vehicles, lanes they may use."""

    link: int
    onto: int
    share: float
    lanes: int


@dataclass(frozen=True)
class Signal:
    """An agent: each phase tells its movements, index → :data:`GREEN` or :data:`GIVE_WAY`."""

    name: str
    phases: tuple[dict[int, int], ...]
    place: tuple[float, float] | None

    @property
    def movements(self) -> list[int]:
        """All that some phase serves, in order."""
        return sorted(set().union(*self.phases))


@dataclass(frozen=True)
class Network:
    """Links, movements in the order of their links, signals, demand [links] in vehicles/h, and places of junctions."""

    links: tuple[Link, ...]
    movements: tuple[Movement, ...]
    signals: tuple[Signal, ...]
    demand: np.ndarray
    places: dict[str, tuple[float, float]] | None

    def flows(self, demand: np.ndarray) -> np.ndarray:
        """Vehicles/h on each link in the long run, [links], if nothing is ever full: x = demand + (shares)ᵀ x."""
        used = np.flatnonzero(self._reached(demand > 0))
        shares = np.zeros((len(self.links), len(self.links)))
        for movement in self.movements:
            if movement.onto != OUTSIDE:
                shares[movement.onto, movement.link] += movement.share
        found = np.zeros(len(self.links))
        found[used] = np.linalg.solve(np.eye(len(used)) - shares[np.ix_(used, used)], demand[used])
        return found

    def plan(self, signal: Signal, flows: np.ndarray) -> list[tuple[int, float]]:
        """The phases, in order, that serve each movement once as well as any phase does, and the critical flow ratio of each.

        That is Webster's (1958) y: the largest flow over saturation flow of the lanes that a phase is there for.
        """
        best = {m: max(phase.get(m, 0) for phase in signal.phases) for m in signal.movements}
        chosen, served = [], set()
        for number, phase in enumerate(signal.phases):
            fresh = [m for m, how in phase.items() if how == best[m] and m not in served]
            if not fresh:
                continue
            served.update(fresh)
            together: dict[int, float] = defaultdict(float)
            ratio = 0.0
            for m in fresh:
                movement = self.movements[m]
                flow = flows[movement.link] * movement.share
                ratio = max(ratio, flow / (movement.lanes * SATURATION * phase[m] / GREEN))
                together[movement.link] += flow
            ratio = max([ratio, *(flow / (self.links[link].lanes * SATURATION) for link, flow in together.items())])
            chosen.append((number, ratio))
        return chosen

    def load(self, demand: np.ndarray) -> float:
        """Share of its capacity that the busiest signal or link needs: critical flow ratios of a signal together."""
        flows = self.flows(demand)
        signals = [sum(ratio for _, ratio in self.plan(signal, flows)) for signal in self.signals]
        links = [flow / (link.lanes * SATURATION) for flow, link in zip(flows, self.links)]
        return max([*signals, *links])

    def ways(self) -> dict[tuple[int, int], int]:
        """(j, i) where the fastest way from signal j to signal i passes no other one → the link by which it comes to i."""
        at = self.signal_at()
        onward: dict[int, list[int]] = defaultdict(list)
        for movement in self.movements:
            if movement.onto != OUTSIDE:
                onward[movement.link].append(movement.onto)
        found = {}
        for number, signal in enumerate(self.signals):
            # Dijkstra's algorithm over links: seconds at their ends, whether a signal was passed, link.
            begin = {self.movements[m].onto for m in signal.movements} - {OUTSIDE}
            waiting = [(self.links[link].seconds, False, link) for link in begin]
            heapq.heapify(waiting)
            done, reached = set(), {number}
            while waiting:
                seconds, passed, link = heapq.heappop(waiting)
                if link in done:
                    continue
                done.add(link)
                if at[link] >= 0 and at[link] not in reached:
                    reached.add(int(at[link]))
                    if not passed:
                        found[number, int(at[link])] = link
                for following in onward[link]:
                    heapq.heappush(
                        waiting, (seconds + self.links[following].seconds, passed or bool(at[link] >= 0), following)
                    )
        return dict(sorted(found.items()))

    def signal_at(self) -> np.ndarray:
        """The signal at the end of each link, [links], −1 for none."""
        found = np.full(len(self.links), -1)
        for number, signal in enumerate(self.signals):
            found[[self.movements[m].link for m in signal.movements]] = number
        return found

    def _reached(self, start: np.ndarray) -> np.ndarray:
        """Links that vehicles come to which set out on the given ones, bool [links]."""
        onward = defaultdict(list)
        for movement in self.movements:
            onward[movement.link].append(movement.onto)
        return _closure(start, onward)

    def lost(self) -> list[Link]:
        """Links that vehicles come to but cannot leave the network from."""
        backward = defaultdict(list)
        leaves = np.zeros(len(self.links), bool)
        for movement in self.movements:
            if movement.onto == OUTSIDE:
                leaves[movement.link] = True
            else:
                backward[movement.onto].append(movement.link)
        bad = self._reached(self.demand > 0) & ~_closure(leaves, backward)
        return [self.links[link] for link in np.flatnonzero(bad)]


def _closure(start: np.ndarray, onward: dict[int, list[int]]) -> np.ndarray:
    found = start.copy()
    frontier = list(np.flatnonzero(start))
    while frontier:
        for link in onward[frontier.pop()]:
            if link != OUTSIDE and not found[link]:
                found[link] = True
                frontier.append(link)
    return found


def read_network(env: str, name: str) -> Network:
    """The road network of a file. Raises InputError for what is not there, cannot be read, or holds nothing to control."""
    graphml, sumo = name.lower().endswith(".graphml"), name.lower().endswith(".net.xml")
    if not (graphml or sumo):
        raise InputError(
            f"--env {env}: there is traffic:grid, and traffic:FILE with a road graph (.graphml) or a SUMO net (.net.xml)"
        )
    file = find_file(name)
    if file is None:
        shipped = [found.name for found in topologies_folder().glob("*.graphml")]
        close = difflib.get_close_matches(name, shipped, 1, 0.8)
        raise InputError(
            f"--env {env}: there is no such file, here or in {topologies_folder()}"
            + (f"; did you mean traffic:{close[0]}?" if close else "; name a road graph or a SUMO net, or traffic:grid")
        )
    network = (_from_graphml if graphml else _from_sumo)(env, file)
    if not network.signals:
        raise InputError(f"--env {env}: no junction has a choice of phases, so there is no signal to control")
    if not (network.demand > 0).any():
        raise InputError(f"--env {env}: no vehicle sets out anywhere; give edges or nodes a demand_vph")
    if lost := network.lost():
        raise InputError(
            f"--env {env}: vehicles on {lost[0].tail} → {lost[0].head} can never leave the network; give nodes an exit_share"
        )
    return network


def _finished(
    links: Sequence[Link],
    movements: Sequence[Movement],
    signals: Sequence[Signal],
    places: dict[str, tuple[float, float]] | None,
    demand: np.ndarray | None,
    sources: Iterable[int],
) -> Network:
    """With demand in vehicles/h, or the default one at ``sources``."""
    if demand is not None or not signals:
        demand = np.zeros(len(links)) if demand is None else demand
        return Network(tuple(links), tuple(movements), tuple(signals), demand, places)
    unit = np.zeros(len(links))
    for link in sources:
        unit[link] = links[link].lanes
    network = Network(tuple(links), tuple(movements), tuple(signals), unit, places)
    if unit.any() and not network.lost():
        network.demand[:] *= LOAD / network.load(unit)
    return network


def _signals(
    candidates: Iterable[tuple[str, Sequence[dict[int, int]], tuple[float, float] | None]],
) -> tuple[Signal, ...]:
    """Those that have a choice."""
    return tuple(
        Signal(name, tuple(phases), place)
        for name, phases, place in candidates
        if any(phase != phases[0] for phase in phases[1:])
    )


def _dealt(lanes: int, shares: Sequence[float]) -> list[int]:
    """Lanes of each movement of a link: one each, shared where there are too few; the others where they are needed most."""
    found = [1] * len(shares)
    for _ in range(lanes - len(shares) if shares else 0):
        found[max(range(len(shares)), key=lambda m: (shares[m] / found[m], -m))] += 1
    return found


# GraphML


def _from_graphml(env: str, file: Path) -> Network:
    try:
        raw = nx.read_graphml(file)
    except Exception as error:  # the reader has exceptions of several kinds
        raise InputError(f"--env {env}: cannot be read as graphml ({' '.join(str(error).split())})") from None
    graph = nx.MultiDiGraph(raw)
    graph.remove_edges_from([(a, b, key) for a, b, key in graph.edges(keys=True) if a == b])
    neighbours = {node: set(graph.successors(node)) | set(graph.predecessors(node)) for node in graph}
    rim = {
        node
        for node in graph
        if len(neighbours[node]) == 1 or bool(graph.in_degree(node)) != bool(graph.out_degree(node))
    }
    links, leaving, arriving, texts, given = [], defaultdict(list), defaultdict(list), [], []
    for tail, head, data in graph.edges(data=True):
        where = f"edge {tail} → {head}"
        leaving[tail].append(len(links))
        arriving[head].append(len(links))
        texts.append(data.get("turns"))
        given.append(_number(env, where, data, "demand_vph", None, 0, 1e5))
        links.append(
            Link(
                f"{tail}-{head}",
                tail,
                head,
                _number(env, where, data, "length_m", LENGTH, 1, 1e5),
                int(_number(env, where, data, "lanes", LANES, 1, 100, whole=True)),
                _number(env, where, data, "speed_kmh", SPEED, 1, 500) / 3.6,
            )
        )
    at_node = {n: _number(env, f"node {n}", data, "demand_vph", None, 0, 1e5) for n, data in graph.nodes(data=True)}
    exits = {n: _number(env, f"node {n}", data, "exit_share", None, 0, 1) for n, data in graph.nodes(data=True)}
    told = any(share is not None for share in exits.values()) or any(text is not None for text in texts)
    default = 0.0 if rim or told else EXIT_SHARE
    leave = {n: share if share is not None else 1.0 if n in rim else default for n, share in exits.items()}
    places = _places(env, graph)

    movements: list[Movement] = []
    angles: list[float] = []
    for number, link in enumerate(links):
        onward = [following for following in leaving[link.head] if links[following].head != link.tail]
        onward = onward or leaving[link.head]
        if texts[number] is not None:
            shares = _given_turns(env, link, str(texts[number]), links, leaving[link.head])
        else:
            total = sum(links[following].lanes for following in onward)
            stays = 1.0 - leave[link.head] if onward else 0.0
            shares = {following: stays * links[following].lanes / total for following in onward}
        shares = {following: share for following, share in shares.items() if share > 0}
        angle = {following: _angle(places, link, links[following]) for following in shares}
        order = sorted(shares, key=lambda following: -angle[following])  # from left to right
        lanes = _dealt(link.lanes, [shares[following] for following in order])
        for following, own in zip(order, lanes):
            movements.append(Movement(number, following, shares[following], own))
            angles.append(angle[following])
        rest = 1.0 - sum(shares.values())
        if rest > 1e-6 or not shares:
            movements.append(Movement(number, OUTSIDE, rest, link.lanes))
            angles.append(0.0)

    candidates = []
    for node, data in graph.nodes(data=True):
        wanted = data.get("signal", len(neighbours[node]) > 2)
        if not isinstance(wanted, (bool, int)):
            raise InputError(f"--env {env}: node {node} has signal={wanted!r}, which is neither true nor false")
        approaches = [
            [m for m, movement in enumerate(movements) if movement.link == link and movement.onto != OUTSIDE]
            for link in arriving[node]
        ]
        if wanted and any(approaches):
            directions = [_direction(places, links[link]) for link in arriving[node]] if places else None
            place = places[node] if places else None
            candidates.append((f"signal_{node}", derived_phases(approaches, angles, directions), place))

    demand = None
    if any(value is not None for value in [*given, *at_node.values()]):
        demand = np.array([value or 0.0 for value in given])
        for node, value in at_node.items():
            lanes = sum(links[link].lanes for link in leaving[node])
            if value and not lanes:
                raise InputError(f"--env {env}: node {node} has demand_vph={value:g}, but no road leads away from it")
            for link in leaving[node]:
                demand[link] += (value or 0.0) * links[link].lanes / lanes
    sources = [number for number, link in enumerate(links) if link.tail in rim or not rim]
    return _finished(links, movements, _signals(candidates), places, demand, sources)


def derived_phases(
    approaches: Sequence[Sequence[int]], angles: Sequence[float], directions: Sequence[float] | None
) -> list[dict[int, int]]:
    """Phases of a junction: ``approaches``: movements of each; ``angles``: of every movement, radians to the left;
    ``directions``: in which each approach drives, radians, or None."""
    sets: list[list[int]] = []
    pairs = []
    for one in range(len(approaches)) if directions else ():
        for other in range(one):
            bend = abs(_turned(directions[one] - directions[other] - math.pi))
            if bend <= BEND + 1e-9:
                pairs.append((bend, other, one))
    paired: set[int] = set()
    chosen = []
    for _, one, other in sorted(pairs):
        if not {one, other} & paired:
            paired |= {one, other}
            chosen.append((one, other))
    for pair in sorted(chosen):
        both = [m for approach in pair for m in approaches[approach]]
        sets.append([m for m in both if angles[m] <= BEND + 1e-9])
        sets.append([m for m in both if angles[m] > BEND + 1e-9])
    sets.extend(list(approach) for approach in approaches)
    kept: list[dict[int, int]] = []
    for number, phase in enumerate(sets):
        others = sets[:number] + [other for other in sets[number + 1 :] if set(other) != set(phase)]
        if phase and not any(set(phase) <= set(other) for other in others):
            kept.append(dict.fromkeys(phase, GREEN))
    return kept


def _given_turns(env: str, link: Link, text: str, links: Sequence[Link], candidates: Sequence[int]) -> dict[int, float]:
    """Shares of ``turns``, by following link; parallel roads to one node share by their lanes."""
    wrong = f"--env {env}: edge {link.tail} → {link.head} has turns={text!r}"
    found: dict[int, float] = {}
    for item in text.split():
        node, _, value = item.rpartition(":")
        onto = [following for following in candidates if links[following].head == node]
        try:
            share = float(value)
        except ValueError:
            share = math.nan
        if not 0 <= share <= 1:
            raise InputError(f"{wrong}, but '{item}' is not node:share with a share from 0 to 1")
        if not onto:
            raise InputError(f"{wrong}, but no road leads from {link.head} to {node}")
        for following in onto:
            found[following] = share * links[following].lanes / sum(links[other].lanes for other in onto)
    if sum(found.values()) > 1 + 1e-6:
        raise InputError(f"{wrong}, but its shares make {sum(found.values()):g}, more than 1")
    return found


def _number(
    env: str, where: str, data: dict[str, Any], name: str, default: float | None, low: float, high: float, whole=False
) -> Any:
    if name not in data:
        return default
    try:
        value = float(data[name])
    except (TypeError, ValueError):
        value = math.nan
    if not low <= value <= high or (whole and value != int(value)):
        what = "a whole number" if whole else "a number"
        raise InputError(
            f"--env {env}: {where} has {name}={data[name]!r}, which is not {what} from {low:g} to {high:g}"
        )
    return value


def _places(env: str, graph: nx.MultiDiGraph) -> dict[str, tuple[float, float]] | None:
    if not len(graph) or not all("x" in data and "y" in data for _, data in graph.nodes(data=True)):
        return None
    return {
        node: tuple(_number(env, f"node {node}", data, axis, None, -1e12, 1e12) for axis in "xy")
        for node, data in graph.nodes(data=True)
    }


def _direction(places: dict[str, tuple[float, float]], link: Link) -> float:
    (x, y), (to_x, to_y) = places[link.tail], places[link.head]
    return math.atan2(to_y - y, to_x - x)


def _angle(places: dict[str, tuple[float, float]] | None, link: Link, following: Link) -> float:
    """By how much the way bends to the left, radians in (−π, π]; 0 without positions."""
    return _turned(_direction(places, following) - _direction(places, link)) if places else 0.0


def _turned(angle: float) -> float:
    return math.pi - (math.pi - angle) % (2 * math.pi)


# SUMO


def _from_sumo(env: str, file: Path) -> Network:
    try:
        root = ElementTree.parse(file).getroot()
        if root.tag != "net":
            raise ValueError(f"it is a <{root.tag}>, not a <net>")
        return _from_net(root)
    except (ElementTree.ParseError, OSError, KeyError, ValueError, IndexError) as error:
        raise InputError(
            f"--env {env}: cannot be read as a SUMO net ({type(error).__name__}: {' '.join(str(error).split())})"
        ) from None


def _from_net(root: ElementTree.Element) -> Network:
    links: list[Link] = []
    number: dict[str, int] = {}
    open_lanes: dict[str, set[int]] = {}
    for edge in root.iterfind("edge"):
        lanes = [lane for lane in edge.iterfind("lane") if _open(lane)]
        if edge.get("function", "normal") != "normal" or not lanes:
            continue
        name = edge.attrib["id"]
        number[name] = len(links)
        open_lanes[name] = {int(lane.attrib["index"]) for lane in lanes}
        length = max(float(lane.attrib["length"]) for lane in lanes)
        speed = max(float(lane.attrib["speed"]) for lane in lanes)
        if not (0 < length < 1e6 and 0 < speed < 1e3):
            raise ValueError(f"edge {name} is {length:g} m long at {speed:g} m/s")
        links.append(Link(name, edge.attrib["from"], edge.attrib["to"], length, len(lanes), speed))

    lanes_used: dict[tuple[int, int], set[int]] = defaultdict(set)
    control: dict[tuple[int, int], list[tuple[str, int]]] = defaultdict(list)
    for connection in root.iterfind("connection"):
        start, end, lane = connection.attrib["from"], connection.attrib["to"], int(connection.attrib["fromLane"])
        if start not in number or end not in number or connection.get("dir") == "t":
            continue
        if lane not in open_lanes[start] or int(connection.attrib["toLane"]) not in open_lanes[end]:
            continue
        pair = number[start], number[end]
        lanes_used[pair].add(lane)
        if "tl" in connection.attrib:
            control[pair].append((connection.attrib["tl"], int(connection.attrib["linkIndex"])))

    movements: list[Movement] = []
    indices: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for link in range(len(links)):
        pairs = [pair for pair in lanes_used if pair[0] == link]
        total = sum(links[onto].lanes for _, onto in pairs)
        for pair in pairs:
            for name, index in control[pair]:
                indices[name][len(movements)].append(index)
            movements.append(Movement(link, pair[1], links[pair[1]].lanes / total, len(lanes_used[pair])))
        if not pairs:
            movements.append(Movement(link, OUTSIDE, 1.0, links[link].lanes))

    junctions = root.iterfind("junction")
    places = {j.attrib["id"]: (float(j.attrib["x"]), float(j.attrib["y"])) for j in junctions if "x" in j.attrib}
    candidates = []
    programs: dict[str, list[str]] = {}
    for logic in root.iterfind("tlLogic"):
        programs.setdefault(logic.attrib["id"], [phase.attrib["state"] for phase in logic.iterfind("phase")])
    codes = {"G": GREEN, "g": GIVE_WAY, "s": GIVE_WAY}
    for name, states in programs.items():
        phases = []
        for state in states:
            if "y" in state or not set(state) - {"r", "s"}:
                continue
            how = {m: max(codes.get(state[i], 0) for i in own) for m, own in indices[name].items()}
            phases.append({m: code for m, code in how.items() if code})
        heads = sorted({links[movements[m].link].head for m in indices[name]} & places.keys())
        place = tuple(float(x) for x in np.mean([places[head] for head in heads], axis=0)) if heads else None
        candidates.append((name, phases, place))
    entered = {onto for _, onto in lanes_used}
    sources = [link for link in range(len(links)) if link not in entered]
    return _finished(links, movements, _signals(candidates), places, None, sources)


def _open(lane: ElementTree.Element) -> bool:
    """Whether passenger cars may use it."""
    allow, disallow = lane.get("allow"), lane.get("disallow", "").split()
    if allow is not None:
        return bool({"all", "passenger"} & set(allow.split()))
    return not {"all", "passenger"} & set(disallow)
