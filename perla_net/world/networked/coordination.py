"""Tasks of ``games:`` for many agents whose exact optimum is known, and in which what makes them hard can be switched one by one.

``convention`` (``graph=ring``, ``payoffs=1.2-1.1-1``): on every edge both are paid c_k if both choose action k, else 0; an
agent gets the mean over its edges. ``graph``: a family with ``--agents N``, or a GraphML file, as for the other games.
``additive`` (``actions=4``, ``seed=0``): everybody is paid (1/N) Σ_j w_j[a_j]; w is uniform on [0, 1).
``squeeze``, the Gaussian squeeze domain (HolmesParker et al. 2014; ``actions=10``, ``mu=1.5``, ``sigma=1``): with x = Σ_j a_j
everybody is paid x exp(−((x − μ)/σ)²), μ = mu · N and σ = sigma · N, over its greatest value at any x that can be reached.
``targets``, continuous (after Wu et al. 2018, arXiv 1803.07246; ``bound=2``, ``seed=0``): with e_j = a_j − c_j everybody is
paid −(1/N) Σ_j e_j² (``kind=own``; c uniform on [−1, 1)), or −((1/N) Σ_j e_j − d)² (``kind=mean``; c = 0, d =
``target=0.5``). Actions are within ±bound.

In all but ``convention`` everybody influences everybody, and all get the same. What ``seed`` draws is part of the task: the
same in all episodes and runs, and an agent's the same whatever the number of agents. All of them also take:

``noise=0``: standard deviation of normal noise in what is paid, drawn anew in every step: for each agent in ``convention``,
one number for all elsewhere, so that a team's payoff stays one. Figures are without it.
``contexts=1``: M private contexts. In every step everybody draws a z uniform in 0 to M − 1, which it alone sees, and its
action a does what action (a + z) mod A would do without; in ``targets`` c_j is c_j[z], one for each context (``kind=mean``:
c_j[0] = 0, the others uniform on [−1, 1)). So others' actions tell what they do only to those who see their contexts.
``horizon=1``: steps of an episode, between which nothing is carried over. One step ends by termination, more by truncation.

Observation: 1 where there is one context, else z one-hot. The number of the step is not observed. Below, the *effect* of an
action is what is left when the context is taken out: (a + z) mod A, or a − c_j[z].
"""

from __future__ import annotations

import math
import re
from typing import Any

import networkx
import numpy as np

from ...ground.errors import InputError
from ..spec import ActionSpec, AgentSpec, WorldSpec
from .base import Batch, bounded, mean_of
from .drawing import COLOURS, INK, Axis, Cells, Lines, Marks, Scale, Scene
from .game_graphs import both_ways, graph_of, neighbours_of, places_of
from .game_pictures import chosen_marks, few, played

MOST_ACTIONS, MOST_CONTEXTS = 1000, 1000
WEIGHTS = Scale("weight of a player's effect", "viridis", 0)


