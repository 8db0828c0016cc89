"""The OpenAPI document as a web page without scripts, which loads nothing and has a policy that forbids both."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files

import msgspec

from oms.domain.values import ID_PATTERN
from oms.entrypoints.http.openapi import Json
from oms.entrypoints.http.problems import CODES
from oms.entrypoints.http.shapes import encode

_STYLE = files("oms.entrypoints.http").joinpath("style.css").read_text(encoding="utf-8")
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
"""Headers that let the browser show the page, and forbid scripts, requests, forms and frames."""

_Cells = Sequence[str]


def render(document: Json) -> str:
    """Return the document as HTML."""
    info, schemas = document["info"], document["components"]["schemas"]
    groups: dict[str, list[tuple[str, str, Json]]] = {tag["name"]: [] for tag in document["tags"]}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            groups[operation["tags"][0]].append((method, path, operation))
    parts = [
        f'<h2 id="{_slug(tag["name"])}">{_text(tag["name"])}</h2><p class="soft">{_text(tag["description"])}</p>'
        + "".join(_route(method, path, operation, schemas) for method, path, operation in groups[tag["name"]])
        for tag in document["tags"]
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_text(info["title"])} API</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<style>{_STYLE}</style></head><body><div class="layout">{_nav(groups)}<main>'
        f'<h1>{_text(info["title"])} API</h1><p class="lead">{_text(info["summary"])}</p>'
        f'<p>{_text(info["description"])}</p><p>For programs: <a href="openapi.json">openapi.json</a>. In the examples '
        "<code>$OMS</code> is where this API is, for instance <code>http://127.0.0.1:8081</code>.</p>"
        f"{''.join(parts)}{_codes()}</main></div></body></html>"
    )


def _nav(groups: dict[str, list[tuple[str, str, Json]]]) -> str:
    links = "".join(
        f'<a class="group" href="#{_slug(tag)}">{_text(tag)}</a>'
        + "".join(
            f'<a href="#{operation["operationId"]}">{_verb(method)}<span>{_text(operation["summary"])}</span></a>'
            for method, _path, operation in routes
        )
        for tag, routes in groups.items()
    )
    return f'<nav><a class="brand" href="#">oms</a>{links}<a class="group" href="#codes">errors</a></nav>'


def _route(method: str, path: str, operation: Json, schemas: Json) -> str:
    inside = f"<p>{_text(operation['description'])}</p><pre>{_text(_curl(method, path, operation))}</pre>"
    if operation["parameters"]:
        inside += "<h3>Parameters</h3>" + _table(("name", "in", "value"), map(_parameter, operation["parameters"]))
    if "requestBody" in operation:
        wanted = "" if operation["requestBody"]["required"] else " (may be left out)"
        inside += _content(f"Body{wanted}", operation["requestBody"]["content"], schemas)
    (ok, success), *refusals = operation["responses"].items()
    inside += _content(f"Response {ok}", success["content"], schemas)
    inside += "<h3>Refusals</h3>" + _table(("status", "codes"), map(_refusal, refusals))
    # A browser opens the <details> that contains a link's target, so the target isn't the <details> itself.
    return (
        f'<details class="route"><summary>{_verb(method)}<span class="said"><span class="path">{_text(path)}</span> '
        f'<span class="soft">{_text(operation["summary"])}</span></span></summary>'
        f'<div class="inside" id="{operation["operationId"]}">{inside}</div></details>'
    )


def _curl(method: str, path: str, operation: Json) -> str:
    """Return a curl command with the examples of the document."""
    for parameter in operation["parameters"]:
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", parameter["example"])
    parts = ["curl", *(["-X", method.upper()] if method != "get" else []), f"$OMS{path}"]
    if any(parameter["name"] == "Idempotency-Key" for parameter in operation["parameters"]):
        parts.append("-H 'Idempotency-Key: checkout-7f3a'")
    if "security" in operation:
        parts.append('-H "Authorization: Bearer $KEY"')
    if "requestBody" in operation:
        example = operation["requestBody"]["content"]["application/json"]["example"]
        parts += ["-H 'Content-Type: application/json'", f"-d '{encode(example).decode()}'"]
    return " ".join(parts)


def _content(title: str, content: Json, schemas: Json) -> str:
    media, described = next(iter(content.items()))
    if media != "application/json" or "example" not in described:
        return f"<h3>{_text(title)}</h3><p><code>{_text(media)}</code></p>"
    example = msgspec.json.format(encode(described["example"]), indent=2).decode()
    return (
        f'<div class="pair"><div><h3>{_text(title)}</h3>{_fields(described["schema"], schemas)}</div>'
        f"<div><h3>Example</h3><pre>{_text(example)}</pre></div></div>"
    )


def _parameter(parameter: Json) -> _Cells:
    must = ' <span class="must">required</span>' if parameter["required"] else ""
    name = f"<code>{_text(parameter['name'])}</code>{must}"
    kind, meaning = _kind(parameter["schema"]), _text(parameter.get("description", ""))
    return name, parameter["in"], f'{kind}<br><span class="soft">{meaning}</span>' if meaning else kind


def _refusal(pair: tuple[str, Json]) -> _Cells:
    status, response = pair
    codes = response["content"]["application/problem+json"]["examples"]
    linked = " ".join(f'<a href="#{code}"><code>{code}</code></a>' for code in codes)
    return f'<span class="status bad">{status}</span>', linked


def _fields(schema: Json, schemas: Json) -> str:
    if schema.get("type") == "array":
        return '<p class="soft">A list of</p>' + _fields(schema["items"], schemas)
    named = schemas[schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema
    must = set(named.get("required", ()))
    rows = (
        (f"<code>{_text(name)}</code>{'' if name in must else ' <span class=soft>optional</span>'}", _kind(field))
        for name, field in named.get("properties", {}).items()
    )
    meaning = f'<p class="soft">{_text(named["description"])}</p>' if "description" in named else ""
    table = meaning + _table(("field", "value"), rows)
    return table + "".join(f"<h4>{_text(name)}</h4>{_fields(schemas[name], schemas)}" for name in _parts(named))


def _parts(schema: Json) -> Iterator[str]:
    """Yield the names of the schemas of the fields of this schema, or of which they are lists."""
    for field in schema.get("properties", {}).values():
        for kind in field.get("anyOf", (field,)):
            named = kind.get("items", kind)
            if "$ref" in named:
                yield str(named["$ref"].rsplit("/", 1)[1])


def _kind(field: Json) -> str:
    if "$ref" in field:
        return _text(str(field["$ref"].rsplit("/", 1)[1]))
    if "anyOf" in field:
        return " or ".join(_kind(one) for one in field["anyOf"] if one.get("type") != "null")
    if "enum" in field:
        values = " ".join("null" if one is None else f"<code>{_text(str(one))}</code>" for one in field["enum"])
        return values + _default(field)
    text = _text(str(field.get("type", "anything")))
    if text == "array":
        text = f"list of {_kind(field['items'])}"
    elif isinstance(field.get("additionalProperties"), dict):
        text = f"object of {_kind(field['additionalProperties'])}"
    if "minimum" in field:
        text += (
            f" {field['minimum']:,} to {field['maximum']:,}" if "maximum" in field else f" from {field['minimum']:,}"
        )
    if "multipleOf" in field:
        text += f", a multiple of {field['multipleOf']}"
    text += _default(field)
    if "description" in field:
        text += f'<br><span class="soft">{_text(field["description"])}</span>'
    elif "pattern" in field:
        text += ", printable" if field["pattern"] != ID_PATTERN else ", 1 to 64 of <code>A-Z a-z 0-9 . _ : -</code>"
    return text


def _default(field: Json) -> str:
    return f", default <code>{_text(str(field['default']))}</code>" if field.get("default") is not None else ""


def _codes() -> str:
    rows = (
        (f'<code id="{code}">{code}</code>', f'<span class="status bad">{status}</span>', _text(meaning))
        for code, (status, meaning) in CODES.items()
    )
    about = "Every error is <code>application/problem+json</code>; its <code>code</code> is stable."
    table = _table(("code", "status", "meaning"), rows, kind="codes")
    return f'<h2 id="codes">Errors</h2><p class="soft">{about}</p>{table}'


def _table(head: _Cells, rows: Iterable[_Cells], kind: str = "") -> str:
    top = "".join(f"<th>{_text(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<table class="{kind}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'


def _verb(method: str) -> str:
    return f'<span class="verb {method}">{method.upper()}</span>'


def _slug(text: str) -> str:
    return text.replace(" ", "-")


def _text(text: str) -> str:
    """Return escaped text, in which text between backticks is marked as code."""
    parts = html.escape(text).split("`")
    return "".join(f"<code>{part}</code>" if n % 2 else part for n, part in enumerate(parts))
