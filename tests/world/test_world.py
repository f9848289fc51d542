"""The world: who sees what when, across deaths, truncations, resets, hosts and ranks."""

from __future__ import annotations

import json

import numpy as np
import pytest

from perla_net.ground.errors import InputError
from perla_net.ground.processes import Processes
from perla_net.settings.data import to_data
from perla_net.settings.options import validated
from perla_net.simulation.prepare import prepare
from perla_net.simulation.simulation import Simulation
from perla_net.world.environments import make
from perla_net.world.hosts import Host
from perla_net.world.spec import WorldSpec
from perla_net.world.world import World, blocks_of


class Scripted:
    """Acts as told, and notes when episodes begin."""

    remembers, follows = True, False

    def __init__(self, discrete: bool) -> None:
        self.discrete, self.begins = discrete, []

    def act(self, t, observations, masks, begins, actions):
        self.begins.append(begins[0].copy())
        for action in actions:
            if self.discrete:
                action.view(np.int32)[:] = 1
            else:
                action[:] = 0.25


def zoo_world(copies=3, horizon=16):
    spec = make("pettingzoo:toys", 1, None).spec
    world = World(Processes(), spec, "pettingzoo:toys", [range(4)], [0], copies, horizon, seed=5)
    world.start()
    return world


def actors():
    return [Scripted(True), Scripted(True), Scripted(False), Scripted(True)]


def test_specs_of_every_space():
    agents = make("pettingzoo:toys", 1, None).spec.agents
    assert [agent.observation_size for agent in agents] == [3, 4, 3, 2]
    assert [agent.action.kind for agent in agents] == ["discrete", "multi_discrete", "continuous", "discrete"]
    assert [agent.masked for agent in agents] == [False, False, False, True]
    assert agents[1].action.sizes == (2, 3) and agents[2].action.words == 2


def test_rollout_of_a_team_that_dies_and_leaves():
    world = zoo_world()
    box, discrete, binary, masked = world.collect(actors())
    time = box.observation[:, 0, 2]
    assert time.tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6, 0, 1, 2], "the next episode begins at once"
    digits = box.observation[:, 0, 1]
    assert len(set(digits[:7])) == 1 and digits[7] != digits[0] or digits[14] != digits[0], (
        "each episode has its own seed"
    )
    assert np.flatnonzero(box.truncated[:, 0]).tolist() == [6, 13] and not box.terminated.any()
    assert np.flatnonzero(discrete.truncated[:, 0]).tolist() == [4, 11]
    assert np.flatnonzero(masked.terminated[:, 0]).tolist() == [2, 9] and not masked.truncated.any()
    assert np.flatnonzero(~masked.alive[:, 0]).tolist() == [3, 4, 5, 6, 10, 11, 12, 13]
    assert np.flatnonzero(~discrete.alive[:, 0]).tolist() == [5, 6, 12, 13]
    assert box.alive.all() and binary.alive.all()
    assert np.flatnonzero(box.begins[:, 0]).tolist() == [7, 14]
    assert masked.reward[:7, 0].tolist() == [3, 4, 5, 0, 0, 0, 0]
    assert masked.mask[:3, 0].tolist() == [[1, 1, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]]
    assert discrete.observation[:5, 0].argmax(1).tolist() == [0, 1, 2, 3, 0]


def test_final_observations_are_those_that_episodes_ended_with():
    box, discrete, _, masked = zoo_world().collect(actors())
    assert box.final_at.tolist() == [[t, copy] for t in (4, 6, 11, 13) for copy in range(3)]
    assert box.final_observation[:, 2].reshape(4, 3)[:, 0].tolist() == [5, 7, 5, 7]
    assert box.final_cut.reshape(4, 3)[:, 0].tolist() == [False, True, False, True], "box is cut off at the end only"
    assert discrete.final_cut.reshape(4, 3)[:, 0].tolist() == [True, False, True, False]
    assert box.final_alive.all(), "box is there when discrete is cut off, and embedded as such"
    assert discrete.final_alive.reshape(4, 3)[:, 0].tolist() == [True, False, True, False]
    assert not masked.final_alive.any() and not masked.final_cut.any()
    assert discrete.final_observation[0].argmax() == 5 % 4


def test_rollouts_join_up():
    world = zoo_world(horizon=5)
    first = [rollout.observation[-1].copy() for rollout in world.collect(actors())]
    second = world.collect(actors())
    assert all(np.array_equal(old, new.observation[0]) for old, new in zip(first, second))
    assert second[0].observation[:, 0, 2].tolist() == [5, 6, 0, 1, 2, 3]


