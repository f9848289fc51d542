"""The team's value: losses against an independent, slow way to write the same equations, and what must hold for any numbers."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import torch

from perla_net.learning.mixers import Dueling, JointValue, Monotonic, columns_of, one_hot
from perla_net.methods.targets import Target
from perla_net.methods.team_value import (
    Batch,
    CentrallyWeighted,
    Duelled,
    Mixed,
    OptimisticallyWeighted,
    Sizes,
    Transformed,
    TransformedAlternative,
)

ACTIONS, STATE, ROWS, GAMMA = (2, 4, 3), 5, 9, 0.9
VARIABLES = {Mixed: 1, Duelled: 1, Transformed: 2, TransformedAlternative: 2 + max(ACTIONS)}
OPTIONS = SimpleNamespace(
    width=4, hyper=6, kernels=3, depth=2, hidden=7, opt_weight=0.7, nopt_weight=0.3, alpha=0.2, central=8
)
OPTIONS.target_every, OPTIONS.target_rate = 100, 1.0
KINDS = (Mixed, Duelled, Transformed, TransformedAlternative, OptimisticallyWeighted, CentrallyWeighted)


def value_of(kind, seed=0):
    """In double precision, with targets that are not the networks."""
    generator = torch.Generator().manual_seed(seed)
    value = kind(Sizes(STATE, ACTIONS), OPTIONS, GAMMA, generator, "cpu")
    for network in value.networks.values():
        network.to(torch.float64)
    for name in value.targets:
        value.targets[name] = Target(value.networks[name], 100, 1.0)
        value.targets[name].network.flat.add_(0.1 * torch.randn(len(value.networks[name].flat), generator=generator))
    return value


def batch_of(kind, seed=0):
    """Somebody is dead, somebody dies, all die, nobody does; weights that are not equal, and one that is 0."""
    generator = torch.Generator().manual_seed(100 + seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    agents = len(ACTIONS)
    alive = torch.ones(ROWS, agents, dtype=torch.float64)
    alive[1, 0] = alive[2, 2] = alive[2, 0] = 0
    goes_on = alive.clone()
    goes_on[3], goes_on[4, 1], goes_on[5, :2] = 0, 0, 0
    weight = torch.rand(ROWS, generator=generator, dtype=torch.float64)
    weight[-1] = 0

    def some_action():
        return torch.stack([torch.randint(most, (ROWS,), generator=generator) for most in ACTIONS], 1)

    action = some_action()
    greedy = torch.where(torch.rand(ROWS, 1, generator=generator) < 0.4, action, some_action())
    then = some_action().double()
    known = {
        Mixed: [normal(ROWS, agents)],
        Duelled: [normal(ROWS, agents) + 2, normal(ROWS, agents), normal(ROWS, agents) + 2, then],
        Transformed: [greedy.double(), then],
        TransformedAlternative: [greedy.double(), then],
        OptimisticallyWeighted: [normal(ROWS, agents)],
        CentrallyWeighted: [normal(ROWS, agents), normal(ROWS, agents), (greedy == action).double()],
    }[kind]
    if kind is TransformedAlternative:
        allowed = torch.rand(ROWS, agents, max(ACTIONS), generator=generator) < 0.8
        allowed |= torch.nn.functional.one_hot(action, max(ACTIONS)) > 0
        allowed &= torch.arange(max(ACTIONS)) < torch.tensor(ACTIONS)[:, None]
        known += allowed.double().unbind(-1)
    variables = VARIABLES.get(kind, 2)
    present = normal(variables, agents, ROWS).requires_grad_()
    return Batch(
        normal(ROWS, STATE),
        normal(ROWS, STATE),
        action,
        alive,
        goes_on,
        normal(ROWS),
        weight / weight.sum(),
        present,
        torch.stack(known).mT,
    )


# The same equations, row by row and agent by agent


def layer(tensors, name, x):
    return tensors[f"w_{name}"] @ x + tensors[f"b_{name}"]


def mlp(tensors, x):
    depth = len(tensors) // 2
    for k in range(depth):
        x = tensors[f"w{k}"] @ x + tensors[f"b{k}"]
        x = x.clamp(min=0) if k < depth - 1 else x
    return x[0]


def slow_qmix(tensors, state, q):
    """w₂ᵀ elu(W₁ᵀ q + b₁) + V."""
    h, e = OPTIONS.hyper, OPTIONS.width
    first = layer(tensors, "first", state)
    w1 = layer(tensors, "weights", first[:h].clamp(min=0)).abs().view(len(q), e)
    w2 = layer(tensors, "last", first[h : 2 * h].clamp(min=0)).abs()
    before = w1.T @ q + first[2 * h : 2 * h + e]
    hidden = torch.where(before > 0, before, before.exp() - 1)
    return w2 @ hidden + layer(tensors, "value", first[2 * h + e :].clamp(min=0))[0]


def through(tensors, name, x, depth):
    for k in range(depth):
        x = layer(tensors, f"{name}_{k}", x).clamp(min=0)
    return layer(tensors, f"{name}_{depth}", x)


def slow_joint(action, there):
    vector = []
    for u, alive, most in zip(action, there, ACTIONS):
        vector += [float(alive) if k == int(u) else 0.0 for k in range(most)]
    return torch.tensor(vector, dtype=torch.float64)


def slow_qplex(tensors, state, joint, q, greatest):
    w = through(tensors, "weight", state, 1).abs() + 1e-10
    b = through(tensors, "bias", state, 1)
    key = through(tensors, "key", state, 2).abs() + 1e-10
    agent = torch.sigmoid(through(tensors, "agent", state, 2))
    action = torch.sigmoid(through(tensors, "action", torch.cat([state, joint]), 2))
    total = torch.zeros((), dtype=torch.float64)
    for i in range(len(q)):
        importance = sum(key[k] * agent[k * len(q) + i] * action[k * len(q) + i] for k in range(OPTIONS.kernels))
        advantage = (w[i] * q[i] + b[i] - (w[i] * greatest[i] + b[i])).detach()
        total = total + w[i] * q[i] + b[i] + (importance - 1) * advantage
    return total


def slow_loss(kind, value, batch, tensors):
    """The whole loss, from leaves ``tensors`` [network][name]."""
    target = {name: one.network.frozen for name, one in value.targets.items()}
    loss = torch.zeros((), dtype=torch.float64)
    for m in range(ROWS):
        state, then, y = batch.state[m], batch.following[m], batch.reward[m]
        alive, goes_on = batch.alive[m], batch.goes_on[m]
        q = [batch.present[k, :, m] * alive for k in range(len(batch.present))]
        known = [batch.known[k, :, m] for k in range(len(batch.known))]
        joint = slow_joint(batch.action[m], alive)
        if goes_on.any():
            if kind is Mixed:
                after = slow_qmix(target["mixer"], then, known[0] * goes_on)
            elif kind is Duelled:
                after = slow_qplex(
                    target["mixer"], then, slow_joint(known[3], goes_on), known[1] * goes_on, known[2] * goes_on
                )
            elif issubclass(kind, Transformed):
                after = mlp(target["joint"], torch.cat([then, slow_joint(known[1], goes_on)]))
            else:  # the unrestricted critic, not the mixer
                after = mlp(target["central"], torch.cat([then, known[0] * goes_on])) + mlp(
                    target["central_value"], then
                )
            y = y + GAMMA * after
        w = batch.weight[m]
        if kind is Mixed:
            loss = loss + w * 0.5 * (slow_qmix(tensors["mixer"], state, q[0]) - y) ** 2
        elif kind is Duelled:
            loss = loss + w * 0.5 * (slow_qplex(tensors["mixer"], state, joint, q[0], known[0] * alive) - y) ** 2
        elif issubclass(kind, Transformed):

            def free(u, state=state):
                return mlp(tensors["joint"], torch.cat([state, u]))

            v = mlp(tensors["value"], state)
            loss = loss + w * 0.5 * (free(joint) - y) ** 2
            opt = q[1].sum() - free(slow_joint(known[0], alive)).detach() + v
            loss = loss + w * OPTIONS.opt_weight * 0.5 * opt**2
            if kind is Transformed:
                gap = (q[0].sum() - free(joint).detach() + v).clamp(max=0)
                loss = loss + w * OPTIONS.nopt_weight * 0.5 * gap**2
                continue
            parts = []
            for i in range(len(ACTIONS)):
                if not alive[i]:
                    continue
                gaps = []
                for b in range(ACTIONS[i]):
                    if known[2 + b][i]:
                        other = batch.action[m].clone()
                        other[i] = b
                        rest = sum(q[0][j] for j in range(len(ACTIONS)) if j != i)
                        gaps.append(batch.present[2 + b, i, m] + rest - free(slow_joint(other, alive)).detach() + v)
                parts.append(0.5 * torch.stack(gaps).min() ** 2)
            loss = loss + w * OPTIONS.nopt_weight * sum(parts) / len(parts)
        else:
            total = slow_qmix(tensors["mixer"], state, q[0])
            critic = mlp(tensors["central"], torch.cat([state, q[1]])) + mlp(tensors["central_value"], state)
            if kind is OptimisticallyWeighted:
                full = bool(total < y)
            else:
                best = mlp(target["central"], torch.cat([state, known[1] * alive])) + mlp(
                    target["central_value"], state
                )
                full = all(known[2][i] or not alive[i] for i in range(len(ACTIONS))) or bool(y > best)
            loss = loss + w * (1.0 if full else OPTIONS.alpha) * 0.5 * (total - y) ** 2
            loss = loss + w * 0.5 * (critic - y) ** 2
    return loss


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_gradients(kind, seed):
    """Of the told utilities and of every parameter, in double precision."""
    value, batch = value_of(kind, seed), batch_of(kind, seed)
    loss, error, total, figures = value.loss(batch)
    loss.backward()
    found = batch.present.grad.clone()
    batch.present.grad = None
    tensors = {
        name: {key: one.clone().requires_grad_() for key, one in network.frozen.items()}
        for name, network in value.networks.items()
    }
    slow = slow_loss(kind, value, batch, tensors)
    slow.backward()
    torch.testing.assert_close(loss, slow, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found, batch.present.grad, rtol=1e-8, atol=1e-12)
    for name, network in value.networks.items():
        for key, one in tensors[name].items():
            torch.testing.assert_close(network.gradients[key], one.grad, rtol=1e-8, atol=1e-12)
    assert len(figures) == len(kind.figures)
    assert not found[:, batch.alive.T == 0].any()  # nothing goes back to who was not there
    assert total.shape == error.shape == (ROWS,)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_follows_an_end(kind):
    """Where nobody lives on, y is the reward, whatever was told of what follows; who is dead has no part in either value."""
    value, batch = value_of(kind), batch_of(kind)
    _, error, total, _ = value.loss(batch)
    torch.testing.assert_close((total - error)[3], batch.reward[3])
    other = batch_of(kind)
    other.following[3] += 5
    dead = batch.alive.T == 0
    with torch.no_grad():
        other.present[:, dead] += 7
    other.action = torch.where(batch.alive > 0, other.action, 0)
    _, error2, total2, _ = value.loss(other)
    torch.testing.assert_close(total, total2)
    torch.testing.assert_close(error, error2)


def tables(seed):
    """Utilities of three agents, and all their joint actions with what is chosen there, [joint actions, 3]."""
    generator = torch.Generator().manual_seed(seed)
    each = [torch.randn(most, generator=generator) * 2 for most in ACTIONS]
    joint = torch.tensor(list(itertools.product(*map(range, ACTIONS))))
    chosen = torch.stack([each[i][joint[:, i]] for i in range(len(ACTIONS))], 1)
    greedy = torch.tensor([int(one.argmax()) for one in each])
    return joint, chosen, greedy, torch.stack([one.max() for one in each])


@pytest.mark.parametrize("seed", range(20))
def test_best_of_each_is_best_of_all(seed):
    """QMIX and QPLEX with any weights: the joint action with the greatest Q_tot is everybody's best."""
    joint, chosen, greedy, greatest = tables(seed)
    generator = torch.Generator().manual_seed(seed)
    rows = len(joint)
    state = (3 * torch.randn(1, STATE, generator=generator)).expand(rows, -1)
    qmix, qplex = Monotonic(STATE, 3, 8, 8), Dueling(STATE, ACTIONS, 8, 10, depth=seed % 3)
    for mixer in (qmix, qplex):
        mixer.start(generator)
        mixer.flat.mul_(3)
    encoded = one_hot(joint, torch.ones(rows, 3), ACTIONS)
    best = int((joint == greedy).all(1).nonzero())
    total = qmix(state, chosen)
    assert total[best] >= total.max() - 1e-5 * total.abs().max()
    total = qplex(state, encoded, chosen, greatest.expand(rows, -1))
    assert total.argmax() == best
    # at the greedy joint action the advantages are zero: Q_tot = Σ w q + b there
    weight, bias = qplex.heads(state)
    torch.testing.assert_close(total[best], (weight * greatest + bias)[best].sum())
    importance = qplex.importance(state, encoded)
    assert (weight > 0).all() and (importance > 0).all()
    assert importance.std(0).min() > 0  # of the joint action, or QPLEX would be weighted VDN
    # every other joint action is worth Σ λ_i A_i less
    gap = (importance * weight * (chosen - greatest)).sum(1)
    torch.testing.assert_close(total, total[best] + gap, rtol=1e-4, atol=1e-4)


