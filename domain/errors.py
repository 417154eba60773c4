"""Why a command is refused. Each carries a sentence that names what is wrong and the way out."""

from __future__ import annotations


class DomainError(Exception):
    """A refusal that changed nothing."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class TaskNotFound(DomainError):
    """No such task was ever created, or it was purged."""


class TaskGone(DomainError):
    """The task was deleted."""


class TaskExists(DomainError):
    """The id is taken."""


class NotUnique(DomainError):
    """Another task, `holder`, has the unique key."""

    def __init__(self, detail: str, holder: str) -> None:
        super().__init__(detail)
        self.holder = holder


class BeingMade(NotUnique):
    """That task may just be being made: whoever is to take its place waits until it is there."""


class WorkerNotFound(DomainError):
    """No worker of this name was seen, or it is forgotten."""


class CalendarNotFound(DomainError):
    """No such calendar was ever made, or it was deleted."""


class LimitNotFound(DomainError):
    """No such limit was ever defined, or it was deleted."""


class LimitReached(DomainError):
    """A limit leaves no room for the attempt now."""


class WrongState(DomainError):
    """The task or run is not in a state in which this can be done."""


class BackfillNotFound(DomainError):
    """The task has no such backfill, or it ended long ago."""


class OperationNotFound(DomainError):
    """No such operation was ever started, or it is no longer kept."""


class NotSelected(DomainError):
    """The task is not, or no longer, one of those that are meant."""


class RevisionMismatch(DomainError):
    """`If-Match` names another revision than the task has."""


class KeyReused(DomainError):
    """The Idempotency-Key was used for another request."""


class TooManyKeys(DomainError):
    """More Idempotency-Keys in a day than are remembered for one task."""


class ClaimUnknown(DomainError):
    """The claim was never given."""


class ClaimLost(DomainError):
    """The claim was given but no longer holds the attempt."""


class NotClaimable(DomainError):
    """The run is not waiting to be claimed: another holder was first, or it was cancelled."""


class Invalid(DomainError):
    """A value that cannot be accepted. `pointer` is a JSON pointer into the request body."""

    def __init__(self, pointer: str, detail: str) -> None:
        super().__init__(detail)
        self.pointer = pointer
