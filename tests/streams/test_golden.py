"""What was written once is read for ever, and a fold that changes says so by its version."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from taskscheduler.domain import definition, retry, schedule
from taskscheduler.domain import events as ev
from taskscheduler.domain import state as st
from taskscheduler.domain.bounds import Bounds
from taskscheduler.domain.decision import FOLD_VERSION, Envelope, Verdict, fold
from taskscheduler.domain.entities import id_of
from taskscheduler.domain.excluded import ExceptCalendar
from taskscheduler.streams.codec import UnknownEvent, Unreadable, decode_envelope, decode_record, encode_record
from tests.streams.golden_records import SAMPLES, record_of

GOLDEN = Path(__file__).parent / "golden"
TAGS = sorted(kind.__struct_config__.tag for kind in ev.Event.__args__)  # type: ignore[attr-defined]


@pytest.mark.parametrize("tag", sorted(SAMPLES))
def test_a_record_of_any_age_is_read(tag: str) -> None:
    data = (GOLDEN / f"{tag}.json").read_bytes()
    assert decode_record(data) == record_of(tag)


@pytest.mark.parametrize("tag", TAGS)
def test_what_is_written_today_has_not_changed(tag: str) -> None:
    assert encode_record(record_of(tag)) == (GOLDEN / f"{tag}.json").read_bytes(), "a new shape needs a new tag"


def test_no_event_lacks_a_sample_and_no_sample_its_file() -> None:
    assert set(TAGS) <= set(SAMPLES)
    assert {path.stem for path in GOLDEN.glob("*.v*.json")} == set(SAMPLES)
    for tag, events in SAMPLES.items():
        assert {ev.tag_of(event) for event in events} == {tag}


def test_the_envelope_is_read_without_the_events() -> None:
    envelope = decode_envelope((GOLDEN / "run.queued.v1.json").read_bytes())
    record = record_of("run.queued.v1")
    assert type(envelope) is Envelope
    assert all(getattr(envelope, field) == getattr(record, field) for field in Envelope.__struct_fields__)


def test_an_event_of_the_future_is_told_from_damage() -> None:
    data = (GOLDEN / "run.queued.v1.json").read_bytes()
    newer = data.replace(b"run.queued.v1", b"run.queued.v9")
    assert decode_envelope(newer).record_id == "i-run.queued.v9"
    with pytest.raises(UnknownEvent, match="task/golden"):
        decode_record(newer)
    for damaged in (b"", b"{}", data[:-1], data.replace(b'"expected_version":7', b'"expected_version":"7"'), b"\xff"):
        with pytest.raises(Unreadable):
            decode_record(damaged)
        with pytest.raises(Unreadable):
            decode_envelope(damaged)


SHAPES = (
    st.Task,
    st.Run,
    st.Attempt,
    st.Counts,
    st.Pause,
    st.Released,
    st.UsedKey,
    ev.Backlog,
    ev.Error,
    definition.Definition,
    definition.CatchUp,
    definition.HttpTarget,
    definition.NoopTarget,
    definition.QueueTarget,
    retry.Retry,
    schedule.Cron,
    schedule.Every,
    schedule.OneTime,
)


class Pinned(msgspec.Struct):
    fold_version: int
    digest: str


def test_the_fold_of_the_golden_log_is_pinned() -> None:
    tasks: dict[str, st.Task] = {}
    verdicts: list[str] = []
    seen: set[str] = set()
    for line in (GOLDEN / "log.jsonl").read_bytes().splitlines():
        appended_at, data = line.split(b" ", 1)
        record = decode_record(data)
        task_id = id_of(record.stream)
        tasks[task_id], verdict = fold(tasks.get(task_id, st.Task(task_id)), record, int(appended_at))
        verdicts.append(verdict)
        seen.update(ev.tag_of(event) for event in record.events)
    assert seen >= {tag for tag in SAMPLES if tag in TAGS and tag not in ADDED_SINCE}
    assert {*verdicts} == set(Verdict)
    total = hashlib.sha256()
    for shape in SHAPES:
        fields = tuple(field for field in shape.__struct_fields__ if (shape, field) not in FIELDS_SINCE)
        total.update(repr((shape.__name__, fields)).encode())
    total.update(repr(verdicts).encode())
    for task_id, task in sorted(tasks.items()):
        total.update(task_id.encode() + msgspec.json.encode(task))
    pinned = msgspec.json.decode((GOLDEN / "fold.json").read_bytes(), type=Pinned)
    found = Pinned(FOLD_VERSION, total.hexdigest())
    assert found == pinned or pinned.fold_version != FOLD_VERSION, (
        "the state or evolve changed: raise FOLD_VERSION, so that replicas fold the log again"
    )
    assert found == pinned, f"put this into golden/fold.json: {msgspec.json.encode(found).decode()}"


FIELDS_SINCE: frozenset[tuple[type, str]] = frozenset(
    [
        *((st.Task, field) for field in ("scheduled", "pending", "failures_in_row", "backfills")),
        *((st.Run, field) for field in ("backfill_id", "claim_by", "deadline", "error")),
        (st.Attempt, "heartbeat"),
        (st.Task, "unheard"),
        *((st.Task, field) for field in ("steps", "unsent", "heard", "links", "arrived")),
        *((st.Run, field) for field in ("caused_by", "upstream", "depth")),
        *((definition.Definition, field) for field in ("then", "on_failure", "after", "unique", "concurrency")),
        (st.Run, "revoked"),
        (st.Attempt, "grants"),
        *((st.UsedKey, field) for field in ("backfill_id", "task_id")),
        *((ev.Backlog, field) for field in ("count", "resumed_until")),
        *((definition.Definition, f) for f in ("pause_on_failure", "queue_timeout", "heartbeat_timeout", "deadline")),
        (retry.Retry, "retry_on"),
        *((definition.HttpTarget, field) for field in ("secret_headers", "auth", "sign", "tls")),
        *((schedule.Cron, field) for field in ("gap", "fold", "days", "resolved")),
        *((form, field) for form in get_args(schedule.Schedule) for field in Bounds.__struct_fields__),
    ]
)
"""Fields that came later with a default that is not written: what older logs fold to is the same, bit for bit."""


def test_what_came_later_is_not_written_unless_it_is_given() -> None:
    plain = schedule.Cron("0 2 * * *", "Europe/Berlin")
    assert msgspec.json.encode(plain) == b'{"type":"cron","cron":"0 2 * * *","timezone":"Europe/Berlin"}'
    full = schedule.Cron("0 H * * *", gap="skip", fold="last", days="and", resolved="0 7 * * *")
    written = b'{"type":"cron","cron":"0 H * * *","gap":"skip","fold":"last","days":"and","resolved":"0 7 * * *"}'
    assert msgspec.json.encode(full) == written
    assert msgspec.json.decode(written, type=schedule.Schedule) == full


def test_what_a_schedule_leaves_out_is_written_with_its_days() -> None:
    calendar = ExceptCalendar("holidays", version=7, days=("2026-12-25", "2026-12-31/2027-01-01"))
    plain = schedule.Cron("0 2 * * *", excluded=(calendar,))
    written = (
        b'{"type":"cron","cron":"0 2 * * *","excluded":[{"type":"calendar","calendar":"holidays","version":7,'
        b'"days":["2026-12-25","2026-12-31/2027-01-01"]}]}'
    )
    assert msgspec.json.decode(written, type=schedule.Schedule) == plain
    assert msgspec.json.decode(msgspec.json.encode(plain), type=schedule.Schedule) == plain


def test_a_target_that_names_secrets_holds_names_alone() -> None:
    target = definition.HttpTarget(
        "https://example.org/",
        secret_headers={"X-Key": "crm-key"},
        auth=definition.HttpAuth(bearer="crm-token"),
        sign="crm-hook",
        tls=definition.HttpTls(cert="crm.pem"),
    )
    written = (
        b'{"type":"http","url":"https://example.org/","secret_headers":{"X-Key":"crm-key"},'
        b'"auth":{"bearer":"crm-token"},"sign":"crm-hook","tls":{"cert":"crm.pem"}}'
    )
    assert msgspec.json.encode(target) == written
    assert msgspec.json.decode(written, type=definition.Target) == target
    assert msgspec.json.encode(definition.HttpTarget("x")) == b'{"type":"http","url":"x"}'


def test_a_target_on_a_topic() -> None:
    target = definition.KafkaTarget("orders", "customer-7", {"ce_type": "order.due"})
    written = b'{"type":"kafka","topic":"orders","key":"customer-7","headers":{"ce_type":"order.due"}}'
    assert msgspec.json.encode(target) == written
    assert msgspec.json.decode(written, type=definition.Target) == target
    assert msgspec.json.encode(definition.KafkaTarget("a")) == b'{"type":"kafka","topic":"a"}'


ADDED_SINCE = frozenset(
    [
        "attempt.released.v1",
        "worker.seen.v1",
        "worker.drain_requested.v1",
        "worker.left.v1",
        "worker.forgotten.v1",
        "schedule.switched.v1",
        "backfill.requested.v1",
        "backfill.advanced.v1",
        "backfill.ended.v1",
        "calendar.defined.v1",
        "calendar.deleted.v1",
        "calendar.followed.v1",
        "grant.revoked.v1",
        "limit.defined.v1",
        "limit.deleted.v1",
        "slots.granted.v1",
        "slots.released.v1",
        "run.failed.v1",
        "unique.reserved.v1",
        "unique.released.v1",
        "unique.heard.v1",
        "steps.made.v1",
        "steps.taken.v1",
        "upstream.heard.v1",
        "chain.linked.v1",
        "dead_letter.purged.v1",
        "operation.started.v1",
        "operation.picked.v1",
        "operation.advanced.v1",
        "operation.cancelled.v1",
        "operation.ended.v1",
        "operation.forgotten.v1",
    ]
)
"""Tags that came after the golden log was written."""
