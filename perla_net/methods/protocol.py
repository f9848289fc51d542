"""What a method is: how one agent acts and learns. One object an agent; a file a family.

A run uses a method like this, round after round (:meth:`perla_net.simulation.simulation.Simulation.round`):

    rollout = world.collect(method.player())              # acts through its player
    inbox   = network.exchange(method.tell(rollout, …))   # says what others want of it
    found   = yield from method.learn(rollout, inbox, now)

A method knows its seat (:class:`Seat`): its own spaces and settings, and those of others. It knows no rank, no packet, and no other agent's
object: all that it has of others is what arrived.
"""

from __future__ import annotations

from dataclasses import dataclass, field, is_dataclass
from inspect import isgenerator
from typing import Any, Callable, ClassVar, Generator, Mapping, NamedTuple, Sequence, TypeVar

import numpy as np
import torch

from ..ground.errors import InputError
from ..learning.build import generator_of
from ..learning.models import MLP, Policy
from ..network.exchange import Inbox, Sections
from ..network.talk import Say
from ..settings.config import AgentSettings, Section
from ..settings.data import from_data
from ..world.spec import AgentSpec
from ..world.world import Actor, Rollout
from .team import Team

KINDS = ("discrete", "multi_discrete", "continuous", "mixed")
"""Kinds of actions."""
Result = TypeVar("Result")
AnyOptions = TypeVar("AnyOptions", bound=Section)
FIELDS = frozenset(
    (
        *("round", "env_steps", "episodes", "team_return", "agent_returns", "figures", "team_reward", "agent_rewards"),
        *("policy_age", "oldest_policy", "absent", "edges", "packets", "loss", "late", "unsent", "rejected", "bytes"),
        *("distortion", "policy_divergence", "model_cross_entropy", "disagreement", "communication_seconds", "window"),
        *("target_variance", "return_per_megabyte", "bytes_per_step", "bytes_per_step_and_edge"),
    )
)
"""What every row of ``metrics.jsonl`` may have beside the statistics of methods."""
LONGEST_PURPOSE = 12
"""Bytes of a purpose's name, which stands in the header of what is said."""


@dataclass(frozen=True)
class Facts:
    """What a method can do and needs; listings and documentation are made from it."""

    summary: str
    """One sentence."""
    family: str
    """``actor-critic``, ``value-based``, ``fixed`` or another."""
    policy: str
    """``on``: learns from the rollout of its present policy; ``off``: from a memory of older ones; ``-``: does not learn."""
    actions: tuple[str, ...]
    """Kinds of actions: ``discrete``, ``multi_discrete``, ``continuous``, ``mixed``."""
    hears: str
    """Whom it hears, and what."""
    sends: str
    """What it sends them, beside what they want of its policy."""
    needs: str
    """Which rewards it learns from, and whether it needs the whole team."""
    source: str
    status: str
    """``verified: …`` against which known value; ``tested``; ``known problems: …``."""


Learning = Generator[Say, Any, dict[str, float]]
"""What :meth:`Method.learn` returns: it says things, and ends with named statistics."""


class Now(NamedTuple):
    """When it is: rounds so far with this one, and rounds of the whole run."""

    round: int
    rounds: int

    @property
    def progress(self) -> float:
        """The share of the run that was done before this round."""
        return (self.round - 1) / self.rounds


