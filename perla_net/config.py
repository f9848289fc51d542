"""Every option of a run: names, types, defaults, bounds, one sentence each.

Plain dataclasses, so that a rank which only receives the configuration imports nothing for it; reading and
validating YAML and command lines, which rank 0 alone does, is in ``options.py``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Annotated, Any, Literal, Optional, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

Positive = Annotated[int, Ge(1)]
Count = Annotated[int, Ge(0)]
Rate = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Le(1)]
Discount = Annotated[float, Ge(0), Lt(1)]
Sizes = tuple[Positive, ...]
Activation = Literal["tanh", "relu", "elu", "silu"]


def option(default: Any, sentence: str) -> Any:
    """A dataclass field that carries the sentence shown by ``--help``."""
    if callable(default):
        return field(default_factory=default, metadata={"help": sentence})
    return field(default=default, metadata={"help": sentence})


class Section:
    """Base of the option groups: pydantic reads the setting when ``options.py`` validates them."""

    __pydantic_config__ = {"extra": "forbid"}


@dataclass
class Model(Section):
    """Networks of one agent."""

    policy_hidden: Sizes = option((64, 64), "Sizes of the policy's hidden layers.")
    critic_hidden: Sizes = option((64, 64), "Sizes of the critic's hidden layers.")
    policy_activation: Activation = option("tanh", "Non-linearity of the policy.")
    critic_activation: Activation = option(
        "relu", "Non-linearity of the critic (relu embeds a third faster than tanh)."
    )
    memory: Literal["none", "gru"] = option(
        "none", "Memory of the policy: a GRU as wide as the last hidden layer, or none."
    )
    orthogonal: bool = option(True, "Start from orthogonal weights (else torch's uniform start).")
    policy_gain: Rate = option(0.01, "Gain of the policy's last layer at an orthogonal start.")


@dataclass
class Optimiser(Section):
    """Adam on flat parameter vectors (Kingma and Ba 2015)."""

    learning_rate: Rate = option(2e-3, "Adam step size of the policy.")
    critic_learning_rate: Rate = option(2e-3, "Adam step size of the critic.")
    schedule: Literal["constant", "linear"] = option(
        "linear", "Learning rates over the run: constant, or linearly to zero."
    )
    epsilon: Rate = option(1e-5, "Adam's epsilon.")
    max_gradient_norm: NonNegative = option(0.5, "Clip the gradient of each network to this Euclidean norm (0: never).")


@dataclass
class Returns(Section):
    """What is estimated from a rollout, shared by PPO and A2C."""

    gamma: Discount = option(0.97, "Discount per step.")
    trace: Fraction = option(0.95, "Lambda of GAE and of the lambda-return.")
    entropy: NonNegative = option(0.003, "Weight of the entropy bonus.")
    normalise_advantages: bool = option(True, "Centre and scale the advantages of a round.")
    normalise_values: bool = option(True, "Keep the critic's targets at mean 0 and variance 1 (PopArt).")
    value_smoothing: Discount = option(0.9, "Weight of the past in PopArt's running moments, per round.")


@dataclass
class PPO(Section):
    """Proximal policy optimisation (Schulman et al. 2017)."""

    epochs: Positive = option(8, "Passes over a round's rollout.")
    minibatch: Positive = option(1024, "Steps of one agent in a minibatch.")
    clip: Rate = option(0.2, "Clipping range of the probability ratio.")


@dataclass
class A2C(Section):
    """Synchronous advantage actor-critic (Mnih et al. 2016): one pass over the rollout, no ratio."""

    minibatch: Count = option(0, "Steps of one agent in a gradient step (0: the whole rollout in one).")


@dataclass
class Reward(Section):
    """Whose reward an agent learns from."""

    mixing: Literal["own", "neighbourhood", "team"] = option(
        "own", "Learn from the own reward, the own plus the in-neighbours' discounted ones, or the team's mean."
    )
    spatial_discount: Fraction = option(0.9, "Weight of an in-neighbour's reward under --reward.mixing neighbourhood.")


@dataclass
class AgentSettings(Section):
    """Everything that may differ between agents (YAML: agents.default, agents.overrides)."""

    algorithm: Literal["ia2c", "ippo", "mappo", "perla_ia2c", "perla_ippo", "perla_mappo", "ps_ippo", "ps_mappo"] = (
        option(
            "perla_ippo", "What the agents learn with: a preset over base learner, critic input, embedding and sharing."
        )
    )
    share: Literal["weights", "outputs", "own_view"] = option(
        "weights",
        "What a policy message holds: weights and observations, action distributions only, or weights to be "
        "evaluated on the receiver's observation.",
    )
    samples: Count = option(
        100, "Joint actions of the neighbours that the embedding draws per state (K; 0: no embedding)."
    )
    estimator: Literal["auto", "exact", "monte_carlo", "stratified"] = option(
        "auto",
        "How the expectation over the neighbours' actions is taken; auto: exact up to --exact-limit joint actions, "
        "or up to K of them, else stratified.",
    )
    exact_limit: Positive = option(100, "Joint actions up to which auto enumerates them all.")
    form: Literal["state", "action", "control"] = option(
        "control", "Embedded critic: V(o, a_N), Q(o, a, a_N), or Q as control variate around the sampled return."
    )
    model: Model = option(Model, "Networks.")
    optimiser: Optimiser = option(Optimiser, "Optimiser.")
    returns: Returns = option(Returns, "Returns and advantages.")
    ppo: PPO = option(PPO, "PPO.")
    a2c: A2C = option(A2C, "A2C.")
    reward: Reward = option(Reward, "Reward mixing.")


@dataclass
class Agents(Section):
    """How many agents, and how they differ."""

    number: Optional[Positive] = option(None, "Number of agents (default: the environment's, else one per rank).")
    default: dict[str, Any] = option(dict, "Settings of every agent.")
    overrides: dict[str, dict[str, Any]] = option(dict, "Settings by agent name, index ('3') or range ('4-7').")


@dataclass
class Config(AgentSettings):
    """A whole run. ``perla_net.train(Config(...))`` runs it; unknown names and impossible values raise InputError."""

    env: str = option(
        "traffic:grid", "Environment, SUITE:NAME[:key=value,…] (traffic:grid, spread, pettingzoo:MODULE)."
    )
    agents: Agents = option(Agents, "Agents.")
    topology: str = option(
        "ring", "Communication graph: a family[:key=value,…], 'interaction', or a graph or Python file."
    )
    rounds: Positive = option(50, "Rounds of rollout, exchange and learning.")
    copies: Positive = option(64, "Copies of the environment that are stepped together.")
    horizon: Positive = option(120, "Steps of a rollout.")
    seed: Count = option(0, "Seed of everything random.")
    out: Optional[str] = option(None, "Folder of the run (default: a new one in runs/).")
    resume: Optional[str] = option(None, "Continue the run in this folder from its last checkpoint.")
    device: Literal["cpu", "cuda"] = option("cpu", "Where networks live and learn; cuda: the GPU that PyTorch sees.")
    batch_agents: Literal["auto", "yes", "no"] = option(
        "auto",
        "Let equal agents of one rank act and learn side by side, one product for all; auto: on a GPU only. The last "
        "bits then depend on who shares a rank.",
    )
    hosts: Optional[Positive] = option(None, "Ranks that step environment copies (default: one per available core).")
    checkpoint_every: Count = option(20, "Rounds between checkpoints (0: only at the end).")
    keep_checkpoints: Positive = option(2, "Newest checkpoints that are kept.")
    evaluate_episodes: Count = option(20, "Episodes of the evaluation at the end (0: none).")
    stall_timeout: Rate = option(300.0, "Seconds after which a waiting collective names who is missing and aborts.")
    display: Literal["auto", "live", "plain", "none"] = option(
        "auto", "Progress: a live line on a terminal (also under mpirun), plain lines elsewhere."
    )


@dataclass(frozen=True)
class Preset:
    """One algorithm name as independent choices (DESIGN: axes of the learners)."""

    base: str
    critic_input: str
    embedding: bool
    shared: bool


PRESETS = {
    "ia2c": Preset("a2c", "own", False, False),
    "ippo": Preset("ppo", "own", False, False),
    "mappo": Preset("ppo", "global", False, False),
    "perla_ia2c": Preset("a2c", "own", True, False),
    "perla_ippo": Preset("ppo", "own", True, False),
    "perla_mappo": Preset("ppo", "global", True, False),
    "ps_ippo": Preset("ppo", "own", False, True),
    "ps_mappo": Preset("ppo", "global", False, True),
}


def to_data(value: Any) -> Any:
    """Dataclasses as plain JSON/YAML data; tuples become lists."""
    if is_dataclass(value):
        return to_data(asdict(value))
    if isinstance(value, dict):
        return {key: to_data(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_data(item) for item in value]
    return value


def from_data(kind: type, data: dict[str, Any]) -> Any:
    """The inverse of :func:`to_data` for data that rank 0 has validated already."""
    hints = get_type_hints(kind)
    values = {}
    for entry in fields(kind):
        value = data[entry.name]
        if is_dataclass(hints[entry.name]):
            value = from_data(hints[entry.name], value)
        elif isinstance(value, list):
            value = tuple(value)
        values[entry.name] = value
    return kind(**values)


def parse_spec(text: str) -> tuple[str, dict[str, Any]]:
    """``'watts_strogatz:k=4,p=0.1'`` → ``('watts_strogatz', {'k': 4, 'p': 0.1})``; names may hold colons themselves.

    Values are read as int, float, true/false or text, in this order.
    """
    from .errors import InputError

    name, arguments = text, {}
    head, _, tail = text.rpartition(":")
    if head and "=" in tail:
        name = head
        for item in tail.split(","):
            key, equals, value = item.partition("=")
            if not equals or not key.strip() or not value.strip():
                raise InputError(f"'{text}': '{item}' is not key=value")
            arguments[key.strip()] = _literal(value.strip())
    return name, arguments


def _literal(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)
