"""Checks the servers of a distributed system, and sets them up."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from oms.application.routing import ROUTING
from oms.application.steps.context import OwnStep
from oms.application.topic_rights import topic_access
from oms.bootstrap.system import SERVICES
from oms.ports.findings import Finding
from oms.settings import Settings


def topics_of(own: Mapping[str, OwnStep]) -> Collection[str]:
    """Return every topic of a system: of its services, of dead letters, and those that own steps read or write."""
    return [row.topic for row in topic_access({group: step.topics for group, step in own.items()})]


def check_servers(
    settings: Settings, names: Collection[str], topics: Collection[str], *, by_operator: bool = False
) -> Sequence[Finding]:
    """Check the servers that these services need; return one finding for each error or warning.

    With `by_operator`, the check uses the operator's role for services whose password isn't set.
    """
    if settings.profile != "distributed":
        return ()
    from oms.adapters.kafka.access import connection_warnings
    from oms.adapters.kafka.topics import check_topics
    from oms.adapters.sql.provisioning.checks import check_postgres

    stores = [name if name in SERVICES else f"step-{name}" for name in names]
    found = [
        *check_postgres(settings.postgres, stores, by_operator=by_operator),
        *check_topics(settings.kafka, topics),
        *connection_warnings(settings.kafka),
    ]
    if "inventory" in names:
        from oms.adapters.redis.checks import check as check_redis

        found += check_redis(settings.redis)
    return found


def acl_commands(settings: Settings, own: Mapping[str, OwnStep], principal: str) -> Sequence[str]:
    """Return the `kafka-acls.sh` commands for this system's services and own steps.

    `principal` is a pattern such as `User:oms-{name}`.
    """
    from oms.adapters.kafka.access import Rights
    from oms.adapters.kafka.access import acl_commands as commands_of

    table = topic_access({group: step.topics for group, step in own.items()})
    groups = {**{name: consumes.group for name, consumes in ROUTING.items()}, **{group: group for group in own}}
    rights = {
        name: Rights(
            group,
            [row.topic for row in table if name in row.readers],
            [row.topic for row in table if name in row.writers],
        )
        for name, group in groups.items()
    }
    return commands_of(settings.kafka, rights, [row.topic for row in table], principal)


def other_currencies(settings: Settings, names: Collection[str]) -> Sequence[Finding]:
    """Return one finding for each store on PostgreSQL whose pinned currency isn't that of the settings."""
    if settings.profile != "distributed":
        return ()
    from oms.adapters.sql.provisioning.checks import other_currencies as found

    stores = [name if name in SERVICES else f"step-{name}" for name in names]
    return found(settings.postgres, stores, settings.currency)


def set_up(settings: Settings, own: Mapping[str, OwnStep]) -> Sequence[str]:
    """Create the missing database, roles, schemas and topics; return one line for each action. Safe to repeat."""
    from oms.adapters.kafka.topics import ensure_topics
    from oms.adapters.sql.provisioning.roles import set_up_postgres

    record = set_up_postgres(settings.postgres, SERVICES, list(own))
    topics = ensure_topics(settings.kafka, topics_of(own))
    made = [f"Kafka: topic {name} made" for name in topics.created]
    widened = [f"Kafka: topic {name} has more partitions" for name in topics.widened]
    return [*record, *made, *widened, *(f"Kafka: topic {name} limits the size of messages" for name in topics.limited)]
