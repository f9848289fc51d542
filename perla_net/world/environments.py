"""The registry of environments, and what a batch environment must offer.

A *batch environment* holds some copies of an environment and steps them in one call:

    env.spec                                  WorldSpec: agents, spaces, interaction graph, horizon
    env.reset(copies, seeds)                  begin episodes in the copies of the given indices
    env.step(actions)                         actions[i]: int32 [copies, words] of agent i; float32 where some
                                              component is continuous, with the bits of int32 in the discrete ones
    env.observe(copies, observations, masks)  write into [copies, size] float32 arrays, one per agent; masks into
                                              [copies, flags] float32 arrays, or None where the agent has no mask
    env.reward, .terminated, .truncated, .alive   [copies, agents] of the last step; alive: acts in the next step
    env.controllers                           reference controllers: name → class; object.act(env) gives actions
    env.metrics(copies)                       further figures of the episodes so far, name → [copies]
    env.optimum                               if it is known: the greatest payoff of an agent and step, mean over agents
    env.state_of(copies)                      where spec.state: float32 [copies, spec.state], the state of the whole
    env.positions()                           where spec.moves: [agents, dimensions] in the first copy
    env.picture(copy)                         if it can be drawn: uint8 [height, width, 3]
    env.drawable                              optional: False where picture gives none
    env.scene(copy)                           optional: a Scene (``networked/drawing.py``), so that a film has one set of scales
    env.text(copy)                            if it can be shown in a terminal: a few lines
    env.save() / env.load(state, seeds)       arrays [copies, …], and back
    env.fork(state, seed, futures, of)        optional: every copy goes on from one copy's state (arrays [1, …], the seed of its
                                              episode), with chance drawn anew from the seed futures[of[copy]]; False where it cannot
    env.redraws, env.replays                  with fork: what of its chance that is, in words; whether it plays episodes again

Only ``world/hosts.py``, ``evaluate.py`` and ``gain/branching.py`` call these. Every suite is a module with

    make(name, arguments, copies, agents, render)   a batch environment; ``name`` is what follows ``SUITE:``
    any_number(name, arguments)                     optional: whether ``agents`` may be chosen freely
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from ..ground.errors import InputError
from ..ground.graph_files import find_file
from ..settings.specs import parse_spec


@dataclass(frozen=True)
class Suite:
    """A family of environments: where it is made, names worth showing, under which licence, with which extra."""

    module: str
    names: tuple[str, ...]
    about: str
    licence: str = "MIT"
    extra: str = ""
    packages: tuple[str, ...] = ()
    """Top-level modules that the extra brings; one that is missing means that the extra is not installed."""


SUITES = {
    "traffic": Suite(
        "networked.signals",
        ("grid", "sioux_falls.graphml"),
        "traffic signals on a grid or any road graph, store and forward",
    ),
    "spread": Suite("networked.spread", ("",), "cooperative navigation, MPE's simple_spread for any number"),
    "platoon": Suite("networked.platoon", ("catchup", "slowdown"), "cooperative adaptive cruise control"),
    "wireless": Suite("networked.wireless", ("grid",), "multi-access wireless, packets with deadlines"),
    "voltage": Suite("networked.voltage", ("ieee33",), "reactive power of solar inverters on the IEEE 33-bus feeder"),
    "games": Suite(
        "networked.games",
        (
            *("climbing", "penalty", "qtran", "two_step", "ipd", "matching_pennies", "tandem", "hamiltonian"),
            *("convention", "additive", "squeeze", "targets", "relay", "majority"),
        ),
        "small games, for two or on any graph, and tasks for many whose optimum is known",
    ),
    "sumo": Suite(
        "suites.sumo",
        ("grid4x4", "arterial4x4", "cologne8", "ingolstadt21"),
        "traffic signals in SUMO, RESCO's networks and any other",
        "EPL-2.0 or GPL-2.0+ (SUMO), MIT (networks)",
        "sumo",
        ("libsumo", "sumo_rl", "gymnasium", "pettingzoo"),
    ),
    "mpe2": Suite(
        "suites.mpe2",
        (
            *("simple", "simple_adversary", "simple_crypto", "simple_formation", "simple_line", "simple_push"),
            *("simple_reference", "simple_speaker_listener", "simple_spread", "simple_tag", "simple_world_comm"),
            "collect_treasure",
        ),
        "particles",
        "MIT",
        "mpe2",
        ("mpe2", "pettingzoo", "gymnasium"),
    ),
    "lbf": Suite(
        "suites.lbf",
        ("8x8-2p-2f", "8x8-3p-1f-coop", "2s-8x8-2p-2f-coop"),
        "level-based foraging",
        "MIT",
        "lbf",
        ("lbforaging", "gymnasium"),
    ),
    "rware": Suite(
        "suites.rware",
        ("tiny-2ag", "tiny-4ag", "small-4ag-hard"),
        "robots in a warehouse",
        "MIT",
        "rware",
        ("rware", "gymnasium"),
    ),
    "mamujoco": Suite(
        "suites.mamujoco",
        (
            *("Ant-4x2", "HalfCheetah-6x1", "Walker2d-2x3", "Hopper-3x1", "ManySegmentSwimmer-10x2"),
            "CoupledHalfCheetah-1p1",
        ),
        "bodies whose joints are agents",
        "MIT",
        "mamujoco",
        ("gymnasium_robotics", "mujoco", "gymnasium", "jinja2", "imageio", "pettingzoo"),
    ),
    "magent2": Suite(
        "suites.magent2",
        ("battle", "battlefield", "combined_arms", "gather", "adversarial_pursuit", "tiger_deer"),
        "crowds that fight",
        "MIT",
        "magent2",
        ("magent2", "pettingzoo", "gymnasium"),
    ),
    "smax": Suite(
        "suites.smax",
        ("3m", "2s3z", "5m_vs_6m", "3s5z", "smacv2_5_units"),
        "battles like StarCraft's, in JAX",
        "Apache-2.0",
        "smax",
        ("jaxmarl", "jax", "flax", "jaxtyping"),
    ),
    "vmas": Suite(
        "suites.vmas",
        ("balance", "navigation", "transport", "simple_tag", "discovery"),
        "robots in a plane, in torch",
        "GPL-3.0",
        "vmas",
        ("vmas", "gym"),
    ),
    "momaland": Suite(
        "suites.momaland",
        ("beach", "item_gathering", "catch", "escort", "surround", "multiwalker_stability", "pistonball"),
        "tasks of several objectives, which reward_weights=[…] makes one of",
        "GPL-3.0",
        "momaland",
        ("momaland", "pettingzoo", "gymnasium"),
    ),
    "batch": Suite("suites.batch", (), "anybody's batch environment, as MODULE.CLASS", "each its own"),
    "pettingzoo": Suite(
        "suites.pettingzoo",
        ("pursuit", "multiwalker", "pistonball", "cooperative_pong", "knights_archers_zombies", "rps"),
        "PettingZoo's own by name, any parallel_env by import path",
        "MIT; others their own",
        "pettingzoo",
        ("pettingzoo", "gymnasium"),
    ),
}


def make(env: str, copies: int, agents: int | None, render: bool = False) -> Any:
    """A batch environment of ``copies`` copies. Raises InputError for unknown names and arguments, and missing extras.

    ``env`` is ``SUITE:NAME[:key=value,…]``; ``agents``: the number asked for, None when left to the environment;
    ``render``: pictures will be asked for.
    """
    suite, name, arguments = _parsed(env)
    return _module(env, suite).make(name, arguments, copies, agents, render)


def takes_any_number(env: str) -> bool:
    """True where neither the environment nor its arguments fix the number of agents."""
    suite, name, arguments = _parsed(env)
    module = _module(env, suite)
    return hasattr(module, "any_number") and module.any_number(name, arguments)


def _parsed(env: str) -> tuple[Suite, str, dict[str, Any]]:
    suite = env.partition(":")[0]
    # A file's own ":" and "=" are part of its name; arguments come behind.
    whole, arguments = parse_spec(env, lambda name: _is_file(name.removeprefix(f"{suite}:")))
    head, _, name = whole.partition(":")
    suite = SUITES.get(head)
    if suite is None or (not name and "" not in suite.names):
        raise InputError(f"--env {env}: there is no such environment; `python -m perla_net.environments` lists them")
    return suite, name, arguments


def _is_file(name: str) -> bool:
    found = find_file(name)
    return found is not None and found.is_file()


def _module(env: str, suite: Suite) -> Any:
    try:
        return importlib.import_module(f".{suite.module}", __package__)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in suite.packages:
            raise
        raise InputError(
            f'--env {env}: needs {error.name}; install it with: pip install -c constraints.txt ".[{suite.extra}]"'
        ) from None
