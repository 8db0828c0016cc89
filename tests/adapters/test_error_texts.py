"""No adapter decides by the text of an error: servers translate their messages, and drivers change theirs."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

import oms

SOURCES = Path(oms.__file__).parent
LOOKED_AT = ("adapters", "entrypoints", "bootstrap", "application")
TEXT_ATTRIBUTES = {"args", "message_primary", "message_detail", "message_hint", "strerror", "pgerror"}
TESTS_OF_TEXT = {"startswith", "endswith", "find", "index", "count", "search", "match", "fullmatch", "findall", "get"}
ALLOWED = {
    # Redis's protocol has the error code only as the first word of the text.
    "adapters/redis/driver_errors.py": ("_code",),
    # librdkafka gives every fatal error one code; the text that is compared is librdkafka's own for the other code.
    "adapters/kafka/driver_errors.py": ("is_instance_taken",),
    # The first argument is a number: how many bytes httptools has read.
    "entrypoints/http/connection.py": ("_parse",),
}


def offences(source: str, *, allowed: Collection[str] = ()) -> Iterator[tuple[str, int]]:
    """(function, line) of each decision by an error's text, but for those functions that may read it."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    tellers = {one.name for one in functions if one.name not in allowed and _Reader(one, set()).returns_text()}
    for function in functions:
        if function.name not in allowed:
            for line in _Reader(function, tellers).decisions():
                yield function.name, line


class _Reader:
    """One function, with the names of those that return the text of an error."""

    def __init__(self, function: ast.FunctionDef, tellers: set[str]) -> None:
        self.function, self.tellers = function, tellers
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        caught = [node.name for node in ast.walk(function) if isinstance(node, ast.ExceptHandler) and node.name]
        self.errors = {one.arg for one in arguments if one.annotation and _is_error(one.annotation)} | set(caught)
        self.texts: set[str] = set()
        for _ in range(3):  # a text may go from name to name
            for node in ast.walk(function):
                if (
                    isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr)
                    and node.value
                    and self.has_text(node.value)
                ):
                    if isinstance(node.value, ast.List):
                        continue  # how many there are says nothing of the text
                    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                    self.texts |= {name for one in targets for name in _names(one)}

    def returns_text(self) -> bool:
        return any(
            isinstance(node, ast.Return) and node.value and self.has_text(node.value)
            for node in ast.walk(self.function)
        )

    def decisions(self) -> Iterator[int]:
        for node in ast.walk(self.function):
            for part in _deciding_parts(node):
                if self.has_text(part):
                    yield part.lineno

    def has_text(self, node: ast.AST) -> bool:
        return any(self._is_text(part) for part in ast.walk(node))

    def _is_text(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Name):
            return node.id in self.texts
        if isinstance(node, ast.Attribute):
            return node.attr in TEXT_ATTRIBUTES and isinstance(node.ctx, ast.Load) and self._of_error(node.value)
        if not isinstance(node, ast.Call):
            return False
        if isinstance(node.func, ast.Name):
            wanted = node.func.id in {"str", "repr", *self.tellers}
            return wanted and any(self._of_error(one) for one in node.args)
        return isinstance(node.func, ast.Attribute) and node.func.attr == "str" and self._of_error(node.func.value)

    def _of_error(self, node: ast.AST) -> bool:
        return any(isinstance(part, ast.Name) and part.id in self.errors for part in ast.walk(node))


def _names(target: ast.expr) -> Iterator[str]:
    if isinstance(target, ast.Name):
        yield target.id
    elif isinstance(target, ast.Tuple):
        for part in target.elts:
            yield from _names(part)


def _is_error(annotation: ast.AST) -> bool:
    named = ast.unparse(annotation)
    return named.endswith(("Error", "Exception")) or "Error |" in named or "Exception |" in named


def _deciding_parts(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.If | ast.While | ast.IfExp | ast.Assert):
        yield node.test
    elif isinstance(node, ast.Match):
        yield node.subject
    elif isinstance(node, ast.Compare):
        yield node
    elif isinstance(node, ast.comprehension):
        yield from node.ifs
    elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        yield node.slice
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in TESTS_OF_TEXT:
        yield node


PLANTED = {
    "in a condition": 'try: f()\nexcept Bad as error:\n  if "gone" in str(error): g()',
    "by way of a name": 'try: f()\nexcept Bad as e:\n  said = str(e).lower()\n  word = said[:4]\n  x = 1 if word == "gone" else 2',
    "in a table": "try: f()\nexcept Bad as error:\n  x = KNOWN.get(str(error))",
    "by an expression": 'try: f()\nexcept Bad as error:\n  x = re.search("gone", error.diag.message_primary)',
    "by its arguments": 'try: f()\nexcept Bad as error:\n  if error.args[0] == "gone": g()',
    "in a librdkafka error": 'try: f()\nexcept Bad as error:\n  while error.str().startswith("gone"): g()',
}


@pytest.mark.parametrize("planted", PLANTED.values(), ids=list(PLANTED))
def test_a_planted_decision_is_found(planted: str) -> None:
    body = "\n".join(f"  {line}" for line in planted.splitlines())
    assert list(offences(f"def f():\n{body}"))


def test_a_decision_in_another_function_is_found() -> None:
    source = 'def said(e: Exception):\n  return str(e)\ndef f(error: BadError):\n  if "gone" in said(error): g()'
    assert list(offences(source)) == [("f", 4)] * 2


def test_an_error_may_be_shown_and_asked_for_its_code() -> None:
    source = 'def f(error: BadError):\n  note(str(error))\n  if error.sqlstate == "23505": return Retryable(f"{error}")'
    assert list(offences(source)) == []


def test_no_adapter_decides_by_the_text_of_an_error() -> None:
    files = [
        path
        for part in LOOKED_AT
        for path in ([SOURCES / part] if part.endswith(".py") else (SOURCES / part).rglob("*.py"))
    ]
    found = {
        (str(path.relative_to(SOURCES)), function, line)
        for path in files
        for function, line in offences(path.read_text(), allowed=ALLOWED.get(str(path.relative_to(SOURCES)), ()))
    }
    assert found == set()
