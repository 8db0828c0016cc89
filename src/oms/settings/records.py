"""What each adapter needs of the settings: one frozen record for each. A record's text shows no secret."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs


@attrs.frozen(kw_only=True)
class KafkaConfig:
    """Kafka: where it is, how to log in, and what topics and clients are like."""

    bootstrap: str
    """Some of its brokers, as `host:port` separated by commas."""

    security: str
    """`plaintext`, `ssl`, `sasl_plaintext` or `sasl_ssl`."""

    sasl_mechanism: str
    user: str | None
    password: str | None = attrs.field(repr=False)
    ca_file: Path | None
    """Certificates of the authorities to trust; None: the system's."""

    conf: Mapping[str, str] = attrs.field(repr=False)
    """Further keys of librdkafka, some of which hold secrets."""

    replication: int
    """Copies of each topic."""

    partitions: int
    """Partitions of each topic."""

    retention_days: float
    """How long stores keep their inboxes; topics keep records for a part of that (`log_kept`)."""

    batch: int
    """Messages that a consumer handles in one transaction."""

    outbox_lease_s: float
    """How long a process may take to send what it committed."""


@attrs.frozen(kw_only=True)
class PostgresConfig:
    """PostgreSQL: where it is, and who logs in with which password."""

    url: str
    user: str | None
    """One role for all services; None: each service has its own."""

    password: str | None = attrs.field(default=None, repr=False)
    """The password of `user`, and of each service that has none of its own."""

    service_passwords: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    """By service name."""

    operator_password: str | None = attrs.field(default=None, repr=False)
    admin_user: str = "postgres"
    admin_password: str | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class RedisConfig:
    """Redis: where it is, and how to log in."""

    url: str
    user: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    ca_file: Path | None = None
    """Certificates of the authorities to trust; None: the system's."""


@attrs.frozen(kw_only=True)
class WebhookConfig:
    """The webhook notifier: where it posts to, the secret that signs its posts, and the time limit of one post."""

    url: str
    secret: str = attrs.field(repr=False)
    timeout_s: float


@attrs.frozen(kw_only=True)
class SimulatedGatewayConfig:
    """The simulated gateway: how often it captures, how long that takes, and its script of misbehaviours."""

    success_rate: float
    """Share of charges that it captures, 0 to 1."""

    seed: int
    delay_s: float
    timeout_s: float
    """The time limit that callers have for one call."""

    script: Path | None


@attrs.frozen(kw_only=True)
class TelemetryConfig:
    """The log: the least level, the shape of its lines (`json` or `console`), and the texts that it must not show."""

    level: str
    form: str
    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)
