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
    """Where orders are stored: in memory (lost at the end), in files on one machine, or on shared servers. Value:
    memory or embedded or distributed.
    """

    data: Path | str
    """Directory of the embedded profile's files, which only its owner can read. Value: the path of a directory."""

    http_host: str
    """Address to listen on. One beyond loopback requires API keys or `OMS_AUTH=none`. Value: a host name or address.
    """

    http_port: int | str
    """Port to listen on; 0 chooses a free one. If it isn't set, `oms run` uses 8081 for order, 8082 for inventory, 8083
    for payment, 8084 for notification, and for your own steps 8085, 8086 and so on, in the order in which the functions
    of `OMS_STEPS` first name their groups. Value: a whole number from 0 to 65535.
    """

    http_hosts: tuple[str, ...] | str
    """Host names that requests may contain while callers need no key, separated by commas; any port is accepted, and
    `*` accepts every name. `OMS_HTTP_HOST` and the address at which a request arrived are always accepted; health
    routes accept every name. Value: host names or addresses without ports, such as localhost,[::1], separated by
    commas.
    """

    http_compat: str
    """`spring`: compatible with the Spring system. A placed order gets the response 200, and orders as that system
    sends them are accepted over HTTP and from `order.created`: items of quantity 0 are dropped, amounts are rounded.
    Set the same value for all services. Value: empty or spring.
    """

    http_connections: int | str
    """HTTP: largest number of simultaneous connections; the process's limit of file descriptors, less 256, also
    applies. At the limit, a new connection closes the one that has waited longest for its client. Value: a whole number
    from 1 to 1000000.
    """

    http_head_bytes: int | str
    """HTTP: largest size of a request's target and headers, in bytes; a larger head gets 431. Value: a whole number
    from 1024 to 1048576.
    """

    http_head_s: float | str
    """HTTP: seconds within which a client must send a request's headers; afterwards the connection is closed. Value: a
    number from 0.05 to 3600.
    """

    http_body_s: float | str
    """HTTP: seconds within which a client must send a request's body; afterwards the response is 408. Value: a number
    from 0.05 to 3600.
    """

    http_send_s: float | str
    """HTTP: seconds within which a client must read a response; afterwards the connection is closed. Value: a number
    from 0.05 to 3600.
    """

    http_keep_alive_s: float | str
    """HTTP: seconds for which a connection stays open between two requests. Value: a number from 0.05 to 3600."""

    auth: str
    """`none` trusts every caller, even on other machines. Value: empty or none."""

    api_keys_file: Path | str | None
    """File of hashed API keys. It is read again when it changes; while it is missing, no key is accepted. Value: a
    path, or empty.
    """

    rate_limit: float | str | None
    """HTTP: requests of one caller per second, and in one burst; further requests get 429. Each process counts
    separately. A caller is a customer, an operator's key, or the address of clients without a key. Empty: no limit.
    Value: a number from 0.01 to 1000000, or empty.
    """

    payment_gateway: str
    """Payment gateway: the simulated one, or your own. Value: simulated or an import path such as shop.extensions:Name.
    """

    steps: tuple[str, ...] | str
    """Functions that subscribe your own steps, as import paths separated by commas. Each is called with the app. Value:
    import paths such as shop.steps:subscribe, separated by commas.
    """

    currency: str
    """Currency of every amount. Value: a three-letter currency code."""

    default_stock: int | str | None
    """Units on hand that an unknown product starts with, as in the Spring system; empty: orders of unknown products are
    rejected. With `OMS_HTTP_COMPAT=spring` the default is 100. Value: a whole number from 0 to 1000000000000, or empty.
    """

    order_deadline_s: float | str
    """Deadline of an order, in seconds after its creation. The order service cancels an order that hasn't settled by
    then. Value: a number from 1 to 2592000.
    """

    settle_s: float | str
    """Seconds after its deadline within which every order must have settled; `oms verify` reports a later one as a
    broken promise. Value: a number from 0 to 86400.
    """

    payment_success_rate: float | str
    """Simulated gateway: share of charges that it captures; it declines the others. Value: a number from 0 to 1."""

    payment_seed: int | str | None
    """Simulated gateway: seed that decides which charges it declines; empty: 0. Value: a whole number from 0 to
    9223372036854775807, or empty.
    """

    payment_delay_ms: int | str
    """Simulated gateway: duration of each charge, in milliseconds. Value: a whole number from 0 to 600000."""

    payment_script: Path | str | None
    """Simulated gateway: JSON file of scripted failures. Value: a path, or empty."""

    payment_settle_window_s: float | str
    """Seconds after a charge during which the gateway's answer `UnknownCharge` isn't final, because the charge may
    still be on its way. Not used by the simulated gateway of the embedded profile, whose calls end with their process.
    Value: a number from 0 to 86400.
    """

    payment_timeout_s: float | str
    """Time limit of one gateway call, in seconds. A longer call is abandoned, and its outcome is looked up later.
    Value: a number from 0.05 to 600.
    """

    payment_calls: int | str
    """Largest number of simultaneous calls of the gateway, in each process. Value: a whole number from 1 to 1024."""

    notify_calls: int | str
    """Largest number of simultaneous calls of the notifier, in each process. Value: a whole number from 1 to 1024."""

    webhook_url: str | None
    """URL that the webhook notifier posts to. Value: an http or https address without credentials, or empty."""

    webhook_secret: Secret[str] | str | None
    """Secret with which the webhook notifier signs its posts. Value: a secret of at least 16 characters, or empty. Or a
    file that holds it: `OMS_WEBHOOK_SECRET_FILE`.
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
    """Days for which the stores keep inbox rows, which identify repeats of a message, and redriven or discarded dead
    letters. An `Idempotency-Key` is kept for 24 h. Value: a whole number from 1 to 3650.
    """

    batch: int | str
    """Largest number of messages that a consumer handles in one transaction. Value: a whole number from 1 to 2000."""

    partitions: int | str
    """Number of partitions of each topic. Distributed profile: `oms setup` creates topics with it and adds partitions
    to topics that have fewer; it never removes any. Embedded profile: fixed when the log is created; an existing log
    keeps its number. Memory profile: fixed at the start. Value: a whole number from 1 to 256.
    """

    instance: str | None
    """Name that stays the same when a process restarts, so that it can release the leases of its predecessor. Empty:
    the host name, which a restarted container or a pod of a StatefulSet keeps. Value: a name without blanks, or empty.
    """

    outbox_lease_s: float | str
    """Seconds for which a process leases the events that it has committed, in order to publish them; afterwards another
    process may publish them. Value: a number from 1 to 600.
    """

    task_lease_s: float | str
    """Seconds for which a process leases a task that it has claimed; afterwards another process may claim the task.
    Value: a number from 1 to 3600.
    """

    stuck_after_s: float | str
    """A process isn't ready while one step of a worker has been running for more than this many seconds. Set it above
    the time that your slowest handler takes for a batch. Value: a number from 0.5 to 3600.
    """

    metrics_access: str
    """Callers that may read `/metrics`: `operator` requires an operator's API key or other credentials. Value: anybody
    or operator.
    """

    kafka_bootstrap: str
    """Kafka: addresses of some of its brokers. Value: a list such as broker-1:9092,broker-2:9092."""

    kafka_security: str
    """Kafka: security protocol of connections. Value: plaintext or ssl or sasl_plaintext or sasl_ssl."""

    kafka_sasl_mechanism: str
    """Kafka: SASL mechanism. Value: PLAIN or SCRAM-SHA-256 or SCRAM-SHA-512."""

    kafka_user: str | None
    """Kafka: user name, with SASL. Value: a name without blanks, or empty."""

    kafka_password: Secret[str] | str | None
    """Kafka: password, with SASL. Value: a password, or empty. Or a file that holds it: `OMS_KAFKA_PASSWORD_FILE`."""

    kafka_ca_file: Path | str | None
    """Kafka: file of trusted CA certificates, with TLS; empty: the system's. Value: a path, or empty."""

    kafka_replication: int | str
    """Kafka: replication factor of the topics that `oms setup` creates. Value: a whole number from 1 to 9."""

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
    """PostgreSQL: one role for all services; empty: each service has its own role, `oms_order` and so on. Value: a name
    without blanks, or empty.
    """

    postgres_password: Secret[str] | str | None
    """PostgreSQL: password of each role that has no setting of its own. Value: a password, or empty. Or a file that
    holds it: `OMS_POSTGRES_PASSWORD_FILE`.
    """

    postgres_password_order: Secret[str] | str | None
    """PostgreSQL: password of `oms_order`. Value: a password, or empty. Or a file that holds it:
    `OMS_POSTGRES_PASSWORD_ORDER_FILE`.
    """

    postgres_password_inventory: Secret[str] | str | None
    """PostgreSQL: password of `oms_inventory`. Value: a password, or empty. Or a file that holds it:
    `OMS_POSTGRES_PASSWORD_INVENTORY_FILE`.
    """

    postgres_password_payment: Secret[str] | str | None
    """PostgreSQL: password of `oms_payment`. Value: a password, or empty. Or a file that holds it:
    `OMS_POSTGRES_PASSWORD_PAYMENT_FILE`.
    """

    postgres_password_notification: Secret[str] | str | None
    """PostgreSQL: password of `oms_notification`. Value: a password, or empty. Or a file that holds it:
    `OMS_POSTGRES_PASSWORD_NOTIFICATION_FILE`.
    """

    postgres_password_operator: Secret[str] | str | None
    """PostgreSQL: password of `oms_operator`, the role that reads all schemas. Value: a password, or empty. Or a file
    that holds it: `OMS_POSTGRES_PASSWORD_OPERATOR_FILE`.
    """

    postgres_admin_user: str
    """PostgreSQL: role with which `oms setup` creates roles and schemas. Value: a name without blanks."""

    postgres_admin_password: Secret[str] | str | None
    """PostgreSQL: password of that role; only `oms setup` needs it. Value: a password, or empty. Or a file that holds
    it: `OMS_POSTGRES_ADMIN_PASSWORD_FILE`.
    """

    redis_url: str
    """Redis: server and database; `rediss://` for TLS. Value: an address such as redis://host:6379/0, without
    credentials.
    """

    redis_user: str | None
    """Redis: user name; empty: the default user. Value: a name without blanks, or empty."""

    redis_password: Secret[str] | str | None
    """Redis: password. Value: a password, or empty. Or a file that holds it: `OMS_REDIS_PASSWORD_FILE`."""

    redis_ca_file: Path | str | None
    """Redis: file of trusted CA certificates, with TLS; empty: the system's. Value: a path, or empty."""

    spring_postgres_url: str | None
    """`oms migrate-from-spring`: PostgreSQL of the Spring system, such as postgresql://host:5432/orderdb. Value: an
    address such as postgresql://host:5432/database, without credentials, or empty.
    """

    spring_postgres_user: str
    """`oms migrate-from-spring`: role that may read that database. Value: a name without blanks."""

    spring_postgres_password: Secret[str] | str | None
    """`oms migrate-from-spring`: password of that role. Value: a password, or empty. Or a file that holds it:
    `OMS_SPRING_POSTGRES_PASSWORD_FILE`.
    """

    spring_redis_url: str | None
    """`oms migrate-from-spring`: Redis of the Spring system. Value: an address such as redis://host:6379/0, without
    credentials, or empty.
    """

    spring_redis_user: str | None
    """`oms migrate-from-spring`: user name for that Redis; empty: the default user. Value: a name without blanks, or
    empty.
    """

    spring_redis_password: Secret[str] | str | None
    """`oms migrate-from-spring`: password for that Redis. Value: a password, or empty. Or a file that holds it:
    `OMS_SPRING_REDIS_PASSWORD_FILE`.
    """

    log_level: str
    """Lowest level that is logged. Value: debug or info or warning or error."""

    log_format: str
    """Format of the log lines. Value: json or console."""
