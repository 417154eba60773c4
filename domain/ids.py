"""Ids and chance, made from what the command brings: the core has no randomness of its own."""

from __future__ import annotations

import hashlib
import re

from taskscheduler.domain.values import Instant

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_ID = re.compile(ID_PATTERN + r"\Z")
_MASK = (1 << 64) - 1


def is_id(text: str) -> bool:
    """Whether `text` may name a task, a run, a queue or a worker's kind."""
    return _ID.match(text) is not None and not text.endswith("\n")


def run_id(scheduled_for: Instant, seed: int, nth: int) -> str:
    """The id of the `nth` run made in one decision. Ids of a task's runs sort by `scheduled_for`."""
    return f"{max(0, scheduled_for):012x}-{nth:03x}{mix(seed, 1) >> 32:08x}"


def run_id_floor(instant: Instant) -> str:
    """No run scheduled at or after `instant` has an id below this."""
    return f"{max(0, instant):012x}"


def instant_of(run_id: str) -> Instant:
    """The instant that the id of a run begins with: what `run_id_floor` is held against."""
    return int(run_id[:12], 16)


def mix(seed: int, salt: int) -> int:
    """64 well-spread bits from a seed and a salt (splitmix64, Steele et al. 2014)."""
    z = (seed + salt * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def hash_of(text: str) -> int:
    """64 bits that follow from a text and are spread evenly over texts: BLAKE2b. Must never change."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def chance(seed: int, salt: int) -> float:
    """A number from 0 up to 1."""
    return (mix(seed, salt) >> 11) / float(1 << 53)


def digest(*parts: str) -> str:
    """A short hash of some text, for what must be recognised but not read (keys, tokens)."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
