#!/usr/bin/env bash
# The container tests, from nothing: engine, compose, images, tests, and everything stopped again.
#
#     scripts/stack/test.sh [pytest arguments]
#
# OMS_TEST_STANDINS: see prepare.sh. OMS_TEST_PYTHON is the Python to test with.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
python=${OMS_TEST_PYTHON:-.venv/bin/python}

"$here/engine.sh" ours && kept=yes || kept=no      # somebody's `engine.sh start` is left running
"$here/engine.sh" start
trap '[ "$kept" = yes ] || "$here/engine.sh" stop' EXIT
"$here/prepare.sh"
eval "$("$here/engine.sh" env)"

export OMS_TEST_CONTAINERS=1
# The tests build on each other: the first failure is the one to read.
"$python" -m pytest -s -x -m containers -p no:cacheprovider -q tests/system/stack "$@"

# The real adapters once more, on servers that testcontainers starts on this engine.
if [ -n "${OMS_TEST_CONTRACTS:-}" ]; then
  # shellcheck disable=SC2086  # a list of paths
  OMS_TEST_BACKENDS=docker "$python" -m pytest -p no:cacheprovider -q $OMS_TEST_CONTRACTS
fi
