"""What an environment owes, whichever suite it comes from, and the one sentence for what it does not give.

Of objects with PettingZoo's parallel API (``copies.py``): agents' names and order, what ``reset`` and ``step`` return, flags,
rewards, observations and masks. Of every batch environment (``hosts.py``): who lives. A life begins once and ends once, with the
rules of :class:`Lives`.
"""

from __future__ import annotations

import inspect
import re
from typing import Any, Callable, Hashable, Mapping, Sequence

import numpy as np

from ..ground.errors import ContractError, InputError
from .observed import as_array, short
from .spec import AgentSpec

NAMELESS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
"""What no name may hold: it would break a line of a file, or could not be written."""


def names_of(env: str, agents: Sequence[Hashable]) -> list[str]:
    """The agents' names as text, which is what they are called everywhere. Raises InputError for names that cannot be told apart
    then, or that have characters which no file could keep."""
    for agent in agents:
        try:
            hash(agent)
        except TypeError:
            raise InputError(
                f"--env {env}: an agent is called {short(agent)}, which cannot be a key of a dict"
            ) from None
    names = [str(agent) for agent in agents]
    if not names:
        raise InputError(f"--env {env}: possible_agents is empty; there must be at least one agent")
    for agent, name in zip(agents, names):
        if NAMELESS.search(name):
            raise InputError(
                f"--env {env}: an agent is called {short(agent)}; names must be one line of text, without control characters"
            )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(
            f"--env {env}: possible_agents has two agents called {short(twice[0])}; names must differ as text"
        )
    return names


def spaces_of(env: str, object: Any, agent: Hashable) -> tuple[Any, Any]:
    """(observation space, action space) of an agent. Raises InputError where the environment does not say."""
    found = []
    for name in ("observation_space", "action_space"):
        method = getattr(object, name, None)
        if not callable(method):
            raise InputError(f"--env {env}: has no {name}(agent), which the parallel API asks for")
        try:
            found.append(method(agent))
        except Exception as error:  # anybody's code
            raise InputError(f"--env {env}: {name}({agent}) fails ({' '.join(repr(error).split())})") from None
    return found[0], found[1]


def parts(env: str, method: str, result: Any) -> Sequence[Any]:
    """What ``reset`` or ``step`` returned: as many mappings as the parallel API says. Raises ContractError."""
    what = PARTS[method]
    if not isinstance(result, tuple) or len(result) != len(what):
        found = f"{len(result)} values" if isinstance(result, tuple) else f"a {type(result).__name__}"
        raise ContractError(
            f"--env {env}: {method} returned {found}, not {', '.join(what[:-1])} and {what[-1]} of the parallel API"
        )
    for name, part in zip(what, result):
        if not isinstance(part, Mapping):
            raise ContractError(
                f"--env {env}: {method} returned {short(part)} as {name}; the parallel API asks for a dict with an entry for each agent"
            )
    return result


PARTS = {
    "reset": ("observations", "infos"),
    "step": ("observations", "rewards", "terminations", "truncations", "infos"),
}


def reset_of(env: str, object: Any) -> Callable[[int], Any]:
    """Calls an environment's ``reset`` with a seed, if it takes one. Raises InputError where it has none, or takes other things."""
    method = getattr(object, "reset", None)
    if not callable(method):
        raise InputError(f"--env {env}: has no reset, which the parallel API asks for")
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):  # written in another language
        return lambda seed: method(seed=seed)
    for arguments in ({"seed": None}, {"seed": None, "options": None}, {}, {"options": None}):
        try:
            signature.bind(**arguments)
        except TypeError:
            continue
        if "seed" in arguments:
            return lambda seed: method(**arguments | {"seed": seed})
        seeding = getattr(object, "seed", None)  # as before gymnasium: a method of its own
        if not callable(seeding):
            return lambda seed: method(**arguments)
        return lambda seed: (seeding(seed), method(**arguments))[1]
    raise InputError(f"--env {env}: reset{signature} asks for more than the seed and options of the parallel API")


def present(env: str, method: str, object: Any, number: Mapping[Hashable, int]) -> set[Hashable]:
    """Who is in ``agents`` now; ``number``: the agents that may be. Raises ContractError for others."""
    agents = getattr(object, "agents", None)
    try:
        here = set(agents)
    except TypeError:
        raise ContractError(
            f"--env {env}: agents is {short(agents)} after {method}; the parallel API asks for those who are there"
        ) from None
    for agent in here:
        if agent not in number:
            raise ContractError(
                f"--env {env}: {agent} is in agents after {method}, but not in possible_agents, where everybody must be who may come"
            )
    return here


def flag(env: str, what: str, given: Mapping[Hashable, Any], agent: Hashable) -> bool:
    """A termination or truncation of an agent that was there. Raises ContractError for what is missing or not one flag."""
    try:
        value = given[agent]
    except KeyError:
        raise ContractError(f"--env {env}: step returned no {what} for {agent}, who was there") from None
    if value is True or value is False:
        return value
    array = as_array(value)
    if array.size != 1 or array.dtype.kind not in "biuf" or array.ravel()[0] not in (0, 1):
        raise ContractError(f"--env {env}: the {what} of {agent} is {short(value)}; it must be True or False")
    return bool(array.ravel()[0])


