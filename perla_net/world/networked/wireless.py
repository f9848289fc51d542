"""``wireless:grid``: users who share access points, packets with deadlines, many copies stepped in one call.

The multi-access example of Qu, Wierman and Li 2020 ("Scalable reinforcement learning of localized policies for
multi-agent networked systems", L4DC; arXiv 1912.02906) and Qu, Lin, Wierman and Li 2020 ("Scalable multi-agent
reinforcement learning for networked systems with average reward", NeurIPS; arXiv 2006.06626), with the order of events
of the authors' program (``env_access.py``).

``per_cell`` users live in every cell of a grid of ``rows`` × ``columns``, an access point stands at every inner corner
and serves the users of the four cells around it: a user reaches one (corner cell), two (edge) or four. A user holds at
most one packet per slot k = 1 … d; the packet in slot k is lost unless it is delivered within k steps
(d: ``deadline``). In a step

  1. every user does nothing (action 0) or sends the packet of slot k to its access point a: action 1 + (k − 1) A + a,
     with A the number of its access points and a = 0 … A − 1, in the order of rows and columns;
  2. at an access point that exactly one user sends to, the packet arrives with the point's probability q. Two senders
     collide and nothing arrives, also when the slot of one of them is empty: who sends from an empty slot still
     occupies the point;
  3. what is left in slot 1 expires, slot k becomes slot k − 1, and with the user's probability p a packet arrives in
     slot d.

Reward of a user: 1 when its packet arrived, else 0. Observation: which of its slots 1 … d are full (d flags).
``mask=true`` forbids actions that send from an empty slot. An episode begins with arrivals in slot d; the task goes on
for ever, so it is cut off (truncation) after ``horizon`` steps. A user is influenced by those with whom it shares an
access point.

``success`` and ``arrival`` are probabilities, the same everywhere, or ``random``: uniform in [0, 1) per access point
and per user, drawn once for all copies and episodes by numpy's RandomState(``layout``), first success, then arrival.
The defaults (random success with layout 0, arrival 0.5, d = 2) are those of the authors' program.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...ground.errors import InputError
from ..spec import ActionSpec, AgentSpec, WorldSpec
from .base import Batch, bounded, build
from .drawing import GREY, INK, PALE, Lines, Marks, Scale, Scene, Texts

NAME = "wireless:grid"
HORIZON = 100


def shape_of(agents: int | None, rows: int | None, columns: int | None, per_cell: int) -> tuple[int, int]:
    """Rows × columns of cells: given, or as square as ``agents`` (default: 16 cells) allows. Raises InputError."""
    cells = None if agents is None else agents // per_cell
    if rows is None and columns is None:
        cells = 16 if cells is None else cells
        rows = max(divisor for divisor in range(1, math.isqrt(max(cells, 1)) + 1) if cells % divisor == 0)
    shape = (rows or (cells // columns if cells else columns), columns or (cells // rows if cells else rows))
    if min(shape) < 2 or agents not in (None, shape[0] * shape[1] * per_cell):
        raise InputError(
            f"--env {NAME}: --agents {agents} is not a grid of at least 2×2 cells with per_cell={per_cell} users each"
            + (f" ({shape[0]}×{shape[1]})" if min(shape) > 0 else "")
        )
    return shape


class Wireless(Batch):
    """``copies`` networks side by side. Users are counted cell by cell, row by row."""

    STATE = ("queue", "time", "offered", "delivered", "expired", "crowded", "senders", "served")
    DRAWN = ("arrivals", "luck", "coin")

    def __init__(
        self,
        copies: int,
        agents: int | None = None,
        rows: int | None = None,
        columns: int | None = None,
        per_cell: int = 1,
        deadline: int = 2,
        arrival: float | str = 0.5,
        success: float | str = "random",
        layout: int = 0,
        horizon: int = HORIZON,
        mask: bool = False,
    ) -> None:
        self.settings = {name: value for name, value in locals().items() if name not in ("self", "copies", "__class__")}
        per_cell = bounded(NAME, "per_cell", per_cell, 1, math.inf, whole=True)
        for name, value in (("rows", rows), ("columns", columns)):
            if value is not None:
                bounded(NAME, name, value, 2, math.inf, whole=True)
        self.rows, self.columns = shape_of(agents, rows, columns, per_cell)
        self.per_cell, self.users = per_cell, self.rows * self.columns * per_cell
        super().__init__(copies, self.users, bounded(NAME, "horizon", horizon, 1, math.inf, whole=True))
        self.deadline = bounded(NAME, "deadline", deadline, 1, 100, whole=True)
        if not isinstance(mask, bool):
            raise InputError(f"--env {NAME}: mask {mask!r} is neither true nor false")
        self.masked = mask
        self._lay_out()
        chance = np.random.RandomState(bounded(NAME, "layout", layout, 0, 2**32 - 1, whole=True))
        self.success = self._probabilities("success", success, self.number_of_points, chance)
        self.arrival = self._probabilities("arrival", arrival, self.users, chance)
        self.queue = np.zeros((copies, self.users, deadline), bool)
        self.offered, self.delivered, self.expired = np.zeros((3, copies, self.users), np.int64)
        self.crowded = np.zeros(copies, np.int64)
        self.sent, self.arrived = np.full((copies, self.users), -1), np.zeros((copies, self.users), bool)
        """Access point that each user sent to in the last step, or −1, and whether its packet arrived; only the picture reads them."""
        self.waiting = Scale("packets that wait at a user", "viridis_r", 0, self.deadline, whole=True)
        self.senders, self.served = np.zeros((2, copies, self.number_of_points), np.int32)
        self.arrivals = np.zeros((copies, horizon + 1, self.users), bool)
        self.luck = np.zeros((copies, horizon, self.number_of_points), bool)
        self.coin = np.zeros((copies, horizon, self.users), np.float32)
        """Uniform in [0, 1): what reference controllers that act by chance take it from."""

    def _lay_out(self) -> None:
        """Which access points each user reaches: ``points`` [users, 4], the first ``reach`` [users] of a row count."""
        inner = self.columns - 1
        self.number_of_points = (self.rows - 1) * inner
        corners = [
            [
                (row + down) * inner + column + right
                for down in (-1, 0)
                for right in (-1, 0)
                if 0 <= row + down < self.rows - 1 and 0 <= column + right < inner
            ]
            for row in range(self.rows)
            for column in range(self.columns)
        ]
        reached = [points for points in corners for _ in range(self.per_cell)]
        self.reach = np.array([len(points) for points in reached])
        self.points = np.array([points + [points[0]] * (4 - len(points)) for points in reached])
        self.sizes = 1 + self.deadline * self.reach
        """Actions of each user."""

    def _probabilities(self, name: str, value: Any, number: int, chance: np.random.RandomState) -> np.ndarray:
        if value == "random":
            return chance.random_sample(number)
        if isinstance(value, str):
            raise InputError(f"--env {NAME}: {name} '{value}' is neither a number from 0 to 1 nor random")
        return np.full(number, bounded(NAME, name, value, 0, 1))

    @property
    def spec(self) -> WorldSpec:
        """Users (where cells are, in cells), their actions, and who shares an access point with whom."""
        names = [
            f"user_{cell // self.columns}_{cell % self.columns}" + (f"_{place}" if self.per_cell > 1 else "")
            for cell in range(self.rows * self.columns)
            for place in range(self.per_cell)
        ]
        agents = tuple(
            AgentSpec(name, self.deadline, "box", (self.deadline,), ActionSpec("discrete", (int(size),)), self.masked)
            for name, size in zip(names, self.sizes)
        )
        access = np.zeros((self.users, self.number_of_points), int)
        np.put_along_axis(access, self.points, 1, axis=1)
        edges = [(int(a), int(b)) for a, b in np.argwhere(access @ access.T) if a != b]
        places = tuple((float(x), float(y)) for x, y in self._places())
        return WorldSpec(NAME, agents, tuple(edges), self.horizon, tuple(self.controllers), places)

    def _places(self) -> np.ndarray:
        """Where users are, [users, 2], in cells to the right and down; those of one cell stand around its middle."""
        cell, place = np.divmod(np.arange(self.users), self.per_cell)
        angle = 2 * np.pi * place / self.per_cell
        aside = 0.2 * (self.per_cell > 1)
        return np.stack([cell % self.columns + aside * np.cos(angle), cell // self.columns + aside * np.sin(angle)], 1)

    def draw(self, copy: int, rng: np.random.Generator) -> None:
        """Arrivals at the start and after each step, whether a point's channel is good in a step, and coins."""
        self.arrivals[copy] = rng.random(self.arrivals.shape[1:]) < self.arrival
        self.luck[copy] = rng.random(self.luck.shape[1:]) < self.success
        self.coin[copy] = rng.random(self.coin.shape[1:], dtype=np.float32)

    def begin(self, copies: np.ndarray) -> None:
        """The first arrivals."""
        self.sent[copies] = -1
        self.queue[copies, :, -1] = self.arrivals[copies, 0]
        self.offered[copies] = self.arrivals[copies, 0]

    def step(self, actions: list[np.ndarray]) -> None:
        """One slot of time; ``actions[i]``: int [copies, 1] or [copies] of user i."""
        chosen = np.stack([action.reshape(self.copies) for action in actions], axis=1)
        everyone, user = np.arange(self.copies)[:, None], np.arange(self.users)[None]
        now = np.minimum(self.time, self.horizon - 1)[:, None]
        sends = chosen > 0
        slot, way = np.divmod(np.maximum(chosen - 1, 0), self.reach)
        point = self.points[user, way]
        at = everyone * self.number_of_points + point
        self.senders = np.bincount(at[sends], minlength=self.senders.size).reshape(self.senders.shape)
        alone = sends & (self.senders[everyone, point] == 1)
        arrived = alone & self.queue[everyone, user, slot] & self.luck[everyone, now, point]
        self.sent, self.arrived = np.where(sends, point, -1), arrived
        self.served = np.bincount(at[arrived], minlength=self.served.size).reshape(self.served.shape)
        self.crowded += (self.senders > 1).sum(1)

        self.queue[everyone, user, slot] &= ~arrived
        self.delivered += arrived
        self.expired += self.queue[..., 0]
        new = self.arrivals[everyone[:, 0], now[:, 0] + 1]
        self.queue[..., :-1] = self.queue[..., 1:]
        self.queue[..., -1] = new
        self.offered += new
        self.time += 1
        self.reward[:] = arrived
        self.truncated[:] = (self.time >= self.horizon)[:, None]

    def allowed(self) -> np.ndarray:
        """What the mask lets through, bool [copies, users, greatest number of actions]; without ``mask`` everything."""
        action = np.arange(self.sizes.max())
        slot = np.maximum(action - 1, 0) // self.reach[:, None]
        full = np.take_along_axis(self.queue, np.minimum(slot, self.deadline - 1)[None], 2) | (action == 0)
        return (full | (not self.masked)) & (action < self.sizes[:, None])

    def observe(self, copies: Any, observations: list[np.ndarray], masks: list[np.ndarray | None]) -> None:
        """Write which slots are full (copies: index array or slice), [copies, d], and the masks where there are any."""
        queue = self.queue[copies]
        for user, out in enumerate(observations):
            out[:] = queue[:, user]
        if self.masked:
            allowed = self.allowed()[copies]
            for user, mask in enumerate(masks):
                mask[:] = allowed[:, user, : self.sizes[user]]

    def metrics(self, copies: np.ndarray) -> dict[str, np.ndarray]:
        """Of the episodes so far, [len(copies)] float64.

        throughput: packets delivered per user and step; delivered, expired: shares of the packets that came (the rest
        waits); collisions: per access point and step; fairness: Jain's index of users' deliveries, 1/users to 1.
        """
        steps, offered = np.maximum(self.time[copies], 1), np.maximum(self.offered[copies].sum(1), 1)
        delivered = self.delivered[copies]
        total, squares = delivered.sum(1), np.square(delivered).sum(1)
        return {
            "throughput": total / (steps * self.users),
            "delivered": total / offered,
            "expired": self.expired[copies].sum(1) / offered,
            "collisions": self.crowded[copies] / (steps * self.number_of_points),
            "fairness": np.square(total) / np.maximum(self.users * squares, 1),
        }

    def scene(self, copy: int) -> Scene:
        """Users by the number of waiting packets, access points, and how what was sent in the last step went."""
        flip = np.array([1, -1])
        row, column = np.divmod(np.arange(self.number_of_points), self.columns - 1)
        points = np.stack([column + 0.5, -row - 0.5], 1)
        users = self._places() * flip
        to = self.sent[copy]
        sends = to >= 0
        ways, crowd = np.stack([users, points[to]], 1), self.senders[copy, to] > 1
        there = self.arrived[copy]
        everyone, way = np.nonzero(np.arange(4) < self.reach[:, None])
        return Scene(
            NAME,
            int(self.time[copy]),
            [
                Lines(
                    np.stack([users[everyone], points[self.points[everyone, way]]], 1),
                    "may send to",
                    colour=PALE,
                    width=1,
                    order=0,
                ),
                Lines(ways[sends & there], "packet delivered", colour="#0072b2", width=3),
                Lines(ways[sends & crowd], "collision", colour="#d55e00", width=2.2, style="--"),
                Lines(ways[sends & ~crowd & ~there], "alone, but nothing arrived", colour=GREY, width=2.2, style=":"),
                Marks(users, "user", self.queue[copy].sum(1), self.waiting, size=230),
                Marks(points, "access point", colour=INK, shape="^", size=130),
                Texts(points, [f"{chance:.0%}" for chance in self.success], size=9, shift=(0, -15)),
            ],
            f"{int(self.delivered[copy].sum())} packets delivered",
            note="%: how often a packet arrives at an access point that one user alone sends to; lines: the last step",
        )


