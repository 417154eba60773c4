"""Processor time of a preview of 1,000 fire times, by kind. Run: python tests/benchmarks/bench_preview.py"""

from __future__ import annotations

import time

from taskscheduler.api.routes.schedules import fire_times
from taskscheduler.api.schemas.fields import Errors, Fields
from taskscheduler.api.schemas.preview import read_preview

NOW = 1_772_366_400_123
RULE = {"rrule": "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1,1", "dtstart": "2016-01-01T09:00:00"}
SCHEDULES = {
    "cron, every five minutes": {"cron": "*/5 * * * *", "timezone": "Europe/Berlin"},
    "cron, every night": {"cron": "30 2 * * *", "timezone": "Europe/Berlin"},
    "rrule, every day": {"rrule": "FREQ=DAILY", "dtstart": "2016-01-01T02:30:00", "timezone": "Europe/Berlin"},
    "rrule, first and last working day": {**RULE, "timezone": "Europe/Berlin"},
    "an interval of a month": {"every": "P1M", "timezone": "Europe/Berlin", "anchor": "2016-01-31T09:00:00Z"},
    "any of three, with days and hours left out": {
        "any": [{"cron": "0 9 * * MON-FRI"}, {"cron": "0 11 * * SAT"}, RULE],
        "except": [{"date": "2026-12-25"}, {"from": "2027-12-24", "to": "2028-01-02"}, {"cron": "* * 1 5 *"}],
        "timezone": "Europe/Berlin",
    },
}


def main() -> None:
    for name, schedule in SCHEDULES.items():
        took = []
        for _ in range(7):
            began = time.process_time_ns()
            errors = Errors()
            asked = read_preview(Fields({"schedule": schedule, "count": 1_000}, "", errors), NOW)
            errors.check()
            found = list(fire_times(asked, NOW))
            took.append((time.process_time_ns() - began) / 1e6)
        print(f"{name:44} {min(took):6.1f} ms, the first time {took[0]:6.1f} ms, for {len(found):,} fire times")


if __name__ == "__main__":
    main()
