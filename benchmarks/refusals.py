"""Every method on tasks, and in teams, that it is not for: one sentence, exit status 2.

``python benchmarks/refusals.py``: the table method, settings, sentence; exit status 1 where something was accepted, or was said otherwise.
``python benchmarks/refusals.py coma liam``: of these methods.

Nothing is run: what options cannot do together is found before anything is built. Environments with spaces that none of ours has are here, as
``pettingzoo:refusals:actions=…``. ``tests/methods/test_refusals.py`` reads the same table.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from measure import head
from pettingzoo import ParallelEnv

from perla_net.ground.errors import InputError
from perla_net.ground.text import columns
from perla_net.methods.presets import PRESETS
from perla_net.methods.protocol import KINDS
from perla_net.methods.registry import METHODS, class_of, options
from perla_net.settings.config import AgentSettings
from perla_net.settings.options import validated
from perla_net.simulation.prepare import prepare

ACTIONS = {
    "multi": spaces.MultiDiscrete([3, 2]),
    "many": spaces.MultiDiscrete([17, 17, 17]),
    "unbounded": spaces.Box(-np.inf, np.inf, (1,), np.float32),
    "mixed": spaces.Dict({"where": spaces.Box(-1, 1, (1,), np.float32), "which": spaces.Discrete(3)}),
    "plain": spaces.Discrete(3),
}
OBSERVATIONS = {
    "box": spaces.Box(0, 1, (2,), np.float32),
    "image": spaces.Box(0, 255, (9, 9, 3), np.uint8),
    "text": spaces.Text(4),
}


class Odd(ParallelEnv):
    """Agents with spaces of one kind each, ``actions=plain+multi``; nobody acts in it."""

    metadata = {"name": "odd"}

    def __init__(self, actions: str = "plain+plain", sees: str = "box") -> None:
        self.kinds = dict(zip((f"agent_{index}" for index in range(9)), actions.split("+")))
        self.possible_agents, self.sees = list(self.kinds), sees

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """All of them, who see nothing."""
        self.agents = list(self.possible_agents)
        space = OBSERVATIONS[self.sees]
        return {agent: space.sample() for agent in self.agents}, {agent: {} for agent in self.agents}

    def observation_space(self, agent: str) -> spaces.Space:
        return OBSERVATIONS[self.sees]

    def action_space(self, agent: str) -> spaces.Space:
        return ACTIONS[self.kinds[agent]]


parallel_env = Odd


class Refused(NamedTuple):
    """A method, settings that it is not for, and how the sentence begins."""

    method: str
    settings: dict[str, Any]
    begins: str


def odd(actions: str, **more: str) -> dict[str, Any]:
    """Settings with an environment of these spaces, in which all hear all."""
    words = ",".join(f"{name}={value}" for name, value in {"actions": actions, **more}.items())
    return {"env": f"pettingzoo:refusals:{words}", "topology": "complete"}


TWO: dict[str, Any] = {"env": "traffic:grid", "agents": 2}
OF_KIND = {
    "multi_discrete": odd("multi+multi"),
    "continuous": {"env": "voltage:ieee33"},
    "mixed": odd("mixed+mixed"),
}
"""A task of each kind of actions; all methods are for discrete ones."""
AWARE = ("lola", "hola", "cola")
OF_TEAM = (
    "vdn",
    "qmix",
    "qplex",
    "qtran_base",
    "qtran_alt",
    "cw_qmix",
    "ow_qmix",
    "perla_vdn",
    "happo",
    "coma",
    "perla_coma",
)
"""Whose reward is the team's mean."""
HEADS = ("coma", "perla_coma", "mean_field_ac")
"""With an output of the critic for each own joint action."""
OTHERWISE = {
    "form": "state",
    "order": "together",
    "fit": "ridge",
    "peers": "pooled",
    "own_action": "heads",
    "coefficient": "one",
}
"""Other values of options that are words; numbers are doubled."""


def one_other(settings: Mapping[str, Any], number: int = 2, **more: Any) -> dict[str, Any]:
    """Agents, the second with other settings."""
    return {"agents": {"number": number, "overrides": {"1": settings}}, **more}


def grouped(*members: int, number: int = 4, **more: Any) -> dict[str, Any]:
    """Agents, some of which share their networks."""
    return {"agents": {"number": number, "groups": {"some": list(members)}}, **more}


