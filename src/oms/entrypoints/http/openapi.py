"""The OpenAPI 3.1 document of the route table."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from oms.domain.money import MAX_MINOR, Currency
from oms.domain.values import ID_PATTERN
from oms.entrypoints.http import examples, shapes
from oms.entrypoints.http.problems import CODES, TITLES
from oms.entrypoints.http.routes import Allowed, Route
from oms.ports.extensions import Authentication

Json = dict[str, Any]


LOGIN = {
    Authentication.NONE: "Every caller is trusted: no API keys are configured.",
    Authentication.API_KEYS: "Callers send an API key, as `Authorization: Bearer <key>` or `X-API-Key: <key>`.",
    Authentication.HOST: "The application that this API is part of authenticates callers.",
}
_WITHOUT_KEYS, _WITH_KEYS = frozenset({"wrong_host"}), frozenset({"not_authenticated", "not_allowed"})
_IMPOSSIBLE = {
    Authentication.NONE: _WITH_KEYS,
    Authentication.API_KEYS: _WITHOUT_KEYS,
    Authentication.HOST: _WITHOUT_KEYS,
}
"""Codes that a server with each kind of authentication never returns."""

_TAGS = {
    "order": "Place orders, follow them, cancel, ship and refund them.",
    "inventory": "Stock by product.",
    "dead letters": "Messages and tasks that couldn't be handled. None is dropped.",
    "operations": "For the operators of the system.",
}
_ID: Json = {"type": "string", "pattern": ID_PATTERN}
_QUERY: dict[str, tuple[str, Json]] = {
    "userId": ("Only orders of this user", _ID),
    "page": ("Page number, from 0", {"type": "integer", "minimum": 0, "maximum": 10**6, "default": 0}),
    "size": ("Entries on a page", {"type": "integer", "minimum": 1, "maximum": 100, "default": 10}),
    "state": ("Only letters in this state", {"enum": [*shapes.LETTER_STATES], "default": "PARKED"}),
    "service": ("Only letters of this service", _ID),
    "limit": ("The most letters to return", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}),
}
_KEY: Json = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "For 24 h, requests with the same key and body have one effect and get the same response. A "
    "request waits for another one with the same key that is under way.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
    "example": "checkout-7f3a",
}
_TRACE: Json = {
    "name": "traceparent",
    "in": "header",
    "required": False,
    "description": "W3C trace context, carried by every message that this request causes. An invalid one is ignored.",
    "schema": {"type": "string"},
}
_OPEN_CODES = {("placeOrder", 403), ("placeOrder", 422)}
"""Responses in which a shop's own pricing and policy may use codes of their own."""

_ORDER_LINKS = ("getOrder", "getTimeline", "cancelOrder", "resumeOrder")
_SHIPMENT_LINKS = ("listShipments", "refundOrder")
_REFUND_LINKS = ("listRefunds", "retryPayment")
_LINKS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "placeOrder": ((*_ORDER_LINKS, "shipOrder", "refundOrder"), "id", "$response.body#/id"),
    "listOrders": (_ORDER_LINKS, "id", "$response.body#/content/0/id"),
    "getOrder": (("getTimeline", "cancelOrder", "resumeOrder"), "id", "$response.body#/id"),
    "cancelOrder": (("getOrder", "getTimeline", "resumeOrder"), "id", "$response.body#/id"),
    "resumeOrder": (("getOrder", "getTimeline", "cancelOrder"), "id", "$response.body#/id"),
    "shipOrder": (_SHIPMENT_LINKS, "id", "$request.path.id"),
    "refundOrder": (_REFUND_LINKS, "id", "$request.path.id"),
    "setStock": (("getStock", "addStock"), "sku", "$response.body#/productId"),
    "addStock": (("getStock", "setStock"), "sku", "$response.body#/productId"),
    "listStock": (("getStock",), "sku", "$response.body#/content/0/productId"),
    "listDeadLetters": (("getDeadLetter", "redriveDeadLetter", "discardDeadLetter"), "id", "$response.body#/0/id"),
}
_RETRY_AFTER: Json = {"Retry-After": {"description": "When to try again, in seconds", "schema": {"type": "integer"}}}
_HEADERS: dict[int, Json] = {
    401: {"WWW-Authenticate": {"description": "How to prove who you are", "schema": {"type": "string"}}},
    429: _RETRY_AFTER,
    503: _RETRY_AFTER,
}


