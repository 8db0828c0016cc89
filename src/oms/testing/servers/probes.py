"""Probes: connect to a server once, to see whether it accepts connections."""

from __future__ import annotations

import socket

from oms.testing.servers.server_types import ServerName, first_line

PATIENCE_S = 3.0
"""Time limit of a probe. A server on loopback accepts within milliseconds; the rest is for a machine under load."""


def probe(name: ServerName, address: str) -> str | None:
    """Connect to a server; returns the error in one line, or None if it accepts the connection."""
    return {"postgres": _postgres, "redis": _redis, "kafka": _kafka}[name](address)


def _postgres(url: str) -> str | None:
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=int(PATIENCE_S)).close()
    except psycopg.Error as silent:
        return first_line(silent)
    return None


def _redis(url: str) -> str | None:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    try:
        with redis.Redis.from_url(url, socket_timeout=PATIENCE_S, retry=Retry(NoBackoff(), 0)) as client:
            client.ping()
    except (redis.RedisError, ValueError) as silent:
        return first_line(silent)
    return None


def _kafka(bootstrap: str) -> str | None:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    try:
        _connect(bootstrap)  # librdkafka reports only a time-out
        brokers = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}).list_topics(timeout=PATIENCE_S).brokers
    except (OSError, ValueError, KafkaException) as silent:
        return first_line(silent)
    return None if brokers else "it knows no broker"


def _connect(bootstrap: str) -> None:
    host, _, port = bootstrap.split(",")[0].rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE_S).close()
