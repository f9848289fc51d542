"""One SUMO simulation in a process of its own: what ``sumo.py`` starts for each copy and talks to over pipes.

libsumo holds one simulation per process. This module is started with ``python -m``; it imports neither torch nor MPI,
ends as soon as its standard input closes, and speaks in frames:

    request   kind (one letter), length of the payload, payload
    answer    ``k`` and the payload, or ``e`` and what went wrong as text

    O  JSON settings            → JSON description of the network (:meth:`Control.describe`)
    R  seed, own programme      → first observation
    S  int32 phase per signal   → float32 rewards, halting vehicles and the next observation (:meth:`Control.answer`)
    A  name of a rule           → int32 phase per signal that the rule would choose
    F                           → JSON figures of the episode so far
    Q                           → JSON: vehicles that stand on each incoming road, for pictures
"""

from __future__ import annotations

import json
import math
import os
import struct
import sys
from array import array
from typing import Any, BinaryIO

HEADER = struct.Struct("<cI")
RESET = struct.Struct("<I?")

ARMS = "NESW"
TURNS = "lsr"
"""Left, straight, right: SUMO's letters for the direction of a link, in the order of ``traffic:grid``."""
FOUR_ARM_PHASES = tuple(
    frozenset((arm, turn) for arm in arms for turn in turns)
    for arms, turns in (
        ("NS", "sr"),
        ("NS", "l"),
        ("EW", "sr"),
        ("EW", "l"),
        ("N", "lsr"),
        ("S", "lsr"),
        ("E", "lsr"),
        ("W", "lsr"),
    )
)
"""What is green in the phases of ``traffic:grid``, in its order (``networked/traffic.py``, PHASES)."""
MINIMUM_GAP = 2.5
"""Metres between standing vehicles, SUMO's default, with which SUMO-RL reckons what fits on a lane."""

STANDING = 0.1
"""Metres per second below which a vehicle stands, for SUMO."""


class Signal:
    """One traffic light: its incoming lanes, its green phases, and what it shows."""

    def __init__(self, sumo: Any, name: str) -> None:
        self.name, self.sumo = name, sumo
        # (link index, from lane, to lane); a link index that controls nothing is empty
        self.links = [
            (index, source, target)
            for index, group in enumerate(sumo.trafficlight.getControlledLinks(name))
            for source, target, _ in group
        ]
        self.lanes = list(dict.fromkeys(source for _, source, _ in self.links))
        self.exits = sorted({target for _, _, target in self.links})
        self.lengths = {lane: sumo.lane.getLength(lane) for lane in self.lanes}
        self.roads = list(dict.fromkeys(sumo.lane.getEdgeID(lane) for lane in self.lanes))
        programme = sumo.trafficlight.getProgram(name)
        logic = next(one for one in sumo.trafficlight.getAllProgramLogics(name) if one.programID == programme)
        self.states = list(dict.fromkeys(phase.state for phase in logic.phases if _is_green(phase.state)))
        self.four_arms = self._put_in_order()
        self.signalled: set[str] = set()
        """Incoming lanes of all signals; told by :class:`Control`."""
        self.phase, self.held = 0, 0

    def _put_in_order(self) -> bool:
        """Where the signal has the arms, lanes and phases of ``traffic:grid``, bring them into its order: lanes by arm from
        the north clockwise and by turn from the left, phases as in FOUR_ARM_PHASES. SUMO lists lanes from the right."""
        ways = {lane: (self._arm(lane), self._turns(lane)) for lane in self.lanes}
        wanted = [(arm, turn) for arm in ARMS for turn in TURNS]
        if sorted(ways.values()) != sorted(wanted):
            return False
        greens = {
            frozenset(ways[source] for index, source, _ in self.links if state[index] in "Gg"): state
            for state in self.states
        }
        if len(self.states) != len(FOUR_ARM_PHASES) or set(greens) != set(FOUR_ARM_PHASES):
            return False
        lane_of = {way: lane for lane, way in ways.items()}
        self.lanes = [lane_of[way] for way in wanted]
        self.states = [greens[phase] for phase in FOUR_ARM_PHASES]
        return True

    def _arm(self, lane: str) -> str:
        """From where a lane comes: N, E, S or W."""
        (x, y), (to_x, to_y) = self.sumo.lane.getShape(lane)[-2:]
        if abs(x - to_x) > abs(y - to_y):
            return "E" if x > to_x else "W"
        return "N" if y > to_y else "S"

    def _turns(self, lane: str) -> str:
        """Letters of the directions in which a lane leads."""
        return "".join(sorted({link[6].lower() for link in self.sumo.lane.getLinks(lane)}))

    def between(self, phase: int) -> str:
        """The state while changing from the present phase to another: yellow where green ends."""
        return "".join(
            "y" if now in "Gg" and then in "rs" else now
            for now, then in zip(self.states[self.phase], self.states[phase])
        )

    def show(self, state: str) -> None:
        """Show a state until the next call."""
        self.sumo.trafficlight.setRedYellowGreenState(self.name, state)

    def standing(self) -> int:
        """Vehicles that stand on the incoming lanes, and those that wait to be inserted there."""
        lanes = sum(self.sumo.lane.getLastStepHaltingNumber(lane) for lane in self.lanes)
        return lanes + sum(len(self.sumo.edge.getPendingVehicles(road)) for road in self.roads)

    def weights(self, pressure: bool) -> list[float]:
        """Per phase: vehicles that stand and will take one of its green links; with ``pressure``, each link that somebody
        waits for counts less by the vehicles that stand on the signalled lane it leads to."""
        standing = [0.0] * (1 + max(index for index, _, _ in self.links))
        for lane in self.lanes:
            if self.sumo.lane.getLastStepHaltingNumber(lane):
                for vehicle in self.sumo.lane.getLastStepVehicleIDs(lane):
                    ahead = self.sumo.vehicle.getNextTLS(vehicle)
                    if self.sumo.vehicle.getSpeed(vehicle) < STANDING and ahead and ahead[0][0] == self.name:
                        standing[ahead[0][1]] += 1
        wanted = [(index, target) for index, _, target in self.links if standing[index]]
        if pressure:
            for index, target in wanted:
                if target in self.signalled:
                    standing[index] -= self.sumo.lane.getLastStepHaltingNumber(target)
        return [sum(standing[index] for index, _ in wanted if state[index] in "Gg") for state in self.states]


