"""Suites mamujoco, smax and vmas: seeds, ends, final observations, masks, death, graphs; and what of the packages is mended."""

from __future__ import annotations

import importlib
import random
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium_robotics import mamujoco_v1
from gymnasium_robotics.envs import multiagent_mujoco

from perla_net.ground.errors import InputError
from perla_net.records import checkpoint
from perla_net.settings.specs import parse_spec
from perla_net.simulation.saving import read_world
from perla_net.world.hosts import FINAL, Host


def make(env, copies=1, agents=None, render=False):
    whole, arguments = parse_spec(env)
    suite, _, name = whole.partition(":")
    return importlib.import_module(f"perla_net.world.suites.{suite}").make(name, arguments, copies, agents, render)


def drawn(env, rng, copy=0):
    """A random allowed action for each agent of one copy, as words."""
    masks = [np.ones((env.copies, agent.action.flags), np.float32) for agent in env.spec.agents]
    rows = [np.zeros((env.copies, agent.observation_size), np.float32) for agent in env.spec.agents]
    env.observe(slice(None), rows, [mask if agent.masked else None for mask, agent in zip(masks, env.spec.agents)])
    return [
        rng.uniform(-1, 1, agent.action.words) if agent.action.low else rng.choice(np.flatnonzero(mask[copy]))
        for agent, mask in zip(env.spec.agents, masks)
    ]


class Journey:
    """Random play of some copies of a run, each by its own stream of actions, and all that agents are shown of it."""

    def __init__(self, env, copies, first, steps=0, seed=3, stagger=7):
        self.env = make(env, copies)
        self.host = Host(self.env, self.env.spec, first, (seed, 1), stagger)
        self.streams = [np.random.default_rng(100 + first + copy) for copy in range(copies)]
        self.host.start()
        self.rows = [self.shown()]
        self.play(steps)

    def shown(self):
        return np.concatenate([rows.view(np.int32).reshape(self.host.copies, -1) for rows in self.host.rows], 1)

    def play(self, steps):
        for _ in range(steps):
            chosen = [drawn(self.env, stream, copy) for copy, stream in enumerate(self.streams)]
            self.host.act([np.array(column) for column in zip(*chosen)])
            self.host.step()
            self.rows.append(self.shown())

    def episodes(self, copy):
        """Those of one copy of the run, in numbers."""
        mine = [episode for episode in self.host.episodes if episode.copy == copy]
        return [(e.ended, e.number, e.length, e.returns.tolist(), e.figures) for e in mine]


ALL = [
    "mamujoco:Ant-4x2:horizon=7",
    "mamujoco:CoupledHalfCheetah-1p1:horizon=7",
    "smax:3m:horizon=10",
    "vmas:balance:horizon=7,continuous=false",
    "vmas:transport:horizon=7",
    "vmas:simple_speaker_listener:horizon=7",
    "vmas:give_way:horizon=7,obs_noise=0.1",
]


@pytest.mark.parametrize("env", ALL)
def test_a_copy_depends_on_its_seed_and_actions_alone(env):
    together = Journey(env, 6, 0, 16)
    for first, copies in ((0, 1), (4, 1), (1, 3)):
        apart = Journey(env, copies, first, 16)
        for copy in range(copies):
            seen = [rows[copy] for rows in apart.rows]
            assert np.array_equal(seen, [rows[first + copy] for rows in together.rows]), first + copy
            assert apart.episodes(first + copy) == together.episodes(first + copy)
    start = [row.tobytes() for row in together.rows[0]]
    assert len(set(start)) == len(start), "each copy has a seed of its own"
    assert (together.host.episode > 0).all() and len(together.host.episodes) > 2, "over more than one episode"
    other = Journey(env, 1, 0, seed=4)
    assert other.rows[0][0].tobytes() != start[0]


def test_a_batch_is_rounded_as_a_copy_alone():
    """Balance tells tails of arrays, which torch treats by other code, within a few steps: unpadded, this fails."""
    together = Journey("vmas:balance:horizon=20", 11, 0, 14, stagger=0)
    for copy in (0, 8, 10):
        alone = Journey("vmas:balance:horizon=20", 1, copy, 14, stagger=0)
        assert np.array_equal([rows[0] for rows in alone.rows], [rows[copy] for rows in together.rows]), copy


