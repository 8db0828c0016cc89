"""Errors as RFC 9457 problems: the table of all codes, and the response to each kind of exception."""

from __future__ import annotations

from collections.abc import Mapping

from oms.domain.errors import Conflict, DomainError, InvalidValue, KeyReused, NotFound, Refused
from oms.domain.text import storable_text
from oms.entrypoints.http.responses import Response
from oms.entrypoints.http.shapes import Problem, encode
from oms.ports.errors import OutcomeUnknown, Retryable

TITLES = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    413: "Body too large",
    415: "Unsupported media type",
    421: "Misdirected request",
    422: "Invalid request",
    429: "Too many requests",
    431: "Headers too large",
    500: "Internal error",
    503: "Come again later",
}

CODES: Mapping[str, tuple[int, str]] = {
    "malformed_request": (400, "The request is not HTTP/1.1, or two servers could read it differently."),
    "repeated_header": (400, "A header that may have only one value is sent twice, such as Host or a credential."),
    "malformed_json": (400, "The body isn't JSON."),
    "disconnected": (400, "The client disconnected before the end of the body."),
    "not_authenticated": (401, "The request has no key, or one that is unknown or has expired."),
    "not_allowed": (403, "The route is for operators."),
    "not_your_user": (403, "An order can only be placed for oneself."),
    "operators_only": (403, "Only an operator may cancel as an operator."),
    "cross_origin": (403, "A web page of another site sent a request that would change data."),
    "no_such_route": (404, "There is nothing at this path."),
    "service_not_here": (404, "The service runs in another process."),
    "order_not_found": (404, "There is no such order of this caller."),
    "refund_not_found": (404, "The order has no such refund."),
    "no_gate": (404, "This system has no stock gate; the ledger alone decides."),
    "product_not_found": (404, "There is no such product."),
    "dead_letter_not_found": (404, "There is no such dead letter."),
    "method_not_allowed": (405, "The path has other methods; `Allow` names them."),
    "request_timeout": (408, "The client didn't complete the request in time."),
    "order_settled": (409, "The order has ended, or is shipped or refunded in part, so it can't be changed like this."),
    "order_legacy": (409, "The order was placed before this system; an operator has to cancel it."),
    "order_not_confirmed": (409, "The order isn't confirmed yet, or is being cancelled."),
    "order_completed": (409, "Every unit is shipped or cancelled already."),
    "not_enough_units": (409, "Fewer units are there to ship, cancel or take back."),
    "refund_exceeds_total": (409, "The refund is more than what is left of the total."),
    "nothing_refused": (409, "No refused attempt of this refund waits for a decision."),
    "too_many_parts": (409, "An order has at most 500 shipments and refunds together."),
    "stock_below_held": (409, "Fewer units would be on hand than are held."),
    "dead_letter_ended": (409, "The dead letter was redriven or discarded already."),
    "redrive_failed": (409, "Handling failed again; the dead letter stays parked, with the new cause."),
    "content_not_kept": (409, "The message exceeds the size limit, so its dead letter doesn't hold its content."),
    "request_in_flight": (409, "A request with this key is still under way after 5 s."),
    "body_too_large": (413, "A body is at most 64 KiB."),
    "unsupported_media_type": (415, "A body has to be application/json."),
    "wrong_host": (421, "The server trusts every caller, so `Host` has to be one of `OMS_HTTP_HOSTS`."),
    "invalid_body": (422, "A field is missing, unknown or of the wrong type; the detail names it."),
    "repeated_name": (422, "An object of the body has the same name twice."),
    "invalid_id": (422, "An id is 1 to 64 of `A-Z a-z 0-9 . _ : -`."),
    "no_items": (422, "An order needs an item."),
    "too_many_items": (422, "An order has at most 100 lines."),
    "invalid_quantity": (422, "A quantity is a whole number from 1 to 10,000."),
    "invalid_amount": (422, "An amount is not negative and no finer than the currency."),
    "invalid_currency": (422, "The amount is in another currency than the system's."),
    "items_or_lines": (422, "An order has either items or lines."),
    "repeated_product": (422, "A product is on two lines."),
    "invalid_text": (422, "A text is empty or too long, or has U+0000; the detail names its limit."),
    "amounts_on_some_lines": (422, "Some lines have an amount and others have none."),
    "too_many_charges": (422, "An order has at most 20 charges."),
    "charges_without_amounts": (422, "Charges need lines with amounts."),
    "amounts_dont_add_up": (422, "The amounts of lines and charges aren't the total."),
    "invalid_kind": (422, "The kind of a refund is CANCEL, RETURN or GOODWILL."),
    "amount_required": (422, "The refund needs an amount: only units of lines that have amounts have a default."),
    "amount_must_be_rest": (422, "The refund cancels the whole order, so its amount is all that is left."),
    "goodwill_has_no_items": (422, "A goodwill refund has no items, and restocks none."),
    "invalid_metadata": (422, "Metadata is text without U+0000."),
    "metadata_too_large": (422, "Metadata is at most 4 KiB."),
    "invalid_units": (422, "Units are whole and at most 10^12; a delta isn't 0."),
    "invalid_page": (422, "There is no such page."),
    "invalid_size": (422, "A page has 1 to 100 entries."),
    "invalid_state": (422, "There is no such state."),
    "invalid_limit": (422, "A limit is 1 to 1000."),
    "invalid_idempotency_key": (422, "A key is 1 to 255 printable ASCII characters."),
    "idempotency_key_reused": (422, "The key was used with another body."),
    "too_many_requests": (429, "The caller has made more requests than `OMS_RATE_LIMIT` allows."),
    "headers_too_large": (431, "The target and headers of a request are at most `OMS_HTTP_HEAD_BYTES`."),
    "internal_error": (500, "A fault in the server; it has been reported under `instance`."),
    "unavailable": (503, "Nothing has happened: the request may be repeated."),
    "outcome_unknown": (503, "The request may have taken effect: repeat it with the same Idempotency-Key."),
    "too_many_connections": (
        503,
        "The server has `OMS_HTTP_CONNECTIONS` connections, all with requests in progress.",
    ),
    "overloaded": (503, "Too many orders are waiting to be processed."),
}
"""Status and meaning of every stable code. A shop's pricing and policy may add codes with status 403 or 422."""

