"""Which contract test each adapter runs, read from the suites and the test classes that subclass them.

No test is run here: an adapter counts as tested where its test class has the test as the suite wrote it, and no flag of
the class skips it. `make check` and `make test-servers` run the same classes.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from inspect import getsourcefile
from pathlib import Path
from textwrap import fill

import attrs

ROOT = Path(__file__).parent.parent
SUITES = "oms.testing.contracts"
TITLES = {
    "GateContract": "Stock gate",
    "InventoryStoreContract": "Inventory store",
    "StoreContract": "Every store: transactions, inbox, attempts",
    "TaskContract": "Every store: tasks",
    "RegistrationContract": "Every store: owners of leases",
    "OutboxContract": "Every store: outbox",
    "DeadLetterContract": "Every store: dead letters",
    "LimitContract": "Every store: limits of texts and numbers",
    "ResponseContract": "Order and inventory stores: idempotency keys",
    "ResponseLimitContract": "Order and inventory stores: limits of stored responses",
    "BrokerContract": "Broker: the message log",
    "RecordsContract": "Broker: records",
    "OffsetsContract": "Broker: offsets of a group",
    "MembersContract": "Broker: members of a group",
    "NotificationStoreContract": "Notification store",
    "OrderStoreContract": "Order store",
    "ModelContract": "Order store against a model",
    "PaymentStoreContract": "Payment store",
    "StepStoreContract": "Store of a user's own step",
    "JoiningContract": "Orders in the caller's SQL transaction",
    "CallsContract": "Call executor",
    "ClockContract": "Clock",
    "IdsContract": "Order ids and lease tokens",
}
"""The heading of each suite; one that isn't here is called by its class."""

ABOUT = {
    "GateContract": (
        "The stock gate decides whether the units of an order can be held: `take` holds all lines or none, "
        "`give_back` frees them, and `settle` lets the answer for an ended order expire. Each call belongs to "
        "an epoch, and a rebuild from the ledger begins the next one."
    ),
    "InventoryStoreContract": (
        "Stock, its ledger and the reservations. The fold adds up the ledger; the epoch is that of the stock gate."
    ),
    "StoreContract": (
        "One transaction for each unit of work, and an inbox that knows the messages that a group has handled."
    ),
    "TaskContract": (
        "A task is an outside call or a deadline. A process claims it for the time of a lease, and finishes, "
        "postpones or ends it."
    ),
    "RegistrationContract": (
        "A process registers as the owner of its leases. A restarted process releases the leases that the ended "
        "processes of its instance have left."
    ),
    "OutboxContract": (
        "Messages are stored in the transaction that decides them and leased to the process that committed "
        "them. When the lease has expired, any process finds them (the sweep)."
    ),
    "DeadLetterContract": "Dead letters, the number of attempts at a batch, and the removal of old rows.",
    "LimitContract": (
        "Every store refuses the same texts and numbers, so a test in memory fails where production would."
    ),
    "ResponseContract": "The stored response to a request with an `Idempotency-Key`.",
    "BrokerContract": (
        "The message log survives a crash, verification reads all of its records, and none is lost while members join "
        "and leave."
    ),
    "RecordsContract": "Bytes and headers are unchanged, and the messages of one key stay in order.",
    "OffsetsContract": "Groups are independent, and a group gets each record again until it commits its offset.",
    "MembersContract": (
        "Members share the partitions. A consumer may hold new partitions back until it has recorded them, and read a "
        "partition one record at a time (careful mode)."
    ),
    "NotificationStoreContract": "One notification for each order and kind.",
    "OrderStoreContract": (
        "Orders, their history, and who may see them. An early event is one that arrives before its order."
    ),
    "ModelContract": "Random sequences of commands, against the store and against plain dictionaries.",
    "PaymentStoreContract": "One payment for each order. A tombstone is the row of a cancel that arrived first.",
    "StepStoreContract": "One JSON document for each order, replaced by compare-and-set.",
    "JoiningContract": "An order exists if, and only if, the caller's transaction commits.",
    "CallsContract": "Calls to gateways and notifiers, outside of any transaction and limited in number and time.",
}
"""What a suite is about, in a sentence or two."""

ADAPTERS = {
    "Memory": "memory",
    "Sqlite": "SQLite",
    "Postgres": "PostgreSQL",
    "Redis": "Redis",
    "Kafka": "Kafka",
    "Sequential": "memory",
    "Manual": "memory",
    "Counted": "memory",
    "ThreadPool": "runtime",
    "System": "system",
}
"""The column of each adapter, by the beginning of its test class's name after `Test`."""

NAMES = {
    ("SQLite", suite): "SQLite log"
    for suite in ("BrokerContract", "RecordsContract", "OffsetsContract", "MembersContract")
}


@attrs.frozen
class Behaviour:
    """One test of a suite. `flag` is the class attribute that it needs; `without` is its reason to skip otherwise."""

    name: str
    text: str
    flag: str | None = None
    without: str = ""


