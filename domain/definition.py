"""What a user asks for: the definition of a task, as it stands in events and in state."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias
from urllib.parse import urlsplit

import msgspec

from taskscheduler.domain.retry import Retry
from taskscheduler.domain.schedule import Schedule
from taskscheduler.domain.values import HOUR, MINUTE, Json, Millis

Overlap: TypeAlias = Literal["skip", "buffer_one", "buffer_all", "cancel_other", "allow_all"]
"""What becomes of a fire time that comes while a run is active."""

On: TypeAlias = Literal["success", "failure", "end"]
"""Which ends of a run count: one that succeeded, one that failed for good, or any, a cancelled one included."""

PAYLOAD_LIMIT = 256 * 1024
"""Bytes of an encoded payload."""


class NoopTarget(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="noop", omit_defaults=True):
    """Does nothing and succeeds."""


class HttpAuth(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Who the server says it is: the name of a secret token, or a user and the name of a secret password."""

    bearer: str | None = None
    user: str | None = None
    password: str | None = None


class HttpTls(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Names of secrets that are PEM files: the client's certificate, its key where that is apart, whom to trust."""

    cert: str | None = None
    key: str | None = None
    ca: str | None = None


class HttpTarget(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="http", omit_defaults=True):
    """One HTTP request. `body` is JSON text; a JSON string is sent as it stands, anything else as JSON.

    Secrets stand here by name only: `secret_headers` maps headers to them, `sign` is what requests are signed with.
    """

    url: str
    method: str = "POST"
    headers: dict[str, str] = {}
    body: Json | None = None
    expect: tuple[int | str, ...] = ("200-299",)
    secret_headers: dict[str, str] = {}
    auth: HttpAuth | None = None
    sign: str | None = None
    tls: HttpTls | None = None


class QueueTarget(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="queue", omit_defaults=True):
    """A worker that pulls from `queue` runs the handler named `kind`."""

    queue: str
    kind: str


class ExecTarget(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="exec", omit_defaults=True):
    """A worker of `queue` that may run the command does so, without a shell."""

    queue: str
    argv: tuple[str, ...]
    env: dict[str, str] = {}
    cwd: str | None = None


EXEC_KIND = "$exec"
"""The kind of work of commands. No handler can have it, and who takes any kind of work does not take it."""


class KafkaTarget(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="kafka", omit_defaults=True):
    """One message on a topic, under a key where there is one."""

    topic: str
    key: str | None = None
    headers: dict[str, str] = {}


Target: TypeAlias = NoopTarget | HttpTarget | QueueTarget | KafkaTarget | ExecTarget


class Lane(NamedTuple):
    """Where runs wait: together are those that the same holders can carry out, and that the same limits may hold up.

    `group` is the type of the target or `queue:<name>`; `kind` is the kind of work within a queue, or the host that an
    http target calls; `key` says whose concurrency a run counts to.
    """

    group: str
    kind: str = ""
    key: str = ""

    @property
    def turn(self) -> str:
        """Whose turn it is when a run of the lane is taken: lanes with another one take turns with it."""
        return self.key or (self.kind if self.group == "http" else "")

    @property
    def names(self) -> tuple[str, ...]:
        """What may hold all of its runs up, apart from the group as a whole: `host:<host>`, `key:<key>`."""
        host = (f"host:{self.kind}",) if self.group == "http" else ()
        return (*host, f"key:{self.key}") if self.key else host


def lane_of(definition: Definition) -> Lane:
    """Where runs of the task wait."""
    target, own = definition.target, definition.concurrency
    key = "" if own is None else own.key
    if isinstance(target, QueueTarget):
        return Lane(f"queue:{target.queue}", target.kind, key)
    if isinstance(target, HttpTarget):
        return Lane("http", host_of(target.url), key)
    if isinstance(target, ExecTarget):
        return Lane(f"queue:{target.queue}", EXEC_KIND, key)
    return Lane(str(target.__struct_config__.tag), "", key)


@lru_cache(4_096)
def host_of(url: str) -> str:
    """The host that a URL names, in lower case, without its port or a final dot; empty where none can be read."""
    try:
        return (urlsplit(url).hostname or "").replace("\0", "").rstrip(".")
    except ValueError:
        return ""


class CatchUp(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What happens to fire times missed while nothing ran."""

    policy: Literal["all", "latest", "none"] = "latest"
    window: Millis = HOUR
    limit: int = 100


class After(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The task runs when runs of `tasks` have ended: one of each (`all`), or whenever one does (`any`)."""

    tasks: tuple[str, ...]
    when: Literal["all", "any"] = "all"
    on: On = "success"


OnConflict: TypeAlias = Literal["reject", "replace", "return_existing"]
"""What becomes of a task whose unique key another one holds: it is not made, or it takes that one's place."""


class Uniqueness(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """No other task with the same key is made while this one has not ended, or within `period` of its making."""

    key: str
    period: Millis | None = None
    on_conflict: OnConflict = "reject"


class Concurrency(msgspec.Struct, frozen=True, gc=False):
    """At most `limit` attempts of all tasks with this key are active at once."""

    key: str
    limit: int


class Definition(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A task as its owner defined it. `revision` counts the changes of this."""

    name: str
    schedule: Schedule
    target: Target
    payload: Json | None = None
    retry: Retry = Retry()
    timeout: Millis = 5 * MINUTE
    overlap: Overlap = "skip"
    catch_up: CatchUp = CatchUp()
    priority: int = 5
    tags: dict[str, str] = {}
    pause_on_failure: int | None = None
    """After so many runs in a row that failed for good the task pauses itself."""
    queue_timeout: Millis | None = None
    """How long a run may wait to be claimed, each time that it waits."""
    heartbeat_timeout: Millis | None = None
    """The longest time between two signs of life of an attempt's holder, where its lease is not shorter."""
    deadline: Millis | None = None
    """How long a run may take from when it was made to its end, whatever it is doing."""
    then: tuple[str, ...] = ()
    """Tasks that run when a run of this one has succeeded."""
    on_failure: tuple[str, ...] = ()
    """Tasks that run when a run of this one has failed for good."""
    after: After | None = None
    unique: Uniqueness | None = None
    """The key that no other task has meanwhile; fixed when the task is made."""
    concurrency: Concurrency | None = None


class DefinitionPatch(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A merge patch already made whole: a field that is UNSET stays, any other replaces what was there."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    schedule: Schedule | msgspec.UnsetType = msgspec.UNSET
    target: Target | msgspec.UnsetType = msgspec.UNSET
    payload: Json | msgspec.UnsetType | None = msgspec.UNSET
    retry: Retry | msgspec.UnsetType = msgspec.UNSET
    timeout: Millis | msgspec.UnsetType = msgspec.UNSET
    overlap: Overlap | msgspec.UnsetType = msgspec.UNSET
    catch_up: CatchUp | msgspec.UnsetType = msgspec.UNSET
    priority: int | msgspec.UnsetType = msgspec.UNSET
    tags: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    pause_on_failure: int | msgspec.UnsetType | None = msgspec.UNSET
    queue_timeout: Millis | msgspec.UnsetType | None = msgspec.UNSET
    heartbeat_timeout: Millis | msgspec.UnsetType | None = msgspec.UNSET
    deadline: Millis | msgspec.UnsetType | None = msgspec.UNSET
    then: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    on_failure: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    after: After | msgspec.UnsetType | None = msgspec.UNSET
    concurrency: Concurrency | msgspec.UnsetType | None = msgspec.UNSET

    def apply_to(self, definition: Definition) -> Definition:
        """The definition with every given field replaced."""
        given = {f: v for f in self.__struct_fields__ if (v := getattr(self, f)) is not msgspec.UNSET}
        return msgspec.structs.replace(definition, **given) if given else definition
