#!/usr/bin/env bash
# One run over several machines that ssh reaches, with whichever mpirun is at hand (the one of the active environment first).
#
#   launch/hosts.sh -H HOST:RANKS,HOST:RANKS,… [-n RANKS] [-i INTERFACE] [-e NAME,NAME,…] [-t] [OPTIONS OF perla_net.run]
#   launch/hosts.sh -f FILE …   the hosts are in a file, a line each: `host`, `host:8` or `host slots=8` (a batch system's is
#                               good as well: a host is named once per rank there)
#   launch/hosts.sh -r FILE …   the file names a host for every rank in their order; `python -m perla_net.placement` writes it
#
#   -n  number of ranks; default: as many as the hosts take
#   -i  network interface for all traffic, where hosts have several and the MPI library chooses the wrong one; the traffic is
#       then TCP, so leave it out on a fabric that the library knows
#   -e  further environment variables that ranks need; PATH, LD_LIBRARY_PATH, PYTHONPATH, UCX_* and FI_* always travel
#   -t  trust the hosts: do not look first whether ssh gets there and finds the same files (batch systems have ways of their
#       own to start processes, and may forbid ssh)
#
# Every host needs the same Python environment at the same path, and the run's folder on a file system that all share:
# each rank writes its part of a checkpoint. Ports, keys and user names belong into ~/.ssh/config. Consecutive ranks share a
# host, and cores are used by ranks: one thread each.
set -eu

fail() {
  echo "launch/hosts.sh: $*" >&2
  exit 2
}

hosts=() slots=() order=()
source='' file='' ranks='' interface='' names='' trust=''

add() { # a host and its number of ranks; the same host again adds to it
  local index
  [[ $1 =~ ^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$ ]] || fail "$source: '$1' is not the name of a host; write host:8"
  [[ $2 =~ ^[1-9][0-9]{0,5}$ ]] || fail "$source: '$2' ranks on host $1; write a number of at least one, as in $1:8"
  for index in "${!hosts[@]}"; do
    if [ "${hosts[index]}" = "$1" ]; then
      slots[index]=$((slots[index] + $2))
      order+=("$index")
      return
    fi
  done
  order+=("${#hosts[@]}")
  hosts+=("$1") slots+=("$2")
}

add_text() { # host or host:8
  case $1 in
    *:*) add "${1%%:*}" "${1#*:}" ;;
    *) add "$1" 1 ;;
  esac
}

while [ $# -gt 0 ]; do
  case $1 in
    -[Hfr])
      [ -z "$source" ] || fail "$1: the hosts are given by $source already; give one of -H, -f and -r"
      source="$1 ${2:-}" file=${2:-}
      ;;
    -n) ranks=${2:-} ;;
    -i) interface=${2:-} ;;
    -e) names=${2:-} ;;
    -t)
      trust=yes
      shift
      continue
      ;;
    -h | --help)
      sed -n '2,/^set -eu/{/^#/s/^# \{0,1\}//p}' "$0"
      exit 0
      ;;
    --*) break ;;
    *) fail "'$1' is none of its options, which are -H, -f, -r, -n, -i, -e and -t, before those of perla_net.run" ;;
  esac
  [ -n "${2:-}" ] || fail "$1 needs a value; launch/hosts.sh -h says which"
  shift 2
done
[ -n "$source" ] || fail "on which hosts? name them with -H host:8,host:8 or -f FILE"

case $source in
  -H*)
    IFS=, read -ra entries <<<"$file"
    for entry in "${entries[@]}"; do
      add_text "$entry"
    done
    ;;
  *)
    if [ ! -f "$file" ] || [ ! -r "$file" ]; then
      fail "$source: cannot be read"
    fi
    while IFS= read -r line || [ -n "$line" ]; do
      read -r entry more <<<"${line%%#*}"
      case $more in
        '') [ -z "$entry" ] || add_text "$entry" ;;
        slots=*) add "$entry" "${more#slots=}" ;;
        *) fail "$source: '$entry $more' is none of host, host:8 and host slots=8" ;;
      esac
    done <"$file"
    ;;
