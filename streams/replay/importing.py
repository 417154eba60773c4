"""Appends an export to an empty log: every record with its id, version, times and events unchanged.

A record is only left without its `valid_until`: that bounded how late it might be appended to the log that it comes
from, where it was accepted in time. What is on the new log must be the beginning of the file, so an import that was
broken off goes on by being begun again.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import msgspec

from taskscheduler.domain.decision import Verdict, judge
from taskscheduler.domain.values import Instant
from taskscheduler.streams.codec import UnknownEvent, Unreadable, decode_envelope, decode_record
from taskscheduler.streams.replay.file import End, ExportDamaged, Header, Reader
from taskscheduler.streams.replay.source import Source

BATCH = 500
"""Records that are appended together."""


class ImportRefused(Exception):
    """The log holds something else, or the file cannot be appended: a sentence that says why."""


class Brought(NamedTuple):
    """A record to append: encoded as it goes onto the log, and when it was first appended to one."""

    stream: str
    record_id: str
    version: int
    data: bytes
    written_at: Instant


class Target(Protocol):
    """A log to append to. `source` reads it."""

    @property
    def source(self) -> Source: ...
    def partition_of(self, stream: str) -> int: ...
    async def put(self, records: Sequence[Brought]) -> None:
        """Append durably, in order within each stream."""
        ...


class Checked(msgspec.Struct, frozen=True):
    """A file that is whole, and can be appended by this release."""

    header: Header
    end: End
    streams: int


class Imported(msgspec.Struct, frozen=True):
    """How many records of the file are on the log, and how many of them were put there now, or would be."""

    records: int
    appended: int


def check_file(path: Path) -> Checked:
    """Read all of an export. Raises ExportDamaged, ImportRefused, OSError."""
    versions: dict[str, int] = {}
    with path.open("rb") as file:
        reader = Reader(path, file)
        for brought in _records(reader):
            versions[brought.stream] = brought.version
            try:
                decode_record(brought.data)
            except UnknownEvent as error:
                raise ImportRefused(f"{path} was written by a newer release: {error}") from None
        assert reader.end is not None
        return Checked(reader.header, reader.end, len(versions))


async def missing(path: Path, source: Source, partition_of: Callable[[str], int]) -> Imported:
    """How much of a file a log lacks. Raises ImportRefused when the log holds anything else."""
    async with contextlib.aclosing(_lacking(path, source, partition_of)) as lacking:
        records = appended = 0
        async for _, lacks in lacking:
            records += 1
            appended += lacks
    return Imported(records, appended)


async def bring(path: Path, target: Target, *, progress: Callable[[int], None] = lambda done: None) -> Imported:
    """Append what the log lacks of a file that was checked, then make sure that all of it is there, and nothing else.

    `progress` is told records done. Raises ImportRefused, and what the log raises.
    """
    batch: list[Brought] = []
    done = appended = 0
    async with contextlib.aclosing(_lacking(path, target.source, target.partition_of)) as lacking:
        async for brought, lacks in lacking:
            done += 1
            if not lacks:
                continue
            batch.append(brought)
            if len(batch) >= BATCH:
                await target.put(batch)
                appended += len(batch)
                batch = []
                progress(done)
    if batch:
        await target.put(batch)
        appended += len(batch)
    progress(done)
    left = await missing(path, target.source, target.partition_of)
    if left.appended:
        raise ImportRefused(
            f"{left.appended} of {left.records} records were not accepted: somebody else wrote to the log meanwhile; "
            "stop everything that uses it, make it empty, and begin again"
        )
    return Imported(done, appended)


async def _lacking(
    path: Path, source: Source, partition_of: Callable[[str], int]
) -> AsyncGenerator[tuple[Brought, bool]]:
    """Every record of the file, and whether the log lacks it."""
    ends = await source.ends()
    async with contextlib.AsyncExitStack() as stack:
        there: dict[int, AsyncIterator[str]] = {}
        for partition, end in ends.items():
            ids = _accepted_ids(source, partition, end)
            there[partition] = await stack.enter_async_context(contextlib.aclosing(ids))
        file = stack.enter_context(_opened(path))
        for brought in _records(Reader(path, file)):
            found = await anext(there[partition_of(brought.stream)], None)
            if found is not None and found != brought.record_id:
                raise _other(path, found)
            yield brought, found is None
        for rest in there.values():
            if (found := await anext(rest, None)) is not None:
                raise _other(path, found)


async def _accepted_ids(source: Source, partition: int, to: int) -> AsyncGenerator[str]:
    versions: dict[str, int] = {}
    async with contextlib.aclosing(source.raw(partition, 0, to)) as batches:
        async for batch in batches:
            for raw in batch:
                envelope = decode_envelope(raw.data)
                if judge(versions.get(envelope.stream, 0), envelope, raw.appended_at) is Verdict.ACCEPTED:
                    versions[envelope.stream] = envelope.expected_version + 1
                    yield envelope.record_id


def _records(reader: Reader) -> Iterator[Brought]:
    versions: dict[str, int] = {}
    for chunk in reader.chunks():
        for line in chunk.lines:
            try:
                envelope = decode_envelope(line.record)
            except Unreadable as error:
                raise ExportDamaged(
                    f"the record of position {line.position} in chunk {chunk.summary.number} is none: {error}"
                ) from None
            if envelope.expected_version != versions.get(envelope.stream, 0):
                raise ExportDamaged(
                    f"record {envelope.record_id} in chunk {chunk.summary.number} does not follow the one before it "
                    f"on {envelope.stream}"
                )
            version = versions[envelope.stream] = envelope.expected_version + 1
            data = bytes(line.record)
            if envelope.valid_until is not None:
                data = _without_limit(data)
            yield Brought(envelope.stream, envelope.record_id, version, data, line.appended_at)


def _without_limit(data: bytes) -> bytes:
    fields = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    fields.pop("valid_until", None)
    return msgspec.json.encode(fields)


def _other(path: Path, record_id: str) -> ImportRefused:
    return ImportRefused(
        f"the log is not empty: it holds record {record_id}, which is not the next one of {path}; "
        "import into an empty log"
    )


def _opened(path: Path) -> contextlib.AbstractContextManager[BinaryIO]:
    return path.open("rb")
