"""``games:NAME``: small games that learning rules are checked on, for two or on a graph, copies stepped in one call.

``climbing``: payoff [[11, −30, 0], [−30, 7, 0], [0, 6, 5]] for both (Claus and Boutilier 1998), 25 steps
(``horizon``).
``penalty``: [[k, 0, 10], [0, 2, 0], [10, 0, k]] for both (same), ``k`` = −100, never above 0, 25 steps.
``qtran``: [[8, −12, −12], [−12, 0, 0], [−12, 0, 0]] for both (Son et al. 2019), or ``variant=2``: [[8, −12, −12],
[−12, 6, 0], [−12, 0, 6]]; one step.
``two_step`` (Rashid et al. 2018): nothing is paid in the first step, in which agent 0 chooses the game of the second:
2A, all 7, or 2B, [[0, 1], [1, 8]], for both. Only for two.
``ipd``, iterated prisoner's dilemma (Foerster et al. 2018): [[−1, −3], [0, −2]] over (cooperate, defect), the
transpose for the column player, 150 steps.
``matching_pennies``, iterated (same): [[1, −1], [−1, 1]], its negative for the column player, 150 steps.
``tandem`` (Letcher et al. 2019), continuous, one step: 2x − (x + y)² and 2y − (x + y)². ``hamiltonian`` (Balduzzi et
al. 2018), same: −xy and xy. These are minus the published losses; actions are within ±``bound``, ``bound`` = 2.

On a graph (``graph=ring``, ``line``, ``star``, ``complete`` or ``grid`` with ``--agents N``, or a GraphML file with
nodes 0 to N − 1) every agent plays with all its neighbours at once, with one action, and is paid the mean over its
edges. On the edge of i and j > i, i is the row player, and the first in the formulas. Whoever plays together
influences one another: the interaction graph is the graph, both ways (directions in a file do not matter).

Observation: in ``ipd`` and ``matching_pennies`` whether this is the first step, then for each neighbour in ascending
order the pair (own, neighbour's action) of the last step, one-hot, 1 + 4 · degree numbers; in ``two_step`` one-hot:
first step, 2A, 2B; else a constant 1. The number of the step is not observed. Games of one step and ``two_step`` end
by termination, the others by truncation.

``convention``, ``additive``, ``squeeze`` and ``targets``, for many: see ``coordination.py``; ``relay`` and ``majority``, which need messages: see
``telling.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import networkx
import numpy as np

from ...ground.errors import InputError
from ..spec import ActionSpec, AgentSpec, WorldSpec
from .base import Batch, bounded, build, mean_of
from .coordination import TASKS
from .drawing import COLOURS, Axis, Cells, Lines, Marks, Scene, Texts
from .game_graphs import FAMILIES, both_ways, graph_of, neighbours_of, places_of
from .game_pictures import PAID, chosen_marks, played
from .telling import TELLING

CLIMBING = ((11, -30, 0), (-30, 7, 0), (0, 6, 5))
QTRAN = {1: ((8, -12, -12), (-12, 0, 0), (-12, 0, 0)), 2: ((8, -12, -12), (-12, 6, 0), (-12, 0, 6))}
PRISONERS = ((-1, -3), (0, -2))
PENNIES = ((1, -1), (-1, 1))
SECOND_GAMES = np.array([((7, 7), (7, 7)), ((0, 1), (1, 8))], float)
"""Of ``two_step``: 2A and 2B."""
COOPERATE, DEFECT = 0, 1
FIGURES = {"ipd": "cooperation", "matching_pennies": "matches", "tandem": "distance", "hamiltonian": "distance"}


@dataclass(frozen=True)
class Rules:
    """What is played on every edge."""

    name: str
    horizon: int
    tables: np.ndarray | None = None
    """[2, A, A]: what row and column player get, by (own action, other's); None: continuous actions."""
    ends: bool = False
    """Over, not cut off, after ``horizon`` steps."""
    memory: bool = False
    """The actions of the last step are observed."""
    labels: tuple[str, ...] = ("0", "1", "2")
    """What the picture calls the actions."""
    bound: float = 0.0
    """Of continuous actions."""


def tables(row: Any, column: Any = None) -> np.ndarray:
    """Both players' payoffs by (own action, other's), [2, A, A]; from tables by (row's action, column's)."""
    return np.stack([np.array(row, float), np.array(row if column is None else column, float).T])


class Pairwise(Batch):
    """A game of two on every edge of a graph."""

    STATE = ("time", "last", "paid", "told", "best")

    def __init__(self, rules: Rules, copies: int, graph: networkx.Graph) -> None:
        """``graph``: nodes 0 to N − 1, everybody with a neighbour."""
        self.rules, self.graph = rules, graph
        self.number = number = len(graph)
        super().__init__(copies, number, rules.horizon)
        self.neighbour, self.plays, self.degree = neighbours_of(graph)
        self.role = (self.neighbour < np.arange(number)[:, None]).astype(int)
        """0 where the agent is the row player."""
        self.edges = np.array(sorted((min(edge), max(edge)) for edge in graph.edges))
        self.continuous = rules.tables is None
        if rules.tables is not None:
            joint = rules.tables[0] + rules.tables[1].T
            self.greatest = joint == joint.max()
        self.last = np.zeros((copies, number), float if self.continuous else np.int32)
        """What everybody did in the last step."""
        self.paid, self.told = np.zeros((2, copies))
        self.best = np.zeros(copies, np.int64)
        self.coins = np.zeros(
            (copies, self.horizon, number) if rules.name == "matching_pennies" else (copies, 0, 0), int
        )
        """What the reference controller of ``matching_pennies`` tosses; the games themselves are not random."""
        self.controllers = dict(REFERENCES[rules.name])
        if rules.name == "penalty" and not networkx.is_bipartite(graph):
            self.controllers = {}  # in its best joint actions the ends of every edge differ

    @property
    def spec(self) -> WorldSpec:
        """Agents, spaces, who plays with whom."""
        rules = self.rules
        if rules.tables is None:
            action = ActionSpec("continuous", (), (-rules.bound,), (rules.bound,))
        else:
            action = ActionSpec("discrete", (rules.tables.shape[1],))
        sizes = (1 + 4 * self.degree if rules.memory else np.ones_like(self.degree)).tolist()
        agents = tuple(AgentSpec(f"player_{index}", size, "box", (size,), action) for index, size in enumerate(sizes))
        return WorldSpec(f"games:{rules.name}", agents, both_ways(self.graph), self.horizon, tuple(self.controllers))

    def draw(self, copy: int, rng: np.random.Generator) -> None:
        """Toss the coins."""
        if self.coins.size:
            self.coins[copy] = rng.integers(0, 2, self.coins.shape[1:], np.int8)

    def begin(self, copies: np.ndarray) -> None:
        """Everybody is back."""
        self.terminated[copies], self.alive[copies] = False, True

    def _payoff(self, chosen: np.ndarray, slot: int) -> np.ndarray:
        """What everybody gets from its ``slot``-th neighbour, [copies, agents]; ``chosen``: likewise."""
        other, role = chosen[:, self.neighbour[:, slot]], self.role[:, slot]
        if self.rules.tables is not None:
            return self.rules.tables[role, chosen, other]
        if self.rules.name == "tandem":
            return 2 * chosen - (chosen + other) ** 2
        return np.where(role == 0, -1.0, 1.0) * chosen * other

    def step(self, actions: list[np.ndarray]) -> None:
        """Everybody plays; ``actions[i]``: [copies, 1] or [copies], int, or float within ±1 (clipped), to be scaled."""
        chosen = np.stack([np.asarray(action).reshape(self.copies) for action in actions], 1)
        if self.continuous:
            chosen = self.rules.bound * np.clip(chosen.astype(float), -1, 1)
        won = np.zeros((self.copies, self.number))
        for slot in range(self.neighbour.shape[1]):  # one by one: sums in an order that does not depend on the copies
            won += np.where(self.plays[:, slot], self._payoff(chosen, slot), 0)
        won /= self.degree
        self.reward[:] = won
        self.last[:] = chosen
        self._note(won, chosen)
        self.time += 1
        over = (self.time >= self.horizon)[:, None]
        if self.rules.ends:
            self.terminated[:], self.alive[:] = over, ~over
        else:
            self.truncated[:] = over

    def _note(self, won: np.ndarray, chosen: np.ndarray) -> None:
        """Add to the figures."""
        one, other = chosen[:, self.edges[:, 0]], chosen[:, self.edges[:, 1]]
        self.paid += mean_of(won)
        if self.continuous:
            away = np.abs(one + other - 1) if self.rules.name == "tandem" else np.sqrt(one**2 + other**2)
            self.told += mean_of(away)
        else:
            self.best += self.greatest[one, other].sum(1)
            self.told += mean_of(one == other if self.rules.name == "matching_pennies" else chosen == COOPERATE)

    def observe(self, copies: Any, observations: list[np.ndarray], masks: list[np.ndarray | None]) -> None:
        """Write the present observations of the given copies (index array or slice)."""
        if not self.rules.memory:
            for out in observations:
                out[:] = 1
            return
        first, last = self.time[copies] == 0, self.last[copies]
        for agent, out in enumerate(observations):
            pair = 2 * last[:, agent, None] + last[:, self.neighbour[agent, : self.degree[agent]]]
            seen = (pair[..., None] == np.arange(4)) & ~first[:, None, None]
            out[:, 0] = first
            out[:, 1:] = seen.reshape(len(out), -1)

    def metrics(self, copies: np.ndarray) -> dict[str, np.ndarray]:
        """Of the episodes so far, each [len(copies)] float64.

        payoff: mean reward of an agent and step. optimal: share of edges and steps at actions of the greatest joint
        payoff (where actions are discrete and that is not always the same). cooperation: share of such actions.
        matches: share of equal pennies. distance: to the equilibria, x + y = 1 (tandem) and x = y = 0 (hamiltonian),
        mean over edges.
        """
        steps = np.maximum(self.time[copies], 1)
        figures = {"payoff": self.paid[copies] / steps}
        if not self.continuous and not self.greatest.all():
            figures["optimal"] = self.best[copies] / (steps * len(self.edges))
        if self.rules.name in FIGURES:
            figures[FIGURES[self.rules.name]] = self.told[copies] / steps
        return figures

    def scene(self, copy: int) -> Scene:
        """Two players: the table with what they did last, or the plane of their actions. More: everybody's action, on the graph."""
        rules, last, time = self.rules, self.last[copy], int(self.time[copy])
        name = f"games:{rules.name}"
        if self.number == 2:
            return self._plane(name, time, last) if rules.tables is None else self._table(name, time, last)
        where = places_of(self.graph)
        ends = where[self.edges]
        won = np.stack(
            [self._payoff(self.last[copy : copy + 1], slot)[0] for slot in range(self.neighbour.shape[1])], 1
        )
        both = np.zeros((self.number, self.number))
        agent, slot = np.nonzero(self.plays)
        both[agent, self.neighbour[agent, slot]] = won[agent, slot]
        means = (both + both.T)[tuple(self.edges.T)] / 2
        if not time:
            layers = [
                Lines(ends, "who plays with whom"),
                Marks(where, "before the first step", colour="white", size=330),
            ]
        else:
            layers = [Lines(ends, "who plays with whom", means, PAID, width=4)]
            layers += chosen_marks(where, last, None if self.continuous else rules.labels)
        return Scene(name, time, layers, note="colours of edges and players: the last step")

    def _table(self, name: str, time: int, last: np.ndarray) -> Scene:
        tables, labels = self.rules.tables, self.rules.labels
        row, column = tables[0], tables[1].T
        texts = [[f"{a:g}" if a == b else f"{a:g}, {b:g}" for a, b in zip(*payoffs)] for payoffs in zip(row, column)]
        numbers = range(len(row))
        return Scene(
            name,
            time,
            [Cells((row + column) / 2, PAID, texts), played(last[1], -last[0], time > 0)],
            note="in a cell: what both are paid, or what player 0 and player 1 are",
            across=Axis("action of player 1", [(number, labels[number]) for number in numbers]),
            up=Axis("action of player 0", [(-number, labels[number]) for number in numbers]),
            width=5.6,
        )

    def _plane(self, name: str, time: int, last: np.ndarray) -> Scene:
        bound = self.rules.bound
        best = np.array([[[1 - bound, bound], [bound, 1 - bound]]])
        still = Lines(best, "equilibria: x + y = 1", colour=COLOURS[0], style="--")
        if self.rules.name == "hamiltonian":
            still = Marks(np.zeros((1, 2)), "equilibrium: x = y = 0", colour=COLOURS[0], shape="P", size=160)
        return Scene(
            name,
            time,
            [still, Marks(last[None][: int(time > 0)], "joint action of this step", colour=COLOURS[1], size=140)],
            across=Axis("x, action of player 0"),
            up=Axis("y, action of player 1"),
            frame=(-1.05 * bound, 1.05 * bound, -1.05 * bound, 1.05 * bound),
            width=5.6,
        )


class TwoStep(Batch):
    """Agent 0's first action chooses the game of the second step; agent 1's does nothing."""

    STATE = ("time", "game", "paid")

    def __init__(self, copies: int, agents: int | None = None) -> None:
        if agents not in (None, 2):
            raise InputError(f"--agents {agents}: games:two_step is for 2")
        super().__init__(copies, 2, 2)
        self.game = np.zeros(copies, np.int32)
        """0: not chosen yet; 1, 2: 2A, 2B."""
        self.paid = np.zeros(copies)
        self.last = np.zeros((copies, 2), np.int32)
        """What both did in the last step; only the picture reads it."""

    @property
    def spec(self) -> WorldSpec:
        """Agents and spaces."""
        action = ActionSpec("discrete", (2,))
        agents = tuple(AgentSpec(f"player_{index}", 3, "box", (3,), action) for index in range(2))
        return WorldSpec("games:two_step", agents, ((0, 1), (1, 0)), 2, tuple(self.controllers))

    def begin(self, copies: np.ndarray) -> None:
        """Everybody is back."""
        self.terminated[copies], self.alive[copies] = False, True

    def step(self, actions: list[np.ndarray]) -> None:
        """Advance every copy; ``actions[i]``: int [copies, 1] or [copies]."""
        one, other = (np.asarray(action).reshape(self.copies) for action in actions)
        chosen = self.game > 0
        paid = np.where(chosen, SECOND_GAMES[np.maximum(self.game - 1, 0), one, other], 0.0)
        self.reward[:] = paid[:, None]
        self.paid += paid
        self.last[:, 0], self.last[:, 1] = one, other
        self.time += 1
        self.terminated[:], self.alive[:] = chosen[:, None], ~chosen[:, None]
        self.game[:] = np.where(chosen, self.game, 1 + one)

    def observe(self, copies: Any, observations: list[np.ndarray], masks: list[np.ndarray | None]) -> None:
        """One-hot of the game that is on; zeros when it is over."""
        seen = (self.game[copies][:, None] == np.arange(3)) & self.alive[copies][:, :1]
        for out in observations:
            out[:] = seen

    def metrics(self, copies: np.ndarray) -> dict[str, np.ndarray]:
        """Of the episodes so far, [len(copies)] float64: payoff of an agent in a step; optimal: whether 8 was paid."""
        paid = self.paid[copies]
        return {
            "payoff": paid / np.maximum(self.time[copies], 1),
            "optimal": (paid == SECOND_GAMES.max()).astype(float),
        }

    def scene(self, copy: int) -> Scene:
        """Both games of the second step, the chosen one framed, and in it what was done."""
        game, numbers = int(self.game[copy]), range(2)
        layers: list[Any] = []
        for which, table in enumerate(SECOND_GAMES):
            x = 3 * which
            layers.append(Cells(table, PAID, [[f"{value:g}" for value in row] for row in table], (x, 0)))
            layers.append(Texts(np.array([[x + 0.5, 0.75]]), [f"game 2{'AB'[which]}"], size=11))
        corners = np.array([[-0.5, 0.5], [1.5, 0.5], [1.5, -1.5], [-0.5, -1.5]]) + [3 * (game - 1), 0]
        frame = np.stack([corners, np.roll(corners, -1, 0)], 1)
        layers.append(
            Lines(frame[: 4 * (game > 0)], "game that player 0 chose in the first step", colour=COLOURS[0], width=4)
        )
        one, other = self.last[copy]
        layers.append(played(3 * (game - 1) + other, -one, self.time[copy] == 2))
        return Scene(
            "games:two_step",
            int(self.time[copy]),
            layers,
            note="in a cell: what both are paid",
            across=Axis(
                "action of player 1", [(3 * which + number, str(number)) for which in numbers for number in numbers]
            ),
            up=Axis("action of player 0", [(-number, str(number)) for number in numbers]),
            frame=(None, None, None, 1.0),
            width=6.4,
        )


class Optimal:
    """The joint actions with the greatest sum of payoffs; in ``penalty`` the two sides of a bipartite graph differ."""

    def __init__(self, game: Pairwise) -> None:
        if game.rules.name == "penalty":
            side = networkx.bipartite.color(game.graph)
            self.action = np.array([2 * side[agent] for agent in range(game.number)])
        else:  # every edge at x = y = 1/4, where 2 (x + y) − 2 (x + y)² is greatest
            self.action = np.full(game.number, 0.25 / game.rules.bound if game.continuous else 0)

    def act(self, game: Pairwise) -> np.ndarray:
        """[agents, copies]."""
        return np.repeat(self.action[:, None], game.copies, 1)


class Equilibrium(Optimal):
    """x = y = 1/2 in ``tandem``, x = y = 0 in ``hamiltonian``: nobody gains by another action."""

    def __init__(self, game: Pairwise) -> None:
        value = 0.5 if game.rules.name == "tandem" else 0.0
        self.action = np.full(game.number, value / game.rules.bound)


class Second:
    """Always the second action: the optimum of ``two_step``, defection in ``ipd``."""

    def __init__(self, game: Batch) -> None:
        pass

    def act(self, game: Batch) -> np.ndarray:
        """[agents, copies]."""
        return np.ones(game.reward.T.shape, int)


class TitForTat:
    """Cooperates at first, then does what most of its neighbours did; where as many did either, it defects."""

    def __init__(self, game: Pairwise) -> None:
        pass

    def act(self, game: Pairwise) -> np.ndarray:
        """[agents, copies]."""
        defected = (game.last[:, game.neighbour] == DEFECT) & game.plays
        return ((2 * defected.sum(2) >= game.degree) & (game.time > 0)[:, None]).T.astype(int)


class Uniform:
    """Fair coins, the equilibrium of ``matching_pennies``."""

    def __init__(self, game: Pairwise) -> None:
        pass

    def act(self, game: Pairwise) -> np.ndarray:
        """[agents, copies]."""
        now = np.minimum(game.time, game.coins.shape[1] - 1)  # also asked for at the end of an episode
        return game.coins[np.arange(game.copies), now].T


REFERENCES: dict[str, dict[str, type]] = {
    "climbing": {"optimal": Optimal},
    "penalty": {"optimal": Optimal},
    "qtran": {"optimal": Optimal},
    "ipd": {"cooperate": Optimal, "defect": Second, "tit_for_tat": TitForTat},
    "matching_pennies": {"uniform": Uniform},
    "tandem": {"optimal": Optimal, "equilibrium": Equilibrium},
    "hamiltonian": {"equilibrium": Equilibrium},
}
TwoStep.controllers = {"optimal": Second}


def _whole(name: str, horizon: Any) -> int:
    return bounded(f"games:{name}", "horizon", horizon, 1, math.inf, whole=True)


def _climbing(copies: int, agents: int | None, graph: Any = None, horizon: int = 25) -> Pairwise:
    rules = Rules("climbing", _whole("climbing", horizon), tables(CLIMBING))
    return Pairwise(rules, copies, graph_of("games:climbing", graph, agents))


def _penalty(copies: int, agents: int | None, graph: Any = None, horizon: int = 25, k: float = -100) -> Pairwise:
    k = bounded("games:penalty", "k", k, -1e6, 0)
    rules = Rules("penalty", _whole("penalty", horizon), tables(((k, 0, 10), (0, 2, 0), (10, 0, k))))
    return Pairwise(rules, copies, graph_of("games:penalty", graph, agents))


def _qtran(copies: int, agents: int | None, graph: Any = None, variant: int = 1) -> Pairwise:
    variant = bounded("games:qtran", "variant", variant, 1, 2, whole=True)
    return Pairwise(Rules("qtran", 1, tables(QTRAN[variant]), True), copies, graph_of("games:qtran", graph, agents))


def _ipd(copies: int, agents: int | None, graph: Any = None, horizon: int = 150) -> Pairwise:
    payoff = tables(PRISONERS, np.transpose(PRISONERS))
    rules = Rules("ipd", _whole("ipd", horizon), payoff, memory=True, labels=("C", "D"))
    return Pairwise(rules, copies, graph_of("games:ipd", graph, agents))


def _pennies(copies: int, agents: int | None, graph: Any = None, horizon: int = 150) -> Pairwise:
    name, payoff = "matching_pennies", tables(PENNIES, -np.array(PENNIES))
    rules = Rules(name, _whole(name, horizon), payoff, memory=True, labels=("heads", "tails"))
    return Pairwise(rules, copies, graph_of(f"games:{name}", graph, agents))


def _continuous(name: str) -> Any:
    def game(copies: int, agents: int | None, graph: Any = None, bound: float = 2.0) -> Pairwise:
        rules = Rules(name, 1, None, True, bound=bounded(f"games:{name}", "bound", bound, 0.5, 1e6))
        return Pairwise(rules, copies, graph_of(f"games:{name}", graph, agents))

    return game


GAMES = {
    "climbing": _climbing,
    "penalty": _penalty,
    "qtran": _qtran,
    "two_step": TwoStep,
    "ipd": _ipd,
    "matching_pennies": _pennies,
    "tandem": _continuous("tandem"),
    "hamiltonian": _continuous("hamiltonian"),
    **TASKS,
    **TELLING,
}


def make(name: str, arguments: dict[str, Any], copies: int, agents: int | None, render: bool) -> Any:
    """``games:NAME`` with the arguments that the heads of this module, ``coordination.py`` and ``telling.py`` give."""
    if name not in GAMES:
        raise InputError(f"--env games:{name}: there are {', '.join(GAMES)}")
    return build(GAMES[name], f"games:{name}", arguments, copies, agents)


def any_number(name: str, arguments: dict[str, Any]) -> bool:
    """On a graph of a family, and where there is no graph to choose."""
    if name in TASKS and name != "convention":
        return True
    usual = "ring" if name == "convention" else "line" if name in TELLING else None
    return arguments.get("graph", usual) in FAMILIES
