"""The file of an export: JSON lines in chunks, each compressed and checked by itself, all of them checked together.

It is a gzip file of many members, so that `zcat` shows it. The first member holds a header, the last one the end, and
each between them up to 2,000 records and, as its last line, a summary. A member says in its own header how long it is
and what its bytes add up to, so that whatever single byte changes is noticed, and in which chunk.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from struct import Struct
from typing import BinaryIO, NamedTuple, TypeVar

import msgspec

from taskscheduler.domain.values import Instant

T = TypeVar("T")

FORMAT = 1
LEVEL = 6

# A gzip header with one extra field, "TS": the length of the compressed data and its CRC-32.
_HEAD = Struct("<10sH2sHII")
_FIXED = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff"
_TAIL = Struct("<II")


class ExportDamaged(Exception):
    """The file is not what was written: a sentence that says where."""


class ExportCut(ExportDamaged):
    """The file ends before the export does."""


class Header(msgspec.Struct, frozen=True, tag_field="kind", tag="taskscheduler.export"):
    """The log that was exported."""

    log_id: str
    partitions: int
    exported_at: Instant
    format: int = FORMAT


class Line(msgspec.Struct, frozen=True):
    """A record that every reader accepts, where it stood, and when it was appended to the first log that held it."""

    partition: int
    position: int
    appended_at: Instant
    record: msgspec.Raw


class Summary(msgspec.Struct, frozen=True, tag_field="kind", tag="chunk"):
    """`positions`: how far each partition is exported. `sha256` is over this chunk's lines, `whole` over all so far."""

    number: int
    records: int
    positions: dict[int, int]
    sha256: str
    whole: str


class End(msgspec.Struct, frozen=True, tag_field="kind", tag="end"):
    """Everything up to `positions` is in the file; `sha256` is over all lines of records."""

    chunks: int
    records: int
    positions: dict[int, int]
    sha256: str


class Chunk(NamedTuple):
    """What a member holds, and at which byte of the file it ends."""

    lines: list[Line]
    summary: Summary
    ends_at: int


_encode = msgspec.json.Encoder().encode
_header = msgspec.json.Decoder(Header)
_line = msgspec.json.Decoder(Line)
_last = msgspec.json.Decoder(Summary | End)


class Writer:
    """Writes an export to an open file, chunk after chunk. Given the summary of the last chunk there, it goes on."""

    def __init__(self, file: BinaryIO, whole: hashlib._Hash, chunks: int = 0, records: int = 0) -> None:
        self._file = file
        self._whole = whole
        self.chunks = chunks
        self.records = records

    def begin(self, header: Header) -> None:
        """The first member."""
        self._file.write(_member(_encode(header) + b"\n"))

    def chunk(self, lines: Sequence[Line], positions: dict[int, int]) -> None:
        """The next member. `positions` is how far each partition is exported with it."""
        body = b"".join([_encode(line) + b"\n" for line in lines])
        self._whole.update(body)
        self.chunks += 1
        self.records += len(lines)
        sha256 = hashlib.sha256(body).hexdigest()
        summary = Summary(self.chunks, len(lines), positions, sha256, self._whole.hexdigest())
        self._file.write(_member(body + _encode(summary) + b"\n"))
        self._file.flush()

    def end(self, positions: dict[int, int]) -> End:
        """The last member."""
        end = End(self.chunks, self.records, positions, self._whole.hexdigest())
        self._file.write(_member(_encode(end) + b"\n"))
        self._file.flush()
        return end


class Reader:
    """Reads an export and checks it. `whole` is the hash over the lines read so far."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._place = ""
        self._size = os.fstat(file.fileno()).st_size
        self.whole = hashlib.sha256()
        self.header = self._read_header()
        self.header_ends_at = file.tell()
        self.end: End | None = None

    def chunks(self) -> Iterator[Chunk]:
        """Every chunk in order; `end` is known when they are through. Raises ExportDamaged, ExportCut."""
        number = records = 0
        while True:
            body = self._member(f"chunk {number + 1}")
            at = body.rfind(b"\n", 0, len(body) - 1) + 1
            last = self._decode(_last, body[at:])
            if isinstance(last, End):
                whole = (number, records, self.whole.hexdigest(), 0)
                self._check(whole == (last.chunks, last.records, last.sha256, at), "the end does not fit the chunks")
                self._check(not self._file.read(1), "something follows the end")
                self.end = last
                return
            number += 1
            self._check(last.number == number, f"it is chunk {last.number} and not {number}")
            rows = body[:at]
            self.whole.update(rows)
            right = hashlib.sha256(rows).hexdigest() == last.sha256 and self.whole.hexdigest() == last.whole
            self._check(right, "its checksum does not match")
            lines = [self._decode(_line, row) for row in rows.splitlines()]
            self._check(len(lines) == last.records, f"it holds {len(lines)} records and not {last.records}")
            records += len(lines)
            yield Chunk(lines, last, self._file.tell())

    def _read_header(self) -> Header:
        header = self._decode(_header, self._member("the header"))
        if header.format != FORMAT:
            raise ExportDamaged(
                f"{self._path} has format {header.format} and this release reads {FORMAT}: a newer release wrote it"
            )
        return header

    def _member(self, what: str) -> bytes:
        start = self._file.tell()
        self._place = f"{what}, which begins at byte {start} of {self._path},"
        head = self._file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            raise ExportCut(f"{self._path} ends at byte {start + len(head)}, before the export does: it is not whole")
        fixed, extra, name, length, size, crc = _HEAD.unpack(head)
        self._check((fixed, extra, name, length) == (_FIXED, 12, b"TS", 8), "no chunk begins there")
        if size + _TAIL.size > self._size - self._file.tell():
            raise ExportCut(f"{self._path} ends within {what}, which begins at byte {start}: it is not whole")
        data = self._file.read(size)
        self._check(zlib.crc32(data) == crc, "its checksum does not match")
        body = zlib.decompress(data, -zlib.MAX_WBITS)
        self._check(
            _TAIL.unpack(self._file.read(_TAIL.size)) == (zlib.crc32(body), len(body) & 0xFFFFFFFF),
            "its end does not match",
        )
        return body

    def _decode(self, decoder: msgspec.json.Decoder[T], data: bytes) -> T:
        try:
            return decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
            raise ExportDamaged(f"{self._place} is not what an export holds: {wrong}") from None

    def _check(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise ExportDamaged(f"{self._place} is damaged: {otherwise}")


def _member(body: bytes) -> bytes:
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    data = packer.compress(body) + packer.flush()
    head = _HEAD.pack(_FIXED, 12, b"TS", 8, len(data), zlib.crc32(data))
    return head + data + _TAIL.pack(zlib.crc32(body), len(body) & 0xFFFFFFFF)
