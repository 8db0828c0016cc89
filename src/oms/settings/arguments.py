"""One keyword argument for each setting, so that an editor completes it and a type checker finds a misspelt one.

Made from `oms.settings` by `scripts/generate_docs.py`; don't edit. A text is read as the environment variable's text.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

from typed_settings.types import Secret


class SettingArguments(TypedDict, total=False):
    """The settings that `oms.create` and `oms.testing.Shop` take by name. Each is optional.

    Settings that share their name with an extension (such as `notifier`) are in `oms.ports.extension_arguments`.
    """

    profile: str
    """Where orders live: in memory (gone at the end), in files on one machine, or in shared servers. Value: memory or
    embedded or distributed.
    """

    data: Path | str
    """Directory of the embedded profile's files, which only its owner can read. Value: the path of a directory."""

    http_host: str
    """Address to listen on. Beyond loopback the server wants API keys. Value: a host name or address."""

    http_port: int | str
    """Port to listen on; 0 takes a free one. Without it, `oms run` takes 8081 for order, 8082 for inventory, 8083 for
    payment, 8084 for notification, and for your own steps 8085, 8086 and so on, in the order in which the functions of
    `OMS_STEPS` first name their groups. Value: a whole number from 0 to 65535.
    """

    http_hosts: tuple[str, ...] | str
    """While callers need no key: the names under which the API answers, with any port, separated by commas; `*` is any
    name. `OMS_HTTP_HOST` and the address that a request arrived at are always among them; health routes answer under
    any name. Value: host names or addresses without ports, such as localhost,[::1], separated by commas.
    """

    http_compat: str
    """`spring` answers as the Spring system does (200), and takes its orders, over HTTP and from `order.created`: lines
    of quantity 0 are dropped, amounts are rounded. Set it for all services alike. Value: empty or spring.
    """

    http_connections: int | str
    """HTTP: connections at once, at most the process's file descriptors less 256. At the limit, the connection that has
    waited longest for its client is closed for a new one. Value: a whole number from 1 to 1000000.
    """

    http_head_bytes: int | str
    """HTTP: size of a request's target and headers; a larger head gets 431. Value: a whole number from 1024 to 1048576.
    """

    http_head_s: float | str
    """HTTP: time for a request's headers; a connection that sends nothing closes after it. Value: a number from 0.05 to
    3600.
    """

    http_body_s: float | str
    """HTTP: time for a request's body; a slower one gets 408. Value: a number from 0.05 to 3600."""

    http_send_s: float | str
    """HTTP: time in which a client must read a response; then the connection closes. Value: a number from 0.05 to 3600.
    """

    http_keep_alive_s: float | str
    """HTTP: how long a connection stays open between two requests. Value: a number from 0.05 to 3600."""

    auth: str
    """`none` trusts every caller even beyond loopback. Value: empty or none."""

    api_keys_file: Path | str | None
    """File of hashed API keys; read again when it changes, and while it is deleted no key is accepted. Value: a path,
    or empty.
    """

    rate_limit: float | str | None
    """HTTP: requests that one caller may make each second, and as many at once; further ones get 429. Each process
    counts by itself. A customer is one caller, each operator's key another, and so is each address of callers without a
    key; empty: no limit. Value: a number from 0.01 to 1000000, or empty.
    """

    payment_gateway: str
    """Payment gateway: the simulated one, or your own. Value: simulated or an import path such as shop.extensions:Name.
    """

    steps: tuple[str, ...] | str
    """Functions that subscribe your own steps, separated by commas; each is called with the app. Value: import paths
    such as shop.steps:subscribe, separated by commas.
    """

    currency: str
    """Currency of every amount. Value: a three-letter currency code."""

    default_stock: int | str | None
    """Units on hand that an unknown product starts with, as in the Spring system; empty: orders of unknown products are
    rejected. With `OMS_HTTP_COMPAT=spring` the default is 100. Value: a whole number from 0 to 1000000000000, or empty.
    """

    order_deadline_s: float | str
    """An order that hasn't settled by then is cancelled. Value: a number from 1 to 2592000."""

    settle_s: float | str
    """After the deadline, every order has settled within this time. Value: a number from 0 to 86400."""

    payment_success_rate: float | str
    """Simulated gateway: share of charges that it captures; it declines the others. Value: a number from 0 to 1."""

    payment_seed: int | str | None
    """Simulated gateway: seed that decides which charges it declines; empty: 0. Value: a whole number from 0 to
    9223372036854775807, or empty.
    """

    payment_delay_ms: int | str
    """Simulated gateway: how long each charge takes. Value: a whole number from 0 to 600000."""

    payment_script: Path | str | None
    """Simulated gateway: JSON file of misbehaviours. Value: a path, or empty."""

    payment_settle_window_s: float | str
    """Seconds after a charge in which the gateway's `UnknownCharge` may mean: not yet. The simulated gateway of the
    embedded profile needs none: its calls end with their process. Value: a number from 0 to 86400.
    """

    payment_timeout_s: float | str
    """Time limit of one gateway call, in seconds. A longer call is abandoned, and its outcome looked up. Value: a
    number from 0.05 to 600.
    """

    payment_calls: int | str
    """Calls to the gateway at once. Value: a whole number from 1 to 1024."""

    notify_calls: int | str
    """Calls of the notifier at once. Value: a whole number from 1 to 1024."""

    webhook_url: str | None
    """Where the webhook notifier posts to. Value: an http or https address without credentials, or empty."""

    webhook_secret: Secret[str] | str | None
    """Signs what the webhook notifier posts. Value: a secret of at least 16 characters, or empty. Or a file that holds
    it: `OMS_WEBHOOK_SECRET_FILE`.
    """

    webhook_timeout_s: float | str
    """Time limit of one post of the webhook notifier, in seconds: connection, headers and body together. Value: a
    number from 0.05 to 60.
    """

    call_timeout_s: float | str | None
    """Time limit, in seconds, of one call of your own notifier, pricing, policy or authenticator and of a step's
    outside call; empty: two thirds of OMS_TASK_LEASE_S. Value: a number from 0.05 to 3600, or empty.
    """

    retention_days: int | str
    """How long repeats of a message are recognised, and ended work is kept. An `Idempotency-Key` is kept for 24 h.
    Value: a whole number from 1 to 3650.
    """

    batch: int | str
    """Messages that a consumer handles in one transaction. Value: a whole number from 1 to 2000."""

    partitions: int | str
    """Partitions of each topic, fixed when the log is made. Value: a whole number from 1 to 256."""

    instance: str | None
    """Name that a process keeps when it starts again, so that it can release the leases that its predecessor left.
    Empty: the host name, which a restarted container or a pod of a StatefulSet keeps. Value: a name without blanks, or
    empty.
    """

    outbox_lease_s: float | str
    """How long a process may take to send what it committed. Value: a number from 1 to 600."""

    task_lease_s: float | str
    """How long a process may take over a task it claimed. Value: a number from 1 to 3600."""

    stuck_after_s: float | str
    """Seconds after which a worker whose step hasn't returned makes the process not ready. Raise it above the time that
    your slowest handler takes for a batch. Value: a number from 0.5 to 3600.
    """

    metrics_access: str
    """Who may read `/metrics`: `operator` requires the API key, or other credentials, of an operator. Value: anybody or
    operator.
    """

    kafka_bootstrap: str
    """Kafka: some of its brokers. Value: a list such as broker-1:9092,broker-2:9092."""

    kafka_security: str
    """Kafka: how to connect. Value: plaintext or ssl or sasl_plaintext or sasl_ssl."""

    kafka_sasl_mechanism: str
    """Kafka: how to log in, with SASL. Value: PLAIN or SCRAM-SHA-256 or SCRAM-SHA-512."""

    kafka_user: str | None
    """Kafka: whom to log in as, with SASL. Value: a name without blanks, or empty."""

    kafka_password: Secret[str] | str | None
    """Kafka: the password, with SASL. Value: a password, or empty. Or a file that holds it: `OMS_KAFKA_PASSWORD_FILE`.
    """

    kafka_ca_file: Path | str | None
    """Kafka: certificates of the authorities to trust, with TLS; empty: the system's. Value: a path, or empty."""

    kafka_replication: int | str
    """Kafka: copies of each topic that `oms setup` makes. Value: a whole number from 1 to 9."""

    kafka_conf: Mapping[str, str] | str
    """Kafka: any further key of librdkafka, as lines of `key=value` here or in a file. A key can also have a variable
    of its own, which takes precedence: `OMS_KAFKA_CONF_LINGER_MS=5` is `linger.ms`. Value: lines of key=value, each key
    once, such as linger.ms=5. Or a file that holds it: `OMS_KAFKA_CONF_FILE`.
    """

    postgres_url: str
    """PostgreSQL: server (or several, with `?target_session_attrs=read-write`) and database, with
    `?sslmode=verify-full&sslrootcert=FILE` for TLS. Value: an address such as postgresql://host:5432/database, without
    credentials.
    """

    postgres_user: str | None
    """PostgreSQL: one role for all; empty: each service has its own, `oms_order` and so on. Value: a name without
    blanks, or empty.
    """

    postgres_password: Secret[str] | str | None
    """PostgreSQL: the role's password, where the service has none of its own. Value: a password, or empty. Or a file
    that holds it: `OMS_POSTGRES_PASSWORD_FILE`.
    """

    postgres_password_order: Secret[str] | str | None
    """PostgreSQL: the password of `oms_order`. Value: a password, or empty. Or a file that holds it:
    `OMS_POSTGRES_PASSWORD_ORDER_FILE`.
    """

    postgres_password_inventory: Secret[str] | str | None
    """PostgreSQL: the password of `oms_inventory`. Value: a password, or empty. Or a file that holds it:
    `OMS_POSTGRES_PASSWORD_INVENTORY_FILE`.
    """

    postgres_password_payment: Secret[str] | str | None
    """PostgreSQL: the password of `oms_payment`. Value: a password, or empty. Or a file that holds it:
    `OMS_POSTGRES_PASSWORD_PAYMENT_FILE`.
    """

    postgres_password_notification: Secret[str] | str | None
    """PostgreSQL: the password of `oms_notification`. Value: a password, or empty. Or a file that holds it:
    `OMS_POSTGRES_PASSWORD_NOTIFICATION_FILE`.
    """

    postgres_password_operator: Secret[str] | str | None
    """PostgreSQL: the password of `oms_operator`, who reads everything. Value: a password, or empty. Or a file that
    holds it: `OMS_POSTGRES_PASSWORD_OPERATOR_FILE`.
    """

    postgres_admin_user: str
    """PostgreSQL: who `oms setup` is, to make roles and schemas. Value: a name without blanks."""

    postgres_admin_password: Secret[str] | str | None
    """PostgreSQL: the password of that role; only `oms setup` needs it. Value: a password, or empty. Or a file that
    holds it: `OMS_POSTGRES_ADMIN_PASSWORD_FILE`.
    """

    redis_url: str
    """Redis: server and database; `rediss://` for TLS. Value: an address such as redis://host:6379/0, without
    credentials.
    """

    redis_user: str | None
    """Redis: whom to log in as; empty: the default user. Value: a name without blanks, or empty."""

    redis_password: Secret[str] | str | None
    """Redis: the password. Value: a password, or empty. Or a file that holds it: `OMS_REDIS_PASSWORD_FILE`."""

    redis_ca_file: Path | str | None
    """Redis: certificates of the authorities to trust, with TLS; empty: the system's. Value: a path, or empty."""

    spring_postgres_url: str | None
    """`oms migrate-from-spring`: PostgreSQL of the system replaced, as in postgresql://host:5432/orderdb. Value: an
    address such as postgresql://host:5432/database, without credentials, or empty.
    """

    spring_postgres_user: str
    """`oms migrate-from-spring`: a role that may read there. Value: a name without blanks."""

    spring_postgres_password: Secret[str] | str | None
    """`oms migrate-from-spring`: the password of that role. Value: a password, or empty. Or a file that holds it:
    `OMS_SPRING_POSTGRES_PASSWORD_FILE`.
    """

    spring_redis_url: str | None
    """`oms migrate-from-spring`: Redis of the system replaced. Value: an address such as redis://host:6379/0, without
    credentials, or empty.
    """

    spring_redis_user: str | None
    """`oms migrate-from-spring`: whom to log in as there; empty: the default user. Value: a name without blanks, or
    empty.
    """

    spring_redis_password: Secret[str] | str | None
    """`oms migrate-from-spring`: the password there. Value: a password, or empty. Or a file that holds it:
    `OMS_SPRING_REDIS_PASSWORD_FILE`.
    """

    log_level: str
    """The least that is logged. Value: debug or info or warning or error."""

    log_format: str
    """Shape of the log's lines. Value: json or console."""
