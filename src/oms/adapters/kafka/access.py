"""Access to Kafka: the commands that grant it, and warnings about connections that aren't secure."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence

import attrs

from oms.adapters.kafka.conf import READER_GROUP
from oms.ports.findings import Finding, warning
from oms.settings.records import KafkaConfig

OPERATOR = "operator"
"""The name in the principal of `oms doctor`, `verify` and `reconcile`."""

_CERTIFICATE_KEYS = frozenset({"ssl.certificate.location", "ssl.certificate.pem", "ssl.keystore.location"})


@attrs.frozen
class Rights:
    """The consumer group of one service or of a user's own step, and the topics that it reads and writes."""

    group: str
    reads: Sequence[str]
    writes: Sequence[str]


def acl_commands(
    config: KafkaConfig, rights: Mapping[str, Rights], topics: Collection[str], principal: str
) -> list[str]:
    """The `kafka-acls.sh` commands that give each service, by name, its rights and no others.

    `topics` are all topics, which every principal may describe; `principal` is a pattern, as in `User:oms-{name}`. The
    last commands are for an operator, who may read every topic and describe every group.
    """
    known = _flags("--topic", topics)
    groups = [READER_GROUP, *(its.group for its in rights.values())]
    grants = [grant for name, its in rights.items() for grant in _grants(name, its, known)]
    grants += [
        (OPERATOR, ["Describe", "DescribeConfigs", "Read"], known),
        (OPERATOR, ["Describe"], _flags("--group", groups)),
    ]
    return [
        _command(config.bootstrap, principal.replace("{name}", name), operations, resources)
        for name, operations, resources in grants
    ]


def _grants(name: str, its: Rights, topics: Sequence[str]) -> list[tuple[str, Sequence[str], Sequence[str]]]:
    """(name, operations, arguments that name the resources) of one service; `topics` are the arguments for all."""
    return [
        (name, ["Describe", "DescribeConfigs"], topics),
        (name, ["Read"], _flags("--topic", its.reads)),
        (name, ["Read"], ["--group", its.group]),
        (name, ["Write"], _flags("--topic", its.writes)),
        (name, ["IdempotentWrite"], ["--cluster"]),
    ]


def _command(bootstrap: str, principal: str, operations: Sequence[str], resources: Sequence[str]) -> str:
    command = ["kafka-acls.sh", "--bootstrap-server", bootstrap, "--command-config", "admin.properties"]
    command += ["--add", "--force", "--allow-principal", principal]
    command += [argument for operation in operations for argument in ("--operation", operation)]
    return shlex.join([*command, *resources])


def connection_warnings(config: KafkaConfig) -> Iterator[Finding]:
    """One line if this connection to Kafka isn't encrypted, or doesn't identify the client to Kafka."""
    consequence = "see Security in docs/distributed.md"
    if config.security == "plaintext":
        yield warning(
            f"OMS_KAFKA_SECURITY is plaintext: whoever reaches {config.bootstrap} can write to every"
            f" topic, and have customers charged; {consequence}"
        )
    elif config.security == "sasl_plaintext":
        yield warning(f"OMS_KAFKA_SECURITY is sasl_plaintext: messages aren't encrypted; {consequence}")
    elif config.security == "ssl" and not _CERTIFICATE_KEYS & config.conf.keys():
        yield warning(
            f"OMS_KAFKA_SECURITY is ssl without a client's certificate: Kafka can't tell who writes; {consequence}"
        )


def _flags(flag: str, names: Collection[str]) -> list[str]:
    return [argument for name in sorted(set(names)) for argument in (flag, name)]
