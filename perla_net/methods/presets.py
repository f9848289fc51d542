"""Actor-critics by name: each a few independent choices, which stay reachable one by one."""

from __future__ import annotations

from dataclasses import dataclass

from ..settings.config import AgentSettings


@dataclass(frozen=True)
class Preset:
    """One name as choices: base learner (``ppo``, ``a2c``); what the critic reads (``own``, ``global``); whether it embeds those
    whom it hears; whether the whole team shares one network."""

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


def base_of(algorithm: str) -> str:
    """The base learner of an actor-critic: its preset's, of those that are none PPO."""
    return PRESETS[algorithm].base if algorithm in PRESETS else "ppo"


def critic_input(settings: AgentSettings) -> str:
    """What an agent's critic reads: ``own``, ``neighbourhood`` or ``global``; ``own`` too where its method has no critic."""
    if settings.algorithm not in PRESETS:
        return "own"
    asked = settings.critic.input
    return PRESETS[settings.algorithm].critic_input if asked == "preset" else asked


def embeds(settings: AgentSettings) -> bool:
    """Whether an agent averages out the policies that it hears."""
    return (
        settings.algorithm in PRESETS
        and PRESETS[settings.algorithm].embedding
        and settings.samples > 0
        and settings.critic.alone == "no"
    )
