"""``voltage:ieee33``: reactive power of solar inverters keeps a feeder's voltages, many copies stepped in one call.

The task is active voltage control in the manner of Wang et al. 2021 ("Multi-Agent Reinforcement Learning for Active
Voltage Control on Power Distribution Networks", arXiv 2110.14300, with code as MAPDN): photovoltaic inverters on
Baran and Wu's 33-bus feeder choose their reactive power every 3 minutes, so that every bus stays within 0.95 to 1.05
pu. The power flow is not theirs but LinDistFlow (Baran and Wu 1989, doi 10.1109/61.25627, without losses), and
profiles of load and sun are drawn here, not read: figures are not comparable with theirs.

Power flow. Branch b leads to bus b from its parent a; P_b, Q_b are what enters it, in MW and Mvar:

    P_b = p_b − g_b + Σ over branches that leave b of P,        Q_b likewise,        v_b² = v_a² − 2 (r_b P_b + x_b Q_b)

with loads p, generation g, voltages v in pu and r, x in pu per MW (Ω over 12.66² kV²). Bus 1 is the substation, held
at 1 pu. What is left out are the losses: against the full AC power flow voltages are off by up to 0.008 pu without
control and under droop, and 0.03 with all inverters at random (``tests/world/test_voltage.py``). ``flow=distflow`` puts
them in: Baran and Wu's branch equations with ℓ_b = (P_b² + Q_b²) / v_a², r_b ℓ_b more in P_b, x_b ℓ_b in Q_b and
(r_b² + x_b²) ℓ_b in v_b², solved by sweeps to AC's voltages within 1e-4 pu, in about four times the time.

A day. Load of bus b: its nominal value × level of the day, uniform in [0.8, 1.2], × level of the bus, same × (0.4 +
0.15 morning + 0.45 evening) × (1 + 0.15 noise); morning and evening are bells of height 1 around 8:00 and 19:30, 1.5
and 2 h wide; reactive power follows with a ratio of its own, uniform in ±20 % of the nominal. Inverter i's sun: sin(π
(hour − 6) / 12) to the power of 1.3 × (1 − 0.8 cloud), where cloud = logistic(2.5 (0.8 common + 0.6 own) + cover),
cover uniform in [−4, 1] for the day. Noise and clouds are standard normal values drawn every 15 and every 9 minutes,
straight lines between them. All inverters together have a peak of ``solar`` × 3.715 MW, the nominal load, in equal
shares, and each a rating S of 1.2 of its peak.

Agents ``pv_BUS``: by default six, at buses 13, 18, 22, 25, 29 and 33, where programs after MAPDN have them. Each has
a *zone*: the buses that it is nearest to by impedance. Two influence each other where no other inverter is on the
path between them. Action, in [−1, 1]: the share of √(S² − P²) that is injected (positive) or absorbed. It meets the
loads and the sun that were observed; after it the next ones come, under the reactive power that is kept (as far as
the new sun leaves room).

Observation (3 |zone| + 5): of the zone's buses active and reactive load over nominal and (v − 1) / 0.05; then, over
S, own active power, kept reactive power and √(S² − P²); sine and cosine of the time of day. Reward of agent i: −mean
over its zone of l(v_b) − ``alpha`` |q_i| / S; with ``reward=team`` everybody's is −mean over buses 2 to 33 of l(v_b)
− alpha · mean |q_i| / S. l is MAPDN's bowl (2 |v − 1| − 0.095 outside of ±0.05, else 0.04 − 0.01 N(v; 1, 0.1)),
``l1`` or ``l2``. An episode is a day of 480 steps and ends by truncation.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import numpy as np

from ...ground.errors import InputError
from ..spec import ActionSpec, AgentSpec, WorldSpec
from .base import Batch, bounded, build
from .drawing import Lines, Marks, Scale, Scene, Texts

NAME = "voltage:ieee33"
FEEDER = """
    1  2 0.0922 0.0470 100  60    2  3 0.4930 0.2511  90  40    3  4 0.3660 0.1864 120  80    4  5 0.3811 0.1941  60  30
    5  6 0.8190 0.7070  60  20    6  7 0.1872 0.6188 200 100    7  8 0.7114 0.2351 200 100    8  9 1.0300 0.7400  60  20
    9 10 1.0440 0.7400  60  20   10 11 0.1966 0.0650  45  30   11 12 0.3744 0.1238  60  35   12 13 1.4680 1.1550  60  35
   13 14 0.5416 0.7129 120  80   14 15 0.5910 0.5260  60  10   15 16 0.7463 0.5450  60  20   16 17 1.2890 1.7210  60  20
   17 18 0.7320 0.5740  90  40    2 19 0.1640 0.1565  90  40   19 20 1.5042 1.3554  90  40   20 21 0.4095 0.4784  90  40
   21 22 0.7089 0.9373  90  40    3 23 0.4512 0.3083  90  50   23 24 0.8980 0.7091 420 200   24 25 0.8960 0.7011 420 200
    6 26 0.2030 0.1034  60  25   26 27 0.2842 0.1447  60  25   27 28 1.0590 0.9337  60  20   28 29 0.8042 0.7006 120  70
   29 30 0.5075 0.2585 200 600   30 31 0.9744 0.9630 150  70   31 32 0.3105 0.3619 210 100   32 33 0.3410 0.5302  60  40