GROUP = "agents.groups.some: "
EXACT = "--algorithm {name}: "
EVERY_TALKER = " ".join(name for name in METHODS if class_of(name).talks_while_acting)
IMAGE, TEXT = odd("plain+plain", sees="image"), odd("plain+plain", sees="text")
UNEQUAL = {
    "agents": {"number": 4, "groups": {"some": [0, 1]}, "overrides": {"1": {"optimiser": {"learning_rate": 0.1}}}}
}
LINE = {"env": "traffic:grid", "topology": "line"} | grouped(0, 1)
APART = {"number": 4, "groups": {"some": [0, 3]}, "overrides": {"1-2": {"algorithm": "ippo"}}}
IPD: dict[str, Any] = {"env": "games:ipd"}
DICE = TWO | {"lola": {"gradient": "dice"}}
SOME: list[tuple[str, dict[str, Any], str]] = [
    ("frozen controller", TWO, "Config: algorithm '{name}': write {name}:"),
    ("frozen", TWO | {"algorithm": "frozen:nowhere"}, "--algorithm frozen nowhere.json: cannot be read"),
    ("controller", TWO | {"algorithm": "controller:nobody"}, "--algorithm controller:nobody: traffic:grid has no such controller"),
    ("controller", TWO | {"algorithm": "controller:fixed_time"} | grouped(0, 1), GROUP + "signal_0_0 is controller:fixed_time"),
    # who shares
    ("ippo happo maddpg liam", {"env": "voltage:ieee33"} | grouped(0, 1, number=6), GROUP + "parameter sharing needs equal spaces"),
    ("iql qmix coma mean_field_ac", {"env": "traffic:grid"} | UNEQUAL, GROUP + "parameter sharing needs equal settings"),
    ("perla_ippo perla_maddpg perla_iql mean_field_ac", LINE, GROUP + "critics that read those whom they hear can only be shared where these are alike"),
    ("liam", LINE, "agents.groups: liam's decoders tell what each neighbour sees and does"),
    ("mean_field_q", odd("plain+plain+multi+plain") | {"agents": APART, "topology": "line"}, EXACT + "parameter sharing needs neighbours with the same actions"),
    ("coma", odd("plain+multi+plain") | grouped(0, 2, number=3), "agents.groups: coma's critics read all others' actions in order"),
    ("lola hola cola", {"env": "games:tandem:graph=ring"} | grouped(0, 1), "agents.groups: {name} looks ahead of how the parameters of others move"),
    ("lola", DICE | grouped(0, 1, number=2), "agents.groups: lola looks ahead of how the parameters of others move"),
    # what networks read
    ("mean_field_q mean_field_ac", odd("plain+plain+multi") | {"agents": {"overrides": {"1-2": {"algorithm": "ippo"}}}}, EXACT + "reads the mean of the actions that agent_0 hears"),
    ("mean_field_ac", TWO | {"critic": {"own_action": "input"}}, "--critic.own-action input: is for critics that average out policies"),
    ("mean_field_ac", TWO | {"critic": {"order": "folds"}}, "--critic.order folds: is for critics that average out policies"),
    ("mean_field_ac", TWO | {"measure_variance": True}, "--measure-variance: is for critics that average out policies"),
    ("ippo ia2c mappo mean_field_ac", TWO | {"critic": {"alone": "yes"}}, "--critic.alone yes: keeps the form of an embedded critic, but {name} of signal_0_0 has none"),
    ("perla_ippo perla_ia2c perla_mappo", odd("many+many") | {"form": "action"}, "--form action: agent_0 has 4913 actions"),
    ("liam", TWO | {"critic": {"input": "global"}}, "--critic.input global: the critic of liam reads what its policy reads"),
    ("liam", IMAGE, "--algorithm liam: reads numbers, but agent_0 sees images"),
    ("ippo qmix maddpg coma", TEXT, "--env pettingzoo:refusals: agent_0's observation is a space Text"),
    # who talks while it acts
    (EVERY_TALKER, {"env": "traffic:grid"} | grouped(0, 1), "agents.groups: agents that learn messages ({name}) have networks of their own"),
    ("commnet perla_dial", TWO | {"links": {"hops": 2}}, "--links.hops 2: messages of a step go along one edge"),
    ("commnet perla_dial", TWO | {"compression": {"method": "top_k"}}, "--compression.method top_k: sends differences"),
    ("commnet neurcomm", TWO | {"share": "own_view"}, "--share own_view: what {name} does depends on what signal_0_0 hears"),
    ("commnet tarmac", TWO | {"model": {"policy_hidden": []}}, "--algorithm {name}: needs a hidden layer, but signal_0_0 has"),
    ("commnet fingerprint", IMAGE, "--algorithm {name}: reads numbers, but agent_0 sees images"),
    ("commnet", TWO | one_other({"ppo": {"epochs": 3}}), "--ppo.epochs 8: agents that learn messages learn in step, and signal_0_0 has 8"),
    ("commnet", TWO | one_other({"ppo": {"chunk": 2}}), "--ppo.chunk 0: agents that learn messages learn in step, and signal_0_0 has 0"),
    ("commnet dial", TWO | {"topology": "empty", "ppo": {"chunk": 2}}, "--ppo.chunk 2: is for agents that talk while they act, and signal_0_0"),
    ("commnet", TWO | one_other({"algorithm": "dial"}), "kinds of messages: --algorithm commnet: agents that learn messages learn in step"),
    ("commnet", TWO | one_other({"commnet": {"passes": 2}}), "passes of a step: 1: agents that learn messages learn in step"),
    # who adopts, and who averages
    ("adopt", {"env": "traffic:grid"} | grouped(0, 1), "agents.groups: agents that adopt policies have networks of their own"),
    ("adopt", TWO | one_other({"algorithm": "ippo"}), "--algorithm adopt: signal_0_0 hears signal_0_1, which has --algorithm ippo"),
    ("adopt", odd("plain+multi"), "--algorithm adopt: agent_0 could not act by the policy of agent_1"),
    ("consensus consensus_reward", {"env": "traffic:grid"} | grouped(0, 1), "--consensus.what: agents under parameter sharing"),
    # who learns in step
    ("happo", TWO | one_other({"ppo": {"epochs": 3}}), "--ppo.…: must be the same for all agents with happo"),
    ("vdn qmix perla_vdn", TWO | one_other({"returns": {"gamma": 0.5}}), "--returns.gamma: must be the same for all agents with {name}"),
    ("qmix qtran_base", TWO | one_other({"optimiser": {"learning_rate": 0.1}}), "--optimiser.…: must be the same for all agents with {name}"),
    # deterministic policies
    ("maddpg perla_maddpg", odd("unbounded+unbounded"), EXACT + "needs continuous actions with bounds"),
    ("maddpg", TWO | {"critic": {"input": "neighbourhood"}}, "--critic.input neighbourhood: a critic of maddpg reads everybody's"),
    ("maddpg", TWO | one_other({"critic": {"input": "own"}}), "--critic.input own: must be that of all agents with maddpg"),
    ("maddpg", TWO | one_other({"critic": {"input": "global"}}), "--critic.input: must be the same for all agents with maddpg"),
    ("perla_maddpg", TWO | {"critic": {"input": "global"}}, "--critic.input global: the critic of perla_maddpg reads the own observation"),
    # who looks ahead must know the game, or the other's experience; and the other must move by gradients
    ("lola hola cola", TWO, EXACT + "needs a game whose values can be differentiated exactly"),
    ("lola hola cola", {"env": "games:climbing"}, EXACT + "needs a game whose values can be differentiated exactly"),
    ("lola hola cola", {"env": "games:ipd:graph=ring", "agents": 4}, EXACT + "player_0 plays games:ipd with 2 others"),
    ("lola hola cola", IPD | {"topology": "empty"}, EXACT + "player_0 must hear the parameters of player_1"),
    ("lola hola cola", IPD | {"share": "outputs"}, EXACT + "player_0 must hear the parameters of player_1, which has --share outputs"),
    ("lola hola cola", IPD | one_other({"algorithm": "iql"}), EXACT + "player_0 looks ahead of policies that move by gradients"),
    ("lola hola cola", IPD | one_other({"algorithm": "ippo", "model": {"memory": "gru"}}), EXACT + "player_1 has a memory"),
    ("lola", IPD | {"model": {"memory": "gru"}}, "--algorithm lola: an exact player is a few numbers"),
    ("lola", DICE | {"share": "modelled"}, "--lola.gradient dice: signal_0_0 must hear the parameters of signal_0_1"),
    ("lola", DICE | one_other({"algorithm": "iql"}), "--lola.gradient dice: signal_0_0 looks ahead of policies that move by gradients"),
    ("cola", IPD | one_other({"cola": {"rate": 1.0}}), "--cola.…, --returns.gamma: must be the same for player_0 and player_1"),
]  # fmt: skip
"""What is said of some methods only: which, settings, how the sentence begins."""