class Aloha:
    """Slotted ALOHA, localised as in the papers: a user that has packets sends the one that expires first with a
    probability that is the same for all, to one of its access points in proportion to q (in the papers: over the number
    of users that the point serves, which is the same for all points here).

    ``probability``: default the best of 0.05, 0.1, …, 1 by the deliveries in 32 episodes of its own.
    """

    def __init__(self, network: Wireless, probability: float | None = None) -> None:
        reached = np.arange(4) < network.reach[:, None]
        weight = network.success[network.points] * reached
        weight += reached & (weight.sum(1, keepdims=True) == 0)
        self.borders = np.cumsum(weight / weight.sum(1, keepdims=True), axis=1)
        self.probability = self._best(network) if probability is None else probability

    def _best(self, network: Wireless) -> float:
        trial = Wireless(32, **network.settings | {"horizon": min(network.horizon, HORIZON)})
        seeds = [np.random.SeedSequence(0, spawn_key=(copy,)) for copy in range(trial.copies)]
        found = []
        for probability in np.arange(1, 21) / 20:
            trial.reset(np.arange(trial.copies), seeds)
            self.probability = probability
            for _ in range(trial.horizon):
                trial.step(list(self.act(trial)))
            found.append((int(trial.delivered.sum()), float(probability)))
        return max(found)[1]

    def act(self, network: Wireless) -> np.ndarray:
        """Actions, int [users, copies]."""
        coin = _coins(network) / self.probability
        way = np.minimum((coin[..., None] >= self.borders).sum(2), network.reach - 1)
        sends = (coin < 1) & network.queue.any(2)
        return np.where(sends, 1 + network.queue.argmax(2) * network.reach + way, 0).T


