"""HEAD is answered as GET is, but without a body (RFC 9110 section 9.3.2)."""

from __future__ import annotations

import http.client
import time
from contextlib import closing
from urllib.parse import urlsplit

import httpx
import pytest

from taskscheduler.client import Client

PATHS = ["/api/tasks", "/api/tasks/a", "/api/tasks/none", "/api/tasks?limit=0", "/api/tasks/batch", "/nothing", "/docs"]


@pytest.mark.parametrize("path", [*PATHS, "/openapi.json", "/actuator/health", "/actuator/health/none"])
def test_the_head_is_that_of_get_and_the_connection_goes_on(server_url: str, path: str) -> None:
    with Client(server_url) as client:
        if not client.list_tasks().items:
            client.create_task(id="a", name="x", target={"type": "noop"}, schedule={"delay": "1h"})
    told = []
    with closing(http.client.HTTPConnection(urlsplit(server_url).netloc, timeout=30)) as connection:
        for method in ("HEAD", "GET"):
            connection.request(method, path)
            response = connection.getresponse()
            body = response.read()
            told.append((response.status, {name: value for name, value in response.getheaders() if name != "date"}))
            assert (body == b"") is (method == "HEAD")
    assert told[0] == told[1]


def test_what_a_path_takes_names_head_where_it_names_get(server_url: str) -> None:
    both = httpx.put(f"{server_url}/api/tasks")
    assert set(both.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}
    claims = httpx.head(f"{server_url}/api/queues/mail/claims")
    assert claims.status_code == 405
    assert set(claims.headers["allow"].split(", ")) == {"OPTIONS", "POST"}


def test_a_stream_of_events_ends_at_its_head(server_url: str) -> None:
    counted = 'http_server_requests_seconds_count{method="HEAD",outcome="SUCCESS",status="200",uri="/api/events"} 2'
    with closing(http.client.HTTPConnection(urlsplit(server_url).netloc, timeout=30)) as connection:
        for _ in range(2):
            connection.request("HEAD", "/api/events")
            response = connection.getresponse()
            assert response.getheader("content-type", "").startswith("text/event-stream")
            assert response.read() == b""
    # A request is counted when it is over, which is a little after its head was sent.
    until = time.monotonic() + 30
    while counted not in httpx.get(f"{server_url}/actuator/prometheus").text:
        assert time.monotonic() < until


async def test_the_document_says_nothing_of_it(api: httpx.AsyncClient) -> None:
    paths = (await api.get("/openapi.json")).json()["paths"]
    assert not any("head" in operations for operations in paths.values())