class Coordination(Batch):
    """What the four have in common; a subclass says what the effects of actions pay, and which are best."""

    STATE = ("time", "last", "paid", "told")
    name = ""
    common = True
    """Everybody is paid the same."""
    scale = 0.0
    """Greatest continuous action."""
    optimum = 0.0
    """The greatest payoff of an agent and step that joint actions can reach, mean over agents, exact in every context."""

    def __init__(
        self, copies: int, graph: networkx.Graph, actions: int, noise: Any, contexts: Any, horizon: Any
    ) -> None:
        """``graph``: nodes 0 to N − 1, who influences whom; ``actions``: of everybody, 0 where they are continuous."""
        self.graph, self.number, self.actions = graph, len(graph), actions
        horizon = bounded(self.env, "horizon", horizon, 1, math.inf, whole=True)
        self.contexts = bounded(self.env, "contexts", contexts, 1, MOST_CONTEXTS, whole=True)
        self.noise = bounded(self.env, "noise", noise, 0, 1e6)
        super().__init__(copies, self.number, horizon)
        self.last = np.zeros((copies, self.number), np.int32 if actions else float)
        """Effects of everybody's actions in the last step."""
        self.paid, self.told = np.zeros((2, copies))
        """Sums over steps: mean payoff of an agent without noise; share at the best actions, or distance."""
        # Drawn for whole episodes, contexts also for the observation that one ends with.
        self.context = np.zeros((copies, horizon + 1 if self.contexts > 1 else 1, self.number), np.int32)
        self.coins = np.zeros((copies, horizon, self.number), self.last.dtype)
        """Actions of the controller ``uniform``."""
        self.disturbance = np.zeros((copies, horizon if self.noise else 1, 1 if self.common else self.number))

    @property
    def env(self) -> str:
        """As in ``--env``."""
        return f"games:{self.name}"

    @property
    def spec(self) -> WorldSpec:
        """Agents, spaces, who influences whom."""
        bound = self.scale
        action = (
            ActionSpec("discrete", (self.actions,))
            if self.actions
            else ActionSpec("continuous", (), (-bound,), (bound,))
        )
        size = self.contexts
        agents = tuple(AgentSpec(f"player_{index}", size, "box", (size,), action) for index in range(self.number))
        return WorldSpec(self.env, agents, both_ways(self.graph), self.horizon, tuple(self.controllers))

    def draw(self, copy: int, rng: np.random.Generator) -> None:
        """Contexts, coins, noise: in this order, so that a run with noise has the contexts of one without."""
        if self.contexts > 1:
            self.context[copy] = rng.integers(0, self.contexts, self.context.shape[1:])
        shape = self.coins.shape[1:]
        self.coins[copy] = rng.integers(0, self.actions, shape) if self.actions else rng.uniform(-1, 1, shape)
        if self.noise:
            self.disturbance[copy] = self.noise * rng.standard_normal(self.disturbance.shape[1:])

    def begin(self, copies: np.ndarray) -> None:
        """Everybody is back."""
        self.terminated[copies], self.alive[copies] = False, True

    def now(self, drawn: np.ndarray) -> np.ndarray:
        """Of what was drawn [copies, steps, …] that of the present step, the last one's after an episode; [copies, …]."""
        return drawn[np.arange(self.copies), np.minimum(self.time, drawn.shape[1] - 1)]

    def effects(self, actions: np.ndarray) -> np.ndarray:
        """What actions [copies, agents] do in the present contexts."""
        return (actions + self.now(self.context)) % self.actions

    def actions_for(self, effects: np.ndarray) -> np.ndarray:
        """The actions [copies, agents], as :meth:`step` takes them, that have these effects in the present contexts."""
        return (effects - self.now(self.context)) % self.actions

    def payoff(self, effects: np.ndarray) -> np.ndarray:
        """What effects [copies, agents] pay without noise, [copies, agents] or, where it is the same for all, [copies, 1]."""
        raise NotImplementedError

    def at_best(self, effects: np.ndarray) -> np.ndarray:
        """Of effects [copies, agents]: the share at the best ones, or the distance from them, [copies]."""
        raise NotImplementedError

    def best(self) -> np.ndarray:
        """Effects that together pay the optimum, [agents]."""
        raise NotImplementedError

    def replies(self) -> np.ndarray:
        """Everybody's best effect against those of the others in the last step, [copies, agents]."""
        raise NotImplementedError

    def step(self, actions: list[np.ndarray]) -> None:
        """Everybody acts; ``actions[i]``: [copies, 1] or [copies], int, or float within ±1 (clipped), to be scaled."""
        effects = self.effects(np.stack([np.asarray(action).reshape(self.copies) for action in actions], 1))
        won = self.payoff(effects)
        self.reward[:] = won + self.now(self.disturbance)
        self.last[:] = effects
        self.paid += mean_of(won)
        self.told += self.at_best(effects)
        self.time += 1
        over = (self.time >= self.horizon)[:, None]
        if self.horizon == 1:
            self.terminated[:], self.alive[:] = over, ~over
        else:
            self.truncated[:] = over

    def observe(self, copies: Any, observations: list[np.ndarray], masks: list[np.ndarray | None]) -> None:
        """Write the present observations of the given copies (index array or slice), [copies, contexts]."""
        seen = self.now(self.context)[copies]
        for agent, out in enumerate(observations):
            out[:] = seen[:, agent, None] == np.arange(self.contexts)  # with one context 1

    def metrics(self, copies: np.ndarray) -> dict[str, np.ndarray]:
        """Of the episodes so far, each [len(copies)] float64.

        payoff: mean reward of an agent and step, without noise. of_best: the same as a share of the optimum. optimal: share
        of steps, and of edges (``convention``) or agents (``additive``), at actions of the greatest joint payoff. In
        ``targets``, whose optimum is 0, in place of the two: distance, the root of what a step costs, mean over steps.
        """
        steps = np.maximum(self.time[copies], 1)
        payoff, told = self.paid[copies] / steps, self.told[copies] / steps
        if not self.actions:
            return {"payoff": payoff, "distance": told}
        return {"payoff": payoff, "of_best": payoff / self.optimum, "optimal": told}

    def scene(self, copy: int) -> Scene:
        """The effects of what everybody did last, as :meth:`drawn` shows them."""
        time = int(self.time[copy])
        layers, further = self.drawn(self.last[copy][: self.number if time else 0])
        return Scene(self.env, time, layers, **further)

    def drawn(self, effects: np.ndarray) -> tuple[list[Any], dict[str, Any]]:
        """Layers for effects [agents] (none before the first step), and what else their scene says."""
        raise NotImplementedError

    def _names(self) -> Axis:
        return Axis("player", few(self.number))


