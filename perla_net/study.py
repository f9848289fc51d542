"""``python -m perla_net.study FILE.yaml``: start or continue a study; ``--table`` compares what is done; ``docs/studies.md``."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any, Sequence

from .ground.errors import InputError
from .ground.files import given as path_given
from .ground.processes import launched
from .settings.command_line import parser
from .settings.yaml_files import read_yaml
from .studies import slurm
from .studies.comparison import table
from .studies.folder import _state, check_folder, collect, lock, write_folder
from .studies.runner import Runner, _mpirun, command, failure, progress
from .studies.study_file import Study, name_of, read_study


def main(arguments: Sequence[str]) -> int:
    """``python -m perla_net.study STUDY``; the exit status: 0 all runs are done, 1 not all, 2 bad input."""
    if launched()[1] > 1:
        raise InputError("start a study without mpirun; it starts one for each of its runs")
    reader = parser("perla_net.study", "Run a study: settings × seeds, packed onto the cores of this machine.")
    reader.add_argument("study", metavar="STUDY", type=Path, help="a study's YAML file, or its folder")
    reader.add_argument("--out", type=Path, metavar="FOLDER", help="the study's folder (default: studies/NAME)")
    reader.add_argument("--cores", type=int, metavar="N", help="cores to use (default: all that are available)")
    reader.add_argument(
        "--retry-failed", action="store_true", help="also continue, or start anew, the runs that failed"
    )
    reader.add_argument("--dry-run", action="store_true", help="check everything and list the runs; write nothing")
    reader.add_argument("--emit", choices=["slurm"], help="write a Slurm array of the runs that wait; start nothing")
    reader.add_argument("--collect", action="store_true", help="bring index.json up to date; start nothing")
    reader.add_argument("--table", action="store_true", help="print the statistics of the runs that are done")
    reader.add_argument("--baseline", metavar="AXIS=VALUE,…", help="what --table compares with (default: the study's)")
    given = reader.parse_args(list(arguments))
    if given.cores is not None and given.cores < 1:
        raise InputError(f"--cores {given.cores}: must be at least 1")
    if given.baseline and not given.table:
        raise InputError("--baseline: is for --table")
    given.study = path_given(given.study, "STUDY")
    given.out = path_given(given.out, "--out") if given.out else None
    cores = given.cores or len(os.sched_getaffinity(0))
    if given.table:
        folder = given.study if given.study.is_dir() else given.out
        print(
            table(
                folder or Path("studies") / name_of(read_yaml(given.study, "STUDY").get("name"), given.study),
                given.baseline,
            )
        )
        return 0
    study = read_study(given.study, given.out)
    if given.dry_run:
        check_folder(study)
        for run in study.runs:
            run.state, run.reason = _state(study, run)
            print(f"{run.state} {run.label if run.state == 'done' else shlex.join(command(study, run))}")
        print(progress(study, cores)[0])
        return 0
    with lock(study.folder):
        return _work(study, cores, given)


def _work(study: Study, cores: int, given: Any) -> int:
    """What main does while nobody else does anything to the study."""
    left_alone = write_folder(study)
    if left_alone:
        print(f"{len(left_alone)} of the runs in {study.folder / 'runs'} are no longer asked for; they are left alone")
    if given.retry_failed:
        for run in study.runs:
            study.mark(run).unlink(missing_ok=True)
    collect(study)
    if given.emit:
        print(slurm.emit(study))
        return 0
    for run in study.runs:
        if run.state == "failed":
            print(f"{failure(study, run)}\n    (--retry-failed tries again)")
    if given.collect:
        print(progress(study, cores)[0])
        return int(any(run.state != "done" for run in study.runs))
    if any(run.ranks > 1 and run.state == "waiting" for run in study.runs):
        _mpirun()  # complains now, if at all
    status = Runner(study, cores).work()
    if status == 0:
        print(f"next: python -m perla_net.study {study.folder} --table")
    return status


if __name__ == "__main__":
    from .ground.entry import entry

    sys.exit(entry(main, sys.argv[1:]))
