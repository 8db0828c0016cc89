"""The settings of each adapter, as one frozen record each. The `repr` of a record contains no secrets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs


@attrs.frozen(kw_only=True)
class KafkaConfig:
    """Kafka: addresses, credentials, and properties of topics and clients."""

    bootstrap: str
    """Addresses of some brokers, as `host:port` separated by commas."""

    security: str
    """`plaintext`, `ssl`, `sasl_plaintext` or `sasl_ssl`."""

    sasl_mechanism: str
    user: str | None
    password: str | None = attrs.field(repr=False)
    ca_file: Path | None
    """Certificates of the authorities to trust; None: the system's."""

    conf: Mapping[str, str] = attrs.field(repr=False)
    """Further keys of librdkafka; some values are secrets."""

    replication: int
    """Replicas of each topic."""

    partitions: int
    """Partitions of each topic."""

    retention_days: float
    """Days for which stores keep inbox rows; topics keep records for a part of that time (`log_kept`)."""

    batch: int
    """Largest number of messages that a consumer handles in one transaction."""

    outbox_lease_s: float
    """Seconds for which a process leases the events that it has committed and must publish."""


@attrs.frozen(kw_only=True)
class PostgresConfig:
    """PostgreSQL: address, roles and passwords."""

    url: str
    user: str | None
    """One role for all services; None: each service has a role of its own."""

    password: str | None = attrs.field(default=None, repr=False)
    """The password of `user`, and of each service without an entry in `service_passwords`."""

    service_passwords: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    """By service name."""

    operator_password: str | None = attrs.field(default=None, repr=False)
    admin_user: str = "postgres"
    admin_password: str | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class RedisConfig:
    """Redis: address and credentials."""

    url: str
    user: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    ca_file: Path | None = None
    """Certificates of the authorities to trust; None: the system's."""


@attrs.frozen(kw_only=True)
class WebhookConfig:
    """The webhook notifier: URL, signing secret, and the time limit of one post, in seconds."""

    url: str
    secret: str = attrs.field(repr=False)
    timeout_s: float


@attrs.frozen(kw_only=True)
class SimulatedGatewayConfig:
    """The simulated gateway: its success rate, the duration of a charge in seconds, and its script of failures."""

    success_rate: float
    """Share of charges that it captures, 0 to 1."""

    seed: int
    delay_s: float
    timeout_s: float
    """The callers' time limit of one call, in seconds."""

    script: Path | None


@attrs.frozen(kw_only=True)
class TelemetryConfig:
    """The log: lowest level, format of its lines (`json` or `console`), and the secrets that it must mask."""

    level: str
    form: str
    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)
