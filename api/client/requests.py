"""Every call of the API as a value: what to send, and how to read the reply. Shared by both clients."""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode
from uuid import uuid4

import msgspec

from taskscheduler.client.backoff import RETRYABLE, Reply
from taskscheduler.client.errors import ApiError, Invalid, from_reply
from taskscheduler.client.models import (
    BackfilledTask,
    Calendar,
    CalendarSpec,
    CalendarSummary,
    Event,
    Graph,
    Health,
    Ledger,
    Limit,
    Operation,
    OperationPreview,
    Page,
    Preview,
    Run,
    SeenWorker,
    StartedTask,
    Task,
    TaskSpec,
    Why,
)

Result = TypeVar("Result")


class Call(msgspec.Struct, Generic[Result], frozen=True, kw_only=True):
    """One request and the reading of its reply; `task` is the task it is about, if it is about one."""

    method: str
    path: str
    read: Callable[[Reply], Result]
    body: bytes | None = None
    headers: dict[str, str] = {}
    task: str | None = None
    unsettled: Callable[[Reply], bool] = lambda reply: reply.status in RETRYABLE


def encode(body: Any) -> bytes:
    """Encode a request body; raises Invalid when it is not JSON."""
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError, RecursionError) as error:
        raise Invalid(0, "the request cannot be written as JSON", str(error)) from error


def segment(text: str) -> str:
    """Quote one path segment; raises Invalid when it would name another path."""
    if text in ("", ".", ".."):
        raise Invalid(0, f"an id cannot be {text!r}")
    return quote(text, safe="")


def query(path: str, parameters: Mapping[str, Any]) -> str:
    """Add the parameters that are not None; a list is repeated, a datetime written as RFC 3339."""
    pairs = [
        (name, one.isoformat() if isinstance(one, datetime) else str(one))
        for name, value in parameters.items()
        if value is not None
        for one in (value if isinstance(value, list | tuple) else [value])
    ]
    return f"{path}?{urlencode(pairs)}" if pairs else path


def reader(kind: type[Result]) -> Callable[[Reply], Result]:
    decoder = msgspec.json.Decoder(kind)

    def read(reply: Reply) -> Result:
        if not 200 <= reply.status < 300:
            raise from_reply(reply.status, reply.body, reply.retry_after())
        try:
            return decoder.decode(reply.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ApiError(reply.status, "the reply cannot be read", str(error)) from error

    return read


def read_nothing(reply: Reply) -> None:
    if not 200 <= reply.status < 300:
        raise from_reply(reply.status, reply.body, reply.retry_after())


def _read_health(reply: Reply) -> Health:
    # A server that is not well answers 503 with the same body.
    return _read_well(Reply(200, reply.headers, reply.body) if reply.status == 503 else reply)


_read_well = reader(Health)
_read_task = reader(Task)
_read_started = reader(StartedTask)
_read_backfilled = reader(BackfilledTask)
_read_tasks = reader(Page[Task])
_read_run = reader(Run)
_read_runs = reader(Page[Run])
_read_events = reader(Page[Event])
_read_ledger = reader(Ledger)
_read_why = reader(Why)
_read_graph = reader(Graph)
_read_operation = reader(Operation)
_read_operations = reader(Page[Operation])
_read_look = reader(OperationPreview)
_read_preview = reader(Preview)
_read_worker = reader(SeenWorker)
_read_workers = reader(Page[SeenWorker])
_read_calendar = reader(Calendar)
_read_calendars = reader(Page[CalendarSummary])
_read_limit = reader(Limit)
_read_limits = reader(Page[Limit])


def _write(
    method: str,
    path: str,
    read: Callable[[Reply], Result],
    *,
    body: Any = None,
    key: str | None = None,
    headers: dict[str, str] | None = None,
    task: str | None = None,
) -> Call[Result]:
    sent = {"Content-Type": "application/json", "Idempotency-Key": key or uuid4().hex, **(headers or {})}
    encoded = encode({} if body is None else body)
    return Call(method=method, path=path, read=read, body=encoded, headers=sent, task=task)


def task_spec(spec: TaskSpec | None, fields: dict[str, Any]) -> TaskSpec:
    """Give the spec, changed by the fields; raises TypeError for an unknown field or when `name` or `target` lacks."""
    return TaskSpec(**fields) if spec is None else msgspec.structs.replace(spec, **fields)


def calendar_spec(spec: CalendarSpec | None, fields: dict[str, Any]) -> CalendarSpec:
    """Give the spec, changed by the fields; raises TypeError for an unknown field."""
    return CalendarSpec(**fields) if spec is None else msgspec.structs.replace(spec, **fields)


def fields_of(spec: TaskSpec | CalendarSpec) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(spec).items() if value is not msgspec.UNSET}