@dataclass(frozen=True)
class Seat:
    """What a method knows of the run in which it acts for agent ``index``."""

    index: int
    team: Team
    seed: int
    copies: int
    horizon: int
    device: str = "cpu"
    equal_start: bool = False
    """With the same parameters as every agent of equal spaces and networks."""
    commons: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)
    """What agents that sit together keep once instead of each by itself. Each would come to the same: no number may depend on who sits there."""

    @property
    def spec(self) -> AgentSpec:
        """The agent's spaces."""
        return self.team.specs[self.index]

    @property
    def settings(self) -> AgentSettings:
        """The agent's settings."""
        return self.team.settings[self.index]

    @property
    def group(self) -> tuple[int, ...]:
        """Those that share one network with it, itself among them; nobody where its networks are its own."""
        return self.team.group_of(self.index)

    def options(self, kind: type[AnyOptions]) -> AnyOptions:
        """The method's own options, as declared in ``kind``."""
        return from_data(kind, next(iter(self.settings.sections.values())))

    def new_policy(self, start: np.random.SeedSequence) -> Policy:
        """The agent's policy network with initial parameters."""
        policy = self.team.policy_of(self.index)
        generator = generator_of(start)
        model = self.settings.model
        policy.start(generator, model.orthogonal, model.policy_gain, model.policy_deviation)
        policy.to(self.device)
        return policy

    def streams(self, number: int) -> list[np.random.SeedSequence]:
        """Seeds of the agent's private random streams; the first is for initial parameters, and the same in a group."""
        found = np.random.SeedSequence(self.seed, spawn_key=(0, self.index)).spawn(number)
        if self.group or self.equal_start:
            first = self.group[0] if self.group else 0
            found[0] = np.random.SeedSequence(self.seed, spawn_key=(0, first)).spawn(1)[0]
        return found


