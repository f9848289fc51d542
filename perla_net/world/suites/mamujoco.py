"""``mamujoco:SCENARIO-PARTS``: one MuJoCo body whose joints belong to several agents (gymnasium-robotics' MaMuJoCo v1).

Peng et al. 2021 (arXiv 2003.06709), as kept by the Farama Foundation. Every agent sees its own joints and those up to
``agent_obsk`` hyperedges away on the body graph, and the global ones (the torso); it acts by torques in [−1, 1] (±0.4 Humanoid,
±2 Pusher); the whole body's reward goes to each agent. Agent j influences i when a joint of j shares a hyperedge with one of i.

What gymnasium-robotics 1.4 gets wrong is mended here, for the scenarios that it concerns only:

* CoupledHalfCheetah does not run with MuJoCo ≥ 3.6, where tendon Jacobians became sparse; and both agents were shown the
  second cheetah's joints. Here each is shown its own.
* ManySegmentAnt showed most agents joints of others, and no agent those of the next segment. Here as the body graph says.
* Pusher gives three joints one name, so that the order of an observation differed between processes.
* ManySegment models were written into the package's folder under one name, where processes that start together trip over
  each other. Here each is written to a folder of its own.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import load_env_creator
from gymnasium.wrappers import TimeLimit

from ...ground.errors import InputError
from ..copies import Copies
from ..networked.base import bounded

try:
    import mujoco
except (AttributeError, RuntimeError, OSError) as error:  # it looks for the OpenGL that MUJOCO_GL names as it is loaded
    raise InputError(
        f"MUJOCO_GL={os.environ.get('MUJOCO_GL', '')}: MuJoCo cannot be loaded with it ({error}); unset it, or install what it names"
    ) from None
with contextlib.redirect_stderr(io.StringIO()):  # its __init__ prints news of other environments than these
    from gymnasium_robotics.envs.multiagent_mujoco import (
        coupled_half_cheetah,
        many_segment_ant,
        many_segment_swimmer,
    )
    from gymnasium_robotics.envs.multiagent_mujoco.mujoco_multi import MultiAgentMujocoEnv
    from gymnasium_robotics.envs.multiagent_mujoco.obsk import HyperEdge, Node, get_parts_and_edges

PARTS = {
    "Ant": ("2x4", "2x4d", "4x2"),
    "CoupledHalfCheetah": ("1p1",),
    "HalfCheetah": ("2x3", "6x1"),
    "Hopper": ("3x1",),
    "Humanoid": ("9|8",),
    "HumanoidStandup": ("9|8",),
    "Pusher": ("3p",),
    "Reacher": ("2x1",),
    "Swimmer": ("2x1",),
    "Walker2d": ("2x3",),
}
"""Scenario → how its joints may be dealt out to agents."""
SEGMENTED = {"ManySegmentAnt": many_segment_ant, "ManySegmentSwimmer": many_segment_swimmer}
"""Scenarios of any length: AxS is A agents of S segments each."""
LONGEST_BODY = 100
COUPLED = "CoupledHalfCheetah"
FIXED = ("HumanoidStandup", "Pusher", "Reacher")
"""Scenarios without a speed."""
HORIZON = {"Reacher": 50, "Pusher": 100}
"""Steps after which an episode is cut off, where it is not 1000."""


class Body(MultiAgentMujocoEnv):
    """One copy: a body, its agents, and what the world wants to know beyond PettingZoo's API."""

    def __init__(
        self, scenario: str, parts: str, agent_obsk: int, horizon: int, render: bool, arguments: dict[str, Any]
    ) -> None:
        """``horizon``: steps; ``arguments``: those of gymnasium's environment."""
        base = _base(scenario, parts, horizon, "rgb_array" if render else None, arguments)
        joints = _body_graph(scenario, parts, base.unwrapped.model)
        super().__init__(scenario, parts, agent_obsk, joints, render_mode="rgb_array" if render else None, gym_env=base)
        self.horizon = horizon
        edges = {
            (source, target)
            for hyperedge in joints["edges"]
            for source, one in zip(self.possible_agents, joints["partition"])
            for target, other in zip(self.possible_agents, joints["partition"])
            if source != target and hyperedge.nodes & set(one) and hyperedge.nodes & set(other)
        }
        if scenario == COUPLED:  # the tendon between them is no edge of the graph that observations follow
            edges |= {("agent_0", "agent_1"), ("agent_1", "agent_0")}
        self.interaction_graph = sorted(edges)
        self._walks = scenario not in FIXED
        self._speeds: list[float] = []

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Begin an episode."""
        self._speeds = []
        return super().reset(seed, options)

    def step(self, actions: dict[str, np.ndarray]) -> tuple[dict, dict, dict, dict, dict]:
        """Advance by one action; see the class above."""
        if not self.agents:
            return {}, {}, {}, {}, {}
        told = super().step(actions)
        info = told[4]["agent_0"]
        if self._walks:
            self._speeds.append(float(np.mean([info[name] for name in info if name.startswith("x_velocity")])))
        return told

    def metrics(self) -> dict[str, float]:
        """``speed``: mean forward speed so far, m/s, of those that can go anywhere."""
        return {"speed": float(np.mean(self._speeds)) if self._speeds else 0.0} if self._walks else {}


class Coupled(coupled_half_cheetah.CoupledHalfCheetahEnv):
    """Two half cheetahs on an elastic tendon, for dense and sparse tendon Jacobians alike."""

    def _get_obs(self) -> np.ndarray:
        """The whole state, [40]."""
        data = self.data
        slope = tendon_slope(self.model, data)
        places = [data.qpos[1:9], data.qpos[10:18], data.qvel, slope[:2], slope[9:11]]  # without the x of both
        return np.concatenate([*places, data.ten_length, data.ten_velocity])


def tendon_slope(model: Any, data: Any) -> np.ndarray:
    """Derivative of the first tendon's length by the joints' positions, [degrees of freedom]."""
    if data.ten_J.ndim == 2:  # MuJoCo < 3.6
        return data.ten_J[0]
    slope = np.zeros(model.nv)
    slope[model.ten_J_colind[: model.ten_J_rownnz[0]]] = data.ten_J[: model.ten_J_rownnz[0]]
    return slope


def _base(scenario: str, parts: str, horizon: int, render_mode: str | None, arguments: dict[str, Any]) -> Any:
    """The environment whose joints are dealt out, made without a log file in the working directory."""
    heard = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)  # MuJoCo deprecates what gymnasium's own models hold
    try:
        if scenario == COUPLED:
            return TimeLimit(Coupled(render_mode), horizon)
        options = {"render_mode": render_mode, "max_episode_steps": horizon, "disable_env_checker": True, **arguments}
        if scenario not in SEGMENTED:
            return gymnasium.make(f"{scenario}-v5", **options)
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder) / "body.xml")
            SEGMENTED[scenario].gen_asset(segments(parts), file)
            return gymnasium.make(_gym_name(scenario), xml_file=file, **options)
    finally:
        mujoco.set_mju_user_warning(heard)


def _gym_name(scenario: str) -> str:
    return f"{scenario.removeprefix('ManySegment')}-v5"


def segments(parts: str) -> int:
    """Segments of ``AxS`` in all; 0 where it is not of this form."""
    found = re.fullmatch(r"(\d+)x(\d+)", parts)
    return int(found[1]) * int(found[2]) if found else 0


def _body_graph(scenario: str, parts: str, model: Any) -> dict[str, Any]:
    """Joints of each agent, hyperedges between joints, global joints: mended where gymnasium-robotics is wrong."""
    partition, edges, everywhere = get_parts_and_edges(scenario, parts)
    nodes = [node for part in partition for node in part]
    if scenario == "Pusher":
        for node in nodes:
            node.label = model.joint(int(model.actuator_trnid[node.act_ids, 0])).name
    if scenario in (COUPLED, "ManySegmentAnt"):
        for node in nodes:
            _place(node, model)
        named = {node.label: node for node in nodes}
        edges = [HyperEdge(*(named[node.label] for node in edge.nodes)) for edge in edges]
    return {"partition": partition, "edges": edges, "globals": everywhere}


def _place(node: Node, model: Any) -> None:
    """Let a node stand for the joint that it is named after."""
    joint = model.joint(node.label).id
    node.qpos_ids, node.qvel_ids = int(model.jnt_qposadr[joint]), int(model.jnt_dofadr[joint])
    (node.act_ids,) = (int(actuator) for actuator in np.flatnonzero(model.actuator_trnid[:, 0] == joint))
    if "ten_J" in node.extra_obs:
        node.extra_obs["ten_J"] = lambda data: tendon_slope(model, data)[[0, 1, 9, 10]]


def _checked(name: str) -> tuple[str, str]:
    scenario, _, parts = name.partition("-")
    if scenario in SEGMENTED:
        if not 2 <= segments(parts) <= LONGEST_BODY or parts.startswith("0"):
            raise InputError(
                f"--env mamujoco:{name}: {scenario}-AxS is A agents of S segments, from 2 to {LONGEST_BODY} in all"
            )
    elif parts not in PARTS.get(scenario, ()):
        known = [f"{scenario}-{each}" for each in PARTS.get(scenario, ())]
        known = known or [f"{each}-{kind}" for each, kinds in PARTS.items() for kind in kinds]
        known += [] if scenario in PARTS else [f"{each}-AxS" for each in SEGMENTED]
        raise InputError(f"--env mamujoco:{name}: there is no such body; there are {', '.join(known)}")
    return scenario, parts


def _options(scenario: str) -> list[str]:
    """Numbers and switches of gymnasium's environment that leave its observations as they are."""
    if scenario == COUPLED:
        return []
    made = inspect.signature(load_env_creator(gymnasium.spec(_gym_name(scenario)).entry_point).__init__)
    return [
        name
        for name, option in made.parameters.items()
        if isinstance(option.default, (bool, int, float)) and not name.startswith(("include_", "exclude_"))
    ]


