"""Waiting until something holds that others change."""

from __future__ import annotations

import asyncio

from taskscheduler.streams.looking import until


async def test_what_holds_is_not_waited_for() -> None:
    changed = asyncio.Event()
    await until(lambda: True, changed)
    assert not changed.is_set()


async def test_it_is_asked_again_with_every_change_until_it_holds() -> None:
    changed, there = asyncio.Event(), False
    waiting = [asyncio.create_task(until(lambda: there, changed)) for _ in range(2)]
    for _ in range(3):
        done, _ = await asyncio.wait(waiting, timeout=0)
        assert not done
        changed.set()
    there = True
    changed.set()
    await asyncio.wait_for(asyncio.gather(*waiting), 5)
