"""Waiting runs of several partitions, one index each: an instance takes from its own share first.

Instances must not all grab the same head. Each prefers the partitions that it was given, and helps with the others:
at once, or only where nothing has been taken for a while.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Collection, Sequence

from taskscheduler.domain.definition import Lane
from taskscheduler.domain.values import Instant, Millis
from taskscheduler.streams.claimable import Claimable, Claimables
from taskscheduler.streams.holders import Holders, Holding

Taken = list[tuple[Lane, Claimable]]


class ClaimableShares:
    """The same as Claimables, over one of each partition.

    `mine` names the preferred partitions. Others are helped when nothing was taken there for `help_after`.
    """

    def __init__(
        self,
        shares: Sequence[Claimables],
        partition_of: Callable[[str], int],
        mine: Callable[[], Collection[int]],
        *,
        clock: Callable[[], Instant],
        help_after: Millis,
    ) -> None:
        self._shares = shares
        self._partition_of = partition_of
        self._mine = mine
        self._clock = clock
        self._help_after = help_after
        self._first = 0
        self._stuck: dict[tuple[int, str], tuple[Claimable, Instant]] = {}
        """By partition and group: what is first there, and since when."""

    def take(self, group: str, kinds: Sequence[str] | None, limit: int) -> Taken:
        """Up to `limit` runs: in order within each partition, the partitions in turn."""
        mine = self._mine()
        self._first = (self._first + 1) % len(self._shares)
        turn = [(self._first + step) % len(self._shares) for step in range(len(self._shares))]
        taken: Taken = []
        for partition in (p for p in turn if p in mine):
            taken += self._shares[partition].take(group, kinds, limit - len(taken))
        if taken:
            return taken
        for partition in (p for p in turn if p not in mine):
            if self._may_help(partition, group, kinds):
                taken += self._shares[partition].take(group, kinds, limit - len(taken))
        return taken

    def spare(self, lane: Lane, most: int) -> int:
        """How many runs of the lane, up to `most`, may be handed over: none while some wait anywhere."""
        for share in self._shares:
            most = share.spare(lane, most)
            if not most:
                break
        return most

    def give_back(self, lane: Lane, item: Claimable) -> None:
        """A run that was taken could not be claimed for reasons that do not lie with it."""
        self._shares[self._partition_of(item.task_id)].give_back(lane, item)

    def park(self, name: str, lane: Lane, item: Claimable) -> None:
        """A run that was taken can be claimed no sooner than there is more room under this name."""
        self._shares[self._partition_of(item.task_id)].park(name, lane, item)

    def wait(self, group: str) -> asyncio.Future[None]:
        """Done when a run has been put into a lane of the group since the call, or when it is time to help."""
        came: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waits = [share.wait(group) for share in self._shares]

        def done(_: object) -> None:
            if not came.done():
                came.set_result(None)

        for wait in waits:
            wait.add_done_callback(done)
        helping = (
            asyncio.get_running_loop().call_later(self._help_after / 1000, done, None) if self._help_after else None
        )

        def end(_: object) -> None:
            for wait in waits:
                wait.cancel()
            if helping is not None:
                helping.cancel()

        came.add_done_callback(end)
        return came

    def _may_help(self, partition: int, group: str, kinds: Sequence[str] | None) -> bool:
        if not self._help_after:
            return True
        head, now = self._shares[partition].head(group, kinds), self._clock()
        place = (partition, group)
        if head is None:
            self._stuck.pop(place, None)
            return False
        known = self._stuck.get(place)
        if known is None or known[0] != head:
            self._stuck[place] = (head, now)
            return False
        return now - known[1] >= self._help_after

    @property
    def waiting(self) -> int:
        """How many runs wait, as Claimables counts them."""
        return sum(share.waiting for share in self._shares)


class HolderShares:
    """Who holds what, over all partitions."""

    def __init__(self, shares: Sequence[Holders]) -> None:
        self._shares = shares

    def held(self, worker: str, request: str | None = None) -> list[tuple[Holding, int]]:
        """What a worker holds, or what one of its requests was given, with the number of the attempt."""
        return list(itertools.chain.from_iterable(share.held(worker, request) for share in self._shares))
