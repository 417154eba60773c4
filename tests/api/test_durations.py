import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskscheduler.api.durations import LONGEST, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "millis"),
    [
        ("PT1M30S", 90_000),
        ("1m30s", 90_000),
        ("500ms", 500),
        ("2d", 172_800_000),
        ("P1DT0.5S", 86_400_500),
        ("P2W", 14 * 86_400_000),
        ("90", 90_000),
        ("0.25", 250),
        (90, 90_000),
        (0.25, 250),
        (0, 0),
        ("PT0S", 0),
        ("pt5m", 300_000),
    ],
)
def test_every_form_is_read(text: str | float, millis: int) -> None:
    assert parse_duration(text) == millis


@pytest.mark.parametrize(
    "text",
    [
        "",
        "P",
        "PT",
        "P1DT",
        "-5s",
        "5 s",
        "1x",
        "1m30",
        "P1M",
        "P1Y",
        "1e400",
        "nan",
        "9" * 40,
        "0.0001s",
        "٣s",
        "1s\n1",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_duration(text)


@pytest.mark.parametrize("value", [True, -1, float("nan"), float("inf"), -0.5, 10**20, None, [1]])
def test_numbers_out_of_range_and_other_kinds_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_duration(value)  # type: ignore[arg-type]


@given(st.integers(0, LONGEST))
def test_what_is_written_is_read_back(millis: int) -> None:
    assert parse_duration(format_duration(millis)) == millis


@given(st.text(max_size=80))
def test_any_text_gives_a_duration_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert 0 <= parse_duration(text) <= LONGEST
