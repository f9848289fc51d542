"""What options allow one by one, but not together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..ground.errors import InputError
from ..ground.processes import UNIT
from ..methods import registry
from ..methods.presets import PRESETS, critic_input, embeds, reads_mean
from ..network.links import bad_share
from ..network.schedule import Schedule
from ..settings.config import AgentSettings
from .critic_checks import check_critic
from .fits import seen_text
from .plan import Plan

if TYPE_CHECKING:  # only for annotations: nobody imports torch before the plan stands
    from ..methods.team import Team

EXACT_MOST = 65_536
"""Joint actions beyond which ``--estimator exact`` is refused."""


def check_policy_losses(plan: Plan) -> None:
    """Raise InputError for losses that cannot be imported or used. Only who learns needs them."""
    bases = {
        (entry.policy_loss, PRESETS[entry.algorithm].base) for entry in plan.settings if entry.algorithm in PRESETS
    }
    for name, base in sorted(bases):
        if name != "preset":
            from ..methods.losses import policy_loss

            policy_loss(name, base)


def check_combinations(plan: Plan) -> None:
    """Refuse what the options allow one by one but not together."""
    agents, settings = plan.world.agents, plan.settings
    heard_by: list[list[int]] = [[] for _ in agents]
    for source, target in plan.schedule.potential(plan.config.links.hops):
        heard_by[target].append(source)
    _check_network(plan)
    if plan.config.evaluate_points and not plan.config.evaluate_episodes:
        raise InputError(
            f"--evaluate-points {plan.config.evaluate_points}: needs episodes to evaluate on, but --evaluate-episodes is 0"
        )
    if plan.config.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise InputError(
                f"--device cuda: PyTorch {torch.__version__} sees no GPU here; use --device cpu, or install a CUDA build of it"
            )
    if any(registry.has_conditions(entry.algorithm) for entry in settings):
        team = plan.team()
        for index, method in enumerate(team.methods):
            method.check(team, index)
            if method.talks_while_acting:
                _check_talking(plan, agents[index].name, settings[index])
    for index, entry in enumerate(settings):
        if entry.ppo.chunk and not registry.class_of(entry.algorithm).talks_while_acting:
            raise InputError(
                f"--ppo.chunk {entry.ppo.chunk}: is for agents that talk while they act, but {agents[index].name} has --algorithm {entry.algorithm}; use 0"
            )
        if entry.model.memory == "gru" and not entry.model.policy_hidden:
            raise InputError(f"--model.memory gru: needs a hidden layer, but {agents[index].name} has policy_hidden ()")
        shape = agents[index].observation_shape
        if entry.model.encoder == "conv" and len(shape) != 3 and agents[index].observation_kind != "image":
            raise InputError(
                f"--model.encoder conv: needs an observation with three axes, but that of {agents[index].name} is {shape}"
            )
        heard = heard_by[index]
        check_critic(agents, settings, index, heard, plan.config.copies)
        if not (embeds(entry) and heard):
            continue
        for other in heard:
            if registry.split(settings[other].algorithm)[0] == "controller":
                continue
            same_mask = agents[other].masked == agents[index].masked and (
                not agents[other].masked or agents[other].action == agents[index].action
            )
            if settings[other].share == "own_view" and not same_mask:
                raise InputError(
                    f"--share own_view: {agents[index].name} cannot evaluate {agents[other].name}'s policy with its own action "
                    "mask: their actions or masks differ"
                )
            if settings[other].share == "own_view" and not agents[other].reads_like(agents[index]):
                raise InputError(
                    f"--share own_view: {agents[index].name} cannot evaluate {agents[other].name}'s policy on its own observation: "
                    f"{seen_text(agents[index])} is not {seen_text(agents[other])}"
                )
        together = [
            [agents[other].action.joint for other in those]
            for those in plan.schedule.heard_together(index, plan.config.links.hops)
        ]
        joint = None if any(None in counts for counts in together) else max(map(math.prod, together), default=1)
        if not entry.model.critic_hidden:  # linear: nothing is enumerated or drawn
            continue
        if entry.estimator == "exact" or (
            entry.estimator == "auto" and joint is not None and joint <= max(entry.exact_limit, entry.samples)
        ):
            if joint is None or joint > EXACT_MOST:
                what = "continuous actions" if joint is None else f"{joint} joint actions"
                raise InputError(
                    f"--estimator exact: {agents[index].name}'s neighbours have {what}, and at most {EXACT_MOST} can be "
                    "enumerated; stratified takes samples"
                )


def _check_network(plan: Plan) -> None:
    """Refuse what links, compression and averaging cannot do together."""
    config, schedule = plan.config, plan.schedule
    links, averaging = config.links, config.consensus.what != "none"
    if links.burst and links.burst < 1:
        raise InputError(f"--links.burst {links.burst}: a burst lasts at least one round; 0 stands for no bursts")
    if links.burst and links.loss_good == links.loss_bad:
        raise InputError(
            f"--links.loss-bad {links.loss_bad}: must be more than --links.loss-good, or --links.burst be 0"
        )
    names = [agent.name for agent in plan.world.agents]
    delays = [
        (f"--topology {config.topology}: edge {names[j]} → {names[i]} has delay", attributes["delay"])
        for j, i, attributes in schedule.links
        if "delay" in attributes
    ]
    for where, delay in [("--links.delay", links.delay), *delays]:
        if links.delay_model == "constant" and delay != round(delay):
            raise InputError(
                f"{where} {delay:g}: a constant delay is a whole number of rounds; or say --links.delay-model geometric"
            )
    _check_losses(plan)
    slow = _delays(plan)
    if links.hops > 1 and links.every > 1 and slow:
        raise InputError(
            f"--links.every {links.every}: what arrives in a silent round cannot be forwarded; use --links.hops 1, or no delay"
        )
    if config.compression.method == "top_k":
        if links.hops > 1:
            raise InputError("--compression.method top_k: differences cannot be forwarded; use --links.hops 1")
        if slow and links.delay_model == "geometric" and links.overtake:
            raise InputError("--compression.method top_k: differences must arrive in order; use --links.overtake false")
        from .wishes import Traffic

        team = plan.team()
        wants = Traffic(team, config.compression).wants()
        for source in sorted({j for (j, _), names in wants.items() if "policy" in names}):
            whole = 2 * UNIT + 4 * len(team.policy_of(source).flat)
            if 0 < links.budget < whole:
                raise InputError(
                    f"--links.budget {links.budget}: the first policy is sent whole under top_k, and that of "
                    f"{plan.world.agents[source].name} needs {whole} bytes"
                )
    if not averaging:
        return
    metropolis = config.consensus.weights == "metropolis"
    if metropolis and not schedule.undirected():
        raise InputError(
            f"--consensus.weights metropolis: needs graphs whose edges go both ways, and '{config.topology}' has others; "
            "use push_sum"
        )
    fails = links.loss or links.bit_errors or any("loss" in attributes for _, _, attributes in schedule.links)
    if metropolis and links.symmetric == "no" and fails:
        raise InputError(
            "--links.symmetric no: Metropolis weights would lose the mean; use --consensus.weights push_sum"
        )
    if metropolis and links.budget:
        raise InputError(
            f"--links.budget {links.budget}: may stop one direction of a link, and Metropolis weights would lose the mean; "
            "use --consensus.weights push_sum"
        )
    if not metropolis and config.compression.method == "top_k":
        raise InputError("--compression.method top_k: push-sum divides whole vectors; use int8, or Metropolis weights")
    if metropolis and slow:
        raise InputError("--links.delay: Metropolis weights would lose the mean; use --consensus.weights push_sum")
    if not metropolis and config.consensus.step != 1:
        raise InputError(
            f"--consensus.step {config.consensus.step}: is for Metropolis weights; push-sum goes all the way"
        )
    if not metropolis and not _heard_back(schedule):
        raise InputError(
            f"--consensus.weights push_sum: in '{config.topology}' some agent sends to others and never hears of them, so that "
            "its weight would vanish; every part of the graph must be strongly connected over the rounds"
        )
    if plan.groups:
        raise InputError(
            "--consensus.what: agents under parameter sharing (ps_*, or agents.groups) are equal already; use a private algorithm"
        )
    if others := [
        (agent.name, entry.algorithm)
        for agent, entry in zip(plan.world.agents, plan.settings)
        if entry.algorithm not in PRESETS or not registry.class_of(entry.algorithm).averages
    ]:
        raise InputError(
            f"--consensus.what {config.consensus.what}: averaging is for teams of actor-critics that are not counterfactual, but {others[0][0]} has --algorithm {others[0][1]}"
        )
    team = plan.team()
    reads_others = [
        team.embedded_by(agent)
        or ((critic_input(entry) == "neighbourhood" or reads_mean(entry)) and team.heard_by(agent))
        for agent, entry in enumerate(plan.settings)
    ]
    if config.consensus.what != "policies" and any(reads_others):
        raise InputError(
            f"--consensus.what {config.consensus.what}: the inputs of critics that embed neighbours, or read what these see, mean different "
            "agents; average policies, or use an algorithm without embedding and --critic.input own"
        )
    first = _averaged_shape(plan, team, 0)
    for index in range(1, len(plan.settings)):
        if _averaged_shape(plan, team, index) != first:
            raise InputError(
                f"--consensus.what {config.consensus.what}: averaging needs equal networks, but those of "
                f"{plan.world.agents[index].name} and {plan.world.agents[0].name} differ"
            )


def _delays(plan: Plan) -> bool:
    """Whether anything may be late."""
    return bool(plan.config.links.delay) or any("delay" in attributes for _, _, attributes in plan.schedule.links)


def _check_talking(plan: Plan, name: str, settings: AgentSettings) -> None:
    """Refuse what does not go with messages of every step; ``name``: of one who says them."""
    config, chunk = plan.config, settings.ppo.chunk
    for option, asked, why in (
        (
            f"--links.hops {config.links.hops}",
            config.links.hops > 1,
            "messages of a step go along one edge; what is to go further is said again in the next",
        ),
        (
            "--compression.method top_k",
            config.compression.method == "top_k",
            "sends differences to what a receiver holds, and a message of a step follows upon nothing; use int8",
        ),
        ("--device cuda", config.device == "cuda", "agents that talk at every step act and learn on the CPU"),
        (
            f"--ppo.chunk {chunk}",
            chunk and config.horizon % chunk,
            f"chunks are equal parts of the --horizon, {config.horizon} steps",
        ),
        (
            f"--ppo.chunk {chunk}",
            chunk and _delays(plan),
            "a message that is late would come from another chunk; use 0, or no delay",
        ),
    ):
        if asked:
            raise InputError(f"{option}: {why} (--algorithm {settings.algorithm} of {name})")


def _check_losses(plan: Plan) -> None:
    """Refuse losses that links with bursts cannot have in the long run."""
    links = plan.config.links
    if not links.burst:
        return
    own = [
        (f"--topology {plan.config.topology}: an edge's loss", a["loss"])
        for _, _, a in plan.schedule.links
        if "loss" in a
    ]
    for where, loss in [("--links.loss", links.loss), *own]:
        if not links.loss_good <= loss <= links.loss_bad:
            raise InputError(
                f"{where} {loss}: must lie between --links.loss-good {links.loss_good} and --links.loss-bad "
                f"{links.loss_bad}, which it averages"
            )
        most = links.burst / (1 + links.burst)
        if bad_share(links, loss) > most:
            raise InputError(
                f"{where} {loss}: bursts of {links.burst:g} rounds with at least one good round between leave a link bad in at "
                f"most {most:.3f} of them; make --links.burst longer"
            )


def _heard_back(schedule: Schedule) -> bool:
    """Whether everyone hears, over the rounds and through others, of all that it sends to."""
    import networkx as nx

    if schedule.kind != "list":
        return True
    graph = nx.DiGraph(schedule.potential())
    return all(nx.is_strongly_connected(graph.subgraph(part)) for part in nx.weakly_connected_components(graph))


def _averaged_shape(plan: Plan, team: Team, agent: int) -> Any:
    """What must be equal for two agents to average: shapes of their networks, and what a critic's inputs mean."""
    entry, what = plan.settings[agent], plan.config.consensus.what
    parts: list[Any] = [] if what == "critics" else [team.policy_of(agent).description]
    if what != "policies":
        of_critic = entry.model.critic_hidden, entry.model.critic_activation, critic_input(entry)
        spec = plan.world.agents[agent]
        parts += [of_critic, spec.observation_size, entry.returns.normalise_values]
    return parts