def make(name: str, arguments: dict[str, Any], copies: int, agents: int | None, render: bool) -> Copies:
    """``SCENARIO-PARTS`` with ``agent_obsk`` (hops seen, default 1), ``horizon`` (steps) and gymnasium's own arguments.

    Raises InputError for what there is not, and where pictures are asked for and MuJoCo finds no OpenGL to draw them.
    """
    env = f"mamujoco:{name}"
    scenario, parts = _checked(name)
    own = dict(arguments)
    hops = bounded(env, "agent_obsk", own.pop("agent_obsk", 1), 0, LONGEST_BODY, whole=True)
    horizon = bounded(env, "horizon", own.pop("horizon", HORIZON.get(scenario, 1000)), 1, np.inf, whole=True)
    known = _options(scenario)
    for key, value in own.items():
        if key not in known:
            raise InputError(
                f"--env {env}: unknown argument '{key}'; it takes {', '.join(['agent_obsk', 'horizon', *known])}"
            )
        if isinstance(value, (str, list, dict)):
            raise InputError(f"--env {env}: {key} {value!r} is not a number, true or false")
    if render and "DISPLAY" not in os.environ:
        os.environ.setdefault("MUJOCO_GL", "egl")
    bodies = [Body(scenario, parts, hops, horizon, render, own) for _ in range(copies)]
    if render:
        _try_picture(env, bodies[0])
    return Copies(env, bodies, agents)


def _try_picture(env: str, body: Body) -> None:
    body.reset(seed=0)
    try:
        body.render()
    except Exception as error:  # OpenGL fails in many ways, none of them a class of its own
        raise InputError(
            f"--env {env}: no pictures, MuJoCo found no OpenGL ({' '.join(str(error).split())[:120]}); set MUJOCO_GL to egl, "
            "osmesa or glfw, whichever is installed"
        ) from None