"""
"""Branches: from bus, to bus, r and x in Ω; then the nominal load of the bus it leads to, kW and kvar. Baran and Wu
1989, with the numbers of MATPOWER's and pandapower's ``case33bw`` (the same); tie lines left out."""
TABLE = np.array(FEEDER.split(), float).reshape(-1, 6)
KILOVOLTS = 12.66
BUSES = len(TABLE) + 1
PARENT = np.zeros(BUSES, int)
PARENT[1:] = TABLE[:, 0] - 1
"""Of each bus, counted from 0, the one that feeds it; a bus comes after its parent."""
IMPEDANCE = np.zeros((BUSES, 2))
IMPEDANCE[1:] = TABLE[:, 2:4] / KILOVOLTS**2
RESISTANCE, REACTANCE = IMPEDANCE.T
"""Of the branch to each bus, pu per MW."""
NOMINAL = TABLE[:, 4:].T / 1000
"""Active and reactive load of buses 2 to 33, MW and Mvar, [2, 32]."""
FIRST_BUSES = (18, 33, 25, 22, 13, 29)
"""Where inverters are put: first these, then where the impedance to all others is greatest."""
LOW, HIGH = 0.95, 1.05
VOLTAGE = Scale(f"voltage, pu (bars: allowed, {LOW:g} to {HIGH:g})", "coolwarm", centre=1.0, limits=(LOW, HIGH))
POWER = Scale("active power on a branch, MW, either way", "viridis_r", 0)
OVERSIZE = 1.2
SWEEPS = 4
"""Of ``flow=distflow``, after the one without losses."""
STEP = 3
HORIZON = 480
LOAD_EVERY, CLOUD_EVERY = 5, 3
"""Steps between the values that noise and clouds are drawn at."""


def chain(bus: int) -> list[int]:
    """A bus (from 0) and those between it and the substation, without that."""
    buses = []
    while bus:
        buses.append(bus)
        bus = int(PARENT[bus])
    return buses


CHAINS = [chain(bus) for bus in range(BUSES)]


def common(one: int, other: int, values: np.ndarray) -> float:
    """Sum of branch values that the ways of two buses to the substation have in common."""
    return math.fsum(values[bus] for bus in set(CHAINS[one]) & set(CHAINS[other]))


def distance(one: int, other: int) -> float:
    """Impedance between two buses, pu per MVA."""
    return math.fsum(math.hypot(RESISTANCE[b], REACTANCE[b]) for b in set(CHAINS[one]) ^ set(CHAINS[other]))


def between(one: int, other: int) -> set[int]:
    """The buses on the path between two, without its ends."""
    ways = set(CHAINS[one]), set(CHAINS[other])
    top = PARENT[min(ways[0] - ways[1] or ways[1] - ways[0])]  # numbers grow along the feeder
    return (ways[0] ^ ways[1] | {int(top)}) - {one, other}


def places(number: int) -> list[int]:
    """Buses (from 1) of so many inverters, in the order of their numbers."""
    chosen = list(FIRST_BUSES[:number])
    while len(chosen) < number:
        free = [bus for bus in range(2, BUSES + 1) if bus not in chosen]
        chosen.append(max(free, key=lambda bus: min(distance(bus - 1, other - 1) for other in chosen)))
    return sorted(chosen)


def drawing_places() -> np.ndarray:
    """Where buses are in the picture, [33, 2]: main line from left to right, laterals above and below."""
    row = [0] * 18 + [-2] * 4 + [-1] * 3 + [1] * 8
    column = [*range(1, 19), *range(2, 6), *range(3, 6), *range(6, 14)]
    return np.stack([column, row], 1).astype(float)


def total(rows: Any) -> np.ndarray:
    """Sum over the first axis from first to last: the same bits whatever the number of copies, unlike numpy's sum."""
    return reduce(np.add, rows)


