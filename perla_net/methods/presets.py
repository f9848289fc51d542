"""Actor-critics by name: each a few independent choices, which stay reachable one by one."""

from __future__ import annotations

from dataclasses import dataclass

from ..settings.config import AgentSettings


@dataclass(frozen=True)
class Preset:
    """One name as choices: base learner (``ppo``, ``a2c``); what the critic reads (``own``, ``global``); whether it embeds those
    whom it hears; whether the whole team shares one network; whether the critic reads the mean of its neighbours' actions."""

    base: str
    critic_input: str
    embedding: bool
    shared: bool
    mean_field: bool = False


PRESETS = {
    "ia2c": Preset("a2c", "own", False, False),
    "ippo": Preset("ppo", "own", False, False),
    "mappo": Preset("ppo", "global", False, False),
    "perla_ia2c": Preset("a2c", "own", True, False),
    "perla_ippo": Preset("ppo", "own", True, False),
    "perla_mappo": Preset("ppo", "global", True, False),
    "ps_ippo": Preset("ppo", "own", False, True),
    "ps_mappo": Preset("ppo", "global", False, True),
    "mean_field_ac": Preset("a2c", "own", False, False, mean_field=True),
}


def critic_input(settings: AgentSettings) -> str:
    """What an agent's critic reads: ``own``, ``neighbourhood`` or ``global``; ``own`` too where its method has no critic."""
    if settings.algorithm not in PRESETS:
        return "own"
    asked = settings.critic.input
    return PRESETS[settings.algorithm].critic_input if asked == "preset" else asked


EMBEDDING = {name for name, preset in PRESETS.items() if preset.embedding} | {"perla_iql", "perla_vdn", "perla_maddpg"}
"""Methods that average out the policies that they hear."""


def embeds(settings: AgentSettings) -> bool:
    """Whether an agent averages out the policies that it hears."""
    return settings.algorithm in EMBEDDING and settings.samples > 0 and settings.critic.alone == "no"


def reads_mean(settings: AgentSettings) -> bool:
    """Whether an agent's critic reads the mean of the actions that it hears."""
    return settings.algorithm in PRESETS and PRESETS[settings.algorithm].mean_field