def reward(env: str, given: Mapping[Hashable, Any], agent: Hashable, objectives: int = 0) -> float | np.ndarray:
    """The reward of an agent that was there; of so many ``objectives`` an array, [objectives] float64. Raises ContractError for what is
    missing or not one number, or not so many."""
    try:
        value = given[agent]
    except KeyError:
        raise ContractError(f"--env {env}: step returned no reward for {agent}, who was there") from None
    if type(value) is float and not objectives:
        return value
    array = as_array(value)
    numbers = array.size if array.dtype.kind in "fiub" else 0
    if objectives and numbers:
        if numbers != objectives:
            raise ContractError(
                f"--env {env}: reward_weights has {objectives} numbers, but the reward of {agent} has {numbers} ({short(value)})"
            )
        return array.ravel().astype(np.float64)
    if numbers != 1:
        hint = f"; {weights_hint(numbers)}" if numbers else ""
        raise ContractError(f"--env {env}: the reward of {agent} is {short(value)}, not a number{hint}")
    return float(array.ravel()[0])


def weights_hint(objectives: int) -> str:
    """How so many objectives become one number."""
    return f"its {objectives} objectives become one by an argument of --env: reward_weights=[{','.join(['1'] * objectives)}]"


def objectives_of(env: str, object: Any, agent: Hashable) -> int | None:
    """How many numbers a reward has, where the environment has a ``reward_space``, as multi-objective ones do; None where it has not.
    Raises InputError."""
    method = getattr(object, "reward_space", None)
    if not callable(method):
        return None
    try:
        return int(np.prod(method(agent).shape))
    except Exception as error:  # anybody's code
        raise InputError(f"--env {env}: reward_space({agent}) fails ({' '.join(repr(error).split())})") from None


def observed(env: str, spec: AgentSpec, seen: Any, in_dict: bool) -> tuple[np.ndarray, Any]:
    """(observation as float32, its mask as it came or None). in_dict: the space is a Dict with an action_mask. Raises ContractError for
    what is not of the space."""
    mask = None
    try:
        if in_dict:
            if not isinstance(seen, Mapping) or "action_mask" not in seen:
                raise ValueError(f"is {short(seen)}, but its space is a Dict with an action_mask")
            seen, mask = spec.apart(seen)
        return spec.flatten(seen), mask
    except ValueError as error:
        raise ContractError(f"--env {env}: the observation of {spec.name} {error}") from None


def allowed(env: str, spec: AgentSpec, mask: Any) -> np.ndarray:
    """An action mask as float32 flags. Raises ContractError for what is none."""
    try:
        return spec.allowed(mask)
    except ValueError as error:
        raise ContractError(f"--env {env}: the action mask of {spec.name} {error}") from None


def mask_in(infos: Mapping[Hashable, Any], agent: Hashable) -> Any:
    """The action mask in an agent's info, PettingZoo's newer convention; None where there is none."""
    info = infos.get(agent)
    return info.get("action_mask") if isinstance(info, Mapping) else None


class Lives:
    """Who lives in each copy, [copies, agents], held to one rule in every suite.

    An agent's life in an episode begins with the reset or later, and ends once: *terminated*, or else *truncated*, or, when it leaves
    without a word, terminated. Who has ended is gone until the next reset. An episode begins with at least one agent, and is
    over when nobody lives.
    """

    def __init__(self, env: str, names: Sequence[str], copies: int) -> None:
        """``env``: as in ``--env``, for messages."""
        self.env, self.names = env, names
        shape = (copies, len(names))
        self.alive, self.terminated, self.truncated, self.ended = np.zeros((4, *shape), bool)
        """Acts next; ended by the last step, for good or cut off; ended in this episode."""

    def begin(self, copies: np.ndarray, alive: np.ndarray) -> None:
        """Copies that were reset, and who is there then [len(copies), agents]. Raises ContractError."""
        if not alive.any(1).all():
            raise ContractError(
                f"--env {self.env}: nobody is in agents after a reset; an episode must begin with at least one agent"
            )
        self.ended[copies] = False
        self.alive[copies] = alive

    def step(self, terminated: np.ndarray, truncated: np.ndarray, alive: np.ndarray) -> np.ndarray:
        """What an environment says after a step, [copies, agents] each; who was there in it. Raises ContractError for somebody
        who came back."""
        before = self.alive
        if alive.all() and before.all() and not terminated.any() and not truncated.any():  # by far the most frequent
            self.terminated[:] = self.truncated[:] = False
            return before
        np.logical_and(terminated, before, out=self.terminated)
        left = before & ~(terminated | truncated | alive)
        self.terminated |= left
        np.logical_and(truncated, before & ~self.terminated, out=self.truncated)
        over = self.terminated | self.truncated
        back = alive & self.ended & ~(terminated | truncated)
        if back.any():
            copy, agent = np.argwhere(back)[0]
            raise ContractError(
                f"--env {self.env}: {self.names[agent]} came back after its life had ended; who has ended (flags, or left agents) must "
                "be gone until the next reset"
            )
        self.ended |= over
        self.alive = alive & ~self.ended
        return before

    def cut(self, copies: np.ndarray) -> None:
        """End the episodes of copies [copies] bool here: who lives is truncated."""
        self.truncated[copies] |= self.alive[copies]
        self.ended[copies] |= self.alive[copies]
        self.alive[copies] = False

    @property
    def over(self) -> np.ndarray:
        """Where nobody lives any more, [copies] bool."""
        return ~self.alive.any(1)
