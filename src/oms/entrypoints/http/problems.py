"""Errors as RFC 9457 problems: one table from what was raised to what is answered."""

from __future__ import annotations

import asyncio

from starlette.responses import Response

from oms.domain.errors import Conflict, DomainError, InvalidValue, KeyReused, NotFound, Refused
from oms.entrypoints.http.shapes import Problem, encode
from oms.ports.errors import OutcomeUnknown, Retryable

TITLES = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Body too large",
    415: "Unsupported media type",
    422: "Invalid request",
    500: "Internal error",
    503: "Come again later",
}
RETRY_AFTER_S = "1"

_STATUS: tuple[tuple[type[DomainError], int], ...] = (
    (InvalidValue, 422),
    (KeyReused, 422),
    (NotFound, 404),
    (Conflict, 409),
    (Refused, 403),
)


class HttpProblem(Exception):
    """A refusal that only HTTP knows."""

    def __init__(self, status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.headers = status, code, detail, headers or {}


def problem(status: int, code: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    """A problem as a response."""
    body = Problem(f"urn:oms:problem:{code}", TITLES[status], status, detail, code)
    return Response(encode(body), status, {**(headers or {})}, media_type="application/problem+json")


def answer_of(error: BaseException) -> Response | None:
    """The problem that an error is answered with; None for one that nobody expected."""
    if isinstance(error, HttpProblem):
        return problem(error.status, error.code, error.detail, error.headers)
    if isinstance(error, DomainError):
        if error.code == "malformed_json":
            return problem(400, error.code, error.detail)
        status = next((status for kind, status in _STATUS if isinstance(error, kind)), 422)
        return problem(status, error.code, error.detail)
    if isinstance(error, OutcomeUnknown):
        detail = "it isn't known whether this took effect; come again with the same Idempotency-Key"
        return problem(503, "outcome_unknown", detail, {"Retry-After": RETRY_AFTER_S})
    if isinstance(error, Retryable | asyncio.TimeoutError):
        return problem(503, "unavailable", "the service can't do this right now", {"Retry-After": RETRY_AFTER_S})
    return None
