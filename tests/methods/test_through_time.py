"""Gradients through time and through neighbours, on 1, 2 and 4 ranks, against one process that has everybody's networks in one graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import job, needs_mpirun
from methods import through_time as case

from perla_net.network.links import LinkModel
from perla_net.network.messages import GRADIENT, MESSAGE
from perla_net.settings.config import Links


class Agent:
    """An agent's parameters, each a leaf of the one graph."""

    def __init__(self, kind: str, graph: str, index: int) -> None:
        self.policy, self.heard = case.network(kind, graph, index), case.heard_by(graph, index)
        self.p = {name: tensor.clone().requires_grad_() for name, tensor in self.policy.frozen.items()}
        self.hidden = self.policy.hidden

    def gru(self, read: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        """Cho et al. 2014 as torch has it: h' = (1 − z) n + z h."""
        r1, z1, n1 = F.linear(read, self.p["gru_wi"], self.p["gru_bi"]).chunk(3, 1)
        r2, z2, n2 = F.linear(h, self.p["gru_wh"], self.p["gru_bh"]).chunk(3, 1)
        r, z = torch.sigmoid(r1 + r2), torch.sigmoid(z1 + z2)
        return (1 - z) * torch.tanh(n1 + r * n2) + z * h

    def encoded(self, x: torch.Tensor) -> torch.Tensor:
        """e(o)."""
        for layer in range(self.policy.layers - 1):
            x = torch.tanh(F.linear(x, self.p[f"w{layer}"], self.p[f"b{layer}"]))
        return x

    def head(self, h: torch.Tensor) -> torch.Tensor:
        """Logits."""
        last = self.policy.layers - 1
        return F.linear(h, self.p[f"w{last}"], self.p[f"b{last}"])

    def gradient(self) -> np.ndarray:
        """Of all parameters, one after the other."""
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.p.values()]
        return torch.cat([part.flatten() for part in parts]).numpy()


def mean(agents, me, messages, name):
    """Σ C m over those heard, over their number; messages: j → (m, heard [copies])."""
    total = torch.zeros(case.COPIES, agents[me].hidden, dtype=torch.float64)
    for m, there in messages.values():
        total = total + there[:, None] * F.linear(m, agents[me].p[f"{name}_{m.shape[1]}"])
    return total / sum(there for _, there in messages.values()).clamp(min=1)[:, None] if messages else total


