"""The container tests want a Docker engine and minutes; `make test-containers` sets OMS_TEST_CONTAINERS for them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

if not os.environ.get("OMS_TEST_CONTAINERS"):
    collect_ignore = ["test_stack.py"]
else:
    from tests.system.stack.load import Load
    from tests.system.stack.stack import PROJECT, Stack, run

    @pytest.fixture(scope="session")
    def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
        """The stack, from nothing; removed with its data afterwards. Somebody's own stack of this name is left alone."""
        label = f"label=com.docker.compose.project={PROJECT}"
        there = run("docker", "ps", "-aq", "--filter", label) + run("docker", "volume", "ls", "-q", "--filter", label)
        assert not there, f"there is a stack {PROJECT} already; `docker compose down -v` removes it and its data"
        stack = Stack()
        try:
            yield stack
        finally:
            _keep_log(stack, tmp_path_factory.getbasetemp())
            stack.compose("--profile", "*", "down", "-v", "--timeout", "20")

    @pytest.fixture(scope="session")
    def load(stack: Stack) -> Load:
        """Orders that were placed during the tests; each of them has to be there at the end."""
        return Load()


def _keep_log(stack: Stack, folder: Path) -> None:
    file = Path(os.environ.get("OMS_TEST_LOG", folder / "stack.log"))
    file.write_text(stack.compose("logs", "--no-color", "--timestamps"))
    print(f"\nlog of all containers: {file}")
