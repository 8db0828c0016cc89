"""PostgreSQL, run from the system's packages."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from secrets import token_urlsafe
from signal import SIGINT
from typing import ClassVar

from oms.testing.servers.native.server import NativeServer
from oms.testing.servers.server_types import ProviderUnavailable

PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")  # Debian's and Red Hat's: one folder for each version
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "logging_collector": "off",
}
"""The durability settings (`fsync`, `synchronous_commit`, `full_page_writes`) keep PostgreSQL's default: on."""


class NativePostgres(NativeServer):
    """PostgreSQL; `url` has a superuser and a password. `settings` are those of `postgresql.conf`.

    With `standby_of`, it replicates that server by streaming and can be read; `SELECT pg_promote()` makes it a primary.
    The other server must run when the standby starts for the first time.

    PostgreSQL refuses to run as root, so a root process runs it as `postgres`, or else as `nobody`.
    """

    name = "postgres"
    stop_signal: ClassVar = SIGINT  # a "fast" shutdown: it ends sessions instead of waiting for them

    def __init__(self, settings: Mapping[str, str] | None = None, *, standby_of: NativePostgres | None = None) -> None:
        self._primary = standby_of
        super().__init__(settings)

    @property
    def url(self) -> str:
        """The URL `postgresql://postgres:PASSWORD@127.0.0.1:PORT/postgres`."""
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/postgres"

    def _find(self) -> None:
        self._programs = find_programs()
        self.password: str = self._primary.password if self._primary else token_urlsafe(16)

    def _account(self) -> str | None:
        if os.geteuid() != 0:
            return None
        return "postgres" if any(entry.pw_name == "postgres" for entry in pwd.getpwall()) else "nobody"

    def _env(self) -> dict[str, str]:
        """Return this process's environment without the variables that name another PostgreSQL server."""
        return {key: value for key, value in os.environ.items() if not key.startswith(("PG", "LC_"))}

    def _prepare(self) -> None:
        data = f"--pgdata={self.directory / 'data'}"
        if self._primary:
            copied = ["--dbname", self._primary.url, "--write-recovery-conf", "--checkpoint=fast", "--no-sync"]
            self._run([str(self._programs / "pg_basebackup"), data, *copied])
            return
        secret = self._write("password", self.password)
        options = ["--username=postgres", "--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--locale=C"]
        self._run([str(self._programs / "initdb"), data, *options, "--no-sync"])
        secret.unlink()

    def _command(self) -> Sequence[str]:
        settings = {**SETTINGS, "port": str(self.port), **self.settings}
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return [str(self._programs / "postgres"), "-D", str(self.directory / "data"), *options]


def find_programs() -> Path:
    """Return the folder of `initdb` and `postgres`.

    Raises:
        ProviderUnavailable: there is none.
    """
    for folder in _candidates():
        if all(os.access(folder / program, os.X_OK) for program in ("initdb", "postgres")):
            return folder
    raise ProviderUnavailable(
        f"initdb and postgres are neither on PATH, nor where pg_config says, nor in {' or '.join(PLACES)}"
    )


def _candidates() -> Iterator[Path]:
    for config in (os.environ.get("PG_CONFIG"), shutil.which("pg_config")):
        if config and shutil.which(config):
            ran = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False, timeout=10)  # noqa: S603
            yield Path(ran.stdout.strip())
    if found := shutil.which("postgres"):
        yield Path(found).resolve().parent
    for place in PLACES:
        yield from sorted(Path("/").glob(place[1:]), key=_version, reverse=True)


def _version(folder: Path) -> int:
    digits = "".join(filter(str.isdigit, folder.parent.name))
    return int(digits or 0)
