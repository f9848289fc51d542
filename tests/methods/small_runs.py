"""Small teams of learners, and the gradient of one of their losses in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from perla_net.ground.processes import Processes
from perla_net.network.exchange import Inbox
from perla_net.settings.options import validated
from perla_net.simulation.prepare import prepare
from perla_net.simulation.simulation import Simulation

UNIFORM = {"kind": "epsilon", "start": 1.0, "end": 1.0}
QUICK = {"exploration": UNIFORM, "updates": 60, "batch": 64, "begin": 100, "target_every": 20}
TABLES = {
    "optimiser": {"method": "sgd", "learning_rate": 0.5, "critic_learning_rate": 0.5, "max_gradient_norm": 0.0},
    "model": {"policy_hidden": [], "critic_hidden": []},
}
"""Tables, moved by plain gradients."""


def team(env: str, algorithm: str, **settings: Any) -> Simulation:
    """A run of two agents who hear one another, before its first round; ``own``: options of the method."""
    own = settings.pop("own", {})
    whole = {"env": env, "algorithm": algorithm, "topology": "complete", "agents": 2, "copies": 32, "horizon": 8}
    whole |= {"rounds": 12, "returns": {"gamma": 0.99}} | ({algorithm: own} if own else {}) | settings
    if env.startswith("pettingzoo:"):  # which has its own agents
        del whole["agents"]
    simulation = Simulation(prepare(validated(whole)), Processes())
    simulation.start()
    return simulation


def trained(*arguments: Any, **settings: Any) -> list[Any]:
    """The methods of such a run after its last round."""
    simulation = team(*arguments, **settings)
    for _ in range(simulation.config.rounds):
        simulation.round()
    return simulation.methods


def heard(simulation: Simulation) -> tuple[list[Any], dict[int, Inbox]]:
    """Rollouts, their arrays copied, and inboxes of one more round, in which nobody learns."""
    rollouts = simulation._collect()
    messages = {m.index: m.tell(r, simulation.wanted[m.index]) for m, r in zip(simulation.methods, rollouts)}
    edges = simulation.plan.schedule.edges(1)
    return rollouts, simulation.network.exchange(messages, simulation.done + 1, edges, rollouts[0].final_at[:, 1])


def in_double(method: Any) -> None:
    """Networks and rows of a Q-learner in double precision; it takes no more steps."""
    method.policy.to(torch.float64)
    method.utility.target.network.to(torch.float64)
    method.utility._walk, drawn = None, method._drawn
    method._drawn = lambda chosen: {
        name: row.double() if row.dtype == torch.float32 else row for name, row in drawn(chosen).items()
    }
    method._step = lambda share: torch.zeros(())


def layers(network: Any, x: torch.Tensor) -> torch.Tensor:
    """What a network of linear layers with tanh or relu says, written out."""
    act = {"tanh": torch.tanh, "relu": torch.relu}[network.activation]
    for layer in range(network.layers):
        x = x @ network.tensors[f"w{layer}"].T + network.tensors[f"b{layer}"]
        x = act(x) if layer < network.layers - 1 else x
    return x


def close(found: torch.Tensor, slow: torch.Tensor, within: float = 1e-6) -> bool:
    """Whether two gradients agree, relative to the greatest number; torch's sigmoid stands for tanh to 2.5e-7."""
    return bool((found - slow).abs().max() <= within * slow.abs().max()) and bool(slow.abs().max() > 0)


@torch.no_grad()
def table(method: Any, observation: Any) -> np.ndarray:
    """Q(o, ·), by the network with which it acts."""
    return method.policy(torch.from_numpy(np.array([observation], np.float32)))[0].numpy()