RETRY_AFTER_S = 1
_AGAIN = {"Retry-After": str(RETRY_AFTER_S)}
_STATUS: tuple[tuple[type[DomainError], int], ...] = (
    (InvalidValue, 422),
    (KeyReused, 422),
    (NotFound, 404),
    (Conflict, 409),
    (Refused, 403),
)


class HttpProblem(Exception):
    """A refusal of the HTTP layer itself; its status is that of its code."""

    def __init__(self, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.code, self.detail, self.headers = code, detail, headers


def problem(
    status: int, code: str, detail: str, headers: Mapping[str, str] | None = None, instance: str | None = None
) -> Response:
    """Make the response for a problem."""
    body = Problem(f"urn:oms:problem:{code}", TITLES[status], status, storable_text(detail), code, instance)
    return Response(encode(body), status, headers or {}, "application/problem+json")


def response_to(error: Exception) -> Response | None:
    """Return the response to an exception; None for an unexpected one."""
    if isinstance(error, HttpProblem):
        return problem(CODES[error.code][0], error.code, error.detail, error.headers)
    if isinstance(error, DomainError):
        status = next((status for kind, status in _STATUS if isinstance(error, kind)), 422)
        return problem(status, error.code, error.detail)
    if isinstance(error, OutcomeUnknown):
        detail = "it isn't known whether this took effect; come again with the same Idempotency-Key"
        return problem(503, "outcome_unknown", detail, _AGAIN)
    if isinstance(error, Retryable):
        return problem(503, "unavailable", "the service can't do this right now; nothing happened", _AGAIN)
    return None
