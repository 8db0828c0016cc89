"""Health check of a container: `python -m oms.entrypoints.healthcheck` exits 0 if /readyz responds 200, else 1.

It connects to `OMS_HTTP_PORT` on this machine. It needs no shell, and imports only the standard library, because it
runs every few seconds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException

TIMEOUT_S = 2.0
"""Shorter than the container engine's limit (3 s in the Dockerfile), so that this process can print the reason."""


def problem(environ: Mapping[str, str]) -> str | None:
    """Return one line that says why the service isn't ready; None if it is ready."""
    port = environ.get("OMS_HTTP_PORT", "8081")
    try:
        connection = HTTPConnection("127.0.0.1", int(port), timeout=TIMEOUT_S)
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, HTTPException, ValueError) as error:
        said = "".join(sign if sign.isprintable() else "?" for sign in str(error))  # the error may quote the response
        return f"no answer from port {port}: {said}"
    return None if status == 200 else f"not ready: /readyz answers {status}"


if __name__ == "__main__":
    reason = problem(os.environ)
    if reason:
        sys.stderr.write(reason + "\n")
    sys.exit(1 if reason else 0)
