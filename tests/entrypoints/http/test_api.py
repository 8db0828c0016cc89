"""The API as its callers see it: what is accepted, what is refused, and that nothing ends in a 5xx."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

import oms
from oms.domain.errors import InvalidValue
from oms.entrypoints.http.order_body import read_order
from oms.entrypoints.http.problems import HttpProblem
from tests.support.files import WIRE

JSON = {"Content-Type": "application/json"}
USD = oms.Currency.of("USD")


def test_the_captured_request_is_answered_as_captured(open_client: TestClient) -> None:
    answer = open_client.post("/orders", content=(WIRE / "post-order.request.json").read_bytes(), headers=JSON)
    captured = json.loads((WIRE / "post-order.response.json").read_text())

    assert answer.status_code == 201
    assert (captured | {"id": answer.json()["id"], "currency": "USD"}).items() <= answer.json().items()
    assert answer.headers["location"] == f"/orders/{answer.json()['id']}"


def test_a_page_has_the_captured_shape(open_client: TestClient) -> None:
    open_client.post("/orders", content=(WIRE / "post-order.request.json").read_bytes(), headers=JSON)
    page = open_client.get("/orders?userId=11111111-1111-1111-1111-111111111111&page=0&size=10").json()
    captured = json.loads((WIRE / "get-orders.response.json").read_text())

    assert set(page) == set(captured)
    for name in ("empty", "first", "last", "number", "numberOfElements", "size", "totalElements", "totalPages"):
        assert page[name] == captured[name], name


@pytest.fixture
def spring_client() -> Iterator[TestClient]:
    with (
        oms.create(profile="memory", environ={}, http_compat="spring", log_level="error") as app,
        TestClient(oms.asgi(app), "http://localhost") as client,
    ):
        yield client


def test_as_the_system_replaced(spring_client: TestClient) -> None:
    answer = spring_client.post("/orders", json={"userId": "u", "amount": 19.995, "items": {"a": 1, "b": 0}})
    assert answer.status_code == 200
    assert answer.json()["items"] == {"a": 1}
    assert answer.json()["totalAmount"] == 20


SPRING_TAKES: list[tuple[dict[str, object], object, dict[str, int]]] = [
    ({"amount": "12.50"}, 12.5, {"a": 2}),
    ({"amount": " 7 "}, 7, {"a": 2}),
    ({"items": {"a": "2", "b": " 3 "}}, 5, {"a": 2, "b": 3}),
    ({"items": {"a": 2.0, "b": "0"}}, 5, {"a": 2}),
    ({"note": "unknown", "nested": {"x": [1]}}, 5, {"a": 2}),
]


@pytest.mark.parametrize(("given", "total", "items"), SPRING_TAKES)
def test_what_the_spring_system_takes(
    spring_client: TestClient, client: TestClient, given: dict[str, object], total: object, items: dict[str, int]
) -> None:
    body = {"userId": "u", "amount": 5, "items": {"a": 2}, **given}
    answer = spring_client.post("/orders", json=body)
    assert (answer.status_code, answer.json()["totalAmount"], answer.json()["items"]) == (200, total, items)
    if given != SPRING_TAKES[3][0]:
        assert client.post("/orders", json=body, headers={"X-Caller": "operator"}).status_code == 422


SPRING_REFUSED: list[tuple[dict[str, object], str]] = [
    ({"amount": "1e3"}, "invalid_body"),
    ({"amount": ""}, "invalid_body"),
    ({"amount": "NaN"}, "invalid_body"),
    ({"amount": None}, "invalid_body"),
    ({"amount": "-5"}, "invalid_amount"),
    ({"amount": "9" * 41}, "invalid_body"),
    ({"items": {"a": "1.5"}}, "invalid_quantity"),
    ({"items": {"a": "-1"}}, "invalid_quantity"),
    ({"items": {"a": "two"}}, "invalid_quantity"),
    ({"items": {"a": 10**18}}, "invalid_quantity"),
    ({"items": {"a": 0}}, "no_items"),
    ({"items": {}}, "no_items"),
    ({"items": [1]}, "invalid_body"),
    ({"userId": 7}, "invalid_body"),
]


@pytest.mark.parametrize(("given", "code"), SPRING_REFUSED)
def test_what_is_refused_although_the_spring_system_may_take_it(
    spring_client: TestClient, given: dict[str, object], code: str
) -> None:
    answer = spring_client.post("/orders", json={"userId": "u", "amount": 5, "items": {"a": 2}, **given})
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert spring_client.get("/orders").json()["totalElements"] == 0


def test_a_repeated_name_is_refused_in_the_shape_of_the_spring_system_too(spring_client: TestClient) -> None:
    for body in (
        b'{"userId":"u","amount":"1","amount":"2","items":{"a":1}}',
        b'{"userId":"u","amount":1,"items":{"a":1,"a":"2"}}',
    ):
        answer = spring_client.post("/orders", content=body, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (422, "repeated_name")


def test_the_shapes_of_the_spring_system_name_no_currency(spring_client: TestClient) -> None:
    answer = spring_client.post("/orders", content=(WIRE / "post-order.request.json").read_bytes(), headers=JSON)
    captured = json.loads((WIRE / "post-order.response.json").read_text())
    assert answer.json() | {"id": captured["id"]} == captured
    found = spring_client.get(f"/orders/{answer.json()['id']}").json()
    page = spring_client.get("/orders").json()
    assert "currency" not in found
    assert "currency" not in page["content"][0]
    document = spring_client.get("/openapi.json").json()
    assert set(document["components"]["schemas"]["OrderView"]["properties"]) == {*captured, "reason", "metadata"}
    example = document["paths"]["/orders/{id}"]["get"]["responses"]["200"]["content"]["application/json"]["example"]
    assert set(example) == {*captured, "metadata"}


def test_every_view_of_an_order_names_its_currency(open_client: TestClient) -> None:
    order = open_client.post("/orders", json={"userId": "u", "amount": 1, "items": {"a": 1}}).json()
    views = [order, open_client.get(f"/orders/{order['id']}").json(), open_client.get("/orders").json()["content"][0]]
    assert [view["currency"] for view in views] == ["USD"] * 3


GOOD = {"userId": "u", "amount": 1, "items": {"a": 1}}
REFUSED = [
    ({**GOOD, "items": {"a": 0}}, 422, "invalid_quantity"),
    ({**GOOD, "items": {"a": -1}}, 422, "invalid_quantity"),
    ({**GOOD, "items": {"a": 1.5}}, 422, "invalid_quantity"),
    ({**GOOD, "items": {"a": 10_001}}, 422, "invalid_quantity"),
    ({**GOOD, "items": {"a": "1"}}, 422, "invalid_quantity"),
    ({**GOOD, "items": {}}, 422, "no_items"),
    ({**GOOD, "items": [1]}, 422, "invalid_body"),
    ({**GOOD, "items": {f"s{n}": 1 for n in range(101)}}, 422, "too_many_items"),
    ({**GOOD, "amount": -1}, 422, "invalid_amount"),
    ({**GOOD, "amount": 1.001}, 422, "invalid_amount"),
    ({**GOOD, "userId": "a b"}, 422, "invalid_id"),
    ({**GOOD, "items": {"ä": 1}}, 422, "invalid_id"),
    ({**GOOD, "metadata": {"k": "x" * 5000}}, 422, "metadata_too_large"),
    ({**GOOD, "metadata": {"k": "\x00"}}, 422, "invalid_metadata"),
    ({**GOOD, "metadata": {"k": 1}}, 422, "invalid_body"),
    ({**GOOD, "price": 1}, 422, "invalid_body"),
    ({"userId": "u", "amount": 1}, 422, "invalid_body"),
]


@pytest.mark.parametrize(("body", "status", "code"), REFUSED)
def test_refused_without_effect(open_client: TestClient, body: dict, status: int, code: str) -> None:
    answer = open_client.post("/orders", json=body)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert open_client.get("/orders").json()["totalElements"] == 0


RAW = [
    (b"{", 400, "malformed_json"),
    (b'{"userId":"u","amount":1e999999999,"items":{"a":1}}', 422, "invalid_amount"),
    (b'{"userId":"u","amount":1,"items":{"a":1e999999999}}', 422, "invalid_quantity"),
    (b'{"userId":"u","amount":1,"items":{"a":NaN}}', 400, "malformed_json"),
    (b"[" * 20_000, 422, "invalid_body"),
    (b'{"userId":"u","amount":1,"items":{"a":1},"x":"' + b"y" * 70_000 + b'"}', 413, "body_too_large"),
]


@pytest.mark.parametrize(("body", "status", "code"), RAW, ids=range(len(RAW)))
def test_raw_bodies(open_client: TestClient, body: bytes, status: int, code: str) -> None:
    answer = open_client.post("/orders", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_body_that_streams_is_counted(open_client: TestClient) -> None:
    def parts():
        for _ in range(100):
            yield b" " * 1024

    answer = open_client.post("/orders", content=parts(), headers=JSON)
    assert answer.status_code == 413


REPEATED = {
    "product": ("POST", "/orders", b'{"userId":"u","amount":1,"items":{"a":3,"a":3.0}}'),
    "equal product": ("POST", "/orders", b'{"userId":"u","amount":1,"items":{"a":3,"a":3}}'),
    "escaped": ("POST", "/orders", b'{"userId":"u","amount":1,"items":{"a":3,"\\u0061":3}}'),
    "amount": ("POST", "/orders", b'{"userId":"u","amount":100,"items":{"a":3},"amount":1}'),
    "escaped amount": ("POST", "/orders", b'{"userId":"u","amount":100,"items":{"a":3},"\\u0061mount":1}'),
    "items": ("POST", "/orders", b'{"userId":"u","amount":1,"items":{"a":3},"items":{"a":1}}'),
    "metadata": ("POST", "/orders", b'{"userId":"u","amount":1,"items":{"a":3},"metadata":{"k":"v","k":"w"}}'),
    "no metadata": ("POST", "/orders", b'{"userId":"u","amount":1,"items":{"a":3},"metadata":null,"metadata":null}'),
    "half a character": ("POST", "/orders", b'{"userId":"u","amount":1,"items":{"a":3},"metadata":{"\\ud83d":"v","\\ud83d":"w"}}'),
    "by": ("POST", "/orders/x/cancel", b'{"by":"operator","by":"customer"}'),
    "onHand": ("PUT", "/stock/a", b'{"onHand":1,"onHand":2}'),
    "delta": ("POST", "/stock/a/add", b'{"delta":1,"delta":1}'),
}  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body"), REPEATED.values(), ids=REPEATED)
def test_a_name_that_comes_twice_is_refused(open_client: TestClient, method: str, path: str, body: bytes) -> None:
    """A proxy could check one of the two values and the service use the other."""
    answer = open_client.request(method, path, content=body, headers=JSON)
    expected = {(422, "repeated_name")} | ({(400, "malformed_json")} if b"ud83d" in body else set())
    assert (answer.status_code, answer.json()["code"]) in expected
    assert open_client.get("/orders").json()["totalElements"] == 0
    assert open_client.get("/stock/a").status_code == 404


@given(
    names=st.lists(st.sampled_from(["userId", "amount", "items", "metadata"]), max_size=2),
    items=st.dictionaries(st.text('ab"\\\u00e9', min_size=1, max_size=3), st.integers(1, 9), min_size=1, max_size=3),
    metadata=st.none() | st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3),
    escaped=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_repeated_names_are_found_in_every_spelling(
    names: list[str], items: dict[str, int], metadata: dict[str, str] | None, escaped: bool
) -> None:
    pairs = [("userId", "u"), ("amount", 1), ("items", items), ("metadata", metadata)]
    pairs += [pair for pair in pairs if pair[0] in names]
    spelled = [f"{json.dumps(name)}:{json.dumps(value, ensure_ascii=escaped)}" for name, value in pairs]
    body = ("{" + ",".join(spelled) + "}").encode("utf-8", "surrogatepass")
    found = code_of(body)
    assert found == "malformed_json" or (found == "repeated_name") == bool(names)


def code_of(body: bytes) -> str:
    try:
        read_order(body, USD)
    except (InvalidValue, HttpProblem) as refused:
        return refused.code
    return ""


NOT_WHOLE = ["999999999999.9999999", "0.9999999999999999999", "4.00000000000000000001", "1e-1", "5.5", "1e400"]


@pytest.mark.parametrize("number", NOT_WHOLE)
def test_numbers_that_are_nearly_whole_are_refused(open_client: TestClient, number: str) -> None:
    """As floats most of them would be whole."""
    order = b'{"userId":"u","amount":1,"items":{"a":%b}}' % number.encode()
    asked = [
        ("POST", "/orders", order, "invalid_quantity"),
        ("PUT", "/stock/a", b'{"onHand":%b}' % number.encode(), "invalid_units"),
        ("POST", "/stock/a/add", b'{"delta":%b}' % number.encode(), "invalid_units"),
    ]
    for method, path, body, code in asked:
        answer = open_client.request(method, path, content=body, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (422, code)
    for query in (f"page={number}", f"size={number}"):
        assert open_client.get(f"/orders?{query}").status_code == 422
    assert open_client.get("/stock/a").status_code == 404


def test_numbers_that_are_whole_are_accepted(open_client: TestClient) -> None:
    for number, units in ((b"5.0", 5), (b"1e1", 10), (b"50e-1", 5), (b"1.0000000000000000000000000000000000000", 1)):
        body = b'{"userId":"u","amount":1,"items":{"a":%b}}' % number
        assert open_client.post("/orders", content=body, headers=JSON).json()["items"] == {"a": units}
        answer = open_client.put("/stock/b", content=b'{"onHand":%b}' % number, headers=JSON)
        assert answer.json()["onHand"] == units
    for wrong in (b'"5"', b"null", b"true", b"[5]", b"{}"):
        answer = open_client.put("/stock/b", content=b'{"onHand":%b}' % wrong, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_body")


@pytest.mark.parametrize(
    "name", ["Idempotency-Key", "Authorization", "X-API-Key", "Host", "Content-Type", "Origin", "Sec-Fetch-Site"]
)
def test_headers_with_one_value_come_once(open_client: TestClient, name: str) -> None:
    values = {"Host": "localhost", "Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"}
    value = values.get(name, "a")
    for second in (value, "b"):
        for headers in ([(name, value), (name.lower(), second)], [(name, second), (name.upper(), value)]):
            given = headers if name == "Content-Type" else [*headers, ("Content-Type", "application/json")]
            answer = open_client.post("/orders", content=json.dumps(GOOD), headers=given)
            assert (answer.status_code, answer.json()["code"]) == (400, "repeated_header")
    assert open_client.get("/orders").json()["totalElements"] == 0
    assert open_client.get("/healthz", headers=[("Accept", "a"), ("Accept", "b")]).status_code == 200


def test_blanks_around_a_key_are_no_part_of_it(open_client: TestClient) -> None:
    ids = {
        open_client.post("/orders", json=GOOD, headers={"Idempotency-Key": key}).json()["id"]
        for key in ("k", "k ", " \tk\t ")
    }
    assert len(ids) == 1


def test_other_refusals(open_client: TestClient) -> None:
    assert open_client.post("/orders", content=b"x", headers={"Content-Type": "text/plain"}).status_code == 415
    wrong = open_client.delete("/orders")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD, POST")
    assert open_client.get("/nothing").json()["code"] == "no_such_route"
    assert open_client.get("/orders?page=-1").json()["code"] == "invalid_page"
    assert open_client.get("/orders?size=1000").json()["code"] == "invalid_size"
    assert open_client.get("/orders/no-such").status_code == 404
    assert open_client.get("/dead-letters?state=X").status_code == 422


def test_idempotency(open_client: TestClient) -> None:
    key = {"Idempotency-Key": "k"}
    first = open_client.post("/orders", json=GOOD, headers=key)
    again = open_client.post("/orders", json={"items": {"a": 1.0}, "amount": 1.00, "userId": "u"}, headers=key)
    other = open_client.post("/orders", json={**GOOD, "amount": 2}, headers=key)

    assert first.json() == again.json()
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert open_client.get("/orders").json()["totalElements"] == 1
    assert open_client.post("/orders", json=GOOD, headers={"Idempotency-Key": ""}).status_code == 422


def test_documents(open_client: TestClient) -> None:
    document = open_client.get("/openapi.json").json()
    page = open_client.get("/docs")

    assert document["openapi"] == "3.1.0"
    assert "script" not in page.text
    assert "http://" not in page.text.replace("http://127", "")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    open_client.post("/orders", json=GOOD)
    until = time.monotonic() + 10
    while b"oms_messages_published_total" not in open_client.get("/metrics").content:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert open_client.get("/healthz").json()["status"] == "up"


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
NEARLY = st.fixed_dictionaries({"userId": ANY, "amount": ANY, "items": st.dictionaries(st.text(max_size=8), ANY) | ANY})


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=ANY | NEARLY)
def test_no_body_ends_in_a_5xx(open_client: TestClient, body: object) -> None:
    answer = open_client.post("/orders", content=json.dumps(body).encode(), headers=JSON)
    assert answer.status_code in (201, 400, 422)
