"""The job's operators. They hold decoders, so they must be imported from here, never defined in a script."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from pyflink.common import Types
from pyflink.datastream import KeyedCoProcessFunction, OutputTag, ProcessFunction, RuntimeContext
from pyflink.datastream.state import ValueStateDescriptor

from taskscheduler.domain.decision import Verdict
from taskscheduler.domain.values import Instant
from taskscheduler.streams.codec import Unreadable as CannotRead
from taskscheduler.streams.codec import decode_envelope
from taskscheduler.streams.flink.due import Repeats, Watched, fired, judged
from taskscheduler.streams.flink.messages import Digest, Marker, Unreadable
from taskscheduler.streams.flink.metrics import Lateness, Tally
from taskscheduler.streams.flink.release import CODE, require_code
from taskscheduler.streams.kafka.messages import Genesis
from taskscheduler.streams.kafka.partitioning import partition_of

BYTES = "latin-1"
"""Bytes travel through Flink as text of this encoding: each byte is one character."""

UNREADABLE = OutputTag("unreadable", Types.STRING())
DIGESTS = OutputTag("digests", Types.STRING())

SEEN = Types.TUPLE([Types.STRING(), Types.LONG(), Types.STRING()])
"""Stream, when its record was appended, and the record's envelope."""
ASKED = Types.TUPLE([Types.STRING(), Types.STRING()])
"""Stream, and the marker that asks for its digest."""
ROUTED = Types.TUPLE([Types.STRING(), Types.STRING()])
"""The key that leads a trigger to its partition, and the trigger."""

_encode = msgspec.json.Encoder().encode
_decode_watched = msgspec.json.Decoder(Watched).decode
_decode_beginning = msgspec.json.Decoder(Genesis).decode
_decode_marker = msgspec.json.Decoder(Marker).decode


class NotThreadMode(Exception):
    """Flink runs the job's Python in processes of its own: each access to state would cross to another process."""


class OtherLog(Exception):
    """The log does not begin as the one that the job was submitted for."""


class ReadDecisions(ProcessFunction):  # type: ignore[misc]
    """From rows of the log to envelopes; what cannot be read goes aside."""

    def __init__(self, log_id: str, partitions: int) -> None:
        self._log_id = log_id
        self._partitions = partitions
        self._code = CODE

    def open(self, runtime_context: RuntimeContext) -> None:
        require_thread_mode(runtime_context)
        require_code(self._code)
        tally = Tally(runtime_context)
        self._records = tally.counter("records")
        self._unreadable = tally.counter("unreadable")

    def process_element(self, value: Any, ctx: Any) -> Iterator[Any]:
        partition, position, appended_at, text = value
        if position == 0:
            self._check_beginning(partition, text)
            return
        self._records.count += 1
        try:
            if text is None:
                raise CannotRead("it has no value")
            envelope = decode_envelope(text.encode(BYTES))
            if partition_of(envelope.stream, self._partitions) != partition:
                raise CannotRead(f"{envelope.stream} does not belong into this partition")
        except CannotRead as error:
            self._unreadable.count += 1
            yield UNREADABLE, _encode(Unreadable(partition, position, appended_at, str(error))).decode()
        else:
            yield envelope.stream, appended_at, _encode(envelope).decode()

    def _check_beginning(self, partition: int, text: str | None) -> None:
        wanted = Genesis(self._log_id, self._partitions, partition)
        try:
            found = _decode_beginning((text or "").encode(BYTES))
        except msgspec.DecodeError as error:
            raise OtherLog(f"partition {partition} does not begin as a log of decisions: {error}") from error
        if found != wanted:
            raise OtherLog(f"partition {partition} begins with {found}, not {wanted}")


class ReadMarkers(ProcessFunction):  # type: ignore[misc]
    """From a marker to one question for each stream it names."""

    def process_element(self, value: Any, ctx: Any) -> Iterator[Any]:
        text = value[0]
        try:
            marker = _decode_marker(text.encode(BYTES))
        except (AttributeError, msgspec.DecodeError):
            return
        for stream in marker.streams:
            yield stream, marker.marker


class Due(KeyedCoProcessFunction):  # type: ignore[misc]
    """Folds a stream's envelopes and gives triggers when it is due, again and again until a decision answers."""

    def __init__(self, routes: tuple[str, ...], repeats: Repeats) -> None:
        self._routes = routes
        self._repeats = repeats
        self._code = CODE

    def open(self, runtime_context: RuntimeContext) -> None:
        require_thread_mode(runtime_context)
        require_code(self._code)
        self._state = runtime_context.get_state(ValueStateDescriptor("watched", Types.STRING()))
        tally = Tally(runtime_context)
        self._verdicts = {verdict: tally.counter(verdict.value) for verdict in Verdict}
        self._triggers = tally.counter("triggers")
        self._lateness = Lateness(runtime_context)

    def process_element1(self, value: Any, ctx: Any) -> Iterable[Any]:
        _, appended_at, text = value
        before = self._load()
        after, verdict = judged(before, decode_envelope(text.encode()), appended_at, _now())
        self._verdicts[verdict].count += 1
        if after is before:
            return ()
        self._state.update(_encode(after).decode())
        if after.timer != before.timer:
            timers = ctx.timer_service()
            if before.timer is not None:
                timers.delete_processing_time_timer(before.timer)
            if after.timer is not None:
                timers.register_processing_time_timer(after.timer)
        return ()

    def process_element2(self, value: Any, ctx: Any) -> Iterable[Any]:
        stream, marker = value
        watched = self._load()
        digest = Digest(marker, stream, watched.version, watched.wakeup, watched.chain)
        return ((DIGESTS, _encode(digest).decode()),)

    def on_timer(self, timestamp: Instant, ctx: Any) -> Iterable[Any]:
        stream = ctx.get_current_key()
        before = self._load()
        after, trigger = fired(before, stream, timestamp, _now(), self._repeats)
        if after is before:
            return ()
        self._state.update(_encode(after).decode())
        ctx.timer_service().register_processing_time_timer(after.timer)
        if trigger is None:
            return ()
        self._triggers.count += 1
        self._lateness.add(trigger.fired_at - timestamp)
        route = self._routes[partition_of(stream, len(self._routes))]
        return ((route, _encode(trigger).decode()),)

    def _load(self) -> Watched:
        text = self._state.value()
        return Watched() if text is None else _decode_watched(text)


def first(value: Any) -> Any:
    """By which streams are keyed: the stream comes first."""
    return value[0]


def require_thread_mode(runtime_context: RuntimeContext) -> None:
    """Raises NotThreadMode."""
    if ".embedded." not in type(runtime_context).__module__:
        raise NotThreadMode("python.execution-mode must be thread, and is process")


def _now() -> Instant:
    return time.time_ns() // 1_000_000
