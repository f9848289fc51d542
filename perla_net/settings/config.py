"""Every option of a run: names, types, defaults, bounds, one sentence each.

Plain dataclasses, so that a rank which only receives the configuration imports nothing for it; reading and
validating YAML and command lines, which rank 0 alone does, is in ``options.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Optional

from annotated_types import Ge, Gt, Le, Lt, MinLen

Positive = Annotated[int, Ge(1)]
Count = Annotated[int, Ge(0)]
Rate = Annotated[float, Gt(0), Lt(math.inf)]
NonNegative = Annotated[float, Ge(0), Lt(math.inf)]
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
    encoder: Literal["auto", "conv", "none"] = option(
        "auto", "Observations through convolutions: auto (images of bytes), conv (whatever has three axes), none."
    )
    channels: Annotated[Sizes, MinLen(1)] = option(
        (16, 32), "Channels of the convolutions, each 3x3 with stride 2; features are averaged over at most 6x6 fields."
    )
    orthogonal: bool = option(True, "Start from orthogonal weights (else torch's uniform start).")
    policy_gain: Rate = option(0.01, "Gain of the policy's last layer at an orthogonal start.")
    policy_deviation: Rate = option(
        1.0, "Standard deviation with which the policy of continuous actions starts; actions reach ±1."
    )


@dataclass
class Optimiser(Section):
    """Gradient steps on flat parameter vectors: Adam (Kingma and Ba 2015), or plain ones."""

    learning_rate: Rate = option(2e-3, "Step size of the policy.")
    critic_learning_rate: Rate = option(2e-3, "Step size of the critic.")
    method: Literal["adam", "sgd"] = option("adam", "Adam, or plain gradient steps.")
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
    chunk: Count = option(
        0,
        "Steps of time that gradients of messages and memories go back through, of agents that talk while they act: the rollout is learned from in "
        "chunks of so many steps, side by side (0: whole).",
    )


@dataclass
class A2C(Section):
    """Synchronous advantage actor-critic (Mnih et al. 2016): one pass over the rollout, no ratio."""

    minibatch: Count = option(0, "Steps of one agent in a gradient step (0: the whole rollout in one).")


@dataclass
class Reward(Section):
    """Whose reward an agent learns from."""

    mixing: Literal["own", "neighbourhood", "team"] = option(
        "own",
        "Learn from the own reward, the own plus the discounted ones of those that are heard, or the team's mean.",
    )
    spatial_discount: Fraction = option(
        0.9, "Under --reward.mixing neighbourhood: weight of a reward heard along h edges is this to the power of h."
    )


@dataclass
class Critic(Section):
    """The critic of an actor-critic."""

    input: Literal["preset", "own", "neighbourhood", "global"] = option(
        "preset",
        "What the critic reads: the preset's choice; the own observation; those of all whom the agent hears, too; everybody's.",
    )
    order: Literal["auto", "together", "first", "folds"] = option(
        "auto",
        "When the critic is fitted: in one with the policy, after the advantages; first, on this round too, before them; folds: first, and each "
        "half of the copies is judged by a critic that was fitted on the other half; auto: folds for the embedded forms control and trajectory, "
        "first for action, together for state and for critics that embed nobody.",
    )
    fit: Literal["gradient", "ridge", "residual"] = option(
        "residual",
        "How it is fitted, with order first or folds: by gradient steps; in closed form (--model.critic-hidden none); residual: V(o) in one "
        "with the policy, as the base algorithm's, and a linear function of everything to what V leaves, in closed form (gradient where there "
        "is nothing to embed).",
    )
    passes: Count = option(
        0, "Passes over the samples in each fit by gradient (0: 8, or as many as make 64 steps, whichever is more)."
    )
    window: Positive = option(
        4, "Rounds whose samples it is fitted on, this one included (of residual, the linear part)."
    )
    iterations: Positive = option(1, "Fits in a round, each to the targets that the last one gives.")
    trace: Optional[Fraction] = option(
        None,
        "Lambda of the returns that it is fitted to, with order first or folds (default: that of the advantages; of the linear part of residual, 0).",
    )
    penalty: Optional[Rate] = option(
        None,
        "Where it is fitted in closed form: weight of the squared weights (default: by generalised cross-validation).",
    )
    own_action: Literal["auto", "heads", "input"] = option(
        "auto",
        "How Q(o, a, ·) knows the own action: a head for each; or an input; auto: heads where actions can be counted.",
    )
    peers: Literal["each", "pooled"] = option(
        "each", "What it reads of neighbours' actions: each one's; or their mean, where these are interchangeable."
    )
    coefficient: Literal["auto", "one", "fitted"] = option(
        "auto",
        "Weight of the control variate in the forms control and trajectory: one; or fitted in every round, within 0 and 1; auto: fitted.",
    )
    alone: Literal["no", "yes"] = option(
        "no", "Keep the form of the embedded critic but hear nobody: tells what hearing does from what the form does."
    )


@dataclass
class Modelling(Section):
    """Models of neighbours under --share modelled: behavioural cloning of their actions."""

    epochs: Positive = option(4, "Passes over a round's actions.")
    minibatch: Positive = option(1024, "Actions in a minibatch.")
    learning_rate: Rate = option(2e-3, "Adam step size.")


@dataclass
class AgentSettings(Section):
    """Everything that may differ between agents (YAML: agents.default, agents.overrides)."""

    algorithm: str = option(
        "perla_ippo",
        "How agents act and learn (`python -m perla_net.methods` lists them): a method's name; MODULE.CLASS of your own; frozen:PATH, "
        "a trained policy that learns no more; controller:NAME, a reference controller of the environment.",
    )
    policy_loss: str = option(
        "preset", "Loss of the policy: the preset's, or MODULE.FUNCTION of your own (docs/methods.md)."
    )
    share: Literal["weights", "outputs", "own_view", "modelled"] = option(
        "weights",
        "What a policy message holds: weights and observations; action distributions only; weights to be evaluated on the "
        "receiver's observation; or modelled: no policy, only actions, from which receivers fit models of their own.",
    )
    identity: Literal["auto", "yes", "no"] = option(
        "auto", "Give the networks the agent's one-hot index as an input; auto: under parameter sharing."
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
    measure_variance: bool = option(
        False,
        "Measure in every round how much TD targets vary with the joint actions drawn, at K = 1, 4, 16, 64 and exact.",
    )
    form: Literal["state", "action", "control", "trajectory"] = option(
        "trajectory",
        "Embedded critic: V(o, a_N), Q(o, a, a_N), or Q as control variate around the sampled return: of this step, or of the whole trajectory.",
    )
    critic: Critic = option(Critic, "Critic.")
    model: Model = option(Model, "Networks.")
    optimiser: Optimiser = option(Optimiser, "Optimiser.")
    returns: Returns = option(Returns, "Returns and advantages.")
    ppo: PPO = option(PPO, "PPO.")
    a2c: A2C = option(A2C, "A2C.")
    reward: Reward = option(Reward, "Reward mixing.")
    modelling: Modelling = option(Modelling, "Models of neighbours.")
    sections: dict[str, dict[str, Any]] = field(default_factory=dict, metadata={"help": "", "hidden": True})
    """Options of methods that declare their own (``sections.py``), by section; written as ``--iql.…`` and so on."""


@dataclass
class Links(Section):
    """How packets fare on the way (an edge's own loss and delay in a graph file win)."""

    loss: Fraction = option(0.0, "Share of packets that are lost in the long run.")
    burst: NonNegative = option(
        0.0, "Mean length in rounds of bursts of loss (Gilbert-Elliott; 0: each packet by itself)."
    )
    loss_good: Fraction = option(0.0, "Loss in the good state of a link with bursts.")
    loss_bad: Fraction = option(1.0, "Loss in the bad state of a link with bursts.")
    delay: NonNegative = option(0.0, "Rounds that a packet takes (their mean, if geometric).")
    delay_model: Literal["constant", "geometric"] = option("constant", "Distribution of the delay.")
    overtake: bool = option(True, "Whether a packet with a shorter delay may overtake one sent earlier.")
    delays: Literal["models", "everything"] = option(
        "models",
        "What delays apply to: policies and parameters; or experience too, which is then lost, being of use only in its round.",
    )
    bit_errors: Fraction = option(0.0, "Probability that a bit flips on the way.")
    budget: Count = option(0, "Bytes that an agent may send in a round (0: any number).")
    every: Positive = option(1, "Communicate only every so many rounds.")
    hops: Positive = option(1, "Edges along which messages are forwarded; agents hear everything within so many.")
    symmetric: Literal["auto", "yes", "no"] = option(
        "auto", "Both ends of an undirected link fail together; auto: where averaging needs it."
    )


@dataclass
class Compression(Section):
    """How what is sent is coded."""

    method: Literal["none", "float16", "bfloat16", "int8", "top_k"] = option(
        "none",
        "Half precision, eight bits with a scale per tensor, or the largest differences of policies and parameters to "
        "what the receiver holds.",
    )
    keep: Annotated[float, Gt(0), Le(1)] = option(0.1, "Share of the entries that top_k sends.")


@dataclass
class Consensus(Section):
    """Averaging over the graph."""

    what: Literal["none", "parameters", "critics", "policies"] = option(
        "none", "What neighbours average: all parameters, critics only, policies only."
    )
    when: Literal["before", "after"] = option("after", "Before or after learning.")
    weights: Literal["metropolis", "push_sum"] = option(
        "metropolis", "Metropolis weights, for undirected graphs; push-sum, for directed graphs and losses."
    )
    step: Annotated[float, Gt(0), Le(1)] = option(
        1.0, "Share of the way to the average (CHOCO's γ; smaller under coarse compression)."
    )
    repeat: Positive = option(1, "Averagings per round.")
    equal_start: bool = option(False, "All agents start from the same parameters.")


@dataclass
class Cost(Section):
    """What communication would take on a real network; a graph file's edges may have their own latency and bandwidth."""

    preset: Literal["none", "cluster", "ethernet", "wifi", "radio", "lora", "wan", "satellite"] = option(
        "none", "Kind of link."
    )
    latency: Optional[NonNegative] = option(None, "Seconds per packet's way, in place of the preset's.")
    bandwidth: Optional[Rate] = option(None, "Bytes per second of a link, in place of the preset's.")


@dataclass
class Agents(Section):
    """How many agents, and how they differ."""

    number: Optional[Positive] = option(None, "Number of agents (default: the environment's, else one per rank).")
    groups: dict[str, Any] = option(
        dict, "Agents that share one network, by a name for the group: agents as in overrides, one or a list of them."
    )
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
        "auto",
        "Communication graph: a family[:key=value,…], 'interaction', a graph or Python file; several joined by '+' in "
        "turn; every=M: drawn anew; matching, distance:radius=R; away=3@10-20: who leaves when; auto: interaction where the "
        "environment tells who influences whom, else ring.",
    )
    links: Links = option(Links, "Links.")
    compression: Compression = option(Compression, "Compression.")
    consensus: Consensus = option(Consensus, "Averaging.")
    cost: Cost = option(Cost, "Cost model.")
    rounds: Positive = option(50, "Rounds of rollout, exchange and learning.")
    copies: Positive = option(64, "Copies of the environment that are stepped together.")
    horizon: Positive = option(120, "Steps of a rollout.")
    seed: Count = option(0, "Seed of everything random.")
    out: Optional[str] = option(None, "Folder of the run (default: a new one in runs/).")
    resume: Optional[str] = option(None, "Continue the run in this folder from its last checkpoint.")
    start_from: Optional[str] = option(
        None, "Begin with the policies of the run in this folder, and with its critics where they fit."
    )
    device: Literal["cpu", "cuda"] = option("cpu", "Where networks live and learn; cuda: the GPU that PyTorch sees.")
    batch_agents: Literal["auto", "yes", "no"] = option(
        "auto",
        "Let equal agents of one rank act and learn side by side, one product for all; auto: on a GPU only. The last "
        "bits then depend on who shares a rank.",
    )
    hosts: Optional[Positive] = option(None, "Ranks that step environment copies (default: one per available core).")
    checkpoint_every: Count = option(20, "Rounds between checkpoints (0: only at the end).")
    keep_checkpoints: Positive = option(2, "Newest checkpoints that are kept.")
    evaluate_episodes: Count = option(20, "Episodes of an evaluation (0: none).")
    evaluate_steps: Positive = option(
        20_000, "Steps after which an evaluation cuts off an episode that does not end by itself, and says so."
    )
    evaluate_points: Count = option(
        0,
        "Evaluations of the greedy team during the run, evenly spaced, beside one before it; the best team is evaluated on "
        "ten times as many episodes (0: only the evaluation at the end).",
    )
    stall_timeout: Rate = option(300.0, "Seconds after which a waiting collective names who is missing and aborts.")
    tensorboard: bool = option(False, "Write TensorBoard events to the run's folder, too (extra tensorboard).")
    wandb: Optional[str] = option(
        None, "Log to this project of wandb, too; true: perla_net (extra wandb; WANDB_MODE=offline without a network)."
    )
    display: Literal["auto", "live", "plain", "none"] = option(
        "auto", "Progress: a live line on a terminal (also under mpirun), plain lines elsewhere."
    )
