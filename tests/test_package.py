"""What is tested is what is installed: the built wheel with its migrations, and nothing heavy at import."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import pytest

import oms


@pytest.mark.skipif("OMS_TEST_WHEEL" not in os.environ, reason="`make` sets it; a source tree is being tested by hand")
def test_the_installed_wheel_is_tested() -> None:
    assert "site-packages" in Path(oms.__file__).parts
    assert version("oms") == oms.__version__


def test_what_the_package_brings_along() -> None:
    package = files("oms")
    assert (package / "py.typed").is_file()
    for service in ("order", "inventory", "payment", "notification", "step"):
        assert (package / "adapters/sql/migrations/versions" / service / "0001_first_tables.py").is_file()


def test_every_public_name_is_there() -> None:
    for name in oms.__all__:
        assert getattr(oms, name) is not None
    with pytest.raises(AttributeError):
        _ = oms.nothing_of_the_kind  # type: ignore[attr-defined]


def test_importing_opens_and_loads_nothing_heavy() -> None:
    heavy = "sqlalchemy starlette uvicorn structlog alembic msgspec dependency_injector"
    script = (
        f"import sys, oms, oms.testing, oms.testing.plugin; print([m for m in '{heavy}'.split() if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
