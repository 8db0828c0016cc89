"""Settings: read once at start and checked as a whole. A wrong value is refused with one line that names it.

Every field of `Settings` is the environment variable `OMS_` + its name in capitals; a secret may be given as a file
instead (`OMS_WEBHOOK_SECRET_FILE`). docs/settings.md is generated from this module.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast

import attrs
import typed_settings
from typed_settings.types import Secret

from oms.ports.errors import SettingsError
from oms.settings.kinds import (
    CURRENCY,
    DIRECTORY,
    HOST,
    HOST_NAMES,
    IMPORT_PATH,
    IMPORT_PATHS,
    KAFKA_ADDRESSES,
    KAFKA_KEYS,
    OPTIONAL_FILE,
    PASSWORD,
    POSTGRES_ADDRESS,
    REDIS_ADDRESS,
    SHARED_SECRET,
    USER,
    WEB_ADDRESS,
    Kind,
    choice,
    extension_path,
    number,
    optional,
    whole,
)
from oms.settings.records import (
    KafkaConfig,
    PostgresConfig,
    RedisConfig,
    SimulatedGatewayConfig,
    TelemetryConfig,
    WebhookConfig,
)

PREFIX = "OMS_"
KAFKA_CONF = "OMS_KAFKA_CONF_"
KAFKA_CONF_FILE = "OMS_KAFKA_CONF_FILE"
FREE_PREFIXES = ("OMS_TEST_", KAFKA_CONF)
"""Prefixes of variables that aren't settings: variables of the tests, and keys of librdkafka."""

OUR_KAFKA_KEYS = frozenset({
    "acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "group.id",
})  # fmt: skip
"""Keys of librdkafka that users can't set: the promises depend on them, or another setting sets them."""

ANY_HOST = "*"
"""The value of `OMS_HTTP_HOSTS` that accepts every host name."""

SPRING_STOCK = 100
"""Units on hand with which an unknown product starts in the Spring system."""

_SERVICE_LINK = re.compile(r"SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?")

_SPEC = "oms"


@attrs.frozen
class _Spec:
    kind: Kind
    shown_default: str


def _setting(default: object, kind: Kind, meaning: str, *, shown: str | None = None) -> Any:
    """A field of `Settings`; typed as Any, because the annotation of the field gives its type."""
    spec = _Spec(kind, shown if shown is not None else "" if default is None else str(default))
    make = typed_settings.secret if kind.secret else typed_settings.option
    return make(default=default, help=meaning, metadata={_SPEC: spec}, validator=_validate)


def _validate(instance: object, field: attrs.Attribute[Any], value: object) -> None:  # noqa: ARG001 - attrs' shape
    _check(variable(field.name), _spec(field).kind, value)


def _spec(field: attrs.Attribute[Any]) -> _Spec:
    return cast(_Spec, field.metadata[_SPEC])


def _kinds() -> Mapping[str, Kind]:
    return {field.name: _spec(field).kind for field in attrs.fields(Settings)}


def _check(name: str, kind: Kind, value: object) -> None:
    if not kind.allows(value):
        raise SettingsError(f"{name}: {kind.shown(value)} is not {kind.allowed}")


def variable(field: str) -> str:
    """The environment variable of a field."""
    return PREFIX + field.upper()


