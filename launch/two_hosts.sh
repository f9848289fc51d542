#!/usr/bin/env bash
# Two hosts on one machine, to try a run over a network: each has its own network, host name, processes, shared memory and
# ssh daemon, and a wire (a veth pair) leads from one to the other and nowhere else. Files are this machine's. Needs root.
#
#   launch/two_hosts.sh up                 make them: NAME-1 (10.77.0.1) and NAME-2 (10.77.0.2)
#   launch/two_hosts.sh run [-n RANKS | -r FILE] [OPTIONS OF perla_net.run]
#                                          launch/hosts.sh over both, half of the ranks (default 4) on each
#   launch/two_hosts.sh narrow RATE        let the wire carry no more than that each way: 10mbit, 500kbit, …
#   launch/two_hosts.sh wide               let it carry all again
#   launch/two_hosts.sh cut SECONDS        take the wire away for so long
#   launch/two_hosts.sh sent               a line for NAME-1, one for NAME-2: bytes that have left by the wire, and how often
#                                          its rate made some wait (since it was made narrow)
#   launch/two_hosts.sh down               end everything in them, and remove them
#   launch/two_hosts.sh list               names of all pairs on this machine
#   launch/two_hosts.sh check              say what is missing here, if anything is
#
# The environment variable TWO_HOSTS is NAME (default: two), so that pairs can exist side by side.
set -eu
PATH=$PATH:/usr/sbin:/sbin # ip, tc and sshd are there, and not everyone's PATH says so
name=${TWO_HOSTS:-two}
pairs=/run/perla_net
dir=$pairs/$name
log=$dir/log

fail() {
  echo "launch/two_hosts.sh: $*" >&2
  exit 2
}

[[ $name =~ ^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$ ]] ||
  fail "TWO_HOSTS=$name: is no name; write up to 32 of a-z, 0-9 and -, beginning with a letter"

