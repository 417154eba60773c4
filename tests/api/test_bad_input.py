"""Every bad request gets a problem document that names what is wrong, and reaches nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from rest_kit import client_of, refusing_app

from taskscheduler.api.body import decode, is_deeper
from taskscheduler.api.problems import Problem

GOOD = {"name": "x", "target": {"type": "noop"}}
JSON = {"Content-Type": "application/json"}


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def task(**fields: Any) -> dict[str, Any]:
    return {**GOOD, **fields}


def scheduled(**schedule: Any) -> dict[str, Any]:
    return task(schedule=schedule)


def http(url: str = "https://example.com/", **fields: Any) -> dict[str, Any]:
    return task(target={"type": "http", "url": url, **fields})


APP = refusing_app()


@pytest.fixture
async def api() -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(APP) as client:
        yield client


CREATE = "/api/tasks"
CLAIM = "/api/queues/mail/claims"
LATER = "not supported yet"
MANY = {str(n): "x" for n in range(17)}

BAD_TASKS: list[tuple[Any, list[str]]] = [
    ([], [""]),
    ("x", [""]),
    ({}, ["/name", "/target"]),
    ({"name": None, "target": None}, ["/name", "/target"]),
    (task(name=""), ["/name"]),
    (task(name="x" * 201), ["/name"]),
    (task(name=1), ["/name"]),
    (task(x=1, **{"a/b~c": 2}), ["/x", "/a~1b~0c"]),
    (task(id=""), ["/id"]),
    (task(id="a/b"), ["/id"]),
    (task(id="a\0"), ["/id"]),
    (task(id="a\n"), ["/id"]),
    (task(id="-a"), ["/id"]),
    (task(id="a" * 65), ["/id"]),
    (task(id=7), ["/id"]),
    (task(id="batch"), ["/id"]),
    (task(idempotency_key="k"), ["/idempotency_key"]),
    (task(schedule="now"), ["/schedule"]),
    (task(schedule={}), ["/schedule"]),
    (scheduled(at="2031-01-01T00:00:00Z", delay="1s"), ["/schedule"]),
    (scheduled(at=None), ["/schedule/at"]),
    (scheduled(at="tomorrow"), ["/schedule/at"]),
    (scheduled(at="2031-01-01T00:00:00"), ["/schedule/at"]),
    (scheduled(at="2029-12-31T22:59:59Z"), ["/schedule/at"]),
    (scheduled(at="9999-12-31T23:59:59Z"), ["/schedule/at"]),
    (scheduled(at="2031-01-01T00:00:00Z", x=1), ["/schedule/x"]),
    (scheduled(delay="-1s"), ["/schedule/delay"]),
    (scheduled(delay=-1), ["/schedule/delay"]),
    (scheduled(delay=1e300), ["/schedule/delay"]),
    (scheduled(delay="99999999d"), ["/schedule/delay"]),
    (scheduled(delay="P1Y"), ["/schedule/delay"]),
    (scheduled(delay=True), ["/schedule/delay"]),
    (scheduled(delay="1s", anchor="2031-01-01T00:00:00Z"), ["/schedule/anchor"]),
    (scheduled(every="99ms"), ["/schedule/every"]),
    (scheduled(every=0), ["/schedule/every"]),
    (scheduled(every="1h", timezone="UTC"), ["/schedule/timezone"]),
    (scheduled(every="1h", anchor="x"), ["/schedule/anchor"]),
    (scheduled(cron="* * * *"), ["/schedule/cron"]),
    (scheduled(cron="0 25 * * *"), ["/schedule/cron"]),
    (scheduled(cron="0 0 30 2 *"), ["/schedule/cron"]),
    (scheduled(cron="0 0 0 31 4 MON"), ["/schedule/cron"]),
    (scheduled(cron="*/1 * * * *" + " " * 300), ["/schedule/cron"]),
    (scheduled(cron="0," * 128), ["/schedule/cron"]),
    (scheduled(cron="9" * 200 + " * * * *"), ["/schedule/cron"]),
    (scheduled(cron="٣ * * * *"), ["/schedule/cron"]),
    (scheduled(cron=5), ["/schedule/cron"]),
    (scheduled(cron="0 2 * * *", timezone="Europe/Atlantis"), ["/schedule/timezone"]),
    (scheduled(cron="0 2 * * *", timezone="../../etc/passwd"), ["/schedule/timezone"]),
    (scheduled(cron="x", timezone="\0"), ["/schedule/timezone", "/schedule/cron"]),
    (task(target="noop"), ["/target"]),
    (task(target={}), ["/target/type"]),
    (task(target={"type": "x"}), ["/target/type"]),
    (task(target={"type": ["http"]}), ["/target/type"]),
    (task(target={"type": "noop", "url": "x"}), ["/target/url"]),
    (task(target={"type": "queue"}), ["/target/queue", "/target/kind"]),
    (task(target={"type": "queue", "queue": "a b", "kind": "x/y"}), ["/target/queue", "/target/kind"]),
    (task(target={"type": "http"}), ["/target/url"]),
    (http("ftp://example.com/"), ["/target/url"]),
    (http("file:///etc/passwd"), ["/target/url"]),
    (http("http://"), ["/target/url"]),
    (http("http:///path"), ["/target/url"]),
    (http("https://me:secret@example.com/"), ["/target/url"]),
    (http("https://@example.com/"), ["/target/url"]),
    (http("https://example.com:99999/"), ["/target/url"]),
    (http("https://example.com:x/"), ["/target/url"]),
    (http("https://example.com\\@evil.example/"), ["/target/url"]),
    (http("https://example.com/a b"), ["/target/url"]),
    (http("https://example.com/\r\nHost: x"), ["/target/url"]),
    (http("http://[::1/"), ["/target/url"]),
    (http("http://127.0.0.1/"), ["/target/url"]),
    (http("http://2130706433/"), ["/target/url"]),
    (http("http://[::ffff:10.0.0.1]/"), ["/target/url"]),
    (http("http://localhost.:80/"), ["/target/url"]),
    (http("http://169.254.169.254/latest/meta-data/"), ["/target/url"]),
    (http("https://example.com/" + "x" * 2000), ["/target/url"]),
    (http(method="BREW"), ["/target/method"]),
    (http(headers=["a"]), ["/target/headers"]),
    (http(headers={"X": "a\r\nb: c"}), ["/target/headers/X"]),
    (http(headers={"X Y": "a", "Z": 1}), ["/target/headers/X Y", "/target/headers/Z"]),
    (
        http(headers={"Content-Length": "3", "task-ID": "a"}),
        ["/target/headers/Content-Length", "/target/headers/task-ID"],
    ),
    (http(headers={"A": "1", "a": "2"}), ["/target/headers/a"]),
    (http(headers={"A": "x" * 20_000}), ["/target/headers"]),
    (http(expect=[99, "300-200", "2xx", 200.5, True]), [f"/target/expect/{n}" for n in range(5)]),
    (http(expect="200"), ["/target/expect"]),
    (http(body="x" * 300_000), ["/target/body"]),
    (task(payload=nested(65)), ["/payload"]),
    (task(payload="x" * 262_143), ["/payload"]),
    (task(retry=[]), ["/retry"]),
    (task(retry={"max_attempts": 0}), ["/retry/max_attempts"]),
    (task(retry={"max_attempts": 101}), ["/retry/max_attempts"]),
    (task(retry={"max_attempts": True}), ["/retry/max_attempts"]),
    (task(retry={"max_attempts": 1.5}), ["/retry/max_attempts"]),
    (task(retry={"max_attempts": 10**30}), ["/retry/max_attempts"]),
    (
        task(retry={"backoff": "none", "jitter": 2, "multiplier": 0}),
        ["/retry/backoff", "/retry/multiplier", "/retry/jitter"],
    ),
    (task(retry={"initial": "-1s", "max": "367d", "x": 1}), ["/retry/initial", "/retry/max", "/retry/x"]),
    (task(retry={"give_up_on": ["", 1, "x" * 101]}), [f"/retry/give_up_on/{n}" for n in range(3)]),
    (task(timeout=0), ["/timeout"]),
    (task(timeout="-5s"), ["/timeout"]),
    (
        task(catch_up={"policy": "some", "window": -1, "limit": 1001}),
        ["/catch_up/policy", "/catch_up/window", "/catch_up/limit"],
    ),
    (task(priority=0), ["/priority"]),
    (task(priority=10), ["/priority"]),
    (task(tags={"a:b": "x", "": "y", "c": 1}), ["/tags/a:b", "/tags/", "/tags/c"]),
    (task(tags=MANY), ["/tags"]),
    (task(tags=[]), ["/tags"]),
    (task(overlap="sometimes"), ["/overlap"]),
]


@pytest.mark.parametrize(("body", "pointers"), BAD_TASKS)
async def test_every_wrong_field_is_named(api: httpx.AsyncClient, body: Any, pointers: list[str]) -> None:
    response = await api.post(CREATE, content=json.dumps(body), headers=JSON)
    assert response.status_code == 422, response.text
    assert sorted(error["pointer"] for error in response.json()["errors"]) == sorted(pointers)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (scheduled(cron="0 2 * * *", dst={"gap": "skip"}), "/schedule/dst"),
        (scheduled(cron="0 2 * * *", days="and"), "/schedule/days"),
        (scheduled(any=[]), "/schedule/any"),
        (scheduled(every="1h", **{"except": []}), "/schedule/except"),
        (scheduled(every="1h", start_at="2031-01-01T00:00:00Z"), "/schedule/start_at"),
        (scheduled(every="1h", end_at="2031-01-01T00:00:00Z"), "/schedule/end_at"),
        (scheduled(every="1h", max_runs=3), "/schedule/max_runs"),
        (scheduled(every="1h", jitter="1m"), "/schedule/jitter"),
        (task(overlap="buffer_one"), "/overlap"),
        (task(overlap="buffer_all"), "/overlap"),
        (task(overlap="cancel_other"), "/overlap"),
        (task(overlap="allow_all"), "/overlap"),
        (task(queue_timeout="1m"), "/queue_timeout"),
        (task(heartbeat_timeout="1m"), "/heartbeat_timeout"),
        (task(target={"type": "kafka", "topic": "t"}), "/target/type"),
        (task(target={"type": "exec", "argv": ["ls"]}), "/target/type"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_what_comes_later_is_refused_and_never_ignored(
    api: httpx.AsyncClient, body: dict[str, Any], pointer: str, method: str
) -> None:
    response = await api.request(method, CREATE if method == "POST" else CREATE + "/x", json=body)
    assert response.status_code == 422, response.text
    [error] = response.json()["errors"]
    assert error["pointer"] == pointer
    assert LATER in error["detail"]


async def test_all_errors_of_a_request_are_told_at_once(api: httpx.AsyncClient) -> None:
    body = {"name": "", "target": {"type": "http", "url": "x"}, "priority": 0, "retry": {"jitter": 9}, "y": 1}
    response = await api.post(CREATE, json=body, headers={"Idempotency-Key": "é".encode()})
    pointers = {error["pointer"] for error in response.json()["errors"]}
    assert pointers == {"/name", "/target/url", "/priority", "/retry/jitter", "/y", "/headers/idempotency-key"}


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
        ("GET", "/api/tasks/{}/runs"),
        ("GET", "/api/tasks/{}/events"),
        ("POST", "/api/queues/{}/claims"),
    ],
)
async def test_an_id_that_can_be_none_is_not_found(api: httpx.AsyncClient, method: str, path: str, bad: str) -> None:
    response = await api.request(method, path.format(bad))
    assert response.status_code == 404, response.text


@pytest.mark.parametrize("path", ["/", "/api", "/api/nothing", "/api/tasks/a/b/c/d", "/%00", "/api/tasks/a/backfill"])
async def test_an_unknown_path_is_not_found(api: httpx.AsyncClient, path: str) -> None:
    response = await api.get(path)
    assert response.status_code == 404
    assert response.json()["instance"] == path


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
