"""The OpenAPI document of the route table, and a page that shows it: no script, nothing from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import msgspec

from oms.domain.values import ID_PATTERN
from oms.entrypoints.http import shapes
from oms.entrypoints.http.problems import TITLES
from oms.entrypoints.http.routes import Allowed, Route
from oms.settings import Settings

Json = dict[str, Any]

_QUERY: dict[str, tuple[str, Json]] = {
    "userId": ("Only orders of this user", {"type": "string", "pattern": ID_PATTERN}),
    "page": ("Which page, from 0", {"type": "integer", "minimum": 0, "maximum": 10**6, "default": 0}),
    "size": ("Entries on a page", {"type": "integer", "minimum": 1, "maximum": 100, "default": 10}),
    "state": ("Only letters in this state", {"enum": ["PARKED", "REDRIVEN", "DISCARDED"], "default": "PARKED"}),
    "service": ("Only letters of this service", {"type": "string", "pattern": ID_PATTERN}),
    "limit": ("At most so many", {"type": "integer", "minimum": 0, "maximum": 1000, "default": 100}),
}
_EXAMPLE = {"userId": "customer-1", "amount": 19.9, "items": {"espresso-cup": 2}, "metadata": {"channel": "web"}}


def document(routes: Sequence[Route], settings: Settings) -> Json:
    """OpenAPI 3.1."""
    types = {shapes.Problem} | {route.answer for route in routes} | {route.body for route in routes if route.body}
    ordered = sorted(types, key=str)
    found, components = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    schemas = dict(zip(ordered, map(_numbers, found), strict=True))
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas, settings)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "oms: orders and stock",
            "version": "1",
            "description": "Orders that settle exactly once. Errors are RFC 9457 problems with a stable `code`.",
        },
        "paths": paths,
        "components": {
            "schemas": _numbers(components),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _numbers(schema: Any) -> Any:
    """Decimals are JSON numbers here, not text."""
    if isinstance(schema, dict):
        if schema.get("format") == "decimal":
            return {"type": "number"}
        return {name: _numbers(value) for name, value in schema.items()}
    return [_numbers(value) for value in schema] if isinstance(schema, list) else schema


def _operation(route: Route, schemas: dict[Any, Json], settings: Settings) -> Json:
    spring = settings.http_compat == "spring" and route.name == "placeOrder"
    ok = 200 if spring else route.ok
    operation: Json = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [route.service if route.service != "any" else "operations"],
        "parameters": [*_path(route), *_query(route), *_key(route)],
        "responses": {str(ok): _answer(route, schemas)},
    }
    if route.allowed is not Allowed.ANYBODY:
        operation["security"] = [{"bearer": []}, {"key": []}, {}]
        operation["description"] = f"For {route.allowed.value}."
    if route.body is not None:
        content: Json = {"schema": schemas[route.body]}
        if route.body is shapes.PlaceOrder:
            content["example"] = _EXAMPLE
        operation["requestBody"] = {"required": route.body_required, "content": {"application/json": content}}
    problem = {"application/problem+json": {"schema": schemas[shapes.Problem]}}
    for status in sorted({*route.statuses, 500, *_refusals(route)}):
        answer = _answer(route, schemas) if route.name == "ready" and status == 503 else None
        operation["responses"][str(status)] = answer or {"description": TITLES[status], "content": problem}
    return operation


def _refusals(route: Route) -> tuple[int, ...]:
    return {Allowed.ANYBODY: (), Allowed.CALLERS: (401,), Allowed.OPERATORS: (401, 403)}[route.allowed]


def _answer(route: Route, schemas: dict[Any, Json]) -> Json:
    answer: Json = {"description": route.summary, "content": {"application/json": {"schema": schemas[route.answer]}}}
    if route.name == "placeOrder":
        order = {"id": "$response.body#/id"}
        following = ("getOrder", "getTimeline", "cancelOrder")
        answer["links"] = {name: {"operationId": name, "parameters": order} for name in following}
        answer["headers"] = {"Location": {"description": "Where the order is", "schema": {"type": "string"}}}
    return answer


def _path(route: Route) -> list[Json]:
    names = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    schema = {"type": "string", "pattern": ID_PATTERN}
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name in names]


def _query(route: Route) -> list[Json]:
    return [
        {"name": name, "in": "query", "required": False, "description": _QUERY[name][0], "schema": _QUERY[name][1]}
        for name in route.query
    ]


def _key(route: Route) -> list[Json]:
    if not route.keyed:
        return []
    schema = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"}
    meaning = "Equal key and body give the equal answer and one effect, for 24 h"
    return [{"name": "Idempotency-Key", "in": "header", "required": False, "description": meaning, "schema": schema}]


_STYLE = """
:root{color-scheme:light dark;--ink:#1d2430;--soft:#5b6675;--line:#d9dee6;--paper:#fff;--wash:#f5f7fa;--accent:#0b6bcb}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#9aa5b4;--line:#333b47;--paper:#161b22;--wash:#1e252e;
--accent:#6cb6ff}}
*{box-sizing:border-box}body{margin:0;background:var(--wash);color:var(--ink);font:16px/1.55 system-ui,sans-serif}
main{max-width:56rem;margin:0 auto;padding:2.5rem 1.25rem 5rem}h1{margin:0 0 .25rem;font-size:1.9rem}
h2{margin:2.5rem 0 .75rem;font-size:1.05rem;text-transform:uppercase;letter-spacing:.08em;color:var(--soft)}
p{margin:.4rem 0}.soft{color:var(--soft)}a{color:var(--accent)}
details{background:var(--paper);border:1px solid var(--line);border-radius:.6rem;margin:.5rem 0}
summary{display:flex;gap:.8rem;align-items:baseline;flex-wrap:wrap;padding:.7rem 1rem;cursor:pointer;list-style:none}
summary::-webkit-details-marker{display:none}.verb{font:600 .78rem ui-monospace,monospace;min-width:3.4rem;
text-align:center;padding:.15rem .5rem;border-radius:.35rem;color:#fff;background:#4a7a2c}.POST{background:#0b6bcb}
.PUT{background:#9a5b00}code,pre{font:.88rem/1.5 ui-monospace,monospace}.path{font-weight:600}
.inside{padding:0 1rem 1rem;border-top:1px solid var(--line)}h3{margin:1rem 0 .3rem;font-size:.9rem}
table{border-collapse:collapse;width:100%;font-size:.92rem}td,th{text-align:left;vertical-align:top;
padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--line)}pre{background:var(--wash);border:1px solid var(--line);
border-radius:.4rem;padding:.7rem;overflow:auto;margin:.3rem 0}
"""


def render(described: Json) -> str:
    """The document as a page."""
    schemas = described["components"]["schemas"]
    groups: dict[str, list[str]] = {}
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            groups.setdefault(operation["tags"][0], []).append(_section(method.upper(), path, operation, schemas))
    body = "".join(f"<h2>{html.escape(tag)}</h2>{''.join(parts)}" for tag, parts in groups.items())
    info = described["info"]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(info["title"])}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head><body><main>'
        f"<h1>{html.escape(info['title'])}</h1><p>{html.escape(info['description'])}</p>"
        '<p class="soft">The same as a document: <a href="openapi.json">openapi.json</a></p>'
        f"{body}</main></body></html>"
    )


def _section(method: str, path: str, operation: Json, schemas: Json) -> str:
    inside = f"<p>{html.escape(operation.get('description', 'For anybody.'))}</p>"
    if operation["parameters"]:
        rows = [(p["name"], p["in"], p.get("description", "")) for p in operation["parameters"]]
        inside += "<h3>Parameters</h3>" + _table(rows)
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]["application/json"]
        inside += "<h3>Body</h3>" + _fields(content["schema"], schemas)
        if "example" in content:
            inside += f"<pre>{html.escape(msgspec.json.format(shapes.encode(content['example'])).decode())}</pre>"
    inside += "<h3>Answers</h3>" + _table([(s, r["description"]) for s, r in sorted(operation["responses"].items())])
    ok = next(iter(operation["responses"].values()))
    inside += _fields(ok["content"]["application/json"]["schema"], schemas)
    return (
        f'<details id="{operation["operationId"]}"><summary><span class="verb {method}">{method}</span>'
        f'<code class="path">{html.escape(path)}</code><span class="soft">{html.escape(operation["summary"])}</span>'
        f'</summary><div class="inside">{inside}</div></details>'
    )


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    cells = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in ("", *row)[1:]) + "</tr>" for row in rows
    )
    return f"<table>{cells}</table>"


def _fields(schema: Json, schemas: Json) -> str:
    if schema.get("type") == "array":
        return "<p class=soft>A list of:</p>" + _fields(schema["items"], schemas)
    named = schemas[schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema
    required = set(named.get("required", ()))
    rows = [
        (name, _kind(field), "required" if name in required else "")
        for name, field in named.get("properties", {}).items()
    ]
    return _table(rows)


def _kind(field: Json) -> str:
    if "$ref" in field:
        return str(field["$ref"].rsplit("/", 1)[1])
    if "anyOf" in field:
        return " or ".join(_kind(one) for one in field["anyOf"])
    bounds = [f"{word} {field[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in field]
    return " ".join([str(field.get("type", "text")), *bounds])