@pytest.mark.parametrize("env", ALL)
def test_saved_and_continued(env, tmp_path):
    """Written by two hosts, read by one."""
    parts = [Journey(env, 2, 0, 9), Journey(env, 3, 2, 9)]
    for part in parts:
        first, copies = part.host.first, part.host.copies
        checkpoint.write(tmp_path, f"world-{first}-{first + copies - 1}", part.host.save(), None)
    whole = Journey(env, 5, 0)
    assert whole.host.load(read_world(tmp_path, 0, 5), parts[0].host.steps) is not False
    for agent, layout in enumerate(whole.host.layouts):  # all but the last reward, which has been learned from
        before = np.concatenate([part.host.rows[agent] for part in parts])
        assert np.array_equal(whole.host.rows[agent][:, : layout.reward], before[:, : layout.reward])
    whole.streams = [deepcopy(stream) for part in parts for stream in part.streams]
    for journey in (*parts, whole):
        journey.play(9)
    for step in range(1, 10):
        assert np.array_equal(whole.rows[step], np.concatenate([part.rows[9 + step] for part in parts]))


@pytest.mark.parametrize(
    "env",
    ["mamujoco:HalfCheetah-6x1:horizon=5", "smax:3m:horizon=5", "vmas:navigation:horizon=5", "vmas:football:horizon=5"],
)
def test_time_up_is_truncation_with_the_last_observation(env):
    """Beside the host, the same copies by hand, which do not begin anew."""
    journey, plain = Journey(env, 2, 0, stagger=0), make(env, 2)
    plain.reset(np.arange(2), [np.random.SeedSequence(3, spawn_key=(1, copy, 0)) for copy in range(2)])
    number = len(plain.spec.agents)
    for step in range(5):
        chosen = [drawn(plain, stream, copy) for copy, stream in enumerate(journey.streams)]
        actions = [
            np.array(column, np.float32 if agent.action.low else np.int32).reshape(2, -1)
            for column, agent in zip(zip(*chosen), plain.spec.agents)
        ]
        plain.step(actions)
        journey.host.act(actions)
        journey.host.step()
        assert not plain.terminated.any() and plain.truncated.all() == (step == 4) == plain.truncated.any()
    last = [np.zeros((2, agent.observation_size), np.float32) for agent in plain.spec.agents]
    plain.observe(slice(None), last, [None] * number)
    finals = journey.host.take_finals(number)
    start = 0
    for agent, (layout, seen) in enumerate(zip(journey.host.layouts, last)):
        final = finals[start : start + 2 * layout.width].reshape(2, -1)
        start += final.size
        assert np.array_equal(final[:, : layout.observation], seen)
        now = journey.host.rows[agent]
        assert not np.array_equal(now[:, : layout.observation], seen), "the next episode has begun"
        assert (now[:, layout.reward + 1].view(np.int32) & FINAL).all()


# mamujoco


def links(env):
    spec = make(env).spec
    return {(source, target) for source, target in spec.interaction}


def both(*pairs):
    return {*pairs, *((j, i) for i, j in pairs)}


def test_agents_influence_those_whose_joints_are_next_to_theirs():
    # bthigh, bshin, bfoot, fthigh, fshin, ffoot: a foot hangs on a shin, a shin on a thigh, the thighs on one torso.
    assert links("mamujoco:HalfCheetah-6x1") == both((0, 1), (1, 2), (0, 3), (3, 4), (4, 5))
    assert (
        links("mamujoco:ManySegmentSwimmer-4x2") == links("mamujoco:ManySegmentAnt-4x1") == both((0, 1), (1, 2), (2, 3))
    )
    assert links("mamujoco:Ant-4x2") == {(i, j) for i in range(4) for j in range(4) if i != j}
    assert links("mamujoco:CoupledHalfCheetah-1p1") == both((0, 1)), "by the tendon"


BODIES = ["Ant-4x2", "HalfCheetah-6x1", "Hopper-3x1", "Pusher-3p", "CoupledHalfCheetah-1p1", "ManySegmentAnt-3x1"]