class Convention(Coordination):
    """Everybody should do what its neighbours do, best of all the action that pays most."""

    name, common = "convention", False

    def __init__(
        self,
        copies: int,
        agents: int | None = None,
        graph: Any = "ring",
        payoffs: Any = "1.2-1.1-1",
        noise: float = 0.0,
        contexts: int = 1,
        horizon: int = 1,
    ) -> None:
        self.pays = np.array(self._read(payoffs))
        super().__init__(copies, graph_of(self.env, graph, agents), len(self.pays), noise, contexts, horizon)
        self.neighbour, self.plays, self.degree = neighbours_of(self.graph)
        self.edges = np.array(sorted((min(edge), max(edge)) for edge in self.graph.edges))
        self.optimum = float(self.pays.max())
        self.order = np.argsort(-self.pays, kind="stable")
        """Actions from the one that pays most to the one that pays least."""

    def _read(self, payoffs: Any) -> list[float]:
        number = r"(\d+\.?\d*|\.\d+)"
        if isinstance(payoffs, str) and re.fullmatch(rf"{number}(-{number})+", payoffs, re.ASCII):
            found = [float(text) for text in payoffs.split("-")]
            if 0 < min(found) and max(found) <= 1e6 and len(found) <= MOST_ACTIONS:
                return found
        raise InputError(
            f"--env {self.env}: payoffs {payoffs!r} is not two or more numbers above 0 and up to 1e6 with '-' between "
            "them, as in payoffs=1.2-1.1-1"
        )

    def payoff(self, effects: np.ndarray) -> np.ndarray:
        """[copies, agents]."""
        won = np.zeros(effects.shape)
        for slot in range(self.neighbour.shape[1]):  # one by one: sums in an order that does not depend on the copies
            won += (effects == effects[:, self.neighbour[:, slot]]) & self.plays[:, slot]
        return self.pays[effects] * won / self.degree

    def at_best(self, effects: np.ndarray) -> np.ndarray:
        """Share of edges, [copies]."""
        one, other = effects[:, self.edges[:, 0]], effects[:, self.edges[:, 1]]
        return mean_of((one == other) & (self.pays[one] == self.optimum))

    def best(self) -> np.ndarray:
        """All do what pays most: no edge can pay more."""
        return np.full(self.number, self.order[0])

    def drawn(self, effects: np.ndarray) -> tuple[list[Any], dict[str, Any]]:
        """On the graph: who agrees with whom."""
        where = places_of(self.graph)
        ends = where[self.edges]
        if not len(effects):
            return [Lines(ends, "neighbours"), Marks(where, "before the first step", colour="white", size=330)], {}
        agree = effects[self.edges[:, 0]] == effects[self.edges[:, 1]]
        layers: list[Any] = [
            Lines(ends[~agree], "neighbours, who do not agree: paid 0", style=":"),
            Lines(ends[agree], "neighbours, who agree", colour=INK, width=4),
        ]
        names = [f"{action} (pays {pays:g})" for action, pays in enumerate(self.pays)]
        return layers + chosen_marks(where, effects, names), {}

    def replies(self) -> np.ndarray:
        """c_k times the neighbours that did k; of equal ones the k with the greatest c_k."""
        did = self.last[:, self.neighbour]
        value = np.stack([self.pays[k] * ((did == k) & self.plays).sum(2) for k in self.order], 2)
        return self.order[value.argmax(2)]


