"""Health check of a container, without a shell: `python -m oms.entrypoints.healthcheck` exits 0 where /readyz is 200.

It asks this machine at `OMS_HTTP_PORT`. It imports the standard library alone, since it runs every few seconds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException

TIMEOUT_S = 2.0
"""Less than the engine allows (3 s in the Dockerfile), so that the reason is told before the engine ends this."""


def problem(environ: Mapping[str, str]) -> str | None:
    """Why the service isn't ready, in one line; None where it is."""
    port = environ.get("OMS_HTTP_PORT", "8081")
    try:
        connection = HTTPConnection("127.0.0.1", int(port), timeout=TIMEOUT_S)
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, HTTPException, ValueError) as error:
        said = "".join(sign if sign.isprintable() else "?" for sign in str(error))  # it may quote the answer
        return f"no answer from port {port}: {said}"
    return None if status == 200 else f"not ready: /readyz answers {status}"


if __name__ == "__main__":
    reason = problem(os.environ)
    if reason:
        sys.stderr.write(reason + "\n")
    sys.exit(1 if reason else 0)
