"""Checks whether the gate can use a Redis server, and lists the rights that the gate's user needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from redis import Redis

from oms.adapters.redis.connection import Address, connect
from oms.adapters.redis.driver_errors import translated_errors
from oms.adapters.redis.gate import PREFIX
from oms.adapters.redis.scripts import ScriptRunner
from oms.ports.errors import PortError, SettingsError
from oms.ports.findings import Finding, warning
from oms.settings.records import RedisConfig

VERSION = (7, 0)
"""The first version with script flags; without them, a full server could stop a `take` half-way."""

ACL_RULES = (
    f"resetkeys ~{PREFIX}* resetchannels -@all "
    "+evalsha +script|load +info +select "
    "+hdel +hexists +hget +hincrby +hmget +hscan +hset +hsetnx "
    "+unlink +zadd +zrangebyscore +zrem +zscore"
)
"""The rights of the gate's user, for `ACL SETUSER` or an ACL file: `user oms on #<SHA-256 of the password> <these>`.

Only the gate's keys; no KEYS, FLUSHALL, CONFIG or DEBUG. Redis itself allows every user to log in.
"""


def check(config: RedisConfig) -> Sequence[Finding]:
    """Return one finding for each problem of this Redis, and none if the gate can use it; never raises for a problem.

    Doesn't look at persistence: the gate is rebuilt after every restart of Redis.
    """
    try:
        at = Address.of(config.url)
    except SettingsError as error:
        return [Finding(str(error))]
    with closing(connect(config)) as client:
        try:
            with translated_errors:
                problems = list(_problems(_facts(client)))
            if not problems:
                ScriptRunner(client, f"{PREFIX}probe").run("probe", [()])
        except PortError as error:
            problems = [str(error)]
    warnings = map(warning, _ineffective(config, at))
    return [*warnings, *(Finding(f"OMS_REDIS_URL ({at}): {problem}") for problem in problems)]


def _ineffective(config: RedisConfig, at: Address) -> Iterator[str]:
    if config.ca_file and not at.tls:
        yield "OMS_REDIS_CA_FILE has no effect without rediss:// in OMS_REDIS_URL"


def _facts(client: Redis) -> Mapping[str, Any]:
    facts: dict[str, Any] = {}
    for part in ("server", "replication", "memory", "cluster"):  # one per call: older servers accept only one
        facts.update(client.info(part))
    return facts


def _problems(facts: Mapping[str, Any]) -> Iterator[str]:
    version = str(facts.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) < VERSION:
        yield f"Redis {version} is too old; 7.0 or later is needed"
    if facts.get("cluster_enabled"):
        yield "Redis Cluster isn't supported; one server is needed, with replicas where wanted"
    if facts.get("role") != "master":
        yield "Redis is a replica, which takes no writes; the address must be its primary's"
    policy = facts.get("maxmemory_policy")
    if policy != "noeviction":
        yield f"Redis has maxmemory-policy {policy}, which may drop orders' answers; it must be noeviction"
    if not (facts.get("run_id") and facts.get("master_replid")):
        yield "Redis doesn't tell its run id and replication id, so a lost memory would not be seen"