class Method:
    """How one agent acts and learns. What is not said here, :class:`~.acting.Acting` gives to all that act by a policy network."""

    facts: ClassVar[Facts]
    Options: ClassVar[type[Section] | None] = None
    """A dataclass of :func:`perla_net.settings.config.option` fields: the method's own section of options."""
    statistics: ClassVar[tuple[str, ...]] = ()
    """Names of what :meth:`learn` returns; each becomes a field of ``metrics.jsonl``, the mean over the agents that report it."""
    uses: ClassVar[tuple[str, ...]] = ()
    """Begins of the options that every agent has and that it reads, beside networks, ``--returns.gamma`` and ``--reward.…``; for listings."""
    purposes: ClassVar[tuple[str, ...]] = ()
    """What its messages are called in the ledger, where these names are not there anyway."""
    has_policy: ClassVar[bool] = True
    """Whether it acts by a policy network, which others can rebuild."""
    learns: ClassVar[bool] = True
    talks_while_acting: ClassVar[bool] = False
    """Whether it may say something to its neighbours at every step (:meth:`says`)."""
    shares: ClassVar[bool] = False
    """Whether agents of a group (``agents.groups``) keep one network with it, by what they say to :attr:`Seat.group`."""
    remembers: ClassVar[bool] = False
    """Whether it learns, or acts, with ``--model.memory gru``."""

    # What is known before anything is built

    @classmethod
    def check_class(cls, where: str) -> None:
        """Refuse a class that forgot something. Raises InputError that begins with ``where``."""
        if not isinstance(getattr(cls, "facts", None), Facts):
            raise InputError(f"{where}: is no method: its facts (perla_net.methods.protocol.Facts) are missing")
        if not isinstance(cls.facts.actions, tuple):
            raise InputError(f"{where}: its facts say actions {cls.facts.actions!r}; it should be a tuple of kinds")
        if unknown := sorted(set(cls.facts.actions) - set(KINDS)):
            raise InputError(f"{where}: its facts say actions {unknown[0]!r}; kinds of actions are {', '.join(KINDS)}")
        if cls.facts.policy not in ("on", "off", "-"):
            raise InputError(f"{where}: its facts say policy {cls.facts.policy!r}; it should be on, off or -")
        if cls.learn is Method.learn and cls.learns:
            raise InputError(f"{where}: is no method: it has no learn(rollout, inbox, now)")
        if cls.Options is not None and not (is_dataclass(cls.Options) and issubclass(cls.Options, Section)):
            raise InputError(
                f"{where}: its Options should be a dataclass (@dataclass) of perla_net.settings.config.Section"
            )
        for name in cls.purposes:
            if not 0 < len(name.encode()) <= LONGEST_PURPOSE or not name.isprintable():
                raise InputError(f"{where}: the purpose {name!r} should have 1 to {LONGEST_PURPOSE} bytes")
        if taken := sorted(set(cls.statistics) & FIELDS):
            raise InputError(
                f"{where}: the statistic {taken[0]!r} is a field that metrics.jsonl has anyway; call it otherwise"
            )

    @classmethod
    def check(cls, team: Team, index: int) -> None:
        """Refuse what the method cannot do for this agent. Raises InputError."""
        kind, algorithm = team.specs[index].action.kind, team.settings[index].algorithm
        if kind not in cls.facts.actions:
            raise InputError(
                f"--algorithm {algorithm}: is for {' or '.join(cls.facts.actions).replace('_', '-')} actions, but those of {team.specs[index].name} are "
                f"{kind.replace('_', '-')}; ippo is for all kinds, and so are others (python -m perla_net.methods)"
            )
        if team.settings[index].model.memory == "gru" and not cls.remembers:
            raise InputError(
                f"--model.memory gru: {algorithm} does not learn with a memory; leave it at none ({team.specs[index].name})"
            )

    @classmethod
    def policy_for(cls, team: Team, index: int) -> Policy:
        """The agent's policy network with zero weights; the same wherever it is rebuilt. Raises LookupError where there is none."""
        raise LookupError("this method has no policy network")

    @classmethod
    def tells(cls, team: Team, index: int) -> list[str]:
        """Sections that tell the agent's policy to those who embed it."""
        raise NotImplementedError

    @classmethod
    def wants(cls, team: Team, index: int) -> Mapping[int, Sequence[str]]:
        """Sections that the agent wants of each of those that it may hear, beside what its reward needs."""
        return {}

    @classmethod
    def wants_of_all(cls, team: Team, index: int) -> Sequence[str]:
        """Sections that it wants of everybody in the team, over the complete graph."""
        return ()

    @classmethod
    def wants_state(cls, team: Team, index: int) -> bool:
        """Whether it learns from the environment's own state (``team.state`` numbers), which is then in its rollouts."""
        return False

    @classmethod
    def first_words(cls, team: Team, index: int) -> str:
        """What a run's first lines say of it, beside its name."""
        return ""

    @classmethod
    def talks(cls, team: Team, index: int) -> bool:
        """Whether :meth:`learn` says anything: by default where the method has purposes of its own, or a group shares its network."""
        return bool(cls.purposes) or (cls.shares and bool(team.group_of(index)))

    @classmethod
    def says(cls, team: Team, index: int) -> tuple[int, ...]:
        """Numbers in what it says to its neighbours at every step before it acts, by pass; nothing: it does not. Its player is a
        :class:`~.troupe.Talker` then, and :meth:`learn` yields :class:`~.through_time.Utter`."""
        return ()

    @classmethod
    def talks_to_neighbours(cls, team: Team, index: int) -> bool:
        """Whether any of it goes over the communication graph (``Say.to`` None): by default where it has purposes of its own."""
        return bool(cls.purposes)

    # A round

    def __init__(self, seat: Seat) -> None:
        self.seat, self.index, self.team = seat, seat.index, seat.team
        self.spec, self.settings = seat.spec, seat.settings
        self.copies, self.horizon = seat.copies, seat.horizon
        self.device = torch.device(seat.device)
        self.embedded: list[int] = []
        """Whose policies it averages out, when it hears them."""
        self.ages: dict[int, int] = {}
        """Age in rounds of each embedded neighbour's policy in the last exchange; absent ones are not listed."""
        self.hops: dict[int, int] = {}
        """Edges along which came what is embedded of each neighbour."""

    def player(self) -> Actor:
        """Who acts in the next rollout, with the noise of all its steps drawn; notes what the rollout begins with."""
        raise NotImplementedError

    def take_back(self) -> None:
        """As before the last :meth:`player`, whose rollout was given up."""

    def tell(self, rollout: Rollout, sections: Sequence[str]) -> Sections:
        """The sections that somebody wants of this agent."""
        raise NotImplementedError

    def distortion(self, told: Sequence[np.ndarray]) -> tuple[float | None, float | None]:
        """What coding did to what :meth:`tell` told of the policy; see :meth:`~.acting.Acting.distortion`."""
        return None, None

    def learn(self, rollout: Rollout, inbox: Inbox, now: Now) -> Learning:
        """Learn from a rollout and from what arrived; a generator (see :class:`Say`) that returns the :attr:`statistics`."""
        raise NotImplementedError

    def faults(self) -> list[str]:
        """What is wrong with the object that was made, a sentence each; looked at before a run begins."""
        return []

    def out_of_step(self) -> list[str]:
        """What must be the same in several agents after a round, and is not, a sentence each."""
        return []

    def not_finite(self) -> list[str]:
        """Names of its networks that hold anything but finite numbers."""
        return []

    def embedding_seconds(self) -> float:
        """Seconds of the last :meth:`learn` that went into others' policies."""
        return 0.0

    def cross_entropies(self) -> list[float | None]:
        """Of its models of others, in nats; see :mod:`~.modelling`."""
        return []

    variances: np.ndarray | None = None
    """What ``--measure-variance`` measured in the last round."""

    # Averaging over the graph (--consensus.…)

    def shared_vector(self, what: str) -> np.ndarray:
        """What agents average, float32. Raises LookupError where the method has nothing of that kind."""
        raise LookupError(what)

    def take_shared(self, what: str, vector: np.ndarray) -> None:
        """Go on with the average of it."""
        raise LookupError(what)

    def shared_groups(self, what: str) -> tuple[int, ...]:
        """Sizes of the tensors in :meth:`shared_vector`, without what is never coded behind them."""
        raise LookupError(what)

    averages: ClassVar[bool] = False
    """Whether it has all three."""

    # State

    def description(self) -> dict[str, Any]:
        """What its checkpoint says of it beside the numbers, JSON: ``policy``, the description of its network; ``networks``, those of others
        that ``--start-from`` may use."""
        return {}

    def acting(self) -> dict[str, np.ndarray]:
        """What it takes to act by what was learned, and no more."""
        return {}

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """(arrays, numbers) of everything that a resumed run needs."""
        raise NotImplementedError

    def restore(self, arrays: Mapping[str, np.ndarray], numbers: Mapping[str, Any]) -> None:
        """Continue from :meth:`state`."""
        raise NotImplementedError

    def restore_rest(self, read: Callable[[int], tuple[dict[str, np.ndarray], dict[str, Any]]]) -> None:
        """After all agents of the rank are restored: what is in another agent's checkpoint; ``read``: any agent's :meth:`state`."""

    def start_from(self, arrays: Mapping[str, np.ndarray], data: Mapping[str, Any]) -> None:
        """Begin with what another run learned: its checkpoint's arrays and JSON, whose policy was found to fit."""

    # Agents side by side (--batch-agents)

    def alike(self) -> Any:
        """Equal for methods that may act and learn side by side, by :meth:`together`; None for those that may not."""
        return None

    @classmethod
    def together(cls, methods: Sequence[Any]) -> Any:
        """Methods side by side; see :class:`~.squad.Squad`."""
        raise NotImplementedError