@attrs.frozen(kw_only=True)
class Settings:
    """All settings, checked when the record is made. Durations end in `_s` (seconds) or `_ms` (milliseconds)."""

    profile: str = _setting(
        "embedded",
        choice("memory", "embedded", "distributed"),
        "Where orders are stored: in memory (lost at the end), in files on one machine, or on shared servers.",
    )
    data: Path = _setting(
        Path("oms-data"),
        DIRECTORY,
        "Directory of the embedded profile's files, which only its owner can read.",
        shown="./oms-data",
    )
    http_host: str = _setting(
        "127.0.0.1", HOST, "Address to listen on. One beyond loopback requires API keys or `OMS_AUTH=none`."
    )
    http_port: int = _setting(
        8081,
        whole(0, 65535),
        "Port to listen on; 0 chooses a free one. If it isn't set, `oms run` uses 8081 for order, 8082 for inventory, "
        "8083 for payment, 8084 for notification, and for your own steps 8085, 8086 and so on, in the order in which "
        "the functions of `OMS_STEPS` first name their groups.",
    )
    http_hosts: tuple[str, ...] = _setting(
        ("localhost", "127.0.0.1", "[::1]"),
        HOST_NAMES,
        "Host names that requests may contain while callers need no key, separated by commas; any port is accepted, "
        "and `*` accepts every name. `OMS_HTTP_HOST` and the address at which a request arrived are always accepted; "
        "health routes accept every name.",
        shown="localhost,127.0.0.1,[::1]",
    )
    http_compat: str = _setting(
        "",
        choice("", "spring"),
        "`spring`: compatible with the Spring system. A placed order gets the response 200, and orders as that system "
        "sends them are accepted over HTTP and from `order.created`: items of quantity 0 are dropped, amounts are "
        "rounded. Set the same value for all services.",
    )
    http_connections: int = _setting(
        1000,
        whole(1, 1_000_000),
        "HTTP: largest number of simultaneous connections; the process's limit of file descriptors, less 256, also "
        "applies. At the limit, a new connection closes the one that has waited longest for its client.",
    )
    http_head_bytes: int = _setting(
        16384,
        whole(1024, 1_048_576),
        "HTTP: largest size of a request's target and headers, in bytes; a larger head gets 431.",
    )
    http_head_s: float = _setting(
        10,
        number(0.05, 3600),
        "HTTP: seconds within which a client must send a request's headers; afterwards the connection is closed.",
    )
    http_body_s: float = _setting(
        20,
        number(0.05, 3600),
        "HTTP: seconds within which a client must send a request's body; afterwards the response is 408.",
    )
    http_send_s: float = _setting(
        30,
        number(0.05, 3600),
        "HTTP: seconds within which a client must read a response; afterwards the connection is closed.",
    )
    http_keep_alive_s: float = _setting(
        30, number(0.05, 3600), "HTTP: seconds for which a connection stays open between two requests."
    )
    auth: str = _setting("", choice("", "none"), "`none` trusts every caller, even on other machines.")
    api_keys_file: Path | None = _setting(
        None,
        OPTIONAL_FILE,
        "File of hashed API keys. It is read again when it changes; while it is missing, no key is accepted.",
    )
    rate_limit: float | None = _setting(
        None,
        optional(number(0.01, 1_000_000)),
        "HTTP: requests of one caller per second, and in one burst; further requests get 429. Each process counts "
        "separately. A caller is a customer, an operator's key, or the address of clients without a key. Empty: no "
        "limit.",
    )
    authenticator: str | None = _setting(None, optional(IMPORT_PATH), "Your own authenticator, by import path.")
    payment_gateway: str = _setting(
        "simulated", extension_path("simulated"), "Payment gateway: the simulated one, or your own."
    )
    notifier: str = _setting(
        "log",
        extension_path("log", "webhook"),
        "How customers are notified: `log` writes log lines, `webhook` sends signed HTTP posts, an import path names "
        "your own notifier.",
    )
    pricing: str | None = _setting(
        None, optional(IMPORT_PATH), "Your own pricing; without it the caller's amount is the total."
    )
    policy: str | None = _setting(None, optional(IMPORT_PATH), "Your own policy, which accepts or refuses each order.")
    steps: tuple[str, ...] = _setting(
        (),
        IMPORT_PATHS,
        "Functions that subscribe your own steps, as import paths separated by commas. Each is called with the app.",
        shown="",
    )
    currency: str = _setting("USD", CURRENCY, "Currency of every amount.")
    default_stock: int | None = _setting(
        attrs.Factory(lambda self: SPRING_STOCK if self.http_compat == "spring" else None, takes_self=True),
        optional(whole(0, 10**12)),
        "Units on hand that an unknown product starts with, as in the Spring system; empty: orders of unknown products "
        "are rejected. With `OMS_HTTP_COMPAT=spring` the default is 100.",
        shown="",
    )
    order_deadline_s: float = _setting(
        900,
        number(1, 86400 * 30),
        "Deadline of an order, in seconds after its creation. The order service cancels an order that hasn't settled "
        "by then.",
    )
    settle_s: float = _setting(
        60,
        number(0, 86400),
        "Seconds after its deadline within which every order must have settled; `oms verify` reports a later one as a "
        "broken promise.",
    )
    payment_success_rate: float = _setting(
        1, number(0, 1), "Simulated gateway: share of charges that it captures; it declines the others."
    )
    payment_seed: int | None = _setting(
        None,
        optional(whole(0, 2**63 - 1)),
        "Simulated gateway: seed that decides which charges it declines; empty: 0.",
    )
    payment_delay_ms: int = _setting(
        0, whole(0, 600_000), "Simulated gateway: duration of each charge, in milliseconds."
    )
    payment_script: Path | None = _setting(None, OPTIONAL_FILE, "Simulated gateway: JSON file of scripted failures.")
    payment_settle_window_s: float = _setting(
        10,
        number(0, 86400),
        "Seconds after a charge during which the gateway's answer `UnknownCharge` isn't final, because the charge may "
        "still be on its way. Not used by the simulated gateway of the embedded profile, whose calls end with their "
        "process.",
    )
    payment_timeout_s: float = _setting(
        5,
        number(0.05, 600),
        "Time limit of one gateway call, in seconds. A longer call is abandoned, and its outcome is looked up later.",
    )
    payment_calls: int = _setting(
        64, whole(1, 1024), "Largest number of simultaneous calls of the gateway, in each process."
    )
    notify_calls: int = _setting(
        32, whole(1, 1024), "Largest number of simultaneous calls of the notifier, in each process."
    )
    webhook_url: str | None = _setting(None, optional(WEB_ADDRESS), "URL that the webhook notifier posts to.")
    webhook_secret: Secret[str] | None = _setting(
        None, optional(SHARED_SECRET), "Secret with which the webhook notifier signs its posts."
    )
    webhook_timeout_s: float = _setting(
        5,
        number(0.05, 60),
        "Time limit of one post of the webhook notifier, in seconds: connection, headers and body together.",
    )
    call_timeout_s: float | None = _setting(
        None,
        optional(number(0.05, 3600)),
        "Time limit, in seconds, of one call of your own notifier, pricing, policy or authenticator and of a step's "
        "outside call; empty: two thirds of OMS_TASK_LEASE_S.",
    )
    retention_days: int = _setting(
        30,
        whole(1, 3650),
        "Days for which the stores keep inbox rows, which identify repeats of a message, and redriven or discarded "
        "dead letters. An `Idempotency-Key` is kept for 24 h.",
    )
    batch: int = _setting(500, whole(1, 2000), "Largest number of messages that a consumer handles in one transaction.")
    partitions: int = _setting(
        4,
        whole(1, 256),
        "Number of partitions of each topic. Distributed profile: `oms setup` creates topics with it and adds "
        "partitions to topics that have fewer; it never removes any. Embedded profile: fixed when the log is created; "
        "an existing log keeps its number. Memory profile: fixed at the start.",
    )
    instance: str | None = _setting(
        None,
        optional(USER),
        "Name that stays the same when a process restarts, so that it can release the leases of its predecessor. "
        "Empty: the host name, which a restarted container or a pod of a StatefulSet keeps.",
    )
    outbox_lease_s: float = _setting(
        10,
        number(1, 600),
        "Seconds for which a process leases the events that it has committed, in order to publish them; afterwards "
        "another process may publish them.",
    )
    task_lease_s: float = _setting(
        30,
        number(1, 3600),
        "Seconds for which a process leases a task that it has claimed; afterwards another process may claim the task.",
    )
    stuck_after_s: float = _setting(
        4,
        number(0.5, 3600),
        "A process isn't ready while one step of a worker has been running for more than this many seconds. Set it "
        "above the time that your slowest handler takes for a batch.",
    )
    metrics_access: str = _setting(
        "anybody",
        choice("anybody", "operator"),
        "Callers that may read `/metrics`: `operator` requires an operator's API key or other credentials.",
    )
    kafka_bootstrap: str = _setting("localhost:9092", KAFKA_ADDRESSES, "Kafka: addresses of some of its brokers.")
    kafka_security: str = _setting(
        "plaintext",
        choice("plaintext", "ssl", "sasl_plaintext", "sasl_ssl"),
        "Kafka: security protocol of connections.",
    )
    kafka_sasl_mechanism: str = _setting(
        "SCRAM-SHA-512", choice("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"), "Kafka: SASL mechanism."
    )
    kafka_user: str | None = _setting(None, optional(USER), "Kafka: user name, with SASL.")
    kafka_password: Secret[str] | None = _setting(None, optional(PASSWORD), "Kafka: password, with SASL.")
    kafka_ca_file: Path | None = _setting(
        None, OPTIONAL_FILE, "Kafka: file of trusted CA certificates, with TLS; empty: the system's."
    )
    kafka_replication: int = _setting(
        1, whole(1, 9), "Kafka: replication factor of the topics that `oms setup` creates."
    )
    kafka_conf: Mapping[str, str] = _setting(
        attrs.Factory(dict),
        KAFKA_KEYS,
        "Kafka: any further key of librdkafka, as lines of `key=value` here or in a file. A key can also have a "
        "variable of its own, which takes precedence: `OMS_KAFKA_CONF_LINGER_MS=5` is `linger.ms`.",
        shown="",
    )
    postgres_url: str = _setting(
        "postgresql://localhost:5432/oms",
        POSTGRES_ADDRESS,
        "PostgreSQL: server (or several, with `?target_session_attrs=read-write`) and database, with "
        "`?sslmode=verify-full&sslrootcert=FILE` for TLS.",
    )
    postgres_user: str | None = _setting(
        None,
        optional(USER),
        "PostgreSQL: one role for all services; empty: each service has its own role, `oms_order` and so on.",
    )
    postgres_password: Secret[str] | None = _setting(
        None, optional(PASSWORD), "PostgreSQL: password of each role that has no setting of its own."
    )
    postgres_password_order: Secret[str] | None = _setting(
        None, optional(PASSWORD), "PostgreSQL: password of `oms_order`."
    )
    postgres_password_inventory: Secret[str] | None = _setting(
        None, optional(PASSWORD), "PostgreSQL: password of `oms_inventory`."
    )
    postgres_password_payment: Secret[str] | None = _setting(
        None, optional(PASSWORD), "PostgreSQL: password of `oms_payment`."
    )
    postgres_password_notification: Secret[str] | None = _setting(
        None, optional(PASSWORD), "PostgreSQL: password of `oms_notification`."
    )
    postgres_password_operator: Secret[str] | None = _setting(
        None, optional(PASSWORD), "PostgreSQL: password of `oms_operator`, the role that reads all schemas."
    )
    postgres_admin_user: str = _setting(
        "postgres", USER, "PostgreSQL: role with which `oms setup` creates roles and schemas."
    )
    postgres_admin_password: Secret[str] | None = _setting(
        None, optional(PASSWORD), "PostgreSQL: password of that role; only `oms setup` needs it."
    )
    redis_url: str = _setting(
        "redis://localhost:6379/0", REDIS_ADDRESS, "Redis: server and database; `rediss://` for TLS."
    )
    redis_user: str | None = _setting(None, optional(USER), "Redis: user name; empty: the default user.")
    redis_password: Secret[str] | None = _setting(None, optional(PASSWORD), "Redis: password.")
    redis_ca_file: Path | None = _setting(
        None, OPTIONAL_FILE, "Redis: file of trusted CA certificates, with TLS; empty: the system's."
    )
    spring_postgres_url: str | None = _setting(
        None,
        optional(POSTGRES_ADDRESS),
        "`oms migrate-from-spring`: PostgreSQL of the Spring system, such as postgresql://host:5432/orderdb.",
    )
    spring_postgres_user: str = _setting(
        "postgres", USER, "`oms migrate-from-spring`: role that may read that database."
    )
    spring_postgres_password: Secret[str] | None = _setting(
        None, optional(PASSWORD), "`oms migrate-from-spring`: password of that role."
    )
    spring_redis_url: str | None = _setting(
        None, optional(REDIS_ADDRESS), "`oms migrate-from-spring`: Redis of the Spring system."
    )
    spring_redis_user: str | None = _setting(
        None, optional(USER), "`oms migrate-from-spring`: user name for that Redis; empty: the default user."
    )
    spring_redis_password: Secret[str] | None = _setting(
        None, optional(PASSWORD), "`oms migrate-from-spring`: password for that Redis."
    )
    log_level: str = _setting("info", choice("debug", "info", "warning", "error"), "Lowest level that is logged.")
    log_format: str = _setting("json", choice("json", "console"), "Format of the log lines.")

    def __attrs_post_init__(self) -> None:
        """Raise `SettingsError` if two settings contradict each other."""
        problem = next(_contradictions(self), None)
        if problem:
            raise SettingsError(problem)

    def call_limit_s(self, service: str = "") -> float:
        """The time limit, in seconds, of one outside call of a service or step, and of a shop's own code elsewhere."""
        if service == "payment":
            return self.payment_timeout_s
        if service == "notification" and self.notifier == "webhook":
            return self.webhook_timeout_s
        return self.call_timeout_s or self.task_lease_s * 2 / 3

    @property
    def kafka(self) -> KafkaConfig:
        """The settings of the Kafka adapter."""
        return KafkaConfig(
            bootstrap=self.kafka_bootstrap,
            security=self.kafka_security,
            sasl_mechanism=self.kafka_sasl_mechanism,
            user=self.kafka_user,
            password=_text(self.kafka_password),
            ca_file=self.kafka_ca_file,
            conf=self.kafka_conf,
            replication=self.kafka_replication,
            partitions=self.partitions,
            retention_days=self.retention_days,
            batch=self.batch,
            outbox_lease_s=self.outbox_lease_s,
        )

    @property
    def postgres(self) -> PostgresConfig:
        """The settings of the PostgreSQL adapter."""
        of_services = {
            "order": self.postgres_password_order,
            "inventory": self.postgres_password_inventory,
            "payment": self.postgres_password_payment,
            "notification": self.postgres_password_notification,
        }
        return PostgresConfig(
            url=self.postgres_url,
            user=self.postgres_user,
            password=_text(self.postgres_password),
            service_passwords={name: secret.get_secret_value() for name, secret in of_services.items() if secret},
            operator_password=_text(self.postgres_password_operator),
            admin_user=self.postgres_admin_user,
            admin_password=_text(self.postgres_admin_password),
        )

    @property
    def redis(self) -> RedisConfig:
        """The settings of the Redis adapter."""
        return RedisConfig(
            url=self.redis_url, user=self.redis_user, password=_text(self.redis_password), ca_file=self.redis_ca_file
        )

    @property
    def webhook(self) -> WebhookConfig:
        """The settings of the webhook notifier; raises `SettingsError` if URL or secret isn't set."""
        secret = _text(self.webhook_secret)
        if self.webhook_url is None or secret is None:
            raise SettingsError("OMS_WEBHOOK_URL and OMS_WEBHOOK_SECRET are missing")
        return WebhookConfig(url=self.webhook_url, secret=secret, timeout_s=self.webhook_timeout_s)

    @property
    def simulated_gateway(self) -> SimulatedGatewayConfig:
        """The settings of the simulated gateway."""
        return SimulatedGatewayConfig(
            success_rate=self.payment_success_rate,
            seed=self.payment_seed or 0,
            delay_s=self.payment_delay_ms / 1000,
            timeout_s=self.payment_timeout_s,
            script=self.payment_script,
        )

    @property
    def telemetry(self) -> TelemetryConfig:
        """The settings of the log, with the secrets that it must mask."""
        secret = _text(self.webhook_secret)
        return TelemetryConfig(level=self.log_level, form=self.log_format, secrets=() if secret is None else (secret,))

    @property
    def spring_postgres(self) -> PostgresConfig | None:
        """Address and role of the Spring system's PostgreSQL, which holds its orders; None if it isn't set."""
        if self.spring_postgres_url is None:
            return None
        password = _text(self.spring_postgres_password)
        return PostgresConfig(url=self.spring_postgres_url, user=self.spring_postgres_user, password=password)

    @property
    def spring_redis(self) -> RedisConfig | None:
        """Address and user of the Spring system's Redis, which holds its stock; None if it isn't set."""
        if self.spring_redis_url is None:
            return None
        password = _text(self.spring_redis_password)
        return RedisConfig(
            url=self.spring_redis_url, user=self.spring_redis_user, password=password, ca_file=self.redis_ca_file
        )

    @property
    def on_loopback(self) -> bool:
        """Whether the server listens on loopback, where only this machine can reach it."""
        try:
            return ip_address(self.http_host).is_loopback
        except ValueError:
            return self.http_host == "localhost"

    def check_exposure(self, *, authenticated: bool) -> None:
        """Raise `SettingsError` if the server would listen beyond loopback while every caller is trusted."""
        if not (authenticated or self.on_loopback or self.auth == "none"):
            raise SettingsError(
                f"OMS_HTTP_HOST: {self.http_host!r} can be reached from other machines and there are no API keys; "
                "set OMS_API_KEYS_FILE, or OMS_AUTH=none to trust every caller"
            )


