#!/usr/bin/env bash
# One run under PBS (PBS Professional, OpenPBS; for Torque write nodes=2:ppn=8 instead of select=…), a rank per MPI process.
#
#   qsub launch/pbs.sh
#   qsub -v OPTIONS="--topology ring --rounds 200" launch/pbs.sh
#   qsub -l select=4:ncpus=16:mpiprocs=16 -v OPTIONS="--config team.yaml" launch/pbs.sh       qsub wins over the lines below
#
# Submit from a folder that all nodes share, with the Python environment active; its PATH is found again from what PBS notes
# about qsub. An MPI that needs more of the environment (LD_LIBRARY_PATH) wants qsub -V as well.
# OPTIONS are those of perla_net.run, apart by spaces; PBS cuts values at commas, so what has spaces or commas in it belongs
# into a YAML file (--config). At the end of the walltime PBS ends all at once: what counts is --checkpoint-every, and
# --resume continues.
#
#PBS -N perla_net
#PBS -l select=2:ncpus=8:mpiprocs=8
#PBS -l walltime=01:00:00
#PBS -j oe
set -eu

fail() {
  echo "launch/pbs.sh: $*" >&2
  exit 2
}

if [ -z "${PBS_JOBID:-}" ] || [ ! -r "${PBS_NODEFILE:-}" ]; then
  fail "this is no PBS job; submit it with: qsub $0"
fi
[ $# = 0 ] || fail "'$*': options come in a variable; submit with: qsub -v OPTIONS=\"…\" launch/pbs.sh"
cd "$PBS_O_WORKDIR" # PBS starts a job in the home folder, and with a bare PATH
PATH=${PBS_O_PATH:-$PATH}
python=$(command -v python) || fail "there is no python; activate the environment that has perla_net, then submit"
hosts=$("$python" -m perla_net.launch hosts --path 2>/dev/null) ||
  fail "$python does not have perla_net; activate the environment, then submit"
read -ra options <<<"${OPTIONS:-}"
# A line of the node file is a place for a rank. Not looking first: PBS may forbid ssh and start processes by itself.
exec bash "$hosts" -t -f "$PBS_NODEFILE" ${options[@]+"${options[@]}"}
