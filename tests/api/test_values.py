from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskscheduler.api.values import END_OF_TIME, format_instant, format_local, parse_instant


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2030-01-31T08:00:00Z", "2030-01-31T08:00:00.000Z"),
        ("2030-01-31t08:00:00z", "2030-01-31T08:00:00.000Z"),
        ("2030-01-31T09:00:00.5+01:00", "2030-01-31T08:00:00.500Z"),
        ("2030-01-31T02:30:00.1239999-05:30", "2030-01-31T08:00:00.123Z"),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"),
        ("2199-12-31T23:59:59.999Z", "2199-12-31T23:59:59.999Z"),
    ],
)
def test_instants_are_read_with_their_offset_and_shown_in_utc(text: str, shown: str) -> None:
    assert format_instant(parse_instant(text)) == shown


@pytest.mark.parametrize(
    "value",
    [
        "2030-01-31T08:00:00",
        "2030-01-31",
        "2030-02-30T08:00:00Z",
        "2030-01-31T24:00:00Z",
        "2030-01-31T08:00:60Z",
        "2030-01-31T08:00Z",
        "2030-01-31T08:00:00+25:00",
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00+00:01",
        "2200-01-01T00:00:00Z",
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00+23:59",
        "٢٠٣٠-01-31T08:00:00Z",
        "2030-01-31T08:00:00Z\n",
        "",
        1_900_000_000,
        True,
        None,
    ],
)
def test_what_is_no_instant_is_refused_with_a_hint(value: object) -> None:
    with pytest.raises(ValueError, match=r"RFC 3339|years 1970 to 2199"):
        parse_instant(value)


@given(st.integers(0, END_OF_TIME - 1))
def test_every_instant_comes_back_as_it_was(instant: int) -> None:
    assert parse_instant(format_instant(instant)) == instant


@given(st.integers(0, END_OF_TIME - 1), st.integers(-14 * 60, 14 * 60))
def test_a_local_time_names_the_same_instant(instant: int, minutes: int) -> None:
    local = format_local(instant, timedelta(minutes=minutes))
    if 14 * 3_600_000 < instant < END_OF_TIME - 14 * 3_600_000:
        assert parse_instant(local) == instant
