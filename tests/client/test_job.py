"""What handlers are given and may end with, without a server."""

import json
from datetime import timedelta

import pytest

from taskscheduler.client import Fail
from taskscheduler.client.duration import seconds
from taskscheduler.client.job import failure_of, success


class Broken(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError("a file named \udcff"), "a file named \\udcff"),
        (ValueError("x" * 10_000), "x" * 4000),
        (Broken(), "(its message could not be read)"),
        (Fail("ü"), "ü"),
    ],
)
def test_every_message_can_be_reported(error: Exception, message: str) -> None:
    assert json.loads(failure_of(error).report("t"))["error"]["message"] == message


def test_a_subclass_of_fail_is_known_by_its_name() -> None:
    class OutOfPaper(Fail):
        pass

    assert json.loads(failure_of(OutOfPaper()).body)["error"]["type"] == "OutOfPaper"


def test_an_outcome_names_its_claim() -> None:
    assert json.loads(success(None).report('t"1')) == {"token": 't"1'}
    assert json.loads(success([1]).report("t")) == {"token": "t", "result": [1]}


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (3, 3.0),
        (0.5, 0.5),
        ("500ms", 0.5),
        ("1m30s", 90.0),
        ("2d", 172_800.0),
        ("1.5h", 5400.0),
        ("PT1M30S", 90.0),
        ("P1D", 86_400.0),
        (timedelta(minutes=2), 120.0),
    ],
)
def test_durations_as_the_api_writes_them(duration: float | str | timedelta, expected: float) -> None:
    assert seconds(duration) == pytest.approx(expected)


@pytest.mark.parametrize("duration", ["", "soon", "-1s", "1x", "5 m", -1, float("nan"), timedelta(seconds=-1)])
def test_what_is_no_duration_is_refused(duration: float | str | timedelta) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        seconds(duration)