def test_a_bias_may_be_negative():
    """QMIX: only weights are absolute values; a negative bias, and a negative value of the state, are reached."""
    mixer = Monotonic(STATE, 2, 4, 4)
    mixer.start(torch.Generator().manual_seed(0))
    mixer.frozen["b_value"].fill_(-50.0)
    assert mixer(torch.randn(3, STATE), torch.zeros(3, 2)).max() < 0
    before = mixer(torch.zeros(1, STATE), torch.ones(1, 2))
    mixer.frozen["b_first"][8:12] -= 0.5
    assert mixer(torch.zeros(1, STATE), torch.ones(1, 2)) < before


def test_optimistic_weights_are_not_reversed():
    """OW counts fully where the mixer says too little."""
    value, batch = value_of(OptimisticallyWeighted), batch_of(OptimisticallyWeighted)
    _, error, total, figures = value.loss(batch)
    assert 0 < float(figures[1]) < 1
    torch.testing.assert_close(figures[1], (batch.weight * (total < total - error)).sum())


def test_joint_values_of_every_own_action():
    """QTRAN's counterfactual values are those of the network itself; agents with fewer actions are padded."""
    network = JointValue(STATE, ACTIONS, 6)
    network.start(torch.Generator().manual_seed(1), False, 1.0)
    action = torch.tensor([[1, 3, 0], [0, 1, 2]])
    there = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
    state, joint = torch.randn(2, STATE), one_hot(action, there, ACTIONS)
    found = network.of_every_own(state, joint)
    assert found.shape == (2, 3, 4)
    for row, agent in itertools.product(range(2), range(3)):
        for own in range(ACTIONS[agent]) if there[row, agent] else ():
            other = action.clone()
            other[row, agent] = own
            expected = network.value(state, one_hot(other, there, ACTIONS))[row]
            torch.testing.assert_close(found[row, agent, own], expected)
    assert columns_of(ACTIONS).tolist() == [[0, 1, 1, 1], [2, 3, 4, 5], [6, 7, 8, 8]]
