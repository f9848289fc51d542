"""TensorBoard events and a wandb run, written by rank 0 from the rows that ``metrics.jsonl`` and ``evaluations.jsonl`` get.

One of each for the whole team, whatever the number of ranks. Both packages are extras, imported only where they are asked for.
"""

from __future__ import annotations

import json
import math
import os
import time
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Sequence

from ..ground.errors import InputError
from ..ground.files import writing

if TYPE_CHECKING:
    from ..settings.config import Config

PROJECT = "perla_net"
"""The wandb project of ``--wandb true``."""
OFFLINE = ("offline", "disabled", "dryrun")


def check(config: Config) -> None:
    """InputError where a tracker that is asked for cannot work: before anything is started."""
    for name, package in (("tensorboard", "tensorboard"), ("wandb", "wandb")):
        if _wanted(config, name) and find_spec(package) is None:
            raise InputError(
                f"--{name} {str(getattr(config, name)).lower()}: needs {package}; "
                f'install it with: pip install -c constraints.txt ".[{name}]"'
            )
    if _wanted(config, "wandb") and os.environ.get("WANDB_MODE", "online") not in OFFLINE:
        import wandb

        if not wandb.login(prompt=False, verify=False):
            raise InputError(
                f"--wandb {config.wandb}: nobody is logged in to wandb here; run `wandb login`, or set WANDB_MODE=offline"
            )


def _wanted(config: Config, name: str) -> bool:
    value = getattr(config, name)
    return bool(value) and str(value).lower() != "false"


class Trackers:
    """The trackers of a run, on rank 0; none of them where none is asked for."""

    def __init__(self, config: Config, folder: Path, agents: Sequence[str], after: int) -> None:
        """after: rounds that an earlier part of the run has kept; TensorBoard drops what that part wrote beyond them."""
        self.folder, self.agents = folder, agents
        self.board = self.run = None
        if _wanted(config, "tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            place = folder / "tensorboard"
            resumed = after > 0 or place.is_dir()
            _wait_to_be_read_last(place)
            self.board = SummaryWriter(str(place), purge_step=after + 1 if resumed else None, flush_secs=10)
        if _wanted(config, "wandb"):
            self.run = _start_wandb(config, folder)

    def write(self, metrics: dict[str, Any], timings: dict[str, Any]) -> None:
        """A round: every number of its rows, by name; those of agents as ``agent_returns/NAME``, seconds as ``timings/PHASE``."""
        found = scalars(metrics, self.agents)
        found |= {f"timings/{name}": value for name, value in scalars(timings, self.agents).items()}
        self._write(found, metrics["round"])

    def write_evaluation(self, row: dict[str, Any]) -> None:
        """An evaluation point: the mean of every figure, as ``evaluation/FIGURE``."""
        means = {f"evaluation/{name}": math.fsum(values) / len(values) for name, values in row["figures"].items()}
        self._write(means, row["round"])

    def _write(self, found: dict[str, float], step: int) -> None:
        with writing(self.folder):
            if self.board is not None:
                for name, value in found.items():
                    self.board.add_scalar(name, value, step)
            if self.run is not None:
                self.run.log({"round": step, **found})

    def close(self) -> None:
        """Write out what is left."""
        with writing(self.folder):
            if self.board is not None:
                self.board.close()
            if self.run is not None:
                self.run.finish()


def _wait_to_be_read_last(place: Path) -> None:
    """TensorBoard reads a run's files by name, and names begin with the second of their start: a part that starts in the second of
    the one before it would be read by process number, and what the earlier wrote beyond the checkpoint would be kept beside it."""
    newest = max((int(file.name.split(".")[3]) for file in place.glob("events.out.tfevents.*")), default=0)
    if newest > time.time() + 60:
        raise InputError(
            f"{place}: has a file of the second {newest}, which is still to come by this host's clock, and what is written now "
            "would be read before it; set the clock, or move the folder away"
        )
    while time.time() < newest + 1:
        time.sleep(0.05)


def scalars(row: dict[str, Any], agents: Sequence[str]) -> dict[str, float]:
    """The numbers of a row by name: nested ones as ``figures/delay``, lists over agents as ``agent_returns/NAME``. What is not
    known (None) is left out, and so is the round."""
    found: dict[str, float] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            found |= {f"{name}/{key}": inner for key, inner in scalars(value, agents).items()}
        elif isinstance(value, list):
            found |= {f"{name}/{agent}": inner for agent, inner in zip(agents, value) if inner is not None}
        elif isinstance(value, (int, float)) and name != "round":
            found[name] = value
    return found


def _start_wandb(config: Config, folder: Path) -> Any:
    """One run of the project, its id kept in the folder so that --resume continues it; runs that differ in their seed share a
    group."""
    import wandb

    from ..settings.data import to_data

    project = PROJECT if str(config.wandb).lower() == "true" else config.wandb
    known = folder / "wandb.json"
    if known.exists():
        name = json.loads(known.read_text(encoding="utf-8"))["id"]
    else:
        name = token_hex(4)
        known.write_text(json.dumps({"id": name, "project": project}), encoding="utf-8")
    run = wandb.init(
        project=project,
        id=name,
        name=folder.resolve().name,
        group=f"{config.env} {config.topology} {config.algorithm}"[:128],
        dir=str(folder),
        config=to_data(config),
        resume=None if os.environ.get("WANDB_MODE") in OFFLINE else "allow",
        settings=wandb.Settings(console="off", silent=True),
    )
    run.define_metric("*", step_metric="round")
    return run
