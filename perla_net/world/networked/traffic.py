"""``traffic:grid``: signals of a road grid, many copies stepped in one call.

A store-and-forward queue model in the manner of Varaiya (2013, "Max pressure control of a network of signalized
intersections", Transportation Research C 36) with travel times and finite storage. Every quantity that moves is a
whole number of vehicles, so that vehicles are conserved exactly and results do not depend on how copies are spread.

Units: one step is 5 s (``STEP``). Arms are numbered 0 north, 1 east, 2 south, 3 west; turns 0 left, 1 through,
2 right. The *lane* (signal, arm, turn) holds the vehicles that come from that arm and will make that turn; the link
(signal, arm) is its three lanes together: 200 m, 15 s of travel, storage for 78 vehicles. Every signal has four arms;
those at the rim come from and lead to the outside.

A green lane discharges one vehicle per 2 s (1800 vehicles/h). A lane that turns green loses 3 s (2 s of yellow for
the conflicting lanes and 1 s of starting up). A vehicle leaves its lane only when the next link has room: full links
spill back. Vehicles that find their first link full wait outside, and their waiting counts.

Observation (33 numbers): green phase one-hot (8), whether the phase may change (1), lanes' density (12) and lanes' queue
(12), both as a fraction of the lane's storage of 26 vehicles and at most 1: those of SUMO-RL for RESCO's grid4x4, which
lists lanes and phases in another order. Action: the phase to show next (8); ignored until the present one has lasted
7 s (2 s yellow, 5 s green).

Reward, in vehicle-minutes per step, times -1: ``queue``: vehicles that wait at the signal (those outside included)
times 5 s / 60; ``pressure``: the absolute difference of waiting vehicles upstream and downstream, same unit.
An episode is 360 steps (30 minutes of demand that swells and ebbs) and ends by truncation.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ground.errors import InputError
from ..spec import ActionSpec, AgentSpec, WorldSpec
from .base import Batch
from .drawing import Scene
from .road_pictures import ASIDE, HALF, RoadMap, road_scene

STEP = 5
YELLOW, START_UP, MINIMUM_GREEN = 2, 1, 5
HEADWAY = 2
LANE_STORAGE = 26
LINK_STORAGE = 3 * LANE_STORAGE
TRAVEL_STEPS = 3
ENTRY_LIMIT = 7
HORIZON = 360
TURN_TABLE = 1024
LEFT, THROUGH, RIGHT = 0, 1, 2
TURN_SHARES = (0.2, 0.6, 0.2)

# Green lanes [phase, arm, turn]: the eight phases of a four-arm signal. A right turn goes with its through lane.
PHASES = np.zeros((8, 4, 3), bool)
for _phase, _arms, _turns in (
    (0, (0, 2), (THROUGH, RIGHT)),
    (1, (0, 2), (LEFT,)),
    (2, (1, 3), (THROUGH, RIGHT)),
    (3, (1, 3), (LEFT,)),
    (4, (0,), (LEFT, THROUGH, RIGHT)),
    (5, (2,), (LEFT, THROUGH, RIGHT)),
    (6, (1,), (LEFT, THROUGH, RIGHT)),
    (7, (3,), (LEFT, THROUGH, RIGHT)),
):
    PHASES[_phase][np.ix_(_arms, _turns)] = True

# From arm a, turning: left leaves by arm a+1, through by a+2, right by a+3 (mod 4).
EXIT_OFFSET = {LEFT: 1, THROUGH: 2, RIGHT: 3}
NORTH, EAST, SOUTH, WEST = range(4)
GREEN_SIGNS = "|\\-/^v><"
"""How a terminal shows the phases: through and left of each axis, then all of one arm."""
RIM_ROAD = 0.7
"""How long roads from outside are drawn, in blocks."""
NORTH_SOUTH_FLOW, EAST_WEST_FLOW = 380.0, 500.0
"""Mean demand per arm at the rim, vehicles/h, by the axis of the road."""


def demand_profile(steps: int) -> np.ndarray:
    """Demand over an episode relative to its mean: a rise from 0.6 to 1.4 and back, mean 1. Shape [steps]."""
    phase = (np.arange(steps) + 0.5) / steps
    return 1.0 - 0.4 * np.cos(2 * np.pi * phase)


def shape_of(agents: int | None, rows: int | None, columns: int | None) -> tuple[int, int]:
    """Rows × columns: given, or as square as ``agents`` allows (16 → 4×4, 12 → 3×4, a prime → 1×N)."""
    if rows is None and columns is None:
        number = 16 if agents is None else agents
        rows = max(divisor for divisor in range(1, math.isqrt(number) + 1) if number % divisor == 0)
        return rows, number // rows
    if rows is not None and columns is not None:
        shape = rows, columns
    else:
        given = rows or columns or 1
        number = agents or given * given
        shape = (given, number // given) if rows is not None else (number // given, given)
    if agents is not None and shape[0] * shape[1] != agents:
        raise InputError(f"--env traffic:grid: {shape[0]}×{shape[1]} signals do not make --agents {agents}")
    return shape


class SignalTraffic(Batch):
    """What every model of signals has in common: arguments, when a phase may change, rewards' kinds, figures of an episode."""

    STATE = ("phase", "held", "time", "entered", "left", "demanded", "waited", "blocked")

    def __init__(self, env: str, copies: int, signals: int, reward: str, demand: float, horizon: int) -> None:
        """``env``: as after ``--env``, for messages. Raises InputError for arguments that are not possible."""
        if reward not in ("queue", "pressure"):
            raise InputError(f"--env {env}: reward '{reward}' is neither queue nor pressure")
        if not isinstance(horizon, int) or horizon < 1:
            raise InputError(f"--env {env}: horizon {horizon!r} is not a positive integer")
        if not isinstance(demand, (int, float)) or not 0 <= demand < 100:
            raise InputError(f"--env {env}: demand {demand!r} is not a factor from 0 to 100")
        self.reward_kind, self.demand = reward, float(demand)
        super().__init__(copies, signals, horizon)
        self.phase = np.zeros((copies, signals), np.int32)
        self.held = np.zeros((copies, signals), np.int32)
        self.entered = np.zeros(copies, np.int64)
        self.left = np.zeros(copies, np.int64)
        self.demanded = np.zeros(copies, np.int64)
        self.waited = np.zeros(copies, np.int64)
        self.blocked = np.zeros(copies, np.int64)

    def begin(self, copies: np.ndarray) -> None:
        """An empty network, whose phases may change at once."""
        self.held[copies] = YELLOW + MINIMUM_GREEN

    def change_phases(self, actions: list[np.ndarray]) -> None:
        """Show the wanted phases where the present ones have lasted long enough; count the step that begins."""
        wanted = np.stack([action.reshape(self.copies) for action in actions], axis=1)
        change = (wanted != self.phase) & (self.held >= YELLOW + MINIMUM_GREEN)
        self.phase[change] = wanted[change]
        self.held[change] = 0
        self.held += STEP

    def clock(self, copy: int) -> str:
        """Simulated time, for the pictures."""
        return f"{self.time[copy] * STEP / 60:.1f} of {self.horizon * STEP / 60:.1f} min"

    def metrics(self, copies: np.ndarray) -> dict[str, np.ndarray]:
        """What a traffic engineer asks of the episodes so far, each [len(copies)] float64.

        delay: mean seconds that a vehicle waited; waiting outside counts, travel at free flow does not.
        vehicles: demanded; served: share of them that left; blocked: passages that a full link refused.
        """
        demanded = np.maximum(self.demanded[copies], 1)
        return {
            "delay": self.waited[copies] * STEP / demanded,
            "vehicles": self.demanded[copies].astype(float),
            "served": self.left[copies] / demanded,
            "blocked": self.blocked[copies].astype(float),
        }