class Additive(Coordination):
    """Nobody's best action depends on the others', and nobody can tell its own share of what is paid."""

    name = "additive"

    def __init__(
        self,
        copies: int,
        agents: int | None = None,
        actions: int = 4,
        seed: int = 0,
        noise: float = 0.0,
        contexts: int = 1,
        horizon: int = 1,
    ) -> None:
        actions = bounded(self.env, "actions", actions, 2, MOST_ACTIONS, whole=True)
        graph = graph_of(self.env, "complete", agents)
        self.weight = _drawn(self.env, seed, 0, len(graph), actions)
        """w, [agents, actions]."""
        super().__init__(copies, graph, actions, noise, contexts, horizon)
        self.optimum = float(self.payoff(self.best()[None])[0, 0])

    def payoff(self, effects: np.ndarray) -> np.ndarray:
        """[copies, 1]."""
        return mean_of(self.weight[np.arange(self.number), effects])[:, None]

    def at_best(self, effects: np.ndarray) -> np.ndarray:
        """Share of agents, [copies]."""
        return mean_of(effects == self.best())

    def best(self) -> np.ndarray:
        """Everybody's action of greatest weight."""
        return self.weight.argmax(1)

    def drawn(self, effects: np.ndarray) -> tuple[list[Any], dict[str, Any]]:
        """Weights of everybody's effects, and those of the last step."""
        agents = np.arange(len(effects))
        further = {
            "across": self._names(),
            "up": Axis("effect of the action", [(-action, name) for action, name in few(self.actions)]),
            "note": "a player's brightest cell is its best",
        }
        return [Cells(self.weight.T, WEIGHTS), played(agents, -effects, True)], further

    def replies(self) -> np.ndarray:
        """The same, whatever the others did."""
        return np.tile(self.best(), (self.copies, 1))


