"""Games small enough to enumerate: those of ``games:``, random ones, and the user's from a file.

A file is YAML or JSON: ``payoffs``, a table per agent, or ``payoff``, one for all (a team), each nested as
[action of agent 0][action of agent 1]…; optional ``policies``, a list of probabilities per agent, and ``name``.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..ground.errors import InputError
from ..ground.files import given as path_given
from ..settings.specs import parse_spec

LARGEST = 512
"""Joint actions of a game at most."""
MOST_NUMBERS, DEEPEST = 10 * LARGEST, 10
"""In a file: 2^9 joint actions are of nine agents, and their tables nested in one list."""
LEAST_SPREAD = 1e-3
"""Of an agent's payoffs in a file, if they differ at all: tables print four digits, and variances are of squares."""
KEYS = ("name", "payoff", "payoffs", "policies")


@dataclass
class Game:
    """n agents, S states. payoffs [n, S, A_1, …, A_n]; following [S, A_1, …, A_n, S]: probabilities of the next state;
    policies: a vector of probabilities [A_i] per agent, or empty. One state: the same game again and again."""

    name: str
    payoffs: np.ndarray
    following: np.ndarray
    policies: list[np.ndarray] = field(default_factory=list)

    @property
    def agents(self) -> int:
        """n."""
        return len(self.payoffs)

    @property
    def states(self) -> int:
        """S."""
        return self.payoffs.shape[1]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Actions of each agent."""
        return self.payoffs.shape[2:]

    @property
    def spreads(self) -> np.ndarray:
        """Of every agent the greatest minus the least payoff [n]; 1 where they are all the same."""
        tables = self.payoffs.reshape(self.agents, -1)
        spreads = tables.max(1) - tables.min(1)
        return np.where(spreads > 0, spreads, 1.0)

    def shifted(self, by: np.ndarray) -> Game:
        """The same game with by [n] added to the payoffs: values move with them, differences and variances do not."""
        return replace(self, payoffs=self.payoffs + by.reshape(-1, *[1] * (self.payoffs.ndim - 1)))

    def centred(self, gamma: float) -> Game:
        """A game of one state with every agent's payoffs shifted so that its policies' value V is the spread of its payoffs.

        An offset changes no advantage and no variance, but r/(1 − γ) would leave float32 no digits for what differs.
        """
        joint = joint_shares([policy[None] for policy in self.policies])
        expected = (self.payoffs * joint).reshape(self.agents, -1).sum(1)
        return self.shifted((1 - gamma) * self.spreads - expected)

    def own_first(self, agent: int, table: np.ndarray) -> np.ndarray:
        """[S, A_1, …, A_n] → [S, A_agent, J], the others' joint actions in order, the last running fastest."""
        return np.moveaxis(table, 1 + agent, 1).reshape(len(table), self.sizes[agent], -1)

    def values(self, policies: list[np.ndarray], gamma: float) -> tuple[np.ndarray, np.ndarray]:
        """Exact V [n, S] and Q [n, S, A_1, …, A_n] of policies [S, A_i]: V = (1 − γ P^π)⁻¹ r^π, Q = r + γ P V."""
        joint = joint_shares(policies)
        axes = tuple(range(2, 2 + self.agents))
        reward = (self.payoffs * joint).sum(axes)
        chain = (self.following * joint[..., None]).sum(tuple(range(1, 1 + self.agents)))
        value = np.linalg.solve(np.eye(self.states) - gamma * chain, reward.T).T
        return value, self.payoffs + gamma * np.einsum("...s,is->i...", self.following, value)

    def averaged(self, agent: int, table: np.ndarray, policies: list[np.ndarray]) -> np.ndarray:
        """Q̃ [S, A_agent]: a table [S, A_1, …, A_n] averaged over the policies [S, A_j] of the others."""
        others = joint_shares([policy for other, policy in enumerate(policies) if other != agent])
        return (self.own_first(agent, table) * others.reshape(self.states, 1, -1)).sum(2)

    def gain(self, policies: list[np.ndarray], gamma: float) -> float:
        """What the agent that gains most by changing its own policy alone would gain, at the state where it is most.

        In units of the greatest difference that its payoffs can make, spread/(1 − γ). Its best answer by policy iteration.
        """
        now, _ = self.values(policies, gamma)
        most = 0.0
        for agent, spread in enumerate(self.spreads):
            best = list(policies)
            for _ in range(100):
                value, q = self.values(best, gamma)
                better = self.averaged(agent, q[agent], best)
                chosen = np.eye(self.sizes[agent])[better.argmax(1)]
                if np.array_equal(chosen, best[agent]) or (better.max(1) <= value[agent] + 1e-12 * spread).all():
                    break
                best[agent] = chosen
            most = max(most, float((value[agent] - now[agent]).max()) * (1 - gamma) / spread)
        return most

    def kind(self) -> str:
        """``team`` (equal payoffs), ``potential`` (one state, exact potential: Monderer and Shapley 1996), or ``other``."""
        rounding = 1e-9 * self.spreads.max()
        if np.allclose(self.payoffs, self.payoffs[:1], rtol=0, atol=rounding):
            return "team"
        if self.states > 1:
            return "other"
        # Φ along the path that changes one action after the other; the game has a potential if every agent's payoff differs
        # from it by something that its own action does not change.
        tables, origin = self.payoffs[:, 0], (0,) * self.agents
        potential = np.zeros(self.sizes)
        for joint in itertools.product(*map(range, self.sizes)):
            for agent in range(self.agents):
                before, after = joint[:agent] + origin[agent:], joint[: agent + 1] + origin[agent + 1 :]
                potential[joint] += tables[(agent, *after)] - tables[(agent, *before)]
        for agent, table in enumerate(tables):
            rest = table - potential
            if not np.allclose(rest, rest.take([0], agent), rtol=0, atol=rounding):
                return "other"
        return "potential"


