"""Watching live events: the format, and going on after a reconnect."""

import itertools
from typing import Any

import pytest
from client_stub import Stub
from hypothesis import given
from hypothesis import strategies as st

from taskscheduler.client import LiveEvent, NotFound, Unreachable
from taskscheduler.client.exchange import Exchange
from taskscheduler.client.sse import EventStream

TEXT = (
    "\ufeff: hello\n\n"
    'id: 1\nevent: task.created\ndata: {"a":\ndata: 1}\n\n'
    "data: not\r\ndata: json\r\n\r\n"
    "retry: 1500\rid: 2\rdata:x\r\r"
    "event: nothing\n\n"
    "id\ndata: 5\n\n"
    "id: cut off\ndata: lost"
).encode()
EVENTS = [
    LiveEvent(type="task.created", data={"a": 1}, id="1"),
    LiveEvent(type="message", data="not\njson", id="1"),
    LiveEvent(type="message", data="x", id="2"),
    LiveEvent(type="message", data=5, id=""),
]


@given(st.lists(st.integers(0, len(TEXT))))
def test_events_are_the_same_however_the_bytes_are_cut(cuts: list[int]) -> None:
    stream = EventStream()
    edges = [0, *sorted(cuts), len(TEXT)]
    chunks = [TEXT[start:end] for start, end in itertools.pairwise(edges)]
    assert [event for chunk in chunks for event in stream.feed(chunk)] == EVENTS
    assert (stream.last_id, stream.retry) == ("", 1.5)


def test_an_event_cut_off_by_a_reconnect_is_forgotten() -> None:
    stream = EventStream()
    assert list(stream.feed(b"id: 1\ndata: 1\n\nid: 2\ndata: lo")) == [LiveEvent(type="message", data=1, id="1")]
    stream.reconnected()
    assert stream.last_id == "1"
    assert list(stream.feed(b"data: 3\n\n")) == [LiveEvent(type="message", data=3, id="1")]


async def test_watching_goes_on_after_the_last_event(stub: Stub, make_client: Any) -> None:
    stub.feeds = [[b"id: 1\ndata: 1\n\nid: 2\ndata: cut off\n"], [b"id: 2\ndata: 2\n\n"]]
    seen = []
    async for event in make_client(stub.url).watch(task_id="t", event_type="x"):
        seen.append(event.data)
        if len(seen) == 2:
            break
    assert seen == [1, 2]
    first, second = stub.asked("/api/events")
    assert first.query == second.query == [("task_id", "t"), ("type", "x")]
    assert (first.headers.get("Last-Event-ID"), second.headers.get("Last-Event-ID")) == (None, "1")


async def test_watching_begins_after_a_given_event_and_survives_errors(stub: Stub, make_client: Any) -> None:
    slept: list[float] = []
    stub.fault("/api/events", 503, headers={"Retry-After": "3"})
    stub.fault("/api/events", lose_reply=True)
    stub.feeds = [[], [b"data: 9\n\n"]]
    exchange = Exchange(30.0, clock=lambda: 0.0, chance=lambda: 0.0)
    async for event in make_client(stub.url, slept=slept, exchange=exchange).watch(last_event_id="8"):
        assert event == LiveEvent(type="message", data=9, id="8")
        break
    assert slept == pytest.approx([3.0, 0.2])
    assert [seen.headers.get("Last-Event-ID") for seen in stub.asked("/api/events")] == ["8"] * 3


async def test_watching_ends_when_the_server_refuses(stub: Stub, make_client: Any) -> None:
    stub.fault("/api/events", 404)
    with pytest.raises(NotFound):
        async for _ in make_client(stub.url).watch(task_id="t"):
            pass


async def test_watching_ends_when_the_server_stays_away(stub: Stub, make_client: Any) -> None:
    slept: list[float] = []
    exchange = Exchange(30.0, clock=lambda: sum(slept), chance=lambda: 0.0)
    with pytest.raises(Unreachable):
        async for _ in make_client(stub.url, slept=slept, exchange=exchange).watch():
            pass
    assert 10 < sum(slept) < 30