def reference(
    kind: str, graph: str, links: str, number: int, again: int, found: list[dict]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(gradient, outputs) of every agent, from the definitions; again: the how manieth pass back; ``found``: what was drawn: noise, gates, memories."""
    agents = [Agent(kind, graph, index) for index in range(case.AGENTS)]
    data = [case.given(index) for index in range(case.AGENTS)]
    edges = case.GRAPHS[graph][number - 1]
    model = LinkModel(Links(**case.LINKS[links]), 1, False, {})
    passes = case.PASSES if kind == "commnet" else 1
    shape = case.STEPS, case.COPIES
    fates = {(e, k): model.of_steps(*e, number, MESSAGE, k, shape, 0) for e in edges for k in range(passes)}
    # A gradient that is lost is zero.
    back = {
        (e, k): torch.from_numpy(
            model.of_steps(*e[::-1], number, GRADIENT, (again + 1) << 8 | k, shape, 0) > 0
        ).double()
        for e in edges
        for k in range(passes)
    }
    begins = data[0]["begins"]
    said: dict = {}  # (j, k, t) → m
    first = np.zeros(case.COPIES, int)
    memory = [torch.from_numpy(one["memory"]) for one in found]
    outputs: list[list[torch.Tensor]] = [[] for _ in agents]
    loss = torch.zeros((), dtype=torch.float64)

    def heard(i: int, k: int, t: int) -> dict:
        """j → (message, in which copies something is heard), by every message that arrives now: of one episode, the last one said."""
        result = {}
        for j in agents[i].heard:
            there, value = torch.zeros(case.COPIES, dtype=torch.float64), torch.zeros_like(said[j, k, t])
            for b in range(case.COPIES):
                for s in range(t, first[b] - 1, -1):
                    if (j, i) in edges and found[j]["spoke"][s, b] and fates[(j, i), k][s, b] == 1 + t - s:
                        there[b] = 1
                        row = torch.zeros(case.COPIES, 1, dtype=torch.float64)
                        row[b] = 1
                        kept = back[(j, i), k][s][:, None]
                        value = value + row * (kept * said[j, k, s] + (1 - kept) * said[j, k, s].detach())
                        break
            result[j] = value, there
        return result

    for t in range(case.STEPS):
        first[begins[t]] = t
        if t % case.CHUNK.get(links, case.STEPS) == 0:
            memory = [m.detach() for m in memory]
        keep = torch.from_numpy(~begins[t]).to(torch.float64)[:, None]
        memory = [m * keep for m in memory]
        x = [torch.from_numpy(one["x"][t]) for one in data]
        new = []
        if kind == "commnet":
            h = [a.gru(a.encoded(x[i]), memory[i]) for i, a in enumerate(agents)]
            for k in range(passes):
                said.update({(j, k, t): h[j] for j in range(case.AGENTS)})
                h = [
                    torch.tanh(F.linear(h[i], a.p[f"h{k}"], a.p[f"hb{k}"]) + mean(agents, i, heard(i, k, t), f"c{k}"))
                    for i, a in enumerate(agents)
                ]
            new = list(h)
        for j, a in enumerate(agents):
            h = memory[j][:, : a.hidden]
            if kind == "ic3net":
                said[j, 0, t] = h
                gate = F.linear(h, a.p["gate_w"], a.p["gate_b"])[:, 0]
                loss = loss + gate.sin().sum()
            elif kind == "dial":
                noise = torch.from_numpy(found[j]["noise"][t]).to(torch.float64)
                said[j, 0, t] = torch.sigmoid(F.linear(h, a.p["said_w"], a.p["said_b"]) + 0.5 * noise)
            elif kind == "tarmac":
                said[j, 0, t] = F.linear(h, a.p["said_w"], a.p["said_b"])
            elif kind == "fingerprint":
                said[j, 0, t] = memory[j][:, a.hidden :].detach()
            elif kind == "neurcomm":
                said[j, 0, t] = torch.cat([x[j], memory[j][:, a.hidden :].detach(), h], 1)
        for i, a in enumerate(agents):
            h = memory[i][:, : a.hidden]
            if kind in ("ic3net", "dial"):
                words = heard(i, 0, t)
                if kind == "dial":  # bits as ±1, and 0 where there is none
                    words = {j: ((2 * m - 1) * there[:, None], there) for j, (m, there) in words.items()}
                new.append(a.gru(a.encoded(x[i]) + mean(agents, i, words, "c"), h))
            elif kind == "tarmac":
                read, words = a.encoded(x[i]), heard(i, 0, t)
                if words:
                    query = F.linear(h, a.p["query_w"], a.p["query_b"])
                    scores = [(query * m[:, :3]).sum(1) / 3**0.5 for m, _ in words.values()]
                    weights = [there * score.exp() for score, (_, there) in zip(scores, words.values())]
                    total = sum(weights).clamp(min=1e-300)
                    value = sum((w / total)[:, None] * m[:, 3:] for w, (m, _) in zip(weights, words.values()))
                    read = read + F.linear(value, a.p["c"])
                new.append(a.gru(read, h))
            elif kind == "fingerprint":
                pi = a.p["pi_b"].expand(case.COPIES, -1)
                for n, (m, there) in enumerate(heard(i, 0, t).values()):
                    pi = pi + F.linear(torch.cat([m, there[:, None]], 1), a.p[f"pi_{n}"])
                new.append(a.gru(a.encoded(x[i]) + torch.relu(pi), h))
            elif kind == "neurcomm":
                see = F.linear(x[i], a.p["w0"], a.p["b0"])
                pi, think = a.p["pi_b"].expand_as(see), a.p["think_b"].expand_as(see)
                for n, (j, (m, there)) in enumerate(heard(i, 0, t).items()):
                    sizes = case.SIZES[j], case.ACTIONS[j], agents[j].hidden
                    o, p, thought = m.split(sizes, 1)
                    see = see + F.linear(torch.cat([o.detach(), 1 - there[:, None]], 1), a.p[f"see_{n}"])
                    pi, think = pi + F.linear(p.detach(), a.p[f"pi_{n}"]), think + F.linear(thought, a.p[f"think_{n}"])
                new.append(a.gru(torch.relu(torch.cat([see, pi, think], 1)), h))
        for i, a in enumerate(agents):
            out = a.head(new[i])
            outputs[i].append(out.detach())
            loss = loss + out.sin().sum()
            if kind in ("neurcomm", "fingerprint"):
                new[i] = torch.cat([new[i], out.detach().softmax(1)], 1)
        memory = new
    loss.backward()
    return [(a.gradient(), torch.stack(outs).numpy()) for a, outs in zip(agents, outputs)]


def compare(folder: Path) -> None:
    """Relative difference below 1e-10 for every agent, round, and whether messages were said again."""
    for kind, graph, links in case.CASES:
        for number in range(1, 1 + len(case.GRAPHS[graph])):
            for again in (0, 1):
                name = f"{kind}-{graph}-{links}.{number}.{again}"
                found = [dict(np.load(folder / f"{name}.{index}.npz")) for index in range(case.AGENTS)]
                for index, (gradient, outputs) in enumerate(reference(kind, graph, links, number, again, found)):
                    assert np.abs(found[index]["outputs"] - outputs).max() < 1e-12, (name, index)
                    away = np.linalg.norm(found[index]["gradient"] - gradient) / np.linalg.norm(gradient)
                    assert away < 1e-10, (name, index, away)


def test_alone(tmp_path):
    """One process."""
    case.main(tmp_path)
    compare(tmp_path)


@needs_mpirun
@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [2, 4])
def test_among_ranks(tmp_path, ranks):
    """The same bytes as in one process."""
    (tmp_path / "one").mkdir()
    (tmp_path / "more").mkdir()
    case.main(tmp_path / "one")
    job(ranks, case.__file__, str(tmp_path / "more"))
    for file in (tmp_path / "one").iterdir():
        one, more = np.load(file), np.load(tmp_path / "more" / file.name)
        for name in one.files:
            assert np.array_equal(one[name], more[name]), (file.name, name)
