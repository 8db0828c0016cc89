#!/usr/bin/env bash
# A Docker engine for the container tests: one that is running, else a new one (Debian's docker.io, as root), with
# its own data and socket, separate from any other engine.
#
#     scripts/stack/engine.sh start             # idempotent; exit code 3 and one line where none can run
#     eval "$(scripts/stack/engine.sh env)"     # DOCKER_HOST and so on for docker, compose and testcontainers
#     scripts/stack/engine.sh stop              # ends the engine that `start` started, and no other
set -euo pipefail
. "$(dirname "$0")/cache.sh"
RUN=/run/oms-containers          # short: a socket's path has at most 107 characters
SOCKET=unix://$RUN/docker.sock
START_S=30
STOP_S=60

ours() { [ -s "$RUN/docker.pid" ] && kill -0 "$(cat "$RUN/docker.pid")" 2>/dev/null; }
answers() { docker --host "$1" version --format '{{.Server.Version}}' >/dev/null 2>&1; }
theirs() { command -v docker >/dev/null && docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }
cannot() { echo "no Docker engine: $1" >&2; exit 3; }

start() {
  ours && return
  if theirs; then return; fi
  [ "$(id -u)" = 0 ] || cannot 'none answers, and only root can start one'
  need dockerd docker.io || cannot "Debian's docker.io can't be installed"
  need iptables iptables || cannot 'iptables is missing'
  mkdir -p "$RUN"
  # The engine takes the best storage driver that works: overlay2, else vfs, which works everywhere and copies each layer.
  local driver=${OMS_TEST_STORAGE_DRIVER:+--storage-driver=$OMS_TEST_STORAGE_DRIVER}
  # shellcheck disable=SC2086  # one option or none
  setsid dockerd --host "$SOCKET" $driver --data-root "$OMS_TEST_CACHE/engine" \
    --exec-root "$RUN/exec" --pidfile "$RUN/docker.pid" --log-level warn </dev/null >"$OMS_TEST_CACHE/dockerd.log" 2>&1 &
  local pid=$! waited
  for ((waited = 0; waited < START_S * 5; waited++)); do
    answers "$SOCKET" && return
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.2
  done
  kill "$pid" 2>/dev/null || true
  cannot "dockerd doesn't start here: $(grep -E 'level=(error|fatal)|failed' "$OMS_TEST_CACHE/dockerd.log" | tail -n 1)"
}

stop() {
  ours || return 0
  local pid waited
  pid=$(cat "$RUN/docker.pid")
  kill "$pid"
  for ((waited = 0; waited < STOP_S * 5; waited++)); do
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.2
  done
  echo "dockerd (process $pid) didn't stop within $STOP_S s" >&2
  return 1
}

environment() {
  if ours; then
    echo "export DOCKER_HOST=$SOCKET"
    # Without a registry: the builder is part of the engine, and testcontainers' sweeper would have to be pulled.
    echo 'export DOCKER_BUILDKIT=0 TESTCONTAINERS_RYUK_DISABLED=true'
  fi
  [ ! -d "$OMS_TEST_CACHE/docker-config" ] || echo "export DOCKER_CONFIG=$OMS_TEST_CACHE/docker-config"
}

case "${1:-}" in
  start) start ;;
  stop) stop ;;
  env) environment ;;
  ours) ours ;;
  *) echo "usage: engine.sh start|env|stop|ours" >&2; exit 2 ;;
esac
