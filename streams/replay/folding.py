"""Folding a share of a log from the first record to some positions, as one piece of work."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from taskscheduler.commands.ports import Entry
from taskscheduler.domain.entities import id_of
from taskscheduler.streams.codec import decode_envelope
from taskscheduler.streams.replay.fresh import Fresh
from taskscheduler.streams.replay.kept import open_to_look
from taskscheduler.streams.replay.source import RocksSource, Share, Source
from taskscheduler.streams.replay.sums import NOBODY, Sums

if TYPE_CHECKING:
    from taskscheduler.streams.kafka.client_options import KafkaSettings

Kind: TypeAlias = Literal["state", "rows", "timers"]
"""What is compared: what a replica keeps, what the read models show, what the timers' job keeps of envelopes."""

Place: TypeAlias = "Path | KafkaSettings"
"""A data directory, or how to reach Kafka."""


class Stop(msgspec.Struct, frozen=True, order=True):
    """A position at which something is compared with the log."""

    position: int
    kind: Kind


class Folded(msgspec.Struct, frozen=True):
    """What a share of the log says.

    `sums` are those at each stop; `names` the ids of records that stand at stops, as far as they are in the share;
    `counters` and `shared` the rows that are not of a single task, at the stop of the read models.
    """

    records: int
    sums: list[dict[str, int]]
    names: dict[int, str]
    counters: dict[tuple[str, str], tuple[int, int]] = {}
    shared: dict[str, dict[bytes, int]] = {}


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Source]:
    """The log at a place, which is there. Raises DataRefused, KafkaRefused, LogUnavailable."""
    if isinstance(place, Path):
        with open_to_look(place) as database:
            yield RocksSource(database)
        return
    # Needs the packages of a cluster.
    from taskscheduler.streams.kafka.refusals import KafkaRefused
    from taskscheduler.streams.replay.kafka_source import KafkaSource

    async with KafkaSource.open(place) as source:
        if source is None:
            raise KafkaRefused(f"Kafka at {', '.join(place.bootstrap_servers)} has no log {place.topic_prefix} yet")
        yield source


def log_of(place: Place) -> tuple[str, Mapping[int, int]]:
    """The id of a log and its last position by partition. Raises as `opened`; no event loop may run."""
    return asyncio.run(_log_of(place))


def fold_share(
    place: Place, partition: int, share: Share, stops: Sequence[Stop], only: Collection[str] | None = None
) -> Folded:
    """Fold the streams of a share up to the last of the stops, which are in order of their positions.

    Given tasks in `only`, fold no others.
    """
    return asyncio.run(_fold_share(place, partition, share, stops, only))


def touched(place: Place, partition: int, after: int, to: int) -> set[str]:
    """The streams of the records at the positions after < p <= to."""
    return asyncio.run(_touched(place, partition, after, to))


async def _log_of(place: Place) -> tuple[str, Mapping[int, int]]:
    async with opened(place) as source:
        return source.log_id, await source.ends()


async def _fold_share(
    place: Place, partition: int, share: Share, stops: Sequence[Stop], only: Collection[str] | None
) -> Folded:
    # What is of no single task comes of all of them.
    chosen = None if only is None or NOBODY in only else only
    fresh = Fresh(projects=any(stop.kind == "rows" for stop in stops))
    wanted = {stop.position for stop in stops}
    found: list[dict[str, int]] = []
    names: dict[int, str] = {}
    counters, shared = {}, {}
    records = position = 0
    async with opened(place) as source:
        for stop in stops:
            async with contextlib.aclosing(source.entries(partition, position, stop.position, share)) as batches:
                async for entries in batches:
                    records += len(entries)
                    for entry in entries:
                        if entry.position in wanted:
                            names[entry.position] = _record_id(entry)
                    fresh.fold(entries if chosen is None else [one for one in entries if _of(one) in chosen])
            position = stop.position
            sums = Sums(only)
            if stop.kind == "state":
                fresh.add_states(sums, parts=only is not None)
            elif stop.kind == "timers":
                fresh.add_timers(sums)
            elif fresh.rows is not None:
                fresh.rows.sums(sums)
                counters, shared = fresh.rows.counters, fresh.rows.shared()
                fresh.rows = None
            found.append(sums.of)
    return Folded(records, found, names, counters, shared)


async def _touched(place: Place, partition: int, after: int, to: int) -> set[str]:
    async with opened(place) as source, contextlib.aclosing(source.raw(partition, after, to)) as batches:
        return {decode_envelope(raw.data).stream async for batch in batches for raw in batch}


def _record_id(entry: Entry) -> str:
    return "" if entry.record is None else entry.record.record_id


def _of(entry: Entry) -> str | None:
    return None if entry.record is None else id_of(entry.record.stream)
