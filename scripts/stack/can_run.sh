#!/usr/bin/env bash
# Exit code 0 where the container tests can run; 3 and the reason, in one line, where they can't.
set -euo pipefail
engine="$(dirname "$0")/engine.sh"
"$engine" ours && exit 0
"$engine" start
"$engine" stop
