"""The registry of workers: what is seen of them, that they are to drain, and that they are forgotten."""

from __future__ import annotations

import pytest

from taskscheduler.domain import errors
from taskscheduler.domain import events as ev
from taskscheduler.domain import messages as msg
from taskscheduler.domain.values import DAY, SECOND
from taskscheduler.domain.worker import GONE_AFTER, SEEN_EVERY, Worker, decide, status_of, wakeup, worker_id
from taskscheduler.domain.worker_info import WorkerInfo

INFO = WorkerInfo("i1", ("mail",), ("send",), concurrency=4)


class Seen:
    """A worker and what is decided about it."""

    def __init__(self) -> None:
        self.worker = Worker(worker_id("w"))

    def do(self, command: msg.Command, now: int, key: str | None = None) -> list[str]:
        used = None if key is None else msg.Key(key, "f")
        decided = decide(self.worker, command, msg.Context(now, 1, "ada", used), msg.Policy())
        assert isinstance(decided.state, Worker)
        self.worker = decided.state
        return [ev.tag_of(event).rsplit(".", 1)[0] for event in decided.events]

    def status(self, now: int) -> str:
        return status_of(now, self.worker.seen_at, self.worker.drain_at, self.worker.left_at)


def test_only_news_is_written() -> None:
    seen = Seen()
    assert seen.do(msg.Announce(INFO, 1), 0) == ["worker.seen"]
    assert seen.do(msg.Announce(INFO, 2), SEEN_EVERY - 1) == []
    assert seen.do(msg.Announce(INFO, 2), SEEN_EVERY) == ["worker.seen"]
    assert (seen.worker.running, seen.worker.first_seen_at, seen.worker.seen_at) == (2, 0, SEEN_EVERY)
    other = WorkerInfo("i1", ("mail", "post"), ("send",), concurrency=4)
    assert seen.do(msg.Announce(other, 2), SEEN_EVERY + 1) == ["worker.seen"]
    assert seen.status(SEEN_EVERY + 1 + GONE_AFTER) == "online"
    assert seen.status(SEEN_EVERY + 2 + GONE_AFTER) == "gone"


def test_a_drain_holds_for_the_process_that_was_asked() -> None:
    seen = Seen()
    with pytest.raises(errors.WorkerNotFound):
        seen.do(msg.Drain(), 0)
    seen.do(msg.Announce(INFO, 1), 1)
    assert seen.do(msg.Drain(), 2) == ["worker.drain_requested"]
    assert seen.do(msg.Drain(), 3) == []
    assert seen.worker.draining
    assert seen.status(3) == "draining"
    seen.do(msg.Announce(INFO, 1), 30 * SECOND)
    assert seen.worker.draining
    assert seen.do(msg.Leave("another"), 31 * SECOND) == []
    assert seen.do(msg.Leave("i1"), 31 * SECOND) == ["worker.left"]
    assert seen.do(msg.Leave("i1"), 32 * SECOND) == []
    assert seen.status(32 * SECOND) == "gone"
    with pytest.raises(errors.WrongState):
        seen.do(msg.Drain(), 33 * SECOND)
    seen.do(msg.Announce(WorkerInfo("i2", ("mail",)), 0), 34 * SECOND)
    assert (seen.worker.draining, seen.status(34 * SECOND), seen.worker.first_seen_at) == (False, "online", 34 * SECOND)


def test_a_drain_under_a_key_happens_once() -> None:
    seen = Seen()
    seen.do(msg.Announce(INFO), 0)
    assert seen.do(msg.Drain(), 1, "k") == ["worker.drain_requested", "key.used"]
    seen.do(msg.Leave("i1"), 2)
    seen.do(msg.Announce(WorkerInfo("i2", ("mail",))), 3)
    assert seen.do(msg.Drain(), 4, "k") == []
    assert not seen.worker.draining


def test_who_is_gone_for_a_day_is_forgotten() -> None:
    seen = Seen()
    seen.do(msg.Announce(INFO), 0)
    assert wakeup(seen.worker) == DAY
    seen.do(msg.Announce(INFO), SEEN_EVERY)
    assert seen.do(msg.Wake(), DAY) == []
    assert seen.do(msg.Wake(), DAY + SEEN_EVERY) == ["worker.forgotten"]
    assert (seen.worker, wakeup(seen.worker)) == (Worker(worker_id("w")), None)
    with pytest.raises(errors.WorkerNotFound):
        seen.do(msg.Drain(), DAY + SEEN_EVERY)


def test_a_worker_takes_no_other_command() -> None:
    with pytest.raises(errors.WrongState):
        Seen().do(msg.Cancel(), 0)