def create_task(spec: TaskSpec) -> Call[Task]:
    fields = fields_of(spec)
    key = fields.pop("idempotency_key", None)
    return _write("POST", "/api/tasks", _read_task, body=fields, key=key, task=fields.get("id"))


def get_task(task_id: str) -> Call[Task]:
    return Call(method="GET", path=f"/api/tasks/{segment(task_id)}", read=_read_task, task=task_id)


def tag_pairs(tags: Mapping[str, str] | None) -> list[str]:
    return [f"{key}:{value}" for key, value in (tags or {}).items()]


def list_tasks(
    status: str | None = None,
    name: str | None = None,
    tags: Mapping[str, str] | None = None,
    calendar: str | None = None,
    due_before: datetime | None = None,
    sort: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[Page[Task]]:
    parameters = {
        "status": status,
        "name": name,
        "tag": tag_pairs(tags),
        "calendar": calendar,
        "due_before": due_before,
        "sort": sort,
        "limit": limit,
        "cursor": cursor,
    }
    return Call(method="GET", path=query("/api/tasks", parameters), read=_read_tasks)


def update_task(
    task_id: str, changes: Mapping[str, Any], if_match: int | str | None = None, key: str | None = None
) -> Call[Task]:
    path, headers = f"/api/tasks/{segment(task_id)}", _matching(if_match)
    return _write("PATCH", path, _read_task, body=dict(changes), key=key, headers=headers, task=task_id)


def _matching(if_match: int | str | None) -> dict[str, str]:
    if isinstance(if_match, int):
        if_match = f'"r{if_match}"'
    return {} if if_match is None else {"If-Match": if_match}


def change_task(task_id: str, verb: str, key: str | None = None, **fields: Any) -> Call[Task]:
    path = f"/api/tasks/{segment(task_id)}/{verb}"
    body = {name: value for name, value in fields.items() if value is not None}
    return _write("POST", path, _read_task, body=body, key=key, task=task_id)


def backfill(
    task_id: str, since: datetime, until: datetime, overlap: str | None, key: str | None
) -> Call[BackfilledTask]:
    body: dict[str, Any] = {"from": since, "to": until}
    if overlap is not None:
        body["overlap"] = overlap
    path = f"/api/tasks/{segment(task_id)}/backfill"
    return _write("POST", path, _read_backfilled, body=body, key=key, task=task_id)


def start_task(task_id: str, verb: str, key: str | None = None) -> Call[StartedTask]:
    return _write("POST", f"/api/tasks/{segment(task_id)}/{verb}", _read_started, key=key, task=task_id)


def delete_task(task_id: str, key: str | None = None) -> Call[None]:
    headers = {"Idempotency-Key": key or uuid4().hex}
    path = f"/api/tasks/{segment(task_id)}"
    return Call(method="DELETE", path=path, read=read_nothing, headers=headers, task=task_id)


def list_runs(task_id: str, parameters: Mapping[str, Any]) -> Call[Page[Run]]:
    path = query(f"/api/tasks/{segment(task_id)}/runs", parameters)
    return Call(method="GET", path=path, read=_read_runs, task=task_id)


def get_run(task_id: str, run_id: str) -> Call[Run]:
    path = f"/api/tasks/{segment(task_id)}/runs/{segment(run_id)}"
    return Call(method="GET", path=path, read=_read_run, task=task_id)


def list_events(task_id: str, parameters: Mapping[str, Any]) -> Call[Page[Event]]:
    path = query(f"/api/tasks/{segment(task_id)}/events", parameters)
    return Call(method="GET", path=path, read=_read_events, task=task_id)


def ledger(task_id: str, since: datetime | None, until: datetime | None) -> Call[Ledger]:
    path = query(f"/api/tasks/{segment(task_id)}/ledger", {"from": since, "to": until})
    return Call(method="GET", path=path, read=_read_ledger, task=task_id)


def graph(task_id: str, hops: int | None) -> Call[Graph]:
    path = query(f"/api/tasks/{segment(task_id)}/graph", {"hops": hops})
    return Call(method="GET", path=path, read=_read_graph, task=task_id)


def why(task_id: str, at: datetime) -> Call[Why]:
    path = query(f"/api/tasks/{segment(task_id)}/why", {"at": at})
    return Call(method="GET", path=path, read=_read_why, task=task_id)


def preview(
    schedule: Mapping[str, Any], count: int, after: datetime | None, until: datetime | None, task_id: str | None
) -> Call[Preview]:
    fields = {"schedule": dict(schedule), "count": count, "after": after, "until": until, "task_id": task_id}
    body = encode({name: value for name, value in fields.items() if value is not None})
    headers = {"Content-Type": "application/json"}
    return Call(method="POST", path="/api/schedules/preview", read=_read_preview, body=body, headers=headers)


def put_calendar(
    name: str, spec: CalendarSpec, if_match: int | str | None = None, key: str | None = None
) -> Call[Calendar]:
    path, body = f"/api/calendars/{segment(name)}", fields_of(spec)
    return _write("PUT", path, _read_calendar, body=body, key=key, headers=_matching(if_match))


def get_calendar(name: str, since: date | str | None, until: date | str | None) -> Call[Calendar]:
    path = query(f"/api/calendars/{segment(name)}", {"from": since, "to": until})
    return Call(method="GET", path=path, read=_read_calendar)


def list_calendars(limit: int | None, cursor: str | None) -> Call[Page[CalendarSummary]]:
    path = query("/api/calendars", {"limit": limit, "cursor": cursor})
    return Call(method="GET", path=path, read=_read_calendars)


def delete_calendar(name: str, if_match: int | str | None = None, key: str | None = None) -> Call[None]:
    headers = {"Idempotency-Key": key or uuid4().hex, **_matching(if_match)}
    return Call(method="DELETE", path=f"/api/calendars/{segment(name)}", read=read_nothing, headers=headers)


def list_workers(
    queue: str | None, status: str | None, limit: int | None, cursor: str | None
) -> Call[Page[SeenWorker]]:
    path = query("/api/workers", {"queue": queue, "status": status, "limit": limit, "cursor": cursor})
    return Call(method="GET", path=path, read=_read_workers)


def get_worker(name: str) -> Call[SeenWorker]:
    return Call(method="GET", path=f"/api/workers/{segment(name)}", read=_read_worker)


def drain_worker(name: str) -> Call[SeenWorker]:
    return _write("POST", f"/api/workers/{segment(name)}/drain", _read_worker, body={})


def look_at_operation(
    action: str, filter: Mapping[str, Any] | None, all: bool, arguments: Mapping[str, Any] | None
) -> Call[OperationPreview]:
    return _write("POST", "/api/operations", _read_look, body=_operation(action, filter, all, arguments, False))


def start_operation(
    action: str, filter: Mapping[str, Any] | None, all: bool, arguments: Mapping[str, Any] | None, key: str | None
) -> Call[Operation]:
    body = _operation(action, filter, all, arguments, True)
    return _write("POST", "/api/operations", _read_operation, body=body, key=key)


def _operation(
    action: str, filter: Mapping[str, Any] | None, all: bool, arguments: Mapping[str, Any] | None, execute: bool
) -> dict[str, Any]:
    body = {"action": action, "filter": dict(filter or {}), "arguments": dict(arguments or {}), "execute": execute}
    return {**body, "all": True} if all else body


def get_operation(operation_id: str) -> Call[Operation]:
    return Call(method="GET", path=f"/api/operations/{segment(operation_id)}", read=_read_operation)


def list_operations(limit: int | None, cursor: str | None) -> Call[Page[Operation]]:
    path = query("/api/operations", {"limit": limit, "cursor": cursor})
    return Call(method="GET", path=path, read=_read_operations)


def cancel_operation(operation_id: str, key: str | None) -> Call[Operation]:
    return _write("POST", f"/api/operations/{segment(operation_id)}/cancel", _read_operation, key=key)


def put_limit(
    name: str,
    concurrency: int | None,
    rate: dict[str, Any] | None,
    note: str,
    if_match: int | str | None = None,
    key: str | None = None,
) -> Call[Limit]:
    body = {"concurrency": concurrency, "rate": rate, "note": note}
    path = f"/api/limits/{segment(name)}"
    return _write("PUT", path, _read_limit, body=body, key=key, headers=_matching(if_match))


def get_limit(name: str) -> Call[Limit]:
    return Call(method="GET", path=f"/api/limits/{segment(name)}", read=_read_limit)


def list_limits(limit: int | None, cursor: str | None) -> Call[Page[Limit]]:
    return Call(method="GET", path=query("/api/limits", {"limit": limit, "cursor": cursor}), read=_read_limits)


def delete_limit(name: str, if_match: int | str | None = None, key: str | None = None) -> Call[None]:
    headers = {"Idempotency-Key": key or uuid4().hex, **_matching(if_match)}
    return Call(method="DELETE", path=f"/api/limits/{segment(name)}", read=read_nothing, headers=headers)


def health() -> Call[Health]:
    return Call(method="GET", path="/actuator/health", read=_read_health, unsettled=lambda _: False)


def live_events(task_id: str | None, event_type: str | list[str] | None, last_id: str | None) -> Call[None]:
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    if last_id is not None:
        headers["Last-Event-ID"] = last_id
    path = query("/api/events", {"task_id": task_id, "type": event_type})
    return Call(method="GET", path=path, read=read_nothing, headers=headers)