@pytest.mark.parametrize("name", [*BODIES, "Walker2d-2x3", "Humanoid-9|8", "ManySegmentSwimmer-5x2"])
def test_everybody_sees_its_own_joints_and_with_one_hop_those_next_to_it(name):
    for hops in (0, 1):
        copies = make(f"mamujoco:{name}:agent_obsk={hops}")
        copies.reset(np.arange(1), [np.random.SeedSequence(1)])
        body = copies.envs[0]
        model, data = body.single_agent_env.unwrapped.model, body.single_agent_env.unwrapped.data
        data.qpos[:] = 1000 + np.arange(model.nq)  # every joint has a value of its own
        data.qvel[:] = 0
        seen = [set(body._get_obs_agent(agent).tolist()) for agent in range(len(body.possible_agents))]
        joints = [
            [int(model.actuator_trnid[node.act_ids, 0]) for node in part] for part in body.agent_action_partitions
        ]
        shown = [[{1000.0 + model.jnt_qposadr[joint]} <= sight for sight in seen] for part in joints for joint in part]
        owner = [agent for agent, part in enumerate(joints) for _ in part]
        labels = [node.label for part in body.agent_action_partitions for node in part]
        assert len(set(labels)) == len(labels), "observations are sorted by them"
        assert sorted(joint for part in joints for joint in part) == sorted(set(model.actuator_trnid[:, 0].tolist()))
        edges = {
            (owner[joint], i)
            for joint, who in enumerate(shown)
            for i, told in enumerate(who)
            if told and owner[joint] != i
        }
        assert all(who[owner[joint]] for joint, who in enumerate(shown))
        assert edges == (set() if hops == 0 or name.startswith("Coupled") else set(copies.spec.interaction))


