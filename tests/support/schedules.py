"""What holds for the fire times of every schedule, and zones in which clocks do what they rarely do."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import strategies as st

from taskscheduler.domain.schedule import Schedule, count_between, next_after, prev_before

ZONES = st.sampled_from(
    [
        "UTC",
        "Europe/Berlin",
        "Europe/Dublin",  # negative in winter
        "America/New_York",
        "Australia/Lord_Howe",  # half an hour
        "Africa/Cairo",  # at midnight
        "America/Asuncion",
        "Pacific/Apia",  # a day that never was
        "Pacific/Kwajalein",
        "Asia/Kathmandu",
        "America/St_Johns",  # back from after midnight to before it
    ]
)


def walk(schedule: Schedule, since: int, until: int | None) -> Iterator[int]:
    """The fire times in since < t <= until, one after another."""
    at = next_after(schedule, since)
    while at is not None and (until is None or at <= until):
        yield at
        at = next_after(schedule, at)


def agree(schedule: Schedule, since: int, until: int) -> list[int]:
    """The fire times in since < t <= until, after what is known forwards, backwards and by number was compared."""
    fires = list(walk(schedule, since, until))
    assert all(earlier < later for earlier, later in zip([since, *fires], fires, strict=False))
    back, at = list[int](), prev_before(schedule, until + 1)
    while at is not None and at > since:
        back.append(at)
        at = prev_before(schedule, at)
    assert back[::-1] == fires
    assert count_between(schedule, since + 1, until + 1) == len(fires)
    for number, fire in enumerate(fires):
        assert next_after(schedule, fire - 1) == fire
        assert count_between(schedule, since + 1, fire) == number
        assert count_between(schedule, fire, until + 1) == len(fires) - number
    return fires
