"""Recurrence rules in requests, also as they are pasted from a calendar."""

from __future__ import annotations

import re
from datetime import datetime
from typing import NamedTuple

from taskscheduler.api.body import join
from taskscheduler.api.problems import FieldError
from taskscheduler.api.schemas.fields import Fields
from taskscheduler.api.schemas.local_forms import is_zone, read_dst
from taskscheduler.domain.rrule_parse import InvalidRule
from taskscheduler.domain.schedule import Recurrence
from taskscheduler.domain.values import Instant

LONGEST_RULE = 1_024

_HINT = "write a local time without offset, such as 2030-01-31T09:00:00"
_LOCAL = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})(?:[Tt ](\d{2}):?(\d{2})(?::?(\d{2}))?)?", re.ASCII)
_FOLDED = re.compile(r"\r?\n[ \t]")
_DTSTART = re.compile(r"DTSTART((?:;[A-Z-]+=[^:;]*)*):([0-9T]+)(Z?)", re.ASCII | re.IGNORECASE)
_ZONE = re.compile(r';TZID="?([^";]*)"?', re.IGNORECASE)


class _Pasted(NamedTuple):
    rule: str
    dtstart: str | None
    zone: str | None


def read_rrule(fields: Fields, now: Instant, default_zone: str | None = None) -> Recurrence | None:
    """A recurrence rule, of `default_zone` where it names none; None where something is wrong with it."""
    text, zone = fields.text("rrule", 1, LONGEST_RULE, required=True), fields.text("timezone", 1, 64)
    gap, fold = read_dst(fields)
    start = fields.text("dtstart", 1, 40)
    if text is None:
        return None
    try:
        pasted = _pasted(text)
    except ValueError as error:
        fields.error("rrule", str(error))
        return None
    good = True
    for name, here, there in (("timezone", zone, pasted.zone), ("dtstart", start, pasted.dtstart)):
        if here is not None and there is not None and (name == "timezone" or _local(here) != _local(there)):
            good = here == there
            if not good:
                fields.error(name, f"differs from the {there[:64]!r} of DTSTART in rrule; give one of them")
    zone, start = zone or pasted.zone or default_zone or "UTC", start or pasted.dtstart
    good &= is_zone(fields, "timezone" if pasted.zone is None else "rrule", zone)
    if start is None:
        fields.error("dtstart", f"is required: {_HINT}")
        return None
    local = _local(start)
    if local is None:
        fields.error("dtstart" if pasted.dtstart is None else "rrule", f"dtstart: {_HINT}, in 1970 to 2199")
        return None
    schedule = Recurrence(pasted.rule, zone, local, gap, fold)
    try:
        if good and schedule.compiled().next_after(now, zone) is None:
            fields.errors.late.append(FieldError(join(fields.pointer, "rrule"), "never fires from now on"))
    except InvalidRule as error:
        fields.error("rrule", str(error))
        return None
    return schedule if good else None


def _pasted(text: str) -> _Pasted:
    """A rule alone, or the lines RRULE and DTSTART of an event. Raises ValueError."""
    rule = start = zone = None
    for line in filter(None, (line.strip() for line in _FOLDED.sub("", text).splitlines())):
        name = re.split("[:;=]", line, maxsplit=1)[0].upper()
        if name == "DTSTART" and start is None:
            found = _DTSTART.fullmatch(line)
            if found is None:
                raise ValueError("DTSTART is not understood; write it as DTSTART;TZID=Europe/Berlin:20300131T090000")
            start = found[2]
            named = _ZONE.search(found[1])
            zone = "UTC" if found[3] else named[1] if named else None
        elif name in ("RRULE", "FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST") and rule is None:
            rule = line.partition(":")[2] if name == "RRULE" else line
        elif name in ("EXDATE", "EXRULE"):
            raise ValueError(f"{name} does not stand in rrule: write what is left out into except")
        elif name in ("RDATE", "RRULE"):
            raise ValueError(f"rrule holds one rule; write {name} as another schedule in any")
        elif rule is None and re.match("BY[A-Z]+=", line, re.IGNORECASE):
            rule = line
        else:
            raise ValueError(f"{line[:20]!r} is not understood; give the lines RRULE and DTSTART alone")
    if rule is None:
        raise ValueError("it holds no rule; write it as FREQ=MONTHLY;BYDAY=-1FR")
    return _Pasted(rule.strip().upper(), start, zone)


def _local(text: str) -> str | None:
    found = _LOCAL.fullmatch(text.strip())
    if found is None:
        return None
    try:
        at = datetime(*(int(part or 0) for part in found.groups()))  # type: ignore[arg-type]
    except ValueError:
        return None
    return at.isoformat() if 1970 <= at.year < 2200 else None