class Uniform:
    """Every allowed action, nothing included, with the same probability."""

    def __init__(self, network: Wireless) -> None:
        pass

    def act(self, network: Wireless) -> np.ndarray:
        """Actions, int [users, copies]."""
        allowed = network.allowed()
        place = np.floor(_coins(network) * allowed.sum(2))
        return (np.cumsum(allowed, axis=2) > place[..., None]).argmax(2).T


class Scheduler:
    """What nobody in the network could know to do: a scheduler that sees all queues gives every access point at most
    one user, so that the expected deliveries of the step are most (between equal ones, so that fewest packets
    expire)."""

    def __init__(self, network: Wireless) -> None:
        self.weight = np.zeros((network.users, network.number_of_points))
        self.way = np.zeros((network.users, network.number_of_points), int)
        for user, (points, reach) in enumerate(zip(network.points, network.reach)):
            self.weight[user, points[:reach]] = network.success[points[:reach]]
            self.way[user, points[:reach]] = np.arange(reach)

    def act(self, network: Wireless) -> np.ndarray:
        """Actions, int [users, copies]."""
        from scipy.optimize import linear_sum_assignment

        first = network.queue.argmax(2)
        worth = network.queue.any(2) * (1 + 1e-3 * (first == 0))
        actions = np.zeros((network.users, network.copies), int)
        for copy in range(network.copies):
            user, point = linear_sum_assignment(self.weight * worth[copy, :, None], maximize=True)
            useful = (self.weight[user, point] > 0) & (worth[copy, user] > 0)
            user, point = user[useful], point[useful]
            actions[user, copy] = 1 + first[copy, user] * network.reach[user] + self.way[user, point]
        return actions


def _coins(network: Wireless) -> np.ndarray:
    """Numbers of the present step, uniform in [0, 1), float64 [copies, users]."""
    now = np.minimum(network.time, network.horizon - 1)
    return network.coin[np.arange(network.copies), now].astype(float)


Wireless.controllers = {"aloha": Aloha, "random": Uniform, "scheduler": Scheduler}


def make(name: str, arguments: dict[str, Any], copies: int, agents: int | None, render: bool) -> Wireless:
    """``wireless:grid``; see :class:`Wireless` for the arguments."""
    if name != "grid":
        raise InputError(f"--env wireless:{name}: there is {NAME}")
    return build(Wireless, NAME, arguments, copies, agents)
