"""A study as a Slurm array: ``python -m perla_net.study STUDY --emit slurm``."""

from __future__ import annotations

import math
import os
import re
import shlex
import sys

from ..ground.errors import InputError
from ..ground.files import write_whole
from .study_file import Study

NOTICE = 180
"""Seconds before the end of an array task at which its ranks hear SIGTERM."""
SCRIPT = """\
#!/usr/bin/env bash
# The runs of the study {name}, an array index each; made by `python -m perla_net.study … --emit slurm`.
#
#   sbatch {script}
#   MPI=pmix sbatch {script}     what srun's --mpi is to be (srun --mpi=list), where the choice below is wrong
#
# Submit it again to continue runs that ran out of time; what is done or failed is passed over (emit it again for what is
# left, with --retry-failed also for what failed). Afterwards: python -m perla_net.study {folder} --collect
#
#SBATCH --job-name={name}
#SBATCH --array=0-{last}
#SBATCH --ntasks={ranks}
#SBATCH --cpus-per-task=1
#SBATCH --time={minutes}
#SBATCH --output={folder}/logs/slurm-%A-%a.log
# Three minutes before the end every rank hears SIGTERM: the run ends after its round with a checkpoint.
#SBATCH --signal=TERM@{notice}
set -eu
cd {here}
study={folder}
python={python}

fail() {{
  echo "$study: $*" >&2
  exit 2
}}

[ -n "${{SLURM_ARRAY_TASK_ID:-}}" ] || fail "this is no job of a Slurm array; submit it with: sbatch {script}"
# In this script, which sbatch copies: a list that is emitted later must not change what waits in the queue.
# Ranks, name, rounds, and the files that a finished run leaves.
runs=(
{runs}
)
[ "$SLURM_ARRAY_TASK_ID" -lt "${{#runs[@]}}" ] || fail "there is no run $SLURM_ARRAY_TASK_ID"
read -r ranks label rounds left <<<"${{runs[SLURM_ARRAY_TASK_ID]}}"
export OMP_NUM_THREADS=1 # cores are used by ranks

# Nobody else runs it now, and nobody else will as long as one of its processes lives.
exec 9>>"$study/locks/$label"
flock -w 10 9 || fail "$label is running already"
echo "slurm ${{SLURM_JOB_ID:-}}" >"$study/locks/$label"

folder=$study/runs/$label
if [ -e "$study/logs/$label.failed" ]; then
  echo "$label failed before; emit the array again with --retry-failed to try it again"
  exit 0
fi
finished=yes
for file in "checkpoints/$rounds/manifest.json" $left; do
  [ -e "$folder/$file" ] || finished=no
done
if [ "$finished" = yes ]; then
  echo "$label is done"
  exit 0
fi
if compgen -G "$folder/checkpoints/*/manifest.json" >/dev/null; then
  options=(--resume "$folder")
else
  rm -rf "$folder" # begun, but without a checkpoint
  options=(--config "$study/configs/$label.yaml" --out "$folder")
fi

mpi=${{MPI:-}}
if [ "$ranks" = 1 ]; then
  mpi=none
elif [ -z "$mpi" ]; then
  ask='import mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI; print(MPI.Get_library_version().strip("\\0"))'
  library=$("$python" -c "$ask" 2>&1) || fail "mpi4py cannot be used (${{library##*$'\\n'}})"
  case $library in
    *'Open MPI'*) mpi=pmix ;;
    *MPICH*|*Intel*|*MVAPICH*) mpi=pmi2 ;;
    *) fail "which --mpi of srun does '${{library%%$'\\n'*}}' want? submit with MPI=… before sbatch" ;;
  esac
fi

status=0
srun --mpi="$mpi" --ntasks="$ranks" --cpus-per-task=1 --kill-on-bad-exit=1 "$python" -m perla_net.run "${{options[@]}}" \\
  >>"$study/logs/$label.log" 2>&1 || status=$?
[ "$status" = 0 ] || echo "exit status $status" >"$study/logs/$label.failed"
exit "$status"
"""


def emit(study: Study) -> str:
    """Write ``slurm.sh``, an array index for each of the runs that wait.

    Returns what to type. The limit of an array task is such that SIGTERM comes when the study's ``time_limit`` is over.
    Raises InputError where nothing waits, or where sbatch could not read the path.
    """
    waiting = [run for run in study.runs if run.state == "waiting"]
    if not waiting:
        raise InputError(f"--emit slurm: no run of {study.folder} waits")
    folder, script = str(study.folder.absolute()), study.folder / "slurm.sh"
    if re.search(r"[^\w./+=,@:~-]", folder):
        raise InputError(f"--out {folder}: sbatch needs a path of letters, digits and ./+=,@:~-_; choose another")
    lines = []
    for run in waiting:
        left = "evaluation.json " * bool(run.config.evaluate_episodes) + "absolute.json" * bool(
            run.config.evaluate_points
        )
        lines.append(f"  {shlex.quote(f'{run.ranks} {run.label} {run.config.rounds} {left}'.strip())}")
    text = SCRIPT.format(
        name=study.name,
        script=script,
        folder=folder,
        runs="\n".join(lines),
        last=len(waiting) - 1,
        ranks=max(run.ranks for run in waiting),
        minutes=math.ceil((study.file.time_limit + NOTICE) / 60),
        notice=NOTICE,
        here=shlex.quote(os.getcwd()),
        python=shlex.quote(sys.executable),
    )
    write_whole(script, text)
    script.chmod(0o755)
    return f"{len(waiting)} runs; submit them with: sbatch {script}"
