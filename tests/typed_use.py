"""What a user's program looks like to a type checker (`mypy`, see pyproject.toml; nothing here is run): an annotation of the public names
that is lost or changed is an error here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Sequence

import networkx as nx
import numpy as np
import torch
from typing_extensions import assert_type

import perla_net
from perla_net import Config, InputError, Stopped, load_agent, train
from perla_net.learning.models import MLP, Adam, Policy
from perla_net.methods.acting import Acting
from perla_net.methods.protocol import Facts, Learning, Method, Now, Seat
from perla_net.methods.returns import discounted
from perla_net.network.exchange import Inbox
from perla_net.network.graphs import build
from perla_net.network.measures import properties
from perla_net.network.talk import Say
from perla_net.settings.config import AgentSettings, Fraction, Rate, Section, option
from perla_net.simulation.loading import LoadedAgent
from perla_net.simulation.running import Result
from perla_net.world.networked.base import Batch
from perla_net.world.parallel import parallel_env
from perla_net.world.spec import ActionSpec, AgentSpec, WorldSpec
from perla_net.world.world import Rollout


def runs() -> Path:
    """A run, and one of its agents."""
    config = Config(env="spread", topology="ring", rounds=10, copies=8, out="runs/four")
    assert_type(config.rounds, int)
    assert_type(config.topology, str)
    assert_type(perla_net.__version__, str)
    try:
        result = assert_type(train(config), Result)
    except (InputError, Stopped):
        raise SystemExit(2) from None
    assert_type(result.rounds, int)
    assert_type(result.evaluation, dict[str, Any] | None)
    agent = assert_type(load_agent(result.folder / "checkpoints" / "10" / "agent_0"), LoadedAgent)
    assert_type(agent.spec.action.joint, int | None)
    agent.act(np.zeros(agent.spec.observation_size, np.float32), rng=np.random.default_rng(0))
    return result.folder


@dataclass
class Options(Section):
    """Options of a method."""

    learning_rate: Rate = option(1e-2, "Step size.")
    trust: Fraction = option(0.3, "Weight of what neighbours say.")


class Gossip(Acting):
    """A method, as in docs/examples/own_method.py."""

    facts = Facts(
        "A method.", "policy gradient", "on", ("discrete",), "neighbours", "returns", "its own reward", "-", "tested"
    )
    Options = Options
    statistics = ("baseline",)
    purposes = ("gossip",)

    def __init__(self, seat: Seat) -> None:
        start, noise = assert_type(seat.streams(2), list[np.random.SeedSequence])
        super().__init__(seat, assert_type(seat.new_policy(start), Policy), noise)
        self.options = assert_type(seat.options(Options), Options)
        self.value = MLP((assert_type(seat.spec, AgentSpec).observation_size, 32, 1), "tanh")
        self.optimiser = Adam(self.value, epsilon=1e-5, max_norm=0.5)

    def learn(self, rollout: Rollout, inbox: Inbox, now: Now) -> Learning:
        assert_type(self.settings, AgentSettings)
        assert_type(rollout.observation, np.ndarray)
        assert_type(now.progress, float)
        reward = assert_type(self.reward(rollout, inbox), torch.Tensor)
        returns = assert_type(discounted(rollout, reward, self.settings.returns.gamma), torch.Tensor)
        heard = yield Say("gossip", np.array([float(returns.mean())], np.float32))
        value = assert_type(self.value(self.with_identity(self.observation)), torch.Tensor)
        assert_type(self.optimiser.step(self.options.learning_rate), torch.Tensor)
        return {"baseline": float(value.mean()) + self.options.trust * len(heard)}


def methods() -> type[Method]:
    return Gossip


class Walkers(Batch):
    """An environment, as in docs/examples/walkers_batch.py."""

    STATE = ("time", "place")

    def __init__(self, copies: int, agents: int | None = None, horizon: int = 20) -> None:
        super().__init__(copies, agents or 4, horizon)
        self.place = np.zeros((copies, agents or 4))

    @property
    def spec(self) -> WorldSpec:
        walker = [AgentSpec(f"walker_{k}", 2, "box", (2,), ActionSpec("discrete", (3,))) for k in range(4)]
        return WorldSpec("walkers", tuple(walker), ((0, 1),), self.horizon)

    def draw(self, copy: int, rng: np.random.Generator) -> None:
        self.place[copy] = rng.uniform(-5, 5, self.place.shape[1])

    def step(self, actions: Sequence[np.ndarray]) -> None:
        self.time += 1
        self.reward[:] = -np.abs(self.place)


def environments() -> dict[str, float]:
    env = parallel_env("traffic:grid", rows=3, columns=4)
    env.reset(seed=0)
    assert_type(Walkers(8).spec.agents, tuple[AgentSpec, ...])
    return {name: float(values[0]) for name, values in Walkers(8).metrics(np.arange(1)).items()}


def topology(agents: Sequence[str], rng: np.random.Generator) -> nx.DiGraph:
    """A topology file's function; and what the program knows of a graph."""
    graph = build("watts_strogatz:k=4,p=0.1", agents, None, seed=0)
    assert_type(properties(graph), dict[str, Any])
    return graph
