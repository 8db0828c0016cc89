"""No modules of src import each other in a circle, which import contracts don't state within a room."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src"


def modules(source: Path) -> dict[str, Path]:
    """Every module below a directory, by its dotted name."""
    names = {path: ".".join(path.relative_to(source).with_suffix("").parts) for path in sorted(source.rglob("*.py"))}
    return {name.removesuffix(".__init__"): path for path, name in names.items()}


def imports(tree: ast.AST) -> Iterator[str]:
    """The dotted names that a module imports, in functions too, except those under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from imports(other)
        else:
            yield from imports(node)


def circle(source: Path) -> list[str] | None:
    """A circle of modules that import each other, first module repeated at the end; None if there is none."""
    known = modules(source)
    graph: Mapping[str, set[str]] = {
        name: {found for found in imports(ast.parse(path.read_text())) if found in known and found != name}
        for name, path in known.items()
    }
    packages = {name for name, path in known.items() if path.name == "__init__.py"}
    for name, found in graph.items():
        # `from package import module` names the package as well; it is a dependency only if it defines the name.
        found -= {other for other in found if other in packages and any(one.startswith(f"{other}.") for one in found)}
        found -= {other for other in packages if name.startswith(f"{other}.")}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return None


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle(SOURCE) is None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("from shop.second import b\n", "from shop.first import a\n"),
        ("import shop.second\n", "def late():\n    from shop import first\n"),
    ],
)
def test_a_circle_is_found(tmp_path: Path, first: str, second: str) -> None:
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "first.py").write_text(first)
    (package / "second.py").write_text(second)

    assert set(circle(tmp_path) or ()) == {"shop.first", "shop.second"}


def test_an_import_for_types_alone_makes_no_circle(tmp_path: Path) -> None:
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "first.py").write_text("from shop.second import b\n")
    (package / "second.py").write_text("if TYPE_CHECKING:\n    from shop.first import a\n")

    assert circle(tmp_path) is None
