"""Compares what somebody keeps of streams who folds envelopes alone with what the log says, version by version.

Whoever is asked while the log grows answers as of some position that nobody knows. But the answer has a version, and of
each version the log says what has to be kept: so an answer can be wrong, or right and old, wherever the log is by now.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping
from typing import Protocol

import msgspec

from taskscheduler.domain.decision import Verdict, judge
from taskscheduler.domain.entities import id_of
from taskscheduler.streams.codec import decode_envelope
from taskscheduler.streams.replay.folding import Place, opened
from taskscheduler.streams.replay.fresh import Timer
from taskscheduler.streams.replica import chain_of

NOTHING = Timer(0, None, "")


class Unanswered(Exception):
    """Nobody answers: a sentence that says so."""


class Asked(Protocol):
    """Somebody who keeps a Timer of each stream. `name` tells people who."""

    @property
    def name(self) -> str: ...
    def ask(self, tasks: Collection[str]) -> Mapping[str, Timer]:
        """What is kept of some tasks. Raises Unanswered."""
        ...


class Answer(msgspec.Struct, frozen=True):
    """An answer that is not what the log says now: `wrong` names what is otherwise, nothing where it is only old."""

    kept: Timer
    wrong: tuple[str, ...]


def answers(place: Place, partition: int, to: int, kept: Mapping[str, Timer]) -> dict[str, Answer]:
    """Of what is kept of some streams of a partition, whatever is not as the log says up to position `to`."""
    return asyncio.run(_answers(place, partition, to, kept))


async def _answers(place: Place, partition: int, to: int, kept: Mapping[str, Timer]) -> dict[str, Answer]:
    right = dict.fromkeys(kept, NOTHING)
    """Up to the version that is kept."""
    versions = dict.fromkeys(kept, 0)
    async with opened(place) as source, contextlib.aclosing(source.raw(partition, 0, to)) as batches:
        async for batch in batches:
            for raw in batch:
                envelope = decode_envelope(raw.data)
                task_id = id_of(envelope.stream)
                version = versions.get(task_id)
                if version is None or judge(version, envelope, raw.appended_at) is not Verdict.ACCEPTED:
                    continue
                versions[task_id] = version + 1
                if version < kept[task_id].version:
                    chain = chain_of(right[task_id].chain, envelope.record_id)
                    right[task_id] = Timer(version + 1, envelope.wakeup, chain)
    found: dict[str, Answer] = {}
    for task_id, mine in kept.items():
        wrong = tuple(name for name in Timer._fields if getattr(mine, name) != getattr(right[task_id], name))
        if wrong or mine.version < versions[task_id]:
            found[task_id] = Answer(mine, wrong)
    return found