@pytest.mark.parametrize("name", ["Ant-2x4d", "HalfCheetah-6x1", "Hopper-3x1", "Reacher-2x1"])
def test_what_the_suite_does_right_is_left_as_it_is(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # theirs leaves a log in it
    copies, theirs = make(f"mamujoco:{name}"), mamujoco_v1.parallel_env(*name.split("-"))
    seed = np.random.SeedSequence(5)
    copies.reset(np.arange(1), [seed])
    seen, _ = theirs.reset(seed=int(seed.generate_state(1)[0] >> 1))
    rng = np.random.default_rng(0)
    while theirs.agents:
        for index, agent in enumerate(copies.agents):
            assert np.array_equal(copies.seen[0][index], seen[agent].astype(np.float32))
        words = [rng.uniform(-1, 1, (1, agent.action.words)).astype(np.float32) for agent in copies.specs]
        copies.step(words)
        native = [agent.action.native(word[0]) for agent, word in zip(copies.specs, words)]
        seen, reward, terminated, truncated, _ = theirs.step(dict(zip(copies.agents, native)))
        assert (copies.reward[0] == np.float32(reward["agent_0"])).all()
        assert copies.terminated.all() == terminated["agent_0"]
        assert copies.truncated.all() == (truncated["agent_0"] and not terminated["agent_0"])
        if copies.terminated.any() or copies.truncated.any():
            break
    assert not copies.alive.any()


def fall(horizon):
    """A hopper that does nothing: (steps, terminated, truncated) at its end."""
    copies = make(f"mamujoco:Hopper-3x1:horizon={horizon}")
    copies.reset(np.arange(1), [np.random.SeedSequence(2)])
    for steps in range(1, horizon + 1):
        copies.step([np.zeros((1, 1), np.float32)] * 3)
        if not copies.alive.any():
            return steps, copies.terminated.all(), copies.truncated.any()
    raise AssertionError("it stands beyond its horizon")


def test_to_fall_is_termination_even_when_time_is_up():
    steps, terminated, truncated = fall(1000)
    assert steps < 1000 and terminated and not truncated
    assert fall(steps) == (steps, True, False)
    assert fall(steps - 1) == (steps - 1, False, True)


def test_segmented_bodies_leave_nothing_behind(tmp_path, monkeypatch):
    assets = Path(multiagent_mujoco.__file__).parent / "assets"
    before = sorted(assets.iterdir())
    monkeypatch.chdir(tmp_path)
    made = []
    from perla_net.world.suites import mamujoco

    class Watched(mamujoco.tempfile.TemporaryDirectory):
        def __init__(self):
            super().__init__()
            made.append(self.name)

    monkeypatch.setattr(mamujoco.tempfile, "TemporaryDirectory", Watched)
    make("mamujoco:ManySegmentSwimmer-3x2", 2), make("mamujoco:HalfCheetah-2x3")
    assert len(set(made)) == 2 and not any(Path(folder).exists() for folder in made)
    assert sorted(assets.iterdir()) == before and not list(tmp_path.iterdir())


def test_a_body_is_drawn_or_it_is_said_why_not():
    try:
        copies = make("mamujoco:Ant-4x2", render=True)
    except InputError as error:
        assert "MUJOCO_GL" in str(error)
    else:
        copies.reset(np.arange(1), [np.random.SeedSequence(1)])
        picture = copies.picture(0)
        assert picture.dtype == np.uint8 and picture.shape == (480, 480, 3) and picture.std() > 10


# smax


def battle(controller=None, copies=6, **arguments):
    env = make(
        "smax:3m" + ":" * bool(arguments) + ",".join(f"{key}={value}" for key, value in arguments.items()), copies
    )
    env.reset(np.arange(copies), [np.random.SeedSequence(7, spawn_key=(copy,)) for copy in range(copies)])
    guide = env.controllers["heuristic"](env)
    streams = [np.random.default_rng(copy) for copy in range(copies)]

    def choose():
        if controller == "heuristic":
            return list(guide.act(env))
        if controller == "stop":
            return [np.full(copies, 4)] * 3
        return [np.array(column) for column in zip(*(drawn(env, stream, c) for c, stream in enumerate(streams)))]

    return env, choose


def test_masks_say_who_is_in_range():
    env, choose = battle("heuristic")
    for _ in range(12):
        chosen = choose()
        place, (allies, enemies) = env.leaves("unit_positions"), env.standing()
        near = np.linalg.norm(place[:, :3, None] - place[:, None, 3:], axis=3) < 5  # a marine's range
        assert np.array_equal(env.mask[..., 5:], near & allies[..., None] & enemies[:, None])
        assert np.array_equal(env.mask[..., :4].all(2), allies) and env.mask[..., 4].all()
        taken = np.take_along_axis(env.mask, np.stack(chosen, 1)[..., None], 2)[..., 0]
        assert taken[env.alive].all(), "the heuristic does what is allowed"
        env.step(chosen)
    assert not enemies.all(), "somebody was shot at"


def test_an_ally_that_falls_is_over_and_its_team_goes_on():
    env, choose = battle()
    rows = [np.zeros((6, env.spec.agents[0].observation_size), np.float32) for _ in range(3)]
    was, alone, earned = env.alive.copy(), 0, np.zeros((6, 3))
    over = np.zeros(6, bool)
    for _ in range(100):
        env.step(choose())
        earned += env.reward
        allies, enemies = env.standing()
        decided = ~allies.any(1) | ~enemies.any(1)
        fallen = was & ~allies
        assert env.terminated[fallen].all() and not env.reward[~was].any() and not env.truncated[~over].any()
        assert np.array_equal(env.terminated[~decided], fallen[~decided])
        assert np.array_equal(env.alive, was & ~env.terminated)
        env.observe(slice(None), rows, [None] * 3)
        assert all(not row[~allies[:, ally]].any() for ally, row in enumerate(rows))
        alone += (fallen.any(1) & ~decided).sum()
        was, over = env.alive.copy(), over | decided
        if over.all():
            break
    assert over.all() and alone > 3, "allies fell while others fought on"
    figures = env.metrics(np.arange(6))
    assert (earned.max(1) <= figures["team_return"] + 1e-6).all() and (earned.min(1) < figures["team_return"]).any()


@pytest.mark.parametrize("dead", ["leave", "stay"])
def test_a_battle_pays_the_enemies_lost_health_and_victory(dead):
    env, choose = battle("heuristic", copies=12, dead=dead)
    earned, figures, running = np.zeros((12, 3)), {}, np.ones(12, bool)
    for _ in range(60):
        env.step(choose())
        earned[running] += env.reward[running]
        over = running & ~env.alive.any(1)
        lost = 1 - env.leaves("unit_health")[:, 3:].astype(float).sum(1) / (3 * 45)
        for copy in np.flatnonzero(over):
            figures[copy] = {name: values[0] for name, values in env.metrics(np.array([copy])).items()}
            assert figures[copy]["team_return"] == pytest.approx(lost[copy] + figures[copy]["won"], abs=1e-5)
            if dead == "stay":
                assert earned[copy] == pytest.approx([figures[copy]["team_return"]] * 3) and env.terminated[copy].all()
        running &= ~over
    assert not running.any() and 0 < sum(row["won"] for row in figures.values()) < 12


def test_a_battle_decided_in_the_last_step_is_not_cut_off():
    def end(horizon):
        env, choose = battle("heuristic", copies=1, horizon=horizon)
        for steps in range(1, horizon + 1):
            before = env.alive.copy()
            env.step(choose())
            if not env.alive.any():
                return steps, before[0], env.terminated[0].copy(), env.truncated[0].copy()
        raise AssertionError("a battle beyond its horizon")

    steps, before, terminated, truncated = end(100)
    assert steps < 100 and np.array_equal(terminated, before) and not truncated.any()
    assert end(steps)[2:][0].tolist() == terminated.tolist() and not end(steps)[3].any()
    sooner = end(steps - 1)
    assert sooner[0] == steps - 1 and sooner[3].any() and not (sooner[2] & sooner[3]).any()


def test_jaxmarl_is_loaded_without_its_other_environments():
    make("smax:3m")
    assert not {"jaxmarl", "jaxmarl.environments.storm"} & set(sys.modules)


def test_a_battle_is_drawn():
    env, choose = battle("heuristic", copies=2)
    env.step(choose())
    first, second = env.picture(0), env.picture(1)
    assert first.dtype == np.uint8 and first.shape == (670, 640, 3) and not np.array_equal(first, second)
    assert env.positions().shape == (3, 2)


# vmas


def test_vmas_is_not_imported_unless_it_is_asked_for():
    code = "import sys, perla_net.world.environments as e, perla_net.run; e.make('spread', 1, 3); print('vmas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["False"]


def test_the_global_generators_are_left_alone():
    def states():
        return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()

    before = states()
    for env in ("vmas:balance:horizon=3", "vmas:discovery:horizon=3"):
        Journey(env, 2, 0, 4)
    assert states() == before


def test_a_batch_does_what_vmas_does():
    """One copy of ours against VMAS's own environment, begun with the same draws."""
    from vmas.simulator.environment import Environment

    from perla_net.world.suites import vmas

    ours, seed = make("vmas:transport"), np.random.SeedSequence(8)
    ours.reset(np.arange(1), [seed])
    theirs = vmas.vmas.make_env("transport", num_envs=vmas.LANES)
    Environment.vmas_random_state[:] = vmas._generators(seed)
    theirs.reset_at(0, return_observations=False)
    rng = np.random.default_rng(0)
    for _ in range(30):
        actions = [rng.uniform(-1, 1, (1, 2)).astype(np.float32) for _ in range(4)]
        ours.step(actions)
        told = theirs.step([torch.from_numpy(np.repeat(action, vmas.LANES, 0)) for action in ours._native(actions)])
        assert [row[0].tolist() for row in ours.seen] == [seen[0].tolist() for seen in told[0]]
        assert ours.reward[0].tolist() == [reward[0].item() for reward in told[1]]


def test_actions_are_in_the_bounds_of_the_scenario():
    env = make("vmas:give_way", 2)
    env.reset(np.arange(2), [np.random.SeedSequence(copy) for copy in range(2)])
    action = env.spec.agents[0].action
    low, high = env._native([np.full((2, 2), -1, np.float32), np.full((2, 2), 3, np.float32)])
    assert np.array_equal(low, [action.low] * 2) and np.array_equal(high, [action.high] * 2)
    assert action.high != (1.0, 1.0), "the test has something to show"
    assert make("vmas:give_way:continuous=false").spec.agents[0].action.sizes == (9,)


def arrive(horizon):
    """One that walks to its goal: (steps, terminated, truncated, distance gone, figures) at its end."""
    env = make(f"vmas:navigation:horizon={horizon},n_agents=1")
    env.reset(np.arange(1), [np.random.SeedSequence(2)])
    away = float(np.linalg.norm(env.seen[0][0, 4:6]))
    for steps in range(1, horizon + 1):
        _, _, *velocity, x, y = env.seen[0][0, :6]
        env.step([np.clip(-2 * np.array((x, y)) - velocity, -1, 1).astype(np.float32)[None]])
        if not env.alive.any():
            gone = away - float(np.linalg.norm(env.seen[0][0, 4:6]))
            return steps, env.terminated.all(), env.truncated.any(), gone, env.metrics(np.arange(1))
    raise AssertionError("an episode beyond its horizon")


def test_done_is_termination_even_when_time_is_up():
    steps, terminated, truncated, gone, figures = arrive(200)
    assert steps < 200 and terminated and not truncated
    assert figures["pos_rew"].item() == pytest.approx(gone, abs=1e-5), "the reward for coming closer, summed"
    assert arrive(steps)[:3] == (steps, True, False)
    assert arrive(steps - 1)[:3] == (steps - 1, False, True)


def test_what_belongs_to_all_copies_is_kept_apart():
    """The listener's goal belongs to the world of simple_speaker_listener, and is drawn when that is made."""
    env = make("vmas:simple_speaker_listener", 12)
    env.reset(np.arange(12), [np.random.SeedSequence(copy) for copy in range(12)])
    assert env.separate and len({row.tobytes() for row in env.seen[0]}) == 3, "three goals"
    assert not make("vmas:give_way").separate and make("vmas:give_way:obs_noise=0.1").separate


def test_agents_of_many_kinds_and_numbers():
    from perla_net.world.suites.vmas import any_number

    tag = make("vmas:simple_tag").spec
    assert [agent.observation_size for agent in tag.agents] == [16, 16, 16, 14]
    assert tag.moves and make("vmas:simple_tag").positions().shape == (4, 2)
    assert any_number("navigation", {}) and not any_number("navigation", {"n_agents": 3})
    assert len(make("vmas:navigation", agents=6).spec.agents) == 6
    assert not any_number("football", {})


def test_a_plane_is_drawn():
    env = make("vmas:balance", 2)
    env.reset(np.arange(2), [np.random.SeedSequence(copy) for copy in range(2)])
    first, second = env.picture(0), env.picture(1)
    assert first.dtype == np.uint8 and first.shape == (670, 640, 3) and not np.array_equal(first, second)


@pytest.mark.parametrize(
    ("env", "agents", "sentence"),
    [
        ("mamujoco:Ant-3x2", None, "there is no such body; there are Ant-2x4, Ant-2x4d, Ant-4x2$"),
        ("mamujoco:Cat-2x2", None, "no such body.*ManySegmentSwimmer-AxS$"),
        ("mamujoco:ManySegmentSwimmer-0x2", None, "from 2 to 100 in all"),
        ("mamujoco:Ant-4x2:agent_obsk=-1", None, "agent_obsk -1 is not a whole number from 0"),
        ("mamujoco:Ant-4x2:gravity=1", None, "unknown argument 'gravity'; it takes agent_obsk, horizon, "),
        ("mamujoco:Ant-4x2:include_cfrc_ext_in_observation=false", None, "unknown argument"),
        ("mamujoco:Ant-4x2:ctrl_cost_weight=much", None, "'much' is not a number"),
        ("mamujoco:Ant-4x2", 3, "--agents 3: mamujoco:Ant-4x2 has 4 agents"),
        ("smax:4m", None, "no such map; there are 10m_vs_11m, 25m"),
        ("smax:3m:horizon=0", None, "horizon 0 is not a whole number of at least 1"),
        ("smax:3m:dead=maybe", None, "dead 'maybe' is not one of leave, stay"),
        ("smax:3m:enemy_shoots=3", None, "enemy_shoots 3 is neither true nor false"),
        ("smax:3m:range=3", None, "unknown argument 'range'"),
        ("smax:3m", 4, "--agents 4: smax:3m has 3 allies"),
        ("vmas:juggling", None, "no such scenario; there are asym_joint, balance"),
        ("vmas:balance:wind=1", None, "unknown argument 'wind'; it takes horizon, continuous, separate, n_agents"),
        ("vmas:balance:continuous=1", None, "continuous 1 is neither true nor false"),
        ("vmas:balance:n_agents=none", None, "cannot be made with"),
        ("vmas:football", 7, "--agents 7: vmas:football has 3 agents"),
    ],
)
def test_what_cannot_be_is_one_sentence(env, agents, sentence):
    with pytest.raises(InputError, match=sentence):
        make(env, agents=agents)
