"""Gymnasium's spaces as specs: what an agent of an environment of others observes and may do."""

from __future__ import annotations

import math

import numpy as np
from gymnasium import spaces

from ..errors import InputError
from .spec import ActionSpec, AgentSpec


def agent_spec(env: str, name: str, observation: spaces.Space, action: spaces.Space) -> AgentSpec:
    """One agent's spaces. Raises InputError, naming ``env``, for those that are not supported."""
    masked, start = False, 0
    what = action_spec(env, name, action)
    if isinstance(observation, spaces.Dict):
        if set(observation.spaces) != {"observation", "action_mask"}:
            raise InputError(
                f"--env {env}: {name}'s observation is a Dict of {sorted(observation.spaces)}; only observation "
                "and action_mask are supported"
            )
        flags = math.prod(observation["action_mask"].shape or (observation["action_mask"].n,))
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
    return AgentSpec(name, size, kind, shape, what, masked, start)


def action_spec(env: str, name: str, action: spaces.Space) -> ActionSpec:
    """One agent's action space; Tuple and Dict of the others become ``mixed``."""
    if isinstance(action, spaces.Discrete):
        return ActionSpec("discrete", (int(action.n),), start=(int(action.start),))
    if isinstance(action, spaces.MultiDiscrete) and len(action.nvec.shape) == 1:
        start = tuple(int(number) for number in action.start)
        return ActionSpec("multi_discrete", tuple(int(number) for number in action.nvec), start=start)
    if isinstance(action, spaces.Box) and np.issubdtype(action.dtype, np.floating):
        low, high = (tuple(float(bound) for bound in side.ravel()) for side in (action.low, action.high))
        return ActionSpec("continuous", (), low, high, shape=tuple(action.shape))
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
                parts=tuple((key, part.kind, part.shape if part.low else (len(part.sizes),)) for key, part in found),
            )
    raise InputError(
        f"--env {env}: {name}'s action space {action} is not supported; Discrete, MultiDiscrete, Box, and Tuple or Dict of "
        "these are"
    )
