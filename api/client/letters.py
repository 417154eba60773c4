"""Dead letters: what the server says of them, and the calls that ask for it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

import msgspec

from taskscheduler.client.models import AttemptError, DeadLetter, Page, StartedTask
from taskscheduler.client.requests import Call, encode, query, read_nothing, reader, segment, tag_pairs


class LateReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the holder of an attempt said after that had ended otherwise: evidence, never applied."""

    attempt: int
    at: datetime | None = None
    outcome: str = ""
    result: Any = None
    error: AttemptError | None = None


class DeadLetterStory(DeadLetter, frozen=True, kw_only=True):
    """A dead letter with its task as that was defined when the run failed, and what was reported too late."""

    definition: dict[str, Any] | None = None
    late_reports: tuple[LateReport, ...] = ()


class DeadLetterGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Dead letters with the same type of error; there are more than `count` unless it is `exact`."""

    error_type: str
    count: int = 0
    exact: bool = True
    tasks: int = 0
    first_seen: datetime | None = None
    last_seen: datetime | None = None
    last: dict[str, Any] = {}


class DeadLettersDone(msgspec.Struct, frozen=True, kw_only=True):
    """What became of many dead letters; `next_cursor` goes on with those that remain."""

    execute: bool = False
    done: int = 0
    refused: tuple[dict[str, Any], ...] = ()
    refused_count: int = 0
    remaining: int = 0
    exact: bool = True
    next_cursor: str | None = None


_read_page = reader(Page[DeadLetter])
_read_groups = reader(Page[DeadLetterGroup])
_read_story = reader(DeadLetterStory)
_read_started = reader(StartedTask)
_read_done = reader(DeadLettersDone)

PATH = "/api/dead-letters"


def parameters(
    task_id: str | None,
    tags: Mapping[str, str] | None,
    error_type: str | None,
    since: datetime | None,
    until: datetime | None,
    retried: bool | None,
) -> dict[str, Any]:
    return {
        "task_id": task_id,
        "tag": tag_pairs(tags),
        "error_type": error_type,
        "from": since,
        "to": until,
        "retried": None if retried is None else str(retried).lower(),
    }


def dead_letters(asked: Mapping[str, Any], limit: int | None, cursor: str | None) -> Call[Page[DeadLetter]]:
    return Call(method="GET", path=query(PATH, {**asked, "limit": limit, "cursor": cursor}), read=_read_page)


def groups(asked: Mapping[str, Any], limit: int | None, cursor: str | None) -> Call[Page[DeadLetterGroup]]:
    path = query(f"{PATH}/groups", {**asked, "limit": limit, "cursor": cursor})
    return Call(method="GET", path=path, read=_read_groups)


def _one(task_id: str, run_id: str) -> str:
    return f"{PATH}/{segment(task_id)}/{segment(run_id)}"


def dead_letter(task_id: str, run_id: str) -> Call[DeadLetterStory]:
    return Call(method="GET", path=_one(task_id, run_id), read=_read_story, task=task_id)


def retry_one(task_id: str, run_id: str, key: str | None) -> Call[StartedTask]:
    headers = {"Content-Type": "application/json", "Idempotency-Key": key or uuid4().hex}
    path = f"{_one(task_id, run_id)}/retry"
    return Call(method="POST", path=path, read=_read_started, body=b"{}", headers=headers, task=task_id)


def purge_one(task_id: str, run_id: str, key: str | None) -> Call[None]:
    headers = {"Idempotency-Key": key or uuid4().hex}
    return Call(method="DELETE", path=_one(task_id, run_id), read=read_nothing, headers=headers, task=task_id)


def many(
    verb: str, filter: Mapping[str, Any], execute: bool, limit: int | None, cursor: str | None, key: str | None
) -> Call[DeadLettersDone]:
    fields = {"filter": dict(filter), "execute": execute, "limit": limit, "cursor": cursor}
    headers = {"Content-Type": "application/json", "Idempotency-Key": key or uuid4().hex}
    body = encode({name: value for name, value in fields.items() if value is not None})
    return Call(method="POST", path=f"{PATH}/{verb}", read=_read_done, body=body, headers=headers)
