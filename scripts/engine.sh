#!/bin/sh
# Makes sure that a Docker engine answers, also where there is no systemd.
#
#   scripts/engine.sh         start one if none answers; one JSON line says what was done
#   scripts/engine.sh stop    stop the engine this script started, and no other
#
# Exit 3: this machine lacks something, and the message says what. CTD_DOCKER_SOCK names another
# socket (with its own CTD_DOCKER_ROOT): such an engine gets a bridge of its own, because an engine
# started with no bridge deletes the docker0 of the one beside it.
set -eu

SOCK=${CTD_DOCKER_SOCK:-/var/run/docker.sock}
ROOT=${CTD_DOCKER_ROOT:-/var/lib/docker}
STATE=${CTD_ENGINE_STATE:-/run/ctd-engine}
# Short, for unix sockets below it have at most 104 bytes of path.
NAME=$(printf '%s' "$SOCK" | cksum | cut -d' ' -f1)
PID_FILE=$STATE/$NAME.pid
LOG=$STATE/$NAME.log
START_SECONDS=30
STOP_SECONDS=30
BRIDGE=ctd$(printf %s "$SOCK" | cksum | cut -c1-8)

answers() { curl -sf --max-time 2 --unix-socket "$SOCK" http://engine/_ping >/dev/null 2>&1; }
lacking() { echo "$1" >&2; exit 3; }
# A dead process whose parent does not collect it is still listed, as a zombie.
is_gone() { ! grep -qs '^State:.[^ZX]' "/proc/$1/status"; }
# The pid of the engine we started for this socket, if it still runs and is still a dockerd.
our_pid() {
  [ -f "$PID_FILE" ] || return 1
  pid=$(cat "$PID_FILE")
  ! is_gone "$pid" && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ] && echo "$pid"
}
report() { printf '{"started":%s,"pid":%s,"socket":"%s"}\n' "$1" "$2" "$SOCK"; }
# Waits for a command to succeed, at most so many seconds.
wait_for() {
  tries=$(($1 * 5)); shift
  until "$@"; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || return 1
    sleep 0.2
  done
}

install_engine() {
  command -v apt-get >/dev/null ||
    lacking 'no Docker engine, and this is no Debian: install Docker (docs.docker.com/engine/install), start it, and try again'
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends docker.io iptables iproute2 tini curl; } >&2 ||
    lacking 'apt could not install docker.io: see above'
}

start() {
  command -v curl >/dev/null || [ "$(id -u)" = 0 ] || lacking 'curl is missing: apt-get install curl'
  if answers; then report false "$(our_pid || echo null)"; return; fi
  [ "$(uname -s)" = Linux ] || lacking 'no Docker engine answers: install Docker Desktop and start it'
  [ "$(id -u)" = 0 ] ||
    lacking "no Docker engine answers at $SOCK: run this script as root (sudo scripts/engine.sh), or 'systemctl start docker'; if one runs already, join the group docker"
  { command -v dockerd && command -v curl && command -v ip; } >/dev/null || install_engine
  mkdir -p "$STATE"
  exec 9>"$STATE/lock"
  flock -w "$START_SECONDS" 9 || lacking 'another start of the engine hangs'
  if answers; then report false "$(our_pid || echo null)"; return; fi
  if pid=$(our_pid); then
    echo "the engine $pid runs and does not answer at $SOCK; its log is $LOG" >&2
    exit 1
  fi
  exec_root=/var/run/docker
  [ "$SOCK" = /var/run/docker.sock ] || exec_root=$STATE/$NAME.exec
  # Left by an engine that was killed: the next one takes a zombie for a running process, of itself
  # and of the containerd it keeps.
  for file in "$STATE/$NAME.dockerd.pid" "$exec_root/containerd/containerd.pid"; do
    if [ -f "$file" ] && is_gone "$(cat "$file")"; then rm -f "$file"; fi
  done
  mountpoint -q /sys/fs/cgroup || lacking 'no control groups are mounted at /sys/fs/cgroup: the engine could not limit anything'
  set -- --host "unix://$SOCK" --data-root "$ROOT" --pidfile "$STATE/$NAME.dockerd.pid" --live-restore --log-level warn
  if [ "$SOCK" != /var/run/docker.sock ]; then
    ip link show "$BRIDGE" >/dev/null 2>&1 || ip link add "$BRIDGE" type bridge
    set -- "$@" --exec-root "$exec_root" --bridge "$BRIDGE" --iptables=false --ip-forward=false --ip-masq=false
  elif ! iptables -w -L -n >/dev/null 2>&1; then
    set -- "$@" --iptables=false --ip-masq=false # Tasks have no network anyway.
  fi
  setsid dockerd "$@" >>"$LOG" 2>&1 9>&- </dev/null &
  echo $! >"$PID_FILE"
  if ! wait_for "$START_SECONDS" answers; then
    tail -n 20 "$LOG" >&2
    stop >/dev/null
    echo "the engine did not answer within $START_SECONDS seconds; its log is $LOG" >&2
    exit 1
  fi
  report true "$(cat "$PID_FILE")"
}

stop() {
  if ! pid=$(our_pid); then
    echo '{"stopped":false}'
    return
  fi
  kill "$pid"
  if ! wait_for "$STOP_SECONDS" is_gone "$pid"; then
    echo "the engine $pid does not stop; its log is $LOG" >&2
    exit 1
  fi
  rm -f "$PID_FILE"
  ip link del "$BRIDGE" 2>/dev/null || true # Only an engine beside another one has it.
  printf '{"stopped":true,"pid":%s}\n' "$pid"
}

case ${1:-start} in
  start) start ;;
  stop) stop ;;
  *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