def document(routes: Sequence[Route], *, login: Authentication, currency: Currency, spring: bool = False) -> Json:
    """Return the OpenAPI 3.1 document of these routes. With `spring`, placing an order returns 200 instead of 201."""
    refs, schemas = _schemas(routes, currency)
    if "OrderView" in schemas:
        properties = schemas["OrderView"]["properties"]
        properties["currency"] = {"type": "string", "pattern": "^[A-Z]{3}$", "description": "ISO 4217 code"}
        if spring:
            for name in shapes.NOT_IN_SPRING:
                del properties[name]
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _Operation(route, refs, login, spring).described()
    tags = dict.fromkeys(_tag(route) for route in routes)
    found: Json = {
        "openapi": "3.1.0",
        "info": _info(login, currency),
        "tags": [{"name": tag, "description": _TAGS[tag]} for tag in tags],
        "paths": paths,
        "components": {"schemas": schemas},
    }
    if login is Authentication.API_KEYS:
        found["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer", "description": "An API key"},
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same"},
        }
    return found


def _info(login: Authentication, currency: Currency) -> Json:
    return {
        "title": "oms",
        "version": "1",
        "summary": "Orders that settle exactly once.",
        "description": f"Amounts are JSON numbers in {currency.code}, with at most {currency.exponent} decimal "
        "places. Errors are problems (RFC 9457) with a stable `code`. A wrong method gets 405 and `Allow`, a wrong "
        f"path 404. {LOGIN[login]}",
    }


def _schemas(routes: Sequence[Route], currency: Currency) -> tuple[dict[Any, Json], Json]:
    """Return the schema of each type that the routes name, and the components to which these schemas refer."""
    types = {shapes.Problem, *(route.response for route in routes), *(route.body for route in routes if route.body)}
    ordered = sorted(types, key=str)
    found, components = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    refs: dict[Any, Json] = {kind: _amounts(schema) for kind, schema in zip(ordered, found, strict=True)}
    schemas: Json = {name: _amounts(schema) for name, schema in sorted(components.items())}
    for (name, field), values in shapes.ENUMS.items():
        if name in schemas:
            schemas[name]["properties"][field] = {"enum": list(values)}
    if "PlaceOrder" in schemas:
        _describe_order(schemas, currency)
    if "AddStock" in schemas:
        schemas["AddStock"]["properties"]["delta"]["not"] = {"const": 0}
    return refs, schemas


def _describe_order(schemas: Json, currency: Currency) -> None:
    """Add the bounds of amounts to the schemas of bodies, and that an order has either items or lines."""
    bounds = {
        "maximum": MAX_MINOR // 10**currency.exponent,
        "multipleOf": Decimal((0, (1,), -currency.exponent)),
    }
    for name in ("PlaceOrder", "OrderCharge"):
        schemas[name]["properties"]["amount"] |= bounds
    for name in ("OrderLine", "RefundOrder"):
        numbers = [kind for kind in schemas[name]["properties"]["amount"]["anyOf"] if kind["type"] == "number"]
        numbers[0] |= bounds
    schemas["PlaceOrder"]["oneOf"] = [{"required": ["items"]}, {"required": ["lines"]}]


def _amounts(schema: Any) -> Any:
    """Return a schema in which amounts are numbers; msgspec describes decimals as strings."""
    if isinstance(schema, dict):
        if schema.get("format") == "decimal":
            return {"type": "number"}
        return {key: _amounts(value) for key, value in schema.items()}
    return [_amounts(value) for value in schema] if isinstance(schema, list) else schema


def _tag(route: Route) -> str:
    if route.service != "any":
        return route.service
    return "dead letters" if route.path.startswith("/dead-letters") else "operations"


