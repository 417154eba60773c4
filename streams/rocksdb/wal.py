"""Looks into RocksDB's log files (write-ahead log and manifest) for damage that RocksDB takes for their end.

A record whose length reads as longer than the file is, to RocksDB, one that was being written when the power went:
it drops it and all that follows without a word. If whole records follow, it was not the last, and it is damage.
Format: blocks of 32 KiB; a record is CRC-32C (masked), length, type, payload, and never crosses a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from struct import Struct

BLOCK = 32 * 1024
_HEADER = Struct("<IHB")
_LAST_TYPE = 4  # full, first, middle, last
_POLYNOMIAL = 0x82F63B78
_MASK_DELTA = 0xA282EAD8
_WORD = 0xFFFFFFFF


def _table() -> Iterator[int]:
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        yield value


_TABLE = tuple(_table())


def first_damage(file: Path, *, whole: bool) -> int | None:
    """The offset of the first damaged record, None when there is none or only a torn last one.

    Looks at the last block alone unless `whole`, which takes a second per 10 MB.
    """
    size = file.stat().st_size
    with file.open("rb") as source:
        start = 0 if whole or not size else (size - 1) // BLOCK * BLOCK
        source.seek(start)
        while block := source.read(BLOCK):
            found = _in_block(block)
            if found is not None:
                return start + found
            start += len(block)
    return None


def _in_block(block: bytes) -> int | None:
    at = 0
    while at + _HEADER.size <= len(block):
        _, length, kind = _HEADER.unpack_from(block, at)
        if not length and not kind:
            return None  # never written
        end = at + _HEADER.size + length
        if end > len(block):
            follows = len(block) == BLOCK or any(_is_whole(block, later) for later in range(at + 1, len(block)))
            return at if follows else None
        if not _checksum_matches(block, at, end):
            return at
        at = end
    return None


def _is_whole(block: bytes, at: int) -> bool:
    if at + _HEADER.size > len(block):
        return False
    _, length, kind = _HEADER.unpack_from(block, at)
    end = at + _HEADER.size + length
    return bool(length) and 1 <= kind <= _LAST_TYPE and end <= len(block) and _checksum_matches(block, at, end)


def _checksum_matches(block: bytes, at: int, end: int) -> bool:
    value = _WORD
    for byte in block[at + 6 : end]:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    value ^= _WORD
    masked = ((value >> 15 | value << 17) + _MASK_DELTA) & _WORD
    stored: int = _HEADER.unpack_from(block, at)[0]
    return masked == stored
