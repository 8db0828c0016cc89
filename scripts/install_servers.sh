#!/usr/bin/env bash
# Installs what the tests' own servers need: PostgreSQL, PgBouncer, locales, Redis, Java and Maven from Debian's packages, and Apache Kafka's
# jars by Maven.
# Does nothing where all is there or where all three addresses are given (OMS_TEST_POSTGRES_URL, OMS_TEST_REDIS_URL,
# OMS_TEST_KAFKA_BOOTSTRAP). Nothing is started, neither now nor at boot: the tests start servers of their own.
set -euo pipefail

PYTHON=${PYTHON:-python3} # one that has oms
POLICY=/usr/sbin/policy-rc.d
NO_CLUSTER=/etc/postgresql-common/createcluster.d/oms-tests.conf

if [ -n "${OMS_TEST_POSTGRES_URL:-}" ] && [ -n "${OMS_TEST_REDIS_URL:-}" ] && [ -n "${OMS_TEST_KAFKA_BOOTSTRAP:-}" ]; then
  exit 0
fi

needs() {
  "$PYTHON" -m oms.testing.servers.requirements
  command -v pgbouncer >/dev/null || [ -x /usr/sbin/pgbouncer ] || echo pgbouncer
}

docker_answers() {
  "$PYTHON" -c 'from oms.testing.servers.docker import engine_answers; engine_answers()' >/dev/null 2>&1
}

install_packages() {
  made=()
  trap 'rm -f "${made[@]}"' EXIT
  if [ ! -e "$POLICY" ]; then
    made+=("$POLICY")
    printf '#!/bin/sh\nexit 101\n' >"$POLICY" # Debian packages call it before they start their service
    chmod +x "$POLICY"
  fi
  made+=("$NO_CLUSTER")
  mkdir -p "$(dirname "$NO_CLUSTER")"
  echo 'create_main_cluster = false' >"$NO_CLUSTER" # or PostgreSQL would be started at boot
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -qq -y --no-install-recommends "$@"
  rm -f "${made[@]}"
  case " $* " in *" redis-server "*) update-rc.d redis-server disable ;; esac # nor at boot
}

missing=$(needs)
if [ -z "$missing" ]; then
  exit 0
fi
mapfile -t packages <<<"$missing"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "servers for the tests: installing ${packages[*]}"
  install_packages "${packages[@]}"
  missing=$(needs)
  if [ -n "$missing" ]; then
    echo "servers for the tests: still missing after the installation: $missing" >&2
    exit 1
  fi
elif docker_answers; then
  echo "servers for the tests: ${packages[*]} are missing; Docker is running and is used instead,"
  echo "but tests that kill or pause a server of their own need them and will fail"
else
  echo "servers for the tests: install these Debian packages (or your system's like), as root:" >&2
  echo "  apt-get install ${packages[*]}" >&2
  echo "or start Docker, or give addresses: OMS_TEST_POSTGRES_URL, OMS_TEST_REDIS_URL, OMS_TEST_KAFKA_BOOTSTRAP" >&2
  exit 1
fi
