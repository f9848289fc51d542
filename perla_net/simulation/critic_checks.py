"""What the options of an agent's critic (``--critic.…``) allow one by one, but not together."""

from __future__ import annotations

from typing import Sequence

from ..ground.errors import InputError
from ..methods.kinds import check_one_kind
from ..methods.presets import HEADS_MOST, PRESETS, critic_input, embeds
from ..settings.config import AgentSettings, Critic
from ..world.spec import AgentSpec

OWN_FIT = ("window", "iterations", "trace")
"""Options of a fit of the critic's own."""


def check_critic(
    agents: Sequence[AgentSpec], settings: Sequence[AgentSettings], index: int, heard: Sequence[int], copies: int
) -> None:
    """Raise InputError for a critic that cannot be; ``heard``: those that agent ``index`` may hear in some round."""
    entry, spec = settings[index], agents[index]
    options = entry.critic
    if entry.algorithm not in PRESETS:
        return
    preset = PRESETS[entry.algorithm]
    if "critic.input" in preset.fixed and options.input not in ("preset", preset.critic_input):
        raise InputError(
            f"--critic.input {options.input}: what the critic of {entry.algorithm} reads is {preset.critic_input}, as its source has it; leave it at preset "
            f"({spec.name})"
        )
    if options.alone == "yes" and not (preset.embedding and entry.samples):
        raise InputError(
            f"--critic.alone yes: keeps the form of an embedded critic, but {entry.algorithm} of {spec.name} has none; use a perla_… algorithm"
        )
    if options.order == "together":
        for name in OWN_FIT:
            if (value := getattr(options, name)) != getattr(Critic(), name):
                raise InputError(
                    f"--critic.{name} {value}: is for a critic that is fitted by itself; use --critic.order first or folds ({spec.name})"
                )
        if options.fit == "ridge":
            raise InputError(
                f"--critic.fit ridge: is for a critic that is fitted by itself; use --critic.order first or folds ({spec.name})"
            )
    if options.order == "folds" and copies < 2:
        raise InputError(f"--critic.order folds: halves the copies of the environment, but --copies is {copies}")
    if options.fit == "ridge":
        if entry.model.critic_hidden:
            sizes = ",".join(map(str, entry.model.critic_hidden))
            raise InputError(
                f"--critic.fit ridge: solves for a critic without hidden layers, but {spec.name} has --model.critic-hidden {sizes}; use none"
            )
        reads = [spec]
        if critic_input(entry) == "global":
            reads = list(agents)
        elif critic_input(entry) == "neighbourhood":
            reads += [agents[other] for other in heard]
        if images := [view.name for view in reads if _is_image(view, entry)]:
            raise InputError(
                f"--critic.fit ridge: cannot fit convolutions, but {images[0]} sees images; use --critic.fit gradient"
            )
    if preset.mean_field:
        _check_mean_field(agents, entry, index, heard)
    if not (embeds(entry) or options.alone == "yes"):
        return
    if options.own_action == "heads" and spec.action.joint is None:
        raise InputError(
            f"--critic.own-action heads: needs actions that can be counted, but those of {spec.name} are {spec.action.kind}; use input"
        )
    if options.order == "folds" and entry.form in ("action", "state"):
        raise InputError(
            f"--critic.order folds: is for the forms control and trajectory, whose mean it keeps exact; with --form {entry.form} use first"
        )
    if options.coefficient == "fitted" and entry.form not in ("control", "trajectory"):
        raise InputError(
            f"--critic.coefficient fitted: is for the forms control and trajectory, not for --form {entry.form}"
        )
    if options.peers == "pooled":
        kinds = {agents[other].action for other in heard}
        if len(kinds) > 1:
            first = heard[0]
            other = next(other for other in heard if agents[other].action != agents[first].action)
            raise InputError(
                f"--critic.peers pooled: takes the mean of the actions that {spec.name} hears, but those of {agents[first].name} and "
                f"{agents[other].name} are not of the same kind"
            )
    own = spec.action.joint
    heads = entry.form != "state" and own is not None and options.own_action != "input"
    if heads and (heard or options.alone == "yes") and own > HEADS_MOST:
        raise InputError(
            f"--form {entry.form}: {spec.name} has {own} actions, and a critic with a head for each takes at most "
            f"{HEADS_MOST}; use --form state"
        )


def _check_mean_field(agents: Sequence[AgentSpec], entry: AgentSettings, index: int, heard: Sequence[int]) -> None:
    """Raise InputError for a critic Q(o, a, ā) that cannot be."""
    spec, name = agents[index], entry.algorithm
    if spec.action.joint is None:
        raise InputError(
            f"--algorithm {name}: is for discrete or multi-discrete actions, but those of {spec.name} are {spec.action.kind.replace('_', '-')}"
        )
    if spec.action.joint > HEADS_MOST:
        raise InputError(
            f"--algorithm {name}: {spec.name} has {spec.action.joint} actions, and a critic with a head for each takes at most {HEADS_MOST}"
        )
    check_one_kind(agents, index, heard, name)
    for what, asked in (
        ("--critic.own-action input", entry.critic.own_action == "input"),
        ("--critic.order folds", entry.critic.order == "folds"),
        ("--measure-variance", entry.measure_variance),
    ):
        if asked:
            raise InputError(
                f"{what}: is for critics that average out policies; {name} reads the mean action that was taken ({spec.name})"
            )


def _is_image(spec: AgentSpec, entry: AgentSettings) -> bool:
    """Whether its observation goes through convolutions; as :func:`perla_net.learning.build.image_in`, which would load torch here."""
    encoder, shape = entry.model.encoder, spec.observation_shape
    image = spec.observation_kind == "image"
    return encoder != "none" and (image or encoder == "conv") and (len(shape) == 3 or (image and len(shape) == 2))
