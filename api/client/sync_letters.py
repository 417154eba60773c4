"""The calls about dead letters of the sync client."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

from taskscheduler.client import letters
from taskscheduler.client.letters import DeadLetterGroup, DeadLettersDone, DeadLetterStory
from taskscheduler.client.models import DeadLetter, Page, StartedTask
from taskscheduler.client.requests import Call

Result = TypeVar("Result")


class SyncLetters(ABC):
    """Lists, groups and stories of runs that failed for good, and what can be done about them."""

    @abstractmethod
    def _call(self, call: Call[Result]) -> Result:
        """Send the request and read its reply."""

    def dead_letters(
        self,
        *,
        task_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        error_type: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        retried: bool | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[DeadLetter]:
        """Give one page of runs that failed for good, newest first; `retried`: whether one was made of it since."""
        asked = letters.parameters(task_id, tags, error_type, since, until, retried)
        return self._call(letters.dead_letters(asked, limit, cursor))

    def dead_letter_groups(
        self,
        *,
        task_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        error_type: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        retried: bool | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[DeadLetterGroup]:
        """Count them by the type of their error; one page, in the order of the types."""
        asked = letters.parameters(task_id, tags, error_type, since, until, retried)
        return self._call(letters.groups(asked, limit, cursor))

    def dead_letter(self, task_id: str, run_id: str) -> DeadLetterStory:
        """Give the whole story of one."""
        return self._call(letters.dead_letter(task_id, run_id))

    def retry_dead_letter(self, task_id: str, run_id: str, *, idempotency_key: str | None = None) -> StartedTask:
        """Run it again, as `run_id`; raises Conflict while a retry of it has not ended."""
        return self._call(letters.retry_one(task_id, run_id, idempotency_key))

    def purge_dead_letter(self, task_id: str, run_id: str, *, idempotency_key: str | None = None) -> None:
        """Take it off the list; the run stays in the history of its task."""
        self._call(letters.purge_one(task_id, run_id, idempotency_key))

    def retry_dead_letters(
        self,
        filter: Mapping[str, Any],
        *,
        execute: bool = False,
        limit: int | None = None,
        cursor: str | None = None,
        idempotency_key: str | None = None,
    ) -> DeadLettersDone:
        """Run those again that the filter asks for, the oldest first; without `execute` they are only counted."""
        return self._call(letters.many("retry", filter, execute, limit, cursor, idempotency_key))

    def purge_dead_letters(
        self,
        filter: Mapping[str, Any],
        *,
        execute: bool = False,
        limit: int | None = None,
        cursor: str | None = None,
        idempotency_key: str | None = None,
    ) -> DeadLettersDone:
        """Take those off the list that the filter asks for; without `execute` they are only counted."""
        return self._call(letters.many("purge", filter, execute, limit, cursor, idempotency_key))