def fidelity() -> str:
    """The page."""
    classes = list(_test_classes())
    suites = dict.fromkeys(suite for _, known in classes for suite in known)
    sections = (_section(suite, [found for found, known in classes if suite in known]) for suite in suites)
    return "\n".join([_HEAD, *sections])


_HEAD = """\
# Which adapter passes which contract test

Generated from the suites in `oms.testing.contracts` and the test classes in `tests/contracts` by
`scripts/generate_docs.py`; don't edit.

Every port has one suite of contract tests, and every adapter of that port runs it. So the memory adapters, on which the
tests of a shop and the simulator rest, are held to the same behaviour as SQLite, PostgreSQL, Redis and Kafka.

Each row is one test, named after the behaviour that it checks.

- `yes`: the adapter runs this test as the suite wrote it. `make check` fails if the behaviour is missing; for
  PostgreSQL, Redis and Kafka, which need real servers, `make test-servers` does.
- `no (flag)`: the adapter, or its test set-up, lacks what the test needs. The flags are explained below each table.
"""


def _test_classes() -> Iterator[tuple[type, list[type]]]:
    """Each adapter's test class with its suites, the widest first."""
    sys.path.insert(0, str(ROOT))
    found: list[type] = []
    for path in sorted((ROOT / "tests/contracts").glob("test_*_contracts.py")):
        name = f"tests.contracts.{path.stem}"
        things = vars(importlib.import_module(name)).values()
        mine = [thing for thing in things if isinstance(thing, type) and thing.__module__ == name]
        found += [one for one in mine if any(base.__module__.startswith(SUITES) for base in one.__mro__)]
    for one in sorted(found, key=lambda one: (list(ADAPTERS).index(_word(one)), one.__qualname__)):
        yield one, [base for base in one.__mro__ if base.__module__.startswith(SUITES) and _tests(base)]


def _section(suite: type, classes: list[type]) -> str:
    columns: dict[str, list[type]] = {}
    for one in classes:
        columns.setdefault(_adapter(one, suite), []).append(one)
    tests = _tests(suite)
    title = TITLES.get(suite.__name__, suite.__name__.removesuffix("Contract"))
    lines = [f"## {title}", "", f"`{suite.__module__}.{suite.__name__}`", ""]
    lines += [fill(ABOUT[suite.__name__], 120), ""] if suite.__name__ in ABOUT else []
    lines += ["| behaviour | " + " | ".join(columns) + " |", "| --- " * (len(columns) + 1) + "|"]
    for test in tests:
        cells = (_cell(test, suite, column) for column in columns.values())
        lines.append(f"| {test.text} | " + " | ".join(cells) + " |")
    flags = {test.flag: test.without for test in tests if test.flag}
    notes = [f"- `{flag}`: without it, {without}" for flag, without in flags.items()]
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def _cell(test: Behaviour, suite: type, classes: list[type]) -> str:
    results = {_result(test, suite, one) for one in classes}
    return " / ".join(sorted(results))


def _result(test: Behaviour, suite: type, one: type) -> str:
    if getattr(one, test.name) is not getattr(suite, test.name):
        return "a test of its own"
    if test.flag is None or getattr(one, test.flag):
        return "yes"
    return f"no (`{test.flag}`)"


def _word(one: type) -> str:
    name = one.__name__.removeprefix("Test")
    return next(word for word in ADAPTERS if name.startswith(word))


def _adapter(one: type, suite: type) -> str:
    name = ADAPTERS[_word(one)]
    return NAMES.get((name, suite.__name__), name)


def _tests(suite: type) -> list[Behaviour]:
    """The tests that a suite itself defines, in their order."""
    source = Path(getsourcefile(suite) or "").read_text()
    body = next(
        node.body for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == suite.__name__
    )
    tests = [node for node in body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    return [Behaviour(node.name, _text(node), *_flag(node)) for node in tests]


def _text(node: ast.FunctionDef) -> str:
    text = node.name.removeprefix("test_").replace("_", " ")
    more = (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ")
    return f"{text}. {more}" if more else text


def _flag(node: ast.FunctionDef) -> tuple[str | None, str]:
    """The flag and the reason of `if not self.<flag>: pytest.skip("<reason>")`."""
    for found in ast.walk(node):
        match found:
            case ast.If(
                test=ast.UnaryOp(op=ast.Not(), operand=ast.Attribute(attr=flag)),
                body=[
                    ast.Expr(value=ast.Call(func=ast.Attribute(attr="skip"), args=[ast.Constant(value=str(reason))]))
                ],
            ):
                return flag, reason
            case ast.Call(func=ast.Attribute(value=ast.Name(id="pytest"), attr="skip")) if not _guarded(node, found):
                raise SystemExit(f"{node.name} skips without a flag: the table can't show for which adapters")
    return None, ""


def _guarded(node: ast.FunctionDef, call: ast.Call) -> bool:
    guards = (found for found in ast.walk(node) if isinstance(found, ast.If) and isinstance(found.test, ast.UnaryOp))
    return any(inner is call for guard in guards for inner in ast.walk(guard))
