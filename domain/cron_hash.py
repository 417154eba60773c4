"""`H` in cron expressions: a value that follows from the task's id, so that tasks spread over the time they share."""

from __future__ import annotations

import re

from taskscheduler.domain.cron_field import DAY_OF_MONTH, YEAR, InvalidCron, Kind, short, step_of, value_of
from taskscheduler.domain.cron_parse import split
from taskscheduler.domain.ids import hash_of

_HASHED = re.compile(r"H(?:\((\w+)-(\w+)\))?(?:/(\w*))?")
_DAYS_OF_EVERY_MONTH = 28


def is_hashed(expression: str) -> bool:
    """Whether the expression has an `H` to be replaced; raises InvalidCron for what is no expression."""
    texts, _ = split(expression)
    return any(part.startswith("H") for text in texts for part in text.split(","))


def resolve_hash(expression: str, task_id: str) -> str:
    """The expression with each `H` replaced by the values of that task; raises InvalidCron.

    A field has one value for a task, whatever its other fields are: that of `H` is low + h mod size, that of `H/s`
    begins at low + h mod s, where h is the first eight bytes of BLAKE2b over the field's name and the task's id.
    """
    texts, kinds = split(expression)
    return " ".join(
        ",".join(_part(kind, part, task_id) if part.startswith("H") else part for part in text.split(","))
        for kind, text in zip(kinds, texts, strict=True)
    )


def _part(kind: Kind, part: str, task_id: str) -> str:
    if kind is YEAR:
        raise InvalidCron(f"year: {short(part)} is not understood; H goes into every other field")
    found = _HASHED.fullmatch(part)
    if found is None:
        raise InvalidCron(f"{kind.name}: {short(part)} is not understood; write H, H({kind.low}-{kind.low + 5}) or H/2")
    low, high = kind.low, _DAYS_OF_EVERY_MONTH if kind is DAY_OF_MONTH else kind.last
    if found[1] is not None:
        low, high = value_of(kind, found[1]), value_of(kind, found[2])
        if low > high:
            raise InvalidCron(f"{kind.name}: the range in {short(part)} runs backwards; write H({high}-{low})")
    size = high - low + 1
    chosen = hash_of(f"{kind.name}/{task_id}")
    if found[3] is None:
        return str(low + chosen % size)
    step = step_of(kind, found[3])
    return f"{low + chosen % min(step, size)}-{high}/{step}"
