"""Gradients of the learned messages in double precision, through the channel: a job of any number of ranks, see test_through_time.py.

``python through_time.py FOLDER``: for every case writes what each agent's network came to, ``CASE.AGENT.npz``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from perla_net.ground.processes import connect
from perla_net.learning.distributions import distribution_of
from perla_net.learning.talking import TALKING, TalkingPolicy
from perla_net.methods.through_time import backward, forward
from perla_net.methods.troupe import Talker, Troupe, chunked
from perla_net.network.channel import Channel
from perla_net.network.links import LinkModel
from perla_net.settings.config import Links
from perla_net.world.spec import ActionSpec
from perla_net.world.world import blocks_of

AGENTS, COPIES, STEPS = 4, 3, 20
RING = tuple(sorted([(a, (a + 1) % 4) for a in range(4)] + [((a + 1) % 4, a) for a in range(4)]))
STAR = tuple(sorted([(0, a) for a in range(1, 4)] + [(a, 0) for a in range(1, 4)]))
DIRECTED = ((0, 1), (1, 2), (2, 0), (2, 3))
GRAPHS = {"ring": [RING], "star": [STAR], "directed": [DIRECTED], "changing": [RING, DIRECTED]}
SIZES, ACTIONS, HIDDEN = (3, 2, 4, 3), (2, 3, 2, 4), ((5, 6), (7, 4), (6,), (5, 6))
"""Everybody's observation, actions and hidden layers."""
LINKS = {"clean": {}, "bad": {"loss": 0.3, "delay": 0.8, "delay_model": "geometric"}, "chunks": {"loss": 0.3}}
CHUNK = {"chunks": 5}
"""Steps of time that gradients go back through, where not all."""
CASES = [(kind, graph, "clean") for kind in TALKING for graph in GRAPHS]
CASES += [(kind, "ring", links) for kind in TALKING for links in ("bad", "chunks")]
PASSES = 2


def heard_by(graph: str, agent: int) -> list[int]:
    """Whom an agent may hear in some round."""
    return sorted({j for edges in GRAPHS[graph] for j, i in edges if i == agent})


def network(kind: str, graph: str, agent: int) -> TalkingPolicy:
    """An agent's network, with parameters that all ranks and the test agree on."""
    own = {
        "commnet": {"passes": PASSES},
        "dial": {"bits": 3, "noise": 0.5},
        "tarmac": {"signature": 3, "value": 4},
    }.get(kind, {})
    heard = heard_by(graph, agent)
    if kind in ("neurcomm", "fingerprint"):
        own = {"shares": [ACTIONS[agent]]}
    if kind == "neurcomm":
        own["parts"] = [[SIZES[j], ACTIONS[j], HIDDEN[j][-1]] for j in heard]

    def said(j: int) -> tuple[int, ...]:
        return TALKING[kind].says(HIDDEN[j][-1], SIZES[j], ACTIONS[j], own)

    found = TALKING[kind](
        *(SIZES[agent], HIDDEN[agent], ACTIONS[agent], 0, "tanh", [said(j) for j in heard], own), dtype=torch.float64
    )
    found.flat[:] = 0.4 * torch.from_numpy(np.random.default_rng((5, agent)).standard_normal(len(found.flat)))
    return found


def given(agent: int) -> dict[str, np.ndarray]:
    """Observations, where episodes begin, in which copies the agent is there, memory's begin."""
    rng = np.random.default_rng((7, agent))
    begins = np.random.default_rng(3).random((STEPS, COPIES)) < 0.12
    there = rng.random((STEPS, COPIES)) < 0.9
    return {"x": rng.standard_normal((STEPS, COPIES, SIZES[agent])), "begins": begins, "there": there}


def slopes_of(outputs: torch.Tensor) -> torch.Tensor:
    """∂L/∂outputs of L = Σ sin(outputs)."""
    return torch.cos(outputs.detach())


def main(folder: Path) -> None:
    """All cases, and of each two rounds: one as it was heard, one in which everything is said again."""
    processes = connect()
    blocks = blocks_of(AGENTS, processes.size)
    mine = blocks[processes.rank]
    for kind, graph, links in CASES:
        policies = {agent: network(kind, graph, agent) for agent in range(AGENTS)}
        sizes = {agent: policy.sizes_said for agent, policy in policies.items()}
        potential = sorted({edge for edges in GRAPHS[graph] for edge in edges})
        model = LinkModel(Links(**LINKS[links]), 1, False, {})
        chunk = CHUNK.get(links, STEPS)
        channel = Channel(processes, blocks, sizes, potential, model, COPIES, STEPS, dtype=np.float64, chunk=chunk)
        talkers = []
        for agent in mine:
            distribution = distribution_of(ActionSpec("discrete", (ACTIONS[agent],)))
            talkers.append(Talker([agent], policies[agent], distribution, torch.zeros(0), COPIES, STEPS))
            talkers[-1].memory = talkers[-1].memory + 0.1
        for number, edges in enumerate(GRAPHS[graph], 1):
            channel.begin(number, edges)
            data = {agent: given(agent) for agent in mine}
            for talker in talkers:
                talker.begin(np.random.default_rng((11, *talker.members)), learns=True)
            troupe = Troupe(channel, talkers, lambda n, t, data=data: data[mine[n]]["there"][t])
            for t in range(STEPS):
                words = [np.zeros((COPIES, 1), np.float32) for _ in mine]
                rows = [data[agent] for agent in mine]
                troupe.act(
                    t, [row["x"][t] for row in rows], [None] * len(mine), [row["begins"][t] for row in rows], words
                )
            for again in (False, True):
                for talker in talkers:
                    talker.policy.gradient.zero_()
                learning = {
                    talker.members[0]: _learn(talker, data[talker.members[0]], chunk, again) for talker in talkers
                }
                _conduct(channel, learning, again)
                for talker in talkers:
                    name = f"{kind}-{graph}-{links}.{number}.{int(again)}.{talker.members[0]}.npz"
                    kept = {"gradient": talker.policy.gradient.numpy(), "outputs": torch.stack(talker.outputs).numpy()}
                    kept |= {"spoke": np.stack(talker.open_gate), "memory": talker.memories[0].numpy()}
                    noise = talker.noise_said
                    np.savez(folder / name, noise=np.zeros(0) if noise is None else noise, **kept)
        channel.free()


def _learn(talker: Talker, data: dict[str, np.ndarray], chunk: int, again: bool):
    x, begins = (chunked(torch.from_numpy(data[name]), chunk, 0, 1) for name in ("x", "begins"))
    passage = yield from forward(talker, talker.kept(chunk), x, begins, again and talker.policy.teaches)
    gates = torch.stack([slopes_of(gate) for gate in passage.gates]) if talker.policy.gates else None
    yield from backward(talker, passage, begins, slopes_of(passage.outputs), gates)


def _conduct(channel: Channel, learning: dict, again: bool) -> None:
    said: dict = {}

    def go_on(answers: dict | None) -> None:
        said.clear()
        for agent, steps in learning.items():
            words = next_of(steps, None if answers is None else [answers.get(agent)])
            said.update({} if words is None else {agent: words.numbers[0]})

    def next_of(steps, answer):
        try:
            return steps.send(answer)
        except StopIteration:
            return None

    order = [(t, k) for t in range(channel.chunk) for k in range(channel.passes)]
    go_on(None)
    if again:
        channel.anew()
        for t, k in order:
            go_on(channel.again(t, k, dict(said)))
    channel.backwards()
    for t, k in reversed(order):
        go_on(channel.back(t, k, dict(said)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
