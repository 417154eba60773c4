"""Records to bytes and back. JSON on the wire; the envelope decodes apart from the events."""

from __future__ import annotations

import msgspec

from taskscheduler.domain.decision import Envelope, Record


class Unreadable(Exception):
    """The envelope cannot be decoded: the record counts as refused by every reader."""


class UnknownEvent(Exception):
    """The envelope is good but an event is not known here: a newer release wrote it, so this one must be upgraded."""


_encoder = msgspec.json.Encoder()
_records = msgspec.json.Decoder(Record)
_envelopes = msgspec.json.Decoder(Envelope)


class _Raw(msgspec.Struct):
    events: msgspec.Raw


_raws = msgspec.json.Decoder(_Raw)


def encode_record(record: Record) -> bytes:
    """The record as it goes onto the log."""
    return _encoder.encode(record)


def decode_envelope(data: bytes) -> Envelope:
    """The envelope alone. Raises Unreadable."""
    try:
        return _envelopes.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(str(error)) from error


def decode_record(data: bytes) -> Record:
    """The whole record. Raises Unreadable, or UnknownEvent when only the events are at fault."""
    try:
        return _records.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        envelope = decode_envelope(data)
        raise UnknownEvent(f"record {envelope.record_id} of {envelope.stream}: {error}") from error


def raw_events(data: bytes) -> bytes:
    """The JSON array of the events of an encoded record."""
    return bytes(_raws.decode(data).events)