esac
[ ${#hosts[@]} -gt 0 ] || fail "$source: names no host"
total=0
for count in "${slots[@]}"; do
  total=$((total + count))
done
ranks=${ranks:-$total}
[[ $ranks =~ ^[1-9][0-9]{0,5}$ ]] || fail "-n $ranks: is not a number of ranks"
[ "$ranks" -le "$total" ] || fail "-n $ranks: the hosts of $source take $total ranks; name more of them, or take fewer ranks"
case $source in
  -r*)
    [ ${#order[@]} = "$total" ] || fail "$source: must name one host a line, in the order of ranks; a hostfile is for -f"
    [ "$ranks" = "$total" ] || fail "-n $ranks: $source places $total ranks; leave -n out"
    ;;
esac
[ -z "$interface" ] || [ -e "/sys/class/net/$interface" ] || fail "-i $interface: there is no such network interface here"

mpirun=$(command -v mpirun) || fail "there is no mpirun; install one with: pip install -c constraints.txt \".[mpi]\""
python=$(command -v python) || fail "there is no python; activate the environment that has perla_net"
case $python in
  /*) ;;
  *) fail "python is found at $python, which means another place on another host; put its full path into PATH" ;;
esac

# Where the run will write: the nearest folder that exists already.
place=$PWD
previous=''
for word in "$@"; do
  case $previous in --out|--resume) place=$word ;; esac
  case $word in --out=*|--resume=*) place=${word#*=} ;; esac
  previous=$word
done
case $place in /*) ;; *) place=$PWD/$place ;; esac
until [ -d "$place" ]; do
  place=$(dirname "$place")
done

quoted() { # for whichever shell the other host has
  printf "'%s'" "${1//\'/\'\\\'\'}"
}

look() { # whether ssh gets to the host, and what it finds there
  local host=$1 said status=0
  said=$(ssh -n -o BatchMode=yes -o ConnectTimeout=10 "$host" \
    "cd $(quoted "$PWD") || exit 3; test -x $(quoted "$python") || exit 4; test -e $(quoted "$mark") || exit 5" 2>&1) || status=$?
  case $status in
    0) ;;
    3) fail "$host has no folder $PWD; start from one that all hosts share" ;;
    4) fail "$host has no $python; every host needs the same environment at the same path" ;;
    5) fail "$host does not see what is written in $place here; the run's folder must be on a file system that all hosts share" ;;
    *) fail "$host cannot be reached: 'ssh $host true' must work without a password (${said##*$'\n'}); -t starts without looking" ;;
  esac
}

if [ -z "$trust" ]; then
  own=" localhost $(hostname) $(hostname -f 2>/dev/null || true) $(hostname -I 2>/dev/null || true) "
  mark=$(mktemp "$place/.hosts.XXXXXX" 2>/dev/null) || fail "$place cannot be written to, but the run's folder would be there"
  trap 'rm -f "$mark"' EXIT
  for host in "${hosts[@]}"; do
    case $own in *" $host "*) ;; *) look "$host" ;; esac
  done
  rm -f "$mark"
  trap - EXIT
fi

export OMP_NUM_THREADS=1
if [ -n "$interface" ]; then
  # The launcher of Open MPI 5 and that of 4, Open MPI's own TCP, and the libraries that both MPIs may use below.
  export PRTE_MCA_prte_if_include=$interface OMPI_MCA_oob_tcp_if_include=$interface OMPI_MCA_btl_tcp_if_include=$interface
  export UCX_NET_DEVICES=$interface FI_TCP_IFACE=$interface
fi
list=''
for index in "${!hosts[@]}"; do
  list+=${list:+,}${hosts[index]}:${slots[index]}
done
more=()
case $("$mpirun" --version 2>&1) in
  *'Open MPI'*)
    # Its daemons on other hosts come from the same prefix; a shell that ssh starts knows nothing of this one's PATH.
    more+=(--prefix "$(dirname "$(dirname "$mpirun")")")
    if [ "$(id -u)" = 0 ]; then
      export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    fi
    # Only what is named travels to other hosts.
    for name in PATH LD_LIBRARY_PATH PYTHONPATH OMP_NUM_THREADS ${names//,/ } $(compgen -e | grep -E '^(UCX|FI)_' || true); do
      [ -z "${!name+set}" ] || more+=(-x "$name")
    done
    case $source in
      # Without OVERSUBSCRIBE, more ranks on a host than it has cores make Open MPI 5 end with status 0 and nothing run.
      -r*) more+=(--hostfile "$file" --map-by seq:OVERSUBSCRIBE) ;;
      *) more+=(--host "$list" --map-by slot) ;;
    esac
    ;;
  *HYDRA*)
    # All of the environment travels by itself.
    more+=(${interface:+-iface "$interface"})
    case $source in
      -r*)
        # A file in the order of ranks works too, but then every change of host in it counts as another machine: a daemon
        # for each, and ranks of one machine that do not share memory. Before MPICH 5 there is no other way.
        if "$mpirun" -help 2>&1 | grep -q -e -rankmap; then
          more+=(-hosts "$list" -rankmap "$(IFS=, && echo "${order[*]}")")
        else
          more+=(-f "$file")
        fi
        ;;
      *) more+=(-hosts "$list") ;;
    esac
    ;;
  *) fail "$mpirun is neither Open MPI's nor MPICH's" ;;
esac
exec "$mpirun" "${more[@]}" -n "$ranks" "$python" -m perla_net.run "$@"