def table() -> Iterator[Refused]:
    """All rows; what holds for every method of a kind is made from the methods' facts."""
    for name in METHODS:
        kind, task = class_of(name), {"env": "games:ipd"} if name in AWARE else TWO
        for actions in KINDS[1:] if kind.learns else ():
            if actions not in kind.facts.actions:
                yield Refused(name, OF_KIND[actions], f"--algorithm {name}: is for discrete")
        section, own = f"--{name.replace('_', '-')}", options(name, "algorithm")
        known = own.__dataclass_fields__ if own else {}
        if kind.learns and not kind.remembers:
            yield Refused(
                name, task | {"model": {"memory": "gru"}}, f"--model.memory gru: {name} does not learn with a memory"
            )
        if "begin" in known and "memory" in known:
            yield Refused(
                name,
                TWO | {name: {"memory": 500}},
                f"{section}.memory 500: holds fewer steps than learning begins with",
            )
        if name in OF_TEAM or name in AWARE:
            for mixing in ("team", "neighbourhood"):
                yield Refused(name, task | {"reward": {"mixing": mixing}}, f"--reward.mixing {mixing}: {name} ")
        if name in (*OF_TEAM, "maddpg") and "batch" in known:
            yield Refused(
                name, TWO | one_other({name: {"batch": 8}}), f"{section}.…: must be the same for all agents with {name}"
            )
        if name in HEADS:
            yield Refused(
                name,
                odd("many+many"),
                f"--algorithm {name}: agent_0 has 4913 actions, and a critic with a head for each takes at most 4096",
            )
        if name in PRESETS:
            for option in PRESETS[name].fixed:
                yield Refused(name, TWO | _changed(option, name), f"--{option.replace('_', '-')}")
        if kind.learns and not kind.averages:
            settings = task | {"consensus": {"what": "policies"}}
            yield Refused(name, settings, "--consensus.what policies: averaging is for teams of actor-critics")
        if name.startswith("ps_"):
            yield Refused(name, TWO | grouped(0, 1), f"agents.groups: {name} is one group of the whole team already")
            yield Refused(
                name,
                TWO | one_other({"algorithm": "ippo"}),
                "algorithm: parameter sharing (ps_*) is for the whole team",
            )
    for names, settings, begins in SOME:
        yield from (Refused(name, settings, begins.format(name=name)) for name in names.split())


