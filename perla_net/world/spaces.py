"""Gymnasium's spaces as specs: what an agent of an environment of others observes and may do."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from gymnasium import spaces

from ..ground.errors import InputError
from .observed import Observed, short
from .spec import ActionSpec, AgentSpec, Part

FLOATS = (np.float16, np.float32, np.float64)


SMALL_IMAGE = 4096
"""Bytes of an image that may stand in a Dict or Tuple, where it does not go through convolutions."""


def agent_spec(env: str, name: str, observation: spaces.Space, action: spaces.Space) -> AgentSpec:
    """One agent's spaces. Raises InputError, naming ``env``, for those that are not supported."""
    what, masked = action_spec(env, name, action), False
    if isinstance(observation, spaces.Dict) and "action_mask" in observation.spaces:
        observation, mask = _apart(observation)
        flags = math.prod(mask.shape or (getattr(mask, "n", 0),))
        if not what.flags or flags != what.flags:
            raise InputError(
                f"--env {env}: {name}'s action_mask of {flags} flags does not fit its action space {action}; one flag "
                "per discrete action is supported"
            )
        masked = True
    seen = observed(env, f"{name}'s observation", observation)
    if not seen.size:
        raise InputError(
            f"--env {env}: {name}'s observation space {observation} has no numbers in it; one at least is needed"
        )
    if seen.parts or seen.sizes:
        return AgentSpec(name, seen.size, seen.kind, (seen.size,), what, masked, observation=seen)
    return AgentSpec(name, seen.size, seen.kind, seen.shape, what, masked, seen.start[0], seen.low, seen.high)


def _apart(observation: spaces.Dict) -> tuple[spaces.Space, spaces.Space]:
    """(what is observed, the action mask) of a Dict with an ``action_mask``; at run time :meth:`AgentSpec.apart` does the same."""
    rest = {key: space for key, space in observation.spaces.items() if key != "action_mask"}
    return rest["observation"] if set(rest) == {"observation"} else spaces.Dict(rest), observation["action_mask"]


def observed(env: str, what: str, space: spaces.Space, key: str | int | None = None) -> Observed:
    """A space of observations, and all that it holds; ``what``: whose, for messages. Raises InputError for one that is not supported."""
    if isinstance(space, (spaces.Dict, spaces.Tuple)) and len(space.spaces):
        kind = "dict" if isinstance(space, spaces.Dict) else "tuple"
        items = list(space.spaces.items() if kind == "dict" else enumerate(space.spaces))
        if odd := [key for key, _ in items if type(key) not in (str, int)]:
            raise InputError(
                f"--env {env}: {what} has the key {short(odd[0])}; keys of a Dict must be text or whole numbers"
            )
        parts = tuple(observed(env, f"{what}[{place!r}]", part, place) for place, part in items)
        return Observed(kind, (len(parts),), key=key, parts=parts)
    if isinstance(space, spaces.Box):
        if space.dtype != np.uint8 or len(space.shape) not in (2, 3):
            return Observed("box", tuple(space.shape), key=key)
        if key is not None and math.prod(space.shape) > SMALL_IMAGE:
            raise InputError(
                f"--env {env}: {what} is an image of {'×'.join(map(str, space.shape))} bytes inside a Dict or Tuple, where images are not seen "
                f"through convolutions; at most {SMALL_IMAGE} bytes are taken so: shrink it, or make it the whole observation"
            )
        return Observed("image", tuple(space.shape), (0,), _one_for_all(space.low), _one_for_all(space.high), key=key)
    if isinstance(space, spaces.Discrete):
        return Observed("discrete", (int(space.n),), (int(space.start),), key=key)
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.size:
        sizes, start = (tuple(int(number) for number in of.ravel()) for of in (space.nvec, space.start))
        return Observed("multi_discrete", tuple(space.shape), start, sizes=sizes, key=key)
    if isinstance(space, spaces.MultiBinary):
        return Observed("multi_binary", tuple(np.atleast_1d(space.shape).tolist()), key=key)
    raise InputError(
        f"--env {env}: {what} is a space {type(space).__name__}, which is not supported; Box, Discrete, MultiDiscrete, MultiBinary, and "
        "Dict and Tuple of these are"
    )


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
