"""Every block of code in docs/testing.md is run: those that are to fail do, with the words that the page shows."""

from __future__ import annotations

import re

import attrs
import pytest

from oms.testing.expect import OrderExpectation, SystemExpectation
from oms.testing.fault_targets import ShopGate, ShopGateway, ShopTopic, ShopWorker
from tests.support.files import ROOT

pytest_plugins = ["pytester"]

PAGE = (ROOT / "docs" / "testing.md").read_text()
BLOCK = re.compile(r"(<!-- fails -->\n)?```(\w+)\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", re.DOTALL)


@attrs.frozen
class Block:
    fails: bool
    language: str
    code: str
    shown: list[str]


BLOCKS = [
    Block(bool(fails), language, code, shown.splitlines()) for fails, language, code, shown in BLOCK.findall(PAGE)
]


def module(upto: int) -> str:
    """The blocks in their order are one module; one that fails has those before it, and not their tests."""
    before = "\n\n".join(block.code for block in BLOCKS[:upto] if not block.fails)
    if not BLOCKS[upto - 1].fails:
        return before
    hidden = re.sub(r"^(def|class) ([tT]est)", r"\1 _\2", before, flags=re.MULTILINE)
    return hidden + "\n\n" + BLOCKS[upto - 1].code


def run(pytester: pytest.Pytester, source: str) -> pytest.RunResult:
    pytester.makepyfile(test_page=source)
    return pytester.runpytest_inprocess(
        "-q", "-p", "no:cacheprovider", "-o", "asyncio_default_fixture_loop_scope=function"
    )


@pytest.mark.parametrize("kind", [ShopGateway, ShopWorker, ShopTopic, ShopGate, OrderExpectation, SystemExpectation])
def test_the_page_names_every_fault_and_expectation(kind: type) -> None:
    methods = {name for name, value in vars(kind).items() if callable(value) and not name.startswith("_")}

    assert {name for name in methods if not re.search(rf"\b{name}\b", PAGE)} == set()


def test_the_page_has_blocks_of_both_kinds() -> None:
    assert {block.language for block in BLOCKS} == {"python"}
    assert sum(block.fails for block in BLOCKS) == 3
    assert all(bool(block.shown) == block.fails for block in BLOCKS)
    assert PAGE.count("```") == 2 * (len(BLOCKS) + 3)


@pytest.mark.slow
def test_what_is_to_pass_passes(pytester: pytest.Pytester) -> None:
    passing = [block for block in BLOCKS if not block.fails]
    last = max(number for number, block in enumerate(BLOCKS, 1) if not block.fails)
    outcomes = run(pytester, module(last)).parseoutcomes()
    functions = sum(len(re.findall(r"^def test_", block.code, re.MULTILINE)) for block in passing)
    assert set(outcomes) <= {"passed", "warnings", "warning"}, outcomes
    assert outcomes["passed"] > functions, "the tests of the contract suites run as well"


@pytest.mark.parametrize("number", [number for number, block in enumerate(BLOCKS, 1) if block.fails])
def test_what_is_to_fail_says_what_the_page_shows(pytester: pytest.Pytester, number: int) -> None:
    ran = run(pytester, module(number))
    ran.assert_outcomes(failed=1)
    ran.stdout.fnmatch_lines([line.replace("[", "[[]") for line in BLOCKS[number - 1].shown])


def test_the_readme_shows_what_works(pytester: pytest.Pytester) -> None:
    (block,) = re.findall(r"```python\n(def test_.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    run(pytester, block).assert_outcomes(passed=len(re.findall(r"^def test_", block, re.MULTILINE)))
