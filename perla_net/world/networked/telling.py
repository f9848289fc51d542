"""Tasks of ``games:`` that cannot be solved without messages: what one must know to act, others see. Chance and optimum are exact.

``relay`` (``graph=line``, ``goals=4``): player 0 sees the goal, one of ``goals``, drawn anew for each episode; the player farthest from it (the one of
the greatest number, where several are) must name it by its action in the last step, and then everybody is paid 1, else 0. Whatever it does without
a message, it is right in 1/goals of the episodes; with messages that travel as far as the two are apart, in all.
``majority`` (``graph=line``; an odd number of players): everybody sees one bit, 0 or 1 with probability 1/2, and by its action in the last step must
name the bit that most have; who is right is paid 1, else 0. At random one is right half of the time; without messages the best is to name the own
bit, right with probability 1/2 + C(N − 1, (N − 1)/2) / 2^N; who knows all of them is always right.

What one sees is the same in all steps of an episode, and actions before the last step do nothing. ``horizon``: steps, by default one more than the edges
between those of whom one must know what the other sees, so that messages of what one remembers from the step before, one edge a step, arrive in time.
An episode ends by termination.

Observation: ``relay``: the goal, one-hot, for player 0, zeros for the others; ``majority``: the own bit, one-hot. The number of the step is not observed.
"""

from __future__ import annotations

import math
from typing import Any

import networkx
import numpy as np

from ...ground.errors import InputError
from ..spec import ActionSpec, AgentSpec, WorldSpec
from .base import Batch, bounded, mean_of
from .drawing import COLOURS, Lines, Marks, Scene, Texts
from .game_graphs import FAMILIES, both_ways, graph_of, places_of
from .game_pictures import chosen_marks

MOST_GOALS = 1000


class Telling(Batch):
    """What both have in common; a subclass says what is seen, and what is right."""

    STATE = ("time", "last", "told")
    DRAWN = LASTING = ("seen",)
    name = ""

    def __init__(self, copies: int, graph: networkx.Graph, choices: int, horizon: Any, apart: int) -> None:
        """``choices``: actions of everybody, and what can be seen; ``apart``: edges between those who must know of each other."""
        self.graph, self.number, self.choices, self.apart = graph, len(graph), choices, apart
        if horizon is None:
            horizon = apart + 1
        super().__init__(copies, self.number, bounded(self.env, "horizon", horizon, 1, math.inf, whole=True))
        self.last = np.zeros((copies, self.number), np.int32)
        """What everybody did in the last step."""
        self.told = np.zeros(copies)
        """Share of those that must be right who were, in the last step."""
        self.seen = np.zeros((copies, self.number), np.int32)
        """What everybody is shown; −1: nothing."""

    @property
    def env(self) -> str:
        """As in ``--env``."""
        return f"games:{self.name}"

    @property
    def spec(self) -> WorldSpec:
        """Agents, spaces, who is next to whom."""
        action, size = ActionSpec("discrete", (self.choices,)), self.choices
        agents = tuple(AgentSpec(f"player_{index}", size, "box", (size,), action) for index in range(self.number))
        return WorldSpec(self.env, agents, both_ways(self.graph), self.horizon, tuple(self.controllers))

    def begin(self, copies: np.ndarray) -> None:
        """Everybody is back."""
        self.terminated[copies], self.alive[copies] = False, True

    def right(self) -> np.ndarray:
        """What is to be named, [copies]."""
        raise NotImplementedError

    def pay(self, right: np.ndarray) -> np.ndarray:
        """What everybody is paid, [copies, agents] or [copies, 1], from who was right, bool [copies, agents]; notes :attr:`told`."""
        raise NotImplementedError

    def step(self, actions: list[np.ndarray]) -> None:
        """Everybody acts; ``actions[i]``: int [copies, 1] or [copies]."""
        chosen = np.stack([np.asarray(action).reshape(self.copies) for action in actions], 1)
        self.last[:] = chosen
        self.time += 1
        over = self.time >= self.horizon
        paid = self.pay(chosen == self.right()[:, None])
        self.reward[:] = np.where(over[:, None], paid, 0.0)
        self.terminated[:], self.alive[:] = over[:, None], ~over[:, None]

    def observe(self, copies: Any, observations: list[np.ndarray], masks: list[np.ndarray | None]) -> None:
        """Write what everybody sees, one-hot, zeros where it is nothing; [copies, choices] each."""
        seen = self.seen[copies]
        for agent, out in enumerate(observations):
            out[:] = seen[:, agent, None] == np.arange(self.choices)

    def metrics(self, copies: np.ndarray) -> dict[str, np.ndarray]:
        """Of the episodes, [len(copies)] float64: right: share of those that must name it who were right in the last step."""
        return {"right": self.told[copies]}

    def scene(self, copy: int) -> Scene:
        """On the graph: what everybody sees, and what it named last."""
        where, time = places_of(self.graph), int(self.time[copy])
        edges = np.array(sorted((min(edge), max(edge)) for edge in self.graph.edges))
        layers: list[Any] = [Lines(where[edges], "neighbours")]
        if time:
            layers += chosen_marks(where, self.last[copy], [str(choice) for choice in range(self.choices)])
        else:
            layers.append(Marks(where, "before the first step", colour="white", size=330))
        seen = self.seen[copy]
        those = np.flatnonzero(seen >= 0)
        above = where[those] + np.array([0, 0.1 * float(np.ptp(where, 0).max())])
        layers.append(Texts(above, [f"sees {seen[agent]}" for agent in those], size=10))
        must = self.must
        layers.append(Marks(where[must], "must name it", colour=COLOURS[3], shape="*", size=60))
        return Scene(self.env, time, layers, note=f"to be named in the last step: {int(self.right()[copy])}")

    @property
    def must(self) -> np.ndarray:
        """Indices of those that must name it."""
        return np.arange(self.number)