def _changed(option: str, method: str) -> dict[str, Any]:
    """Settings in which an option is not what it usually is for a method."""
    usual = reduce(getattr, option.split("."), AgentSettings())
    *section, name = option.split(".")
    if option == "reward.mixing":
        value: Any = "team"
    elif option == "critic.input":
        value = "own" if PRESETS[method].critic_input == "global" else "global"
    elif name in OTHERWISE:
        value = OTHERWISE[name]
    elif isinstance(usual, bool):
        value = not usual
    else:
        value = 0.5 if usual is None or isinstance(usual, float) else usual + 1
    return {section[0]: {name: value}} if section else {name: value}


def refusal(row: Refused) -> InputError | None:
    """With what a row is refused; None where it is accepted."""
    try:
        prepare(validated({"algorithm": row.method} | row.settings))
    except InputError as error:
        return error
    return None


def as_it_should(row: Refused, error: InputError | None) -> bool:
    """Whether a row is refused with the one sentence that is right there."""
    return error is not None and str(error).startswith(row.begins) and "\n" not in str(error)


def words(settings: Mapping[str, Any], before: str = "--") -> str:
    """Settings as one types them; teams as they stand in a file."""
    found = []
    for name, value in settings.items():
        name = name.replace("_", "-")
        if isinstance(value, dict) and name != "agents":
            found.append(words(value, f"{before}{name}."))
        else:
            found.append(f"{before}{name} {json.dumps(value) if isinstance(value, dict) else value}")
    return " ".join(found)


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit status."""
    print(head("Every method on tasks, and in teams, that it is not for"))
    found = [row for row in table() if not arguments or row.method in arguments]
    said = [refusal(row) for row in found]
    lines = [[row.method, words(row.settings), str(error or "ACCEPTED")] for row, error in zip(found, said)]
    print(columns([["method", "settings", "sentence"], *lines]))
    wrong = sum(not as_it_should(row, error) for row, error in zip(found, said))
    print(f"{len(found)} rows, {wrong} of them not refused as they should be")
    return int(wrong > 0)


if __name__ == "__main__":
    from perla_net.ground.entry import entry

    sys.exit(entry(main, sys.argv[1:]))
