"""``sumo:NAME`` and ``sumo:FILE``: traffic signals in SUMO (Lopez et al. 2018), microscopic, a second at a time.

NAME: a network of RESCO (Ault and Sharon 2021), read from the ``sumo-rl`` package: ``grid4x4``, ``arterial4x4``,
``cologne8``, ``ingolstadt21`` (also cologne1, cologne3, ingolstadt1, ingolstadt7). FILE: a ``.net.xml`` with
``routes=FILE.rou.xml``, or a ``.sumocfg``. Each copy's simulation runs in a process of its own (``sumo_worker.py``),
because libsumo holds one per process; all copies of a host step at the same time.

Agents: every signal with at least two green phases, from north to south and, where equally far north, from west to
east; so agent k of ``grid4x4`` stands where agent k of ``traffic:grid`` does. The others keep their programme.

Observation of a signal with P phases and L incoming lanes, 1 + P + 2 L numbers from 0 to 1, as in SUMO-RL: green
phase one-hot (P), whether the phase may change (1), vehicles on each lane (L), vehicles that stand (below 0.1 m/s) on
each lane (L), both as a share of what fits on the lane. Action: the green phase to show (P). A change begins with
``yellow`` seconds of yellow; it is ignored until the present phase has lasted yellow + min_green seconds. Phases and
lanes are in SUMO's order; but where a signal has four arms with one lane for each turn and the eight phases of
``traffic:grid`` (as in grid4x4), they are in that environment's order, so that the 33 numbers mean the same.

Reward of a signal, vehicle-minutes per step: ``queue``: −(vehicles that stand on its lanes or wait to be inserted
there) × step / 60; ``pressure``: −|those − vehicles that stand on the lanes beyond| × step / 60; ``diff_waiting``: by how
much the time that the vehicles on its lanes have stood there grew less, in minutes. Episodes end by truncation.

SUMO is deterministic: seed and actions give the episode. The seed moves drivers' imperfection and preferred speeds;
RESCO's demand is the same in all episodes unless ``shift`` moves departures. Saving keeps the actions since the reset
and plays them again. Unlike in ``traffic:grid``, vehicles in grid4x4 may turn right at red, after a stop.

Sources: Lopez et al., "Microscopic Traffic Simulation using SUMO", ITSC 2018; Ault and Sharon, "Reinforcement Learning
Benchmarks for Traffic Signal Control", NeurIPS Datasets and Benchmarks 2021; Varaiya, "Max pressure control of a
network of signalized intersections", Transportation Research C 36 (2013).
"""

from __future__ import annotations

import importlib.util
import json
import os
import select
import subprocess
import sys
import tempfile
import time
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from ...ground.errors import InputError
from ..copies import Copies
from ..networked.base import bounded, build
from ..networked.drawing import PALE, Lines, Marks, Scale, Scene, Texts, frames
from ..spec import WorldSpec
from .sumo_worker import HEADER, RESET

if importlib.util.find_spec("libsumo") is None:  # imported by the workers alone
    raise ModuleNotFoundError("No module named 'libsumo'", name="libsumo")

RESCO = {
    "grid4x4": 0,
    "arterial4x4": 0,
    "cologne1": 25200,
    "cologne3": 25200,
    "cologne8": 25200,
    "ingolstadt1": 57600,
    "ingolstadt7": 57600,
    "ingolstadt21": 57600,
}
"""RESCO's networks, and when their hour of demand begins, s."""
HOUR = 3600
REWARDS = ("queue", "pressure", "diff_waiting")
PATIENCE = 300.0
"""Seconds for which a worker may be silent."""
LAUNCHER_PREFIXES = ("MPI", "PMI", "OMPI", "PRTE", "HYDR", "HYDI", "I_MPI", "MV2")
"""Variables by which a launcher tells a process that it is a rank; a worker is none."""
FIGURES = (
    "waiting",
    "travel_time",
    "travel_time_all",
    "delay",
    "inserted",
    "arrived",
    "outside",
    "teleports",
    "collisions",
)


