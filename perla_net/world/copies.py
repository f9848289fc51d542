"""A batch environment made of objects with PettingZoo's parallel API, one per copy: what most suites are adapted to.

Beyond PettingZoo's API an object may have any of these, and then the world knows more of it:

    interaction_graph    pairs of names (j, i): agent j influences agent i
    horizon              usual number of steps of an episode
    positions()          name → coordinates, for graphs by distance
    metrics()            figures of the episode so far, name → float; the same names at any time
    controllers          reference controllers, name → class; ``cls(copies).act(copies)`` gives actions per agent
    render()             a picture, uint8 [height, width, 3]
"""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from ..errors import InputError
from .spaces import agent_spec
from .spec import ActionSpec, WorldSpec


class Copies:
    """Batch interface over equal environments, one per copy.

    Observations are flattened to float32 (Discrete as one-hot); continuous actions in a bounded Box are scaled from
    [-1, 1]. Agents that leave ``env.agents`` are not alive until the next episode. The state of such an environment
    cannot be read, so :meth:`save` keeps the actions since the reset and :meth:`load` plays them again.
    """

    def __init__(self, name: str, envs: Sequence[Any], agents: int | None) -> None:
        """``name``: as in ``--env``, for messages; ``agents``: the number asked for, or None."""
        self.name, self.envs = name, list(envs)
        first = self.envs[0]
        if not hasattr(first, "possible_agents"):
            raise InputError(
                f"--env {self.name}: has no possible_agents, which the parallel API needs to know its agents"
            )
        self.agents = list(first.possible_agents)
        if agents is not None and agents != len(self.agents):
            raise InputError(
                f"--agents {agents}: {self.name} has {len(self.agents)} agents (set them by its own arguments)"
            )
        self.spaces = [(first.observation_space(agent), first.action_space(agent)) for agent in self.agents]
        self.specs = [agent_spec(self.name, name, *spaces) for name, spaces in zip(self.agents, self.spaces)]
        self.copies = len(self.envs)
        shape = (self.copies, len(self.agents))
        self.reward = np.zeros(shape, np.float32)
        self.terminated, self.truncated, self.alive = np.zeros((3, *shape), bool)
        self.seen: list[list[Any]] = [[None] * len(self.agents) for _ in self.envs]
        self.masks: list[list[Any]] = [[None] * len(self.agents) for _ in self.envs]
        self.actions: list[list[np.ndarray]] = [[] for _ in self.envs]
        self.controllers: dict[str, type] = getattr(first, "controllers", {})
        self._figures = self._told_by(first)

    def _told_by(self, env: Any) -> list[str]:
        """Names of what ``metrics()`` tells; some can only tell of an episode that has begun."""
        if not hasattr(env, "metrics"):
            return []
        try:
            return list(env.metrics())
        except Exception:  # anybody's code, before its reset
            env.reset(seed=0)
            return list(env.metrics())

    @property
    def spec(self) -> WorldSpec:
        """Agents and spaces, and what the environment tells beyond PettingZoo's API."""
        first = self.envs[0]
        edges = getattr(first, "interaction_graph", None)
        if edges is not None:
            number = {name: index for index, name in enumerate(self.agents)}
            if unknown := sorted({str(name) for edge in edges for name in edge if name not in number}):
                raise InputError(
                    f"--env {self.name}: interaction_graph names {unknown[0]}, who is not in possible_agents"
                )
            edges = tuple(sorted((number[source], number[target]) for source, target in edges))
        horizon = getattr(first, "horizon", None)
        return WorldSpec(
            self.name, tuple(self.specs), edges, horizon, tuple(self.controllers), moves=_tells_positions(first)
        )

    def positions(self) -> np.ndarray:
        """Where everybody is in the first copy, [agents, dimensions]: the environment's own ``positions()``, a mapping from
        agents' names, or what MPE's world holds."""
        env = self.envs[0]
        if callable(getattr(env, "positions", None)):
            told = env.positions()
            return np.array([told[name] for name in self.agents], float)
        places = {agent.name: agent.state.p_pos for agent in env.unwrapped.world.agents}
        return np.array([places[name] for name in self.agents], float)

    def picture(self, copy: int) -> np.ndarray | None:
        """What the environment renders, uint8 [height, width, 3]; None where it renders nothing."""
        try:
            drawn = self.envs[copy].render()
        except NotImplementedError:  # the base class's
            return None
        return np.asarray(drawn, np.uint8)[..., :3] if isinstance(drawn, np.ndarray) and drawn.ndim == 3 else None

    def reset(self, copies: np.ndarray, seeds: list[np.random.SeedSequence]) -> None:
        """Begin a new episode in the given copies."""
        for copy, seed in zip(copies, seeds, strict=True):
            self.actions[copy] = []
            began = self.envs[copy].reset(seed=int(seed.generate_state(1)[0] >> 1))
            observations, infos = self._parts("reset", began, "observations and infos", 2)
            self.terminated[copy] = self.truncated[copy] = False
            self._note(copy, observations, infos)

    def step(self, actions: list[np.ndarray]) -> None:
        """Advance every copy by one step."""
        words = np.concatenate([action.reshape(self.copies, -1).view(np.int32) for action in actions], axis=1)
        for copy in range(self.copies):
            self._step(copy, words[copy].copy())

    def _step(self, copy: int, words: np.ndarray) -> None:
        self.actions[copy].append(words)
        chosen, start = {}, 0
        for index, (name, spec) in enumerate(zip(self.agents, self.specs)):
            piece = words[start : start + spec.action.words]
            start += spec.action.words
            if self.alive[copy, index]:
                chosen[name] = _native(piece, spec.action, self.spaces[index][1])
        result = self.envs[copy].step(chosen)
        parts = self._parts("step", result, "observations, rewards, terminations, truncations and infos", 5)
        observations, rewards, terminated, truncated, infos = parts
        for index, name in enumerate(self.agents):
            was_alive = self.alive[copy, index]
            self.reward[copy, index] = self._reward(rewards, name) if was_alive else 0.0
            self.terminated[copy, index] = was_alive and bool(terminated.get(name, name not in self.envs[copy].agents))
            self.truncated[copy, index] = (
                was_alive and bool(truncated.get(name, False)) and not self.terminated[copy, index]
            )
        self._note(copy, observations, infos)

    def _parts(self, method: str, result: Any, parts: str, number: int) -> Any:
        """What reset or step returned; raises InputError where it is not what the parallel API says."""
        if not isinstance(result, tuple) or len(result) != number:
            found = f"{len(result)} values" if isinstance(result, tuple) else f"a {type(result).__name__}"
            raise InputError(f"--env {self.name}: {method} returned {found}, not {parts} of the parallel API")
        return result

    def _reward(self, rewards: dict[str, Any], name: str) -> float:
        if name not in rewards:
            raise InputError(f"--env {self.name}: step returned no reward for {name}, who was there")
        try:
            return float(rewards[name])
        except (TypeError, ValueError):
            raise InputError(f"--env {self.name}: the reward of {name} is {rewards[name]!r}, not a number") from None

    def _note(self, copy: int, observations: dict[str, Any], infos: dict[str, Any]) -> None:
        env = self.envs[copy]
        present = set(env.agents)
        for index, (name, spec) in enumerate(zip(self.agents, self.specs)):
            ended = self.terminated[copy, index] or self.truncated[copy, index]
            self.alive[copy, index] = name in present and not ended
            if name not in observations:
                if self.alive[copy, index]:
                    raise InputError(f"--env {self.name}: there is no observation of {name}, who is in agents")
                continue  # the last one stays: nobody reads it, since the agent is not alive
            seen = observations[name]
            mask = infos.get(name, {}).get("action_mask") if isinstance(infos.get(name), dict) else None
            if isinstance(seen, dict):
                seen, mask = seen["observation"], seen["action_mask"]
            try:
                flat = spec.flatten(seen)
                if flat.size != spec.observation_size:
                    raise ValueError(f"has shape {np.shape(seen)}, but its space says {spec.observation_shape}")
            except (ValueError, TypeError, IndexError) as error:
                raise InputError(f"--env {self.name}: the observation of {name} {error}") from None
            self.seen[copy][index] = flat
            self.masks[copy][index] = mask

    def observe(self, copies: Any, observations: list[np.ndarray], masks: list[np.ndarray | None]) -> None:
        """Write the newest observations and masks of the given copies; zeros for agents that are not there."""
        chosen = range(self.copies)[copies] if isinstance(copies, slice) else copies
        for index, (out, mask) in enumerate(zip(observations, masks)):
            for row, copy in enumerate(chosen):
                seen = self.seen[copy][index]
                gone = not (self.alive[copy, index] or self.terminated[copy, index] or self.truncated[copy, index])
                out[row] = 0 if seen is None or gone else seen
                if mask is not None:
                    given = self.masks[copy][index]
                    mask[row] = 1 if given is None else given

    def metrics(self, copies: np.ndarray) -> dict[str, np.ndarray]:
        """What the environments' ``metrics()`` tell of the running episodes."""
        found = [self.envs[copy].metrics() for copy in copies] if self._figures else []
        return {name: np.array([figures[name] for figures in found], float) for name in self._figures}

    def save(self) -> dict[str, np.ndarray]:
        """The actions of each running episode (words, padded with zeros), their number, and the newest observations."""
        width = sum(spec.action.words for spec in self.specs)
        longest = max(len(actions) for actions in self.actions)
        words = np.zeros((self.copies, longest, width), np.int32)
        for copy, actions in enumerate(self.actions):
            if actions:
                words[copy, : len(actions)] = actions
        steps = np.array([len(actions) for actions in self.actions], np.int32)
        return {"words": words, "steps": steps, "observation": self._fingerprint(), "alive": self.alive.copy()}

    def _fingerprint(self) -> np.ndarray:
        size = sum(spec.observation_size for spec in self.specs)
        table = np.zeros((self.copies, size), np.float32)
        for copy in range(self.copies):
            start = 0
            for spec, seen in zip(self.specs, self.seen[copy]):
                if seen is not None:
                    table[copy, start : start + spec.observation_size] = seen
                start += spec.observation_size
        return table

    def load(self, state: dict[str, np.ndarray], seeds: list[np.random.SeedSequence]) -> bool:
        """Play each running episode again up to where it was; False when an observation then differs from the saved one."""
        self.reset(np.arange(self.copies), seeds)
        for copy in range(self.copies):
            for words in state["words"][copy, : state["steps"][copy]]:
                self._step(copy, words.copy())
        return bool(
            np.array_equal(self._fingerprint(), state["observation"]) and np.array_equal(self.alive, state["alive"])
        )


def _tells_positions(env: Any) -> bool:
    bodies = getattr(getattr(env.unwrapped, "world", None), "agents", [])
    return callable(getattr(env, "positions", None)) or (len(bodies) > 0 and hasattr(bodies[0], "state"))


def _native(words: np.ndarray, action: ActionSpec, space: Any) -> Any:
    """Action words as the environment wants them."""
    values = action.native(words.view(np.float32))
    if action.kind == "discrete":
        return int(values[0])
    return values if action.kind == "mixed" else values.astype(space.dtype)