def _text(secret: Secret[str] | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _contradictions(its: Settings) -> Iterator[str]:
    if its.notifier == "webhook":
        for name, given in (("OMS_WEBHOOK_URL", its.webhook_url), ("OMS_WEBHOOK_SECRET", its.webhook_secret)):
            if not given:
                yield f"{name} is missing; OMS_NOTIFIER=webhook needs it"
    elif its.notifier == "log" and (its.webhook_url or its.webhook_secret):
        yield "OMS_WEBHOOK_URL and OMS_WEBHOOK_SECRET have no effect with OMS_NOTIFIER=log; set OMS_NOTIFIER=webhook"
    if its.api_keys_file and its.authenticator:
        yield "OMS_API_KEYS_FILE and OMS_AUTHENTICATOR exclude each other; set one of them"
    if its.auth == "none" and (its.api_keys_file or its.authenticator):
        yield "OMS_AUTH=none excludes OMS_API_KEYS_FILE and OMS_AUTHENTICATOR; set one of them"
    if its.kafka_security.startswith("sasl") and not (its.kafka_user and its.kafka_password):
        missing = "OMS_KAFKA_PASSWORD" if its.kafka_user else "OMS_KAFKA_USER"
        yield f"{missing} is missing; OMS_KAFKA_SECURITY={its.kafka_security} needs it"
    if its.payment_script and its.payment_gateway != "simulated":
        yield "OMS_PAYMENT_SCRIPT is for OMS_PAYMENT_GATEWAY=simulated; leave one of them out"
    # If a lease expires during a call, another process repeats the call needlessly.
    if its.payment_timeout_s >= its.task_lease_s:
        yield "OMS_TASK_LEASE_S must be more than OMS_PAYMENT_TIMEOUT_S"
    if its.webhook_timeout_s >= its.task_lease_s:
        yield "OMS_TASK_LEASE_S must be more than OMS_WEBHOOK_TIMEOUT_S"
    if its.call_timeout_s and its.call_timeout_s >= its.task_lease_s:
        yield "OMS_TASK_LEASE_S must be more than OMS_CALL_TIMEOUT_S"


def load_settings(environ: Mapping[str, str] | None = None, **overrides: object) -> Settings:
    """Return the settings from `environ` (default: the process's environment), with `overrides` by field name.

    An override takes precedence over its variable. Raises `SettingsError`; its text is one line without secrets.
    """
    found = _environment(os.environ if environ is None else environ)
    return Settings(**{**found, **_overrides(overrides)})


def changed(settings: Settings, **overrides: object) -> Settings:
    """Return these settings with some replaced, by field name; a text is parsed like the variable's text."""
    given = _overrides(overrides)
    if given.get("http_compat") == "spring" and settings.default_stock is None:
        given.setdefault("default_stock", SPRING_STOCK)
    return attrs.evolve(settings, **given)


def _environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of all variables that are set, by field name; secrets may come from `_FILE` variables."""
    environ = _without_service_links(environ)
    kinds = {variable(name): (name, kind) for name, kind in _kinds().items()}
    files = {f"{name}_FILE": name for name, (_, kind) in kinds.items() if kind.secret}
    _refuse_unknown(environ, [*kinds, *files])
    texts = {name: environ[name] for name in kinds if name in environ}
    for file_name, name in files.items():
        if file_name in environ:
            if name in texts:
                raise SettingsError(f"{name} and {file_name} exclude each other; set one of them")
            texts[name] = _read(file_name, environ[file_name])
    values = {kinds[name][0]: _parsed(name, kinds[name][1], text) for name, text in texts.items()}
    lines = cast("Mapping[str, str]", values.get("kafka_conf", {}))
    return {**values, "kafka_conf": _kafka_conf(environ, lines)}


def _kafka_conf(environ: Mapping[str, str], lines: Mapping[str, str]) -> Mapping[str, str]:
    """Return the keys of `OMS_KAFKA_CONF` or its file; a variable `OMS_KAFKA_CONF_...` of one key takes precedence."""
    single = {
        name.removeprefix(KAFKA_CONF).lower().replace("_", "."): text
        for name, text in sorted(environ.items())
        if name.startswith(KAFKA_CONF) and name != KAFKA_CONF_FILE
    }
    for key in sorted(OUR_KAFKA_KEYS & (single.keys() | lines.keys())):
        name = KAFKA_CONF + key.upper().replace(".", "_") if key in single else KAFKA_CONF.rstrip("_")
        raise SettingsError(f"{name}: {key} isn't yours to set")
    return {**lines, **single}


def _without_service_links(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the variables without those that Kubernetes adds for services whose names begin with `oms`.

    For a service `oms-http` they are `OMS_HTTP_SERVICE_HOST` and so on, and also `OMS_HTTP_PORT=tcp://10.0.0.1:80`.
    """
    host = "_SERVICE_HOST"
    services = {f"{name.removesuffix(host)}_" for name in environ if name.startswith("OMS") and name.endswith(host)}

    def is_link(name: str, text: str) -> bool:
        rests = (name.removeprefix(service) for service in services if name.startswith(service))
        return any(_SERVICE_LINK.fullmatch(rest) or (rest == "PORT" and "://" in text) for rest in rests)

    return {name: text for name, text in environ.items() if not is_link(name, text)}


def _refuse_unknown(environ: Mapping[str, str], known: list[str]) -> None:
    for name in environ:
        if name.startswith(PREFIX) and name not in known and not name.startswith(FREE_PREFIXES):
            near = difflib.get_close_matches(name, known, n=1)
            raise SettingsError(
                f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else "; see docs/settings.md")
            )


