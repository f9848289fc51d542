"""A run's state: every rank writes its agents and copies, rank 0 seals it; and back, also with another number of ranks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Callable, Sequence

import numpy as np

from ..ground.errors import InputError, Unsaved, WriteError
from ..ground.processes import Processes
from ..methods.protocol import Method
from ..records import checkpoint
from ..settings.data import to_data
from ..world.agreement import together
from ..world.world import World
from .metrics import Metrics
from .plan import Plan


class Saver:
    """Checkpoints of a run."""

    def __init__(
        self,
        processes: Processes,
        plan: Plan,
        methods: Sequence[Method],
        world: World,
        metrics: Metrics,
        parts: Sequence[tuple[str, Any]],
    ) -> None:
        """``methods``: of the agents of this rank; ``parts``: what has state per agent beside them, by name."""
        self.processes, self.plan, self.config = processes, plan, plan.config
        self.methods, self.world, self.metrics, self.parts = methods, world, metrics, parts
        self.stems = checkpoint.stems([agent.name for agent in plan.world.agents])
        """What each agent's files are called."""

    def save(self, folder: Path, done: int) -> None:
        """Write this rank's agents and copies into a checkpoint's folder, then let rank 0 seal it. Raises Unsaved on all ranks, and
        leaves nothing half-written. Collective. done: rounds so far."""
        self.processes.where = f"checkpoint {done}"
        if self.processes.rank == 0 and folder.exists():
            shutil.rmtree(folder)  # what a job left that was killed while it wrote here
        self.processes.agree(0, "begin of a checkpoint")
        self._together(lambda: self._write_parts(folder, done), folder, "end of a checkpoint")
        self._together(lambda: self._seal(folder, done), folder, "sealing of a checkpoint")
        if self.processes.rank == 0:
            checkpoint.prune(folder.parent.parent, self.config.keep_checkpoints)

    def _together(self, write: Callable[[], None], folder: Path, name: str) -> None:
        """Let every rank write; where one cannot, the checkpoint is removed, and all raise Unsaved."""
        found = []
        try:
            write()
        except WriteError as error:
            found.append(str(error))
        try:
            together(self.processes, found, Unsaved, name)
        except Unsaved:
            if self.processes.rank == 0:
                checkpoint.discard(folder)
            raise

    def _write_parts(self, folder: Path, done: int) -> None:
        for method in self.methods:
            arrays, numbers = method.state()
            state: dict[str, Any] = {"method": numbers}
            for name, part in self.parts:
                more, state[name] = part.state(method.index)
                arrays |= {f"{name}.{key}": array for key, array in more.items()}
            data = self._description(method, done) | {"state": state}
            checkpoint.write(folder, self.stems[method.index], arrays, data, method.spec.name)
        if self.world.host:
            first, copies = self.world.host.first, self.world.host.copies
            checkpoint.write(folder, f"world-{first}-{first + copies - 1}", self.world.host.save(), None)

    def _seal(self, folder: Path, done: int) -> None:
        if self.processes.rank == 0:
            names = [agent.name for agent in self.plan.world.agents]
            metrics = self.metrics
            data = {"round": done, "steps": self.world.steps, "totals": metrics.totals, "history": metrics.history}
            data["agents"] = dict(zip(names, self.stems))
            checkpoint.seal(folder, data)

    def save_players(self, folder: Path, done: int) -> None:
        """Write what the agents need to act, and no more."""
        for method in self.methods:
            data = self._description(method, done)
            checkpoint.write(folder, self.stems[method.index], method.acting(), data, method.spec.name)
        self.processes.agree(0, "saving of players")

    def _description(self, method: Method, done: int) -> dict[str, Any]:
        where = {"round": done, "index": method.index, "algorithm": method.settings.algorithm}
        return where | {"spec": to_data(method.spec)} | method.description()

    def begin(self) -> None:
        """At the start of a new run: what other runs learned, where ``--start-from`` or a frozen agent asks for it."""
        for method in self.methods:
            if method.index in self.plan.sources:
                data, arrays = checkpoint.read_agent(Path(self.plan.sources[method.index]), "--start-from")
                method.start_from(arrays, data)

    def restore(self) -> tuple[int, bool]:
        """Go on from the plan's checkpoint: (rounds so far, whether the environment is as it was). Collective."""
        folder = Path(self.plan.resume_from)
        manifest = checkpoint.read_data(folder / "manifest.json", "--resume")
        self.world.steps = manifest["steps"]
        for method in self.methods:
            data, arrays = checkpoint.read_agent(folder / self.stems[method.index], "--resume")
            try:
                method.restore(arrays, data["state"]["method"])
                for name, part in self.parts:
                    prefix = f"{name}."
                    mine = {key[len(prefix) :]: array for key, array in arrays.items() if key.startswith(prefix)}
                    part.restore(method.index, mine, data["state"][name])
            except KeyError as error:
                raise InputError(f"--resume {folder}: the state of {method.spec.name} has no {error}") from None
        for method in self.methods:
            method.restore_rest(lambda agent: self._state_of(folder, agent))
        self.metrics.totals = manifest["totals"]
        self.metrics.history = [tuple((j, i) for j, i in edges) for edges in manifest["history"]]
        host, same = self.world.host, True
        if host:
            same = host.load(read_world(folder, host.first, host.copies), self.world.steps)
        same = not self.processes.agree(int(not same), "return of the environment")
        if host and not same:
            host.anew()
        self.world.show()
        return manifest["round"], same

    def _state_of(self, folder: Path, agent: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """What any agent's method keeps in a checkpoint."""
        data, arrays = checkpoint.read_agent(folder / self.stems[agent], "--resume")
        return arrays, data["state"]["method"]


def read_world(folder: Path, first: int, copies: int) -> dict[str, np.ndarray]:
    """The state of copies first … first + copies − 1, from however many hosts wrote it."""
    parts: list[dict[str, np.ndarray]] = []
    for file in sorted(folder.glob("world-*.safetensors"), key=lambda file: int(file.stem.split("-")[1])):
        start, stop = (int(number) for number in file.stem.split("-")[1:])
        low, high = max(start, first), min(stop, first + copies - 1)
        if low <= high:
            arrays = checkpoint.read_arrays(file, "--resume")
            parts.append({name: array[low - start : high - start + 1] for name, array in arrays.items()})
    if sum(len(next(iter(part.values()))) for part in parts) != copies:
        raise InputError(f"--resume {folder}: has not the state of all copies {first} to {first + copies - 1}")
    names = set(parts[0]).intersection(*parts[1:])  # one that failed kept nothing of its environment
    return {name: _stack([part[name] for part in parts]) for name in parts[0] if name in names}


def _stack(arrays: list[np.ndarray]) -> np.ndarray:
    """Concatenate over copies; logs of actions may differ in length and are padded with zeros."""
    shape = np.max([array.shape[1:] for array in arrays], axis=0).astype(int) if arrays[0].ndim > 1 else ()
    padded = []
    for array in arrays:
        full = np.zeros((len(array), *shape), array.dtype)
        full[(slice(None), *(slice(0, size) for size in array.shape[1:]))] = array
        padded.append(full)
    return np.concatenate(padded)
