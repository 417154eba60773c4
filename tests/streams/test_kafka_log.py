"""The conformance suite on a real broker, and what only a log has that many write to and everybody judges."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from taskscheduler.api.settings import Kafka
from taskscheduler.commands.ports import LogUnavailable
from taskscheduler.domain.decision import Verdict
from taskscheduler.streams.codec import UnknownEvent, encode_record
from tests.streams.conformance.log import LogConformance, accepted, decision, names, read_all
from tests.streams.kafka_kit import now, put, raw_producer, settings_for

pytest.importorskip("aiokafka")
from aiokafka.errors import NodeNotReadyError

from taskscheduler.streams.kafka import buffer
from taskscheduler.streams.kafka.event_log import KafkaEventLog
from taskscheduler.streams.kafka.genesis import KEY
from taskscheduler.streams.kafka.partitioning import partition_of

pytestmark = pytest.mark.cluster


class OpenedKafkaLog:
    def __init__(self, settings: Kafka) -> None:
        self.settings = settings
        self.batches: list[tuple[float, int]] = []

    async def open(self) -> None:
        self.log = await KafkaEventLog.open(
            self.settings, clock=now, observe=lambda seconds, size: self.batches.append((seconds, size))
        )

    async def reopen(self) -> None:
        await self.log.close()
        await self.open()


async def opened_log(settings: Kafka) -> AsyncIterator[OpenedKafkaLog]:
    opened = OpenedKafkaLog(settings)
    await opened.open()
    yield opened
    await opened.log.close()


@pytest.fixture
async def opened(kafka: str) -> AsyncIterator[OpenedKafkaLog]:
    async for opened in opened_log(settings_for(kafka)):
        yield opened


class TestConformance(LogConformance):
    partitions = 3


@pytest.mark.parametrize("partitions", [1, 2])
async def test_a_log_may_be_compressed(kafka: str, partitions: int) -> None:
    async for opened in opened_log(settings_for(kafka, partitions=partitions, compression="gzip")):
        records = [decision(f"task/{number}", 0, size=500) for number in range(200)]
        await opened.log.append(records)
        found = [entry.record for partition in range(partitions) for entry in await read_all(opened.log, partition)]
        assert sorted(found, key=str) == sorted(records, key=str)
        await opened.reopen()
        assert sum([len(await read_all(opened.log, partition)) for partition in range(partitions)]) == 200


def stream_in(partition: int, partitions: int = 3) -> str:
    """A stream whose partition that is."""
    return next(
        stream
        for stream in (f"task/{number}" for number in range(1000))
        if partition_of(stream, partitions) == partition
    )


async def test_the_partition_of_a_stream_is_for_ever() -> None:
    assert [partition_of(f"task/{number}", 7) for number in range(12)] == [1, 1, 5, 3, 1, 0, 1, 5, 5, 0, 1, 0]
    assert partition_of("task/\N{SNOWMAN}", 1024) == 205


async def test_a_log_that_many_begin_at_once_is_one_log(kafka: str) -> None:
    settings = settings_for(kafka)
    logs = await asyncio.gather(*(KafkaEventLog.open(settings, clock=now) for _ in range(5)))
    assert len({log.log_id for log in logs}) == 1
    for number, log in enumerate(logs):
        await log.append([decision(f"task/{number}", 0)])
    for partition in range(3):
        seen = [await read_all(log, partition) for log in logs]
        assert all(entries == seen[0] for entries in seen)
        assert [entry.position for entry in seen[0]] == list(range(1, len(seen[0]) + 1))
    written = [name for partition in range(3) for name in names(await read_all(logs[0], partition))]
    assert sorted(written) == [f"task/{number}@0" for number in range(5)]
    for log in logs:
        await log.close()


async def test_a_second_beginning_counts_for_nothing(opened: OpenedKafkaLog) -> None:
    other = b'{"kind":"genesis.v1","log_id":"other","partitions":9,"partition":0}'
    async with raw_producer(opened.settings) as producer:
        await producer.send_and_wait(opened.log.topics.decisions, other, key=KEY, partition=0)
    known = opened.log.log_id
    await opened.reopen()
    assert opened.log.log_id == known
    [entry] = await opened.log.read(0, 0, 10)
    assert (entry.position, entry.record) == (1, None)


async def test_what_is_no_record_of_its_partition_is_passed_over_by_all(opened: OpenedKafkaLog) -> None:
    stream = stream_in(1)
    mine, misplaced = encode_record(decision(stream, 0, name="mine")), encode_record(decision(stream_in(2), 0))
    unknown = encode_record(decision(stream_in(0), 0)).replace(b"task.paused.v1", b"task.paused.v9")
    none = await put(opened.settings, 1, b"nonsense", None, b'{"stream":7}', b"\xff\xfe", misplaced, unknown)
    await put(opened.settings, 1, mine)
    await opened.log.append([decision(stream, 1, name="next")])
    other = await KafkaEventLog.open(opened.settings, clock=now)
    for log in (opened.log, other):
        entries = await read_all(log, 1)
        assert [entry.position for entry in entries] == list(range(1, 9))
        assert [entry.position for entry in entries if entry.record is None] == none == [1, 2, 3, 4, 5, 6]
        assert names(accepted(entries)) == ["mine", "next"]
    assert await read_all(opened.log, 2) == []
    await other.close()


async def test_marks_of_transactions_take_a_position_and_hold_nothing(opened: OpenedKafkaLog) -> None:
    value = encode_record(decision(stream_in(0), 0, name="transacted"))
    async with (
        raw_producer(opened.settings, transactional_id=opened.settings.topic_prefix) as producer,
        producer.transaction(),
    ):
        await producer.send_and_wait(opened.log.topics.decisions, value, key=b"k", partition=0)
    while await opened.log.end(0) < 2:
        await asyncio.sleep(0.01)
    assert names(await read_all(opened.log, 0)) == ["transacted"], "a mark at the end keeps nobody waiting"
    await opened.log.append([decision(stream_in(0), 1, name="next")])
    for _ in range(2):
        entries = await read_all(opened.log, 0, chunk=1)
        assert [(entry.position, names([entry])) for entry in entries] == [(1, ["transacted"]), (2, []), (3, ["next"])]
        assert await opened.log.read(0, 1, 1) == [entries[1]]
        await opened.reopen()


async def test_an_unknown_event_ends_reading_there_and_only_there(opened: OpenedKafkaLog) -> None:
    newer = encode_record(decision(stream_in(0), 1)).replace(b"task.paused.v1", b"task.paused.v9")
    await opened.log.append([decision(stream_in(0), 0), decision(stream_in(1), 0)])
    await put(opened.settings, 0, newer)
    await opened.log.append([decision(stream_in(0), 2), decision(stream_in(1), 1)])
    for _ in range(2):
        assert names(await opened.log.read(0, 0, 10)) == [f"{stream_in(0)}@0"]
        with pytest.raises(UnknownEvent, match=f"{stream_in(0)}@1 of {stream_in(0)}"):
            await opened.log.read(0, 1, 10)
        await opened.log.wait(0, 1)
        assert len(await read_all(opened.log, 1)) == 2
        await opened.reopen()


async def test_of_a_record_that_was_sent_again_the_first_counts(opened: OpenedKafkaLog) -> None:
    stream = stream_in(2)
    [receipt] = await opened.log.append([decision(stream, 0, name="first")])
    again = encode_record(decision(stream, 0, name="first"))
    later = encode_record(msgspec.structs.replace(decision(stream, 0, name="first"), expected_version=1))
    await put(opened.settings, 2, again, later)
    entries = await read_all(opened.log, 2)
    assert names(entries) == ["first"] * 3
    assert [entry.position for entry in accepted(entries)][:1] == [receipt.position] == [1]


async def test_the_log_stamps_records_itself(opened: OpenedKafkaLog) -> None:
    before = now()
    async with raw_producer(opened.settings) as producer:
        value = encode_record(decision(stream_in(0), 0, valid_until=now() - 60_000))
        name = opened.log.topics.decisions
        await producer.send_and_wait(name, value, key=b"k", partition=0, timestamp_ms=now() - 120_000)
    [entry] = await read_all(opened.log, 0)
    assert before <= entry.appended_at <= now()
    assert accepted([entry]) == []
    assert opened.log.clock_check.offset == 0
    assert opened.log.clock_check.ready


async def test_a_clock_that_is_off_is_noticed(kafka: str) -> None:
    for error in (-501, 501, -500, 499):
        log = await KafkaEventLog.open(settings_for(kafka), clock=lambda error=error: now() + error)  # type: ignore[misc]
        offset = log.clock_check.offset
        assert offset is not None
        assert abs(error) - 400 < abs(offset) <= abs(error)
        assert (offset < 0) == (error > 0)
        await log.close()


async def test_readers_far_from_the_end_read_as_well(opened: OpenedKafkaLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffer, "KEPT", 10)
    monkeypatch.setattr(buffer, "AHEAD", 20)
    stream = stream_in(0)
    for start in range(0, 300, 50):
        await opened.log.append([decision(stream, version) for version in range(start, start + 50)])
    everything = await read_all(opened.log, 0, chunk=7)
    assert len(everything) == 300
    held = opened.log._feed.known(0)
    assert len(held._entries) <= 20 + 7 + 50
    for chunk in (300, 7):
        assert await read_all(opened.log, 0, chunk=chunk) == everything
    near, far = await asyncio.gather(read_all(opened.log, 0), read_all(opened.log, 0, chunk=3))
    assert near == far == everything


async def test_records_of_any_size_land_and_one_that_is_too_large_is_not_sent(opened: OpenedKafkaLog) -> None:
    sizes = [1, 3_000_000, 10, 600_000, 600_000, 15_000_000, 2]
    stream = stream_in(1)
    await opened.log.append([decision(stream, version, size=size) for version, size in enumerate(sizes)])
    assert names(accepted(await read_all(opened.log, 1))) == [f"{stream}@{version}" for version in range(7)]
    with pytest.raises(LogUnavailable, match="more than the log takes"):
        await opened.log.append([decision(stream, 7, size=17_000_000)])
    await opened.log.append([decision(stream, 7)])


async def test_a_producer_in_a_fatal_state_is_replaced(opened: OpenedKafkaLog) -> None:
    stream = stream_in(0)
    await opened.log.append([decision(stream, 0)])
    [place] = [place for place in opened.log._producers._producer._txn_manager._sequence_numbers if "decis" in place[0]]
    opened.log._producers._producer._txn_manager._sequence_numbers[place] += 7
    with pytest.raises(LogUnavailable, match="OutOfOrderSequenceNumber"):
        await opened.log.append([decision(stream, 1, name="lost")])
    await opened.log.append([decision(stream, 1, name="next")])
    assert opened.log._producers.made == 2
    assert names(accepted(await read_all(opened.log, 0))) == [f"{stream}@0", "next"]


async def test_a_producer_whose_probes_fail_is_replaced(opened: OpenedKafkaLog) -> None:
    sequences = opened.log._producers._producer._txn_manager._sequence_numbers
    [place] = [place for place in sequences if place.topic == opened.log.topics.clock and place.partition == 1]
    sequences[place] += 7
    with pytest.raises(LogUnavailable, match="OutOfOrderSequenceNumber"):
        await opened.log.probe_clock()
    await opened.log.probe_clock()


async def test_nobody_waits_for_ever_for_a_broker_that_stands_still(
    opened: OpenedKafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    log = await KafkaEventLog.open(msgspec.structs.replace(opened.settings, append_timeout=300), clock=now)
    monkeypatch.setattr(log._ends._consumer, "end_offsets", never)
    with pytest.raises(LogUnavailable, match="no answer in time"):
        await log.end(0)
    assert await log.end(0) == 0, "it asks another"
    with monkeypatch.context() as patch:
        patch.setattr(log._producers, "get", never)
        with pytest.raises(LogUnavailable, match="no answer in time"):
            await log.probe_clock()
    await log.probe_clock()
    await log.close()


async def test_a_closed_log_takes_nothing_and_keeps_nobody_waiting(opened: OpenedKafkaLog) -> None:
    waiting = asyncio.ensure_future(opened.log.wait(0, 0))
    await asyncio.sleep(0)
    await opened.log.close()
    with pytest.raises(LogUnavailable, match="closed"):
        await waiting
    with pytest.raises(LogUnavailable, match="closed"):
        await opened.log.append([decision("task/a", 0)])
    with pytest.raises(LogUnavailable, match="closed"):
        await opened.log.read(0, 0, 1)
    await opened.open()


async def test_a_log_is_closed_while_a_fetch_waits_to_be_tried_again(
    opened: OpenedKafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await KafkaEventLog.open(opened.settings, clock=now)
    failed = asyncio.Event()

    async def fail(*_: object) -> None:
        failed.set()
        raise NodeNotReadyError

    client = log._feed._consumer._client
    monkeypatch.setattr(client, "send", fail)
    monkeypatch.setattr(log._feed._consumer._fetcher, "_retry_backoff", 60)
    await log.read(0, 0, 1)
    await failed.wait()
    await log.close()
    assert not any(connection.connected() for connection in client._conns.values())


async def test_decisions_made_at_once_share_message_sets(opened: OpenedKafkaLog) -> None:
    stream = stream_in(0)
    await asyncio.gather(*(opened.log.append([decision(stream, version)]) for version in range(500)))
    assert len(opened.batches) <= 3
    assert sum(size for _, size in opened.batches) == 500
    assert all(0 < seconds < 60 for seconds, _ in opened.batches)


async def test_a_late_receipt_keeps_its_verdict_open(opened: OpenedKafkaLog) -> None:
    receipts = await opened.log.append([decision("task/a", 5), decision("task/a", 0, valid_until=1)])
    assert [receipt.verdict for receipt in receipts] == [Verdict.ACCEPTED] * 2
    assert all(receipt.position is not None for receipt in receipts)
