"""One number for each task: the sum of the hashes of its rows, in whatever order they come.

Rows lie in another order in every store, and most stores hold more of them than memory does. Two sides whose sums are
equal have the same rows, but for one chance in 2^64 for each task.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from hashlib import blake2b

NOBODY = ""
"""Stands for the task of rows that are not of a single one, such as counters."""

_NUL = "\0"


class Sums:
    """The sums of one side. Given tasks in `only`, it keeps those alone, and each part of them apart."""

    def __init__(self, only: Collection[str] | None = None) -> None:
        self._only = None if only is None else frozenset(only)
        self.of: dict[str, int] = {}
        """By task; by task and part where parts are kept apart."""

    def add(self, task_id: str, part: str, key: bytes, value: bytes) -> None:
        """Take in a row. `part` is what it belongs to, such as its table."""
        hashed = hash_of(part, key, value)
        if self._only is None:
            self.of[task_id] = self.of.get(task_id, 0) + hashed
        else:
            self.add_hash(task_id, part, hashed)

    def add_hash(self, task_id: str, part: str, hashed: int) -> None:
        """Take in a row that was hashed already, or the sum of some."""
        if self._only is not None:
            if task_id not in self._only:
                return
            task_id = joined(task_id, part)
        self.of[task_id] = self.of.get(task_id, 0) + hashed

    def merge(self, others: Iterable[Mapping[str, int]]) -> None:
        """Take in what was added up elsewhere."""
        for other in others:
            for name, value in other.items():
                self.of[name] = self.of.get(name, 0) + value


def hash_of(part: str, key: bytes, value: bytes) -> int:
    """64 bits over a row and where it lies."""
    data = _PREFIXES[part] + len(key).to_bytes(4, "big") + key + value
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


class _Prefixes(dict[str, bytes]):
    def __missing__(self, part: str) -> bytes:
        return self.setdefault(part, part.encode() + b"\0")


_PREFIXES = _Prefixes()


def joined(task_id: str, part: str) -> str:
    """How a part of a task is named where parts are kept apart."""
    return task_id + _NUL + part


def different(one: Mapping[str, int], other: Mapping[str, int]) -> list[str]:
    """What has other sums on the two sides, sorted; a sum that is missing is that of no rows."""
    if one == other:
        return []
    return sorted(name for name in one.keys() | other.keys() if one.get(name, 0) != other.get(name, 0))


def parts(names: Iterable[str]) -> dict[str, list[str]]:
    """From `task and part` to the parts of each task."""
    found: dict[str, list[str]] = {}
    for name in names:
        task_id, _, part = name.partition(_NUL)
        found.setdefault(task_id, []).append(part)
    return found
