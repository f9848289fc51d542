"""Reference controllers that act for some agents of a run: they decide on the host, from the simulator's state."""

from __future__ import annotations

from copy import copy, deepcopy
from typing import Any, Mapping, Sequence

import numpy as np

from ..ground.errors import ContractError
from .spec import ActionSpec, WorldSpec


class Controllers:
    """Those of one host. A controller decides for everybody, and plays its own agents' part."""

    def __init__(self, environment: Any, spec: WorldSpec, wanted: Mapping[int, str]) -> None:
        """``wanted``: agents that a controller acts for, and its name."""
        self.environment, self.spec, self.wanted = environment, spec, dict(wanted)
        self.acting = {name: environment.controllers[name](environment) for name in sorted(set(self.wanted.values()))}
        self._at_first = self._held()

    def choose(self, hypothetical: bool = False) -> dict[int, np.ndarray]:
        """What they do now: agent → words [copies, words] float32. hypothetical: where nobody will do it, so that no draw may be spent on
        it; then doubles are asked. Raises ContractError for what is not of the agents' spaces."""
        found: dict[int, np.ndarray] = {}
        for name, controller in self.acting.items():
            decides = _double(controller, self.environment) if hypothetical else controller
            actions = for_all(decides.act(self.environment), self.spec, f"controller {name}")
            for agent, chosen in enumerate(actions):
                if self.wanted.get(agent) == name:
                    action = self.spec.agents[agent].action
                    found[agent] = np.zeros((self.environment.copies, action.words), np.float32)
                    write(found[agent], chosen, self.spec, agent, f"controller {name}")
        return found

    @property
    def remember(self) -> bool:
        """Whether some of them hold what was not there at first, and is nowhere kept."""
        return self._held() != self._at_first

    def _held(self) -> list[Any]:
        return [_remembered(controller, self.environment) for controller in self.acting.values()]


def for_all(actions: Sequence[Any], spec: WorldSpec, name: str) -> Sequence[Any]:
    """A controller's actions, one entry an agent. Raises ContractError where these are more or fewer."""
    if len(actions) != len(spec.agents):
        raise ContractError(f"--env {spec.name}: {name} acts for {len(actions)} agents; there are {len(spec.agents)}")
    return actions


def write(words: np.ndarray, chosen: Any, spec: WorldSpec, agent: int, name: str) -> None:
    """Actions of one agent [copies] or [copies, words] into float32 words, as the bits of int32 where discrete; of mixed spaces they are such
    words already. Raises ContractError for what is not of the space."""
    action: ActionSpec = spec.agents[agent].action
    who = f"--env {spec.name}: what {name} does for {spec.agents[agent].name}"
    try:
        values = np.asarray(chosen).reshape(words.shape)
    except ValueError:
        raise ContractError(
            f"{who} has shape {np.shape(chosen)}; it should have an action for each of {len(words)} copies"
        ) from None
    if action.low:
        words[:] = values
        if not np.isfinite(words[:, len(action.sizes) :]).all():
            raise ContractError(f"{who} is not finite")
        return
    outside = (values < 0) | (values >= np.array(action.sizes))
    if outside.any():
        raise ContractError(f"{who} is {values[outside][0]}, but its actions are 0 to {max(action.sizes) - 1}")
    words.view(np.int32)[:] = values


def _double(controller: Any, environment: Any) -> Any:
    """A controller that decides as this one, and leaves what it remembers and its random streams alone. What cannot be copied (a connection to
    a simulator, say) it shares."""
    try:
        return deepcopy(controller, {id(environment): environment})
    except Exception:  # anybody's objects
        double = copy(controller)
        for name, value in getattr(controller, "__dict__", {}).items():
            if isinstance(value, (np.random.Generator, np.random.RandomState, np.ndarray, list, dict, set)):
                setattr(double, name, deepcopy(value))
        return double


def _remembered(value: Any, environment: Any, seen: frozenset[int] = frozenset()) -> Any:
    """What a controller, or something in it, holds that may change from step to step: equal as long as it has not."""
    if value is environment or id(value) in seen:
        return None
    inner = seen | {id(value)}
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.shape, value.tobytes()
    if isinstance(value, dict):
        return [(repr(key), _remembered(item, environment, inner)) for key, item in value.items()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_remembered(item, environment, inner) for item in value]
    if isinstance(value, (int, float, complex, str, bytes, type(None))):
        return value
    if isinstance(value, np.random.RandomState):
        return repr(value.get_state())
    return [(name, _remembered(item, environment, inner)) for name, item in getattr(value, "__dict__", {}).items()]
