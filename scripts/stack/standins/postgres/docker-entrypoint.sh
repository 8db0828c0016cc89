#!/usr/bin/env bash
# The part of the official image's entrypoint that compose files and testcontainers use.
set -Eeuo pipefail

# $POSTGRES_PASSWORD, or the content of $POSTGRES_PASSWORD_FILE; the same for POSTGRES_USER and POSTGRES_DB.
from_file() {
  local name=$1 file="${1}_FILE"
  if [ -n "${!file:-}" ]; then
    [ -z "${!name:-}" ] || { echo "error: both $name and $file are set" >&2; exit 1; }
    export "$name"="$(< "${!file}")"
    unset "$file"
  fi
}

as_postgres() {
  mkdir -p "$PGDATA" /var/run/postgresql
  chown -R postgres:postgres "$PGDATA" /var/run/postgresql
  chmod 700 "$PGDATA"
  exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
}

init() {
  local user=${POSTGRES_USER:-postgres} db=${POSTGRES_DB:-${POSTGRES_USER:-postgres}}
  local method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
  if [ -z "${POSTGRES_PASSWORD:-}" ] && [ "$method" != trust ]; then
    echo 'Error: Database is uninitialized and superuser password is not specified.' >&2
    exit 1
  fi
  # shellcheck disable=SC2086  # the official image splits POSTGRES_INITDB_ARGS, too
  initdb --username="$user" --pwfile=<(printf '%s\n' "${POSTGRES_PASSWORD:-none}") --auth-local=trust \
    --auth-host="$method" ${POSTGRES_INITDB_ARGS:-}
  echo "listen_addresses = '*'" >> "$PGDATA/postgresql.conf"
  echo "host all all all $method" >> "$PGDATA/pg_hba.conf"

  pg_ctl -D "$PGDATA" -o "-c listen_addresses='' -p 5432" -w start
  [ "$db" = postgres ] || psql -v ON_ERROR_STOP=1 --no-psqlrc -U "$user" -d postgres -c "CREATE DATABASE \"$db\""
  local file
  for file in /docker-entrypoint-initdb.d/*; do
    case "$file" in
      *.sh) bash "$file" ;;
      *.sql) psql -v ON_ERROR_STOP=1 --no-psqlrc -U "$user" -d "$db" -f "$file" ;;
    esac
  done
  pg_ctl -D "$PGDATA" -m fast -w stop
  echo
  echo 'PostgreSQL init process complete; ready for start up.'
  echo
}

case "${1:-}" in -*) set -- postgres "$@" ;; esac
if [ "${1:-}" = postgres ]; then
  [ "$(id -u)" != 0 ] || as_postgres "$@"
  for name in POSTGRES_USER POSTGRES_PASSWORD POSTGRES_DB; do from_file "$name"; done
  [ -s "$PGDATA/PG_VERSION" ] || init
fi
exec "$@"
