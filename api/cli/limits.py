"""`limit set`, `get`, `list` and `delete`."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any

from cyclopts import Parameter

from taskscheduler.api.cli.common import COMMON, Common, Key, Limit
from taskscheduler.api.cli.errors import UsageError
from taskscheduler.api.cli.output import Columns, say, show, show_all

Match = Annotated[int | None, Parameter(help="Only if the limit is at this version; else exit 4.")]

LIMITS: Columns = {
    "name": lambda limit: limit.name,
    "concurrency": lambda limit: limit.own if limit.concurrency is None else limit.concurrency,
    "in use": lambda limit: limit.in_use,
    "rate": lambda limit: _rate_text(limit.rate),
    "version": lambda limit: limit.version or None,
    "note": lambda limit: limit.note,
}


def set_limit(
    name: str,
    /,
    *,
    concurrency: Annotated[int | None, Parameter(help="So many runs are active at once.")] = None,
    rate: Annotated[str | None, Parameter(help="100/1m: so many runs begin in this time.")] = None,
    burst: Annotated[int | None, Parameter(help="With --rate: so many begin at once after a lull.")] = None,
    note: Annotated[str, Parameter(help="Why, for others to read.")] = "",
    if_match: Match = None,
    idempotency_key: Key = None,
    common: Common = COMMON,
) -> None:
    """Define a limit: `limit set queue:mail --concurrency 5 --rate 100/1m`; also `tag:a=b`, `key:k`, `host:h`."""
    with common.client() as client:
        made = client.put_limit(
            name,
            concurrency=concurrency,
            rate=_rate(rate, burst),
            note=note,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )
        show(made, LIMITS, common.output)


def get(name: str, /, *, common: Common = COMMON) -> None:
    """Show a limit, and how much of it is in use."""
    with common.client() as client:
        show(client.get_limit(name), LIMITS, common.output)


def list_limits(
    *,
    limit: Limit = 50,
    all: Annotated[bool, Parameter(negative="", help="All of them.")] = False,
    common: Common = COMMON,
) -> None:
    """List limits: those that are defined, and those that tasks name themselves while they are in use."""
    with common.client() as client:
        found = client.iter_limits()
        show_all(found if all else islice(found, limit), LIMITS, common.output)
        if not all and next(found, None) is not None:
            say(f"there are more: --limit {limit} shows no more than {limit}, --all shows all")


def delete(name: str, /, *, if_match: Match = None, idempotency_key: Key = None, common: Common = COMMON) -> None:
    """Take a limit away; what tasks say about themselves holds again."""
    with common.client() as client:
        client.delete_limit(name, if_match=if_match, idempotency_key=idempotency_key)
    say(f"limit {name} is deleted")


def _rate(text: str | None, burst: int | None) -> dict[str, Any] | None:
    if text is None:
        if burst is not None:
            raise UsageError("--burst goes with --rate")
        return None
    count, slash, per = text.partition("/")
    if not slash or not count.isdecimal():
        raise UsageError(f"--rate {text!r}: write it as 100/1m")
    return {"count": int(count), "per": per} | ({} if burst is None else {"burst": burst})


def _rate_text(rate: Any) -> str:
    return "" if rate is None else f"{rate.count}/{rate.per}, burst {rate.burst}"
