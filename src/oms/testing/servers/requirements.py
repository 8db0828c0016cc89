"""The packages that the native servers still need on this machine: `python -m oms.testing.servers.requirements`.

Prints the missing Debian packages, one in each line. If none is missing, it fetches Kafka's jars and archives its
classes, unless that was done before. A server whose address is in the environment needs no packages.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from oms.testing.servers import environment
from oms.testing.servers.native import jars
from oms.testing.servers.native.kafka import archive_classes, find_java
from oms.testing.servers.native.postgres import find_programs
from oms.testing.servers.native.redis import find_program
from oms.testing.servers.server_types import ProviderUnavailable, ServerFailed, ServerName

GERMAN = Path("/usr/share/i18n/locales/de_DE")
"""The source of the locale for a test with a server that reports errors in German."""


def missing_packages() -> Iterator[str]:
    """Yield the Debian packages to install."""
    if _wanted("postgres") and not _there(find_programs):
        yield "postgresql"
    if _wanted("postgres") and not GERMAN.exists():
        yield "locales"
    if _wanted("redis") and not _there(find_program):
        yield "redis-server"
    if _wanted("kafka") and not _there(find_java):
        yield "default-jre-headless"
    if _wanted("kafka") and not jars.present() and shutil.which("mvn") is None:
        yield "maven"


def _wanted(name: ServerName) -> bool:
    return environment.given(name) is None


def _there(find: Callable[[], object]) -> bool:
    try:
        find()
    except ProviderUnavailable:
        return False
    return True


def main() -> None:
    """Print the missing packages; if none is missing, fetch Kafka's jars."""
    missing = list(missing_packages())
    sys.stdout.writelines(f"{package}\n" for package in missing)
    if missing or not _wanted("kafka"):
        return
    try:
        if os.access(jars.fetched(), os.W_OK):  # jars in a read-only folder are left unchanged
            archive_classes()
    except (ProviderUnavailable, ServerFailed, jars.NoJars) as reason:
        sys.exit(str(reason))


if __name__ == "__main__":
    main()
