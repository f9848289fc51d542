"""Actor-critics by name: each a few independent choices, which stay reachable one by one."""

from __future__ import annotations

from dataclasses import dataclass

from ..settings.config import AgentSettings


@dataclass(frozen=True)
class Preset:
    """One name as choices: base learner (``ppo``, ``a2c``); what the critic reads (``own``, ``neighbourhood``, ``global``); whether it embeds those
    whom it hears; whether the whole team shares one network; form of its critic, where that is not left to ``--form``; options that it leaves
    no choice in; whether the critic reads the mean of its neighbours' actions."""

    base: str
    critic_input: str
    embedding: bool
    shared: bool
    form: str = ""
    fixed: tuple[str, ...] = ()
    mean_field: bool = False


OF_TEAM = ("reward.mixing", "reward.spatial_discount")
"""Of those that learn from the mean reward of all with their method."""
COUNTERFACTUAL = (
    *("form", "returns.trace", "critic.order", "critic.fit", "critic.window", "critic.iterations", "critic.trace"),
    *("critic.penalty", "critic.own_action", "critic.coefficient", *OF_TEAM),
)
"""Of COMA: a head for each own action, fitted by gradient to this round, before it judges; the λ of its targets is an option of its own."""
TALKING = ("commnet", "ic3net", "dial", "neurcomm", "tarmac", "fingerprint")
"""Kinds of messages of every step; each also with embedding."""
OF_TALKING = ("critic.input", "measure_variance")
"""Options that talking agents have no choice in: their critic reads what they see and remember."""
HEADS_MOST = 4096
"""Own actions beyond which a critic with a head per own action is refused."""

PRESETS = {
    "coma": Preset("a2c", "global", False, False, "action", (*COUNTERFACTUAL, "critic.peers")),
    "happo": Preset("ppo", "global", False, False, fixed=OF_TEAM),
    "ia2c": Preset("a2c", "own", False, False),
    "ippo": Preset("ppo", "own", False, False),
    "mappo": Preset("ppo", "global", False, False),
    "perla_coma": Preset("a2c", "own", True, False, "action", COUNTERFACTUAL),
    "perla_ia2c": Preset("a2c", "own", True, False),
    "perla_ippo": Preset("ppo", "own", True, False),
    "perla_mappo": Preset("ppo", "global", True, False),
    "ps_ippo": Preset("ppo", "own", False, True),
    "ps_mappo": Preset("ppo", "global", False, True),
    "adopt": Preset("ppo", "own", False, False),
    "consensus": Preset("ppo", "own", False, False),
    "consensus_reward": Preset("ppo", "global", False, False, fixed=("critic.input",)),
    "kappa_hop": Preset("ppo", "neighbourhood", False, False, fixed=("critic.input",)),
    "mean_field_ac": Preset("a2c", "own", False, False, mean_field=True),
    **{name: Preset("ppo", "own", False, False, fixed=OF_TALKING) for name in TALKING},
    **{f"perla_{name}": Preset("ppo", "own", True, False, fixed=OF_TALKING) for name in TALKING},
}


def base_of(algorithm: str) -> str:
    """The base learner of an actor-critic: its preset's, of those that are none PPO."""
    return PRESETS[algorithm].base if algorithm in PRESETS else "ppo"


def critic_input(settings: AgentSettings) -> str:
    """What an agent's critic reads: ``own``, ``neighbourhood`` or ``global``; ``own`` too where its method has no critic."""
    if settings.algorithm not in PRESETS:
        return "own"
    if settings.algorithm == "kappa_hop":
        return "neighbourhood" if settings.sections["kappa_hop"]["kappa"] else "own"
    asked = settings.critic.input
    return PRESETS[settings.algorithm].critic_input if asked == "preset" else asked


EMBEDDING = {name for name, preset in PRESETS.items() if preset.embedding} | {
    *("perla_iql", "perla_vdn", "perla_maddpg"),
}
"""Methods that average out the policies that they hear."""


def embeds(settings: AgentSettings) -> bool:
    """Whether an agent averages out the policies that it hears."""
    return settings.algorithm in EMBEDDING and settings.samples > 0 and settings.critic.alone == "no"


def reads_mean(settings: AgentSettings) -> bool:
    """Whether an agent's critic reads the mean of the actions that it hears."""
    return settings.algorithm in PRESETS and PRESETS[settings.algorithm].mean_field
