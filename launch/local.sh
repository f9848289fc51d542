#!/usr/bin/env bash
# The main job on this machine, with whichever mpirun is at hand (the one of the active environment first).
#
#   launch/local.sh [-n RANKS] [OPTIONS OF perla_net.run]
#
# RANKS defaults to 16. Knows what Open MPI wants for more ranks than cores, and for root in a container; MPICH wants
# nothing. One torch thread per rank: cores are used by ranks.
set -eu
ranks=16
if [ "${1:-}" = -n ]; then
  ranks=${2:?launch/local.sh: -n needs a number of ranks}
  shift 2
fi
command -v mpirun >/dev/null || {
  echo "launch/local.sh: there is no mpirun; install one with: pip install -c constraints.txt \".[mpi]\"" >&2
  exit 2
}
more=()
if mpirun --version 2>&1 | grep -q 'Open MPI'; then
  more+=(--oversubscribe)
  if [ "$(id -u)" = 0 ]; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  fi
fi
export OMP_NUM_THREADS=1
exec mpirun ${more[@]+"${more[@]}"} -n "$ranks" python -m perla_net.run "$@"