check() {
  local tool missing=()
  [ "$(id -u)" = 0 ] || missing+=(root)
  # Who is root in a user namespace only may be denied what an ssh daemon does first.
  [ ! -e /proc/self/setgroups ] || [ "$(cat /proc/self/setgroups)" = allow ] || missing+=("a root that may set groups")
  for tool in ip tc ssh sshd ssh-keygen unshare nsenter; do
    command -v "$tool" >/dev/null || missing+=("$tool")
  done
  if [ ${#missing[@]} = 0 ]; then
    mkdir -p "$pairs" 2>/dev/null && [ -w "$pairs" ] || missing+=("permission to write into $pairs")
    unshare --net --uts --ipc --mount --pid --fork sh -c '
      mount -t proc proc /proc && mount -t sysfs sysfs /sys && mount -t tmpfs tmpfs /dev/shm &&
      ip link add name one type veth peer name other && tc qdisc add dev one root tbf rate 1mbit burst 32kb latency 400ms
    ' 2>/dev/null >&2 || missing+=("permission to make namespaces, mounts, veth pairs and tbf queues")
  fi
  if [ ${#missing[@]} -gt 0 ]; then
    printf -v tool '%s, ' "${missing[@]}"
    fail "missing here: ${tool%, }"
  fi
}

# A host is the process of unshare(1) that made its namespaces. Its number may have been given to another process since, so
# what is remembered with it is the network namespace.
alive() {
  local process namespace
  [ -f "$dir/host$1" ] && read -r process namespace <"$dir/host$1" &&
    [ "$(readlink "/proc/$process/ns/net" 2>/dev/null)" = "$namespace" ]
}

process() {
  cut -d ' ' -f 1 "$dir/host$1"
}

on() { # run a command in a host's network only
  local process
  process=$(process "$1")
  shift
  nsenter --target "$process" --net "$@"
}

make() {
  local k try
  umask 077
  mkdir -p "$dir/tmp" /run/sshd
  ssh-keygen -q -t ed25519 -N '' -f "$dir/key"
  printf '127.0.0.1 localhost\n10.77.0.1 %s-1\n10.77.0.2 %s-2\n' "$name" "$name" >"$dir/hosts"
  printf 'IdentityFile %s/key\nIdentitiesOnly yes\nStrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\n' \
    "$dir" >"$dir/ssh_config"
  for k in 1 2; do
    # shellcheck disable=SC2016 # the variables are those of the inner shell
    setsid unshare --net --uts --ipc --mount --pid --fork --kill-child sh -eu -c '
      hostname "$1"
      mount -t proc proc /proc
      mount -t sysfs sysfs /sys
      mount -t tmpfs tmpfs /dev/shm
      mount -t tmpfs tmpfs "$2/tmp"
      mount --bind "$2/hosts" /etc/hosts
      mount --bind "$2/ssh_config" /etc/ssh/ssh_config
      ip link set lo up
      exec "$3" -D -e -f /dev/null -h "$2/key" -o AuthorizedKeysFile="$2/key.pub" -o StrictModes=no -o UsePAM=no \
        -o PermitRootLogin=yes -o PidFile=none -o "SetEnv=TMPDIR=$2/tmp"
    ' sh "$name-$k" "$dir" "$(command -v sshd)" >>"$log" 2>&1 </dev/null &
    disown # or this shell would report its end
    try=0
    until [ "$(readlink "/proc/$!/ns/net")" != "$(readlink /proc/self/ns/net)" ]; do
      [ $((try += 1)) -le 100 ]
      sleep 0.05
    done
    echo "$! $(readlink "/proc/$!/ns/net")" >"$dir/host$k"
  done
  on 1 ip link add name wire type veth peer name wire netns "$(process 2)"
  for k in 1 2; do
    on "$k" ip addr add "10.77.0.$k/24" dev wire
    on "$k" ip link set wire up
  done
  for k in 1 2; do
    try=0
    until enter 1 ssh -n -o BatchMode=yes -o ConnectTimeout=2 "$name-$k" true; do
      [ $((try += 1)) -le 50 ]
      sleep 0.1
    done
  done
}

enter() { # run a command inside a host, in the present folder
  local process
  process=$(process "$1")
  shift
  # shellcheck disable=SC2016 # the variables are those of the inner shell
  TMPDIR=$dir/tmp nsenter --target "$process" --net --uts --ipc --mount --pid="/proc/$process/ns/pid_for_children" \
    sh -c 'cd "$1" && shift && exec "$@"' sh "$PWD" "$@"
}

remove() {
  local k process namespace
  for k in 1 2; do
    if alive "$k"; then
      # With unshare goes the first process of the host, and with that the kernel ends all others in it; with the last of
      # them go its namespaces and the wire.
      read -r process namespace <"$dir/host$k"
      kill -KILL "$process"
      while [ -e "/proc/$process" ] && [ "$(readlink "/proc/$process/ns/net" 2>/dev/null)" = "$namespace" ]; do
        sleep 0.05
      done
    fi
  done
  rm -rf "$dir"
}

gave_up() {
  local said
  said=$(tail -n 1 "$log")
  remove
  fail "$name-1 and $name-2 could not be made ($said)"
}

command=${1:-}
[ $# = 0 ] || shift
case $command in
  run) ;;
  narrow|cut) [ $# = 1 ] || fail "$command needs one value; launch/two_hosts.sh without a command says which" ;;
  *) [ $# = 0 ] || fail "$command takes no value, but '$*' was given" ;;
esac
case $command in
  list)
    for pair in "$pairs"/*/; do
      [ ! -d "$pair" ] || basename "$pair"
    done
    ;;
  check|up|down|run|narrow|wide|cut|sent) ;;
  '')
    sed -n '2,/^set -eu/{/^#/s/^# \{0,1\}//p}' "$0"
    exit 2
    ;;
  *) fail "'$command' is none of up, run, narrow, wide, cut, sent, down, list and check" ;;
esac
case $command in
  check|up) check ;;
  *) [ "$(id -u)" = 0 ] || fail "missing here: root" ;;
esac
case $command in
  run|narrow|wide|cut|sent)
    if ! alive 1 || ! alive 2; then
      fail "there are no hosts $name-1 and $name-2; make them with: launch/two_hosts.sh up"
    fi
    ;;
esac
case $command in
  up)
    if alive 1 && alive 2; then
      fail "$name-1 and $name-2 are there already; remove them with: launch/two_hosts.sh down"
    fi
    remove # what is left of a pair of this name
    mkdir -p "$dir"
    trap gave_up EXIT
    make 2>>"$log"
    trap - EXIT
    ;;
  down) remove ;;
  run)
    hosts=$(dirname "$0")/hosts.sh
    ranks=4
    case ${1:-} in
      -n)
        ranks=${2:-}
        [[ $ranks =~ ^[1-9][0-9]{0,5}$ ]] || fail "-n '$ranks': is not a number of ranks"
        shift 2
        ;;
    esac
    case ${1:-} in
      -r) enter 1 "$hosts" -i wire "$@" ;;
      *) enter 1 "$hosts" -i wire -H "$name-1:$(((ranks + 1) / 2)),$name-2:$(((ranks + 1) / 2))" -n "$ranks" "$@" ;;
    esac
    ;;
  narrow)
    for k in 1 2; do
      on "$k" tc qdisc replace dev wire root tbf rate "$1" burst 32kb latency 400ms 2>/dev/null ||
        fail "narrow $1: is not a rate; write 10mbit or 500kbit"
    done
    ;;
  wide)
    for k in 1 2; do
      case $(on "$k" tc qdisc show dev wire) in *tbf*) on "$k" tc qdisc del dev wire root ;; esac
    done
    ;;
  cut)
    [[ $1 =~ ^[0-9]{1,4}([.][0-9]+)?$ ]] || fail "cut $1: is not a number of seconds"
    on 2 ip link set wire down
    trap 'on 2 ip link set wire up' EXIT
    echo "$name-1 and $name-2 cannot hear each other for $1 s"
    sleep "$1"
    ;;
  sent)
    for k in 1 2; do
      sent=$(on "$k" ip -s link show dev wire | awk 'found {print $1; exit} /TX:/ {found = 1}')
      waits=$(on "$k" tc -s qdisc show dev wire | awk '/overlimits/ {for (i = 1; i < NF; i++) if ($i == "overlimits") print $(i + 1)}')
      echo "$sent ${waits:-0}"
    done
    ;;
esac
