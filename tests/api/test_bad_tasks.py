"""Every wrong field of a task is named, and nothing is reached."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from rest_kit import client_of, nested, refusing_app

GOOD = {"name": "x", "target": {"type": "noop"}}


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
MANY = {str(n): "x" for n in range(17)}

BAD_TASKS: list[tuple[Any, list[str]]] = [
    ([], [""]),
    ("x", [""]),
    ({}, ["/name", "/target"]),
    ({"name": None, "target": None}, ["/name", "/target"]),
    (task(name=""), ["/name"]),
    (task(name="x" * 201), ["/name"]),
    (task(name=1), ["/name"]),
    (task(name="a\0b"), ["/name"]),
    (task(name="two\nlines"), ["/name"]),
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
    (scheduled(every="36h", timezone="Europe/Berlin"), ["/schedule/every"]),
    (scheduled(every="P1Y1D", timezone="UTC"), ["/schedule/every"]),
    (scheduled(every="P101Y", timezone="UTC"), ["/schedule/every"]),
    (scheduled(every="P0M", timezone="UTC"), ["/schedule/every"]),
    (scheduled(every=None, timezone="UTC"), ["/schedule/every"]),
    (scheduled(every="P1M"), ["/schedule/every"]),
    (scheduled(every="1d", dst={"gap": "skip"}), ["/schedule/dst"]),
    (scheduled(every="P1M", timezone="Mars/Base", dst={"fold": "x"}), ["/schedule/dst/fold", "/schedule/timezone"]),
    (
        scheduled(every="1d", timezone="UTC", anchor="2031-01-01T00:00:00.5Z", days="or"),
        ["/schedule/anchor", "/schedule/days"],
    ),
    (scheduled(rrule="FREQ=DAILY"), ["/schedule/dtstart"]),
    (scheduled(rrule="FREQ=DAILY", dtstart="2031-01-01T00:00:00Z"), ["/schedule/dtstart"]),
    (scheduled(rrule="FREQ=DAILY", dtstart="2031-01-01T00:00:00+01:00"), ["/schedule/dtstart"]),
    (scheduled(rrule="FREQ=DAILY", dtstart="2031-02-30T00:00"), ["/schedule/dtstart"]),
    (scheduled(rrule="FREQ=DAILY", dtstart="1969-12-31T00:00"), ["/schedule/dtstart"]),
    (scheduled(rrule="FREQ=DAILY;BYHOUR=25", dtstart="2031-02-03"), ["/schedule/rrule"]),
    (scheduled(rrule="FREQ=DAILY;UNTIL=20291231", dtstart="2029-01-01"), ["/schedule/rrule"]),
    (scheduled(rrule="FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", dtstart="2029-01-01"), ["/schedule/rrule"]),
    (scheduled(rrule="FREQ=DAILY\nEXDATE:20310101T000000", dtstart="2031-01-01"), ["/schedule/rrule"]),
    (scheduled(rrule="BEGIN:VEVENT\nRRULE:FREQ=DAILY", dtstart="2031-01-01"), ["/schedule/rrule"]),
    (scheduled(rrule="DTSTART:20310101T000000Z", dtstart="2031-01-01"), ["/schedule/rrule"]),
    (scheduled(rrule="DTSTART:soon\nFREQ=DAILY"), ["/schedule/rrule"]),
    (scheduled(rrule="DTSTART;TZID=Mars/Base:20310101T000000\nFREQ=DAILY"), ["/schedule/rrule"]),
    (
        scheduled(rrule="DTSTART:20310101T000000Z\nFREQ=DAILY", timezone="Asia/Tokyo", dtstart="2031-01-02"),
        ["/schedule/dtstart", "/schedule/timezone"],
    ),
    (
        scheduled(rrule="FREQ=DAILY", dtstart="2031-01-01", days="or", anchor="x"),
        ["/schedule/anchor", "/schedule/days"],
    ),
    (scheduled(cron="0 2 * * *", dtstart="2031-01-01"), ["/schedule/dtstart"]),
    (scheduled(any=[]), ["/schedule/any"]),
    (scheduled(any=None), ["/schedule/any"]),
    (scheduled(any=[{"every": "1h"}] * 21), ["/schedule/any"]),
    (
        scheduled(
            any=[
                {"cron": "0 25 * * *"},
                {"any": [{"every": "1h"}]},
                {"delay": "1h"},
                {"every": "1h", "max_runs": 3, "jitter": "1m", "except": [{"date": "2030-12-25"}]},
                {"every": "1h", "start_at": "2031-01-02T00:00:00Z", "end_at": "2031-01-01T00:00:00Z"},
                "0 2 * * *",
            ]
        ),
        [
            "/schedule/any/0/cron",
            "/schedule/any/1",
            "/schedule/any/2",
            "/schedule/any/3/except",
            "/schedule/any/3/jitter",
            "/schedule/any/3/max_runs",
            "/schedule/any/4/end_at",
            "/schedule/any/5",
        ],
    ),
    (scheduled(any=[{"every": "1h"}], timezone="Mars/Base", dst={}), ["/schedule/dst", "/schedule/timezone"]),
    (scheduled(any=[{"every": "1s"}, {"every": "1s", "anchor": "2030-01-01T00:00:00.5Z"}]), ["/schedule/any"]),
    (scheduled(every="1h", **{"except": []}), ["/schedule/except"]),
    (scheduled(every="1h", **{"except": [{"calendar": f"c{n}"} for n in range(9)]}), ["/schedule/except"]),
    (scheduled(every="1h", **{"except": {"date": "2030-12-25"}}), ["/schedule/except"]),
    (scheduled(at="2031-01-01T00:00:00Z", **{"except": [{"date": "2030-12-25"}]}), ["/schedule/except"]),
    (
        scheduled(
            every="1h",
            **{
                "except": [
                    {"date": "2030-02-30"},
                    {"date": 20301225},
                    {"from": "2030-12-26", "to": "2030-12-25"},
                    {"from": "2030-12-26", "to": "2030-12-27T00:00:00Z"},
                    {"from": "2030-12-26T00:00:00Z", "to": "2030-12-26T00:00:00Z"},
                    {"from": "2030-12-26"},
                    {"cron": "0 25 * * *"},
                    {"cron": "0 0 0 1 1 ? 2031"},
                    {"cron": "0 2 * * *", "timezone": "Mars/Base", "x": 1},
                    {"date": "2030-12-25", "cron": "0 2 * * *"},
                    {},
                    "2030-12-25",
                ]
            },
        ),
        [
            "/schedule/except/0/date",
            "/schedule/except/1/date",
            "/schedule/except/2/to",
            "/schedule/except/3/to",
            "/schedule/except/4/to",
            "/schedule/except/5/to",
            "/schedule/except/6/cron",
            "/schedule/except/7/cron",
            "/schedule/except/8/timezone",
            "/schedule/except/8/x",
            "/schedule/except/9",
            "/schedule/except/10",
            "/schedule/except/11",
        ],
    ),
    (scheduled(cron="* * * * * *", **{"except": [{"cron": "*/2 * * * *"}]}), ["/schedule/except"]),
    (scheduled(delay="1h", timezone="UTC"), ["/schedule/timezone"]),
    (scheduled(every="1h", days="or", dst={}), ["/schedule/days", "/schedule/dst"]),
    (scheduled(cron="0 2 * * *", dst="skip", days="xor"), ["/schedule/days", "/schedule/dst"]),
    (
        scheduled(cron="0 2 * * *", dst={"gap": "first", "fold": "skip", "leap": 1}),
        ["/schedule/dst/gap", "/schedule/dst/fold", "/schedule/dst/leap"],
    ),
    (scheduled(cron="0 0 31 2 MON", days="and"), ["/schedule/cron"]),
    (scheduled(cron="0 0 0 1 1 ? 2029"), ["/schedule/cron"]),
    (scheduled(cron="30 2 25-31 3 SUN", days="and", timezone="Europe/Berlin", dst={"gap": "skip"}), ["/schedule/cron"]),
    (scheduled(cron="CRON_TZ=Mars/Olympus 0 2 * * *"), ["/schedule/cron"]),
    (scheduled(cron="CRON_TZ= 0 2 * * *"), ["/schedule/cron"]),
    (scheduled(cron="TZ=UTC 0 2 * * *", timezone="Europe/Berlin"), ["/schedule/timezone"]),
    (scheduled(cron="TZ=UTC"), ["/schedule/cron"]),
    (scheduled(cron="@every"), ["/schedule/cron"]),
    (scheduled(cron="@every 1ms"), ["/schedule/cron"]),
    (
        scheduled(cron="@every 1h", timezone="UTC", dst={}, days="or"),
        ["/schedule/days", "/schedule/dst", "/schedule/timezone"],
    ),
    (scheduled(cron="H(5-70) * * * *"), ["/schedule/cron"]),
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
    (http("https://example.com:22/"), ["/target/url"]),
    (http(headers={"Authorization": "Bearer x"}), ["/target/headers/Authorization"]),
    (http(headers={"X-API-Key": "x"}), ["/target/headers/X-API-Key"]),
    (http(headers={"X": {"secret": "a/b"}}), ["/target/headers/X/secret"]),
    (http(headers={"X": {}}), ["/target/headers/X/secret"]),
    (http(headers={"X": {"secret": "a", "value": "b"}}), ["/target/headers/X/value"]),
    (http(headers={"Host": {"secret": "a"}}), ["/target/headers/Host"]),
    (http(auth={}), ["/target/auth"]),
    (http(auth="x"), ["/target/auth"]),
    (http(auth={"bearer": "a", "basic": {"user": "u", "password": "p"}}), ["/target/auth"]),
    (http(auth={"bearer": "not a name"}), ["/target/auth/bearer"]),
    (http(auth={"basic": {"user": "a:b"}}), ["/target/auth/basic/password", "/target/auth/basic/user"]),
    (http(auth={"bearer": "a", "x": 1}), ["/target/auth/x"]),
    (
        http(auth={"bearer": "a"}, headers={"authorization": {"secret": "a"}}),
        ["/target/headers/authorization"],
    ),
    (task(target={"type": "kafka", "topic": "t"}), ["/target/type"]),
    (task(target={"type": "kafka", "queue": "q"}), ["/target/type", "/target/topic", "/target/queue"]),
    (http(sign={}), ["/target/sign/secret"]),
    (http(sign={"secret": "a"}, headers={"Webhook-Id": "1"}), ["/target/headers/Webhook-Id"]),
    (http(tls={"key": "a"}), ["/target/tls/key"]),
    (http(tls={"cert": "../a", "verify": False}), ["/target/tls/cert", "/target/tls/verify"]),
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
    (http(expect=[]), ["/target/expect"]),
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
    response = await api.post(CREATE, content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert response.status_code == 422, response.text
    assert sorted(error["pointer"] for error in response.json()["errors"]) == sorted(pointers)


EXEC = {"type": "exec", "queue": "q", "argv": ["ls"]}


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"queue": None}, "/target/queue"),
        ({"argv": None}, "/target/argv"),
        ({"argv": []}, "/target/argv"),
        ({"argv": "ls -l"}, "/target/argv"),
        ({"argv": ["ls", 1]}, "/target/argv/1"),
        ({"argv": ["ls", "a\0b"]}, "/target/argv/1"),
        ({"argv": [""]}, "/target/argv/0"),
        ({"argv": ["x" * 4_096] * 9}, "/target/argv"),
        ({"env": {"A-B": "1"}}, "/target/env/A-B"),
        ({"env": {"A": 1}}, "/target/env/A"),
        ({"env": {"TASK_ID": "1"}}, "/target/env/TASK_ID"),
        ({"env": []}, "/target/env"),
        ({"cwd": "here"}, "/target/cwd"),
        ({"shell": True}, "/target/shell"),
    ],
)
async def test_a_command_that_is_none_is_refused(api: httpx.AsyncClient, change: dict[str, Any], pointer: str) -> None:
    response = await api.post("/api/tasks", json=task(target={**EXEC, **change}))
    assert response.status_code == 422, response.text
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]


@pytest.mark.parametrize(
    "beside",
    [{"except": [{"date": "2030-12-25"}]}, {"jitter": "1m"}, {"max_runs": 3}],
    ids=lambda beside: next(iter(beside)),
)
async def test_what_holds_for_all_members_is_sent_to_where_it_belongs(
    api: httpx.AsyncClient, beside: dict[str, Any]
) -> None:
    reply = await api.post("/api/tasks", json=scheduled(any=[{"every": "1h", **beside}]))
    assert [error["detail"] for error in reply.json()["errors"]] == ["holds for the whole: write it beside any"]


async def test_all_errors_of_a_request_are_told_at_once(api: httpx.AsyncClient) -> None:
    body = {"name": "", "target": {"type": "http", "url": "x"}, "priority": 0, "retry": {"jitter": 9}, "y": 1}
    response = await api.post(CREATE, json=body, headers={"Idempotency-Key": "é".encode()})
    pointers = {error["pointer"] for error in response.json()["errors"]}
    assert pointers == {"/name", "/target/url", "/priority", "/retry/jitter", "/y", "/headers/idempotency-key"}
