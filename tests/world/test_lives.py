"""Random lives through world, returns and embedding, against what is right by the definition (``scripted.py``)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scripted import right

from perla_net.ground.errors import ContractError, InputError
from perla_net.ground.processes import Processes
from perla_net.methods.returns import generalised_advantages
from perla_net.settings.options import validated
from perla_net.simulation.prepare import prepare
from perla_net.simulation.simulation import Simulation
from perla_net.world.contract import Lives
from perla_net.world.environments import make
from perla_net.world.world import TRAINING


def value_of(seen) -> float:
    """A value function that is unlike at any two observations."""
    return float(np.sin(12.9898 * seen[0] + 78.233 * seen[1] + 37.719 * seen[2]) * 3)


def simulation_of(rng: np.random.Generator) -> Simulation:
    agents, horizon = int(rng.integers(1, 5)), int(rng.choice([0, 0, 4, 9]))
    arguments = f"agents={agents}" + (f",horizon={horizon}" if horizon else "")
    options = {
        "env": f"pettingzoo:scripted:{arguments}",
        "topology": "complete",
        "form": "state",
        "copies": int(rng.integers(1, 4)),
        "horizon": int(rng.integers(1, 12)),
        "seed": int(rng.integers(2**31)),
        "model": {"policy_hidden": [4], "critic_hidden": [4]},
    }
    return Simulation(prepare(validated(options)), Processes())


def truth_of(simulation: Simulation, rollouts: int) -> list[list[list]]:
    """[copies][steps + 1][agents] of what is right for so many rollouts."""
    config, spec = simulation.config, simulation.plan.world
    table = []
    for copy in range(config.copies):

        def seed(episode, copy=copy):
            sequence = np.random.SeedSequence(config.seed, spawn_key=(TRAINING, copy, episode))
            return int(sequence.generate_state(1)[0] >> 1)

        cut = 0
        if spec.horizon and config.copies > 1:
            cut = -(-spec.horizon * (copy + 1) // config.copies)
            cut = 0 if cut >= spec.horizon else cut
        table.append(right(seed, len(spec.agents), cut, rollouts * config.horizon))
    return table


def advantages(steps, gamma: float, trace: float) -> dict[int, tuple[float, float]]:
    """t → (A_t, G_t) of one agent in one copy for the steps in which it acts, summed up anew for each of them."""
    found = {}
    for start, first in enumerate(steps[:-1]):
        if not first.there:
            continue
        total, weight = 0.0, 1.0
        for t in range(start, len(steps) - 1):
            one = steps[t]
            following = 0.0 if one.terminated else value_of(one.final if one.truncated else steps[t + 1].seen)
            total += weight * (one.reward + gamma * following - value_of(one.seen))
            weight *= gamma * trace
            if one.terminated or one.truncated:
                break
        found[start] = total, total + value_of(first.seen)
    return found


def check(rng: np.random.Generator) -> None:
    simulation = simulation_of(rng)
    simulation.start()
    horizon, rounds = simulation.config.horizon, 2
    truth = truth_of(simulation, rounds)
    gamma, trace = float(rng.uniform(0.5, 1)), float(rng.choice([0.0, 0.9, 1.0]))
    for number in range(rounds):
        rollouts = simulation._collect()
        window = [copy[number * horizon : (number + 1) * horizon + 1] for copy in truth]
        for agent, rollout in enumerate(rollouts):
            check_rollout(agent, rollout, window, gamma, trace)
        check_embedding(simulation, rollouts, window)


def check_rollout(agent: int, rollout, window, gamma: float, trace: float) -> None:
    seen = [*rollout.observation.reshape(-1, 3), *rollout.final_observation]
    value = torch.tensor([value_of(row) for row in seen], dtype=torch.float64)
    reward = torch.from_numpy(rollout.reward.astype(np.float64))
    targets = generalised_advantages(rollout, reward, value, gamma, trace)
    for copy, steps in enumerate(window):
        mine = [row[agent] for row in steps]
        expected = advantages(mine, gamma, trace)
        for t, one in enumerate(mine):
            assert rollout.alive[t, copy] == one.there
            assert rollout.begins[t, copy] == (one.begins and t > 0 or rollout.begins[t, copy] and t == 0)
            if one.there:
                assert np.array_equal(rollout.observation[t, copy], one.seen)
            if t == len(mine) - 1:
                continue
            assert rollout.reward[t, copy] == one.reward
            if one.there:
                assert (rollout.terminated[t, copy], rollout.truncated[t, copy]) == (one.terminated, one.truncated)
                assert targets.advantage[t, copy].item() == pytest.approx(expected[t][0], abs=1e-6)
                assert targets.target[t, copy].item() == pytest.approx(expected[t][1], abs=1e-6)
            else:
                assert not rollout.terminated[t, copy]


def check_embedding(simulation: Simulation, rollouts, window) -> None:
    """V̂(o) = E[V(o, a_N)] over those neighbours who are there, the others counting as absent, summed up one joint action at a time."""
    messages = {a.index: a.tell(r, simulation.wanted[a.index]) for a, r in zip(simulation.methods, rollouts)}
    inboxes = simulation.network.exchange(messages, 1, simulation.plan.schedule.edges(1), rollouts[0].final_at[:, 1])
    agent, rollout = simulation.methods[0], rollouts[0]
    neighbours = agent.hearing.hear(rollout, inboxes.get(0, {}), 1, agent.observation, agent.mask)
    learner, action = agent.learner, agent.distribution.read(rollout.action)
    found, _, _ = learner.values(agent.observation, agent.outputs, neighbours, action)
    copies = rollout.reward.shape[1]
    for copy, steps in enumerate(window):
        for t, row in enumerate(steps):
            if row[0].there:
                expected = embedded(simulation, row, row[0].seen, [one.there for one in row])
                assert found[t * copies + copy].item() == pytest.approx(expected, abs=1e-4)
    for index, (t, copy) in enumerate(rollout.final_at):
        row = window[copy][t]
        if row[0].truncated:
            # Whoever is there at the observation at which the first agent is cut off: cut off too, or going on.
            there = [
                one.truncated
                or (one.there and not one.terminated)
                or (window[copy][t + 1][k].there and not one.there and not window[copy][t + 1][k].begins)
                for k, one in enumerate(row)
            ]
            final = [one.final if one.truncated else window[copy][t + 1][k].seen for k, one in enumerate(row)]
            rows = [type(one)(there[k], False, final[k]) for k, one in enumerate(row)]
            expected = embedded(simulation, rows, row[0].final, there)
            assert found[rollout.reward.size + copies + index].item() == pytest.approx(expected, abs=1e-4)


def embedded(simulation: Simulation, row, seen, there) -> float:
    learner = simulation.methods[0].learner
    others = simulation.methods[0].embedded
    x = torch.tensor(np.asarray(seen, np.float32))
    choices = []
    for other in others:
        if not there[other]:
            choices.append([(1.0, torch.tensor([0.0, 0, 0, 1]))])
            continue
        logits = simulation.methods[other].policy(torch.tensor(row[other].seen)[None])[0]
        share = torch.softmax(logits, 0)
        choices.append([(float(share[a]), torch.eye(4)[a]) for a in range(3)])
    total = 0.0
    for joint in itertools.product(*choices):
        weight = float(np.prod([share for share, _ in joint]))
        total += weight * float(learner.critic(torch.cat([x, *(code for _, code in joint)])[None])[0, 0])
    return total * learner.scale + learner.shift


def test_random_lives_come_out_as_by_the_definition(many):
    with torch.no_grad():
        for case in range(many(500)):
            try:
                check(np.random.default_rng([7, case]))
            except Exception as error:
                raise AssertionError(f"case {case}: {error!r}") from error


def test_nobody_at_the_reset_and_who_comes_back_are_refused():
    nothing = [np.zeros((2, 1), np.int32)] * 3
    with pytest.raises(ContractError, match="nobody is in agents after a reset"):
        prepare(validated({"env": "pettingzoo:scripted:nobody=true"}), rehearsed=True)
    with pytest.raises(InputError, match="came back after its life had ended"):
        for seed in range(20):
            env = make("pettingzoo:scripted:reborn=true", 2, None)
            lives = Lives("scripted", env.agents, 2)
            env.reset(np.arange(2), np.random.SeedSequence(seed).spawn(2))
            lives.begin(np.arange(2), env.alive)
            while not lives.over.any():
                env.step(nothing)
                lives.step(env.terminated, env.truncated, env.alive)


def test_lives_refuse_or_mend_every_combination_of_flags(many):
    """Whatever an environment says of three agents for six steps, everybody's life ends at most once, and nobody who ended lives."""
    for case in range(many(500)):
        rng = np.random.default_rng([8, case])
        lives, ended = Lives("random", ["a", "b", "c"], 4), np.zeros((4, 3), int)
        alive = rng.random((4, 3)) < 0.7
        alive[:, 0] |= ~alive.any(1)
        lives.begin(np.arange(4), alive)
        for _ in range(6):
            before = lives.alive.copy()
            told = rng.random((3, 4, 3)) < [[[0.2]], [[0.2]], [[0.7]]]
            try:
                there = lives.step(*told)
            except ContractError:
                assert (told[2] & (ended > 0) & ~told[0] & ~told[1]).any()
                break
            assert np.array_equal(there, before)
            over = lives.terminated | lives.truncated
            ended += over
            assert not (lives.terminated & lives.truncated).any() and not (over & lives.alive).any()
            assert (ended <= 1).all() and not (lives.alive & (ended > 0)).any()
            assert np.array_equal(before & ~lives.alive, over), "who was there and is no more has ended"
            assert np.array_equal(lives.truncated, before & told[1] & ~told[0])
            assert np.array_equal(lives.over, ~lives.alive.any(1))