def _over_turns(lanes: np.ndarray) -> np.ndarray:
    """Sum over the last axis; numpy's own sum is slow along three numbers."""
    return lanes[..., LEFT] + lanes[..., THROUGH] + lanes[..., RIGHT]


class TrafficGrid(SignalTraffic):
    """``copies`` road grids side by side."""

    STATE = ("queue", "transit", "credit", "outside", "assigned", *SignalTraffic.STATE)
    DRAWN = ("level", "arrivals", "turn_counts")

    def __init__(
        self,
        copies: int,
        agents: int | None = None,
        rows: int | None = None,
        columns: int | None = None,
        reward: str = "queue",
        demand: float = 1.0,
        horizon: int = HORIZON,
    ) -> None:
        for name, value in (("rows", rows), ("columns", columns)):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise InputError(f"--env traffic:grid: {name} {value!r} is not a positive integer")
        self.rows, self.columns = shape_of(agents, rows, columns)
        self.signals = self.rows * self.columns
        super().__init__("traffic:grid", copies, self.signals, reward, demand, horizon)
        self._lay_out()
        shape = (copies, self.signals, 4)
        self.queue = np.zeros((*shape, 3), np.int32)
        self.transit = np.zeros((copies, TRAVEL_STEPS, self.signals, 4, 3), np.int32)
        self.credit = np.zeros((*shape, 3), np.int32)
        self.outside = np.zeros(shape, np.int32)
        self.assigned = np.zeros(shape, np.int32)
        self.level = np.zeros(shape)
        """Demand of each arm in this episode, relative to its mean."""
        self.arrivals = np.zeros((copies, horizon, self.signals, 4), np.int16)
        self.turn_counts = np.zeros((copies, self.signals * 4, TURN_TABLE + 1, 2), np.int16)

    def _lay_out(self) -> None:
        """Who is next to whom, as flat indices into [signal × arm]."""
        step = {NORTH: (-1, 0), EAST: (0, 1), SOUTH: (1, 0), WEST: (0, -1)}
        self.neighbour = np.full((self.signals, 4), -1)
        for signal in range(self.signals):
            row, column = divmod(signal, self.columns)
            for arm, (down, right) in step.items():
                if 0 <= row + down < self.rows and 0 <= column + right < self.columns:
                    self.neighbour[signal, arm] = (row + down) * self.columns + column + right
        self.rim = self.neighbour < 0
        arms = np.arange(4)
        # Leaving by arm e of s, a vehicle is on the link (neighbour, opposite of e); that link is fed by the same pair.
        self.next_link = np.where(self.rim, 0, self.neighbour * 4 + (arms + 2) % 4)
        self.entering_arm = {turn: (arms - offset) % 4 for turn, offset in EXIT_OFFSET.items()}
        flows = np.where(arms % 2 == 0, NORTH_SOUTH_FLOW, EAST_WEST_FLOW)
        self.mean_arrivals = np.where(self.rim, flows * STEP / 3600 * self.demand, 0.0)

    @property
    def spec(self) -> WorldSpec:
        """Agents, spaces, who influences whom (a signal those next to it), and where signals stand (in blocks)."""
        action = ActionSpec("discrete", (len(PHASES),))
        names = [f"signal_{signal // self.columns}_{signal % self.columns}" for signal in range(self.signals)]
        edges = [
            (int(other), signal) for signal in range(self.signals) for other in self.neighbour[signal] if other >= 0
        ]
        return WorldSpec(
            "traffic:grid",
            tuple(AgentSpec(name, 33, "box", (33,), action) for name in names),
            tuple(sorted(edges)),
            self.horizon,
            tuple(CONTROLLERS),
            tuple((float(signal % self.columns), float(signal // self.columns)) for signal in range(self.signals)),
        )

    def draw(self, copy: int, rng: np.random.Generator) -> None:
        """How busy each arm is, then Poisson arrivals per arm and step, and the turn of each vehicle."""
        self.level[copy] = rng.uniform(0.7, 1.3, self.rim.shape)
        self.draw_on(copy, rng)

    def draw_on(self, copy: int, rng: np.random.Generator) -> None:
        """Arrivals and turns. Vehicles that have their turn keep it: they stand in the lanes."""
        profile = demand_profile(self.horizon)[:, None, None]
        cuts = np.cumsum(TURN_SHARES)
        self.arrivals[copy] = rng.poisson(self.mean_arrivals * self.level[copy] * profile)
        turn = rng.random((self.signals * 4, TURN_TABLE), dtype=np.float32)
        self.turn_counts[copy, :, 1:, 0] = np.cumsum(turn < cuts[0], axis=1)
        self.turn_counts[copy, :, 1:, 1] = np.cumsum((turn >= cuts[0]) & (turn < cuts[1]), axis=1)

    def step(self, actions: list[np.ndarray]) -> None:
        """Advance every copy by 5 s; ``actions[i]`` are signal i's phases, int [copies, 1] or [copies].

        Fills ``reward`` [copies, signals], ``truncated`` and the counters behind :meth:`metrics`.
        """
        old_green = PHASES[self.phase]
        self.change_phases(actions)
        green = PHASES[self.phase]

        slot = self.time % TRAVEL_STEPS
        everyone = np.arange(self.copies)
        self.queue += self.transit[everyone, slot]
        self.transit[everyone, slot] = 0

        seconds = np.where(green & ~old_green, STEP - YELLOW - START_UP, STEP)
        self.credit = np.where(green, self.credit + seconds, 0)
        wish = np.minimum(self.queue, self.credit // HEADWAY)
        flow, served = self._discharge(wish)
        self.queue -= served
        self.credit = np.where(green, np.minimum(self.credit - HEADWAY * served, HEADWAY - 1), 0)
        self.blocked += (wish - served).reshape(self.copies, -1).sum(1)
        self.left += (flow * self.rim).reshape(self.copies, -1).sum(1)

        arrivals = np.zeros_like(self.outside)
        running = self.time < self.horizon
        arrivals[running] = self.arrivals[everyone[running], self.time[running]]
        self.outside += arrivals
        self.demanded += arrivals.reshape(self.copies, -1).sum(1)
        room = LINK_STORAGE - self.on_link()
        entering = np.where(self.rim, np.minimum(np.minimum(self.outside, room), ENTRY_LIMIT), 0)
        self.outside -= entering
        self.entered += entering.reshape(self.copies, -1).sum(1)
        inner = flow.reshape(self.copies, -1)[:, self.next_link.ravel()].reshape(flow.shape)
        self._assign(np.where(self.rim, entering, inner), slot, everyone)

        self.time += 1
        waiting = _over_turns(self.queue)
        waiting_here = (waiting + self.outside).sum(2)
        self.waited += waiting_here.sum(1)
        if self.reward_kind == "queue":
            self.reward[:] = -waiting_here * (STEP / 60)
        else:
            downstream = np.where(
                self.rim, 0, waiting.reshape(self.copies, -1)[:, self.next_link.ravel()].reshape(waiting.shape)
            )
            self.reward[:] = -np.abs(waiting_here - downstream.sum(2)) * (STEP / 60)
        self.truncated[:] = (self.time >= self.horizon)[:, None]

    def on_link(self) -> np.ndarray:
        """Vehicles on each link, moving or waiting, int [copies, signals, arms]."""
        lanes = self.queue + self.transit[:, 0]
        for later in range(1, TRAVEL_STEPS):
            lanes += self.transit[:, later]
        return _over_turns(lanes)

    def _discharge(self, wish: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Let vehicles pass as far as the next links have room.

        wish, and the second result: int [copies, signals, arm, turn]; the first, flow by exit arm: [copies, signals, arm].
        The turns that compete for one link take precedence in turn, step by step.
        """
        free = LINK_STORAGE - self.on_link()
        room = free.reshape(self.copies, -1)[:, self.next_link.ravel()].reshape(free.shape)
        room = np.where(self.rim, 1 << 20, room)
        flow = np.zeros_like(room)
        served = np.empty_like(wish)
        first = self.time[:, None, None] % 3
        by_exit = np.stack([wish[:, :, self.entering_arm[turn], turn] for turn in range(3)])
        granted = np.zeros_like(by_exit)
        copies = np.arange(self.copies)
        for place in range(3):
            turn = (first[:, 0, 0] + place) % 3
            grant = np.minimum(by_exit[turn, copies], room)
            granted[turn, copies] = grant
            room -= grant
            flow += grant
        for turn in range(3):
            served[:, :, self.entering_arm[turn], turn] = granted[turn]
        return flow, served

    def _assign(self, entering: np.ndarray, slot: np.ndarray, everyone: np.ndarray) -> None:
        """Give the vehicles that enter links their turns, in the order drawn for the episode, and send them off."""
        counts = np.zeros((*entering.shape, 2), np.int32)
        busy = np.nonzero(entering)  # most links get nobody in a step, and a look into the table is a miss of the cache
        copy, link = busy[0], busy[1] * 4 + busy[2]
        before = self.assigned[busy]
        after = before + entering[busy]
        table = self.turn_counts
        found = table[copy, link, after % TURN_TABLE].astype(np.int32) - table[copy, link, before % TURN_TABLE]
        laps = after // TURN_TABLE - before // TURN_TABLE
        if laps.any():
            found += laps[:, None] * table[copy, link, TURN_TABLE]
        counts[busy] = found
        self.assigned[busy] = after
        lanes = self.transit[everyone, slot]
        lanes[..., LEFT] += counts[..., 0]
        lanes[..., THROUGH] += counts[..., 1]
        lanes[..., RIGHT] += entering - counts[..., 0] - counts[..., 1]
        self.transit[everyone, slot] = lanes

    def observe(self, copies: Any, observations: list[np.ndarray], masks: list[np.ndarray | None]) -> None:
        """Write the present observations of the given copies (index array or slice) into ``[copies, 33]`` arrays."""
        queue = self.queue[copies]
        lanes = queue + self.transit[copies].sum(1)
        number = len(queue)
        block = np.empty((number, self.signals, 33), np.float32)
        block[..., :8] = self.phase[copies][..., None] == np.arange(8)
        block[..., 8] = self.held[copies] >= YELLOW + MINIMUM_GREEN
        block[..., 9:21] = np.minimum(lanes.reshape(number, self.signals, 12) * np.float32(1 / LANE_STORAGE), 1)
        block[..., 21:] = np.minimum(queue.reshape(number, self.signals, 12) * np.float32(1 / LANE_STORAGE), 1)
        for signal, out in enumerate(observations):
            out[:] = block[:, signal]

    def _map(self) -> tuple[RoadMap, np.ndarray]:
        """The roads towards signals, and where vehicles are that have left by each arm, [signals, arms, 2]."""
        signal, arm = np.divmod(np.arange(self.signals * 4), 4)
        middles = np.stack([signal % self.columns, -(signal // self.columns)], 1).astype(float)
        outward = np.array([[0, 1], [1, 0], [0, -1], [-1, 0]], float)
        rim = self.rim.ravel()
        tails = middles + outward[arm] * np.where(rim, RIM_ROAD, 1)[:, None]
        beyond = outward[:, ::-1] * [1, -1]  # to the right of who leaves
        exits = middles + HALF * outward[arm] + ASIDE * beyond[arm]
        return RoadMap.of(tails, middles, middles[::4], np.zeros((0, 2)), rim), exits.reshape(self.signals, 4, 2)

    def scene(self, copy: int) -> Scene:
        """Queues on every road towards a signal, what is green, full roads, vehicles outside."""
        drawn, exits = self._map()
        signal, arm, turn = np.nonzero(PHASES[self.phase[copy]])
        leaving = (arm + np.array([EXIT_OFFSET[way] for way in range(3)])[turn]) % 4
        green = np.stack([drawn.roads[signal * 4 + arm, 1], exits[signal, leaving]], 1)
        return road_scene(
            "traffic:grid",
            int(self.time[copy]),
            self.clock(copy),
            drawn,
            self.queue[copy].sum(2).ravel(),
            self.on_link()[copy].ravel(),
            np.full(self.signals * 4, LINK_STORAGE),
            self.outside[copy].ravel(),
            (green, np.zeros((0, 2, 2))),
        )

    def text(self, copy: int) -> str:
        """The grid in characters: at every signal its green axis, beside it the vehicles that wait on each link."""
        waiting = self.queue[copy].sum(2) + self.outside[copy]
        lines = [f"minute {self.time[copy] * STEP / 60:5.1f}   waiting {int(waiting.sum()):5d}"]
        for row in range(self.rows):
            block = range(row * self.columns, (row + 1) * self.columns)
            lines.append("".join(f"     {waiting[s, NORTH]:3d}     " for s in block))
            lines.append(
                "".join(
                    f" {waiting[s, WEST]:3d} {GREEN_SIGNS[self.phase[copy, s]]} {waiting[s, EAST]:<3d} " for s in block
                )
            )
            lines.append("".join(f"     {waiting[s, SOUTH]:3d}     " for s in block))
        return "\n".join(lines)


class FixedTime:
    """The same plan every cycle: through and left green for each axis, in waves that travel east and south.

    ``greens``: steps of phases 0 to 3. The default is the best of the plans that ``benchmarks/fixed_time.py`` tries.
    """

    def __init__(
        self, grid: TrafficGrid, greens: tuple[int, int, int, int] = (3, 2, 4, 2), wave: int = TRAVEL_STEPS
    ) -> None:
        self.plan = np.repeat(np.arange(4), greens)
        signal = np.arange(grid.signals)
        self.offset = (signal % grid.columns + signal // grid.columns) * wave

    def act(self, grid: TrafficGrid) -> np.ndarray:
        """Phases, int [signals, copies]."""
        return self.plan[(grid.time - self.offset[:, None]) % len(self.plan)]


class LongestQueue:
    """Serve the phase with the most waiting vehicles, held for at least ``hold`` seconds."""

    def __init__(self, grid: TrafficGrid, hold: int = 10) -> None:
        self.hold = hold

    def weights(self, grid: TrafficGrid) -> np.ndarray:
        """Weight of every lane, [copies, signals, arm, turn]."""
        return grid.queue

    def scores(self, grid: TrafficGrid) -> np.ndarray:
        """What each phase would serve, [copies, signals, phases]."""
        return np.einsum("bsat,pat->bsp", self.weights(grid), PHASES.astype(np.int32))

    def act(self, grid: SignalTraffic) -> np.ndarray:
        """Phases, int [signals, copies]."""
        score = self.scores(grid)
        best = score.argmax(2)
        present = np.take_along_axis(score, grid.phase[..., None].astype(np.int64), 2)[..., 0]
        stay = (grid.held < self.hold) | (present >= score.max(2))
        return np.where(stay, grid.phase, best).T


class MaxPressure(LongestQueue):
    """Varaiya (2013): weight of a lane is its queue minus the mean queue that its vehicles will join."""

    def weights(self, grid: TrafficGrid) -> np.ndarray:
        """Pressure of every lane, [copies, signals, arm, turn]."""
        joined = (grid.queue * np.array(TURN_SHARES)).sum(3).reshape(grid.copies, -1)
        beyond = np.where(grid.rim, 0, joined[:, grid.next_link.ravel()].reshape(grid.copies, grid.signals, 4))
        exits = (np.arange(4)[:, None] + np.array([EXIT_OFFSET[turn] for turn in range(3)])) % 4
        return grid.queue - beyond[:, :, exits]


CONTROLLERS = {"fixed_time": FixedTime, "longest_queue": LongestQueue, "max_pressure": MaxPressure}
"""Reference controllers by name; each reads the grid itself, not observations."""
TrafficGrid.controllers = CONTROLLERS
