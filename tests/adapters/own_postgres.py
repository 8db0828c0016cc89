"""A PostgreSQL server of the tests' own, to be killed, filled up and started again; passwords are asked for."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from glob import glob
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from oms.adapters.sql.logins import Login

PASSWORD = "admins-own-password"


class OwnPostgres:
    """One cluster. `initdb` refuses to run as root: then everything belongs to the system's `postgres`."""

    def __init__(self, **settings: str) -> None:
        self._owner: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
        self._settings = settings
        self.directory = Path(mkdtemp(prefix="oms-postgres-"))
        secret = self.directory / "password"
        secret.write_text(PASSWORD)
        for path in (self.directory, secret):
            if self._owner:
                shutil.chown(path, "postgres", "postgres")
        self.port = _free_port()
        how = ("-U", "postgres", "-A", "scram-sha-256", f"--pwfile={secret}", "-N", "-E", "UTF8", "--locale=C")
        self._run("initdb", "-D", self._data, *how)
        self.start()

    def remove(self) -> None:
        """Stop it and take everything away."""
        if self._process.poll() is None:
            self.kill()
        shutil.rmtree(self.directory)

    @property
    def url(self) -> str:
        """Without credentials, as the settings want it."""
        return f"postgresql://127.0.0.1:{self.port}/postgres"

    @property
    def admin(self) -> str:
        """The superuser's way in."""
        return make_conninfo(self.url, user="postgres", password=PASSWORD)

    def run(self, statement: str) -> list[Any]:
        """A superuser's statement."""
        with psycopg.connect(self.admin, autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def new_database(self, name: str) -> Login:
        """An empty database, and the superuser's way to it."""
        self.run(f"CREATE DATABASE {name}")
        return Login("postgres", conninfo_to_dict(make_conninfo(self.admin, dbname=name)))

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            **self._settings,
        }
        arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [_binary("postgres"), "-D", self._data, *arguments],
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._owner,
            )
        for _ in range(300):
            try:
                self.run("SELECT 1")
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self.directory / "log").read_text()
                time.sleep(0.1)
            else:
                return
        raise AssertionError("PostgreSQL didn't start")

    def stop(self) -> None:
        """Stop at once: what isn't committed is gone."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(30)

    def kill(self) -> None:
        """As a loss of power would, for the server's processes."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(30)

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    @property
    def _data(self) -> str:
        return str(self.directory / "data")

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run([_binary(program), *arguments], check=True, capture_output=True, cwd="/", **self._owner)


def _binary(name: str) -> str:
    found = shutil.which(name) or next(iter(sorted(glob(f"/usr/lib/postgresql/*/bin/{name}"), reverse=True)), None)
    assert found, f"these tests need PostgreSQL's {name}: install the package postgresql"
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
