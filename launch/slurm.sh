#!/usr/bin/env bash
# One run under Slurm, a rank per task.
#
#   sbatch launch/slurm.sh [OPTIONS OF perla_net.run]
#   sbatch --ntasks=64 --time=04:00:00 launch/slurm.sh --agents 64      what sbatch is told wins over the lines below
#   MPI=mpirun sbatch launch/slurm.sh …                                 started by mpirun instead of srun
#   REQUEUE=yes sbatch --requeue launch/slurm.sh --out runs/long …      queues its own continuation, until the run is complete
#
# Submit from a folder that all nodes share (runs/ comes into it), with the Python environment active: sbatch hands the
# environment on. MPI is what srun's --mpi is to be: by default pmix for Open MPI (5 knows nothing else) and pmi2 for MPICH
# and its relatives; `srun --mpi=list` says what this Slurm has.
#
# With REQUEUE=yes a job whose run was interrupted, because its time is nearly up or because it is preempted, goes back into
# the queue under its number, and continues its run when it starts again; so does one that Slurm itself requeues. The run's
# folder is that of --out or --resume, else runs/slurm-JOBID, whatever a file of options says. It is not queued again when the
# run is complete or failed, when nothing was added to it since the last start, or when you cancelled the job.
#
#SBATCH --job-name=perla_net
#SBATCH --ntasks=16
#SBATCH --cpus-per-task=1
#SBATCH --time=01:00:00
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
# Three minutes before the end every rank hears SIGTERM: the run ends after its round with a checkpoint, and --resume
# continues it. Rounds that take longer want more. (Not with MPI=mpirun and Open MPI, which ends at once: there what counts is
# --checkpoint-every, and REQUEUE does not see that it was no failure.)
#SBATCH --signal=TERM@180
set -eu

fail() {
  echo "launch/slurm.sh: $*" >&2
  exit 2
}

[ -n "${SLURM_JOB_ID:-}" ] || fail "this is no Slurm job; submit it with: sbatch $0"
tasks=${SLURM_NTASKS:-}
[ -n "$tasks" ] || fail "Slurm does not say how many ranks there are; give sbatch --ntasks"
python=$(command -v python) || fail "there is no python; activate the environment that has perla_net, then submit"
"$python" -c 'import perla_net' 2>/dev/null || fail "$python does not have perla_net; activate the environment, then submit"
case ${REQUEUE:-} in '' | yes) ;; *) fail "REQUEUE=$REQUEUE: should be yes, or not there" ;; esac
export OMP_NUM_THREADS=1 # cores are used by ranks

newest() { # the round of the run's newest whole checkpoint; nothing where there is none
  local file
  for file in "$folder"/checkpoints/*/manifest.json; do
    [ ! -e "$file" ] || basename "$(dirname "$file")"
  done | sort -n | tail -n 1
}

option() { # what the run's configuration says
  sed -n "s/^$1: //p" "$folder/config.yaml"
}

complete() { # all rounds, and the evaluations that end a run
  [ -n "$(newest)" ] && [ "$(newest)" = "$(option rounds)" ] &&
    { [ -e "$folder/evaluation.json" ] || [ "$(option evaluate_episodes)" = 0 ]; } &&
    { [ -e "$folder/absolute.json" ] || [ "$(option evaluate_points)" = 0 ]; }
}

start() { # the run, in this shell's place; with REQUEUE, as its child, and what comes after
  [ -n "${REQUEUE:-}" ] || exec "$@"
  local status=0 before state
  before=$(newest)
  trap : TERM # Slurm tells this shell, too, that the job must end; what that means is seen when its ranks have ended
  "$@" || status=$?
  # 0 or, outside of rounds, 143: what SIGTERM makes of a run. Anything else is its own doing, and would come again.
  if [ "$status" != 0 ] && [ "$status" != 143 ]; then
    exit "$status"
  fi
  ! complete || exit 0
  state=$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T) || fail "$folder is not complete, and squeue does not answer"
  [ "$state" = RUNNING ] || fail "$folder is not complete; not queued again: the job is $state"
  [ "$(newest)" != "$before" ] ||
    fail "$folder is not complete; not queued again: there is no checkpoint since the job's start, and so it would go on for ever"
  echo "launch/slurm.sh: $folder is at round $(newest) of $(option rounds), queued again"
  scontrol requeue "$SLURM_JOB_ID" || fail "$folder is not complete, and Slurm does not requeue the job; submit with sbatch --requeue"
  exit 0
}

if [ -n "${REQUEUE:-}" ]; then
  folder='' previous=''
  for word in "$@"; do
    case $previous in --out | --resume) folder=$word ;; esac
    case $word in --out=* | --resume=*) folder=${word#*=} ;; esac
    previous=$word
  done
  if [ -z "$folder" ]; then
    folder=runs/slurm-$SLURM_JOB_ID
    set -- "$@" --out "$folder"
  fi
  if [ "${SLURM_RESTART_COUNT:-0}" != 0 ]; then
    ! complete || exit 0
    if [ -n "$(newest)" ]; then
      set -- --resume "$folder"
    elif [ -e "$folder/run.jsonl" ]; then # begun, but without a checkpoint
      mv "$folder" "$folder.before-restart-$SLURM_RESTART_COUNT"
    fi
  fi
fi

if [ "${MPI:-}" = mpirun ]; then
  # mpirun starts its daemons with srun. They are no MPI ranks: where Slurm makes them some by default, MPICH 5 would find
  # two process managers, Slurm's and its own, and give up.
  export SLURM_MPI_TYPE=none
  hosts=$(srun --ntasks="$tasks" hostname | sort | uniq -c | awk '{print $2 ":" $1}' | paste -sd , -)
  start bash "$("$python" -m perla_net.launch hosts --path)" -t -H "$hosts" -n "$tasks" "$@"
fi

mpi=${MPI:-}
if [ -z "$mpi" ]; then
  ask='import mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI; print(MPI.Get_library_version().strip("\0"))'
  library=$("$python" -c "$ask" 2>&1) ||
    fail "mpi4py cannot be used (${library##*$'\n'}); install it for this machine's MPI"
  case $library in
    *'Open MPI'*) mpi=pmix ;;
    *MPICH*|*Intel*|*MVAPICH*) mpi=pmi2 ;;
    *) fail "which --mpi of srun does '${library%%$'\n'*}' want? submit with MPI=pmi2, MPI=pmix or MPI=mpirun before sbatch" ;;
  esac
fi
offered=$(srun --mpi=list 2>&1 | tr -s '[:space:]' ' ')
case " $offered " in
  *" $mpi "*) ;;
  *) fail "srun has no --mpi=$mpi (it says: $offered); MPI=mpirun sbatch … starts with mpirun instead" ;;
esac
# Since Slurm 22.05 srun has to be told the cores per task again. A rank that fails takes all others with it.
start srun --mpi="$mpi" --ntasks="$tasks" --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --kill-on-bad-exit=1 \
  ${SLURM_HOSTFILE:+--distribution=arbitrary} "$python" -m perla_net.run "$@"
