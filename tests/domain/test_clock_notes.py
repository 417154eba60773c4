"""What a preview says about fire times that a clock change moved, doubled or dropped."""

from __future__ import annotations

from datetime import datetime

import pytest

from taskscheduler.domain.clock_notes import clock_note
from taskscheduler.domain.cron import Fold, Gap, compile_cron


def notes(expression: str, zone: str, start: str, count: int, gap: Gap | None, fold: Fold | None) -> list[str]:
    cron, found = compile_cron(expression, gap, fold), []
    since = int(datetime.fromisoformat(start).timestamp()) * 1000
    for _ in range(count):
        fire = cron.next_after(since, zone)
        assert fire is not None
        found.append(clock_note(cron, zone, since, fire) or "")
        since = fire
    return found


SPRING, AUTUMN = "2026-03-28T12:00+01:00", "2026-10-24T12:00+02:00"


@pytest.mark.parametrize(
    ("expression", "start", "gap", "fold", "expected"),
    [
        ("30 2 * * *", SPRING, None, None, ["shifted: 02:30 does not exist", ""]),
        ("0 2,3 * * *", SPRING, None, None, ["shifted: 02:00 does not exist", "", ""]),
        ("15,30,45 2 * * *", SPRING, None, None, ["shifted: 02:15 and 2 more do not exist", ""]),
        ("5 30 2 * * *", SPRING, None, None, ["shifted: 02:30:05 does not exist", ""]),
        ("0 3 * * *", SPRING, None, None, ["", ""]),
        ("30 2 * * *", SPRING, "skip", None, ["skipped before: 02:30 on 2026-03-29 does not exist", ""]),
        ("30 2,4 * * *", SPRING, "skip", None, ["skipped before: 02:30 does not exist", "", ""]),
        ("30 */2 * * *", "2026-03-29T00:10+01:00", None, None, ["", "skipped before: 02:30 does not exist", ""]),
        ("30 2 * * *", AUTUMN, None, None, ["02:30 comes twice: this is the first time, the other one is skipped", ""]),
        (
            "30 2 * * *",
            AUTUMN,
            None,
            "last",
            ["02:30 comes twice: this is the second time, the other one is skipped", ""],
        ),
        (
            "30 2 * * *",
            AUTUMN,
            None,
            "both",
            ["02:30 comes twice: this is the first time", "02:30 comes twice: this is the second time", ""],
        ),
        ("0 3 * * *", AUTUMN, None, None, ["", ""]),
        ("59 1 * * *", AUTUMN, None, None, ["", ""]),
    ],
)
def test_berlin(expression: str, start: str, gap: Gap | None, fold: Fold | None, expected: list[str]) -> None:
    assert notes(expression, "Europe/Berlin", start, len(expected), gap, fold) == expected


def test_a_whole_day_that_does_not_exist() -> None:
    found = notes("0 12 * * *", "Pacific/Apia", "2011-12-29T00:00-10:00", 3, None, None)
    assert found == ["", "shifted: 12:00 on 2011-12-30 does not exist", ""]
    found = notes("0 12 * * *", "Pacific/Apia", "2011-12-29T00:00-10:00", 3, "skip", None)
    assert found == ["", "skipped before: 12:00 on 2011-12-30 does not exist", ""]
    yearly = notes("30 2 29 3 *", "Europe/Berlin", "2025-03-29T12:00+01:00", 2, "skip", None)
    assert yearly == ["skipped before: 02:30 on 2026-03-29 does not exist", ""]
