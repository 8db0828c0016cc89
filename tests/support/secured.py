"""Real servers that require TLS and a password, as `docs/distributed.md` describes under Security."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen
from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from oms.adapters.redis import ACL_RULES
from oms.testing.servers import NativeKafka, NativePostgres, NativeRedis
from oms.testing.servers.native.server import NativeServer, free_port

USER, PASSWORD = "oms", "a-canary-that-no-log-shows"


@frozen
class Secured:
    """`environ` are the settings that reach these servers; `admin` is the URL of PostgreSQL's superuser."""

    environ: Mapping[str, str]
    admin: str
    authority: Path


@contextmanager
def secured_servers(directory: Path, certificates: Path) -> Iterator[Secured]:
    """PostgreSQL that takes TLS alone, Redis' TLS port with a user of few rights, Kafka with SASL over TLS and SCRAM."""
    ca = certificates / "ca.pem"
    password = directory / "password"
    password.write_text(PASSWORD)
    postgres, gate, kafka = NativePostgres(), NativeRedis(), NativeKafka()
    gate_port, kafka_port = free_port(), free_port()
    postgres.settings.update(
        ssl="on",
        ssl_cert_file=str(_give(postgres, certificates / "server.pem")),
        ssl_key_file=str(_give(postgres, certificates / "server.key")),
        hba_file=str(_give(postgres, _file(directory / "hba", "hostssl all all 127.0.0.1/32 scram-sha-256\n"))),
    )
    gate.settings.update(
        {
            "tls-port": str(gate_port),
            "tls-cert-file": str(certificates / "server.pem"),
            "tls-key-file": str(certificates / "server.key"),
            "tls-ca-cert-file": str(ca),
            "tls-auth-clients": "no",
            f"user {USER}": f"on >{PASSWORD} {ACL_RULES}",
        }
    )
    both = _file(directory / "both.pem", *((certificates / name).read_text() for name in ("server.key", "server.pem")))
    kafka.settings.update(
        {
            "listeners": f"PLAINTEXT://{kafka.url},SASL_SSL://127.0.0.1:{kafka_port},CONTROLLER://{kafka.controller}",
            "advertised.listeners": f"PLAINTEXT://{kafka.url},SASL_SSL://127.0.0.1:{kafka_port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(both),
        }
    )
    with postgres, gate, kafka:
        _add_kafkas_user(kafka.url)
        secure = f"sslmode=verify-full&sslrootcert={ca}"
        environ = {
            "OMS_POSTGRES_URL": f"postgresql://127.0.0.1:{postgres.port}/oms?{secure}",
            "OMS_REDIS_URL": f"rediss://127.0.0.1:{gate_port}/0",
            "OMS_REDIS_USER": USER,
            "OMS_REDIS_PASSWORD": PASSWORD,
            "OMS_REDIS_CA_FILE": str(ca),
            "OMS_KAFKA_BOOTSTRAP": f"127.0.0.1:{kafka_port}",
            "OMS_KAFKA_SECURITY": "sasl_ssl",
            "OMS_KAFKA_USER": USER,
            "OMS_KAFKA_PASSWORD_FILE": str(password),
            "OMS_KAFKA_CA_FILE": str(ca),
        }
        yield Secured(environ, postgres.url, ca)


def make_certificates(directory: Path) -> Path:
    """`ca.pem` of an authority, and `server.pem` and `server.key` for 127.0.0.1; answers with the directory."""
    ca, ca_key = directory / "ca.pem", directory / "ca.key"
    new = ("-newkey", "rsa:2048", "-nodes", "-days", "2")
    _openssl("req", "-x509", *new, "-keyout", ca_key, "-out", ca, "-subj", "/CN=an authority of the tests")
    _openssl(
        "req", "-x509", *new, "-keyout", directory / "server.key", "-out", directory / "server.pem",
        "-subj", "/CN=server", "-CA", ca, "-CAkey", ca_key,
        "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE",
    )  # fmt: skip
    return directory


def _add_kafkas_user(bootstrap: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    (done,) = admin.alter_user_scram_credentials(
        [UserScramCredentialUpsertion(USER, scram, PASSWORD.encode())]
    ).values()
    done.result()


def _give(server: NativeServer, path: Path) -> Path:
    """A copy that the server's account alone may read: PostgreSQL refuses any other key."""
    copy, owner = server.directory / path.name, server.directory.stat()
    copy.touch(mode=0o600)
    copy.write_bytes(path.read_bytes())
    os.chown(copy, owner.st_uid, owner.st_gid)
    return copy


def _file(path: Path, *parts: str) -> Path:
    path.write_text("".join(parts))
    return path


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