def _overrides(values: Mapping[str, object]) -> dict[str, Any]:
    """Return the values of keyword arguments, by field name; a text is parsed like the variable's text."""
    kinds = _kinds()
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name not in kinds:
            near = difflib.get_close_matches(name, kinds, n=1)
            raise SettingsError(f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else ""))
        found[name] = _parsed(variable(name), kinds[name], value) if isinstance(value, str) else value
        _check(variable(name), kinds[name], found[name])
    return found


def _parsed(name: str, kind: Kind, text: str) -> object:
    try:
        value = kind.parse(text)
    except ValueError:
        raise SettingsError(f"{name}: {kind.shown(text)} is not {kind.allowed}") from None
    if not kind.allows(value):
        raise SettingsError(f"{name}: {kind.shown(text)} is not {kind.allowed}")
    return value


def _read(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, ValueError) as error:
        raise SettingsError(f"{name}: the file can't be read ({type(error).__name__})") from None


@attrs.frozen
class SettingRow:
    """One line of the table of settings."""

    name: str
    default: str
    meaning: str
    secret: bool


def settings_table() -> tuple[SettingRow, ...]:
    """Every setting, in the order of the class."""
    return tuple(_row(field) for field in attrs.fields(Settings))


def _row(field: attrs.Attribute[Any]) -> SettingRow:
    spec = _spec(field)
    meaning = f"{field.metadata['typed-settings']['help']} Value: {spec.kind.allowed}."
    if spec.kind.secret:
        meaning += f" Or a file that holds it: `{variable(field.name)}_FILE`."
    return SettingRow(variable(field.name), spec.shown_default, meaning, spec.kind.secret)


def settings_markdown() -> str:
    """The table as Markdown, for docs/settings.md."""
    lines = ["| name | default | meaning |", "| --- | --- | --- |"]
    for row in settings_table():
        meaning = row.meaning.replace("|", "\\|")
        lines.append(f"| `{row.name}` | {f'`{row.default}`' if row.default else ''} | {meaning} |")
    return "\n".join(lines) + "\n"
