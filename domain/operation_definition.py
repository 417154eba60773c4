"""What an operation over many tasks is to do, as it stands in events and in state."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from taskscheduler.domain.values import Instant

Action: TypeAlias = Literal["cancel", "pause", "resume", "retry", "trigger", "delete", "tag", "untag"]
OperationStatus: TypeAlias = Literal["running", "completed", "cancelled"]


class Selection(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Tasks for which everything given holds; without anything, all. `name_contains` ignores case."""

    status: str | None = None
    name_contains: str | None = None
    tags: dict[str, str] = {}
    due_before: Instant | None = None
    ids: tuple[str, ...] = ()


class OperationDefinition(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """`action` for each task of the selection that was made before the operation was.

    `note` is that of a pause or a resume, `missed` what a resume catches up, `tags` what is set, or (by their keys)
    taken off. `expected` is how many tasks there were when it was asked for, or at least as many.
    """

    action: Action
    selection: Selection
    note: str = ""
    missed: Literal["skip", "latest", "all"] = "skip"
    tags: dict[str, str] = {}
    expected: int = 0
    expected_more: bool = False
