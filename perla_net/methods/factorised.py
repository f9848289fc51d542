"""Value factorisation: private utilities, and a value of the whole team that is made of them; the methods are in ``factorisations.py``.

Each agent keeps its utilities Q_i(o_i, ·) to itself, and tells on every drawn step those numbers of them that the team's value is made
of. That value is the same everywhere (:mod:`~.replica`), and what its loss (:mod:`~.team_value`) gives back for the told numbers goes back
into the own network. To act, an agent needs its own utilities alone.
"""

from __future__ import annotations

from typing import Any, Callable, ClassVar, Mapping, Sequence

import numpy as np
import torch

from ..learning.build import generator_of
from ..network.exchange import Inbox
from ..settings.config import AgentSettings
from ..world.world import Rollout
from .coalition import averaged
from .keeping import Kept, Part, restore_parts
from .memory import Replay
from .protocol import Now, Say, Seat
from .replica import Replica, strangers
from .team import Team
from .team_value import Sizes, TeamValue
from .utility import Drawn, Seen
from .value_based import STATISTICS, Coalition, Shared

MIXER = 1 << 16
"""Last number in the spawn keys of what starts beside the utilities; no other stream has it."""


class Factorised(Coalition):
    """What all of them have in common. Subclasses say what they tell."""

    purposes = ("experience", "replica")
    uses = (*Coalition.uses, "optimiser.critic")
    Value: ClassVar[type[TeamValue]]
    """The team's value and its loss."""
    utilities_of_its_own: ClassVar[int] = 1
    """Q_i; two, where the team's value reads utilities of its own."""

    def __init_subclass__(cls) -> None:
        """Its statistics: those of :class:`IQL`, and what its team's value gives."""
        cls.measured = (*STATISTICS[:3], "mixer_gradient", *cls.Value.figures)
        cls.statistics = (*cls.measured, *STATISTICS[3:])

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self.utilities = [self.utility]
        """Q_i; and Q̂_i, which the unrestricted critic reads."""
        if self.utilities_of_its_own > 1:
            start = seat.streams(1)[0]
            again = np.random.SeedSequence(seat.seed, spawn_key=(*start.spawn_key, MIXER))
            self.utilities.append(self._utility_of(seat.new_policy(again)))
        key = (self.name, self._coalition)
        self.replica: Replica = seat.commons.get(key) or self._new_replica()
        seat.commons[key] = self.replica
        self.place = self._coalition.index(self.index)
        self._apart: list[int] = []

    def _new_replica(self) -> Replica:
        """With networks that start alike everywhere."""
        seat, options, settings = self.seat, self.options, self.settings
        start = np.random.SeedSequence(seat.seed, spawn_key=(0, self._coalition[0], MIXER))
        generator = generator_of(start)
        specs = self.team.specs
        sizes = Sizes(
            self._state_size(self.team, self.index), tuple(specs[agent].action.sizes[0] for agent in self._coalition)
        )
        value = self.Value(sizes, options, settings.returns.gamma, generator, seat.device)
        return Replica(value, settings.optimiser, Replay(options.memory, self.memory.episodes, options.longest))

    # What is known before anything is built

    @classmethod
    def _in_common(cls, settings: AgentSettings) -> list[tuple[str, Any]]:
        return [*super()._in_common(settings), ("--optimiser.…", settings.optimiser)]

    @classmethod
    def wants_state(cls, team: Team, index: int) -> bool:
        """See :class:`~.protocol.Method`."""
        return team.state > 0 and team.settings[index].sections[cls.name]["state"] == "environment"

    @classmethod
    def wants_of_all(cls, team: Team, index: int) -> Sequence[str]:
        """See :class:`~.protocol.Method`: the state, where the environment does not tell it."""
        return [] if cls.wants_state(team, index) else ["observations"]

    @classmethod
    def _state_size(cls, team: Team, index: int) -> int:
        """Numbers in the state."""
        return team.state if cls.wants_state(team, index) else sum(spec.observation_size for spec in team.specs)

    @classmethod
    def first_words(cls, team: Team, index: int) -> str:
        """See :class:`~.protocol.Method`."""
        what = "the environment's own" if cls.wants_state(team, index) else "all observations in the order of agents"
        return f"the state is {what}, {cls._state_size(team, index)} numbers"

    # Learning

    def _learned_from(self, rollout: Rollout, inbox: Inbox, now: Now) -> Shared:
        """The team's mean reward [T, B]; the replica keeps what concerns all."""
        said = yield Say("replica", np.array([self.replica.checksum()]), self._coalition)
        self._apart = strangers({agent: float(numbers[0]) for agent, numbers in said.items()})
        shape = rollout.reward.shape
        acts = rollout.alive[:-1]
        life = acts + (acts & ~rollout.terminated).astype(np.float32)
        action = self.distribution.read(rollout.action).numpy()[:, 0].astype(np.float32)
        mine = np.concatenate([rollout.reward.ravel(), action, life.ravel()])
        told = yield Say("experience", mine, self._coalition)
        # [N, 3, T, B]
        table = np.stack([told[agent].reshape(3, *shape) for agent in self._coalition])
        if self.replica.round < now.round:
            self._remember(table, rollout, inbox, now.round)
        total = table[0, 0].copy()
        for reward in table[1:, 0]:
            total += reward
        return torch.from_numpy(total / len(table))

    def _remember(self, table: np.ndarray, rollout: Rollout, inbox: Inbox, round_number: int) -> None:
        """Let the replica keep the round's states, actions and lives."""
        steps, copies = rollout.reward.shape
        if rollout.state is not None and rollout.final_state is not None:
            whole = np.concatenate([rollout.state.reshape((steps + 1) * copies, -1), rollout.final_state])
        else:
            seen = (
                self.observation.cpu().numpy() if agent == self.index else inbox[agent].team["observations"]
                for agent in range(len(self.team.specs))
            )
            whole = np.concatenate(list(seen), 1)
        running = whole[: (steps + 1) * copies].reshape(steps + 1, copies, -1)
        following = running[1:].copy()
        t, copy = rollout.final_at.T
        following[t, copy] = whole[(steps + 1) * copies :]
        _, action, life = np.moveaxis(table, 0, -1)
        rows = {
            "state": running[:-1],
            "following": following,
            "action": action.astype(np.int32),
            "life": life.astype(np.uint8),
            "alive": (life > 0).any(-1),
        }
        self.replica.remember(round_number, rows, rollout.begins)

    def _update(self, share: float) -> Shared:
        """One gradient step; (loss, Q_tot, gradient's norm, …), the names are in :attr:`measured`."""
        chosen = self.memory.choose(self.batch_rng, self._number)
        rows = self._drawn(chosen)
        sights = [utility.look(rows) for utility in self.utilities]
        picks, known = self._tells(rows, sights)
        picked = [seen.values.detach().gather(-1, pick) for seen, pick in zip(sights, picks)]
        mine = torch.cat([*picked, *(one.unsqueeze(-1).to(torch.float32) for one in known)], -1)
        mine = mine.flatten(0, -2).mT.cpu().numpy()  # [P + K, M]
        told = yield Say("utilities", mine.ravel(), self._coalition)
        words = [told[agent].reshape(mine.shape) for agent in self._coalition]
        step = self.utility.optimiser.steps
        reward, variables = rows["reward"].flatten(), sum(pick.shape[-1] for pick in picks)
        rate = self.settings.optimiser.critic_learning_rate * share
        slope, figures = self.replica.learn(step, chosen, words, variables, reward, rate)
        # [P, M] → [..., P]: ∂L/∂ of what I told
        back = slope[:, self.place].mT.unflatten(0, rows["action"].shape)
        for utility, seen, pick in zip(self.utilities, sights, picks):
            part, back = back[..., : pick.shape[-1]], back[..., pick.shape[-1] :]
            utility.backward(seen.values, torch.zeros_like(seen.values).scatter_add_(-1, pick, part))
        yield from averaged([utility.network.gradient for utility in self.utilities], self._sharers)
        norms = [utility.step(self.settings.optimiser.learning_rate * share) for utility in self.utilities]
        return *figures[:2], float(norms[0]), *figures[2:]

    def _tells(self, rows: Drawn, sights: Sequence[Seen]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """What the team's value is made of: of each of the own networks the actions whose utilities are told, [..., P] int64, and what else is
        told of each step, [...] each."""
        raise NotImplementedError

    def _greedy(self, rows: Drawn, seen: Seen) -> torch.Tensor:
        """What would be done now, [..., 1]."""
        return self.utility.allowed(seen.values.detach(), rows).max(-1, keepdim=True).indices

    def out_of_step(self) -> list[str]:
        """See :class:`~.protocol.Method`."""
        if self.index not in self._apart:
            return []
        usual = next(agent for agent in self._coalition if agent not in self._apart)
        names = [self.team.specs[agent].name for agent in (*self._apart, usual)]
        *apart, other = names
        return [
            f"the networks of {self.name}'s team value are not the same everywhere: those that {', '.join(apart)} computed with are not those "
            f"of {other}; they begin alike and are told the same, so that the machines, or their versions of torch, must differ"
        ]

    def not_finite(self) -> list[str]:
        """See :class:`~.protocol.Method`."""
        return super().not_finite() + self.replica.not_finite()

    # State

    def parts(self) -> Mapping[str, Part]:
        """See :class:`~.acting.Acting`; the replica is in the file of the coalition's first agent."""
        parts = dict(super().parts())
        for utility in self.utilities[1:]:
            parts |= {"central": utility.network, **utility.parts("central")}
        return parts | ({"replica": self.replica} if self.place == 0 else {})

    def restore_rest(self, read: Callable[[int], Kept]) -> None:
        """See :class:`~.protocol.Method`."""
        if not self.replica.brought:
            restore_parts({"replica": self.replica}, *read(self._coalition[0]))