class Control:
    """The simulation and its signals, under the phases that a host chooses."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """settings: ``command`` (SUMO's options), ``step``, ``yellow``, ``min_green`` (s), ``reward``."""
        import libsumo

        self.sumo, self.command = libsumo, settings["command"]
        self.step_length, self.yellow, self.min_green = settings["step"], settings["yellow"], settings["min_green"]
        self.reward = settings["reward"]
        libsumo.start(["sumo", *self.command, "--seed", "0"])
        everyone = [Signal(libsumo, name) for name in libsumo.trafficlight.getIDList()]
        self.signals = [one for one in everyone if len(one.states) > 1]
        self.places = {one.name: self._place(one) for one in self.signals}
        self.signals.sort(key=lambda one: (-round(self.places[one.name][1], 1), self.places[one.name][0], one.name))
        signalled = {lane for one in everyone for lane in one.lanes}
        for one in self.signals:
            one.signalled = signalled
        self.own_programme = False
        self.waited: list[float] = []
        self.on_lane: dict[str, dict[str, float]] = {}

    def _place(self, one: Signal) -> tuple[float, float]:
        """Middle of the junctions that a signal controls, m."""
        junctions = sorted({self.sumo.edge.getToJunction(road) for road in one.roads})
        points = [self.sumo.junction.getPosition(junction) for junction in junctions]
        return sum(x for x, _ in points) / len(points), sum(y for _, y in points) / len(points)

    def describe(self) -> dict[str, Any]:
        """Signals from north to south (and from west to east), and who is upstream of whom."""
        signals = [
            {
                "name": one.name,
                "place": self.places[one.name],
                "lanes": one.lanes,
                "states": one.states,
                "roads": one.roads,
                "four_arms": one.four_arms,
            }
            for one in self.signals
        ]
        return {"signals": signals, "upstream": self._upstream(), "version": self.sumo.getVersion()[1]}

    def _upstream(self) -> list[list[int]]:
        """(j, i, road): from signal j one can drive to signal i, past no other signal, and arrives on that road of i's."""
        at: dict[str, list[int]] = {}
        for number, one in enumerate(self.signals):
            for road in one.roads:
                at.setdefault(road, []).append(number)
        found = []
        for number, one in enumerate(self.signals):
            ahead = {self.sumo.lane.getEdgeID(lane) for lane in one.exits}
            seen = set(ahead)
            while ahead:
                road = ahead.pop()
                if road in at:
                    found += [[number, other, self.signals[other].roads.index(road)] for other in at[road]]
                else:
                    beyond = self._beyond(road) - seen
                    seen |= beyond
                    ahead |= beyond
        return sorted(edge for edge in found if edge[0] != edge[1])

    def _beyond(self, road: str) -> set[str]:
        lanes = (f"{road}_{index}" for index in range(self.sumo.edge.getLaneNumber(road)))
        return {self.sumo.lane.getEdgeID(link[0]) for lane in lanes for link in self.sumo.lane.getLinks(lane)}

    def reset(self, seed: int, own_programme: bool) -> bytes:
        """Begin an episode; signals may change at once. ``own_programme``: they follow the network's programme instead."""
        self.sumo.load([*self.command, "--seed", str(seed)])
        self.own_programme = own_programme
        self.on_lane = {}
        for one in self.signals:
            one.phase, one.held = 0, self.yellow + self.min_green
            if not own_programme:
                one.show(one.states[0])
        self.waited = [0.0] * len(self.signals)
        return self.answer()

    def step(self, phases: array) -> bytes:
        """Show the phases asked for, where the present one has lasted long enough, and simulate one interval."""
        simulation = self.sumo.simulation
        now = simulation.getTime()
        changing = []
        if not self.own_programme:
            for one, wanted in zip(self.signals, phases):
                if wanted != one.phase and one.held >= self.yellow + self.min_green:
                    if self.yellow:
                        one.show(one.between(wanted))
                    one.phase, one.held = wanted, 0
                    changing.append(one)
            if changing and self.yellow:
                simulation.step(now + self.yellow)
            for one in changing:
                one.show(one.states[one.phase])
        simulation.step(now + self.step_length)
        for one in self.signals:
            one.held += self.step_length
            if self.own_programme:
                self._follow(one)
        return self.answer()

    def _follow(self, one: Signal) -> None:
        """Note which phase the network's programme shows; the last one while it is yellow."""
        state = self.sumo.trafficlight.getRedYellowGreenState(one.name)
        if state in one.states and one.states.index(state) != one.phase:
            one.phase, one.held = one.states.index(state), 0

    def answer(self) -> bytes:
        """float32: reward per signal, standing vehicles per signal, observations one after the other."""
        lane = self.sumo.lane
        seen, standing = array("f"), array("f")
        for one in self.signals:
            seen.extend(1.0 if phase == one.phase else 0.0 for phase in range(len(one.states)))
            seen.append(1.0 if one.held >= self.yellow + self.min_green else 0.0)
            queues = array("f")
            for name in one.lanes:
                vehicles = lane.getLastStepVehicleNumber(name)
                room = one.lengths[name] / (MINIMUM_GAP + lane.getLastStepLength(name)) if vehicles else 1.0
                seen.append(min(1.0, vehicles / room))
                queues.append(min(1.0, lane.getLastStepHaltingNumber(name) / room) if vehicles else 0.0)
            seen.extend(queues)
            standing.append(one.standing())
        rewards = array("f", [self._reward(number, count) for number, count in enumerate(standing)])
        return rewards.tobytes() + standing.tobytes() + seen.tobytes()

    def _reward(self, number: int, standing: float) -> float:
        """In vehicle-minutes."""
        one = self.signals[number]
        if self.reward == "queue":
            return -standing * self.step_length / 60
        if self.reward == "pressure":
            beyond = sum(self.sumo.lane.getLastStepHaltingNumber(lane) for lane in one.exits)
            return -abs(standing - beyond) * self.step_length / 60
        before, self.waited[number] = self.waited[number], self._waited(one)
        return (before - self.waited[number]) / 60

    def _waited(self, one: Signal) -> float:
        """Seconds for which the vehicles now on the incoming lanes have stood there (SUMO-RL's waiting per lane)."""
        total = 0.0
        for lane in one.lanes:
            for vehicle in self.sumo.lane.getLastStepVehicleIDs(lane):
                lanes = self.on_lane.setdefault(vehicle, {})
                elsewhere = sum(waited for other, waited in lanes.items() if other != lane)
                lanes[lane] = self.sumo.vehicle.getAccumulatedWaitingTime(vehicle) - elsewhere
                total += lanes[lane]
        return total

    def advise(self, rule: str) -> bytes:
        """The phase with the largest weight at every signal; the present one if it is among them."""
        chosen = array("i")
        for one in self.signals:
            weights = one.weights(rule == "max_pressure")
            best = max(weights)
            chosen.append(one.phase if weights[one.phase] == best else weights.index(best))
        return chosen.tobytes()

    def figures(self) -> dict[str, float]:
        """See ``sumo.Sumo.metrics``."""
        told, vehicle = self.sumo.simulation.getParameter, self.sumo.vehicle
        inserted, arrived = int(told("", "stats.vehicles.inserted")), int(told("", "device.tripinfo.count"))
        inside, outside = vehicle.getIDList(), self.sumo.simulation.getPendingVehicles()
        inside += tuple(sorted(set(vehicle.getTeleportingIDList()) - set(inside)))  # on no road at the moment
        # SUMO tells means over those that arrived, to the millisecond.
        waited, lost, travelled, delayed = (
            float(told("", f"device.tripinfo.{name}")) * arrived if arrived else 0.0
            for name in ("waitingTime", "timeLoss", "duration", "departDelay")
        )
        now = self.sumo.simulation.getTime()
        waited_inside = math.fsum(float(vehicle.getParameter(name, "device.tripinfo.waitingTime")) for name in inside)
        lost_inside = math.fsum(vehicle.getTimeLoss(name) for name in inside)
        delayed_since = math.fsum(vehicle.getDepartDelay(name) for name in (*inside, *outside))
        travelled_inside = math.fsum(now - vehicle.getDeparture(name) for name in inside)
        everyone = max(inserted + len(outside), 1)
        return {
            "waiting": (waited + waited_inside) / max(inserted, 1),
            "travel_time": travelled / max(arrived, 1),
            "travel_time_all": (travelled + travelled_inside + delayed + delayed_since) / everyone,
            "delay": (lost + lost_inside + delayed + delayed_since) / everyone,
            "inserted": inserted,
            "arrived": arrived,
            "inside": len(inside),
            "outside": len(outside),
            "teleports": int(told("", "stats.teleports.total")),
            "collisions": int(told("", "stats.safety.collisions")),
        }

    def queues(self) -> list[list[int]]:
        """Vehicles that stand on the controlled lanes of each of a signal's incoming roads."""
        found = []
        for one in self.signals:
            count = dict.fromkeys(one.roads, 0)
            for lane in one.lanes:
                count[self.sumo.lane.getEdgeID(lane)] += self.sumo.lane.getLastStepHaltingNumber(lane)
            found.append(list(count.values()))
        return found


def _is_green(state: str) -> bool:
    """Whether a phase lets somebody go and is not the end of another."""
    return "y" not in state and any(light in "Gg" for light in state)


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more."""
    control: Control | None = None
    while len(head := requests.read(HEADER.size)) == HEADER.size:
        kind, size = HEADER.unpack(head)
        payload = requests.read(size)
        try:
            if kind == b"O":
                control = Control(json.loads(payload))
                answer = json.dumps(control.describe()).encode()
            else:
                assert control is not None, "no simulation was opened"
                answer = _handle(control, kind, payload)
            status = b"k"
        except Exception as error:  # whatever SUMO raises is the host's to report
            status, answer = b"e", " ".join(str(error).split()).encode()
        answers.write(HEADER.pack(status, len(answer)) + answer)
        answers.flush()


def _handle(control: Control, kind: bytes, payload: bytes) -> bytes:
    if kind == b"S":
        return control.step(array("i", payload))
    if kind == b"R":
        return control.reset(*RESET.unpack(payload))
    if kind == b"A":
        return control.advise(payload.decode())
    return json.dumps(control.figures() if kind == b"F" else control.queues()).encode()


def main() -> None:
    """Serve on standard input and output; what SUMO prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    serve(sys.stdin.buffer, answers)
    sys.stderr.flush()
    os._exit(0)  # without SUMO's farewell, which takes its time


if __name__ == "__main__":
    main()
