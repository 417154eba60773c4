"""The same done to many dead letters: so many in one request, the oldest first, and a cursor to go on with the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from msgspec import to_builtins
from msgspec.structs import replace

from taskscheduler.api.headers import key_of
from taskscheduler.api.node import Node
from taskscheduler.api.routes.common import is_known
from taskscheduler.api.schemas.dead_letter import MOST_REFUSALS, Bulk
from taskscheduler.commands.handler import Ask, Done
from taskscheduler.domain.messages import Command, Key, PurgeDeadLetter, Retry
from taskscheduler.projections.dead_letters import DeadLetter
from taskscheduler.projections.filters import MAX_LIMIT, DeadLetterFilter
from taskscheduler.projections.letters import DeadLetterView


class Verb(NamedTuple):
    """What is done to each."""

    name: str
    command: Callable[[DeadLetterView], Command]


def retry_of(view: DeadLetterView) -> Retry:
    """Run it again, with what it began with."""
    return Retry(view.run.id, view.run.caused_by, view.run.upstream)


def purge_of(view: DeadLetterView) -> PurgeDeadLetter:
    """Take it off the list."""
    return PurgeDeadLetter(view.run.id, view.letter.finished_at, view.letter.error_type)


RETRY = Verb("retry", retry_of)
PURGE = Verb("purge", purge_of)


async def apply(node: Node, verb: Verb, bulk: Bulk, key: str | None, trace: str | None) -> dict[str, Any]:
    """Count them, or do it to up to `limit` of them. Each is a decision of its own, under a key that follows from
    `key`: what a request has done is not done again when it is repeated.
    """
    if not bulk.execute:
        return await _report(node, bulk, 0, [], bulk.cursor)
    # Which were retried is asked of each: a request that is repeated must come by its own once more.
    asked, wanted = _any(bulk.filter), bulk.filter.retried
    done, refused, left, cursor = 0, list[dict[str, Any]](), bulk.limit, bulk.cursor
    while left:
        page = await node.queries.letters.page(asked, limit=min(left, MAX_LIMIT), cursor=cursor, oldest_first=True)
        left -= len(page.items)
        asks, letters = [], []
        for view in page.items:
            used = _key(key, verb, view.letter, asked)
            if wanted in (None, view.retried is not None) or is_known(node, view.letter.task_id, used):
                letters.append(view.letter)
                asks.append(Ask(view.letter.task_id, verb.command(view), key=used, trace=trace))
        for letter, answer in zip(letters, await node.handler.handle_many(asks), strict=True):
            if isinstance(answer, Done):
                done += 1
            else:
                said = getattr(answer, "detail", str(answer))
                refused.append({"task_id": letter.task_id, "run_id": letter.run_id, "detail": said})
        cursor = page.next_cursor
        if cursor is None or not page.items:
            break
    return await _report(node, bulk, done, refused, cursor, ended=cursor is None)


async def _report(
    node: Node,
    bulk: Bulk,
    done: int,
    refused: Sequence[dict[str, Any]],
    cursor: str | None,
    *,
    ended: bool = False,
) -> dict[str, Any]:
    remaining, exact = 0, True
    if not ended:
        remaining, exact = await node.queries.letters.count(bulk.filter, cursor=cursor)
    return {
        "execute": bulk.execute,
        "done": done,
        "refused": refused[:MOST_REFUSALS],
        "refused_count": len(refused),
        "remaining": remaining,
        "exact": exact,
        "next_cursor": cursor if bulk.execute else None,
    }


def _any(filter: DeadLetterFilter) -> DeadLetterFilter:
    return replace(filter, retried=None)


def _key(given: str | None, verb: Verb, letter: DeadLetter, filter: DeadLetterFilter) -> Key | None:
    if given is None:
        return None
    body = {"filter": to_builtins(filter), "task_id": letter.task_id, "run_id": letter.run_id}
    return key_of(f"{given}#{letter.run_id}", "POST", f"/api/dead-letters/{verb.name}", body)