class Worker:
    """A process that simulates, and the pipes to it. It ends when this object does, or this process."""

    def __init__(self) -> None:
        self.who = "a simulation"
        self.errors: BinaryIO = tempfile.TemporaryFile()
        root = str(Path(__file__).parents[3])
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHER_PREFIXES)}
        inherited["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [inherited.get("PYTHONPATH")])])
        inherited.setdefault("SUMO_HOME", _sumo_home())
        self.process = subprocess.Popen(
            [sys.executable, "-m", "perla_net.world.suites.sumo_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=inherited,
            bufsize=0,
            start_new_session=True,  # interrupts are for the host, whose end closes the pipe
        )
        self._end = weakref.finalize(self, _end, self.process, self.errors)
        self.description: dict[str, Any] = {}
        self.owes = 0
        """Requests that were not answered yet."""
        self.sound = True

    def open(self, who: str, settings: dict[str, Any]) -> None:
        """Ask for a simulation, instead of any other. ``who``: for messages; ``settings``: as in ``sumo_worker.Control``."""
        self.who, self.description = who, {}
        self.ask(b"O", json.dumps(settings).encode())

    def ask(self, kind: bytes, payload: bytes = b"") -> None:
        """Send a request; :meth:`answer` brings what comes back, in the order of the requests."""
        assert self.process.stdin is not None
        self.owes += 1
        try:
            self.process.stdin.write(HEADER.pack(kind, len(payload)) + payload)
        except OSError:
            raise self._failed("does not listen any more") from None

    def opened(self) -> dict[str, Any]:
        """The description of its network, for which it answers first."""
        if not self.description:
            self.description = json.loads(self._answer())
        return self.description

    def answer(self) -> bytes:
        """The next answer. Raises RuntimeError with the worker's last words when it failed, ended or stays silent."""
        self.opened()
        return self._answer()

    def _answer(self) -> bytes:
        status, size = HEADER.unpack(self._read(HEADER.size))
        payload = self._read(size)
        self.owes -= 1
        if status != b"k":
            raise self._failed(f"failed: {payload.decode()}")
        return payload

    def _read(self, size: int) -> bytes:
        assert self.process.stdout is not None
        pipe = self.process.stdout.fileno()
        found, until = b"", time.monotonic() + PATIENCE
        while len(found) < size:
            if not select.select([pipe], [], [], max(0.0, until - time.monotonic()))[0]:
                raise self._failed(f"has been silent for {PATIENCE:.0f} s")
            piece = os.read(pipe, size - len(found))
            if not piece:
                raise self._failed(f"ended with exit status {self.process.wait(10)}")
            found += piece
        return found

    def _failed(self, what: str) -> RuntimeError:
        self.sound = False
        self.errors.seek(0)
        words = self.errors.read().decode(errors="replace")[-2000:].strip()
        return RuntimeError(f"{self.who} {what}" + (f"\n{words}" if words else ""))

    def close(self) -> None:
        """End the process."""
        self._end()


def _end(process: subprocess.Popen, errors: BinaryIO) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()
    try:
        process.wait(2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    errors.close()


IDLE: list[Worker] = []
"""Workers whose environment is gone. They serve the next one (a start takes half a second of a core; loading, hundredths),
and end with this process at the latest."""


def _leave(worker: Worker) -> None:
    """Keep a worker for others if it is sound and owes no answer; else end it."""
    if worker.sound and not worker.owes:
        IDLE.append(worker)
    else:
        worker.close()


def _worker() -> Worker:
    while IDLE:
        worker = IDLE.pop()
        if worker.process.poll() is None:
            return worker
    return Worker()


def _sumo_home() -> str:
    """The folder with SUMO's data, that of eclipse-sumo if it is there, else that of the package which libsumo needs."""
    for package in ("sumo", "sumo_data"):
        found = importlib.util.find_spec(package)
        for place in found.submodule_search_locations or () if found else ():
            if (Path(place) / "data").is_dir():
                return place
    return ""


def seed_of(seed: np.random.SeedSequence) -> int:
    """The seed of an episode as SUMO takes it (and as ``Copies`` tells it)."""
    return int(seed.generate_state(1)[0] >> 1)


ON_ROADS = Scale("vehicles that stand on the way", "plasma_r", 0, whole=True)
AT_SIGNALS = Scale("vehicles that stand at a signal", "viridis_r", 0, whole=True)


class Sumo(ParallelEnv):
    """One copy: a road network whose signals are the agents. Its worker is started by the first request."""

    metadata = {"name": "sumo", "render_modes": ["rgb_array"], "is_parallelizable": True}
    render_mode = "rgb_array"

    def __init__(
        self, name: str, settings: dict[str, Any], horizon: int, copy: int = 0, like: Sumo | None = None
    ) -> None:
        """name: as in ``--env``; horizon: steps; copy: for messages; like: a copy whose description can be taken over.

        Raises InputError for files that SUMO does not accept.
        """
        self.name, self.settings, self.horizon = name, settings, horizon
        self.who = f"--env {name}: the simulation of copy {copy} of this process"
        self.own_programme = self.follows = False
        """own_programme: whether, from the next reset on, signals follow the network's own programme whatever the actions;
        follows: whether they do in the present episode."""
        self.worker: Worker | None = None
        self.asked = ""
        self.seeds = np.random.SeedSequence()
        self.description = like.description if like else self._described()
        self.signals = self.description["signals"]
        self.possible_agents = [signal["name"] for signal in self.signals]
        self.agents: list[str] = []
        sizes = [(len(signal["states"]), len(signal["lanes"])) for signal in self.signals]
        self.lengths = [1 + phases + 2 * lanes for phases, lanes in sizes]
        self.observation_spaces = {
            agent: spaces.Box(0, 1, (length,), np.float32) for agent, length in zip(self.possible_agents, self.lengths)
        }
        self.action_spaces = {agent: spaces.Discrete(phases) for agent, (phases, _) in zip(self.possible_agents, sizes)}
        self.time = 0
        self.standing = np.zeros(len(self.signals), np.float32)

    def started(self) -> Worker:
        """The worker: one that another environment left, or a new one."""
        if self.worker is None:
            self.worker = _worker()
            self._leave = weakref.finalize(self, _leave, self.worker)
            self.worker.open(self.who, self.settings)
        return self.worker

    def _described(self) -> dict[str, Any]:
        try:
            description = self.started().opened()
        except RuntimeError as error:
            what = " ".join(str(error).removeprefix(self.who).split())
            raise InputError(f"--env {self.name}: SUMO cannot open it: its process {what}") from None
        if not description["signals"]:
            raise InputError(f"--env {self.name}: has no signal with two green phases to choose from")
        return description

    def observation_space(self, agent: str) -> spaces.Box:
        """Box from 0 to 1 of 1 + phases + 2 lanes numbers."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Discrete:
        """The green phases."""
        return self.action_spaces[agent]

    @property
    def interaction_graph(self) -> list[tuple[str, str]]:
        """(j, i) where one can drive from signal j to signal i past no other."""
        names = self.possible_agents
        return sorted({(names[source], names[target]) for source, target, _ in self.description["upstream"]})

    @property
    def controllers(self) -> dict[str, type]:
        """Reference controllers by name."""
        return CONTROLLERS

    def send_reset(self, seed: int) -> None:
        """Ask for a new episode, without waiting; the next :meth:`reset` brings it."""
        self.follows = self.own_programme
        self.started().ask(b"R", RESET.pack(seed, self.follows))
        self.asked = "reset"

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Begin an episode; later ones follow from the last seed that was given."""
        if self.asked != "reset":
            if seed is None:
                seed = seed_of(self.seeds.spawn(1)[0])
            else:
                self.seeds = np.random.SeedSequence(seed)
            self.send_reset(seed)
        self.agents, self.time = list(self.possible_agents), 0
        _, observations = self._read()
        return observations, {agent: {} for agent in self.agents}

    def send_step(self, phases: np.ndarray) -> None:
        """Ask for a step with int32 phases [signals], without waiting; the next :meth:`step` brings it."""
        self.started().ask(b"S", np.ascontiguousarray(phases, np.int32).tobytes())
        self.asked = "step"

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        """Simulate one interval."""
        if not self.agents:
            return {}, {}, {}, {}, {}
        if self.asked != "step":
            self.send_step(np.array([actions[agent] for agent in self.possible_agents], np.int32))
        there = self.agents
        rewards, observations = self._read()
        self.time += 1
        over = self.time >= self.horizon
        if over:
            self.agents = []
        never, cut = dict.fromkeys(there, False), dict.fromkeys(there, over)
        return observations, dict(zip(there, rewards.tolist())), never, cut, {agent: {} for agent in there}

    def _read(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        self.asked = ""
        found = np.frombuffer(self.started().answer(), np.float32)
        number = len(self.signals)
        self.standing = found[number : 2 * number]
        pieces = np.split(found[2 * number :], np.cumsum(self.lengths)[:-1])
        return found[:number], dict(zip(self.possible_agents, pieces))

    def metrics(self) -> dict[str, float]:
        """Figures of the episode so far.

        waiting: seconds that a vehicle stood (below 0.1 m/s), mean over those inserted; travel_time: s from insertion to
        arrival, mean over those that arrived; travel_time_all: s from the departure that the demand asks for until arrival
        or, for those that did not arrive, until now, mean over all whose departure has come, also those not inserted yet;
        delay: s lost by driving below the desired speed and by waiting to be inserted, over the same; inserted; arrived;
        outside: waiting to be inserted now; teleports; collisions (the simulation's counts). Means over nobody are 0.
        """
        if not self.agents and not self.time:
            return dict.fromkeys(FIGURES, 0.0)
        worker = self.started()
        worker.ask(b"F")
        told = json.loads(worker.answer())
        return {name: float(told[name]) for name in FIGURES}

    def scene(self) -> Scene:
        """Vehicles that stand at each signal and on the roads between signals."""
        worker = self.started()
        worker.ask(b"Q")
        queues = json.loads(worker.answer())
        upstream = self.description["upstream"]
        where = np.array([signal["place"] for signal in self.signals], float).reshape(-1, 2)
        ends = np.array([[where[source], where[target]] for source, target, _ in upstream]).reshape(-1, 2, 2)
        along = ends[:, 1] - ends[:, 0]
        right = np.stack([along[:, 1], -along[:, 0]], 1)[:, None]  # traffic keeps right
        ends = ends + 0.02 * right
        standing = np.array([queues[target][road] for _, target, road in upstream])
        return Scene(
            self.name,
            self.time,
            [
                Lines(ends, "way from signal to signal", colour=PALE, width=4),
                Lines(ends[standing > 0], "way with vehicles that stand", standing[standing > 0], ON_ROADS, width=4),
                Marks(where, "signal", self.standing, AT_SIGNALS, size=230),
                Texts(where, [str(number) for number in range(len(self.signals))], shift=(0, -15)),
            ],
            f"{self.time * self.settings['step'] / 60:.1f} min",
            note="numbers: signals, in the order of the agents",
        )

    def render(self) -> np.ndarray:
        """The scene by itself, uint8 [height, width, 3]."""
        return next(frames([self.scene()]))

    def close(self) -> None:
        """Leave the worker to others."""
        if self.worker is not None:
            self._leave()
            self.worker = None


class SumoCopies(Copies):
    """Copies that step at the same time: all are asked before the first is heard."""

    unbranched = "each copy is a simulator in a process of its own, and hundreds of copies would be needed"
    """Why ``perla_net.gain`` does not take it."""

    @property
    def spec(self) -> WorldSpec:
        """With the places of the signals, m."""
        places = tuple(tuple(signal["place"]) for signal in self.envs[0].signals)
        return replace(super().spec, positions=places, moves=False)

    def scene(self, copy: int) -> Scene:
        """What is to be seen of a copy now."""
        return self.envs[copy].scene()

    def _find_masks(self) -> None:
        """There are none: the infos of :class:`Sumo` are empty, and a reset is expensive."""

    def reset(self, copies: np.ndarray, seeds: list[np.random.SeedSequence]) -> None:
        """Begin a new episode in the given copies."""
        for copy, seed in zip(copies, seeds, strict=True):
            self.envs[copy].send_reset(seed_of(seed))
        super().reset(copies, seeds)

    def step(self, actions: list[np.ndarray]) -> None:
        """Advance every copy by one step."""
        for env, phases in zip(self.envs, np.stack([action.reshape(self.copies) for action in actions], 1)):
            if env.agents:
                env.send_step(phases)
        super().step(actions)

    def load(self, state: dict[str, np.ndarray], seeds: list[np.random.SeedSequence]) -> bool:
        """Play the running episodes again, all at the same time; False when an observation then differs."""
        self.reset(np.arange(self.copies), seeds)
        for step in range(int(state["steps"].max())):
            playing = np.flatnonzero(state["steps"] > step)
            for copy in playing:
                self.envs[copy].send_step(state["words"][copy, step])
            for copy in playing:
                self._step(copy, state["words"][copy, step].copy())
        return bool(
            np.array_equal(self._fingerprint(), state["observation"]) and np.array_equal(self.alive, state["alive"])
        )


class FixedTime:
    """Every signal follows the programme of the network's file: its greens, yellows and offsets. Made before the reset."""

    whole_team = "SUMO's own programmes run all signals of a network"

    def __init__(self, copies: SumoCopies) -> None:
        for env in copies.envs:
            env.own_programme = True

    def act(self, copies: SumoCopies) -> np.ndarray:
        """Zeros, int [signals, copies], which no signal looks at."""
        if not all(env.follows for env in copies.envs):
            raise RuntimeError("fixed_time takes effect with a reset: make the controller before it")
        return np.zeros((len(copies.agents), copies.copies), np.int32)


class LongestQueue:
    """The phase with the most vehicles that stand and would go in it; the present one if it is among them."""

    rule = "longest_queue"

    def __init__(self, copies: SumoCopies) -> None:
        pass

    def act(self, copies: SumoCopies) -> np.ndarray:
        """Phases, int [signals, copies]."""
        workers = [env.started() for env in copies.envs]
        for worker in workers:
            worker.ask(b"A", self.rule.encode())
        return np.stack([np.frombuffer(worker.answer(), np.int32) for worker in workers], 1)


class MaxPressure(LongestQueue):
    """Varaiya (2013): a movement counts by the vehicles that stand and want it, less those that stand where it leads to
    (on lanes of other signals; as in RESCO, what leaves for a road without a signal ahead meets nobody)."""

    rule = "max_pressure"


CONTROLLERS = {"fixed_time": FixedTime, "longest_queue": LongestQueue, "max_pressure": MaxPressure}
"""Reference controllers by name; each decides every step, like the agents, except fixed_time."""


def make(name: str, arguments: dict[str, Any], copies: int, agents: int | None, render: bool) -> SumoCopies:
    """``copies`` simulations of a network. Raises InputError."""
    env = f"sumo:{name}"

    def construct(
        copies: int,
        agents: int | None,
        routes: str = "",
        additional: str = "",
        begin: float | None = None,
        horizon: int | None = None,
        step: int = 5,
        yellow: int = 2,
        min_green: int = 5,
        reward: str = "queue",
        demand: float = 1.0,
        shift: float = 0.0,
        teleport: float = -1.0,
    ) -> SumoCopies:
        """routes, additional: files; begin: s (default: the network's); horizon: steps (default: one hour); step, yellow,
        min_green: s; demand: factor on the number of vehicles; shift: each vehicle departs up to so many s later, drawn
        anew in each episode; teleport: s after which a vehicle that is stuck is moved on (−1: never)."""
        bounded(env, "step", step, 1, HOUR, whole=True)
        bounded(env, "yellow", yellow, 0, step - 1, whole=True)
        bounded(env, "min_green", min_green, 0, HOUR, whole=True)
        bounded(env, "demand", demand, 0.001, 1000)
        bounded(env, "shift", shift, 0, HOUR)
        if teleport != -1:
            bounded(env, "teleport", teleport, 1, np.inf)
        if reward not in REWARDS:
            raise InputError(f"--env {env}: reward '{reward}' is none of {', '.join(REWARDS)}")
        steps = bounded(env, "horizon", max(HOUR // step, 1) if horizon is None else horizon, 1, np.inf, whole=True)
        command = _network(env, name, routes, begin)
        if additional:
            command += ["-a", _file(env, "additional", additional)]
        command += ["--scale", str(demand), "--time-to-teleport", str(teleport), "--random-depart-offset", str(shift)]
        # What the figures need, digits that are not rounded, and silence.
        command += ["--device.tripinfo.probability", "1", "--precision", "6", "--waiting-time-memory", "10000"]
        command += ["--duration-log.disable", "--no-step-log", "--no-warnings"]
        settings = {"command": command, "step": step, "yellow": yellow, "min_green": min_green, "reward": reward}
        first = Sumo(env, settings, steps)
        others = [Sumo(env, settings, steps, copy, first) for copy in range(1, copies)]
        return SumoCopies(env, [first, *others], agents)

    return build(construct, env, arguments, copies, agents)


def _network(env: str, name: str, routes: str, begin: float | None) -> list[str]:
    """SUMO's options for a network and its demand."""
    if name in RESCO:
        folder = _resco(env) / name
        net, demand = folder / f"{name}.net.xml", next(iter(sorted(folder.glob("*.rou.xml"))))
        found = ["-n", str(net), "-r", _file(env, "routes", routes) if routes else str(demand)]
        begin = RESCO[name] if begin is None else begin
    elif name.endswith(".sumocfg"):
        found = ["-c", _file(env, "the network", name)]
        if routes:
            found += ["-r", _file(env, "routes", routes)]
    elif name.endswith((".net.xml", ".net.xml.gz")):
        if not routes:
            raise InputError(f"--env {env}: a network needs its demand: --env {env}:routes=FILE.rou.xml")
        found = ["-n", _file(env, "the network", name), "-r", _file(env, "routes", routes)]
    else:
        raise InputError(f"--env {env}: is none of {', '.join(RESCO)}, and no FILE.net.xml or FILE.sumocfg")
    return found if begin is None else [*found, "-b", str(bounded(env, "begin", begin, 0, np.inf))]


def _resco(env: str) -> Path:
    found = importlib.util.find_spec("sumo_rl")
    if found is None or not found.submodule_search_locations:
        raise InputError(
            f'--env {env}: RESCO\'s networks come with sumo-rl; install it with: pip install -c constraints.txt ".[sumo]"'
        )
    return Path(found.submodule_search_locations[0]) / "nets" / "RESCO"


def _file(env: str, what: str, given: str) -> str:
    if not Path(str(given)).is_file():
        raise InputError(f"--env {env}: {what} '{given}' is not a file")
    return str(given)