class Feeder(Batch):
    """``copies`` feeders side by side. Powers and voltages are [buses or agents, copies]: sums along the tree run
    over all copies at once."""

    STATE = ("time", "reactive", "outside", "spoiled", "worst", "lost", "used")
    DRAWN = ("level", "noise", "ratio", "cover", "clouds", "demand", "sun")

    def __init__(
        self,
        copies: int,
        agents: int | None = None,
        buses: Any = None,
        solar: float = 1.5,
        load: float = 1.0,
        reward: str = "own",
        barrier: str = "bowl",
        alpha: float = 0.01,
        flow: str = "lindistflow",
        start: float = 0.0,
        horizon: int = HORIZON,
    ) -> None:
        """``buses``: of the inverters, joined by '-'; ``solar``: their peak over the nominal load; ``load``: loads over
        those that the head of the module gives; ``start``: hour of the day that an episode begins at."""
        self.buses = self._placed(agents, buses)
        number = len(self.buses)
        super().__init__(copies, number, bounded(NAME, "horizon", horizon, 1, math.inf, whole=True))
        self.start = bounded(NAME, "start", start, 0, 24)
        self.alpha = bounded(NAME, "alpha", alpha, 0, 1e6)
        self.load_scale = bounded(NAME, "load", load, 0, 3)
        for argument, value, known in (
            ("reward", reward, ("own", "team")),
            ("barrier", barrier, tuple(BARRIERS)),
            ("flow", flow, ("lindistflow", "distflow")),
        ):
            if value not in known:
                raise InputError(f"--env {NAME}: {argument} {value!r} is not one of {', '.join(known)}")
        self.reward_kind, self.barrier = reward, BARRIERS[barrier]
        self.sweeps = SWEEPS if flow == "distflow" else 0
        self.peak = bounded(NAME, "solar", solar, 0, 5) * float(NOMINAL[0].sum()) / number
        self.rating = OVERSIZE * self.peak
        self.at = np.array(self.buses) - 1
        nearest = [min(range(number), key=lambda i: distance(bus, int(self.at[i]))) for bus in range(1, BUSES)]
        self.zones = [np.array([bus for bus, i in enumerate(nearest, 1) if i == agent]) for agent in range(number)]
        self.response = np.array([[2 * common(bus, int(i), REACTANCE) for i in self.at] for bus in range(BUSES)])
        """∂ v_b² / ∂ q_i, [33, agents], pu per Mvar."""
        self.level, self.cover = np.zeros((copies, BUSES - 1)), np.zeros(copies)
        self.noise = np.zeros((copies, self._knots(LOAD_EVERY), BUSES - 1))
        self.clouds = np.zeros((copies, self._knots(CLOUD_EVERY), 1 + number))
        """What loads and sun follow from: levels of the day, values of the noise, of the clouds in common and of each inverter's own."""
        self.demand = np.zeros((copies, self.horizon + 1, BUSES - 1), np.float32)
        self.ratio = np.zeros((copies, BUSES - 1))
        self.sun = np.zeros((copies, self.horizon + 1, number), np.float32)
        self.reactive = np.zeros((copies, number))
        """What inverters inject, Mvar."""
        self.outside, self.spoiled = np.zeros((2, copies), np.int64)
        self.worst, self.lost, self.used = np.zeros((3, copies))
        self.load_power = np.zeros((2, BUSES, copies))
        self.active = np.zeros((number, copies))
        """What the sun gives, MW."""
        self.room = np.full((number, copies), self.rating)
        """√(S² − P²), Mvar."""
        self.flow = np.zeros((BUSES, 2, copies))
        """What enters the branch to each bus (at 0: the feeder), MW and Mvar."""
        self.squared, self.voltage = np.ones((2, BUSES, copies))
        self.paid = self.flow.copy(), self.voltage.copy(), self.reactive.copy()
        """Flows, voltages and reactive power that the last rewards are for; only the picture reads them."""

    def _placed(self, agents: int | None, buses: Any) -> list[int]:
        if buses is None:
            if agents is not None and not 1 <= agents < BUSES:
                raise InputError(f"--agents {agents}: {NAME} has room for 1 to {BUSES - 1} inverters, one at a bus")
            return places(agents or len(FIRST_BUSES))
        given = str(buses).split("-")
        if not all(bus.isdecimal() and 2 <= int(bus) <= BUSES for bus in given) or len(set(given)) < len(given):
            raise InputError(
                f"--env {NAME}: buses {buses!r} are not different buses from 2 to {BUSES} joined by '-', as in 13-18-22"
            )
        if agents is not None and agents != len(given):
            raise InputError(f"--env {NAME}: inverters at {len(given)} buses do not make --agents {agents}")
        return sorted(map(int, given))

    @property
    def spec(self) -> WorldSpec:
        """Agents and spaces, who influences whom, and where inverters are in the picture (most branches are 1 long)."""
        action = ActionSpec("continuous", (), (-1.0,), (1.0,))
        agents = []
        for bus, zone in zip(self.buses, self.zones):
            size = 3 * len(zone) + 5
            agents.append(AgentSpec(f"pv_{bus}", size, "box", (size,), action))
        here = set(self.at.tolist())
        edges = [
            (j, i)
            for j, one in enumerate(self.at)
            for i, other in enumerate(self.at)
            if i != j and not here & between(int(one), int(other))
        ]
        where = tuple((float(x), float(y)) for x, y in drawing_places()[self.at])
        return WorldSpec(NAME, tuple(agents), tuple(edges), self.horizon, tuple(self.controllers), where)

    def draw(self, copy: int, rng: np.random.Generator) -> None:
        """The day's loads and sun, as the head of the module says."""
        loads = BUSES - 1
        self.level[copy] = self.load_scale * rng.uniform(0.8, 1.2) * rng.uniform(0.8, 1.2, loads)
        self.noise[copy] = rng.standard_normal(self.noise.shape[1:])
        self.ratio[copy] = rng.uniform(0.8, 1.2, loads)
        self.cover[copy] = rng.uniform(-4, 1)
        self.clouds[copy, :, :1] = rng.standard_normal((self.clouds.shape[1], 1))
        self.clouds[copy, :, 1:] = rng.standard_normal((self.clouds.shape[1], len(self.at)))
        self._profile(copy)

    def draw_on(self, copy: int, rng: np.random.Generator) -> None:
        """Values of noise and clouds after those that the present loads and sun lie between; the day's levels stay."""
        for values, every in ((self.noise, LOAD_EVERY), (self.clouds, CLOUD_EVERY)):
            known = -(-int(self.time[copy]) // every) + 1
            drawn = rng.standard_normal(values.shape[1:])
            values[copy, known:] = drawn[known:]
        self._profile(copy)

    def _profile(self, copy: int) -> None:
        """Loads and sun of the day from what was drawn."""
        hour = self.start + np.arange(self.horizon + 1) * (STEP / 60)
        clock = hour % 24
        bells = 0.15 * _bell(clock, 8, 1.5) + 0.45 * _bell(clock, 19.5, 2)
        noise = _lines(self.noise[copy], LOAD_EVERY, self.horizon + 1)
        self.demand[copy] = np.maximum((0.4 + bells)[:, None] * (1 + 0.15 * noise) * self.level[copy], 0)
        height = np.maximum(np.sin(np.pi * (clock - 6) / 12), 0) ** 1.3
        shared, own = self.clouds[copy, :, :1], self.clouds[copy, :, 1:]
        clouds = _lines(0.8 * shared + 0.6 * own, CLOUD_EVERY, self.horizon + 1)
        self.sun[copy] = height[:, None] * (1 - 0.8 / (1 + np.exp(-2.5 * clouds - self.cover[copy])))

    def _knots(self, every: int) -> int:
        return self.horizon // every + 2

    def begin(self, copies: np.ndarray) -> None:
        """No reactive power at first."""
        self._solve()

    def settle(self) -> None:
        """Flows and voltages follow from the state."""
        self._solve()
        self.paid = self.flow.copy(), self.voltage.copy(), self.reactive.copy()

    def _solve(self) -> None:
        """Loads and sun of this time, flows and voltages of every copy (LinDistFlow)."""
        everyone = np.arange(self.copies)
        relative = self.demand[everyone, self.time]
        self.load_power[0, 1:] = (relative * NOMINAL[0]).T
        self.load_power[1, 1:] = (relative * self.ratio * NOMINAL[1]).T
        self.active[:] = self.sun[everyone, self.time].T * self.peak
        self.room[:] = np.sqrt(np.maximum(self.rating**2 - self.active**2, 0))
        self.reactive[:] = np.clip(self.reactive, -self.room.T, self.room.T)
        self._flow(self.reactive.T)

    def _flow(self, reactive: np.ndarray) -> None:
        """Fill :attr:`flow` and voltages: present loads and sun, inverters inject ``reactive`` [agents, copies]."""
        flow, squared = self.flow, self.squared
        current = np.zeros_like(squared)
        for sweep in range(1 + self.sweeps):
            if sweep:
                current = self._currents()
            flow[:, 0], flow[:, 1] = self.load_power
            flow[self.at, 0] -= self.active
            flow[self.at, 1] -= reactive
            if sweep:
                flow += IMPEDANCE[:, :, None] * current[:, None]
            for bus in range(BUSES - 1, 0, -1):
                flow[PARENT[bus]] += flow[bus]
            for bus in range(1, BUSES):
                drop = RESISTANCE[bus] * flow[bus, 0] + REACTANCE[bus] * flow[bus, 1]
                squared[bus] = squared[PARENT[bus]] - 2 * drop
                if sweep:
                    squared[bus] += (RESISTANCE[bus] ** 2 + REACTANCE[bus] ** 2) * current[bus]
        np.sqrt(np.maximum(squared, 0), out=self.voltage)

    def _currents(self) -> np.ndarray:
        """ℓ, squared currents of the branches, (MVA / pu)², [33, copies]; none at 0."""
        found = (self.flow[:, 0] ** 2 + self.flow[:, 1] ** 2) / np.maximum(self.squared[PARENT], 0.1)
        found[0] = 0
        return found

    def losses(self) -> np.ndarray:
        """Active power lost in the branches, MW, [copies]: Σ r ℓ, with LinDistFlow's own flows where it is that."""
        return total(RESISTANCE[:, None] * self._currents())

    def step(self, actions: list[np.ndarray]) -> None:
        """Advance every copy by 3 minutes; ``actions[i]``: float [copies, 1] or [copies], clipped to [−1, 1]."""
        share = np.stack([np.asarray(action, float).reshape(self.copies) for action in actions])
        self.reactive[:] = (np.clip(share, -1, 1) * self.room).T
        self._flow(self.reactive.T)
        self._pay()
        self._set_aside()
        self.time += 1
        self.truncated[:] = (self.time >= self.horizon)[:, None]
        self._solve()

    def _set_aside(self) -> None:
        """Keep what was paid for; the next flows and voltages go where the last ones were."""
        flow, voltage, reactive = self.paid
        reactive[:] = self.reactive
        self.paid, self.flow, self.voltage = (self.flow, self.voltage, reactive), flow, voltage

    def _pay(self) -> None:
        """Rewards and figures of the present voltages."""
        voltage = self.voltage
        missed = self.barrier(voltage)
        effort = np.abs(self.reactive) / self.rating if self.rating else np.zeros_like(self.reactive)
        if self.reward_kind == "team":
            everybody = total(missed[1:]) / (BUSES - 1) + self.alpha * total(effort.T) / len(self.at)
            self.reward[:] = -everybody[:, None]
        else:
            for agent, zone in enumerate(self.zones):
                self.reward[:, agent] = -total(missed[zone]) / len(zone) - self.alpha * effort[:, agent]
        out = ((voltage[1:] < LOW) | (voltage[1:] > HIGH)).sum(0)
        self.outside += out
        self.spoiled += out > 0
        np.maximum(self.worst, np.abs(voltage - 1).max(0), out=self.worst)
        self.lost += self.losses()
        self.used += total(np.abs(self.reactive.T))

    def observe(self, copies: Any, observations: list[np.ndarray], masks: list[np.ndarray | None]) -> None:
        """Write the present observations of the given copies (index array or slice), [copies, 3 |zone| + 5] each."""
        nominal = NOMINAL[:, :, None]
        relative = (self.load_power[:, 1:, copies] / nominal).astype(np.float32)
        off = ((self.voltage[1:, copies] - 1) / (HIGH - 1)).astype(np.float32)
        scale = 1 / self.rating if self.rating else 0.0
        own = np.stack([self.active[:, copies], self.reactive.T[:, copies], self.room[:, copies]], 2) * scale
        angle = 2 * np.pi * (self.start + self.time[copies] * (STEP / 60)) / 24
        clock = np.stack([np.sin(angle), np.cos(angle)], 1)
        for agent, (zone, out) in enumerate(zip(self.zones, observations)):
            size = len(zone)
            out[:, :size] = relative[0, zone - 1].T
            out[:, size : 2 * size] = relative[1, zone - 1].T
            out[:, 2 * size : 3 * size] = off[zone - 1].T
            out[:, 3 * size : 3 * size + 3] = own[agent]
            out[:, 3 * size + 3 :] = clock

    def metrics(self, copies: np.ndarray) -> dict[str, np.ndarray]:
        """Of the episodes so far, each [len(copies)] float64.

        outside: share of buses outside 0.95 to 1.05 pu, mean over steps; steps_outside: share of steps with any;
        deviation: greatest |v − 1|, pu; losses: mean, MW; reactive: mean Σ |q_i|, Mvar.
        """
        steps = np.maximum(self.time[copies], 1)
        return {
            "outside": self.outside[copies] / (steps * (BUSES - 1)),
            "steps_outside": self.spoiled[copies] / steps,
            "deviation": self.worst[copies].copy(),
            "losses": self.lost[copies] / steps,
            "reactive": self.used[copies] / steps,
        }

    def scene(self, copy: int) -> Scene:
        """The feeder in the last step: voltages of all buses, active power through the branches, what inverters inject."""
        time = int(self.time[copy])
        flow, voltage, reactive = self.paid if time else (self.flow, self.voltage, self.reactive)
        minutes = round(60 * self.start) + max(time - 1, 0) * STEP
        where, volts, power = drawing_places(), voltage[:, copy], reactive[copy]
        out = (volts < LOW) | (volts > HIGH)
        inverters = where[self.at] + [0, 0.42]
        names = ["substation", *(f"bus {bus}" for bus in self.buses)]
        return Scene(
            NAME,
            time,
            [
                Lines(
                    np.stack([where[PARENT[1:]], where[1:]], 1), "branch", np.abs(flow[1:, 0, copy]), POWER, width=5
                ),
                Marks(where[out], f"bus outside {LOW:g} to {HIGH:g} pu", colour="white", size=420, edge="#d55e00", order=2),
                Marks(where, "bus", volts, VOLTAGE, size=170),
                *(
                    Marks(
                        inverters[chosen], f"inverter {what} reactive power", colour=colour, shape=shape, size=220,
                        amounts=np.abs(power[chosen]), unit="Mvar",
                    )
                    for what, chosen, shape, colour in (
                        ("injects", power > 0, "^", "#e69f00"),
                        ("absorbs", power < 0, "v", "#56b4e9"),
                    )
                ),
                Texts(where[[0, *self.at]], names, shift=(0, -15)),
            ],
            f"{minutes // 60 % 24:02d}:{minutes % 60:02d}",
            frame=(0.0, 19.0, -2.6, 1.8),
            aspect=0.42,
            width=10.0,
        )  # fmt: skip


def _bell(hour: np.ndarray, centre: float, width: float) -> np.ndarray:
    """Height 1 at ``centre``, hours around the clock; ``width``: one standard deviation."""
    away = (hour - centre + 12) % 24 - 12
    return np.exp(-0.5 * (away / width) ** 2)


def _lines(knots: np.ndarray, every: int, steps: int) -> np.ndarray:
    """Straight lines through values that are ``every`` steps apart, [steps, …]."""
    before, part = np.divmod(np.arange(steps), every)
    return knots[before] + (knots[before + 1] - knots[before]) * (part / every)[:, None]


def _bowl(voltage: np.ndarray) -> np.ndarray:
    """MAPDN's bowl: steep outside of ±0.05 pu, flat inside."""
    away = np.abs(voltage - 1)
    inside = 0.04 - 0.01 * np.exp(-0.5 * (away / 0.1) ** 2) / (0.1 * math.sqrt(2 * math.pi))
    return np.where(away > 0.05, 2 * away - 0.095, inside)


BARRIERS = {"bowl": _bowl, "l1": lambda voltage: np.abs(voltage - 1), "l2": lambda voltage: np.square(voltage - 1)}
"""l(v), elementwise."""


class NoControl:
    """No reactive power at all."""

    def __init__(self, feeder: Feeder) -> None:
        pass

    def act(self, feeder: Feeder) -> np.ndarray:
        """Shares, [agents, copies]."""
        return np.zeros((len(feeder.at), feeder.copies))


class Droop:
    """The volt-var curve that IEEE 1547-2018 sets by default for inverters of category B: inject 0.44 S at 0.92 pu and
    below, nothing from 0.98 to 1.02, absorb 0.44 S at 1.08 and above, straight lines between; active power goes
    first, where √(S² − P²) is less.

    An inverter follows its curve within seconds, so that what counts at a step of minutes is where all of them come
    to rest together: the fixed point of curve and LinDistFlow, found by ``SWEEPS`` damped iterations.
    """

    SWEEPS, DAMPING = 40, 0.25

    def __init__(self, feeder: Feeder) -> None:
        self.response = feeder.response[feeder.at]

    @staticmethod
    def curve(voltage: np.ndarray) -> np.ndarray:
        """Reactive power over S."""
        return 0.44 * (np.clip((0.98 - voltage) / 0.06, 0, 1) - np.clip((voltage - 1.02) / 0.06, 0, 1))

    def act(self, feeder: Feeder) -> np.ndarray:
        """Shares, [agents, copies]."""
        reactive = feeder.reactive.T.copy()
        rest = feeder.squared[feeder.at] - _times(self.response, reactive)
        for _ in range(self.SWEEPS):
            voltage = np.sqrt(np.maximum(rest + _times(self.response, reactive), 0))
            wanted = np.clip(self.curve(voltage) * feeder.rating, -feeder.room, feeder.room)
            reactive += self.DAMPING * (wanted - reactive)
        return _share(reactive, feeder)


class Central:
    """Knows all loads and the feeder: reactive power that makes Σ over buses of (v² − 1)² least, by coordinate descent
    on this box-constrained least-squares problem (in LinDistFlow v² is linear in it)."""

    SWEEPS = 30

    def __init__(self, feeder: Feeder) -> None:
        self.response = feeder.response
        self.curvature = self.response.T @ self.response

    def act(self, feeder: Feeder) -> np.ndarray:
        """Shares, [agents, copies]."""
        reactive = feeder.reactive.T.copy()
        slope = _times(self.response.T, feeder.squared - 1)
        for _ in range(self.SWEEPS):
            for agent in range(len(reactive)):
                aim = reactive[agent] - slope[agent] / self.curvature[agent, agent]
                move = np.clip(aim, -feeder.room[agent], feeder.room[agent]) - reactive[agent]
                reactive[agent] += move
                slope += self.curvature[:, agent, None] * move
        return _share(reactive, feeder)


def _times(matrix: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Matrix [m, n] times [n, copies], summed in a fixed order: BLAS may round by the number of copies."""
    return total(column[:, None] * row for column, row in zip(matrix.T, columns))


def _share(reactive: np.ndarray, feeder: Feeder) -> np.ndarray:
    return np.divide(reactive, feeder.room, out=np.zeros_like(reactive), where=feeder.room > 0)


Feeder.controllers = {"none": NoControl, "droop": Droop, "central": Central}


def make(name: str, arguments: dict[str, Any], copies: int, agents: int | None, render: bool) -> Feeder:
    """``voltage:ieee33``; see :class:`Feeder` for the arguments."""
    if name != "ieee33":
        raise InputError(f"--env voltage:{name}: there is voltage:ieee33")
    return build(Feeder, NAME, arguments, copies, agents)
