"""Appends to Kafka, with a producer that never has an answer, or one that says little."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from taskscheduler.commands.ports import LogUnavailable

pytest.importorskip("aiokafka")

from taskscheduler.streams.kafka.appender import Appender
from taskscheduler.streams.kafka.clock import ClockCheck

BOUND = 0.1


class _Silent:
    """A producer, and what makes them: it takes whatever comes, and says nothing."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    async def get(self) -> _Silent:
        return self

    def give_up(self, producer: Any) -> None:
        """There is only this one."""

    def create_batch(self) -> _Silent:
        return self

    def append(self, *, timestamp: int | None, key: bytes, value: bytes) -> object:
        self.sent.append(value)
        return self

    async def send_batch(self, batch: _Silent, topic: str, partition: int) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("busy", [0, BOUND / 2], ids=["idle", "busy"])
async def test_after_one_was_given_up_the_next_is_refused_at_once(busy: float) -> None:
    silent: Any = _Silent()
    appender = Appender(silent, "topic", bound=BOUND, clock=lambda: 0, clock_check=ClockCheck())
    asyncio.get_running_loop().call_soon(time.sleep, busy)  # so that the batch leaves long after it was asked for
    with pytest.raises(LogUnavailable, match="did not say within"):
        await appender.append({0: [(b"key", b"first")]})
    with pytest.raises(LogUnavailable, match="has not answered for a while"):
        await appender.append({0: [(b"key", b"second")]})
    assert silent.sent == [b"first"], "what was refused never leaves"
    await appender.close()


class _Forgetful(_Silent):
    """What it sent was there already, and Kafka no longer knows where and since when."""

    async def send_batch(self, batch: _Silent, topic: str, partition: int) -> asyncio.Future[Any]:
        done = await super().send_batch(batch, topic, partition)
        done.set_result(SimpleNamespace(offset=-1, timestamp=-1))
        return done


async def test_what_was_there_already_says_nothing_of_the_clock() -> None:
    forgetful: Any = _Forgetful()
    check = ClockCheck()
    check.observe(0, 1_000_000, 1_000_000, 1_000_000)
    appender = Appender(forgetful, "topic", bound=BOUND, clock=lambda: 1_000_000, clock_check=check)
    with pytest.raises(LogUnavailable, match="no longer knows where"):
        await appender.append({0: [(b"key", b"value")]})
    assert check.ready
    await appender.close()
