#!/usr/bin/env bash
# Makes what the container tests need, once: Docker Compose, and the stand-in images on our own engine. A second run
# takes seconds. The engine runs afterwards only if it ran before.
#
# OMS_TEST_STANDINS=1 makes the stand-in images on an engine that was there, too (its images of those names are
# replaced).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

"$here/engine.sh" ours && kept=yes || kept=no
"$here/engine.sh" start
trap '[ "$kept" = yes ] || "$here/engine.sh" stop' EXIT
"$here/compose.sh"
eval "$("$here/engine.sh" env)"
if "$here/engine.sh" ours || [ -n "${OMS_TEST_STANDINS:-}" ]; then "$here/standins.sh"; fi
