"""Every bad request gets a problem document that names what is wrong, and reaches nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from rest_kit import client_of, nested, refusing_app

from taskscheduler.api.body import decode, is_deeper
from taskscheduler.api.problems import Problem

GOOD = {"name": "x", "target": {"type": "noop"}}
JSON = {"Content-Type": "application/json"}
CREATE = "/api/tasks"
CLAIM = "/api/queues/mail/claims"
APP = refusing_app()


@pytest.fixture
async def api() -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(APP) as client:
        yield client


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 400),
        (b"{'name': 1}", 400),
        (b'{"name": NaN}', 400),
        (b'{"name": "x",}', 400),
        (b"\xff\xfe", 400),
        (b'"\\ud800"', 400),
        (b"\xef\xbb\xbf{}", 400),
        (b"[" * 100_000, 400),
        (b'{"a":' * 100_000, 400),
        (b'{"payload":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
        (b'{"name":' + b"9" * 5_000 + b"}", 422),
        (b'{"payload":{"a":[1,1e999]}}', 422),
    ],
    ids=range(12),
)
async def test_what_is_not_json_is_refused(api: httpx.AsyncClient, content: bytes, status: int) -> None:
    response = await api.post(CREATE, content=content, headers=JSON)
    assert response.status_code == status, response.text


def test_a_number_out_of_range_is_named_where_it_stands() -> None:
    with pytest.raises(Problem) as caught:
        decode(b'{"payload":{"a/b":[1,1e999]},"name":' + b"9" * 5_000 + b"}")
    assert {error.pointer for error in caught.value.fields} == {"/payload/a~1b/1", "/name"}


@pytest.mark.parametrize("levels", [0, 1, 63, 64, 65, 500])
def test_the_depth_of_json_is_counted_exactly(levels: int) -> None:
    assert is_deeper(nested(levels), 64) is (levels > 64)
    assert is_deeper({"a": nested(levels)}, 64) is (levels > 63)


@pytest.mark.parametrize("content_type", ["text/plain", "", "application/xml", "application/jsonp", "json"])
async def test_a_body_that_is_not_called_json_is_refused(api: httpx.AsyncClient, content_type: str) -> None:
    response = await api.post(CREATE, content=json.dumps(GOOD), headers={"Content-Type": content_type})
    assert response.status_code == 415


async def test_a_compressed_body_is_refused(api: httpx.AsyncClient) -> None:
    response = await api.post(CREATE, content=b"\x1f\x8b", headers={**JSON, "Content-Encoding": "gzip"})
    assert response.status_code == 415


async def test_a_body_over_one_mebibyte_is_refused_announced_or_not(api: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(1025):
            yield b" " * 1024

    assert (await api.post(CREATE, content=b" " * (1024 * 1024 + 1), headers=JSON)).status_code == 413
    assert (await api.post(CREATE, content=chunks(), headers=JSON)).status_code == 413
    assert (await api.post(CREATE, content=b" " * 1024 * 1024, headers=JSON)).status_code == 400


async def test_a_batch_may_be_larger_but_not_without_bounds(api: httpx.AsyncClient) -> None:
    batch = CREATE + "/batch"
    assert (await api.post(batch, content=b" " * 2 * 1024 * 1024, headers=JSON)).status_code == 400
    assert (await api.post(batch, content=b" " * (16 * 1024 * 1024 + 1), headers=JSON)).status_code == 413
    for body in ({}, {"tasks": {}}, {"tasks": [GOOD] * 1001}):
        response = await api.post(batch, json=body)
        assert [error["pointer"] for error in response.json()["errors"]] == ["/tasks"]


@pytest.mark.parametrize("bad", ["a%00", "a%0d%0aX", "%20", "-a", "a%2Fb%2Fc", "a" * 65, "%C3%A9", "..%2f..", "%ff"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/tasks/{}"),
        ("PATCH", "/api/tasks/{}"),
        ("DELETE", "/api/tasks/{}"),
        ("POST", "/api/tasks/{}/cancel"),
        ("POST", "/api/tasks/{}/pause"),
        ("POST", "/api/tasks/a/backfill/{}/cancel"),
        ("GET", "/api/tasks/{}/runs"),
        ("GET", "/api/tasks/{}/events"),
        ("POST", "/api/queues/{}/claims"),
    ],
)
async def test_an_id_that_can_be_none_is_not_found(api: httpx.AsyncClient, method: str, path: str, bad: str) -> None:
    response = await api.request(method, path.format(bad))
    assert response.status_code == 404, response.text


@pytest.mark.parametrize("path", ["/", "/api", "/api/nothing", "/api/tasks/a/b/c/d", "/%00"])
async def test_an_unknown_path_is_not_found(api: httpx.AsyncClient, path: str) -> None:
    response = await api.get(path)
    assert response.status_code == 404
    assert response.json()["instance"] == path


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_a_name_that_is_a_path_is_that_of_no_task(api: httpx.AsyncClient, method: str) -> None:
    body = {} if method == "PATCH" else None
    response = await api.request(method, f"{CREATE}/batch", json=body)
    assert response.status_code == 404
    assert response.json()["detail"] == "there is no task 'batch'"
    assert (await api.put(f"{CREATE}/batch")).status_code == 405


async def test_a_wrong_method_is_told_the_right_ones(api: httpx.AsyncClient) -> None:
    response = await api.put(CREATE)
    assert response.status_code == 405
    assert {"GET", "POST"} <= set(response.headers["allow"].split(", "))
    assert (await api.request("BREW", CREATE)).status_code == 405


@pytest.mark.parametrize(
    ("query", "pointers"),
    [
        ("limit=0", ["/limit"]),
        ("limit=201", ["/limit"]),
        ("limit=-1", ["/limit"]),
        ("limit=x", ["/limit"]),
        ("limit=99999999999999999999999", ["/limit"]),
        ("limit=", ["/limit"]),
        ("limit=1&limit=2", ["/limit"]),
        ("status=done", ["/status"]),
        ("sort=size", ["/sort"]),
        ("tag=a", ["/tag"]),
        ("due_before=soon", ["/due_before"]),
        ("cursor=", ["/cursor"]),
        ("x=1&y=2", ["/x", "/y"]),
        ("&".join(f"tag=a:{n}" for n in range(17)), ["/tag"]),
        ("&".join(f"a{n}=1" for n in range(200)), [""]),
    ],
)
async def test_every_wrong_parameter_is_named(api: httpx.AsyncClient, query: str, pointers: list[str]) -> None:
    response = await api.get(f"{CREATE}?{query}")
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == pointers


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"\xc3\xa9", b"a\tb"])
async def test_an_idempotency_key_is_printable_ascii(api: httpx.AsyncClient, key: bytes) -> None:
    response = await api.post(CREATE, json=GOOD, headers={"Idempotency-Key": key})
    assert [error["pointer"] for error in response.json()["errors"]] == ["/headers/idempotency-key"]


@pytest.mark.parametrize("value", ["r3", '"r3', '"r3" "r4"', "3", '"r3",,', ""])
async def test_an_if_match_that_holds_no_entity_tags_is_malformed(api: httpx.AsyncClient, value: str) -> None:
    response = await api.patch(CREATE + "/x", json={}, headers={"If-Match": value})
    assert response.status_code == 400


@pytest.mark.parametrize(
    ("path", "body", "pointers"),
    [
        (CLAIM, {}, ["/worker"]),
        (CLAIM, {"worker": "server"}, ["/worker"]),
        (CLAIM, {"worker": "a\0b", "request_id": "r"}, ["/worker"]),
        (CLAIM, {"worker": "w", "max": 0}, ["/max"]),
        (CLAIM, {"worker": "w", "max": 101}, ["/max"]),
        (CLAIM, {"worker": "w", "wait": "61s"}, ["/wait"]),
        (CLAIM, {"worker": "w", "lease": "999ms"}, ["/lease"]),
        (CLAIM, {"worker": "w", "lease": "61m"}, ["/lease"]),
        (CLAIM, {"worker": "w", "kinds": ["a b", 1], "x": 1}, ["/kinds/0", "/kinds/1", "/x"]),
        (CLAIM, {"worker": 1, "request_id": ""}, ["/worker", "/request_id"]),
        ("/api/claims/t/heartbeat", {"progress": nested(65)}, ["/progress"]),
        ("/api/claims/t/heartbeat", {"progress": "x" * 20_000}, ["/progress"]),
        ("/api/claims/t/complete", {"result": "x" * 70_000}, ["/result"]),
        ("/api/claims/t/complete", {"error": {}}, ["/error"]),
        ("/api/claims/t/fail", {}, ["/error"]),
        ("/api/claims/t/fail", {"error": {"message": 1}}, ["/error/type", "/error/message"]),
        (
            "/api/claims/t/fail",
            {"error": {"type": "x"}, "retryable": 1, "retry_after": -1},
            ["/retryable", "/retry_after"],
        ),
        ("/api/claims/report", {}, ["/outcomes"]),
        ("/api/claims/report", {"outcomes": [{}] * 1001}, ["/outcomes"]),
        ("/api/tasks/x/pause", {"note": "x" * 1001, "why": 1}, ["/note", "/why"]),
        ("/api/tasks/x/cancel", {"note": "x"}, ["/note"]),
        ("/api/schedules/preview", {}, ["/schedule"]),
        ("/api/schedules/preview", {"schedule": {"every": "1h"}, "count": 1001, "after": 1}, ["/count", "/after"]),
    ],
)
async def test_other_bodies_are_checked_alike(
    api: httpx.AsyncClient, path: str, body: dict[str, Any], pointers: list[str]
) -> None:
    response = await api.post(path, json=body)
    assert response.status_code == 422, response.text
    assert [error["pointer"] for error in response.json()["errors"]] == pointers


async def test_a_fault_is_told_without_its_trace(api: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    response = await api.get("/api/tasks/x")
    assert response.status_code == 500
    assert "reached" not in response.text
    assert "refused request" not in response.text
    assert "a refused request reached task" in caplog.text
