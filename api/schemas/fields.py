"""One JSON object of a request, read field by field; every error is collected with its pointer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from taskscheduler.api.body import DEEPEST, is_deeper, join
from taskscheduler.api.durations import format_duration, parse_duration
from taskscheduler.api.problems import FieldError, invalid
from taskscheduler.api.values import parse_instant
from taskscheduler.domain.ids import is_id
from taskscheduler.domain.values import Instant, Json, Millis

T = TypeVar("T")
Choice = TypeVar("Choice", bound=str)

ID_HINT = "must be 1 to 64 letters, digits, dots, dashes or underscores, beginning with a letter or digit"


CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Errors:
    """What is wrong with a request. `deep` says whether its values may be nested deeply.

    `late` holds what is wrong only because of the time it is: the same request may have been good once.
    """

    __slots__ = ("deep", "found", "late")

    def __init__(self, deep: bool = False) -> None:
        self.deep = deep
        self.found: list[FieldError] = []
        self.late: list[FieldError] = []

    def add(self, pointer: str, detail: str) -> None:
        self.found.append(FieldError(pointer, detail))

    def check(self, *, repeated: bool = False) -> None:
        """Raises Problem 422 with everything that was found, unless all is late and the request a repeated one."""
        if self.found or (self.late and not repeated):
            raise invalid([*self.found, *self.late])


class Fields:
    """Takes the fields of one object. A field that is absent or null gives the default, so does one with an error."""

    __slots__ = ("_left", "errors", "pointer")

    def __init__(self, value: dict[str, Any], pointer: str, errors: Errors) -> None:
        self._left = value.copy()
        self.pointer = pointer
        self.errors = errors

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def names(self) -> list[str]:
        """The names of what was not taken yet."""
        return list(self._left)

    def raw(self, name: str) -> Any:
        """The value, which stays to be taken."""
        return self._left.get(name)

    def error(self, name: str, detail: str) -> None:
        self.errors.add(join(self.pointer, name), detail)

    def take(self, name: str, required: bool = False) -> Any:
        """The value as it stands, None when it is absent."""
        value = self._left.pop(name, None)
        if value is None and required:
            self.error(name, "is required")
        return value

    def required(self, name: str) -> None:
        """Refuse null."""
        if self.raw(name) is None:
            self.error(name, "is required")

    def label(self, name: str, low: int, high: int, *, required: bool = False) -> str | None:
        """A string of so many characters that can be shown on a line."""
        value = self.text(name, low, high, required=required)
        if value is not None and CONTROL.search(value):
            self.error(name, "must not hold control characters")
            return None
        return value

    def text(self, name: str, low: int, high: int, *, required: bool = False) -> str | None:
        """A string of so many characters."""
        value = self.take(name, required)
        if value is None or (isinstance(value, str) and low <= len(value) <= high):
            return value
        self.error(name, f"must be a string of {low} to {high} characters")
        return None

    def id(self, name: str, *, required: bool = False) -> str | None:
        """An id."""
        value = self.take(name, required)
        if value is None or (isinstance(value, str) and is_id(value)):
            return value
        self.error(name, ID_HINT)
        return None

    def choice(self, name: str, choices: Sequence[Choice], default: Choice) -> Choice:
        """One of some words."""
        return self.word(name, choices) or default

    def word(self, name: str, choices: Sequence[Choice]) -> Choice | None:
        """One of some words, or None."""
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, str) and value in choices:
            return choices[choices.index(value)]
        self.error(name, f"must be one of {', '.join(choices)}")
        return None

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self.take(name)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.error(name, "must be true or false")
        return default

    def integer(self, name: str, low: int, high: int, default: int) -> int:
        """A whole number within bounds; `3.0` is one."""
        value = self.take(name)
        if value is None:
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        self.error(name, f"must be a whole number from {low} to {high}")
        return default

    def optional_integer(self, name: str, low: int, high: int) -> int | None:
        """The same, or None."""
        if self.raw(name) is None:
            self.take(name)
            return None
        return self.integer(name, low, high, low)

    def number(self, name: str, low: float, high: float, default: float) -> float:
        """A number within bounds."""
        value = self.take(name)
        if value is None:
            return default
        if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
            return float(value)
        self.error(name, f"must be a number from {low:g} to {high:g}")
        return default

    def duration(self, name: str, low: Millis, high: Millis, default: T) -> Millis | T:
        """A duration within bounds."""
        value = self.take(name)
        if value is None:
            return default
        try:
            duration = parse_duration(value)
        except ValueError as error:
            self.error(name, str(error))
            return default
        if low <= duration <= high:
            return duration
        self.error(name, f"must be from {format_duration(low)} to {format_duration(high)}")
        return default

    def instant(self, name: str) -> Instant | None:
        """An instant."""
        value = self.take(name)
        if value is None:
            return None
        try:
            return parse_instant(value)
        except ValueError as error:
            self.error(name, str(error))
            return None

    def json(self, name: str, limit: int) -> Json | None:
        """Any JSON of at most `limit` bytes encoded, as text; JSON null gives None."""
        value = self.take(name)
        if value is None:
            return None
        if self.errors.deep and is_deeper(value, DEEPEST):
            self.error(name, f"is nested over {DEEPEST} levels")
            return None
        encoded = msgspec.json.encode(value)
        if len(encoded) > limit:
            self.error(name, f"is {len(encoded)} bytes when encoded; at most {limit} are taken")
            return None
        return encoded.decode()

    def object(self, name: str, *, required: bool = False) -> Fields | None:
        """An object."""
        value = self.take(name, required)
        if value is None:
            return None
        if isinstance(value, dict):
            return Fields(value, join(self.pointer, name), self.errors)
        self.error(name, "must be an object")
        return None

    def list(self, name: str, low: int, high: int, *, required: bool = False) -> list[Any]:
        """An array of so many items."""
        value = self.take(name, required)
        if value is None:
            return []
        if isinstance(value, list) and low <= len(value) <= high:
            return value
        self.error(name, f"must be an array of {low} to {high} items")
        return []

    def each(self, name: str, high: int, read: Callable[[Any], T], *, low: int = 0) -> tuple[T, ...]:
        """An array whose items `read` takes, or raises ValueError for."""
        items: list[T] = []
        for index, value in enumerate(self.list(name, low, high)):
            try:
                items.append(read(value))
            except ValueError as error:
                self.errors.add(f"{join(self.pointer, name)}/{index}", str(error))
        return tuple(items)

    def only(self, name: str, of: Iterable[str]) -> None:
        """Refuse a field that means something only beside others."""
        if self.take(name) is not None:
            self.error(name, f"goes only with {' or '.join(of)}")

    def end(self) -> None:
        """Refuse what is left."""
        for name in self._left:
            self.error(name, "is not a known field")
