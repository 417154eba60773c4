"""What waits for an answer: commands as they were asked, one by one or many together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from taskscheduler.domain.decided import Decided
from taskscheduler.domain.errors import DomainError
from taskscheduler.domain.messages import Command, Key
from taskscheduler.domain.values import Instant


class Unavailable(Exception):
    """The command got no verdict in time. `outcome` is `none` when nothing can have happened, else `unknown`."""

    def __init__(self, detail: str, outcome: Literal["none", "unknown"], retry_after: float = 1.0) -> None:
        super().__init__(detail)
        self.detail = detail
        self.outcome = outcome
        self.retry_after = retry_after


class Ask(msgspec.Struct, frozen=True, gc=False):
    """One command for one task, or for what else has this id.

    `due_at` keeps a trigger's decision from being made on an earlier clock. `seed` is what chance in the decision
    follows from, where whoever asks has to know it before.
    """

    task_id: str
    command: Command
    actor: str = "anonymous"
    key: Key | None = None
    if_match: int | None = None
    trace: str | None = None
    cause: str | None = None
    due_at: Instant = 0
    seed: int | None = None


class Done(msgspec.Struct, frozen=True, gc=False):
    """An accepted command. `token` says up to where a reader must be to see it."""

    decided: Decided
    token: str


Answer = Done | DomainError | Unavailable


PENDING = Unavailable("not decided yet", "unknown")


class Group:
    """Asks that came in together and are answered together."""

    __slots__ = ("answers", "done", "left")

    def __init__(self, size: int, done: Callable[[list[Answer]], None]) -> None:
        self.answers: list[Answer] = [PENDING] * size
        self.left = size
        self.done = done

    def answer(self, index: int, answer: Answer) -> None:
        self.answers[index] = answer
        self.left -= 1
        if self.left == 0:
            self.done(self.answers)


class Waiting:
    """An ask on its way through decisions. Only its first answer counts."""

    __slots__ = ("answered", "ask", "barrier_passed", "deadline", "group", "index")

    def __init__(self, ask: Ask, group: Group, index: int, deadline: float) -> None:
        self.ask = ask
        self.group = group
        self.index = index
        self.deadline = deadline
        self.barrier_passed = False
        self.answered = False

    def answer(self, answer: Answer) -> None:
        if not self.answered:
            self.answered = True
            self.group.answer(self.index, answer)
