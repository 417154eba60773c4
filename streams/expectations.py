"""Who waits for the verdict on which record. Replicas of several partitions share a table: a batch may span them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

from taskscheduler.domain.decision import Verdict
from taskscheduler.domain.entities import Entity


class _Expectation:
    __slots__ = ("future", "left", "verdicts")

    def __init__(self, future: asyncio.Future[list[Verdict]], size: int) -> None:
        self.future = future
        self.left = size
        self.verdicts: list[Verdict] = [Verdict.CONFLICT] * size


class Expectations:
    """By record id: `expected` says who waits, `drafts` what the decider folded already (before, after)."""

    def __init__(self) -> None:
        self.expected: dict[str, tuple[_Expectation, int]] = {}
        self.drafts: dict[str, tuple[Entity, Entity]] = {}

    def expect(self, record_ids: Sequence[str]) -> Awaitable[list[Verdict]]:
        """Resolves to the verdicts on the first occurrence of each record."""
        future: asyncio.Future[list[Verdict]] = asyncio.get_running_loop().create_future()
        expectation = _Expectation(future, len(record_ids))
        for index, record_id in enumerate(record_ids):
            self.expected[record_id] = (expectation, index)
        future.add_done_callback(lambda done: self._forget(record_ids) if done.cancelled() else None)
        return future

    def resolve(self, record_id: str, verdict: Verdict) -> None:
        """Tell the verdict; only the first one on a record counts."""
        found = self.expected.pop(record_id, None)
        if found is None:
            return
        expectation, index = found
        expectation.verdicts[index] = verdict
        expectation.left -= 1
        if expectation.left == 0 and not expectation.future.done():
            expectation.future.set_result(expectation.verdicts)

    def _forget(self, record_ids: Sequence[str]) -> None:
        for record_id in record_ids:
            self.drafts.pop(record_id, None)
            self.expected.pop(record_id, None)