def shape_of(network: MLP) -> list[Any]:
    """What must be equal for a network to take another's parameters, JSON."""
    return [[name, list(shape)] for name, shape in network.shapes.items()]


def begun(method: Method, rollout: Rollout, inbox: Inbox, now: Now) -> Learning:
    """A method's learning as a generator, whose end is held to what its class says; a method that says nothing may return at once."""
    steps = method.learn(rollout, inbox, now)
    found = (yield from steps) if isgenerator(steps) else steps
    who = f"{method.settings.algorithm} of {method.spec.name}"
    if not isinstance(found, Mapping):
        raise TypeError(f"{who}: learn() returned {type(found).__name__}, not its statistics, name → number")
    if unknown := [name for name in found if name not in method.statistics]:
        raise TypeError(f"{who}: learn() returned {unknown[0]!r}, which is not among its statistics")
    try:
        return {name: float(value) for name, value in found.items()}
    except (TypeError, ValueError) as error:
        raise TypeError(f"{who}: learn() returned a statistic that is not a number ({error})") from None


def run_alone(steps: Generator[Say, Any, Result]) -> Result:
    """Run what says nothing to its end."""
    try:
        said = next(steps)
    except StopIteration as stop:
        return stop.value
    raise RuntimeError(
        f"something was said ({said}) by a method that says nothing while it learns: its class has no purposes, and its talks() is False"
    )