class Squeeze(Coordination):
    """Together neither too much nor too little."""

    name = "squeeze"

    def __init__(
        self,
        copies: int,
        agents: int | None = None,
        actions: int = 10,
        mu: float = 1.5,
        sigma: float = 1.0,
        noise: float = 0.0,
        contexts: int = 1,
        horizon: int = 1,
    ) -> None:
        actions = bounded(self.env, "actions", actions, 2, MOST_ACTIONS, whole=True)
        mu, sigma = bounded(self.env, "mu", mu, 0, 1e6), bounded(self.env, "sigma", sigma, 1e-3, 1e6)
        super().__init__(copies, graph_of(self.env, "complete", agents), actions, noise, contexts, horizon)
        # Every sum that can be reached, looked up: the same bits whatever the number of copies. By logarithms, so that
        # something is left of the greatest value however narrow the bell is.
        total = np.arange(1, self.number * (actions - 1) + 1)
        power = np.log(total) - ((total / self.number - mu) / sigma) ** 2
        self.value = np.concatenate([[0.0], np.exp(power - power.max())])
        """What a sum of effects pays, [N (actions − 1) + 1]."""
        self.optimum = 1.0

    def payoff(self, effects: np.ndarray) -> np.ndarray:
        """[copies, 1]."""
        return self.value[effects.sum(1)][:, None]

    def at_best(self, effects: np.ndarray) -> np.ndarray:
        """1 where the sum is a best one, else 0, [copies]."""
        return self.value[effects.sum(1)] == self.optimum

    def best(self) -> np.ndarray:
        """The best sum, shared out as evenly as it can be."""
        each, rest = divmod(int(self.value.argmax()), self.number)
        return each + (np.arange(self.number) < rest)

    def drawn(self, effects: np.ndarray) -> tuple[list[Any], dict[str, Any]]:
        """Everybody's effect as a bar; on the right their mean, and the best one."""
        agents, best, end = np.arange(len(effects)), int(self.value.argmax()) / self.number, self.number
        bars = np.stack([np.stack([agents, 0 * agents], 1), np.stack([agents, effects], 1)], 1)
        mean = effects.mean() if len(effects) else 0.0
        layers = [
            Lines(bars, "effect of a player's action", colour=COLOURS[0], width=10),
            Lines(np.array([[[end, 0.0], [end, mean]]])[: len(effects)], "their mean", colour=COLOURS[1], width=10),
            Lines(np.array([[[-1, best], [end + 1, best]]]), f"mean of a best sum, {best:.3g}", colour=INK, style="--"),
        ]
        return layers, {
            "across": Axis("player", [*(self._names().ticks or ()), (end, "mean")]),
            "up": Axis("effect"),
            "frame": (-1.0, end + 1.0, None, None),
            "aspect": 0.6,
        }

    def replies(self) -> np.ndarray:
        """Of equally good actions the least."""
        others = self.last.sum(1)[:, None] - self.last
        return self.value[others[..., None] + np.arange(self.actions)].argmax(2)


