"""Gymnasium's spaces as specs: what an agent of an environment of others observes and may do."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from gymnasium import spaces

from ..ground.errors import InputError
from .spec import ActionSpec, AgentSpec, Part

FLOATS = (np.float16, np.float32, np.float64)


def agent_spec(env: str, name: str, observation: spaces.Space, action: spaces.Space) -> AgentSpec:
    """One agent's spaces. Raises InputError, naming ``env``, for those that are not supported."""
    masked, start, bounds = False, 0, ((0,), (255,))
    what = action_spec(env, name, action)
    if isinstance(observation, spaces.Dict):
        if set(observation.spaces) != {"observation", "action_mask"}:
            raise InputError(
                f"--env {env}: {name}'s observation is a Dict of {sorted(observation.spaces)}; only observation "
                "and action_mask are supported"
            )
        mask = observation["action_mask"]
        flags = math.prod(mask.shape or (getattr(mask, "n", 0),))
        if not what.flags or flags != what.flags:
            raise InputError(
                f"--env {env}: {name}'s action_mask of {flags} flags does not fit its action space {action}; one flag "
                "per discrete action is supported"
            )
        observation, masked = observation["observation"], True
    if isinstance(observation, spaces.Box):
        image = observation.dtype == np.uint8 and len(observation.shape) in (2, 3)
        kind, shape = "image" if image else "box", tuple(observation.shape)
        size = math.prod(shape)
        if image:
            bounds = _one_for_all(observation.low), _one_for_all(observation.high)
    elif isinstance(observation, spaces.Discrete):
        kind, shape, size, start = "discrete", (int(observation.n),), int(observation.n), int(observation.start)
    elif isinstance(observation, spaces.MultiBinary):
        shape = tuple(np.atleast_1d(observation.shape).tolist())
        kind, size = "multi_binary", math.prod(shape)
    else:
        raise InputError(
            f"--env {env}: {name}'s observation space {type(observation).__name__} is not supported; Box, "
            "Discrete, MultiBinary and Dict(observation, action_mask) are"
        )
    if not size:
        raise InputError(
            f"--env {env}: {name}'s observation space {observation} has no numbers in it; one at least is needed"
        )
    return AgentSpec(name, size, kind, shape, what, masked, start, *bounds)


def _one_for_all(bound: np.ndarray) -> tuple[int, ...]:
    """A bound of bytes; as one number where all have the same."""
    values = tuple(int(value) for value in bound.ravel())
    return values[:1] if len(set(values)) == 1 else values


def action_spec(env: str, name: str, action: spaces.Space) -> ActionSpec:
    """One agent's action space; Tuple and Dict of the others become ``mixed``."""
    if isinstance(action, spaces.Discrete):
        part = Part(None, "discrete", (1,), "int64")
        return ActionSpec("discrete", (int(action.n),), start=(int(action.start),), parts=(part,))
    if isinstance(action, spaces.MultiDiscrete) and len(action.nvec.shape) == 1 and len(action.nvec):
        part = Part(None, "multi_discrete", tuple(action.shape), str(action.dtype))
        start = tuple(int(number) for number in action.start)
        return ActionSpec("multi_discrete", tuple(int(number) for number in action.nvec), start=start, parts=(part,))
    if isinstance(action, spaces.Box) and action.dtype in FLOATS and math.prod(action.shape):
        low, high = (tuple(float(bound) for bound in side.ravel()) for side in (action.low, action.high))
        part = Part(None, "continuous", tuple(action.shape), str(action.dtype))
        return ActionSpec("continuous", (), low, high, parts=(part,))
    if isinstance(action, (spaces.Tuple, spaces.Dict)) and len(action.spaces):
        items = list(action.spaces.items() if isinstance(action, spaces.Dict) else enumerate(action.spaces))
        found = [(key, action_spec(env, name, part)) for key, part in items]
        if all(part.kind != "mixed" for _, part in found):
            return ActionSpec(
                "mixed",
                tuple(size for _, part in found for size in part.sizes),
                tuple(bound for _, part in found for bound in part.low),
                tuple(bound for _, part in found for bound in part.high),
                tuple(number for _, part in found for number in part.start),
                tuple(replace(part.parts[0], key=key) for key, part in found),
                "dict" if isinstance(action, spaces.Dict) else "tuple",
            )
    whole = ""
    if isinstance(action, spaces.Box) and np.issubdtype(action.dtype, np.integer):
        whole = f" (a Box of {action.dtype} means whole numbers: say MultiDiscrete, or a Box of floats)"
    raise InputError(
        f"--env {env}: {name}'s action space {action} is not supported{whole}; Discrete, MultiDiscrete, Box of floats, and "
        "Tuple or Dict of these are"
    )
