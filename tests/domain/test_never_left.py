"""A schedule that leaves out all its fire times is refused, and at once."""

from __future__ import annotations

import time

import pytest

from taskscheduler.domain.excluded import ExceptCron, ExceptDays, ExceptTime
from taskscheduler.domain.schedule import AnyOf, Cron, Every, NeverFires, OneTime, Recurrence, Schedule, resolve
from tests.domain.scenario import DAY, HOUR, MINUTE, START
from tests.domain.test_any_except import nightly


@pytest.mark.parametrize(
    "schedule",
    [
        nightly(ExceptCron("30 2 * * *")),
        nightly(ExceptCron("* * * * *")),
        nightly(ExceptCron("*/30 0-3 * * *")),
        nightly(ExceptDays("1970-01-01", "2199-12-31")),
        nightly(ExceptTime(0, 7_258_118_400_000)),
        Every(MINUTE, 0, excluded=(ExceptCron("* * * * *"),)),
        Every(HOUR, 0, anchored=True, excluded=(ExceptCron("0 * * * *"),)),
        AnyOf((Cron("0 0 0 1 1 ? 2020"), Cron("0 5 * * *")), excluded=(ExceptCron("* 4-6 * * *"),)),
        AnyOf((OneTime(START - DAY, "at"),)),
        Recurrence(
            "FREQ=DAILY;COUNT=3", "UTC", "2027-01-01T09:00:00", excluded=(ExceptDays("2027-01-01", "2027-01-03"),)
        ),
    ],
)
def test_what_leaves_nothing_is_refused_at_once(schedule: Schedule) -> None:
    began = time.process_time()
    with pytest.raises(NeverFires) as refused:
        resolve(schedule, START, START, "a")
    assert refused.value.field == ("except" if schedule.excluded else "any")
    assert time.process_time() - began < 2
