"""Random spaces: every action that an environment is given lies in its space, every observation of it is read, whatever the bounds."""

from __future__ import annotations

import json

import numpy as np
import pytest
from gymnasium import spaces

from perla_net.ground.errors import InputError
from perla_net.settings.data import to_data
from perla_net.world.spaces import agent_spec
from perla_net.world.spec import agent_from_data

NOTHING = spaces.Discrete(2)
EXTREMES = np.array(
    [-1, 1, 0, np.nextafter(np.float32(1), 0), -np.nextafter(np.float32(1), 0), 1.5, -7, 3e38, -3e38], np.float32
)


def bound(rng: np.random.Generator, kind: type) -> float:
    """A number of any size that the type has."""
    limits = np.finfo(kind)
    choice = rng.integers(6)
    if choice == 0:
        return float(rng.choice([0.0, -1.0, 1.0, 0.1, -0.3, limits.max, limits.min, limits.tiny]))
    largest = {np.float16: 4, np.float32: 38, np.float64: 307}[kind]
    return float(kind(rng.normal() * 10.0 ** rng.integers(-min(largest, 30), largest)))


def box(rng: np.random.Generator) -> spaces.Box:
    kind = [np.float16, np.float32, np.float64][rng.integers(3)]
    shape = tuple(int(side) for side in rng.integers(1, 4, rng.integers(0, 4)))
    low, high = np.empty(shape, kind), np.empty(shape, kind)
    for place in np.ndindex(shape):
        with np.errstate(over="ignore"):
            pair = sorted(kind(bound(rng, kind)) for _ in range(2))
        if rng.random() < 0.1:
            pair[1] = pair[0]
        if rng.random() < 0.2:
            pair[rng.integers(2)] = (-np.inf, np.inf)[rng.integers(2)]
            pair.sort()
        if rng.random() < 0.1:
            pair = [-np.inf, np.inf]
        if (
            np.isinf(pair[0])
            and pair[0] > 0
            or np.isinf(pair[1])
            and pair[1] < 0
            or pair[0] == pair[1]
            and np.isinf(pair[0])
        ):
            pair = [kind(-1), kind(1)]
        low[place], high[place] = pair
    return spaces.Box(low, high, shape, kind)


def discrete(rng: np.random.Generator) -> spaces.Discrete:
    return spaces.Discrete(int(rng.integers(1, 6)), start=int(rng.choice([0, 0, 1, -3, 10**6])))


def multi_discrete(rng: np.random.Generator) -> spaces.MultiDiscrete:
    number = int(rng.integers(1, 4))
    kind = [np.int64, np.int32, np.int8, np.uint8][rng.integers(4)]
    return spaces.MultiDiscrete(rng.integers(1, 6, number), kind, start=rng.integers(0, 3, number))


def action_space(rng: np.random.Generator) -> spaces.Space:
    plain = [box, box, discrete, multi_discrete]
    if rng.random() < 0.7:
        return plain[rng.integers(4)](rng)
    parts = [plain[rng.integers(4)](rng) for _ in range(rng.integers(1, 4))]
    return (
        spaces.Tuple(parts) if rng.random() < 0.5 else spaces.Dict({f"k{9 - k}": part for k, part in enumerate(parts)})
    )


def test_every_action_lies_in_its_space(many):
    for case in range(many(500)):
        rng = np.random.default_rng([1, case])
        space = action_space(rng)
        spec = agent_spec("toy", "a", NOTHING, space)
        spec = agent_from_data(json.loads(json.dumps(to_data(spec))))  # as it is read from a plan and from a checkpoint
        action = spec.action
        for turn in range(len(EXTREMES) + 4):
            words = np.zeros(action.words, np.float32)
            whole = words[: len(action.sizes)].view(np.int32)
            whole[:] = [(0, size - 1, int(rng.integers(size)))[turn % 3] for size in action.sizes]
            values = words[len(action.sizes) :]
            values[:] = EXTREMES[turn] if turn < len(EXTREMES) else rng.normal(0, 2, len(values))
            given = action.native(words)
            assert space.contains(given), f"case {case}: {given!r} is not in {space!r}"
            if action.kind == "continuous":
                back = action.internal(np.asarray(given, np.float64).ravel())
                assert back.shape == values.shape


def test_ends_of_a_box_are_reached():
    space = spaces.Box(-0.3, 0.1, (2,), np.float64)
    action = agent_spec("toy", "a", NOTHING, space).action
    for value, side in ((-1.0, space.low), (1.0, space.high)):
        assert np.array_equal(action.native(np.full(2, value, np.float32)), side)
    assert np.allclose(action.native(np.zeros(2, np.float32)), -0.1)