def test_episodes_are_counted_with_their_returns():
    world = zoo_world(copies=2, horizon=16)
    world.collect(actors())
    episodes = world.take_episodes()
    assert [(episode.ended, episode.copy, episode.number, episode.length) for episode in episodes] == [
        (7, 0, 0, 7),
        (7, 1, 0, 7),
        (14, 0, 1, 7),
        (14, 1, 1, 7),
    ]
    assert episodes[0].returns.tolist() == [21.0, 15.0, 35.0, 12.0]
    assert world.take_episodes() == []


def test_copies_keep_their_seeds_however_they_are_sharded():
    spec = make("traffic:grid", 1, 4).spec
    whole = Host(make("traffic:grid", 5, 4), spec, 0, (3, 1), 5)
    parts = [Host(make("traffic:grid", 2, 4), spec, 0, (3, 1), 5), Host(make("traffic:grid", 3, 4), spec, 2, (3, 1), 5)]
    for host in (whole, *parts):
        host.start()
    rng = np.random.default_rng(0)
    for _ in range(400):
        actions = rng.integers(0, 8, (4, 5))
        whole.act(list(actions))
        parts[0].act(list(actions[:, :2]))
        parts[1].act(list(actions[:, 2:]))
        for host in (whole, *parts):
            host.step()
    for agent in range(4):
        assert np.array_equal(whole.rows[agent], np.concatenate([part.rows[agent] for part in parts]))
    ends = sorted((e.ended, e.copy, tuple(e.returns)) for part in parts for e in part.episodes)
    assert ends == sorted((e.ended, e.copy, tuple(e.returns)) for e in whole.episodes)


def test_first_episodes_are_cut_at_different_times_and_not_counted():
    spec = make("traffic:grid", 1, 4).spec
    host = Host(make("traffic:grid", 4, 4), spec, 0, (3, 1), 4)
    host.start()
    ends = []
    for _ in range(400):
        host.act([np.zeros(4)] * 4)
        host.step()
        flags = host.rows[0][:, host.layouts[0].reward + 1].view(np.int32)
        ends += [(host.steps, copy) for copy in np.flatnonzero(flags & 8)]
    assert ends[:4] == [(90, 0), (180, 1), (270, 2), (360, 3)]
    assert [(episode.copy, episode.length) for episode in host.episodes] == [(3, 360)]


def test_a_saved_host_continues_exactly_also_when_it_must_be_played_again():
    for env, agents, steps in (
        ("traffic:grid", 4, 25),
        ("pettingzoo:toys", 4, 25),
        ("pettingzoo:toys", 4, 24),  # one dies with the last step, and still shows what it saw then
        ("pettingzoo:mpe2.simple_spread_v3:max_cycles=9", 3, 25),
    ):
        spec = make(env, 1, None if "zoo" in env else agents).spec
        host = Host(make(env, 3, agents), spec, 0, (3, 1), 0)
        host.start()
        drive(host, spec, steps)
        state = {name: array.copy() for name, array in host.save().items()}
        other = Host(make(env, 3, agents), spec, 0, (3, 1), 0)
        assert other.load(state, host.steps) is not False, env
        assert np.array_equal(host.buffer, other.buffer) or env == "traffic:grid", env
        host.episodes, other.episodes = [], []
        for one in (host, other):
            drive(one, spec, 20)
        assert np.array_equal(host.buffer, other.buffer), env
        assert [tuple(e.returns) for e in host.episodes] == [tuple(e.returns) for e in other.episodes]


def drive(host, spec, steps):
    for _ in range(steps):
        actions = []
        for agent in spec.agents:
            if agent.action.kind == "continuous":
                actions.append(np.full((host.copies, agent.action.words), 0.5, np.float32))
            else:
                actions.append(np.full((host.copies, agent.action.words), 1, np.int32))
        host.act(actions)
        host.step()


def test_images_are_numbers_from_0_to_1_in_their_shape():
    batch = make("pettingzoo:toys:kind=picture", 1, None)
    agent = batch.spec.agents[0]
    assert (agent.observation_kind, agent.observation_shape) == ("image", (9, 16, 3))
    batch.reset(np.arange(1), [np.random.SeedSequence(0)])
    out = np.zeros((1, agent.observation_size), np.float32)
    batch.observe(slice(None), [out], [None])
    image = out.reshape(9, 16, 3)
    shown = int(batch.envs[0].shown[0])
    assert out.max() == 1.0 and (image[:, 4 * shown + 1 : 4 * shown + 3] == 1).all() and np.median(out) < 60 / 255


