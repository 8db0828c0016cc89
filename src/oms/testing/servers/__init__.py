"""Real servers for tests: PostgreSQL, Redis and Apache Kafka, each from the first available of three providers.

1. `urls`: a running server whose address is in the environment (`OMS_TEST_POSTGRES_URL`, `OMS_TEST_REDIS_URL`,
   `OMS_TEST_KAFKA_BOOTSTRAP`).
2. `docker`: testcontainers, if a Docker engine responds (images: `OMS_TEST_POSTGRES_IMAGE`, `OMS_TEST_REDIS_IMAGE`,
   `OMS_TEST_KAFKA_IMAGE`).
3. `native`: the programs that are installed on this machine (Linux).

`OMS_TEST_BACKENDS=urls|docker|native` allows only one provider; the default is `auto`. If no provider is available,
`ServersMissing` says what to install: no test is skipped. Servers end with the process that started them, even if it is
killed.

    with running_servers("postgres", "redis") as servers:
        use(servers.postgres_url, servers.redis_url)

In pytest: the fixtures `oms_postgres_url`, `oms_redis_url`, `oms_kafka_bootstrap`, `oms_postgres_database` and
`oms_prefix`; outside a fixture `servers().postgres_url`. A fault test takes a server of its own: `NativePostgres`,
`NativeRedis`, `NativeKafka`.
"""

from __future__ import annotations

from oms.testing.servers.isolation import fresh_database, fresh_prefix
from oms.testing.servers.native import NativeKafka, NativePostgres, NativeRedis, NativeServer
from oms.testing.servers.run import Servers, end_of_run, running_servers, servers
from oms.testing.servers.server_types import Provider, Server, ServerFailed, ServerName, ServersMissing

__all__ = [
    "NativeKafka",
    "NativePostgres",
    "NativeRedis",
    "NativeServer",
    "Provider",
    "Server",
    "ServerFailed",
    "ServerName",
    "Servers",
    "ServersMissing",
    "end_of_run",
    "fresh_database",
    "fresh_prefix",
    "running_servers",
    "servers",
]