def observation_space(rng: np.random.Generator) -> spaces.Space:
    choice = rng.integers(5)
    if choice == 0:
        return spaces.MultiBinary([int(rng.integers(1, 5)), [2, 3]][rng.integers(2)])
    if choice == 1:
        return discrete(rng)
    if choice == 2:
        shape = tuple(int(side) for side in rng.integers(1, 5, rng.integers(2, 4)))
        low = rng.integers(0, 200, shape if rng.random() < 0.5 else ()).astype(np.uint8)
        high = np.minimum(low.astype(int) + rng.integers(0, 255, low.shape), 255).astype(np.uint8)
        return spaces.Box(np.broadcast_to(low, shape), np.broadcast_to(high, shape), shape, np.uint8)
    if choice == 3:
        shape = tuple(int(side) for side in rng.integers(1, 4, rng.integers(1, 4)))
        return spaces.Box(-5, 5, shape, [np.int32, np.float32, np.float64, np.int8][rng.integers(4)])
    shape = tuple(int(side) for side in rng.integers(1, 4, rng.integers(0, 4)))
    high = np.inf if rng.random() < 0.3 else 3.0
    return spaces.Box(-float(rng.integers(1, 9)), high, shape, [np.float16, np.float32, np.float64][rng.integers(3)])


def test_every_observation_of_a_space_is_read(many):
    for case in range(many(500)):
        rng = np.random.default_rng([2, case])
        space = observation_space(rng)
        space.seed(case)
        spec = agent_from_data(json.loads(json.dumps(to_data(agent_spec("toy", "a", space, NOTHING)))))
        with np.errstate(over="ignore"):
            for seen in [space.sample() for _ in range(4)]:
                row = spec.flatten(seen)
                assert row.dtype == np.float32 and row.shape == (spec.observation_size,), f"case {case}: {space!r}"
                if spec.observation_kind == "image":
                    assert 0 <= row.min() and row.max() <= 1
                    wide = np.where(space.high > space.low, space.high.astype(float) - space.low, 1)
                    assert np.allclose(row, ((seen.astype(float) - space.low) / wide).ravel(), atol=1e-6)
                elif spec.observation_kind == "discrete":
                    assert row.sum() == 1 and row[int(seen) - int(space.start)] == 1
                else:
                    assert np.array_equal(row, np.asarray(seen, np.float32).ravel())


def test_what_is_not_of_a_space_is_said():
    grid = agent_spec("toy", "a", spaces.Box(0, 2, (5, 5), np.uint8), NOTHING)
    three = agent_spec("toy", "a", spaces.Discrete(3, start=1), NOTHING)
    for spec, seen, sentence in (
        (grid, np.zeros((5, 4), np.uint8), r"has shape \(5, 4\), but its space says \(5, 5\)"),
        (grid, np.zeros((5, 5), np.float32), "holds float32, but its space says bytes"),
        (grid, {"grid": 3}, "is a dict of grid, but its space is not a Dict"),
        (grid, None, "is None"),
        (three, 0, "is 0, but its space has 1 to 3"),
        (three, 4, "is 4, but its space has 1 to 3"),
        (three, -1, "is -1"),
        (three, 1.5, "is 1.5"),
        (three, "a", "holds 'a', not numbers"),
        (three, float("nan"), "is nan"),
        (three, [1, 2], r"is \[1, 2\]"),
    ):
        with pytest.raises(ValueError, match=sentence):
            spec.flatten(seen)
    two_by_three = agent_spec("toy", "a", NOTHING, spaces.MultiDiscrete([2, 3]))
    assert two_by_three.allowed((np.array([0, 1]), np.array([1, 0, 1]))).tolist() == [0, 1, 1, 0, 1]
    assert two_by_three.allowed(np.zeros(5, bool)).tolist() == [1, 0, 1, 0, 0], "as gymnasium's sample(mask): the first"
    for mask, sentence in (
        ([1, 1], "has 2 flags, but there are 5"),
        ([1, 0, 2, 0, 0], "holds 2"),
        (["a"] * 5, "has 5 flags"),
    ):
        with pytest.raises(ValueError, match=sentence):
            two_by_three.allowed(mask)


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        (spaces.Box(0, 10, (2,), np.int32), r"a Box of int32 means whole numbers: say MultiDiscrete"),
        (spaces.Box(-1, 1, (0,), np.float32), "is not supported"),
        (spaces.Tuple([spaces.Tuple([NOTHING, spaces.Box(0, 1, (1,))])]), "is not supported"),
    ],
)
def test_actions_that_are_not_supported(space, sentence):
    with pytest.raises(InputError, match=sentence):
        agent_spec("toy", "a", NOTHING, space)


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        (spaces.Box(-1, 1, (0,), np.float32), "has no numbers in it"),
        (spaces.Text(3), "a's observation is a space Text, which is not supported"),
        (spaces.Dict(x=spaces.Tuple((NOTHING, spaces.Text(3)))), r"a's observation\['x'\]\[1\] is a space Text"),
        (spaces.Dict({(1, 2): NOTHING}), r"has the key \(1, 2\); keys of a Dict must be text or whole numbers"),
        (
            spaces.Tuple((spaces.Box(0, 255, (64, 64, 3), np.uint8),)),
            "is an image of 64×64×3 bytes inside a Dict or Tuple",
        ),
        (spaces.Dict(observation=NOTHING, action_mask=spaces.Text(3)), "does not fit its action space"),
    ],
)
def test_observations_that_are_not_supported(space, sentence):
    with pytest.raises(InputError, match=sentence):
        agent_spec("toy", "a", space, NOTHING)
