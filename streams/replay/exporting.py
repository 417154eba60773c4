"""Writes every accepted record of a log into a file, in an order in which it can be appended again."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import heapq
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import msgspec

from taskscheduler.domain.decision import Verdict, judge
from taskscheduler.domain.values import Instant
from taskscheduler.streams.codec import decode_envelope
from taskscheduler.streams.replay.file import ExportDamaged, Header, Line, Reader, Writer
from taskscheduler.streams.replay.source import Raw, Source

CHUNK = 2_000
"""Records of a chunk: what is done again at most when an export is broken off."""

CHUNK_BYTES = 4 * 1024 * 1024


class ExportRefused(Exception):
    """There is a file already, or an unfinished export of another log: a sentence that says what to do."""


class Exported(msgspec.Struct, frozen=True):
    """What is in the file: `records` that every reader accepts; `resumed` of them were there from an earlier try."""

    file: str
    log: str
    records: int
    resumed: int
    positions: dict[str, int]
    bytes: int
    sha256: str


async def export(
    source: Source, path: Path, *, now: Instant, progress: Callable[[int, int], None] = lambda done, total: None
) -> Exported:
    """Export all that is on the log now. `progress` is told records read, and how many there are.

    Writes beside the file, in `FILE.partial`, and goes on there after it was broken off. Raises ExportRefused, OSError,
    and what reading the log raises.
    """
    partial = _partial_of(path)
    ends = await source.ends()
    with partial.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ExportRefused(f"another process is writing {partial}") from None
        begun = _Begun(partial, file, source, now)
        writer, resumed = begun.writer, begun.writer.records
        await _write(source, begun, ends, progress)
        end = writer.end(dict(ends))
        os.fsync(file.fileno())
        partial.rename(path)
        size = file.tell()
    _sync_folder(path.parent)
    shown = {str(partition): position for partition, position in sorted(ends.items())}
    return Exported(str(path), source.log_id, writer.records, resumed, shown, size, end.sha256)


def _partial_of(path: Path) -> Path:
    if path.exists():
        raise ExportRefused(f"{path} exists already: move it away, or name another file")
    return path.with_name(path.name + ".partial")


class _Begun:
    """What an export that was broken off has left: chunks that are whole stay, whatever follows them goes."""

    def __init__(self, path: Path, file: BinaryIO, source: Source, now: Instant) -> None:
        self.positions = dict.fromkeys(range(source.partitions), 0)
        self.versions: dict[str, int] = {}
        self.writer = Writer(file, hashlib.sha256())
        file.seek(0)
        keep = 0
        with contextlib.suppress(ExportDamaged):
            reader = Reader(path, file)
            if reader.header.log_id != source.log_id:
                raise ExportRefused(
                    f"{path} is an unfinished export of log {reader.header.log_id}, and this is log {source.log_id}: "
                    "move it away, or name another file"
                )
            keep = reader.header_ends_at
            for chunk in reader.chunks():
                for line in chunk.lines:
                    envelope = decode_envelope(line.record)
                    self.versions[envelope.stream] = envelope.expected_version + 1
                self.positions.update(chunk.summary.positions)
                records = self.writer.records + len(chunk.lines)
                self.writer = Writer(file, reader.whole.copy(), chunk.summary.number, records)
                keep = chunk.ends_at
        file.truncate(keep)
        file.seek(keep)
        if not keep:
            self.writer.begin(Header(source.log_id, source.partitions, now))


async def _write(source: Source, begun: _Begun, ends: Mapping[int, int], progress: Callable[[int, int], None]) -> None:
    lines: list[Line] = []
    size = 0
    positions, versions, total = begun.positions, begun.versions, sum(ends.values())
    async with contextlib.aclosing(_merged(source, dict(positions), ends)) as merged:
        async for raw in merged:
            positions[raw.partition] = raw.position
            envelope = decode_envelope(raw.data)
            if judge(versions.get(envelope.stream, 0), envelope, raw.appended_at) is not Verdict.ACCEPTED:
                continue
            versions[envelope.stream] = envelope.expected_version + 1
            lines.append(Line(raw.partition, raw.position, raw.written_at, msgspec.Raw(_one_line(raw.data))))
            size += len(raw.data)
            if len(lines) >= CHUNK or size >= CHUNK_BYTES:
                begun.writer.chunk(lines, dict(positions))
                lines, size = [], 0
                progress(sum(positions.values()), total)
    if lines:
        begun.writer.chunk(lines, dict(positions))
    progress(total, total)


async def _merged(source: Source, after: Mapping[int, int], to: Mapping[int, int]) -> AsyncGenerator[Raw]:
    """The records of all partitions in the order in which they were first appended, as far as clocks agreed on that.

    Within a partition their order stays, whatever the clocks said.
    """
    async with contextlib.AsyncExitStack() as stack:
        streams: dict[int, AsyncGenerator[list[Raw]]] = {}
        heads: list[tuple[Instant, int]] = []
        waiting: dict[int, list[Raw]] = {}
        for partition in range(source.partitions):
            batches = source.raw(partition, after[partition], to[partition])
            streams[partition] = await stack.enter_async_context(contextlib.aclosing(batches))
            if (first := await _next(streams[partition], waiting, partition)) is not None:
                heapq.heappush(heads, (first.written_at, partition))
        while heads:
            at, partition = heads[0]
            yield waiting[partition].pop()
            following = await _next(streams[partition], waiting, partition)
            if following is None:
                heapq.heappop(heads)
            else:
                heapq.heapreplace(heads, (max(at, following.written_at), partition))


async def _next(batches: AsyncGenerator[list[Raw]], waiting: dict[int, list[Raw]], partition: int) -> Raw | None:
    """The next record of a partition, which is then the last of those that wait."""
    while not waiting.get(partition):
        try:
            waiting[partition] = (await anext(batches))[::-1]
        except StopAsyncIteration:
            return None
    return waiting[partition][-1]


def _one_line(data: bytes) -> bytes:
    # What another program wrote may be laid out over several lines.
    return msgspec.json.format(data, indent=-1) if b"\n" in data or b"\r" in data else data


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