class Targets(Coordination):
    """Everybody's action, or the mean of all, should come near a target."""

    name = "targets"

    def __init__(
        self,
        copies: int,
        agents: int | None = None,
        kind: str = "own",
        target: float | None = None,
        bound: float = 2.0,
        seed: int = 0,
        noise: float = 0.0,
        contexts: int = 1,
        horizon: int = 1,
    ) -> None:
        if kind not in ("own", "mean"):
            raise InputError(f"--env {self.env}: kind {kind!r} is neither own nor mean")
        if kind == "own" and target is not None:
            raise InputError(
                f"--env {self.env}: target {target!r} is for kind=mean; with kind=own everybody has its own"
            )
        self.own = kind == "own"
        self.scale = bounded(self.env, "bound", bound, 1, 1e6)  # so that every c can be reached
        super().__init__(copies, graph_of(self.env, "complete", agents), 0, noise, contexts, horizon)
        if not self.own:  # d within reach in every context
            reach = self.scale - (self.contexts > 1)
            self.target = bounded(self.env, "target", 0.5 if target is None else target, -reach, reach)
        self.centre = _drawn(self.env, seed, -1, self.number, self.contexts)
        """c, [agents, contexts]."""
        if not self.own:
            self.centre[:, 0] = 0

    def _centres(self) -> np.ndarray:
        """c in the present contexts, [copies, agents]."""
        return self.centre[np.arange(self.number), self.now(self.context)]

    def effects(self, actions: np.ndarray) -> np.ndarray:
        """a − c, [copies, agents]."""
        return self.scale * np.clip(actions.astype(float), -1, 1) - self._centres()

    def actions_for(self, effects: np.ndarray) -> np.ndarray:
        """Within ±1, as near as the bound allows, [copies, agents]."""
        return np.clip((effects + self._centres()) / self.scale, -1, 1)

    def payoff(self, effects: np.ndarray) -> np.ndarray:
        """[copies, 1]."""
        return -(mean_of(effects**2) if self.own else (mean_of(effects) - self.target) ** 2)[:, None]

    def at_best(self, effects: np.ndarray) -> np.ndarray:
        """Root of the mean squared distance from the targets, or the mean's distance from its target; [copies]."""
        return np.sqrt(-self.payoff(effects)[:, 0])

    def best(self) -> np.ndarray:
        """Everybody at its target, or all at that of the mean."""
        return np.full(self.number, 0.0 if self.own else self.target)

    def drawn(self, effects: np.ndarray) -> tuple[list[Any], dict[str, Any]]:
        """Everybody's distance from its target, or everybody's effect with their mean and its target."""
        agents, reach = np.arange(len(effects)), self.scale + 1
        label, target = ("from its target", 0.0) if self.own else ("effect", self.target)
        layers = [
            Lines(np.array([[[-1, target], [self.number + 1, target]]]), "target", colour=INK, style="--"),
            Marks(np.stack([agents, effects], 1), "player", colour=COLOURS[0], size=110),
        ]
        ticks = list(self._names().ticks or ())
        if not self.own:
            mean = np.array([[self.number, effects.mean() if len(effects) else 0.0]])[: len(effects)]
            layers.append(Marks(mean, "mean of all", colour=COLOURS[1], shape="D", size=130))
            ticks.append((self.number, "mean"))
        return layers, {
            "across": Axis("player", ticks),
            "up": Axis(label),
            "frame": (-1.0, self.number + 1.0, -reach, reach),
            "aspect": 0.6,
        }

    def replies(self) -> np.ndarray:
        """Its own target, or what makes good all that the mean of the last step lacked."""
        if self.own:
            return np.zeros(self.last.shape)
        return self.last + self.number * (self.target - mean_of(self.last))[:, None]


def _drawn(env: str, seed: Any, low: float, agents: int, width: int) -> np.ndarray:
    """Uniform on [low, 1), [agents, width]; an agent's first numbers depend neither on how many agents nor on the width."""
    streams = np.random.SeedSequence(bounded(env, "seed", seed, 0, math.inf, whole=True)).spawn(agents)
    return np.stack([np.random.default_rng(stream).uniform(low, 1, width) for stream in streams])


class Optimal:
    """Joint actions that pay the optimum in the present contexts."""

    def __init__(self, task: Coordination) -> None:
        self.effects = task.best()

    def act(self, task: Coordination) -> np.ndarray:
        """[agents, copies]."""
        return task.actions_for(np.tile(self.effects, (task.copies, 1))).T


class Uniform:
    """Uniformly random actions, independent, drawn with the episode."""

    def __init__(self, task: Coordination) -> None:
        pass

    def act(self, task: Coordination) -> np.ndarray:
        """[agents, copies]."""
        return task.now(task.coins).T


class BestResponse:
    """Action 0 in the first step; then all at the same time what would have been best against the others' last effects, so
    that where the best depends on the others they may all overshoot, or swap sides for ever."""

    def __init__(self, task: Coordination) -> None:
        pass

    def act(self, task: Coordination) -> np.ndarray:
        """[agents, copies]."""
        first = (task.time == 0)[:, None]
        return np.where(first, 0, task.actions_for(task.replies())).T


Coordination.controllers = {"optimal": Optimal, "uniform": Uniform, "best_response": BestResponse}
TASKS: dict[str, type[Coordination]] = {task.name: task for task in (Convention, Additive, Squeeze, Targets)}