class _Operation:
    """Builds the OpenAPI operation of one route."""

    def __init__(self, route: Route, refs: dict[Any, Json], login: Authentication, spring: bool) -> None:  # noqa: FBT001
        self._route, self._refs, self._login = route, refs, login
        self._ok = 200 if spring and route.name == "placeOrder" else route.ok
        self._spring = spring
        self._located = route.name == "placeOrder" and not spring

    def described(self) -> Json:
        """Return the operation."""
        route = self._route
        found: Json = {
            "operationId": route.name,
            "summary": route.summary,
            "description": f"For {route.allowed.value}. {route.details}".strip(),
            "tags": [_tag(route)],
            "parameters": [*self._path(), *self._query(), *self._headers()],
            "responses": self._responses(),
        }
        if route.body is not None:
            content = {"schema": self._refs[route.body], "example": examples.body_of(route.name)}
            found["requestBody"] = {"required": route.body_required, "content": {"application/json": content}}
        if self._login is Authentication.API_KEYS and route.allowed is not Allowed.ANYBODY:
            found["security"] = [{"bearer": []}, {"key": []}]
        return found

    def _path(self) -> list[Json]:
        example = examples.PATHS.get(self._route.path.split("/")[1])
        return [
            {"name": name, "in": "path", "required": True, "schema": _ID, "example": example}
            for name in self._route.path_names
        ]

    def _query(self) -> list[Json]:
        return [
            {"name": name, "in": "query", "required": False, "description": _QUERY[name][0], "schema": _QUERY[name][1]}
            for name in self._route.query
        ]

    def _headers(self) -> list[Json]:
        traced = self._route.keyed and self._route.service == "order"
        return [*([_KEY] if self._route.keyed else []), *([_TRACE] if traced else [])]

    def _responses(self) -> Json:
        route = self._route
        found = {str(self._ok): self._success()}
        codes: dict[int, list[str]] = {}
        for code in route.codes:
            if code not in _IMPOSSIBLE[self._login]:
                codes.setdefault(CODES[code][0], []).append(code)
        for status, names in codes.items():
            found[str(status)] = self._problem(status, names)
        if route.unready is not None:
            content = {"schema": self._refs[route.response], "example": examples.plain(examples.NOT_READY)}
            found[str(route.unready)]["content"]["application/json"] = content
        return found

    def _success(self) -> Json:
        route = self._route
        content: Json = {"schema": self._refs[route.response]}
        example = examples.response_to(route.name)
        if example is not None:
            shows_orders = route.response in (shapes.OrderView, shapes.OrderPage)
            content["example"] = _without_new_fields(example) if self._spring and shows_orders else example
        answer: Json = {"description": route.summary, "content": {route.media: content}}
        if self._located:
            answer["headers"] = {"Location": {"description": "Where the order is", "schema": {"type": "string"}}}
        if route.name in _LINKS:
            followers, name, value = _LINKS[route.name]
            answer["links"] = {follower: _link(follower, name, value) for follower in followers}
        return answer

    def _problem(self, status: int, codes: Sequence[str]) -> Json:
        schema: Json = self._refs[shapes.Problem]
        if (self._route.name, status) not in _OPEN_CODES:
            schema = {"allOf": [schema, {"properties": {"code": {"enum": list(codes)}, "status": {"const": status}}}]}
        return {
            "description": TITLES[status],
            **({"headers": _HEADERS[status]} if status in _HEADERS else {}),
            "content": {
                "application/problem+json": {
                    "schema": schema,
                    "examples": {code: {"value": _example(status, code)} for code in codes},
                }
            },
        }


def _without_new_fields(example: Any) -> Any:
    """Return an example of orders as the Spring system returns it."""
    if isinstance(example, dict):
        kept = {name: value for name, value in example.items() if name not in shapes.NOT_IN_SPRING}
        return {name: _without_new_fields(value) for name, value in kept.items()}
    return [_without_new_fields(one) for one in example] if isinstance(example, list) else example


def _link(follower: str, name: str, value: str) -> Json:
    return {"operationId": follower, "parameters": {name: value}}


def _example(status: int, code: str) -> Any:
    return examples.plain(shapes.Problem(f"urn:oms:problem:{code}", TITLES[status], status, CODES[code][1], code))
