"""A batch environment made of objects with PettingZoo's parallel API, one per copy: what most suites are adapted to.

Beyond PettingZoo's API an object may have any of these, and then the world knows more of it:

    interaction_graph    pairs of names (j, i): agent j influences agent i
    horizon              usual number of steps of an episode
    positions()          name → coordinates, for graphs by distance
    metrics()            figures of the episode so far, name → float; the same names at any time
    controllers          reference controllers, name → class; ``cls(copies).act(copies)`` gives actions per agent
    render()             a picture, uint8 [height, width, 3]

``state()`` and ``state_space`` are PettingZoo's own: the state of the whole, for those that learn together.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Hashable, Iterable, Mapping, Sequence

import numpy as np
from gymnasium import spaces

from ..ground.errors import ContractError, InputError
from ..ground.selection import listed
from . import contract, streams
from .observed import short
from .spaces import agent_spec
from .spec import AgentSpec, WorldSpec


class Copies:
    """Batch interface over equal environments, one per copy.

    Observations are flattened to float32 (Discrete as one-hot); continuous actions in a bounded Box are scaled from
    [-1, 1]. Agents that leave ``env.agents`` are not alive until the next episode. What the environments give is held to the
    parallel API by ``contract.py``. The state of such an environment
    cannot be read, so :meth:`save` keeps the actions since the reset and :meth:`load` plays them again. Calls set the global random
    streams (``streams.py``); whoever makes many of them keeps these as they were.
    """

    def __init__(
        self,
        name: str,
        envs: Sequence[Any],
        agents: int | None,
        unknown: bool = False,
        weights: Sequence[float] = (),
    ) -> None:
        """``name``: as in ``--env``, for messages; ``agents``: the number asked for, or None; ``unknown``: the environment is
        anybody's, so that it has a rehearsal before it is relied on; ``weights``: of the objectives, where a reward is a vector of them."""
        self.name, self.envs, self.unknown, self.weights = name, list(envs), unknown, tuple(weights)
        first = self.envs[0]
        if not hasattr(first, "possible_agents"):
            raise InputError(
                f"--env {self.name}: has no possible_agents, which the parallel API needs to know its agents"
            )
        if not isinstance(first.possible_agents, Iterable):
            raise InputError(
                f"--env {name}: possible_agents is {short(first.possible_agents)}; it must be a list of agents"
            )
        self.keys: list[Hashable] = list(first.possible_agents)
        """What the environment calls its agents; their names are these as text."""
        self.agents = contract.names_of(name, self.keys)
        if agents is not None and agents != len(self.agents):
            raise InputError(
                f"--agents {agents}: {self.name} has {len(self.agents)} agents (set them by its own arguments)"
            )
        for env in self.envs[1:]:
            if list(env.possible_agents) != self.keys:
                raise InputError(
                    f"--env {name}: possible_agents differs from one environment to the next in one process "
                    f"({listed(self.keys)}; {listed(env.possible_agents)}); it must be the same whenever one is made"
                )
        self._number = {key: index for index, key in enumerate(self.keys)}
        self._resets = [contract.reset_of(name, env) for env in self.envs]
        self.spaces = [contract.spaces_of(name, first, key) for key in self.keys]
        self.specs = [agent_spec(self.name, agent, *spaces) for agent, spaces in zip(self.agents, self.spaces)]
        self._in_dict = [spec.masked for spec in self.specs]
        """Whether an agent's mask comes with its observation; else, if at all, in its info."""
        self.copies = len(self.envs)
        shape = (self.copies, len(self.agents))
        self.reward = np.zeros(shape, np.float32)
        self.earned = np.zeros((self.copies, len(self.weights)))
        """Each objective's sum over the running episode and the agents, without weights."""
        self._check_weights()
        self.terminated, self.truncated, self.alive = np.zeros((3, *shape), bool)
        self.seen: list[list[Any]] = [[None] * len(self.agents) for _ in self.envs]
        self.masks: list[list[Any]] = [[None] * len(self.agents) for _ in self.envs]
        self.actions: list[list[np.ndarray]] = [[] for _ in self.envs]
        self._episodes = [0] * self.copies
        """64 bits of the seed of each copy's episode."""
        self.controllers: dict[str, type] = getattr(first, "controllers", {})
        with streams.kept():
            streams.begin(0, 0)
            self._figures = self._told_by(first)
            self._find_masks()
        self._state = self._state_spec(first)
        """What ``state()`` gives, as an agent's observation would be described; None where there is none."""

    @property
    def objectives(self) -> int:
        """How many numbers a reward has, as far as the environment tells."""
        return contract.objectives_of(self.name, self.envs[0], self.keys[0]) or 1

    def _check_weights(self) -> None:
        for key in self.keys if self.weights else ():
            number = contract.objectives_of(self.name, self.envs[0], key)
            if number not in (None, len(self.weights)):
                raise InputError(
                    f"--env {self.name}: reward_weights has {len(self.weights)} numbers, but the reward of {key} has {number}"
                )

    def _told_by(self, env: Any) -> list[str]:
        """Names of what ``metrics()`` tells; some can only tell of an episode that has begun."""
        if not callable(getattr(env, "metrics", None)):
            return []
        try:
            told = env.metrics()
        except Exception:  # anybody's code, before its reset
            self._resets[0](0)
            told = env.metrics()
        if not isinstance(told, Mapping):
            raise ContractError(
                f"--env {self.name}: metrics() returned {short(told)}; it must be a dict of figures, name → number"
            )
        return [str(name) for name in told]

    def _state_spec(self, env: Any) -> AgentSpec | None:
        """Where there is a ``state_space``, of a kind that observations may be of."""
        space = getattr(env, "state_space", None)
        if not callable(getattr(env, "state", None)) or not isinstance(space, spaces.Space):
            return None
        try:
            return agent_spec(self.name, "state()", space, spaces.Discrete(1))
        except InputError:  # a space without an order of numbers: then it is as if there were none
            return None

    def state_of(self, copies: Any) -> np.ndarray:
        """What ``state()`` says now, flattened as observations are, [copies, size] float32. Raises ContractError."""
        assert self._state is not None
        chosen = range(self.copies)[copies] if isinstance(copies, slice) else copies
        found = np.zeros((len(chosen), self._state.observation_size), np.float32)
        for row, copy in enumerate(chosen):
            try:
                found[row] = self._state.flatten(self.envs[copy].state())
            except ValueError as error:
                raise ContractError(f"--env {self.name}: state() {error}") from None
        return found

    def _find_masks(self) -> None:
        """See whether the infos of a reset hold action masks, PettingZoo's newer convention. Who comes later has masks if others with the
        same actions have."""
        _, infos = contract.parts(self.name, "reset", self._resets[0](0))
        here = contract.present(self.name, "reset", self.envs[0], self._number)
        masked = []
        for index, (key, spec) in enumerate(zip(self.keys, self.specs)):
            if not spec.masked and contract.mask_in(infos, key) is not None:
                self._check_mask_fits(spec)
                masked.append(spec.action)
                self.specs[index] = replace(spec, masked=True)
        for index, (key, spec) in enumerate(zip(self.keys, self.specs)):
            if key not in here and spec.action in masked:
                self.specs[index] = replace(spec, masked=True)

    def _check_mask_fits(self, spec: Any) -> None:
        if not spec.action.flags:
            raise ContractError(
                f"--env {self.name}: infos hold an action_mask of {spec.name}, but its actions {self.spaces[self.agents.index(spec.name)][1]} "
                "are continuous; masks are for discrete actions"
            )

    @property
    def spec(self) -> WorldSpec:
        """Agents and spaces, and what the environment tells beyond PettingZoo's API."""
        first = self.envs[0]
        edges = getattr(first, "interaction_graph", None)
        edges = edges() if callable(edges) and not hasattr(edges, "edges") else getattr(edges, "edges", edges)
        if edges is not None:
            edges = [tuple(edge) for edge in edges]
            if odd := [edge for edge in edges if len(edge) != 2]:
                raise InputError(
                    f"--env {self.name}: interaction_graph has {short(odd[0])}; it must be pairs (j, i): j influences i"
                )
            if unknown := sorted({str(key) for edge in edges for key in edge if key not in self._number}):
                raise InputError(
                    f"--env {self.name}: interaction_graph names {unknown[0]}, who is not in possible_agents"
                )
            edges = tuple(sorted((self._number[source], self._number[target]) for source, target in edges))
        horizon = getattr(first, "horizon", None)
        return WorldSpec(
            self.name,
            tuple(self.specs),
            edges,
            horizon,
            tuple(self.controllers),
            moves=_tells_positions(first),
            state=self._state.observation_size if self._state else 0,
        )

    def positions(self) -> np.ndarray:
        """Where everybody is in the first copy, [agents, dimensions]: the environment's own ``positions()``, a mapping from
        agents' names, or what MPE's world holds."""
        env = self.envs[0]
        if callable(getattr(env, "positions", None)):
            places = env.positions()
        else:
            places = {agent.name: agent.state.p_pos for agent in env.unwrapped.world.agents}
        if missing := [agent for agent, key in zip(self.agents, self.keys) if key not in places]:
            raise ContractError(f"--env {self.name}: positions() does not tell where {missing[0]} is")
        return np.array([places[key] for key in self.keys], float)

    @property
    def drawable(self) -> bool:
        """Whether the environment promises pictures, in its metadata."""
        return "rgb_array" in (getattr(self.envs[0], "metadata", None) or {}).get("render_modes", ())

    def picture(self, copy: int) -> np.ndarray | None:
        """What the environment renders, uint8 [height, width, 3]; None where it renders nothing."""
        try:
            drawn = self.envs[copy].render()
        except NotImplementedError:  # the base class's
            return None
        return np.asarray(drawn, np.uint8)[..., :3] if isinstance(drawn, np.ndarray) and drawn.ndim == 3 else None

    def reset(self, copies: np.ndarray, seeds: list[np.random.SeedSequence]) -> None:
        """Begin a new episode in the given copies. Raises ContractError."""
        for copy, seed in zip(copies, seeds, strict=True):
            self.actions[copy] = []
            self.earned[copy] = 0
            self.seen[copy] = [None] * len(self.agents)  # what somebody saw in the last episode is not of this one
            self._episodes[copy] = int(seed.generate_state(1, np.uint64)[0])
            streams.begin(self._episodes[copy], 0)
            began = self._resets[copy](int(seed.generate_state(1)[0] >> 1))
            observations, infos = contract.parts(self.name, "reset", began)
            self.terminated[copy] = self.truncated[copy] = False
            self._note(copy, "reset", observations, infos)

    def step(self, actions: list[np.ndarray]) -> None:
        """Advance every copy by one step. Raises ContractError."""
        words = np.concatenate([action.reshape(self.copies, -1).view(np.int32) for action in actions], axis=1)
        for copy in range(self.copies):
            self._step(copy, words[copy].copy())

    def _step(self, copy: int, words: np.ndarray) -> None:
        self.actions[copy].append(words)
        chosen, start = {}, 0
        for index, (key, spec) in enumerate(zip(self.keys, self.specs)):
            piece = words[start : start + spec.action.words]
            start += spec.action.words
            if self.alive[copy, index]:
                chosen[key] = spec.action.native(piece.view(np.float32))
        streams.begin(self._episodes[copy], len(self.actions[copy]))
        result = self.envs[copy].step(chosen)
        observations, rewards, terminated, truncated, infos = contract.parts(self.name, "step", result)
        for index, key in enumerate(self.keys):
            if self.alive[copy, index]:
                paid = contract.reward(self.name, rewards, key, len(self.weights))
                if self.weights:
                    self.earned[copy] += paid
                    paid = sum(weight * float(number) for weight, number in zip(self.weights, paid))
                self.reward[copy, index] = paid
                self.terminated[copy, index] = contract.flag(self.name, "termination", terminated, key)
                cut = contract.flag(self.name, "truncation", truncated, key)
                self.truncated[copy, index] = cut and not self.terminated[copy, index]
            else:  # who has ended but was left in agents keeps its flags; newcomers may have none yet
                self.reward[copy, index] = 0.0
                self.terminated[copy, index] = key in terminated and contract.flag(
                    self.name, "termination", terminated, key
                )
                self.truncated[copy, index] = key in truncated and contract.flag(
                    self.name, "truncation", truncated, key
                )
        self._note(copy, "step", observations, infos)

    def _note(self, copy: int, method: str, observations: Any, infos: Any) -> None:
        """Keep what everybody sees after ``reset`` or ``step``."""
        here = contract.present(self.name, method, self.envs[copy], self._number)
        for index, (key, spec) in enumerate(zip(self.keys, self.specs)):
            ended = self.terminated[copy, index] or self.truncated[copy, index]
            self.alive[copy, index] = key in here and not ended
            if key not in observations:
                if self.alive[copy, index]:
                    raise ContractError(f"--env {self.name}: there is no observation of {key}, who is in agents")
                continue  # the last one stays: nobody reads it, since the agent is not alive
            if not self.alive[copy, index] and not ended:
                continue  # somebody who is not there yet
            seen, mask = contract.observed(self.name, spec, observations[key], self._in_dict[index])
            self.seen[copy][index] = seen
            if not self._in_dict[index]:
                mask = contract.mask_in(infos, key)
                if mask is not None and not spec.masked:
                    self._check_mask_fits(spec)
                    raise ContractError(
                        f"--env {self.name}: infos of {method} hold an action_mask of {spec.name}, but those of the first reset did "
                        "not; who has masks must have one from the beginning (ones where everything is allowed)"
                    )
            if spec.masked:
                self.masks[copy][index] = contract.allowed(self.name, spec, mask)

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
                    mask[row] = 1 if given is None or gone else given

    def metrics(self, copies: np.ndarray) -> dict[str, np.ndarray]:
        """What the environments' ``metrics()`` tell of the running episodes, and each objective where there are several."""
        found = [self.envs[copy].metrics() for copy in copies] if self._figures else []
        try:
            told = {name: np.array([float(figures[name]) for figures in found]) for name in self._figures}
        except (KeyError, TypeError, ValueError) as error:
            raise ContractError(
                f"--env {self.name}: metrics() must tell the same figures at any time, numbers all of them: "
                f"{', '.join(self._figures)} ({error!r})"
            ) from None
        return told | {
            f"objective_{index}": column[copies] / len(self.keys) for index, column in enumerate(self.earned.T)
        }

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

    replays = True
    """A state comes back by playing its episode again."""
    redraws = "the global random streams, and the generators that were found in its objects"
    """What of its chance is another in each future of :meth:`fork`."""

    def fork(
        self,
        state: dict[str, np.ndarray],
        seed: np.random.SeedSequence,
        futures: Sequence[np.random.SeedSequence],
        of: np.ndarray,
    ) -> bool:
        """Let every copy go on from one episode, which is played again: ``state``: of :meth:`save`, arrays [1, …]; ``seed``: of the episode.
        Afterwards global streams and all generators that the environments' objects hold go on from ``futures[of[copy]]``. False where
        the episode does not come to where it was."""
        whole = {name: np.repeat(array, self.copies, 0) for name, array in state.items()}
        if self.load(whole, [seed] * self.copies) is False:
            return False
        for copy, env in enumerate(self.envs):
            future = futures[of[copy]]
            self._episodes[copy] = int(future.generate_state(1, np.uint64)[0])
            streams.reseed(env, future)
        return True


def _tells_positions(env: Any) -> bool:
    bodies = getattr(getattr(getattr(env, "unwrapped", env), "world", None), "agents", [])
    return callable(getattr(env, "positions", None)) or (len(bodies) > 0 and hasattr(bodies[0], "state"))
