"""No module of ours makes an admin request to a group's coordinator.

librdkafka aborts the whole process when the connection to the coordinator is lost during such a request (an assertion;
librdkafka issue 4605, open in version 2.16). Consumers ask the same questions without that risk: `adapters/kafka/group_offsets.py`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

import oms

TO_A_COORDINATOR = {
    "alter_consumer_group_offsets",
    "delete_consumer_groups",
    "describe_consumer_groups",
    "list_consumer_group_offsets",
}
TO_ALL_BROKERS = {"list_consumer_groups", "list_groups"}
SOURCES = Path(oms.__file__).parent


def coordinator_requests(source: str) -> Iterator[str]:
    """Each use of such a method, as `line: name`."""
    for node in ast.walk(ast.parse(source)):
        name = node.attr if isinstance(node, ast.Attribute) else node.value if isinstance(node, ast.Constant) else None
        if isinstance(name, str) and name in TO_A_COORDINATOR:
            yield f"{getattr(node, 'lineno', 0)}: {name}"


def test_every_group_request_of_the_admin_client_is_known_here() -> None:
    """A new version may have more of them."""
    assert {
        name for name in dir(AdminClient) if "group" in name and name[0] != "_"
    } == TO_A_COORDINATOR | TO_ALL_BROKERS


@pytest.mark.parametrize("source", ["admin.describe_consumer_groups(['g'])", "getattr(a, 'delete_consumer_groups')"])
def test_a_request_is_found(source: str) -> None:
    assert list(coordinator_requests(source))


def test_no_module_makes_an_admin_request_to_a_coordinator() -> None:
    modules = sorted(SOURCES.rglob("*.py"))
    assert len(modules) > 100
    found = [f"{path.relative_to(SOURCES)}:{use}" for path in modules for use in coordinator_requests(path.read_text())]
    assert found == [], "librdkafka may abort the process"