def joint_shares(policies: list[np.ndarray]) -> np.ndarray:
    """Probabilities of joint actions [S, A_1, …, A_n] from those of the agents [S, A_i]."""
    joint = np.ones((len(policies[0]), 1))
    for policy in policies:
        joint = (joint[:, :, None] * policy[:, None, :]).reshape(len(joint), -1)
    return joint.reshape(len(joint), *(policy.shape[1] for policy in policies))


def repeated(name: str, payoffs: np.ndarray, policies: list[np.ndarray] | None = None) -> Game:
    """The game of one state with payoffs [n, A_1, …, A_n]."""
    tables = np.asarray(payoffs, float)[:, None]
    return Game(name, tables, np.ones((*tables.shape[1:], 1)), policies or [])


def softmax(logits: np.ndarray) -> np.ndarray:
    """Along the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def make(spec: str, rng: np.random.Generator) -> Game:
    """A game by name[:key=value,…] or file; random ones, and the policies of a game that brings none, from ``rng``.

    Raises InputError for what does not exist, is malformed or too large.
    """
    if Path(spec).suffix.lower() in (".yaml", ".yml", ".json"):
        game = from_file(path_given(spec, "--game"))
    else:
        name, arguments = parse_spec(spec)
        game = RANDOM[name](spec, rng, **_checked(spec, arguments)) if name in RANDOM else _named(spec)
    if not game.policies:
        game.policies = [softmax(rng.normal(0, 0.7, size)) for size in game.sizes]
    return game


def _checked(spec: str, arguments: dict[str, Any]) -> dict[str, int]:
    for name, value in arguments.items():
        if name not in ("agents", "actions"):
            raise InputError(f"--game {spec}: unknown argument '{name}'; random games take agents and actions")
        if isinstance(value, bool) or not isinstance(value, int) or value < 2:
            raise InputError(f"--game {spec}: {name} {value!r} is not a whole number of at least 2")
    return arguments


def _sized(spec: str, agents: int, actions: int) -> tuple[int, ...]:
    if agents * math.log(actions) > math.log(LARGEST) + 1e-9:
        raise InputError(f"--game {spec}: {actions}^{agents} joint actions are more than {LARGEST}")
    return (actions,) * agents


def _general(spec: str, rng: np.random.Generator, agents: int = 3, actions: int = 3) -> Game:
    return repeated(spec, rng.normal(size=(agents, *_sized(spec, agents, actions))))


def _team(spec: str, rng: np.random.Generator, agents: int = 3, actions: int = 3) -> Game:
    return repeated(spec, np.stack([rng.normal(size=_sized(spec, agents, actions))] * agents))


def _potential(spec: str, rng: np.random.Generator, agents: int = 3, actions: int = 3) -> Game:
    """u_i = Φ(a) + c_i(a_-i), both standard normal."""
    sizes = _sized(spec, agents, actions)
    shared = rng.normal(size=sizes)
    own = [np.expand_dims(rng.normal(size=sizes[1:]), agent) for agent in range(agents)]
    return repeated(spec, np.stack([shared + part for part in own]))


def _two_state(spec: str, rng: np.random.Generator, agents: int = 2, actions: int = 2) -> Game:
    """A team that the joint action moves between two states: normal payoffs, uniform transition probabilities."""
    sizes = _sized(spec, agents, actions)
    reward, stay = rng.normal(size=(2, *sizes)), rng.random((2, *sizes, 1))
    return Game(spec, np.stack([reward] * agents), np.concatenate([stay, 1 - stay], -1))


TABLES = ("climbing", "penalty", "qtran", "ipd", "matching_pennies")
"""Of ``games:`` those that are one table of payoffs."""
RANDOM = {"random": _general, "random_team": _team, "random_potential": _potential, "two_state": _two_state}


def _named(spec: str) -> Game:
    """A stage of ``games:SPEC``: the program's own environment, stepped once with every joint action."""
    from ..world.environments import make as make_environment
    from ..world.networked.games import GAMES

    name, arguments = parse_spec(spec)
    if name not in GAMES:
        raise InputError(
            f"--game {spec}: there is no such game or file; there are {', '.join((*TABLES, *RANDOM))}, and files ending in "
            ".yaml or .json"
        )
    number = arguments.pop("agents", None)
    if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
        raise InputError(f"--game {spec}: agents {number!r} is not a whole number")
    env = f"games:{name}" + "".join(
        f"{':' if not index else ','}{key}={value}" for index, (key, value) in enumerate(arguments.items())
    )
    actions = [agent.action for agent in make_environment(env, 1, number).spec.agents]
    if name not in TABLES or any(action.kind != "discrete" for action in actions):
        raise InputError(f"--game {spec}: has no table of payoffs for one step with finitely many actions")
    sizes = tuple(action.sizes[0] for action in actions)
    if sum(map(math.log, sizes)) > math.log(LARGEST) + 1e-9:
        raise InputError(f"--game {spec}: more than {LARGEST} joint actions")
    joint = np.array(list(itertools.product(*map(range, sizes))), np.int32)
    environment = make_environment(env, len(joint), number)
    everything = np.arange(len(joint))
    environment.reset(everything, [np.random.SeedSequence(0)] * len(joint))
    environment.step(list(joint.T))
    return repeated(spec, environment.reward.T.astype(float).reshape(len(sizes), *sizes))


