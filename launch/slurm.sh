#!/usr/bin/env bash
# One run under Slurm, a rank per task.
#
#   sbatch launch/slurm.sh [OPTIONS OF perla_net.run]
#   sbatch --ntasks=64 --time=04:00:00 launch/slurm.sh --agents 64      what sbatch is told wins over the lines below
#   MPI=mpirun sbatch launch/slurm.sh …                                 started by mpirun instead of srun
#
# Submit from a folder that all nodes share (runs/ comes into it), with the Python environment active: sbatch hands the
# environment on. MPI is what srun's --mpi is to be: by default pmix for Open MPI (5 knows nothing else) and pmi2 for MPICH
# and its relatives; `srun --mpi=list` says what this Slurm has. With mpirun, submit from the clone.
#
#SBATCH --job-name=perla_net
#SBATCH --ntasks=16
#SBATCH --cpus-per-task=1
#SBATCH --time=01:00:00
#SBATCH --output=%x-%j.log
# Three minutes before the end every rank hears SIGTERM: the run ends after its round with a checkpoint, and --resume
# continues it. (Not with MPI=mpirun and Open MPI, which ends at once: there what counts is --checkpoint-every.)
#SBATCH --signal=TERM@180
set -eu

fail() {
  echo "launch/slurm.sh: $*" >&2
  exit 2
}

[ -n "${SLURM_JOB_ID:-}" ] || fail "this is no Slurm job; submit it with: sbatch launch/slurm.sh"
tasks=${SLURM_NTASKS:-}
[ -n "$tasks" ] || fail "Slurm does not say how many ranks there are; give sbatch --ntasks"
python=$(command -v python) || fail "there is no python; activate the environment that has perla_net, then submit"
"$python" -c 'import perla_net' 2>/dev/null || fail "$python does not have perla_net; activate the environment, then submit"
export OMP_NUM_THREADS=1 # cores are used by ranks

if [ "${MPI:-}" = mpirun ]; then
  # mpirun starts its daemons with srun. They are no MPI ranks: where Slurm makes them some by default, MPICH 5 would find
  # two process managers, Slurm's and its own, and give up.
  export SLURM_MPI_TYPE=none
  hosts=$(srun --ntasks="$tasks" hostname | sort | uniq -c | awk '{print $2 ":" $1}' | paste -sd , -)
  here=${SLURM_SUBMIT_DIR:-$PWD}
  [ -x "$here/launch/hosts.sh" ] || fail "MPI=mpirun: there is no launch/hosts.sh in $here; submit from the clone"
  exec "$here/launch/hosts.sh" -t -H "$hosts" -n "$tasks" "$@"
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
exec srun --mpi="$mpi" --ntasks="$tasks" --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --kill-on-bad-exit=1 \
  ${SLURM_HOSTFILE:+--distribution=arbitrary} "$python" -m perla_net.run "$@"
