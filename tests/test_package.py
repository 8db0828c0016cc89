"""What is tested is what is installed: the built wheel with its migrations, and nothing heavy at import."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import venv
from importlib.metadata import packages_distributions, version
from importlib.resources import files
from pathlib import Path

import pytest

import oms
from tests.support.files import ROOT


@pytest.mark.skipif(
    "OMS_TEST_WHEEL" not in os.environ,
    reason="`make` sets OMS_TEST_WHEEL; without it, the tests run against the source tree",
)
def test_the_installed_wheel_is_tested() -> None:
    assert "site-packages" in Path(oms.__file__).parts
    assert version("distributed-oms") == oms.__version__


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


OPTIONAL = {"testcontainers", "docker", "requests", "uvloop"}
"""The first three start servers for tests where they are installed; the last comes with uvicorn on some platforms."""


def imported_modules(folder: Path) -> set[str]:
    """The top-level modules that the files of a folder import, at their top or in functions."""
    found: set[str] = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"oms"}


def test_each_import_is_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = names_of(project["dependencies"])
    distributions = packages_distributions()
    for folder in sorted(one for one in (ROOT / "src" / "oms").iterdir() if one.is_dir()):
        declared = needed | names_of(project["optional-dependencies"].get(folder.name, []))
        for module in imported_modules(folder) - OPTIONAL:
            found = {one.lower().replace("_", "-") for one in distributions.get(module, [module])}
            assert found & declared, f"oms.{folder.name} imports {module}, which pyproject.toml doesn't declare for it"


def test_the_metadata_names_the_python_versions_that_the_tests_run_on() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    claimed = [found[1] for one in project["classifiers"] if (found := re.search(r"Python :: (\d+\.\d+)$", one))]
    script = (ROOT / "scripts/pythons.py").read_text()
    assert f"VERSIONS = {tuple(claimed)}".replace("'", '"') in script
    assert project["requires-python"] == f">={claimed[0]}"


def names_of(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=~! ]", one)[0].lower().replace("_", "-") for one in requirements}


CONTRACT = """
import oms, pytest
from oms.testing.contracts.pricing import PricingContract

class Flat(oms.Pricing):
    def price(self, terms):
        return oms.Money(sum(terms.items.values()) * 100, terms.total.currency)

class TestFlat(PricingContract):
    @pytest.fixture
    def pricing(self):
        return Flat()

def test_a_shop(shop):
    order = shop.given(order={"lamp": 1})
    shop.run()
    shop.expect(order).confirmed()
"""


@pytest.mark.slow
def test_the_testing_extra_is_all_that_a_shops_tests_need(tmp_path: Path) -> None:
    (wheel,) = (ROOT / "dist").glob("distributed_oms-*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--constraint", "requirements.txt"]
    subprocess.run([python, *pip, f"{wheel}[testing]"], check=True, cwd=ROOT)
    (tmp_path / "test_flat.py").write_text(CONTRACT)
    done = subprocess.run([python, "-m", "pytest", "-q", "test_flat.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