def from_file(file: Path) -> Game:
    """A game as the head of this module says. Raises InputError that names file, key and what would be right."""
    from ..settings.yaml_files import read_yaml

    where = f"--game {file}"
    data = read_yaml(file, "--game")
    for key in data:
        if key not in KEYS:
            raise InputError(f"{where}: unknown key '{key}'; there are {', '.join(KEYS)}")
    if ("payoff" in data) == ("payoffs" in data):
        raise InputError(
            f"{where}: needs either 'payoffs', a table per agent, or 'payoff', one table for a team; "
            f"it has {'both' if 'payoff' in data else 'neither'}"
        )
    if "payoff" in data:
        table = _numbers(data["payoff"], f"{where}: payoff")
        payoffs = np.stack([table] * table.ndim)
    else:
        payoffs = _numbers(data["payoffs"], f"{where}: payoffs")
    sizes = payoffs.shape[1:]
    if len(payoffs) != len(sizes) or len(sizes) < 2:
        raise InputError(
            f"{where}: payoffs of shape {'×'.join(map(str, payoffs.shape))}: for n ≥ 2 agents there are n tables, each "
            "nested n deep (a list per action of agent 0, in it a list per action of agent 1, …)"
        )
    if min(sizes) < 2 or math.prod(sizes) > LARGEST:
        raise InputError(
            f"{where}: {'×'.join(map(str, sizes))} actions: everybody needs at least 2, and there may be {LARGEST} "
            "joint actions"
        )
    spreads = np.ptp(payoffs.reshape(len(payoffs), -1), axis=1)
    if (close := np.flatnonzero((spreads > 0) & (spreads < LEAST_SPREAD))).size:
        raise InputError(
            f"{where}: the payoffs of agent {close[0]} differ by {spreads[close[0]]:g} at most: write them in smaller units, so "
            f"that they differ by {LEAST_SPREAD:g} or more, or not at all"
        )
    name = data.get("name", file.stem)
    if not isinstance(name, str):
        raise InputError(f"{where}: name {name!r} is not text")
    policies = data.get("policies")
    return repeated(name, payoffs, None if policies is None else _policies(policies, sizes, where))


def _numbers(data: Any, where: str) -> np.ndarray:
    """Nested lists of finite numbers as an array."""
    if not _small(data):
        raise InputError(f"{where}: holds more than {MOST_NUMBERS} numbers, or lists more than {DEEPEST} deep")
    try:
        found = np.array(data, float)
    except (TypeError, ValueError, OverflowError):
        found = np.array(math.nan)
    if found.ndim == 0 or not found.size or not np.isfinite(found).all() or np.abs(found).max() > 1e6:
        raise InputError(f"{where}: is not nested lists of equal lengths of numbers within ±1e6")
    return found


def _small(data: Any) -> bool:
    """Whether what is nested in lists is not more than a game can be: aliases in YAML can make lists that hold themselves."""
    level, depth = [data], 0
    while any(isinstance(entry, list) for entry in level):
        if depth == DEEPEST or sum(len(entry) if isinstance(entry, list) else 1 for entry in level) > MOST_NUMBERS:
            return False
        level = [part for entry in level for part in (entry if isinstance(entry, list) else [entry])]
        depth += 1
    return True


def _policies(data: Any, sizes: tuple[int, ...], where: str) -> list[np.ndarray]:
    if not isinstance(data, list) or len(data) != len(sizes):
        raise InputError(f"{where}: policies {data!r}: needs a list of {len(sizes)} lists of probabilities")
    found = []
    for agent, (entry, size) in enumerate(zip(data, sizes)):
        share = _numbers(entry, f"{where}: policies[{agent}] {entry!r}")
        if share.shape != (size,) or (share < 0).any() or abs(share.sum() - 1) > 1e-6:
            raise InputError(f"{where}: policies[{agent}] {entry!r}: needs {size} probabilities that sum to 1")
        found.append(share / share.sum())
    return found
