#!/usr/bin/env bash
# Makes `docker compose` (version 2) work: nothing to do where it does, else it is built once from its Go module.
# `engine.sh env` tells docker where it is.
set -euo pipefail
. "$(dirname "$0")/cache.sh"
VERSION=v2.40.3
plugins="$OMS_TEST_CACHE/docker-config/cli-plugins"

[ ! -x "$plugins/docker-compose" ] || exit 0
! docker compose version >/dev/null 2>&1 || exit 0
need go golang-go
echo "building Docker Compose $VERSION from its Go module; once, some minutes" >&2
source=$(mktemp -d)
trap 'rm -rf "$source"' EXIT
cd "$source"
printf 'module oms.local/compose\n\ngo 1.24.9\n\nrequire github.com/docker/compose/v2 %s\n' "$VERSION" > go.mod
printf '//go:build tools\n\npackage tools\n\nimport _ "github.com/docker/compose/v2/cmd"\n' > tools.go
export GOFLAGS=-buildvcs=false
go mod tidy >"$OMS_TEST_CACHE/compose.log" 2>&1 \
  && go build -trimpath -ldflags "-s -w -X github.com/docker/compose/v2/internal.Version=$VERSION" -o docker-compose \
    github.com/docker/compose/v2/cmd >>"$OMS_TEST_CACHE/compose.log" 2>&1 \
  || { tail -n 5 "$OMS_TEST_CACHE/compose.log" >&2; exit 1; }
mkdir -p "$plugins"
mv docker-compose "$plugins/docker-compose"
