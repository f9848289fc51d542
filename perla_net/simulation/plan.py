"""The plan of a run: a configuration checked against its environment and graph, as data that rank 0 broadcasts."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Sequence

from ..ground.errors import InputError
from ..ground.processes import UNIT
from ..ground.selection import listed
from ..network.links import bad_share
from ..network.schedule import Schedule
from ..settings.config import PRESETS, AgentSettings, Config
from ..settings.data import from_data, to_data
from ..settings.specs import parse_spec
from ..world.spec import AgentSpec, WorldSpec, agent_from_data

if TYPE_CHECKING:  # only for annotations: nobody imports torch before the plan stands
    from ..methods.team import Team

EXACT_MOST = 65_536
"""Joint actions beyond which ``--estimator exact`` is refused."""
HEADS_MOST = 4096
"""Own actions beyond which a critic with a head per own action is refused."""


@dataclass(frozen=True)
class Plan:
    """What rank 0 decided, from which every rank builds its part: data only, so that it can be broadcast."""

    config: Config
    settings: tuple[AgentSettings, ...]
    world: WorldSpec
    schedule: Schedule
    folder: str = ""
    resume_from: str = ""
    notes: tuple[str, ...] = ()
    """What a user should know before the run begins."""

    def to_bytes(self) -> bytes:
        """The plan as JSON."""
        names = ("config", "settings", "world", "folder", "resume_from", "notes")
        data = {name: to_data(getattr(self, name)) for name in names}
        return json.dumps(data | {"schedule": self.schedule.to_data()}).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Plan:
        """The inverse of :meth:`to_bytes`."""
        tree = json.loads(data)
        return cls(
            from_data(Config, tree["config"]),
            tuple(from_data(AgentSettings, entry) for entry in tree["settings"]),
            WorldSpec.from_data(tree["world"]),
            Schedule.from_data(tree["schedule"]),
            tree["folder"],
            tree["resume_from"],
            tuple(tree["notes"]),
        )

    def team(self) -> Team:
        """Spaces, settings and graph, as every agent knows them."""
        from ..methods.team import Team

        edges = self.schedule.potential(self.config.links.hops)
        return Team(self.world.agents, self.settings, edges, self.config.compression)


def prepare(config: Config, schedule: Schedule | None = None, ranks: int = 1, rehearsed: bool = False) -> Plan:
    """Check a validated configuration against its environment and graph; on rank 0 only.

    schedule: the graphs of a run that is continued; rehearsed: let an environment of others play an episode before it is relied
    on. Raises InputError for everything that could not run. Writes nothing.
    """
    from ..network.graphs import schedule_of
    from ..network.readers import is_graph_file
    from ..settings.options import agent_overrides, settings_with
    from ..world.environments import make, takes_any_number

    # One agent per rank where nothing else says how many.
    wanted = config.agents.number or (ranks if ranks > 1 and takes_any_number(config.env) else None)
    environment = make(config.env, 1, wanted)
    world = environment.spec
    notes = []
    if rehearsed and getattr(environment, "unknown", False):
        from ..world.rehearsal import rehearse

        notes += rehearse(config.env, environment, world)
    names = [agent.name for agent in world.agents]
    number = len(names)
    if ranks > number:
        raise InputError(
            f"{ranks} ranks for {number} agents: each rank needs an agent; type mpirun -n {number} or fewer, or raise --agents"
        )
    if schedule is None:
        schedule = schedule_of(
            config.topology, names, world.interaction, config.seed, world.positions, world.moves, config.rounds
        )
    elif (
        config.rounds > len(schedule.graphs) > 1 and Path(parse_spec(config.topology, is_graph_file)[0]).suffix == ".py"
    ):
        longer = schedule_of(config.topology, names, None, config.seed, rounds=config.rounds)
        if longer.graphs[: len(schedule.graphs)] != schedule.graphs:
            raise InputError(f"--topology {config.topology}: does not make the graphs any more that the run began with")
        schedule = longer
    if schedule.nodes and not schedule.nodes.startswith(("by name", "by number (node k")):
        notes.append(f"the nodes of {config.topology} became agents {schedule.nodes}")
    if schedule.weighted and config.consensus.what != "none":
        notes.append(
            f"the edges of {config.topology} have weights of their own, which averaging does not use: it takes those of "
            f"--consensus.weights {config.consensus.weights}"
        )
    config = replace(config, agents=replace(config.agents, number=number))
    settings = tuple(settings_with(config, overrides) for overrides in agent_overrides(config, names))
    plan = Plan(config, settings, world, schedule, notes=tuple(notes))
    _check_combinations(plan)
    return plan


def check_team(agents: Sequence[AgentSpec], folder: Path, option: str) -> None:
    """Refuse to go on with a sealed checkpoint whose team is not these agents: other names, another order, other spaces. Raises
    InputError naming ``option``."""
    from ..records.checkpoint import read_data

    stored = read_data(folder / "manifest.json", option).get("agents", {})
    names = [agent.name for agent in agents]
    if list(stored) != names:
        what = "in another order" if sorted(stored) == sorted(names) else "others"
        raise InputError(
            f"{option} {folder}: was saved by the agents {listed(list(stored), 6)}; those of the environment are now {what}: {listed(names, 6)}"
        )
    for index, (agent, stem) in enumerate(zip(agents, stored.values())):
        trained, place = trained_in(folder / stem, option)
        if (trained.name, place) != (agent.name, index):
            raise InputError(
                f"{option} {folder / stem}: holds {trained.name}, agent {place}, in the place of {agent.name}, agent {index}"
            )
        check_fit(agent, trained, f"{option} {folder / stem}")


def trained_in(place: Path, option: str) -> tuple[AgentSpec, int]:
    """Whose files ``place.json`` and ``place.safetensors`` are: spaces, and place in the team. Raises InputError naming ``option``."""
    from ..records.checkpoint import read_agent

    data, _ = read_agent(place, option)
    try:
        return agent_from_data(data["spec"]), data["index"]
    except (KeyError, TypeError) as error:
        raise InputError(f"{option} {place}: is not an agent's checkpoint ({error})") from None


def check_fit(agent: AgentSpec, trained: AgentSpec, where: str) -> None:
    """Refuse a policy that cannot act for an agent: one for other spaces. Raises InputError, naming ``where`` the policy is."""
    if trained.reads_like(agent) and (trained.action.bare, trained.masked) == (agent.action.bare, agent.masked):
        return
    mine, needed = (_spaces(one) for one in (trained, agent))
    raise InputError(
        f"{where}: was trained for {mine}, but {agent.name} {needed.replace('observations', 'has observations', 1)}"
    )


def _spaces(agent: AgentSpec) -> str:
    action = agent.action
    acts = f"{action.kind}{action.sizes}" if action.sizes else f"{action.kind}{tuple(zip(action.low, action.high))}"
    masks = " with masks" if agent.masked else ""
    return f"observations {agent.observation_kind}{agent.observation_shape} and actions {acts}{masks}"


def check_policy_losses(plan: Plan) -> None:
    """Raise InputError for losses that cannot be imported or used. Only who learns needs them."""
    for name, base in sorted({(entry.policy_loss, PRESETS[entry.algorithm].base) for entry in plan.settings}):
        if name != "preset":
            from ..methods.losses import policy_loss

            policy_loss(name, base)


def _check_combinations(plan: Plan) -> None:
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
    shared = {PRESETS[entry.algorithm].shared for entry in settings}
    if True in shared and plan.config.batch_agents == "yes":
        raise InputError("--batch-agents yes: parameter sharing (ps_*) makes agents step one by one; leave it at auto")
    if shared == {True, False}:
        raise InputError("algorithm: parameter sharing (ps_*) is for the whole team; private agents cannot be mixed in")
    if shared == {True}:
        first = agents[0]
        for other, entry in zip(agents, settings):
            if (other.observation_size, other.action, other.masked) != (
                first.observation_size,
                first.action,
                first.masked,
            ):
                raise InputError(
                    f"--algorithm {entry.algorithm}: parameter sharing needs equal spaces, but {other.name} and {first.name} differ"
                )
            if entry != settings[0]:
                raise InputError(
                    f"--algorithm {entry.algorithm}: parameter sharing needs equal settings, but those of {other.name} "
                    f"and {first.name} differ"
                )
    for index, entry in enumerate(settings):
        if entry.model.memory == "gru" and not entry.model.policy_hidden:
            raise InputError(f"--model.memory gru: needs a hidden layer, but {agents[index].name} has policy_hidden ()")
        shape = agents[index].observation_shape
        if entry.model.encoder == "conv" and len(shape) != 3 and agents[index].observation_kind != "image":
            raise InputError(
                f"--model.encoder conv: needs an observation with three axes, but that of {agents[index].name} is {shape}"
            )
        heard = heard_by[index]
        if not (PRESETS[entry.algorithm].embedding and entry.samples and heard):
            continue
        if not entry.model.critic_hidden:
            raise InputError(
                f"--model.critic-hidden: an embedded critic needs a hidden layer, but {agents[index].name} has none"
            )
        for other in heard:
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
                    f"{agents[index].observation_kind}{agents[index].observation_shape} is not "
                    f"{agents[other].observation_kind}{agents[other].observation_shape}"
                )
        own = agents[index].action.joint
        if entry.form != "state" and own is not None and own > HEADS_MOST:
            raise InputError(
                f"--form {entry.form}: {agents[index].name} has {own} actions, and a critic with a head for each takes at most "
                f"{HEADS_MOST}; use --form state"
            )
        together = [
            [agents[other].action.joint for other in those]
            for those in plan.schedule.heard_together(index, plan.config.links.hops)
        ]
        joint = None if any(None in counts for counts in together) else max(map(math.prod, together), default=1)
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
    slow = links.delay or any("delay" in attributes for _, _, attributes in schedule.links)
    if links.hops > 1 and links.every > 1 and slow:
        raise InputError(
            f"--links.every {links.every}: what arrives in a silent round cannot be forwarded; use --links.hops 1, or no delay"
        )
    if config.compression.method == "top_k":
        if links.hops > 1:
            raise InputError("--compression.method top_k: differences cannot be forwarded; use --links.hops 1")
        if slow and links.delay_model == "geometric" and links.overtake:
            raise InputError("--compression.method top_k: differences must arrive in order; use --links.overtake false")
        team = plan.team()
        for source in sorted({j for (j, _), names in team.wants().items() if "policy" in names}):
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
    if True in {PRESETS[entry.algorithm].shared for entry in plan.settings}:
        raise InputError(
            "--consensus.what: agents under parameter sharing (ps_*) are equal already; use a private algorithm"
        )
    team = plan.team()
    if config.consensus.what != "policies" and any(team.embedded_by(agent) for agent in range(len(plan.settings))):
        raise InputError(
            f"--consensus.what {config.consensus.what}: the inputs of critics that embed neighbours mean different agents; "
            "average policies, or use an algorithm without embedding"
        )
    first = _averaged_shape(plan, team, 0)
    for index in range(1, len(plan.settings)):
        if _averaged_shape(plan, team, index) != first:
            raise InputError(
                f"--consensus.what {config.consensus.what}: averaging needs equal networks, but those of "
                f"{plan.world.agents[index].name} and {plan.world.agents[0].name} differ"
            )


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
        of_critic = entry.model.critic_hidden, entry.model.critic_activation, PRESETS[entry.algorithm].critic_input
        spec = plan.world.agents[agent]
        parts += [of_critic, spec.observation_size, entry.returns.normalise_values]
    return parts
