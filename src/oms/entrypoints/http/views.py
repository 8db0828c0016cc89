"""Turns results of use cases into the JSON shapes of responses."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from oms.domain.order import Order
from oms.domain.state_machine import HistoryEntry
from oms.domain.stock import Stock
from oms.engine.health import HealthReport, Problem
from oms.entrypoints.http import shapes
from oms.entrypoints.http.part_views import add_parts
from oms.ports.stores.rows import DeadLetter, DeadLetterSummary, Page


def readiness(report: HealthReport, *, details: bool) -> shapes.Readiness:
    """Return the readiness of a process; `details` are for operators."""
    return shapes.Readiness(
        report.status,
        _codes(report.not_ready),
        _codes(report.degraded),
        tuple(map(_detail, (*report.not_ready, *report.degraded))) if details else (),
    )


def _codes(problems: Sequence[Problem]) -> tuple[str, ...]:
    return tuple(sorted({problem.condition.value for problem in problems}))


def _detail(problem: Problem) -> shapes.ProblemDetail:
    since = problem.since.isoformat()
    code = problem.condition.value
    return shapes.ProblemDetail(code, problem.service, problem.subject, since, problem.failures, problem.detail)


def order_view(order: Order, *, spring: bool = False, for_operator: bool = False) -> shapes.OrderView:
    """Return the JSON shape of an order.

    `spring` leaves out `NOT_IN_SPRING`; `for_operator` includes the gateway's refusals.
    """
    terms = order.agreed
    view = shapes.OrderView(
        order.id,
        dict(terms.items.items()),
        order.state.value,
        terms.total.amount,
        terms.user_id,
        order.reason.value if order.reason else None,
        dict(terms.metadata) or None,
        None if spring else terms.total.currency.code,
    )
    if not spring:
        view.charges = [shapes.ChargeView(charge.kind, charge.amount.amount) for charge in terms.charges] or None
        add_parts(view, order, for_operator=for_operator)
    return view


def order_page(page: Page[Order], *, spring: bool = False, for_operator: bool = False) -> shapes.OrderPage:
    """Return the JSON shape of a page of orders; `spring` and `for_operator` as for `order_view`."""
    number, size = page.number, page.size
    pages = -(-page.total // size)
    content = [order_view(order, spring=spring, for_operator=for_operator) for order in page.content]
    return shapes.OrderPage(
        content=content,
        empty=not content,
        first=number == 0,
        last=number >= pages - 1,
        number=number,
        number_of_elements=len(content),
        pageable=shapes.Pageable(number * size, number, size),
        size=size,
        sort=shapes.Sort(),
        total_elements=page.total,
        total_pages=pages,
    )


def timeline_entry(entry: HistoryEntry, *, for_operator: bool) -> shapes.TimelineEntry:
    """Return the JSON shape of one entry of a timeline; `for_operator` includes its detail."""
    detail = entry.detail if for_operator else ""
    return shapes.TimelineEntry(entry.seq, entry.at.isoformat(), entry.trigger, entry.before, entry.after, detail)


def stock_view(stock: Stock) -> shapes.StockView:
    """Return the JSON shape of a product's stock."""
    return shapes.StockView(stock.sku, stock.on_hand, stock.held, stock.available)


def stock_page(page: Page[Stock]) -> shapes.StockPage:
    """Return the JSON shape of a page of products."""
    return shapes.StockPage([stock_view(stock) for stock in page.content], page.number, page.size, page.total)


def dead_letter_summary(service: str, letter: DeadLetterSummary) -> shapes.DeadLetterSummary:
    """Return the JSON shape of a dead letter in a list."""
    return shapes.DeadLetterSummary(*_summary(service, letter))


def dead_letter_view(service: str, letter: DeadLetter) -> shapes.DeadLetterView:
    """Return the JSON shape of a dead letter with its content."""
    return shapes.DeadLetterView(
        *_summary(service, letter),
        letter.message_id,
        _base64(letter.key),
        _base64(letter.value),
        _text(letter.value),
        [_header(name, value) for name, value in letter.headers],
    )


_Summary = tuple[str, str, str, str, int, int, str | None, str, str, int, str, str]


def _summary(service: str, letter: DeadLetter | DeadLetterSummary) -> _Summary:
    return (
        letter.id,
        service,
        letter.group,
        letter.topic,
        letter.partition,
        letter.offset,
        letter.order_id,
        letter.cause,
        letter.detail,
        letter.attempts,
        letter.parked_at.isoformat(),
        letter.state.value,
    )


def _header(name: str, value: bytes) -> shapes.Header:
    text = _text(value)
    if text is None:
        return shapes.Header(name, base64.b64encode(value).decode(), base64=True)
    return shapes.Header(name, text, base64=False)


def _base64(value: bytes | None) -> str | None:
    return base64.b64encode(value).decode() if value is not None else None


def _text(value: bytes | None) -> str | None:
    try:
        return value.decode() if value is not None else None
    except UnicodeDecodeError:
        return None
