"""docs/schedules.md is true: each example is understood and fires first when the page says."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from taskscheduler.api.schemas.fields import Errors, Fields
from taskscheduler.api.schemas.schedule import read_schedule
from taskscheduler.domain.cron_hash import resolve_hash
from taskscheduler.domain.schedule import next_after, resolve, zone_of

PAGE = (Path(__file__).parents[2] / "docs" / "schedules.md").read_text("utf-8")
START = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1000
EXAMPLES = re.findall(r"^\| [^|]+ \| `([^`]+)` \| (2[0-9T:-]+) \|$", PAGE, re.MULTILINE)
SCHEDULES = re.findall(r"^\| [^|]+ \| `(\{[^`]+\})` \| (2[0-9T:+, -]+) \|$", PAGE, re.MULTILINE)
HASHED = re.findall(r"^\| `(H[^`]*)` \|", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("expression", "expected"), EXAMPLES)
def test_examples(expression: str, expected: str) -> None:
    errors = Errors()
    schedule = read_schedule(Fields({"cron": expression}, "", errors), START)
    errors.check()
    fire = next_after(resolve(schedule, START, START, ""), START)
    assert fire is not None
    assert datetime.fromtimestamp(fire / 1000, UTC).isoformat() == f"{expected}+00:00"


@pytest.mark.parametrize(("example", "expected"), SCHEDULES)
def test_examples_of_whole_schedules(example: str, expected: str) -> None:
    errors = Errors()
    schedule = read_schedule(Fields(json.loads(example), "", errors), START)
    errors.check()
    resolved = resolve(schedule, START, START, "")
    zone = ZoneInfo(zone_of(resolved) or "UTC")
    found, at = list[str](), START - 1
    while len(found) <= expected.count(",") and (fire := next_after(resolved, at)) is not None:
        found.append(datetime.fromtimestamp(fire / 1000, zone).isoformat(timespec="minutes"))
        at = fire
    assert ", ".join(found) == expected


def test_examples_are_found() -> None:
    assert len(SCHEDULES) == 26
    assert len(EXAMPLES) == 25
    assert len(HASHED) == 4
    for expression in HASHED:
        assert re.fullmatch(r"\d+(-\d+/\d+)? 3 \* \* \*", resolve_hash(f"{expression} 3 * * *", "some-task"))
