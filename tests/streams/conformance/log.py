"""What every DecisionLog does, as a reader that folds sees it.

A log may refuse a record at the door (`position` None) or append it and leave the refusal to its readers: the tests
ask only what the readers accept. Order holds within a partition. Subclasses give the fixture `opened`, and say how many
`partitions` the log has.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import pytest

from taskscheduler.commands.ports import DecisionLog, Entry, Receipt
from taskscheduler.domain.decision import Record, Verdict, judge
from taskscheduler.domain.events import Error, Event, ReportedLate, TaskPaused

LONG_AGO = 1
FAR_AHEAD = 253_402_300_799_000


class OpenedLog(Protocol):
    """A log under test: `log` is the one that is open now."""

    log: DecisionLog

    async def reopen(self) -> None:
        """Closes the log and opens the same one again."""
        ...


def decision(
    stream: str,
    version: int,
    *,
    name: str | None = None,
    valid_until: int | None = None,
    events: int = 1,
    size: int = 1,
) -> Record:
    """A record of `events` events of about `size` bytes each."""
    facts: tuple[Event, ...] = tuple(TaskPaused(at=at, by="ada", note="n" * size) for at in range(events))
    return Record(
        stream=stream,
        record_id=name or f"{stream}@{version}",
        expected_version=version,
        recorded_at=1_700_000_000_000,
        valid_until=valid_until,
        events=facts,
    )


async def read_all(log: DecisionLog, partition: int = 0, chunk: int = 1000) -> list[Entry]:
    """Everything on the partition up to its end now, read in chunks."""
    found: list[Entry] = []
    end = await log.end(partition)
    while (after := found[-1].position if found else 0) < end:
        await log.wait(partition, after)
        entries = await log.read(partition, after, chunk)
        assert 0 < len(entries) <= chunk
        found += entries
    return found


def accepted(entries: list[Entry]) -> list[Entry]:
    """What a reader that folds accepts."""
    versions: dict[str, int] = {}
    kept: list[Entry] = []
    for entry in entries:
        if (record := entry.record) is None:
            continue
        version = versions.get(record.stream, 0)
        if judge(version, record, entry.appended_at) is Verdict.ACCEPTED:
            versions[record.stream] = version + 1
            kept.append(entry)
    return kept


def names(entries: list[Entry]) -> list[str]:
    return [entry.record.record_id for entry in entries if entry.record is not None]


def check_refusals(receipts: list[Receipt], kept: list[Entry], verdict: Verdict) -> None:
    """A record that the log refused itself must be refused for the very reason that its readers would give."""
    positions = {entry.position for entry in kept}
    for receipt in receipts:
        assert (receipt.verdict is Verdict.ACCEPTED) == (receipt.position is not None)
        if receipt.position not in positions:
            assert receipt.position is not None or receipt.verdict is verdict


class LogConformance:
    """Run by every backend."""

    partitions = 1

    async def entries(self, opened: OpenedLog, chunk: int = 1000) -> list[Entry]:
        """Everything on the log, one partition after the other."""
        found = [await read_all(opened.log, partition, chunk) for partition in range(self.partitions)]
        return [entry for entries in found for entry in entries]

    async def accepted_names(self, opened: OpenedLog) -> list[str]:
        return names(accepted(await self.entries(opened)))

    async def test_an_empty_log_ends_at_zero(self, opened: OpenedLog) -> None:
        for partition in range(self.partitions):
            assert await opened.log.end(partition) == 0
            assert await opened.log.read(partition, 0, 10) == []

    async def test_records_are_read_as_they_were_appended(self, opened: OpenedLog) -> None:
        facts = (
            TaskPaused(at=5, by="ada", note="für später \N{SNOWMAN} \U0001f600 \x00"),
            ReportedLate(at=6, run_id="r", number=1, outcome="failed", error=Error("E", "why")),
        )
        record = Record(
            stream="task/a",
            record_id="x",
            expected_version=0,
            recorded_at=7,
            wakeup=8,
            valid_until=FAR_AHEAD,
            actor="ada",
            cause="trigger",
            trace="00-1-2-01",
            events=facts,
        )
        [receipt] = await opened.log.append([record])
        [entry] = await opened.log.read(receipt.partition, 0, 10)
        assert entry == Entry(receipt.partition, 1, receipt.appended_at, record)
        assert receipt.position == entry.position
        assert opened.log.partition_of("task/a") == receipt.partition

    async def test_an_acknowledged_record_can_be_read_at_once(self, opened: OpenedLog) -> None:
        for version in range(20):
            [receipt] = await opened.log.append([decision("task/a", version)])
            assert receipt.position is not None
            assert await opened.log.end(receipt.partition) >= receipt.position
            await opened.log.wait(receipt.partition, receipt.position - 1)
            [entry] = await opened.log.read(receipt.partition, receipt.position - 1, 1)
            assert entry.record == decision("task/a", version)

    async def test_positions_rise_by_one_from_one(self, opened: OpenedLog) -> None:
        for start in range(0, 30, 3):
            await opened.log.append([decision(f"task/{number}", 0) for number in range(start, start + 3)])
        expected: dict[int, list[str]] = {partition: [] for partition in range(self.partitions)}
        for number in range(30):
            expected[opened.log.partition_of(f"task/{number}")].append(f"task/{number}@0")
        for partition, there in expected.items():
            entries = await read_all(opened.log, partition)
            assert [entry.position for entry in entries] == list(range(1, len(there) + 1))
            assert {entry.partition for entry in entries} <= {partition}
            assert names(entries) == there

    async def test_receipts_name_the_places_of_their_records(self, opened: OpenedLog) -> None:
        records = [decision(f"task/{number}", 0) for number in range(40)]
        receipts = await opened.log.append(records)
        entries = {(entry.partition, entry.position): entry for entry in await self.entries(opened)}
        for record, receipt in zip(records, receipts, strict=True):
            assert receipt.position is not None
            entry = entries[receipt.partition, receipt.position]
            assert (entry.record, entry.appended_at) == (record, receipt.appended_at)

    async def test_of_two_on_the_same_version_the_first_is_accepted(self, opened: OpenedLog) -> None:
        receipts = await opened.log.append([decision("task/a", 0, name="first")])
        receipts += await opened.log.append([decision("task/a", 0, name="second")])
        kept = accepted(await self.entries(opened))
        assert names(kept) == ["first"]
        check_refusals(receipts, kept, Verdict.CONFLICT)

    async def test_of_two_in_one_append_the_first_is_accepted(self, opened: OpenedLog) -> None:
        receipts = await opened.log.append([decision("task/a", 0, name=name) for name in ("first", "second")])
        kept = accepted(await self.entries(opened))
        assert names(kept) == ["first"]
        check_refusals(receipts, kept, Verdict.CONFLICT)

    async def test_of_many_racing_for_a_version_one_is_accepted(self, opened: OpenedLog) -> None:
        for version in range(5):
            racing = [decision("task/a", version, name=f"{version}/{number}") for number in range(40)]
            answers = await asyncio.gather(*(opened.log.append([record]) for record in racing))
            kept = accepted(await self.entries(opened))
            assert len(kept) == version + 1
            check_refusals([receipt for [receipt] in answers], kept, Verdict.CONFLICT)
        assert [name.split("/")[0] for name in await self.accepted_names(opened)] == list("01234")

    async def test_a_version_from_the_future_is_refused(self, opened: OpenedLog) -> None:
        receipts = await opened.log.append([decision("task/a", 1)])
        kept = accepted(await self.entries(opened))
        assert kept == []
        check_refusals(receipts, kept, Verdict.CONFLICT)

    async def test_a_chain_in_one_append_is_accepted_whole(self, opened: OpenedLog) -> None:
        await opened.log.append([decision("task/a", version) for version in range(50)])
        assert await self.accepted_names(opened) == [f"task/a@{version}" for version in range(50)]

    async def test_a_chain_of_appends_under_way_is_accepted_whole(self, opened: OpenedLog) -> None:
        await asyncio.gather(*(opened.log.append([decision("task/a", version)]) for version in range(50)))
        assert await self.accepted_names(opened) == [f"task/a@{version}" for version in range(50)]

    async def test_a_refused_record_leaves_the_others_of_its_append(self, opened: OpenedLog) -> None:
        await opened.log.append([decision("task/b", 0)])
        await opened.log.append([decision("task/a", 0), decision("task/b", 0, name="stale"), decision("task/c", 0)])
        assert sorted(await self.accepted_names(opened)) == ["task/a@0", "task/b@0", "task/c@0"]

    @pytest.mark.parametrize("apart", [True, False])
    async def test_a_repeated_record_is_accepted_once(self, opened: OpenedLog, apart: bool) -> None:
        record = decision("task/a", 0)
        for records in [[record], [record]] if apart else [[record, record]]:
            await opened.log.append(records)
        await opened.log.append([decision("task/a", 1)])
        assert await self.accepted_names(opened) == ["task/a@0", "task/a@1"]

    async def test_a_record_that_came_too_late_is_refused(self, opened: OpenedLog) -> None:
        receipts = await opened.log.append([decision("task/a", 0, name="late", valid_until=LONG_AGO)])
        kept = accepted(await self.entries(opened))
        assert kept == []
        check_refusals(receipts, kept, Verdict.EXPIRED)
        await opened.log.append([decision("task/a", 0, name="in time", valid_until=FAR_AHEAD)])
        assert await self.accepted_names(opened) == ["in time"]

    async def test_the_events_of_a_decision_stay_together(self, opened: OpenedLog) -> None:
        records = [decision(f"task/{number}", 0, events=200, size=50) for number in range(20)]
        await asyncio.gather(*(opened.log.append([record]) for record in records))
        entries = {entry.record.stream: entry.record for entry in await self.entries(opened) if entry.record}
        assert entries == {record.stream: record for record in records}

    async def test_many_concurrent_appends_lose_nothing(self, opened: OpenedLog) -> None:
        async def writer(number: int) -> list[str]:
            told = []
            for version in range(20):
                records = [decision(f"task/{number}-{part}", version) for part in range(3)]
                receipts = await opened.log.append(records)
                told += [r.record_id for r, receipt in zip(records, receipts, strict=True) if receipt.position]
            return told

        told = await asyncio.gather(*(writer(number) for number in range(25)))
        kept = await self.accepted_names(opened)
        assert sorted(kept) == sorted(name for names in told for name in names)
        assert len(kept) == 25 * 20 * 3

    async def test_no_append_is_nothing(self, opened: OpenedLog) -> None:
        assert await opened.log.append([]) == []
        assert [await opened.log.end(partition) for partition in range(self.partitions)] == [0] * self.partitions

    @pytest.mark.parametrize(
        ("after", "limit", "expected"),
        [(0, 4, [1, 2, 3, 4]), (0, 100, list(range(1, 11))), (7, 2, [8, 9]), (9, 5, [10]), (10, 5, []), (99, 5, [])],
    )
    async def test_reading_keeps_to_its_bounds(
        self, opened: OpenedLog, after: int, limit: int, expected: list[int]
    ) -> None:
        await opened.log.append([decision("task/a", version) for version in range(10)])
        there = opened.log.partition_of("task/a")
        assert [entry.position for entry in await opened.log.read(there, after, limit)] == expected
        await opened.reopen()
        assert [entry.position for entry in await opened.log.read(there, after, limit)] == expected

    async def test_reading_begins_anywhere(self, opened: OpenedLog) -> None:
        await opened.log.append([decision("task/a", version) for version in range(10)])
        there = opened.log.partition_of("task/a")
        for after in (9, 3, 0, 7, 4, 5, 0):
            assert [entry.position for entry in await opened.log.read(there, after, 3)] == [
                position for position in range(after + 1, after + 4) if position <= 10
            ]

    @pytest.mark.parametrize("chunk", [1, 7, 1000])
    async def test_every_reader_sees_the_same(self, opened: OpenedLog, chunk: int) -> None:
        for start in range(0, 40, 4):
            await opened.log.append([decision(f"task/{number % 6}", number // 6) for number in range(start, start + 4)])
        assert await self.entries(opened, chunk) == await self.entries(opened, 13)

    async def test_waiting_ends_with_the_next_entry_and_no_sooner(self, opened: OpenedLog) -> None:
        await opened.log.append([decision("task/a", 0)])
        there = opened.log.partition_of("task/a")
        await opened.log.wait(there, 0)
        waiting = [asyncio.ensure_future(opened.log.wait(there, 1)) for _ in range(3)]
        further = asyncio.ensure_future(opened.log.wait(there, 2))
        await asyncio.wait([*waiting, further], timeout=0.05)
        assert not any(task.done() for task in waiting)
        await opened.log.append([decision("task/a", 1)])
        await asyncio.wait_for(asyncio.gather(*waiting), 10)
        assert [entry.position for entry in await opened.log.read(there, 1, 10)] == [2]
        assert not further.done()
        await opened.log.append([decision("task/a", 2)])
        await asyncio.wait_for(further, 10)

    async def test_the_instants_of_appends_never_fall(self, opened: OpenedLog) -> None:
        receipts = [(await opened.log.append([decision("task/a", version)]))[0] for version in range(10)]
        instants = [entry.appended_at for entry in await self.entries(opened)]
        assert instants == sorted(instants)
        assert instants == [receipt.appended_at for receipt in receipts]

    async def test_it_is_the_same_after_reopening_and_goes_on(self, opened: OpenedLog) -> None:
        for version in range(5):
            await opened.log.append([decision(f"task/{number}", version) for number in range(5)])
        before = await self.entries(opened)
        for _ in range(3):
            await opened.reopen()
            assert await self.entries(opened) == before
        await opened.log.append([decision("task/0", 4, name="stale"), decision("task/0", 5, name="next")])
        after = accepted(await self.entries(opened))
        assert [entry for entry in after if names([entry]) != ["next"]] == before
        assert names(after).count("next") == 1

    async def test_a_cancelled_append_lands_or_not_and_harms_no_other(self, opened: OpenedLog) -> None:
        cancelled = asyncio.ensure_future(opened.log.append([decision("task/a", 0)]))
        kept = asyncio.ensure_future(opened.log.append([decision("task/b", 0)]))
        await asyncio.sleep(0)
        cancelled.cancel()
        await kept
        await opened.log.append([decision("task/c", 0)])
        found = set(await self.accepted_names(opened))
        assert found >= {"task/b@0", "task/c@0"}
        assert found <= {"task/a@0", "task/b@0", "task/c@0"}
