"""Zone data: offsets equal to zoneinfo's everywhere, from the pinned package only, and names that do no harm."""

import importlib.resources
import struct
import zoneinfo
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
import tzdata
from hypothesis import given, settings
from hypothesis import strategies as st

from taskscheduler.domain.zones import TZDATA_VERSION, InvalidZone, load_zone, offsets

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEAR_2200 = 7_258_118_400
DAY = 86_400
NAMES = sorted(zoneinfo.available_timezones())


def offset_at(name: str, at: int) -> int:
    local = (EPOCH + timedelta(seconds=at)).astimezone(load_zone(name))
    offset = local.utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


def changes(name: str, end: int = YEAR_2200) -> list[tuple[int, int, int]]:
    found, at = [], 0
    zone = offsets(name)
    while at < end:
        start, stop, offset, before = zone.segment(at)
        if before != offset:
            found.append((start, before, offset))
        at = stop
    return found


def test_only_the_pinned_package() -> None:
    assert zoneinfo.TZPATH == ()
    assert TZDATA_VERSION == tzdata.IANA_VERSION
    assert load_zone("Europe/Berlin") is load_zone("Europe/Berlin")


@settings(deadline=None)
@given(st.sampled_from(NAMES), st.integers(0, YEAR_2200 - 1))
def test_offset_is_zoneinfo_s(name: str, at: int) -> None:
    start, end, offset, before = offsets(name).segment(at)
    assert start <= at < end
    assert offset == offset_at(name, at) == offset_at(name, start) == offset_at(name, end - 1)
    assert before == offset_at(name, start - 1)


def changes_in_file(name: str) -> list[tuple[int, int, int]]:
    """The changes since 1970 that the zone's file names one by one (RFC 9636); later ones follow from a rule."""
    data = importlib.resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()
    is_utc, is_std, leaps, times, types, chars = struct.unpack(">6L", data[20:44])
    second = 44 + times * 5 + types * 6 + chars + leaps * 8 + is_std + is_utc
    *_, times, types, _ = struct.unpack(">6L", data[second + 20 : second + 44])
    at = second + 44
    instants = struct.unpack(f">{times}q", data[at : at + 8 * times])
    indexes = data[at + 8 * times : at + 9 * times]
    kinds = [kind for kind, *_ in struct.iter_unpack(">lBB", data[at + 9 * times : at + 9 * times + 6 * types])]
    found, before = [], kinds[0]
    for instant, index in zip(instants, indexes, strict=True):
        if kinds[index] != before and instant >= 0:
            found.append((instant, before, kinds[index]))
        before = kinds[index]
    return found


def test_changes_are_never_close() -> None:
    """Changes are searched three days at a time."""
    for name in NAMES:
        found = changes_in_file(name)
        assert all(later[0] - earlier[0] > 6 * DAY for earlier, later in pairwise(found)), name


@pytest.mark.parametrize("name", [*NAMES[::29], "Africa/Casablanca", "America/Boa_Vista", "Asia/Gaza", "Pacific/Apia"])
def test_no_change_is_missed(name: str) -> None:
    expected = changes_in_file(name)
    assert changes(name, end=expected[-1][0] + 1 if expected else DAY) == expected


def test_many_years_do_not_pile_up() -> None:
    zone = offsets("Europe/Paris")
    assert len(changes("Europe/Paris")) > 400
    assert len(zone._chunks) <= 64


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "Mars/Olympus",
        "europe/berlin",
        "Europe",
        "Europe/",
        "/Europe/Berlin",
        "Europe/../Europe/Berlin",
        "../../../etc/passwd",
        "Europe\\Berlin",
        "Europe/Berlin\0",
        "Europe/Berlin\n",
        "Europe/Bérlin",
        "__init__.py",
        "zone.tab",
        "tzdata.zi",
        "C:",
        "CON",
        "A" * 65,
        "A" * 100_000,
        "+01:00",
    ],
)
def test_odd_names(name: str) -> None:
    with pytest.raises(InvalidZone) as refusal:
        load_zone(name)
    message = str(refusal.value)
    assert "use a name such as Europe/Berlin or UTC" in message
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 200


@settings(deadline=None)
@given(st.text())
def test_any_text_is_a_zone_or_refused(name: str) -> None:
    try:
        assert load_zone(name).key == name
    except InvalidZone:
        assert name not in NAMES