class Relay(Telling):
    """One sees the goal, and who is farthest from it must name it."""

    name = "relay"

    def __init__(
        self, copies: int, agents: int | None = None, graph: Any = "line", goals: int = 4, horizon: int | None = None
    ) -> None:
        goals = bounded("games:relay", "goals", goals, 2, MOST_GOALS, whole=True)
        found = graph_of(self.env, graph, agents)
        far = _distances(self.env, found)[0]
        self.namer = max(range(len(found)), key=lambda agent: (far[agent], agent))
        """Who must name it."""
        super().__init__(copies, found, goals, horizon, far[self.namer])
        self.controllers = {"optimal": Knowing}

    def draw(self, copy: int, rng: np.random.Generator) -> None:
        """The goal."""
        self.seen[copy] = -1
        self.seen[copy, 0] = rng.integers(self.choices)

    def right(self) -> np.ndarray:
        """The goal, [copies]."""
        return self.seen[:, 0]

    def pay(self, right: np.ndarray) -> np.ndarray:
        """[copies, 1]."""
        self.told[:] = right[:, self.namer]
        return right[:, self.namer, None].astype(float)

    @property
    def must(self) -> np.ndarray:
        """Indices of those that must name it."""
        return np.array([self.namer])


class Majority(Telling):
    """Everybody sees a bit, and must name the one that most have."""

    name = "majority"

    def __init__(self, copies: int, agents: int | None = None, graph: Any = "line", horizon: int | None = None) -> None:
        found = graph_of(self.env, graph, 3 if agents is None and graph in FAMILIES else agents)
        if len(found) % 2 == 0:
            raise InputError(
                f"--agents {len(found)}: games:majority needs an odd number of players, so that no bit has half of them"
            )
        apart = max(max(far.values()) for far in _distances(self.env, found).values())
        super().__init__(copies, found, 2, horizon, apart)
        self.controllers = {"optimal": Knowing, "own_bit": OwnBit}

    @property
    def without_messages(self) -> float:
        """The greatest probability to be right for who knows its own bit alone: 1/2 + C(N − 1, (N − 1)/2) / 2^N."""
        others = self.number - 1
        return 0.5 + math.comb(others, others // 2) / 2**self.number

    def draw(self, copy: int, rng: np.random.Generator) -> None:
        """Everybody's bit."""
        self.seen[copy] = rng.integers(0, 2, self.number)

    def right(self) -> np.ndarray:
        """The bit that most have, [copies]."""
        return (2 * self.seen.sum(1) > self.number).astype(np.int32)

    def pay(self, right: np.ndarray) -> np.ndarray:
        """[copies, agents]."""
        self.told[:] = mean_of(right)
        return right.astype(float)


def _distances(env: str, graph: networkx.Graph) -> dict[int, dict[int, int]]:
    """Edges between all. Raises InputError for a graph in parts."""
    if not networkx.is_connected(graph):
        raise InputError(
            f"--env {env}: the graph is in parts, so that not everybody can be told; it should be connected"
        )
    return dict(networkx.all_pairs_shortest_path_length(graph))


class Knowing:
    """Who sees all that everybody sees."""

    def __init__(self, task: Telling) -> None:
        pass

    def act(self, task: Telling) -> np.ndarray:
        """[agents, copies]."""
        return np.repeat(task.right()[None], task.number, 0)


class OwnBit:
    """The best that can be done in ``majority`` without messages."""

    def __init__(self, task: Majority) -> None:
        pass

    def act(self, task: Majority) -> np.ndarray:
        """[agents, copies]."""
        return task.seen.T.copy()


TELLING: dict[str, type[Telling]] = {task.name: task for task in (Relay, Majority)}