def test_mixed_actions_arrive_in_the_space_s_own_terms():
    for keys in (False, True):
        batch = make(f"pettingzoo:toys:kind=aim,keys={str(keys).lower()}", 1, None)
        action = batch.spec.agents[0].action
        assert action == WorldSpec.from_data(json.loads(json.dumps(to_data(batch.spec)))).agents[0].action
        assert (action.kind, action.sizes, action.low, action.start) == ("mixed", (4,), (-2.0,), (5,))
        words = np.zeros((1, 2), np.float32)
        words.view(np.int32)[0, 0], words[0, 1] = 3, 0.5  # the last number, and half way from 0 to 2
        given = action.native(words[0])
        where, which = (given["where"], given["which"]) if keys else given
        assert which == 8 and np.allclose(where, [1.0])
        batch.reset(np.arange(1), [np.random.SeedSequence(0)])
        shown = int(batch.envs[0].shown[0])
        batch.step([words])
        assert batch.reward[0, 0] == pytest.approx(float(shown == 3) - (1.0 - (shown - 1.5)) ** 2)


def test_blocks():
    assert [list(block) for block in blocks_of(7, 3)] == [[0, 1, 2], [3, 4], [5, 6]]
    assert sum(map(len, blocks_of(16, 5))) == 16


@pytest.mark.parametrize("algorithm", ["perla_ippo", "perla_mappo", "ia2c", "mappo"])
@pytest.mark.parametrize("form", ["state", "action", "control"])
def test_a_team_of_every_space_learns_without_a_hitch(algorithm, form):
    options = {
        "env": "pettingzoo:toys",
        "topology": "complete",
        "algorithm": algorithm,
        "form": form,
        "copies": 3,
        "horizon": 10,
        "rounds": 4,
        "ppo": {"minibatch": 8},
        "samples": 16,
    }
    simulation = Simulation(prepare(validated(options)), Processes())
    simulation.start()
    for _ in range(3):
        row = simulation.round()["metrics"]
    assert np.isfinite([row["policy_loss"], row["value_loss"], row["entropy"]]).all() and row["rejected"] == 0


@pytest.mark.parametrize(
    "env",
    [
        "mpe2.simple_spread_v3",
        "mpe2.simple_speaker_listener_v4",
        "mpe2.simple_tag_v3",
        "pettingzoo.sisl.pursuit:n_pursuers=3,max_cycles=12",
    ],
)
@pytest.mark.parametrize("memory", ["none", "gru"])
def test_environments_of_pettingzoo(env, memory):
    options = {
        "env": f"pettingzoo:{env}",
        "topology": "complete",
        "copies": 2,
        "horizon": 14,
        "rounds": 2,
        "samples": 8,
        "model": {"memory": memory},
    }
    simulation = Simulation(prepare(validated(options)), Processes())
    simulation.start()
    for _ in range(2):
        row = simulation.round()["metrics"]
    assert np.isfinite(row["value_loss"]) and row["rejected"] == 0


@pytest.mark.parametrize("algorithm", ["ippo", "ps_ippo", "perla_ippo"])
@pytest.mark.parametrize("memory", ["none", "gru"])
def test_an_agent_that_is_dead_for_a_whole_rollout_does_no_harm(algorithm, memory):
    """``short`` leaves after two steps of an episode of sixty: most rollouts hold nothing of it."""
    options = {"env": "pettingzoo:toys:kind=leaver", "topology": "complete", "algorithm": algorithm, "copies": 2,
               "horizon": 8, "rounds": 6, "ppo": {"minibatch": 8}, "model": {"memory": memory}}  # fmt: skip
    simulation = Simulation(prepare(validated(options)), Processes())
    simulation.start()
    for _ in range(5):
        row = simulation.round()["metrics"]
        assert np.isfinite([row["policy_loss"], row["value_loss"], row["entropy"]]).all()
    flats = [agent.learner.critic.flat for agent in simulation.methods]
    assert all(np.isfinite(flat.numpy()).all() for flat in flats)
    if algorithm == "ps_ippo":
        assert np.array_equal(flats[0].numpy(), flats[1].numpy()), "one network stays one"


def test_what_the_adapter_does_not_take_is_said():
    for kind, sentence in (("crash", "cannot be made"), ("badmask", "does not fit its action space")):
        with pytest.raises(InputError, match=sentence):
            make(f"pettingzoo:toys:kind={kind}", 1, None)
